//! Tests of the walk and of the stat index, above all of what must never be believed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::walk::Verdict;
use super::*;

/// Takes everything.
#[derive(Debug)]
struct Everything;

impl Filter for Everything {
    type Dir = ();

    fn root(&self) {}

    fn file(&self, (): &(), _: &[u8]) -> bool {
        true
    }

    fn dir(&self, (): &(), _: &[u8]) -> (Verdict, Option<()>) {
        (Verdict::Take, Some(()))
    }
}

/// The time, so much later than it is.
fn clock(later: i64) -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Time {
        secs: now.tv_sec + later,
        nanos: now.tv_nsec as u32,
    }
}

fn open(dir: &Path, now: Time) -> Context {
    open_filtered(dir, now, &Everything)
}

fn open_filtered(dir: &Path, now: Time, filter: &impl Filter) -> Context {
    Context::open(
        &dir.join("ctx"),
        (String::new(), &dir.join("idx")),
        filter,
        || now,
    )
    .unwrap()
}

fn find(context: &Context, path: &str) -> NodeId {
    let ids = 0..context.tree.nodes.len() as NodeId;
    ids.into_iter()
        .find(|id| context.tree.path(*id) == path.as_bytes())
        .unwrap()
}

fn digest(context: &Context, path: &str) -> Option<ContentDigest> {
    context.digest(find(context, path))
}

fn save(dir: &Path, context: &mut Context) {
    if let Some(index) = context.index() {
        fs::write(dir.join("idx"), index).unwrap();
    }
}

/// Reads what is not known, as a build does, and writes the index. Says how many files were read.
fn learn_all(dir: &Path, context: &mut Context) -> usize {
    let mut unknown = Vec::new();
    let mut opener = context.opener();
    for id in 0..context.tree.nodes.len() as NodeId {
        if context.tree.node(id).stat.kind == NodeKind::File && context.digest(id).is_none() {
            let file = opener.open(id).unwrap();
            let stat = opener.stat(id, &file).unwrap();
            let xattrs = xattr::read(file.as_fd()).unwrap();
            let bytes = std::io::read_to_string(file).unwrap();
            unknown.push((id, stat, *blake3::hash(bytes.as_bytes()).as_bytes(), xattrs));
        }
    }
    let count = unknown.len();
    for (id, stat, digest, xattrs) in unknown {
        context.learn(id, stat, digest, xattrs);
    }
    save(dir, context);
    count
}

fn fixture() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let ctx = dir.path().join("ctx");
    fs::create_dir_all(ctx.join("a/b")).unwrap();
    fs::create_dir_all(ctx.join("a-b")).unwrap();
    fs::write(ctx.join("a/b/one"), "one").unwrap();
    fs::write(ctx.join("a/two"), "two").unwrap();
    fs::write(ctx.join("a-b/three"), "three").unwrap();
    fs::write(ctx.join("z"), "z").unwrap();
    symlink("a/two", ctx.join("link")).unwrap();
    dir
}

fn restore_mtime(path: &Path, of: &fs::Metadata) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(of.modified().unwrap()).unwrap();
}

#[test]
fn the_tree_is_depth_first_and_sorted_by_components() {
    let dir = fixture();
    let context = open(dir.path(), clock(0));
    let paths: Vec<_> = (0..context.tree.nodes.len() as NodeId)
        .map(|id| String::from_utf8(context.tree.path(id)).unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "",
            "a",
            "a/b",
            "a/b/one",
            "a/two",
            "a-b",
            "a-b/three",
            "link",
            "z"
        ]
    );
    assert!(paths.is_sorted_by(|a, b| tree::compare_paths(a.as_bytes(), b.as_bytes()).is_lt()));
    assert_eq!(context.tree.target(find(&context, "link")), b"a/two");
}

#[test]
fn an_unchanged_file_is_known_once_it_is_settled() {
    let dir = fixture();
    assert_eq!(learn_all(dir.path(), &mut open(dir.path(), clock(10))), 4);
    let mut context = open(dir.path(), clock(20));
    assert_eq!(
        digest(&context, "a/b/one"),
        Some(*blake3::hash(b"one").as_bytes())
    );
    assert!(!context.changed, "nothing is new, so nothing is written");
    assert_eq!(learn_all(dir.path(), &mut context), 0);
}

#[test]
fn a_file_changed_within_the_clocks_granularity_is_read_again() {
    let dir = fixture();
    // The index is made in the same instant as the files.
    assert_eq!(learn_all(dir.path(), &mut open(dir.path(), clock(0))), 4);
    fs::write(dir.path().join("ctx/z"), "y").unwrap();
    let mut context = open(dir.path(), clock(0));
    assert_eq!(digest(&context, "z"), None);
    assert_eq!(digest(&context, "a/two"), None, "it could have changed too");
    assert_eq!(learn_all(dir.path(), &mut context), 4);
    assert_eq!(digest(&context, "z"), Some(*blake3::hash(b"y").as_bytes()));
}

#[test]
fn a_racy_entry_is_read_once_more_and_then_believed() {
    let dir = fixture();
    assert_eq!(learn_all(dir.path(), &mut open(dir.path(), clock(0))), 4);
    assert_eq!(learn_all(dir.path(), &mut open(dir.path(), clock(10))), 4);
    assert_eq!(learn_all(dir.path(), &mut open(dir.path(), clock(20))), 0);
}

#[test]
fn same_size_and_restored_mtime_but_other_bytes_is_seen() {
    let dir = fixture();
    learn_all(dir.path(), &mut open(dir.path(), clock(10)));
    let path = dir.path().join("ctx/a/two");
    let before = fs::metadata(&path).unwrap();
    // ctime moves on with the clock; wait until it does.
    loop {
        fs::write(&path, "TWO").unwrap();
        restore_mtime(&path, &before);
        let now = fs::metadata(&path).unwrap();
        if (now.ctime(), now.ctime_nsec()) != (before.ctime(), before.ctime_nsec()) {
            break;
        }
    }
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        (before.mtime(), before.mtime_nsec(), before.size()),
        (after.mtime(), after.mtime_nsec(), after.size())
    );
    let context = open(dir.path(), clock(20));
    assert_eq!(digest(&context, "a/two"), None);
    assert!(digest(&context, "z").is_some());
}

#[test]
fn a_file_put_in_anothers_place_with_its_times_is_seen() {
    let dir = fixture();
    learn_all(dir.path(), &mut open(dir.path(), clock(10)));
    let path = dir.path().join("ctx/a/two");
    let before = fs::metadata(&path).unwrap();
    fs::write(dir.path().join("other"), "TWO").unwrap();
    restore_mtime(&dir.path().join("other"), &before);
    fs::rename(dir.path().join("other"), &path).unwrap();
    assert_eq!(digest(&open(dir.path(), clock(20)), "a/two"), None);
}

#[test]
fn chmod_is_seen_and_a_vanished_file_is_gone() {
    let dir = fixture();
    learn_all(dir.path(), &mut open(dir.path(), clock(10)));
    fs::set_permissions(dir.path().join("ctx/z"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(dir.path().join("ctx/a/two")).unwrap();
    fs::write(dir.path().join("ctx/a/three"), "3").unwrap();
    let mut context = open(dir.path(), clock(20));
    assert_eq!(digest(&context, "z"), None);
    assert!(digest(&context, "a/b/one").is_some());
    assert!(context.changed);
    assert_eq!(learn_all(dir.path(), &mut context), 2);
    assert_eq!(context.tree.nodes.len(), 9);
}

#[test]
fn a_file_that_became_a_directory_and_back_is_seen() {
    let dir = fixture();
    learn_all(dir.path(), &mut open(dir.path(), clock(10)));
    fs::remove_file(dir.path().join("ctx/z")).unwrap();
    fs::create_dir(dir.path().join("ctx/z")).unwrap();
    fs::write(dir.path().join("ctx/z/in"), "in").unwrap();
    assert_eq!(learn_all(dir.path(), &mut open(dir.path(), clock(10))), 1);
    fs::remove_dir_all(dir.path().join("ctx/z")).unwrap();
    fs::write(dir.path().join("ctx/z"), "z").unwrap();
    assert_eq!(digest(&open(dir.path(), clock(10)), "z"), None);
}

#[test]
fn whole_seconds_and_foreign_file_systems_settle_later() {
    let stat = |nanos| Stat {
        kind: NodeKind::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
        nlink: 1,
        size: 1,
        rdev: (0, 0),
        dev: 1,
        ino: 1,
        mtime: Time { secs: 100, nanos },
        ctime: Time { secs: 100, nanos },
    };
    let at = |secs, nanos| Time { secs, nanos };
    assert!(index::settles(&stat(5), at(100, 200_000_000), true, false));
    assert!(!index::settles(&stat(5), at(100, 90_000_000), true, false));
    assert!(
        !index::settles(&stat(0), at(102, 900_000_000), true, false),
        "a clock of two seconds"
    );
    assert!(index::settles(&stat(0), at(103, 1), true, false));
    assert!(
        !index::settles(&stat(5), at(500, 0), false, false),
        "the server's clock may be behind"
    );
    assert!(
        index::settles(&stat(5), at(500, 0), false, true),
        "seen before with this stat"
    );
    assert!(
        !index::settles(&stat(5), at(99, 0), true, false),
        "a time in the future"
    );
}

#[test]
fn every_damage_of_the_index_costs_time_and_nothing_else() {
    let dir = fixture();
    learn_all(dir.path(), &mut open(dir.path(), clock(10)));
    let good = fs::read(dir.path().join("idx")).unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        assert!(index::Index::parse(bad).is_none(), "byte {at}");
        assert!(
            index::Index::parse(good[..at].to_vec()).is_none(),
            "cut at {at}"
        );
    }
    fs::write(dir.path().join("idx"), &good[..good.len() / 2]).unwrap();
    assert_eq!(learn_all(dir.path(), &mut open(dir.path(), clock(10))), 4);
}

/// Enters only one directory.
struct Only(&'static [u8]);

impl Filter for Only {
    type Dir = ();

    fn root(&self) {}

    fn file(&self, (): &(), _: &[u8]) -> bool {
        true
    }

    fn dir(&self, (): &(), name: &[u8]) -> (Verdict, Option<()>) {
        if name == self.0 {
            (Verdict::Take, Some(()))
        } else {
            (Verdict::Close, None)
        }
    }
}

#[test]
fn what_is_not_entered_this_time_is_still_known_the_next_time() {
    let dir = fixture();
    let ctx = dir.path().join("ctx");
    learn_all(dir.path(), &mut open(dir.path(), clock(10)));
    fs::write(ctx.join("a-b/four"), "four").unwrap();
    let mut part = open_filtered(dir.path(), clock(20), &Only(b"a-b"));
    assert!(part.tree.node(find(&part, "a")).unread);
    assert_eq!(learn_all(dir.path(), &mut part), 1);
    let mut context = open(dir.path(), clock(20));
    assert_eq!(
        digest(&context, "a/b/one"),
        Some(*blake3::hash(b"one").as_bytes())
    );
    assert_eq!(
        digest(&context, "a-b/four"),
        Some(*blake3::hash(b"four").as_bytes())
    );
    assert_eq!(learn_all(dir.path(), &mut context), 0);
    let part = open_filtered(dir.path(), clock(20), &Only(b"a-b"));
    assert!(!part.changed, "a part of what is known is nothing new");
}

#[test]
fn places_and_attributes_come_back() {
    let dir = fixture();
    let mut context = open(dir.path(), clock(10));
    let ids: Vec<_> = ["a/b/one", "a-b/three", "z"]
        .map(|path| find(&context, path))
        .into();
    for id in &ids {
        let stat = context.tree.node(*id).stat;
        context.learn(
            *id,
            stat,
            [7; 32],
            vec![(b"user.x".to_vec(), b"y".to_vec())],
        );
    }
    context.learn_places([1; 32], [(ids[0], 512)]);
    context.learn_places([2; 32], [(ids[1], 1024)]);
    context.learn_places([2; 32], [(ids[0], 2048)]);
    save(dir.path(), &mut context);
    let context = open(dir.path(), clock(20));
    assert_eq!(context.place(ids[0]), Some(([2; 32], 2048)));
    assert_eq!(context.place(ids[1]), Some(([2; 32], 1024)));
    assert_eq!(context.place(ids[2]), None);
    assert_eq!(
        context.layers,
        [[2; 32]],
        "a layer that nothing refers to is forgotten"
    );
    assert_eq!(
        context.xattrs(ids[2]),
        [(b"user.x".to_vec(), b"y".to_vec())]
    );
}

#[test]
fn a_directory_swapped_for_a_link_is_not_followed() {
    let dir = fixture();
    let context = open(dir.path(), clock(0));
    let id = find(&context, "a/two");
    fs::create_dir(dir.path().join("outside")).unwrap();
    fs::write(dir.path().join("outside/two"), "secret").unwrap();
    fs::remove_dir_all(dir.path().join("ctx/a")).unwrap();
    symlink("../outside", dir.path().join("ctx/a")).unwrap();
    assert!(context.opener().open(id).is_err());
}
