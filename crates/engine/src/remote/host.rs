//! What of this machine's surroundings the network needs: proxies, and the agent that holds the person's keys.

use std::path::PathBuf;

use distribution::client::{Proxies, Result};

/// Surroundings, read once by the program and handed down.
#[derive(Clone, Default)]
pub struct Host {
    http_proxy: Option<String>,
    https_proxy: Option<String>,
    no_proxy: Option<String>,
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
            no_proxy,
            variables,
            ssh_agent: variable("SSH_AUTH_SOCK").map(PathBuf::from),
        }
    }

    /// The proxies, understood.
    pub(super) fn proxies(&self) -> Result<Proxies> {
        Proxies::read(
            self.http_proxy.as_deref(),
            self.https_proxy.as_deref(),
            self.no_proxy.as_deref(),
        )
    }

    pub(super) fn variables(&self) -> &[(String, String)] {
        &self.variables
    }
}

#[cfg(test)]
mod tests {
    use super::Host;

    fn host(variables: &[(&str, &str)]) -> Host {
        Host::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(found.1.to_owned())
        })
    }

    #[test]
    fn the_surroundings_do_not_show_the_passwords_of_proxies() {
        let host = host(&[("ALL_PROXY", "http://me:secret@p:1"), ("no_proxy", "*")]);
        assert!(!format!("{host:?}").contains("secret"));
        assert!(host.proxies().is_ok());
        let variables = host.variables();
        assert!(variables.iter().any(|(name, _)| name == "ALL_PROXY"));
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_an_error() {
        let error = host(&[("https_proxy", "gopher://p")])
            .proxies()
            .unwrap_err();
        assert!(error.to_string().contains("proxy"), "{error}");
    }
}
