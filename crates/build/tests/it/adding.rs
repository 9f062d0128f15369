//! ADD of archives.

use testkit::image;

use crate::support::Site;

/// A tar of these members: name, and content or, after `->`, a link's target.
fn tar(members: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = layer::tar::Writer::new(Vec::new());
    for (name, content) in members {
        let meta = match (
            name.ends_with('/'),
            content.strip_prefix("-> "),
            content.strip_prefix("= "),
        ) {
            (true, _, _) => layer::Meta::dir(0o711),
            (_, Some(target), _) => layer::Meta::symlink(target),
            (_, _, Some(target)) => layer::Meta::new(
                layer::Kind::HardLink {
                    target: target.as_bytes().to_vec(),
                },
                0o644,
            ),
            _ => layer::Meta {
                uid: 9,
                ..layer::Meta::file(content.len() as u64, 0o640)
            },
        };
        let body = if matches!(meta.kind, layer::Kind::File { .. }) {
            content.as_bytes()
        } else {
            b""
        };
        writer
            .append(name.trim_end_matches('/').as_bytes(), &meta, &mut { body })
            .unwrap();
    }
    writer.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let level = layer::compression::Level::default();
    let mut encoder =
        layer::compression::Encoder::new(Vec::new(), layer::compression::Compression::Gzip, level)
            .unwrap();
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn f147_add_unpacks_a_local_archive_and_copy_does_not() {
    let site = Site::new();
    std::fs::write(
        site.path("t.tar.gz"),
        gzip(&tar(&[("a", "A"), ("d/", ""), ("d/b", "B")])),
    )
    .unwrap();
    std::fs::write(site.path("looks.tar"), "it is none").unwrap();
    let outcome = site.build("FROM scratch\nADD t.tar.gz /\nADD looks.tar /\n");
    assert_eq!(
        outcome.tree(),
        [
            "f 640 9:0 /a \"A\"",
            "d 711 0:0 /d",
            "f 640 9:0 /d/b \"B\"",
            "f 644 0:0 /looks.tar \"it is none\""
        ]
    );
    assert_eq!(
        site.build("FROM scratch\nCOPY t.tar.gz /\n").names(),
        ["/t.tar.gz"]
    );
    assert_eq!(
        site.build("FROM scratch\nADD --unpack=false t.tar.gz /\n")
            .names(),
        ["/t.tar.gz"]
    );
    assert!(
        site.build("FROM scratch\nADD t.tar.gz /\nADD looks.tar /\n")
            .all_cached()
    );
}

#[test]
fn f148_every_archive_that_a_wildcard_matches_is_unpacked() {
    let site = Site::new();
    std::fs::write(site.path("1.tar"), tar(&[("one", "1")])).unwrap();
    std::fs::write(site.path("2.tar"), tar(&[("two", "2")])).unwrap();
    assert_eq!(
        site.build("FROM scratch\nADD *.tar /dest\n").names(),
        ["/dest", "/dest/one", "/dest/two"]
    );
}

#[test]
fn f149_chown_counts_for_members_and_destination() {
    let site = Site::new();
    std::fs::write(site.path("t.tar"), tar(&[("d/", ""), ("d/x", "x")])).unwrap();
    let outcome = site.build("FROM scratch\nADD --chown=100:200 t.tar /out/\n");
    for path in ["out", "out/d", "out/d/x"] {
        assert!(outcome.owner(path).ends_with("100:200"), "{path}");
    }
}

#[test]
fn f150_parents_that_an_archive_lacks_are_made() {
    let site = Site::new();
    std::fs::write(site.path("t.tar"), tar(&[("a/b/c", "c")])).unwrap();
    assert_eq!(
        site.build("FROM scratch\nADD t.tar /x\n").tree(),
        [
            "d 755 0:0 /x",
            "d 755 0:0 /x/a",
            "d 755 0:0 /x/a/b",
            "f 640 9:0 /x/a/b/c \"c\""
        ]
    );
}

#[test]
fn f151_a_member_below_a_link_of_the_image_goes_where_the_link_leads() {
    let site = Site::new();
    image()
        .symlink("var/run", "/run")
        .dir("run", 0o700)
        .file("run/old", b"old")
        .name("base")
        .build(&site.store)
        .unwrap();
    std::fs::write(
        site.path("t.tar"),
        tar(&[("var/run/pid", "1"), ("var/run/link", "= var/run/pid")]),
    )
    .unwrap();
    let outcome = site.build("FROM base\nADD t.tar /\n");
    assert_eq!(
        outcome.names(),
        [
            "/run",
            "/run/link",
            "/run/old",
            "/run/pid",
            "/var",
            "/var/run"
        ]
    );
    assert_eq!(outcome.owner("run"), "700 0:0");
    assert_eq!(outcome.read("run/link"), "1");
}

#[test]
fn members_that_point_out_stay_inside() {
    let site = Site::new();
    let outside = site.outside("out");
    let deep = format!("../../../../../../../..{}", outside.display());
    let members = [
        ("../../up", "1"),
        ("/abs", "2"),
        ("link", deep.as_str()),
        ("l", "-> ../../../.."),
        ("l/through", "3"),
        ("loop", "-> loop"),
    ];
    std::fs::write(site.path("t.tar"), tar(&members)).unwrap();
    let outcome = site.build("FROM scratch\nADD t.tar /dest/\n");
    assert_eq!(outcome.read("dest/up"), "1");
    assert_eq!(outcome.read("dest/abs"), "2");
    assert_eq!(outcome.read("through"), "3");
    std::fs::write(
        site.path("t.tar"),
        tar(&[("loop", "-> loop"), ("loop/x", "x")]),
    )
    .unwrap();
    assert!(
        site.fail("FROM scratch\nADD t.tar /dest/\n")
            .contains("too many links")
    );
    std::fs::write(site.path("t.tar"), tar(&[(".wh..wh..opq", "")])).unwrap();
    assert!(
        site.fail("FROM scratch\nADD t.tar /dest/\n")
            .contains(".wh.")
    );
    assert!(!outside.exists());
}

#[test]
fn urls_are_refused_clearly() {
    let site = Site::new();
    assert!(
        site.fail("FROM scratch\nCOPY https://example.com/x /\n")
            .contains("COPY cannot fetch")
    );
    assert!(
        site.fail("FROM scratch\nADD https://example.com/x /\n")
            .contains("this build has no network")
    );
    assert!(
        site.fail("FROM scratch\nADD --checksum=sha256:00 x /\n")
            .contains("--checksum")
    );
}
