//! Which hosts and ports a tool may reach. Pure, and the same code on both sides: the helper
//! inside answers names by it, the broker outside decides by it alone.

use crate::names::{HostName, HostPattern, Port, Scope};

/// What may be reached. The zero value is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// These hosts.
    Hosts(Vec<HostPattern>),
    /// Any host by name, on the ports of the web, and these besides. Private addresses stay out of
    /// reach.
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
const WEB: [Port; 2] = [Port::HTTPS, Port::HTTP];

impl Reach {
    /// Any host by name, on the ports of the web.
    pub const PUBLIC: Reach = Reach::Public { besides: Vec::new() };

    /// The ports of `host` that may be reached; none when the host may not be.
    pub fn ports(&self, host: &HostName) -> Vec<Port> {
        let (patterns, mut ports) = match self {
            Reach::Hosts(patterns) => (patterns, Vec::new()),
            Reach::Public { besides } => (besides, WEB.to_vec()),
        };
        let matching = patterns.iter().filter(|pattern| pattern.matches(host));
        ports.extend(matching.flat_map(|pattern| pattern.port.map_or(WEB.to_vec(), |port| vec![port])));
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Whether `host` itself is named, and not matched by something wider.
    pub fn names(&self, host: &HostName) -> bool {
        let (Reach::Hosts(patterns) | Reach::Public { besides: patterns }) = self;
        patterns.iter().any(|pattern| pattern.scope == Scope::Exactly && pattern.matches(host))
    }
}

/// What is spoken on a port, as far as coco knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TLS: the ClientHello has to name the host.
    Tls,
    /// HTTP/1: each request has to name the host.
    Http,
    /// Anything: only the address is sure.
    Raw,
}

impl Protocol {
    /// By the port alone: what a client says is no reason to check less.
    pub fn of(port: Port) -> Protocol {
        match port {
            Port::HTTPS => Protocol::Tls,
            Port::HTTP => Protocol::Http,
            _ => Protocol::Raw,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let named = |reach: &Reach, host| reach.names(&HostName::new(host).unwrap());
        assert!(named(&besides, "db.example.com") && !named(&besides, "x.example.com"));
        assert!(!named(&reach(&["*.wild.com"]), "a.wild.com"));
    }
}
