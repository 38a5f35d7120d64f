//! The record of what the user agreed to: a coco file's digest, the terms, and a word for home, each on a line of its
//! own.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::error::Error;
use crate::facts::{AtHome, Consent};
use crate::host::World;
use crate::names::ToolName;
use crate::sys::files::{make_private, read_limited, write_atomically};
use crate::sys::hash::Digest;
use crate::tools::Tool;

/// The largest record, in bytes.
const MAX_RECORD: usize = 128;

/// What a coco file meant when it was agreed to. The number rises whenever the same text comes to grant more, so that a
/// newer coco asks again: 2 since mounts without `opts` are writable. The first terms had no line.
const TERMS: &str = "terms 2";

/// The word for: the tool may be started in home.
const AT_HOME: &str = "home";

/// Reads what the user agreed to. A damaged record counts as no consent.
pub fn read(world: &World, name: &ToolName) -> Option<Consent> {
    let bytes = read_limited(&path(world, name), MAX_RECORD).ok()??;
    let text = String::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    let digest = Digest::parse(lines.next()?)?;
    let home = match (lines.next(), lines.next(), lines.next()) {
        (Some(TERMS), None, None) => AtHome::Refused,
        (Some(TERMS), Some(AT_HOME), None) => AtHome::DangerousAllowed,
        _ => return None,
    };
    Some(Consent { digest, home })
}

/// Records that the user agrees to a coco file as it is now. This makes coco's own directories, too: where home is
/// granted, they must exist to be hidden.
pub fn record(world: &World, tool: &Tool, home: AtHome) -> Result<(), Error> {
    for own in world.directories.own() {
        make_private(own)?;
    }
    let mut text = format!("{}\n{TERMS}\n", tool.digest);
    if home == AtHome::DangerousAllowed {
        text.push_str(AT_HOME);
        text.push('\n');
    }
    write_atomically(&path(world, &tool.name), text.as_bytes())
}

/// Removes the record; gives whether there was one.
pub fn revoke(world: &World, name: &ToolName) -> Result<bool, Error> {
    let path = path(world, name);
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

fn path(world: &World, name: &ToolName) -> PathBuf {
    world.directories.config.join("allowed").join(name.as_str())
}
