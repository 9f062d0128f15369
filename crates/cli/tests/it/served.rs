//! A registry that podman runs: Debian's, in a container of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use testkit::{running_test, skipped};

use crate::environment::{Environment, root_or_skip};

/// How long it may take to listen; ample, for a machine under load.
const PATIENCE: Duration = Duration::from_secs(120);

const REGISTRY: &str = "/usr/bin/docker-registry";

const CONFIGURATION: &str = "version: 0.1\nlog: {level: info, accesslog: {disabled: true}}\n\
    storage: {filesystem: {rootdirectory: /data}}\nhttp: {addr: \"127.0.0.1:0\"}\n";

/// The container, and podman's store for it.
struct Served {
    folder: PathBuf,
    process: Child,
}

fn podman(folder: &Path) -> Command {
    let mut command = Command::new("podman");
    command
        .arg("--root")
        .arg(folder.join("root"))
        .arg("--runroot")
        .arg(folder.join("run"))
        .args(["--storage-driver", "vfs", "--runtime", "runc"])
        .args(["--cgroup-manager", "cgroupfs", "--events-backend", "none"])
        .stdin(Stdio::null());
    command
}

/// The tar of a root file system with the registry and what it loads.
fn tar(environment: &Environment) -> PathBuf {
    let listed = Command::new("ldd").arg(REGISTRY).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let libraries = listed
        .split_ascii_whitespace()
        .filter(|word| word.starts_with('/'));
    for path in libraries.chain([REGISTRY]) {
        let target = environment.path("registry").join(&path[1..]);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(path, target).unwrap();
    }
    environment.write("registry/etc/config.yml", CONFIGURATION);
    let tar = environment.path("registry.tar");
    let made = Command::new("tar")
        .arg("-C")
        .arg(environment.path("registry"))
        .arg("-cf")
        .arg(&tar)
        .arg(".")
        .status();
    assert!(made.unwrap().success());
    tar
}

impl Served {
    /// Starts it, and says where it listens; what podman said, if it can run nothing here.
    fn start(environment: &Environment) -> Result<(Self, String), String> {
        let folder = environment.path("podman");
        let imported = podman(&folder)
            .args(["import", "-q"])
            .arg(tar(environment))
            .arg("registry")
            .output()
            .unwrap();
        if !imported.status.success() {
            return Err(String::from_utf8_lossy(&imported.stderr).into_owned());
        }
        let process = podman(&folder)
            .args(["run", "--rm", "--name", "registry", "--network", "host"])
            // Its own default limits are more than some hosts grant.
            .args([
                "--ulimit",
                "nofile=1024:1024",
                "--ulimit",
                "nproc=1024:1024",
            ])
            .args([
                "--pull",
                "never",
                "registry",
                REGISTRY,
                "serve",
                "/etc/config.yml",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut served = Self { folder, process };
        let mut said = String::new();
        let stderr = served.process.stderr.take().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        // What it says later is of no interest, but must go somewhere.
        std::thread::spawn(move || {
            let lines = BufReader::new(stderr).lines().map_while(Result::ok);
            lines.for_each(|line| drop(tell.send(line)));
        });
        let deadline = Instant::now() + PATIENCE;
        loop {
            match told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some((_, address)) = line.split_once("listening on ") {
                        let host = address.split('"').next().unwrap_or_default().to_owned();
                        return Ok((served, host));
                    }
                    said.push_str(&line);
                }
                Err(RecvTimeoutError::Disconnected) => return Err(said),
                Err(RecvTimeoutError::Timeout) => {
                    served.process.kill().ok();
                    panic!("the registry does not listen after {PATIENCE:?}: {said}");
                }
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        podman(&self.folder)
            .args(["rm", "-f", "-t", "0", "registry"])
            .output()
            .ok();
        self.process.wait().ok();
    }
}

#[test]
fn priv_a_registry_that_podman_runs_takes_and_gives() {
    let test = running_test();
    if !root_or_skip(&test) {
        return;
    }
    let installed = |name: &str| Path::new("/usr/bin").join(name).exists();
    if !["podman", "runc", "docker-registry"]
        .into_iter()
        .all(installed)
    {
        skipped(
            &test,
            "not all of podman, runc and docker-registry are installed",
        );
        return;
    }
    let environment = Environment::new();
    let (_served, host) = match Served::start(&environment) {
        Ok(served) => served,
        Err(said) => {
            skipped(&test, &format!("podman runs no containers here: {said}"));
            return;
        }
    };
    let name = format!("{host}/team/app:1");
    environment.write("c/file", "hello");
    environment.write(
        "c/Dockerfile",
        "FROM scratch\nCOPY file /\nCOPY file /more\n",
    );
    environment.barque(&["build", "-q", "-t", &name, "c"]).ok();
    environment.barque(&["push", &name]).ok();
    let there = Environment::new();
    there.barque(&["pull", &name]).ok();
    assert_eq!(
        there.barque(&["cat", &format!("{name}:/more")]).ok(),
        "hello"
    );
    let again = environment.barque(&["push", &name]);
    assert!(again.stderr.contains("already exists"), "{}", again.stderr);
}
