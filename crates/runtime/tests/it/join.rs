//! Programs in a container that runs already, and signals through its door.

use std::path::Path;

use runtime::{Error, Exit, Joining, Stdio, User, detached};

use crate::bed::{Bed, is_root};
use crate::detached::PATIENCE;

fn args(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(String::from).to_vec()
}

fn joined(folder: &Path, spec: &Joining) -> (Exit, String) {
    let mut text = Vec::new();
    let running = runtime::join(folder, spec, Stdio::default()).unwrap();
    let exit = running.wait(&mut |_, bytes| text.extend_from_slice(bytes));
    (exit.unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn priv_programs_join_a_running_container() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let folder = bed.dir.path();
    let mut spec = bed.spec(&["sleep", "1000"]);
    spec.hostname = "boat".to_owned();
    spec.user = User {
        uid: 7,
        gid: 8,
        groups: vec![8],
    };
    spec.limits.pids = Some(50);
    if let Err(error) = detached::start(&spec, folder, detached::Options::default()) {
        assert!(matches!(error, Error::Limit { .. }), "{error}");
        spec.limits.pids = None;
        detached::start(&spec, folder, detached::Options::default()).unwrap();
    }
    let mut other = Joining::like(
        &spec,
        args(
            "hostname; id; ps | grep -c [s]leep; pwd; grep -E 'CapBnd|Seccomp:' /proc/self/status
             cat /proc/self/cgroup | grep -v :/$ | wc -l; ls /proc/self/fd | wc -l; umask; exit 6",
        ),
    );
    other.cwd = "/tmp".into();
    let (exit, text) = joined(folder, &other);
    let expected =
        "boat\nuid=7 gid=8 groups=8\n1\n/tmp\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\n0\n4\n0022\n";
    assert_eq!((exit, text.as_str()), (Exit::Code(6), expected));
    let missing = Joining {
        args: vec!["nosuch".into()],
        ..other.clone()
    };
    assert_eq!(
        runtime::join(folder, &missing, Stdio::default())
            .unwrap_err()
            .exit_code(),
        127
    );
    let mut root = Joining::like(&spec, args("id; mount -t tmpfs x /tmp && echo mounted"));
    root.make_privileged();
    root.user = User::default();
    assert_eq!(joined(folder, &root).1, "uid=0 gid=0\nmounted\n");
    // When the container ends, so does what joined it.
    let late = runtime::join(
        folder,
        &Joining::like(&spec, args("sleep 1000")),
        Stdio::default(),
    )
    .unwrap();
    assert!(runtime::door::signal(folder, 999).is_err());
    runtime::door::signal(folder, 9).unwrap();
    assert_eq!(late.wait(&mut |_, _| {}).unwrap(), Exit::Signal(9));
    assert_eq!(detached::wait(folder).unwrap(), Some(Exit::Signal(9)));
    assert!(matches!(
        runtime::join(folder, &other, Stdio::default()),
        Err(Error::NotRunning)
    ));
    assert!(matches!(
        runtime::door::signal(folder, 15),
        Err(Error::NotRunning)
    ));
}

#[test]
fn priv_a_joined_program_has_a_terminal_of_its_own() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let folder = bed.dir.path();
    let spec = bed.spec(&["sleep", "1000"]);
    detached::start(&spec, folder, detached::Options::default()).unwrap();
    let mut terminal = Joining::like(&spec, args("tty; stty size"));
    terminal.terminal = Some(runtime::Size {
        rows: 5,
        columns: 66,
    });
    let mut running = runtime::join(folder, &terminal, Stdio::default()).unwrap();
    let side = std::fs::File::from(running.take_terminal().unwrap());
    running.wait(&mut |_, _| {}).unwrap();
    let (mut buffer, mut text) = ([0; 100], String::new());
    while let Ok(length @ 1..) = std::io::Read::read(&mut &side, &mut buffer) {
        text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
    assert_eq!(text, "/dev/pts/0\r\n5 66\r\n");
    runtime::door::signal(folder, 9).unwrap();
}

#[test]
fn priv_a_container_in_the_foreground_is_reached_and_ends_with_its_parent() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let folder = bed.dir.path();
    let spec = bed.shell("trap 'exit 9' TERM; echo ready; while true; do sleep 0.02; done");
    let running = runtime::start_in(folder, &spec, Stdio::default()).unwrap();
    // Process 1 ignores what it has no handler for: the signal waits for the trap.
    let exit = running.wait(&mut |_, _| runtime::door::signal(folder, 15).unwrap());
    assert_eq!(exit.unwrap(), Exit::Code(9));
    let running = runtime::start_in(folder, &spec, Stdio::default()).unwrap();
    let program = running.process().unwrap();
    drop(running);
    assert!(program.wait_end(Some(PATIENCE)).unwrap());
}

#[test]
fn priv_a_silent_visitor_does_not_stop_the_watcher() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let folder = bed.dir.path();
    let running =
        runtime::start_in(folder, &bed.spec(&["sleep", "1000"]), Stdio::default()).unwrap();
    let silent = std::os::unix::net::UnixStream::connect(folder.join("door.sock")).unwrap();
    runtime::door::signal(folder, 9).unwrap();
    assert_eq!(running.wait(&mut |_, _| {}).unwrap(), Exit::Signal(9));
    drop(silent);
}
