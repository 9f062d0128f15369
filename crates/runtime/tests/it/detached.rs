//! Containers that outlive who started them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use runtime::detached::{self, Options, Status};
use runtime::{Error, Exit, Spec};

use crate::bed::{Bed, is_root};

/// Ample, for a machine under load; nothing waits that long unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn folder(bed: &Bed) -> PathBuf {
    let dir = bed.path("container");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// What was logged: stream and text.
pub(crate) fn logged(dir: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    let field = |value: &serde_json::Value, name: &str| value[name].as_str().unwrap().to_owned();
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .map(|value| (field(&value, "stream"), field(&value, "log")))
        .collect()
}

pub(crate) fn has_logged(dir: &Path, text: &str) -> bool {
    logged(dir).iter().any(|(_, line)| line.contains(text))
}

fn noted(dir: &Path, who: &str) -> i32 {
    let text = std::fs::read(dir.join("status.json")).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    value[who]["pid"].as_i64().unwrap().try_into().unwrap()
}

fn kill(pid: i32, signal: i32) {
    let handle = sys::process::Handle::open(pid).unwrap();
    handle.signal(signal).unwrap();
}

fn is_gone(pid: i32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    }
}

fn start(spec: &Spec, dir: &Path) -> i32 {
    detached::start(spec, dir, Options::default()).unwrap()
}

#[test]
fn priv_a_detached_container_is_logged_and_its_end_noted() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = folder(&bed);
    assert_eq!(detached::status(&dir).unwrap(), None);
    assert_eq!(detached::wait(&dir).unwrap(), None);
    let spec = bed.shell("echo out; echo err >&2; cat; printf rest; exit 3");
    assert!(start(&spec, &dir) > 0);
    assert_eq!(detached::wait(&dir).unwrap(), Some(Exit::Code(3)));
    let Some(Status::Ended {
        exit: Exit::Code(3),
        at,
    }) = detached::status(&dir).unwrap()
    else {
        panic!("not ended");
    };
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!((now.as_secs().cast_signed() - at).abs() < 600);
    let mut log = logged(&dir);
    log.sort();
    let line = |stream: &str, text: &str| (stream.to_owned(), text.to_owned());
    assert_eq!(
        log,
        [
            line("stderr", "err\n"),
            line("stdout", "out\n"),
            line("stdout", "rest")
        ]
    );
    assert!(bed.changes().is_empty(), "{:?}", bed.changes());
    // Again, in the same folder.
    start(&bed.shell("echo again"), &dir);
    assert_eq!(detached::wait(&dir).unwrap(), Some(Exit::Code(0)));
    assert!(has_logged(&dir, "out") && has_logged(&dir, "again"));
}

#[test]
fn priv_a_program_that_cannot_be_started_leaves_nothing() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = folder(&bed);
    let error = detached::start(&bed.spec(&["no-such"]), &dir, Options::default()).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert_eq!(error.exit_code(), 127);
    let error = detached::start(&bed.spec(&["/etc"]), &dir, Options::default()).unwrap_err();
    assert_eq!(error.exit_code(), 126, "{error}");
    assert_eq!(detached::status(&dir).unwrap(), None);
    assert!(detached::process(&dir).unwrap().is_none());
}

#[test]
fn priv_a_running_container_is_found_signalled_and_not_started_twice() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = folder(&bed);
    let options = Options {
        keep_input: true,
        after: Vec::new(),
    };
    let pid = detached::start(&bed.spec(&["cat"]), &dir, options).unwrap();
    let Some(Status::Running { pid: found, since }) = detached::status(&dir).unwrap() else {
        panic!("not running");
    };
    assert!(found == pid && since > 1_700_000_000);
    let error = detached::start(&bed.spec(&["true"]), &dir, Options::default()).unwrap_err();
    assert!(error.to_string().contains("running already"), "{error}");

    let supervisor = noted(&dir, "watcher");
    let proc = PathBuf::from(format!("/proc/{supervisor}"));
    assert_eq!(
        std::fs::read_link(proc.join("cwd")).unwrap(),
        Path::new("/")
    );
    let stat = std::fs::read_to_string(proc.join("stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    assert_eq!(
        (fields[3], fields[4]),
        (supervisor.to_string().as_str(), "0"),
        "session and terminal"
    );
    for entry in std::fs::read_dir(proc.join("fd")).unwrap() {
        // One that has been closed meanwhile is of no interest.
        let Ok(target) = std::fs::read_link(entry.unwrap().path()) else {
            continue;
        };
        let name = target.display().to_string();
        let known = name == "/dev/null" || target.starts_with(&dir);
        let made = ["pipe:", "socket:", "anon_inode:[pidfd]", "pidfd:"];
        assert!(
            known || made.iter().any(|kind| name.starts_with(kind)),
            "{name}"
        );
    }

    let process = detached::process(&dir).unwrap().unwrap();
    assert_eq!(process.pid(), pid);
    process.signal(9).unwrap();
    assert_eq!(detached::wait(&dir).unwrap(), Some(Exit::Signal(9)));
    assert!(detached::process(&dir).unwrap().is_none());
}

#[test]
fn priv_killing_the_supervisor_kills_the_container() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = folder(&bed);
    // A program that has given up its rights is no longer tied to its parent's life.
    let accounts = "root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n";
    std::fs::write(bed.path("lower/etc/passwd"), accounts).unwrap();
    // Through a link of the image, so that there is no mount point but one in the upper directory.
    std::os::unix::fs::symlink("../run/hosts", bed.path("lower/etc/hosts")).unwrap();
    let mut spec = bed.shell("echo x > /kept; exec su user -c 'exec sleep 1000'");
    spec.mounts.push(runtime::Mount {
        target: "/etc/hosts".into(),
        source: runtime::MountSource::File {
            content: b"127.0.0.1 localhost\n".to_vec(),
            mode: 0o644,
            uid: 0,
            gid: 0,
        },
        readonly: false,
    });
    let pid = start(&spec, &dir);
    let comm = format!("/proc/{pid}/comm");
    eventually("sleep", || {
        std::fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "sleep")
    });
    kill(noted(&dir, "watcher"), 9);
    eventually("the container's end", || is_gone(pid));
    eventually("lost", || {
        detached::status(&dir).unwrap() == Some(Status::Lost)
    });
    assert_eq!(detached::wait(&dir).unwrap(), Some(Exit::Signal(9)));
    // What was made to mount on is there until somebody looks at the changes.
    assert!(bed.changes().contains(&"run/hosts".to_owned()));
    detached::settle(&dir).unwrap();
    assert_eq!(bed.changes(), ["kept"]);
    detached::settle(&dir).unwrap();
    assert_eq!(detached::status(&dir).unwrap(), Some(Status::Lost));
    // It can be started again.
    start(&bed.spec(&["true"]), &dir);
    assert_eq!(detached::wait(&dir).unwrap(), Some(Exit::Code(0)));
}

#[test]
fn priv_killing_who_watches_for_the_supervisor_is_an_end() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = folder(&bed);
    let pid = start(&bed.spec(&["sleep", "1000"]), &dir);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap();
    kill(parent.parse().unwrap(), 9);
    assert_eq!(detached::wait(&dir).unwrap(), Some(Exit::Signal(9)));
    assert!(is_gone(pid));
}

#[test]
fn priv_a_container_outlives_who_started_it() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = folder(&bed);
    let spec = bed.shell("echo begun; read line; echo woken");
    std::fs::write(bed.path("spec.json"), serde_json::to_vec(&spec).unwrap()).unwrap();
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "detached::helper_that_starts_and_waits",
            "--ignored",
            "--nocapture",
        ])
        .env("BARQUE_TEST_BED", bed.dir.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually("the start", || has_logged(&dir, "begun"));
    eventually("the answer", || bed.path("started").exists());
    starter.kill().unwrap();
    starter.wait().unwrap();
    assert!(matches!(
        detached::status(&dir).unwrap(),
        Some(Status::Running { .. })
    ));
    detached::process(&dir).unwrap().unwrap().signal(9).unwrap();
    assert_eq!(detached::wait(&dir).unwrap(), Some(Exit::Signal(9)));
}

#[test]
#[ignore = "started by another test, to be killed"]
fn helper_that_starts_and_waits() {
    let Some(bed) = std::env::var_os("BARQUE_TEST_BED").map(PathBuf::from) else {
        return;
    };
    let spec: Spec =
        serde_json::from_slice(&std::fs::read(bed.join("spec.json")).unwrap()).unwrap();
    let options = Options {
        keep_input: true,
        after: Vec::new(),
    };
    detached::start(&spec, &bed.join("container"), options).unwrap();
    std::fs::write(bed.join("started"), "").unwrap();
    std::thread::sleep(PATIENCE);
}

#[test]
fn priv_something_is_started_after_the_end() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = folder(&bed);
    let mark = bed.path("mark");
    // What is started is this test program; it is asked to run no test and to write its log.
    let after = [
        "--exact",
        "no-such-test",
        "--logfile",
        mark.to_str().unwrap(),
    ];
    let options = Options {
        keep_input: false,
        after: after.map(str::to_owned).to_vec(),
    };
    detached::start(&bed.spec(&["true"]), &dir, options).unwrap();
    eventually("the mark", || mark.exists());
    assert_eq!(detached::wait(&dir).unwrap(), Some(Exit::Code(0)));
}

#[test]
fn half_a_status_and_strange_numbers_are_no_running_container() {
    let dir = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(dir.path().join("status.json"), text).unwrap();
    write("{\"boot\":\"x");
    assert_eq!(detached::status(dir.path()).unwrap(), Some(Status::Lost));
    // A process with that number exists, and it is not the one that was noted: it must live.
    let pid = std::process::id();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    write(&format!(
        r#"{{"boot":"{}","watcher":{{"pid":{pid},"started":5}},"program":{{"pid":{pid},"started":5}},"since":7,"ended":null}}"#,
        boot.trim()
    ));
    assert_eq!(detached::status(dir.path()).unwrap(), Some(Status::Lost));
    assert!(detached::process(dir.path()).unwrap().is_none());
}
