//! Owners and modes of what COPY and WORKDIR make.

use std::os::unix::fs::PermissionsExt;

use testkit::image;

use crate::support::Site;

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
