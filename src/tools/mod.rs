//! The configured tools: their coco files, where these come from, and what the user agreed to.

pub mod consent;
pub mod link;
pub mod origin;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::config::{self, CocoFile, MAX_FILE};
use crate::error::Error;
use crate::host::World;
use crate::json::JsonError;
use crate::names::ToolName;
use crate::store::bundled;
use crate::sys::files::read_limited;
use crate::sys::hash::Digest;
use crate::term;

/// A configured tool.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Its name.
    pub name: ToolName,
    /// The path of its coco file.
    pub path: PathBuf,
    /// The bytes of the file.
    pub bytes: Vec<u8>,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The parsed file.
    pub file: CocoFile,
}

/// Loads a tool's coco file.
pub fn load(world: &World, name: &ToolName) -> Result<Tool, Error> {
    let bytes = read(world, name)?;
    let path = path(world, name);
    let file = config::parse(&bytes).map_err(|error| Error::Config { file: path.clone(), error })?;
    Ok(Tool { name: name.clone(), digest: Digest::of(&bytes), path, bytes, file })
}

/// The path of a tool's coco file.
pub fn path(world: &World, name: &ToolName) -> PathBuf {
    world.directories.tools.join(format!("{name}.json"))
}

/// Reads the bytes of a tool's coco file.
pub fn read(world: &World, name: &ToolName) -> Result<Vec<u8>, Error> {
    let path = path(world, name);
    let bytes = read_limited(&path, MAX_FILE).map_err(Error::io("read", &path))?;
    bytes.ok_or_else(|| Error::UnknownTool { name: name.to_string(), in_store: bundled::contains(name) })
}

/// The named tools, or all configured ones.
pub fn named_or_all(world: &World, operands: &[OsString]) -> Result<Vec<ToolName>, Error> {
    if operands.is_empty() {
        return list(world);
    }
    operands.iter().map(|operand| tool_name(operand)).collect()
}

/// The tool name in an operand.
pub fn tool_name(operand: &OsStr) -> Result<ToolName, Error> {
    let text =
        operand.to_str().ok_or_else(|| format!("{} is not a valid tool name: it is not UTF-8", term::os(operand)));
    text.and_then(ToolName::new).map_err(|message| Error::BadName { message })
}

/// The names of the configured tools, sorted. A file whose name is not a valid tool name is reported and left out.
pub fn list(world: &World) -> Result<Vec<ToolName>, Error> {
    let directory = &world.directories.tools;
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", directory)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let file = entry.map_err(Error::io("read", directory))?.file_name();
        match file.to_str().and_then(|file| file.strip_suffix(".json")).map(ToolName::new) {
            Some(Ok(name)) => names.push(name),
            Some(Err(message)) => {
                let error = JsonError::new("", message, "rename the file");
                term::note("warning", &Error::Config { file: directory.join(&file), error }.to_string());
            }
            None => {}
        }
    }
    names.sort();
    Ok(names)
}
