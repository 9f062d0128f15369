//! Manifests, tags, referrers.

use distribution::client::{Endpoint, Error, Kind, Which};
use oci::{Descriptor, Digest, media_type};
use testkit::registry::{Act, Reply, faulty_registry};

use super::{client, repository};

const CONFIG: &str = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","size":5}"#;

fn manifest() -> Vec<u8> {
    // Fields that nobody knows must survive.
    format!(r#"{{"schemaVersion":2,"config":{CONFIG},"layers":[],"x-unknown":[1, 2]}}"#)
        .into_bytes()
}

fn latest() -> Which {
    Which::Tag(oci::Tag::latest())
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_keep_their_bytes() {
    let registry = faulty_registry(|_, _| Act::Serve);
    let repository = repository(&registry);
    let bytes = manifest();
    repository
        .put_manifest(&latest(), media_type::OCI_MANIFEST, bytes.clone().into())
        .await
        .unwrap();
    let fetched = repository.manifest(&latest()).await.unwrap();
    assert_eq!(fetched.bytes, bytes);
    assert_eq!(fetched.digest, Digest::sha256_of(&bytes));
    assert_eq!(fetched.media_type, media_type::OCI_MANIFEST);
    let by_digest = Which::Digest(fetched.digest);
    assert_eq!(repository.manifest(&by_digest).await.unwrap().bytes, bytes);
    let head = repository.head(&latest()).await.unwrap().unwrap();
    assert_eq!(head.digest, fetched.digest);
    assert_eq!(repository.tags().await.unwrap(), ["latest"]);
    assert!(repository.delete_manifest(&by_digest).await.unwrap());
    assert!(!repository.delete_manifest(&by_digest).await.unwrap());
    assert_eq!(repository.head(&latest()).await.unwrap(), None);
    let gone = repository.manifest(&latest()).await.unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound);
    assert!(gone.to_string().contains("manifest unknown"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_manifest_than_asked_for_is_refused() {
    let bytes = manifest();
    for digest in [Digest::sha256_of(b"x"), Digest::sha256_of(&bytes)] {
        let body = bytes.clone();
        let registry = faulty_registry(move |ask, _| {
            if ask.is("GET", "/manifests/") {
                let said = Digest::sha256_of(b"x");
                let reply = Reply::status(200).header("Docker-Content-Digest", said);
                Act::Reply(reply.body(body.clone()))
            } else {
                Act::Serve
            }
        });
        let which = Which::Digest(digest);
        let error = repository(&registry).manifest(&which).await.unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_with_two_meanings_and_wrong_types_are_refused() {
    let both = format!(r#"{{"schemaVersion":2,"config":{CONFIG},"layers":[],"manifests":[]}}"#);
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#,
        media_type::OCI_INDEX
    );
    for (kind, body) in [
        (media_type::OCI_MANIFEST, both),
        (media_type::OCI_MANIFEST, index),
        ("", r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned()),
        ("text/plain", "<html>".to_owned()),
    ] {
        let shown = body.clone();
        let registry = faulty_registry(move |ask, _| {
            if ask.is("GET", "/manifests/") {
                Act::Reply(
                    Reply::status(200)
                        .header("Content-Type", kind)
                        .body(body.clone()),
                )
            } else {
                Act::Serve
            }
        });
        let fetched = repository(&registry).manifest(&latest()).await.unwrap();
        assert!(fetched.document("it").is_err(), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_a_hundred_megabytes_is_left_at_the_limit() {
    for endless in [false, true] {
        let registry = faulty_registry(move |ask, _| {
            if ask.is("GET", "/manifests/") {
                let mut reply = Reply::status(200).body(vec![b' '; 5 << 20]);
                reply.endless = endless;
                Act::Reply(reply)
            } else {
                Act::Serve
            }
        });
        let error = repository(&registry).manifest(&latest()).await.unwrap_err();
        assert!(matches!(error, Error::Document { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_come_page_by_page_and_circles_end() {
    let registry = faulty_registry(|ask, _| {
        if !ask.path.contains("/tags/list") {
            return Act::Serve;
        }
        let page = |tags: &str, link: Option<&str>| {
            let reply = Reply::status(200).body(format!(r#"{{"name":"a/b","tags":[{tags}]}}"#));
            Act::Reply(match link {
                Some(link) => reply.header("Link", format!("<{link}>; rel=\"next\"")),
                None => reply,
            })
        };
        match ask.path.split("last=").nth(1) {
            None => page(r#""a","b""#, Some("/v2/a/b/tags/list?last=b&n=2")),
            Some(last) if last.starts_with('b') => {
                page(r#""c","not a tag \u001b[2J""#, Some("?last=c"))
            }
            Some(_) => page(r#""d""#, Some("?last=c")),
        }
    });
    let tags = repository(&registry).tags().await.unwrap();
    assert_eq!(tags, ["a", "b", "c", "d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_elsewhere_are_not_followed() {
    let other = faulty_registry(|_, _| Act::Serve);
    let elsewhere = format!("http://{}/v2/a/b/tags/list?last=a", other.host());
    let links = [elsewhere, "//other.invalid/v2/a/b/tags/list".to_owned()];
    for link in links {
        let registry = faulty_registry(move |ask, _| {
            if !ask.path.contains("/tags/list") {
                return Act::Serve;
            }
            let page = Reply::status(200).body(r#"{"name":"a/b","tags":["a"]}"#);
            Act::Reply(page.header("Link", format!("<{link}>; rel=\"next\"")))
        });
        let error = repository(&registry).tags().await.unwrap_err();
        assert!(error.to_string().contains("is elsewhere, at"), "{error}");
    }
    assert!(other.asked().is_empty());
    // The registry itself may be named whole.
    let registry = faulty_registry(|ask, _| {
        if !ask.path.contains("/tags/list") {
            return Act::Serve;
        }
        let page =
            |tag: &str| Reply::status(200).body(format!(r#"{{"name":"a/b","tags":["{tag}"]}}"#));
        let host = ask.header("host").unwrap();
        Act::Reply(if ask.path.contains("last=") {
            page("b")
        } else {
            let link = format!("<http://{host}/v2/a/b/tags/list?last=a>; rel=\"next\"");
            page("a").header("Link", link)
        })
    });
    assert_eq!(repository(&registry).tags().await.unwrap(), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_come_page_by_page_under_a_scope_of_their_own() {
    let registry = faulty_registry(|ask, _| {
        if !ask.path.contains("/_catalog") {
            return Act::Serve;
        }
        let page =
            |names: &str| Reply::status(200).body(format!(r#"{{"repositories":[{names}]}}"#));
        Act::Reply(if ask.path.contains("last=") {
            page(r#""team/c""#)
        } else {
            page(r#""a/b","No Name""#).header("Link", "</v2/_catalog?last=a/b>; rel=\"next\"")
        })
    });
    let found = client()
        .repositories(&Endpoint::of(&registry.host()))
        .await
        .unwrap();
    assert_eq!(found, ["a/b", "team/c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_are_found_by_their_tag_where_there_is_no_api() {
    let registry = faulty_registry(|_, _| Act::Serve);
    let repository = repository(&registry);
    let subject = Digest::sha256_of(b"subject");
    assert!(
        repository
            .referrers(&subject, None)
            .await
            .unwrap()
            .is_empty()
    );
    for (name, kind) in [("one", "a/sbom"), ("two", "a/signature"), ("one", "a/sbom")] {
        let mut entry = Descriptor::new(
            media_type::OCI_MANIFEST,
            Digest::sha256_of(name.as_bytes()),
            3,
        );
        entry.artifact_type = Some(kind.to_owned());
        repository.tag_referrer(&subject, entry).await.unwrap();
    }
    assert_eq!(repository.referrers(&subject, None).await.unwrap().len(), 2);
    let some = repository
        .referrers(&subject, Some("a/sbom"))
        .await
        .unwrap();
    assert_eq!(some.len(), 1);
    assert_eq!(some[0].digest, Digest::sha256_of(b"one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_says_is_told_without_its_escapes() {
    let registry = faulty_registry(|ask, _| {
        if ask.is("GET", "/manifests/") {
            let body = r#"{"errors":[{"code":"DENIED","message":"\u001b]0;x\u0007go away"}]}"#;
            Act::Reply(Reply::status(403).body(body))
        } else {
            Act::Serve
        }
    });
    let error = repository(&registry).manifest(&latest()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("go away") && !text.contains('\u{1b}'),
        "{text:?}"
    );
    assert_eq!(error.kind(), Kind::Denied);
}
