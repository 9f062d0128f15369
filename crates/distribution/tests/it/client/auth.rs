//! Who is shown what: Basic, tokens, and where credentials never go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use distribution::client::{
    Access, AuthFile, Credential, Credentials, Endpoint, Error, Kind, Repository, Secret, Source,
    Upload, Which,
};
use testkit::registry::{Act, Ask, FaultyRegistry, Reply, faulty_registry};

use super::{client_with, descriptor, noise, read};

const BASIC: &str = "Basic dXNlcjpwYXNz";

fn user(registry: &FaultyRegistry) -> Credentials {
    let credential = Credential::Password {
        user: "user".to_owned(),
        password: Secret::new("pass"),
    };
    Credentials {
        given: Some((registry.host(), credential)),
        files: Vec::new(),
    }
}

fn repository(registry: &FaultyRegistry, credentials: Credentials) -> Repository {
    client_with(credentials).repository(&Endpoint::of(&registry.host()), "a/b".parse().unwrap())
}

/// A registry that wants tokens of its own `/token`, each of which is good for `uses` requests.
fn with_tokens(uses: usize) -> FaultyRegistry {
    let given = Arc::new(AtomicUsize::new(0));
    let left = Arc::new(AtomicUsize::new(0));
    faulty_registry(move |ask, _| {
        let host = ask.header("host").unwrap_or_default();
        if ask.path.starts_with("/token") {
            if ask.method == "GET" && ask.header("authorization") != Some(BASIC) {
                return Act::Reply(Reply::status(401));
            }
            left.store(uses, Ordering::SeqCst);
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            let body = format!(r#"{{"token":"t{number}","expires_in":300}}"#);
            return Act::Reply(Reply::status(200).body(body));
        }
        let token = format!("Bearer t{}", given.load(Ordering::SeqCst));
        let known = ask.header("authorization") == Some(token.as_str());
        let spend = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        if known && spend.is_ok() {
            return Act::Serve;
        }
        let challenge = format!(
            r#"Bearer realm="http://{host}/token",service="it",scope="repository:a/b:pull""#
        );
        Act::Reply(Reply::status(401).header("WWW-Authenticate", challenge))
    })
}

fn tokens(registry: &FaultyRegistry) -> Vec<Ask> {
    let asked = registry.asked();
    asked
        .into_iter()
        .filter(|ask| ask.path.starts_with("/token"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_is_shown_to_who_asks_for_it() {
    let registry = faulty_registry(|ask, _| match ask.header("authorization") {
        Some(BASIC) => Act::Serve,
        _ => Act::Reply(Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\"")),
    });
    registry.with(|memory| memory.blob("a/b", b"x"));
    let repository = repository(&registry, user(&registry));
    assert_eq!(read(&repository, &descriptor(b"x")).await.unwrap(), b"x");
    assert!(
        registry.asked()[0].header("authorization").is_none(),
        "the first question is asked as nobody"
    );
    let nobody = super::repository(&registry);
    let error = read(&nobody, &descriptor(b"x")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_serves_many_requests() {
    let registry = with_tokens(1000);
    registry.with(|memory| memory.blob("a/b", b"x"));
    let repository = repository(&registry, user(&registry));
    for _ in 0..5 {
        read(&repository, &descriptor(b"x")).await.unwrap();
    }
    let tokens = tokens(&registry);
    assert_eq!(tokens.len(), 1);
    assert!(tokens[0].path.contains("service=it"), "{}", tokens[0].path);
    assert!(
        tokens[0].path.contains("scope=repository%3Aa%2Fb%3Apull"),
        "{}",
        tokens[0].path
    );
    assert!(tokens[0].path.contains("account=user"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_token_goes_in_a_form() {
    let registry = with_tokens(1000);
    registry.with(|memory| memory.blob("a/b", b"x"));
    let text = format!(
        r#"{{"auths":{{"{}":{{"identitytoken":"refresh me"}}}}}}"#,
        registry.host()
    );
    let credentials = Credentials {
        given: None,
        files: vec![AuthFile::read("config.json", &text).unwrap()],
    };
    let repository = repository(&registry, credentials);
    read(&repository, &descriptor(b"x")).await.unwrap();
    let tokens = tokens(&registry);
    assert_eq!(tokens[0].method, "POST");
    let form = String::from_utf8(tokens[0].body.clone()).unwrap();
    assert!(
        form.contains("grant_type=refresh_token") && form.contains("refresh_token=refresh%20me"),
        "{form}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_survives_tokens_that_end_midway() {
    // A token is good for two requests: even one upload needs several.
    let registry = with_tokens(2);
    let repository = repository(&registry, user(&registry));
    for size in [10, 2_000_000] {
        let bytes = noise(size);
        repository
            .upload(
                &descriptor(&bytes),
                &Source::Bytes(bytes.clone().into()),
                &Upload::default(),
            )
            .await
            .unwrap();
        let key = ("a/b".to_owned(), descriptor(&bytes).digest);
        assert!(registry.with(|memory| memory.blobs.contains_key(&key)));
    }
    assert!(tokens(&registry).len() > 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_enough_is_asked_for_once_more_and_no_more() {
    let registry = faulty_registry(|ask, _| {
        let host = ask.header("host").unwrap_or_default();
        if ask.path.starts_with("/token") {
            return Act::Reply(Reply::status(200).body(r#"{"token":"useless"}"#));
        }
        let challenge = format!(r#"Bearer realm="http://{host}/token",error="insufficient_scope""#);
        Act::Reply(Reply::status(401).header("WWW-Authenticate", challenge))
    });
    let error = repository(&registry, user(&registry))
        .manifest(&Which::Tag(oci::Tag::latest()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(tokens(&registry).len() <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_realm_without_tls_on_another_host_gets_no_credentials() {
    let thief = faulty_registry(|_, _| Act::Reply(Reply::status(200).body(r#"{"token":"t"}"#)));
    for realm in [
        "http://registry.example.test/token",
        "ftp://127.0.0.1/token",
        "http://user:pass@127.0.0.1/token",
        "//127.0.0.1/token",
    ] {
        let registry = faulty_registry(move |_, _| {
            let challenge = format!(r#"Bearer realm="{realm}",service="it""#);
            Act::Reply(Reply::status(401).header("WWW-Authenticate", challenge))
        });
        let error = repository(&registry, user(&registry))
            .manifest(&Which::Tag(oci::Tag::latest()))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Realm { .. }), "{realm}: {error}");
    }
    assert!(thief.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credentials_follow_a_redirect_to_another_host() {
    let store = faulty_registry(|_, _| Act::Serve);
    store.with(|memory| memory.blob("a/b", b"content"));
    // The same machine under another name is another host: credentials go by what is written.
    let other = store.host().replace("127.0.0.1", "localhost");
    let registry = faulty_registry(move |ask, _| match ask.header("authorization") {
        Some(BASIC) if ask.is("GET", "/blobs/") => {
            Act::Reply(Reply::status(307).header("Location", format!("http://{other}{}", ask.path)))
        }
        Some(BASIC) => Act::Serve,
        _ => Act::Reply(Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\"")),
    });
    let repository = repository(&registry, user(&registry));
    assert_eq!(
        read(&repository, &descriptor(b"content")).await.unwrap(),
        b"content"
    );
    let asked = store.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), None);
}

/// A registry of this network may lead to others of it, but not to what a cloud tells its machines.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_led_to_an_address_of_this_link() {
    const METADATA: &str = "http://169.254.169.254/latest/meta-data";
    for way in ["a redirect", "a token service", "the place of an upload"] {
        let registry = faulty_registry(move |ask, _| {
            let reply = match way {
                "a redirect" if ask.is("GET", "/blobs/") => {
                    Reply::status(307).header("Location", METADATA)
                }
                "a token service" => Reply::status(401)
                    .header("WWW-Authenticate", format!("Bearer realm=\"{METADATA}\"")),
                "the place of an upload" if ask.is("POST", "/uploads/") => {
                    Reply::status(202).header("Location", METADATA)
                }
                _ => return Act::Serve,
            };
            Act::Reply(reply)
        });
        let repository = super::repository(&registry);
        let failed = match way {
            "the place of an upload" => {
                let source = Source::Bytes(b"content".to_vec().into());
                let done = repository
                    .upload(&descriptor(b"content"), &source, &Upload::default())
                    .await;
                done.map(drop)
            }
            _ => read(&repository, &descriptor(b"content")).await.map(drop),
        };
        let said = failed.unwrap_err().to_string();
        assert!(said.contains("169.254.169.254"), "{way}: {said}");
        assert!(said.contains("this link alone"), "{way}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_within_the_host_keeps_them() {
    let registry = faulty_registry(|ask, _| match ask.header("authorization") {
        Some(BASIC) if ask.is("GET", "/blobs/") && !ask.path.contains("signed") => {
            Act::Reply(Reply::status(302).header("Location", format!("{}?signed=1", ask.path)))
        }
        Some(BASIC) if ask.path.contains("signed") => {
            Act::Reply(Reply::status(200).body("content"))
        }
        Some(BASIC) => Act::Serve,
        _ => Act::Reply(Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\"")),
    });
    let repository = repository(&registry, user(&registry));
    assert_eq!(
        read(&repository, &descriptor(b"content")).await.unwrap(),
        b"content"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_scheme_is_named() {
    let registry = faulty_registry(|_, _| {
        Act::Reply(Reply::status(401).header("WWW-Authenticate", "Negotiate abc"))
    });
    let error = super::repository(&registry)
        .manifest(&Which::Tag(oci::Tag::latest()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("negotiate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_sent_where_nobody_gives_a_token_to_mount_it() {
    let registry = faulty_registry(|ask, _| {
        let host = ask.header("host").unwrap_or_default();
        if ask.path.starts_with("/token") {
            let reply = if ask.path.contains("other") {
                Reply::status(403)
            } else {
                Reply::status(200).body(r#"{"token":"t"}"#)
            };
            return Act::Reply(reply);
        }
        if ask.header("authorization") == Some("Bearer t") {
            return Act::Serve;
        }
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="it""#);
        Act::Reply(Reply::status(401).header("WWW-Authenticate", challenge))
    });
    let repository = repository(&registry, user(&registry));
    let options = Upload {
        mount: Some("other".parse().unwrap()),
        ..Upload::default()
    };
    let sent = repository
        .upload(
            &descriptor(b"x"),
            &Source::Bytes(b"x".as_slice().into()),
            &options,
        )
        .await;
    assert_eq!(sent.unwrap(), distribution::client::Uploaded::Sent);
    let asked = tokens(&registry);
    let both = asked
        .iter()
        .filter(|ask| ask.path.contains("other"))
        .count();
    assert_eq!((both, asked.len()), (1, 2), "the upload asks for less");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_that_wants_a_wait_of_hours_is_asked_once() {
    let registry = faulty_registry(|ask, _| {
        let host = ask.header("host").unwrap_or_default();
        if ask.path.starts_with("/token") {
            return Act::Reply(Reply::status(429).header("Retry-After", "7200"));
        }
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="it""#);
        Act::Reply(Reply::status(401).header("WWW-Authenticate", challenge))
    });
    let error = read(&repository(&registry, user(&registry)), &descriptor(b"x")).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("7200 seconds"), "{error}");
    assert_eq!(tokens(&registry).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_as_whom_was_asked() {
    let registry = with_tokens(0);
    let who = |error: Error| match error {
        Error::Status {
            asked: Some(asked), ..
        } => (asked.registry, asked.access),
        other => panic!("{other}"),
    };
    let error = read(&repository(&registry, user(&registry)), &descriptor(b"x")).await;
    assert_eq!(
        who(error.unwrap_err()),
        (registry.host(), Access::Member),
        "the token was not enough"
    );
    let error = read(&super::repository(&registry), &descriptor(b"x")).await;
    assert_eq!(who(error.unwrap_err()), (registry.host(), Access::Nobody));
    let basic = faulty_registry(|_, _| {
        Act::Reply(Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""))
    });
    let error = read(&repository(&basic, user(&basic)), &descriptor(b"x")).await;
    let error = error.unwrap_err();
    assert!(error.to_string().contains("not accepted"), "{error}");
    assert_eq!(who(error), (basic.host(), Access::Somebody));
    let open = faulty_registry(|_, _| Act::Reply(Reply::status(404)));
    let error = read(&super::repository(&open), &descriptor(b"x")).await;
    assert_eq!(who(error.unwrap_err()), (open.host(), Access::Open));
}
