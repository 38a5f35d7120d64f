//! Outside the sandbox: what judges the bytes that a tool wants to send. Pure; the connections are
//! the caller's.

pub mod address;
pub mod hello;
pub mod http;

/// What the bytes so far tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<T> {
    /// Nothing yet: more bytes are needed.
    Incomplete,
    /// The whole thing was there.
    Complete(T),
}
