//! Files of images.

use engine::browse::{Change, ListRequest};
use layer::Meta;

use crate::support::{engine, message};

fn list(engine: &engine::Engine, target: &str, recursive: bool) -> Vec<String> {
    let mut paths = Vec::new();
    let request = ListRequest {
        target: target.to_owned(),
        recursive,
    };
    engine
        .list_files(&request, &mut |row| {
            paths.push(row.path.clone());
            true
        })
        .unwrap();
    paths
}

#[test]
fn a_tree_is_listed_as_it_is_after_all_layers() {
    let store = testkit::store();
    let engine = engine(&store);
    testkit::image()
        .file("etc/a", b"1")
        .file("etc/b", b"1")
        .file("usr/share/x", b"1")
        .symlink("conf", "/etc")
        .symlink("dangling", "/nowhere")
        .layer()
        .whiteout("etc/a")
        .file("etc/c", b"22")
        .opaque("usr/share")
        .name("a:1")
        .build(&store)
        .unwrap();
    assert_eq!(
        list(&engine, "a:1", false),
        ["/conf", "/dangling", "/etc", "/usr"]
    );
    assert_eq!(list(&engine, "a:1:/etc", false), ["/etc/b", "/etc/c"]);
    assert_eq!(list(&engine, "a:1:/conf/", false), ["/etc/b", "/etc/c"]);
    assert_eq!(list(&engine, "a:1:/dangling", false), ["/dangling"]);
    assert_eq!(list(&engine, "a:1:/etc/../etc/c", false), ["/etc/c"]);
    assert_eq!(
        list(&engine, "a:1:/", true),
        [
            "/conf",
            "/dangling",
            "/etc",
            "/etc/b",
            "/etc/c",
            "/usr",
            "/usr/share"
        ]
    );
    let mut seen = 0;
    let request = ListRequest {
        target: "a:1".to_owned(),
        recursive: true,
    };
    engine
        .list_files(&request, &mut |_| {
            seen += 1;
            seen < 2
        })
        .unwrap();
    assert_eq!(seen, 2, "a reader that has enough is not given more");
}

#[test]
fn files_are_read_through_links_inside_the_image() {
    let store = testkit::store();
    let engine = engine(&store);
    testkit::image()
        .file("etc/passwd", b"of the image")
        .symlink("up", "../../../../etc/passwd")
        .symlink("loop", "loop")
        .dir("dir", 0o755)
        .name("a:1")
        .build(&store)
        .unwrap();
    let read = |target: &str| {
        let mut bytes = Vec::new();
        engine
            .read_file(target, &mut bytes)
            .map(|()| String::from_utf8(bytes).unwrap())
    };
    assert_eq!(read("a:1:/up").unwrap(), "of the image");
    assert!(message(&read("a:1:/loop").unwrap_err()).contains("symbolic links"));
    assert!(message(&read("a:1:/dir").unwrap_err()).contains("not a regular file"));
    assert!(
        message(&read("a:1:/missing").unwrap_err()).contains("`/missing` is not in image `a:1`")
    );
    assert!(message(&read("a:1").unwrap_err()).contains("names no file"));
}

#[test]
fn differences_are_those_of_the_merged_trees() {
    let store = testkit::store();
    let engine = engine(&store);
    let base = testkit::image()
        .file("etc/same", b"same")
        .file("etc/changed", b"before")
        .file("etc/removed", b"x")
        .file("etc/mode", b"m")
        .file("kind/below", b"x")
        .symlink("link", "a")
        .name("a:1")
        .build(&store)
        .unwrap();
    testkit::image()
        .on(&base)
        .file("etc/same", b"same")
        .file("etc/changed", b"after!")
        .whiteout("etc/removed")
        .put("etc/mode", Meta::file(1, 0o600), b"m")
        .whiteout("kind")
        .layer()
        .file("kind", b"now a file")
        .file("new/dir/file", b"x")
        .symlink("link", "b")
        .name("a:2")
        .build(&store)
        .unwrap();
    let changes: Vec<String> = engine
        .diff_images("a:1", "a:2")
        .unwrap()
        .iter()
        .map(|row| {
            let letter = match row.kind {
                Change::Added => 'A',
                Change::Changed => 'C',
                Change::Deleted => 'D',
            };
            format!("{letter} {}", row.path)
        })
        .collect();
    assert_eq!(
        changes,
        [
            "C /etc/changed",
            "C /etc/mode",
            "D /etc/removed",
            "C /kind",
            "D /kind/below",
            "C /link",
            "A /new",
            "A /new/dir",
            "A /new/dir/file",
        ]
    );
    assert_eq!(engine.diff_images("a:1", "a:1").unwrap(), []);
    let back = engine.diff_images("a:2", "a:1").unwrap();
    assert_eq!(back.len(), changes.len());
}
