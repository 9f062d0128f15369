//! What a RUN finds in its environment.

use std::path::Path;

use super::HOST_CA;
use super::bind::Bound;
use crate::plan::graph::RunStep;

/// The variables by which programs are told of a CA bundle.
const CA_VARIABLES: [&str; 7] = [
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "CARGO_HTTP_CAINFO",
    "GIT_SSL_CAINFO",
    "CURL_CA_BUNDLE",
];

/// Where programs look for the agent's socket.
const AGENT: &str = "SSH_AUTH_SOCK";

/// The environment of the process. What the image and the build define counts more than what is only passed on.
pub(super) fn of(
    run: &RunStep,
    bound: &Bound,
    host_ca: bool,
    home: &Path,
    hostname: &str,
) -> Vec<String> {
    let mut env: Vec<(String, String)> = run.env.clone();
    let mut default = |name: &str, value: &str| {
        if !env.iter().any(|(known, _)| known == name) {
            env.push((name.to_owned(), value.to_owned()));
        }
    };
    default("PATH", dockerfile::scope::DEFAULT_PATH);
    default("HOME", &home.to_string_lossy());
    default("HOSTNAME", hostname);
    for (name, value) in &run.proxies {
        default(name, value);
    }
    if host_ca {
        for name in CA_VARIABLES {
            default(name, HOST_CA);
        }
    }
    if let Some(agent) = &bound.agent {
        default(AGENT, agent);
    }
    for (name, value) in &bound.secrets {
        env.retain(|(known, _)| known != name);
        env.push((name.clone(), value.clone()));
    }
    env.into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}
