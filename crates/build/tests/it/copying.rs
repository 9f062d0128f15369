//! What COPY takes and where it puts that.

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;

use testkit::image;

use crate::support::Site;

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
    assert!(site.fail("FROM scratch\nCOPY abs /\n").contains(
        "`abs` not found in the build context: it is a link to `/etc/passwd`, which is not there"
    ));
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
    let message = site.fail("FROM scratch\nCOPY file /d\nWORKDIR /d\n");
    assert!(
        message.contains("cannot create the directory `/d`: something else has this name"),
        "{message}"
    );
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
