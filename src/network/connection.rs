//! One connection from inside, from its first byte to its last: checked, dialled, copied.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::copy::{self, Counts};
use super::denial::Denial;
use super::dial::{DialError, Dialer, Grant};
use super::http::{self, Body, Chunks, Request};
use super::log::Log;
use super::tls_hello::{self, ClientHello};
use super::{Progress, reset};
use crate::names::{HostName, Port};
use crate::rules::egress::{Protocol, Reach};

/// How long a client has for the bytes that are checked.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a host has for the first bytes of its answer to a ClientHello.
const SERVER_HELLO_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client that was denied has to read why.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(300);
/// How long a client may go on sending a request that the host has answered early.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a silent connection is checked for whether it is still needed.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// How long a host may be silent after the client's last request.
const MAX_SILENCE: Duration = Duration::from_secs(300);

/// A fatal TLS alert (RFC 8446 section 6): `access_denied`.
const ALERT_DENIED: &[u8] = &[21, 3, 3, 0, 2, 2, 49];

/// What a connection needs of its sandbox.
pub struct Context {
    /// What may be reached.
    pub reach: Reach,
    /// How hosts are reached.
    pub dialer: Dialer,
    /// Where it is recorded.
    pub log: Log,
    /// Set when the sandbox's network has ended.
    pub ended: AtomicBool,
}

/// Why a connection ended early.
enum Ended {
    /// Not allowed.
    Denied(Denial),
    /// The host can't be reached, or one of the two peers broke the connection.
    Failed(String),
    /// A peer closed its side at a point where it may.
    Gone,
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::Failed(error.to_string())
    }
}

/// Serves a connection to the host that init says is `name`.
pub fn serve(context: &Context, name: &HostName, port: Port, client: &TcpStream) {
    let protocol = Protocol::of(port);
    let outcome = match protocol {
        Protocol::Tls => serve_tls(context, name, port, client),
        Protocol::Http => serve_http(context, name, port, client),
        Protocol::Raw => serve_raw(context, name, port, client),
    };
    match outcome {
        Ok(()) | Err(Ended::Gone) => {}
        Err(Ended::Denied(denial)) => {
            context.log.denied(name.as_str(), Some(port), &denial);
            send_refusal(client, protocol, &denial);
        }
        Err(Ended::Failed(reason)) => {
            context.log.failed(name, port, &reason);
            reset(client);
        }
    }
}

/// The first check. For raw TCP, the address is the only other one.
fn check_allowlist(context: &Context, host: &HostName, port: Port) -> Result<(), Ended> {
    let ports = context.reach.ports(host);
    if ports.contains(&port) {
        return Ok(());
    }
    Err(Ended::Denied(if ports.is_empty() { Denial::Host } else { Denial::Port }))
}

fn dial(context: &Context, host: &HostName, port: Port) -> Result<TcpStream, Ended> {
    let grant = if context.reach.names_exactly(host) { Grant::ByName } else { Grant::ByPattern };
    context.dialer.dial(host, port, grant).map_err(|error| match error {
        DialError::Private => Ended::Denied(Denial::Private),
        DialError::Failed(reason) => Ended::Failed(reason),
    })
}

/// Anything else than TLS and HTTP: nothing in it can be checked.
fn serve_raw(context: &Context, host: &HostName, port: Port, client: &TcpStream) -> Result<(), Ended> {
    check_allowlist(context, host, port)?;
    let server = dial(context, host, port)?;
    let counts = Arc::new(Counts::default());
    let entry = context.log.opened(host, port, &counts);
    copy::both_ways(client, &server, &counts, &context.ended);
    context.log.closed(entry);
    Ok(())
}

/// TLS: the ClientHello must name the host, and so must a second one that the server asks for.
fn serve_tls(context: &Context, host: &HostName, port: Port, client: &TcpStream) -> Result<(), Ended> {
    check_allowlist(context, host, port)?;
    let mut input = Input::new(client, HEAD_TIMEOUT);
    let first = input.read_message(hello_parser(tls_hello::Reader::of_first()))?;
    check_server_name(&first, host)?;
    let server = dial(context, host, port)?;
    let counts = Arc::new(Counts::default());
    let entry = context.log.opened(host, port, &counts);
    let outcome = handshake(host, client, &server, input, &first, &counts);
    if matches!(outcome, Ok(())) {
        copy::both_ways(client, &server, &counts, &context.ended);
    }
    context.log.closed(entry);
    outcome
}

/// Forwards the checked hello and reads the beginning of the answer. When the server asks for another hello (RFC 8446
/// section 4.1.4), that one is in the clear too and could name another host. Until the answer is there, nothing more of
/// the client's is forwarded.
fn handshake(
    host: &HostName,
    client: &TcpStream,
    mut server: &TcpStream,
    mut input: Input<'_>,
    first: &ClientHello,
    counts: &Counts,
) -> Result<(), Ended> {
    input.forward(first.length, server, counts)?;
    let mut answer = Input::new(server, SERVER_HELLO_TIMEOUT);
    let retry = match answer.read_message(tls_hello::is_retry_request) {
        Ok(retry) => retry,
        // It may still ask for a second hello, and nobody would check that one.
        Err(Ended::Gone) if answer.is_late() => {
            return Err(Ended::Failed("the host does not answer the TLS hello".to_owned()));
        }
        // It has closed: whatever it sent is for the client.
        Err(Ended::Gone) => false,
        // The host's fault, and not an attempt of the tool's.
        Err(Ended::Denied(denial)) => {
            return Err(Ended::Failed(format!("the host's answer to the TLS hello: {denial}")));
        }
        Err(failed @ Ended::Failed(_)) => return Err(failed),
    };
    answer.forward(answer.bytes.len(), client, &Counts::default())?;
    counts.received.fetch_add(answer.forwarded, Ordering::Relaxed);
    if retry {
        input.deadline = Some(Instant::now() + HEAD_TIMEOUT);
        let second = input.read_message(hello_parser(tls_hello::Reader::of_second()))?;
        check_server_name(&second, host)?;
        input.forward(second.length, server, counts)?;
    }
    // What came after the hello, perhaps early data.
    let rest = std::mem::take(&mut input.bytes);
    server.write_all(&rest)?;
    counts.sent.fetch_add(rest.len() as u64, Ordering::Relaxed);
    Ok(())
}

/// A parser that goes on where it stopped, so that no byte of a hello is read twice.
fn hello_parser(
    mut reader: tls_hello::Reader,
) -> impl FnMut(&[u8]) -> Result<Progress<ClientHello>, tls_hello::Rejected> {
    move |bytes| reader.read(bytes)
}

fn check_server_name(hello: &ClientHello, host: &HostName) -> Result<(), Ended> {
    match HostName::new(&hello.server_name) {
        Ok(name) if name == *host => Ok(()),
        _ => Err(Ended::Denied(Denial::ServerName(hello.server_name.clone()))),
    }
}

/// HTTP/1: each request on the connection must name the host.
fn serve_http(context: &Context, host: &HostName, port: Port, client: &TcpStream) -> Result<(), Ended> {
    check_allowlist(context, host, port)?;
    let mut input = Input::new(client, HEAD_TIMEOUT);
    let first = input.read_message(http::request_head)?;
    check_host_header(&first, host, port)?;
    let server = dial(context, host, port)?;
    let counts = Arc::new(Counts::default());
    let entry = context.log.opened(host, port, &counts);
    let (requested, responded) = (AtomicBool::new(false), AtomicBool::new(false));
    input.responded = Some(&responded);
    let outcome = thread::scope(|scope| {
        let worker = thread::Builder::new()
            .stack_size(super::STACK_SIZE)
            .spawn_scoped(scope, || forward_responses(context, &server, client, (&requested, &responded), &counts));
        let outcome = match worker {
            Ok(_) => forward_requests(host, port, input, first, &server, &counts),
            Err(error) => Err(error.into()),
        };
        requested.store(true, Ordering::SeqCst);
        match &outcome {
            // After an orderly end the last response may still be on its way.
            Ok(()) => drop(server.shutdown(Shutdown::Write)),
            // The host takes no more of the request, and its response says why. What the client still sends is read,
            // or the connection would be reset and the response lost.
            Err(Ended::Failed(_)) => drain(client, Instant::now() + DRAIN_TIMEOUT),
            Err(Ended::Denied(_) | Ended::Gone) => drop(server.shutdown(Shutdown::Both)),
        }
        outcome
    });
    context.log.closed(entry);
    match outcome {
        // In the middle of a response there is no place for a refusal: the connection just ends.
        Err(Ended::Denied(denial)) => {
            context.log.denied(host.as_str(), Some(port), &denial);
            let _ = client.shutdown(Shutdown::Both);
            Ok(())
        }
        Ok(()) | Err(Ended::Gone | Ended::Failed(_)) => Ok(()),
    }
}

/// Forwards requests, one after the other, each with exactly the body that it announces.
fn forward_requests(
    host: &HostName,
    port: Port,
    mut input: Input<'_>,
    first: Request,
    server: &TcpStream,
    counts: &Counts,
) -> Result<(), Ended> {
    let mut request = first;
    loop {
        input.forward(request.length, server, counts)?;
        // A body may take its time, and so may the next request.
        input.deadline = None;
        match request.body {
            Body::None => {}
            Body::Length(mut left) => {
                while left > 0 {
                    input.fill()?;
                    let there = usize::try_from(left).unwrap_or(usize::MAX).min(input.bytes.len());
                    input.forward(there, server, counts)?;
                    left -= there as u64;
                }
            }
            Body::Chunked => {
                let mut chunks = Chunks::new();
                loop {
                    input.fill()?;
                    let fed = chunks.feed(&input.bytes).map_err(|error| rejected(&error))?;
                    input.forward(fed.consumed, server, counts)?;
                    if fed.ended {
                        break;
                    }
                }
            }
        }
        // Once a request has begun, its head has to be whole in time.
        match input.fill() {
            Err(Ended::Gone) => return Ok(()),
            other => other?,
        }
        input.deadline = Some(Instant::now() + HEAD_TIMEOUT);
        request = input.read_message(http::request_head).map_err(in_a_later_request)?;
        check_host_header(&request, host, port)?;
    }
}

/// Forwards responses, unread. `requested` is set when the last request was forwarded, and `responded` when the last
/// response was.
fn forward_responses(
    context: &Context,
    mut server: &TcpStream,
    mut client: &TcpStream,
    (requested, responded): (&AtomicBool, &AtomicBool),
    counts: &Counts,
) {
    let mut buffer = vec![0; 32 << 10];
    let mut silent = Duration::ZERO;
    // A client that has closed may be gone for good; nothing shows that while the host is silent.
    while server.set_read_timeout(Some(POLL_INTERVAL)).is_ok()
        && silent < MAX_SILENCE
        && !context.ended.load(Ordering::SeqCst)
    {
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
                if requested.load(Ordering::SeqCst) {
                    silent += POLL_INTERVAL;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    responded.store(true, Ordering::SeqCst);
    // Only this half: the client may still be sending.
    let _ = client.shutdown(Shutdown::Write);
}

/// Reads and drops what a client sends, until it closes or the time is over.
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

fn check_host_header(request: &Request, host: &HostName, port: Port) -> Result<(), Ended> {
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
/// log has to say why.
fn in_a_later_request(ended: Ended) -> Ended {
    match ended {
        Ended::Denied(Denial::Expectation) => rejected(&http::Rejected::Expectation),
        other => other,
    }
}

fn rejected(error: &impl ToString) -> Ended {
    Ended::Denied(Denial::Rejected(error.to_string()))
}

/// What was read from a peer and not forwarded yet.
struct Input<'a> {
    stream: &'a TcpStream,
    bytes: Vec<u8>,
    /// When what is awaited must be whole; `None` where the peer may take as long as it likes.
    deadline: Option<Instant>,
    /// How many bytes were forwarded.
    forwarded: u64,
    /// Whether the host has given its last response, where requests are read: nobody waits for long then.
    responded: Option<&'a AtomicBool>,
}

impl<'a> Input<'a> {
    fn new(stream: &'a TcpStream, timeout: Duration) -> Self {
        let deadline = Some(Instant::now() + timeout);
        Input { stream, bytes: Vec::new(), deadline, forwarded: 0, responded: None }
    }

    /// Reads until `parse` has a whole message, or rejects what is there. The parser limits the length.
    fn read_message<T, E: Into<Denial>>(
        &mut self,
        mut parse: impl FnMut(&[u8]) -> Result<Progress<T>, E>,
    ) -> Result<T, Ended> {
        loop {
            if !self.bytes.is_empty()
                && let Progress::Complete(message) = parse(&self.bytes).map_err(|error| Ended::Denied(error.into()))?
            {
                return Ok(message);
            }
            self.read_more()?;
        }
    }

    /// Reads once, unless something is there already.
    fn fill(&mut self) -> Result<(), Ended> {
        if self.bytes.is_empty() { self.read_more() } else { Ok(()) }
    }

    fn read_more(&mut self) -> Result<(), Ended> {
        let mut silent = Duration::ZERO;
        loop {
            let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(self.timed_out());
            }
            self.stream.set_read_timeout(Some(left.unwrap_or(POLL_INTERVAL)))?;
            let mut buffer = [0; 8 << 10];
            let mut stream = self.stream;
            match stream.read(&mut buffer) {
                Ok(0) => return Err(Ended::Gone),
                Ok(read) => {
                    self.bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.responded.is_some_and(|responded| responded.load(Ordering::SeqCst)) {
                        silent += POLL_INTERVAL;
                    }
                    if silent >= DRAIN_TIMEOUT {
                        return Err(Ended::Gone);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Ended::Gone),
            }
        }
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// A client that sends nothing at all keeps a connection for later, or looks whether somebody listens: that is
    /// nothing to deny.
    fn timed_out(&self) -> Ended {
        if self.bytes.is_empty() && self.forwarded == 0 { Ended::Gone } else { Ended::Denied(Denial::Slow) }
    }

    /// Forwards the first `length` bytes.
    fn forward(&mut self, length: usize, mut to: &TcpStream, counts: &Counts) -> Result<(), Ended> {
        let rest = self.bytes.split_off(length.min(self.bytes.len()));
        let bytes = std::mem::replace(&mut self.bytes, rest);
        to.write_all(&bytes)?;
        self.forwarded += bytes.len() as u64;
        counts.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// Tells the client in its own protocol that it was denied, and closes.
fn send_refusal(mut client: &TcpStream, protocol: Protocol, denial: &Denial) {
    let refusal = match protocol {
        Protocol::Tls => ALERT_DENIED.to_vec(),
        Protocol::Http => {
            let body = format!("coco: denied: {}\n", crate::term::printable(&denial.to_string()));
            // A client that gets this sends the request again, without the expectation.
            let status = if *denial == Denial::Expectation { "417 Expectation Failed" } else { "403 Forbidden" };
            let length = body.len();
            let head = format!("content-type: text/plain\r\nconnection: close\r\ncontent-length: {length}\r\n");
            format!("HTTP/1.1 {status}\r\n{head}\r\n{body}").into_bytes()
        }
        Protocol::Raw => return reset(client),
    };
    let sent = client.set_write_timeout(Some(REFUSAL_TIMEOUT)).and_then(|()| client.write_all(&refusal));
    if sent.is_err() || client.shutdown(Shutdown::Write).is_err() {
        return;
    }
    // Unread bytes would turn the close into a reset, and the refusal would be lost.
    drain(client, Instant::now() + REFUSAL_TIMEOUT);
}
