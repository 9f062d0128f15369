//! What comes along with a COPY: bytes, links, times, attributes.

use testkit::image;

use crate::support::{Site, set_mtime};

#[test]
fn heredocs_become_files() {
    let site = Site::new();
    let outcome = site.build(
        "FROM scratch\nARG name=world\nCOPY <<EOF <<'RAW' /d/\nhello \"$name\"\nEOF\n$name\nRAW\nCOPY --chmod=777 --chown=3:4 <<EOF /f\nx\nEOF\n",
    );
    assert_eq!(
        outcome.tree(),
        [
            "d 755 0:0 /d",
            "f 644 0:0 /d/EOF \"hello \\\"world\\\"\\n\"",
            "f 644 0:0 /d/RAW \"$name\\n\"",
            "f 777 3:4 /f \"x\\n\"",
        ]
    );
}

#[test]
fn hard_links_stay_links_within_one_copy() {
    let site = Site::new();
    site.write("d/a", "content");
    std::fs::hard_link(site.path("d/a"), site.path("d/b")).unwrap();
    let outcome = site.build("FROM scratch\nCOPY d /d\n");
    let stats = ["d/a", "d/b"].map(|path| outcome.stat(path).unwrap());
    assert_eq!(stats[0].ino, stats[1].ino);
    assert_eq!(stats[0].nlink, 2);
    let again = site.build("FROM scratch AS a\nCOPY d /d\nFROM scratch\nCOPY --from=a /d /e\n");
    assert_eq!(
        again.stat("e/a").unwrap().ino,
        again.stat("e/b").unwrap().ino
    );
}

#[test]
fn hard_links_survive_sources_that_overlap() {
    let site = Site::new();
    site.write("d/a", "content").write("d/c", "c");
    std::fs::hard_link(site.path("d/a"), site.path("d/b")).unwrap();
    site.write("e/a", "other");
    let outcome = site.build("FROM scratch\nCOPY d e /d\n");
    assert_eq!(
        outcome.tree(),
        [
            "d 755 0:0 /d",
            "f 644 0:0 /d/a \"other\"",
            "f 644 0:0 /d/b \"content\"",
            "f 644 0:0 /d/c \"c\""
        ]
    );
}

#[test]
fn a_fifo_stays_one_and_never_blocks() {
    let site = Site::new();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        site.path("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let outcome = site.build("FROM scratch\nCOPY . /\n");
    assert!(outcome.tree()[0].starts_with("p "));
}

#[test]
fn a_file_that_is_always_written_to_is_copied_as_it_was_read() {
    let site = Site::new();
    site.write("log", "");
    let path = site.path("log");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = std::fs::File::options().append(true).open(&path).unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::io::Write::write_all(&mut file, b"line\n").unwrap();
                if file.metadata().unwrap().len() > 300_000 {
                    file.set_len(0).unwrap();
                }
            }
        });
        for _ in 0..10 {
            let text = site.build("FROM scratch\nCOPY . /\n").read("log");
            assert!(text.bytes().all(|byte| b"line\n\0".contains(&byte)));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    std::fs::write(&path, "quiet").unwrap();
    assert_eq!(site.build("FROM scratch\nCOPY . /\n").read("log"), "quiet");
}

#[test]
fn directories_that_come_and_go_meanwhile_do_no_harm() {
    let site = Site::new();
    for number in 0..50 {
        site.write(&format!("stable/d{number}/f"), "f");
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    let temporary = site.path("stable/tmp");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::create_dir(&temporary).unwrap();
                std::fs::remove_dir(&temporary).unwrap();
            }
        });
        for _ in 0..20 {
            assert!(site.build("FROM scratch\nCOPY . /\n").names().len() >= 101);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn times_of_files_are_kept_in_whole_seconds() {
    let site = Site::new();
    site.write("f", "f");
    set_mtime(&site.path("f"), 1_234_567_890);
    let outcome = site.build("FROM scratch\nCOPY f /\n");
    assert_eq!(
        outcome.stat("f").unwrap().mtime,
        layer::Time::from_secs(1_234_567_890)
    );
}

#[test]
fn existing_parents_keep_their_metadata() {
    let site = Site::new();
    site.write("f", "f");
    let meta = layer::Meta {
        uid: 7,
        gid: 8,
        mtime: layer::Time::from_secs(99),
        ..layer::Meta::dir(0o1777)
    };
    image()
        .put("tmp", meta, b"")
        .file("tmp/old", b"old")
        .name("base")
        .build(&site.store)
        .unwrap();
    let outcome = site.build("FROM base\nCOPY f /tmp/f\n");
    assert_eq!(outcome.owner("tmp"), "1777 7:8");
    assert_eq!(outcome.stat("tmp").unwrap().mtime.secs, 99);
    assert_eq!(outcome.names(), ["/tmp", "/tmp/f", "/tmp/old"]);
}

#[test]
fn extended_attributes_come_along_where_the_file_system_has_them() {
    let site = Site::new();
    site.write("f", "f").write("d/x", "x");
    let set = |path: &str| {
        rustix::fs::setxattr(
            site.path(path),
            "user.color",
            b"red",
            rustix::fs::XattrFlags::empty(),
        )
        .is_ok()
    };
    if !set("f") || !set("d") {
        testkit::skipped(
            "extended_attributes_come_along",
            "the file system has no user attributes",
        );
        return;
    }
    let outcome = site.build("FROM scratch\nCOPY . /c\n");
    let red = [(b"user.color".to_vec(), b"red".to_vec())];
    assert_eq!(outcome.stat("c/f").unwrap().xattrs, red);
    assert_eq!(outcome.stat("c/d").unwrap().xattrs, red);
    // Not stale, and not lost when the file is known already.
    rustix::fs::setxattr(
        site.path("f"),
        "user.color",
        b"blue",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let outcome = site.build("FROM scratch\nCOPY . /c\n");
    assert_eq!(outcome.stat("c/f").unwrap().xattrs[0].1, b"blue");
}
