//! Other people's stores against the server: what they push comes back to them.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::peers::{good, peer, server};

fn root_or_skip(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        testkit::skipped(test, "needs root");
    }
    root
}

/// A tar with one file.
fn tar(folder: &Path) -> String {
    std::fs::write(folder.join("file"), "hello").unwrap();
    let made = Command::new("tar")
        .args(["-cf", "root.tar", "file"])
        .current_dir(folder)
        .status();
    assert!(made.unwrap().success());
    "root.tar".to_owned()
}

/// podman and buildah, which share their flags for stores and registries.
async fn pushes_and_pulls(program: &str, make: &[&str]) {
    let server = server().await;
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    let (root, runroot, policy) = (path("root"), path("run"), path("policy.json"));
    let store = [
        "--root",
        &root,
        "--runroot",
        &runroot,
        "--storage-driver",
        "vfs",
    ];
    std::fs::write(
        &policy,
        r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
    )
    .unwrap();
    std::fs::write(
        home.path().join("Dockerfile"),
        "FROM scratch\nADD root.tar /\n",
    )
    .unwrap();
    tar(home.path());
    let name = format!("{}/team/app:v1", server.address);
    let run = async |arguments: &[&str]| {
        let all = [&store[..], arguments].concat();
        peer(home.path(), program, &all).await
    };
    let make: Vec<&str> = make
        .iter()
        .map(|word| match *word {
            "NAME" => name.as_str(),
            "POLICY" => policy.as_str(),
            word => word,
        })
        .collect();
    let Some(output) = run(&make).await else {
        return;
    };
    good(output, "make an image");
    let there = ["--signature-policy", &policy, "--tls-verify=false", &name];
    for (command, arguments) in [
        ("push", &there[..]),
        ("rmi", &[name.as_str()]),
        ("pull", &there),
        ("inspect", &[name.as_str()]),
    ] {
        let all = [&[command], arguments].concat();
        good(run(&all).await.unwrap(), command);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn priv_buildah_pushes_and_pulls() {
    if root_or_skip("priv_buildah_pushes_and_pulls") {
        let isolated = ["--isolation", "chroot", "-t", "NAME", "."];
        let make = [&["bud", "--signature-policy", "POLICY"], &isolated[..]].concat();
        pushes_and_pulls("buildah", &make).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn priv_podman_pushes_and_pulls() {
    if root_or_skip("priv_podman_pushes_and_pulls") {
        pushes_and_pulls("podman", &["import", "root.tar", "NAME"]).await;
    }
}

/// A Docker of its own: data, socket and process.
struct Docker {
    daemon: Child,
    folder: tempfile::TempDir,
}

impl Docker {
    /// Starts it; `None` if it is not installed.
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let log = std::fs::File::create(path("log")).unwrap();
        let daemon = Command::new("dockerd")
            .args(["--data-root", &path("data"), "--exec-root", &path("exec")])
            .args(["--pidfile", &path("pid"), "-H", &socket(folder.path())])
            .args(["--iptables=false", "--bridge=none", "--storage-driver=vfs"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        match daemon {
            Ok(daemon) => Some(Self { daemon, folder }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => panic!("dockerd: {error}"),
        }
    }

    /// Waits until it answers. Says what it wrote if it cannot run here.
    fn wait(&mut self) -> Result<(), String> {
        let folder = self.folder.path().to_owned();
        let mut ended = false;
        let up = testkit::eventually(120, || {
            ended = matches!(self.daemon.try_wait(), Ok(Some(_)));
            let asked = Command::new("docker")
                .args(["-H", &socket(&folder), "version"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            ended || asked.is_ok_and(|status| status.success())
        });
        if up && !ended {
            return Ok(());
        }
        Err(std::fs::read_to_string(folder.join("log")).unwrap_or_default())
    }
}

fn socket(folder: &Path) -> String {
    format!("unix://{}/docker.sock", folder.display())
}

impl Drop for Docker {
    fn drop(&mut self) {
        // In order, so that it ends its containerd and unmounts what it mounted.
        Command::new("kill")
            .arg(self.daemon.id().to_string())
            .status()
            .ok();
        self.daemon.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn priv_docker_pushes_and_pulls() {
    let test = "priv_docker_pushes_and_pulls";
    if !root_or_skip(test) {
        return;
    }
    let Some(mut docker) = Docker::start() else {
        testkit::skipped(test, "`dockerd` is not installed");
        return;
    };
    if let Err(log) = docker.wait() {
        let last = log.lines().last().unwrap_or_default();
        testkit::skipped(test, &format!("`dockerd` does not run here: {last}"));
        return;
    }
    let server = server().await;
    let home = tempfile::tempdir().unwrap();
    let (tar, at) = (tar(home.path()), socket(docker.folder.path()));
    let name = format!("{}/team/app:v1", server.address);
    let run = async |arguments: &[&str]| {
        let all = [&["-H", &at], arguments].concat();
        good(
            peer(home.path(), "docker", &all).await.unwrap(),
            arguments[0],
        )
    };
    run(&["import", &tar, &name]).await;
    let pushed = run(&["push", &name]).await;
    assert!(pushed.contains("digest: sha256:"), "{pushed}");
    run(&["rmi", &name]).await;
    let pulled = run(&["pull", &name]).await;
    assert!(pulled.contains("Downloaded newer image"), "{pulled}");
    // What is there is not sent again.
    let again = run(&["push", &name]).await;
    assert!(again.contains("Layer already exists"), "{again}");
}

/// What `oras push`, `pull`, `tags` and the like do, by the package of that name.
const ORAS: &str = r#"
import pathlib, sys
import oras.client, oras.provider
host = sys.argv[1]
client = oras.client.OrasClient(hostname=host, insecure=True)
name = f"{host}/team/artifact:v1"
pathlib.Path("note.txt").write_text("hello")
pathlib.Path("data").mkdir()
pathlib.Path("data/more.txt").write_text("more")
pushed = client.push(target=name, files=["note.txt:text/plain", "data"], manifest_annotations={"x": "y"})
assert pushed.status_code == 201, pushed.text
assert client.get_tags(name) == ["v1"], client.get_tags(name)
manifest = client.get_manifest(client.get_container(name))
assert manifest["annotations"]["x"] == "y", manifest
back = pathlib.Path("back")
client.pull(target=name, outdir=str(back))
assert (back / "note.txt").read_text() == "hello"
assert (back / "data/more.txt").read_text() == "more"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oras_pushes_and_pulls_artifacts() {
    let test = "oras_pushes_and_pulls_artifacts";
    let home = tempfile::tempdir().unwrap();
    let python = std::env::var("BARQUE_TEST_ORAS").unwrap_or_default();
    let python = if python.is_empty() {
        "python3"
    } else {
        &python
    };
    let here = peer(home.path(), python, &["-c", "import oras.client"]).await;
    if !here.is_some_and(|output| output.status.success()) {
        testkit::skipped(test, "the Python package `oras` is not installed");
        return;
    }
    let server = server().await;
    let host = server.address.to_string();
    let output = peer(home.path(), python, &["-c", ORAS, &host]).await;
    good(output.unwrap(), "oras");
}
