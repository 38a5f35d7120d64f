//! How hosts are reached: directly, or through the HTTP proxy in the caller's own environment. Pure. That proxy's password
//! is used on the host alone and never enters the sandbox.

use crate::names::HostName;
use crate::sys::base64;

/// How hosts are reached. The variables and their forms are curl's (curl(1), ENVIRONMENT).
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Upstream {
    /// By one of their addresses.
    #[default]
    Direct,
    /// Through an HTTP proxy, by CONNECT.
    Proxy(UpstreamProxy),
    /// The caller's proxy can't be used; why, without its password. Nothing is reached: the caller did not ask for
    /// connections that go around it.
    Unusable(String),
}

/// The caller's HTTP proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamProxy {
    /// Its name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `user:password`, decoded.
    credentials: Option<String>,
    /// `NO_PROXY`: hosts that are reached without it.
    no_proxy: Vec<String>,
}

// Written by hand, so that the password is in no message.
impl std::fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Upstream::Direct => formatter.write_str("Direct"),
            Upstream::Unusable(reason) => write!(formatter, "Unusable({reason})"),
            Upstream::Proxy(proxy) => write!(formatter, "Proxy({}:{})", proxy.host, proxy.port),
        }
    }
}

impl Upstream {
    /// From the values of `HTTPS_PROXY` and `NO_PROXY`.
    pub fn new(proxy: Option<&str>, no_proxy: Option<&str>) -> Upstream {
        Upstream::parse(proxy, no_proxy).unwrap_or_else(Upstream::Unusable)
    }

    fn parse(proxy: Option<&str>, no_proxy: Option<&str>) -> Result<Upstream, String> {
        let Some(text) = proxy.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(Upstream::Direct) };
        let form = "it is not of the form http://[user:password@]host:port";
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        if !scheme.eq_ignore_ascii_case("http") {
            return Err("only http:// proxies are supported".to_owned());
        }
        let rest = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        let (credentials, authority) = match rest.rsplit_once('@') {
            Some((credentials, authority)) => (Some(percent_decoded(credentials).ok_or(form)?), authority),
            None => (None, rest),
        };
        let (host, port) = match authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or(form)?)),
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if host.is_empty() || host.starts_with('-') || !host.bytes().all(is_valid) {
            return Err(form.to_owned());
        }
        // curl's own default for a proxy without a port.
        let port = port.map_or(Ok(1080), |port| port.parse().map_err(|_| form))?;
        let no_proxy = no_proxy.unwrap_or_default().split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty());
        Ok(Upstream::Proxy(UpstreamProxy {
            host: host.to_owned(),
            port,
            credentials,
            no_proxy: no_proxy.map(str::to_ascii_lowercase).collect(),
        }))
    }

    /// The proxy for this host, if it is reached through one.
    pub fn proxy(&self, host: &HostName) -> Option<&UpstreamProxy> {
        match self {
            Upstream::Direct | Upstream::Unusable(_) => None,
            Upstream::Proxy(proxy) => {
                (!proxy.no_proxy.iter().any(|entry| matches_no_proxy(host, entry))).then_some(proxy)
            }
        }
    }
}

impl UpstreamProxy {
    /// The request for a connection to `target`, which is `host:port`.
    pub fn connect(&self, target: &str) -> String {
        let authorization = match &self.credentials {
            Some(credentials) => format!("Proxy-Authorization: Basic {}\r\n", base64::encode(credentials.as_bytes())),
            None => String::new(),
        };
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n")
    }
}

/// Whether an entry of `NO_PROXY` is for this host: `*`, a name, or a name with a leading dot; a name includes the names
/// below it.
fn matches_no_proxy(host: &HostName, entry: &str) -> bool {
    let name = entry.strip_prefix('.').unwrap_or(entry);
    entry == "*"
        || host
            .as_str()
            .strip_suffix(name)
            .is_some_and(|rest| !name.is_empty() && (rest.is_empty() || rest.ends_with('.')))
}

/// Percent-decoding, RFC 3986 section 2.1; `None` for what would break out of a header.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match (byte, rest) {
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(high)? << 4 | digit(low)?
            }
            _ => *byte,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str, exceptions: &str) -> Upstream {
        Upstream::new(Some(text), Some(exceptions))
    }

    fn host(text: &str) -> HostName {
        HostName::new(text).unwrap()
    }

    #[test]
    fn the_forms_that_curl_knows() {
        for (text, at, port) in [
            ("http://proxy.corp:3128", "proxy.corp", 3128),
            ("http://proxy.corp:3128/", "proxy.corp", 3128),
            ("proxy:8080", "proxy", 8080),
            ("http://[::1]:8080", "::1", 8080),
            ("HTTP://10.0.0.1", "10.0.0.1", 1080),
        ] {
            let Upstream::Proxy(proxy) = proxy(text, "") else { panic!("{text}") };
            assert_eq!((proxy.host.as_str(), proxy.port), (at, port));
        }
        assert_eq!(Upstream::new(Some(""), None), Upstream::Direct);
        for bad in
            ["https://x:1", "socks5://x:1", "http://", "http://x:y", "http://a b:1", "http://u%0a:p@x:1", "http://-x:1"]
        {
            assert!(matches!(Upstream::new(Some(bad), None), Upstream::Unusable(_)), "{bad}");
        }
    }

    #[test]
    fn the_password_is_in_the_request_and_nowhere_else() {
        let upstream = proxy("http://user:p%40ss:word@proxy:1", "");
        let request = upstream.proxy(&host("a.example")).unwrap().connect("a.example:443");
        assert_eq!(
            request,
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nProxy-Authorization: Basic dXNlcjpwQHNzOndvcmQ=\r\n\r\n"
        );
        assert_eq!(format!("{upstream:?}"), "Proxy(proxy:1)");
    }

    #[test]
    fn exceptions() {
        let upstream = proxy("http://proxy:1", "localhost, .corp.example,other.example");
        for (name, direct) in [
            ("a.corp.example", true),
            ("other.example", true),
            ("a.other.example", true),
            ("another.example", false),
            ("corp.example.org", false),
        ] {
            assert_eq!(upstream.proxy(&host(name)).is_none(), direct, "{name}");
        }
        assert!(proxy("http://proxy:1", "*").proxy(&host("a.example")).is_none());
    }
}
