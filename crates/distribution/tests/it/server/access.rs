//! Who may do what.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use distribution::server::Pattern;
use distribution::server::access::{Access, Allowed, Htpasswd, Issuer, Login, Rule, Rules};
use oci::media_type;
use serde_json::json;

use super::desk::{Answer, Desk, digest};

/// Of the least cost, so that the tests are quick: `alice` has the password `wonder`, `bob` has `build`.
fn users() -> std::sync::Arc<Htpasswd> {
    let line =
        |name: &str, password: &str| format!("{name}:{}\n", bcrypt::hash(password, 4).unwrap());
    Htpasswd::parse(&format!(
        "# users\n\n{}{}",
        line("alice", "wonder"),
        line("bob", "build")
    ))
    .unwrap()
}

/// Alice may do everything in `team`; bob may read and write there, but not delete; anybody may read `open`.
fn rules() -> Rules {
    let rule = |user: &str, repositories: &str, actions: &[Allowed]| Rule {
        users: vec![user.to_owned()],
        repositories: vec![Pattern::new(repositories)],
        actions: actions.to_vec(),
    };
    Rules(vec![
        rule(
            "alice",
            "**",
            &[Allowed::Pull, Allowed::Push, Allowed::Delete],
        ),
        rule("bob", "team/*", &[Allowed::Pull, Allowed::Push]),
        rule("anonymous", "open/**", &[Allowed::Pull]),
    ])
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

async fn desk(login: impl FnOnce() -> Login) -> Desk {
    let desk = Desk::local();
    for name in ["team/app", "open/app", "secret/app"] {
        desk.push_image(name, "v1", name).await;
    }
    let rules = rules();
    desk.registry.set_access(Access {
        login: login(),
        rules,
    });
    desk
}

async fn ask(desk: &Desk, who: &str, method: &str, path: &str) -> Answer {
    let mut headers = Vec::new();
    if !who.is_empty() {
        headers.push(("authorization", who));
    }
    desk.send(method, path, &headers, "").await
}

#[tokio::test]
async fn passwords() {
    let desk = desk(|| Login::Password(users())).await;
    let (alice, bob) = (basic("alice", "wonder"), basic("bob", "build"));
    // Without a name: how to show who one is, everywhere but where anybody may read.
    for path in ["/v2/", "/v2/team/app/manifests/v1", "/v2/none/manifests/v1"] {
        let answer = ask(&desk, "", "GET", path).await.fails(401, "UNAUTHORIZED");
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"barque\"");
    }
    ask(&desk, "", "GET", "/v2/open/app/manifests/v1")
        .await
        .is(200);
    ask(&desk, "", "POST", "/v2/open/app/blobs/uploads/")
        .await
        .is(401);
    for wrong in [
        &basic("alice", "wander"),
        &basic("carol", "wonder"),
        "Basic x",
        "Basic",
        "Bearer x",
        "",
    ] {
        ask(&desk, wrong, "GET", "/v2/").await.is(401);
    }
    for right in [&alice, &bob, &alice] {
        ask(&desk, right, "GET", "/v2/").await.is(200);
    }
    // What one may not read does not exist.
    let there = ask(&desk, &bob, "GET", "/v2/secret/app/manifests/v1")
        .await
        .fails(404, "NAME_UNKNOWN");
    let nowhere = ask(&desk, &bob, "GET", "/v2/secret/nothing/manifests/v1")
        .await
        .fails(404, "NAME_UNKNOWN");
    assert_eq!(
        String::from_utf8_lossy(&there.body).replace("secret/app", "X"),
        String::from_utf8_lossy(&nowhere.body).replace("secret/nothing", "X")
    );
    let catalog = ask(&desk, &bob, "GET", "/v2/_catalog").await.is(200);
    assert_eq!(
        catalog.json()["repositories"],
        json!(["open/app", "team/app"])
    );
    let catalog = ask(&desk, "", "GET", "/v2/_catalog").await.is(200);
    assert_eq!(catalog.json()["repositories"], json!(["open/app"]));
    // Writing is not deleting.
    ask(&desk, &bob, "POST", "/v2/team/app/blobs/uploads/")
        .await
        .is(202);
    ask(&desk, &bob, "DELETE", "/v2/team/app/manifests/v1")
        .await
        .fails(403, "DENIED");
    ask(&desk, &bob, "POST", "/v2/open/app/blobs/uploads/")
        .await
        .fails(403, "DENIED");
    ask(&desk, &bob, "POST", "/v2/secret/app/blobs/uploads/")
        .await
        .fails(403, "DENIED");
    ask(&desk, &alice, "DELETE", "/v2/team/app/manifests/v1")
        .await
        .is(202);
}

#[tokio::test]
async fn nothing_leaks_by_way_of_a_mount() {
    let desk = desk(|| Login::Password(users())).await;
    let bob = basic("bob", "build");
    let blob = digest(b"layer secret/app");
    for query in [
        format!("mount={blob}&from=secret/app"),
        format!("mount={blob}"),
    ] {
        let path = format!("/v2/team/app/blobs/uploads/?{query}");
        ask(&desk, &bob, "POST", &path).await.is(202);
        ask(&desk, &bob, "HEAD", &format!("/v2/team/app/blobs/{blob}"))
            .await
            .is(404);
    }
    // Nor by a manifest that names it, nor as a referrer.
    let manifest = json!({
        "layers": [{"mediaType": media_type::OCI_LAYER, "digest": blob.to_string(), "size": 16}],
    })
    .to_string();
    let headers = [
        ("authorization", &*bob),
        ("content-type", media_type::OCI_MANIFEST),
    ];
    desk.send("PUT", "/v2/team/app/manifests/x", &headers, manifest)
        .await
        .fails(404, "MANIFEST_BLOB_UNKNOWN");
    ask(
        &desk,
        &bob,
        "GET",
        &format!("/v2/secret/app/referrers/{blob}"),
    )
    .await
    .is(404);
    // What one may read may be mounted.
    let open = digest(b"layer open/app");
    ask(
        &desk,
        &bob,
        "POST",
        &format!("/v2/team/app/blobs/uploads/?mount={open}"),
    )
    .await
    .is(201);
}

/// A token for these scopes, as it is sent.
async fn token(desk: &Desk, who: &str, scopes: &str) -> String {
    let path = format!("/token?service=registry{scopes}");
    let answer = ask(desk, who, "GET", &path).await.is(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    format!("Bearer {}", answer.json()["token"].as_str().unwrap())
}

/// The catalogue has what its subject may pull; a token for something else does not stand for that.
#[tokio::test]
async fn tokens_for_the_catalogue() {
    let issuer = Issuer::new(None, None, "registry".to_owned()).unwrap();
    let desk = desk(|| Login::Token(users(), issuer)).await;
    let bob = basic("bob", "build");
    let pull = token(&desk, &bob, "&scope=repository:team/app:pull").await;
    let catalogue = token(&desk, &bob, "&scope=registry:catalog:*").await;
    let nobodys = token(&desk, "", "&scope=registry:catalog:*").await;
    for (who, expected) in [
        (&catalogue, json!(["open/app", "team/app"])),
        (&nobodys, json!(["open/app"])),
        (&pull, json!(["team/app"])),
    ] {
        let answer = ask(&desk, who, "GET", "/v2/_catalog").await.is(200);
        assert_eq!(answer.json()["repositories"], expected);
    }
    ask(&desk, &catalogue, "GET", "/v2/team/app/manifests/v1")
        .await
        .is(401);
}

#[tokio::test]
async fn tokens() {
    let issuer = Issuer::new(
        None,
        Some("https://registry.example".to_owned()),
        "registry".to_owned(),
    )
    .unwrap();
    let desk = desk(|| Login::Token(users(), issuer)).await;
    let bob = basic("bob", "build");
    let answer = ask(&desk, "", "GET", "/v2/team/app/manifests/v1")
        .await
        .is(401);
    assert_eq!(
        answer.header("www-authenticate"),
        "Bearer realm=\"https://registry.example/token\",service=\"registry\",scope=\"repository:team/app:pull\""
    );
    let token = async |who: &str, scopes: &str| token(&desk, who, scopes).await;
    let pull = token(&bob, "&scope=repository:team/app:pull").await;
    ask(&desk, &pull, "GET", "/v2/").await.is(200);
    ask(&desk, &pull, "GET", "/v2/team/app/manifests/v1")
        .await
        .is(200);
    // A token for one thing is no token for another.
    let answer = ask(&desk, &pull, "POST", "/v2/team/app/blobs/uploads/")
        .await
        .is(401);
    assert!(
        answer
            .header("www-authenticate")
            .contains("insufficient_scope")
    );
    ask(&desk, &pull, "GET", "/v2/open/app/manifests/v1")
        .await
        .is(401);
    let push = token(&bob, "&scope=repository:team/app:pull,push,delete").await;
    ask(&desk, &push, "POST", "/v2/team/app/blobs/uploads/")
        .await
        .is(202);
    ask(&desk, &push, "DELETE", "/v2/team/app/manifests/v1")
        .await
        .is(401);
    // Nobody gets more than they may.
    let secret = token(&bob, "&scope=repository:secret/app:pull").await;
    ask(&desk, &secret, "GET", "/v2/secret/app/manifests/v1")
        .await
        .is(401);
    let anybody = token("", "&scope=repository:open/app:pull,push").await;
    ask(&desk, &anybody, "GET", "/v2/open/app/manifests/v1")
        .await
        .is(200);
    ask(&desk, &anybody, "POST", "/v2/open/app/blobs/uploads/")
        .await
        .is(401);
    ask(&desk, "Bearer x.y.z", "GET", "/v2/open/app/manifests/v1")
        .await
        .is(401);
    ask(&desk, &basic("bob", "wrong"), "GET", "/token")
        .await
        .is(401);
    // A right that was taken away is gone, whatever the token says.
    let issuer = Issuer::new(None, None, "registry".to_owned()).unwrap();
    desk.registry.set_access(Access {
        login: Login::Token(users(), issuer),
        rules: Rules::default(),
    });
    ask(&desk, &push, "GET", "/v2/team/app/manifests/v1")
        .await
        .is(401);
}

/// Without its address, a registry with TLS leads nobody to send a password in the clear.
#[tokio::test]
async fn a_registry_with_tls_has_its_tokens_there() {
    let issuer = Issuer::new(None, None, "registry".to_owned()).unwrap();
    let desk = desk(|| Login::Token(users(), issuer.secured())).await;
    let headers = [("host", "registry.example:5000")];
    let answer = desk.send("GET", "/v2/", &headers, "").await.is(401);
    let challenge = answer.header("www-authenticate");
    let realm = "Bearer realm=\"https://registry.example:5000/token\"";
    assert!(challenge.starts_with(realm), "{challenge}");
}

#[tokio::test]
async fn tokens_by_way_of_a_form() {
    let issuer = Issuer::new(None, None, "registry".to_owned()).unwrap();
    let desk = desk(|| Login::Token(users(), issuer)).await;
    let form = "grant_type=password&service=registry&username=bob&password=build&scope=repository:team/app:pull";
    let answer = desk.send("POST", "/token", &[], form).await.is(200);
    let token = format!("Bearer {}", answer.json()["access_token"].as_str().unwrap());
    ask(&desk, &token, "GET", "/v2/team/app/manifests/v1")
        .await
        .is(200);
    desk.send("POST", "/token", &[], "grant_type=refresh_token")
        .await
        .is(400);
}

#[test]
fn files_of_users() {
    for text in [
        "alice",
        "alice:plain",
        "alice:$apr1$x$y",
        "alice:{SHA}x",
        "alice:$2y$05$short",
    ] {
        assert!(Htpasswd::parse(text).is_err(), "{text}");
    }
    assert!(Htpasswd::parse("").is_ok());
}
