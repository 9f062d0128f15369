//! Checks: what each finds, what it leaves alone, and how it is turned off.

use dockerfile::ignore::Patterns;
use dockerfile::lint::{self, Asked, BaseImage, Config, Input, RULES};
use dockerfile::scope::{PlatformArgs, Settings};

use crate::support::parse;

fn settings() -> Settings {
    let platform = PlatformArgs {
        platform: "linux/amd64".into(),
        os: "linux".into(),
        architecture: "amd64".into(),
        ..PlatformArgs::default()
    };
    Settings {
        target: platform.clone(),
        build: platform,
        ..Settings::default()
    }
}

/// Rule and line of each finding.
pub(crate) fn found_with(
    source: &str,
    ignore: Option<&str>,
    is_used: &dyn Fn(usize) -> bool,
) -> Vec<(String, u32)> {
    let file = parse(source);
    let config = Config::of(&file, None).unwrap();
    let patterns = ignore.map(|text| Patterns::parse(text).unwrap());
    let input = Input {
        file: &file,
        settings: &settings(),
        ignore: patterns.as_ref(),
        base_image: &|name| {
            (name != "unknown").then(|| BaseImage {
                environment: vec!["FROM_BASE=1".into()],
                has_shell: name == "with-shell",
            })
        },
        is_image_name: &|name| !name.is_empty() && !name.ends_with(':'),
        is_used,
    };
    let found = lint::check(&input, &config);
    found
        .iter()
        .map(|d| (d.code.to_owned(), d.span.first_line))
        .collect()
}

fn found(source: &str) -> Vec<(String, u32)> {
    found_with(source, None, &|_| true)
}

fn one(rule: &str, line: u32) -> Vec<(String, u32)> {
    vec![(rule.to_owned(), line)]
}

#[test]
fn each_rule_finds_its_bad_example_and_only_that() {
    for (rule, line, source) in [
        ("StageNameCasing", 1, "FROM x AS Base\n"),
        ("FromAsCasing", 1, "FROM x as base\n"),
        ("FromAsCasing", 1, "from x AS base\n"),
        ("NoEmptyContinuation", 3, "FROM x\nRUN a \\\n\n b\n"),
        ("ConsistentInstructionCasing", 3, "FROM x\nUSER a\nuser b\n"),
        ("ConsistentInstructionCasing", 2, "FROM x\nUser a\n"),
        ("DuplicateStageName", 2, "FROM x AS a\nFROM y AS a\n"),
        ("ReservedStageName", 1, "FROM x AS scratch\n"),
        ("JSONArgsRecommended", 2, "FROM x\nCMD a b\n"),
        ("JSONArgsRecommended", 2, "FROM x\nENTRYPOINT a b\n"),
        ("MaintainerDeprecated", 2, "FROM x\nMAINTAINER me\n"),
        (
            "UndefinedArgInFrom",
            2,
            "ARG VERSION=1\nFROM x:${VERSIN:-2}\n",
        ),
        ("WorkdirRelativePath", 2, "FROM x\nWORKDIR a\nWORKDIR b\n"),
        ("UndefinedVar", 2, "FROM x\nCOPY $foo /bar\n"),
        ("UndefinedVar", 2, "FROM x\nENV a=$a\n"),
        (
            "UndefinedVar",
            2,
            "FROM x\nRUN --mount=type=cache,target=$d/x a\n",
        ),
        (
            "MultipleInstructionsDisallowed",
            2,
            "FROM x\nCMD [\"a\"]\nCMD [\"b\"]\n",
        ),
        ("LegacyKeyValueFormat", 2, "FROM x\nENV a b\n"),
        ("LegacyKeyValueFormat", 2, "FROM x\nLABEL a b\n"),
        (
            "RedundantTargetPlatform",
            1,
            "FROM --platform=$TARGETPLATFORM x\n",
        ),
        ("SecretsUsedInArgOrEnv", 2, "FROM x\nARG GITHUB_TOKEN\n"),
        ("InvalidDefaultArgInFrom", 2, "ARG TAG\nFROM x:$TAG\n"),
        (
            "FromPlatformFlagConstDisallowed",
            1,
            "FROM --platform=linux/amd64 x\n",
        ),
        ("ExposeProtoCasing", 2, "FROM x\nEXPOSE 80/TCP\n"),
        ("ExposeInvalidFormat", 2, "FROM x\nEXPOSE 127.0.0.1:80:80\n"),
    ] {
        assert_eq!(found(source), one(rule, line), "{source}");
    }
}

#[test]
fn good_examples_have_no_findings() {
    for source in [
        "FROM x AS base\nFROM base\n",
        "from x as base\nuser a\n",
        "FROM x\nSHELL [\"/bin/bash\", \"-c\"]\nCMD a b\n",
        "FROM with-shell\nCMD a b\n",
        "ARG V=1\nFROM x:$V\nARG V\nUSER $V\n",
        "FROM x\nWORKDIR /a\nWORKDIR b\n",
        "FROM x AS a\nWORKDIR /a\nFROM a\nWORKDIR b\n",
        "FROM x\nARG foo\nUSER $foo$FROM_BASE\n",
        "FROM x AS a\nENV e=1\nFROM a\nUSER $e\n",
        "FROM unknown\nUSER $whatever\n",
        "FROM x\nCMD [\"a\"]\nFROM y\nCMD [\"b\"]\n",
        "FROM --platform=$BUILDPLATFORM x\n",
        "FROM --platform=linux/arm64 x AS tool-arm64\n",
        "FROM x\nRUN echo $undefined\n",
    ] {
        assert_eq!(found(source), [], "{source}");
    }
}

#[test]
fn f213_copying_what_is_ignored() {
    let with = |ignore, source: &str| found_with(source, Some(ignore), &|_| true);
    let copied = one("CopyIgnoredFile", 2);
    assert_eq!(with("*", "FROM x\nCOPY . .\n"), copied);
    assert_eq!(with("*\n!a", "FROM x\nCOPY . .\n"), []);
    assert_eq!(with("secret", "FROM x\nCOPY . .\n"), []);
    assert_eq!(with("secret", "FROM x\nADD ./secret/a /b\n"), copied);
    assert_eq!(with("secret", "FROM x\nCOPY --from=y secret /b\n"), []);
}

#[test]
fn f214_skipping_all_beats_error() {
    let source = "# check=skip=all;error=true\nFROM x\nMAINTAINER me\n";
    assert_eq!(found(source), []);
    assert!(Config::of(&parse(source), None).unwrap().error);
    let config = Config::of(&parse(source), Some("skip=A, B")).unwrap();
    assert!(!config.error && !config.wants("B") && config.wants("C"));
    for bad in ["skip", "skp=A", "error=maybe"] {
        assert!(Config::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn f215_a_comment_skips_for_the_next_instruction_only() {
    let source = "FROM x\n# check=skip=LegacyKeyValueFormat // it has to\nENV a b\nENV c d\n";
    assert_eq!(found(source), one("LegacyKeyValueFormat", 4));
}

#[test]
fn f216_unused_stages_are_left_alone_unless_asked_for() {
    let source = "FROM x AS a\nENV a b\nFROM y\n";
    assert_eq!(found_with(source, None, &|index| index == 1), []);
    assert_eq!(found(source), one("LegacyKeyValueFormat", 2));
    // Rules about FROM lines and about the whole file as well.
    let source = "FROM x AS A\nMAINTAINER m\nrun a \\\n\n b\nFROM y as b\nRUN c\n";
    assert_eq!(
        found_with(source, None, &|index| index == 1),
        one("FromAsCasing", 6)
    );
    assert_eq!(found_with(source, None, &|index| index == 0).len(), 4);
}

#[test]
fn a_working_directory_is_absolute_as_the_platform_of_its_stage_has_it() {
    let start = "# escape=`\nFROM --platform=windows/amd64 x AS windows\n";
    for (path, expected) in [
        ("C:\\go", 0),
        ("c:/go", 0),
        ("\\go", 0),
        ("/go", 0),
        ("C:go", 1),
        ("D:\\go", 1),
        ("\\\\host\\go", 1),
        ("go", 1),
    ] {
        let found = found(&format!("{start}WORKDIR {path}\n"));
        let found = found
            .iter()
            .filter(|(rule, _)| rule == "WorkdirRelativePath");
        assert_eq!(found.count(), expected, "{path}");
    }
    let linux = "# escape=`\nFROM x\nWORKDIR C:\\go\n";
    assert_eq!(found(linux), one("WorkdirRelativePath", 3));
}

#[test]
fn f217_names_that_look_like_secrets() {
    for name in [
        "PUBLIC_KEY",
        "X_FILE",
        "AUTH_MODULE_VERSION",
        "KEYBOARD",
        "TOKENIZER",
    ] {
        assert_eq!(found(&format!("FROM x\nENV {name}=1\n")), [], "{name}");
    }
    for name in ["git_key", "AUTH", "api_apikey", "Db_Password"] {
        let expected = one("SecretsUsedInArgOrEnv", 2);
        assert_eq!(
            found(&format!("FROM x\nENV {name}=1\n")),
            expected,
            "{name}"
        );
    }
}

#[test]
fn the_experimental_rule_is_off_until_asked_for() {
    for source in [
        "# other words\nARG a\nFROM x\n",
        "# other words\nFROM x AS a\n",
    ] {
        assert_eq!(found(source), [], "{source}");
        let asked = found(&format!("# check=experimental=all\n{source}"));
        assert_eq!(asked, one("InvalidDefinitionDescription", 3), "{source}");
    }
}

#[test]
fn rules_of_ours_are_off_until_the_file_or_the_caller_asks() {
    for (rule, line, source) in [
        ("CopySeveralToFile", 3, "FROM x\nCOPY a b dst\n"),
        ("AddWithoutChecksum", 3, "FROM x\nADD https://h/a /b\n"),
        ("UnusedStage", 2, "FROM x AS a\nFROM y\n"),
        ("AptUpdateAlone", 3, "FROM x\nRUN apt-get update -q\n"),
        (
            "AptUpdateAlone",
            3,
            "FROM x\nRUN <<EOF\napt-get update\nEOF\n",
        ),
        (
            "CacheMountElsewhere",
            3,
            "FROM x\nRUN --mount=type=cache,target=/c/npm npm ci\n",
        ),
    ] {
        assert_eq!(found(source), [], "{source}");
        let all = found(&format!("# check=experimental=all\n{source}"));
        assert_eq!(all, [], "Docker's `all` does not mean them: {source}");
        for asked in [
            "# barque: check=all".to_owned(),
            format!("# barque:check=UnusedStage,{rule}"),
            format!("# check=experimental={rule}"),
        ] {
            assert_eq!(
                found(&format!("{asked}\n{source}")),
                one(rule, line),
                "{asked}\n{source}"
            );
        }
    }
    let good = "# barque: check=all\n\n# a of use\nARG a=x\nFROM $a AS b\nCOPY x y z/\nCOPY x .\n\
        ADD https://h/r.git?commit=0123abcd /b\nRUN apt-get update && apt-get install -y x\nFROM b\n";
    assert_eq!(found(good), []);
}

#[test]
fn what_nobody_asked_for_does_not_stop_a_build() {
    let config = |text: &str| Config::of(&parse(text), None).unwrap();
    let plain = config("# check=error=true\nFROM x\n");
    assert!(plain.wants("SecretInLayer") && !plain.counts("SecretInLayer"));
    assert!(plain.counts("StageNameCasing") && !plain.wants("UnusedStage"));
    let asked = config("# check=error=true\n# barque: check=SecretInLayer\nFROM x\n");
    assert!(asked.counts("SecretInLayer"));
    let mut config = plain;
    config.asked.extend(&Asked::parse("all").unwrap());
    assert!(config.wants("UnusedStage") && config.counts("UnusedStage"));
    assert!(!config_skipping("UnusedStage").wants("UnusedStage"));
}

fn config_skipping(rule: &str) -> Config {
    let source = format!("# check=skip={rule}\n# barque: check=all\nFROM x\n");
    Config::of(&parse(&source), None).unwrap()
}

#[test]
fn asking_for_an_unknown_rule_or_one_of_dockers_is_an_error() {
    let error = |text| Asked::parse(text).unwrap_err();
    let hint = error("UnsedStage").hint.unwrap();
    assert_eq!(hint, "did you mean `UnusedStage`?");
    assert!(
        error("StageNameCasing")
            .hint
            .unwrap()
            .contains("on in any case")
    );
    assert!(error("Nonsense").hint.unwrap().contains("AptUpdateAlone"));
    let (code, message) = crate::support::error("# barque: check=Nonsense\nFROM x\n");
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("unknown-rule", "unknown rule `Nonsense`")
    );
}

#[test]
fn secrets_copied_into_the_result_are_found() {
    for (line, source) in [
        (2, "FROM x\nCOPY .env /app/\n"),
        (2, "FROM x\nADD keys/id_rsa /root/.ssh/id_rsa\n"),
        (2, "FROM x AS a\nCOPY .npmrc .\nFROM a\n"),
        (
            2,
            "FROM x\nRUN --mount=type=secret,id=t cp /run/secrets/t /etc/t\n",
        ),
        (
            2,
            "FROM x\nRUN --mount=type=secret,id=t,env=T <<EOF\necho $T > /etc/t\nEOF\n",
        ),
    ] {
        assert_eq!(found(source), one("SecretInLayer", line), "{source}");
    }
    for source in [
        "FROM x\nCOPY .env.example /app/\n",
        "FROM x AS a\nCOPY .npmrc .\nRUN make\nFROM y\nCOPY --from=a /out /\n",
        "FROM x\nRUN --mount=type=secret,id=t,target=/root/.npmrc npm ci\n",
        "FROM x\n# check=skip=SecretInLayer // no token in it\nCOPY .npmrc .\n",
    ] {
        assert_eq!(found(source), [], "{source}");
    }
}

#[test]
fn all_of_dockers_rules_are_there() {
    let dockers = RULES.iter().filter(|r| !r.ours).count();
    assert_eq!(dockers, 22);
    assert_eq!(RULES.iter().filter(|r| !r.ours && !r.on).count(), 1);
    assert!(
        RULES
            .windows(2)
            .all(|w| w[0].name.to_lowercase() < w[1].name.to_lowercase())
    );
}
