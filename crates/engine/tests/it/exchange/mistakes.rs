//! What people get wrong, and what they are told.

use engine::exchange::{LoginRequest, PullRequest, PushRequest, Secret};
use layer::compression::Compression;
use testkit::registry::{Act, FaultyRegistry, Reply, faulty_registry};

use super::{Place, silent};
use crate::support::message;

/// A registry that wants a name and a password.
fn closed() -> FaultyRegistry {
    faulty_registry(|_, _| {
        Act::Reply(Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""))
    })
}

#[test]
fn a_wrong_password_is_called_one() {
    let registry = closed();
    let place = Place::new();
    let login = |name: String| {
        let request = LoginRequest {
            registry: Some(name),
            user: "me".to_owned(),
            password: Secret::new("hunter2"),
        };
        place.engine.login(&request).unwrap_err()
    };
    let error = login(registry.host());
    let said = message(&error);
    assert!(said.contains("`me`") && said.contains("password"), "{said}");
    assert!(error.hints().is_empty(), "who logs in needs no login");
    for name in ["bad host", "ssh://host"] {
        let said = message(&login(name.to_owned()));
        assert!(said.contains(&format!("`{name}` is no registry")), "{said}");
    }
}

#[test]
fn who_is_not_logged_in_is_told_where() {
    let registry = closed();
    let error = Place::new().pull(&format!("{}/a/b", registry.host()));
    let hints = error.unwrap_err().hints();
    assert!(
        hints[0].contains(&format!("`barque login {}`", registry.host())),
        "{hints:?}"
    );
}

#[test]
fn all_tags_of_one_tag_are_a_mistake() {
    let place = Place::new();
    for image in [
        "r.example/a:1".to_owned(),
        format!("r.example/a@{}", oci::Digest::sha256_of(b"")),
        "ssh://host/a:1".to_owned(),
    ] {
        let pull = PullRequest {
            image: image.clone(),
            all_tags: true,
            ..PullRequest::default()
        };
        let push = PushRequest {
            image: image.clone(),
            all_tags: true,
            compression: Compression::Gzip,
        };
        let errors = [
            place.engine.pull(&pull, &silent()).map(drop).unwrap_err(),
            place.engine.push(&push, &silent()).map(drop).unwrap_err(),
        ];
        for error in errors {
            assert!(
                message(&error).contains("names one image"),
                "{image}: {}",
                message(&error)
            );
        }
    }
}

#[test]
fn an_address_is_no_name() {
    let error = Place::new().pull("https://r.example/a:1").unwrap_err();
    assert_eq!(
        error.hints(),
        ["names begin with the registry's host: `r.example/a`"]
    );
}

/// A registry that has images for two versions of Windows, by their number.
fn windows() -> FaultyRegistry {
    use oci::{Descriptor, media_type};
    let registry = faulty_registry(|_, _| Act::Serve);
    registry.with(|memory| {
        let entries: Vec<Descriptor> = ["10.0.17763.1", "10.0.20348.5"]
            .into_iter()
            .map(|version| {
                let config = format!(
                    r#"{{"architecture":"amd64","os":"windows","os.version":"{version}","rootfs":{{"type":"layers","diff_ids":[]}}}}"#
                );
                let digest = memory.blob("a", config.as_bytes());
                let config = Descriptor::new(media_type::OCI_CONFIG, digest, config.len() as u64);
                let manifest = serde_json::json!({
                    "schemaVersion": 2,
                    "mediaType": media_type::OCI_MANIFEST,
                    "config": config,
                    "layers": [],
                });
                let bytes = serde_json::to_vec(&manifest).unwrap();
                let digest = memory.manifest("a", version, media_type::OCI_MANIFEST, &bytes);
                Descriptor {
                    platform: format!("windows({version})/amd64").parse().ok(),
                    ..Descriptor::new(media_type::OCI_MANIFEST, digest, bytes.len() as u64)
                }
            })
            .collect();
        let index = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_INDEX,
            "manifests": entries,
        });
        let bytes = serde_json::to_vec(&index).unwrap();
        memory.manifest("a", "1", media_type::OCI_INDEX, &bytes);
    });
    registry
}

#[test]
fn a_version_of_the_system_is_chosen_and_listed() {
    let registry = windows();
    let name = format!("{}/a:1", registry.host());
    let place = Place::new();
    let look = |platform: &str| place.engine.inspect_remote(&name, Some(platform));
    for (platform, version) in [
        ("windows/amd64", "10.0.17763.1"),
        ("windows(10.0.17763)/amd64", "10.0.17763.1"),
        ("windows(10.0.20348.5)/amd64", "10.0.20348.5"),
    ] {
        let found = look(platform).unwrap().summary;
        assert_eq!(found["OsVersion"], version, "{platform}");
        assert_eq!(
            found["Platforms"][1]["Platform"],
            "windows(10.0.20348.5)/amd64"
        );
    }
    let said = message(&look("windows(10.1)/amd64").unwrap_err());
    assert!(
        said.contains("windows(10.0.17763.1)/amd64, windows(10.0.20348.5)/amd64"),
        "{said}"
    );
    // And the one that was asked for is the one that is pulled.
    let pulled = |platform: &str| {
        let request = PullRequest {
            image: name.clone(),
            platform: Some(platform.to_owned()),
            ..PullRequest::default()
        };
        place
            .engine
            .pull(&request, &silent())
            .unwrap()
            .remove(0)
            .digest
    };
    let (first, second) = (
        pulled("windows(10.0.17763)/amd64"),
        pulled("windows(10.0.20348)/amd64"),
    );
    assert_eq!(first, second, "both are the index's");
    assert_eq!(place.store.images().unwrap().len(), 2);
}

#[test]
fn a_web_page_is_no_registry() {
    let web = faulty_registry(|_, _| {
        let page = Reply::status(200).header("Content-Type", "text/html");
        Act::Reply(page.body("\n<!DOCTYPE html><html></html>"))
    });
    let name = format!("{}/a/b:1", web.host());
    let place = super::journeys::built(&name);
    let request = LoginRequest {
        registry: Some(web.host()),
        user: "me".to_owned(),
        password: Secret::new("hunter2"),
    };
    let engine = &place.engine;
    for error in [
        place.pull(&name).map(drop).unwrap_err(),
        engine.remote_tags(&name).map(drop).unwrap_err(),
        engine
            .remote_repositories(&web.host())
            .map(drop)
            .unwrap_err(),
        engine.remote_remove(&name).map(drop).unwrap_err(),
        engine.login(&request).map(drop).unwrap_err(),
    ] {
        assert!(message(&error).contains("web page"), "{}", message(&error));
    }
    assert!(!place.config().exists());
    place.push(&name).unwrap_err();
    assert_eq!(web.count("PUT", "/manifests/"), 0);
}
