//! What init has found missing in this machine's kernel, remembered until the next boot.

use std::path::PathBuf;

use super::World;
use crate::error::Error;
use crate::sys::files::{read_limited, write_atomically};

/// The kernel's name for the time since it was started (random(4)), with its line end.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// How long that is, in bytes, at the most.
const MAX_BOOT_ID: usize = 64;

/// Whether a sandbox of this boot had no Landlock.
pub fn landlock_is_missing(world: &World) -> bool {
    let recorded = read_limited(&path(world), MAX_BOOT_ID).ok().flatten();
    recorded.is_some_and(|recorded| !recorded.is_empty() && boot_id() == Some(recorded))
}

/// Records that a sandbox had no Landlock; gives whether that is news in this boot.
pub fn record_missing_landlock(world: &World) -> Result<bool, Error> {
    if landlock_is_missing(world) {
        return Ok(false);
    }
    write_atomically(&path(world), &boot_id().unwrap_or_default())?;
    Ok(true)
}

fn path(world: &World) -> PathBuf {
    world.directories.state.join("without-landlock")
}

fn boot_id() -> Option<Vec<u8>> {
    read_limited(BOOT_ID.as_ref(), MAX_BOOT_ID).ok().flatten()
}
