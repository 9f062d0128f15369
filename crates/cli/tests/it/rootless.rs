//! What an ordinary user can do. `./test` runs these as a user made for them; as root they have nothing to show.

use testkit::skipped;

use crate::environment::Environment;

/// True where the test means something: an ordinary user, with subordinate ids.
pub(crate) fn ordinary_user_or_skip(test: &str) -> bool {
    let root = std::process::Command::new("id")
        .arg("-u")
        .output()
        .unwrap()
        .stdout
        == b"0\n";
    if root {
        skipped(test, "needs an ordinary user");
    }
    !root
}

#[test]
fn rootless_a_container_runs_as_any_user_of_its_image() {
    if !ordinary_user_or_skip("rootless_a_container_runs_as_any_user_of_its_image") {
        return;
    }
    let environment = Environment::with_busybox();
    assert_eq!(
        environment
            .barque(&["run", "--rm", "busybox", "id", "-u"])
            .ok(),
        "0"
    );
    assert_eq!(
        environment
            .barque(&["run", "--rm", "-u", "user", "busybox", "id", "-u"])
            .ok(),
        "1000"
    );
    assert_eq!(
        environment
            .barque(&["run", "--rm", "busybox", "sh", "-c", "exit 7"])
            .code,
        7
    );
    let owners = "touch /a && chown 1000:10 /a && stat -c %u:%g /a";
    assert_eq!(
        environment
            .barque(&["run", "--rm", "busybox", "sh", "-c", owners])
            .ok(),
        "1000:10"
    );
}

#[test]
fn rootless_a_build_with_run_keeps_owners_modes_and_removals() {
    if !ordinary_user_or_skip("rootless_a_build_with_run_keeps_owners_modes_and_removals") {
        return;
    }
    let environment = Environment::with_busybox();
    environment.write("c/file", "content");
    environment.write(
        "c/Dockerfile",
        "FROM busybox\nCOPY --chown=user:wheel file /file\nRUN rm /etc/group && mkdir /made && chown 1000 /made && chmod 2750 /made\n\
         USER user\nRUN test \"$(cat /file)\" = content && test ! -e /etc/group && touch /made/mine\n",
    );
    environment.barque(&["build", "-t", "app", "c"]).ok();
    assert_eq!(
        environment
            .barque(&[
                "run",
                "--rm",
                "app",
                "stat",
                "-c",
                "%u:%g %a",
                "/file",
                "/made",
                "/made/mine"
            ])
            .ok(),
        "1000:10 644\n1000:0 2750\n1000:0 644"
    );
    let etc = environment.barque(&["run", "--rm", "app", "ls", "/etc"]);
    assert!(!etc.ok().contains("group"), "{}", etc.stdout);
    environment.barque(&["build", "-t", "again", "c"]).ok();
    assert_eq!(
        environment.barque(&["images", "-q", "app"]).ok(),
        environment.barque(&["images", "-q", "again"]).ok()
    );
}

#[test]
fn rootless_a_detached_container_is_followed_entered_and_removed() {
    if !ordinary_user_or_skip("rootless_a_detached_container_is_followed_entered_and_removed") {
        return;
    }
    let environment = Environment::with_busybox();
    let script = "trap 'echo ended; exit 3' TERM; echo started; while :; do sleep 0.1; done";
    environment
        .barque(&["run", "-d", "--name", "long", "busybox", "sh", "-c", script])
        .ok();
    assert_eq!(
        environment.barque(&["exec", "long", "echo", "inside"]).ok(),
        "inside"
    );
    environment.await_log("long", "started");
    environment.barque(&["stop", "-t", "120", "long"]).ok();
    assert_eq!(environment.barque(&["logs", "long"]).ok(), "started\nended");
    assert_eq!(environment.barque(&["wait", "long"]).ok(), "3");
    environment.barque(&["rm", "long"]).ok();
    // As users whom the host's user cannot signal from a namespace of their own.
    let sleeps = ["busybox", "sleep", "100"];
    for options in [
        &["-d", "--name", "kept"][..],
        &["-d", "--rm", "--name", "gone"],
    ] {
        let arguments = [&["run", "-u", "user"], options, &sleeps].concat();
        environment.barque(&arguments).ok();
    }
    environment.barque(&["rm", "-f", "kept", "gone"]).ok();
    assert_eq!(environment.barque(&["ps", "-aq"]).ok(), "");
    environment.barque(&["rmi", "busybox"]).ok();
    environment.barque(&["prune", "-a"]).ok();
    environment.barque(&["fsck"]).ok();
}

#[test]
fn rootless_without_a_network_there_is_a_loopback_device_only() {
    if !ordinary_user_or_skip("rootless_without_a_network_there_is_a_loopback_device_only") {
        return;
    }
    let environment = Environment::with_busybox();
    let count = "[ $(grep -c : /proc/net/dev) = 1 ] && ! touch /sys/x";
    environment
        .barque(&[
            "run",
            "--rm",
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            count,
        ])
        .ok();
    environment.write(
        "Dockerfile",
        &format!("FROM busybox\nRUN --network=none {count}\n"),
    );
    environment.barque(&["build", "."]).ok();
}
