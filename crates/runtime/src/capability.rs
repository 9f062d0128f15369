//! Capabilities by name.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A capability of the kernel, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capability(u8);

/// In the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container may do where nothing else is asked for.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A name that is no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no capability")]
pub struct UnknownCapability(pub String);

impl Capability {
    /// All that this version knows.
    #[must_use]
    pub fn all() -> BTreeSet<Self> {
        (0..).zip(NAMES).map(|(number, _)| Self(number)).collect()
    }

    /// The 14 of `docker run`.
    #[must_use]
    pub fn default_set() -> BTreeSet<Self> {
        DEFAULT
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect()
    }

    /// Its number in the kernel.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// A set as the kernel has it: bit by number.
    #[must_use]
    pub fn mask(set: &BTreeSet<Self>) -> u64 {
        set.iter()
            .fold(0, |mask, capability| mask | 1 << capability.0)
    }
}

/// The default set changed by `--cap-add` and `--cap-drop`, whose values are names, with or without `CAP_`, or `ALL`.
///
/// As Docker has it: `--cap-add ALL` starts from all, `--cap-drop ALL` from none, and single names then add or drop.
///
/// # Errors
///
/// A name is no capability.
pub fn adjusted(
    add: &[String],
    drop: &[String],
) -> Result<BTreeSet<Capability>, UnknownCapability> {
    let is_all = |name: &String| name.eq_ignore_ascii_case("all");
    let mut set = match (add.iter().any(is_all), drop.iter().any(is_all)) {
        (true, _) => Capability::all(),
        (false, true) => BTreeSet::new(),
        (false, false) => Capability::default_set(),
    };
    let parsed = |names: &[String]| {
        names
            .iter()
            .filter(|name| !is_all(name))
            .map(|name| name.parse())
            .collect::<Result<Vec<Capability>, _>>()
    };
    let (add, drop) = (parsed(add)?, parsed(drop)?);
    for capability in drop {
        set.remove(&capability);
    }
    set.extend(add);
    Ok(set)
}

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(text: &str) -> Result<Self, UnknownCapability> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let number = (0..)
            .zip(NAMES)
            .find(|(_, known)| *known == name)
            .map(|(number, _)| number);
        number
            .map(Self)
            .ok_or_else(|| UnknownCapability(text.to_owned()))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CAP_{}", NAMES[usize::from(self.0)])
    }
}

impl TryFrom<String> for Capability {
    type Error = UnknownCapability;

    fn try_from(text: String) -> Result<Self, UnknownCapability> {
        text.parse()
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        capability.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn default_set_is_the_well_known_mask() {
        assert_eq!(Capability::mask(&Capability::default_set()), 0xa804_25fb);
        assert_eq!(Capability::mask(&Capability::all()), 0x1ff_ffff_ffff);
    }

    #[test]
    fn adding_and_dropping() {
        let mask = |add: &[&str], drop: &[&str]| {
            adjusted(&names(add), &names(drop)).map(|set| Capability::mask(&set))
        };
        assert_eq!(mask(&[], &["all"]), Ok(0));
        assert_eq!(mask(&["cap_chown", "Kill"], &["ALL"]), Ok(0b10_0001));
        assert_eq!(
            mask(&["ALL"], &["SYS_ADMIN"]),
            Ok(0x1ff_ffff_ffff & !(1 << 21))
        );
        assert_eq!(mask(&["sys_admin"], &[]), Ok(0xa804_25fb | 1 << 21));
        assert_eq!(
            mask(&["SYS_ADMINN"], &[]),
            Err(UnknownCapability("SYS_ADMINN".into()))
        );
    }
}
