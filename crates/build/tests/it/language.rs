//! Extensions in builds, what mistakes say, and checks that only a build can make.

use build::{Asked, CopyError, Error, StepError};
use testkit::image;

use crate::support::Site;

/// A base with two settings of each kind.
fn site() -> Site {
    let site = Site::new();
    image()
        .file("f", b"f")
        .env("A=1")
        .env("B=2")
        .config(|config| {
            let config = &mut config.config;
            config.volumes.insert("/data".to_owned(), oci::Empty {});
            config.volumes.insert("/logs".to_owned(), oci::Empty {});
            config
                .exposed_ports
                .insert("80/tcp".to_owned(), oci::Empty {});
            config
                .exposed_ports
                .insert("53/udp".to_owned(), oci::Empty {});
            config.labels.insert("a.b".to_owned(), "1".to_owned());
            config.labels.insert("c".to_owned(), "2".to_owned());
        })
        .name("base")
        .build(&site.store)
        .unwrap();
    site
}

fn extended(name: &str, rest: &str) -> String {
    format!("# barque: extensions={name}\n{rest}")
}

#[test]
fn what_the_base_set_can_be_taken_away() {
    let site = site();
    let all = site.build(&extended(
        "reset",
        "FROM base\nVOLUME --reset\nEXPOSE --reset\nLABEL --reset\nENV --unset A\nVOLUME /own\n",
    ));
    let config = &all.config.config;
    assert_eq!(config.volumes.keys().collect::<Vec<_>>(), ["/own"]);
    assert!(config.exposed_ports.is_empty() && config.labels.is_empty());
    assert!(
        !config.env.iter().any(|e| e.starts_with("A=")),
        "{:?}",
        config.env
    );
    assert!(config.env.contains(&"B=2".to_owned()));
    let history = all.created_by();
    assert_eq!(
        history[history.len() - 5..][..2],
        ["VOLUME --reset", "EXPOSE --reset"]
    );
    let some = site.build(&extended(
        "reset",
        "FROM base\nARG W=logs\nVOLUME --unset /$W/ /gone\nEXPOSE --unset 80 53/UDP\nLABEL --unset c\n",
    ));
    let config = &some.config.config;
    assert_eq!(config.volumes.keys().collect::<Vec<_>>(), ["/data"]);
    assert!(config.exposed_ports.is_empty());
    assert_eq!(config.labels.keys().collect::<Vec<_>>(), ["a.b"]);
    assert_eq!(some.created_by().last().unwrap(), "LABEL --unset c");
}

#[test]
fn a_variable_that_was_taken_away_is_unset_for_what_follows_and_for_stages_built_on_it() {
    let site = site();
    let outcome = site.build(&extended(
        "reset",
        "FROM base AS a\nENV --unset A\nENV C=${A-none}\nFROM a\nENV D=${A-none}$B\n",
    ));
    let env = &outcome.config.config.env;
    assert!(
        env.contains(&"C=none".to_owned()) && env.contains(&"D=none2".to_owned()),
        "{env:?}"
    );
}

#[test]
fn optional_sources_that_are_missing_are_left_out() {
    let site = Site::new();
    site.write("there", "x");
    let outcome = site.build(&extended(
        "if-exists",
        "FROM scratch AS a\nCOPY there /in/a\nFROM scratch\nCOPY --if-exists there gone no/such /d/\n\
         COPY --if-exists --from=a /in/a /in/b /e/\nADD --if-exists gone2 /f/\nCOPY --if-exists --parents gone3/x /g/\n",
    ));
    let names = outcome.names();
    assert!(
        names.contains(&"/d/there".to_owned()) && names.contains(&"/e/a".to_owned()),
        "{names:?}"
    );
    assert!(
        !names
            .iter()
            .any(|n| n.contains("gone") || n.contains("such")),
        "{names:?}"
    );
    let message = site.fail(&extended("if-exists", "FROM scratch\nCOPY gone /d/\n"));
    assert!(message.contains("not found"), "{message}");
}

#[test]
fn an_optional_source_that_appears_is_copied_by_the_next_build() {
    let site = Site::new();
    site.write("a", "a");
    let file = extended("if-exists", "FROM scratch\nCOPY --if-exists a b /d/\n");
    assert_eq!(site.build(&file).names(), ["/d", "/d/a"]);
    assert!(site.build(&file).all_cached());
    site.write("b", "b");
    assert_eq!(site.build(&file).names(), ["/d", "/d/a", "/d/b"]);
}

#[test]
fn included_instructions_are_built_and_kept_in_history_as_if_written_here() {
    let mut site = Site::new();
    site.write("f", "f");
    let part = "ENV A=1\nCOPY f /f\n".to_owned();
    site.request.includes.insert("part".to_owned(), Ok(part));
    let included = site.build(&extended(
        "include",
        "FROM scratch\nINCLUDE part\nENV B=$A\n",
    ));
    let plain = site.build("FROM scratch\nENV A=1\nCOPY f /f\nENV B=$A\n");
    assert_eq!(
        included.created_by(),
        ["ENV A=1", "COPY f /f # buildkit", "ENV B=1"]
    );
    assert_eq!(included.built.image.digest, plain.built.image.digest);
}

#[test]
fn a_step_of_an_included_file_fails_in_that_file() {
    let mut site = Site::new();
    let part = "ENV A=1\nCOPY gone /f\n".to_owned();
    site.request.includes.insert("part".to_owned(), Ok(part));
    let file = extended("include", "FROM scratch\nINCLUDE part\n");
    let Err(Error::Step(failure)) = site.try_build(&file) else {
        panic!("the build did not fail as it should");
    };
    assert_eq!((failure.span.file, failure.span.first_line), (1, 2));
    site.request.dockerfile.text = file;
    let names: Vec<String> = site.request.sources().into_iter().map(|s| s.name).collect();
    assert_eq!(names[1], "part");
}

#[test]
fn a_source_that_is_not_there_is_answered_with_the_nearest_name() {
    let site = Site::new();
    site.write("package.json", "{}")
        .write("src/main.c", "x")
        .write("src/lib/deep.c", "x");
    for (path, expected) in [
        ("pakage.json", Some("package.json")),
        ("scr/main.c", Some("src")),
        ("src/mian.c", Some("src/main.c")),
        ("src/lbi/deep.c", Some("src/lib")),
        ("Package.JSON", Some("package.json")),
        ("nothing-like-it", None),
    ] {
        let error = site.try_build(&format!("FROM scratch\nCOPY {path} /x\n"));
        let Err(Error::Step(failure)) = error else {
            panic!("the build did not fail as it should");
        };
        let StepError::Copy(CopyError::NotFound { nearest, .. }) = failure.source else {
            panic!("{failure:?}");
        };
        assert_eq!(nearest.as_deref(), expected, "{path}");
    }
}

#[test]
fn an_unknown_target_names_the_stages_and_no_place() {
    let mut site = Site::new();
    site.request.target = Some("prodution".to_owned());
    let Err(Error::Dockerfile(found)) =
        site.try_build("FROM scratch AS test\nFROM scratch AS production\nENV a=b\n")
    else {
        panic!("the build did not fail as it should");
    };
    assert!(found[0].span.is_nowhere());
    assert_eq!(
        found[0].hints,
        ["did you mean `production`?", "stages are test, production"]
    );
}

#[test]
fn steps_of_a_base_with_triggers_are_counted_from_the_beginning() {
    let site = Site::new();
    site.write("f", "f");
    image()
        .file("f", b"f")
        .config(|config| config.config.on_build = vec!["COPY f /g".to_owned()])
        .name("base")
        .build(&site.store)
        .unwrap();
    let steps = site.build("FROM base\nCOPY f /h\n").steps();
    assert_eq!(
        steps,
        [
            "CACHED [1/3] FROM base:latest",
            "DONE [2/3] COPY f /g",
            "DONE [3/3] COPY f /h"
        ]
    );
}

#[test]
fn rules_of_ours_can_be_asked_for_without_touching_the_file() {
    let mut site = Site::new();
    site.write("a", "a").write("b", "b");
    let file = "# check=error=true\nFROM scratch\nCOPY a b d\n";
    site.build(file);
    site.request.also_check = Asked::parse("CopySeveralToFile").unwrap();
    assert!(matches!(site.try_build(file), Err(Error::Dockerfile(_))));
}

#[test]
fn a_secret_in_a_layer_warns_and_does_not_stop_a_build() {
    let site = Site::new();
    site.write(".env", "a=b");
    let outcome = site.build("# check=error=true\nFROM scratch\nCOPY .env /\n");
    let codes: Vec<_> = outcome
        .events
        .iter()
        .filter_map(|event| match event {
            build::Event::Warning { finding, .. } => Some(finding.code),
            _ => None,
        })
        .collect();
    assert_eq!(codes, ["SecretInLayer"]);
}

#[test]
fn the_page_about_base_images_of_other_platforms_is_right() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/checks/InvalidBaseImagePlatform.md"
    );
    let page = std::fs::read_to_string(path).unwrap();
    let example = page.split("```dockerfile\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let mut site = Site::new();
    image()
        .file("f", b"f")
        .name("busybox")
        .build(&site.store)
        .unwrap();
    for (platform, expected) in [(None, 0), (Some("linux/s390x"), 1)] {
        site.request.platform = platform.map(|p| p.parse().unwrap());
        let events = site.build(&format!("{example}ENV a={expected}\n")).events;
        let found = events.iter().filter(|event| {
            matches!(event, build::Event::Warning { finding, .. } if finding.code == "InvalidBaseImagePlatform")
        });
        assert_eq!(found.count(), expected);
    }
}

#[test]
fn f207_a_child_has_no_triggers_but_its_own() {
    let site = Site::new();
    let onbuild = |file: &str| site.build(file).config.config.on_build;
    let base = "FROM scratch AS base\nONBUILD ENV a=b\nFROM base\n";
    assert!(onbuild(&format!("{base}ENV c=d\n")).is_empty());
    assert_eq!(onbuild(&format!("{base}ONBUILD ENV c=d\n")), ["ENV c=d"]);
}

#[test]
fn all_that_is_wrong_with_values_is_told_at_once() {
    let site = site();
    let messages = |file: &str| match site.try_build(file) {
        Err(Error::Dockerfile(found)) => found
            .iter()
            .map(|mistake| mistake.message.clone())
            .collect::<Vec<_>>(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("the build did not fail"),
    };
    let file = "FROM base AS one\nEXPOSE 99999\nSTOPSIGNAL FOO\nWORKDIR ${w:?where}\nFROM one\nUSER ${u:?who}\n";
    let found = messages(file);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found[0].contains("`99999` is not a port"), "{found:?}");
    assert!(found[3].contains("who"), "{found:?}");
    // What follows may need the variable: it is not to blame.
    let found = messages("FROM base\nEXPOSE x\nENV C=${NOPE:?none}\nSTOPSIGNAL $C\n");
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(
        messages("# check=eror=true\nFROM base\n"),
        ["unknown check option `eror=true`"]
    );
    // An image that is not there is for later: the mistake is known now.
    let found = messages("FROM base AS a\nEXPOSE x\nFROM nowhere.invalid/b\nCOPY --from=a f f\n");
    assert_eq!(found.len(), 1, "{found:?}");
}
