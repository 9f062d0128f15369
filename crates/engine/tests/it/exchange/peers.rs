//! Other people's registries and clients.

use std::process::Command;

use testkit::registry::debian_registry;

use super::Place;

/// Runs a program that must succeed; what it printed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn skopeo_and_barque_read_what_the_other_pushed_to_debians_registry() {
    let Some(registry) = debian_registry("") else {
        testkit::skipped(&testkit::running_test(), "docker-registry is not installed");
        return;
    };
    let name = format!("{}/a/b:1", registry.host());
    let here = super::journeys::built(&name);
    let pushed = here.push(&name).unwrap();
    let raw = run(
        "skopeo",
        &[
            "inspect",
            "--tls-verify=false",
            "--raw",
            &format!("docker://{name}"),
        ],
    );
    assert_eq!(oci::Digest::sha256_of(raw.as_bytes()), pushed.digest);
    let folder = here.store.beside().join("skopeo");
    let layout = format!("oci:{}:x", folder.display());
    let source = format!("docker://{name}");
    run(
        "skopeo",
        &["copy", "--src-tls-verify=false", &source, &layout],
    );
    // Back under Docker's types, which barque keeps as they are.
    let other = format!("{}/c:2", registry.host());
    let target = format!("docker://{other}");
    run(
        "skopeo",
        &[
            "copy",
            "--dest-tls-verify=false",
            "--format",
            "v2s2",
            &layout,
            &target,
        ],
    );
    let there = Place::new();
    let pulled = there.pull(&other).unwrap();
    let image = there.store.resolve(&other).unwrap();
    assert_eq!(image.layers, here.store.resolve(&name).unwrap().layers);
    assert_eq!(image.media_type, oci::media_type::DOCKER_MANIFEST);
    let third = format!("{}/d:3", registry.host());
    there.engine.tag(&other, &third).unwrap();
    assert_eq!(there.push(&third).unwrap().digest, pulled.digest);
    let copied = there
        .copy(&third, &format!("{}/e:4", registry.host()), true)
        .unwrap();
    assert_eq!(copied, pulled.digest);
}

/// A certificate authority, and certificates of it for a server on this machine and for a client.
fn certificates(folder: &std::path::Path) {
    let script = "set -e
        printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\\n' >names
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt
        for who in server client; do
            openssl req -newkey rsa:2048 -nodes -subj /CN=$who -keyout $who.key -out $who.csr
            openssl x509 -req -in $who.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out $who.crt
        done";
    let made = Command::new("sh")
        .args(["-c", script])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

#[test]
fn a_registry_with_certificates_of_its_own_is_trusted_if_certs_d_says_so() {
    let test = testkit::running_test();
    if Command::new("openssl").arg("version").output().is_err() {
        testkit::skipped(&test, "openssl is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name);
    let tls = format!(
        "certificate: {}, key: {}, clientcas: [{}]",
        file("server.crt").display(),
        file("server.key").display(),
        file("ca.crt").display()
    );
    let Some(registry) = testkit::registry::debian_registry_with_tls(&tls) else {
        testkit::skipped(&test, "docker-registry is not installed");
        return;
    };
    // By address, TLS is not checked on this machine, as with Docker; but who we are is.
    let name = format!("{}/a/b:1", registry.host());
    let here = super::journeys::built(&name);
    assert!(
        here.push(&name).is_err(),
        "nobody is let in without a certificate"
    );
    let place = Place::new();
    let target = place
        .store
        .beside()
        .join("etc/containers/certs.d")
        .join(registry.host());
    std::fs::create_dir_all(&target).unwrap();
    for (from, to) in [
        ("ca.crt", "ca.crt"),
        ("client.crt", "client.cert"),
        ("client.key", "client.key"),
    ] {
        std::fs::copy(file(from), target.join(to)).unwrap();
    }
    testkit::image()
        .file("etc/issue", "tls")
        .name(&name)
        .build(&place.store)
        .unwrap();
    place.push(&name).unwrap();
    let found = place.engine.inspect_remote(&name, None).unwrap();
    assert_eq!(found.summary["Os"], "linux");
}

#[test]
fn a_tag_goes_from_a_registry_that_deletes_manifests_only() {
    let Some(registry) = debian_registry("") else {
        testkit::skipped(&testkit::running_test(), "docker-registry is not installed");
        return;
    };
    let name = |tag: &str| format!("{}/a/b:{tag}", registry.host());
    let place = super::journeys::built(&name("1"));
    let digest = place.push(&name("1")).unwrap().digest;
    let engine = &place.engine;
    engine.remote_tag(&name("1"), "2").unwrap();
    assert!(engine.remote_remove(&name("1")).unwrap());
    assert!(!engine.remote_remove(&name("1")).unwrap());
    // What it named is there, and so is its other tag.
    assert_eq!(engine.remote_tags(&name("1")).unwrap(), ["2"]);
    assert_eq!(place.pull(&name("2")).unwrap().digest, digest);
    let pinned = format!("{}/a/b@{digest}", registry.host());
    assert!(engine.remote_remove(&pinned).unwrap());
    assert!(place.pull(&name("2")).is_err());
}

#[test]
fn a_tag_stays_where_nothing_is_deleted() {
    use testkit::registry::{Act, Reply, faulty_registry};
    let registry = faulty_registry(|ask, _| match ask.method.as_str() {
        "DELETE" => Act::Reply(Reply::status(405)),
        _ => Act::Serve,
    });
    let name = format!("{}/a/b:1", registry.host());
    let place = super::journeys::built(&name);
    let digest = place.push(&name).unwrap().digest;
    let error = place.engine.remote_remove(&name).unwrap_err();
    let said = crate::support::message(&error);
    assert!(
        said.contains("manifest `1`") && said.contains("not supported"),
        "{said}"
    );
    assert_eq!(place.pull(&name).unwrap().digest, digest);
}

#[test]
fn a_tag_that_does_not_go_names_again_what_it_named() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use testkit::registry::{Act, Reply, faulty_registry};
    for goes_back in [true, false] {
        let deleted = AtomicUsize::new(0);
        let registry = faulty_registry(move |ask, _| {
            let is_tag = ask.path.ends_with("/manifests/1");
            let refuses = match ask.method.as_str() {
                "DELETE" if is_tag => return Act::Reply(Reply::status(405)),
                // The trial works, and what counts does not.
                "DELETE" => deleted.fetch_add(1, Ordering::Relaxed) > 0,
                "PUT" => is_tag && !goes_back && deleted.load(Ordering::Relaxed) > 1,
                _ => false,
            };
            match refuses {
                true => Act::Reply(Reply::status(403)),
                false => Act::Serve,
            }
        });
        let name = format!("{}/a/b:1", registry.host());
        let place = super::journeys::built(&name);
        let digest = place.push(&name).unwrap().digest;
        let error = place.engine.remote_remove(&name).unwrap_err();
        assert_eq!(registry.count("DELETE", "/manifests/sha256"), 2);
        if goes_back {
            assert_eq!(place.pull(&name).unwrap().digest, digest);
        } else {
            // Nobody else knows any more what it was.
            let said = crate::support::message(&error);
            assert!(said.contains(&digest.to_string()), "{said}");
        }
    }
}
