//! Programs in a running container, as a person asks for them.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as ProcessStdio};

use runtime::detached::{self, Options};
use runtime::exec::{self, Program};
use runtime::foreground::Attach;
use runtime::{Error, Exit, Size, Spec, User};

use crate::bed::{Bed, is_root};
use crate::detached::{PATIENCE, eventually, folder};
use crate::foreground::{copy, expect, terminal};

/// A running container; dropping it ends it.
struct Up {
    bed: Bed,
    dir: PathBuf,
}

impl Up {
    fn new(change: impl FnOnce(&mut Spec)) -> Self {
        let bed = Bed::new();
        let dir = folder(&bed);
        let mut spec = bed.spec(&["sleep", "1000"]);
        change(&mut spec);
        detached::start(&spec, &dir, Options::default()).unwrap();
        Self { bed, dir }
    }

    fn made(&self, name: &str) -> bool {
        self.bed.path("upper").join(name).exists()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        runtime::door::signal(&self.dir, 9).ok();
        detached::wait(&self.dir).ok();
    }
}

fn program(script: &str) -> Program {
    Program {
        args: ["sh", "-c", script].map(str::to_owned).to_vec(),
        ..Program::default()
    }
}

fn run(dir: &Path, program: &Program, typed: &str) -> (Result<Exit, Error>, String) {
    let (stdin, mut typist) = std::io::pipe().unwrap();
    let (mut out, stdout) = std::io::pipe().unwrap();
    typist.write_all(typed.as_bytes()).unwrap();
    drop(typist);
    let stderr = stdout.try_clone().unwrap().into();
    let attach = Attach {
        stdin: Some(stdin.into()),
        stdout: stdout.into(),
        stderr,
        signals: false,
    };
    let exit = exec::run(dir, program, attach);
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    (exit, text)
}

#[test]
fn priv_exec_is_like_the_first_program_but_for_what_is_said() {
    if !is_root() {
        return;
    }
    let up = Up::new(|spec| {
        spec.env.extend(["A=1".to_owned(), "B=2".to_owned()]);
        spec.cwd = "/etc".into();
        spec.user = User {
            uid: 7,
            gid: 8,
            groups: vec![8],
        };
    });
    let mut asked = program("pwd; id; echo $A $B $C; cat; echo err >&2; exit 9");
    asked.env = vec!["B=3".to_owned(), "C=4".to_owned()];
    let (exit, text) = run(&up.dir, &asked, "typed\n");
    assert_eq!(text, "/etc\nuid=7 gid=8 groups=8\n1 3 4\ntyped\nerr\n");
    assert_eq!(exit.unwrap(), Exit::Code(9));

    asked = program("pwd; id; grep CapEff /proc/self/status");
    asked.cwd = Some("/tmp".into());
    asked.user = Some(User::default());
    asked.privileged = true;
    let all = format!("CapEff:\t{:016x}\n", capabilities_of_ours());
    assert_eq!(
        run(&up.dir, &asked, "").1,
        format!("/tmp\nuid=0 gid=0\n{all}")
    );
}

/// The most that a process here can have.
fn capabilities_of_ours() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("CapBnd:"))
        .unwrap();
    u64::from_str_radix(line["CapBnd:".len()..].trim(), 16).unwrap()
}

#[test]
fn priv_exec_that_cannot_begin_has_dockers_exit_codes() {
    if !is_root() {
        return;
    }
    let up = Up::new(|_| {});
    let code = |asked: &Program| run(&up.dir, asked, "").0.unwrap_err().exit_code();
    let asked = |name: &str| Program {
        args: vec![name.to_owned()],
        ..Program::default()
    };
    assert_eq!(code(&asked("nosuch")), 127);
    assert_eq!(code(&asked("/etc")), 126);
    for cwd in ["/nosuch", "/bin/busybox"] {
        let asked = Program {
            cwd: Some(cwd.into()),
            ..program("true")
        };
        let error = run(&up.dir, &asked, "").0.unwrap_err();
        assert_eq!(error.exit_code(), 126, "{error}");
        assert!(error.to_string().contains(cwd), "{error}");
    }
    // No open directory of ours can be reached through a working directory.
    for number in 0..40 {
        let cwd = Some(format!("/proc/self/fd/{number}").into());
        let (exit, text) = run(
            &up.dir,
            &Program {
                cwd,
                ..program("pwd; ls /")
            },
            "",
        );
        assert!(exit.is_err(), "{number}: {text}");
    }
    detached::process(&up.dir)
        .unwrap()
        .unwrap()
        .signal(9)
        .unwrap();
    detached::wait(&up.dir).unwrap();
    assert!(matches!(
        run(&up.dir, &program("true"), "").0,
        Err(Error::NotRunning)
    ));
    let nothing = tempfile::tempdir().unwrap();
    assert!(matches!(
        run(nothing.path(), &program("true"), "").0,
        Err(Error::NotRunning)
    ));
}

#[test]
fn priv_exec_with_a_terminal_is_joined_to_ours() {
    if !is_root() {
        return;
    }
    let up = Up::new(|_| {});
    let (mut person, ours) = terminal(Size {
        rows: 20,
        columns: 70,
    });
    let mut asked = program("tty; stty size; read line; echo got $line; sleep 1000");
    asked.terminal = Some(Size {
        rows: 1,
        columns: 1,
    });
    let attach = Attach {
        stdin: Some(copy(&ours)),
        stdout: copy(&ours),
        stderr: copy(&ours),
        signals: false,
    };
    let dir = up.dir.clone();
    let runner = std::thread::spawn(move || exec::run(&dir, &asked, attach).unwrap());
    let mut shown = String::new();
    expect(&mut person, &mut shown, "/dev/pts/0\r\n20 70\r\n");
    person.write_all(b"hello\r").unwrap();
    expect(&mut person, &mut shown, "got hello");
    // The terminal there, not ours, makes a signal of this key.
    person.write_all(b"\x03").unwrap();
    assert_eq!(runner.join().unwrap(), Exit::Signal(2));
}

#[test]
fn priv_exec_leaves_what_it_started_behind_and_does_not_wait_for_it() {
    if !is_root() {
        return;
    }
    let up = Up::new(|_| {});
    let (exit, text) = run(
        &up.dir,
        &program("{ sleep 300; touch /late; } & echo done"),
        "",
    );
    assert_eq!((exit.unwrap(), text.as_str()), (Exit::Code(0), "done\n"));
    assert!(!up.made("late"));
    // In the background from the start.
    let pid = exec::start(
        &up.dir,
        &program("sleep 0.1; echo lost; touch /mark; exec sleep 1000"),
    )
    .unwrap();
    assert!(pid > 1);
    eventually("the mark", || up.made("mark"));
    let handle = sys::process::Handle::open(pid).unwrap();
    drop(up);
    assert!(handle.wait_end(Some(PATIENCE)).unwrap());
}

#[test]
fn priv_exec_in_the_foreground_does_not_outlive_who_asked() {
    if !is_root() {
        return;
    }
    let up = Up::new(|_| {});
    let mut asker = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "exec::helper_that_execs",
            "--ignored",
            "--nocapture",
        ])
        .env("BARQUE_TEST_DIR", &up.dir)
        .stdin(ProcessStdio::null())
        .stdout(ProcessStdio::null())
        .stderr(ProcessStdio::null())
        .spawn()
        .unwrap();
    let alive = || {
        run(&up.dir, &program("ps | grep -c '[s]leep 777'"), "")
            .1
            .trim()
            != "0"
    };
    eventually("the start", || up.made("mark") && alive());
    asker.kill().unwrap();
    asker.wait().unwrap();
    eventually("the end", || !alive());
}

#[test]
#[ignore = "started by another test, to be killed"]
fn helper_that_execs() {
    let Some(dir) = std::env::var_os("BARQUE_TEST_DIR").map(PathBuf::from) else {
        return;
    };
    let asked = program("touch /mark; exec sleep 777");
    exec::run(&dir, &asked, Attach::standard(false).unwrap()).unwrap();
}

#[test]
fn priv_our_program_cannot_be_written_through_any_process_of_ours() {
    if !is_root() {
        return;
    }
    // With an init of ours, a process in the container is our program too.
    let up = Up::new(|spec| spec.init = true);
    exec::start(&up.dir, &program("sleep 1000")).unwrap();
    let ours = std::fs::metadata(std::env::current_exe().unwrap()).unwrap();
    let program = detached::process(&up.dir).unwrap().unwrap();
    let mut found = 0;
    for pid in family(program.pid()) {
        let exe = format!("/proc/{pid}/exe");
        let Ok(metadata) = std::fs::metadata(&exe) else {
            continue;
        };
        use std::os::unix::fs::MetadataExt;
        if metadata.ino() == ours.ino() && metadata.dev() == ours.dev() {
            found += 1;
            let flags = rustix::fs::statvfs(&exe).unwrap().f_flag;
            assert!(
                flags.contains(rustix::fs::StatVfsMountFlags::RDONLY),
                "{pid}"
            );
            assert!(File::options().write(true).open(&exe).is_err());
        }
    }
    // Init, watcher, companion and supervisor.
    assert!(found >= 4, "{found}");
}

/// A process, its ancestors up to the supervisor, and the other children of those.
fn family(pid: i32) -> Vec<i32> {
    let parent = |pid: i32| -> Option<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
    };
    let watcher = parent(pid).unwrap();
    let supervisor = parent(watcher).unwrap();
    let all = std::fs::read_dir("/proc").unwrap();
    let all = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let mut family: Vec<i32> = all.filter(|pid| parent(*pid) == Some(watcher)).collect();
    family.extend([watcher, supervisor]);
    family
}
