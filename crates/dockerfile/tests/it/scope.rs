//! Facts about ARG, ENV and what is predefined.

use dockerfile::expand::ExpandErrorKind;
use dockerfile::scope::{DEFAULT_PATH, GlobalScope, PlatformArgs, Settings, StageScope};
use dockerfile::{Dockerfile, InstructionKind as Kind, Stage};

use crate::support::{pair, parse};

fn settings(build_args: &[(&str, &str)]) -> Settings {
    let platform = PlatformArgs {
        platform: "linux/amd64".into(),
        os: "linux".into(),
        architecture: "amd64".into(),
        ..PlatformArgs::default()
    };
    Settings {
        build_args: build_args.iter().map(|(k, v)| pair(k, v)).collect(),
        target: platform.clone(),
        build: platform,
        target_stage: None,
    }
}

fn globals(file: &Dockerfile, build_args: &[(&str, &str)]) -> GlobalScope {
    GlobalScope::new(file, &settings(build_args)).unwrap()
}

/// Gives a stage's ARGs and ENVs to a scope.
fn go(scope: &mut StageScope, stage: &Stage) {
    for instruction in &stage.instructions {
        match &instruction.kind {
            Kind::Arg(definitions) => {
                for definition in definitions {
                    scope.arg(definition).unwrap();
                }
            }
            Kind::Env(pairs) => {
                scope.env(pairs).unwrap();
            }
            _ => {}
        }
    }
}

/// The scope at the end of the only stage.
fn end_of(source: &str, build_args: &[(&str, &str)]) -> StageScope {
    let file = parse(source);
    let mut scope = StageScope::new(&globals(&file, build_args), &[]);
    go(&mut scope, &file.stages[0]);
    scope
}

#[test]
fn f035_values_are_expanded_against_what_was_before_the_instruction() {
    let scope = end_of("FROM x\nENV abc=hello\nENV abc=bye def=$abc\n", &[]);
    assert_eq!(scope.get("def"), Some("hello"));
    assert_eq!(scope.get("abc"), Some("bye"));
}

#[test]
fn f087_global_args_are_unset_in_stages_that_do_not_ask() {
    let scope = end_of("ARG tag=x\nFROM x\n", &[]);
    assert_eq!(scope.get("tag"), None);
    let scope = end_of("ARG tag=x\nFROM x\nARG tag\n", &[]);
    assert_eq!(scope.get("tag"), Some("x"));
}

#[test]
fn f088_globals_use_each_other_and_stages_pull_them_in() {
    let source =
        "ARG a1=\"foo bar\" a2=box\nARG a3=\"$a2-foo\"\nFROM busy$a2\nARG a3 a4=\"1 2\" a1\n";
    let file = parse(source);
    let globals = globals(&file, &[]);
    assert_eq!(
        globals.expand(&file.stages[0].base).unwrap().text,
        "busybox"
    );
    let scope = end_of(source, &[]);
    for (name, value) in [("a1", "foo bar"), ("a3", "box-foo"), ("a4", "1 2")] {
        assert_eq!(scope.get(name), Some(value), "{name}");
    }
    assert_eq!(scope.get("a2"), None);
}

#[test]
fn f089_a_failing_global_default_matters_only_without_a_build_arg() {
    let source = "FROM x\nARG later\n";
    let file = parse(&format!("ARG FOO=${{FOO:?\"custom error\"}}\n{source}"));
    let error = GlobalScope::new(&file, &settings(&[])).unwrap_err();
    assert_eq!(error.message, "FOO: custom error");
    assert_eq!(error.span.first_line, 1);
    assert_eq!(globals(&file, &[("FOO", "bar")]).get("FOO"), Some("bar"));
}

#[test]
fn f090_a_default_is_not_evaluated_if_passed() {
    let source = "FROM x\nARG BAR=${FOO:?\"m\"}\n";
    let scope = end_of(source, &[("BAR", "b")]);
    assert_eq!(scope.get("BAR"), Some("b"));
    let file = parse(source);
    let Kind::Arg(definitions) = &file.stages[0].instructions[0].kind else {
        panic!()
    };
    let mut scope = StageScope::new(&globals(&file, &[]), &[]);
    let error = scope.arg(&definitions[0]).unwrap_err();
    assert!(matches!(error.kind, ExpandErrorKind::Required { .. }));
}

#[test]
fn f091_no_value_is_no_variable_and_an_empty_one_is_one() {
    let scope = end_of("FROM x\nARG FOO\nARG BAR=\n", &[]);
    assert_eq!((scope.get("FOO"), scope.get("BAR")), (None, Some("")));
    assert!(scope.has_arg("FOO"));
}

#[test]
fn f092_an_empty_build_arg_counts_as_set() {
    let mut scope = end_of("FROM x\nARG my_arg\n", &[("my_arg", "")]);
    assert_eq!(scope.expand("${my_arg:-def}").unwrap().text, "def");
    assert_eq!(scope.expand("${my_arg-def}").unwrap().text, "");
}

#[test]
fn f093_env_after_arg_wins_from_then_on() {
    let source = "FROM x\nARG my_arg\nENV my_arg \"my_arg=${my_arg:-x}\"\n";
    let scope = end_of(source, &[("my_arg", "1")]);
    assert_eq!(scope.get("my_arg"), Some("my_arg=1"));
    let scope = end_of(source, &[]);
    assert_eq!(scope.get("my_arg"), Some("my_arg=x"));
    assert!(
        scope
            .image_environment()
            .contains(&"my_arg=my_arg=x".to_owned())
    );
}

#[test]
fn f094_proxies_come_in_both_spellings_and_only_to_run() {
    let settings = settings(&[("http_proxy", "v"), ("HTTP_PROXY", "w"), ("NO_PROXY", "n")]);
    assert_eq!(
        settings.proxy_environment(),
        [
            pair("HTTP_PROXY", "v"),
            pair("NO_PROXY", "n"),
            pair("http_proxy", "v"),
            pair("no_proxy", "n")
        ]
    );
    let scope = end_of("FROM x\n", &[("http_proxy", "v")]);
    assert_eq!(scope.get("http_proxy"), None);
}

#[test]
fn f095_targetstage_needs_an_arg_in_the_stage() {
    let file = parse("FROM x AS one\nFROM y\n");
    assert_eq!(globals(&file, &[]).get("TARGETSTAGE"), Some("default"));
    let file = parse("FROM x\nFROM y AS two\n");
    assert_eq!(globals(&file, &[]).get("TARGETSTAGE"), Some("two"));
    let mut asked = settings(&[]);
    asked.target_stage = Some("one".to_owned());
    let scope = GlobalScope::new(&file, &asked).unwrap();
    assert_eq!(scope.get("TARGETSTAGE"), Some("one"));
    assert_eq!(end_of("FROM x\n", &[]).get("TARGETSTAGE"), None);
    assert_eq!(
        end_of("FROM x\nARG TARGETSTAGE\n", &[]).get("TARGETSTAGE"),
        Some("default")
    );
}

#[test]
fn f096_platform_args_are_overridden_one_by_one() {
    let file = parse("FROM x\n");
    let mut settings = settings(&[("TARGETOS", "freebsd")]);
    settings.target = PlatformArgs {
        platform: "darwin/ppc64le".into(),
        os: "darwin".into(),
        architecture: "ppc64le".into(),
        ..PlatformArgs::default()
    };
    let scope = GlobalScope::new(&file, &settings).unwrap();
    assert_eq!(scope.get("TARGETPLATFORM"), Some("darwin/ppc64le"));
    assert_eq!(scope.get("TARGETOS"), Some("freebsd"));
}

#[test]
fn f097_platform_args_in_from_need_no_declaration() {
    let file = parse("FROM build-${TARGETOS}\n");
    let scope = globals(&file, &[]);
    assert_eq!(
        scope.expand(&file.stages[0].base).unwrap().text,
        "build-linux"
    );
}

#[test]
fn f098_history_names_each_arg_once_in_first_seen_order() {
    let scope = end_of("FROM x\nARG foo=1\nARG bar=2\nARG foo=3\nARG none\n", &[]);
    let args = scope.history_args();
    assert_eq!(args, [pair("foo", "3"), pair("bar", "2"), pair("none", "")]);
    let shown = dockerfile::history::run(&args[..2], &["/bin/sh".into(), "-c".into(), "x".into()]);
    assert_eq!(shown, "RUN |2 foo=3 bar=2 /bin/sh -c x # buildkit");
}

#[test]
fn a_stage_built_from_a_stage_inherits_args_and_env() {
    let file = parse("FROM x AS a\nENV V=env\nARG V=arg W=w\nFROM a\n");
    let mut scope = StageScope::new(&globals(&file, &[]), &["V=base".to_owned()]);
    go(&mut scope, &file.stages[0]);
    assert_eq!(scope.get("V"), Some("arg"));
    let child = scope.child();
    assert_eq!((child.get("V"), child.get("W")), (Some("env"), Some("w")));
    assert_eq!(child.history_args(), [pair("V", "env"), pair("W", "w")]);
}

#[test]
fn path_is_there_whatever_the_base_and_env_keeps_its_place() {
    let scope = end_of("FROM x\nENV A=1 B=2\nENV A=3\n", &[]);
    let path = format!("PATH={DEFAULT_PATH}");
    assert_eq!(scope.image_environment(), [path.as_str(), "A=3", "B=2"]);
    let file = parse("FROM x\n");
    let scope = StageScope::new(
        &globals(&file, &[]),
        &["PATH=/x".to_owned(), "E".to_owned()],
    );
    assert_eq!(scope.image_environment(), ["PATH=/x", "E="]);
}

#[test]
fn all_growth_of_a_stage_is_bounded() {
    let file = parse("FROM x\n");
    let big = "x".repeat(1_000_000);
    let globals = globals(&file, &[]);
    let mut scope = StageScope::new(&globals, &[format!("BIG={big}")]);
    let refused = (0..100).find_map(|_| scope.expand("$BIG").err());
    assert_eq!(refused.unwrap().kind, ExpandErrorKind::TooLarge);
}
