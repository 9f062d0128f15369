//! Facts about ignore files and exclude patterns.

use dockerfile::ignore::{Level, Patterns};

fn patterns(text: &str) -> Patterns {
    Patterns::parse(text).unwrap()
}

/// The verdict on a path, with the levels of a walk.
fn excluded(patterns: &Patterns, path: &str) -> bool {
    patterns.exclude(path)
}

#[test]
fn f210_exceptions_and_the_files_of_the_build_itself() {
    let patterns = patterns("ba*\nDockerfile\n!bay\n.dockerignore\n");
    for (path, expected) in [
        ("bar", true),
        ("bay", false),
        ("Dockerfile", true),
        (".dockerignore", true),
        ("x/bar", false),
    ] {
        assert_eq!(excluded(&patterns, path), expected, "{path}");
    }
}

#[test]
fn f211_a_lone_exclamation_mark_is_an_error() {
    let source = "a\n !  \n[\n";
    let found = Patterns::parse(source).unwrap_err();
    let lines: Vec<_> = found.iter().map(|e| e.span.first_line).collect();
    assert_eq!(lines, [2, 3]);
    assert!(Patterns::new(["!"]).is_err());
    let shown = dockerfile::excerpt(source, ".dockerignore", found[1].span);
    assert!(shown.contains("   3 | >>> [\n"), "{shown}");
}

#[test]
fn f213_excluding_everything_shows() {
    assert!(patterns("a\n*\n").exclude_all());
    assert!(!patterns("!*\na/*\n").exclude_all());
}

#[test]
fn f146_excludes_are_relative_to_the_copied_root() {
    let patterns = Patterns::new(["*.mp3", "*/*.png"]).unwrap();
    assert!(excluded(&patterns, "a.mp3") && !excluded(&patterns, "d/a.mp3"));
    assert!(excluded(&patterns, "d/a.png") && !excluded(&patterns, "d/e/a.png"));
}

#[test]
fn lines_are_trimmed_cleaned_and_comments_left_out() {
    let patterns = patterns("\u{feff}# comment\n  /a/b/  \r\n\n#c\n #d\n! /a/b/keep\n./x/../y\n");
    for (path, expected) in [
        ("a/b", true),
        ("a/b/c", true),
        ("a/b/keep", false),
        ("a", false),
        ("#c", false),
        ("#d", true),
        ("y", true),
        ("x", false),
    ] {
        assert_eq!(excluded(&patterns, path), expected, "{path}");
    }
}

#[test]
fn single_patterns() {
    for (pattern, path, expected) in [
        ("**", "file", true),
        ("**", "a/b/c", true),
        ("**/", "a/b", true),
        ("dir/**", "dir", false),
        ("dir/**", "dir/a", true),
        ("dir/**", "dir/a/b", true),
        ("**/dir", "dir", true),
        ("**/dir", "x/dir/file", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/*", "dir/dir2", false),
        ("**/dir2/**", "dir/dir2/dir3/file", true),
        ("**file", "file", true),
        ("**file", "dir/dir/file", true),
        ("**file", "dir/myfile", true),
        ("**f?le", "dir/myfile", false),
        ("**/file*.txt*", "dir/dir/file.txt", true),
        ("**/**/*.txt", "file.txt", true),
        ("**/**/*.txt2", "dir/file.txt", false),
        ("a**/*.txt", "a/file.txt", true),
        ("a**/*.txt", "a/dir/dir/file.txt", true),
        ("a**b", "axb", false),
        ("a**b", "ax/b", true),
        ("a**b", "ab", true),
        ("a/*.txt", "a/dir/file.txt", false),
        ("a/*.txt**", "a/file.txt", true),
        ("a/*.txt**", "a/file.txt/x/y", true),
        ("a[b-d]e", "ace", true),
        ("a[b-d]e", "aae", false),
        ("a[^b-d]e", "aze", true),
        (".*", ".foo", true),
        (".*", "foo", false),
        ("abc.def", "abcZdef", false),
        ("a\\\\", "a\\", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("**/.foo", ".foo", true),
        ("**/.foo", "bar.foo", false),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
        ("docs/", "docs/README.md", true),
        ("*/a", "b/a/c", true),
        (".", "a", false),
        ("/", "a", false),
        ("..", "a", false),
        ("**a", "b", false),
        ("*a*/b", "xay/b", true),
    ] {
        assert_eq!(
            excluded(&patterns(pattern), path),
            expected,
            "{pattern} {path}"
        );
    }
}

#[test]
fn the_last_match_decides() {
    for (text, path, expected) in [
        ("!a.go\n*.go", "a.go", true),
        ("*.go\n!a.go", "a.go", false),
        ("docs\n!docs/README.md", "docs/README.md", false),
        ("docs\n!docs/README.md", "docs/x", true),
        ("docs/*\n!docs/README.md", "docs/README.md", false),
        ("**\n!util/docker/web", "util/docker/web/foo", false),
        (
            "**\n!util/docker/web\nutil/docker/web/foo",
            "util/docker/web/foo",
            true,
        ),
        ("**\n!dist/*.whl", "dist/p.whl", false),
        ("**\n!**/*.md\nsecret.md", "a/b/c.md", false),
        ("**\n!**/*.md\nsecret.md", "secret.md", true),
        // An exception that had nothing to take back when its directory was met covers nothing in it.
        ("d/f\n!d", "d/f", true),
    ] {
        assert_eq!(excluded(&patterns(text), path), expected, "{text:?} {path}");
    }
}

#[test]
fn directories_without_possible_exceptions_are_skipped() {
    let walk = |text: &'static str, path: &str| {
        let patterns = patterns(text);
        let level = path
            .split('/')
            .fold(patterns.root(), |level: Level<'_>, name| {
                level.enter(name.as_bytes())
            });
        (level.is_excluded(), level.can_be_skipped())
    };
    assert_eq!(walk("node_modules", "node_modules"), (true, true));
    assert_eq!(
        walk("**/node_modules\n!README.md", "a/node_modules"),
        (true, true)
    );
    assert_eq!(walk("*\n!src/lib/x", "src"), (true, false));
    assert_eq!(walk("*\n!src/lib/x", "src/lib"), (true, false));
    assert_eq!(walk("*\n!src/lib/x", "src/bin"), (true, true));
    assert_eq!(walk("*\n!src/lib/x", "target"), (true, true));
    assert_eq!(walk("*\n!**/*.md", "target"), (true, false));
    assert_eq!(walk("*\n!*.md", "target"), (true, true));
    assert_eq!(walk("*\n!a*/b", "axy"), (true, false));
    assert_eq!(walk("*\n!a", "a"), (false, false));
    assert_eq!(walk("a\n!a/b\na/b", "a/b"), (true, true));
    assert_eq!(walk("x", "a"), (false, false));
}

#[test]
fn levels_tell_where_patterns_can_still_match() {
    let patterns = Patterns::new(["a/*/c"]).unwrap();
    let root = patterns.root();
    assert!(root.enter(b"a").can_match_inside());
    assert!(!root.enter(b"b").can_match_inside());
    assert!(root.enter(b"a").enter(b"b").enter(b"c").can_match_inside());
}

#[test]
fn names_that_are_no_text() {
    let patterns = patterns("a?\n*.\u{e9}\n");
    assert!(patterns.root().excludes(b"a\xff"));
    assert!(!patterns.root().excludes(b"x.\xe9"));
}
