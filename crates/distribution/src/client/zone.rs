//! How far addresses reach, and what may lead where.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::url::is_loopback;

/// From where an address can be reached, nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Zone {
    /// One link, or where a cloud tells its machines what is theirs alone, such as keys. No registry is there.
    Link,
    /// This machine or its network.
    Network,
    /// The whole internet.
    Public,
}

impl Zone {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => of_v4(v4),
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(|| of_v6(v6), of_v4),
        }
    }

    /// Of a host by the text of its address or name; a name may mean anything, and is taken for public.
    pub(crate) fn of_host(host: &str) -> Self {
        match host.parse() {
            Ok(address) => Self::of(address),
            Err(_) if is_loopback(host) => Self::Network,
            Err(_) => Self::Public,
        }
    }

    /// Whether whoever is there may lead us to `other`: not to what is nearer to us than itself, for it could ask there
    /// for nothing itself.
    pub(crate) fn may_lead_to(self, other: Self) -> bool {
        other >= self
    }
}

/// Where clouds tell their machines things on addresses that are not of one link: Alibaba's, Oracle's, Azure's.
const TOLD_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// The same of version 6: Amazon's and Google's.
const TOLD_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

fn of_v4(v4: Ipv4Addr) -> Zone {
    let [a, b, ..] = v4.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let internal = v4.is_private()
        || v4.is_loopback()
        || v4.is_unspecified()
        || v4.is_broadcast()
        || v4.is_multicast()
        || a == 0
        || shared;
    match (v4.is_link_local() || TOLD_V4.contains(&v4), internal) {
        (true, _) => Zone::Link,
        (false, true) => Zone::Network,
        (false, false) => Zone::Public,
    }
}

fn of_v6(v6: Ipv6Addr) -> Zone {
    if v6.is_unicast_link_local() || TOLD_V6.contains(&v6) {
        Zone::Link
    } else if v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unique_local() {
        Zone::Network
    } else {
        Zone::Public
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_how_far_addresses_reach() {
        let network = [
            "127.0.0.1",
            "10.0.0.1",
            "192.168.0.1",
            "172.16.0.1",
            "0.0.0.0",
            "100.64.0.1",
            "::1",
            "::",
            "fd00::1",
            "::ffff:127.0.0.1",
        ];
        let link = [
            "169.254.169.254",
            "fe80::1",
            "::ffff:169.254.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
        ];
        let public = ["1.1.1.1", "100.128.0.1", "2606:4700::1"];
        for (zone, all) in [
            (Zone::Network, &network[..]),
            (Zone::Link, &link),
            (Zone::Public, &public),
        ] {
            for address in all {
                assert_eq!(Zone::of(address.parse().unwrap()), zone, "{address}");
                assert_eq!(Zone::of_host(address), zone, "{address}");
            }
        }
        assert_eq!(Zone::of_host("localhost"), Zone::Network);
        assert_eq!(Zone::of_host("registry.example.test"), Zone::Public);
    }

    #[test]
    fn nobody_leads_to_what_is_nearer() {
        let all = [Zone::Link, Zone::Network, Zone::Public];
        for (from, may) in all.into_iter().zip([[1, 1, 1], [0, 1, 1], [0, 0, 1]]) {
            assert_eq!(all.map(|to| i32::from(from.may_lead_to(to))), may);
        }
    }
}
