//! From a granted name to a connection: resolves it on the host, keeps the public addresses, and dials the very address
//! that was checked.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use super::locked;
use crate::names::{HostName, Port};
use crate::network::upstream::{Upstream, UpstreamProxy};
use crate::rules::egress::is_public;

/// Asks the host's own resolver for the addresses of a name, best first.
pub type Resolve = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// How long an answer or a failure is remembered. A tool that opens a hundred connections asks once.
const DNS_CACHE_TTL: Duration = Duration::from_secs(15);
/// How long the list of this machine's own addresses is remembered.
const OWN_ADDRESSES_TTL: Duration = Duration::from_secs(1);
/// How long a connection waits for a look-up that another one started, or for its turn.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(20);
/// The most names that are remembered.
const MAX_CACHED_NAMES: usize = 1024;
/// The most names that are looked up at a time.
const MAX_LOOKUPS: usize = 8;
/// How long all attempts together may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an attempt has before the next address is tried as well (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The longest head of an upstream proxy's answer, in bytes.
const MAX_PROXY_HEAD: usize = 16 << 10;

/// Why there is no connection.
#[derive(Debug)]
pub enum DialError {
    /// Every address of the name is private, or this machine's own.
    Private,
    /// Anything else; why.
    Failed(String),
}

/// The host's resolver's answer for a name, or its error.
type Answer = Result<Vec<IpAddr>, String>;

/// The look-up of a name.
enum Lookup {
    /// One connection is asking; the others wait for its answer.
    Pending,
    /// The answer, and when it came.
    Done(Instant, Answer),
}

/// How a host was granted. It decides whether an upstream proxy may be asked for it by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// By a pattern: whoever runs its name servers chooses the names.
    ByPattern,
    /// By its own name.
    ByName,
}

/// Dials hosts.
pub struct Dialer {
    upstream: Upstream,
    resolve: Resolve,
    lookups: Mutex<HashMap<String, Lookup>>,
    own_addresses: Mutex<Option<(Instant, Vec<IpAddr>)>>,
    /// Wakes those that wait for an answer.
    answered: Condvar,
}

impl Dialer {
    /// A dialer that resolves names by `resolve`.
    pub fn new(upstream: Upstream, resolve: Resolve) -> Dialer {
        Dialer {
            upstream,
            resolve,
            lookups: Mutex::default(),
            own_addresses: Mutex::default(),
            answered: Condvar::new(),
        }
    }

    /// Connects to a public address of `host`, directly or through the upstream proxy.
    pub fn dial(&self, host: &HostName, port: Port, grant: Grant) -> Result<TcpStream, DialError> {
        if let Upstream::Unusable(reason) = &self.upstream {
            return Err(DialError::Failed(format!("the proxy in HTTPS_PROXY: {reason}")));
        }
        let addresses = self.addresses(host.as_str());
        // Without the list, nothing is known to be another machine.
        let own = self
            .own_addresses()
            .map_err(|error| DialError::Failed(format!("this machine's own addresses are not known: {error}")))?;
        let public = addresses.as_ref().map(|all| {
            all.iter().copied().filter(|address| is_public(*address) && !own.contains(address)).collect::<Vec<_>>()
        });
        if public.as_ref().is_ok_and(Vec::is_empty) {
            return Err(DialError::Private);
        }
        let Some(proxy) = self.upstream.proxy(host) else {
            return match public {
                Ok(public) => connect_any(&public, port.number()).map_err(|error| DialError::Failed(error.to_string())),
                Err(reason) => Err(DialError::Failed(reason.clone())),
            };
        };
        let refused =
            |error: io::Error| DialError::Failed(format!("through the proxy {}:{}: {error}", proxy.host, proxy.port));
        // The upstream proxy is asked for the address that was checked: how it would resolve the name is decided by
        // whoever runs the name's servers. It is asked for a name only where the host was granted by that name, and it
        // takes no address or this machine knows none.
        let by_address = public.as_ref().ok().and_then(|public| public.first()).map(|address| {
            let target = SocketAddr::new(*address, port.number()).to_string();
            self.connect_through(proxy, &target)
        });
        match (by_address, grant) {
            (Some(Ok(stream)), _) => Ok(stream),
            (Some(Err(_)) | None, Grant::ByName) => self.connect_through(proxy, &format!("{host}:{port}")).map_err(refused),
            (Some(Err(error)), Grant::ByPattern) => Err(refused(error)),
            (None, Grant::ByPattern) => Err(DialError::Failed(
                "this machine does not know the name, and coco asks a proxy by name only for hosts that are granted in full"
                    .to_owned(),
            )),
        }
    }

    /// The addresses of a name, as remembered or from the host's resolver. It is asked once for all connections that
    /// wait for the same name.
    fn addresses(&self, name: &str) -> Answer {
        let deadline = Instant::now() + LOOKUP_TIMEOUT;
        let mut lookups = locked(&self.lookups);
        loop {
            let pending = lookups.values().filter(|lookup| matches!(lookup, Lookup::Pending)).count();
            match lookups.get(name) {
                Some(Lookup::Done(when, answer)) if when.elapsed() < DNS_CACHE_TTL => return answer.clone(),
                Some(Lookup::Done(..)) | None if pending < MAX_LOOKUPS => break,
                Some(_) | None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("the host's resolver is slow".to_owned());
            }
            lookups = self.answered.wait_timeout(lookups, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if lookups.len() >= MAX_CACHED_NAMES {
            lookups.retain(|_, lookup| matches!(lookup, Lookup::Pending));
        }
        lookups.insert(name.to_owned(), Lookup::Pending);
        drop(lookups);
        let answer = (self.resolve)(name).map_err(|error| error.to_string());
        locked(&self.lookups).insert(name.to_owned(), Lookup::Done(Instant::now(), answer.clone()));
        self.answered.notify_all();
        answer
    }

    /// This machine's own addresses, as of this second. Its services are not public, whatever address they have.
    fn own_addresses(&self) -> io::Result<Vec<IpAddr>> {
        let mut own = locked(&self.own_addresses);
        match own.as_ref() {
            Some((when, addresses)) if when.elapsed() < OWN_ADDRESSES_TTL => Ok(addresses.clone()),
            _ => {
                let addresses = own_addresses()?;
                *own = Some((Instant::now(), addresses.clone()));
                Ok(addresses)
            }
        }
    }

    /// Asks the upstream proxy for a connection to `target`.
    fn connect_through(&self, proxy: &UpstreamProxy, target: &str) -> io::Result<TcpStream> {
        // The caller's own proxy may be on a private network.
        let addresses = match proxy.host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.addresses(&proxy.host).map_err(io::Error::other)?,
        };
        let mut stream = connect_any(&addresses, proxy.port)?;
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        stream.write_all(proxy.connect(target).as_bytes())?;
        let mut head = Vec::new();
        // Byte by byte: what follows the head comes from the host.
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let left = deadline.saturating_duration_since(Instant::now());
            if head.len() >= MAX_PROXY_HEAD || left.is_zero() {
                return Err(io::Error::other("it gives no answer"));
            }
            stream.set_read_timeout(Some(left))?;
            if stream.read(&mut byte)? == 0 {
                return Err(io::Error::other("it closes the connection"));
            }
            head.extend_from_slice(&byte);
        }
        stream.set_read_timeout(None)?;
        match head.get(..12) {
            Some([b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', b'2', _, _]) => Ok(stream),
            Some([b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ', code @ ..])
                if code.iter().all(u8::is_ascii_digit) =>
            {
                let code: String = code.iter().copied().map(char::from).collect();
                Err(io::Error::other(format!("it answers {code} to CONNECT {target}")))
            }
            _ => Err(io::Error::other("it does not speak HTTP")),
        }
    }
}

fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let addresses = nix::ifaddrs::getifaddrs()?
        .filter_map(|interface| {
            let address = interface.address?;
            let four = address.as_sockaddr_in().map(|four| IpAddr::V4(four.ip()));
            four.or_else(|| address.as_sockaddr_in6().map(|six| IpAddr::V6(six.ip())))
        })
        .collect();
    Ok(addresses)
}

/// Connects to the first address that answers. Each attempt has a head start before the next (RFC 8305 section 4).
fn connect_any(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    let mut rest = interleaved(addresses).into_iter();
    let mut attempts = Vec::new();
    let mut last = io::Error::other("it has no address");
    let mut next_start = Instant::now();
    loop {
        let now = Instant::now();
        if now >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if attempts.is_empty() || now >= next_start {
            match rest.next() {
                Some(address) => {
                    match start_attempt(SocketAddr::new(address, port)) {
                        Ok(attempt) => attempts.push(attempt),
                        Err(error) => last = error,
                    }
                    next_start = now + ATTEMPT_DELAY;
                    if attempts.is_empty() {
                        continue;
                    }
                }
                None if attempts.is_empty() => return Err(last),
                None => next_start = deadline,
            }
        }
        let mut fds: Vec<PollFd<'_>> = attempts.iter().map(|attempt| PollFd::new(attempt, PollFlags::OUT)).collect();
        let timeout = next_start.min(deadline).saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(timeout.max(Duration::from_millis(1))).unwrap_or_default();
        let _ = poll(&mut fds, Some(&timeout));
        let is_decided: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut is_decided = is_decided.into_iter();
        let mut waiting = Vec::new();
        for attempt in attempts {
            if !is_decided.next().unwrap_or(false) {
                waiting.push(attempt);
                continue;
            }
            match sockopt::socket_error(&attempt)? {
                Ok(()) => {
                    let stream = TcpStream::from(attempt);
                    stream.set_nonblocking(false)?;
                    stream.set_nodelay(true)?;
                    stream.set_write_timeout(Some(super::WRITE_TIMEOUT))?;
                    // So that a peer that vanished is noticed at some time.
                    sockopt::set_socket_keepalive(&stream, true)?;
                    return Ok(stream);
                }
                Err(error) => last = error.into(),
            }
        }
        attempts = waiting;
    }
}

fn start_attempt(address: SocketAddr) -> io::Result<std::os::fd::OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let attempt = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match connect(&attempt, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(attempt),
        Err(error) => Err(error.into()),
    }
}

/// The resolver's order, but with the two families alternating (RFC 8305 section 4).
fn interleaved(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let first_is_six = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (mut first, mut second): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.iter().copied().partition(|address| address.is_ipv6() == first_is_six);
    first.reverse();
    second.reverse();
    let mut order = Vec::new();
    while let Some(address) = first.pop() {
        order.push(address);
        order.extend(second.pop());
    }
    second.reverse();
    order.extend(second);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    fn dialer(addresses: &'static [&'static str]) -> Dialer {
        let resolve = move |_: &str| Ok(addresses.iter().map(|address| address.parse().unwrap()).collect());
        Dialer::new(Upstream::Direct, Arc::new(resolve))
    }

    #[test]
    fn families_alternate_and_nothing_is_lost() {
        let addresses: Vec<IpAddr> =
            ["::1", "::2", "::3", "1.1.1.1"].iter().map(|address| address.parse().unwrap()).collect();
        let order: Vec<String> = interleaved(&addresses).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["::1", "1.1.1.1", "::2", "::3"]);
        assert!(interleaved(&[]).is_empty());
    }

    #[test]
    fn a_private_address_is_not_dialled() {
        let host = HostName::new("a.example").unwrap();
        for addresses in
            [&["127.0.0.1"][..], &["10.0.0.1", "::1"], &["169.254.169.254"], &["::ffff:127.0.0.1"], &["fd00::1"]]
        {
            assert!(
                matches!(dialer(addresses).dial(&host, Port::HTTPS, Grant::ByName), Err(DialError::Private)),
                "{addresses:?}"
            );
        }
    }

    #[test]
    fn the_next_address_is_tried_when_one_refuses() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = connect_any(&["127.0.0.2".parse().unwrap(), "127.0.0.1".parse().unwrap()], port).unwrap();
        assert_eq!(stream.peer_addr().unwrap().to_string(), format!("127.0.0.1:{port}"));
        assert!(connect_any(&[], port).is_err());
    }

    /// An upstream proxy of the test's own: takes a connection, answers, and gives the request's first line.
    fn proxy(status: &'static str) -> (Upstream, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let upstream = Upstream::new(Some(&format!("http://{}", listener.local_addr().unwrap())), None);
        let served = std::thread::spawn(move || {
            let mut lines = String::new();
            // One that refuses may be asked again.
            for stream in listener.incoming().take(if status == "200" { 1 } else { 2 }) {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                lines.push_str(String::from_utf8(request).unwrap().lines().next().unwrap());
                stream.write_all(format!("HTTP/1.1 {status} x\r\n\r\n").as_bytes()).unwrap();
            }
            lines
        });
        (upstream, served)
    }

    #[test]
    fn a_proxy_is_asked_for_the_address_that_was_checked() {
        let host = HostName::new("a.example").unwrap();
        let public = |_: &str| Ok(vec!["198.51.100.7".parse().unwrap()]);
        let (upstream, served) = proxy("200");
        Dialer::new(upstream, Arc::new(public)).dial(&host, Port::HTTPS, Grant::ByPattern).unwrap();
        assert_eq!(served.join().unwrap(), "CONNECT 198.51.100.7:443 HTTP/1.1");
        // One that takes no addresses is asked for the name, where that was granted itself.
        let (upstream, served) = proxy("403");
        assert!(Dialer::new(upstream, Arc::new(public)).dial(&host, Port::HTTPS, Grant::ByName).is_err());
        assert_eq!(served.join().unwrap(), "CONNECT 198.51.100.7:443 HTTP/1.1CONNECT a.example:443 HTTP/1.1");
    }

    #[test]
    fn a_proxy_does_not_evade_the_check() {
        let host = HostName::new("a.example").unwrap();
        let unknown = |_: &str| Err(io::Error::other("no such name"));
        let private = |_: &str| Ok(vec!["10.0.0.1".parse().unwrap()]);
        // Nobody listens there: whoever asked it would fail in another way.
        let upstream = || Upstream::new(Some("http://127.0.0.1:9"), None);
        let refused = |dialer: Dialer, grant| match dialer.dial(&host, Port::HTTPS, grant) {
            Err(DialError::Private) => "private".to_owned(),
            Err(DialError::Failed(reason)) => reason,
            Ok(_) => "connected".to_owned(),
        };
        for grant in [Grant::ByName, Grant::ByPattern] {
            assert_eq!(refused(Dialer::new(upstream(), Arc::new(private)), grant), "private");
        }
        assert!(
            refused(Dialer::new(upstream(), Arc::new(unknown)), Grant::ByPattern)
                .contains("this machine does not know the name")
        );
        assert!(refused(Dialer::new(upstream(), Arc::new(unknown)), Grant::ByName).contains("through the proxy"));
    }

    #[test]
    fn connections_at_once_ask_once() {
        static ASKED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let resolve = |_: &str| {
            std::thread::sleep(Duration::from_millis(100));
            ASKED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Err(io::Error::other("no such name"))
        };
        let dialer = Dialer::new(Upstream::Direct, Arc::new(resolve));
        std::thread::scope(|scope| {
            for _ in 0..30 {
                scope.spawn(|| dialer.dial(&HostName::new("a.example").unwrap(), Port::HTTPS, Grant::ByName).is_err());
            }
        });
        assert_eq!(ASKED.load(std::sync::atomic::Ordering::SeqCst), 1);
    }

    #[test]
    fn one_question_serves_many_connections() {
        static ASKED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let resolve = |_: &str| {
            ASKED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Err(io::Error::other("no such name"))
        };
        let dialer = Dialer::new(Upstream::Direct, Arc::new(resolve));
        for _ in 0..3 {
            assert!(dialer.dial(&HostName::new("a.example").unwrap(), Port::HTTPS, Grant::ByName).is_err());
        }
        assert_eq!(ASKED.load(std::sync::atomic::Ordering::SeqCst), 1);
    }
}
