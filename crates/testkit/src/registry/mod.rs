//! Registries to test a client against: Debian's, and one in this process that misbehaves as it is told.

mod debian;
mod http;
mod memory;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use debian::{DebianRegistry, debian_registry, debian_registry_with_tls};
pub use http::{Ask, Reply};
pub use memory::Memory;

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// It is answered as it should be.
    Serve,
    /// It is answered with this.
    Reply(Reply),
    /// It is answered as it should be, but the connection is cut after so many bytes of the body.
    CutAnswer(usize),
    /// So many bytes of its body are taken, as a registry would keep them, and the connection is cut without an answer.
    CutUpload(usize),
    /// It is done as it should be, and the connection is cut before the answer.
    Mute,
    /// Nothing is answered for as long as the registry lives.
    Hang,
}

/// Decides what happens to a request. The number counts requests from 0.
pub type Decide = dyn Fn(&Ask, usize) -> Act + Send + Sync;

/// A registry in this process, over plain HTTP, that does what [`Decide`] says. Ends when it is dropped.
pub struct FaultyRegistry {
    address: SocketAddr,
    memory: Arc<Mutex<Memory>>,
    asked: Arc<Mutex<Vec<Ask>>>,
    ended: Arc<AtomicBool>,
}

impl std::fmt::Debug for FaultyRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyRegistry")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

struct Shared {
    memory: Arc<Mutex<Memory>>,
    asked: Arc<Mutex<Vec<Ask>>>,
    ended: Arc<AtomicBool>,
    decide: Box<Decide>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a registry in this process.
///
/// # Panics
///
/// If there is no port for it.
#[must_use]
pub fn faulty_registry(
    decide: impl Fn(&Ask, usize) -> Act + Send + Sync + 'static,
) -> FaultyRegistry {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let registry = FaultyRegistry {
        address: listener.local_addr().expect("an address"),
        memory: Arc::default(),
        asked: Arc::default(),
        ended: Arc::default(),
    };
    let shared = Arc::new(Shared {
        memory: registry.memory.clone(),
        asked: registry.asked.clone(),
        ended: registry.ended.clone(),
        decide: Box::new(decide),
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if shared.ended.load(Ordering::Relaxed) {
                return;
            }
            let shared = shared.clone();
            if let Ok(stream) = stream {
                std::thread::spawn(move || serve(&stream, &shared));
            }
        }
    });
    registry
}

impl FaultyRegistry {
    /// Host and port, as the registry of a reference.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Works with what it has.
    pub fn with<T>(&self, work: impl FnOnce(&mut Memory) -> T) -> T {
        work(&mut locked(&self.memory))
    }

    /// All requests so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Ask> {
        locked(&self.asked).clone()
    }

    /// How many requests so far had this method and a path with `part` in it.
    #[must_use]
    pub fn count(&self, method: &str, part: &str) -> usize {
        let fits = |ask: &&Ask| ask.method == method && ask.path.contains(part);
        locked(&self.asked).iter().filter(fits).count()
    }
}

impl Drop for FaultyRegistry {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the listener up.
        TcpStream::connect(self.address).ok();
    }
}

/// One connection.
fn serve(stream: &TcpStream, shared: &Shared) {
    stream.set_nodelay(true).ok();
    let mut reader = http::Reader::new(stream);
    while let Some(head) = reader.head() {
        let number = {
            let mut asked = locked(&shared.asked);
            asked.push(head.clone());
            asked.len() - 1
        };
        // It may wait for something that other requests bring about.
        let act = (shared.decide)(&head, number);
        if let Act::CutUpload(bytes) = act {
            let part = reader.part_of_body(&head, bytes);
            locked(&shared.memory).keep_part(&head, &part);
            return;
        }
        if matches!(act, Act::Hang) {
            while !shared.ended.load(Ordering::Relaxed) {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            return;
        }
        let Some(body) = reader.body(&head) else {
            return;
        };
        if let Some(ask) = locked(&shared.asked).get_mut(number) {
            ask.body.clone_from(&body);
        }
        if matches!(act, Act::Mute) {
            locked(&shared.memory).answer(&head, &body);
            return;
        }
        let (reply, cut) = match act {
            Act::Reply(reply) => (reply, None),
            Act::CutAnswer(bytes) => (locked(&shared.memory).answer(&head, &body), Some(bytes)),
            _ => (locked(&shared.memory).answer(&head, &body), None),
        };
        let whole = reply.to_bytes(head.method == "HEAD");
        let length = cut.map_or(whole.len(), |cut| {
            let headers = whole.len() - reply.sent(head.method == "HEAD");
            (headers + cut).min(whole.len())
        });
        let mut writer = stream;
        if writer.write_all(&whole[..length]).is_err() || cut.is_some() {
            return;
        }
        if reply.endless {
            let noise = [b'x'; 4096];
            while !shared.ended.load(Ordering::Relaxed) && writer.write_all(&noise).is_ok() {}
            return;
        }
    }
}
