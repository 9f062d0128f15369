//! Putting, naming, finding and removing images.

use store::{Error, Kind};
use testkit::{image, store};

#[test]
fn an_image_is_found_by_all_that_means_it() {
    let store = store();
    let image = image()
        .file("a", "1")
        .env("X=1")
        .name("app:1")
        .name("other")
        .build(&store)
        .unwrap();
    let id = image.id.digest().hex();
    for text in [
        "app:1",
        "docker.io/library/app:1",
        "other",
        "other:latest",
        &id,
        &id[..12],
        &id[..2],
        &format!("sha256:{id}"),
        &image.digest.to_string(),
        &image.digest.hex()[..12],
        &format!("app@{}", image.digest),
    ] {
        assert_eq!(store.resolve(text).unwrap().digest, image.digest, "{text}");
    }
    assert_eq!(store.images().unwrap(), [image]);
}

#[test]
fn an_unknown_name_suggests_the_nearest() {
    let store = store();
    image()
        .file("a", "1")
        .name("debian:trixie")
        .build(&store)
        .unwrap();
    let error = store.resolve("debain:trixie").unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let Error::NoSuchImage { nearest, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(nearest.as_deref(), Some("debian:trixie"));
}

#[test]
fn an_ambiguous_id_lists_the_candidates() {
    let store = store();
    // 300 ids with two hexadecimal digits each: at least two begin alike.
    let mut ids: Vec<String> = Vec::new();
    for number in 0..40 {
        let image = image().env(&format!("N={number}")).build(&store).unwrap();
        ids.push(image.id.digest().hex());
    }
    ids.sort();
    let pair = ids.windows(2).find(|pair| pair[0][..2] == pair[1][..2]);
    let Some(pair) = pair else { return };
    let Err(Error::Ambiguous { candidates, .. }) = store.resolve(&pair[0][..2]) else {
        panic!()
    };
    assert!(candidates.len() >= 2);
    assert!(candidates.contains(&format!("sha256:{}", pair[0])));
}

#[test]
fn removal_takes_names_first_and_layers_last() {
    let store = store();
    let base = image()
        .file("base", "1")
        .name("base")
        .build(&store)
        .unwrap();
    let child = image()
        .on(&base)
        .file("child", "2")
        .name("child:1")
        .name("child:2")
        .build(&store)
        .unwrap();

    let removed = store.remove_image("child:1", false).unwrap();
    assert_eq!(removed.untagged.len(), 1);
    assert!(removed.deleted.is_empty() && removed.layers.is_empty());

    // The child keeps its parent's layers alive.
    let removed = store.remove_image("base", false).unwrap();
    assert_eq!(removed.deleted, [base.id]);
    assert!(removed.layers.is_empty());
    assert!(store.find_layer(&base.layers[0]).unwrap().is_some());

    let removed = store.remove_image("child:2", false).unwrap();
    assert_eq!(removed.deleted, [child.id]);
    assert_eq!(removed.layers.len(), 2);
    assert!(store.images().unwrap().is_empty());
    assert!(store.layers().unwrap().is_empty());
    assert!(store.blob(&child.digest).unwrap().is_none());
    assert_eq!(
        store.remove_image("child:2", false).unwrap_err().kind(),
        Kind::NotFound
    );
}

#[test]
fn an_id_with_several_names_is_removed_only_by_force() {
    let store = store();
    let image = image()
        .file("a", "1")
        .name("one")
        .name("two")
        .build(&store)
        .unwrap();
    let id = image.id.digest().hex();
    let error = store.remove_image(&id, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot remove image `{id}`: it has several names: one:latest, two:latest")
    );
    assert_eq!(store.images().unwrap().len(), 1);
    let removed = store.remove_image(&id, true).unwrap();
    assert_eq!(removed.untagged.len(), 2);
    assert!(store.images().unwrap().is_empty());
}

#[test]
fn a_name_that_moves_leaves_a_dangling_image_and_a_past() {
    let store = store();
    let first = image().file("a", "1").name("app").build(&store).unwrap();
    let second = image().file("a", "2").name("app").build(&store).unwrap();
    assert_eq!(store.resolve("app").unwrap().digest, second.digest);
    assert!(store.image(&first.digest).unwrap().unwrap().is_dangling());
    let name = "app".parse().unwrap();
    store.unname(&name, "untag").unwrap();
    let events = store.name_events(&name).unwrap();
    let images: Vec<_> = events.iter().map(|event| event.image).collect();
    assert_eq!(images, [None, Some(second.digest), Some(first.digest)]);
    assert_eq!(events[0].by, "untag");
}

#[test]
fn an_image_without_its_layers_or_with_a_foreign_config_is_refused() {
    let store = store();
    let whole = image().file("a", "1").build(&store).unwrap();
    let manifest = store.read_blob(&whole.digest).unwrap();
    let config = store.read_blob(whole.id.digest()).unwrap();
    let lease = store.lease("test").unwrap();
    let new = store::NewImage {
        manifest: &manifest,
        media_type: None,
        config: b"{}",
        also: &[],
        names: &[],
        by: "test",
    };
    assert!(matches!(lease.put_image(new), Err(Error::Mismatch(_))));
    drop(lease);
    store
        .remove_image(&whole.digest.to_string(), false)
        .unwrap();
    let lease = store.lease("test").unwrap();
    let new = store::NewImage {
        config: &config,
        ..new
    };
    assert!(matches!(lease.put_image(new), Err(Error::MissingLayer(_))));
    drop(lease);
    // What the failed attempts had put already goes with their leases.
    assert!(store.blob(&whole.digest).unwrap().is_none());
}

/// An index of images for two platforms, named `multi:1`.
fn two_platforms(store: &store::Store) -> (store::ImageIndex, [store::Image; 2]) {
    let images = ["linux/amd64", "linux/arm64"].map(|platform| {
        let platform: oci::Platform = platform.parse().unwrap();
        image()
            .file("platform", platform.to_string())
            .config(|config| config.architecture = platform.architecture.clone())
            .build(store)
            .unwrap()
    });
    let entry = |image: &store::Image| oci::Descriptor {
        platform: Some(image.platform.clone()),
        ..oci::Descriptor::new(&image.media_type, image.digest, 1)
    };
    let index = oci::Index {
        schema_version: 2,
        media_type: Some(oci::media_type::OCI_INDEX.to_owned()),
        artifact_type: None,
        manifests: images.iter().map(entry).collect(),
        subject: None,
        annotations: std::collections::BTreeMap::new(),
    };
    let bytes = serde_json::to_vec(&index).unwrap();
    let lease = store.lease("test").unwrap();
    let index = lease
        .put_index(store::NewIndex {
            bytes: &bytes,
            media_type: None,
            names: &["multi:1".parse().unwrap()],
            also: &[],
            by: "test",
        })
        .unwrap();
    let again = images.map(|image| store.image(&image.digest).unwrap().unwrap());
    (index, again)
}

#[test]
fn a_name_of_an_index_leads_to_the_image_of_each_platform() {
    let store = store();
    let (index, [amd, arm]) = two_platforms(&store);
    assert_eq!(store.find_index("multi:1").unwrap().unwrap(), index);
    let by_digest = format!("multi@{}", index.digest);
    for text in [
        &by_digest,
        &index.digest.to_string(),
        &index.digest.hex()[..12],
    ] {
        assert_eq!(
            store.find_index(text).unwrap().unwrap().digest,
            index.digest,
            "{text}"
        );
        assert!(store.resolve(text).is_ok(), "{text}");
    }
    for image in [&amd, &arm] {
        let found = store.find_image_for("multi:1", &image.platform).unwrap();
        assert_eq!(found.unwrap().digest, image.digest);
        assert!(!image.is_dangling(), "an image of a named index");
    }
    let other = "linux/riscv64".parse().unwrap();
    assert_eq!(store.find_image_for("multi:1", &other).unwrap(), None);
    assert_eq!(
        store.named(&"multi:1".parse().unwrap()).unwrap(),
        Some(index.digest)
    );
    assert_eq!(store.prune_images(false, |_| true).unwrap().deleted, []);
}

#[test]
fn removing_the_name_of_an_index_removes_all_its_images() {
    let store = store();
    let (index, [amd, arm]) = two_platforms(&store);
    let name = "other:1".parse().unwrap();
    store.name(&name, &index.digest, "tag").unwrap();
    let removed = store.remove_image("multi:1", false).unwrap();
    assert_eq!(removed.deleted, [], "another name means it");
    let removed = store.remove_image("other:1", false).unwrap();
    assert_eq!(removed.untagged, [name]);
    let mut ids = [amd.id, arm.id];
    ids.sort_by_key(|id| (removed.deleted.first() != Some(id), *id));
    assert_eq!(removed.deleted, ids);
    assert_eq!(store.images().unwrap(), []);
    assert_eq!(store.blob(&index.digest).unwrap(), None);
}

#[test]
fn an_image_of_an_index_is_removed_alone_only_by_force() {
    let store = store();
    let (index, images) = two_platforms(&store);
    let [main, other] = match images[0].names.is_empty() {
        true => [&images[1], &images[0]],
        false => [&images[0], &images[1]],
    };
    let error = store
        .remove_image(&other.digest.to_string(), false)
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
    store.remove_image(&other.digest.to_string(), true).unwrap();
    assert_eq!(
        store.find_index("multi:1").unwrap(),
        None,
        "it is no index any more"
    );
    assert_eq!(store.index(&index.digest).unwrap(), None);
    assert_eq!(store.resolve("multi:1").unwrap().digest, main.digest);
}

#[test]
fn an_index_needs_its_images() {
    let store = store();
    let missing = oci::Digest::sha256_of(b"missing");
    let index = oci::Index {
        schema_version: 2,
        media_type: Some(oci::media_type::OCI_INDEX.to_owned()),
        artifact_type: None,
        manifests: vec![oci::Descriptor::new(
            oci::media_type::OCI_MANIFEST,
            missing,
            1,
        )],
        subject: None,
        annotations: std::collections::BTreeMap::new(),
    };
    let lease = store.lease("test").unwrap();
    let put = lease.put_index(store::NewIndex {
        bytes: &serde_json::to_vec(&index).unwrap(),
        media_type: None,
        names: &["multi:1".parse().unwrap()],
        also: &[],
        by: "test",
    });
    assert!(matches!(put, Err(Error::MissingBlob(digest)) if digest == missing));
    assert_eq!(store.find_index("multi:1").unwrap(), None);
}
