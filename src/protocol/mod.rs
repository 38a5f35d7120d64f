//! The two protocols between the host and the sandbox: the control socket, and the network channel.

mod codec;
pub mod control;
pub mod network;
