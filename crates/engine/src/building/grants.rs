//! What a build is given beside its context: secrets, ssh agents, and leave to do more than a sandbox allows.
//!
//! Key files of `--ssh ID=FILE` are served by the `ssh-agent` of this machine, and read by its `ssh-add`. Everyone who has such a key has these
//! programs; with them go all the formats of keys and hardware that they know, and no private key is ever in our memory. They
//! were considered against the crates for the protocol (`ssh-agent-lib`, `ssh-key`), which would bring the arithmetic of
//! three kinds of keys into this program for a single option.

use std::collections::BTreeMap;
use std::fs::{File, FileType};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use build::{Grants, SecretSource};
use store::{Lease, Store};
use sys::process::Handle;

use crate::Error;

/// What is asked of the caller's environment: the value of a variable.
pub type Here<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

/// A secret of `--secret`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The name by which the Dockerfile knows it.
    pub id: String,
    /// Where it is.
    pub source: SecretSource,
}

/// An agent of `--ssh`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The name by which the Dockerfile knows it.
    pub id: String,
    /// Sockets or keys.
    pub from: AgentSource,
}

/// Where an agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSource {
    /// It listens on this socket.
    Socket(PathBuf),
    /// One that has these keys is to be started.
    Keys(Vec<PathBuf>),
}

fn refused(flag: &'static str, text: &str, why: impl Into<String>) -> Error {
    Error::Grant {
        flag,
        text: text.to_owned(),
        why: why.into(),
    }
}

/// What is there; why it is of no use, if it is nothing or a folder.
fn file_type(path: &Path) -> Result<FileType, String> {
    let kind = sys::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .file_type();
    match kind.is_dir() {
        true => Err(format!("`{}` is a folder", path.display())),
        false => Ok(kind),
    }
}

impl Secret {
    /// Understands `id=X[,src=FILE|,env=NAME][,type=file|env]`. With an id alone it is the variable of that name, or else
    /// the file.
    ///
    /// # Errors
    ///
    /// A field that means nothing, no id, or a file that is not there.
    pub fn parse(text: &str, here: Here<'_>) -> Result<Self, Error> {
        let wrong = |why: String| refused("--secret", text, why);
        let (mut id, mut file, mut env, mut kind) = (None, None, None, None);
        for field in dockerfile::csv::fields(text).map_err(|error| wrong(error.message))? {
            let Some((key, value)) = field.split_once('=') else {
                return Err(wrong(format!("`{field}` is not KEY=VALUE")));
            };
            let value = value.to_owned();
            match key.to_ascii_lowercase().as_str() {
                "id" => id = Some(value),
                "src" | "source" => file = Some(value),
                "env" => env = Some(value),
                "type" if value == "file" || value == "env" => kind = Some(value),
                "type" => return Err(wrong(format!("there is no type `{value}`"))),
                _ => return Err(wrong(format!("there is no key `{key}`"))),
            }
        }
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return Err(wrong("it has no id".to_owned()));
        };
        let (file, env) = (
            file.filter(|file| !file.is_empty()),
            env.filter(|env| !env.is_empty()),
        );
        let variable = match (kind.as_deref(), &file, &env) {
            (_, Some(_), Some(_)) => {
                return Err(wrong("it is either a file or a variable".to_owned()));
            }
            (Some("file"), _, Some(_)) => {
                return Err(wrong("a file is named by `src`".to_owned()));
            }
            (_, None, Some(env)) => Some(env.clone()),
            (Some("env"), file, None) => Some(file.clone().unwrap_or_else(|| id.clone())),
            (None, None, None) if here(&id).is_some() => Some(id.clone()),
            _ => None,
        };
        let source = match variable {
            // One that is not set is empty, as with Docker.
            Some(name) => SecretSource::Value(here(&name).unwrap_or_default()),
            None => {
                let path = PathBuf::from(file.unwrap_or_else(|| id.clone()));
                file_type(&path).map_err(wrong)?;
                SecretSource::File(path)
            }
        };
        Ok(Self { id, source })
    }
}

impl Agent {
    /// Understands `default`, `ID` and `ID=SOCKET|KEY[,KEY…]`. Without a path it is the caller's own agent, whose socket `own` names.
    ///
    /// # Errors
    ///
    /// A path is missing, or a socket is named together with something else.
    pub fn parse(text: &str, own: Option<&Path>) -> Result<Self, Error> {
        let wrong = |why: String| refused("--ssh", text, why);
        let (id, paths) = match text.split_once('=') {
            Some((id, paths)) => (id, Some(paths)),
            None => (text, None),
        };
        if id.is_empty() {
            return Err(wrong("it has no id".to_owned()));
        }
        let id = id.to_owned();
        let Some(paths) = paths else {
            let Some(own) = own else {
                return Err(wrong("`SSH_AUTH_SOCK` is not set".to_owned()));
            };
            let from = AgentSource::Socket(own.to_owned());
            return Ok(Self { id, from });
        };
        let mut keys = Vec::new();
        for path in dockerfile::csv::fields(paths).map_err(|error| wrong(error.message))? {
            let path = PathBuf::from(path);
            if !file_type(&path).map_err(wrong)?.is_socket() {
                keys.push(path);
            } else if paths.contains(',') {
                return Err(wrong(
                    "a socket goes neither with keys nor with another socket".to_owned(),
                ));
            } else {
                let from = AgentSource::Socket(path);
                return Ok(Self { id, from });
            }
        }
        Ok(Self {
            id,
            from: AgentSource::Keys(keys),
        })
    }
}

/// Understands the words of `--allow`.
///
/// # Errors
///
/// Something that barque cannot grant.
pub(super) fn allowed(words: &[String], host_network: bool) -> Result<Grants, Error> {
    let mut grants = Grants {
        // Who asks for it for the whole build has agreed.
        network_host: host_network,
        insecure: false,
    };
    for word in words.iter().flat_map(|words| words.split(',')) {
        match word {
            "network.host" => grants.network_host = true,
            "security.insecure" => grants.insecure = true,
            "device" => {
                let why = "devices cannot be given to a build";
                return Err(refused("--allow", word, why));
            }
            _ if word.starts_with("device=") => {
                let why = "devices cannot be given to a build";
                return Err(refused("--allow", word, why));
            }
            _ => {
                let known = ["network.host", "security.insecure"];
                let why = match dockerfile::nearest(word, known) {
                    Some(near) => format!("there is no such entitlement; did you mean `{near}`?"),
                    None => format!("entitlements are {}", known.join(" and ")),
                };
                return Err(refused("--allow", word, why));
            }
        }
    }
    Ok(grants)
}

/// Where the agents of a build listen; those that were started for it end with this.
#[derive(Debug)]
pub(super) struct Agents {
    pub(super) sockets: BTreeMap<String, PathBuf>,
    _own: Vec<OwnAgent>,
    /// What their folders are in; goes after them.
    _lease: Option<Lease>,
}

impl Agents {
    /// Finds agents, and starts those that there are only keys for.
    pub(super) fn open(agents: &[Agent], store: &Store) -> Result<Self, Error> {
        let mut lease = None;
        let mut sockets = BTreeMap::new();
        let mut own = Vec::new();
        for agent in agents {
            let wrong = |why: String| refused("--ssh", &agent.id, why);
            let socket = match &agent.from {
                AgentSource::Socket(path) => {
                    if !sys::fs::metadata(path)?.file_type().is_socket() {
                        return Err(wrong(format!(
                            "`{}` is not the socket of an agent",
                            path.display()
                        )));
                    }
                    path.clone()
                }
                AgentSource::Keys(keys) => {
                    let lease = match &lease {
                        Some(lease) => lease,
                        None => lease.insert(store.lease("ssh")?),
                    };
                    let folder = lease.temporary("agent");
                    let started = OwnAgent::start(&folder, keys, &wrong)?;
                    let socket = started.folder.join(SOCKET);
                    own.push(started);
                    socket
                }
            };
            sockets.insert(agent.id.clone(), socket);
        }
        Ok(Self {
            sockets,
            _own: own,
            _lease: lease,
        })
    }
}

/// The socket's name in the folder of an agent of ours.
const SOCKET: &str = "agent";

/// An `ssh-agent` that we started. It ends with us, however we end: it lives as long as the small shell below it, and that as
/// long as the pipe that it reads from.
#[derive(Debug)]
struct OwnAgent {
    folder: PathBuf,
    shell: Child,
    agent: Option<Handle>,
}

impl OwnAgent {
    fn start(
        folder: &Path,
        keys: &[PathBuf],
        wrong: &dyn Fn(String) -> Error,
    ) -> Result<Self, Error> {
        sys::fs::create_dir(folder)?;
        let missing = |error: std::io::Error| {
            wrong(format!(
                "cannot start `ssh-agent`, which serves key files: {error}"
            ))
        };
        // A name without a folder: the whole path could be longer than the name of a socket may be.
        let mut shell = Command::new("ssh-agent")
            .args(["-a", SOCKET, "/bin/sh", "-c"])
            .arg("echo \"$SSH_AGENT_PID\"; exec cat")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(missing)?;
        // It listens before it starts the shell.
        let mut line = String::new();
        if let Some(output) = shell.stdout.take() {
            BufReader::new(output).read_line(&mut line).ok();
        }
        let pid = line.trim().parse::<i32>();
        let agent = pid.ok().and_then(|pid| Handle::open(pid).ok());
        let started = Self {
            folder: folder.to_owned(),
            shell,
            agent,
        };
        if started.agent.is_none() {
            return Err(wrong("`ssh-agent` did not start".to_owned()));
        }
        for key in keys {
            started.add(key, wrong)?;
        }
        Ok(started)
    }

    fn add(&self, key: &Path, wrong: &dyn Fn(String) -> Error) -> Result<(), Error> {
        let file: File = sys::fs::open(key)?;
        let added = Command::new("ssh-add")
            .args(["-q", "-"])
            .current_dir(&self.folder)
            .env("SSH_AUTH_SOCK", SOCKET)
            // There is nobody to ask for a passphrase.
            .env("SSH_ASKPASS", "/bin/false")
            .env("SSH_ASKPASS_REQUIRE", "force")
            .stdin(file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .map_err(|error| wrong(format!("cannot start `ssh-add`: {error}")))?;
        if added.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&added.stderr);
        let said = said.lines().next_back().unwrap_or_default().trim();
        Err(wrong(format!(
            "`{}` is no key without a passphrase: {said}",
            key.display()
        )))
    }
}

impl Drop for OwnAgent {
    fn drop(&mut self) {
        if let Some(agent) = &self.agent {
            agent.signal(TERM).ok();
        }
        drop(self.shell.stdin.take());
        self.shell.wait().ok();
    }
}

/// `SIGTERM`.
const TERM: i32 = rustix::process::Signal::TERM.as_raw();

#[cfg(test)]
mod tests {
    use super::*;

    fn here(name: &str) -> Option<Vec<u8>> {
        (name == "TOKEN").then(|| b"value".to_vec())
    }

    #[test]
    fn secrets_are_files_or_variables() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        std::fs::write(&file, "x").unwrap();
        let file = file.to_str().unwrap();
        let value = |text: &str| SecretSource::Value(text.as_bytes().to_vec());
        let path = || SecretSource::File(PathBuf::from(file));
        for (text, id, source) in [
            (format!("id=s,src={file}"), "s", path()),
            (format!("type=file,id=s,source={file}"), "s", path()),
            (format!("\"id=s\",\"src={file}\""), "s", path()),
            (format!("id={file}"), file, path()),
            ("id=s,env=TOKEN".to_owned(), "s", value("value")),
            ("id=s,src=TOKEN,type=env".to_owned(), "s", value("value")),
            ("type=env,id=TOKEN".to_owned(), "TOKEN", value("value")),
            ("id=TOKEN".to_owned(), "TOKEN", value("value")),
            ("ID=s,Env=NOT_SET".to_owned(), "s", value("")),
        ] {
            let secret = Secret::parse(&text, &here).unwrap();
            assert_eq!((secret.id.as_str(), secret.source), (id, source), "{text}");
        }
        for bad in [
            "",
            "s",
            "src=f",
            "id=",
            "id=s,type=dir",
            "id=s,nosuch=1",
            "id=s,src=a,env=TOKEN",
            "id=s,src=/no/such/file",
            "id=s,type=file,env=TOKEN",
            "id=/",
        ] {
            assert!(Secret::parse(bad, &here).is_err(), "{bad}");
        }
        let error = Secret::parse("id=s,src=/no/such/file", &here).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("`--secret id=s,src=/no/such/file`: cannot stat"),
            "{text}"
        );
        assert!(error.hints()[0].contains("src=FILE"), "{error}");
        let secret = Secret::parse("id=s,env=TOKEN", &here).unwrap();
        assert!(!format!("{secret:?}").contains("value"), "never in a log");
    }

    #[test]
    fn agents_are_sockets_or_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        std::fs::write(path("key"), "").unwrap();
        let shown = |name: &str| path(name).display().to_string();
        let own = path("socket");
        let parse = |text: &str| Agent::parse(text, Some(&own));
        for (text, id) in [
            ("default".to_owned(), "default"),
            ("github".to_owned(), "github"),
            (format!("x={}", shown("socket")), "x"),
        ] {
            let agent = parse(&text).unwrap();
            assert_eq!(agent.id, id);
            assert_eq!(agent.from, AgentSource::Socket(own.clone()), "{text}");
        }
        let keys = parse(&format!("x={0},{0}", shown("key"))).unwrap();
        assert_eq!(keys.from, AgentSource::Keys(vec![path("key"), path("key")]));
        for bad in [
            "".to_owned(),
            "=x".to_owned(),
            "x=/no/such/file".to_owned(),
            "x=/".to_owned(),
            format!("x={},{}", shown("key"), shown("socket")),
            format!("x={},{}", shown("socket"), shown("key")),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
        assert!(Agent::parse("default", None).is_err(), "nobody has one");
    }

    #[test]
    fn f183_only_what_can_be_granted_is_allowed() {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let grants = allowed(&words(&["network.host,security.insecure"]), false).unwrap();
        assert!(grants.network_host && grants.insecure);
        let grants = allowed(&words(&["security.insecure"]), false).unwrap();
        assert!(!grants.network_host && grants.insecure);
        assert_eq!(allowed(&[], false).unwrap(), Grants::default());
        assert!(allowed(&[], true).unwrap().network_host);
        for bad in ["device", "device=x", "network.hosts", "all", ""] {
            assert!(allowed(&words(&[bad]), false).is_err(), "{bad}");
        }
        let error = allowed(&words(&["security.insecur"]), false).unwrap_err();
        assert!(error.to_string().contains("security.insecure"), "{error}");
    }
}
