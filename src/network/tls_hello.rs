//! The server name at the start of a TLS connection (RFC 8446, RFC 5246). A tool may ask for one name in DNS and for another
//! one in the hello, and the server acts on the hello.
//!
//! The bytes go on to the server as they came, so nothing may pass that a server could read in another way. Lengths are
//! exact, a message may be split over records in any way, and bytes that are left over are rejected. Bytes in, a name
//! out. Pure.

use std::fmt;

use super::Progress;

#[cfg(test)]
mod tests;

/// The most bytes of records up to the end of a hello. The largest hello that clients send, with two post-quantum key
/// shares, has about 4 KiB.
pub const MAX_HELLO: usize = 64 << 10;

/// The length of a record's header (RFC 8446, section 5.1): type, version, length.
const HEADER_LENGTH: usize = 5;
/// The largest plain record, and how much longer an encrypted one may be.
const MAX_RECORD: usize = 1 << 14;
const MAX_EXPANSION: usize = 256;
/// Record types.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// Handshake types.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
/// Extensions that matter here: the name in the clear, and those that hide another one, which are encrypted hellos
/// (RFC 9849, and the numbers of its drafts) and the encrypted SNI before them.
const SERVER_NAME: u16 = 0;
const ENCRYPTED: [u16; 9] = [0xfe0d, 0xfe0c, 0xfe0b, 0xfe0a, 0xfe09, 0xfe08, 0xff02, 0xff03, 0xffce];
/// The longest name, in bytes: DNS has none of more than 253 and a dot.
const MAX_NAME: usize = 255;
/// The random of a ServerHello that asks for another ClientHello (RFC 8446, section 4.1.3): the
/// SHA-256 of "HelloRetryRequest".
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// A ClientHello that names its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The name as sent: printable ASCII, neither folded nor checked further.
    pub server_name: String,
    /// The length of the records up to its end, in bytes.
    pub length: usize,
}

/// Why the bytes are not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// It does not start as TLS does.
    NotTls,
    /// It starts as TLS does, and breaks its rules; where.
    Malformed(&'static str),
    /// The hello would end past [`MAX_HELLO`].
    TooLong,
    /// A hello without the server_name extension.
    NoServerName,
    /// The name in the clear is not the one that counts.
    EncryptedName,
}

impl fmt::Display for Rejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejected::NotTls => formatter.write_str("not TLS"),
            Rejected::Malformed(what) => write!(formatter, "malformed TLS: {what}"),
            Rejected::TooLong => write!(formatter, "a TLS hello of more than {MAX_HELLO} bytes"),
            Rejected::NoServerName => formatter.write_str("no server name"),
            Rejected::EncryptedName => formatter.write_str("the server name is encrypted (ECH)"),
        }
    }
}

impl std::error::Error for Rejected {}

/// Reads what a client sends first, from its first byte on. [`Reader`] does it for a buffer that grows.
pub fn client_hello(bytes: &[u8]) -> Result<Progress<ClientHello>, Rejected> {
    Reader::of_first().read(bytes)
}

/// Reads what a client sends after a server asked for a second hello, from the first byte after the first hello on.
/// `length` includes what comes before the second hello: the marker for old middleboxes, and the early data that the
/// server will skip (RFC 8446, sections 4.2.10 and D.4).
pub fn second_client_hello(bytes: &[u8]) -> Result<Progress<ClientHello>, Rejected> {
    Reader::of_second().read(bytes)
}

/// Whether a server's first bytes ask for a second hello, which may then name another server.
pub fn is_retry_request(bytes: &[u8]) -> Result<Progress<bool>, Rejected> {
    // Handshake type, length, version and random.
    const NEEDED: usize = 4 + 2 + RETRY.len();
    let mut message = Vec::with_capacity(NEEDED);
    let mut at = 0;
    loop {
        let wrong_type = if at == 0 { Rejected::NotTls } else { Rejected::Malformed("a record of the wrong type") };
        let Some(record) = record(bytes, at, &[HANDSHAKE, ALERT], wrong_type)? else { return Ok(Progress::Incomplete) };
        if record.end > MAX_HELLO {
            return Err(Rejected::TooLong);
        }
        if record.kind == HANDSHAKE {
            message.extend(record.body.iter().take(NEEDED - message.len()));
            if message.first().is_some_and(|kind| *kind != SERVER_HELLO) {
                return Err(Rejected::Malformed("not a ServerHello"));
            }
            match message.split_first_chunk::<6>() {
                // Shorter than a ServerHello without extensions; or of another version.
                Some(([_, 0, 0, 0..=37, ..] | [_, _, _, _, 0..=2 | 4.., _], _)) => {
                    return Err(Rejected::Malformed("a ServerHello of the wrong length or version"));
                }
                Some((_, random)) if random.len() == RETRY.len() => return Ok(Progress::Complete(random == RETRY)),
                _ => {}
            }
        } else if record.length != 2 || !message.is_empty() {
            return Err(Rejected::Malformed("an alert of the wrong length or place"));
        } else if let [level, _] = record.body {
            // A fatal alert ends the connection. A warning, as unrecognized_name, may come before a hello.
            match level {
                1 => {}
                2 => return Ok(Progress::Complete(false)),
                _ => return Err(Rejected::Malformed("an alert of an unknown level")),
            }
        }
        if record.body.len() < record.length {
            return Ok(Progress::Incomplete);
        }
        at = record.end;
    }
}

/// One record, whose body may not be complete.
struct Record<'a> {
    kind: u8,
    /// The body's length as the header gives it.
    length: usize,
    /// The body as far as it has come.
    body: &'a [u8],
    /// Where the record ends, counted from the first byte of the buffer.
    end: usize,
}

/// The record at `at`; `None` while its header is not complete. What is wrong is rejected as early as it shows.
fn record<'a>(bytes: &'a [u8], at: usize, kinds: &[u8], wrong_type: Rejected) -> Result<Option<Record<'a>>, Rejected> {
    let Some(rest) = bytes.get(at..) else { return Ok(None) };
    if rest.first().is_some_and(|kind| !kinds.contains(kind)) || rest.get(1).is_some_and(|major| *major != 3) {
        return Err(wrong_type);
    }
    let Some((&[kind, _, _, high, low], after)) = rest.split_first_chunk::<HEADER_LENGTH>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let limit = if kind == APPLICATION_DATA { MAX_RECORD + MAX_EXPANSION } else { MAX_RECORD };
    if length == 0 || length > limit {
        return Err(Rejected::Malformed("a record that is empty or too long"));
    }
    let body = after.get(..length).unwrap_or(after);
    Ok(Some(Record { kind, length, body, end: at + HEADER_LENGTH + length }))
}

/// Reads a hello from a buffer that grows, and reads no record twice: a client that sends byte by byte costs no more than
/// one that sends everything at once.
#[derive(Debug, Clone)]
pub struct Reader {
    position: Position,
    /// Where the first record starts that is not complete.
    at: usize,
    /// Where the hello starts, once it has.
    start: usize,
    /// How many bytes of the hello are in complete records.
    seen: usize,
    /// The hello's type and length, which are four bytes, of which `head_bytes` are known.
    head: usize,
    head_bytes: usize,
}

/// Where in a connection a record is. It decides of which types it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// At the start.
    Start,
    /// Before a second hello.
    Between,
    /// In a hello.
    Inside,
}

impl Reader {
    /// A reader of what [`client_hello`] reads.
    pub fn of_first() -> Self {
        Reader { position: Position::Start, at: 0, start: 0, seen: 0, head: 0, head_bytes: 0 }
    }

    /// A reader of what [`second_client_hello`] reads.
    pub fn of_second() -> Self {
        Reader { position: Position::Between, ..Reader::of_first() }
    }

    /// Goes on reading: `bytes` are those of the last call and what came since. Must not be called after a hello or an
    /// error.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Progress<ClientHello>, Rejected> {
        while let Some(record) = self.record(bytes)? {
            let missing = match record.kind {
                HANDSHAKE => self.missing_after(&record)?,
                kind => skippable(kind, &record)?,
            };
            let more = if missing == 0 { 0 } else { HEADER_LENGTH + missing };
            // Rejected as soon as it is known that it will be.
            if record.end + more > MAX_HELLO {
                return Err(Rejected::TooLong);
            }
            if record.body.len() < record.length {
                break;
            }
            self.at = record.end;
            if record.kind == HANDSHAKE {
                self.seen += record.length;
            }
            if missing == 0 {
                let server_name = server_name(&self.message(bytes)?)?;
                return Ok(Progress::Complete(ClientHello { server_name, length: self.at }));
            }
        }
        Ok(Progress::Incomplete)
    }

    /// The next record as far as it has come, if one of its type may be here.
    fn record<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Record<'a>>, Rejected> {
        let (kinds, wrong_type): (&[u8], _) = match self.position {
            Position::Start => (&[HANDSHAKE], Rejected::NotTls),
            Position::Between => (
                &[HANDSHAKE, CHANGE_CIPHER_SPEC, APPLICATION_DATA],
                Rejected::Malformed("a record of the wrong type before the second hello"),
            ),
            Position::Inside => (&[HANDSHAKE], Rejected::Malformed("a record of another type inside the hello")),
        };
        let record = record(bytes, self.at, kinds, wrong_type)?;
        if self.position != Position::Inside && record.as_ref().is_some_and(|record| record.kind == HANDSHAKE) {
            self.position = Position::Inside;
            self.start = self.at;
        }
        Ok(record)
    }

    /// How many bytes of the hello come after this record. At least one while that is not known.
    fn missing_after(&mut self, record: &Record<'_>) -> Result<usize, Rejected> {
        // What the last call read of this record.
        let known = self.head_bytes.saturating_sub(self.seen);
        for byte in record.body.iter().skip(known).take(4 - self.head_bytes) {
            self.head = self.head << 8 | usize::from(*byte);
            self.head_bytes += 1;
            if self.head_bytes == 1 && *byte != CLIENT_HELLO {
                return Err(Rejected::Malformed("not a ClientHello"));
            }
        }
        if self.head_bytes < 4 {
            return Ok(1);
        }
        let needed = 4 + (self.head & 0xff_ffff);
        needed.checked_sub(self.seen + record.length).ok_or(Rejected::Malformed("bytes after the hello"))
    }

    /// The hello without the records' headers. Only for a complete hello, not for every byte that comes.
    fn message(&self, bytes: &[u8]) -> Result<Vec<u8>, Rejected> {
        let mut message = Vec::with_capacity(self.seen);
        let mut at = self.start;
        while at < self.at
            && let Some(record) = record(bytes, at, &[HANDSHAKE], Rejected::NotTls)?
        {
            message.extend_from_slice(record.body);
            at = record.end;
        }
        Ok(message)
    }
}

/// Checks a record before a second hello. How much is missing after it is not known, but at least a hello is.
fn skippable(kind: u8, record: &Record<'_>) -> Result<usize, Rejected> {
    if kind == CHANGE_CIPHER_SPEC && (record.length != 1 || record.body.first().is_some_and(|byte| *byte != 1)) {
        return Err(Rejected::Malformed("an invalid ChangeCipherSpec"));
    }
    Ok(1)
}

/// The name in a whole ClientHello message (RFC 8446, section 4.1.2; RFC 6066, section 3).
fn server_name(message: &[u8]) -> Result<String, Rejected> {
    let mut fields = Fields(message);
    // The type and the length, which are known to fit.
    fields.take(4)?;
    if fields.number()? >> 8 != 3 {
        return Err(Rejected::Malformed("a hello of another version"));
    }
    fields.take(32)?;
    let session = fields.short_vector()?;
    let ciphers = fields.vector()?;
    let compressions = fields.short_vector()?;
    if session.len() > 32 || ciphers.is_empty() || ciphers.len() % 2 != 0 || compressions.is_empty() {
        return Err(Rejected::Malformed("a field of the hello with a wrong length"));
    }
    if fields.0.is_empty() {
        // Old clients send no extensions at all.
        return Err(Rejected::NoServerName);
    }
    let mut extensions = Fields(fields.vector()?);
    fields.end()?;
    let mut kinds = Vec::new();
    let mut names = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let content = extensions.vector()?;
        kinds.push(kind);
        if kind == SERVER_NAME {
            names = Some(content);
        }
    }
    kinds.sort_unstable();
    // Of two, a server may use the other one.
    if kinds.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(Rejected::Malformed("the same extension twice"));
    }
    let name = names.map(only_name).transpose()?;
    if kinds.iter().any(|kind| ENCRYPTED.contains(kind)) {
        return Err(Rejected::EncryptedName);
    }
    name.ok_or(Rejected::NoServerName)
}

/// The one name of a server_name extension.
fn only_name(content: &[u8]) -> Result<String, Rejected> {
    let mut fields = Fields(content);
    let mut entries = Fields(fields.vector()?);
    fields.end()?;
    if entries.take(1)? != [0] {
        return Err(Rejected::Malformed("a server name that is not a host name"));
    }
    let name = entries.vector()?;
    // A server might use a second name, of any type.
    entries.end()?;
    if name.is_empty() || name.len() > MAX_NAME || !name.iter().all(u8::is_ascii_graphic) {
        return Err(Rejected::Malformed("a server name that is empty, too long or not printable"));
    }
    Ok(name.iter().copied().map(char::from).collect())
}

/// The unread rest of a structure.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Rejected> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or(Rejected::Malformed("a length inside the hello that does not fit"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u16, Rejected> {
        Ok(self.take(2)?.iter().fold(0, |number, byte| number << 8 | u16::from(*byte)))
    }

    /// A vector whose length has two bytes.
    fn vector(&mut self) -> Result<&'a [u8], Rejected> {
        let length = self.number()?;
        self.take(usize::from(length))
    }

    /// A vector whose length has one byte.
    fn short_vector(&mut self) -> Result<&'a [u8], Rejected> {
        let length = self.take(1)?.iter().copied().map(usize::from).sum();
        self.take(length)
    }

    fn end(&self) -> Result<(), Rejected> {
        if self.0.is_empty() { Ok(()) } else { Err(Rejected::Malformed("bytes after the last field")) }
    }
}
