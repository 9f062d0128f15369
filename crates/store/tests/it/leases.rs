//! Leases, sweeping, and what a restart of the machine does.

use std::fs;
use std::path::Path;

use oci::Digest;
use store::{Error, Expected, Kind, RecordPolicy};
use testkit::{image, store};

fn litter(root: &Path) -> Vec<String> {
    let names = fs::read_dir(root.join("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name != "upkeep.lock" && name != "turns.lock")
        .collect()
}

#[test]
fn what_only_a_lease_needs_goes_with_it() {
    let store = store();
    let lease = store.lease("test").unwrap();
    let mut ingest = lease.ingest_layer().unwrap();
    ingest
        .writer()
        .append_bytes(b"a", &layer::Meta::file(1, 0o644), b"x")
        .unwrap();
    let layer = ingest.publish().unwrap();
    let blob = lease.put_blob(b"{}").unwrap();
    assert!(store.find_layer(layer.diff_id()).unwrap().is_some());
    // Pruning does not touch what a living process needs.
    assert_eq!(store.prune_unneeded().unwrap().layers, []);
    drop(lease);
    assert!(store.find_layer(layer.diff_id()).unwrap().is_none());
    assert!(store.blob(blob.digest()).unwrap().is_none());
    store.upkeep().unwrap();
    assert_eq!(litter(store.root()), [""; 0]);
}

#[test]
fn a_claim_outlives_the_removal_of_the_image() {
    let store = store();
    let image = image().file("a", "1").name("a").build(&store).unwrap();
    let lease = store.lease("test").unwrap();
    let view = lease.view(&image.layers).unwrap();
    let removed = store.remove_image("a", false).unwrap();
    assert!(removed.layers.is_empty());
    let node = view.lookup(b"a", layer::Follow::Yes).unwrap().unwrap();
    assert_eq!(
        std::io::read_to_string(view.open(&node).unwrap()).unwrap(),
        "1"
    );
    drop(lease);
    assert!(store.layers().unwrap().is_empty());
    let lease = store.lease("test").unwrap();
    assert!(matches!(
        lease.claim_layers(&image.layers),
        Err(Error::MissingLayer(_))
    ));
}

#[test]
fn unfinished_work_leaves_nothing() {
    let store = store();
    let lease = store.lease("test").unwrap();
    let mut layer = lease.ingest_layer().unwrap();
    layer
        .writer()
        .append_bytes(b"a", &layer::Meta::file(1, 0o644), b"x")
        .unwrap();
    drop(layer);
    let mut blob = lease
        .ingest_blob(Expected {
            digest: None,
            size: Some(3),
        })
        .unwrap();
    blob.put(b"abc").unwrap();
    let error = blob.put(b"d").unwrap_err();
    assert!(matches!(error, Error::TooLong { size: 3, .. }), "{error}");
    drop(blob);
    let digest = Digest::sha256_of(b"abc");
    let mut blob = lease
        .ingest_blob(Expected {
            digest: Some(digest),
            size: Some(3),
        })
        .unwrap();
    blob.put(b"abd").unwrap();
    let error = blob.publish().unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(
        error
            .to_string()
            .contains(&format!("expected 3 bytes with digest {digest}")),
        "{error}"
    );
    drop(lease);
    assert_eq!(litter(store.root()), [""; 0]);
}

#[test]
fn litter_of_the_dead_is_swept_and_work_of_the_living_is_not() {
    let store = store();
    let living = store.lease("living").unwrap();
    let file = living.temporary("file");
    fs::write(&file, "x").unwrap();
    // What a killed process leaves: its lock file without a lock, its folder.
    let tmp = store.root().join("tmp");
    fs::write(tmp.join("lease-dead.lock"), "").unwrap();
    fs::create_dir(tmp.join("lease-dead")).unwrap();
    fs::write(tmp.join("lease-dead/layer.tar"), "half").unwrap();
    fs::create_dir(tmp.join("lease-older")).unwrap();
    let again = store.reopen();
    assert!(again.needs_upkeep());
    again.upkeep().unwrap();
    assert!(file.exists());
    let mut names = litter(store.root());
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    drop(living);
    store.upkeep().unwrap();
    assert_eq!(litter(store.root()), [""; 0]);
}

#[test]
fn after_a_restart_whole_content_stays_and_torn_content_goes() {
    let store = store();
    let whole = image().file("a", "1").name("whole").build(&store).unwrap();
    let torn = image().file("a", "2").name("torn").build(&store).unwrap();
    let lost_index = image().file("a", "3").name("index").build(&store).unwrap();
    let path = |image: &store::Image, name: &str| {
        store
            .find_layer(&image.layers[0])
            .unwrap()
            .unwrap()
            .dir()
            .join(name)
    };
    // A power cut: the size was journalled, the bytes never came.
    let tar = path(&torn, "layer.tar");
    let size = fs::metadata(&tar).unwrap().len();
    fs::write(&tar, vec![0; usize::try_from(size).unwrap()]).unwrap();
    let index = path(&lost_index, "index.erofs");
    let good = fs::read(&index).unwrap();
    fs::write(&index, vec![0; good.len()]).unwrap();

    let after = store.reopen_in(Some("another boot"));
    assert!(after.find_layer(&whole.layers[0]).unwrap().is_some());
    assert!(after.find_layer(&torn.layers[0]).unwrap().is_none());
    assert!(after.find_layer(&lost_index.layers[0]).unwrap().is_some());
    assert_eq!(fs::read(&index).unwrap(), good);
    assert!(after.blob(&whole.digest).unwrap().is_some());
    // Bringing it again heals.
    image().file("a", "2").name("torn").build(&after).unwrap();
    assert!(after.find_layer(&torn.layers[0]).unwrap().is_some());
    after.upkeep().unwrap();
    let report = after
        .fsck(&store::FsckOptions {
            full: true,
            repair: false,
        })
        .unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn what_was_synced_is_not_hashed_again() {
    let store = store();
    let image = image().file("a", "1").name("a").build(&store).unwrap();
    assert!(store.needs_upkeep());
    store.upkeep().unwrap();
    assert!(!store.needs_upkeep());
    // Only a look at the bytes could tell.
    let layer = store.find_layer(&image.layers[0]).unwrap().unwrap();
    fs::write(layer.tar(), vec![0; usize::try_from(layer.size()).unwrap()]).unwrap();
    let after = store.reopen_in(Some("another boot"));
    assert!(after.find_layer(&image.layers[0]).unwrap().is_some());
}

#[test]
fn files_whose_rows_a_power_cut_took_go_after_the_restart() {
    let store = store();
    let digest = Digest::sha256_of(b"late");
    fs::write(store.root().join("blobs/sha256").join(digest.hex()), "late").unwrap();
    let after = store.reopen_in(Some("another boot"));
    let report = after.fsck(&store::FsckOptions::default()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert!(
        !store
            .root()
            .join("blobs/sha256")
            .join(digest.hex())
            .exists()
    );
}

#[test]
fn records_keep_their_layers_until_they_are_pruned() {
    let store = store();
    let made = image().file("a", "1").name("a").build(&store).unwrap();
    let record = |key: &str, layers: &[oci::DiffId]| store::Record {
        key: key.to_owned(),
        definition: "COPY".to_owned(),
        parts: vec![("file a".to_owned(), key.to_owned())],
        output: serde_json::json!({ "n": 1 }),
        layers: layers.to_vec(),
        created: 0,
        last_used: 0,
    };
    let lease = store.lease("build").unwrap();
    lease.put_record(&record("one", &made.layers)).unwrap();
    lease.put_record(&record("two", &[])).unwrap();
    drop(lease);
    assert!(store.remove_image("a", false).unwrap().layers.is_empty());
    let lease = store.lease("build").unwrap();
    let found = lease.find_record("one").unwrap().unwrap();
    assert_eq!(
        (found.layers, found.output),
        (made.layers.clone(), serde_json::json!({ "n": 1 }))
    );
    assert!(lease.find_record("three").unwrap().is_none());
    assert_eq!(store.nearest_records("COPY", 9).unwrap().len(), 2);
    let pruned = store
        .prune_records(&RecordPolicy {
            all: true,
            ..RecordPolicy::default()
        })
        .unwrap();
    assert_eq!(
        (pruned.records, pruned.collected.layers.len()),
        (2, 0),
        "the lease still needs the layer"
    );
    drop(lease);
    assert!(store.layers().unwrap().is_empty());
}

#[test]
fn pruning_by_size_keeps_what_was_used_last() {
    let store = store();
    let mut sizes = 0;
    for number in 0..4 {
        let made = image()
            .file("a", number.to_string())
            .name("a")
            .build(&store)
            .unwrap();
        sizes += store.find_layer(&made.layers[0]).unwrap().unwrap().size();
        let lease = store.lease("build").unwrap();
        let record = store::Record {
            key: number.to_string(),
            definition: "COPY".to_owned(),
            parts: Vec::new(),
            output: serde_json::Value::Null,
            layers: made.layers,
            created: 0,
            last_used: 0,
        };
        lease.put_record(&record).unwrap();
    }
    store.prune_images(true, |_| true).unwrap();
    assert_eq!(store.layers().unwrap().len(), 4);
    let usage = store.usage().unwrap();
    assert_eq!((usage.images.count, usage.records.count), (0, 4));
    let policy = RecordPolicy {
        keep_bytes: Some(usage.records.bytes / 2),
        ..RecordPolicy::default()
    };
    assert!(usage.records.bytes > sizes);
    assert_eq!(store.prune_records(&policy).unwrap().records, 2);
    let keys: Vec<_> = store
        .records()
        .unwrap()
        .into_iter()
        .map(|record| record.key)
        .collect();
    assert_eq!(keys, ["3", "2"]);
    assert_eq!(store.layers().unwrap().len(), 2);
}

#[test]
fn a_cache_in_use_is_not_pruned() {
    let store = store();
    let cache = store.cache("/root/.cache", false).unwrap();
    let path = cache.path().to_owned();
    fs::write(path.join("file"), "12345").unwrap();
    assert_eq!(store.prune_caches().unwrap(), 0);
    assert!(path.exists());
    let also = store.cache("/root/.cache", false).unwrap();
    assert_eq!(also.path(), path);
    drop((cache, also));
    let alone = store.cache("/root/.cache", true).unwrap();
    drop(alone);
    assert_eq!(store.prune_caches().unwrap(), 5);
    assert!(!path.exists());
}

#[test]
fn the_tar_of_a_layer_is_a_blob() {
    let store = store();
    let image = image().file("a", "1").name("a").build(&store).unwrap();
    let digest = *image.layers[0].digest();
    let blob = store.blob(&digest).unwrap().unwrap();
    assert!(blob.path().ends_with("layer.tar"));
    let lease = store.lease("test").unwrap();
    lease.claim_blobs(&[digest]).unwrap();
    store.remove_image("a", false).unwrap();
    assert!(blob.open().is_ok());
    drop(lease);
    assert!(matches!(blob.open(), Err(Error::MissingBlob(_))));
}

#[test]
fn a_lost_index_is_made_anew_at_first_use() {
    let store = store();
    let image = image().file("a", "1").build(&store).unwrap();
    let index = store.find_layer(&image.layers[0]).unwrap().unwrap().index();
    let bytes = fs::read(&index).unwrap();
    fs::remove_file(&index).unwrap();
    assert!(store.view(&image.layers).is_ok());
    assert_eq!(fs::read(&index).unwrap(), bytes);
}

#[test]
fn others_see_whether_a_lease_lives() {
    let store = store();
    let lease = store.lease("test").unwrap();
    let id = lease.id().to_owned();
    assert!(store.is_lease_alive(&id).unwrap());
    drop(lease);
    assert!(!store.is_lease_alive(&id).unwrap());
    assert!(!store.is_lease_alive("lease-../../format").unwrap());
}

/// An empty tar that ends with `mark`, beside bytes that stand for its gzip.
fn finished(lease: &store::Lease, mark: &[u8]) -> store::Result<store::FinishedLayer> {
    let tar = [&[0; 1024], mark].concat();
    let mut ingest = lease.ingest_layer()?;
    ingest.writer().copy_tar(&mut &tar[..]).unwrap();
    let mut blob = lease.ingest_blob(Expected::default())?;
    blob.put(mark)?;
    let expected = oci::DiffId::from_digest(Digest::sha256_of(&tar));
    ingest.finish_with(&expected, blob, oci::media_type::OCI_LAYER_GZIP)
}

#[test]
fn layers_are_published_together_with_their_compressed_bytes() {
    let store = store();
    let lease = store.lease("pull").unwrap();
    let group = vec![
        finished(&lease, b"1").unwrap(),
        finished(&lease, b"2").unwrap(),
    ];
    assert!(store.layers().unwrap().is_empty(), "not before");
    let forms = lease.publish_layers(group).unwrap();
    // Once more, and one that is new, and comes twice.
    let group = vec![
        finished(&lease, b"2").unwrap(),
        finished(&lease, b"3").unwrap(),
        finished(&lease, b"3").unwrap(),
    ];
    lease.publish_layers(group).unwrap();
    assert_eq!(store.layers().unwrap().len(), 3);
    assert_eq!(forms[1].digest, Digest::sha256_of(b"2"));
    for form in &forms {
        let layer = store.layer_of_compressed(&form.digest).unwrap().unwrap();
        assert_eq!(
            store.compressed(&layer).unwrap(),
            std::slice::from_ref(form)
        );
        assert!(store.find_layer(&layer).unwrap().is_some());
    }
    drop(lease);
    assert!(store.layers().unwrap().is_empty());
    store.upkeep().unwrap();
    assert_eq!(litter(store.root()), [""; 0]);
}

#[test]
fn of_layers_that_cannot_all_be_published_none_is_there() {
    let store = store();
    let lease = store.lease("pull").unwrap();
    let group = vec![
        finished(&lease, b"1").unwrap(),
        finished(&lease, b"2").unwrap(),
    ];
    // The last file of the group is lost.
    let folder = store.root().join("tmp").join(lease.id());
    fs::remove_file(folder.join("blob-3")).unwrap();
    lease.publish_layers(group).unwrap_err();
    assert!(store.layers().unwrap().is_empty());
    let digest = Digest::sha256_of(b"1");
    assert!(store.blob(&digest).unwrap().is_none());
    // What was moved already is in nobody's way.
    let again = finished(&lease, b"1").unwrap();
    lease.publish_layers(vec![again]).unwrap();
    assert!(store.blob(&digest).unwrap().is_some());
    drop(lease);
    store.upkeep().unwrap();
    assert_eq!(litter(store.root()), [""; 0]);
    for folder in ["layers", "blobs/sha256"] {
        let left = fs::read_dir(store.root().join(folder)).unwrap().count();
        assert_eq!(left, 0, "{folder}");
    }
}
