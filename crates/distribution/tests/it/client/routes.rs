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

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_runs_over_a_program() {
    let answer = "HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nContent-Type: x/y\\r\\n\\r\\n{}";
    let script =
        format!("while read line; do case \"$line\" in GET*) printf '{answer}';; esac; done");
    let endpoint = Endpoint {
        registry: "ssh://host".to_owned(),
        authority: "host".to_owned(),
        insecure: false,
        command: Some(["sh".to_owned(), "-c".to_owned(), script].into()),
    };
    let client = Client::new(Options {
        patience: patience(),
        ..Options::default()
    });
    let repository = client.repository(&endpoint, "a/b".parse().unwrap());
    let fetched = repository
        .manifest(&Which::Tag(oci::Tag::latest()))
        .await
        .unwrap();
    assert_eq!(fetched.bytes, "{}");
    assert_eq!(fetched.media_type, "x/y");
}
