//! Facts about variables, quotes and escapes in words.

use dockerfile::expand::{self, Empty, ExpandErrorKind, MAX_NESTING};

const NONE: &[(&str, &str)] = &[];

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    pairs.iter().map(own).collect()
}

#[track_caller]
fn is(word: &str, pairs: &[(&str, &str)], expected: &str) {
    match expand::word(word, '\\', &env(pairs)[..]) {
        Ok(found) => assert_eq!(found.text, expected, "{word}"),
        Err(error) => panic!("{word}: {error}"),
    }
}

#[track_caller]
fn fails(word: &str, pairs: &[(&str, &str)]) -> String {
    match expand::word(word, '\\', &env(pairs)[..]) {
        Ok(found) => panic!("{word} gives {:?}", found.text),
        Err(error) => error.to_string(),
    }
}

#[test]
fn f060_defaults_with_and_without_colon() {
    is("${a:-b}", &[("a", "")], "b");
    is("${a-b}", &[("a", "")], "");
    is("${a-b}", NONE, "b");
    is("${a:-b}", &[("a", "x")], "x");
}

#[test]
fn f061_alternatives_with_and_without_colon() {
    is("${a+b}", &[("a", "")], "b");
    is("${a:+b}", &[("a", "")], "");
    is("${a+b}", NONE, "");
    is("${a:+b}", &[("a", "x")], "b");
}

#[test]
fn f062_requirements_with_and_without_colon() {
    is("${a?}", &[("a", "")], "");
    assert_eq!(
        fails("${a:?}", &[("a", "")]),
        "a: is not allowed to be empty"
    );
    assert_eq!(fails("${a?}", NONE), "a: is not allowed to be unset");
    assert_eq!(fails("${a:?}", NONE), "a: is not allowed to be unset");
}

#[test]
fn f063_the_message_is_expanded() {
    let message = fails("${VAR:?message here$ARG}", &[("ARG", "x")]);
    assert_eq!(message, "VAR: message herex");
}

#[test]
fn f064_modifiers_that_do_not_exist() {
    for word in ["${a=b}", "${a:=b}", "${a:#b}", "${a:%b}", "${a^}", "${a@Q}"] {
        assert!(
            fails(word, &[("a", "x")]).starts_with("unsupported modifier"),
            "{word}"
        );
    }
}

#[test]
fn f065_malformed_references() {
    for word in [
        "${}", "${.}", "${:-x}", "${{a}", "${a", "${a:b}", "${", "${a:", "${a-",
    ] {
        fails(word, &[("a", "x")]);
    }
}

#[test]
fn f066_braces_behind_a_reference() {
    is("${aaa}}", &[("aaa", "v")], "v}");
    is("${aaa:-bbb}}", NONE, "bbb}");
}

#[test]
fn f067_an_opening_brace_in_a_default_is_text() {
    is("${aaa:-bbb {foo}", NONE, "bbb {foo");
}

#[test]
fn f068_the_first_unescaped_brace_closes() {
    is(r"${X:-\${PWD}z}", NONE, "${PWDz}");
}

#[test]
fn f069_parameters_are_never_set() {
    is("$1", NONE, "");
    is("$999aaa", NONE, "aaa");
    is("$@@@", NONE, "@@");
    is("$$", NONE, "");
    is("${1}${@}${#}a$?$*$-$!$0b", NONE, "ab");
}

#[test]
fn f070_a_dollar_before_no_name_is_text() {
    is("he$.x", NONE, "he$.x");
    is("a$", NONE, "a$");
    is("$(x)", NONE, "$(x)");
}

#[test]
fn f071_quotes_inside_quotes() {
    is("'$PWD'", &[("PWD", "/h")], "$PWD");
    is("\"'$PWD'\"", &[("PWD", "/h")], "'/h'");
}

#[test]
fn f072_escaped_escapes_and_dollars() {
    is(r"he\\$PWD", &[("PWD", "/h")], r"he\/h");
    is(r"he\$PWD", &[("PWD", "/h")], "he$PWD");
    is(r#""he\\$PWD""#, &[("PWD", "/h")], r"he\/h");
    is(r#""he\$PWD""#, &[("PWD", "/h")], "he$PWD");
}

#[test]
fn f073_escapes_in_and_out_of_double_quotes() {
    is(r"abc\tdef", NONE, "abctdef");
    is(r#""abc\tdef""#, NONE, r"abc\tdef");
}

#[test]
fn f074_an_escape_at_the_end_is_dropped() {
    is(r"hello\", NONE, "hello");
}

#[test]
fn f075_escapes_before_closing_quotes() {
    fails(r#""hello\""#, NONE);
    is(r"'hello\'", NONE, r"hello\");
    fails("'hello", NONE);
    fails("\"hello", NONE);
}

#[test]
fn f076_names_are_case_sensitive() {
    is("$pwd", &[("PWD", "/h")], "");
}

#[test]
fn f077_shortest_and_longest_prefixes() {
    is("${F#*}", &[("F", "xxyy")], "xxyy");
    is("${F##*}", &[("F", "xxyy")], "");
    is("${F##*x}", &[("F", "xxyy")], "yy");
    is("${F#*x}", &[("F", "xxyy")], "xyy");
    is("${F##x}", &[("F", "xxyy")], "xyy");
    is("${F#y}", &[("F", "xxyy")], "xxyy");
    is("${F#?}", &[("F", "éa")], "a");
}

#[test]
fn f078_two_wildcards_in_a_prefix() {
    is("${F#*x*y}", &[("F", "xxyy")], "y");
    is("${F##*x*y}", &[("F", "xxyy")], "");
}

#[test]
fn f079_escaped_wildcards_in_a_suffix() {
    is(r"${F%%\**}", &[("F", "xx**")], "xx");
    is(r"${F%\*}", &[("F", "xx**")], "xx*");
    is("${F%.*}", &[("F", "a.tar.gz")], "a.tar");
    is("${F%%.*}", &[("F", "a.tar.gz")], "a");
    is("${F%z}", &[("F", "a.tar.gz")], "a.tar.g");
}

#[test]
fn f080_replacing_one_and_all() {
    let env = [("F", "/foo*/*/*.txt"), ("N", r"\*/")];
    is("${F/$N/.} - ${F//$N/.}", &env, "/foo.*/*.txt - /foo..*.txt");
}

#[test]
fn f081_escaped_slashes_stay_escaped_in_the_replacement() {
    is(r"${F//\//\/}", &[("F", "/tmp/foo.txt")], r"\/tmp\/foo.txt");
}

#[test]
fn f082_empty_patterns_and_missing_slashes() {
    is("${F/$E/ww}", &[("F", "xxyy"), ("E", "")], "wwxxyy");
    is("${F//$E/-}", &[("F", "ab"), ("E", "")], "-a-b-");
    is("${F//*/-}", &[("F", "ab")], "-");
    let message = fails("${F//ww}", &[("F", "x")]);
    assert!(message.starts_with("missing second `/`"), "{message}");
    fails("${F/a/b", &[("F", "x")]);
}

#[test]
fn replacing_takes_the_leftmost_longest_match() {
    is("${F/b*/-}", &[("F", "abcbd")], "a-");
    is("${F//b?/-}", &[("F", "abcbd")], "a--");
    is("${F//x/-}", &[("F", "abc")], "abc");
    is("${F//a*c/-}", &[("F", "zabcabcz")], "z-z");
    is("${U/x/y}", NONE, "");
}

#[test]
fn f083_modifiers_in_the_middle_of_a_word() {
    is("busy${image#idle}", &[("image", "idlebox")], "busybox");
}

#[test]
fn f084_expose_splits_values_into_words() {
    let env = env(&[("PORTS", "3000 4000/udp")]);
    let words = expand::words("$PORTS", '\\', &env[..]).unwrap();
    assert_eq!(words.words, ["3000", "4000/udp"]);
}

#[test]
fn f085_word_splitting_at_both_ends_of_a_value() {
    let env = env(&[("v", "ab c   "), ("w", " x ")]);
    let words = |word| expand::words(word, '\\', &env[..]).unwrap().words;
    assert_eq!(words("hello${v}"), ["helloab", "c"]);
    assert_eq!(words("hello${w}y"), ["hello", "x", "y"]);
    assert_eq!(words("hello\"${v}\""), ["helloab c   "]);
    assert_eq!(words(r"a\ b 'c d'"), ["a b", "c d"]);
    assert_eq!(words("''"), [""; 0]);
}

#[test]
fn f086_the_last_of_equal_names_wins() {
    is("$a", &[("a", "1"), ("a", "2")], "2");
    let list = ["a=1".to_owned(), "ab=3".to_owned(), "a=2=x".to_owned()];
    assert_eq!(expand::word("$a", '\\', &list[..]).unwrap().text, "2=x");
}

#[test]
fn nested_words_are_expanded() {
    is("${a:-${b:-$c}}", &[("c", "x")], "x");
    is("${a:-'$c' \"$c\"}", &[("c", "x")], "$c x");
    is("\"${a:-\"b c\"}\"", NONE, "b c");
    fails("${a:-${b}", &[("b", "x")]);
}

#[test]
fn backtick_as_escape() {
    let word = |word| expand::word(word, '`', &Empty).unwrap().text;
    assert_eq!(word(r"C:\a`$b`"), r"C:\a$b");
    assert_eq!(word("\"`\"\""), "\"");
}

#[test]
fn names_looked_up_are_told() {
    let found = expand::word("$a${b:-$c}$1", '\\', &env(&[("a", "x")])[..]).unwrap();
    assert_eq!(found.names.used.into_iter().collect::<Vec<_>>(), ["a"]);
    assert_eq!(
        found.names.undefined.into_iter().collect::<Vec<_>>(),
        ["b", "c"]
    );
}

#[test]
fn invalid_pattern_escapes() {
    for word in [r"${a#\x}", r"${a%\a*}", r"${a/\n/x}"] {
        assert!(
            fails(word, &[("a", "x")]).starts_with("invalid escape"),
            "{word}"
        );
    }
    is(r"${a#\}}", &[("a", "}x")], "x");
}

#[test]
fn nesting_and_growth_are_bounded() {
    let deep = |levels: usize| format!("{}x{}", "${a:-".repeat(levels), "}".repeat(levels));
    is(&deep(MAX_NESTING as usize), NONE, "x");
    let error = expand::word(&deep(MAX_NESTING as usize + 1), '\\', &Empty).unwrap_err();
    assert_eq!(error.kind, ExpandErrorKind::Nesting);
    expand::word(&deep(100_000), '\\', &Empty).unwrap_err();

    let big = "x".repeat(100_000);
    let error = expand::word(&"$a".repeat(30), '\\', &env(&[("a", &big)])[..]).unwrap_err();
    assert_eq!(error.kind, ExpandErrorKind::TooLarge);
    let error = expand::word(
        &format!("${{a//x/{}}}", "y".repeat(100)),
        '\\',
        &env(&[("a", &big)])[..],
    );
    assert_eq!(error.unwrap_err().kind, ExpandErrorKind::TooLarge);
}

#[test]
fn patterns_are_not_exponential() {
    let value = "a".repeat(2000);
    let pattern = format!("{}b", "*a".repeat(40));
    is(&format!("${{v##{pattern}}}"), &[("v", &value)], &value);
    is(&format!("${{v//{pattern}/x}}"), &[("v", &value)], &value);
}
