//! Containers joined to the process that runs them: streams, terminals, signals.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio as ProcessStdio};

use runtime::detached::{self, Status};
use runtime::foreground::{self, Attach};
use runtime::{Exit, Size, Spec};

use crate::bed::{Bed, is_root};
use crate::detached::{PATIENCE, eventually, folder, has_logged};

fn pipe() -> (File, OwnedFd) {
    let (read, write) = std::io::pipe().unwrap();
    (OwnedFd::from(read).into(), write.into())
}

/// A terminal: the side of a person, and that of programs.
pub(crate) fn terminal(size: Size) -> (File, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let program = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    sys::terminal::set_size(&person, size).unwrap();
    (person.into(), program)
}

pub(crate) fn copy(fd: &OwnedFd) -> OwnedFd {
    fd.try_clone().unwrap()
}

/// Collects what a terminal shows until it has shown `text`.
pub(crate) fn expect(person: &mut File, shown: &mut String, text: &str) {
    let mut buffer = [0; 4096];
    let deadline = std::time::Instant::now() + PATIENCE;
    while !shown.contains(text) {
        let mut fds = [rustix::event::PollFd::new(
            &*person,
            rustix::event::PollFlags::IN,
        )];
        let second = rustix::event::Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        if rustix::event::poll(&mut fds, Some(&second)).unwrap() > 0 {
            let length = person.read(&mut buffer).unwrap();
            shown.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        assert!(
            std::time::Instant::now() < deadline,
            "no {text:?} in {shown:?}"
        );
    }
}

/// Runs a container in a process of its own, which can be signalled and killed.
fn elsewhere(bed: &Bed, spec: &Spec) -> Child {
    std::fs::write(bed.path("spec.json"), serde_json::to_vec(spec).unwrap()).unwrap();
    folder(bed);
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "foreground::helper_that_runs",
            "--ignored",
            "--nocapture",
        ])
        .env("BARQUE_TEST_BED", bed.dir.path())
        .stdin(ProcessStdio::null())
        .stdout(ProcessStdio::null())
        .stderr(ProcessStdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "started by other tests, to be signalled"]
fn helper_that_runs() {
    let Some(bed) = std::env::var_os("BARQUE_TEST_BED").map(PathBuf::from) else {
        return;
    };
    let spec: Spec =
        serde_json::from_slice(&std::fs::read(bed.join("spec.json")).unwrap()).unwrap();
    let exit = foreground::run(
        &spec,
        &bed.join("container"),
        Attach::standard(false).unwrap(),
    );
    assert!(exit.unwrap().success());
}

#[test]
fn priv_output_that_is_lost_is_an_error_after_the_program_has_ended() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = folder(&bed);
    let full = || {
        File::options()
            .write(true)
            .open("/dev/full")
            .unwrap()
            .into()
    };
    let attach = Attach {
        stdin: None,
        stdout: full(),
        stderr: full(),
        signals: false,
    };
    let spec = bed.shell("echo lost; echo lost too >&2; exit 3");
    let error = foreground::run(&spec, &dir, attach).unwrap_err();
    assert_eq!(error.to_string(), "cannot pass on what the program wrote");
    assert_eq!(error.exit_code(), 125);
    assert!(has_logged(&dir, "lost too"));
    assert_eq!(detached::wait(&dir).unwrap(), Some(Exit::Code(3)));
}

#[test]
fn priv_streams_are_joined_and_logged_and_others_see_the_container() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = folder(&bed);
    let ((mut out, stdout), (mut err, stderr)) = (pipe(), pipe());
    let (stdin, mut typed) = std::io::pipe().unwrap();
    let spec = bed.shell("echo begun; read line; echo got $line; echo bad >&2; exit 5");
    let runner = std::thread::spawn({
        let dir = dir.clone();
        move || {
            let attach = Attach {
                stdin: Some(stdin.into()),
                stdout,
                stderr,
                signals: false,
            };
            foreground::run(&spec, &dir, attach).unwrap()
        }
    });
    eventually("the log", || has_logged(&dir, "begun"));
    let Some(Status::Running { pid, .. }) = detached::status(&dir).unwrap() else {
        panic!("not running");
    };
    assert_eq!(detached::process(&dir).unwrap().unwrap().pid(), pid);
    typed.write_all(b"hello\n").unwrap();
    assert_eq!(runner.join().unwrap(), Exit::Code(5));
    let (mut text, mut errors) = (String::new(), String::new());
    out.read_to_string(&mut text).unwrap();
    err.read_to_string(&mut errors).unwrap();
    assert_eq!(
        (text.as_str(), errors.as_str()),
        ("begun\ngot hello\n", "bad\n")
    );
    assert!(has_logged(&dir, "got hello") && has_logged(&dir, "bad"));
    assert!(matches!(
        detached::status(&dir).unwrap(),
        Some(Status::Ended {
            exit: Exit::Code(5),
            ..
        })
    ));
}

#[test]
fn priv_a_reader_that_goes_ends_the_program() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let ((out, stdout), (_err, stderr)) = (pipe(), pipe());
    drop(out);
    let attach = Attach {
        stdin: None,
        stdout,
        stderr,
        signals: false,
    };
    let exit = foreground::run(&bed.spec(&["yes"]), &folder(&bed), attach).unwrap();
    assert!(!exit.success());
}

#[test]
fn priv_a_terminal_is_the_containers_own_and_ours_comes_back() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = folder(&bed);
    let (mut person, ours) = terminal(Size {
        rows: 33,
        columns: 111,
    });
    let before = rustix::termios::tcgetattr(&ours).unwrap();
    let mut spec =
        bed.shell("tty; stty size; ls -l $(tty); read -s line; echo got $line; read key; exit 6");
    spec.terminal = Some(Size {
        rows: 1,
        columns: 1,
    });
    spec.user = runtime::User {
        uid: 1000,
        gid: 1000,
        groups: Vec::new(),
    };
    let attach = Attach {
        stdin: Some(copy(&ours)),
        stdout: copy(&ours),
        stderr: copy(&ours),
        signals: false,
    };
    let runner = std::thread::spawn({
        let dir = dir.clone();
        move || foreground::run(&spec, &dir, attach).unwrap()
    });
    let mut shown = String::new();
    expect(&mut person, &mut shown, "/dev/pts/0\r\n33 111\r\n");
    expect(&mut person, &mut shown, "1000");
    assert!(rustix::termios::tcgetattr(&ours).unwrap().local_modes != before.local_modes);
    person.write_all(b"secret\r").unwrap();
    expect(&mut person, &mut shown, "got secret");
    // A key of the terminal reaches the program there, and nobody here.
    person.write_all(b"\x04").unwrap();
    assert_eq!(runner.join().unwrap(), Exit::Code(6));
    let after = rustix::termios::tcgetattr(&ours).unwrap();
    assert_eq!(
        (after.local_modes, after.input_modes, after.output_modes),
        (before.local_modes, before.input_modes, before.output_modes)
    );
    assert!(has_logged(&dir, "got secret\r\n"));
    assert!(rustix::termios::isatty(ours.as_fd()));
}

#[test]
fn priv_a_terminal_that_nobody_sees_hangs_up() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let (_person, ours) = terminal(Size {
        rows: 20,
        columns: 70,
    });
    let (out, stdout) = pipe();
    drop(out);
    let mut spec = bed.shell("yes; exit 3");
    spec.terminal = Some(Size {
        rows: 1,
        columns: 1,
    });
    let attach = Attach {
        stdin: Some(copy(&ours)),
        stdout,
        stderr: copy(&ours),
        signals: true,
    };
    let exit = foreground::run(&spec, &folder(&bed), attach).unwrap();
    assert!(!exit.success());
}

#[test]
fn priv_a_detached_terminal_is_drained_into_the_log() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = folder(&bed);
    // More than a terminal holds.
    let mut spec = bed.shell("tty; i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done");
    spec.terminal = Some(Size {
        rows: 24,
        columns: 80,
    });
    detached::start(&spec, &dir, detached::Options::default()).unwrap();
    assert_eq!(detached::wait(&dir).unwrap(), Some(Exit::Code(0)));
    assert!(has_logged(&dir, "/dev/pts/0\r\n") && has_logged(&dir, "line 1999\r\n"));
}

#[test]
fn priv_signals_are_passed_on() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let script = "for s in HUP INT QUIT TERM USR1; do trap \"echo got $s\" $s; done; \
                  trap 'echo got USR2; exit 0' USR2; echo ready; while :; do sleep 0.02; done";
    let mut runner = elsewhere(&bed, &bed.shell(script));
    let dir = bed.path("container");
    eventually("the start", || has_logged(&dir, "ready"));
    let handle = sys::process::Handle::open(runner.id().cast_signed()).unwrap();
    for (name, number) in [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("TERM", 15),
        ("USR1", 10),
        ("USR2", 12),
    ] {
        handle.signal(number).unwrap();
        eventually(name, || has_logged(&dir, &format!("got {name}")));
    }
    assert!(runner.wait().unwrap().success());
}

#[test]
fn priv_a_container_in_the_foreground_does_not_outlive_who_runs_it() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let dir = bed.path("container");
    let accounts = "root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n";
    std::fs::write(bed.path("lower/etc/passwd"), accounts).unwrap();
    let script = "echo ready; exec su user -c 'echo ready; exec sleep 1000'";
    let mut runner = elsewhere(&bed, &bed.shell(script));
    eventually("the start", || has_logged(&dir, "ready"));
    let program = detached::process(&dir).unwrap().unwrap();
    runner.kill().unwrap();
    runner.wait().unwrap();
    assert!(program.wait_end(Some(PATIENCE)).unwrap());
    assert_eq!(detached::status(&dir).unwrap(), Some(Status::Lost));
    assert!(Path::new(&dir).join("log").exists());
}
