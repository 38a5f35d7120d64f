//! Checked hosts and ports.

use std::fmt;
use std::str::FromStr;

/// A host's name in its one spelling: lower case ASCII, two labels or more, no trailing dot. An IDN
/// is written in its `xn--` form. No IP literal in any spelling: a name whose last label is a
/// number could be read as an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

/// Checks a name, in either case.
impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.to_ascii_lowercase();
        let labels: Vec<&str> = name.split('.').collect();
        let good_label = |label: &&str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() > 253 || !labels.iter().all(good_label) {
            return Err(format!("{text:?} is not a valid host name"));
        }
        let last = labels.last().copied().unwrap_or("");
        if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") {
            return Err(format!("{text:?} looks like an address; hosts are granted by name"));
        }
        if labels.len() < 2 {
            return Err(format!("{text:?} has one label only; a whole top-level domain can't be granted"));
        }
        Ok(HostName(name))
    }
}

impl HostName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A host that a tool may reach: `name`, `*.name`, each with an optional `:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPattern {
    /// Which names.
    pub scope: Scope,
    /// The name.
    pub name: HostName,
    /// The one port; `None` for those of the web.
    pub port: Option<Port>,
}

/// Which names a [`HostPattern`] means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The name alone.
    Exactly,
    /// The names below it, and not the name itself.
    Subdomains,
}

/// Checks a host pattern.
impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(Port::new(port)?)),
            None => (text, None),
        };
        let (scope, name) = match host.strip_prefix("*.") {
            Some(name) => (Scope::Subdomains, name),
            None => (Scope::Exactly, host),
        };
        let name = HostName::new(name).map_err(|message| {
            format!("{message}; write \"api.example.com\", \"*.example.com\" or \"example.com:8443\"")
        })?;
        Ok(HostPattern { scope, name, port })
    }
}

impl HostPattern {
    /// Whether it means this name.
    pub fn matches(&self, host: &HostName) -> bool {
        match self.scope {
            Scope::Exactly => self.name == *host,
            // The dot before the name is what makes `evilexample.com` no match.
            Scope::Subdomains => host
                .as_str()
                .strip_suffix(self.name.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|labels| !labels.is_empty()),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = match self.scope {
            Scope::Exactly => "",
            Scope::Subdomains => "*.",
        };
        write!(formatter, "{star}{}", self.name)?;
        self.port.map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

/// A TCP port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(u16);

/// Checks a port in decimal digits.
impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u16>() {
            Ok(port) if digits && port > 0 => Ok(Port(port)),
            _ => Err(format!("{text:?} is not a valid port; write 1 to 65535")),
        }
    }
}

impl Port {
    /// HTTP.
    pub const HTTP: Port = Port(80);
    /// HTTPS.
    pub const HTTPS: Port = Port(443);

    /// A port from the wire.
    pub fn from_number(number: u16) -> Option<Port> {
        (number > 0).then_some(Port(number))
    }

    /// The number.
    pub fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Port {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A port of the sandbox published on the host: `[ip:]host:container[/tcp]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPort {
    /// The host's address; loopback unless the coco file names another.
    pub address: std::net::IpAddr,
    /// The host's port.
    pub host: Port,
    /// The port inside.
    pub container: Port,
}

/// Checks one entry of `ports`. An IPv6 address stands in brackets.
impl FromStr for PublishedPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("{text:?} is not of the form [ip:]host:container[/tcp]");
        let body = text.strip_suffix("/tcp").unwrap_or(text);
        let (rest, container) = body.rsplit_once(':').ok_or_else(shape)?;
        let (address, host) = match rest.rsplit_once(':') {
            Some((address, host)) => (Some(address), host),
            None => (None, rest),
        };
        let address = match address {
            None => std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            Some(address) => match address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
                Some(six) => std::net::IpAddr::V6(six.parse().map_err(|_| shape())?),
                None => std::net::IpAddr::V4(address.parse().map_err(|_| shape())?),
            },
        };
        Ok(PublishedPort { address, host: Port::new(host)?, container: Port::new(container)? })
    }
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            std::net::IpAddr::V4(four) => write!(formatter, "{four}:{}:{}", self.host.0, self.container.0),
            std::net::IpAddr::V6(six) => write!(formatter, "[{six}]:{}:{}", self.host.0, self.container.0),
        }
    }
}
