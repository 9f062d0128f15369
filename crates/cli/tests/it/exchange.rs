//! `pull`, `push`, `copy`, `login` and their kin, as they are typed.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use testkit::registry::{Act, FaultyRegistry, Reply, faulty_registry};

use crate::environment::{Answer, Environment};

fn registry() -> FaultyRegistry {
    faulty_registry(|_, _| Act::Serve)
}

/// An image of one file, built without privileges.
fn build(environment: &Environment, name: &str) {
    environment.write("context/file", "hello");
    environment.write("context/Dockerfile", "FROM scratch\nCOPY file /\n");
    environment
        .barque(&["build", "-q", "-t", name, "context"])
        .ok();
}

#[test]
fn push_and_pull_say_what_dockers_do() {
    let registry = registry();
    let name = format!("{}/a/b:1", registry.host());
    let here = Environment::new();
    build(&here, &name);
    let pushed = here.barque(&["push", &name]);
    let line = pushed.ok();
    assert!(line.starts_with("1: digest: sha256:"), "{line}");
    assert!(pushed.stderr.contains("DONE"), "{}", pushed.stderr);
    let digest = line.split_whitespace().nth(2).unwrap();
    let there = Environment::new();
    let pulled = there.barque(&["pull", &name]);
    assert_eq!(
        pulled.ok(),
        format!("Digest: {digest}\nStatus: Downloaded newer image for {name}\n{name}")
    );
    let again = there.barque(&["pull", &name]);
    assert!(
        again
            .ok()
            .contains(&format!("Status: Image is up to date for {name}"))
    );
    assert_eq!(there.barque(&["pull", "-q", &name]).ok(), name);
    let json = there.barque(&["--progress", "json", "pull", &name]);
    let json: serde_json::Value = serde_json::from_str(json.ok()).unwrap();
    assert_eq!(
        (json["digest"].as_str(), json["newer"].as_bool()),
        (Some(digest), Some(false))
    );
    assert_eq!(
        there.barque(&["cat", &format!("{name}:/file")]).ok(),
        "hello"
    );
    let missing = there.barque(&["pull", &format!("{}/none:1", registry.host())]);
    assert!(missing.fails(1).contains("not found"), "{}", missing.stderr);
    let copied = there.barque(&["copy", &name, &format!("{}/c:2", registry.host())]);
    assert!(copied.ok().ends_with(digest), "{}", copied.stdout);
    assert_eq!(
        there
            .barque(&["registry", "ls", &format!("{}/c", registry.host())])
            .ok(),
        "2"
    );
    let there_is = format!("{}/c", registry.host());
    let json = there.barque(&["registry", "ls", "--format", "json", &there_is]);
    assert_eq!(json.ok(), r#"{"Tag":"2"}"#);
    let format = "{{.Digest}} {{.Os}}{{.Variant}}";
    let shown = there.barque(&["registry", "inspect", "-f", format, &name]);
    assert_eq!(shown.ok(), format!("{digest} linux"));
    let raw = there.barque(&["registry", "inspect", "--raw", &name]);
    assert_eq!(
        format!(
            "sha256:{}",
            oci::Digest::sha256_of(raw.stdout.as_bytes()).hex()
        ),
        digest
    );
    let pinned = format!("{}/c@{digest}", registry.host());
    there.barque(&["registry", "tag", &name, "more"]).ok();
    there.barque(&["registry", "rm", &pinned]).ok();
    assert!(
        there
            .barque(&["registry", "rm", &pinned])
            .fails(1)
            .contains("is not there")
    );
}

#[test]
fn a_build_pushes_and_another_machine_has_it_for_all_platforms() {
    let registry = registry();
    let name = format!("{}/a/b:1", registry.host());
    let here = Environment::new();
    here.write(
        "context/Dockerfile",
        "FROM scratch\nCOPY Dockerfile /file\n",
    );
    let nameless = here.barque(&["build", "--push", "context"]);
    let said = nameless.fails(1);
    assert!(said.contains("needs a name"), "{said}");
    assert!(said.contains("hint: pass `--tag"), "{said}");
    let platforms = "linux/amd64,linux/arm64";
    let told = ["--metadata-file", "told.json", "--platform", platforms];
    let built = here.barque(&[&["build", "--push", "-t", &name, "context"], &told[..]].concat());
    built.ok();
    let said = &built.stderr;
    assert!(said.contains(&format!("pushing {name}")), "{said}");
    let told = std::fs::read_to_string(here.path("told.json")).unwrap();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let digest = told["containerimage.digest"].as_str().unwrap();
    assert_eq!(told["image.name"], name);
    let there = Environment::new();
    let pulled = there.barque(&["pull", "--all-platforms", &name]);
    assert!(pulled.ok().starts_with(&format!("Digest: {digest}\n")));
    let copy = format!("{}/c:2", registry.host());
    there.barque(&["tag", &name, &copy]).ok();
    let pushed = there.barque(&["push", &copy]);
    assert!(pushed.ok().contains(digest), "{}", pushed.stdout);
    let one = there.barque(&["pull", "-q", "--platform", "linux/arm64", &name]);
    assert_eq!(one.ok(), name);
    let none = there.barque(&["pull", "-q", "--platform", "", &name]);
    assert!(none.fails(1).contains("platform"), "{}", none.stderr);
}

#[test]
fn what_is_not_in_the_store_is_fetched_for_a_build_and_a_container_if_wanted() {
    let registry = registry();
    let name = format!("{}/a/b:1", registry.host());
    let here = Environment::new();
    build(&here, &name);
    here.barque(&["push", "-q", &name]).ok();
    let there = Environment::new();
    there.write("other/Dockerfile", &format!("FROM {name}\nLABEL a=b\n"));
    there.barque(&["build", "-q", "-t", "other", "other"]).ok();
    assert_eq!(there.barque(&["cat", "other:/file"]).ok(), "hello");
    let empty = Environment::new();
    let never = empty.barque(&["run", "--pull", "never", &name, "true"]);
    never.fails(125);
    let asked = registry.asked().len();
    assert!(empty.barque(&["images", "-q"]).ok().is_empty());
    // The image has no program: it is fetched, and then cannot be started.
    let run = empty.barque(&["run", "--rm", &name, "/nothing"]);
    assert!(run.code >= 125, "{}", run.stderr);
    assert!(
        run.stderr.contains("Unable to find image"),
        "{}",
        run.stderr
    );
    assert!(registry.asked().len() > asked);
    assert!(!empty.barque(&["images", "-q"]).ok().is_empty());
}

/// Runs with something on stdin.
fn with_input(environment: &Environment, arguments: &[&str], input: &str) -> Answer {
    use std::io::Write as _;
    let mut child = environment
        .command(arguments)
        .env("HOME", environment.path("home"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn login_keeps_what_works_with_a_helper_if_there_is_one() {
    let registry = faulty_registry(|ask, _| match ask.header("authorization") {
        Some("Basic dXNlcjpwYXNz") => Act::Serve,
        _ => Act::Reply(Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\"")),
    });
    let host = registry.host();
    let environment = Environment::new();
    let login = ["login", "-u", "user", "--password-stdin", &host];
    let wrong = with_input(&environment, &login, "wrong\n");
    assert!(!wrong.fails(1).contains("wrong\n"), "{}", wrong.stderr);
    assert_eq!(
        with_input(&environment, &login, "pass\n").ok(),
        "Login Succeeded"
    );
    let config = environment.path("home/.docker/config.json");
    assert!(
        std::fs::read_to_string(&config)
            .unwrap()
            .contains("dXNlcjpwYXNz")
    );
    let logout = with_input(&environment, &["logout", &host], "");
    assert_eq!(
        logout.ok(),
        format!("Removing login credentials for {host}")
    );
    assert!(
        !std::fs::read_to_string(&config)
            .unwrap()
            .contains("dXNlcjpwYXNz")
    );

    // A helper that keeps them in a file; what it is told stands on its stdin and nowhere else.
    let kept = environment.path("kept");
    let script = format!(
        "#!/bin/sh\ncase $1 in store) cat >{0};; get) test -e {0} || {{ echo credentials not found in native keychain; exit 1; }}; cat {0};; erase) cat >/dev/null; rm {0};; esac\n",
        kept.display()
    );
    environment.script("bin/docker-credential-box", &script);
    std::fs::write(&config, r#"{"credsStore": "box"}"#).unwrap();
    let path = format!("{}:/usr/bin:/bin", environment.path("bin").display());
    let run = |arguments: &[&str], input: &str| -> Answer {
        use std::io::Write as _;
        let mut child = environment
            .command(arguments)
            .env("HOME", environment.path("home"))
            .env("PATH", &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap().into()
    };
    run(&login, "pass\n").ok();
    assert!(std::fs::read_to_string(&kept).unwrap().contains("pass"));
    assert!(
        !std::fs::read_to_string(&config)
            .unwrap()
            .contains("dXNlcjpwYXNz")
    );
    let name = format!("{host}/a/b:1");
    build(&environment, &name);
    run(&["push", "-q", &name], "").ok();
    run(&["logout", &host], "").ok();
    assert!(!kept.exists());
    run(&["push", "-q", &name], "").fails(1);
}

/// The name of an index of an image and an attestation.
fn with_attestation(registry: &FaultyRegistry, here: &Environment) -> String {
    let name = format!("{}/a/b:1", registry.host());
    build(here, &name);
    here.barque(&["push", "-q", &name]).ok();
    registry.with(|memory| {
        let digest = memory.tags[&("a/b".to_owned(), "1".to_owned())];
        let size = memory.manifests[&("a/b".to_owned(), digest)].1.len();
        let config =
            r#"{"architecture":"unknown","os":"unknown","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let attestation = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": memory.blob("a/b", config.as_bytes()),
                "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.in-toto+json",
                "digest": memory.blob("a/b", b"{}"),
                "size": 2,
            }],
        });
        let bytes = serde_json::to_vec(&attestation).unwrap();
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let host = oci::Platform::host();
        let index = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": kind, "digest": digest, "size": size,
                "platform": {"architecture": host.architecture, "os": host.os},
            }, {
                "mediaType": kind,
                "digest": memory.manifest("a/b", "attestation", kind, &bytes),
                "size": bytes.len(),
                "platform": {"architecture": "unknown", "os": "unknown"},
            }],
        });
        let bytes = serde_json::to_vec(&index).unwrap();
        let kind = "application/vnd.oci.image.index.v1+json";
        memory.manifest("a/b", "all", kind, &bytes);
    });
    format!("{}/a/b:all", registry.host())
}

#[test]
fn images_go_to_another_host_over_ssh_layer_by_layer() {
    let (here, there) = (Environment::new(), Environment::new());
    let name = "app:1";
    build(&here, name);
    // In place of ssh: the other host is the other store.
    let script = format!(
        "#!/bin/sh\necho \"$@\" >>{log}\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\n\
         [ \"$1\" = barque ] && shift\nBARQUE_ROOT={root} exec {barque} \"$@\"\n",
        log = here.path("ssh.log").display(),
        root = there.store().display(),
        barque = env!("CARGO_BIN_EXE_barque"),
    );
    here.script("bin/ssh", &script);
    let path = format!("{}:/usr/bin:/bin", here.path("bin").display());
    let run = |arguments: &[&str]| -> Answer {
        let output = here.command(arguments).env("PATH", &path).output();
        output.unwrap().into()
    };
    let pushed = run(&["push", "ssh://user@there:2222/app:1"]);
    assert!(pushed.ok().contains("digest: sha256:"), "{}", pushed.stdout);
    assert_eq!(there.barque(&["cat", "app:1:/file"]).ok(), "hello");
    let log = std::fs::read_to_string(here.path("ssh.log")).unwrap();
    assert!(
        log.starts_with("-T -p 2222 -- user@there barque registry stdio"),
        "{log}"
    );
    // Only what is missing moves.
    let again = run(&["push", "ssh://user@there:2222/app:1"]);
    assert!(again.stderr.contains("already exists"), "{}", again.stderr);
    // And back, what was made there.
    there.write("more/Dockerfile", "FROM app:1\nCOPY Dockerfile /\n");
    there.barque(&["build", "-q", "-t", "more:2", "more"]).ok();
    let pulled = run(&["pull", "ssh://there/more:2"]);
    assert!(
        pulled.ok().contains("Downloaded newer image for more:2"),
        "{}",
        pulled.stdout
    );
    assert_eq!(here.barque(&["cat", "more:2:/file"]).ok(), "hello");
    assert!(
        run(&["pull", "ssh://there/none:1"])
            .fails(1)
            .contains("not found")
    );
    // An index with an attestation goes whole, both ways.
    let registry = registry();
    let all = with_attestation(&registry, &here);
    run(&["pull", "-q", "--all-platforms", &all]).ok();
    run(&["tag", &all, "list:1"]).ok();
    run(&["push", "ssh://there/list:1"]).ok();
    there.barque(&["tag", "list:1", "list:3"]).ok();
    run(&["pull", "-q", "--all-platforms", "ssh://there/list:3"]).ok();
    for wrong in [
        "ssh://-oProxyCommand=x/app",
        "ssh:///app",
        "ssh://a b/app",
        "ssh://there",
    ] {
        assert!(run(&["pull", wrong]).fails(1).contains("ssh://"), "{wrong}");
    }
}

#[test]
fn a_pull_that_is_killed_leaves_nothing_and_another_takes_over() {
    // The config is given, the layer to nobody; later both are.
    let blobs = Arc::new(AtomicUsize::new(0));
    let counted = blobs.clone();
    let registry = faulty_registry(move |ask, _| {
        if ask.is("GET", "/blobs/") && counted.fetch_add(1, Ordering::SeqCst) == 1 {
            Act::Hang
        } else {
            Act::Serve
        }
    });
    let name = format!("{}/a/b:1", registry.host());
    let here = Environment::new();
    build(&here, &name);
    here.barque(&["push", "-q", &name]).ok();
    let there = Environment::new();
    let start = || {
        let mut command = there.command(&["pull", "-q", &name]);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let asked = |count| testkit::eventually(120, || blobs.load(Ordering::SeqCst) >= count);
    let mut first = start();
    assert!(asked(2), "the first one waits for its layer");
    let second = start();
    assert!(
        asked(3),
        "the second one has the config, and waits for the first"
    );
    first.kill().unwrap();
    first.wait().unwrap();
    let second: Answer = second.wait_with_output().unwrap().into();
    assert_eq!(second.ok(), name);
    assert_eq!(blobs.load(Ordering::SeqCst), 4);
    there.barque(&["fsck"]).ok();
    let left: Vec<String> = std::fs::read_dir(there.store().join("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("lease-") || name.starts_with("partial-"))
        .collect();
    assert_eq!(left, [] as [&str; 0]);
}

/// `barque registry serve` on a port that the kernel chose. Killed when it is dropped.
struct Served(std::process::Child, String);

impl Served {
    fn start(environment: &Environment) -> Self {
        use std::io::BufRead as _;
        let folder = environment.path("registry");
        let mut command =
            environment.command(&["registry", "serve", "--listen", "127.0.0.1:0", "--folder"]);
        let mut child = command.arg(folder).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap()
            .to_owned();
        // What it says later must have somewhere to go.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Self(child, address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn our_own_server_takes_and_gives() {
    let here = Environment::new();
    let server = Served::start(&here);
    let name = format!("{}/a/b:1", server.1);
    build(&here, &name);
    let digest = here
        .barque(&["push", &name])
        .ok()
        .split_whitespace()
        .nth(2)
        .unwrap()
        .to_owned();
    let there = Environment::new();
    assert!(there.barque(&["pull", &name]).ok().contains(&digest));
    assert_eq!(
        there.barque(&["cat", &format!("{name}:/file")]).ok(),
        "hello"
    );
    let other = format!("{}/c:2", server.1);
    assert!(
        there
            .barque(&["copy", "--all", &name, &other])
            .ok()
            .contains(&digest)
    );
    assert_eq!(there.barque(&["registry", "ls", &other]).ok(), "2");
    there.barque(&["registry", "tag", &other, "3"]).ok();
    there.barque(&["registry", "rm", &other]).ok();
    assert_eq!(there.barque(&["registry", "ls", &other]).ok(), "3");
    assert!(
        there
            .barque(&["pull", &other])
            .fails(1)
            .contains("not found")
    );
}
