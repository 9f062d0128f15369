//! `barque registry`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::environment::Environment;

/// A server that is ended with the test.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(environment: &Environment) -> Self {
        let mut child = environment
            .command(&["registry", "serve", "--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("{line}"))
            .to_owned();
        Self { child, address }
    }

    /// Sends a request and says the status of its answer.
    fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[9..12]).into_owned()
    }

    /// Ends it as a service manager does, and waits.
    fn stop(mut self) {
        let done = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(done.success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_registry_is_served_and_its_tags_are_put_back() {
    let environment = Environment::new();
    let server = Server::start(&environment);
    let kind = "application/vnd.oci.image.manifest.v1+json";
    for text in ["{\"layers\":[]}", "{ \"layers\":[]}"] {
        assert_eq!(
            server.send("PUT", "/v2/team/app/manifests/v1", kind, text.as_bytes()),
            "201"
        );
    }
    assert_eq!(
        server.send("DELETE", "/v2/team/app/manifests/v1", kind, b""),
        "202"
    );
    let busy = environment.barque(&["registry", "gc"]);
    assert!(
        busy.fails(1)
            .contains("another server works on this folder")
    );
    server.stop();

    let history = environment.barque(&["registry", "history", "team/app", "v1"]);
    assert_eq!(history.ok().lines().count(), 3, "{}", history.stdout);
    assert!(history.ok().ends_with("deleted"));
    environment
        .barque(&["registry", "restore", "team/app", "v1"])
        .ok();
    assert!(
        environment
            .barque(&["registry", "history", "team/app", "none"])
            .fails(1)
            .contains("never was")
    );
    let server = Server::start(&environment);
    assert_eq!(
        server.send("GET", "/v2/team/app/manifests/v1", "", b""),
        "200"
    );
    server.stop();
    let collected = environment.barque(&["registry", "gc", "--dry-run"]);
    assert!(
        collected.ok().starts_with("would let go 0 tags"),
        "{}",
        collected.stdout
    );
}
