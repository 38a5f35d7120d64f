//! Policies, plans, permissions and what the network was used for, in words for people; plans also in
//! shell. Pure.

mod network;
mod permissions;
mod plan;
mod policy;

pub use network::{denied, denied_while_installing, learned, short_network};
pub use permissions::{changes, grants};
pub use plan::{placeholder_record, plan};
pub use policy::{WITHOUT_LANDLOCK, not_agreed, policy};
