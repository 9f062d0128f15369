//! Debian's registry.

use distribution::client::{
    Client, Credential, Credentials, Endpoint, Secret, Source, Upload, Uploaded, Which,
};
use oci::media_type;
use testkit::registry::debian_registry;

use super::{client, client_with, descriptor, noise, read};

#[tokio::test(flavor = "multi_thread")]
async fn debians_registry_takes_and_gives() {
    let Some(registry) = debian_registry("") else {
        testkit::skipped(&testkit::running_test(), "docker-registry is not installed");
        return;
    };
    let client: Client = client();
    let endpoint = Endpoint::of(registry.host());
    let repository = client.repository(&endpoint, "a/b".parse().unwrap());
    let config = b"{}".to_vec();
    let mut blobs = vec![config.clone(), noise(10), noise(3_000_000)];
    for bytes in &blobs {
        let source = Source::Bytes(bytes.clone().into());
        let sent = repository
            .upload(&descriptor(bytes), &source, &Upload::default())
            .await;
        assert_eq!(sent.unwrap(), Uploaded::Sent);
        assert_eq!(read(&repository, &descriptor(bytes)).await.unwrap(), *bytes);
    }
    let options = Upload {
        chunk: Some(1_000_000),
        ..Upload::default()
    };
    let chunked = noise(2_500_000);
    let source = Source::Bytes(chunked.clone().into());
    repository
        .upload(&descriptor(&chunked), &source, &options)
        .await
        .unwrap();
    blobs.push(chunked);
    let layers: Vec<_> = blobs[1..].iter().map(|bytes| descriptor(bytes)).collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": oci::Descriptor { media_type: media_type::OCI_CONFIG.to_owned(), ..descriptor(&config) },
        "layers": layers,
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let which = Which::Tag("1".parse().unwrap());
    repository
        .put_manifest(&which, media_type::OCI_MANIFEST, manifest.clone().into())
        .await
        .unwrap();
    assert_eq!(repository.manifest(&which).await.unwrap().bytes, manifest);
    assert_eq!(repository.tags().await.unwrap(), ["1"]);
    // Another repository takes the layers from this one.
    let other = client.repository(&endpoint, "c".parse().unwrap());
    let mount = Upload {
        mount: Some("a/b".parse().unwrap()),
        ..Upload::default()
    };
    let source = Source::Bytes(blobs[2].clone().into());
    let sent = other
        .upload(&descriptor(&blobs[2]), &source, &mount)
        .await
        .unwrap();
    assert_eq!(sent, Uploaded::Mounted("a/b".parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn debians_registry_wants_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    // `user:pass` with bcrypt.
    std::fs::write(
        &users,
        "user:$2y$05$abcdefghijklmnopqrstuuZFBUbfXoM8LFiPx8LYlO/sXZB/Cwk3K\n",
    )
    .unwrap();
    let extra = format!(
        "auth: {{htpasswd: {{realm: it, path: {}}}}}",
        users.display()
    );
    let Some(registry) = debian_registry(&extra) else {
        testkit::skipped(&testkit::running_test(), "docker-registry is not installed");
        return;
    };
    let endpoint = Endpoint::of(registry.host());
    let login = |password: &str| {
        let credential = Credential::Password {
            user: "user".to_owned(),
            password: Secret::new(password),
        };
        client_with(Credentials {
            given: Some((registry.host().to_owned(), credential)),
            files: Vec::new(),
        })
    };
    assert!(login("wrong").check_login(&endpoint).await.is_err());
    login("pass").check_login(&endpoint).await.unwrap();
}
