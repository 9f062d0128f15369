//! Facts about directives, lines, flags, the JSON form and words.

use dockerfile::expand::{Empty, word};
use dockerfile::{Healthcheck, InstructionKind as Kind, detect_syntax};

use crate::support::{code, copy, error, errors, exec, kind, one, pair, pairs, parse, run, shell};

#[test]
fn f001_escape_after_an_ordinary_comment_is_a_comment() {
    let file = parse("# hello\n# escape=`\nFROM x\nRUN a \\\n b\n");
    assert_eq!(file.directives.escape, '\\');
    assert_eq!(file.stages[0].instructions.len(), 1);
}

#[test]
fn f002_escape_needs_no_blank_line_behind_it() {
    let file = parse("# escape=`\nFROM x\nRUN a `\n b\n");
    assert_eq!(file.directives.escape, '`');
    assert_eq!(file.stages[0].instructions[0].original, "RUN a  b");
}

#[test]
fn f003_a_directive_given_twice_is_an_error() {
    let found = errors("# syntax=a\n# Syntax = b\nFROM x\n");
    assert_eq!(found[0].code, "duplicate-directive");
    assert_eq!(found[0].span.first_line, 2);
    assert_eq!(found[0].labels[0].span.first_line, 1);
    assert_eq!(error("# escape=x\nFROM x\n").0, "invalid-escape");
}

#[test]
fn f004_an_unknown_directive_ends_the_directives() {
    let file = parse("# unknown=1\n# escape=`\nFROM x\n");
    assert_eq!(file.directives.escape, '\\');
    let file = parse("\n# escape=`\nFROM x\n");
    assert_eq!(file.directives.escape, '\\');
}

#[test]
fn f005_syntax_is_found_behind_a_shebang() {
    let source = "#!/usr/bin/env x\n# syntax=docker/dockerfile:1 --arg\nFROM x\n";
    let file = parse(source);
    assert_eq!(file.directives.frontend(), Some("docker/dockerfile:1"));
    assert_eq!(detect_syntax(source).unwrap(), "docker/dockerfile:1 --arg");
}

#[test]
fn f006_syntax_of_other_formats() {
    assert_eq!(
        detect_syntax("// syntax=img\nint main() {}\n").unwrap(),
        "img"
    );
    assert_eq!(
        detect_syntax("{\"a\": 1, \"syntax\": \"img\"}").unwrap(),
        "img"
    );
    assert_eq!(detect_syntax("\u{feff}#  syntax = img \n").unwrap(), "img");
    assert_eq!(detect_syntax("FROM x\n# syntax=img\n"), None);
}

#[test]
fn f007_only_args_and_nothing_at_all_are_distinct_errors() {
    assert_eq!(error("ARG foo=bar\n").0, "no-stages");
    assert_eq!(error("# nothing\n\n").0, "empty-file");
    assert_eq!(error("").0, "empty-file");
    assert_eq!(error("RUN x\n").0, "no-stage");
}

#[test]
fn f008_an_unknown_keyword_is_named_and_the_nearest_offered() {
    let found = errors("FROM x\nFNTRYPOINT [\"x\"]\n");
    assert_eq!(found[0].message, "unknown instruction `FNTRYPOINT`");
    assert_eq!(found[0].hints, ["did you mean `ENTRYPOINT`?"]);
    assert_eq!(found[0].span.range(), 7..17);
}

#[test]
fn f009_a_continuation_keeps_its_indent() {
    assert_eq!(shell("RUN hello\\\n  world"), "hello  world");
}

#[test]
fn f010_blanks_behind_the_escape_do_not_break_it() {
    assert_eq!(shell("RUN echo hello  \\  \nworld"), "echo hello  world");
}

#[test]
fn f011_blank_lines_inside_an_instruction_are_skipped_with_a_warning() {
    let file = parse("FROM x\nRUN foo \\\n\nbar \\\n  \nbaz\n");
    assert_eq!(file.stages[0].instructions[0].original, "RUN foo bar baz");
    let [warning] = &file.warnings[..] else {
        panic!("{:?}", file.warnings)
    };
    assert_eq!(
        (warning.code, warning.span.first_line),
        ("NoEmptyContinuation", 3)
    );
}

#[test]
fn f012_a_line_of_only_a_blank_and_the_escape_adds_its_blank() {
    assert_eq!(shell("RUN a\\\n \\\nb"), "a b");
}

#[test]
fn f013_an_escape_at_the_end_of_the_file_is_tolerated() {
    let file = parse("FROM x\nRUN something \\");
    assert_eq!(file.stages[0].instructions[0].original, "RUN something");
}

#[test]
fn f014_two_escapes_are_no_continuation() {
    let file = parse("FROM x\nENV a=b\\\\\nRUN x\n");
    assert_eq!(file.stages[0].instructions.len(), 2);
}

#[test]
fn f015_a_comment_between_continued_lines_is_dropped() {
    assert_eq!(shell("RUN a \\\n  # comment \\\n b"), "a  b");
}

#[test]
fn f016_there_are_no_trailing_comments() {
    assert_eq!(pairs("LABEL a b # c"), [pair("a", "b # c")]);
}

#[test]
fn f017_a_line_of_65536_bytes_is_an_error() {
    let longest = format!("FROM x\nRUN {}\n", "a".repeat(65_535 - 4));
    assert_eq!(parse(&longest).stages[0].instructions.len(), 1);
    let longer = format!("FROM x\nRUN {}\n", "a".repeat(65_536 - 4));
    assert_eq!(error(&longer).0, "line-too-long");
}

#[test]
fn f018_what_is_not_json_is_for_the_shell() {
    for text in [r#"["a" "b"]"#, "['a']", r#"["a""#] {
        assert_eq!(shell(&format!("CMD {text}")), text);
    }
}

#[test]
fn f019_json_with_other_than_strings_is_an_error() {
    assert_eq!(code(r#"CMD ["a", 1]"#), "json-not-strings");
    assert_eq!(code(r#"RUN ["a", ["b"]]"#), "json-not-strings");
}

#[test]
fn f020_json_with_text_behind_it_is_for_the_shell() {
    let text = r#"["echo","hello"]this is invalid"#;
    assert_eq!(shell(&format!("RUN {text}")), text);
}

#[test]
fn f021_an_empty_array_with_text_behind_it_is_for_the_shell() {
    let Kind::Entrypoint(command) = kind("ENTRYPOINT []random string") else {
        panic!()
    };
    let shell = ["/bin/sh".to_owned(), "-c".to_owned()];
    assert_eq!(command.argv(&shell), ["/bin/sh", "-c", "[]random string"]);
}

#[test]
fn f022_an_empty_array_is_an_empty_command() {
    assert_eq!(exec("CMD []"), [""; 0]);
}

#[test]
fn f023_json_escapes_apply() {
    assert_eq!(exec(r#"CMD ["\/usr\\\"/bin/x"]"#), [r#"/usr\"/bin/x"#]);
}

#[test]
fn f024_a_bare_double_dash_ends_flags() {
    let copy = copy("COPY -- --foo /tmp/");
    assert_eq!(copy.paths().collect::<Vec<_>>(), ["--foo"]);
    assert_eq!(copy.destination, "/tmp/");
}

#[test]
fn f025_a_flag_without_its_value_is_an_error() {
    assert_eq!(code("COPY --chown foo /"), "invalid-flag");
    assert_eq!(copy("COPY --chown= foo /").flags.chown, None);
}

#[test]
fn f026_switches_are_true_or_false() {
    assert_eq!(code("COPY --link=maybe a b"), "invalid-flag");
    assert_eq!(code("COPY --link= a b"), "invalid-flag");
    assert_eq!(code("COPY --link --link a b"), "duplicate-flag");
    assert!(copy("COPY --link a b").flags.link);
    assert!(copy("COPY --link=TRUE a b").flags.link);
    assert!(!copy("COPY --link=false a b").flags.link);
}

#[test]
fn f027_arg_stopsignal_and_healthcheck_none_ignore_stray_flags() {
    assert!(matches!(kind("ARG --foo X"), Kind::Arg(a) if a[0].name == "X"));
    assert!(matches!(kind("STOPSIGNAL --x 9"), Kind::StopSignal(s) if s == "9"));
    assert!(
        matches!(kind("HEALTHCHECK --x NONE"), Kind::Healthcheck(h) if *h == Healthcheck::None)
    );
    assert_eq!(code("HEALTHCHECK --x CMD a"), "unknown-flag");
    assert_eq!(code("USER --x a"), "unknown-flag");
}

#[test]
fn f028_keywords_in_any_case() {
    for keyword in ["copy", "Copy", "COPY"] {
        assert!(matches!(kind(&format!("{keyword} a b")), Kind::Copy(_)));
    }
    assert_eq!(one("cOpY a b").keyword_as_written(), "cOpY");
}

#[test]
fn f029_healthcheck_knows_cmd_and_none() {
    assert_eq!(code("HEALTHCHECK CONNECT x"), "unknown-healthcheck");
    assert_eq!(code("HEALTHCHECK NONE x"), "unexpected-argument");
    assert_eq!(code("HEALTHCHECK CMD"), "missing-argument");
    assert_eq!(code("HEALTHCHECK --interval=1us CMD a"), "invalid-flag");
    assert_eq!(code("HEALTHCHECK --retries=-1 CMD a"), "invalid-flag");
    let Kind::Healthcheck(check) = kind("HEALTHCHECK --interval=5s --retries=2 cmd a b") else {
        panic!()
    };
    let Healthcheck::Command { options, .. } = *check else {
        panic!()
    };
    assert_eq!(
        (options.interval, options.timeout, options.retries),
        (5_000_000_000, 0, 2)
    );
}

#[test]
fn f030_triggers_that_are_not_allowed() {
    for trigger in ["FROM x", "onbuild RUN x", "MAINTAINER x"] {
        assert_eq!(code(&format!("ONBUILD {trigger}")), "onbuild-trigger");
    }
    assert_eq!(code("ONBUILD RUNN x"), "unknown-instruction");
    assert_eq!(code("ONBUILD COPY x"), "missing-argument");
}

#[test]
fn f031_shell_takes_json_only() {
    let found = errors("FROM x\nSHELL /bin/bash -c\n");
    assert_eq!(found[0].code, "shell-not-json");
    assert_eq!(
        found[0].hints,
        [r#"write it as `SHELL ["/bin/bash", "-c"]`"#]
    );
    assert_eq!(code("SHELL []"), "missing-argument");
}

#[test]
fn f032_a_volume_is_not_empty() {
    assert_eq!(code(r#"VOLUME [""]"#), "empty-volume");
    assert_eq!(code("VOLUME"), "missing-argument");
    assert!(matches!(kind(r#"VOLUME ["/a b", "/c"]"#), Kind::Volume(v) if v == ["/a b", "/c"]));
    assert!(matches!(kind("VOLUME /a  /b"), Kind::Volume(v) if v == ["/a", "/b"]));
}

#[test]
fn f033_env_needs_a_value_for_each_name() {
    assert_eq!(code("ENV PATH"), "missing-value");
    assert_eq!(code("ENV a=b c"), "missing-equals");
    assert_eq!(code("ENV =b"), "empty-name");
}

#[test]
fn f034_legacy_env_takes_the_whole_line() {
    let all = [pair("ONE", "TWO= THREE=world")];
    assert_eq!(pairs("ENV ONE TWO= THREE=world"), all);
}

#[test]
fn f036_quotes_and_escapes_in_values() {
    let value = |instruction| {
        let (_, value) = pairs(instruction).remove(0);
        word(&value, '\\', &Empty).map(|e| e.text)
    };
    assert_eq!(value(r"ENV name=value\ value2").unwrap(), "value value2");
    assert_eq!(value(r#"ENV name="a\"b""#).unwrap(), "a\"b");
    assert!(value(r"ENV name='a\'b'").is_err());
}

#[test]
fn byte_order_mark_and_carriage_returns() {
    let file = parse("\u{feff}# escape=`\r\nFROM x\r\nRUN a `\r\n  b\r\n");
    assert_eq!(file.directives.escape, '`');
    assert_eq!(file.stages[0].instructions[0].original, "RUN a   b");
}

#[test]
fn from_and_its_words() {
    let file = parse("FROM --platform=$P img:1 as Base-1\nFROM base-1\n");
    let stage = &file.stages[0];
    assert_eq!(stage.name.as_deref(), Some("base-1"));
    assert_eq!(stage.name_as_written.as_deref(), Some("Base-1"));
    assert_eq!(
        (stage.base.as_str(), stage.platform.as_deref()),
        ("img:1", Some("$P"))
    );
    assert_eq!(file.find_stage("BASE-1"), Some(0));
    for bad in ["FROM", "FROM a b", "FROM a b c", "FROM a AS b c"] {
        assert_eq!(error(bad).0, "from-arguments", "{bad}");
    }
    for bad in ["FROM a AS 1b", "FROM a AS b/c", "FROM a AS é"] {
        assert_eq!(error(bad).0, "stage-name", "{bad}");
    }
    assert_eq!(error("FROM --plattform=x a").0, "unknown-flag");
}

#[test]
fn comments_above_describe() {
    let file = parse("# V the version\nARG V=1\n# other\n\n# base what all need\nFROM x AS base\n");
    let v = file.global_definitions().next().unwrap();
    assert_eq!(v.description.as_deref(), Some("the version"));
    assert_eq!(file.stages[0].description.as_deref(), Some("what all need"));
    assert_eq!(file.stages[0].comments, ["other", "base what all need"]);
}

#[test]
fn several_errors_come_together_and_in_order() {
    let found = errors("FROM x\nRUM a\nCOPY x\nUSER\nCOPY --frm=a --lnk b c\n");
    let lines: Vec<_> = found.iter().map(|e| (e.span.first_line, e.code)).collect();
    assert_eq!(
        lines,
        [
            (2, "unknown-instruction"),
            (3, "missing-argument"),
            (4, "missing-argument"),
            (5, "unknown-flag"),
            (5, "unknown-flag"),
        ]
    );
    assert_eq!(found[3].hints, ["did you mean `--from`?"]);
}

#[test]
fn errors_point_into_continued_lines() {
    let source = "FROM x\nCOPY \\\n  --frm=a \\\n  b c\n";
    let found = errors(source);
    assert_eq!(&source[found[0].span.range()], "--frm");
    assert_eq!(found[0].span.first_line, 3);
}

#[test]
fn f164_mistyped_mounts_are_named_with_what_was_meant() {
    for (flag, message, hint) in [
        (
            "--mont=type=bind,target=/a",
            "unknown flag `--mont` of RUN",
            "--mount",
        ),
        (
            "--mount=typ=bind",
            "unknown key `typ` in `typ=bind` of `--mount`",
            "type",
        ),
        (
            "--mount=type=tmp,target=/a",
            "unknown mount type `tmp`",
            "tmpfs",
        ),
        ("--network=hots", "unknown network mode `hots`", "host"),
    ] {
        let found = errors(&format!("FROM x\nRUN {flag} x\n"));
        assert_eq!(found[0].message, message);
        assert_eq!(found[0].hints, [format!("did you mean `{hint}`?")]);
    }
}

#[test]
fn f165_a_mount_is_a_read_only_bind_of_the_context() {
    let run = run("RUN --mount=target=/c x");
    let mount = run.flags.mounts[0]
        .resolve(&mut |v| Ok(v.to_owned()))
        .unwrap();
    assert_eq!(mount.mount_type, dockerfile::mount::MountType::Bind);
    assert!(mount.read_only && mount.from.is_none());
    assert_eq!(mount.target_in("/w").unwrap(), "/c");
}

#[test]
fn f103_mounts_from_a_variable_are_refused_with_advice() {
    let found = errors("FROM x\nRUN --mount=from=$X,target=/a x\n");
    assert!(found[0].hints[0].contains("FROM … AS name"), "{found:?}");
}

#[test]
fn f156_checksum_is_a_flag_of_add_only() {
    assert_eq!(code("COPY --checksum=sha256:a a b"), "unknown-flag");
}

#[test]
fn parse_instruction_takes_exactly_one() {
    let one = dockerfile::parse_instruction("RUN <<EOF\nx\nEOF").unwrap();
    assert!(matches!(one.kind, Kind::Run(_)));
    for bad in ["", "FROM x", "RUN a\nRUN b", "RUM a", "# only a comment"] {
        assert!(dockerfile::parse_instruction(bad).is_err(), "{bad}");
    }
}

#[test]
fn errors_are_limited_in_number() {
    let many = format!("FROM x\nCOPY {} a b\n", "--x ".repeat(10_000));
    assert_eq!(errors(&many).len(), 50);
    assert_eq!(errors(&"RUM x\n".repeat(10_000)).len(), 50);
}
