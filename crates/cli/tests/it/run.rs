//! Containers.

use crate::environment::{Environment, eventually, root_or_skip};

#[test]
fn priv_exit_codes_are_those_of_docker() {
    if !root_or_skip("priv_exit_codes_are_those_of_docker") {
        return;
    }
    let environment = Environment::with_busybox();
    for (words, code) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["nosuchprogram"], 127),
        (&["/etc/passwd"], 126),
        (&["sh", "-c", "sleep 9 & kill -9 $!; wait $!"], 137),
    ] {
        let answer = environment.barque(&[&["run", "--rm", "busybox"][..], words].concat());
        assert_eq!(answer.code, code, "{words:?}: {}", answer.stderr);
    }
    assert_eq!(
        environment
            .barque(&["run", "--rm", "nosuchimage", "true"])
            .code,
        125
    );
    assert_eq!(
        environment.barque(&["run", "--nosuchflag", "busybox"]).code,
        125
    );
    assert_eq!(
        environment.barque(&["ps", "-aq"]).ok(),
        "",
        "--rm leaves nothing"
    );
}

#[test]
fn priv_a_container_whose_output_is_lost_is_kept_as_it_ended() {
    if !root_or_skip("priv_a_container_whose_output_is_lost_is_kept_as_it_ended") {
        return;
    }
    let environment = Environment::with_busybox();
    let run = |options: &[&str]| {
        let words = [&["run"], options, &["busybox", "sh", "-c"]].concat();
        let mut command = environment.command(&words);
        command.arg("echo done > /result; echo lost; exit 3");
        let full = std::fs::File::options().write(true).open("/dev/full");
        let answer = command.stdout(full.unwrap()).output().unwrap();
        let told = String::from_utf8(answer.stderr).unwrap();
        assert!(told.contains("cannot pass on what the program"), "{told}");
        assert_eq!(answer.status.code(), Some(125));
    };
    run(&["--name", "kept"]);
    run(&["--rm"]);
    let listed = environment.barque(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]);
    assert!(
        listed.ok().starts_with("kept Exited (3)"),
        "{}",
        listed.ok()
    );
    assert_eq!(listed.ok().lines().count(), 1, "{}", listed.ok());
    assert!(
        environment
            .barque(&["diff", "kept"])
            .ok()
            .contains("/result")
    );
}

#[test]
fn priv_a_process_gets_what_was_asked_for() {
    if !root_or_skip("priv_a_process_gets_what_was_asked_for") {
        return;
    }
    let environment = Environment::with_busybox();
    let file = environment.write("vars", "# c\nA=file\nB=file\n");
    let run = |words: &[&str]| {
        environment
            .barque(&[&["run", "--rm"][..], words].concat())
            .ok()
            .to_owned()
    };
    assert_eq!(
        run(&[
            "--env-file",
            file.to_str().unwrap(),
            "-e",
            "B=flag",
            "busybox",
            "sh",
            "-c",
            "echo $A $B"
        ]),
        "file flag"
    );
}

#[test]
fn priv_a_process_is_held_by_what_was_asked_for() {
    if !root_or_skip("priv_a_process_is_held_by_what_was_asked_for") {
        return;
    }
    let environment = Environment::with_busybox();
    // Flags, what the shell does, what it prints.
    for (flags, script, printed) in [
        ("-w /new/dir", "pwd", "/new/dir"),
        (
            "-u user",
            "id -u; id -G; echo $HOME",
            "1000\n1000 1001\n/home/user",
        ),
        ("-u 1234", "id -G", "0"),
        ("-h boat", "hostname", "boat"),
        (
            "--read-only",
            "touch /x 2>/dev/null || echo refused",
            "refused",
        ),
        (
            "--tmpfs /t:size=1m",
            "df -k /t | tail -1 | awk '{print $2}'",
            "1024",
        ),
        (
            "--label a=b",
            "grep CapBnd /proc/1/status | cut -f2",
            "00000000a80425fb",
        ),
        ("--network none", "ls /sys/class/net", "lo"),
        ("--init", "[ $$ -ne 1 ] && echo child", "child"),
        (
            "--ulimit nofile=100:200",
            "ulimit -Sn; ulimit -Hn",
            "100\n200",
        ),
    ] {
        let flags: Vec<&str> = flags.split(' ').collect();
        let words = [
            &["run", "--rm"],
            &flags[..],
            &["busybox", "sh", "-c", script],
        ]
        .concat();
        assert_eq!(environment.barque(&words).ok(), printed, "{flags:?}");
    }
    let words = ["run", "--rm", "--entrypoint", "echo", "busybox", "x"];
    assert_eq!(environment.barque(&words).ok(), "x");
}

#[test]
fn priv_binds_are_seen_and_missing_sources_told() {
    if !root_or_skip("priv_binds_are_seen_and_missing_sources_told") {
        return;
    }
    let environment = Environment::with_busybox();
    environment.write("data/file", "hello");
    let run = |words: &[&str]| environment.barque(&[&["run", "--rm"][..], words].concat());
    assert_eq!(
        run(&["-v", "./data:/d:ro", "busybox", "cat", "/d/file"]).ok(),
        "hello"
    );
    assert_ne!(
        run(&["-v", "./data:/d:ro", "busybox", "touch", "/d/x"]).code,
        0
    );
    assert_eq!(
        run(&["-v", "./data:/d", "busybox", "touch", "/d/x"]).code,
        0
    );
    assert!(environment.path("data/x").exists());
    let answer = run(&["--mount", "type=bind,src=./gone,dst=/d", "busybox", "true"]);
    assert!(answer.fails(125).contains("gone"), "{}", answer.stderr);
    let answer = run(&["--env-file", "gone", "busybox", "true"]);
    assert!(answer.fails(125).contains("gone"), "{}", answer.stderr);
}

#[test]
fn priv_a_container_lives_is_followed_and_ends() {
    if !root_or_skip("priv_a_container_lives_is_followed_and_ends") {
        return;
    }
    let environment = Environment::with_busybox();
    let barque = |words: &[&str]| environment.barque(words);
    let script = "trap 'exit 3' TERM; echo err >&2; echo data > /file; echo out; while :; do sleep 0.1; done";
    let id = barque(&[
        "run", "-d", "--name", "boat", "--label", "a=b", "busybox", "sh", "-c", script,
    ])
    .ok()
    .to_owned();
    assert_eq!(id.len(), 64, "{id}");
    environment.await_log("boat", "out");
    assert!(barque(&["ps"]).ok().contains("boat"));
    let used = "{{.Type}}: {{.Active}} of {{.TotalCount}}, {{.Reclaimable}}";
    let df = barque(&["df", "--format", used]).ok().to_owned();
    assert!(df.contains("Containers: 1 of 1, 0B"), "{df}");
    assert_eq!(
        barque(&["ps", "-q", "-f", "label=a=b", "--no-trunc"]).ok(),
        id
    );
    let script = "cat /file; echo $X; exit 4";
    let answer = barque(&["exec", "-e", "X=1", "boat", "sh", "-c", script]);
    assert_eq!((answer.code, answer.stdout.as_str()), (4, "data\n1\n"));
    assert_eq!(
        barque(&["exec", "-u", "user", "boat", "id", "-u"]).ok(),
        "1000"
    );
    assert_eq!(barque(&["exec", "boat", "nosuch"]).code, 127);
    assert!(
        barque(&["run", "--name", "boat", "busybox", "true"])
            .fails(125)
            .contains("boat")
    );
    assert!(barque(&["rm", "boat"]).fails(1).contains("running"));
    assert_eq!(barque(&["stop", "-t", "120", "boat"]).ok(), "boat");
    assert_eq!(barque(&["wait", "boat"]).ok(), "3");
    let inspected = barque(&["inspect", "boat"]).ok().to_owned();
    assert!(inspected.contains("\"StartedAt\": \"20"), "{inspected}");
    let logs = barque(&["logs", "boat"]);
    assert_eq!(
        (logs.stdout.as_str(), logs.stderr.as_str()),
        ("out\n", "err\n")
    );
    assert!(barque(&["ps", "-a"]).ok().contains("Exited (3)"));
    let image = barque(&["commit", "-c", "ENV X=committed", "boat", "saved:1"])
        .ok()
        .to_owned();
    assert!(image.starts_with("sha256:"), "{image}");
    assert_eq!(barque(&["cat", "saved:1:/file"]).ok(), "data");
    assert_eq!(
        barque(&["run", "--rm", "saved:1", "sh", "-c", "echo $X"]).ok(),
        "committed"
    );
    let changed = barque(&["diff", "boat"]).ok().to_owned();
    assert_eq!(changed, "A /file");
    assert!(
        barque(&["rmi", "busybox"]).stderr.contains("container")
            || barque(&["images"]).ok().contains("saved")
    );
    assert_eq!(barque(&["rm", "boat"]).ok(), "boat");
    assert_eq!(barque(&["ps", "-aq"]).ok(), "");
    assert_eq!(barque(&["fsck"]).code, 0);
}

#[test]
fn priv_what_a_container_writes_never_reaches_the_image() {
    if !root_or_skip("priv_what_a_container_writes_never_reaches_the_image") {
        return;
    }
    let environment = Environment::with_busybox();
    environment
        .barque(&[
            "run",
            "--rm",
            "busybox",
            "sh",
            "-c",
            "echo bad > /etc/passwd; rm /etc/group",
        ])
        .ok();
    assert!(
        environment
            .barque(&["run", "--rm", "busybox", "cat", "/etc/passwd", "/etc/group"])
            .ok()
            .contains("wheel")
    );
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(
        !mounts.contains(environment.path("").parent().unwrap().to_str().unwrap()),
        "nothing stays mounted"
    );
}

#[test]
fn priv_prune_takes_no_container_away_from_its_run() {
    if !root_or_skip("priv_prune_takes_no_container_away_from_its_run") {
        return;
    }
    let environment = Environment::with_busybox();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                environment.barque(&["prune", "--keep-cache"]).ok();
            }
        });
        let answers: Vec<_> = (0..12)
            .map(|round| {
                let words: &[&str] = match round % 3 {
                    0 => &["run", "--rm", "busybox", "echo", "done"],
                    1 => &["run", "busybox", "echo", "done"],
                    _ => &["run", "-d", "--rm", "busybox", "true"],
                };
                environment.barque(words)
            })
            .collect();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        for answer in answers {
            answer.ok();
        }
    });
}

#[test]
fn priv_a_volume_of_the_image_begins_with_its_content_and_goes_with_the_container() {
    if !root_or_skip(
        "priv_a_volume_of_the_image_begins_with_its_content_and_goes_with_the_container",
    ) {
        return;
    }
    let environment = Environment::with_busybox();
    environment.write(
        "c/Dockerfile",
        "FROM busybox\nRUN mkdir /data && echo first > /data/file\nVOLUME /data /new\n",
    );
    environment.barque(&["build", "-t", "v", "c"]).ok();
    let run = |words: &[&str]| {
        environment.barque(&[&["run", "--name", "box", "v", "sh", "-c"][..], words].concat())
    };
    let script = "cat /data/file; echo more > /data/other; touch /new/x; ls /new";
    assert_eq!(run(&[script]).ok(), "first\nx");
    assert_eq!(
        environment.barque(&["diff", "box"]).ok(),
        "",
        "what is in a volume is no change"
    );
    environment.barque(&["rm", "-v", "box"]).ok();
    assert_eq!(run(&["ls /data /new"]).ok(), "/data:\nfile\n\n/new:");
    let read_only = ["run", "--rm", "--read-only", "v", "touch", "/data/x"];
    environment.barque(&read_only).ok();
}

#[test]
fn priv_flags_that_contradict_each_other_are_refused() {
    if !root_or_skip("priv_flags_that_contradict_each_other_are_refused") {
        return;
    }
    let environment = Environment::with_busybox();
    let answer = environment.barque(&[
        "run",
        "--privileged",
        "--cap-drop",
        "ALL",
        "busybox",
        "true",
    ]);
    assert!(
        answer.fails(125).contains("--privileged"),
        "{}",
        answer.stderr
    );
    environment.write("id", "");
    let answer = environment.barque(&["run", "--cidfile", "id", "busybox", "true"]);
    assert!(answer.fails(125).contains("exists"), "{}", answer.stderr);
    assert_eq!(environment.barque(&["ps", "-aq"]).ok(), "");
}

#[test]
fn priv_limits_hold_or_are_refused() {
    if !root_or_skip("priv_limits_hold_or_are_refused") {
        return;
    }
    let environment = Environment::with_busybox();
    let script = "i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i+1)); done; echo all";
    let answer = environment.barque(&[
        "run",
        "--rm",
        "--pids-limit",
        "10",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    if answer.code == 125 {
        assert!(answer.stderr.contains("pids"), "{}", answer.stderr);
        eprintln!(
            "SKIPPED in part: this host cannot limit processes: {}",
            answer.stderr.trim()
        );
        return;
    }
    assert!(!answer.stdout.contains("all"), "{}", answer.stdout);
    let script = "head -c 200m /dev/zero | tail -c 190m > /dev/null";
    let answer = environment.barque(&[
        "run", "--rm", "--memory", "32m", "busybox", "sh", "-c", script,
    ]);
    assert_ne!(answer.code, 0, "200 MB do not fit into 32 MB");
}

#[test]
fn priv_more_of_what_a_container_may_and_sees() {
    if !root_or_skip("priv_more_of_what_a_container_may_and_sees") {
        return;
    }
    let environment = Environment::with_busybox();
    // Flags, what the shell does, what it prints.
    for (flags, script, printed) in [
        (
            "--cap-drop ALL --cap-add CHOWN",
            "grep CapEff /proc/1/status | cut -f2",
            "0000000000000001",
        ),
        (
            "--security-opt seccomp=unconfined",
            "grep Seccomp: /proc/1/status | cut -f2",
            "0",
        ),
        (
            "--security-opt no-new-privileges",
            "grep NoNewPrivs /proc/1/status | cut -f2",
            "1",
        ),
        (
            "--mount type=tmpfs,target=/t,tmpfs-mode=0700",
            "stat -c %a /t; grep -c ' /t tmpfs' /proc/mounts",
            "700\n1",
        ),
        (
            "--add-host db:10.1.2.3",
            "grep db /etc/hosts | awk '{print $1}'",
            "10.1.2.3",
        ),
        (
            "--memory 0 --cpus 0 --pids-limit 0",
            "for i in $(seq 40); do true & done; echo all",
            "all",
        ),
        (
            "--pids-limit -1",
            "for i in $(seq 40); do true & done; echo all",
            "all",
        ),
        (
            "--shm-size 1m",
            "df -k /dev/shm | tail -1 | awk '{print $2}'",
            "1024",
        ),
        (
            "--shm-size 0",
            "df -k /dev/shm | tail -1 | awk '{print $2}'",
            "65536",
        ),
        (
            "--privileged",
            "grep CapBnd /proc/1/status | cut -f2 | grep -c 1ff; grep Seccomp: /proc/1/status | cut -f2",
            "1\n0",
        ),
    ] {
        let flags: Vec<&str> = flags.split(' ').collect();
        let words = [
            &["run", "--rm"],
            &flags[..],
            &["busybox", "sh", "-c", script],
        ]
        .concat();
        assert_eq!(environment.barque(&words).ok(), printed, "{flags:?}");
    }
}

#[test]
fn priv_input_is_passed_on_if_asked_for() {
    if !root_or_skip("priv_input_is_passed_on_if_asked_for") {
        return;
    }
    let environment = Environment::with_busybox();
    let file = environment.write("input", "typed\n");
    let cat = |flags: &[&str]| {
        let words = [&["run", "--rm"], flags, &["busybox", "cat"]].concat();
        let input = std::fs::File::open(&file).unwrap();
        let output = environment.command(&words).stdin(input).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(cat(&["-i"]), "typed\n");
    assert_eq!(cat(&[]), "");
}

#[test]
fn priv_signals_logs_and_json_of_a_container() {
    if !root_or_skip("priv_signals_logs_and_json_of_a_container") {
        return;
    }
    let environment = Environment::with_busybox();
    let barque = |words: &[&str]| environment.barque(words);
    let script = "trap 'echo usr1' USR1; trap 'exit 5' INT; echo one; echo two; while :; do sleep 0.05; done";
    let words = [
        "run",
        "-d",
        "--name",
        "boat",
        "--stop-signal",
        "INT",
        "--cidfile",
        "cid",
    ];
    let id = barque(&[&words[..], &["busybox", "sh", "-c", script]].concat())
        .ok()
        .to_owned();
    assert_eq!(
        std::fs::read_to_string(environment.path("cid")).unwrap(),
        id
    );
    let row: serde_json::Value =
        serde_json::from_str(barque(&["ps", "--format", "json"]).ok()).unwrap();
    assert_eq!(
        (row["ID"].as_str(), row["Status"].as_str()),
        (Some(id.as_str()), Some("running"))
    );
    let inspected: serde_json::Value =
        serde_json::from_str(barque(&["inspect", "boat"]).ok()).unwrap();
    assert_eq!(inspected[0]["State"]["Running"], true);
    assert_eq!(inspected[0]["Name"], "/boat");
    environment.await_log("boat", "two");
    barque(&["kill", "-s", "USR1", "boat"]).ok();
    environment.await_log("boat", "usr1");
    assert!(
        barque(&["kill", "-s", "NOSUCH", "boat"])
            .fails(1)
            .contains("NOSUCH")
    );
    let followed = environment
        .command(&["logs", "-f", "boat"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    barque(&["stop", "-t", "120", "boat"]).ok();
    let followed = followed.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&followed.stdout),
        "one\ntwo\nusr1\n"
    );
    assert_eq!(barque(&["logs", "-n", "1", "boat"]).ok(), "usr1");
    let timed = barque(&["logs", "-t", "-n", "1", "boat"]).ok().to_owned();
    assert!(
        timed.starts_with("20") && timed.ends_with("Z usr1"),
        "{timed}"
    );
    assert_eq!(
        barque(&["wait", "boat"]).ok(),
        "5",
        "the stop signal is the one that was asked for"
    );
}

#[test]
fn priv_a_commit_of_a_container_that_runs_is_of_one_moment() {
    if !root_or_skip("priv_a_commit_of_a_container_that_runs_is_of_one_moment") {
        return;
    }
    let environment = Environment::with_busybox();
    let ok = |words: &[&str]| environment.barque(words).ok().to_owned();
    // Each number is first in `a`, then in `b`, and many files are read between them.
    let script = "mkdir /m; for i in $(seq 300); do echo $i > /m/$i; done; \
        i=0; while :; do i=$((i+1)); echo $i > /a.new; mv /a.new /a; echo $i > /z.new; mv /z.new /z; done";
    ok(&["run", "-d", "--name", "busy", "busybox", "sh", "-c", script]);
    assert!(eventually(|| {
        environment
            .barque(&["exec", "busy", "test", "-e", "/z"])
            .code
            == 0
    }));
    let number = |path: &str| ok(&["cat", path]).parse::<u64>().unwrap();
    for _ in 0..3 {
        ok(&["commit", "busy", "paused"]);
        let (first, last) = (number("paused:/a"), number("paused:/z"));
        assert!(first - last <= 1, "{first} and {last}");
    }
    // It goes on.
    let before = number("paused:/a");
    assert!(eventually(|| {
        let now = ok(&["exec", "busy", "cat", "/a"]);
        now.parse::<u64>().unwrap() > before
    }));
    // Without the pause files come and go while they are read; what is there when it is reached is whole.
    for _ in 0..5 {
        ok(&["commit", "--pause=false", "busy", "moving"]);
        number("moving:/a");
        ok(&["diff", "busy"]);
        ok(&["export", "--output", "busy.tar", "busy"]);
    }
}
