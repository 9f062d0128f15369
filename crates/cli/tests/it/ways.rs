//! The ways to a root filesystem, chosen by the environment.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use testkit::skipped;

use crate::environment::{Answer, Environment, eventually, root_or_skip};

/// Runs the program with a way that is chosen.
fn by_way(environment: &Environment, way: &str, arguments: &[&str]) -> Answer {
    let mut command = environment.command(arguments);
    command.env("BARQUE_LAYERS", way).output().unwrap().into()
}

/// The files of the store that loop devices have, after those that are going away went.
fn looped(environment: &Environment) -> Vec<PathBuf> {
    let store = environment.store().canonicalize().unwrap();
    eventually(|| backing(&store).is_empty());
    backing(&store)
}

/// The same at this moment.
fn backing(store: &Path) -> Vec<PathBuf> {
    let devices = std::fs::read_dir("/sys/block").into_iter().flatten();
    devices
        .filter_map(|entry| {
            std::fs::read_to_string(entry.unwrap().path().join("loop/backing_file")).ok()
        })
        .map(|path| PathBuf::from(path.trim_end()))
        .filter(|path| path.starts_with(store))
        .collect()
}

#[test]
fn priv_containers_and_run_steps_work_in_each_way() {
    let test = "priv_containers_and_run_steps_work_in_each_way";
    if !root_or_skip(test) {
        return;
    }
    let environment = Environment::with_busybox();
    for way in ["files", "loops", "unpacked"] {
        let info = by_way(&environment, way, &["info"]);
        if info.code != 0 {
            skipped(&format!("{test}, {way}"), &info.stderr);
            continue;
        }
        environment.write(
            "c/Dockerfile",
            &format!("FROM busybox\nRUN echo {way} > /made && rm /etc/group\nRUN test ! -e /etc/group && cat /made >> /twice && cat /made >> /twice\n"),
        );
        by_way(&environment, way, &["build", "-q", "-t", way, "c"]).ok();
        assert_eq!(
            by_way(&environment, way, &["cat", &format!("{way}:/twice")]).ok(),
            format!("{way}\n{way}")
        );
        let words = ["run", "--rm", way, "sh", "-c", "cat /made; ls /etc"];
        let shown = by_way(&environment, way, &words).ok().to_owned();
        assert!(shown.starts_with(way), "{shown}");
        assert!(!shown.contains("group"), "{shown}");
        assert_eq!(looped(&environment), Vec::<PathBuf>::new(), "{way}");
    }
}

#[test]
fn priv_a_kill_leaves_no_loop_device() {
    let test = "priv_a_kill_leaves_no_loop_device";
    if !root_or_skip(test) {
        return;
    }
    let environment = Environment::with_busybox();
    let info = by_way(&environment, "loops", &["info"]);
    if info.code != 0 {
        skipped(test, &info.stderr);
        return;
    }
    assert!(
        info.stdout.contains("through loop devices"),
        "{}",
        info.stdout
    );
    let store = environment.store().canonicalize().unwrap();
    let mut child = environment
        .command(&["run", "--name", "held", "busybox", "sleep", "1000"])
        .env("BARQUE_LAYERS", "loops")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Index and tar of the one layer.
    let mounted = eventually(|| backing(&store).len() == 2);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(mounted, "{:?}", backing(&store));
    assert_eq!(looped(&environment), Vec::<PathBuf>::new());
}

#[test]
fn a_way_that_nobody_knows_is_told() {
    let environment = Environment::new();
    let answer = by_way(&environment, "magic", &["images"]);
    let text = answer.fails(1);
    assert!(text.contains("`magic`"), "{text}");
    assert!(text.contains("files, loops, unpacked"), "{text}");
}
