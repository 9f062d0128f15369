//! Facts about heredocs.

use dockerfile::expand::{Empty, text};
use dockerfile::{CommandLine, InstructionKind as Kind, Script, Source};

use crate::support::{code, copy, errors, one, parse, run};

fn script(instruction: &str) -> String {
    match run(instruction).script() {
        Script::Command(CommandLine::Shell(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn expanded(instruction: &str, env: &[(String, String)]) -> String {
    let copy = copy(instruction);
    let heredoc = copy.heredocs().next().unwrap();
    match heredoc.expand {
        true => text(&heredoc.content(), env).unwrap().text,
        false => heredoc.content().into_owned(),
    }
}

#[test]
fn f039_quotes_stay_in_the_file() {
    assert_eq!(
        expanded("COPY <<EOF f\n\"quotes\"\nEOF", &[]),
        "\"quotes\"\n"
    );
}

#[test]
fn f040_backslashes_in_bodies() {
    let body = "\\\n\\\\\n\\$\n";
    let unquoted = format!("COPY <<EOF f\n{body}EOF");
    assert_eq!(expanded(&unquoted, &[]), "\n\\\n$\n");
    let quoted = format!("COPY <<\"EOF\" f\n{body}EOF");
    assert_eq!(expanded(&quoted, &[]), body);
}

#[test]
fn f041_variables_in_bodies() {
    let env = [("name".to_owned(), "v".to_owned())];
    assert_eq!(expanded("COPY <<'EOF' f\n${name}\nEOF", &env), "${name}\n");
    assert_eq!(expanded("COPY <<EOF f\n'${name}'\nEOF", &env), "'v'\n");
}

#[test]
fn f042_several_files() {
    let copy = copy("COPY <<EOF <<EOF2 double/\na\nEOF\nb\nEOF2");
    let files: Vec<_> = copy.heredocs().map(|h| (&*h.name, &*h.body)).collect();
    assert_eq!(files, [("EOF", "a\n"), ("EOF2", "b\n")]);
    assert_eq!(copy.destination, "double/");
}

#[test]
fn f043_flags_before_a_heredoc() {
    let copy = copy("COPY --chmod=777 --chown=user:user <<EOF f\nx\nEOF");
    assert_eq!(copy.flags.chmod.as_deref(), Some("777"));
    assert_eq!(copy.heredocs().count(), 1);
}

#[test]
fn f044_a_dash_strips_tabs_from_body_and_terminator() {
    let source = |dash| format!("COPY <<{dash}EOF f\n\tone\n\t\ttwo\nEOF");
    assert_eq!(expanded(&source("-"), &[]), "one\ntwo\n");
    assert_eq!(expanded(&source(""), &[]), "\tone\n\t\ttwo\n");
    assert_eq!(expanded("COPY <<-EOF f\n\tx\n\tEOF", &[]), "x\n");
}

#[test]
fn f045_a_sole_heredoc_is_the_script() {
    assert_eq!(script("RUN <<EOF\necho a\necho b\nEOF"), "echo a\necho b\n");
    assert_eq!(script("RUN 3<<EOF\nx\nEOF"), "x\n");
}

#[test]
fn f047_a_shebang_makes_a_file() {
    for source in [
        "RUN <<EOF\n#!/bin/awk -f\nx\nEOF",
        "RUN <<-EOF\n\t#!/bin/awk -f\n\tx\nEOF",
    ] {
        let Script::File { name, content } = run(source).script() else {
            panic!("{source}")
        };
        assert_eq!((&*name, &*content), ("EOF", "#!/bin/awk -f\nx\n"));
    }
}

#[test]
fn f048_bodies_follow_the_whole_logical_line() {
    let text = script("RUN cat <<A | tr a b > o1; \\\ncat <<B | tr c d > o2\nbody a\nA\nbody b\nB");
    assert_eq!(
        text,
        "cat <<A | tr a b > o1; cat <<B | tr c d > o2\nbody a\nA\nbody b\nB"
    );
}

#[test]
fn f049_file_descriptors_are_left_to_the_shell() {
    let text = script("RUN <<EOF 3<<IN1 4<<IN2 awk -f -\ncode\nEOF\n1\nIN1\n2\nIN2");
    assert_eq!(
        text,
        "<<EOF 3<<IN1 4<<IN2 awk -f -\ncode\nEOF\n1\nIN1\n2\nIN2"
    );
}

#[test]
fn f050_other_words_go_to_the_shell_with_the_body() {
    assert_eq!(script("RUN <<EOF sh > /f\nx\nEOF"), "<<EOF sh > /f\nx\nEOF");
}

#[test]
fn f051_run_bodies_are_not_expanded() {
    assert_eq!(
        script("RUN <<EOF\nname=x; echo $name\nEOF"),
        "name=x; echo $name\n"
    );
}

#[test]
fn f052_to_f054_delimiters() {
    for (token, name, expand) in [
        ("<<eo'f'", "eof", false),
        (r"<<eo\'f", "eo'f", true),
        ("<<$EOF", "$EOF", true),
        ("<< EOF", "EOF", true),
        ("<<- EOF", "EOF", true),
        ("<< -EOF", "-EOF", true),
        ("<<'one two'", "one two", false),
    ] {
        let run = run(&format!("RUN {token}\nx\n{name}"));
        assert_eq!(
            (&*run.heredocs[0].name, run.heredocs[0].expand),
            (name, expand),
            "{token}"
        );
        let copy = copy(&format!("COPY {token} /d\nx\n{name}"));
        assert!(
            matches!(&copy.sources[..], [Source::Inline(h)] if h.name == name),
            "{token}"
        );
    }
}

#[test]
fn f055_quoted_and_tripled_are_no_heredocs() {
    assert_eq!(run("RUN echo \"<<X\"").heredocs, []);
    assert_eq!(run("RUN cat <<< x").heredocs, []);
    assert_eq!(run("RUN [\"<<X\"]").heredocs, []);
}

#[test]
fn f056_a_later_delimiter_inside_an_earlier_body_is_text() {
    let copy = copy("COPY <<X <<Y /d\nY\nX\nX\nY");
    let bodies: Vec<_> = copy.heredocs().map(|h| &*h.body).collect();
    assert_eq!(bodies, ["Y\n", "X\n"]);
}

#[test]
fn f057_a_heredoc_is_no_destination() {
    assert_eq!(code("COPY a <<EOF\nx\nEOF"), "heredoc-destination");
}

#[test]
fn f058_a_missing_terminator_is_an_error() {
    let source = "FROM x\nRUN a <<EOF\nx\n EOF\n";
    let found = errors(source);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code, "unterminated-heredoc");
    assert_eq!(&source[found[0].span.range()], "<<EOF");
}

#[test]
fn f059_onbuild_keeps_the_whole_text() {
    let one = one("onbuild RUN <<-EOF cat\n\tx\n\tEOF");
    let Kind::Onbuild(onbuild) = one.kind else {
        panic!()
    };
    assert_eq!(onbuild.trigger, "RUN");
    assert_eq!(onbuild.expression, "RUN <<-EOF cat\n\tx\nEOF");
    let again = dockerfile::parse_instruction(&onbuild.expression).unwrap();
    assert!(matches!(again.kind, Kind::Run(r) if r.heredocs[0].content() == "x\n"));
}

#[test]
fn comments_and_blank_lines_are_content_and_spans_cover_the_body() {
    let source = "FROM x\nRUN <<EOF\n# no comment\n\nx \\\nEOF\nUSER y\n";
    let file = parse(source);
    let [run, user] = &file.stages[0].instructions[..] else {
        panic!()
    };
    let Kind::Run(kind) = &run.kind else { panic!() };
    assert_eq!(kind.heredocs[0].body, "# no comment\n\nx \\\n");
    assert_eq!(
        &source[kind.heredocs[0].span.range()],
        kind.heredocs[0].body
    );
    assert_eq!((run.span.first_line, run.span.last_line), (2, 6));
    assert_eq!(
        &source[run.span.range()],
        "RUN <<EOF\n# no comment\n\nx \\\nEOF"
    );
    assert_eq!(user.span.first_line, 7);
}

#[test]
fn only_run_copy_and_add_have_heredocs() {
    let file = parse("FROM x\nCMD cat <<EOF\nUSER <<EOF\n");
    assert_eq!(file.stages[0].instructions.len(), 2);
    assert_eq!(text("a", &Empty).unwrap().text, "a");
}

#[test]
fn delimiters_that_are_paths_name_no_files() {
    for name in ["../x", "a/b", "..", "/../x"] {
        assert_eq!(
            code(&format!("COPY <<{name} /d\nx\n{name}")),
            "heredoc-name",
            "{name}"
        );
    }
    let copy = copy("COPY <</x /d\na\n/x");
    assert_eq!(copy.heredocs().next().unwrap().file_name(), "x");
    let Script::File { name, .. } = run("RUN <<../x\n#!/bin/sh\n../x").script() else {
        panic!()
    };
    assert_eq!(name, ".._x");
}

#[test]
fn f046_a_body_is_the_argument_of_whatever_the_shell_is() {
    let run = run("RUN <<EOF\nBEGIN {\n}\nEOF");
    let argv = dockerfile::history::argv(&run.script(), &["/bin/awk".to_owned()]);
    assert_eq!(argv, ["/bin/awk", "BEGIN {\n}\n"]);
}
