//! Proxies, from the texts of `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, by the rules of Go's programs.

use std::net::IpAddr;

use base64::Engine as _;

use super::error::{Error, Result};
use super::secret::Secret;
use super::url::{Origin, is_loopback};

/// Which connections go through which proxy.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    except: Vec<Except>,
}

/// One proxy.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) origin: Origin,
    /// It speaks SOCKS 5 and not HTTP.
    pub(crate) socks: bool,
    /// Who we are there.
    pub(crate) login: Option<Login>,
}

/// Who we are at a proxy.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Secret,
}

/// What is reached without a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Except {
    Everything,
    /// A host and those below it, or with a leading dot only those below.
    Host(String, Option<u16>),
    Network(IpAddr, u8),
}

impl Proxies {
    /// Reads the three texts; a missing or empty one means none.
    ///
    /// # Errors
    ///
    /// A proxy is no `http`, `https` or `socks5` address.
    pub fn read(http: Option<&str>, https: Option<&str>, except: Option<&str>) -> Result<Self> {
        let proxy = |name: &str, text: Option<&str>| {
            text.map(str::trim)
                .filter(|text| !text.is_empty())
                .map(|text| Proxy::parse(name, text))
                .transpose()
        };
        Ok(Self {
            http: proxy("HTTP_PROXY", http)?,
            https: proxy("HTTPS_PROXY", https)?,
            except: except
                .unwrap_or_default()
                .split([',', ' '])
                .filter(|entry| !entry.is_empty())
                .filter_map(Except::parse)
                .collect(),
        })
    }

    /// The proxy for a connection to `origin`; this machine is always reached directly.
    pub(crate) fn find(&self, origin: &Origin) -> Option<&Proxy> {
        let proxy = if origin.is_secure() {
            self.https.as_ref()
        } else {
            self.http.as_ref()
        }?;
        let direct = is_loopback(origin.host())
            || self
                .except
                .iter()
                .any(|except| except.matches(origin.host(), origin.port()));
        (!direct).then_some(proxy)
    }
}

impl Proxy {
    fn parse(name: &str, text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::Configuration {
            what: format!("cannot use the proxy of the environment, `{name}`"),
            why: why.to_owned(),
        };
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        // Names are looked up by the proxy in any case.
        let (secure, socks) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (false, false),
            "https" => (true, false),
            "socks5" | "socks5h" => (false, true),
            other => {
                let other = crate::wire::sanitised(other, 20);
                return Err(wrong(&format!(
                    "`{other}` is none of `http`, `https`, `socks5` and `socks5h`"
                )));
            }
        };
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, authority) = match rest.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, rest),
        };
        let login = user
            .map(|user| {
                let pair = user.split_once(':').unwrap_or((user, ""));
                let decoded = |text: &str| {
                    crate::wire::Query::read(&format!("x={}", text.replace('&', "%26")))
                        .and_then(|query| query.get("x").map(str::to_owned))
                        .ok_or_else(|| wrong("its user name or password is malformed"))
                };
                Ok::<_, Error>(Login {
                    user: decoded(pair.0)?,
                    password: Secret::new(decoded(pair.1)?),
                })
            })
            .transpose()?;
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let usual = if socks && !has_port { ":1080" } else { "" };
        Ok(Self {
            origin: Origin::parse(secure, &format!("{authority}{usual}"))
                .map_err(|error| wrong(&error.to_string()))?,
            socks,
            login,
        })
    }

    /// The value of `Proxy-Authorization`.
    pub(crate) fn authorization(&self) -> Option<Secret> {
        let Login { user, password } = self.login.as_ref()?;
        let pair = format!("{user}:{}", password.reveal());
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        Some(Secret::new(format!("Basic {encoded}")))
    }

    /// Its address, for messages.
    pub(crate) fn shown(&self) -> String {
        if self.socks {
            format!("socks5://{}", self.origin.authority())
        } else {
            self.origin.to_string()
        }
    }
}

impl Except {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Everything);
        }
        let text = text.to_ascii_lowercase();
        if let Some((address, bits)) = text.split_once('/') {
            return Some(Self::Network(address.parse().ok()?, bits.parse().ok()?));
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Some(Self::Host(address.to_string(), None));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text.as_str(), None),
        };
        let host = host.strip_prefix('*').unwrap_or(host);
        Some(Self::Host(host.trim_matches(['[', ']']).to_owned(), port))
    }

    fn matches(&self, host: &str, port: u16) -> bool {
        match self {
            Self::Everything => true,
            Self::Host(_, Some(only)) if *only != port => false,
            Self::Host(name, _) if name.starts_with('.') => host.ends_with(name.as_str()),
            Self::Host(name, _) => {
                host == name
                    || host
                        .strip_suffix(name.as_str())
                        .is_some_and(|rest| rest.ends_with('.'))
            }
            Self::Network(network, bits) => host
                .parse()
                .is_ok_and(|address| in_network(address, *network, *bits)),
        }
    }
}

fn in_network(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |a: &[u8], b: &[u8]| {
        let bits = usize::from(bits);
        bits <= a.len() * 8
            && (0..bits).all(|bit| (a[bit / 8] ^ b[bit / 8]) & (0x80 >> (bit % 8)) == 0)
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(&a.octets(), &b.octets()),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(&a.octets(), &b.octets()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        let (scheme, rest) = text.split_once("://").unwrap();
        Origin::parse(scheme == "https", rest).unwrap()
    }

    #[test]
    fn chooses_by_scheme_and_exception() {
        let proxies = Proxies::read(
            Some("proxy:3128"),
            Some("https://user:p%40ss@secure.proxy"),
            Some("example.com, .only.below,10.0.0.0/8,*.star.org 192.168.1.1,port.org:8080"),
        )
        .unwrap();
        let through = |text: &str| {
            proxies
                .find(&origin(text))
                .map(|proxy| proxy.origin.to_string())
        };
        assert_eq!(
            through("http://a.org").as_deref(),
            Some("http://proxy:3128")
        );
        assert_eq!(
            through("https://a.org").as_deref(),
            Some("https://secure.proxy")
        );
        for direct in [
            "http://localhost:5000",
            "https://127.0.0.1",
            "https://[::1]:5000",
            "https://example.com",
            "https://x.example.com:8443",
            "https://a.only.below",
            "https://10.1.2.3",
            "https://a.star.org",
            "https://192.168.1.1",
            "http://port.org:8080",
        ] {
            assert_eq!(through(direct), None, "{direct}");
        }
        for proxied in [
            "https://notexample.com",
            "https://only.below",
            "https://11.1.2.3",
            "http://port.org",
        ] {
            assert!(through(proxied).is_some(), "{proxied}");
        }
        let secret = proxies.https.unwrap().authorization().unwrap();
        assert_eq!(secret.reveal(), "Basic dXNlcjpwQHNz");
        let socks = Proxies::read(Some("socks5h://x"), None, None).unwrap();
        assert_eq!(socks.http.unwrap().shown(), "socks5://x:1080");
        let error = Proxies::read(None, Some("ftp://u:hunter2@x"), None).unwrap_err();
        assert!(error.to_string().contains("`HTTPS_PROXY`"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let all = Proxies::read(Some("p"), None, Some("*")).unwrap();
        assert!(all.find(&origin("http://a.org")).is_none());
    }
}
