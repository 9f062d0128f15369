//! `RUN --mount=type=ssh`: a socket of the step's own, with the agent that the build was given behind it.
//!
//! The program in the sandbox never speaks to the agent itself. What it sends is read message by message, and two kinds are
//! passed on: which keys are there, and sign this. Whatever else an agent can do (take or forget keys, lock itself, load a library of
//! the caller's choice as in CVE-2023-38408) is answered with the protocol's "failure" here.
//!
//! The socket is a file in the lease's folder, which nobody else can enter; its owner and mode are what the mount asks for. With
//! the step everything ends: the socket, its connections, and those to the agent.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use dockerfile::mount::Mount;
use sys::root::{Links, Root};

/// The socket's name in its folder.
const NAME: &str = "agent";

/// Largest message, as OpenSSH has it.
const MAX_MESSAGE: u32 = 256 << 10;

/// Connections that one step may have open at once.
const MAX_CONNECTIONS: usize = 64;

/// `SSH_AGENT_FAILURE`.
const FAILURE: u8 = 5;

/// `SSH_AGENTC_REQUEST_IDENTITIES` and `SSH_AGENTC_SIGN_REQUEST`.
const PASSED_ON: [u8; 2] = [11, 13];

/// A socket that passes on to an agent; dropping it ends that.
#[derive(Debug)]
pub(super) struct Forwarding {
    socket: PathBuf,
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Desk {
    agent: PathBuf,
    listener: UnixListener,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    ended: bool,
    next: u64,
    /// Both ends of each conversation, to be shut from outside.
    streams: BTreeMap<u64, (UnixStream, UnixStream)>,
}

impl Forwarding {
    /// Listens in a new directory `folder` for a program that shall reach `agent` through it.
    pub(super) fn start(agent: &Path, folder: &Path, mount: &Mount) -> io::Result<Self> {
        // Better now than a program that says "no such identity".
        drop(connect(agent)?);
        sys::fs::create_dir(folder).map_err(io::Error::other)?;
        let root = Root::open(folder)
            .map_err(io::Error::other)?
            .with_links(Links::Refuse);
        let listener = UnixListener::bind(sys::root::magic(&root).join(NAME))?;
        let name = Path::new(NAME);
        root.chmod(name, mount.mode.unwrap_or(0o600))
            .map_err(io::Error::other)?;
        root.chown(name, mount.uid.unwrap_or(0), mount.gid.unwrap_or(0))
            .map_err(io::Error::other)?;
        let desk = Arc::new(Desk {
            agent: agent.to_owned(),
            listener,
            open: Mutex::default(),
        });
        let served = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("ssh agent".to_owned())
            .spawn(move || served.serve())?;
        Ok(Self {
            socket: folder.join(NAME),
            desk,
            thread: Some(thread),
        })
    }

    /// Where the socket is.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        let mut open = self.desk.lock();
        open.ended = true;
        for (client, agent) in open.streams.values() {
            client.shutdown(Shutdown::Both).ok();
            agent.shutdown(Shutdown::Both).ok();
        }
        drop(open);
        // Wakes who waits in `accept`.
        rustix::net::shutdown(&self.desk.listener, rustix::net::Shutdown::Both).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        std::thread::scope(|scope| {
            loop {
                let client = self.listener.accept();
                if self.lock().ended {
                    break;
                }
                match client {
                    // Its end is its own affair.
                    Ok((client, _)) => drop(scope.spawn(move || self.converse(client).ok())),
                    // Out of descriptors, for instance; they come back.
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
        });
    }

    fn converse(&self, client: UnixStream) -> io::Result<()> {
        let agent = connect(&self.agent)?;
        let Some(number) = self.admit(&client, &agent)? else {
            return Ok(());
        };
        let result = pass_on(&client, &agent);
        self.lock().streams.remove(&number);
        result
    }

    /// Takes a conversation down, unless there are too many or all is over.
    fn admit(&self, client: &UnixStream, agent: &UnixStream) -> io::Result<Option<u64>> {
        let ends = (client.try_clone()?, agent.try_clone()?);
        let mut open = self.lock();
        if open.ended || open.streams.len() >= MAX_CONNECTIONS {
            return Ok(None);
        }
        open.next += 1;
        let number = open.next;
        open.streams.insert(number, ends);
        Ok(Some(number))
    }
}

/// Passes requests to the agent and answers back, until one of them goes.
fn pass_on(mut client: impl Read + Write, mut agent: impl Read + Write) -> io::Result<()> {
    while let Some(request) = receive(&mut client)? {
        let passed_on = request.first().is_some_and(|kind| PASSED_ON.contains(kind));
        if !passed_on {
            send(&mut client, &[FAILURE])?;
            continue;
        }
        send(&mut agent, &request)?;
        let Some(answer) = receive(&mut agent)? else {
            return Ok(());
        };
        send(&mut client, &answer)?;
    }
    Ok(())
}

/// The next message without its length; `None` at the end.
fn receive(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if from.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..])?;
    let length = u32::from_be_bytes(length);
    if length == 0 || length > MAX_MESSAGE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length as usize];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

fn send(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let mut framed = (message.len() as u32).to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    to.write_all(&framed)
}

/// Connects to an agent, however long its path is.
fn connect(agent: &Path) -> io::Result<UnixStream> {
    let name = agent.file_name().ok_or(io::ErrorKind::NotFound)?;
    let folder = match agent.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let folder = sys::fs::open(folder).map_err(|error| error.source)?;
    UnixStream::connect(sys::root::magic(&folder).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A mount for whoever runs this.
    fn mine() -> Mount {
        Mount {
            uid: Some(rustix::process::geteuid().as_raw()),
            gid: Some(rustix::process::getegid().as_raw()),
            ..Mount::default()
        }
    }

    /// An agent that answers each message with `[200, kind]`, and takes down what it was asked.
    fn agent(path: &Path) -> Arc<Mutex<Vec<Vec<u8>>>> {
        let listener = UnixListener::bind(path).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, heard) = (stream.unwrap(), Arc::clone(&heard));
                std::thread::spawn(move || {
                    while let Ok(Some(message)) = receive(&mut stream) {
                        let kind = message[0];
                        // Before the answer, after which the test looks.
                        heard.lock().unwrap().push(message);
                        send(&mut stream, &[200, kind]).unwrap();
                    }
                });
            }
        });
        asked
    }

    fn ask(stream: &mut UnixStream, message: &[u8]) -> Vec<u8> {
        send(stream, message).unwrap();
        receive(stream).unwrap().unwrap()
    }

    #[test]
    fn only_listing_and_signing_reach_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let asked = agent(&dir.path().join("real"));
        // Longer than a socket's address may be.
        let folder = dir.path().join("long".repeat(40));
        let mount = Mount {
            mode: Some(0o640),
            ..mine()
        };
        let forwarding = Forwarding::start(&dir.path().join("real"), &folder, &mount).unwrap();
        let metadata = std::fs::metadata(forwarding.socket()).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
        let mut stream = connect(forwarding.socket()).unwrap();
        assert_eq!(ask(&mut stream, &[11]), [200, 11]);
        assert_eq!(ask(&mut stream, &[13, 1, 2, 3]), [200, 13]);
        // Adding and removing keys, smart cards and their libraries, locking, extensions.
        for kind in [1, 9, 17, 18, 19, 20, 21, 22, 23, 25, 26, 27, 255] {
            assert_eq!(ask(&mut stream, &[kind, 0, 0]), [FAILURE], "{kind}");
        }
        assert_eq!(
            *asked.lock().unwrap(),
            [vec![11], vec![13, 1, 2, 3]],
            "nothing else was passed on"
        );
        let mut rude = connect(forwarding.socket()).unwrap();
        rude.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert_eq!(rude.read(&mut [0; 1]).unwrap_or(0), 0, "it is sent away");
        assert_eq!(ask(&mut stream, &[11]), [200, 11]);
    }

    #[test]
    fn the_end_of_a_step_ends_its_conversations() {
        let dir = tempfile::tempdir().unwrap();
        agent(&dir.path().join("real"));
        let folder = dir.path().join("step");
        let forwarding = Forwarding::start(&dir.path().join("real"), &folder, &mine()).unwrap();
        let metadata = std::fs::metadata(forwarding.socket()).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
        let mut streams: Vec<_> = (0..3)
            .map(|_| connect(forwarding.socket()).unwrap())
            .collect();
        assert_eq!(ask(&mut streams[0], &[11]), [200, 11]);
        drop(forwarding);
        for stream in &mut streams {
            assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
        }
        assert!(connect(&folder.join(NAME)).is_err());
    }

    #[test]
    fn an_agent_that_is_not_there_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("step");
        let mount = Mount::default();
        assert!(Forwarding::start(&dir.path().join("nobody"), &folder, &mount).is_err());
        assert!(!folder.exists());
    }
}
