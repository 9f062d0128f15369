//! Stages, named contexts, triggers.

use build::NamedContext;
use testkit::image;

use crate::support::Site;

#[test]
fn f099_stage_names_are_found_whatever_their_case() {
    let mut site = Site::new();
    site.write("f", "f");
    site.request.target = Some("Stage1".to_owned());
    let outcome = site.build(
        "FROM scratch AS STAge0\nCOPY f /f\nFROM scratch AS stage1\nCOPY --from=staGE0 /f /g\nFROM scratch\nENV not=built\n",
    );
    assert_eq!(outcome.names(), ["/g"]);
}

#[test]
fn f100_f101_from_names_a_stage_before_an_image() {
    let site = Site::new();
    site.write("f", "stage");
    image()
        .file("f", b"image")
        .name("golang")
        .build(&site.store)
        .unwrap();
    let outcome =
        site.build("FROM scratch AS golang\nCOPY f /f\nFROM scratch\nCOPY --from=golang /f /f\n");
    assert_eq!(outcome.read("f"), "stage");
    assert_eq!(
        site.build("FROM scratch\nCOPY --from=golang /f /f\n")
            .read("f"),
        "image"
    );
    assert_eq!(
        site.build("FROM scratch\nCOPY f /f\nFROM scratch\nCOPY --from=0 /f /g\n")
            .read("g"),
        "stage"
    );
}

#[test]
fn f102_a_stage_must_come_before_its_use() {
    let mut site = Site::new();
    site.request.target = Some("0".to_owned());
    let message =
        site.fail("FROM scratch\nCOPY --from=build /f /f\nFROM scratch AS build\nENV a=b\n");
    assert!(message.contains("must be defined before"), "{message}");
}

#[test]
fn f103_variables_in_from_are_refused() {
    let site = Site::new();
    let message = site.fail("FROM scratch\nARG X=a\nCOPY --from=$X /f /f\n");
    assert!(message.contains("variables are not expanded"), "{message}");
}

#[test]
fn f104_a_mistyped_target_has_a_hint() {
    let mut site = Site::new();
    site.request.target = Some("bulid".to_owned());
    match site.try_build("FROM scratch AS build\nENV a=b\n") {
        Err(build::Error::Dockerfile(diagnostics)) => {
            assert_eq!(diagnostics[0].hints[0], "did you mean `build`?");
        }
        _ => panic!("the build did not fail as it should"),
    }
}

#[test]
fn a_mistyped_stage_of_from_and_copy_has_a_hint_and_a_place() {
    let mut site = Site::new();
    let directory = NamedContext::Directory(site.path("."));
    site.request.contexts.insert("assets".to_owned(), directory);
    let stage = "FROM scratch AS build\nENV a=b\n";
    for (rest, expected) in [
        ("FROM scratch\nCOPY --from=biuld /f /f\n", "build"),
        (
            "FROM scratch\nRUN --mount=from=asets,target=/m x\n",
            "assets",
        ),
        ("FROM Bild\nENV a=b\n", "build"),
    ] {
        match site.try_build(&format!("{stage}{rest}")) {
            Err(build::Error::Base { meant, .. }) => assert_eq!(meant.as_deref(), Some(expected)),
            Err(build::Error::Dockerfile(found)) => {
                let hint = format!("did you mean `{expected}`?");
                assert_eq!(found[0].hints, [hint], "{rest}");
            }
            _ => panic!("the build did not fail as it should: {rest}"),
        }
    }
}

#[test]
fn what_only_the_plan_sees_is_marked_as_narrowly_as_what_the_parser_sees() {
    let mut site = Site::new();
    site.request.target = Some("0".to_owned());
    for (text, marked) in [
        ("COPY --from=build /f /f", "build"),
        ("RUN --mount=target=/m,from=build x", "build"),
        ("RUN --network=host x", "RUN --network=host"),
        ("USER ${A:?}", "USER ${A:?}"),
    ] {
        let source = format!("FROM scratch\n{text}\nFROM scratch AS build\n");
        match site.try_build(&source) {
            Err(build::Error::Dockerfile(found)) => {
                assert_eq!(&source[found[0].span.range()], marked, "{}", found[0]);
            }
            _ => panic!("the build did not fail as it should: {text}"),
        }
    }
}

#[test]
fn f105_f110_named_contexts_replace_images() {
    let mut site = Site::new();
    image()
        .file("f", b"alpine")
        .name("alpine")
        .build(&site.store)
        .unwrap();
    let named = NamedContext::Image("alpine".parse().unwrap());
    site.request.contexts.insert("busybox".to_owned(), named);
    let outcome = site
        .build("FROM busybox AS a\nFROM scratch\nCOPY --from=busybox /f /g\nCOPY --from=a /f /h\n");
    assert_eq!(
        (outcome.read("g"), outcome.read("h")),
        ("alpine".to_owned(), "alpine".to_owned())
    );
    assert_eq!(
        site.build("FROM docker.io/library/busybox:latest\nENV a=b\n")
            .read("f"),
        "alpine"
    );
    site.request
        .contexts
        .insert("busybox".to_owned(), NamedContext::Scratch);
    assert!(site.build("FROM busybox\nENV a=b\n").tree().is_empty());
}

#[test]
fn f106_a_named_context_in_the_place_of_a_stage_skips_its_body() {
    let mut site = Site::new();
    image()
        .file("f", b"replaced")
        .name("alpine")
        .build(&site.store)
        .unwrap();
    site.request.contexts.insert(
        "dep".to_owned(),
        NamedContext::Image("alpine".parse().unwrap()),
    );
    let outcome = site.build("FROM nosuch AS dep\nCOPY nosuch /\nFROM dep\nENV a=b\n");
    assert_eq!(outcome.read("f"), "replaced");
}

#[test]
fn f107_unneeded_stages_are_not_even_resolved() {
    let site = Site::new();
    let outcome = site.build("FROM nosuch AS a\nCOPY nosuch /\nFROM scratch\nENV a=b\n");
    assert_eq!(outcome.created_by(), ["ENV a=b"]);
    let message = site.fail("FROM nosuch\nENV a=b\n");
    assert!(message.contains("nosuch"), "{message}");
}

#[test]
fn f109_a_named_context_for_one_platform() {
    let mut site = Site::new();
    for name in ["arm", "amd"] {
        image()
            .file("f", name.as_bytes())
            .name(name)
            .build(&site.store)
            .unwrap();
    }
    let named = |name: &str| NamedContext::Image(name.parse().unwrap());
    site.request
        .contexts
        .insert("base::linux/arm64".to_owned(), named("arm"));
    site.request
        .contexts
        .insert("base::linux/amd64".to_owned(), named("amd"));
    for (platform, expected) in [("linux/arm64", "arm"), ("linux/amd64", "amd")] {
        site.request.platform = Some(platform.parse().unwrap());
        assert_eq!(site.build("FROM base\nENV a=b\n").read("f"), expected);
    }
}

#[test]
fn f111_an_image_without_layers_is_a_base() {
    let site = Site::new();
    site.write("f", "f");
    site.build("FROM scratch\nENV a=b\n");
    let mut tagged = Site::new();
    tagged.request.tags = vec!["empty".parse().unwrap()];
    tagged.build("FROM scratch\nENV a=b\n");
    tagged.request.tags.clear();
    tagged.write("f", "f");
    assert_eq!(tagged.build("FROM empty\nCOPY f /\n").names(), ["/f"]);
}

#[test]
fn a_named_directory_is_a_context_of_its_own() {
    let mut site = Site::new();
    let other = site.outside("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("x"), "other").unwrap();
    site.request
        .contexts
        .insert("other".to_owned(), NamedContext::Directory(other));
    assert_eq!(
        site.build("FROM scratch\nCOPY --from=other x /\n").tree(),
        ["f 644 0:0 /x \"other\""]
    );
    assert!(
        site.build("FROM scratch\nCOPY --from=other x /\n")
            .all_cached()
    );
}

#[test]
fn a_named_directory_has_an_ignore_file_of_its_own() {
    let mut site = Site::new();
    let other = site.outside("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("x"), "x").unwrap();
    std::fs::write(other.join("y"), "y").unwrap();
    std::fs::write(other.join(".dockerignore"), "x\n.dockerignore").unwrap();
    site.request.ignore = Some(build::Text {
        name: ".dockerignore".to_owned(),
        text: "y".to_owned(),
    });
    site.request
        .contexts
        .insert("other".to_owned(), NamedContext::Directory(other));
    assert_eq!(
        site.build("FROM scratch\nCOPY --from=other . /\n").names(),
        ["/y"]
    );
}

#[test]
fn a_base_for_another_platform_gets_a_warning() {
    let mut site = Site::new();
    image()
        .file("f", b"f")
        .name("base")
        .build(&site.store)
        .unwrap();
    let warnings = |site: &Site| {
        let events = site.build("FROM base\nENV a=b\n").events;
        let warning = |event: &build::Event| match event {
            build::Event::Warning { finding, .. } => Some(finding.code),
            _ => None,
        };
        events.iter().filter_map(warning).collect::<Vec<_>>()
    };
    assert!(warnings(&site).is_empty());
    site.request.platform = Some("linux/s390x".parse().unwrap());
    assert_eq!(warnings(&site), ["InvalidBaseImagePlatform"]);
}

#[test]
fn what_is_missing_in_a_stage_is_named_with_it() {
    let site = Site::new();
    site.write("f", "f");
    let message = site.fail("FROM scratch AS one\nCOPY f /\nFROM scratch\nCOPY --from=one /g /\n");
    assert_eq!(message, "`/g` not found in `one`");
}

#[test]
fn f204_f205_triggers_run_once_in_the_child() {
    let site = Site::new();
    site.write("f", "f");
    let outcome = site.build(
        "FROM scratch AS base\nONBUILD COPY f /triggered\nFROM base AS mid\nENV a=b\nFROM mid\nENV c=d\n",
    );
    assert_eq!(
        outcome.created_by(),
        ["COPY f /triggered # buildkit", "ENV a=b", "ENV c=d"]
    );
    assert_eq!(outcome.names(), ["/triggered"]);
    assert!(outcome.config.config.on_build.is_empty(), "f207");
}

#[test]
fn f206_a_trigger_may_need_a_stage_of_the_child() {
    let mut site = Site::new();
    site.request.tags = vec!["parent".parse().unwrap()];
    site.build("FROM scratch\nONBUILD COPY --from=other /f /got\n");
    site.request.tags.clear();
    site.write("f", "f");
    let outcome = site.build("FROM scratch AS other\nCOPY f /f\nFROM parent\nENV a=b\n");
    assert_eq!(outcome.names(), ["/got"]);
}

#[test]
fn a_long_chain_of_stages_is_planned_without_recursion() {
    let site = Site::new();
    let mut text = String::from("FROM scratch AS s0\n");
    for number in 1..3000 {
        text.push_str(&format!("FROM s{} AS s{number}\n", number - 1));
    }
    text.push_str("ENV a=b\n");
    assert_eq!(site.build(&text).created_by(), ["ENV a=b"]);
}
