//! Gives up the capabilities that apt needed, before any package's code runs.
//!
//! Init does it to itself, and starts no program for it: a package that runs as root may replace every program of the
//! image, and what init started later would have init's capabilities.
//!
//! The user and the groups are changed by nix, which does it for all threads as the C library does; rustix's calls are
//! for one thread.

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, remove_capability_from_bounding_set, set_capabilities,
};

use super::{Refusal, forbid_reading};

/// Becomes this user and group, without capabilities and without a way back to any. Whatever is started from now on has
/// what the calling thread has. Init's other threads start nothing.
pub fn drop_all((user, group): (u32, u32)) -> Result<(), Refusal> {
    empty_bounding_set()
        .and_then(|()| become_user(Uid::from_raw(user), Gid::from_raw(group)).map_err(Into::into))
        .and_then(|()| {
            let none = CapabilitySet::empty();
            set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
                .map_err(Into::into)
        })
        .map_err(|error: std::io::Error| {
            Refusal::new(
                format!("can't give up the capabilities that apt needed: {error}"),
                "look for what the engine's own configuration changes of capabilities",
            )
        })?;
    // A change of the user lets other processes read this one again.
    forbid_reading()
}

/// The first number that the kernel rejects is past its last capability.
fn empty_bounding_set() -> std::io::Result<()> {
    for capability in (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number)) {
        match capability_is_in_bounding_set(capability) {
            Ok(true) => remove_capability_from_bounding_set(capability)?,
            Ok(false) => {}
            Err(rustix::io::Errno::INVAL) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn become_user(user: Uid, group: Gid) -> nix::Result<()> {
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)
}
