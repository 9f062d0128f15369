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
        Self::start_with(environment, &[])
    }

    fn start_with(environment: &Environment, arguments: &[&str]) -> Self {
        let all = [&["registry", "serve", "--listen", "127.0.0.1:0"], arguments].concat();
        Self::start_as(environment.command(&all))
    }

    fn start_as(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
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
        send(&self.address, method, path, kind, body).unwrap().0
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

/// Sends a request on a connection of its own; the status of the answer and its body.
fn send(
    address: &str,
    method: &str,
    path: &str,
    kind: &str,
    body: &[u8],
) -> std::io::Result<(String, Vec<u8>)> {
    send_with(address, method, path, &[("content-type", kind)], body)
}

fn send_with(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let body = answer.split_off(end.ok_or(std::io::ErrorKind::UnexpectedEof)? + 4);
    Ok((String::from_utf8_lossy(&answer[9..12]).into_owned(), body))
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
    let missing = environment.barque(&["registry", "gc"]);
    let text = missing.fails(1);
    assert!(
        text.contains("there is no registry in") && text.contains("hint: `--folder`"),
        "{text}"
    );
    environment.write("mine/tmp/thesis", "years");
    for words in [&["serve", "--listen", "127.0.0.1:0"][..], &["gc"]] {
        let words = [&["registry"], words, &["--folder", "mine"]].concat();
        let refused = environment.barque(&words);
        let text = refused.fails(1);
        assert!(text.contains("hint: name an empty folder"), "{text}");
    }
    assert!(environment.path("mine/tmp/thesis").exists());
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
    // The server that works on the folder is told to do it.
    let collected = environment.barque(&["registry", "gc"]);
    assert!(
        collected.ok().starts_with("let go 0 tags"),
        "{}",
        collected.stdout
    );
    let history = environment.barque(&["registry", "history", "team/app", "v1"]);
    assert_eq!(history.ok().lines().count(), 3, "{}", history.stdout);
    environment
        .barque(&["registry", "restore", "team/app", "v1"])
        .ok();
    assert_eq!(
        server.send("GET", "/v2/team/app/manifests/v1", "", b""),
        "200"
    );
    assert!(
        environment
            .barque(&["registry", "restore", "team/app", "none"])
            .fails(1)
            .contains("never named anything else")
    );
    assert_eq!(
        server.send("DELETE", "/v2/team/app/manifests/v1", MANIFEST, b""),
        "202"
    );
    server.stop();

    let history = environment.barque(&["registry", "history", "team/app", "v1"]);
    assert_eq!(history.ok().lines().count(), 5, "{}", history.stdout);
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

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Pushes an image with a layer of its own and a config that all share; what the server said to the last request.
fn push(address: &str, number: usize) -> std::io::Result<String> {
    let layer = format!("layer {number}").into_bytes();
    let mut parts = Vec::new();
    for bytes in [b"{}".as_slice(), &layer] {
        let digest = oci::Digest::sha256_of(bytes);
        let path = format!("/v2/team/app/blobs/uploads/?digest={digest}");
        let (status, _) = send(address, "POST", &path, "application/octet-stream", bytes)?;
        assert_eq!(status, "201");
        parts.push(serde_json::json!({"mediaType": "x/y", "digest": digest.to_string(), "size": bytes.len()}));
    }
    let manifest = serde_json::json!({"config": parts[0], "layers": [parts[1]]}).to_string();
    let path = format!("/v2/team/app/manifests/t{number}");
    Ok(send(address, "PUT", &path, MANIFEST, manifest.as_bytes())?.0)
}

/// Whatever moment a server dies at: what it said was stored is, and no tag names anything that is not there.
#[test]
fn a_server_that_is_killed_keeps_what_it_answered_for() {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let environment = Environment::new();
    let next = AtomicUsize::new(0);
    for _ in 0..3 {
        let mut server = Server::start(&environment);
        let stored = Mutex::new(Vec::new());
        let address = server.address.clone();
        std::thread::scope(|scope| {
            let mut pushers = Vec::new();
            for _ in 0..6 {
                pushers.push(scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        match push(&address, number) {
                            Ok(status) => {
                                assert_eq!(status, "201");
                                stored.lock().unwrap().push(number);
                            }
                            // It is dead.
                            Err(_) => return,
                        }
                    }
                }));
            }
            while stored.lock().unwrap().len() < 17 {
                assert!(
                    pushers.iter().any(|pusher| !pusher.is_finished()),
                    "nobody pushes any more"
                );
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            server.child.kill().unwrap();
            server.child.wait().unwrap();
        });
        let server = Server::start(&environment);
        let get = |path: &str| send(&server.address, "GET", path, "", b"").unwrap();
        let (status, body) = get("/v2/team/app/tags/list");
        assert_eq!(status, "200");
        let list: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let tags: Vec<&str> = list["tags"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tag| tag.as_str().unwrap())
            .collect();
        for number in stored.into_inner().unwrap() {
            assert!(
                tags.contains(&format!("t{number}").as_str()),
                "{number} of {tags:?}"
            );
        }
        for tag in tags {
            let (status, body) = get(&format!("/v2/team/app/manifests/{tag}"));
            assert_eq!(status, "200");
            let manifest: serde_json::Value = serde_json::from_slice(&body).unwrap();
            for part in [&manifest["config"], &manifest["layers"][0]] {
                let digest = part["digest"].as_str().unwrap();
                let (status, body) = get(&format!("/v2/team/app/blobs/{digest}"));
                assert_eq!(
                    (
                        status.as_str(),
                        oci::Digest::sha256_of(&body).to_string().as_str()
                    ),
                    ("200", digest)
                );
            }
        }
        server.stop();
    }
}

#[test]
fn the_image_store_is_served_without_a_push() {
    let environment = Environment::with_busybox();
    environment.write("Dockerfile", "FROM busybox\nLABEL a=b\nCOPY Dockerfile /\n");
    environment
        .barque(&["build", "-t", "team/app:v1", "."])
        .ok();
    let server = Server::start_with(&environment, &["--images"]);
    let get = |path: &str| send(&server.address, "GET", path, "", b"").unwrap();
    let (status, body) = get("/v2/team/app/manifests/v1");
    assert_eq!(status, "200");
    let manifest: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
    let other = Environment::new();
    let repositories = other.barque(&["registry", "ls", &server.address]);
    assert_eq!(repositories.ok(), "busybox\nteam/app");
    // A client of another store gets it whole.
    let name = format!("{}/team/app:v1", server.address);
    other.barque(&["pull", &name]).ok();
    assert!(
        other
            .barque(&["cat", &format!("{name}:/Dockerfile")])
            .ok()
            .contains("LABEL a=b")
    );
    assert_eq!(
        send(
            &server.address,
            "POST",
            "/v2/team/app/blobs/uploads/",
            "",
            b""
        )
        .unwrap()
        .0,
        "405"
    );
    assert_eq!(
        send(
            &server.address,
            "DELETE",
            "/v2/team/app/manifests/v1",
            "",
            b""
        )
        .unwrap()
        .0,
        "405"
    );
    server.stop();
}

/// The hash of `wonder`, of the least cost.
const ALICE: &str = "alice:$2y$04$e9CQBsfRWSfb2ZsXttM.zuWI8urEX.EjUujrM9CLcag8aSuLXARb2\n";

#[test]
fn rules_tell_the_repositories_of_the_image_store_apart() {
    let environment = Environment::new();
    environment.write("open", "open");
    environment.write("secret", "secret");
    for name in ["open", "secret"] {
        environment.write("Dockerfile", &format!("FROM scratch\nCOPY {name} /\n"));
        let tag = format!("{name}/app:v1");
        environment.barque(&["build", "-t", &tag, "."]).ok();
    }
    environment.write("users", ALICE);
    let rules = r#"
        [login]
        htpasswd = "users"
        [[allow]]
        users = ["anonymous"]
        repositories = ["open/**"]
        actions = ["pull"]
        [[allow]]
        users = ["alice"]
        repositories = ["**"]
        actions = ["pull", "push"]
    "#;
    let config = environment.write("config.toml", rules);
    let config = config.to_str().unwrap();
    let server = Server::start_with(&environment, &["--images", "--config", config]);
    let ask = |who: &str, path: &str| {
        // alice:wonder
        let alice = ("authorization", "Basic YWxpY2U6d29uZGVy");
        let headers = if who.is_empty() { &[][..] } else { &[alice] };
        send_with(&server.address, "GET", path, headers, b"").unwrap()
    };
    let manifest = |name: &str| -> serde_json::Value {
        let (status, body) = ask("alice", &format!("/v2/{name}/app/manifests/v1"));
        assert_eq!(status, "200");
        serde_json::from_slice(&body).unwrap()
    };
    let layers = ["open", "secret"].map(|name| {
        let layer = manifest(name)["layers"][0]["digest"].clone();
        layer.as_str().unwrap().to_owned()
    });
    let statuses = |who: &str| -> Vec<String> {
        let mut all = Vec::new();
        for name in ["open", "secret"] {
            for layer in &layers {
                all.push(ask(who, &format!("/v2/{name}/app/blobs/{layer}")).0);
            }
        }
        all
    };
    assert_eq!(statuses("alice"), ["200", "404", "404", "200"]);
    assert_eq!(statuses(""), ["200", "404", "401", "401"]);
    let catalogue = |who| String::from_utf8(ask(who, "/v2/_catalog").1).unwrap();
    assert_eq!(catalogue(""), r#"{"repositories":["open/app"]}"#);
    assert_eq!(
        catalogue("alice"),
        r#"{"repositories":["open/app","secret/app"]}"#
    );
    let (status, body) = ask("", &format!("/v2/open/app/referrers/{}", layers[0]));
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (status.as_str(), &body["manifests"]),
        ("200", &serde_json::json!([]))
    );
    server.stop();
    // What would change the store contradicts it.
    environment.write(
        "config.toml",
        "[[keep]]\nrepositories = [\"**\"]\ntags = [\"*\"]\nlast = 1\n",
    );
    let refused = environment.barque(&["registry", "serve", "--images", "--config", config]);
    let said = refused.fails(1);
    assert!(said.contains("`keep`") && said.contains("hint: "), "{said}");
}

/// A file system that takes no more, in small: no file may grow beyond 16 KiB.
#[test]
fn a_disk_that_takes_no_more_does_no_damage() {
    let environment = Environment::new();
    let plain = environment.command(&["registry", "serve", "--listen", "127.0.0.1:0"]);
    let mut limited = Command::new("sh");
    // Ignored, the signal becomes an error of the write.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 32; exec \"$0\" \"$@\""]);
    limited.arg(plain.get_program()).args(plain.get_args());
    limited.env_clear().stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        limited.env(name, value.unwrap_or_default());
    }
    if let Some(folder) = plain.get_current_dir() {
        limited.current_dir(folder);
    }
    let server = Server::start_as(limited);
    let large = vec![7; 100_000];
    let upload = format!(
        "/v2/large/blobs/uploads/?digest={}",
        oci::Digest::sha256_of(&large)
    );
    let (status, _) = send(&server.address, "POST", &upload, "", &large).unwrap();
    assert!(status.starts_with('5'), "{status}");
    // The journal grows until it may not any more.
    let mut stored = Vec::new();
    let refused = (0..1000).find(|number| {
        let layer = format!("layer {number}").into_bytes();
        let digest = oci::Digest::sha256_of(&layer);
        let path = format!("/v2/team/app/blobs/uploads/?digest={digest}");
        let (status, _) = send(&server.address, "POST", &path, "", &layer).unwrap();
        if status == "201" {
            stored.push(layer);
        }
        status != "201"
    });
    assert!(refused.is_some(), "it was taken for ever");
    let whole = |server: &Server| {
        for layer in &stored {
            let path = format!("/v2/team/app/blobs/{}", oci::Digest::sha256_of(layer));
            let (status, body) = send(&server.address, "GET", &path, "", b"").unwrap();
            assert_eq!((status.as_str(), &body), ("200", layer));
        }
    };
    whole(&server);
    server.stop();
    let server = Server::start(&environment);
    whole(&server);
    let (status, _) = send(&server.address, "POST", &upload, "", &large).unwrap();
    assert_eq!(status, "201");
    assert_eq!(push(&server.address, 7).unwrap(), "201");
    server.stop();
}
