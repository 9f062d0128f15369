//! Images and programs that want out. Each test is a way that somebody found before; see `docs/security.md`.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use runtime::{Lower, Mount, MountSource, RootPlan, Spec, Stdio, User};

use crate::bed::{Bed, is_root, output, run};

fn error_of(spec: &Spec) -> String {
    runtime::run(spec, Stdio::default(), &mut |_, _| {})
        .unwrap_err()
        .to_string()
}

fn file(target: &str, content: &str) -> Mount {
    let content = content.as_bytes().to_vec();
    let source = MountSource::File {
        content,
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    Mount {
        target: PathBuf::from(target),
        source,
        readonly: true,
    }
}

fn bind(target: &str, path: &Path) -> Mount {
    let source = MountSource::Bind {
        path: path.to_path_buf(),
        recursive: true,
    };
    Mount {
        target: PathBuf::from(target),
        source,
        readonly: false,
    }
}

/// The names in a directory of the host that nothing may have been added to.
fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn priv_only_standard_files_are_open_in_a_container() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    // What we have open carelessly must not come in either.
    let careless = std::fs::File::open("/etc").unwrap();
    rustix::io::fcntl_setfd(&careless, rustix::io::FdFlags::empty()).unwrap();
    // `ls` itself has one more.
    assert_eq!(output(&bed.spec(&["ls", "/proc/self/fd"])), "0\n1\n2\n3\n");
    // Of an init of ours nothing can be opened.
    let mut spec = bed.spec(&["cat", "/proc/1/fd/0"]);
    spec.init = true;
    let (exit, out, err) = run(&spec);
    assert!(!exit.success() && out.is_empty(), "{out}");
    assert!(err.contains("Permission denied"), "{err}");
}

#[test]
fn priv_a_working_directory_cannot_be_one_of_the_host() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    for number in 0..32 {
        let mut spec = bed.spec(&["pwd"]);
        spec.cwd = PathBuf::from(format!("/proc/self/fd/{number}"));
        let (mut text, result) = (
            Vec::new(),
            runtime::run(&spec, Stdio::default(), &mut |_, _| {}),
        );
        if result.is_ok() {
            runtime::run(&spec, Stdio::default(), &mut |_, bytes| {
                text.extend_from_slice(bytes)
            })
            .ok();
            assert!(
                text.starts_with(b"/"),
                "{number}: {}",
                String::from_utf8_lossy(&text)
            );
        }
    }
    assert!(bed.changes().is_empty(), "{:?}", bed.changes());
    // Through links of the image it is made inside the image.
    let outside = bed.path("outside");
    std::fs::create_dir(&outside).unwrap();
    symlink(&outside, bed.path("lower/w")).unwrap();
    let mut spec = bed.spec(&["pwd"]);
    spec.cwd = PathBuf::from("/w/made");
    let inside = outside.join("made");
    assert_eq!(output(&spec), format!("{}\n", inside.display()));
    assert!(
        bed.path("upper")
            .join(inside.strip_prefix("/").unwrap())
            .is_dir()
    );
    assert!(names(&outside).is_empty());
}

#[test]
fn priv_proc_sys_and_dev_as_links_or_files_are_refused() {
    if !is_root() {
        return;
    }
    for name in ["proc", "sys", "dev"] {
        let bed = Bed::new();
        let outside = bed.path("outside");
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, bed.path("lower").join(name)).unwrap();
        let error = error_of(&bed.spec(&["true"]));
        assert!(error.contains(&format!("`/{name}`")), "{error}");
        std::fs::remove_file(bed.path("lower").join(name)).unwrap();
        std::fs::write(bed.path("lower").join(name), b"file").unwrap();
        let error = error_of(&bed.spec(&["true"]));
        assert!(error.contains(&format!("`/{name}`")), "{error}");
        assert!(names(&outside).is_empty());
    }
    let bed = Bed::new();
    for target in [
        "/proc",
        "/proc/self",
        "/sys",
        "/dev",
        "/dev/pts/x",
        "/dev/mqueue",
        "/",
        "relative",
        "/a/../proc",
    ] {
        let mut spec = bed.spec(&["true"]);
        spec.mounts = vec![bind(target, bed.dir.path())];
        let error = error_of(&spec);
        assert!(
            error.contains("nothing can be mounted on"),
            "{target}: {error}"
        );
    }
}

#[test]
fn priv_devices_planted_in_the_image_are_covered_and_nothing_is_written_through_them() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let victim = bed.path("victim");
    std::fs::write(&victim, b"precious").unwrap();
    let dev = bed.path("lower/dev");
    std::fs::create_dir(&dev).unwrap();
    for name in ["null", "console", "ptmx", "tty", "shm", "pts", "mqueue"] {
        symlink(&victim, dev.join(name)).unwrap();
    }
    let mut spec = bed.shell(
        "cat /proc/keys /proc/kcore | wc -c; echo x > /dev/null; ls -l /dev | grep -c victim",
    );
    spec.terminal = None;
    assert_eq!(run(&spec).1, "0\n0\n");
    let mut terminal = bed.shell("test -c /dev/console");
    terminal.terminal = Some(runtime::Size {
        rows: 1,
        columns: 1,
    });
    assert!(run(&terminal).0.success());
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    assert_eq!(std::fs::metadata(&victim).unwrap().mode() & 0o777, 0o644);
    assert_eq!(names(&dev).len(), 7, "nothing was removed from the image");
    assert!(bed.changes().is_empty(), "{:?}", bed.changes());
}

#[test]
fn priv_mounts_through_links_of_the_image_stay_inside_it() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let outside = bed.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("hosts"), b"").unwrap();
    symlink(&outside, bed.path("lower/absolute")).unwrap();
    symlink("../../../../../../../../..", bed.path("lower/up")).unwrap();
    symlink(outside.join("hosts"), bed.path("lower/etc/hosts")).unwrap();
    symlink("/proc/self/root", bed.path("lower/magic")).unwrap();
    let volume = bed.path("volume");
    std::fs::create_dir(&volume).unwrap();
    let mut spec = bed.shell(
        "cat /etc/hosts; mount | grep -c outside; touch /absolute/new/x /up/below/y; ls /volume",
    );
    spec.mounts = vec![
        file("/etc/hosts", "generated\n"),
        bind("/absolute/new", &volume),
        bind("/up/below", &volume),
        bind("/volume", &volume),
    ];
    let (_, text, err) = run(&spec);
    assert!(text.starts_with("generated\n"), "{text}{err}");
    assert!(text.ends_with("x\ny\n"), "{text}{err}");
    assert_eq!(names(&outside), ["hosts"]);
    assert_eq!(std::fs::read(outside.join("hosts")).unwrap(), b"");
    assert!(bed.changes().is_empty(), "{:?}", bed.changes());
    // A link of the process file system leads nowhere: while mounts are made there is no such thing in the image.
    let mut spec = bed.spec(&["true"]);
    spec.mounts = vec![bind("/magic/outside", &volume)];
    runtime::run(&spec, Stdio::default(), &mut |_, _| {}).ok();
    assert!(!Path::new("/outside").exists());
}

#[test]
fn priv_a_part_of_another_image_is_looked_for_inside_it() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let other = bed.path("other");
    std::fs::create_dir_all(other.join("etc")).unwrap();
    std::fs::write(other.join("etc/hostname"), b"of the image\n").unwrap();
    symlink("/", other.join("root")).unwrap();
    symlink("../../../../../..", other.join("up")).unwrap();
    for path in [
        "/root/etc/hostname",
        "/up/etc/hostname",
        "../../etc/hostname",
    ] {
        let plan = RootPlan {
            lowers: vec![Lower::Dir(other.clone())],
            upper: None,
            userxattr: false,
        };
        let source = MountSource::Layers {
            plan,
            path: PathBuf::from(path),
        };
        let mut spec = bed.spec(&["cat", "/from"]);
        spec.mounts = vec![Mount {
            target: PathBuf::from("/from"),
            source,
            readonly: true,
        }];
        assert_eq!(output(&spec), "of the image\n", "{path}");
    }
}

#[test]
fn priv_cleaning_up_follows_no_link_that_the_program_left() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let outside = bed.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("x"), b"").unwrap();
    let script = format!(
        "mv /run/secrets /run/moved && ln -s {} /run/secrets; mkdir /kept; : > /kept/x; mv /run/other /run/gone && ln -s /kept /run/other",
        outside.display()
    );
    let mut spec = bed.shell(&script);
    // Through links of the image, so that there are no mount points but those in the upper directory.
    symlink("/run/secrets", bed.path("lower/one")).unwrap();
    symlink("/run/other", bed.path("lower/two")).unwrap();
    spec.mounts = vec![file("/one/x", "secret"), file("/two/x", "secret")];
    let (exit, _, err) = run(&spec);
    assert!(exit.success(), "{err}");
    assert_eq!(names(&outside), ["x"]);
    let changes = bed.changes();
    assert!(changes.contains(&"kept/x".to_owned()), "{changes:?}");
    for change in &changes {
        let path = bed.path("upper").join(change);
        assert!(
            !path.is_file() || !std::fs::read(&path).unwrap().starts_with(b"secret"),
            "{change}"
        );
    }
}

#[test]
fn priv_groups_and_capabilities_of_ours_do_not_come_in() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.shell("id; grep -E 'Groups|CapInh|CapAmb' /proc/self/status");
    spec.user = User {
        uid: 5,
        gid: 6,
        groups: vec![],
    };
    let text = output(&spec);
    assert!(
        text.starts_with("uid=5 gid=6\n") || text.starts_with("uid=5 gid=6 groups=6\n"),
        "{text}"
    );
    let zero = "0000000000000000";
    assert!(
        text.contains(&format!("CapInh:\t{zero}")) && text.contains(&format!("CapAmb:\t{zero}")),
        "{text}"
    );
    let groups = text
        .lines()
        .find(|line| line.starts_with("Groups:"))
        .unwrap();
    assert_eq!(groups.trim(), "Groups:", "{text}");
}

#[test]
fn priv_an_unprivileged_container_sees_no_way_to_mount_or_trace() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    let script = "busybox mount -t tmpfs x /tmp 2>/dev/null && echo mounted
        busybox mount -o remount,rw /proc/sys 2>/dev/null && echo remounted
        busybox umount /dev 2>/dev/null && echo unmounted
        busybox unshare -m true 2>/dev/null && echo unshared
        busybox unshare -U true 2>/dev/null && echo user
        busybox chroot / true && echo chroot
        busybox nsenter -t 1 -m true 2>/dev/null && echo entered
        echo done";
    assert_eq!(run(&bed.shell(script)).1, "chroot\ndone\n");
}

#[test]
fn priv_containers_side_by_side_leave_no_mount_and_no_process() {
    if !is_root() {
        return;
    }
    let beds: Vec<_> = (0..6).map(|_| Bed::new()).collect();
    // Other tests may mount something meanwhile.
    let folders: Vec<_> = beds.iter().map(|bed| bed.path("")).collect();
    let threads: Vec<_> = (0..)
        .zip(beds)
        .map(|(number, bed)| {
            std::thread::spawn(move || {
                for _ in 0..5 {
                    let text = output(&bed.spec(&["echo", &number.to_string()]));
                    assert_eq!(text, format!("{number}\n"));
                }
                assert!(bed.changes().is_empty(), "{:?}", bed.changes());
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    for folder in folders {
        assert!(!mounts.contains(folder.to_str().unwrap()), "{mounts}");
    }
}
