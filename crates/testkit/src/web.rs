//! A server on loopback that answers HTTP as a test wants it, also in ways that no server should.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A request that came.
#[derive(Debug, Clone, Default)]
pub struct WebRequest {
    /// `GET`.
    pub method: String,
    /// Path and query, or whatever else stood there.
    pub target: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, if a length was announced.
    pub body: Vec<u8>,
}

impl WebRequest {
    /// The value of a header, whose name is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The target without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut words = line.split_ascii_whitespace();
        let mut request = Self {
            method: words.next()?.to_owned(),
            target: words.next()?.to_owned(),
            ..Self::default()
        };
        loop {
            line.clear();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            let header = (name.to_ascii_lowercase(), value.trim().to_owned());
            request.headers.push(header);
        }
        if request.header("transfer-encoding").is_some() {
            request.body = chunked(&mut reader)?;
        }
        let length: u64 = match request.header("content-length") {
            Some(length) => length.parse().ok()?,
            None => 0,
        };
        reader.take(length).read_to_end(&mut request.body).ok()?;
        Some(request)
    }
}

fn chunked(reader: &mut impl std::io::BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = u64::from_str_radix(line.trim(), 16).ok()?;
        reader.take(length).read_to_end(&mut body).ok()?;
        line.clear();
        reader.read_line(&mut line).ok()?;
        if length == 0 {
            return Some(body);
        }
    }
}

/// Writes an answer with a body and its length. What the client does not take any more is its own loss.
pub fn respond(out: &mut dyn Write, status: &str, headers: &[(&str, &str)], body: &[u8]) {
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    out.write_all(head.as_bytes()).ok();
    out.write_all(body).ok();
    out.flush().ok();
}

type Handler = dyn Fn(&WebRequest, &mut TcpStream) + Send + Sync;

/// A server; it ends with this handle.
pub struct WebServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<WebRequest>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for WebServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl WebServer {
    /// Answers requests with `handler`, one on each connection, several at once. The port is one that was free.
    ///
    /// # Panics
    ///
    /// There is no loopback.
    pub fn start(handler: impl Fn(&WebRequest, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port on loopback");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, stopped) = (Arc::clone(&requests), Arc::clone(&stop));
        let handler: Arc<Handler> = Arc::new(handler);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else {
                    continue;
                };
                let (handler, seen) = (Arc::clone(&handler), Arc::clone(&seen));
                std::thread::spawn(move || {
                    if let Some(request) = WebRequest::read(&stream) {
                        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        seen.push(request.clone());
                        drop(seen);
                        handler(&request, &mut stream);
                    }
                });
            }
        });
        Self {
            address,
            requests,
            stop,
            thread: Some(thread),
        }
    }

    /// Serves one file at every path, with these headers; it knows `If-None-Match` if there is an `ETag` among them.
    pub fn file(headers: &[(&str, &str)], body: &[u8]) -> Self {
        let body = body.to_vec();
        let headers: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Self::start(move |request, out| {
            let headers: Vec<(&str, &str)> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let etag = headers.iter().find(|(name, _)| *name == "ETag");
            let same = etag.is_some_and(|(_, etag)| request.header("if-none-match") == Some(etag));
            if same {
                out.write_all(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n")
                    .ok();
            } else if request.method == "HEAD" {
                respond(out, "200 OK", &headers, b"");
            } else {
                respond(out, "200 OK", &headers, &body);
            }
        })
    }

    /// Where it listens: `127.0.0.1:1234`.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path on it, which begins with `/`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What was asked since the last time this was asked.
    #[must_use]
    pub fn take_requests(&self) -> Vec<WebRequest> {
        std::mem::take(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same as `METHOD PATH`.
    #[must_use]
    pub fn take_lines(&self) -> Vec<String> {
        self.take_requests()
            .iter()
            .map(|request| format!("{} {}", request.method, request.target))
            .collect()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The last visitor is ourselves, so that it looks at the flag.
        TcpStream::connect(self.address).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
