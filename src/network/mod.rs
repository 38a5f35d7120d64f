//! The host's side of a sandbox's network: it decides about every connection, dials, copies and keeps the log.

use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::sockopt;

mod connection;
mod copy;
pub mod denial;
mod dial;
pub mod http;
pub mod log;
pub mod orders;
pub mod proxy;
pub mod tls_hello;
pub mod upstream;

pub use dial::Resolve;

/// How long a peer may take no byte, where a thread waits for it.
const WRITE_TIME: Duration = Duration::from_secs(300);
/// A connection's thread has no deep calls and no large buffers, in bytes.
const STACK: usize = 128 << 10;

/// What a parser knows of a message that may not be whole yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<T> {
    /// More bytes are needed.
    Incomplete,
    /// The message.
    Complete(T),
}

/// A lock whose holder never panics; the program aborts on panics anyway.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes a connection so that the peer sees an error and no orderly end.
fn reset(stream: &TcpStream) {
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}
