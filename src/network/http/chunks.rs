//! Chunked bodies (RFC 9112, section 7.1): where one ends. Pure.

use super::Rejected;

/// The most digits of a chunk's size, leading zeros included.
const MAX_SIZE_DIGITS: u8 = 16;
/// The largest chunk, in bytes: what fits into 31 bits, so that no server's integer wraps around to another size. Clients
/// send some KiB at once.
const MAX_CHUNK: u64 = i32::MAX as u64;
/// The longest extensions of a chunk, in bytes. No client in use sends any.
const MAX_EXTENSION: u16 = 256;

/// Finds the end of a chunked body, whose pieces it gets as they come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunks {
    state: State,
}

/// What one piece was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// How many of its bytes belong to the body: all of them while the body goes on.
    pub consumed: usize,
    /// Whether the body ended with them.
    pub ended: bool,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A chunk's size, of which this many digits were read.
    Size {
        digits: u8,
        size: u64,
    },
    /// The rest of its extensions.
    Extension {
        size: u64,
        length: u16,
    },
    /// The LF after its size.
    SizeEnd {
        size: u64,
    },
    /// This many bytes, at least one.
    Data {
        left: u64,
    },
    /// The CR, and the LF, after its bytes.
    DataReturn,
    DataEnd,
    /// The CR, and the LF, of the empty line after the last chunk.
    LastReturn,
    LastEnd,
    /// Nothing: the body is over.
    Ended,
    /// Nothing: it was refused.
    Failed(Rejected),
}

impl Default for Chunks {
    fn default() -> Self {
        Chunks::new()
    }
}

impl Chunks {
    /// Before the first byte.
    pub fn new() -> Self {
        Chunks { state: START }
    }

    /// Takes the next piece. After the end it takes nothing. After an error it gives that error again.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Fed, Rejected> {
        let mut rest = bytes;
        loop {
            if let State::Data { left } = self.state {
                // As much as there is, at once.
                let count = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                rest = rest.get(count..).unwrap_or_default();
                self.state = match left.saturating_sub(count as u64) {
                    0 => State::DataReturn,
                    left => State::Data { left },
                };
            }
            let ended = self.state == State::Ended;
            match rest.split_first() {
                Some((byte, after)) if !ended => {
                    self.state = self.state.next(*byte).unwrap_or_else(State::Failed);
                    rest = after;
                }
                _ => return Ok(Fed { consumed: bytes.len() - rest.len(), ended }),
            }
            if let State::Failed(rejected) = self.state {
                return Err(rejected);
            }
        }
    }
}

const START: State = State::Size { digits: 0, size: 0 };

impl State {
    /// The state after one byte. The bytes of the chunks themselves don't come here: [`Chunks::feed`] takes them.
    fn next(self, byte: u8) -> Result<State, Rejected> {
        match (self, byte) {
            (State::Size { digits: 1.., size } | State::Extension { size, .. }, b'\r') => Ok(State::SizeEnd { size }),
            (State::Size { digits: 1.., size }, b';') => Ok(State::Extension { size, length: 1 }),
            (State::Size { digits, size }, _) => match char::from(byte).to_digit(16) {
                Some(digit) if digits < MAX_SIZE_DIGITS => {
                    let size = size * 16 + u64::from(digit);
                    if size > MAX_CHUNK {
                        return Err(Rejected::Malformed("a chunk that is too large"));
                    }
                    Ok(State::Size { digits: digits + 1, size })
                }
                _ => Err(Rejected::Malformed("a chunk size that is not a number")),
            },
            (State::Extension { size, length }, b' '..=b'~') if length < MAX_EXTENSION => {
                Ok(State::Extension { size, length: length + 1 })
            }
            (State::Extension { .. }, _) => {
                Err(Rejected::Malformed("a chunk extension that is too long or not printable"))
            }
            (State::SizeEnd { size: 0 }, b'\n') => Ok(State::LastReturn),
            (State::SizeEnd { size }, b'\n') => Ok(State::Data { left: size }),
            (State::DataReturn, b'\r') => Ok(State::DataEnd),
            (State::DataEnd, b'\n') => Ok(START),
            (State::LastReturn, b'\r') => Ok(State::LastEnd),
            (State::LastEnd, b'\n') => Ok(State::Ended),
            // Headers after the body, which a server might use in the place of the ones before.
            (State::LastReturn, _) => Err(Rejected::Malformed("trailers after the last chunk")),
            (State::SizeEnd { .. } | State::DataReturn | State::DataEnd | State::LastEnd, _) => {
                Err(Rejected::Malformed("a chunk that does not end where it should"))
            }
            (State::Data { .. } | State::Ended, _) => Ok(self),
            (State::Failed(rejected), _) => Err(rejected),
        }
    }
}
