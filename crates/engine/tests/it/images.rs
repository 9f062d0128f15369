//! Listing, naming, removing and describing images.

use engine::images::{ImagesRequest, RemoveRequest, Removed};

use crate::support::{engine, message};

fn list(engine: &engine::Engine, name: Option<&str>, filters: &[&str]) -> Vec<String> {
    let request = ImagesRequest {
        name: name.map(str::to_owned),
        filters: filters.iter().map(ToString::to_string).collect(),
    };
    let rows = engine.images(&request).unwrap();
    rows.into_iter()
        .map(|row| format!("{}:{}", row.repository, row.tag))
        .collect()
}

#[test]
fn images_are_listed_and_filtered() {
    let store = testkit::store();
    let engine = engine(&store);
    let made = |when: &'static str| {
        move |config: &mut oci::ImageConfig| config.created = Some(when.to_owned())
    };
    testkit::image()
        .file("a", b"1")
        .name("a:1")
        .name("user/a:1")
        .config(made("2026-01-01T00:00:00Z"))
        .build(&store)
        .unwrap();
    testkit::image()
        .file("b", b"2")
        .name("b:1")
        .config(made("2026-02-01T00:00:00Z"))
        .config(|config| {
            config
                .config
                .labels
                .insert("team".to_owned(), "core".to_owned());
        })
        .build(&store)
        .unwrap();
    testkit::image()
        .file("c", b"3")
        .config(made("2026-03-01T00:00:00Z"))
        .build(&store)
        .unwrap();
    assert_eq!(
        list(&engine, None, &[]),
        ["<none>:<none>", "b:1", "a:1", "user/a:1"]
    );
    assert_eq!(list(&engine, Some("a"), &[]), ["a:1"]);
    assert_eq!(list(&engine, Some("*/a"), &[]), ["user/a:1"]);
    assert_eq!(list(&engine, Some("b:1"), &[]), ["b:1"]);
    assert_eq!(list(&engine, None, &["dangling=true"]), ["<none>:<none>"]);
    assert_eq!(list(&engine, None, &["label=team"]), ["b:1"]);
    assert_eq!(list(&engine, None, &["label=team=core"]), ["b:1"]);
    assert_eq!(list(&engine, None, &["label=team=web"]), [""; 0]);
    assert_eq!(list(&engine, None, &["before=b:1"]), ["a:1", "user/a:1"]);
    assert_eq!(
        list(&engine, None, &["since=a:1", "dangling=false"]),
        ["b:1"]
    );
    let wrong = ImagesRequest {
        filters: vec!["colour=red".to_owned()],
        ..ImagesRequest::default()
    };
    let error = engine.images(&wrong).unwrap_err();
    assert!(!error.hints().is_empty());
}

#[test]
fn names_come_and_go_as_in_docker() {
    let store = testkit::store();
    let engine = engine(&store);
    let image = testkit::image()
        .file("a", b"1")
        .name("a:1")
        .build(&store)
        .unwrap();
    engine.tag("a:1", "b:1").unwrap();
    engine.tag(&image.id.digest().short(), "c").unwrap();
    for name in ["sha256:abc", "docker.io/library/sha512:1"] {
        let error = engine.tag("a:1", name).unwrap_err();
        assert_eq!(
            error.hints(),
            ["a name is `NAME[:TAG]`, like `app:1`"],
            "{error}"
        );
    }
    let remove = |text: &str, force| {
        engine.remove_image(&RemoveRequest {
            image: text.to_owned(),
            force,
        })
    };
    assert_eq!(
        remove("a:1", false).unwrap(),
        [Removed::Name("a:1".to_owned())]
    );
    let error = remove(&image.id.digest().short(), false).unwrap_err();
    assert_eq!(error.hints(), ["`--force` does it all the same"]);
    assert_eq!(
        remove("c", false).unwrap(),
        [Removed::Name("c:latest".to_owned())]
    );
    assert_eq!(
        remove("b:1", false).unwrap(),
        [Removed::Name("b:1".to_owned()), Removed::Image(image.id)]
    );
    assert!(store.store().layers().unwrap().is_empty());
}

#[test]
fn an_unknown_name_brings_the_nearest() {
    let store = testkit::store();
    let engine = engine(&store);
    testkit::image()
        .file("a", b"1")
        .name("debian:12")
        .build(&store)
        .unwrap();
    let error = engine.tag("debain:12", "x").unwrap_err();
    assert!(message(&error).contains("no such image: `debain:12`"));
    assert_eq!(error.hints(), ["did you mean `debian:12`?"]);
    for error in [
        engine.inspect("debain:12").unwrap_err(),
        engine.export("debain:12", None).unwrap_err(),
    ] {
        assert!(message(&error).contains("no such image or container: `debain:12`"));
        assert_eq!(error.hints(), ["did you mean `debian:12`?"]);
    }
    assert!(
        engine
            .tag(
                "debian:12",
                "x@sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
            )
            .is_err()
    );
    assert!(engine.tag("debian:12", "UPPER").is_err());
}

#[test]
fn an_image_is_described_with_dockers_names() {
    let store = testkit::store();
    let engine = engine(&store);
    let image = testkit::image()
        .file("a", b"1")
        .env("A=1")
        .cmd(&["sh"])
        .name("a:1")
        .build(&store)
        .unwrap();
    let value = engine.inspect_image("a:1").unwrap();
    assert_eq!(value["Id"], image.id.to_string());
    assert_eq!(value["RepoTags"], serde_json::json!(["a:1"]));
    assert_eq!(
        value["RepoDigests"],
        serde_json::json!([format!("a@{}", image.digest)])
    );
    assert_eq!(value["Config"]["Env"], serde_json::json!(["A=1"]));
    assert_eq!(value["Config"]["Cmd"], serde_json::json!(["sh"]));
    assert_eq!(value["RootFS"]["Type"], "layers");
    assert_eq!(value["RootFS"]["Layers"][0], image.layers[0].to_string());
    assert_eq!(value["Size"], image.size);
    assert_eq!(value["Metadata"]["LastTagTime"], "2026-01-01T00:00:00Z");
    assert!(value.get("Variant").is_none());
    let rows = engine.history("a:1").unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].id, Some(image.id));
    assert_eq!(rows[0].size, image.size);
}
