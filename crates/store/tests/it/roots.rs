//! Root filesystems.

use store::Flavour;
use testkit::{image, store};

#[test]
fn an_opaque_root_hides_the_layers_below() {
    let store = store();
    let image = image()
        .file("below", "x")
        .layer()
        .opaque("")
        .file("above", "x")
        .layer()
        .file("top", "x")
        .build(&store)
        .unwrap();
    let lease = store.lease("test").unwrap();
    let plan = lease.root_plan(&image.layers, None).unwrap();
    assert_eq!(plan.lowers.len(), 2, "overlayfs does not look at roots");
}

#[test]
fn the_way_is_probed_once_a_boot() {
    let store = store();
    let first = store.way().unwrap();
    assert!(
        store.layers().unwrap().is_empty(),
        "the probe leaves nothing"
    );
    assert_eq!(store.reopen().way().unwrap(), first);
}

#[test]
fn a_tree_is_unpacked_once_and_again_when_a_restart_may_have_torn_it() {
    let store = store();
    let image = image()
        .dir("etc", 0o755)
        .file("etc/a", "1")
        .symlink("b", "etc/a")
        .build(&store)
        .unwrap();
    let layer = store.find_layer(&image.layers[0]).unwrap().unwrap();
    let lease = store.lease("test").unwrap();
    let tree = lease.tree(&layer, Flavour::User).unwrap();
    assert_eq!(std::fs::read_to_string(tree.join("b")).unwrap(), "1");
    assert_eq!(store.usage().unwrap().trees.count, 1);
    std::fs::write(tree.join("mark"), "").unwrap();
    assert_eq!(lease.tree(&layer, Flavour::User).unwrap(), tree);
    assert!(tree.join("mark").exists());

    let after = store.reopen_in(Some("another boot"));
    let lease = after.lease("test").unwrap();
    assert_eq!(lease.tree(&layer, Flavour::User).unwrap(), tree);
    assert!(!tree.join("mark").exists());
    after.upkeep().unwrap();
    assert!(
        after
            .fsck(&store::FsckOptions {
                full: true,
                repair: false
            })
            .unwrap()
            .findings
            .is_empty()
    );
}

#[test]
fn a_layer_that_occurs_twice_is_planned_once() {
    let store = store();
    let base = image().file("a", "1").build(&store).unwrap();
    let twice = [base.layers[0], base.layers[0]];
    let lease = store.lease("test").unwrap();
    assert_eq!(lease.root_plan(&twice, None).unwrap().lowers.len(), 1);
}
