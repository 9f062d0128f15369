//! Running to the end: output, exit codes, what is visible inside.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use runtime::{Error, Exit, Limits, Mount, MountSource, Network, Rlimit, Stdio, User};

use crate::bed::{Bed, is_root, output, run};

fn error_of(spec: &runtime::Spec) -> Error {
    runtime::run(spec, Stdio::default(), &mut |_, _| {}).unwrap_err()
}

#[test]
fn priv_true_false_output_and_no_trace() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    assert_eq!(run(&bed.spec(&["true"])).0, Exit::Code(0));
    assert_eq!(run(&bed.shell("exit 7")).0, Exit::Code(7));
    assert_eq!(output(&bed.spec(&["echo", "hello"])), "hello\n");
    let (exit, out, err) = run(&bed.shell("echo out; echo err >&2; sh -c 'kill -9 $$'; exit $?"));
    assert_eq!((exit.code(), out.as_str()), (137, "out\n"));
    assert!(err.starts_with("err\n"));
    assert!(bed.changes().is_empty(), "{:?}", bed.changes());
}

#[test]
fn priv_exit_codes_of_what_cannot_be_run() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    std::fs::write(bed.path("lower/data"), b"text").unwrap();
    std::fs::write(bed.path("lower/bin/script"), b"#!/no/such\n").unwrap();
    std::fs::set_permissions(
        bed.path("lower/bin/script"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    for (program, code) in [
        ("nosuch", 127),
        ("/nosuch", 127),
        ("/data", 126),
        ("/etc", 126),
        ("script", 127),
    ] {
        let error = error_of(&bed.spec(&[program]));
        assert_eq!(error.exit_code(), code, "{program}: {error}");
        assert!(error.to_string().contains(program), "{error}");
    }
    assert_eq!(error_of(&bed.spec(&[""])).exit_code(), 125);
    let mut spec = bed.shell("pwd");
    spec.cwd = PathBuf::from("/data");
    let error = error_of(&spec).to_string();
    assert!(
        error.ends_with("cannot start in `/data`: not a directory"),
        "{error}"
    );
    for hostname in ["a b", "a\n10.0.0.1 other", &"x".repeat(65)] {
        let mut spec = bed.shell("hostname");
        spec.hostname = hostname.to_owned();
        let error = error_of(&spec);
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
}

#[test]
fn priv_environment_directory_and_user_are_exactly_those() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.shell("env; pwd; id; test -t 0 || cat | wc -c");
    spec.env = ["PATH=/bin", "B=2", "A=1", "B=3", "EMPTY="]
        .map(String::from)
        .to_vec();
    spec.cwd = PathBuf::from("/srv/../srv/app");
    spec.user = User {
        uid: 1234,
        gid: 4321,
        groups: vec![4321, 7],
    };
    let text = output(&spec);
    // The shell itself drops the first of two equal names and adds its own variables.
    for line in [
        "A=1",
        "B=3",
        "EMPTY=",
        "/srv/app",
        "uid=1234 gid=4321 groups=7,4321",
        "0",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in {text}"
        );
    }
    let mut direct = bed.spec(&["cat", "/proc/self/environ"]);
    direct.env = spec.env.clone();
    assert_eq!(output(&direct), "PATH=/bin\0B=2\0A=1\0B=3\0EMPTY=\0");
    // A directory that had to be made is content.
    assert_eq!(bed.changes(), ["srv", "srv/app"]);
}

#[test]
fn priv_the_host_environment_never_comes_in() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.spec(&["env"]);
    spec.env.push("HOME".to_owned());
    assert_eq!(error_of(&spec).exit_code(), 125);
    assert!(!output(&bed.spec(&["env"])).contains("CARGO"));
}

#[test]
fn priv_capabilities_filter_and_privileges() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let script = "grep -E 'Cap|Seccomp:|NoNewPrivs' /proc/self/status; mount -t tmpfs x /tmp 2>&1";
    let (_, text, _) = run(&bed.shell(script));
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t00000000a80425fb",
        "CapEff:\t00000000a80425fb",
        "CapBnd:\t00000000a80425fb",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t0",
        "Seccomp:\t2",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert!(text.contains("mount: "), "{text}");

    let mut user = bed.shell(script);
    user.user = User {
        uid: 1000,
        gid: 1000,
        groups: vec![1000],
    };
    user.no_new_privileges = true;
    let (_, text, _) = run(&user);
    for line in [
        "CapPrm:\t0000000000000000",
        "CapBnd:\t00000000a80425fb",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }

    let mut all = bed.shell(script);
    all.make_privileged();
    let (exit, text, _) = run(&all);
    assert!(exit.success(), "{text}");
    assert!(text.contains("Seccomp:\t0"), "{text}");
}

#[test]
fn priv_masked_and_read_only_paths() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let script = "cat /proc/kcore /proc/timer_list /proc/keys | wc -c; ls /proc/scsi /sys/firmware 2>/dev/null | grep -v : | wc -w
        echo 1 > /proc/sys/kernel/panic && echo wrote; echo b > /proc/sysrq-trigger && echo wrote
        mkdir /sys/x && echo wrote; touch /sys/kernel/x && echo wrote; echo done";
    let (_, text, _) = run(&bed.shell(script));
    assert_eq!(text, "0\n0\ndone\n");
}

#[test]
fn priv_devices_are_the_usual_ones_and_new_nodes_are_of_no_use() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let text = output(&bed.shell(
        "ls /dev; cat /dev/null; head -c 3 /dev/zero | wc -c; stat -c %a /dev/shm /dev/null; stat -f -c %b:%S /dev/shm;
         echo x > /dev/shm/y; ls /dev/pts; ls -d /dev/mqueue",
    ));
    let names =
        "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ";
    assert_eq!(
        text.replace('\n', " "),
        format!("{names}3 1777 666 16384:4096 ptmx /dev/mqueue ")
    );
    // Memory of the machine under another name, wherever a node can be made.
    for place in ["/node", "/dev/node", "/tmp/node", "/dev/shm/node"] {
        let script = format!("busybox mknod {place} c 1 1 && test -c {place} && head -c 1 {place}");
        let (exit, _, err) = run(&bed.shell(&script));
        assert!(!exit.success(), "{place}");
        assert!(err.contains("Permission denied"), "{place}: {err}");
    }
}

#[test]
fn priv_namespaces_are_its_own() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.shell("hostname; echo $$; for n in mnt pid ipc uts net cgroup user; do busybox readlink /proc/self/ns/$n; done");
    spec.hostname = "sandbox".to_owned();
    let text = output(&spec);
    let mut lines = text.lines();
    assert_eq!((lines.next(), lines.next()), (Some("sandbox"), Some("1")));
    for name in ["mnt", "pid", "ipc", "uts", "net", "cgroup", "user"] {
        let ours = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let shared = lines.next() == ours.to_str();
        assert_eq!(shared, matches!(name, "net" | "user"), "{name}");
    }
    let mut alone = bed.shell("cat /proc/net/dev | grep -c :; cat /sys/class/net/lo/flags");
    alone.network = Network::None;
    assert_eq!(output(&alone), "1\n0x9\n");
}

#[test]
fn priv_mounts_bind_tmpfs_file_and_leave_no_stubs() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let host = bed.path("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("f"), b"from the host").unwrap();
    std::os::unix::fs::symlink("../run/x/resolv.conf", bed.path("lower/etc/resolv.conf")).unwrap();
    let before = std::fs::metadata(bed.path("lower/etc"))
        .unwrap()
        .mtime_nsec();
    let mut spec = bed.shell(
        "cat /data/f /etc/resolv.conf /etc/hosts; echo x > /data/f || echo read-only; echo y > /rw/new; touch /t/a;
         stat -c %a /t /etc/hosts; grep -c ' /t .*size=1024k' /proc/mounts",
    );
    let mount = |target: &str, source, readonly| Mount {
        target: PathBuf::from(target),
        source,
        readonly,
    };
    let bind = |path: &std::path::Path| MountSource::Bind {
        path: path.to_path_buf(),
        recursive: true,
    };
    let file = |content: &str| MountSource::File {
        content: content.as_bytes().to_vec(),
        mode: 0o640,
        uid: 0,
        gid: 0,
    };
    spec.mounts = vec![
        mount("/data", bind(&host), true),
        mount("/rw", bind(&host), false),
        mount(
            "/t",
            MountSource::Tmpfs {
                size: Some(1 << 20),
                mode: 0o1770,
                exec: true,
            },
            false,
        ),
        mount("/etc/resolv.conf", file("\nnameserver\n"), true),
        mount("/etc/hosts", file("hosts\n"), true),
        mount("/dev/extra", file("below dev\n"), true),
    ];
    let (_, text, err) = run(&spec);
    assert_eq!(
        text,
        "from the host\nnameserver\nhosts\nread-only\n1770\n640\n1\n"
    );
    assert!(err.contains("Read-only"), "{err}");
    assert_eq!(std::fs::read(host.join("new")).unwrap(), b"y\n");
    assert!(bed.changes().is_empty(), "{:?}", bed.changes());
    assert_eq!(
        std::fs::metadata(bed.path("lower/etc"))
            .unwrap()
            .mtime_nsec(),
        before
    );
}

#[test]
fn priv_a_missing_mount_source_is_an_error_that_names_it() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.spec(&["true"]);
    let source = MountSource::Bind {
        path: PathBuf::from("/no/such/source"),
        recursive: true,
    };
    spec.mounts = vec![Mount {
        target: PathBuf::from("/data"),
        source,
        readonly: true,
    }];
    let error = error_of(&spec).to_string();
    assert!(error.contains("`/no/such/source`"), "{error}");
    assert!(bed.changes().is_empty(), "{:?}", bed.changes());
}

#[test]
fn priv_read_only_root() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.shell("touch /x || echo refused; touch /dev/shm/x && touch /t/x && echo ok");
    spec.readonly_root = true;
    let source = MountSource::Tmpfs {
        size: None,
        mode: 0o755,
        exec: false,
    };
    spec.mounts = vec![Mount {
        target: PathBuf::from("/t"),
        source,
        readonly: false,
    }];
    assert_eq!(run(&spec).1, "refused\nok\n");
    assert!(bed.changes().is_empty(), "{:?}", bed.changes());
}

#[test]
fn priv_limits_of_process_and_container() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.shell("ulimit -n; ulimit -Hn");
    spec.rlimits = vec![Rlimit {
        name: "nofile".into(),
        soft: 100,
        hard: 200,
    }];
    assert_eq!(output(&spec), "100\n200\n");
    spec.rlimits = vec![Rlimit {
        name: "nonsense".into(),
        soft: 1,
        hard: 1,
    }];
    assert_eq!(error_of(&spec).exit_code(), 125);

    let mut pids = bed.shell("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo all");
    pids.limits = Limits {
        pids: Some(4),
        ..Limits::default()
    };
    match runtime::run(&pids, Stdio::default(), &mut |_, _| {}) {
        Ok(exit) => assert!(!exit.success(), "the limit did not hold"),
        Err(error) => {
            assert!(
                matches!(&error, Error::Limit { limit, .. } if limit == "pids"),
                "{error}"
            );
            eprintln!("skipped: this host keeps no such limit: {error}");
        }
    }
    let mut memory = bed.shell("head -c 100000000 /dev/zero | busybox tail -c 90000000 | wc -c");
    memory.limits = Limits {
        memory: Some(20 << 20),
        ..Limits::default()
    };
    match runtime::run(&memory, Stdio::default(), &mut |_, bytes| {
        assert_ne!(bytes, b"90000000\n")
    }) {
        Ok(_) => {}
        Err(error) => {
            assert!(
                matches!(&error, Error::Limit { limit, .. } if limit == "memory"),
                "{error}"
            );
            eprintln!("skipped: this host keeps no such limit: {error}");
        }
    }
}

#[test]
fn priv_standard_output_can_be_opened_anew_by_an_ordinary_user() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.shell("echo one > /dev/stdout; echo two > /proc/self/fd/1");
    spec.user = User {
        uid: 1000,
        gid: 1000,
        groups: vec![1000],
    };
    assert_eq!(output(&spec), "one\ntwo\n");
}

#[test]
fn priv_standard_input_is_passed_on_and_large_output_comes_whole() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let file = std::fs::File::open("/bin/busybox").unwrap();
    let mut length = 0;
    let stdio = Stdio {
        stdin: Some(file.into()),
        ..Stdio::default()
    };
    let exit = runtime::run(&bed.spec(&["cat"]), stdio, &mut |_, bytes| {
        length += bytes.len() as u64
    })
    .unwrap();
    assert_eq!(
        (exit, length),
        (
            Exit::Code(0),
            std::fs::metadata("/bin/busybox").unwrap().len()
        )
    );
}

#[test]
fn priv_a_terminal_of_the_asked_size() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.shell("tty; stty size; test -c /dev/console && echo console; echo in:; head -n 1; stat -c %u /dev/pts/0");
    spec.terminal = Some(runtime::Size {
        rows: 33,
        columns: 99,
    });
    spec.user = User {
        uid: 1000,
        gid: 5,
        groups: vec![5],
    };
    let mut running = runtime::start(&spec, Stdio::default()).unwrap();
    let terminal = std::fs::File::from(running.take_terminal().unwrap());
    std::io::Write::write_all(&mut &terminal, b"typed\n").unwrap();
    let reader = std::thread::spawn(move || {
        let (mut text, mut buffer) = (Vec::new(), [0; 1000]);
        // At the end of a terminal reading is an error.
        while let Ok(length) = std::io::Read::read(&mut &terminal, &mut buffer) {
            text.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8(text).unwrap()
    });
    assert_eq!(running.wait(&mut |_, _| {}).unwrap(), Exit::Code(0));
    let text = reader.join().unwrap().replace("\r\n", "\n");
    for line in ["/dev/pts/0", "33 99", "console", "typed", "1000"] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in {text}"
        );
    }
}

#[test]
fn priv_an_init_reaps_orphans_passes_signals_and_ends_with_the_program() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.shell(
        "echo $$; orphan=$(sleep 1000 >/dev/null & echo $!); kill $orphan
         n=0; while [ -e /proc/$orphan ] && [ $n -lt 6000 ]; do n=$((n+1)); sleep 0.01; done
         [ ! -e /proc/$orphan ] || echo not reaped; cat /proc/1/comm; exit 5",
    );
    spec.init = true;
    let (exit, text, _) = run(&spec);
    assert_eq!((exit, text.as_str()), (Exit::Code(5), "2\ninit\n"));
    assert_eq!(
        error_of(&runtime::Spec {
            args: vec!["nosuch".into()],
            ..spec.clone()
        })
        .exit_code(),
        127
    );

    spec.args = [
        "sh",
        "-c",
        "trap 'echo got; exit 3' TERM; echo ready; while true; do sleep 0.05; done",
    ]
    .map(String::from)
    .to_vec();
    let running = runtime::start(&spec, Stdio::default()).unwrap();
    let process = running.process().unwrap();
    let mut text = Vec::new();
    let exit = running.wait(&mut |_, bytes| {
        text.extend_from_slice(bytes);
        if bytes == b"ready\n" {
            process.signal(15).unwrap();
        }
    });
    assert_eq!(
        (exit.unwrap(), text.as_slice()),
        (Exit::Code(3), b"ready\ngot\n".as_slice())
    );
}

#[test]
fn priv_paths_that_cannot_be_told_to_the_container_are_errors_at_once() {
    use std::os::unix::ffi::OsStringExt as _;

    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let name = std::ffi::OsString::from_vec(b"\xff".to_vec());
    let mut bound = bed.shell("true");
    bound.mounts = vec![Mount {
        target: PathBuf::from("/t"),
        source: MountSource::Bind {
            path: bed.dir.path().join(&name),
            recursive: false,
        },
        readonly: true,
    }];
    let mut rooted = bed.shell("true");
    rooted.root.lowers = vec![runtime::Lower::Dir(bed.dir.path().join(&name))];
    for (spec, wanted) in [(bound, "is not UTF-8"), (rooted, "cannot speak to")] {
        let error = error_of(&spec).to_string();
        assert!(error.contains(wanted), "{error}");
        let dir = crate::detached::folder(&bed);
        let options = runtime::detached::Options::default();
        let error = runtime::detached::start(&spec, &dir, options).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    }
}
