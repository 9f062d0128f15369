//! Images of many small layers, which are written and published in groups.

use oci::Digest;

use super::journeys::{manifest_of, registry};
use super::{Place, cat};

const COUNT: usize = 70;

/// A place with an image of many layers under `name`.
fn built(name: &str) -> Place {
    let place = Place::new();
    let mut image = testkit::image();
    for number in 0..COUNT {
        image = image
            .layer()
            .file(&format!("file-{number}"), format!("content {number}"));
    }
    image.name(name).build(&place.store).unwrap();
    place
}

#[test]
fn many_small_layers_come_each_once_and_go_with_their_image() {
    let registry = registry();
    let name = format!("{}/a/b:1", registry.host());
    built(&name).push(&name).unwrap();
    let place = Place::new();
    let pulled = place.pull(&name).unwrap();
    for number in [0, COUNT / 2, COUNT - 1] {
        let found = cat(&place.engine, &name, &format!("file-{number}"));
        assert_eq!(found, format!("content {number}").as_bytes());
    }
    let (digest, manifest) = registry.with(|memory| manifest_of(memory, "a/b", "1"));
    assert_eq!(pulled.digest, digest);
    for layer in &manifest.layers {
        let path = format!("/blobs/{}", layer.digest);
        assert_eq!(registry.count("GET", &path), 1, "{path}");
    }
    // Their compressed bytes are there too, and belong to them.
    for layer in &manifest.layers {
        let of = place.store.layer_of_compressed(&layer.digest).unwrap();
        assert!(of.is_some(), "{}", layer.digest);
    }
    place.store.remove_image(&name, false).unwrap();
    assert!(place.store.layers().unwrap().is_empty());
    assert!(place.store.blob(&digest).unwrap().is_none());
}

#[test]
fn one_wrong_layer_among_many_is_named_and_no_image_comes_of_it() {
    let registry = registry();
    let name = format!("{}/a/b:1", registry.host());
    built(&name).push(&name).unwrap();
    let (_, manifest) = registry.with(|memory| manifest_of(memory, "a/b", "1"));
    let number = COUNT / 2;
    let (wrong, other) = (&manifest.layers[number], &manifest.layers[0]);
    registry.with(|memory| {
        let key = |digest: Digest| ("a/b".to_owned(), digest);
        let mut bytes = memory.blobs[&key(other.digest)].clone();
        bytes.resize(usize::try_from(wrong.size).unwrap(), 0);
        memory.blobs.insert(key(wrong.digest), bytes);
    });
    let place = Place::new();
    let said = crate::support::message(&place.pull(&name).unwrap_err());
    assert!(
        said.contains(&format!("layer {} of {COUNT}", number + 1)),
        "{said}"
    );
    assert!(place.store.images().unwrap().is_empty());
    assert!(place.store.layers().unwrap().is_empty());
}
