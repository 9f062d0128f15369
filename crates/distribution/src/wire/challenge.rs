//! `WWW-Authenticate`: what a registry wants to see before it answers (RFC 9110, section 11).

use std::fmt;

/// The longest header that is read. Real ones have a few hundred bytes.
const MAX_HEADER: usize = 8 << 10;

/// One way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme in lower case: `basic`, `bearer`.
    pub scheme: String,
    /// Its parameters, names in lower case, in their order.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// `Basic realm="…"`.
    #[must_use]
    pub fn basic(realm: &str) -> Self {
        Self {
            scheme: "basic".to_owned(),
            parameters: vec![("realm".to_owned(), realm.to_owned())],
        }
    }

    /// `Bearer realm="…",service="…",scope="…"`; without scopes there is none.
    #[must_use]
    pub fn bearer(realm: &str, service: &str, scopes: &[super::Scope]) -> Self {
        let mut parameters = vec![
            ("realm".to_owned(), realm.to_owned()),
            ("service".to_owned(), service.to_owned()),
        ];
        if !scopes.is_empty() {
            let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
            parameters.push(("scope".to_owned(), scopes.join(" ")));
        }
        Self {
            scheme: "bearer".to_owned(),
            parameters,
        }
    }

    /// The value of a parameter. With two of a name the first counts.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// The challenges of one header, which may hold several. What cannot be understood ends the reading; what was read
    /// before it counts.
    #[must_use]
    pub fn read(header: &str) -> Vec<Self> {
        let mut challenges = Vec::new();
        if header.len() > MAX_HEADER {
            return challenges;
        }
        let mut rest = header;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let Some((word, after)) = token(rest) else {
                return challenges;
            };
            // A word with `=` after it is a parameter of the scheme before it; a word alone is the next scheme.
            let value = after.trim_start().strip_prefix('=');
            match (value, challenges.last_mut()) {
                (Some(value), Some(challenge)) => {
                    let Some((value, after)) = parameter_value(value.trim_start()) else {
                        return challenges;
                    };
                    challenge
                        .parameters
                        .push((word.to_ascii_lowercase(), value));
                    rest = after;
                }
                (Some(_), None) => return challenges,
                (None, _) => {
                    challenges.push(Self {
                        scheme: word.to_ascii_lowercase(),
                        parameters: Vec::new(),
                    });
                    rest = after;
                }
            }
        }
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut scheme = self.scheme.chars();
        if let Some(first) = scheme.next() {
            write!(f, "{}{}", first.to_ascii_uppercase(), scheme.as_str())?;
        }
        for (i, (name, value)) in self.parameters.iter().enumerate() {
            let separator = if i == 0 { ' ' } else { ',' };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            write!(f, "{separator}{name}=\"{value}\"")?;
        }
        Ok(())
    }
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

fn token(text: &str) -> Option<(&str, &str)> {
    let end = text
        .bytes()
        .position(|b| !is_token(b))
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A quoted string, or a bare word up to a comma or a space: some servers do not quote URLs.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                escaped = false;
                value.push(c);
            }
            '\\' => escaped = true,
            '"' => return Some((value, &quoted[at + 1..])),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{Action, Scope};
    use super::*;

    #[test]
    fn reads_what_registries_send() {
        let hub = Challenge::read(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull",error="invalid_token""#,
        );
        assert_eq!(hub.len(), 1);
        assert_eq!(hub[0].scheme, "bearer");
        assert_eq!(hub[0].get("realm"), Some("https://auth.docker.io/token"));
        assert_eq!(hub[0].get("scope"), Some("repository:library/alpine:pull"));

        let two =
            Challenge::read(r#"BASIC realm="a, b \"c\"" , Bearer realm=https://h/t,service = x"#);
        assert_eq!(two.len(), 2);
        assert_eq!(two[0], Challenge::basic("a, b \"c\""));
        assert_eq!(two[1].get("realm"), Some("https://h/t"));
        assert_eq!(two[1].get("service"), Some("x"));
        assert_eq!(Challenge::read("Negotiate, Basic realm=x").len(), 2);
    }

    #[test]
    fn nonsense_ends_the_reading() {
        assert!(Challenge::read("").is_empty());
        assert!(Challenge::read("realm=\"x\"").is_empty());
        assert!(Challenge::read("\"").is_empty());
        assert!(Challenge::read(&"a ".repeat(MAX_HEADER)).is_empty());
        let open = Challenge::read("Bearer realm=\"x");
        assert_eq!(open.len(), 1);
        assert_eq!(open[0].get("realm"), None);
    }

    #[test]
    fn reads_what_it_writes() {
        let bearer = Challenge::bearer(
            "https://h/token?a=\"b\"",
            "service \\ x",
            &[
                Scope::repository("a", [Action::Pull]),
                Scope::repository("b", [Action::Push, Action::Pull]),
            ],
        );
        assert_eq!(Challenge::read(&bearer.to_string()), [bearer]);
    }
}
