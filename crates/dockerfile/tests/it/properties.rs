//! What holds for any text.

use dockerfile::expand::{self, Empty};
use dockerfile::glob::Component;
use dockerfile::ignore::Patterns;
use proptest::prelude::*;
use regex::Regex;

/// Text made of what means something in a Dockerfile.
fn fragments() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "FROM ",
        "x",
        " AS ",
        "\n",
        "\r\n",
        "\\\n",
        "\\",
        "`",
        "# ",
        "#",
        "escape=`",
        "syntax=a",
        "RUN ",
        "COPY ",
        "ADD ",
        "ENV ",
        "ARG ",
        "LABEL ",
        "ONBUILD ",
        "HEALTHCHECK ",
        "CMD ",
        "SHELL ",
        "VOLUME ",
        "EXPOSE ",
        "USER ",
        "--mount=type=cache,target=/a ",
        "--from=",
        "--link ",
        "--chmod=",
        "--",
        "=",
        "$",
        "${",
        "}",
        ":-",
        ":?",
        "#*",
        "%%",
        "/",
        "//",
        "*",
        "?",
        "'",
        "\"",
        " ",
        "\t",
        "<<",
        "<<-",
        "EOF",
        "<<EOF",
        "\nEOF\n",
        "[",
        "]",
        "[\"a\", \"b\"]",
        ",",
        "NONE",
        "1",
        "é",
        "\u{feff}",
        "😀",
        "\0",
        "\u{a0}",
        "!",
        "**",
        "..",
    ]);
    prop::collection::vec(pieces, 0..40).prop_map(|v| v.concat())
}

fn env() -> Vec<(String, String)> {
    let pairs = [("x", "v a l"), ("EOF", ""), ("a", "*/b\n?")];
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec()
}

fn check_parse(source: &str) {
    let spans = match dockerfile::parse(source) {
        Ok(file) => {
            assert!(!file.stages.is_empty());
            let instructions = file.stages.iter().flat_map(|s| &s.instructions);
            let mut last = 0;
            for instruction in instructions.clone() {
                assert!(instruction.span.start >= last);
                last = instruction.span.end;
            }
            let warnings = file.warnings.iter().map(|w| w.span);
            instructions
                .map(|i| i.span)
                .chain(warnings)
                .collect::<Vec<_>>()
        }
        Err(errors) => {
            assert!(!errors.is_empty() && errors.iter().all(|e| e.is_error()));
            errors.iter().map(|e| e.span).collect()
        }
    };
    for span in spans {
        assert!(
            span.first_line >= 1 && span.first_line <= span.last_line,
            "{span:?}"
        );
        assert!(source.get(span.range()).is_some(), "{span:?}");
        dockerfile::excerpt(source, "Dockerfile", span);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn parsing_takes_any_text(source in any::<String>()) {
        check_parse(&source);
        drop(dockerfile::parse_instruction(&source));
        dockerfile::detect_syntax(&source);
    }

    #[test]
    fn parsing_takes_any_fragments(source in fragments()) {
        check_parse(&source);
        check_parse(&format!("FROM x\n{source}"));
        drop(dockerfile::parse_instruction(&source));
    }

    #[test]
    fn expansion_takes_any_fragments(source in fragments()) {
        for escape in ['\\', '`'] {
            drop(expand::word(&source, escape, &env()[..]));
            drop(expand::words(&source, escape, &env()[..]));
        }
        drop(expand::text(&source, &env()[..]));
    }

    #[test]
    fn words_without_meaning_expand_to_themselves(word in "[^$'\"\\\\]*") {
        prop_assert_eq!(expand::word(&word, '\\', &Empty).unwrap().text, word);
    }

    #[test]
    fn single_quotes_protect_everything(word in "[^']*") {
        let quoted = format!("'{word}'");
        prop_assert_eq!(expand::word(&quoted, '\\', &env()[..]).unwrap().text, word);
    }

    #[test]
    fn stripping_and_replacing_agree_with_regular_expressions(
        pattern in "[ab*?]{0,5}",
        value in "[abc]{0,8}",
    ) {
        let env = [("v".to_owned(), value.clone()), ("p".to_owned(), pattern.clone())];
        let is = |word: &str| expand::word(word, '\\', &env[..]).unwrap().text;
        let regex = |greedy: bool, anchor: &str| {
            let body = pattern.replace('?', ".").replace('*', if greedy { ".*" } else { ".*?" });
            Regex::new(&format!("{anchor}{body}")).unwrap()
        };
        prop_assert_eq!(is("${v#$p}"), regex(false, "^").replace(&value, ""));
        prop_assert_eq!(is("${v##$p}"), regex(true, "^").replace(&value, ""));
        prop_assert_eq!(is("${v/$p/-}"), regex(true, "").replace(&value, "-"));
        let all = is("${v//$p/-}");
        prop_assert_eq!(all, replace_all(&regex(true, ""), &value));
    }

    #[test]
    fn ignore_patterns_agree_with_regular_expressions(
        lines in prop::collection::vec("!?[ab*?/.]{1,6}", 1..4),
        path in "[ab]{1,2}(/[ab]{1,2}){0,3}",
    ) {
        let Ok(patterns) = Patterns::parse(&lines.join("\n")) else {
            return Ok(());
        };
        prop_assert_eq!(patterns.exclude(&path), oracle::excluded(&lines, &path), "{:?} {}", lines, path);
    }

    #[test]
    fn ignore_takes_any_text(source in any::<String>(), path in any::<String>()) {
        if let Ok(patterns) = Patterns::parse(&source) {
            patterns.exclude(&path);
            patterns.root().enter(path.as_bytes()).can_be_skipped();
        }
    }

    #[test]
    fn glob_agrees_with_regular_expressions(pattern in "[ab*?]{0,6}", name in "[abc]{0,8}") {
        let regex = pattern.replace('?', ".").replace('*', ".*");
        let regex = Regex::new(&format!("^{regex}$")).unwrap();
        let component = Component::parse(&pattern).unwrap();
        prop_assert_eq!(component.matches(name.as_bytes()), regex.is_match(&name));
    }

    #[test]
    fn skipped_directories_hold_nothing_that_is_kept(
        lines in prop::collection::vec("!?[ab*/]{1,5}", 1..4),
        directory in "[ab]{1,2}(/[ab]{1,2}){0,1}",
        below in "[ab]{1,2}(/[ab]{1,2}){0,2}",
    ) {
        let Ok(patterns) = Patterns::parse(&lines.join("\n")) else {
            return Ok(());
        };
        let enter = |path: &str| {
            path.split('/').fold(patterns.root(), |level, name| level.enter(name.as_bytes()))
        };
        if enter(&directory).can_be_skipped() {
            let path = format!("{directory}/{below}");
            prop_assert!(patterns.exclude(&path), "{:?} {}", lines, path);
        }
    }

    #[test]
    fn files_may_include_each_other_in_any_way(
        texts in prop::collection::vec(
            prop::collection::vec(
                prop_oneof![
                    "INCLUDE [a-d/.]{1,3}", "FROM x", "RUN [a-z\\\\]{1,4}", "[A-Z]{3,5} .{0,6}", "# barque: [a-z]{1,10}=[a-z,-]{1,9}",
                ],
                0..5,
            ),
            5,
        ),
    ) {
        let texts: Vec<String> = texts.iter().map(|lines| lines.join("\n")).collect();
        let main = format!("# barque: extensions=include\nFROM x\n{}", texts[0]);
        let parsed = dockerfile::parse_including(&main, &mut |path| {
            let number = "abcd".find(path).filter(|_| path.len() == 1);
            number.map(|n| texts[n + 1].clone()).ok_or_else(|| "gone".to_owned())
        });
        let inside = |span: dockerfile::Span| {
            let text = match span.file.checked_sub(1) {
                None => main.as_str(),
                Some(number) => &*parsed.included[number as usize].text,
            };
            text.get(span.range()).is_some()
        };
        match &parsed.file {
            Ok(file) => {
                for instruction in file.stages.iter().flat_map(|s| &s.instructions) {
                    prop_assert!(inside(instruction.span), "{:?}", instruction);
                }
            }
            Err(errors) => {
                for error in errors {
                    let labels = error.labels.iter().all(|l| inside(l.span));
                    prop_assert!(labels && inside(error.span), "{:?}", error);
                }
            }
        }
    }

    #[test]
    fn directives_take_any_text(line in "# ?barque: ?[a-z-]{0,10} ?=.{0,12}", rest in ".{0,12}") {
        drop(dockerfile::parse(&format!("{line}\nFROM x\n{rest}")));
        drop(dockerfile::lint::Asked::parse(&rest));
        drop(dockerfile::extension::Extensions::parse(&rest));
    }

    #[test]
    fn checks_take_any_script(script in "[a-z&|;<>$'\"/ =~.\\\\-]{0,60}", mount in "[a-z=,/$]{0,20}") {
        let source = format!(
            "# barque: check=all\nFROM x\nRUN --mount=type=secret,id=s --mount=type=cache,target=/c/npm{mount} cat /run/secrets/s {script}\n"
        );
        if dockerfile::parse(&source).is_ok() {
            crate::lint::found_with(&source, None, &|_| true);
        }
    }

    #[test]
    fn values_take_any_text(text in any::<String>()) {
        drop(dockerfile::chmod::Chmod::parse(&text).map(|c| c.apply(0o644, false)));
        drop(dockerfile::duration::parse(&text));
        drop(dockerfile::owner::Owner::parse(&text));
        drop(dockerfile::ports::parse([text.as_str()]));
        drop(dockerfile::signal::parse(&text));
        drop(dockerfile::glob::Glob::parse(&text));
        drop(dockerfile::mount::MountFlag::parse(&text, dockerfile::Span::default()));
        dockerfile::nearest(&text, ["build", "test"]);
    }
}

/// Replaces matches from left to right, no empty one right behind another.
fn replace_all(regex: &Regex, value: &str) -> String {
    let (mut out, mut copied, mut search) = (String::new(), 0, 0);
    while let Some(found) = (search <= value.len())
        .then(|| regex.find_at(value, search))
        .flatten()
    {
        out.push_str(&value[copied..found.start()]);
        if found.end() > copied || found.start() == 0 {
            out.push('-');
        }
        copied = found.end();
        search = found.end().max(search + 1);
    }
    out + &value[copied..]
}

/// The rules for ignore files once more, written down as regular expressions over whole paths.
mod oracle {
    use regex::Regex;

    pub(super) fn excluded(lines: &[String], path: &str) -> bool {
        let patterns: Vec<(bool, Regex)> = lines.iter().map(|line| compile(line)).collect();
        let mut covered = vec![false; patterns.len()];
        let mut verdict = false;
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()]);
        for end in ends {
            verdict = false;
            for ((exception, regex), covered) in patterns.iter().zip(&mut covered) {
                if !*covered && (*exception != verdict || !regex.is_match(&path[..end])) {
                    continue;
                }
                *covered = true;
                verdict = !*exception;
            }
        }
        verdict
    }

    fn compile(line: &str) -> (bool, Regex) {
        let (exception, text) = match line.strip_prefix('!') {
            Some(text) => (true, text),
            None => (false, line),
        };
        let cleaned = dockerfile::path::clean(text);
        let text = match cleaned.strip_prefix('/') {
            Some(rest) if !rest.is_empty() => rest,
            _ => &cleaned,
        };
        if let Some(suffix) = text.strip_prefix("**")
            && !suffix.contains(['*', '?'])
        {
            let regex = match suffix.strip_prefix('/') {
                Some(name) => format!("(^|/){}$", regex::escape(name)),
                None => format!("{}$", regex::escape(suffix)),
            };
            return (exception, Regex::new(&regex).unwrap());
        }
        let mut regex = "^".to_owned();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some(behind) = rest.strip_prefix("**") {
                rest = behind.strip_prefix('/').unwrap_or(behind);
                regex += if rest.is_empty() { ".*" } else { "(.*/)?" };
                continue;
            }
            regex += &match c {
                '*' => "[^/]*".to_owned(),
                '?' => "[^/]".to_owned(),
                c => regex::escape(&c.to_string()),
            };
            rest = &rest[c.len_utf8()..];
        }
        (exception, Regex::new(&(regex + "$")).unwrap())
    }
}
