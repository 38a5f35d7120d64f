//! The link by which a tool runs under its own name.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::host::World;
use crate::names::ToolName;

/// What is at the path of a tool's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Anything else than a link to this program.
    Foreign,
    /// Nothing.
    Free,
    /// A link to this program.
    Own,
}

/// The path of a tool's link.
pub fn path(world: &World, name: &ToolName) -> PathBuf {
    world.directories.bin.join(name.as_str())
}

/// What is at a path.
pub fn state(world: &World, path: &Path) -> Link {
    if path.symlink_metadata().is_err() {
        return Link::Free;
    }
    // The program's own file is not a link, whatever its name is: coco down must not remove it.
    if fs::canonicalize(path).is_ok_and(|file| file == world.program) && !path.is_symlink() {
        return Link::Foreign;
    }
    // A hard link is the same file; a symbolic one leads to it. A copy of the program is foreign.
    match (fs::metadata(path), fs::metadata(&world.program)) {
        (Ok(link), Ok(own)) if (link.dev(), link.ino()) == (own.dev(), own.ino()) => Link::Own,
        _ => Link::Foreign,
    }
}
