//! Full disks, too few descriptors, read-only folders: errors that name the path, and nothing lost.

use std::fs;
use std::path::Path;
use std::process::Command;

use store::{FsckOptions, Kind, OpenOptions, Store};
use testkit::{image, skip_unless_root, store, tree};

const FULL: FsckOptions = FsckOptions {
    full: true,
    repair: false,
};

/// Runs `work` in a thread with mounts of its own.
fn with_mounts(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        sys::namespace::unshare_mounts().unwrap();
        sys::mount::set_propagation(Path::new("/"), sys::mount::Propagation::Private, true)
            .unwrap();
        work();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn open(root: &Path) -> store::Result<Store> {
    Store::open(root, &OpenOptions::default())
}

fn assert_whole(store: &Store) {
    let report = store.fsck(&FULL).unwrap();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
}

#[test]
fn priv_a_full_disk_is_an_error_and_loses_nothing() {
    skip_unless_root!();
    with_mounts(|| {
        let dir = tempfile::tempdir().unwrap();
        let disk = sys::mount::tmpfs(&[("size", "8m")], sys::mount::Attributes::default()).unwrap();
        disk.attach(dir.path()).unwrap();
        let root = dir.path().join("store");
        let store = open(&root).unwrap();
        let small = image()
            .tree(tree(100, 1))
            .name("small")
            .build(&store)
            .unwrap();

        // A layer that is larger than the disk.
        let lease = store.lease("test").unwrap();
        let mut ingest = lease.ingest_layer().unwrap();
        let body = vec![7; 64 << 10];
        let meta = layer::Meta::file(body.len() as u64, 0o644);
        let error = (0..400)
            .try_for_each(|n| {
                let path = format!("f{n}");
                ingest
                    .writer()
                    .append_bytes(path.as_bytes(), &meta, &body)
                    .map(drop)
            })
            .map_err(|error| store::Error::Ingest(Box::new(error)))
            .and_then(|()| ingest.publish().map(drop))
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Full, "{error:?}");
        assert!(format!("{error:?}").contains("layer.tar"), "{error:?}");
        drop(lease);
        store.upkeep().unwrap();
        assert_whole(&store);

        // The last byte of the disk is gone: the database cannot grow either.
        let filler = dir.path().join("filler");
        fill(&filler);
        let mut failed = 0;
        for number in 0..40 {
            match image()
                .file("n", number.to_string())
                .name("more")
                .build(&store)
            {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Full, "{error:?}");
                    failed += 1;
                }
            }
        }
        assert!(failed > 0);
        // Also for who opens it now.
        let reopened = open(&root);
        if let Err(error) = &reopened {
            assert_eq!(error.kind(), Kind::Full, "{error:?}");
        }
        drop(reopened);
        fs::remove_file(&filler).unwrap();
        drop(store);
        let store = open(&root).unwrap();
        assert_eq!(store.resolve("small").unwrap().digest, small.digest);
        assert_whole(&store);
        image()
            .file("after", "1")
            .name("after")
            .build(&store)
            .unwrap();
        store.remove_image("small", false).unwrap();
        assert_whole(&store);
    });
}

#[test]
fn priv_a_disk_without_inodes_is_an_error_and_loses_nothing() {
    skip_unless_root!();
    with_mounts(|| {
        let dir = tempfile::tempdir().unwrap();
        let disk = sys::mount::tmpfs(
            &[("size", "64m"), ("nr_inodes", "200")],
            sys::mount::Attributes::default(),
        )
        .unwrap();
        disk.attach(dir.path()).unwrap();
        let store = open(&dir.path().join("store")).unwrap();
        let make = |number: usize| {
            image()
                .file("n", number.to_string())
                .name("made")
                .build(&store)
        };
        let small = image().file("s", "s").name("small").build(&store).unwrap();
        let fillers = dir.path().join("fillers");
        fs::create_dir(&fillers).unwrap();
        let filler = |number: usize| fillers.join(number.to_string());
        let fillings = (0..).take_while(|number| fs::File::create(filler(*number)).is_ok());
        assert!(fillings.count() > 0);
        // One inode more each time: every step of the work is once the one that has none.
        let mut failed = 0;
        let made = (0..200).find(|number| match make(*number) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), Kind::Full, "{error:?}");
                failed += 1;
                fs::remove_file(filler(*number)).unwrap();
                // What failed goes after each command, if there is room for that.
                if let Err(error) = store.upkeep() {
                    assert_eq!(error.kind(), Kind::Full, "{error:?}");
                }
                false
            }
        });
        assert!(failed > 0 && made.is_some());
        fs::remove_dir_all(&fillers).unwrap();
        store.upkeep().unwrap();
        assert_eq!(store.resolve("small").unwrap().digest, small.digest);
        assert_whole(&store);
    });
}

/// Takes all room there is.
fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = fs::File::create(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        let bytes = vec![0; size];
        while file.write_all(&bytes).is_ok() {}
    }
}

#[test]
fn priv_a_read_only_folder_is_an_error_that_names_it() {
    skip_unless_root!();
    with_mounts(|| {
        let store = store();
        image().file("a", "1").name("a").build(&store).unwrap();
        let root = store.root().to_owned();
        let view = sys::mount::bind(&root, false).unwrap();
        view.restrict(sys::mount::Attributes::READONLY, false)
            .unwrap();
        view.attach(&root).unwrap();
        let Err(error) = open(&root).and_then(|store| image().file("b", "1").build(&store)) else {
            panic!("wrote to a read-only folder")
        };
        let text = chain(&error);
        assert!(text.contains(&root.display().to_string()), "{text}");
        assert!(
            matches!(error.kind(), Kind::Denied | Kind::Failed),
            "{error:?}"
        );
        // And a place where no store can be made.
        let error = open(&root.join("tmp/other")).unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error:?}");
        assert!(chain(&error).contains("tmp/other"), "{error:?}");
    });
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

const ROOT: &str = "BARQUE_TEST_FEW_FILES";

/// The process with few descriptors.
#[test]
fn few_files_process() {
    let Ok(root) = std::env::var(ROOT) else {
        return;
    };
    let mut works = 0;
    for limit in 3..48 {
        let limits = rustix::process::Rlimit {
            current: Some(limit),
            maximum: Some(64),
        };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limits).unwrap();
        // Never a panic, never a hang: an error, or it works.
        let done = open(Path::new(&root)).and_then(|store| {
            let made = image()
                .file("n", limit.to_string())
                .name("few")
                .build(&store)?;
            store.view(&made.layers)?;
            store.upkeep()?;
            Ok(made)
        });
        works += u64::from(done.is_ok());
    }
    assert!(works > 5, "{works}");
}

#[test]
fn too_few_descriptors_are_an_error_and_lose_nothing() {
    let store = store();
    let first = image().file("a", "1").name("first").build(&store).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "failures::few_files_process",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROOT, store.root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let after = store.reopen();
    assert_eq!(after.resolve("first").unwrap().digest, first.digest);
    assert!(after.resolve("few").is_ok());
    assert_whole(&after);
}

#[test]
fn a_store_behind_a_link_is_the_same_store() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let through = store::Store::open(link.join("store"), &store::OpenOptions::default()).unwrap();
    let image = testkit::image().file("a", "x").build(&through).unwrap();
    let direct = store::Store::open(real.join("store"), &store::OpenOptions::default()).unwrap();
    assert_eq!(direct.image(&image.digest).unwrap().unwrap().id, image.id);
}
