//! EXPOSE: ports, ranges of them, and protocols.

use std::net::IpAddr;

use crate::InvalidValue;

/// The ports of one EXPOSE.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ports {
    /// `80/tcp` and so on, in the order of the words.
    pub ports: Vec<String>,
    /// Words with an upper-case protocol.
    pub upper_case: Vec<String>,
    /// Words with a host's address or port, which mean nothing in an image.
    pub with_host: Vec<String>,
}

/// Most ports of one EXPOSE: every port of every protocol.
const MAX_PORTS: usize = 3 * 65_536;

/// The words of an EXPOSE in the order in which they are expanded and listed: sorted as written.
pub fn in_order(words: &[String]) -> Vec<&str> {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.sort_unstable();
    words
}

/// Reads words with all variables expanded.
///
/// # Errors
///
/// A word that is not `[[ip:]host-port:]port[-port][/tcp|udp|sctp]`.
pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Ports, InvalidValue> {
    let mut out = Ports::default();
    for word in words {
        let invalid = |why: &str| InvalidValue::new(format!("`{word}` is not a port: {why}"));
        let (host, container) = split_host(word);
        let (range, protocol) = match container.split_once('/') {
            Some((range, "")) => (range, "tcp"),
            Some((range, protocol)) => (range, protocol),
            None => (container, "tcp"),
        };
        let lower = protocol.to_ascii_lowercase();
        if !matches!(lower.as_str(), "tcp" | "udp" | "sctp") {
            return Err(invalid("the protocol is not tcp, udp or sctp"));
        }
        let (first, last) = port_range(range).map_err(invalid)?;
        if let Some(host) = host {
            check_host(host, (first, last)).map_err(invalid)?;
            out.with_host.push(word.to_owned());
        }
        if lower != protocol {
            out.upper_case.push(word.to_owned());
        }
        if out.ports.len() + usize::from(last - first) > MAX_PORTS {
            return Err(invalid("there are not that many"));
        }
        out.ports
            .extend((first..=last).map(|p| format!("{p}/{lower}")));
    }
    Ok(out)
}

/// Cuts at the last colon.
fn split_host(word: &str) -> (Option<&str>, &str) {
    match word.rsplit_once(':') {
        Some((host, container)) => (Some(host), container),
        None => (None, word),
    }
}

fn check_host(host: &str, container: (u16, u16)) -> Result<(), &'static str> {
    let (ip, port) = match host.rsplit_once(':') {
        Some((ip, port)) => (ip, port),
        None => ("", host),
    };
    if !ip.is_empty() {
        let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
        let parsed = bare.unwrap_or(ip).parse::<IpAddr>();
        parsed.map_err(|_| "the address before it is not one")?;
    }
    if !port.is_empty() {
        let (first, last) = port_range(port).map_err(|_| "the host's port is not one")?;
        let count = |(first, last): (u16, u16)| last - first;
        if container.0 != container.1 && count(container) != count((first, last)) {
            return Err("the host's range has another length");
        }
    }
    Ok(())
}

fn port_range(text: &str) -> Result<(u16, u16), &'static str> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if last < first {
        return Err("the range is upside down");
    }
    Ok((first, last))
}

fn port(text: &str) -> Result<u16, &'static str> {
    if text.is_empty() {
        return Err("there is no number");
    }
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or("the number is not one from 0 to 65535")
}
