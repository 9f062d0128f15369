//! What of this machine's surroundings the network needs: proxies, and the agent that holds the person's keys.

use std::net::IpAddr;
use std::path::PathBuf;

use super::url::{Url, split_port};

/// Surroundings, read once by the program and handed down.
#[derive(Clone, Default)]
pub struct Host {
    http_proxy: Option<String>,
    https_proxy: Option<String>,
    no_proxy: Vec<String>,
    /// As they were found, for programs that read them themselves.
    variables: Vec<(String, String)>,
    /// The socket of the person's ssh agent. Only a context that the person named may use it; a Dockerfile's sources need
    /// `--ssh`.
    pub ssh_agent: Option<PathBuf>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A proxy's URL may have a password in it.
        f.debug_struct("Host")
            .field("http_proxy", &self.http_proxy.is_some())
            .field("https_proxy", &self.https_proxy.is_some())
            .field("no_proxy", &self.no_proxy)
            .field("ssh_agent", &self.ssh_agent)
            .finish_non_exhaustive()
    }
}

/// The variables that git and its own transport read too.
const PASSED: [&str; 12] = [
    "PATH",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
];

impl Host {
    /// Reads the surroundings through `variable`, which gives an environment variable that is set to something.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: [&str; 4]| names.into_iter().find_map(&variable);
        let no_proxy = variable("no_proxy").or_else(|| variable("NO_PROXY"));
        let mut variables: Vec<(String, String)> = PASSED
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), variable(name)?)))
            .collect();
        // curl, by which git speaks HTTP, does not read the name in capitals.
        if variable("http_proxy").is_none()
            && let Some(proxy) = variable("HTTP_PROXY")
        {
            variables.push(("http_proxy".to_owned(), proxy));
        }
        Self {
            http_proxy: first(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            https_proxy: first(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            no_proxy: no_proxy
                .unwrap_or_default()
                .split(',')
                .map(|entry| entry.trim().to_ascii_lowercase())
                .filter(|entry| !entry.is_empty())
                .collect(),
            variables,
            ssh_agent: variable("SSH_AUTH_SOCK").map(PathBuf::from),
        }
    }

    /// The proxy for a URL, as it was given.
    pub(super) fn proxy(&self, url: &Url) -> Option<&str> {
        let proxy = if url.secure {
            &self.https_proxy
        } else {
            &self.http_proxy
        };
        proxy.as_deref().filter(|_| !self.is_direct(url))
    }

    pub(super) fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// True for this machine itself, and what `NO_PROXY` names: hosts with all below them, addresses, networks, `*`.
    fn is_direct(&self, url: &Url) -> bool {
        let host = url.host.trim_matches(['[', ']']);
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        self.no_proxy.iter().any(|entry| {
            if entry == "*" {
                return true;
            }
            if let (Some(address), Some((network, bits))) = (address, entry.split_once('/')) {
                return in_network(address, network, bits);
            }
            let Some((name, port)) = split_port(entry) else {
                return false;
            };
            if port.is_some_and(|port| port != url.port) {
                return false;
            }
            let name = name.trim_matches(['[', ']']);
            if let Ok(named) = name.parse::<IpAddr>() {
                return address == Some(named);
            }
            let name = name.trim_start_matches("*.").trim_start_matches('.');
            host == name
                || host
                    .strip_suffix(name)
                    .is_some_and(|rest| rest.ends_with('.'))
        })
    }
}

fn in_network(address: IpAddr, network: &str, bits: &str) -> bool {
    let Ok(bits) = bits.parse::<u32>() else {
        return false;
    };
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let Ok(network) = network.parse::<IpAddr>() else {
        return false;
    };
    let ((address, width), (network, other)) = (number(address), number(network));
    width == other && bits <= width && {
        let shift = width - bits;
        // All bits of an address of 128 may be beyond the network.
        address.checked_shr(shift) == network.checked_shr(shift)
    }
}

#[cfg(test)]
mod tests {
    use super::{Host, Url};

    fn host(variables: &[(&str, &str)]) -> Host {
        Host::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(found.1.to_owned())
        })
    }

    #[test]
    fn proxies_are_chosen_by_scheme_and_exceptions() {
        let host = host(&[
            ("HTTP_PROXY", "http://p:1"),
            ("https_proxy", "http://p:2"),
            (
                "NO_PROXY",
                "example.com, .sub.test,10.0.0.0/8,[fd00::1],h:81",
            ),
        ]);
        let proxy = |url: &str| host.proxy(&Url::parse(url).unwrap());
        assert_eq!(proxy("http://a/"), Some("http://p:1"));
        assert_eq!(proxy("https://a/"), Some("http://p:2"));
        for direct in [
            "http://example.com/",
            "https://a.example.com/",
            "http://x.sub.test/",
            "http://10.1.2.3/",
            "http://[fd00::1]/",
            "http://h:81/",
            "http://localhost:5/",
            "http://127.0.0.9/",
            "http://[::1]/",
        ] {
            assert_eq!(proxy(direct), None, "{direct}");
        }
        for proxied in ["http://notexample.com/", "http://11.1.2.3/", "http://h/"] {
            assert!(proxy(proxied).is_some(), "{proxied}");
        }
    }

    #[test]
    fn a_star_means_no_proxy_at_all() {
        let host = host(&[("ALL_PROXY", "http://p:1"), ("no_proxy", "*")]);
        assert_eq!(host.proxy(&Url::parse("http://a/").unwrap()), None);
        assert!(!format!("{host:?}").contains("p:1"));
    }
}
