//! A kill at any moment leaves a store that is clean but for litter in `tmp/`.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::environment::{Environment, busybox_tar, root_or_skip};

/// Starts each command in turn and kills it a little later each time, past its natural end.
fn killed_in_turn(environment: &Environment, commands: &[&[&str]], rounds: u32) {
    let mut cut_short = 0;
    for round in 0..rounds {
        for command in commands {
            // Something to do each time: a file that the build has not seen.
            environment.write("c/file", &format!("{round} {command:?}"));
            let started = Instant::now();
            let mut child = environment
                .command(command)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let patience = Duration::from_micros(u64::from(round * round) * 150 + 500);
            while started.elapsed() < patience && child.try_wait().unwrap().is_none() {
                sleep(Duration::from_micros(200));
            }
            if child.try_wait().unwrap().is_none() {
                cut_short += 1;
                child.kill().unwrap();
            }
            child.wait().unwrap();
        }
    }
    assert!(
        cut_short >= rounds / 2,
        "only {cut_short} commands were cut short"
    );
}

/// What lies in `tmp/` beside files that are only locked. The sweeper starts as a command ends, if none is at work.
fn litter(environment: &Environment) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(environment.store().join("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("upkeep.lock") && !path.ends_with("turns.lock"))
        .collect()
}

fn is_clean_and_of_use(environment: &Environment) {
    // The next command sweeps what the killed ones left.
    environment
        .barque(&["import", busybox_tar().to_str().unwrap(), "busybox"])
        .ok();
    let report = environment.barque(&["fsck"]);
    report.ok();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !litter(environment).is_empty() && Instant::now() < deadline {
        sleep(Duration::from_millis(100));
        environment.barque(&["tag", "busybox", "again"]).ok();
    }
    assert!(litter(environment).is_empty(), "{:?}", litter(environment));
    environment.write("c/file", "last");
    environment.barque(&["build", "-q", "-t", "app", "c"]).ok();
    assert_eq!(environment.barque(&["cat", "app:/file"]).ok(), "last");
}

#[test]
fn a_kill_amid_builds_imports_and_removals_leaves_a_clean_store() {
    let environment = Environment::with_busybox();
    let tar = busybox_tar().to_str().unwrap();
    environment.write(
        "c/Dockerfile",
        "FROM busybox\nCOPY file /file\nWORKDIR /a/b\nCOPY file c/\n",
    );
    let commands: &[&[&str]] = &[
        &["build", "-q", "-t", "app", "c"],
        &["rmi", "-f", "app"],
        &["import", tar, "other"],
        &["rmi", "other"],
        &["prune", "-a"],
    ];
    killed_in_turn(&environment, commands, 12);
    is_clean_and_of_use(&environment);
}

#[test]
fn priv_a_kill_amid_run_steps_and_containers_leaves_no_mounts() {
    if !root_or_skip("priv_a_kill_amid_run_steps_and_containers_leaves_no_mounts") {
        return;
    }
    let environment = Environment::with_busybox();
    environment.write(
        "c/Dockerfile",
        "FROM busybox\nCOPY file /file\nRUN cat file > /copy\n",
    );
    let commands: &[&[&str]] = &[
        &["build", "-q", "-t", "app", "c"],
        &["run", "--rm", "busybox", "touch", "/x"],
    ];
    killed_in_turn(&environment, commands, 20);
    is_clean_and_of_use(&environment);
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let store = environment.store().display().to_string();
    assert!(!mounts.contains(&store), "{mounts}");
}
