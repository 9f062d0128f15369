//! Other people's clients against the server.

use std::path::Path;
use std::process::{Command, Output};

use oci::{Digest, media_type};
use serde_json::json;

use super::connections::{Running, run};
use super::desk::descriptor;
use distribution::server::Limits;

/// Runs a program in a folder of its own; `None` if it is not installed.
pub(super) async fn peer(home: &Path, program: &str, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("HOME", home)
        .env("XDG_RUNTIME_DIR", home)
        .current_dir(home);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap();
    match output {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let test = testkit::running_test();
            testkit::skipped(&test, &format!("`{program}` is not installed"));
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

#[track_caller]
pub(super) fn good(output: Output, what: &str) -> String {
    assert!(
        output.status.success(),
        "{what}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Writes an OCI layout with an image, and says its manifest's digest.
fn layout(folder: &Path, tag: &str) -> Digest {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        std::fs::write(blobs.join(Digest::sha256_of(bytes).hex()), bytes).unwrap();
    };
    // Two blocks of zeros are a tar without entries.
    let layer = vec![0; 1024];
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Digest::sha256_of(&layer).to_string()]},
    })
    .to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor(media_type::OCI_CONFIG, config.as_bytes()),
        "layers": [descriptor(media_type::OCI_LAYER, &layer)],
        "annotations": {"x": "y"},
    })
    .to_string();
    let mut entry = descriptor(media_type::OCI_MANIFEST, manifest.as_bytes());
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    put(&layer);
    put(config.as_bytes());
    put(manifest.as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    std::fs::write(folder.join("index.json"), index).unwrap();
    std::fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    Digest::sha256_of(manifest.as_bytes())
}

pub(super) async fn server() -> Running {
    run(Limits::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skopeo_pushes_lists_copies_pulls_and_deletes() {
    let server = server().await;
    let home = tempfile::tempdir().unwrap();
    let digest = layout(&home.path().join("image"), "v1");
    let there = |name: &str| format!("docker://{}/{name}", server.address);
    let skopeo = async |arguments: &[&str]| peer(home.path(), "skopeo", arguments).await;

    let (app, other) = (there("team/app:v1"), there("other/app:v2"));
    let copy = ["--insecure-policy", "copy", "--preserve-digests"];
    let push = [
        &copy[..],
        &["--dest-tls-verify=false", "oci:image:v1", &app],
    ]
    .concat();
    let Some(output) = skopeo(&push).await else {
        return;
    };
    good(output, "push");
    // What is there is not sent again, and another repository gets it by a mount.
    let again = [
        &copy[..],
        &[
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            &app,
            &other,
        ],
    ]
    .concat();
    good(skopeo(&again).await.unwrap(), "copy");

    let tags = good(
        skopeo(&["list-tags", "--tls-verify=false", &there("team/app")])
            .await
            .unwrap(),
        "list-tags",
    );
    assert!(tags.contains("\"v1\""), "{tags}");
    let raw = good(
        skopeo(&["inspect", "--raw", "--tls-verify=false", &other])
            .await
            .unwrap(),
        "inspect",
    );
    assert_eq!(Digest::sha256_of(raw.as_bytes()), digest);
    let by_digest = there(&format!("team/app@{digest}"));
    let pull = [
        &copy[..],
        &["--src-tls-verify=false", &by_digest, "oci:back:v1"],
    ]
    .concat();
    good(skopeo(&pull).await.unwrap(), "pull");
    assert!(
        home.path()
            .join("back/blobs/sha256")
            .join(digest.hex())
            .exists()
    );

    good(
        skopeo(&["delete", "--tls-verify=false", &app])
            .await
            .unwrap(),
        "delete",
    );
    let gone = skopeo(&["inspect", "--tls-verify=false", &app])
        .await
        .unwrap();
    assert!(!gone.status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skopeo_converts() {
    let server = server().await;
    let home = tempfile::tempdir().unwrap();
    layout(&home.path().join("image"), "v1");
    let there = |name: &str| format!("docker://{}/{name}", server.address);
    let skopeo = async |arguments: &[&str]| peer(home.path(), "skopeo", arguments).await;
    // To Docker's formats and to zstd, as it converts.
    for extra in [
        &["--format", "v2s2"][..],
        &["--dest-compress-format", "zstd"],
    ] {
        let name = there("team/app:converted");
        let push = [
            &["--insecure-policy", "copy"],
            extra,
            &["--dest-tls-verify=false", "oci:image:v1", &name],
        ]
        .concat();
        let Some(output) = skopeo(&push).await else {
            return;
        };
        good(output, "convert");
        let pull = [
            "--insecure-policy",
            "copy",
            "--src-tls-verify=false",
            &name,
            "dir:dir",
        ];
        good(skopeo(&pull).await.unwrap(), "pull what was converted");
    }
}
