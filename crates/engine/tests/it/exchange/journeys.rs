//! There and back again.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use oci::{Digest, Index, Manifest, media_type};
use testkit::eventually;
use testkit::registry::{Act, FaultyRegistry, Memory, Reply, faulty_registry};

use super::{Place, cat, pull, silent, write};

pub(crate) fn registry() -> FaultyRegistry {
    faulty_registry(|_, _| Act::Serve)
}

/// A place with a built image of three layers, two of them small, under `name`.
pub(crate) fn built(name: &str) -> Place {
    let place = Place::new();
    testkit::image()
        .file("etc/motd", "hello")
        .layer()
        .file("big", super::super::support::noise(3_000_000))
        .layer()
        .whiteout("etc/motd")
        .file("etc/issue", "barque")
        .name(name)
        .build(&place.store)
        .unwrap();
    place
}

pub(crate) fn manifest_of(memory: &Memory, name: &str, tag: &str) -> (Digest, Manifest) {
    let digest = memory.tags[&(name.to_owned(), tag.to_owned())];
    let (_, bytes) = &memory.manifests[&(name.to_owned(), digest)];
    (digest, serde_json::from_slice(bytes).unwrap())
}

#[test]
fn what_is_pushed_is_pulled_and_pushed_again_with_the_same_digest() {
    let registry = registry();
    let name = format!("{}/a/b:1", registry.host());
    let here = built(&name);
    let pushed = here.push(&name).unwrap();
    let (digest, manifest) = registry.with(|memory| manifest_of(memory, "a/b", "1"));
    assert_eq!(pushed.digest, digest);
    assert!(
        manifest
            .layers
            .iter()
            .all(|layer| layer.media_type == media_type::OCI_LAYER_GZIP)
    );
    // Compressed once: the second push sends nothing and makes nothing.
    let uploads = registry.count("POST", "/uploads/");
    assert_eq!(here.push(&name).unwrap().digest, digest);
    assert_eq!(registry.count("POST", "/uploads/"), uploads);

    let there = Place::new();
    let pulled = there.pull(&name).unwrap();
    assert!(pulled.newer);
    assert_eq!(pulled.digest, digest);
    assert_eq!(cat(&there.engine, &name, "/etc/issue"), b"barque");
    let mine = here.store.resolve(&name).unwrap();
    assert_eq!(there.store.resolve(&name).unwrap().layers, mine.layers);
    let fetched = registry.count("GET", "/blobs/");
    assert!(!there.pull(&name).unwrap().newer, "it is up to date");
    assert_eq!(
        registry.count("GET", "/blobs/"),
        fetched,
        "nothing was fetched again"
    );

    let other = format!("{}/c:2", registry.host());
    there.engine.tag(&name, &other).unwrap();
    assert_eq!(there.push(&other).unwrap().digest, digest);
    let bytes: Vec<u64> = registry
        .asked()
        .iter()
        .filter(|ask| ask.path.starts_with("/v2/c/blobs/uploads/") && ask.method != "POST")
        .map(|ask| ask.body.len() as u64)
        .collect();
    assert_eq!(
        bytes,
        [manifest.config.size],
        "layers are mounted, not sent"
    );
    let value = there.engine.inspect_image(&name).unwrap();
    let digests = value["RepoDigests"].to_string();
    assert!(digests.contains(&format!("/a/b@{digest}")), "{digests}");
}

#[test]
fn a_digest_names_an_image_and_what_it_names_is_found_by_it() {
    let registry = registry();
    let name = format!("{}/a/b:1", registry.host());
    let digest = built(&name).push(&name).unwrap().digest;
    let place = Place::new();
    let pinned = format!("{}/a/b@{digest}", registry.host());
    place.pull(&pinned).unwrap();
    assert!(place.engine.has_image(&pinned));
    assert!(!place.engine.has_image(&name), "no tag was asked for");
    let both = format!("{name}@{digest}");
    place.pull(&both).unwrap();
    assert!(place.engine.has_image(&both));
    assert!(
        !place.engine.has_image(&name),
        "a tag beside a digest is a remark"
    );
}

#[test]
fn two_processes_fetch_a_layer_once() {
    let registry = registry();
    let name = format!("{}/a/b:1", registry.host());
    built(&name).push(&name).unwrap();
    let before = registry.count("GET", "/blobs/");
    let place = Place::new();
    let engines: Vec<_> = (0..4).map(|_| place.again()).collect();
    std::thread::scope(|scope| {
        for engine in &engines {
            scope.spawn(|| pull(engine, &name).unwrap());
        }
    });
    let (_, manifest) = registry.with(|memory| manifest_of(memory, "a/b", "1"));
    for layer in &manifest.layers {
        let path = format!("/blobs/{}", layer.digest);
        assert_eq!(registry.count("GET", &path), 1, "{path}");
    }
    assert!(registry.count("GET", "/blobs/") > before);
    assert_eq!(place.store.images().unwrap().len(), 1);
}

#[test]
fn broken_connections_on_the_way_are_gone_on_with() {
    let registry = faulty_registry(|ask, number| match ask.method.as_str() {
        "GET" if ask.path.contains("/blobs/sha256") => Act::CutAnswer(400_000),
        "PATCH" if number < 12 => Act::CutUpload(900_000),
        _ => Act::Serve,
    });
    let name = format!("{}/a/b:1", registry.host());
    let digest = built(&name).push(&name).unwrap().digest;
    let there = Place::new();
    assert_eq!(there.pull(&name).unwrap().digest, digest);
    assert_eq!(cat(&there.engine, &name, "/big").len(), 3_000_000);
}

/// Breaks the download of the large layer off after its first part, until it is told to be well.
fn sick_registry() -> (FaultyRegistry, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(false));
    let registry = {
        let (well, cut) = (well.clone(), AtomicBool::new(false));
        faulty_registry(move |ask, _| {
            let blob = ask.method == "GET" && ask.path.contains("/blobs/sha256");
            if !blob || well.load(Ordering::SeqCst) {
                return Act::Serve;
            }
            // The first of them once a megabyte and a half; then there is nothing to be had.
            match ask.header("range") {
                None if !cut.load(Ordering::SeqCst) => Act::CutAnswer(1_500_000),
                _ => {
                    cut.store(true, Ordering::SeqCst);
                    Act::Reply(Reply::status(503))
                }
            }
        })
    };
    (registry, well)
}

#[test]
fn a_later_process_goes_on_where_a_pull_broke_off() {
    let (registry, well) = sick_registry();
    let name = format!("{}/a/b:1", registry.host());
    built(&name).push(&name).unwrap();
    let place = Place::new();
    place.pull(&name).unwrap_err();
    let tmp = place.store.store().root().join("tmp");
    let partial = || {
        let names = std::fs::read_dir(&tmp).unwrap();
        let mut paths = names.map(|entry| entry.unwrap().path());
        paths.find(|path| path.to_string_lossy().contains("partial-"))
    };
    let came = std::fs::metadata(partial().unwrap()).unwrap().len();
    assert!(came > 1 << 20, "{came}");
    well.store(true, Ordering::SeqCst);
    let before = registry.asked().len();
    pull(&place.again(), &name).unwrap();
    let asked = registry.asked();
    let ranges: Vec<_> = asked[before..]
        .iter()
        .filter_map(|ask| ask.header("range"))
        .collect();
    assert_eq!(ranges, [format!("bytes={came}-")]);
    assert_eq!(cat(&place.engine, &name, "/big").len(), 3_000_000);
    assert!(partial().is_none());
}

#[test]
fn what_came_outlasts_a_registry_that_refuses() {
    let status = Arc::new(AtomicU16::new(503));
    let registry = {
        let (status, cut) = (status.clone(), AtomicBool::new(false));
        faulty_registry(move |ask, _| {
            let blob = ask.method == "GET" && ask.path.contains("/blobs/sha256");
            let status = status.load(Ordering::SeqCst);
            match ask.header("range") {
                _ if !blob || status == 0 => Act::Serve,
                None if !cut.load(Ordering::SeqCst) => Act::CutAnswer(1_500_000),
                _ => {
                    cut.store(true, Ordering::SeqCst);
                    Act::Reply(Reply::status(status))
                }
            }
        })
    };
    let name = format!("{}/a/b:1", registry.host());
    built(&name).push(&name).unwrap();
    let place = Place::new();
    let tmp = place.store.store().root().join("tmp");
    let partial = || {
        let names = std::fs::read_dir(&tmp).unwrap();
        let mut paths = names.map(|entry| entry.unwrap().path());
        let path = paths.find(|path| path.to_string_lossy().contains("partial-"));
        std::fs::metadata(path.unwrap()).unwrap().len()
    };
    place.pull(&name).unwrap_err();
    let came = partial();
    assert!(came > 1 << 20, "{came}");
    for refusal in [404, 403] {
        status.store(refusal, Ordering::SeqCst);
        pull(&place.again(), &name).unwrap_err();
        assert_eq!(partial(), came, "{refusal}");
    }
    status.store(0, Ordering::SeqCst);
    pull(&place.again(), &name).unwrap();
    assert_eq!(cat(&place.engine, &name, "/big").len(), 3_000_000);
}

#[test]
fn what_an_earlier_pull_left_is_not_trusted() {
    let (registry, well) = sick_registry();
    let name = format!("{}/a/b:1", registry.host());
    let digest = built(&name).push(&name).unwrap().digest;
    well.store(true, Ordering::SeqCst);
    let (_, manifest) = registry.with(|memory| manifest_of(memory, "a/b", "1"));
    let large = manifest.layers.iter().max_by_key(|layer| layer.size);
    let large = large.unwrap();
    for length in [1_000, large.size, large.size + 1] {
        let place = Place::new();
        let path = format!("tmp/partial-sha256-{}", large.digest.hex());
        let bytes = vec![b'x'; usize::try_from(length).unwrap()];
        std::fs::write(place.store.store().root().join(path), bytes).unwrap();
        assert_eq!(place.pull(&name).unwrap().digest, digest, "{length}");
        assert_eq!(cat(&place.engine, &name, "/big").len(), 3_000_000);
    }
}

/// An index of two platforms at `registry`, the host's with the image that `name` had.
fn make_index(registry: &FaultyRegistry) -> Vec<u8> {
    registry.with(|memory| {
        let (digest, manifest) = manifest_of(memory, "a/b", "1");
        let size = memory.manifests[&("a/b".to_owned(), digest)].1.len() as u64;
        // The other image has the same layers and another config.
        let config = &memory.blobs[&("a/b".to_owned(), manifest.config.digest)];
        let mut config: serde_json::Value = serde_json::from_slice(config).unwrap();
        config["architecture"] = "s390x".into();
        let config = serde_json::to_vec(&config).unwrap();
        let mut other = manifest;
        other.config.digest = memory.blob("a/b", &config);
        other.config.size = config.len() as u64;
        let other = serde_json::to_vec(&other).unwrap();
        let other_digest = memory.manifest("a/b", "s390x", media_type::OCI_MANIFEST, &other);
        let entry = |digest, size, platform: &str| {
            let mut entry = oci::Descriptor::new(media_type::OCI_MANIFEST, digest, size);
            entry.platform = Some(platform.parse().unwrap());
            entry
        };
        let index = Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests: vec![
                entry(other_digest, other.len() as u64, "linux/s390x"),
                entry(digest, size, &oci::Platform::host().to_string()),
            ],
            subject: None,
            annotations: std::collections::BTreeMap::new(),
        };
        let bytes = serde_json::to_vec(&index).unwrap();
        memory.manifest("a/b", "all", media_type::OCI_INDEX, &bytes);
        bytes
    })
}

#[test]
fn an_index_leads_to_the_platform_that_is_asked_for() {
    let registry = registry();
    let name = format!("{}/a/b:1", registry.host());
    let digest = built(&name).push(&name).unwrap().digest;
    let index = make_index(&registry);
    let all = format!("{}/a/b:all", registry.host());
    let place = Place::new();
    let pulled = place.pull(&all).unwrap();
    assert_eq!(
        pulled.digest,
        Digest::sha256_of(&index),
        "what the name means"
    );
    assert_eq!(place.store.resolve(&all).unwrap().digest, digest);
    let digests = place.engine.inspect_image(&all).unwrap()["RepoDigests"].clone();
    let origin = format!("{}/a/b@{}", registry.host(), pulled.digest);
    assert_eq!(digests, serde_json::json!([origin]));
    let request = |platform: &str| engine::exchange::PullRequest {
        image: all.clone(),
        platform: Some(platform.to_owned()),
        ..engine::exchange::PullRequest::default()
    };
    let other = place
        .engine
        .pull(&request("linux/s390x"), &silent())
        .unwrap();
    assert_ne!(other[0].id, pulled.id);
    let none = place.engine.pull(&request("linux/riscv64"), &silent());
    let none = none.unwrap_err();
    assert!(none.to_string().contains("linux/s390x"), "{none}");
    assert!(none.hints()[0].contains("--platform"), "{:?}", none.hints());
}

#[test]
fn copy_keeps_digests_and_takes_platforms_as_asked() {
    let (from, to) = (registry(), registry());
    let name = format!("{}/a/b:1", from.host());
    let digest = built(&name).push(&name).unwrap().digest;
    let index = make_index(&from);
    let place = Place::new();
    let all = format!("{}/a/b:all", from.host());
    let one = place
        .copy(&all, &format!("{}/x:one", to.host()), false)
        .unwrap();
    assert_eq!(one, digest, "this machine's image");
    assert_eq!(to.with(|memory| memory.manifests.len()), 1);
    let every = place
        .copy(&all, &format!("{}/x:all", to.host()), true)
        .unwrap();
    assert_eq!(every, Digest::sha256_of(&index));
    assert_eq!(to.with(|memory| memory.manifests.len()), 3);
    assert!(place.store.images().unwrap().is_empty(), "nothing is kept");
    let there = Place::new();
    there.pull(&format!("{}/x:all", to.host())).unwrap();
    // On one registry nothing moves at all.
    let sent = from.count("PATCH", "/uploads/") + from.count("PUT", "/uploads/");
    place
        .copy(&all, &format!("{}/y:all", from.host()), true)
        .unwrap();
    assert_eq!(
        from.count("PATCH", "/uploads/") + from.count("PUT", "/uploads/"),
        sent
    );
}

#[test]
fn a_mirror_that_does_not_work_is_passed_by() {
    let origin = registry();
    let mirror = faulty_registry(|_, _| Act::Reply(Reply::status(404)));
    let name = format!("{}/a/b:1", origin.host());
    built(&name).push(&name).unwrap();
    let place = Place::new();
    let text = format!(
        "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}/mirrored\"\n",
        origin.host(),
        mirror.host()
    );
    write(
        &place.store.beside().join("etc/containers/registries.conf"),
        &text,
    );
    place.pull(&name).unwrap();
    assert_eq!(mirror.count("GET", "/v2/mirrored/a/b/manifests/1"), 1);
    assert!(
        place.engine.has_image(&name),
        "it is called as it was asked for"
    );
    // Whoever only looks, or copies, asks it first, too.
    place.engine.inspect_remote(&name, None).unwrap();
    assert_eq!(mirror.count("GET", "/v2/mirrored/a/b/manifests/1"), 2);
    let other = registry();
    let target = format!("{}/c:1", other.host());
    place.copy(&name, &target, true).unwrap();
    assert_eq!(mirror.count("GET", "/v2/mirrored/a/b/manifests/1"), 3);
}

#[test]
fn what_is_blocked_is_not_asked() {
    let registry = registry();
    let place = Place::new();
    let text = format!(
        "[[registry]]\nprefix = \"{}\"\nblocked = true\n",
        registry.host()
    );
    write(
        &place.store.beside().join("etc/containers/registries.conf"),
        &text,
    );
    let error = place
        .pull(&format!("{}/a/b:1", registry.host()))
        .unwrap_err();
    assert!(error.to_string().contains("blocked"), "{error}");
    assert!(registry.asked().is_empty());
}

#[test]
fn from_fetches_what_the_store_does_not_have() {
    let registry = registry();
    let name = format!("{}/a/b:1", registry.host());
    built(&name).push(&name).unwrap();
    let place = Place::new();
    let context = place.store.beside().join("context");
    write(
        &context.join("Dockerfile"),
        &format!("FROM {name}\nCOPY Dockerfile /copied\n"),
    );
    let request = engine::building::BuildRequest {
        context: context.into(),
        network: "default".to_owned(),
        tags: vec!["built:1".to_owned()],
        ..engine::building::BuildRequest::default()
    };
    place.engine.build(&request, &|_| {}).unwrap();
    assert_eq!(cat(&place.engine, "built:1", "/etc/issue"), b"barque");
    let asked = registry.asked().len();
    place.engine.build(&request, &|_| {}).unwrap();
    assert_eq!(
        registry.asked().len(),
        asked,
        "what is here is not asked for"
    );
    // Nobody is asked without a network.
    let offline = engine::Engine::over(testkit::store().store().clone());
    assert!(offline.build(&request, &|_| {}).is_err());
}

#[test]
fn all_tags_come_and_go() {
    let registry = registry();
    let name = format!("{}/a/b:1", registry.host());
    let here = built(&name);
    here.engine
        .tag(&name, &format!("{}/a/b:2", registry.host()))
        .unwrap();
    let push = engine::exchange::PushRequest {
        image: format!("{}/a/b", registry.host()),
        all_tags: true,
        compression: layer::compression::Compression::Zstd,
    };
    assert_eq!(here.engine.push(&push, &silent()).unwrap().len(), 2);
    assert_eq!(here.engine.remote_tags(&push.image).unwrap(), ["1", "2"]);
    let place = Place::new();
    let request = engine::exchange::PullRequest {
        image: push.image.clone(),
        all_tags: true,
        ..engine::exchange::PullRequest::default()
    };
    assert_eq!(place.engine.pull(&request, &silent()).unwrap().len(), 2);
    let (_, manifest) = registry.with(|memory| manifest_of(memory, "a/b", "2"));
    assert_eq!(manifest.layers[0].media_type, media_type::OCI_LAYER_ZSTD);
}

#[test]
fn a_registry_is_looked_at_and_changed_without_the_store() {
    let registry = registry();
    let name = format!("{}/a/b:1", registry.host());
    let digest = built(&name).push(&name).unwrap().digest;
    let place = Place::new();
    let found = place.engine.inspect_remote(&name, None).unwrap();
    assert_eq!(found.summary["Digest"], digest.to_string());
    assert_eq!(Digest::sha256_of(&found.raw), digest);
    assert_eq!(place.engine.remote_tag(&name, "more").unwrap(), digest);
    assert_eq!(place.engine.remote_tags(&name).unwrap(), ["1", "more"]);
    let pinned = format!("{}/a/b@{digest}", registry.host());
    assert!(place.engine.remote_remove(&pinned).unwrap());
    assert!(!place.engine.remote_remove(&pinned).unwrap());
    assert_eq!(place.engine.remote_tags(&name).unwrap(), [] as [&str; 0]);
    assert_eq!(
        registry.count("GET", "/blobs/"),
        1,
        "the config, and no layer"
    );
}

#[test]
fn a_pull_that_broke_off_goes_on_with_the_layers_it_had() {
    let broken = Arc::new(Mutex::new(None::<String>));
    let kept = Arc::new(AtomicBool::new(false));
    let (now, there) = (broken.clone(), kept.clone());
    let registry = faulty_registry(move |ask, _| {
        let path = now.lock().unwrap().clone();
        match path {
            // Not before the big layer has come, which comes beside it.
            Some(path) if ask.is("GET", &path) => {
                let _came = eventually(50, || there.load(Ordering::SeqCst));
                Act::CutAnswer(0)
            }
            _ => Act::Serve,
        }
    });
    let name = format!("{}/a/b:1", registry.host());
    built(&name).push(&name).unwrap();
    let (_, manifest) = registry.with(|memory| manifest_of(memory, "a/b", "1"));
    let path = |layer: &oci::Descriptor| format!("/blobs/{}", layer.digest);
    let (big, last) = (path(&manifest.layers[1]), path(&manifest.layers[2]));
    let place = Place::new();
    *broken.lock().unwrap() = Some(last);
    std::thread::scope(|scope| {
        let pulling = scope.spawn(|| place.pull(&name).unwrap_err());
        assert!(eventually(50, || !place
            .store
            .records()
            .unwrap()
            .is_empty()));
        kept.store(true, Ordering::SeqCst);
        pulling.join().unwrap();
    });
    assert!(place.store.images().unwrap().is_empty());
    assert_eq!(registry.count("GET", &big), 1);
    *broken.lock().unwrap() = None;
    place.pull(&name).unwrap();
    assert_eq!(registry.count("GET", &big), 1, "it is not fetched again");
    assert!(
        place.store.records().unwrap().is_empty(),
        "the image keeps its layers itself"
    );
    // Removed with the image, not kept by anything.
    place.store.remove_image(&name, false).unwrap();
    assert!(place.store.layers().unwrap().is_empty());
}
