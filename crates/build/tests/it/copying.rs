//! What COPY, ADD and WORKDIR put where.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use testkit::image;

use crate::support::{Site, set_mtime};

#[test]
fn f112_a_source_directory_means_its_contents_however_it_is_written() {
    let site = Site::new();
    site.write("sub/dir1/a", "a")
        .write("sub/dir1/dir2/foo", "foo");
    for source in ["sub/dir1", "sub/dir1/", "sub/dir1/."] {
        let outcome = site.build(&format!("FROM scratch\nCOPY {source} x\n"));
        assert_eq!(
            outcome.tree(),
            [
                "d 755 0:0 /x",
                "f 644 0:0 /x/a \"a\"",
                "d 755 0:0 /x/dir2",
                "f 644 0:0 /x/dir2/foo \"foo\""
            ],
            "{source}"
        );
    }
}

#[test]
fn f113_wildcard_that_matches_a_directory_copies_its_contents() {
    let site = Site::new();
    site.write("sub/dir1/a", "a").write("sub/b", "b");
    let outcome = site.build("FROM scratch\nCOPY sub/* /d/\n");
    assert_eq!(outcome.names(), ["/d", "/d/a", "/d/b"]);
}

#[test]
fn f114_wildcard_in_the_middle_of_a_path() {
    let site = Site::new();
    site.write("sub/dir1/dir2/foo", "foo");
    let outcome =
        site.build("FROM scratch\nCOPY sub/*/dir2/foo /d2/\nCOPY sub/*/dir2/foo /d3/bar\n");
    assert_eq!(outcome.names(), ["/d2", "/d2/foo", "/d3", "/d3/bar"]);
}

#[test]
fn f115_wildcard_with_one_match_to_a_file_name() {
    let site = Site::new();
    site.write("foo.go", "foo");
    assert_eq!(
        site.build("FROM scratch\nCOPY f*.go foo2.go\n").names(),
        ["/foo2.go"]
    );
}

#[test]
fn f116_wildcard_without_match_is_fine_and_a_missing_name_is_not() {
    let site = Site::new();
    site.write("foo", "foo");
    assert_eq!(
        site.build("FROM scratch\nCOPY foo nomatch* /\n").names(),
        ["/foo"]
    );
    let message = site.fail("FROM scratch\nCOPY foo missing /\n");
    assert_eq!(message, "`missing` not found in the build context");
}

#[test]
fn f117_a_class_of_one_character_makes_a_source_optional() {
    let site = Site::new();
    site.write("foo", "foo");
    assert!(
        site.build("FROM scratch\nCOPY fue[l] /x\n")
            .tree()
            .is_empty()
    );
}

#[test]
fn f118_an_empty_destination_is_the_working_directory() {
    let site = Site::new();
    site.write("testfile", "t");
    let outcome = site.build(
        "FROM scratch\nWORKDIR /work\nCOPY testfile $empty\nCOPY --link testfile ${empty}\n",
    );
    assert_eq!(outcome.names(), ["/work", "/work/testfile"]);
}

#[test]
fn f119_a_slash_at_the_end_makes_a_directory() {
    let site = Site::new();
    site.write("testfile", "t");
    assert_eq!(
        site.build("FROM scratch\nCOPY testfile /sample/\n").names(),
        ["/sample", "/sample/testfile"]
    );
}

#[test]
fn f120_two_files_to_one_name_leave_the_second() {
    let site = Site::new();
    site.write("a", "a").write("b", "b");
    assert_eq!(
        site.build("FROM scratch\nCOPY a b dst\n").tree(),
        ["f 644 0:0 /dst \"b\""]
    );
}

#[test]
fn f121_an_existing_directory_is_entered_without_a_slash() {
    let site = Site::new();
    site.write("f", "f");
    image()
        .dir("dst", 0o700)
        .name("base")
        .build(&site.store)
        .unwrap();
    let outcome = site.build("FROM base\nCOPY f dst\nCOPY f other/\nCOPY f other\n");
    assert_eq!(outcome.names(), ["/dst", "/dst/f", "/other", "/other/f"]);
    assert_eq!(
        outcome.owner("dst"),
        "700 0:0",
        "the directory that was there stays as it was"
    );
}

#[test]
fn f122_a_relative_destination_joins_the_working_directory() {
    let site = Site::new();
    site.write("foo", "foo");
    let outcome = site.build("FROM scratch\nWORKDIR /a/b\nCOPY foo ../\nCOPY foo ../../../x\n");
    assert_eq!(outcome.names(), ["/a", "/a/b", "/a/foo", "/x"]);
}

#[test]
fn f123_a_link_on_the_way_to_a_source_is_followed() {
    let site = Site::new();
    site.write("real/foo", "foo").link("link", "real");
    assert_eq!(
        site.build("FROM scratch\nCOPY link/foo .\n").tree(),
        ["f 644 0:0 /foo \"foo\""]
    );
}

#[test]
fn f124_a_link_named_as_source_is_followed_and_links_in_a_directory_are_kept() {
    let site = Site::new();
    site.write("sub/target", "t")
        .link("foo", "sub/link")
        .link("sub/link", "target")
        .link("sub/l2", "link");
    let outcome = site.build("FROM scratch\nCOPY foo /\nCOPY sub/l* d/\nCOPY sub e\n");
    assert_eq!(
        outcome.tree(),
        [
            "d 755 0:0 /d",
            "f 644 0:0 /d/l2 \"t\"",
            "f 644 0:0 /d/link \"t\"",
            "d 755 0:0 /e",
            "l 777 0:0 /e/l2 -> link",
            "l 777 0:0 /e/link -> target",
            "f 644 0:0 /e/target \"t\"",
            "f 644 0:0 /foo \"t\"",
        ]
    );
}

#[test]
fn a_source_that_is_a_link_out_of_the_context_stays_inside() {
    let site = Site::new();
    std::fs::write(site.outside("secret"), "secret").unwrap();
    site.write("inside", "x")
        .link("up", "../secret")
        .link("abs", "/etc/passwd")
        .link("loop", "loop");
    site.link("dir", "../../..");
    assert!(site.fail("FROM scratch\nCOPY up /\n").contains("not found"));
    assert!(
        site.fail("FROM scratch\nCOPY abs /\n")
            .contains("not found")
    );
    assert!(
        site.fail("FROM scratch\nCOPY loop /\n")
            .contains("too many links")
    );
    assert!(
        site.fail("FROM scratch\nCOPY dir/etc/passwd /\n")
            .contains("not found")
    );
    assert!(
        site.fail("FROM scratch\nCOPY ../secret /\n")
            .contains("not found")
    );
    assert_eq!(
        site.build("FROM scratch\nCOPY dir/inside /x\n").read("x"),
        "x"
    );
}

#[test]
fn f125_a_socket_becomes_an_empty_file() {
    let site = Site::new();
    let _socket = UnixListener::bind(site.path("socket")).unwrap();
    let mode = site.path("socket").symlink_metadata().unwrap().mode() & 0o7777;
    let outcome = site.build("FROM scratch\nCOPY . /\n");
    assert_eq!(outcome.tree(), [format!("f {mode:o} 0:0 /socket \"\"")]);
}

#[test]
fn f126_a_link_of_the_image_in_the_destination_is_followed_inside_the_image() {
    let site = Site::new();
    site.write("foo", "foo").write("dir/bar", "bar");
    let outside = site.outside("escape");
    image()
        .symlink("symlink", "../tmp/t")
        .symlink("absolute", "/tmp/t")
        .symlink("escape", &format!("../../../../../..{}", outside.display()))
        .name("base")
        .build(&site.store)
        .unwrap();
    let outcome = site.build("FROM base\nCOPY foo /symlink/\nCOPY dir /absolute\nCOPY foo /escape/x\nWORKDIR /escape/y\n");
    assert_eq!(outcome.read("tmp/t/foo"), "foo");
    assert_eq!(outcome.read("tmp/t/bar"), "bar");
    assert_eq!(outcome.read(&format!("{}/x", outside.display())), "foo");
    assert!(!outside.exists(), "nothing was written outside the image");
}

#[test]
fn f127_a_name_with_percent_signs_is_taken_as_it_is() {
    let site = Site::new();
    site.write("test-%C3%A4.txt", "x");
    assert_eq!(
        site.build("FROM scratch\nCOPY test-%C3%A4.txt /\n").names(),
        ["/test-%C3%A4.txt"]
    );
}

/// An image with `/dir` of 100:200 and `/dir/nested` of 101:201.
fn owned(site: &Site) {
    let meta = |mode, uid, gid| layer::Meta {
        uid,
        gid,
        ..layer::Meta::dir(mode)
    };
    image()
        .put("dir", meta(0o755, 100, 200), b"")
        .put("dir/nested", meta(0o711, 101, 201), b"")
        .put(
            "dir/nested/f",
            layer::Meta {
                uid: 102,
                gid: 202,
                ..layer::Meta::file(1, 0o600)
            },
            b"f",
        )
        .name("src")
        .build(&site.store)
        .unwrap();
}

#[test]
fn f128_a_new_directory_for_files_of_a_stage_is_roots_and_what_is_in_it_keeps_its_owner() {
    let site = Site::new();
    owned(&site);
    let outcome = site.build("FROM scratch\nCOPY --from=src /dir /dir\n");
    assert_eq!(
        outcome.tree(),
        [
            "d 755 0:0 /dir",
            "d 711 101:201 /dir/nested",
            "f 600 102:202 /dir/nested/f \"f\""
        ]
    );
}

#[test]
fn f129_an_existing_directory_keeps_its_owner_whatever_chown_says() {
    let site = Site::new();
    owned(&site);
    let meta = layer::Meta {
        uid: 500,
        gid: 600,
        ..layer::Meta::dir(0o750)
    };
    image()
        .put("dir", meta, b"")
        .name("base")
        .build(&site.store)
        .unwrap();
    let outcome = site.build("FROM base\nCOPY --from=src --chown=1:2 /dir /dir\n");
    assert_eq!(outcome.owner("dir"), "750 500:600");
    assert_eq!(outcome.owner("dir/nested"), "711 1:2");
}

#[test]
fn f130_chown_counts_for_new_directories_too() {
    let site = Site::new();
    owned(&site);
    let outcome = site.build("FROM scratch\nCOPY --from=src --chown=300:400 /dir /new/deep\n");
    for path in ["new", "new/deep", "new/deep/nested", "new/deep/nested/f"] {
        assert!(outcome.owner(path).ends_with("300:400"), "{path}");
    }
}

#[test]
fn f131_chown_names_are_looked_up_in_the_image() {
    let site = Site::new();
    site.write("f", "f");
    image()
        .file(
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\ndaemon:x:1:12::/:/bin/false\n",
        )
        .file("etc/group", "root:x:0:\nnobody:x:65534:\n")
        .name("base")
        .build(&site.store)
        .unwrap();
    let outcome = site.build(
        "FROM base\nCOPY --chown=daemon f /a\nCOPY --chown=1000:nobody f /b\nCOPY --chown=1000 f /c\nCOPY --chown=:nobody f /d\n",
    );
    assert_eq!(outcome.owner("a"), "644 1:12");
    assert_eq!(outcome.owner("b"), "644 1000:65534");
    assert_eq!(outcome.owner("c"), "644 1000:1000");
    assert_eq!(outcome.owner("d"), "644 0:65534");
    assert!(
        site.fail("FROM base\nCOPY --chown=nosuch f /a\n")
            .contains("`nosuch`")
    );
    // CVE-2024-40635: a number that wraps around must not become root.
    assert!(
        site.fail("FROM base\nCOPY --chown=4294967296 f /a\n")
            .contains("4294967296")
    );
}

#[test]
fn f132_chmod_counts_for_new_parents() {
    let site = Site::new();
    site.write("foo", "foo");
    let outcome = site.build(
        "FROM scratch\nCOPY --chmod=777 foo /parent/foo\nCOPY --chmod=770 foo /parent/sub/foo\n",
    );
    assert_eq!(outcome.owner("parent"), "777 0:0");
    assert_eq!(outcome.owner("parent/sub"), "770 0:0");
    assert_eq!(outcome.owner("parent/sub/foo"), "770 0:0");
}

#[test]
fn f133_chmod_octal_and_what_is_none() {
    let site = Site::new();
    site.write("foo", "foo");
    let outcome = site
        .build("FROM scratch\nARG mode=4755\nCOPY --chmod=0 foo /a\nCOPY --chmod=${mode} foo /b\n");
    assert_eq!(outcome.owner("a"), "0 0:0");
    assert_eq!(outcome.owner("b"), "4755 0:0");
    for mode in ["64a", "10000"] {
        assert!(
            site.fail(&format!("FROM scratch\nCOPY --chmod={mode} foo /\n"))
                .contains(mode)
        );
    }
}

#[test]
fn f134_chmod_symbolic_respects_the_x_bit_and_no_umask() {
    let site = Site::new();
    site.write("d/file", "x").write("d/program", "x");
    std::fs::set_permissions(site.path("d/file"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(
        site.path("d/program"),
        std::fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    site.write("d/sub/x", "x");
    let outcome = site.build("FROM scratch\nCOPY --chmod=u=rwX,go=rX d /d\n");
    assert_eq!(outcome.owner("d"), "755 0:0");
    assert_eq!(outcome.owner("d/sub"), "755 0:0");
    assert_eq!(outcome.owner("d/file"), "644 0:0");
    assert_eq!(outcome.owner("d/program"), "755 0:0");
}

#[test]
fn f135_a_directory_over_a_file_and_a_file_over_a_directory_are_errors() {
    let site = Site::new();
    site.write("dir/x/y", "y")
        .write("file", "f")
        .write("other/x", "x");
    let outcome = site.build("FROM scratch\nCOPY dir /d\nCOPY dir /d\n");
    assert_eq!(outcome.names(), ["/d", "/d/x", "/d/x/y"]);
    for dockerfile in [
        "FROM scratch\nCOPY dir /d\nCOPY other /d\n",
        "FROM scratch\nCOPY other /d\nCOPY dir /d\n",
        "FROM scratch\nCOPY file /d\nCOPY dir /d\n",
        "FROM scratch\nCOPY dir other /d\n",
        "FROM scratch\nCOPY file /d\nCOPY file /d/x\n",
    ] {
        let message = site.fail(dockerfile);
        assert!(message.contains("director"), "{message}");
    }
}

#[test]
fn f136_a_directory_that_became_a_file_leaves_nothing_stale() {
    let site = Site::new();
    site.write("foo/bar", "bar");
    assert_eq!(
        site.build("FROM scratch\nCOPY . /\n").names(),
        ["/foo", "/foo/bar"]
    );
    std::fs::remove_dir_all(site.path("foo")).unwrap();
    site.write("foo", "foo");
    assert_eq!(
        site.build("FROM scratch\nCOPY . /\n").tree(),
        ["f 644 0:0 /foo \"foo\""]
    );
}

#[test]
fn f139_link_does_not_follow_the_destination() {
    let site = Site::new();
    site.write("f", "f");
    image()
        .symlink("dir", "elsewhere")
        .name("base")
        .build(&site.store)
        .unwrap();
    let outcome = site.build("FROM base\nCOPY --link f /dir/f\n");
    assert_eq!(outcome.tree(), ["d 755 0:0 /dir", "f 644 0:0 /dir/f \"f\""]);
}

#[test]
fn f140_link_honours_the_working_directory() {
    let site = Site::new();
    site.write("x", "x");
    assert_eq!(
        site.build("FROM scratch\nWORKDIR /w\nCOPY --link x .\n")
            .names(),
        ["/w", "/w/x"]
    );
}

#[test]
fn f141_parents_keeps_the_directories_of_the_source() {
    let site = Site::new();
    site.write("foo1/foo2/bar", "bar")
        .write("foo1/foo2/baz", "baz")
        .write("foo1/foo2/other", "o");
    let outcome = site.build("FROM scratch\nCOPY --parents foo1/foo2/ba* .\n");
    assert_eq!(
        outcome.names(),
        ["/foo1", "/foo1/foo2", "/foo1/foo2/bar", "/foo1/foo2/baz"]
    );
}

#[test]
fn f142_parents_begins_at_the_first_pivot() {
    let site = Site::new();
    site.write("test/a/b/c/d", "d");
    assert_eq!(
        site.build("FROM scratch\nCOPY --parents /test/a/b/./c/d /out/\n")
            .names(),
        ["/out", "/out/c", "/out/c/d"]
    );
    let outcome = site.build("FROM scratch\nCOPY --parents /test/a/./b/./c /out/\n");
    assert_eq!(
        outcome.names(),
        ["/out", "/out/b", "/out/b/c", "/out/b/c/d"]
    );
}

#[test]
fn f143_a_dot_at_the_end_is_no_pivot() {
    let site = Site::new();
    site.write("test/a/b/c/d/e", "e");
    let outcome = site.build("FROM scratch\nCOPY --parents /test/a/b/c/d/. /out/\n");
    assert!(
        outcome.names().contains(&"/out/test/a/b/c/d/e".to_owned()),
        "{:?}",
        outcome.names()
    );
}

#[test]
fn f144_parents_with_two_stars_merges_matches() {
    let site = Site::new();
    site.write("test/a/b1/c/x/e", "1")
        .write("test/a/b2/c/y/z/e", "2")
        .write("test/a/b2/c/y/f", "no");
    let outcome = site.build("FROM scratch\nCOPY --parents /test/a/b*/./c/**/e /out/\n");
    assert_eq!(
        outcome.names(),
        [
            "/out",
            "/out/c",
            "/out/c/x",
            "/out/c/x/e",
            "/out/c/y",
            "/out/c/y/z",
            "/out/c/y/z/e"
        ]
    );
}

#[test]
fn f145_parents_with_nothing_to_copy() {
    let site = Site::new();
    site.write("a/b", "b");
    assert!(
        site.fail("FROM scratch\nCOPY --parents a/missing /out/\n")
            .contains("not found")
    );
    for source in ["a/x*", "x*/./b", "a/./x*"] {
        assert_eq!(
            site.build(&format!("FROM scratch\nCOPY --parents {source} /out/\n"))
                .names(),
            ["/out"],
            "{source}"
        );
    }
}

#[test]
fn f146_exclude_is_relative_to_what_is_copied() {
    let site = Site::new();
    site.write("dir3/a.mp3", "")
        .write("dir3/b.txt", "")
        .write("dir3/sub/c.mp3", "")
        .write("dir3/sub/d.png", "");
    site.write("dir3/sub/deep/e.png", "");
    let build = |flags: &str| {
        site.build(&format!("FROM scratch\nCOPY {flags} dir3/ x\n"))
            .names()
    };
    assert_eq!(
        build("--exclude=*.mp3"),
        [
            "/x",
            "/x/b.txt",
            "/x/sub",
            "/x/sub/c.mp3",
            "/x/sub/d.png",
            "/x/sub/deep",
            "/x/sub/deep/e.png"
        ]
    );
    assert_eq!(
        build("--exclude=*/*.png --exclude=*.mp3"),
        [
            "/x",
            "/x/b.txt",
            "/x/sub",
            "/x/sub/c.mp3",
            "/x/sub/deep",
            "/x/sub/deep/e.png"
        ]
    );
    assert_eq!(build("--exclude=*"), ["/x"]);
    assert_eq!(build("--exclude=sub --exclude=*.*"), ["/x"]);
}

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

#[test]
fn f201_a_working_directory_that_nothing_uses_exists() {
    let site = Site::new();
    assert_eq!(
        site.build("FROM scratch\nWORKDIR /foo/bar\n").tree(),
        ["d 755 0:0 /foo", "d 755 0:0 /foo/bar"]
    );
}

#[test]
fn f202_a_working_directory_belongs_to_the_user_and_an_existing_one_is_left_alone() {
    let site = Site::new();
    let meta = layer::Meta {
        uid: 5,
        gid: 6,
        ..layer::Meta::dir(0o700)
    };
    image()
        .file("etc/passwd", "user:x:1001:1002::/:/bin/sh\n")
        .put("old", meta, b"")
        .name("base")
        .build(&site.store)
        .unwrap();
    let outcome = site.build("FROM base\nUSER user\nWORKDIR /new\nWORKDIR /old\n");
    assert_eq!(outcome.owner("new"), "755 1001:1002");
    assert_eq!(outcome.owner("old"), "700 5:6");
}

#[test]
fn f203_working_directories_are_relative_to_the_last() {
    let site = Site::new();
    let outcome =
        site.build("FROM scratch\nWORKDIR /a\nWORKDIR b\nWORKDIR ../c\nWORKDIR ../../../d\n");
    assert_eq!(outcome.config.config.working_dir, "/d");
    assert_eq!(outcome.names(), ["/a", "/a/b", "/a/c", "/d"]);
}

#[test]
fn f210_ignored_files_are_not_copied() {
    let mut site = Site::new();
    site.write("bay", "")
        .write("bar", "")
        .write("baz/x", "")
        .write("foo", "")
        .write("Dockerfile", "");
    site.write(".dockerignore", "");
    site.request.ignore = Some(build::Text {
        name: ".dockerignore".to_owned(),
        text: "ba*\nDockerfile\n!bay\n.dockerignore\n".to_owned(),
    });
    assert_eq!(
        site.build("FROM scratch\nCOPY . /\n").names(),
        ["/bay", "/foo"]
    );
    let message = site.fail("FROM scratch\nCOPY bar /\n");
    assert!(message.contains("ignore file"), "{message}");
}

#[test]
fn f211_a_lone_exclamation_mark_is_an_error() {
    let mut site = Site::new();
    site.write("x", "");
    site.request.ignore = Some(build::Text {
        name: ".dockerignore".to_owned(),
        text: "!\n".to_owned(),
    });
    assert!(
        site.fail("FROM scratch\nCOPY . /\n")
            .contains("`.dockerignore`")
    );
}

#[test]
fn an_exception_below_an_ignored_directory_brings_it_back() {
    let mut site = Site::new();
    site.write("a/b/keep", "")
        .write("a/b/drop", "")
        .write("a/c", "");
    site.request.ignore = Some(build::Text {
        name: ".dockerignore".to_owned(),
        text: "a\n!a/b/keep\n".to_owned(),
    });
    assert_eq!(
        site.build("FROM scratch\nCOPY . /\n").names(),
        ["/a", "/a/b", "/a/b/keep"]
    );
}

#[test]
fn only_what_is_named_is_looked_at() {
    let site = Site::new();
    site.write("src/a", "a")
        .write("huge/b", "b")
        .link("alias", "huge");
    std::fs::set_permissions(site.path("huge"), std::fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(site.build("FROM scratch\nCOPY src /\n").names(), ["/a"]);
    std::fs::set_permissions(site.path("huge"), std::fs::Permissions::from_mode(0o755)).unwrap();
    // A link leads to where nobody looked.
    assert_eq!(
        site.build("FROM scratch\nCOPY src /\nCOPY alias/b /\n")
            .names(),
        ["/a", "/b"]
    );
}

/// A tar of these members: name, and content or, after `->`, a link's target.
fn tar(members: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = layer::tar::Writer::new(Vec::new());
    for (name, content) in members {
        let meta = match (
            name.ends_with('/'),
            content.strip_prefix("-> "),
            content.strip_prefix("= "),
        ) {
            (true, _, _) => layer::Meta::dir(0o711),
            (_, Some(target), _) => layer::Meta::symlink(target),
            (_, _, Some(target)) => layer::Meta::new(
                layer::Kind::HardLink {
                    target: target.as_bytes().to_vec(),
                },
                0o644,
            ),
            _ => layer::Meta {
                uid: 9,
                ..layer::Meta::file(content.len() as u64, 0o640)
            },
        };
        let body = if matches!(meta.kind, layer::Kind::File { .. }) {
            content.as_bytes()
        } else {
            b""
        };
        writer
            .append(name.trim_end_matches('/').as_bytes(), &meta, &mut { body })
            .unwrap();
    }
    writer.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let level = layer::compression::Level::default();
    let mut encoder =
        layer::compression::Encoder::new(Vec::new(), layer::compression::Compression::Gzip, level)
            .unwrap();
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn f147_add_unpacks_a_local_archive_and_copy_does_not() {
    let site = Site::new();
    std::fs::write(
        site.path("t.tar.gz"),
        gzip(&tar(&[("a", "A"), ("d/", ""), ("d/b", "B")])),
    )
    .unwrap();
    std::fs::write(site.path("looks.tar"), "it is none").unwrap();
    let outcome = site.build("FROM scratch\nADD t.tar.gz /\nADD looks.tar /\n");
    assert_eq!(
        outcome.tree(),
        [
            "f 640 9:0 /a \"A\"",
            "d 711 0:0 /d",
            "f 640 9:0 /d/b \"B\"",
            "f 644 0:0 /looks.tar \"it is none\""
        ]
    );
    assert_eq!(
        site.build("FROM scratch\nCOPY t.tar.gz /\n").names(),
        ["/t.tar.gz"]
    );
    assert_eq!(
        site.build("FROM scratch\nADD --unpack=false t.tar.gz /\n")
            .names(),
        ["/t.tar.gz"]
    );
    assert!(
        site.build("FROM scratch\nADD t.tar.gz /\nADD looks.tar /\n")
            .all_cached()
    );
}

#[test]
fn f148_every_archive_that_a_wildcard_matches_is_unpacked() {
    let site = Site::new();
    std::fs::write(site.path("1.tar"), tar(&[("one", "1")])).unwrap();
    std::fs::write(site.path("2.tar"), tar(&[("two", "2")])).unwrap();
    assert_eq!(
        site.build("FROM scratch\nADD *.tar /dest\n").names(),
        ["/dest", "/dest/one", "/dest/two"]
    );
}

#[test]
fn f149_chown_counts_for_members_and_destination() {
    let site = Site::new();
    std::fs::write(site.path("t.tar"), tar(&[("d/", ""), ("d/x", "x")])).unwrap();
    let outcome = site.build("FROM scratch\nADD --chown=100:200 t.tar /out/\n");
    for path in ["out", "out/d", "out/d/x"] {
        assert!(outcome.owner(path).ends_with("100:200"), "{path}");
    }
}

#[test]
fn f150_parents_that_an_archive_lacks_are_made() {
    let site = Site::new();
    std::fs::write(site.path("t.tar"), tar(&[("a/b/c", "c")])).unwrap();
    assert_eq!(
        site.build("FROM scratch\nADD t.tar /x\n").tree(),
        [
            "d 755 0:0 /x",
            "d 755 0:0 /x/a",
            "d 755 0:0 /x/a/b",
            "f 640 9:0 /x/a/b/c \"c\""
        ]
    );
}

#[test]
fn f151_a_member_below_a_link_of_the_image_goes_where_the_link_leads() {
    let site = Site::new();
    image()
        .symlink("var/run", "/run")
        .dir("run", 0o700)
        .file("run/old", b"old")
        .name("base")
        .build(&site.store)
        .unwrap();
    std::fs::write(
        site.path("t.tar"),
        tar(&[("var/run/pid", "1"), ("var/run/link", "= var/run/pid")]),
    )
    .unwrap();
    let outcome = site.build("FROM base\nADD t.tar /\n");
    assert_eq!(
        outcome.names(),
        [
            "/run",
            "/run/link",
            "/run/old",
            "/run/pid",
            "/var",
            "/var/run"
        ]
    );
    assert_eq!(outcome.owner("run"), "700 0:0");
    assert_eq!(outcome.read("run/link"), "1");
}

#[test]
fn members_that_point_out_stay_inside() {
    let site = Site::new();
    let outside = site.outside("out");
    let deep = format!("../../../../../../../..{}", outside.display());
    let members = [
        ("../../up", "1"),
        ("/abs", "2"),
        ("link", deep.as_str()),
        ("l", "-> ../../../.."),
        ("l/through", "3"),
        ("loop", "-> loop"),
    ];
    std::fs::write(site.path("t.tar"), tar(&members)).unwrap();
    let outcome = site.build("FROM scratch\nADD t.tar /dest/\n");
    assert_eq!(outcome.read("dest/up"), "1");
    assert_eq!(outcome.read("dest/abs"), "2");
    assert_eq!(outcome.read("through"), "3");
    std::fs::write(
        site.path("t.tar"),
        tar(&[("loop", "-> loop"), ("loop/x", "x")]),
    )
    .unwrap();
    assert!(
        site.fail("FROM scratch\nADD t.tar /dest/\n")
            .contains("too many links")
    );
    std::fs::write(site.path("t.tar"), tar(&[(".wh..wh..opq", "")])).unwrap();
    assert!(
        site.fail("FROM scratch\nADD t.tar /dest/\n")
            .contains(".wh.")
    );
    assert!(!outside.exists());
}

#[test]
fn urls_are_refused_clearly() {
    let site = Site::new();
    assert!(
        site.fail("FROM scratch\nCOPY https://example.com/x /\n")
            .contains("COPY cannot fetch")
    );
    assert!(
        site.fail("FROM scratch\nADD https://example.com/x /\n")
            .contains("this build has no network")
    );
    assert!(
        site.fail("FROM scratch\nADD --checksum=sha256:00 x /\n")
            .contains("--checksum")
    );
}
