//! One connection from inside, from its first byte to its last: judged, dialled, relayed.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::copy::{self, Counts};
use super::denial::Denial;
use super::dial::{Dialler, Grant, NoConnection};
use super::http::{self, Body, Chunks, Request};
use super::log::Journal;
use super::tls_hello::{self, ClientHello};
use super::{Progress, reset};
use crate::names::{HostName, Port};
use crate::rules::egress::{Protocol, Reach};

/// How long a client has for the bytes that are judged.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a host has for the first bytes of its answer to a ClientHello.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// How long a client that was denied has to read why.
const FAREWELL_TIME: Duration = Duration::from_millis(300);

/// How long a client may go on with a request that the host has answered before its end.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// How often a silent host's connection is looked after, and how long it may be silent when the
/// client has asked for the last time.
const LOOK_UP: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(300);

/// TLS alerts, fatal (RFC 8446 section 6): `access_denied` for what is not granted.
const ALERT_DENIED: &[u8] = &[21, 3, 3, 0, 2, 2, 49];

/// What a connection needs of its sandbox.
pub struct Context {
    /// What may be reached.
    pub reach: Reach,
    /// How hosts are reached.
    pub dialler: Dialler,
    /// Where it is noted.
    pub journal: Journal,
    /// Set when the sandbox's network has ended.
    pub ended: AtomicBool,
}

/// How a connection ended before there was anything to relay.
enum Ended {
    Denied(Denial),
    /// The host can't be reached, or one of the two has gone.
    Failed(String),
    /// The client has gone before it said anything.
    Gone,
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::Failed(error.to_string())
    }
}

/// Serves a connection to what the helper calls `name`.
pub fn serve(context: &Context, name: &HostName, port: Port, client: &TcpStream) {
    let protocol = Protocol::of(port);
    let outcome = match protocol {
        Protocol::Tls => tls(context, name, port, client),
        Protocol::Http => web(context, name, port, client),
        Protocol::Raw => granted(context, name, port).and_then(|()| {
            let server = dial(context, name, port)?;
            pass_on(context, name, port, client, &server, &Arc::default());
            Ok(())
        }),
    };
    match outcome {
        Ok(()) | Err(Ended::Gone) => {}
        Err(Ended::Denied(denial)) => {
            context.journal.denied(name.as_str(), Some(port), &denial);
            farewell(client, protocol, &denial);
        }
        Err(Ended::Failed(reason)) => {
            context.journal.failed(name, port, &reason);
            reset(client);
        }
    }
}

/// The first check, and for raw TCP the only one but for the address.
fn granted(context: &Context, host: &HostName, port: Port) -> Result<(), Ended> {
    let ports = context.reach.ports(host);
    if ports.contains(&port) {
        return Ok(());
    }
    Err(Ended::Denied(if ports.is_empty() { Denial::Host } else { Denial::Port }))
}

fn dial(context: &Context, host: &HostName, port: Port) -> Result<TcpStream, Ended> {
    let grant = if context.reach.names(host) { Grant::ByName } else { Grant::ByPattern };
    context.dialler.dial(host, port, grant).map_err(|error| match error {
        NoConnection::Private => Ended::Denied(Denial::Private),
        NoConnection::Failed(reason) => Ended::Failed(reason),
    })
}

fn pass_on(
    context: &Context,
    host: &HostName,
    port: Port,
    client: &TcpStream,
    server: &TcpStream,
    counts: &Arc<Counts>,
) {
    let entry = context.journal.opened(host, port, counts);
    copy::both_ways(client, server, counts, &context.ended);
    context.journal.closed(entry);
}

/// TLS: the ClientHello must name the host, and so must a second one that the server asks for.
fn tls(context: &Context, host: &HostName, port: Port, client: &TcpStream) -> Result<(), Ended> {
    granted(context, host, port)?;
    let mut head = Head::new(client, HEAD_TIME);
    let first = head.until(reading(tls_hello::Reader::of_first()))?;
    names(&first, host)?;
    let server = dial(context, host, port)?;
    let counts = Arc::new(Counts::default());
    let entry = context.journal.opened(host, port, &counts);
    let outcome = handshake(host, client, &server, head, &first, &counts);
    if matches!(outcome, Ok(())) {
        copy::both_ways(client, &server, &counts, &context.ended);
    }
    context.journal.closed(entry);
    outcome
}

/// Passes the judged hello on and reads the beginning of the answer: when the server asks for
/// another hello (RFC 8446 section 4.1.4), that one is in the clear too and could name another
/// host. Until the answer is there, nothing more of the client's is passed on.
fn handshake(
    host: &HostName,
    client: &TcpStream,
    mut server: &TcpStream,
    mut head: Head<'_>,
    first: &ClientHello,
    counts: &Counts,
) -> Result<(), Ended> {
    head.send(first.length, server, counts)?;
    let mut answer = Head::new(server, ANSWER_TIME);
    let retry = match answer.until(tls_hello::is_retry_request) {
        Ok(retry) => retry,
        // It may still ask for a second hello, which nobody would judge then.
        Err(Ended::Gone) if Instant::now() >= answer.deadline => {
            return Err(Ended::Failed("the host does not answer the TLS hello".to_owned()));
        }
        // It has closed: whatever it said is the client's.
        Err(Ended::Gone) => false,
        // The host's fault, and no attempt of the tool's.
        Err(Ended::Denied(denial)) => {
            return Err(Ended::Failed(format!("the host's answer to the TLS hello: {denial}")));
        }
        Err(failed @ Ended::Failed(_)) => return Err(failed),
    };
    answer.send(answer.bytes.len(), client, &Counts::default())?;
    counts.received.fetch_add(answer.taken, Ordering::Relaxed);
    if retry {
        head.deadline = Instant::now() + HEAD_TIME;
        let second = head.until(reading(tls_hello::Reader::of_second()))?;
        names(&second, host)?;
        head.send(second.length, server, counts)?;
    }
    // What came after the hello, early data perhaps.
    let rest = std::mem::take(&mut head.bytes);
    server.write_all(&rest)?;
    counts.sent.fetch_add(rest.len() as u64, Ordering::Relaxed);
    Ok(())
}

/// Reads a growing hello on, and not again with every byte.
fn reading(mut reader: tls_hello::Reader) -> impl FnMut(&[u8]) -> Result<Progress<ClientHello>, tls_hello::Rejected> {
    move |bytes| reader.read(bytes)
}

fn names(hello: &ClientHello, host: &HostName) -> Result<(), Ended> {
    match HostName::new(&hello.server_name) {
        Ok(name) if name == *host => Ok(()),
        _ => Err(Ended::Denied(Denial::ServerName(hello.server_name.clone()))),
    }
}

/// HTTP/1: each request on the connection must name the host.
fn web(context: &Context, host: &HostName, port: Port, client: &TcpStream) -> Result<(), Ended> {
    granted(context, host, port)?;
    let mut head = Head::new(client, HEAD_TIME);
    let first = head.until(http::request_head)?;
    is_for(&first, host, port)?;
    let server = dial(context, host, port)?;
    let counts = Arc::new(Counts::default());
    let entry = context.journal.opened(host, port, &counts);
    let (last_request, last_answer) = (AtomicBool::new(false), AtomicBool::new(false));
    head.answered = Some(&last_answer);
    let outcome = thread::scope(|scope| {
        let answering = thread::Builder::new()
            .stack_size(super::STACK)
            .spawn_scoped(scope, || answers(context, &server, client, (&last_request, &last_answer), &counts));
        let outcome = match answering {
            Ok(_) => requests(host, port, head, first, &server, &counts),
            Err(error) => Err(error.into()),
        };
        last_request.store(true, Ordering::SeqCst);
        match &outcome {
            // After an orderly end the last answer may still be on its way.
            Ok(()) => drop(server.shutdown(Shutdown::Write)),
            // The host takes no more of the request, and its answer says why: what the client still
            // sends is read, or a reset would take the answer from it.
            Err(Ended::Failed(_)) => drain(client, Instant::now() + DRAIN_TIME),
            Err(Ended::Denied(_) | Ended::Gone) => drop(server.shutdown(Shutdown::Both)),
        }
        outcome
    });
    context.journal.closed(entry);
    match outcome {
        // In the middle of an answer there is no place for a refusal: the connection just ends.
        Err(Ended::Denied(denial)) => {
            context.journal.denied(host.as_str(), Some(port), &denial);
            let _ = client.shutdown(Shutdown::Both);
            Ok(())
        }
        Ok(()) | Err(Ended::Gone | Ended::Failed(_)) => Ok(()),
    }
}

/// Passes requests on, one after the other, each with exactly the body that it announces.
fn requests(
    host: &HostName,
    port: Port,
    mut head: Head<'_>,
    first: Request,
    server: &TcpStream,
    counts: &Counts,
) -> Result<(), Ended> {
    let mut request = first;
    loop {
        head.send(request.length, server, counts)?;
        // A body may take its time, and so may the next request.
        head.patience = None;
        match request.body {
            Body::None => {}
            Body::Length(mut left) => {
                while left > 0 {
                    head.more()?;
                    let there = usize::try_from(left).unwrap_or(usize::MAX).min(head.bytes.len());
                    head.send(there, server, counts)?;
                    left -= there as u64;
                }
            }
            Body::Chunked => {
                let mut chunks = Chunks::new();
                loop {
                    head.more()?;
                    let fed = chunks.feed(&head.bytes).map_err(|error| unjudged(&error))?;
                    head.send(fed.consumed, server, counts)?;
                    if fed.ended {
                        break;
                    }
                }
            }
        }
        // Once a request has begun, its head has to be whole in time.
        match head.more() {
            Err(Ended::Gone) => return Ok(()),
            other => other?,
        }
        head.patience = Some(HEAD_TIME);
        head.deadline = Instant::now() + HEAD_TIME;
        request = head.until(http::request_head).map_err(too_late_to_tell)?;
        is_for(&request, host, port)?;
    }
}

/// Passes answers on, without a look at them. Which of the two has come to its end is told by
/// `(last_request, last_answer)`.
fn answers(
    context: &Context,
    mut server: &TcpStream,
    mut client: &TcpStream,
    (last_request, last_answer): (&AtomicBool, &AtomicBool),
    counts: &Counts,
) {
    let mut buffer = vec![0; 32 << 10];
    let mut silent = Duration::ZERO;
    // A client that has closed may be gone for good, which nothing tells while the host is silent.
    while server.set_read_timeout(Some(LOOK_UP)).is_ok() && silent < SILENCE && !context.ended.load(Ordering::SeqCst) {
        match server.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                if client.write_all(buffer.get(..read).unwrap_or_default()).is_err() {
                    break;
                }
                silent = Duration::ZERO;
                counts.received.fetch_add(read as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if last_request.load(Ordering::SeqCst) {
                    silent += LOOK_UP;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    last_answer.store(true, Ordering::SeqCst);
    // Only this half: the client may still be sending.
    let _ = client.shutdown(Shutdown::Write);
}

/// Reads and forgets what a client sends, until it closes or the time is over.
fn drain(mut client: &TcpStream, deadline: Instant) {
    let mut buffer = [0; 8 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || client.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match client.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn is_for(request: &Request, host: &HostName, port: Port) -> Result<(), Ended> {
    let same_port = request.port.is_none_or(|named| named == port.number());
    match HostName::new(&request.host) {
        Ok(name) if name == *host && same_port => Ok(()),
        _ => {
            let port = request.port.map_or(String::new(), |port| format!(":{port}"));
            Err(Ended::Denied(Denial::RequestHost(format!("{}{port}", request.host))))
        }
    }
}

/// An expectation of a later request: the connection just ends, so nobody is told to ask again without it, and the
/// journal has to say why.
fn too_late_to_tell(ended: Ended) -> Ended {
    match ended {
        Ended::Denied(Denial::Expectation) => unjudged(&http::Rejected::Expectation),
        other => other,
    }
}

impl From<tls_hello::Rejected> for Denial {
    fn from(rejected: tls_hello::Rejected) -> Denial {
        Denial::Unjudged(rejected.to_string())
    }
}

impl From<http::Rejected> for Denial {
    fn from(rejected: http::Rejected) -> Denial {
        match rejected {
            // Not a denial of a host's: the client may ask again in another way.
            http::Rejected::Expectation => Denial::Expectation,
            other => Denial::Unjudged(other.to_string()),
        }
    }
}

fn unjudged(error: &impl ToString) -> Ended {
    Ended::Denied(Denial::Unjudged(error.to_string()))
}

/// What was read of a peer and not passed on yet.
struct Head<'a> {
    stream: &'a TcpStream,
    bytes: Vec<u8>,
    deadline: Instant,
    /// `None`: as long as the peer likes.
    patience: Option<Duration>,
    /// How many bytes were passed on.
    taken: u64,
    /// Whether the last answer was given, where requests are read: nobody waits for long then.
    answered: Option<&'a AtomicBool>,
}

impl<'a> Head<'a> {
    fn new(stream: &'a TcpStream, patience: Duration) -> Self {
        let deadline = Instant::now() + patience;
        Head { stream, bytes: Vec::new(), deadline, patience: Some(patience), taken: 0, answered: None }
    }

    /// Reads until `parse` has a whole message, or refuses what is there. The parser bounds it.
    fn until<T, E: Into<Denial>>(
        &mut self,
        mut parse: impl FnMut(&[u8]) -> Result<Progress<T>, E>,
    ) -> Result<T, Ended> {
        loop {
            if !self.bytes.is_empty()
                && let Progress::Complete(message) = parse(&self.bytes).map_err(|error| Ended::Denied(error.into()))?
            {
                return Ok(message);
            }
            self.read()?;
        }
    }

    /// Reads once, unless something is there already.
    fn more(&mut self) -> Result<(), Ended> {
        if self.bytes.is_empty() { self.read() } else { Ok(()) }
    }

    fn read(&mut self) -> Result<(), Ended> {
        let mut silent = Duration::ZERO;
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if self.patience.is_some() && left.is_zero() {
                return Err(self.too_slow());
            }
            self.stream.set_read_timeout(Some(if self.patience.is_some() { left } else { LOOK_UP }))?;
            let mut buffer = [0; 8 << 10];
            let mut stream = self.stream;
            match stream.read(&mut buffer) {
                Ok(0) => return Err(Ended::Gone),
                Ok(read) => {
                    self.bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.answered.is_some_and(|answered| answered.load(Ordering::SeqCst)) {
                        silent += LOOK_UP;
                    }
                    if silent >= DRAIN_TIME {
                        return Err(Ended::Gone);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Ended::Gone),
            }
        }
    }

    /// A client that says nothing at all keeps a connection for later, or looks whether somebody
    /// listens; there is nothing to deny.
    fn too_slow(&self) -> Ended {
        if self.bytes.is_empty() && self.taken == 0 { Ended::Gone } else { Ended::Denied(Denial::Slow) }
    }

    /// Passes on the first `length` bytes.
    fn send(&mut self, length: usize, mut to: &TcpStream, counts: &Counts) -> Result<(), Ended> {
        let rest = self.bytes.split_off(length.min(self.bytes.len()));
        let bytes = std::mem::replace(&mut self.bytes, rest);
        to.write_all(&bytes)?;
        self.taken += bytes.len() as u64;
        counts.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// Tells the client in its own protocol that it was denied, and closes.
fn farewell(mut client: &TcpStream, protocol: Protocol, denial: &Denial) {
    let words = match protocol {
        Protocol::Tls => ALERT_DENIED.to_vec(),
        Protocol::Http => {
            let body = format!("coco: denied: {}\n", crate::term::printable(&denial.to_string()));
            // Clients that are told so send the request again, without the expectation.
            let status = if *denial == Denial::Expectation { "417 Expectation Failed" } else { "403 Forbidden" };
            let length = body.len();
            let head = format!("content-type: text/plain\r\nconnection: close\r\ncontent-length: {length}\r\n");
            format!("HTTP/1.1 {status}\r\n{head}\r\n{body}").into_bytes()
        }
        Protocol::Raw => return reset(client),
    };
    let told = client.set_write_timeout(Some(FAREWELL_TIME)).and_then(|()| client.write_all(&words));
    if told.is_err() || client.shutdown(Shutdown::Write).is_err() {
        return;
    }
    // What is left unread would turn the close into a reset, and the words would be lost.
    drain(client, Instant::now() + FAREWELL_TIME);
}
