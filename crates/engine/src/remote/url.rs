//! URLs of files on the network as people write them: with a password, perhaps, and characters that need escapes. Shown without passwords.

use std::fmt;

use distribution::client::{Origin, Url as Address, escaped};

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
            true => escaped(target.as_bytes()),
            false => format!("/{}", escaped(target.as_bytes())),
        };
        Ok(Self {
            secure,
            host,
            port: port.unwrap_or(if secure { 443 } else { 80 }),
            target,
            user,
        })
    }

    /// The host, and the port where it is not the usual one.
    pub(crate) fn authority(&self) -> String {
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    /// Everything but user and password, as it is asked for.
    pub(crate) fn address(&self) -> Result<Address, UrlError> {
        let wrong = |_| UrlError {
            url: self.to_string(),
            why: "it cannot be put into a request",
        };
        let origin = Origin::parse(self.secure, &self.authority()).map_err(wrong)?;
        Address::new(origin, &self.target).map_err(wrong)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.target)
    }
}

/// Host and port of `host:port`; an IPv6 address stands in brackets.
fn split_port(place: &str) -> Option<(&str, Option<u16>)> {
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
    fn errors_hide_passwords() {
        let error = Url::parse("http://me:secret@h:99999/").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
