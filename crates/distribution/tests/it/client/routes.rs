//! Ways to a registry: proxies, programs, TLS.

use distribution::client::{Client, Endpoint, Options, Proxies, Which};
use testkit::registry::{Act, Reply, faulty_registry};

use super::{descriptor, patience, read};

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_tls_is_asked_through_the_proxy() {
    // The proxy sees whole addresses, and answers in place of the registry, which does not exist.
    let proxy = faulty_registry(|ask, _| {
        if ask.path.starts_with("http://registry.example.test")
            && ask.header("proxy-authorization") == Some("Basic dTpw")
        {
            Act::Reply(Reply::status(200).body("content"))
        } else {
            Act::Reply(Reply::status(400))
        }
    });
    let address = format!("http://u:p@{}", proxy.host());
    let client = Client::new(Options {
        patience: patience(),
        proxies: Proxies::read(Some(&address), Some(&address), None).unwrap(),
        ..Options::default()
    });
    let mut endpoint = Endpoint::of("registry.example.test");
    endpoint.insecure = true;
    // The proxy makes no tunnels, so plain HTTP is what is left.
    let repository = client.repository(&endpoint, "a/b".parse().unwrap());
    assert_eq!(
        read(&repository, &descriptor(b"content")).await.unwrap(),
        b"content"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_a_tunnel_says_why() {
    let proxy = faulty_registry(|ask, _| {
        assert_eq!(ask.method, "CONNECT");
        Act::Reply(Reply::status(407))
    });
    let client = Client::new(Options {
        patience: patience(),
        proxies: Proxies::read(None, Some(&proxy.host()), None).unwrap(),
        ..Options::default()
    });
    let repository = client.repository(
        &Endpoint::of("registry.example.test"),
        "a/b".parse().unwrap(),
    );
    let error = read(&repository, &descriptor(b"x")).await.unwrap_err();
    assert!(error.to_string().contains("407"), "{error}");
}

/// That the protocol runs over one is tested where `barque` can be that program.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_no_registry_is_an_error() {
    for script in ["exit 127", "echo hello; cat >/dev/null"] {
        let endpoint = Endpoint {
            registry: "ssh://host".to_owned(),
            authority: "host".to_owned(),
            insecure: false,
            command: Some(["sh", "-c", script].map(str::to_owned).into()),
        };
        let client = Client::new(Options {
            patience: patience(),
            ..Options::default()
        });
        let repository = client.repository(&endpoint, "a/b".parse().unwrap());
        let fetched = repository.manifest(&Which::Tag(oci::Tag::latest())).await;
        let error = fetched.unwrap_err().to_string();
        assert!(error.contains("on `host` through `sh`"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_at_the_first_question_is_made_anew() {
    let registry = faulty_registry(|_, number| match number {
        0 | 1 => Act::CutAnswer(0),
        2 => Act::Mute,
        _ => Act::Serve,
    });
    registry.with(|memory| memory.blob("a/b", b"x"));
    let repository = super::repository(&registry);
    assert_eq!(read(&repository, &descriptor(b"x")).await.unwrap(), b"x");
}
