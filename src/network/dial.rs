//! From a granted name to a connection: resolve on the host, keep what is public, dial the very
//! address that was checked.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use super::locked;
use crate::names::{HostName, Port};
use crate::network::upstream::{Proxy, Upstream};
use crate::rules::egress::is_public;

/// Asks the host's own resolver for the addresses of a name, best first.
pub type Resolve = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// How long an answer is good, and a failure. A tool that opens a hundred connections asks once.
const GOOD: Duration = Duration::from_secs(15);
/// How long the list of this machine's own addresses is good.
const OWN_ADDRESSES: Duration = Duration::from_secs(1);
/// How long a connection waits for a look-up that another one began, or for its turn.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(20);
/// How many names are kept.
const MOST_NAMES: usize = 1024;
/// How many names are looked up at a time.
const MOST_LOOKUPS: usize = 8;
/// How long all attempts together may take.
const CONNECT_TIME: Duration = Duration::from_secs(20);
/// How long one address has before the next is tried as well (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// The longest head of a proxy's answer, in bytes.
const MAX_PROXY_HEAD: usize = 16 << 10;

/// Why there is no connection.
#[derive(Debug)]
pub enum NoConnection {
    /// Every address of the name is private, or this machine's own.
    Private,
    /// The network's own reasons.
    Failed(String),
}

/// What the host's resolver said of a name, or why it said nothing.
type Answer = Result<Vec<IpAddr>, String>;

/// What is known of a name.
enum Known {
    /// One connection is asking; the others wait for its answer.
    Asked,
    /// The answer, and when it came.
    Answered(Instant, Answer),
}

/// How a host was granted, which says how much a proxy is trusted with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// By a pattern: whoever runs its name servers chooses the names.
    ByPattern,
    /// By its own name.
    ByName,
}

/// Dials hosts.
pub struct Dialler {
    upstream: Upstream,
    resolve: Resolve,
    known: Mutex<HashMap<String, Known>>,
    own: Mutex<Option<(Instant, Vec<IpAddr>)>>,
    /// Wakes those that wait for an answer.
    answered: Condvar,
}

impl Dialler {
    /// A dialler that asks `resolve`.
    pub fn new(upstream: Upstream, resolve: Resolve) -> Dialler {
        Dialler { upstream, resolve, known: Mutex::default(), own: Mutex::default(), answered: Condvar::new() }
    }

    /// Connects to a public address of `host`, directly or through the proxy.
    pub fn dial(&self, host: &HostName, port: Port, grant: Grant) -> Result<TcpStream, NoConnection> {
        if let Upstream::Unusable(reason) = &self.upstream {
            return Err(NoConnection::Failed(format!("the proxy in HTTPS_PROXY: {reason}")));
        }
        let addresses = self.addresses(host.as_str());
        // Without the list, nothing is known to be another machine.
        let own = self
            .own_addresses()
            .map_err(|error| NoConnection::Failed(format!("this machine's own addresses are not known: {error}")))?;
        let public = addresses.as_ref().map(|all| {
            all.iter().copied().filter(|address| is_public(*address) && !own.contains(address)).collect::<Vec<_>>()
        });
        if public.as_ref().is_ok_and(Vec::is_empty) {
            return Err(NoConnection::Private);
        }
        let Some(proxy) = self.upstream.proxy(host) else {
            return match public {
                Ok(public) => connect_any(&public, port.number()).map_err(failed),
                Err(reason) => Err(NoConnection::Failed(reason.clone())),
            };
        };
        let refused = |error: io::Error| {
            NoConnection::Failed(format!("through the proxy {}:{}: {error}", proxy.host, proxy.port))
        };
        // The proxy gets the address that was checked: what it would make of the name is the
        // decision of whoever runs the name's servers. It gets the name only of a host that was
        // granted by it, where it takes no address, or where this machine knows none.
        let by_address = public.as_ref().ok().and_then(|public| public.first()).map(|address| {
            let target = SocketAddr::new(*address, port.number()).to_string();
            self.through(proxy, &target)
        });
        match (by_address, grant) {
            (Some(Ok(stream)), _) => Ok(stream),
            (Some(Err(_)) | None, Grant::ByName) => self.through(proxy, &format!("{host}:{port}")).map_err(refused),
            (Some(Err(error)), Grant::ByPattern) => Err(refused(error)),
            (None, Grant::ByPattern) => Err(NoConnection::Failed(
                "the name is not known on this machine, and a proxy is asked for names only that are granted one by one"
                    .to_owned(),
            )),
        }
    }

    /// The addresses of a name, from the last seconds or from the host's resolver, which is asked
    /// once for all connections that want to know.
    fn addresses(&self, name: &str) -> Answer {
        let deadline = Instant::now() + LOOKUP_PATIENCE;
        let mut known = locked(&self.known);
        loop {
            let asking = known.values().filter(|known| matches!(known, Known::Asked)).count();
            match known.get(name) {
                Some(Known::Answered(when, answer)) if when.elapsed() < GOOD => return answer.clone(),
                Some(Known::Answered(..)) | None if asking < MOST_LOOKUPS => break,
                Some(_) | None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("the host's resolver is slow".to_owned());
            }
            known = self.answered.wait_timeout(known, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if known.len() >= MOST_NAMES {
            known.retain(|_, known| matches!(known, Known::Asked));
        }
        known.insert(name.to_owned(), Known::Asked);
        drop(known);
        let answer = (self.resolve)(name).map_err(|error| error.to_string());
        locked(&self.known).insert(name.to_owned(), Known::Answered(Instant::now(), answer.clone()));
        self.answered.notify_all();
        answer
    }

    /// This machine's own addresses, as of this second: its services are no public host's,
    /// whatever address they have.
    fn own_addresses(&self) -> io::Result<Vec<IpAddr>> {
        let mut own = locked(&self.own);
        match own.as_ref() {
            Some((when, addresses)) if when.elapsed() < OWN_ADDRESSES => Ok(addresses.clone()),
            _ => {
                let addresses = own_addresses()?;
                *own = Some((Instant::now(), addresses.clone()));
                Ok(addresses)
            }
        }
    }

    fn through(&self, proxy: &Proxy, target: &str) -> io::Result<TcpStream> {
        // The caller's own proxy may well be on a private network.
        let addresses = match proxy.host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.addresses(&proxy.host).map_err(io::Error::other)?,
        };
        let mut stream = connect_any(&addresses, proxy.port)?;
        let deadline = Instant::now() + CONNECT_TIME;
        stream.write_all(proxy.connect(target).as_bytes())?;
        let mut head = Vec::new();
        // Byte by byte: what follows the head is the host's own.
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

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: io::Error) -> NoConnection {
    NoConnection::Failed(error.to_string())
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

/// Connects to the first address that answers: each has a head start before the next, families
/// alternating (RFC 8305 section 4).
fn connect_any(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let deadline = Instant::now() + CONNECT_TIME;
    let mut rest = alternating(addresses).into_iter();
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
                    match begin(SocketAddr::new(address, port)) {
                        Ok(attempt) => attempts.push(attempt),
                        Err(error) => last = error,
                    }
                    next_start = now + STAGGER;
                    if attempts.is_empty() {
                        continue;
                    }
                }
                None if attempts.is_empty() => return Err(last),
                None => next_start = deadline,
            }
        }
        let mut fds: Vec<PollFd<'_>> = attempts.iter().map(|attempt| PollFd::new(attempt, PollFlags::OUT)).collect();
        let patience = next_start.min(deadline).saturating_duration_since(Instant::now());
        let patience = Timespec::try_from(patience.max(Duration::from_millis(1))).unwrap_or_default();
        let _ = poll(&mut fds, Some(&patience));
        let decided: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut decided = decided.into_iter();
        let mut waiting = Vec::new();
        for attempt in attempts {
            if !decided.next().unwrap_or(false) {
                waiting.push(attempt);
                continue;
            }
            match sockopt::socket_error(&attempt)? {
                Ok(()) => {
                    let stream = TcpStream::from(attempt);
                    stream.set_nonblocking(false)?;
                    stream.set_nodelay(true)?;
                    stream.set_write_timeout(Some(super::WRITE_TIME))?;
                    // A peer that vanished is noticed at last.
                    sockopt::set_socket_keepalive(&stream, true)?;
                    return Ok(stream);
                }
                Err(error) => last = error.into(),
            }
        }
        attempts = waiting;
    }
}

fn begin(address: SocketAddr) -> io::Result<std::os::fd::OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let attempt = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match connect(&attempt, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(attempt),
        Err(error) => Err(error.into()),
    }
}

/// The resolver's order, but with the families taking turns.
fn alternating(addresses: &[IpAddr]) -> Vec<IpAddr> {
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

    fn dialler(addresses: &'static [&'static str]) -> Dialler {
        let resolve = move |_: &str| Ok(addresses.iter().map(|address| address.parse().unwrap()).collect());
        Dialler::new(Upstream::Direct, Arc::new(resolve))
    }

    #[test]
    fn families_take_turns_and_nothing_is_lost() {
        let addresses: Vec<IpAddr> =
            ["::1", "::2", "::3", "1.1.1.1"].iter().map(|address| address.parse().unwrap()).collect();
        let order: Vec<String> = alternating(&addresses).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["::1", "1.1.1.1", "::2", "::3"]);
        assert!(alternating(&[]).is_empty());
    }

    #[test]
    fn a_private_address_is_not_dialled() {
        let host = HostName::new("a.example").unwrap();
        for addresses in
            [&["127.0.0.1"][..], &["10.0.0.1", "::1"], &["169.254.169.254"], &["::ffff:127.0.0.1"], &["fd00::1"]]
        {
            assert!(
                matches!(dialler(addresses).dial(&host, Port::HTTPS, Grant::ByName), Err(NoConnection::Private)),
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

    /// A proxy of the test's own: takes one connection, answers, and gives the request's first line.
    fn proxy(status: &'static str) -> (Upstream, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let upstream = Upstream::new(Some(&format!("http://{}", listener.local_addr().unwrap())), None);
        let served = std::thread::spawn(move || {
            let mut lines = String::new();
            // One that refuses is asked again, perhaps.
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
        Dialler::new(upstream, Arc::new(public)).dial(&host, Port::HTTPS, Grant::ByPattern).unwrap();
        assert_eq!(served.join().unwrap(), "CONNECT 198.51.100.7:443 HTTP/1.1");
        // One that takes no addresses is told the name, where that was granted itself.
        let (upstream, served) = proxy("403");
        assert!(Dialler::new(upstream, Arc::new(public)).dial(&host, Port::HTTPS, Grant::ByName).is_err());
        assert_eq!(served.join().unwrap(), "CONNECT 198.51.100.7:443 HTTP/1.1CONNECT a.example:443 HTTP/1.1");
    }

    #[test]
    fn a_proxy_is_no_way_around_the_check() {
        let host = HostName::new("a.example").unwrap();
        let unknown = |_: &str| Err(io::Error::other("no such name"));
        let private = |_: &str| Ok(vec!["10.0.0.1".parse().unwrap()]);
        // Nobody listens there: whoever asked it would fail in another way.
        let upstream = || Upstream::new(Some("http://127.0.0.1:9"), None);
        let refused = |dialler: Dialler, grant| match dialler.dial(&host, Port::HTTPS, grant) {
            Err(NoConnection::Private) => "private".to_owned(),
            Err(NoConnection::Failed(reason)) => reason,
            Ok(_) => "connected".to_owned(),
        };
        for grant in [Grant::ByName, Grant::ByPattern] {
            assert_eq!(refused(Dialler::new(upstream(), Arc::new(private)), grant), "private");
        }
        assert!(
            refused(Dialler::new(upstream(), Arc::new(unknown)), Grant::ByPattern)
                .contains("not known on this machine")
        );
        assert!(refused(Dialler::new(upstream(), Arc::new(unknown)), Grant::ByName).contains("through the proxy"));
    }

    #[test]
    fn connections_at_once_ask_once() {
        static ASKED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let resolve = |_: &str| {
            std::thread::sleep(Duration::from_millis(100));
            ASKED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Err(io::Error::other("no such name"))
        };
        let dialler = Dialler::new(Upstream::Direct, Arc::new(resolve));
        std::thread::scope(|scope| {
            for _ in 0..30 {
                scope.spawn(|| dialler.dial(&HostName::new("a.example").unwrap(), Port::HTTPS, Grant::ByName).is_err());
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
        let dialler = Dialler::new(Upstream::Direct, Arc::new(resolve));
        for _ in 0..3 {
            assert!(dialler.dial(&HostName::new("a.example").unwrap(), Port::HTTPS, Grant::ByName).is_err());
        }
        assert_eq!(ASKED.load(std::sync::atomic::Ordering::SeqCst), 1);
    }
}
