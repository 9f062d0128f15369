//! What the language has beyond BuildKit's, and that it has it only where it is asked for.

use dockerfile::lint::{self, Config, Input};
use dockerfile::scope::Settings;
use dockerfile::{Diagnostic, InstructionKind as Kind, Parsed, Settable, Unset, parse_including};

use crate::support::{error, errors, parse};

/// Reads a file that may include these, which need no directive of their own.
fn including(source: &str, files: &[(&str, &str)]) -> Parsed {
    let source = format!("# barque: extensions=include\n{source}");
    parse_including(&source, &mut |path| {
        let found = files.iter().find(|(name, _)| *name == path);
        found
            .map(|(_, text)| (*text).to_owned())
            .ok_or_else(|| "there is no such file".to_owned())
    })
}

fn included_errors(source: &str, files: &[(&str, &str)]) -> Vec<Diagnostic> {
    including(source, files).file.unwrap_err()
}

fn keywords(parsed: &Parsed) -> Vec<String> {
    let file = parsed.file.as_ref().unwrap();
    let mut out: Vec<String> = file
        .global_args
        .iter()
        .map(|i| i.original.clone())
        .collect();
    for stage in &file.stages {
        out.push(stage.original.clone());
        out.extend(stage.instructions.iter().map(|i| i.original.clone()));
    }
    out
}

#[test]
fn without_the_directive_nothing_of_it_exists() {
    for (source, flag) in [
        ("COPY --if-exists a b", "unknown flag `--if-exists` of COPY"),
        ("ADD --if-exists a b", "unknown flag `--if-exists` of ADD"),
        ("ENV --unset A", "unknown flag `--unset` of ENV"),
        ("VOLUME --reset", "unknown flag `--reset` of VOLUME"),
        ("LABEL --reset", "unknown flag `--reset` of LABEL"),
        ("EXPOSE --unset 80", "unknown flag `--unset` of EXPOSE"),
        ("INCLUDE x", "unknown instruction `INCLUDE`"),
    ] {
        let found = errors(&format!("FROM x\n{source}\n"));
        assert_eq!(found[0].message, flag);
        assert!(
            found[0].hints[0].contains("# barque: extensions="),
            "{:?}",
            found[0].hints
        );
    }
    // A slip of the finger is not answered with what is not there.
    assert_eq!(errors("FROM x\nINCLUD a\n")[0].hints, [""; 0]);
}

#[test]
fn the_directive_stands_at_the_top_behind_dockers() {
    let file = parse(
        "# syntax=a\n# escape=`\n# a comment\n#barque:extensions=reset\nFROM x\nVOLUME --reset\n",
    );
    assert_eq!(file.directives.escape, '`');
    let late = [
        "# comment\n\n# barque: extensions=reset\nFROM x\nVOLUME --reset\n",
        "FROM x\n# barque: extensions=reset\nVOLUME --reset\n",
    ];
    for source in late {
        assert_eq!(error(source).0, "unknown-flag", "{source}");
    }
    // To Docker it is a comment, and after a comment there is no directive.
    let file = parse("# barque: extensions=reset\n# escape=`\nFROM x\n");
    assert_eq!(file.directives.escape, '\\');
}

#[test]
fn an_unknown_extension_or_directive_is_an_error_with_the_nearest_name() {
    let one = |source: &str| {
        let found = errors(source);
        (found[0].code, found[0].hints.join(" "))
    };
    assert_eq!(
        one("# barque: extensions=includ\nFROM x\n"),
        ("unknown-extension", "did you mean `include`?".to_owned())
    );
    assert_eq!(
        one("# barque: extension=include\nFROM x\n"),
        ("unknown-directive", "did you mean `extensions`?".to_owned())
    );
    assert_eq!(
        error("# barque: check=all\n# barque: check=all\nFROM x\n").0,
        "duplicate-directive"
    );
    // Prose is prose.
    parse("# barque: builds this\nFROM x\n");
}

#[test]
fn settings_are_taken_away_by_name_or_altogether() {
    let kinds = |text: &str| -> Vec<Kind> {
        let file = parse(&format!("# barque: extensions=reset\nFROM x\n{text}"));
        file.stages[0]
            .instructions
            .iter()
            .map(|i| i.kind.clone())
            .collect()
    };
    let unset = |what, names: &[&str]| {
        let names = names.iter().map(|n| (*n).to_owned()).collect();
        Kind::Unset(Unset { what, names })
    };
    assert_eq!(
        kinds(
            "ENV --unset A B\nVOLUME --reset\nLABEL --unset a.b\nEXPOSE --unset=true 80\nLABEL --reset\n"
        ),
        [
            unset(Settable::Env, &["A", "B"]),
            unset(Settable::Volume, &[]),
            unset(Settable::Label, &["a.b"]),
            unset(Settable::Expose, &["80"]),
            unset(Settable::Label, &[]),
        ]
    );
    assert!(matches!(
        kinds("VOLUME --reset=false /x\n")[0],
        Kind::Volume(_)
    ));
    let code = |text: &str| error(&format!("# barque: extensions=reset\nFROM x\n{text}\n")).0;
    for (text, expected) in [
        ("VOLUME --reset /data", "unexpected-argument"),
        ("ENV --unset", "missing-argument"),
        ("ENV --unset A=1", "unexpected-argument"),
        ("LABEL --reset --unset a", "invalid-flag"),
        ("ENV --reset", "unknown-flag"),
        ("ONBUILD VOLUME --reset", "unknown-flag"),
    ] {
        assert_eq!(code(text), expected, "{text}");
    }
}

#[test]
fn triggers_have_no_extensions_since_other_builders_read_them() {
    let source = "# barque: extensions=if-exists\nFROM x\nONBUILD COPY --if-exists a b\n";
    let found = errors(source);
    assert_eq!(found[0].code, "unknown-flag");
    assert!(
        found[0].hints[0].contains("ONBUILD"),
        "{:?}",
        found[0].hints
    );
}

#[test]
fn an_optional_source_is_a_flag_of_copy_and_add() {
    let file = parse("# barque: extensions=if-exists\nFROM x\nCOPY --if-exists a b\nADD a b\n");
    let on = |at: usize| match &file.stages[0].instructions[at].kind {
        Kind::Copy(copy) | Kind::Add(copy) => copy.flags.if_exists,
        other => panic!("{other:?}"),
    };
    assert!(on(0) && !on(1));
}

#[test]
fn included_instructions_stand_where_the_include_stands() {
    let parsed = including(
        "INCLUDE args\nFROM x\nRUN a\nINCLUDE ./sub/../tools\nRUN z\ninclude '/more stages'\n",
        &[
            ("args", "ARG V=1\n"),
            ("tools", "RUN b\nRUN <<EOF\nc\nEOF\n"),
            ("more stages", "USER u\nFROM y AS last\nUSER v\n"),
        ],
    );
    assert_eq!(
        keywords(&parsed),
        [
            "ARG V=1",
            "FROM x",
            "RUN a",
            "RUN b",
            "RUN <<EOF",
            "RUN z",
            "USER u",
            "FROM y AS last",
            "USER v"
        ]
    );
    let paths: Vec<&str> = parsed.included.iter().map(|i| i.path.as_str()).collect();
    assert_eq!(paths, ["args", "tools", "more stages"]);
}

#[test]
fn places_name_the_file_that_they_are_in() {
    let tools = "# tools\nRUN b\n";
    let parsed = including(
        "FROM x\nINCLUDE tools\nRUN a\nINCLUDE tools\n",
        &[("tools", tools)],
    );
    let file = parsed.file.unwrap();
    let spans: Vec<_> = file.stages[0].instructions.iter().map(|i| i.span).collect();
    let at: Vec<(u32, u32)> = spans.iter().map(|s| (s.file, s.first_line)).collect();
    assert_eq!(
        at,
        [(1, 2), (0, 4), (1, 2)],
        "a file has one number however often it is included"
    );
    assert_eq!(&parsed.included[0].text[spans[0].range()], "RUN b");
}

#[test]
fn mistakes_in_included_files_say_how_we_got_there() {
    let found = included_errors(
        "FROM x\nINCLUDE a\nRUNN x\n",
        &[("a", "INCLUDE b\n"), ("b", "\nCOPPY x y\n")],
    );
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[0].code, found[0].span.file, found[0].span.first_line),
        ("unknown-instruction", 0, 4)
    );
    let inner = &found[1];
    assert_eq!((inner.span.file, inner.span.first_line), (2, 2));
    let way: Vec<(u32, u32)> = inner
        .labels
        .iter()
        .map(|l| (l.span.file, l.span.first_line))
        .collect();
    assert_eq!(way, [(1, 1), (0, 3)], "innermost first");
}

#[test]
fn files_that_include_each_other_are_an_error() {
    let found = included_errors(
        "FROM x\nINCLUDE a\n",
        &[("a", "INCLUDE b\n"), ("b", "INCLUDE ./a\n")],
    );
    assert_eq!(found[0].message, "`a` includes itself: a → b → a");
}

#[test]
fn depth_number_and_size_of_includes_are_limited() {
    let deep: Vec<(String, String)> = (0..20)
        .map(|n| (format!("f{n}"), format!("INCLUDE f{}\n", n + 1)))
        .collect();
    let deep: Vec<(&str, &str)> = deep.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let found = included_errors("FROM x\nINCLUDE f0\n", &deep);
    assert_eq!(
        found[0].message,
        "files include each other more than 16 deep"
    );
    // Each level twice would be 2^12 files.
    let wide: Vec<(String, String)> = (0..12)
        .map(|n| {
            (
                format!("f{n}"),
                format!("INCLUDE f{0}\nINCLUDE f{0}\n", n + 1),
            )
        })
        .chain([("f12".to_owned(), "RUN x\n".to_owned())])
        .collect();
    let wide: Vec<(&str, &str)> = wide.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let found = included_errors("FROM x\nINCLUDE f0\n", &wide);
    assert_eq!(found[0].message, "more than 256 INCLUDE instructions");
    let big = format!("# {}\n", "x".repeat(60_000)).repeat(160);
    let found = included_errors("FROM x\nINCLUDE b\nINCLUDE b\n", &[("b", &big)]);
    assert_eq!(
        found[0].message,
        "the included files are more than 16 MiB together"
    );
}

#[test]
fn an_include_names_one_file_without_variables() {
    for (text, message) in [
        ("INCLUDE", "INCLUDE takes the path of one file"),
        ("INCLUDE a b", "INCLUDE takes the path of one file"),
        ("INCLUDE /", "INCLUDE takes the path of one file"),
        ("INCLUDE ../..", "INCLUDE takes the path of one file"),
        ("INCLUDE --flag a", "INCLUDE has no flags"),
        ("INCLUDE $A", "variables are not expanded in `INCLUDE $A`"),
        (
            "INCLUDE gone",
            "cannot include `gone`: there is no such file",
        ),
        ("ONBUILD INCLUDE a", "unknown instruction `INCLUDE`"),
    ] {
        assert_eq!(
            included_errors(&format!("FROM x\n{text}\n"), &[])[0].message,
            message,
            "{text}"
        );
    }
    // Upwards ends at the root of the context.
    let parsed = including("FROM x\nINCLUDE ../../a\n", &[("a", "RUN x\n")]);
    assert_eq!(keywords(&parsed), ["FROM x", "RUN x"]);
}

#[test]
fn an_included_file_shares_the_escape_character() {
    let files = [("a", "RUN one `\n  two\n")];
    let source = "# escape=`\n# barque: extensions=include\nFROM x\nINCLUDE a\n";
    let load = |files: [(&'static str, &'static str); 1]| move |_: &str| Ok(files[0].1.to_owned());
    let parsed = parse_including(source, &mut load(files));
    assert_eq!(keywords(&parsed)[1], "RUN one   two");
    let other = [("a", "# escape=\\\nRUN x\n")];
    let parsed = parse_including(source, &mut load(other));
    assert_eq!(parsed.file.unwrap_err()[0].code, "invalid-escape");
    // It may be written so that it can be built alone.
    let alone = including(
        "FROM x\nINCLUDE a\n",
        &[(
            "a",
            "# syntax=x\n# barque: extensions=reset\nVOLUME --reset\n",
        )],
    );
    assert_eq!(keywords(&alone), ["FROM x", "VOLUME --reset"]);
}

#[test]
fn without_a_way_to_read_files_an_include_is_an_error() {
    let found = errors("# barque: extensions=include\nFROM x\nINCLUDE a\n");
    assert_eq!(
        found[0].message,
        "cannot include `a`: files are not read here"
    );
}

#[test]
fn a_finding_in_a_file_of_several_stages_is_reported_if_one_is_used() {
    let parsed = including(
        "FROM scratch AS a\nINCLUDE part\nFROM scratch AS b\nINCLUDE part\n",
        &[("part", "LABEL b 1\n")],
    );
    let file = parsed.file.unwrap();
    for (target, used) in [("a", 0), ("b", 1)] {
        let settings = Settings {
            target_stage: Some(target.to_owned()),
            ..Settings::default()
        };
        let input = Input {
            file: &file,
            settings: &settings,
            ignore: None,
            base_image: &|_| None,
            is_image_name: &|_| true,
            is_used: &|stage| stage == used,
        };
        let found = lint::check(&input, &Config::of(&file, None).unwrap());
        let codes: Vec<&str> = found.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, ["LegacyKeyValueFormat"], "{target}");
    }
}
