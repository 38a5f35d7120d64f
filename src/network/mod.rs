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

/// How long a peer may read nothing while a thread waits to write to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(300);
/// The stack of a connection's thread, in bytes. It has no deep calls and no large buffers.
const STACK_SIZE: usize = 128 << 10;

/// What a parser makes of a message that may not be whole yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<T> {
    /// More bytes are needed.
    Incomplete,
    /// The message.
    Complete(T),
}

/// Locks a mutex whose holder never panics; the program aborts on panics anyway.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the close of a connection an error for the peer, and not an orderly end.
fn reset(stream: &TcpStream) {
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}
