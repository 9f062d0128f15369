//! Debian's `docker-registry` on a free port.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::eventually;

/// How often another port is tried: between finding a free one and using it, somebody else may take it.
const ATTEMPTS: u32 = 20;

/// A registry of Debian's that is running. Ends when it is dropped.
#[derive(Debug)]
pub struct DebianRegistry {
    process: Child,
    host: String,
    _folder: TempDir,
}

/// Starts Debian's registry with an empty folder; `extra` is added to its configuration. `None` if the package is not
/// installed: a test that cannot do without it should say that it was skipped.
///
/// # Panics
///
/// If it is installed and does not start.
#[must_use]
pub fn debian_registry(extra: &str) -> Option<DebianRegistry> {
    start(extra, None)
}

/// As [`debian_registry`], with `tls` in its configuration: `certificate: …, key: …`.
///
/// # Panics
///
/// If it is installed and does not start.
#[must_use]
pub fn debian_registry_with_tls(tls: &str) -> Option<DebianRegistry> {
    start("", Some(tls))
}

fn start(extra: &str, tls: Option<&str>) -> Option<DebianRegistry> {
    Command::new("docker-registry")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .ok()?;
    for _ in 0..ATTEMPTS {
        if let Some(registry) = attempt(extra, tls) {
            return Some(registry);
        }
    }
    panic!("docker-registry does not start");
}

fn attempt(extra: &str, tls: Option<&str>) -> Option<DebianRegistry> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let host = format!("127.0.0.1:{port}");
    let storage = folder.path().join("storage");
    // Whoever answers on the port must be this process and no other that was quicker.
    let mark = folder.path().display().to_string();
    let tls_part = tls.map_or_else(String::new, |tls| format!(", tls: {{{tls}}}"));
    let configuration = format!(
        "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
         http: {{addr: \"{host}\", headers: {{X-Test: [\"{mark}\"]}}{tls_part}}}\n{extra}\n",
        storage.display()
    );
    let file = folder.path().join("config.yml");
    std::fs::write(&file, configuration).expect("a configuration");
    let log = folder.path().join("log");
    let process = Command::new("docker-registry")
        .arg("serve")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).expect("a log"))
        .spawn()
        .expect("docker-registry starts");
    let mut registry = DebianRegistry {
        process,
        host,
        _folder: folder,
    };
    let mut gone = false;
    let up = eventually(120, || {
        gone = matches!(registry.process.try_wait(), Ok(Some(_)));
        gone || match tls {
            None => answers(&registry.host, &mark),
            // What it answers is encrypted, but it says when it listens.
            Some(_) => std::fs::read_to_string(&log).is_ok_and(|log| log.contains("listening on")),
        }
    });
    gone |= matches!(registry.process.try_wait(), Ok(Some(_)));
    (up && !gone).then_some(registry)
}

fn answers(host: &str, mark: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(host)?;
        write!(
            stream,
            "GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains(mark))
}

impl DebianRegistry {
    /// Host and port, as the registry of a reference.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl Drop for DebianRegistry {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
