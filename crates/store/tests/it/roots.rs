//! Root filesystems.

use std::path::Path;

use store::Way;
use testkit::{image, skip_unless_root, store};

#[test]
fn priv_layers_are_mounted_where_the_kernel_can() {
    skip_unless_root!();
    let store = store();
    let image = image()
        .file("both", "lower")
        .file("gone", "x")
        .layer()
        .file("both", "upper")
        .whiteout("gone")
        .build(&store)
        .unwrap();
    if store.way().unwrap() != Way::Mounted {
        testkit::skipped(
            "priv_layers_are_mounted_where_the_kernel_can",
            "this kernel mounts no EROFS from plain files",
        );
        return;
    }
    let lease = store.lease("test").unwrap();
    let plan = lease.root_plan(&image.layers, None).unwrap();
    // The mount lives in a namespace of this thread only.
    std::thread::spawn(move || {
        sys::namespace::unshare_mounts().unwrap();
        sys::mount::set_propagation(Path::new("/"), sys::mount::Propagation::Private, true)
            .unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let root = sys::root::Root::open(scratch.path()).unwrap();
        let mounted = plan.mount(&root).unwrap();
        let root = sys::root::Root::from_fd(mounted.into(), "merged");
        let mut names: Vec<_> = root
            .entries()
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        names.sort();
        assert_eq!(names, ["both"]);
        let text = std::io::read_to_string(root.open_file(Path::new("both")).unwrap()).unwrap();
        assert_eq!(text, "upper");
    })
    .join()
    .unwrap();
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
