//! The user's coco files: which there are, where they come from, what was consented to.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::config::{self, CocoFile, MAX_FILE};
use crate::error::Error;
use crate::facts::{AtHome, Consent, World};
use crate::install::{digest, make_private, read_limited, write_atomically};
use crate::json::JsonError;
use crate::names::ToolName;
use crate::signed::{MAX_SIGNATURE, Subject, verify};
use crate::{store, term};

/// A configured tool.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Its name.
    pub name: ToolName,
    /// Its coco file.
    pub path: PathBuf,
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// SHA-256 of the bytes, hexadecimal.
    pub digest: String,
    /// What it says.
    pub file: CocoFile,
}

/// Where a coco file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A store's, unchanged, at this revision.
    Store(u64),
    /// Written by the user: there is no signature.
    Local,
    /// It has a signature that does not hold, for this reason.
    Modified(String),
}

/// Where a tool's coco file is.
pub fn path(world: &World, name: &ToolName) -> PathBuf {
    world.directories.tools.join(format!("{name}.json"))
}

/// Reads a tool's coco file.
pub fn read(world: &World, name: &ToolName) -> Result<Vec<u8>, Error> {
    let path = path(world, name);
    let bytes = read_limited(&path, MAX_FILE).map_err(Error::io("read", &path))?;
    bytes.ok_or_else(|| Error::UnknownTool { name: name.to_string(), in_store: store::bundle_has(name) })
}

/// Loads a tool's coco file.
pub fn load(world: &World, name: &ToolName) -> Result<Tool, Error> {
    let bytes = read(world, name)?;
    let path = path(world, name);
    let file = config::parse(&bytes).map_err(|error| Error::Config { file: path.clone(), error })?;
    Ok(Tool { name: name.clone(), digest: digest(&bytes), path, bytes, file })
}

/// The names of the configured tools, sorted. Files that no tool can have are reported, not loaded.
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

/// The named tools, or all of them.
pub fn named_or_all(world: &World, operands: &[std::ffi::OsString]) -> Result<Vec<ToolName>, Error> {
    if operands.is_empty() {
        return list(world);
    }
    operands.iter().map(|operand| crate::tool_name(operand)).collect()
}

/// Where a tool's coco file with these bytes comes from, by the signature beside it.
pub fn origin(world: &World, name: &ToolName, bytes: &[u8]) -> Result<Origin, Error> {
    let path = world.directories.tools.join(format!("{name}.json.minisig"));
    let Some(signature) = read_limited(&path, MAX_SIGNATURE).map_err(Error::io("read", &path))? else {
        return Ok(Origin::Local);
    };
    Ok(match verify(bytes.to_vec(), &signature, &store::keys()?, &Subject::Config(name.clone())) {
        Ok(verified) => Origin::Store(verified.revision()),
        Err(reason) => Origin::Modified(reason),
    })
}

fn consent_path(world: &World, name: &ToolName) -> PathBuf {
    world.directories.config.join("allowed").join(name.as_str())
}

/// The word in a record of consent that the tool may be started in home.
const AT_HOME: &str = "home";

/// What the user agreed to, if there is anything: the coco file's digest and, on a line of its own, a
/// word. A record with anything else is none.
pub fn consent(world: &World, name: &ToolName) -> Option<Consent> {
    let bytes = read_limited(&consent_path(world, name), 128).ok()??;
    let text = String::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    let digest = lines.next()?.to_owned();
    let home = match (lines.next(), lines.next()) {
        (None, None) => AtHome::Refused,
        (Some(AT_HOME), None) => AtHome::DangerousAllowed,
        _ => return None,
    };
    Some(Consent { digest, home })
}

/// Records that the user agrees to a coco file as it is now. coco's own directories are made with it:
/// where home is granted they must be there to be hidden.
pub fn agree(world: &World, tool: &Tool, home: AtHome) -> Result<(), Error> {
    for own in world.directories.own() {
        make_private(own)?;
    }
    let text = match home {
        AtHome::Refused => format!("{}\n", tool.digest),
        AtHome::DangerousAllowed => format!("{}\n{AT_HOME}\n", tool.digest),
    };
    write_atomically(&consent_path(world, &tool.name), text.as_bytes())
}

/// Takes consent back; gives whether there was any.
pub fn revoke(world: &World, name: &ToolName) -> Result<bool, Error> {
    let path = consent_path(world, name);
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}
