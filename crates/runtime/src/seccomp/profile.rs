//! Filters from files in Docker's format (`--security-opt seccomp=FILE`), which is the OCI one with conditions on whole rules.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Action, Condition, Filter, Operator, Rule};
use crate::capability::Capability;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It is not JSON of this format.
    #[error("it is no seccomp profile")]
    Json(#[from] serde_json::Error),
    /// An action or operator that does not exist, or that needs a second process to decide.
    #[error("`{0}` is not supported")]
    Unsupported(String),
    /// A call has six arguments, counted from 0.
    #[error("there is no argument {0}")]
    Argument(u32),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    syscalls: Vec<Syscalls>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Syscalls {
    #[serde(default)]
    names: Vec<String>,
    /// One name, as old profiles have it.
    name: Option<String>,
    action: String,
    errno_ret: Option<u16>,
    args: Option<Vec<Argument>>,
    includes: Option<When>,
    excludes: Option<When>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct When {
    caps: Vec<String>,
    arches: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

impl Filter {
    /// Reads a profile for a process with these capabilities on this machine.
    ///
    /// A `minKernel` condition counts as fulfilled: the oldest kernel that anything here runs on is newer than those in use there.
    ///
    /// # Errors
    ///
    /// It is no profile, or uses what is not supported.
    pub fn from_profile(
        text: &[u8],
        capabilities: &BTreeSet<Capability>,
    ) -> Result<Self, ProfileError> {
        let profile: Profile = serde_json::from_slice(text)?;
        let default = action(&profile.default_action, profile.default_errno_ret)?;
        let mut rules = Vec::new();
        for entry in profile.syscalls {
            if !entry.applies(capabilities) {
                continue;
            }
            let default_errno = entry.errno_ret.or(profile.default_errno_ret);
            let action = action(&entry.action, default_errno)?;
            let conditions = entry
                .args
                .as_deref()
                .unwrap_or_default()
                .iter()
                .map(condition)
                .collect::<Result<Vec<_>, _>>()?;
            let names: Vec<String> = entry.names.into_iter().chain(entry.name).collect();
            // As in the reference: two conditions on one argument are alternatives, on different ones they must all hold.
            let twice = conditions.iter().enumerate().any(|(at, one)| {
                conditions[..at]
                    .iter()
                    .any(|other| other.index == one.index)
            });
            if twice {
                let alternatives = conditions.into_iter().map(|one| Rule {
                    names: names.clone(),
                    action,
                    conditions: vec![one],
                });
                rules.extend(alternatives);
            } else {
                rules.push(Rule {
                    names,
                    action,
                    conditions,
                });
            }
        }
        Ok(Self { default, rules })
    }
}

impl Syscalls {
    fn applies(&self, capabilities: &BTreeSet<Capability>) -> bool {
        let has = |name: &String| {
            name.parse()
                .is_ok_and(|capability| capabilities.contains(&capability))
        };
        let here = |names: &[String]| names.iter().any(|name| is_here(name));
        let included = self.includes.as_ref().is_none_or(|when| {
            when.caps.iter().all(has) && (when.arches.is_empty() || here(&when.arches))
        });
        let excluded = self
            .excludes
            .as_ref()
            .is_some_and(|when| when.caps.iter().any(has) || here(&when.arches));
        included && !excluded
    }
}

/// True if an architecture, as Go names it, is this machine's.
fn is_here(name: &str) -> bool {
    match std::env::consts::ARCH {
        "x86_64" => matches!(name, "amd64" | "x86"),
        "aarch64" => name == "arm64",
        _ => false,
    }
}

fn action(name: &str, errno: Option<u16>) -> Result<Action, ProfileError> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_LOG" => Action::Log,
        // The kernel takes 12 bits.
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(1).min(4095)),
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        other => return Err(ProfileError::Unsupported(other.to_owned())),
    })
}

fn condition(argument: &Argument) -> Result<Condition, ProfileError> {
    let operator = match argument.op.as_str() {
        "SCMP_CMP_EQ" => Operator::Equal,
        "SCMP_CMP_NE" => Operator::NotEqual,
        "SCMP_CMP_LT" => Operator::Less,
        "SCMP_CMP_LE" => Operator::LessOrEqual,
        "SCMP_CMP_GT" => Operator::Greater,
        "SCMP_CMP_GE" => Operator::GreaterOrEqual,
        "SCMP_CMP_MASKED_EQ" => Operator::MaskedEqual,
        other => return Err(ProfileError::Unsupported(other.to_owned())),
    };
    let index = u8::try_from(argument.index).ok().filter(|index| *index < 6);
    let index = index.ok_or(ProfileError::Argument(argument.index))?;
    Ok(Condition {
        index,
        operator,
        value: argument.value,
        masked: argument.value_two,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Filter, ProfileError> {
        Filter::from_profile(text.as_bytes(), &Capability::default_set())
    }

    #[test]
    fn conditions_on_rules_and_alternatives() {
        let filter = read(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "archMap": [], "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "", "includes": {}, "excludes": {}},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_CHROOT"]}},
            {"names": ["chmod"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_CHOWN"]}},
            {"name": "kill", "action": "SCMP_ACT_ERRNO"},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "value": 1, "valueTwo": 0, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}]}"#,
        )
        .unwrap();
        assert_eq!(filter.default, Action::Errno(38));
        let names: Vec<_> = filter
            .rules
            .iter()
            .map(|rule| rule.names.join(","))
            .collect();
        assert_eq!(names, ["read,write", "chroot", "kill", "socket", "socket"]);
        assert_eq!(filter.rules[2].action, Action::Errno(38));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let notify = r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#;
        assert_eq!(
            read(notify).unwrap_err().to_string(),
            "`SCMP_ACT_NOTIFY` is not supported"
        );
        assert!(read("[]").is_err());
        let index = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_TRAP",
            "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]}"#;
        assert_eq!(
            read(index).unwrap_err().to_string(),
            "there is no argument 6"
        );
    }
}
