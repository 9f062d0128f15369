//! Facts about sources of ADD that are not in the build context.

use dockerfile::remote::{GitSource, Origin, check_checksum, file_name};

use crate::support::{code, copy};

fn git(source: &str) -> GitSource {
    match Origin::of(source) {
        Ok(Origin::Git(git)) => *git,
        other => panic!("{source}: {other:?}"),
    }
}

#[test]
fn f161_http_is_git_only_with_its_suffix() {
    assert_eq!(Origin::of("https://github.com/o/r").unwrap(), Origin::Http);
    assert_eq!(
        Origin::of("https://github.com/o/r.git.txt").unwrap(),
        Origin::Http
    );
    assert_eq!(Origin::of("a/b.git").unwrap(), Origin::Context);
    assert_eq!(Origin::of("ftp://h/x").unwrap(), Origin::Context);
    for source in [
        "https://github.com/o/r.git",
        "HTTP://h/r.git?ref=x",
        "git://h/x",
        "ssh://git@h/x",
        "git@h:o/r",
    ] {
        git(source);
    }
}

#[test]
fn f157_fragments_name_reference_and_directory() {
    let found = git("https://h/o/repo.git#v1:a/../../b");
    assert_eq!(found.remote, "https://h/o/repo.git");
    assert_eq!(found.reference.as_deref(), Some("v1"));
    assert_eq!((found.subdirectory.as_str(), found.name()), ("b", "repo"));
    assert_eq!(git("git@h:o/r.git#:docs").reference, None);
    assert_eq!(git("git@h:r.git").name(), "r");
}

#[test]
fn f158_queries_say_the_same_and_more() {
    let found = git(
        "https://h/r.git?tag=v0.0.2&commit=0123abcd&subdir=x&keep-git-dir&submodules=false&mtime=commit",
    );
    assert_eq!(found.reference.as_deref(), Some("refs/tags/v0.0.2"));
    assert_eq!(found.checksum.as_deref(), Some("0123abcd"));
    assert_eq!(
        (found.keep_git_dir, found.submodules),
        (Some(true), Some(false))
    );
    assert!(found.commit_mtime && found.subdirectory == "x");
    for bad in [
        "?tag=a&branch=b",
        "?ref=a&tag=b",
        "?ref=a#b",
        "?subdir=a#:b",
        "?ref=",
        "?reff=a",
        "?ref=a&ref=a",
        "?submodules=maybe",
        "?mtime=now",
        "?commit=xyz",
        "?commit=abcd&checksum=dcba",
        "?ref=-x",
    ] {
        assert!(
            Origin::of(&format!("https://h/r.git{bad}")).is_err(),
            "{bad}"
        );
    }
    assert!(Origin::of("ssh://-oProxyCommand=x/r.git").is_err());
    assert_eq!(
        git("https://h/r.git?branch=b").reference.as_deref(),
        Some("refs/heads/b")
    );
}

#[test]
fn f152_names_of_files_behind_urls() {
    for (url, name) in [
        ("http://h/", "__unnamed__"),
        ("http://h", "__unnamed__"),
        ("http://h/a/b.txt?x=/y#/z", "b.txt"),
        ("http://h/a%20b", "a b"),
        ("http://h/dir/", "dir"),
        ("http://h/%2e%2e", "__unnamed__"),
        ("http://h/a%2f..%2fb", "b"),
    ] {
        assert_eq!(file_name(url), name, "{url}");
    }
}

#[test]
fn f155_checksums_have_a_form() {
    let check = |checksum: &str| {
        let mut copy = copy("ADD --checksum=$C http://h/x /y");
        copy.flags.checksum = Some(checksum.to_owned());
        check_checksum(&copy)
    };
    let hex = "0123456789abcdef".repeat(4);
    assert!(check(&format!("sha256:{hex}")).is_ok());
    for bad in [
        format!("md5:{hex}"),
        hex.clone(),
        format!("sha256:{}", &hex[1..]),
        String::new(),
    ] {
        assert!(check(&bad).is_err(), "{bad}");
    }
    assert_eq!(
        code("ADD --checksum=md5:0123 http://h/x /y"),
        "invalid-flag"
    );
}

#[test]
fn f156_checksums_need_one_remote_source() {
    let sum = format!("--checksum=sha256:{}", "0".repeat(64));
    assert_eq!(
        code(&format!("ADD {sum} http://h/a http://h/b /c")),
        "invalid-flag"
    );
    assert_eq!(code(&format!("ADD {sum} local /c")), "invalid-flag");
    assert_eq!(code(&format!("COPY {sum} local /c")), "unknown-flag");
    copy(&format!("ADD {sum} $url /c"));
    copy("ADD --checksum=0123abcd https://h/r.git#v1 /c");
}

#[test]
fn f103_copy_from_a_variable_is_refused_with_advice() {
    assert_eq!(code("COPY --from=$X a b"), "invalid-flag");
    assert_eq!(
        copy("COPY --from=golang:1 a b").flags.from.as_deref(),
        Some("golang:1")
    );
}
