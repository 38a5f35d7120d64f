//! Who may be dialled: the hosts and ports that are granted, and the addresses that a name may have.
//!
//! Pure, and the same code on both sides: init answers names by it, and the proxy decides by it alone. A granted name may
//! resolve to anything its owner likes: without the check of the address, `127.0.0.1` in somebody's DNS would open the
//! host's own services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::names::{HostName, HostPattern, Port, Scope};

/// What may be reached. The default is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// These hosts.
    Hosts(Vec<HostPattern>),
    /// Any host by name, on the ports of the web, and these hosts on their own ports. Private addresses stay out of reach.
    Public {
        /// Hosts with ports of their own.
        besides: Vec<HostPattern>,
    },
}

impl Default for Reach {
    fn default() -> Self {
        Reach::Hosts(Vec::new())
    }
}

/// The ports of a host that is granted without one.
const WEB_PORTS: [Port; 2] = [Port::HTTPS, Port::HTTP];

impl Reach {
    /// Any host by name, on the ports of the web.
    pub const PUBLIC: Reach = Reach::Public { besides: Vec::new() };

    /// The ports of `host` that may be reached; none when the host may not be reached.
    pub fn ports(&self, host: &HostName) -> Vec<Port> {
        let (patterns, mut ports) = match self {
            Reach::Hosts(patterns) => (patterns, Vec::new()),
            Reach::Public { besides } => (besides, WEB_PORTS.to_vec()),
        };
        let matching = patterns.iter().filter(|pattern| pattern.matches(host));
        ports.extend(matching.flat_map(|pattern| pattern.port.map_or(WEB_PORTS.to_vec(), |port| vec![port])));
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Whether `host` is granted by its own name, and not only by a pattern.
    pub fn names_exactly(&self, host: &HostName) -> bool {
        let (Reach::Hosts(patterns) | Reach::Public { besides: patterns }) = self;
        patterns.iter().any(|pattern| pattern.scope == Scope::Exactly && pattern.matches(host))
    }
}

/// The protocol on a port, as far as it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TLS: the ClientHello has to name the host.
    Tls,
    /// HTTP/1: each request has to name the host.
    Http,
    /// Anything: only the address is checked.
    Raw,
}

impl Protocol {
    /// By the port alone: a client can't choose to be checked less.
    pub fn of(port: Port) -> Protocol {
        match port {
            Port::HTTPS => Protocol::Tls,
            Port::HTTP => Protocol::Http,
            _ => Protocol::Raw,
        }
    }
}

/// First address and prefix length of what is not public in IPv4, after RFC 6890 and the registries that it set up (IANA
/// IPv4 and IPv6 Special-Purpose Address Registry). The ranges for documentation are not refused: nothing lives there.
const NOT_PUBLIC: [(Ipv4Addr, u32); 12] = [
    // "This network" (RFC 791): Linux takes 0.0.0.0 for the machine itself.
    (Ipv4Addr::UNSPECIFIED, 8),
    // Private (RFC 1918), here and twice below.
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    // Shared behind carrier-grade NAT (RFC 6598).
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    // Loopback (RFC 1122).
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local (RFC 3927), where clouds keep their metadata and credentials.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    // Protocol assignments (RFC 6890), NAT64 discovery and DS-Lite among them.
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    // 6to4 relays (RFC 7526): a tunnel's way in.
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // Benchmarking (RFC 2544).
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    // Multicast (RFC 5771).
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    // Reserved (RFC 1112), limited broadcast included.
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Whether a name may be dialled at this address.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC.iter().any(|range| contains(*range, address)),
        IpAddr::V6(address) => is_public_ipv6(address),
    }
}

fn contains((first, prefix): (Ipv4Addr, u32), address: Ipv4Addr) -> bool {
    let mask = u32::MAX << (32 - prefix);
    address.to_bits() & mask == first.to_bits()
}

/// Only what is allocated for global unicast, 2000::/3, and of that nothing that leads on to an IPv4 address in it. All
/// other addresses that do (mapped, compatible, NAT64), and all local and multicast ones, are outside of it.
fn is_public_ipv6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Protocol assignments (RFC 2928), with Teredo, benchmarking and ORCHID; and 6to4 (RFC 3056).
        [0x2001, 0..=0x01ff, ..] | [0x2002, ..] => false,
        [first, ..] => first >> 13 == 0b001,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reach(patterns: &[&str]) -> Reach {
        Reach::Hosts(patterns.iter().map(|text| HostPattern::new(text).unwrap()).collect())
    }

    fn ports(reach: &Reach, host: &str) -> Vec<u16> {
        HostName::new(host).map(|host| reach.ports(&host).into_iter().map(Port::number).collect()).unwrap_or_default()
    }

    #[test]
    fn a_name_matches_whole_or_not_at_all() {
        let reach = reach(&["allowed.com", "*.wild.com", "raw.com:22", "raw.com:443"]);
        for (host, expected) in [
            ("allowed.com", &[80, 443][..]),
            ("ALLOWED.com", &[80, 443]),
            ("a.wild.com", &[80, 443]),
            ("a.b.wild.com", &[80, 443]),
            ("raw.com", &[22, 443]),
            ("wild.com", &[]),
            ("allowed.com.evil.com", &[]),
            ("evilallowed.com", &[]),
            ("x.allowed.com", &[]),
            ("evilwild.com", &[]),
            ("a.wild.com.evil.com", &[]),
            ("allowed.com.", &[]),
            ("allowed.com\0.evil.com", &[]),
        ] {
            assert_eq!(ports(&reach, host), expected, "{host:?}");
        }
    }

    #[test]
    fn nothing_is_reached_by_default_and_addresses_never() {
        assert!(ports(&Reach::default(), "allowed.com").is_empty());
        for host in ["127.0.0.1", "0x7f.1", "2130706433", "[::1]", "localhost", "127.1", "1.2.3.4"] {
            assert!(ports(&Reach::PUBLIC, host).is_empty(), "{host}");
        }
        assert_eq!(ports(&Reach::PUBLIC, "any.example.com"), &[80, 443]);
        let besides = Reach::Public { besides: vec![HostPattern::new("db.example.com:5432").unwrap()] };
        assert_eq!(ports(&besides, "db.example.com"), &[80, 443, 5432]);
        let named = |reach: &Reach, host| reach.names_exactly(&HostName::new(host).unwrap());
        assert!(named(&besides, "db.example.com") && !named(&besides, "x.example.com"));
        assert!(!named(&reach(&["*.wild.com"]), "a.wild.com"));
    }

    #[test]
    fn every_refused_ipv4_range_ends_where_it_should() {
        // One before, first, last, one after; where a neighbour is refused as well, it says so.
        for (before, first, last, after) in [
            ("", "0.0.0.0", "0.255.255.255", "1.0.0.0"),
            ("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"),
            ("100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"),
            ("126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"),
            ("169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"),
            ("172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"),
            ("191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"),
            ("192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"),
            ("192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"),
            ("198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"),
            ("223.255.255.255", "224.0.0.0", "239.255.255.255", ""),
            ("", "240.0.0.0", "255.255.255.255", ""),
        ] {
            check(&[before, after], &[first, last]);
        }
    }

    #[test]
    fn every_refused_ipv6_range_ends_where_it_should() {
        let ones = "ffff:ffff:ffff:ffff:ffff:ffff";
        check(&["2000::"], &["::", "::1", &format!("1fff:ffff:{ones}")]);
        check(&[&format!("3fff:ffff:{ones}")], &["4000::", &format!("ffff:ffff:{ones}")]);
        check(&[&format!("2000:ffff:{ones}"), "2001:200::"], &["2001::", &format!("2001:1ff:{ones}")]);
        check(&[&format!("2001:ffff:{ones}"), "2003::"], &["2002::", &format!("2002:ffff:{ones}")]);
    }

    #[test]
    fn the_known_ones_are_judged_as_they_should() {
        check(
            &["1.1.1.1", "93.184.216.34", "192.0.2.1", "198.51.100.1", "203.0.113.1", "192.31.196.1"],
            &["127.0.0.1", "169.254.169.254", "192.0.0.192", "100.100.100.200", "255.255.255.255"],
        );
        check(
            &["2606:4700:4700::1111", "2a00:1450:4001::1", "2001:db8::1", "3fff::1", "2620:4f:8000::1"],
            &[
                "fe80::1",
                "fec0::1",
                "fc00::1",
                "fd00:ec2::254",
                "ff02::1",
                "64:ff9b::1.1.1.1",
                "64:ff9b:1::1.1.1.1",
                "100::1",
                "5f00::1",
                "::ffff:1.1.1.1",
                "::1.1.1.1",
                "::ffff:0:1.1.1.1",
            ],
        );
    }

    fn check(public: &[&str], refused: &[&str]) {
        for (addresses, expected) in [(public, true), (refused, false)] {
            for address in addresses.iter().filter(|address| !address.is_empty()) {
                assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_ipv6_address_leads_on_to_an_ipv4_one(bits in any::<u32>(), low in any::<u128>()) {
            let four = u128::from(bits);
            for six in [
                four,                                       // compatible
                four | 0xffff << 32,                        // mapped
                four | 0xffff_u128 << 48,                   // translated (SIIT)
                four | 0x0064_ff9b_u128 << 96,              // NAT64
                four | 0x0064_ff9b_0001_u128 << 80,         // NAT64 of a network's own
                four << 80 | 0x2002_u128 << 112 | low & (u128::MAX >> 48), // 6to4
                low & (u128::MAX >> 32) | 0x2001_0000_u128 << 96,          // Teredo
            ] {
                prop_assert!(!is_public(Ipv6Addr::from_bits(six).into()), "{}", Ipv6Addr::from_bits(six));
            }
        }

        #[test]
        fn only_global_unicast_is_public(bits in any::<u128>()) {
            let address = Ipv6Addr::from_bits(bits);
            let expected = bits >> 125 == 1 && bits >> 112 != 0x2002 && bits >> 105 != 0x2001_0000 >> 9;
            prop_assert_eq!(is_public(address.into()), expected);
        }

        #[test]
        fn the_standard_library_calls_no_public_address_local(bits in any::<u32>()) {
            let four = Ipv4Addr::from_bits(bits);
            let local = four.is_loopback() || four.is_private() || four.is_link_local() || four.is_multicast()
                || four.is_broadcast() || four.is_unspecified();
            prop_assert!(!(local && is_public(four.into())), "{}", four);
        }
    }
}
