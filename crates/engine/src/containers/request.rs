//! What `run` is asked for, as values.

use std::path::{Path, PathBuf};

use super::{Mount, OptionError, Ulimit};

/// What `run` is asked for.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// Name or id.
    pub image: String,
    /// In place of the image's command.
    pub command: Vec<String>,
    /// The container's name; a generated one if there is none.
    pub name: Option<String>,
    /// Labels over those of the image.
    pub labels: Vec<(String, String)>,
    /// It goes when it ends.
    pub remove: bool,
    /// Do not wait for its end.
    pub detach: bool,
    /// Pass our standard input on.
    pub interactive: bool,
    /// Give it a terminal.
    pub terminal: bool,
    /// `NAME=value`, over those of the image.
    pub env: Vec<String>,
    /// In place of the image's working directory.
    pub workdir: Option<String>,
    /// In place of the image's user: `USER[:GROUP]`.
    pub user: Option<String>,
    /// In place of the image's entrypoint; empty for none.
    pub entrypoint: Option<String>,
    /// With a small process 1.
    pub init: bool,
    /// What `stop` sends.
    pub stop_signal: Option<String>,
    /// What is mounted.
    pub mounts: Vec<Mount>,
    /// Writes to the root filesystem are refused.
    pub read_only: bool,
    /// The host name; the beginning of the id if there is none.
    pub hostname: Option<String>,
    /// Lines for `/etc/hosts`: `NAME:ADDRESS`.
    pub add_hosts: Vec<String>,
    /// The network.
    pub network: Network,
    /// Capabilities to add.
    pub cap_add: Vec<String>,
    /// Capabilities to take away.
    pub cap_drop: Vec<String>,
    /// All capabilities and devices, nothing filtered or masked.
    pub privileged: bool,
    /// What `--security-opt` said.
    pub security: Security,
    /// Limits of the process.
    pub ulimits: Vec<Ulimit>,
    /// Most memory in bytes; 0 is no limit.
    pub memory: Option<u64>,
    /// Thousandths of a CPU; 0 is no limit.
    pub cpus: Option<u64>,
    /// Most processes; not positive is no limit.
    pub pids: Option<i64>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Where the id is written.
    pub cidfile: Option<PathBuf>,
}

/// The network of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// The host's.
    #[default]
    Host,
    /// Only a loopback device.
    None,
}

/// Reads `--network`.
///
/// # Errors
///
/// A network that barque does not have.
pub fn network(text: &str) -> Result<Network, OptionError> {
    match text {
        "host" => Ok(Network::Host),
        "none" => Ok(Network::None),
        other => Err(OptionError::new(
            "network",
            other,
            "`host` and `none` are supported",
        )),
    }
}

/// What `--security-opt` can say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// No system call is filtered.
    pub unconfined: bool,
    /// This profile instead of the default one, in Docker's JSON format.
    pub profile: Option<String>,
    /// Programs started in the container gain no privileges.
    pub no_new_privileges: bool,
}

/// Reads the values of `--security-opt`; `read` gets the text of a profile.
///
/// # Errors
///
/// An option that is not known, or a profile that cannot be read.
pub fn security<E: From<OptionError>>(
    options: &[String],
    read: &dyn Fn(&Path) -> Result<String, E>,
) -> Result<Security, E> {
    const WHAT: &str = "security option";
    let mut security = Security::default();
    for option in options {
        let (key, value) = option
            .split_once(['=', ':'])
            .map_or((option.as_str(), None), |(key, value)| (key, Some(value)));
        match (key, value) {
            ("seccomp", Some("unconfined")) => {
                (security.unconfined, security.profile) = (true, None)
            }
            ("seccomp", Some("builtin" | "default")) => {
                (security.unconfined, security.profile) = (false, None)
            }
            ("seccomp", Some(file)) if !file.is_empty() => {
                (security.unconfined, security.profile) = (false, Some(read(Path::new(file))?));
            }
            ("no-new-privileges", None | Some("true")) => security.no_new_privileges = true,
            ("no-new-privileges", Some("false")) => security.no_new_privileges = false,
            // On a host without these modules there is nothing to be confined by, so taking it off changes nothing.
            ("apparmor", Some("unconfined"))
                if !Path::new("/sys/kernel/security/apparmor").exists() => {}
            ("label", Some("disable")) if !Path::new("/sys/fs/selinux/enforce").exists() => {}
            _ => {
                let why =
                    "`seccomp=unconfined`, `seccomp=FILE` and `no-new-privileges` are supported";
                return Err(OptionError::new(WHAT, option, why).into());
            }
        }
    }
    Ok(security)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_options() {
        let read = |path: &Path| Ok::<_, OptionError>(format!("profile {}", path.display()));
        let options = |words: &[&str]| {
            security(
                &words
                    .iter()
                    .map(|word| (*word).to_owned())
                    .collect::<Vec<_>>(),
                &read,
            )
        };
        assert!(
            options(&["seccomp=unconfined", "no-new-privileges"])
                .unwrap()
                .unconfined
        );
        assert_eq!(
            options(&["seccomp=/p.json"]).unwrap().profile.as_deref(),
            Some("profile /p.json")
        );
        assert!(
            options(&["no-new-privileges:true"])
                .unwrap()
                .no_new_privileges
        );
        assert!(options(&["mystery=1"]).is_err());
    }
}
