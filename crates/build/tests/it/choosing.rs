//! The flags of COPY that change what is taken and where it goes, and ignore files.

use std::os::unix::fs::PermissionsExt;

use testkit::image;

use crate::support::Site;

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
