//! Patterns of repository and tag names: `*` stands for anything without a slash, `**` for anything.

/// A pattern of names.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern that this text is; every text is one.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether a name fits.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        fits(self.0.as_bytes(), name.as_bytes())
    }

    /// Whether a name fits one of several.
    #[must_use]
    pub fn any(patterns: &[Self], name: &str) -> bool {
        patterns.iter().any(|pattern| pattern.fits(name))
    }
}

/// Goes back to the last star only, so the time is the product of both lengths at worst.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on when it does not fit: after the star, and one byte further in the name. Two, since a single star
    // gives up at a slash and a double one before it may take over.
    let mut single: Option<(usize, usize)> = None;
    let mut double: Option<(usize, usize)> = None;
    loop {
        if pattern[p..].starts_with(b"**") {
            p += 2;
            double = Some((p, n));
            single = None;
            continue;
        }
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            single = Some((p, n));
            continue;
        }
        match (pattern.get(p), name.get(n)) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b => {
                p += 1;
                n += 1;
                continue;
            }
            _ => {}
        }
        match (&mut single, &mut double) {
            (Some((after, at)), _) if name.get(*at).is_some_and(|byte| *byte != b'/') => {
                *at += 1;
                (p, n) = (*after, *at);
            }
            (_, Some((after, at))) if *at < name.len() => {
                *at += 1;
                (p, n) = (*after, *at);
                single = None;
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_end_at_slashes_and_double_ones_do_not() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "abc", true),
            ("*", "a/b", false),
            ("**", "a/b/c", true),
            ("**", "", true),
            ("team/*", "team/a", true),
            ("team/*", "team/a/b", false),
            ("team/**", "team/a/b", true),
            ("team/**", "team", false),
            ("team/**", "teams/a", false),
            ("*/app", "team/app", true),
            ("**/app", "a/b/app", true),
            ("**/a*c/d", "x/y/abc/d", true),
            ("v*", "v1.2", true),
            ("v*-rc*", "v1-rc2", true),
            ("v*-rc*", "v1", false),
            ("a*b*c", "aXbYbZc", true),
        ] {
            assert_eq!(
                Pattern::new(pattern).fits(name),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn takes_no_time_for_what_is_made_to_take_it() {
        let pattern = Pattern::new("*a".repeat(100) + "b");
        assert!(!pattern.fits(&"a".repeat(255)));
        let pattern = Pattern::new("**a".repeat(100) + "b");
        assert!(!pattern.fits(&"a/".repeat(127)));
    }
}
