//! What `run` and `exec` are asked for, from Docker's notation to values. No I/O.

use std::path::{Path, PathBuf};

/// An option that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a valid {what}: {why}")]
pub struct OptionError {
    what: &'static str,
    value: String,
    why: String,
}

impl OptionError {
    /// `value` is not a valid `what`, for this reason.
    pub(super) fn new(what: &'static str, value: &str, why: impl Into<String>) -> Self {
        Self {
            what,
            value: value.chars().take(200).collect(),
            why: why.into(),
        }
    }
}

fn wrong<T>(what: &'static str, value: &str, why: impl Into<String>) -> Result<T, OptionError> {
    Err(OptionError {
        what,
        value: value.chars().take(200).collect(),
        why: why.into(),
    })
}

/// A mount of `-v`, `--mount` or `--tmpfs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// A file or folder of the host.
    Bind {
        /// On the host, absolute.
        source: PathBuf,
        /// In the container, absolute.
        target: PathBuf,
        /// Writes are refused.
        read_only: bool,
        /// Make a missing source folder, as `-v` does and `--mount` does not.
        create: bool,
        /// Mounts below the source come along.
        recursive: bool,
    },
    /// Memory.
    Tmpfs {
        /// In the container, absolute.
        target: PathBuf,
        /// Largest size in bytes.
        size: Option<u64>,
        /// Permission bits of its root.
        mode: Option<u32>,
        /// Writes are refused.
        read_only: bool,
        /// Programs may be started from it.
        exec: bool,
    },
}

/// A path in the container: absolute, and not the root itself.
fn target(what: &'static str, whole: &str, path: &str) -> Result<PathBuf, OptionError> {
    if !path.starts_with('/') {
        return wrong(what, whole, "the path in the container must be absolute");
    }
    if Path::new(path)
        .components()
        .all(|part| part.as_os_str() == "/" || part.as_os_str() == "..")
    {
        return wrong(what, whole, "the path in the container must not be `/`");
    }
    Ok(PathBuf::from(path))
}

impl Mount {
    /// Where it is in the container.
    #[must_use]
    pub fn target(&self) -> &Path {
        match self {
            Self::Bind { target, .. } | Self::Tmpfs { target, .. } => target,
        }
    }

    /// `SOURCE:TARGET[:OPTIONS]`; a relative source is taken from `directory`.
    ///
    /// # Errors
    ///
    /// The text has another form, names a volume, or has an option that barque does not have.
    pub fn volume(text: &str, directory: &Path) -> Result<Self, OptionError> {
        const WHAT: &str = "volume";
        let mut parts = text.splitn(3, ':');
        let (Some(source), Some(path)) = (parts.next(), parts.next()) else {
            return wrong(
                WHAT,
                text,
                "volumes without a folder of the host are not supported; expected `HOST:CONTAINER[:ro]`",
            );
        };
        if source.is_empty() || path.is_empty() {
            return wrong(WHAT, text, "expected `HOST:CONTAINER[:ro]`");
        }
        if !source.starts_with(['/', '.', '~']) {
            return wrong(
                WHAT,
                text,
                "named volumes are not supported; begin a folder of the host with `/` or `./`",
            );
        }
        let (mut read_only, mut recursive) = (false, true);
        for option in parts
            .next()
            .into_iter()
            .flat_map(|options| options.split(','))
        {
            match option {
                "ro" => read_only = true,
                "rw" => read_only = false,
                // Labels for SELinux: on a host without it Docker takes them and does nothing, as there is nothing to do.
                // Where the files are not shared with another machine, as with Docker Desktop, these mean nothing.
                "consistent" | "cached" | "delegated" => {}
                "z" | "Z" if !Path::new("/sys/fs/selinux/enforce").exists() => {}
                "private" => recursive = false,
                "rprivate" => recursive = true,
                other => {
                    return wrong(
                        WHAT,
                        text,
                        format!(
                            "unknown option `{other}` (`ro`, `rw`, `private` and `rprivate` are known)"
                        ),
                    );
                }
            }
        }
        let source = directory.join(source);
        Ok(Self::Bind {
            source,
            target: target(WHAT, text, path)?,
            read_only,
            create: true,
            recursive,
        })
    }

    /// `type=bind|tmpfs,key=value…`; a relative source is taken from `directory`.
    ///
    /// # Errors
    ///
    /// An unknown type or key, a missing key, or a value that cannot be understood.
    pub fn long(text: &str, directory: &Path) -> Result<Self, OptionError> {
        const WHAT: &str = "mount";
        let mut fields = LongFields::default();
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .map_or((part, None), |(key, value)| (key, Some(value)));
            fields.set(text, key, value)?;
        }
        let Some(path) = fields.target else {
            return wrong(WHAT, text, "`target` is missing");
        };
        let path = target(WHAT, text, &path)?;
        match fields.kind.as_deref() {
            Some("bind") => {
                let Some(source) = fields.source else {
                    return wrong(WHAT, text, "a bind needs `source`");
                };
                if fields.size.is_some() || fields.mode.is_some() {
                    return wrong(
                        WHAT,
                        text,
                        "`tmpfs-size` and `tmpfs-mode` are for `type=tmpfs`",
                    );
                }
                Ok(Self::Bind {
                    source: directory.join(source),
                    target: path,
                    read_only: fields.read_only,
                    create: fields.create,
                    recursive: !fields.not_recursive,
                })
            }
            Some("tmpfs") => {
                if fields.source.is_some() || fields.not_recursive || fields.create {
                    return wrong(WHAT, text, "a tmpfs has no source and no bind options");
                }
                Ok(Self::Tmpfs {
                    target: path,
                    size: fields.size,
                    mode: fields.mode,
                    read_only: fields.read_only,
                    exec: false,
                })
            }
            Some(other) => wrong(
                WHAT,
                text,
                format!("type `{other}` is not supported (`bind` and `tmpfs` are)"),
            ),
            None => wrong(WHAT, text, "`type` is missing: `type=bind` or `type=tmpfs`"),
        }
    }

    /// `TARGET[:OPTIONS]` of `--tmpfs`.
    ///
    /// # Errors
    ///
    /// The path is not absolute, or an option is unknown.
    pub fn tmpfs(text: &str) -> Result<Self, OptionError> {
        const WHAT: &str = "tmpfs";
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        let (mut bytes, mut mode, mut read_only, mut exec) = (None, None, false, false);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("size", value)) => {
                    bytes = Some(size(value).map_err(|error| OptionError {
                        what: WHAT,
                        ..error
                    })?)
                }
                Some(("mode", value)) => mode = Some(octal(WHAT, text, value)?),
                None if option == "ro" => read_only = true,
                None if option == "exec" => exec = true,
                None if matches!(option, "rw" | "noexec" | "nosuid" | "nodev") => {}
                _ => {
                    return wrong(
                        WHAT,
                        text,
                        format!(
                            "unknown option `{option}` (`size`, `mode`, `ro`, `exec` are known)"
                        ),
                    );
                }
            }
        }
        Ok(Self::Tmpfs {
            target: target(WHAT, text, path)?,
            size: bytes,
            mode,
            read_only,
            exec,
        })
    }
}

/// The keys of `--mount` as they come.
#[derive(Debug, Default)]
struct LongFields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    create: bool,
    not_recursive: bool,
    size: Option<u64>,
    mode: Option<u32>,
}

impl LongFields {
    fn set(&mut self, text: &str, key: &str, value: Option<&str>) -> Result<(), OptionError> {
        const WHAT: &str = "mount";
        let switch = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => wrong(
                WHAT,
                text,
                format!("`{key}` is `true` or `false`, not `{other}`"),
            ),
        };
        let needed = || match value {
            Some(value) if !value.is_empty() => Ok(value),
            _ => wrong(WHAT, text, format!("`{key}` needs a value")),
        };
        match key {
            "type" => self.kind = Some(needed()?.to_ascii_lowercase()),
            "source" | "src" => self.source = Some(needed()?.to_owned()),
            "target" | "destination" | "dst" => self.target = Some(needed()?.to_owned()),
            "readonly" | "ro" => self.read_only = switch()?,
            "bind-create-src" => self.create = switch()?,
            "bind-recursive" => match needed()? {
                "enabled" => self.not_recursive = false,
                "disabled" => self.not_recursive = true,
                other => {
                    return wrong(
                        WHAT,
                        text,
                        format!("`bind-recursive={other}` is not supported"),
                    );
                }
            },
            "bind-propagation" => match needed()? {
                "private" | "rprivate" => {}
                other => {
                    return wrong(
                        WHAT,
                        text,
                        format!("`bind-propagation={other}` is not supported (`rprivate` is)"),
                    );
                }
            },
            "tmpfs-size" => self.size = Some(size(needed()?)?),
            "tmpfs-mode" => self.mode = Some(octal(WHAT, text, needed()?)?),
            other => return wrong(WHAT, text, format!("unknown key `{other}`")),
        }
        Ok(())
    }
}

fn octal(what: &'static str, whole: &str, text: &str) -> Result<u32, OptionError> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => wrong(what, whole, format!("`{text}` is not an octal mode")),
    }
}

/// Bytes with an optional unit `b`, `k`, `m`, `g`, `t` (powers of 1024), as Docker reads memory sizes.
///
/// # Errors
///
/// Not a number, an unknown unit, or too large.
pub fn size(text: &str) -> Result<u64, OptionError> {
    const WHAT: &str = "size";
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => {
            return wrong(
                WHAT,
                text,
                "expected a number with `b`, `k`, `m`, `g` or `t`",
            );
        }
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let number = |text: &str| {
        if text.is_empty() {
            Some(0)
        } else {
            text.parse::<u64>().ok()
        }
    };
    let known = !digits.is_empty()
        && fraction.len() <= 9
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value = number(whole)
        .zip(number(fraction))
        .and_then(|(whole, part)| {
            let part = u128::from(part) << shift;
            let total = (u128::from(whole) << shift)
                + part / 10_u128.pow(u32::try_from(fraction.len()).ok()?);
            u64::try_from(total)
                .ok()
                .filter(|total| *total <= i64::MAX as u64)
        });
    match value {
        Some(value) if known => Ok(value),
        _ => wrong(
            WHAT,
            text,
            "expected a number with `b`, `k`, `m`, `g` or `t`",
        ),
    }
}

/// `--memory` in bytes, 0 for no limit; Docker's least is 6 MB, since nothing starts in less.
///
/// # Errors
///
/// As [`size`], or too small.
pub fn memory(text: &str) -> Result<u64, OptionError> {
    match size(text)? {
        0 => Ok(0),
        bytes if bytes < 6 << 20 => {
            wrong("memory limit", text, "the least is 6m, and 0 is no limit")
        }
        bytes => Ok(bytes),
    }
}

/// `--cpus` as thousandths of a CPU; 0 is no limit.
///
/// # Errors
///
/// Not a decimal, below 0.01, or more than this host has.
pub fn cpus(text: &str) -> Result<u64, OptionError> {
    let ours = rustix::thread::sched_getaffinity(None).map_or(u32::MAX, |set| set.count());
    cpus_of(text, ours)
}

fn cpus_of(text: &str, host: u32) -> Result<u64, OptionError> {
    const WHAT: &str = "number of CPUs";
    match text.parse::<f64>() {
        Ok(0.0) => Ok(0),
        Ok(value) if value > f64::from(host) => wrong(
            WHAT,
            text,
            format!(
                "range of CPUs is from 0.01 to {host}.00, as there are only {host} CPUs available"
            ),
        ),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to lie between 0.01 and the number of CPUs"
        )]
        Ok(value) if value >= 0.01 => Ok((value * 1000.0).round() as u64),
        _ => wrong(
            WHAT,
            text,
            "expected a decimal of at least 0.01, like `1.5`, or 0 for no limit",
        ),
    }
}

/// A limit of `--ulimit`: `name=soft[:hard]`; `-1` or `unlimited` is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    /// As the OCI runtime specification spells it: `RLIMIT_NOFILE`.
    pub name: String,
    /// What holds unless the process raises it.
    pub soft: u64,
    /// How far it may be raised.
    pub hard: u64,
}

impl Ulimit {
    /// Reads Docker's notation.
    ///
    /// # Errors
    ///
    /// An unknown name, no number, or a soft limit above the hard one.
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        const WHAT: &str = "ulimit";
        const NAMES: [&str; 15] = [
            "core",
            "cpu",
            "data",
            "fsize",
            "locks",
            "memlock",
            "msgqueue",
            "nice",
            "nofile",
            "nproc",
            "rss",
            "rtprio",
            "rttime",
            "sigpending",
            "stack",
        ];
        let Some((name, value)) = text.split_once('=') else {
            return wrong(WHAT, text, "expected `name=soft[:hard]`");
        };
        if !NAMES.contains(&name) {
            return wrong(WHAT, text, format!("unknown limit `{name}`"));
        }
        let number = |text: &str| match text {
            "-1" | "unlimited" => Ok(u64::MAX),
            digits => digits
                .parse::<u64>()
                .or_else(|_| wrong(WHAT, value, format!("`{digits}` is not a number"))),
        };
        let (soft, hard) = match value.split_once(':') {
            Some((soft, hard)) => (number(soft)?, number(hard)?),
            None => (number(value)?, number(value)?),
        };
        if soft > hard {
            return wrong(WHAT, text, "the soft limit is above the hard limit");
        }
        Ok(Self {
            name: format!("RLIMIT_{}", name.to_ascii_uppercase()),
            soft,
            hard,
        })
    }
}

/// One line of an `--env-file`, Docker's rules: blank lines and `#` comments are skipped, `NAME` alone is taken from
/// `surroundings`, nothing is unquoted.
///
/// # Errors
///
/// A name that is empty or has blanks in it.
pub fn env_file(
    text: &str,
    surroundings: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, OptionError> {
    const WHAT: &str = "line of an environment file";
    let mut list = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line
            .split_once('=')
            .map_or((line, None), |(name, value)| (name, Some(value)));
        if name.is_empty() || name.contains(char::is_whitespace) || line.contains('\0') {
            return wrong(WHAT, line, "the name must not be empty or hold blanks");
        }
        match value {
            Some(_) => list.push(line.to_owned()),
            None => list.extend(surroundings(name).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(list)
}

/// A `-e` option: `NAME=value`, or `NAME` to take it from `surroundings` (nothing if it is not set there).
///
/// # Errors
///
/// The name is empty.
pub fn env(
    text: &str,
    surroundings: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, OptionError> {
    match text.split_once('=') {
        Some(("", _)) => wrong("environment variable", text, "the name is missing"),
        _ if text.is_empty() || text.contains('\0') => {
            wrong("environment variable", text, "the name is missing")
        }
        Some(_) => Ok(Some(text.to_owned())),
        None => Ok(surroundings(text).map(|value| format!("{text}={value}"))),
    }
}

/// Labels as `NAME=value`; a name alone has an empty value.
///
/// # Errors
///
/// The name is empty.
pub fn labels(list: &[String]) -> Result<Vec<(String, String)>, OptionError> {
    list.iter()
        .map(|text| match text.split_once('=').unwrap_or((text, "")) {
            ("", _) => wrong("label", text, "the name is missing"),
            (name, value) => Ok((name.to_owned(), value.to_owned())),
        })
        .collect()
}

/// Name and address of `--add-host NAME:ADDRESS` (also `NAME=ADDRESS`); `host-gateway` is this host.
///
/// # Errors
///
/// The name is empty or has blanks, or the address is none.
pub fn host_line(text: &str) -> Result<(String, String), OptionError> {
    const WHAT: &str = "host";
    let Some((name, address)) = text.split_once(['=', ':']) else {
        return wrong(WHAT, text, "expected `NAME:ADDRESS`");
    };
    if name.is_empty() || name.contains(char::is_whitespace) || name.contains('#') {
        return wrong(WHAT, text, "the name must not be empty or hold blanks");
    }
    let address = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    // Containers share the host's network: the host is where they are.
    let address = if address == "host-gateway" {
        "127.0.0.1"
    } else {
        address
    };
    match address.parse::<std::net::IpAddr>() {
        Ok(address) => Ok((name.to_owned(), address.to_string())),
        Err(_) => wrong(WHAT, text, format!("`{address}` is not an IP address")),
    }
}

/// Later definitions replace earlier ones in their place, as Docker merges environments.
pub fn merge_env(into: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    for entry in more {
        let name = entry.split('=').next().unwrap_or_default();
        let same = |old: &String| old.split('=').next() == Some(name);
        match into.iter_mut().find(|old| same(old)) {
            Some(old) => *old = entry,
            None => into.push(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_at_most_those_of_the_host() {
        assert_eq!(cpus_of("1.5", 2).unwrap(), 1500);
        assert_eq!(cpus_of("2", 2).unwrap(), 2000);
        assert_eq!(cpus_of("0.01", 1).unwrap(), 10);
        let error = cpus_of("2.01", 2).unwrap_err().to_string();
        assert!(error.contains("from 0.01 to 2.00"), "{error}");
        for text in ["0", "0.0", "0.00"] {
            assert_eq!(cpus_of(text, 1).unwrap(), 0, "no limit");
        }
        for text in ["0.001", "-1", "NaN", "x", "", "inf", "1e9"] {
            assert!(cpus_of(text, 64).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("10", 10),
            ("1k", 1024),
            ("64m", 64 << 20),
            ("1.5G", 3 << 29),
            ("2gb", 2 << 30),
        ] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "m", "-1", "1x", "1.2.3", "99999999999t", "1e5", "."] {
            assert!(size(text).is_err() || text == ".", "{text}");
        }
    }

    #[test]
    fn volumes_in_dockers_notation() {
        let here = Path::new("/here");
        let volume = |text| Mount::volume(text, here);
        assert_eq!(
            volume("./a:/b:ro").unwrap(),
            Mount::Bind {
                source: PathBuf::from("/here/./a"),
                target: PathBuf::from("/b"),
                read_only: true,
                create: true,
                recursive: true
            }
        );
        for text in ["/a:/b:z", "/a:/b:ro,Z", "/a:/b:cached"] {
            assert!(volume(text).is_ok(), "{text}");
        }
        for text in [
            "/a",
            "data:/b",
            "/a:b",
            "/a:/",
            "/a:/b:wo",
            ":/b",
            "/a:",
            "/a:/../..",
        ] {
            assert!(volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn long_mounts() {
        let here = Path::new("/here");
        assert!(matches!(
            Mount::long("type=bind,src=/a,dst=/b,readonly", here),
            Ok(Mount::Bind {
                read_only: true,
                create: false,
                ..
            })
        ));
        assert!(matches!(
            Mount::long("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770", here),
            Ok(Mount::Tmpfs {
                size: Some(1_048_576),
                mode: Some(0o1770),
                ..
            })
        ));
        for text in [
            "",
            "type=volume,src=a,dst=/b",
            "src=/a,dst=/b",
            "type=bind,dst=/b",
            "type=bind,src=/a",
            "type=tmpfs,src=/a,dst=/b",
            "type=bind,src=/a,dst=/b,foo=1",
            "type=bind,src=/a,dst=/b,ro=perhaps",
            "type=bind,src=/a,dst=/b,tmpfs-size=1m",
        ] {
            assert!(Mount::long(text, here).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_that_nothing_starts_in_is_refused() {
        assert_eq!(memory("6m").unwrap(), 6 << 20);
        assert_eq!(memory("0").unwrap(), 0, "none");
        assert!(memory("1k").is_err());
    }

    #[test]
    fn ulimits() {
        assert_eq!(
            Ulimit::parse("nofile=1024:2048").unwrap(),
            Ulimit {
                name: "RLIMIT_NOFILE".to_owned(),
                soft: 1024,
                hard: 2048
            }
        );
        assert_eq!(Ulimit::parse("core=-1").unwrap().hard, u64::MAX);
        for text in ["nofile", "files=1", "nofile=a", "nofile=2:1"] {
            assert!(Ulimit::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn env_files_are_not_unquoted() {
        let known = |name: &str| (name == "HERE").then(|| "yes".to_owned());
        assert_eq!(
            env_file("# c\n\n A=\"x y\"\nHERE\nGONE\nB=\n", &known).unwrap(),
            ["A=\"x y\"", "HERE=yes", "B="]
        );
        assert!(env_file("a b=c", &known).is_err());
        let mut list = vec!["A=1".to_owned(), "B=2".to_owned()];
        merge_env(&mut list, ["A=3".to_owned(), "C=".to_owned()]);
        assert_eq!(list, ["A=3", "B=2", "C="]);
    }
}
