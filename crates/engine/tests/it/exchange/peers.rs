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
