//! Addresses of registries and files: `http` and `https` URLs, and what a `Location` says relative to one.

use std::fmt;
use std::str::FromStr;

/// The longest URL that is followed. Signed addresses of object stores have two thousand characters.
const MAX_URL: usize = 16 << 10;

/// An absolute `http` or `https` URL without user information and fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    origin: Origin,
    /// Path and query; begins with a slash.
    path: String,
}

/// Where a URL leads: scheme, host and port. Credentials belong to one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    secure: bool,
    /// In lower case, an IPv6 address without its brackets.
    host: String,
    port: u16,
}

/// Why a text is no URL that can be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither `http` nor `https`.
    #[error("only http and https addresses are followed")]
    Scheme,
    /// Credentials in a URL show up everywhere.
    #[error("an address must not have credentials in it")]
    UserInformation,
    /// Host or port cannot be understood.
    #[error("its host or port is malformed")]
    Host,
    /// Characters that no URL has, or too many.
    #[error("it is malformed")]
    Malformed,
}

impl Origin {
    /// `host`, `host:port` or `[v6]:port`.
    ///
    /// # Errors
    ///
    /// [`UrlError::Host`], [`UrlError::UserInformation`].
    pub fn parse(secure: bool, authority: &str) -> Result<Self, UrlError> {
        if authority.contains('@') {
            return Err(UrlError::UserInformation);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (inner, after) = rest.split_once(']').ok_or(UrlError::Host)?;
                inner
                    .parse::<std::net::Ipv6Addr>()
                    .map_err(|_| UrlError::Host)?;
                let port = match after {
                    "" => None,
                    after => Some(after.strip_prefix(':').ok_or(UrlError::Host)?),
                };
                (inner, port)
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
        if host.is_empty() || host.len() > 255 || !host.bytes().all(letter) {
            return Err(UrlError::Host);
        }
        let port = match port {
            None | Some("") => {
                if secure {
                    443
                } else {
                    80
                }
            }
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
                port.parse().map_err(|_| UrlError::Host)?
            }
            Some(_) => return Err(UrlError::Host),
        };
        Ok(Self {
            secure,
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// True for `https`.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The same host and port with the other scheme.
    #[must_use]
    pub fn with_security(&self, secure: bool) -> Self {
        let port = match (self.port, secure) {
            (80, true) => 443,
            (443, false) => 80,
            (port, _) => port,
        };
        Self {
            secure,
            host: self.host.clone(),
            port,
        }
    }

    /// `host:port`, the port left out where it is the scheme's own; for the `Host` header and for people.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// True for this machine by name or by address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

/// True for `localhost` and loopback addresses.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl Url {
    /// `path` (which may have a query) at `origin`.
    ///
    /// # Errors
    ///
    /// [`UrlError::Malformed`].
    pub fn new(origin: Origin, path: &str) -> Result<Self, UrlError> {
        let path = path.split_once('#').map_or(path, |(path, _)| path);
        let fine = |b: u8| (0x21..0x7f).contains(&b) && !b"\"<>\\^`{|}".contains(&b);
        if path.len() > MAX_URL || !path.bytes().all(fine) {
            return Err(UrlError::Malformed);
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            origin,
            path: format!("{slash}{path}"),
        })
    }

    /// Where it leads.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What `reference` means when this URL's answer says it: absolute, or relative to this one.
    ///
    /// # Errors
    ///
    /// It is no URL that can be followed.
    pub fn join(&self, reference: &str) -> Result<Self, UrlError> {
        let reference = reference.trim();
        if let Some(rest) = reference.strip_prefix("//") {
            let scheme = if self.origin.secure { "https" } else { "http" };
            return format!("{scheme}://{rest}").parse();
        }
        if has_scheme(reference) {
            return reference.parse();
        }
        let own = self.path.split('?').next().unwrap_or("/");
        let path = if reference.starts_with('/') {
            reference.to_owned()
        } else if reference.is_empty() {
            self.path.clone()
        } else if reference.starts_with('?') {
            format!("{own}{reference}")
        } else {
            let folder = own.rfind('/').map_or("/", |at| &own[..=at]);
            format!("{folder}{reference}")
        };
        let end = path.find(['?', '#']).unwrap_or(path.len());
        let (path, query) = path.split_at(end);
        Self::new(
            self.origin.clone(),
            &format!("{}{query}", without_dots(path)),
        )
    }

    /// The same with one more pair in its query; `value` is encoded here.
    #[must_use]
    pub fn with_query(&self, name: &str, value: &str) -> Self {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        let value = crate::wire::encode_component(value);
        Self {
            origin: self.origin.clone(),
            path: format!("{}{separator}{name}={value}", self.path),
        }
    }
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

/// Escapes what cannot be in a request line; escapes that are there stay.
#[must_use]
pub fn escaped(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text {
        let plain = byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte);
        if plain {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// True for `word:` before any slash.
fn has_scheme(reference: &str) -> bool {
    let end = reference.find([':', '/', '?']);
    end.is_some_and(|end| end > 0 && reference.as_bytes()[end] == b':')
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(UrlError::Scheme),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        Self::new(Origin::parse(secure, &rest[..end])?, &rest[end..])
    }
}

/// Without the query: signed addresses have secrets there.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{}{path}", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_addresses() {
        let url: Url = "HTTPS://Example.com/v2/?a=b#c".parse().unwrap();
        assert_eq!(url.origin().to_string(), "https://example.com");
        assert_eq!(url.path(), "/v2/?a=b");
        assert_eq!(url.to_string(), "https://example.com/v2/");
        let url: Url = "http://[::1]:5000?x".parse().unwrap();
        assert_eq!(url.origin().authority(), "[::1]:5000");
        assert_eq!(url.path(), "/?x");
        assert!(url.origin().is_loopback());
        assert!(
            !"http://example.com"
                .parse::<Url>()
                .unwrap()
                .origin()
                .is_loopback()
        );
    }

    #[test]
    fn refuses_what_must_not_be_followed() {
        for (text, why) in [
            ("ftp://a/b", UrlError::Scheme),
            ("file:///etc/passwd", UrlError::Scheme),
            ("//a/b", UrlError::Scheme),
            ("https://user:password@a/b", UrlError::UserInformation),
            ("https://", UrlError::Host),
            ("https://a:b/", UrlError::Host),
            ("https://a:99999/", UrlError::Host),
            ("https://[::1/", UrlError::Host),
            ("https://a b/", UrlError::Host),
            ("https://a/b c", UrlError::Malformed),
            ("https://a/\r\nX-Evil: 1", UrlError::Malformed),
            ("https://a/é", UrlError::Malformed),
        ] {
            assert_eq!(text.parse::<Url>(), Err(why), "{text}");
        }
        let long = format!("https://a/{}", "x".repeat(MAX_URL));
        assert_eq!(long.parse::<Url>(), Err(UrlError::Malformed));
    }

    #[test]
    fn joins_locations() {
        let base: Url = "https://h:8443/v2/a/blobs/uploads/?x=1".parse().unwrap();
        for (reference, whole) in [
            (
                "/v2/a/blobs/uploads/1?s=2",
                "https://h:8443|/v2/a/blobs/uploads/1?s=2",
            ),
            ("https://other/x", "https://other|/x"),
            ("//other/x", "https://other|/x"),
            ("1?s=2", "https://h:8443|/v2/a/blobs/uploads/1?s=2"),
            ("./1", "https://h:8443|/v2/a/blobs/uploads/1"),
            ("../../1", "https://h:8443|/v2/a/1"),
            ("../../../../../../1", "https://h:8443|/1"),
            ("./", "https://h:8443|/v2/a/blobs/uploads/"),
            ("/a?b=/../c", "https://h:8443|/a?b=/../c"),
            ("?y=2", "https://h:8443|/v2/a/blobs/uploads/?y=2"),
        ] {
            let url = base.join(reference).unwrap();
            assert_eq!(
                format!("{}|{}", url.origin(), url.path()),
                whole,
                "{reference}"
            );
        }
        assert!(base.join("gopher://x/").is_err());
        assert!(base.join("javascript:x").is_err());
        let url = base.with_query("digest", "sha256:0");
        assert_eq!(url.path(), "/v2/a/blobs/uploads/?x=1&digest=sha256%3A0");
    }
}
