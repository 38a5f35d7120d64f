//! The user's coco files: which there are, where they come from, what was consented to.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::PathBuf;

use minisign_verify::PublicKey;

use crate::config::{self, CocoFile, MAX_FILE};
use crate::error::Error;
use crate::facts::{AtHome, Consent};
use crate::host::World;
use crate::json::JsonError;
use crate::names::ToolName;
use crate::store::bundled::{self, SignedFile};
use crate::store::keyring::{self, KeyId};
use crate::store::signature::{MAX_SIGNATURE, Subject, UNKNOWN_KEY, verify};
use crate::sys::files::{make_private, read_limited, write_atomically};
use crate::sys::hash::digest;
use crate::term;

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
    /// A store's, unchanged.
    Store {
        /// Its revision.
        revision: u64,
        /// The key that signed it.
        key: KeyId,
    },
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
    bytes.ok_or_else(|| Error::UnknownTool { name: name.to_string(), in_store: bundled::contains(name) })
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

/// An operand that has to be a tool's name.
pub fn tool_name(operand: &OsStr) -> Result<ToolName, Error> {
    ToolName::new(operand.to_str().unwrap_or("\u{fffd}")).map_err(|message| Error::BadName { message })
}

/// The named tools, or all of them.
pub fn named_or_all(world: &World, operands: &[std::ffi::OsString]) -> Result<Vec<ToolName>, Error> {
    if operands.is_empty() {
        return list(world);
    }
    operands.iter().map(|operand| tool_name(operand)).collect()
}

/// Where a tool's coco file with these bytes comes from, by the signature beside it.
pub fn origin(world: &World, name: &ToolName, bytes: &[u8]) -> Result<Origin, Error> {
    let trusted = keyring::keys(world)?;
    let keys: Vec<PublicKey> = trusted.iter().map(|trusted| trusted.key.clone()).collect();
    let mut outcome = Origin::Local;
    // A writing that was interrupted has put the new signature beside the old one.
    for path in [signature_path(world, name), new_signature_path(world, name)] {
        let Some(signature) = read_limited(&path, MAX_SIGNATURE).map_err(Error::io("read", &path))? else { continue };
        match verify(bytes.to_vec(), &signature, &keys, &Subject::Config(name.clone())) {
            Ok(verified) => {
                return Ok(match trusted.get(verified.signer()) {
                    Some(key) => Origin::Store { revision: verified.revision(), key: key.id.clone() },
                    None => Origin::Modified(UNKNOWN_KEY.to_owned()),
                });
            }
            Err(reason) => {
                if outcome == Origin::Local {
                    outcome = Origin::Modified(reason);
                }
            }
        }
    }
    Ok(outcome)
}

fn signature_path(world: &World, name: &ToolName) -> PathBuf {
    world.directories.tools.join(format!("{name}.json.minisig"))
}

fn new_signature_path(world: &World, name: &ToolName) -> PathBuf {
    world.directories.tools.join(format!("{name}.json.minisig.new"))
}

fn came_from_path(world: &World, name: &ToolName) -> PathBuf {
    world.directories.state.join("store").join("origins").join(name.as_str())
}

/// Where a tool's coco file was fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameFrom {
    /// The store's address, or the bundled store's name.
    pub store: String,
    /// The digest of the key that signed it.
    pub key: String,
}

/// The store and the key that a tool's coco file came from, as far as they are known.
pub fn came_from(world: &World, name: &ToolName) -> Option<CameFrom> {
    let text = String::from_utf8(read_limited(&came_from_path(world, name), 2048).ok()??).ok()?;
    let (store, key) = text.trim_end().split_once('\n')?;
    Some(CameFrom { store: store.to_owned(), key: key.to_owned() })
}

/// Writes a coco file that was verified, its signature, and where it came from. Whenever this is
/// interrupted, the file is the old or the new one, and a signature of it is there.
pub fn write(world: &World, name: &ToolName, signed: &SignedFile, from: &str) -> Result<(), Error> {
    let (signature, new) = (signature_path(world, name), new_signature_path(world, name));
    write_atomically(&came_from_path(world, name), format!("{from}\n{}\n", signed.key.digest).as_bytes())?;
    write_atomically(&new, &signed.signature)?;
    write_atomically(&path(world, name), signed.verified.bytes())?;
    fs::rename(&new, &signature).map_err(Error::io("write", signature))
}

/// Keeps a tool's coco file under a name that no tool has, and gives it.
pub fn set_aside(world: &World, name: &ToolName) -> Result<PathBuf, Error> {
    let from = path(world, name);
    let kept = (1..1000)
        .map(|number| world.directories.tools.join(format!("{name}.json.kept-{number}")))
        .find(|path| path.symlink_metadata().is_err())
        .ok_or_else(|| Error::Exists { path: from.clone(), hint: "remove old copies of it".to_owned() })?;
    fs::copy(&from, &kept).map_err(Error::io("keep a copy of", from))?;
    Ok(kept)
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
