//! Why a connection or a name was denied, in words for the client, for the log and for the end of the run.

use std::fmt;

use super::{http, tls_hello};

/// Why a connection was denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// The host is not granted.
    Host,
    /// It can't be the name of a host.
    InvalidName,
    /// The host is granted, the port is not.
    Port,
    /// The TLS server name is another host's.
    ServerName(String),
    /// The HTTP request is for another host.
    RequestHost(String),
    /// The bytes are not what is let through on this port; why.
    Rejected(String),
    /// The first bytes were not whole in time.
    Slow,
    /// Every address of the host is private.
    Private,
    /// Too many connections at a time.
    TooMany,
    /// The HTTP client waits for a `100 Continue` before it sends a body. It sends the body without when it is told so.
    Expectation,
}

impl fmt::Display for Denial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denial::Host => formatter.write_str("not granted"),
            Denial::InvalidName => formatter.write_str("not a valid host name"),
            Denial::Port => formatter.write_str("the port is not granted"),
            Denial::ServerName(name) => write!(formatter, "the TLS server name is {name}"),
            Denial::RequestHost(name) => write!(formatter, "the HTTP request is for {name}"),
            Denial::Rejected(reason) => formatter.write_str(reason),
            Denial::Slow => formatter.write_str("its first bytes did not come in time"),
            Denial::Private => formatter.write_str("it resolves to private addresses"),
            Denial::TooMany => formatter.write_str("too many connections at a time"),
            Denial::Expectation => formatter.write_str("an Expect header in plain HTTP"),
        }
    }
}

impl From<tls_hello::Rejected> for Denial {
    fn from(rejected: tls_hello::Rejected) -> Denial {
        Denial::Rejected(rejected.to_string())
    }
}

impl From<http::Rejected> for Denial {
    fn from(rejected: http::Rejected) -> Denial {
        match rejected {
            // Not the host is denied: the client may ask again in another way.
            http::Rejected::Expectation => Denial::Expectation,
            other => Denial::Rejected(other.to_string()),
        }
    }
}
