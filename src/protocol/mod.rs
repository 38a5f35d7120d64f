//! What the two sides of a sandbox's border say to each other: over the control socket, and about the network.

mod codec;
pub mod control;
pub mod network;
