//! The messages of the sandbox's name server (RFC 1035): a question comes in, and an answer from the caller's table goes
//! out. No query ever leaves the sandbox, so there is no cache, no upstream server and no zone.
//!
//! The questions come from untrusted programs. Bytes in, bytes out. Pure.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

#[cfg(test)]
mod tests;

/// The type of IPv4 addresses.
pub const A: u16 = 1;
/// The type of IPv6 addresses.
pub const AAAA: u16 = 28;
/// The class of the internet; nothing else is in use.
pub const IN: u16 = 1;

/// The type of the EDNS0 pseudo record (RFC 6891).
const OPT: u16 = 41;
/// How long an address may be remembered, in seconds. As long as the sandbox lives would be fine too.
const TTL: u32 = 60;
/// The largest UDP payload that the server accepts, for EDNS0: what passes everywhere without fragmentation.
const PAYLOAD: u16 = 1232;
/// The longest name on the wire, in bytes, with its lengths and the root's zero.
const MAX_NAME: usize = 255;
/// Bits of the header's second word.
const RESPONSE: u16 = 1 << 15;
const OPCODE: u16 = 0xf << 11;
const TRUNCATED: u16 = 1 << 9;
const RECURSION_DESIRED: u16 = 1 << 8;
const RECURSION_AVAILABLE: u16 = 1 << 7;
const CHECKING_DISABLED: u16 = 1 << 4;

/// A question, and what is needed to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The client's number for it.
    pub id: u16,
    /// The name in lower case, with dots between labels and none at the end; `""` is the root. Every byte that is not a
    /// letter, a digit, `-` or `_` is written `\DDD` (RFC 4343, section 2.1). So the name of one label `a.b` differs
    /// from the name of two labels, and no such name is ever granted.
    pub name: String,
    /// The type asked for.
    pub kind: u16,
    /// The class asked for.
    pub class: u16,
    /// What is wrong with the query, if anything. [`answer`] then says so, whatever answer it is given.
    pub problem: Option<Problem>,
    flags: u16,
    /// The question as sent; empty where it can't be repeated.
    question: Vec<u8>,
    extended: bool,
}

/// Why a query is answered by an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Not exactly one question, or records that no query has.
    Malformed,
    /// Not a standard query.
    NotImplemented,
    /// A version of EDNS that doesn't exist yet.
    ExtensionVersion,
}

/// What the table says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This address. For a question about another type it is the same as [`Answer::Nothing`].
    Address(Ipv4Addr),
    /// There is such a name, but nothing of this type.
    Nothing,
    /// There is no such name.
    NoSuchName,
    /// Questions of this kind are never answered.
    NotImplemented,
    /// No answer could be found.
    Failed,
}

/// Reads a packet. `None` for what gets no answer at all: a response (or two servers could keep each other busy), less than
/// a header, and a question that ends early or is compressed.
pub fn query(packet: &[u8]) -> Option<Query> {
    let mut fields = Fields(packet);
    let [id, flags, questions, answers, authorities, additionals] = fields.numbers::<6>()?;
    if flags & (RESPONSE | TRUNCATED) != 0 {
        return None;
    }
    let unanswerable = |problem| Query {
        id,
        name: String::new(),
        kind: 0,
        class: 0,
        problem: Some(problem),
        flags,
        question: Vec::new(),
        extended: false,
    };
    if flags & OPCODE != 0 {
        return Some(unanswerable(Problem::NotImplemented));
    }
    if questions != 1 {
        return Some(unanswerable(Problem::Malformed));
    }
    let asked = fields.0;
    let name = fields.name()?;
    let [kind, class] = fields.numbers::<2>()?;
    let question = asked.get(..asked.len() - fields.0.len())?.to_vec();
    let extension = match (answers, authorities) {
        (0, 0) => extension(fields, additionals),
        _ => Err(Problem::Malformed),
    };
    Some(Query {
        id,
        name,
        kind,
        class,
        problem: extension.err(),
        flags,
        question,
        extended: matches!(extension, Ok(true) | Err(Problem::ExtensionVersion)),
    })
}

/// The answer's packet, of fewer than 300 bytes. It has no SOA record even where there is no address: without one nobody
/// remembers that there was nothing, and no resolver requires one.
pub fn answer(query: &Query, answer: &Answer) -> Vec<u8> {
    let (code, address) = match (query.problem, answer) {
        (Some(Problem::Malformed), _) => (1, None),
        (Some(Problem::NotImplemented), _) | (None, Answer::NotImplemented) => (4, None),
        (None, Answer::Failed) => (2, None),
        (None, Answer::NoSuchName) => (3, None),
        (None, Answer::Address(address)) if (query.kind, query.class) == (A, IN) => (0, Some(address)),
        // The code of the version's problem is 16, and the lower bits of that are 0.
        (None, Answer::Address(_) | Answer::Nothing) | (Some(Problem::ExtensionVersion), _) => (0, None),
    };
    // Recursion available: without it glibc and Go take an empty answer for that of a lame server.
    let flags = RESPONSE | query.flags & (OPCODE | RECURSION_DESIRED | CHECKING_DISABLED) | RECURSION_AVAILABLE | code;
    let counts = [u16::from(!query.question.is_empty()), u16::from(address.is_some()), 0, u16::from(query.extended)];
    let mut packet = Vec::with_capacity(300);
    for number in [query.id, flags].into_iter().chain(counts) {
        packet.extend(number.to_be_bytes());
    }
    // As it was sent: some clients mix upper and lower case, and expect the same back.
    packet.extend(&query.question);
    if let Some(address) = address {
        // The name is the one at the header's end.
        packet.extend([0xc0, 0x0c]);
        packet.extend([A, IN].into_iter().flat_map(u16::to_be_bytes));
        packet.extend(TTL.to_be_bytes());
        packet.extend(4_u16.to_be_bytes());
        packet.extend(address.octets());
    }
    if query.extended {
        packet.push(0);
        packet.extend([OPT, PAYLOAD].into_iter().flat_map(u16::to_be_bytes));
        let upper_code = u8::from(query.problem == Some(Problem::ExtensionVersion));
        // The code's upper bits, version 0, no flags, no options.
        packet.extend([upper_code, 0, 0, 0, 0, 0]);
    }
    packet
}

/// Whether the query has an EDNS0 record, which is the only record that a stub resolver's query may have.
fn extension(mut fields: Fields<'_>, count: u16) -> Result<bool, Problem> {
    let version = match count {
        0 => None,
        1 => Some(fields.extension_version().ok_or(Problem::Malformed)?),
        _ => return Err(Problem::Malformed),
    };
    match version {
        _ if !fields.0.is_empty() => Err(Problem::Malformed),
        Some(1..) => Err(Problem::ExtensionVersion),
        version => Ok(version.is_some()),
    }
}

/// The unread rest of a packet.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn numbers<const COUNT: usize>(&mut self) -> Option<[u16; COUNT]> {
        let mut numbers = [0; COUNT];
        for number in &mut numbers {
            let (bytes, rest) = self.0.split_first_chunk::<2>()?;
            *number = u16::from_be_bytes(*bytes);
            self.0 = rest;
        }
        Some(numbers)
    }

    /// A name without compression: before a question there is nothing to point to.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut on_the_wire = 0;
        loop {
            let (length, rest) = self.0.split_first()?;
            self.0 = rest;
            on_the_wire += 1 + usize::from(*length);
            if *length > 63 || on_the_wire > MAX_NAME {
                return None;
            }
            if *length == 0 {
                return Some(name);
            }
            if !name.is_empty() {
                name.push('.');
            }
            for byte in self.take(usize::from(*length))? {
                match byte.to_ascii_lowercase() {
                    byte @ (b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_') => name.push(char::from(byte)),
                    // Writing to a string can't fail.
                    byte => drop(write!(name, "\\{byte:03}")),
                }
            }
        }
    }

    /// The version of an EDNS0 record; `None` for another record, or an incomplete one.
    fn extension_version(&mut self) -> Option<u8> {
        let root = self.take(1)?;
        let [kind, _payload, upper, _flags, length] = self.numbers::<5>()?;
        self.take(usize::from(length))?;
        let [_code, version] = upper.to_be_bytes();
        (root == [0] && kind == OPT).then_some(version)
    }
}
