//! An ordinary user, with and without subordinate ids.
//!
//! The test program starts itself again as that user; what is said in the environment is then done before `main`.

use std::path::{Path, PathBuf};
use std::process::Command;

use runtime::userns::{Entered, enter_if_needed};
use runtime::{Lower, RootPlan, Spec, Stdio, Upper, User};

use crate::bed::{Bed, is_root};
use crate::detached::eventually;

const SCENE: &str = "RUNTIME_TEST_ROOTLESS";

/// Before `main`: plays a scene if this process was started for one.
pub(crate) fn scene() -> Option<u8> {
    let base = PathBuf::from(std::env::var_os(SCENE)?);
    let entered = match enter_if_needed() {
        Ok(entered) => entered,
        Err(error) => {
            eprintln!(
                "{error}: {:?}",
                std::error::Error::source(&error).map(ToString::to_string)
            );
            return Some(1);
        }
    };
    eprintln!(
        "entered: {}",
        if entered == Entered::Mapped {
            "mapped"
        } else {
            "alone"
        }
    );
    let play = || -> runtime::Result<()> {
        for (uid, script) in [
            (
                0,
                "id -u; touch /new /etc/changed; ls /dev | wc -w; cat /proc/self/attr/x 2>/dev/null; echo x > /dev/null; hostname",
            ),
            (1234, "id -u; touch /tmp/mine && stat -c %u /tmp/mine"),
        ] {
            if uid != 0 && entered != Entered::Mapped {
                continue;
            }
            let mut spec = spec(&base, script);
            spec.user = User {
                uid,
                gid: uid,
                groups: vec![uid],
            };
            let exit = runtime::run(&spec, Stdio::default(), &mut |_, bytes| {
                eprint!("{}", String::from_utf8_lossy(bytes));
            })?;
            eprintln!("exit {}", exit.code());
        }
        let folder = base.join("container");
        runtime::detached::start(
            &spec(&base, "sleep 1000"),
            &folder,
            runtime::detached::Options::default(),
        )?;
        let joining = runtime::Joining::like(
            &spec(&base, ""),
            ["sh", "-c", "echo joined; id -u"]
                .map(String::from)
                .to_vec(),
        );
        runtime::join(&folder, &joining, Stdio::default())?.wait(&mut |_, bytes| {
            eprint!("{}", String::from_utf8_lossy(bytes));
        })?;
        drop(runtime::hold(&folder)?);
        eprintln!("held");
        runtime::door::signal(&folder, 9)?;
        eprintln!(
            "ended {:?}",
            runtime::detached::wait(&folder)?.map(runtime::Exit::code)
        );
        Ok(())
    };
    Some(match play() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("error: {error}");
            1
        }
    })
}

fn spec(base: &Path, script: &str) -> Spec {
    let upper = Upper {
        dir: base.join("upper"),
        work: base.join("work"),
        volatile: true,
    };
    let plan = RootPlan {
        lowers: vec![Lower::Dir(base.join("lower"))],
        upper: Some(upper),
        userxattr: true,
    };
    let mut spec = Spec::new(
        "rootless",
        plan,
        ["sh", "-c", script].map(String::from).to_vec(),
    );
    spec.mounts = runtime::etc::mounts("rootless", &[], true).unwrap();
    spec
}

/// An account that is gone when the test is.
struct Account(String);

impl Account {
    fn new(name: &str) -> Self {
        let name = format!("{name}{}", std::process::id());
        change(
            "useradd",
            &["--no-create-home", "--shell", "/bin/sh", &name],
        );
        Self(name)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // A process of the user that is about to end keeps the account for a moment.
        Command::new("userdel")
            .args(["--force", &self.0])
            .stderr(std::process::Stdio::null())
            .status()
            .ok();
    }
}

/// Changes the accounts of this machine; others that do so at the same time have them locked for a moment.
fn change(program: &str, args: &[&str]) {
    eventually(program, || {
        Command::new(program).args(args).status().unwrap().success()
    });
}

/// Plays the scene as a user; gives what it said.
fn play(account: &Account) -> String {
    let bed = Bed::new();
    let run = |program: &str, args: &[&str]| {
        assert!(Command::new(program).args(args).status().unwrap().success())
    };
    let base = bed.dir.path().to_str().unwrap();
    std::fs::create_dir(bed.path("container")).unwrap();
    // The test program may lie where the user cannot reach it.
    let program = bed.path("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    run("chown", &["-R", &format!("{}:", account.0), base]);
    let output = Command::new("setpriv")
        .args([
            "--reuid",
            &account.0,
            "--regid",
            &account.0,
            "--init-groups",
        ])
        .arg(&program)
        .env(SCENE, base)
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(bed.path("upper/new").exists(), "{text}");
    text
}

#[test]
fn priv_an_ordinary_user_with_subordinate_ids_runs_containers() {
    if !is_root() {
        return;
    }
    let account = Account::new("bqsub");
    let text = play(&account);
    let expected = "entered: mapped\n0\n15\nrootless\nexit 0\n1234\n1234\nexit 0\njoined\n0\nheld\nended Some(137)\n";
    assert_eq!(text, expected);
}

#[test]
fn priv_an_ordinary_user_without_subordinate_ids_is_alone() {
    if !is_root() {
        return;
    }
    let account = Account::new("bqone");
    let drop_ids = [
        "--del-subuids",
        "0-4294967294",
        "--del-subgids",
        "0-4294967294",
        &account.0,
    ];
    change("usermod", &drop_ids);
    let text = play(&account);
    assert_eq!(
        text,
        "entered: alone\n0\n15\nrootless\nexit 0\njoined\n0\nheld\nended Some(137)\n"
    );
}
