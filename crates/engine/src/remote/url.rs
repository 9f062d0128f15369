//! URLs of files on the network: parsed once, joined for redirects, shown without passwords.

use std::fmt;

/// Longest URL, in bytes: what servers and proxies commonly take.
const MAX_URL: usize = 8192;

/// Why a text is no URL that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` cannot be fetched: {why}")]
pub struct UrlError {
    /// The text, without a password.
    pub url: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// An `http` or `https` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) secure: bool,
    /// In lower case, an IPv6 address in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query, escaped, beginning with `/`.
    pub(crate) target: String,
    /// User and password, unescaped.
    pub(crate) user: Option<(String, String)>,
}

impl Url {
    /// Understands a URL; the fragment is dropped.
    pub(crate) fn parse(text: &str) -> Result<Self, UrlError> {
        let wrong = |why| UrlError {
            url: super::printable(&dockerfile::remote::redacted(text)),
            why,
        };
        if text.len() > MAX_URL {
            return Err(wrong("it is longer than 8192 bytes"));
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("it is no URL"))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("its scheme is neither http nor https")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?', '\\']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let (host, port) = split_port(place).ok_or_else(|| wrong("its port is no number"))?;
        let host = host.to_ascii_lowercase();
        if !is_host(&host) {
            return Err(wrong("its host is not valid"));
        }
        let user = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            (unescape(name), unescape(password))
        });
        let target = match target.starts_with('/') {
            true => escape(target),
            false => format!("/{}", escape(target)),
        };
        Ok(Self {
            secure,
            host,
            port: port.unwrap_or(if secure { 443 } else { 80 }),
            target,
            user,
        })
    }

    /// Where a redirect to `location` leads.
    pub(crate) fn join(&self, location: &str) -> Result<Self, UrlError> {
        let location = location.trim();
        let scheme = if self.secure { "https" } else { "http" };
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        let is_absolute = location.split_once(':').is_some_and(|(scheme, _)| {
            !scheme.is_empty()
                && scheme
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        });
        if is_absolute {
            return Self::parse(location);
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let target = if location.starts_with('/') {
            location.to_owned()
        } else if location.starts_with('?') {
            format!("{path}{location}")
        } else {
            let dir = path.rfind('/').map_or("/", |slash| &path[..=slash]);
            format!("{dir}{location}")
        };
        let target = target.split('#').next().unwrap_or_default();
        if target.len() > MAX_URL {
            return Err(UrlError {
                url: self.to_string(),
                why: "it redirects to a URL that is longer than 8192 bytes",
            });
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let mut target = without_dots(&escape(path));
        if let Some(query) = query {
            target.push('?');
            target.push_str(&escape(query));
        }
        Ok(Self {
            target,
            user: None,
            ..self.clone()
        })
    }

    /// Whether credentials for one are good for the other.
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        (self.secure, &self.host, self.port) == (other.secure, &other.host, other.port)
    }

    /// The host, and the port where it is not the usual one.
    pub(crate) fn authority(&self) -> String {
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    /// Everything but user and password, for proxies and prefixes.
    pub(crate) fn absolute(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.target)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.absolute())
    }
}

/// Host and port of `host:port`; an IPv6 address stands in brackets.
pub(super) fn split_port(place: &str) -> Option<(&str, Option<u16>)> {
    let bracket = place.rfind(']').map_or(0, |at| at + 1);
    match place[bracket..].find(':') {
        None => Some((place, None)),
        Some(colon) => {
            let (host, port) = place.split_at(bracket + colon);
            match &port[1..] {
                "" => Some((host, None)),
                port => port.parse().ok().map(|port| (host, Some(port))),
            }
        }
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    !host.is_empty()
        && host.len() <= 255
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

/// Escapes what cannot be in a request line; escapes that are there stay.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if plain {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Resolves `%41`. What is no escape stays.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let hex = hex.filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(escaped) if byte == b'%' => {
                out.push(escaped);
                rest = &after[2..];
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Resolves `.` and `..` in an absolute path.
fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut pieces = path.split('/').skip(1).peekable();
    while let Some(piece) = pieces.next() {
        let last = pieces.peek().is_none();
        match piece {
            "." | ".." => {
                if piece == ".." {
                    parts.pop();
                }
                if last {
                    parts.push("");
                }
            }
            piece => parts.push(piece),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::Url;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn urls_are_taken_apart() {
        let found = url("HTTPS://me:p%40ss@Example.COM:8443/a b?q=ä#frag");
        assert!(found.secure);
        assert_eq!((found.host.as_str(), found.port), ("example.com", 8443));
        assert_eq!(found.target, "/a%20b?q=%C3%A4");
        assert_eq!(found.user, Some(("me".to_owned(), "p@ss".to_owned())));
        assert_eq!(found.to_string(), "https://example.com:8443/a%20b?q=%C3%A4");
        assert_eq!(url("http://h").target, "/");
        assert_eq!(url("http://h?x").target, "/?x");
        assert_eq!(url("http://[::1]:8/x").host, "[::1]");
        assert_eq!(url("http://h:/x").port, 80);
        for bad in [
            "ftp://h/x",
            "file:///etc/passwd",
            "http://",
            "http:///x",
            "http://h:99999/",
            "http://h:x/",
            "http://ho st/",
            "http://h\r\nX: y/",
            "http://[::g]/",
            "http://b\u{fc}cher.example/",
            "//h/x",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
        assert!(Url::parse(&format!("http://h/{}", "x".repeat(9000))).is_err());
    }

    #[test]
    fn redirects_are_relative_to_where_they_come_from() {
        let base = url("https://me:secret@h/a/b/c?q");
        for (location, expected) in [
            ("d", "https://h/a/b/d"),
            ("../d", "https://h/a/d"),
            ("../../../../d", "https://h/d"),
            ("./", "https://h/a/b/"),
            ("/x y", "https://h/x%20y"),
            ("?z", "https://h/a/b/c?z"),
            ("//other/x", "https://other/x"),
            ("http://other:81/x#f", "http://other:81/x"),
            ("/a?b=/../c", "https://h/a?b=/../c"),
        ] {
            let joined = base.join(location).unwrap();
            assert_eq!(joined.to_string(), expected, "{location}");
            assert_eq!(joined.user, None, "{location}");
        }
        assert!(base.join("file:///etc/shadow").is_err());
        assert!(base.join("gopher://h/").is_err());
        assert!(!base.same_origin(&url("http://h/")));
        assert!(!base.same_origin(&url("https://h:444/")));
        assert!(base.same_origin(&url("https://H/other")));
    }

    #[test]
    fn errors_hide_passwords() {
        let error = Url::parse("http://me:secret@h:99999/").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
