//! Images without containers: nothing here needs root.

use crate::environment::{Environment, busybox_tar};

#[test]
fn an_imported_image_is_listed_inspected_and_removed() {
    let environment = Environment::with_busybox();
    let id = environment
        .barque(&["images", "-q", "--no-trunc"])
        .ok()
        .to_owned();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    let list = environment.barque(&["images"]).ok().to_owned();
    assert!(list.starts_with("REPOSITORY   TAG      IMAGE ID"), "{list}");
    assert!(list.contains("busybox      latest"), "{list}");
    let row: serde_json::Value =
        serde_json::from_str(environment.barque(&["images", "--format", "json"]).ok()).unwrap();
    assert_eq!(row["Repository"], "busybox");
    let inspected: serde_json::Value =
        serde_json::from_str(environment.barque(&["inspect", "busybox"]).ok()).unwrap();
    assert_eq!(inspected[0]["Id"], id.as_str());
    assert_eq!(inspected[0]["Config"]["Cmd"][0], "sh");
    let removed = environment.barque(&["rmi", "busybox"]).ok().to_owned();
    assert_eq!(removed, format!("Untagged: busybox:latest\nDeleted: {id}"));
    assert_eq!(environment.barque(&["images", "-q"]).ok(), "");
}

#[test]
fn files_of_an_image_are_read_without_a_mount() {
    let environment = Environment::with_busybox();
    assert_eq!(
        environment
            .barque(&["cat", "busybox:/etc/group"])
            .ok()
            .lines()
            .count(),
        4
    );
    let list = environment.barque(&["ls", "busybox:/etc"]).ok().to_owned();
    assert_eq!(list, "/etc/group\n/etc/passwd");
    let link = environment.barque(&["ls", "-l", "busybox:/bin/sh"]);
    assert!(link.ok().ends_with("/bin/sh -> busybox"), "{}", link.stdout);
    let missing = environment.barque(&["cat", "busybox:/etc/shadow"]);
    assert!(
        missing.fails(1).contains("/etc/shadow"),
        "{}",
        missing.stderr
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_not_talked_about() {
    let environment = Environment::with_busybox();
    for words in [
        &["export", "busybox"][..],
        &["save", "busybox"],
        &["cat", "busybox:/bin/busybox"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = environment
            .command(words)
            .stdout(writer)
            .stderr(std::process::Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
        assert_eq!(output.status.code(), Some(1), "{words:?}");
    }
}

#[test]
fn a_listing_names_its_own_filters() {
    let environment = Environment::new();
    let ps = environment.barque(&["ps", "-f", "color=red"]);
    assert!(ps.fails(1).contains("status=created"), "{}", ps.stderr);
    let images = environment.barque(&["images", "-f", "color=red"]);
    assert!(images.fails(1).contains("dangling="), "{}", images.stderr);
}

#[test]
fn an_unknown_image_gives_one_line_and_a_hint() {
    let environment = Environment::with_busybox();
    let answer = environment.barque(&["history", "bussybox"]);
    let text = answer.fails(1);
    assert!(text.starts_with("error: "), "{text}");
    assert!(text.contains("bussybox"), "{text}");
    assert!(
        text.lines().skip(1).all(|line| line.starts_with("hint: ")),
        "{text}"
    );
    assert!(text.contains("`busybox"), "{text}");
}

#[test]
fn what_is_saved_is_loaded_with_the_same_id() {
    let environment = Environment::with_busybox();
    let id = environment
        .barque(&["images", "-q", "--no-trunc"])
        .ok()
        .to_owned();
    for format in ["docker-archive", "oci-archive", "oci-dir"] {
        let file = environment.path(format);
        let file = file.to_str().unwrap();
        environment
            .barque(&["save", "--format", format, "-o", file, "busybox"])
            .ok();
        let other = Environment::new();
        assert_eq!(
            other.barque(&["load", "-i", file]).ok(),
            "Loaded image: busybox:latest"
        );
        assert_eq!(
            other.barque(&["images", "-q", "--no-trunc"]).ok(),
            id,
            "{format}"
        );
    }
}

#[test]
fn the_same_tar_gives_the_same_image() {
    let make = || {
        let environment = Environment::new();
        let mut command = environment.command(&["import", busybox_tar().to_str().unwrap(), "x"]);
        let output = command
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(make(), make());
}

#[test]
fn a_store_is_not_made_in_a_folder_of_other_things() {
    let environment = Environment::new();
    let file = environment.write("full/file", "x");
    let answer =
        environment.barque(&["--root", file.parent().unwrap().to_str().unwrap(), "images"]);
    assert!(answer.fails(1).contains("not empty"), "{}", answer.stderr);
}

#[test]
fn damage_is_named_repaired_and_gone() {
    let environment = Environment::with_busybox();
    let clean = environment.barque(&["fsck"]);
    assert!(clean.ok().ends_with("nothing is wrong"), "{}", clean.stdout);
    let layers = environment.path("../store/layers");
    let layer = std::fs::read_dir(layers)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let tar = layer.join("layer.tar");
    let mut bytes = std::fs::read(&tar).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&tar, bytes).unwrap();
    assert!(
        environment
            .barque(&["fsck", "--quick"])
            .ok()
            .ends_with("nothing is wrong")
    );
    let damaged = environment.barque(&["fsck"]);
    assert!(
        damaged.fails(1).contains("hint: `barque fsck --repair`"),
        "{}",
        damaged.stderr
    );
    assert!(
        damaged.stdout.contains("needed by: busybox"),
        "{}",
        damaged.stdout
    );
    let repaired = environment.barque(&["fsck", "--repair"]);
    assert!(
        repaired
            .ok()
            .contains("lost: image busybox:latest: pull or build it again"),
        "{}",
        repaired.stdout
    );
    let row: serde_json::Value =
        serde_json::from_str(environment.barque(&["fsck", "--format", "json"]).ok()).unwrap();
    assert_eq!(row["Problems"], serde_json::json!([]));
    assert_eq!(environment.barque(&["images", "-q"]).ok(), "");
}
