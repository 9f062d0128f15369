//! Slash-separated paths as text, without looking at any file system.

/// The shortest text for the same path, as Go's `path.Clean`: no `.`, no `//`, no `..` but at the
/// front of a relative path; `.` if nothing is left.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// `path` seen from the absolute directory `base`: absolute, clean, never above the root.
///
/// ```
/// assert_eq!(dockerfile::path::join("/a/b", "../c"), "/a/c");
/// assert_eq!(dockerfile::path::join("/a", "/x/../../y"), "/y");
/// ```
pub fn join(base: &str, path: &str) -> String {
    if path.starts_with('/') {
        clean(path)
    } else {
        clean(&format!("/{base}/{path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{clean, join};

    #[test]
    fn clean_is_gos() {
        for (path, expected) in [
            ("", "."),
            (".", "."),
            ("/", "/"),
            ("//a//b/", "/a/b"),
            ("a/./b/..", "a"),
            ("../../a", "../../a"),
            ("a/../../b", "../b"),
            ("/../a", "/a"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn f203_workdir_dot_dot_goes_up_and_stops_at_the_root() {
        assert_eq!(join("/a/b", ".."), "/a");
        assert_eq!(join("/", "../.."), "/");
        assert_eq!(join("/a", ""), "/a");
    }
}
