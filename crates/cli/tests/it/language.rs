//! What the language has beyond Docker's, and what mistakes look like, from outside.

use crate::environment::Environment;

#[test]
fn build_args_come_from_files_and_the_flag_wins() {
    let environment = Environment::new();
    environment.write(
        "c/Dockerfile",
        "FROM scratch\nARG A\nARG B\nLABEL a=$A b=$B\n",
    );
    environment.write("args", "# versions\nA=one two\n\nB=file\n");
    let words = [
        "build",
        "-t",
        "x",
        "--build-arg-file",
        "args",
        "--build-arg",
        "B=flag",
        "c",
    ];
    environment.barque(&words).ok();
    let text = environment.barque(&["inspect", "x"]).ok().to_owned();
    assert!(
        text.contains("\"a\": \"one two\"") && text.contains("\"b\": \"flag\""),
        "{text}"
    );
}

#[test]
fn an_included_file_is_read_from_the_context_and_its_mistakes_are_shown_in_it() {
    let environment = Environment::new();
    let file = "# barque: extensions=include\nFROM scratch\nINCLUDE parts/labels\n";
    environment.write("c/Dockerfile", file);
    environment.write("c/parts/labels", "LABEL a=1\n");
    environment.barque(&["build", "-t", "x", "c"]).ok();
    environment.write("c/parts/labels", "LABEL a=1\nLABLE b=2\n");
    let answer = environment.barque(&["build", "c"]);
    let text = answer.fails(1);
    for part in [
        " --> parts/labels:2:1",
        " ::: Dockerfile:3:1",
        "included here",
        "did you mean `LABEL`?",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_finding_in_an_included_file_tells_where_that_was_included() {
    let environment = Environment::new();
    let file = "# barque: extensions=include\nFROM scratch\n\nINCLUDE parts/all\n";
    environment.write("c/Dockerfile", file);
    environment.write("c/parts/all", "LABEL a=1\nINCLUDE parts/one\n");
    environment.write("c/parts/one", "LABEL b 1\n");
    let answer = environment.barque(&["build", "--progress", "plain", "c"]);
    answer.ok();
    let way = "included at parts/all:2, included at Dockerfile:4 (parts/one:1, docs/checks/LegacyKeyValueFormat.md)";
    assert!(answer.stderr.contains(way), "{}", answer.stderr);
    let answer = environment.barque(&["build", "--check", "c"]);
    let text = &answer.stdout;
    assert!(text.contains("parts/one:1\n"), "{text}");
    let way = "included here: parts/all:2\nincluded here: Dockerfile:4\n";
    assert!(text.contains(way), "{text}");
}

#[test]
fn a_missing_source_is_shown_in_dockers_form_with_the_nearest_name() {
    let environment = Environment::new();
    environment.write("c/Dockerfile", "FROM scratch\nCOPY pakage.json /\n");
    environment.write("c/package.json", "{}");
    let answer = environment.barque(&["build", "--progress", "plain", "c"]);
    let text = answer.fails(1);
    assert!(
        text.contains("Dockerfile:2\n--------------------\n"),
        "{text}"
    );
    assert!(text.contains("   2 | >>> COPY pakage.json /"), "{text}");
    assert!(
        text.trim_end()
            .ends_with("hint: did you mean `package.json`?"),
        "{text}"
    );
}

#[test]
fn a_check_names_its_rule_and_page() {
    let environment = Environment::new();
    environment.write("c/Dockerfile", "FROM scratch AS Base\nENV a=b\n");
    let answer = environment.barque(&["build", "--progress", "plain", "c"]);
    answer.ok();
    let text = &answer.stderr;
    assert!(text.contains("warning: StageNameCasing: "), "{text}");
    assert!(
        text.contains("(Dockerfile:1, docs/checks/StageNameCasing.md)"),
        "{text}"
    );
    environment.write(
        "c/Dockerfile",
        "# check=error=true\nFROM scratch AS Base\nENV a=b\n",
    );
    let answer = environment.barque(&["build", "--progress", "plain", "c"]);
    let text = answer.fails(1);
    assert!(text.contains("error[StageNameCasing]: "), "{text}");
    assert!(
        text.contains("see: docs/checks/StageNameCasing.md"),
        "{text}"
    );
}

#[test]
fn a_mistyped_flag_is_answered_with_the_nearest_and_nothing_else() {
    let environment = Environment::new();
    for (flag, expected) in [("--targt", Some("--target")), ("--frobnicate", None)] {
        let answer = environment.barque(&["build", flag, "x", "c"]);
        let text = answer.fails(1);
        assert!(!text.contains("-- --"), "{text}");
        if let Some(expected) = expected {
            assert!(text.contains(expected), "{text}");
        }
    }
    let answer = environment.barque(&["build", "--also-check", "UnsedStage", "c"]);
    assert!(answer.fails(1).contains("did you mean `UnusedStage`?"));
}

#[test]
fn an_unknown_target_is_answered_with_the_stages() {
    let environment = Environment::new();
    environment.write(
        "c/Dockerfile",
        "FROM scratch AS test\nFROM scratch AS production\n",
    );
    let answer = environment.barque(&["build", "--progress", "plain", "--target", "prod", "c"]);
    let text = answer.fails(1);
    assert!(text.contains("error: no stage is called `prod`"), "{text}");
    assert!(text.contains("hint: stages are test, production"), "{text}");
    assert!(!text.contains(">>>"), "{text}");
}

#[test]
fn several_targets_are_built_at_once_and_what_they_share_only_once() {
    let environment = Environment::new();
    let file = "FROM scratch AS base\nCOPY f /base\nFROM base AS a\nCOPY f /a\nFROM base AS b\nCOPY f /b\n";
    environment.write("c/Dockerfile", file);
    environment.write("c/f", "x");
    let words = [
        "build",
        "--progress",
        "plain",
        "--no-cache",
        "--target",
        "a=one:1",
        "--target",
        "b=two",
        "--target",
        "a=one:2",
        "--metadata-file",
        "meta",
        "--iidfile",
        "ids",
        "c",
    ];
    let answer = environment.barque(&words);
    answer.ok();
    let text = &answer.stderr;
    assert_eq!(text.matches("COPY f /base\n").count(), 2, "{text}");
    assert_eq!(
        text.matches(" CACHED\n").count(),
        1,
        "the second time it is found: {text}"
    );
    let id = |name: &str| {
        environment
            .barque(&["images", "-q", "--no-trunc", name])
            .ok()
            .to_owned()
    };
    assert_eq!(id("one:1"), id("one:2"));
    assert_eq!(environment.barque(&["ls", "two:/"]).ok().lines().count(), 2);
    let meta: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(environment.path("meta")).unwrap()).unwrap();
    assert_eq!(
        meta["a"]["containerimage.config.digest"],
        id("one:1").as_str()
    );
    assert_eq!(meta["b"]["image.name"], "docker.io/library/two:latest");
    let ids = std::fs::read_to_string(environment.path("ids")).unwrap();
    assert_eq!(ids.lines().collect::<Vec<_>>(), [id("one:1"), id("two")]);
    // A name that is wrong is said before anything is built, and nothing gets a name.
    let words = [
        "build",
        "--progress",
        "plain",
        "--no-cache",
        "--target",
        "a=three",
        "--target",
        "bb=four",
        "c",
    ];
    let answer = environment.barque(&words);
    let text = answer.fails(1);
    assert!(
        text.contains("no stage is called `bb`") && !text.contains("COPY f"),
        "{text}"
    );
    assert_eq!(id("three"), "");
}
