//! The files that a container gets from its surroundings: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`.
//!
//! They are mounted over the image's, so that nothing of them is ever in a layer. The texts are made by pure functions;
//! [`mounts`] reads what the host has.

use std::io::Read;
use std::path::{Path, PathBuf};

use sys::fs::Context as _;

use crate::error::Result;
use crate::spec::{Mount, MountSource};

/// Where systemd's resolver keeps the addresses of the real ones.
const SYSTEMD_UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";
/// Largest file of the host that is passed on, 1 MiB.
const MAX_FILE: u64 = 1 << 20;
/// Who answers where the host names nobody that a container could reach, as Docker has it.
const PUBLIC_RESOLVERS: &str = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";

/// The three files as read-only mounts.
///
/// `hosts` are extra lines, name and address. With `host_network` loopback resolvers of the host are kept, since the
/// container can reach them.
///
/// # Errors
///
/// A file of the host exists and cannot be read.
pub fn mounts(
    hostname: &str,
    hosts: &[(String, String)],
    host_network: bool,
) -> Result<Vec<Mount>> {
    let host = if host_network {
        read(Path::new("/etc/hosts"))?
    } else {
        None
    };
    let resolv = read(Path::new("/etc/resolv.conf"))?.unwrap_or_default();
    // Loopback stubs answer on the host's network only, so they need no replacing there.
    let resolv = if is_systemd_stub(&resolv) && !host_network {
        read(Path::new(SYSTEMD_UPSTREAM))?.unwrap_or(resolv)
    } else {
        resolv
    };
    Ok(vec![
        file("/etc/hosts", hosts_file(host.as_deref(), hostname, hosts)),
        file("/etc/hostname", format!("{hostname}\n")),
        file("/etc/resolv.conf", resolv_conf(&resolv, host_network)),
    ])
}

fn file(target: &str, content: String) -> Mount {
    let source = MountSource::File {
        content: content.into_bytes(),
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    Mount {
        target: PathBuf::from(target),
        source,
        readonly: true,
    }
}

/// A text file of the host; `None` if it is missing or no regular file.
fn read(path: &Path) -> Result<Option<String>> {
    if !path.is_file() {
        return Ok(None);
    }
    let Some(file) = sys::fs::optional(sys::fs::open(path))? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .context("read", path)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// `/etc/hosts`: the host's own lines where the network is the host's, else those of the loopback device; then the
/// container's name, then `extra`.
#[must_use]
pub fn hosts_file(host: Option<&str>, hostname: &str, extra: &[(String, String)]) -> String {
    let mut text = match host {
        Some(host) => host.to_owned(),
        None => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned(),
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let known = |text: &str| {
        let words = |line: &str| {
            line.split('#')
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .skip(1)
                .any(|name| name == hostname)
        };
        text.lines().any(words)
    };
    if !hostname.is_empty() && !known(&text) {
        text.push_str(&format!("127.0.1.1\t{hostname}\n"));
    }
    for (name, address) in extra {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

/// True if the only resolver is the local stub of systemd.
fn is_systemd_stub(text: &str) -> bool {
    let mut servers = text.lines().filter_map(nameserver);
    servers.next() == Some("127.0.0.53") && servers.next().is_none()
}

/// The address of a `nameserver` line.
fn nameserver(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next() == Some("nameserver"))
        .then(|| words.next())
        .flatten()
}

/// `/etc/resolv.conf`: the host's, without resolvers on the loopback device unless the network is the host's.
#[must_use]
pub fn resolv_conf(host: &str, host_network: bool) -> String {
    let loopback = |address: &str| {
        let address = address.split('%').next().unwrap_or(address);
        address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
    };
    let mut text = String::new();
    for line in host.lines() {
        if host_network || !nameserver(line).is_some_and(loopback) {
            text.push_str(line);
            text.push('\n');
        }
    }
    if !host_network && !text.lines().any(|line| nameserver(line).is_some()) {
        text.push_str(PUBLIC_RESOLVERS);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_resolvers_are_dropped_unless_the_network_is_the_hosts() {
        let host = "search a.b\nnameserver 127.0.0.1\nnameserver ::1\nnameserver 10.0.0.1\n";
        assert_eq!(
            resolv_conf(host, false),
            "search a.b\nnameserver 10.0.0.1\n"
        );
        assert_eq!(resolv_conf(host, true), host);
        assert_eq!(
            resolv_conf("nameserver 127.0.0.1\n", false),
            PUBLIC_RESOLVERS
        );
    }

    #[test]
    fn the_stub_of_systemd_is_known() {
        assert!(is_systemd_stub(
            "# c\nnameserver 127.0.0.53\noptions edns0\n"
        ));
        assert!(!is_systemd_stub(
            "nameserver 127.0.0.53\nnameserver 1.1.1.1\n"
        ));
    }

    #[test]
    fn the_containers_name_is_in_its_hosts() {
        let extra = [("db".to_owned(), "10.0.0.2".to_owned())];
        assert_eq!(
            hosts_file(None, "boat", &extra),
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\tboat\n10.0.0.2\tdb\n"
        );
        assert_eq!(
            hosts_file(Some("127.0.0.1 localhost boat # x"), "boat", &[]),
            "127.0.0.1 localhost boat # x\n"
        );
    }
}
