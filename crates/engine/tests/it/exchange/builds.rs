//! Builds that push what they made: `--push`, `type=registry`, `type=image,push=true`.

use std::sync::Mutex;

use engine::building::{BuildRequest, Built, Event, output};
use oci::{Digest, Index, Manifest, media_type};
use testkit::registry::{Act, debian_registry, faulty_registry};

use super::journeys::{built, manifest_of, registry};
use super::{Place, cat, write};
use crate::support::{has, message, run};

const COPY: &str = "FROM scratch\nCOPY Dockerfile /file\nCMD [\"/file\"]\n";

/// Builds at `place`, with names and outputs.
fn build(
    place: &Place,
    dockerfile: &str,
    tags: &[&str],
    options: &[&str],
) -> Result<Built, engine::Error> {
    let request = request(place, dockerfile, tags, options)?;
    place.engine.build(&request, &|_| {})
}

fn request(
    place: &Place,
    dockerfile: &str,
    tags: &[&str],
    options: &[&str],
) -> Result<BuildRequest, engine::Error> {
    let context = place.store.beside().join("context");
    write(&context.join("Dockerfile"), dockerfile);
    let outputs = options.iter().map(|text| output(text));
    Ok(BuildRequest {
        context: context.into(),
        network: "default".to_owned(),
        tags: tags.iter().map(ToString::to_string).collect(),
        outputs: outputs.collect::<Result<_, _>>()?,
        ..BuildRequest::default()
    })
}

#[test]
fn a_build_pushes_what_it_made_and_tells_its_digest() {
    let registry = registry();
    let name = |path: &str| format!("{}/{path}", registry.host());
    let (first, second) = (name("a/b:1"), name("c:2"));
    let place = Place::new();
    let built = build(&place, COPY, &[&first, &second], &["type=registry"]).unwrap();
    let (digest, manifest) = registry.with(|memory| manifest_of(memory, "a/b", "1"));
    let other = registry.with(|memory| manifest_of(memory, "c", "2").0);
    assert_eq!((built.digest, other), (Some(digest), digest));
    assert_eq!(manifest.layers[0].media_type, media_type::OCI_LAYER_GZIP);
    assert_eq!(built.metadata["containerimage.digest"], digest.to_string());
    let config = manifest.config.digest.to_string();
    assert_eq!(built.metadata["containerimage.config.digest"], config);
    let names = format!("{first},{second}");
    assert_eq!(built.metadata["image.name"], names);
    // In the store it is the same.
    assert_eq!(place.store.resolve(&second).unwrap().digest, digest);
    let there = Place::new();
    assert_eq!(there.pull(&first).unwrap().digest, digest);
    assert_eq!(cat(&there.engine, &first, "/file"), COPY.as_bytes());
    // The second time nothing is sent.
    let sent = registry.count("POST", "/uploads/");
    build(&place, COPY, &[&first], &["type=image,push=true"]).unwrap();
    assert_eq!(registry.count("POST", "/uploads/"), sent);
}

#[test]
fn all_platforms_of_a_build_are_pushed_as_an_index() {
    let registry = registry();
    let name = format!("{}/a/b:1", registry.host());
    let place = Place::new();
    let dockerfile = "FROM scratch\nARG TARGETARCH\nLABEL on=$TARGETARCH\nCOPY Dockerfile /\n";
    let mut request = request(&place, dockerfile, &[&name], &["type=registry"]).unwrap();
    request.platforms = vec!["linux/amd64,linux/s390x".to_owned()];
    let built = place.engine.build(&request, &|_| {}).unwrap();
    let (digest, bytes) = registry.with(|memory| {
        let digest = memory.tags[&("a/b".to_owned(), "1".to_owned())];
        let key = ("a/b".to_owned(), digest);
        (digest, memory.manifests[&key].1.clone())
    });
    assert_eq!(built.digest, Some(digest));
    assert_eq!(Digest::sha256_of(&bytes), digest);
    let index: Index = serde_json::from_slice(&bytes).unwrap();
    for entry in &index.manifests {
        let key = ("a/b".to_owned(), entry.digest);
        let bytes = registry.with(|memory| memory.manifests[&key].1.clone());
        let manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(manifest.layers[0].media_type, media_type::OCI_LAYER_GZIP);
    }
    assert_eq!(index.manifests.len(), 2);
    assert_eq!(
        built.metadata["containerimage.descriptor"]["mediaType"],
        media_type::OCI_INDEX
    );
    assert_eq!(built.metadata["containerimage.digest"], digest.to_string());
}

#[test]
fn by_digest_no_tag_is_set_anywhere() {
    let registry = registry();
    let name = format!("{}/a/b", registry.host());
    let place = Place::new();
    let options =
        format!("type=image,name={name},push=true,push-by-digest=true,name-canonical=true");
    let built = build(&place, COPY, &[], &[&options]).unwrap();
    let digest = built.digest.unwrap();
    registry.with(|memory| {
        assert!(memory.tags.is_empty());
        assert!(memory.manifests.contains_key(&("a/b".to_owned(), digest)));
    });
    assert_eq!(built.metadata["image.name"], name);
    assert!(!place.engine.has_image(&name), "no tag here either");
    let pinned = format!("{name}@{digest}");
    assert!(place.engine.has_image(&pinned));
    assert!(Place::new().pull(&pinned).is_ok());
}

#[test]
fn layers_of_a_base_are_mounted_and_keep_their_bytes() {
    let registry = registry();
    let base = format!("{}/base:1", registry.host());
    built(&base).push(&base).unwrap();
    let of_base = registry.with(|memory| manifest_of(memory, "base", "1").1.layers);
    let name = format!("{}/a/b:1", registry.host());
    let dockerfile = format!("FROM {base}\nCOPY Dockerfile /file\n");
    let place = Place::new();
    let heard = Mutex::new(Vec::new());
    let request = request(&place, &dockerfile, &[&name], &["type=registry"]).unwrap();
    let note = |event| {
        if let Event::StepStarted { name, .. } = event {
            heard.lock().unwrap().push(name);
        }
    };
    place.engine.build(&request, &note).unwrap();
    let (_, manifest) = registry.with(|memory| manifest_of(memory, "a/b", "1"));
    assert_eq!(manifest.layers[..of_base.len()], of_base);
    let sent = registry.count("PATCH", "/a/b/") + registry.count("PUT", "/v2/a/b/blobs/");
    assert!(sent <= 4, "config and one layer: {sent}");
    // Each layer on its way is a step of its own.
    let heard = heard.into_inner().unwrap();
    for layer in &of_base {
        let step = format!("{base}: layer {}", layer.digest.short());
        assert!(heard.contains(&step), "{step}: {heard:?}");
    }
    assert!(heard.contains(&format!("pushing {name}")), "{heard:?}");
}

#[test]
fn a_push_that_fails_fails_the_build_and_the_image_stays_here() {
    let registry = faulty_registry(|ask, _| match ask.method.as_str() {
        "PUT" if ask.path.contains("/manifests/") => {
            Act::Reply(testkit::registry::Reply::status(403))
        }
        _ => Act::Serve,
    });
    let name = format!("{}/a/b:1", registry.host());
    let place = Place::new();
    let error = build(&place, COPY, &[&name], &["type=registry"]).unwrap_err();
    assert!(message(&error).contains("access is denied"), "{error}");
    let hints = error.hints();
    assert!(hints[0].contains("barque login"), "{hints:?}");
    assert!(place.engine.has_image(&name), "`barque push` can go on");
    // What is blocked is refused before anything is built.
    let blocked = format!(
        "[[registry]]\nlocation = \"{}\"\nblocked = true\n",
        registry.host()
    );
    let place = Place::with(|settings| {
        write(
            &settings.system.join("containers/registries.conf"),
            &blocked,
        );
    });
    let error = build(&place, "FROM nowhere:1\n", &[&name], &["type=registry"]).unwrap_err();
    assert!(message(&error).contains("blocked"), "{error}");
}

#[test]
fn skopeo_reads_from_debians_registry_what_a_build_pushed() {
    if !has("skopeo", &testkit::running_test()) {
        return;
    }
    let Some(registry) = debian_registry("") else {
        testkit::skipped(&testkit::running_test(), "docker-registry is not installed");
        return;
    };
    let name = format!("{}/a/b:1", registry.host());
    let place = Place::new();
    let mut request = request(
        &place,
        COPY,
        &[&name],
        &["type=registry,registry.insecure=true"],
    )
    .unwrap();
    request.platforms = vec!["linux/amd64,linux/arm64".to_owned()];
    let built = place.engine.build(&request, &|_| {}).unwrap();
    let source = format!("docker://{name}");
    let skopeo = |arguments: &[&str]| {
        let mut command = std::process::Command::new("skopeo");
        run(command.args(arguments)).stdout
    };
    let raw = skopeo(&["inspect", "--tls-verify=false", "--raw", &source]);
    assert_eq!(Some(Digest::sha256_of(&raw)), built.digest);
    let layout = format!("oci:{}:x", place.store.beside().join("copy").display());
    let copy = [
        "--insecure-policy",
        "copy",
        "--all",
        "--src-tls-verify=false",
    ];
    skopeo(&[&copy[..], &[&source, &layout]].concat());
}
