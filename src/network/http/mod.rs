//! The heads and the framing of HTTP/1 requests (RFC 9110, RFC 9112): which host each request on a connection is for, and
//! where the request ends.
//!
//! The bytes go on to the server as they came, so this parser is not tolerant. Whatever some server, or a proxy before
//! it, could take for another Host, another length or another request is rejected, even where the specification lets a
//! recipient repair it. Bytes in, a verdict out. Pure.

use std::fmt;

use super::Progress;

mod chunks;
#[cfg(test)]
mod tests;

pub use chunks::{Chunks, Fed};

/// The longest head, in bytes, with the empty line at its end.
pub const MAX_HEAD: usize = 32 << 10;

/// The most header lines in a head.
const MAX_HEADERS: usize = 128;
/// The longest method, in bytes; the registered ones have up to 17.
const MAX_METHOD: usize = 32;
/// The longest host, in bytes: DNS has no name of more than 253 and a dot.
const MAX_HOST: usize = 255;
/// The most digits of a length: fewer than what overflows 64 bits, signed or not.
const MAX_LENGTH_DIGITS: usize = 18;
/// The end of a line, and of a head.
const LINE_END: &[u8] = b"\r\n";
const HEAD_END: &[u8] = b"\r\n\r\n";

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The host as sent, without the port: letters, digits, `.`, `-`, `_`; not checked further.
    pub host: String,
    /// The port, if the Host header has one.
    pub port: Option<u16>,
    /// How many bytes the head has, with its empty line.
    pub length: usize,
    /// What follows the head.
    pub body: Body,
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// The next request.
    None,
    /// This many bytes.
    Length(u64),
    /// Chunks, to be counted by [`Chunks`].
    Chunked,
}

/// Why the bytes are not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// It does not start as a request does.
    NotHttp,
    /// It starts as HTTP does, and breaks its rules; where.
    Malformed(&'static str),
    /// The head is longer than [`MAX_HEAD`], or has too many header lines.
    TooLong,
    /// A request that names no host.
    NoHost,
    /// A request for something other than a resource of the host that it names.
    Forbidden(&'static str),
    /// The client waits for a `100 Continue` before it sends the body.
    Expectation,
}

impl fmt::Display for Rejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejected::NotHttp => formatter.write_str("not HTTP"),
            Rejected::Malformed(what) => write!(formatter, "malformed HTTP: {what}"),
            Rejected::TooLong => formatter.write_str("a head that is too long"),
            Rejected::NoHost => formatter.write_str("no Host header"),
            Rejected::Forbidden(what) => write!(formatter, "not allowed in plain HTTP: {what}"),
            Rejected::Expectation => formatter.write_str("not allowed in plain HTTP: Expect"),
        }
    }
}

impl std::error::Error for Rejected {}

/// Reads the head of the request that starts with the first of `bytes`.
pub fn request_head(bytes: &[u8]) -> Result<Progress<Request>, Rejected> {
    let limited = bytes.get(..MAX_HEAD).unwrap_or(bytes);
    let Some(length) = head_length(limited) else {
        check_start(limited)?;
        return if bytes.len() < MAX_HEAD { Ok(Progress::Incomplete) } else { Err(Rejected::TooLong) };
    };
    let head = limited.get(..length).unwrap_or(limited);
    check_control_characters(head)?;
    // Without the empty line, so that every line ends in CRLF.
    let lines = head.strip_suffix(LINE_END).unwrap_or(head);
    let (first, headers) = split_at_line_end(lines).ok_or(Rejected::NotHttp)?;
    let line = RequestLine::read(first)?;
    let Headers { host, body } = Headers::read(headers, line)?;
    let (host, port) = host.ok_or(Rejected::NoHost)?;
    Ok(Progress::Complete(Request { host, port, length, body }))
}

/// How many bytes there are up to the end of the first empty line.
///
/// This starts again from the first byte with every byte that arrives. So a first loop only looks whether there is an end:
/// it has no exit, and the compiler makes it many times faster.
#[expect(clippy::needless_bitwise_bool, reason = "branches would keep the loop from being vectorised")]
fn head_length(bytes: &[u8]) -> Option<usize> {
    let from = |start: usize| bytes.get(start..).unwrap_or_default();
    let mut ended = false;
    for (((first, second), third), fourth) in bytes.iter().zip(from(1)).zip(from(2)).zip(from(3)) {
        ended |= (*first == b'\r') & (*second == b'\n') & (*third == b'\r') & (*fourth == b'\n');
    }
    if !ended {
        return None;
    }
    bytes.windows(HEAD_END.len()).position(|quad| quad == HEAD_END).map(|at| at + HEAD_END.len())
}

/// Rejects what can't become a head any more, so that nobody waits for the rest of it.
fn check_start(bytes: &[u8]) -> Result<(), Rejected> {
    if let Some((first, _)) = split_at_line_end(bytes) {
        RequestLine::read(first)?;
    } else {
        let end = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
        let method = bytes.get(..end).unwrap_or(bytes);
        if !bytes.is_empty() && (method.len() > MAX_METHOD || !is_token(method)) {
            return Err(Rejected::NotHttp);
        }
    }
    check_control_characters(bytes)
}

/// Rejects control characters other than tabs, and every CR and LF that is not a pair: some servers take them for the end
/// of a line or of a value, and others don't.
#[expect(clippy::needless_bitwise_bool, reason = "branches would keep the loop from being vectorised")]
fn check_control_characters(bytes: &[u8]) -> Result<(), Rejected> {
    let mut bad = bytes.first() == Some(&b'\n');
    for byte in bytes {
        bad |= (*byte < b' ') & (*byte != b'\t') & (*byte != b'\r') & (*byte != b'\n') | (*byte == 0x7f);
    }
    for (byte, next) in bytes.iter().zip(bytes.get(1..).unwrap_or_default()) {
        bad |= (*byte == b'\r') != (*next == b'\n');
    }
    if bad { Err(Rejected::Malformed("a control character, or a line end that is not CRLF")) } else { Ok(()) }
}

/// The bytes before the first CRLF, and those after it.
fn split_at_line_end(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().zip(bytes.get(1..)?).position(|pair| pair == (&b'\r', &b'\n'))?;
    let (line, rest) = bytes.split_at_checked(at)?;
    Some((line, rest.strip_prefix(LINE_END)?))
}

/// Whether this is a token (RFC 9110, section 5.6.2).
fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// What the first line says about the rest.
#[derive(Debug, Clone, Copy)]
struct RequestLine {
    bodies: Bodies,
    chunks: Chunking,
}

/// Whether the method has a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bodies {
    /// GET, HEAD and TRACE: a body means nothing, and servers that don't read it take it for the next request (RFC 9110,
    /// section 9.3.1, warns of that).
    Never,
    /// All other methods.
    Maybe,
}

/// Whether the version knows chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunking {
    /// HTTP/1.0.
    Unknown,
    /// HTTP/1.1.
    Known,
}

impl RequestLine {
    fn read(line: &[u8]) -> Result<Self, Rejected> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Rejected::NotHttp);
        };
        if method.len() > MAX_METHOD || !is_token(method) {
            return Err(Rejected::NotHttp);
        }
        // An HTTP/2 connection begins with what looks like a request, so that other servers refuse it.
        if line == b"PRI * HTTP/2.0" {
            return Err(Rejected::Forbidden("HTTP/2"));
        }
        let chunks = match version {
            b"HTTP/1.1" => Chunking::Known,
            b"HTTP/1.0" => Chunking::Unknown,
            _ if version.starts_with(b"HTTP/") => return Err(Rejected::Malformed("a version other than 1.0 and 1.1")),
            _ => return Err(Rejected::NotHttp),
        };
        let is = |name: &[u8]| method.eq_ignore_ascii_case(name);
        if is(b"CONNECT") {
            return Err(Rejected::Forbidden("CONNECT"));
        }
        if !target.iter().all(u8::is_ascii_graphic) {
            return Err(Rejected::Malformed("a target that is not printable ASCII"));
        }
        if !(target.starts_with(b"/") || target == b"*" && method == b"OPTIONS") {
            let absolute = target.windows(3).any(|part| part == b"://");
            return Err(if absolute {
                Rejected::Forbidden("a target with a host of its own")
            } else {
                Rejected::Malformed("a target that is not a path")
            });
        }
        let bodies = if is(b"GET") || is(b"HEAD") || is(b"TRACE") { Bodies::Never } else { Bodies::Maybe };
        Ok(RequestLine { bodies, chunks })
    }
}

/// What the header lines say.
struct Headers {
    host: Option<(String, Option<u16>)>,
    body: Body,
}

impl Headers {
    /// `lines` each end in CRLF, and have no control characters but tabs.
    fn read(lines: &[u8], request: RequestLine) -> Result<Self, Rejected> {
        let mut headers = Headers { host: None, body: Body::None };
        let mut rest = lines;
        let mut count = 0;
        while let Some((line, after)) = split_at_line_end(rest) {
            rest = after;
            count += 1;
            if count > MAX_HEADERS {
                return Err(Rejected::TooLong);
            }
            // A line that continues the one before has no name either.
            let colon = line.iter().position(|byte| *byte == b':');
            let (name, value) = colon.and_then(|at| line.split_at_checked(at)).unwrap_or_default();
            let value = value.strip_prefix(b":").unwrap_or(value);
            if !is_token(name) {
                return Err(Rejected::Malformed("a header line without a proper name"));
            }
            headers.read_header(name, value)?;
        }
        match (headers.body, request.bodies, request.chunks) {
            (Body::Chunked, _, Chunking::Unknown) => Err(Rejected::Malformed("chunks in HTTP/1.0")),
            (Body::None | Body::Length(0), ..) | (Body::Length(_) | Body::Chunked, Bodies::Maybe, _) => Ok(headers),
            (Body::Length(_) | Body::Chunked, Bodies::Never, _) => {
                Err(Rejected::Forbidden("a body where the method has none"))
            }
        }
    }

    fn read_header(&mut self, name: &[u8], value: &[u8]) -> Result<(), Rejected> {
        // Gateways pass headers to programs with `_` in the place of `-` (RFC 3875, section 4.1.18).
        let dashed: Vec<u8> =
            name.to_ascii_lowercase().iter().map(|byte| if *byte == b'_' { b'-' } else { *byte }).collect();
        let framing = matches!(dashed.as_slice(), b"content-length" | b"transfer-encoding");
        if framing && name.contains(&b'_') {
            return Err(Rejected::Malformed("a header name that looks like another"));
        }
        match dashed.as_slice() {
            b"host" => match self.host {
                None => self.host = Some(host(exact(value)?)?),
                Some(_) => return Err(Rejected::Malformed("two Host headers")),
            },
            b"content-length" | b"transfer-encoding" if self.body != Body::None => {
                return Err(Rejected::Malformed("two headers about the length"));
            }
            b"content-length" => self.body = Body::Length(length(exact(value)?)?),
            b"transfer-encoding" if exact(value)?.eq_ignore_ascii_case(b"chunked") => self.body = Body::Chunked,
            b"transfer-encoding" => return Err(Rejected::Malformed("a Transfer-Encoding other than chunked")),
            b"upgrade" => return Err(Rejected::Forbidden("Upgrade")),
            b"http2-settings" => return Err(Rejected::Forbidden("HTTP/2")),
            // When a server answers before the body, a body or a request may follow. Client and server may agree on the
            // one that is not checked.
            b"expect" => return Err(Rejected::Expectation),
            b"connection" => check_connection(value)?,
            _ => {}
        }
        Ok(())
    }
}

/// The value of a header that decides something: there may be spaces before it, and nothing after it.
fn exact(value: &[u8]) -> Result<&[u8], Rejected> {
    let start = value.iter().position(|byte| *byte != b' ').unwrap_or(value.len());
    let value = value.get(start..).unwrap_or_default();
    if value.is_empty() || !value.iter().all(u8::is_ascii_graphic) {
        return Err(Rejected::Malformed("an empty or unprintable value where it matters"));
    }
    Ok(value)
}

/// `name` or `name:port`.
fn host(value: &[u8]) -> Result<(String, Option<u16>), Rejected> {
    let malformed = Err(Rejected::Malformed("a Host that is not a name with an optional port"));
    let colon = value.iter().position(|byte| *byte == b':');
    let (name, port) = colon.and_then(|at| value.split_at_checked(at)).unwrap_or((value, b""));
    if name.is_empty() || name.len() > MAX_HOST {
        return malformed;
    }
    if !name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')) {
        return malformed;
    }
    let name = name.iter().copied().map(char::from).collect();
    match port {
        [] => Ok((name, None)),
        [b':', b'1'..=b'9', rest @ ..] if rest.len() <= 4 && rest.iter().all(u8::is_ascii_digit) => {
            let number = port.iter().skip(1).fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
            u16::try_from(number).map_or(malformed, |port| Ok((name, Some(port))))
        }
        _ => malformed,
    }
}

/// The number of bytes of a body.
fn length(value: &[u8]) -> Result<u64, Rejected> {
    if value.len() > MAX_LENGTH_DIGITS || !value.iter().all(u8::is_ascii_digit) {
        return Err(Rejected::Malformed("a Content-Length that is not a number"));
    }
    Ok(value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// A proxy removes the headers that Connection names (RFC 9110, section 7.6.1). None of those that this verdict depends on
/// may be among them.
fn check_connection(value: &[u8]) -> Result<(), Rejected> {
    for option in value.split(|byte| *byte == b',') {
        match option.trim_ascii().to_ascii_lowercase().as_slice() {
            b"host" | b"content-length" | b"transfer-encoding" => {
                return Err(Rejected::Malformed("a Connection header that names one of the end-to-end headers"));
            }
            b"upgrade" => return Err(Rejected::Forbidden("Upgrade")),
            b"http2-settings" => return Err(Rejected::Forbidden("HTTP/2")),
            _ => {}
        }
    }
    Ok(())
}
