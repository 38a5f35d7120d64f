//! Why a connection or a name was denied, in words for the client and for the log.

use std::fmt;

/// Why a connection was denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// The host is not granted.
    Host,
    /// No host is called so.
    NoName,
    /// The host is granted, the port is not.
    Port,
    /// The TLS server name is another.
    ServerName(String),
    /// The HTTP request is for another host.
    RequestHost(String),
    /// The first bytes can't be judged; why.
    Unjudged(String),
    /// The first bytes were not whole in time.
    Slow,
    /// Every address of the host is private.
    Private,
    /// Too many connections at a time.
    TooMany,
    /// The HTTP client wants to be told to go on before it sends a body; it does without when it is
    /// told so.
    Expectation,
}

impl fmt::Display for Denial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denial::Host => formatter.write_str("not granted"),
            Denial::NoName => formatter.write_str("no host's name"),
            Denial::Port => formatter.write_str("the port is not granted"),
            Denial::ServerName(name) => write!(formatter, "the TLS server name is {name}"),
            Denial::RequestHost(name) => write!(formatter, "the HTTP request is for {name}"),
            Denial::Unjudged(reason) => formatter.write_str(reason),
            Denial::Slow => formatter.write_str("its first bytes did not come in time"),
            Denial::Private => formatter.write_str("it resolves to private addresses"),
            Denial::TooMany => formatter.write_str("too many connections at a time"),
            Denial::Expectation => formatter.write_str("an Expect header in plain HTTP"),
        }
    }
}
