//! What COPY, ADD and WORKDIR put where.

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
