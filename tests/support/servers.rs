//! Servers for the network's tests: threads that serve one connection each, and keep what they were sent.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::network::Space;
use super::printable;

/// What one connection brought.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Who connected.
    pub peer: SocketAddr,
    /// Everything that was sent, before any decryption.
    pub bytes: Vec<u8>,
    /// The TLS server name.
    pub server_name: Option<String>,
}

/// A listener with all that it has seen.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    open: Arc<AtomicUsize>,
}

impl Server {
    /// Serves each connection of a listener in a thread of its own, until the tests end.
    pub fn start(listener: TcpListener, serve: impl Fn(Tap) + Send + Sync + 'static) -> Server {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::new(AtomicUsize::new(0));
        let server =
            Server { address: listener.local_addr().unwrap(), seen: Arc::clone(&seen), open: Arc::clone(&open) };
        let serve = Arc::new(serve);
        thread::spawn(move || {
            while let Ok((stream, peer)) = listener.accept() {
                let number = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(Seen { peer, bytes: Vec::new(), server_name: None });
                    seen.len() - 1
                };
                let tap = Tap { stream, seen: Arc::clone(&seen), number };
                let (serve, open) = (Arc::clone(&serve), Arc::clone(&open));
                open.fetch_add(1, Ordering::Relaxed);
                thread::spawn(move || {
                    serve(tap);
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        server
    }

    /// What it has seen until now.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many connected.
    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// How many are connected now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Everything that it was sent, of all connections, as text.
    pub fn text(&self) -> String {
        self.seen().iter().map(|seen| printable(&seen.bytes)).collect()
    }

    /// Whether any connection brought these bytes.
    pub fn was_sent(&self, bytes: &str) -> bool {
        self.seen().iter().any(|seen| seen.bytes.windows(bytes.len()).any(|window| window == bytes.as_bytes()))
    }
}

/// A connection whose input is recorded.
#[derive(Debug)]
pub struct Tap {
    /// The connection.
    pub stream: TcpStream,
    seen: Arc<Mutex<Vec<Seen>>>,
    number: usize,
}

impl Read for Tap {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.stream.read(buffer)?;
        let seen = &mut self.seen.lock().unwrap()[self.number].bytes;
        // Enough for every head; what is transferred in bulk has checksums.
        let kept = length.min((256_usize << 10).saturating_sub(seen.len()));
        seen.extend(&buffer[..kept]);
        Ok(length)
    }
}

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

// --- what they do ---

/// Answers the first bytes with a fixed text, then reads to the end.
pub fn answer(text: &'static str) -> impl Fn(Tap) + Send + Sync + 'static {
    move |mut tap| {
        let mut buffer = [0; 4096];
        if tap.read(&mut buffer).is_ok_and(|length| length > 0) {
            let _ = tap.write_all(text.as_bytes());
        }
        while tap.read(&mut buffer).is_ok_and(|length| length > 0) {}
    }
}

/// Sends everything back, to the end.
pub fn echo(mut tap: Tap) {
    let mut buffer = vec![0; 65536];
    while let Ok(length @ 1..) = tap.read(&mut buffer) {
        if tap.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Keeps the connection open and never says anything.
pub fn silent(mut tap: Tap) {
    let mut buffer = [0; 4096];
    while tap.read(&mut buffer).is_ok_and(|length| length > 0) {}
}

/// Sends for as long as somebody takes it.
pub fn endless(mut tap: Tap) {
    let zeroes = vec![0; 65536];
    while tap.write_all(&zeroes).is_ok() {}
}

/// Reads to the end, and says only then how much there was, and its SHA-256.
pub fn after_the_end(mut tap: Tap) {
    let (mut length, mut hash) = (0, <sha2::Sha256 as sha2::Digest>::new());
    let mut buffer = vec![0; 65536];
    while let Ok(some @ 1..) = tap.read(&mut buffer) {
        length += some;
        sha2::Digest::update(&mut hash, &buffer[..some]);
    }
    let hash: String = sha2::Digest::finalize(hash).iter().map(|byte| format!("{byte:02x}")).collect();
    let _ = tap.write_all(format!("{length} {hash}").as_bytes());
}

/// Sends as many bytes as the first line says, each the low byte of its place, and closes.
pub fn download(mut tap: Tap) {
    let Some(line) = line(&mut tap) else { return };
    let Ok(mut left) = line.trim().parse::<usize>() else { return };
    let block: Vec<u8> = (0..=255).cycle().take(65536).collect();
    while left > 0 {
        let some = left.min(block.len());
        if tap.write_all(&block[..some]).is_err() {
            return;
        }
        left -= some;
    }
}

/// Greets and closes before it is asked anything.
pub fn close_first(mut tap: Tap) {
    let _ = tap.write_all(b"bye");
    let _ = tap.stream.shutdown(Shutdown::Both);
}

/// Ends each connection by a reset, after the first bytes.
pub fn reset(mut tap: Tap) {
    let _ = tap.read(&mut [0; 4096]);
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    let _ = nix::sys::socket::setsockopt(&tap.stream, nix::sys::socket::sockopt::Linger, &linger);
}

/// HTTP/1.1 that keeps connections and says what it was asked.
pub fn http(mut tap: Tap) {
    http_over(&mut tap, "");
}

fn http_over(stream: &mut (impl Read + Write), more: &str) {
    while let Some(head) = http_head(stream) {
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let value = |name: &str| {
            head.lines()
                .find_map(|line| line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case(name)))
                .map(|(_, value)| value.trim().to_owned())
        };
        let mut body = vec![0; value("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let host = value("host").unwrap_or_default();
        let text = format!("served {host} {target} {}{more}\n", body.len());
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        let last = head.lines().next().is_some_and(|line| line.ends_with(" HTTP/1.0"));
        if stream.write_all(answer.as_bytes()).is_err() || last {
            return;
        }
    }
}

/// Reads a head of HTTP, up to and with its empty line.
pub fn http_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 65536 {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(printable(&head))
}

fn line(stream: &mut impl Read) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        line.push(byte[0]);
    }
    Some(printable(&line))
}

/// HTTP over TLS, which says the server name as well.
pub fn tls(config: Arc<ServerConfig>) -> impl Fn(Tap) + Send + Sync + 'static {
    move |tap| {
        let (seen, number) = (Arc::clone(&tap.seen), tap.number);
        let _ = tap.stream.set_read_timeout(Some(Duration::from_secs(60)));
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), tap);
        while stream.conn.is_handshaking() {
            if stream.conn.complete_io(&mut stream.sock).is_err() {
                return;
            }
        }
        let name = stream.conn.server_name().map(str::to_owned);
        seen.lock().unwrap()[number].server_name.clone_from(&name);
        http_over(&mut stream, &format!(" {}", name.unwrap_or_default()));
        stream.conn.send_close_notify();
        let _ = stream.conn.complete_io(&mut stream.sock);
    }
}

/// A proxy that connects by CONNECT, for whoever knows the password.
pub fn proxy(
    space: Space,
    names: impl Fn(&str) -> Option<IpAddr> + Send + Sync + 'static,
    user: &str,
    password: &str,
) -> impl Fn(Tap) + Send + Sync + 'static {
    let basic = base64(format!("{user}:{password}").as_bytes());
    move |mut tap| {
        let Some(head) = http_head(&mut tap) else { return };
        let allowed = head.lines().any(|line| line == format!("Proxy-Authorization: Basic {basic}"));
        let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()?.rsplit_once(':'));
        let answer = |tap: &mut Tap, status: &str| tap.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes());
        let (Some((host, port)), true) = (target, allowed) else {
            let _ = answer(&mut tap, "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"");
            return;
        };
        let address = host.trim_matches(['[', ']']).parse().ok().or_else(|| names(host));
        let far = address.and_then(|address: IpAddr| {
            let port = port.parse().ok()?;
            space.enter(|| TcpStream::connect((address, port))).ok()
        });
        let Some(mut far) = far else {
            let _ = answer(&mut tap, "502 Bad Gateway");
            return;
        };
        let _ = answer(&mut tap, "200 Connection established");
        let (mut back, mut near) = (far.try_clone().unwrap(), tap.stream.try_clone().unwrap());
        let copied = thread::spawn(move || {
            let _ = std::io::copy(&mut back, &mut near);
            let _ = near.shutdown(Shutdown::Write);
        });
        let _ = std::io::copy(&mut tap.stream, &mut far);
        let _ = far.shutdown(Shutdown::Write);
        let _ = copied.join();
    }
}

/// RFC 4648.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[number >> (18 - 6 * place) & 63];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}
