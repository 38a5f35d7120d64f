//! What is verified before it is used: signatures, the bundled store and stores at an address, the keys,
//! and what was seen before.

pub mod bundled;
pub mod keyring;
pub mod remote;
pub mod rollback;
pub mod signature;
