//! Where a coco file comes from: the signature beside it says who made it, and a record says where it was fetched.

use std::fs;
use std::path::PathBuf;

use crate::error::Error;
use crate::host::World;
use crate::names::ToolName;
use crate::store::bundled::SignedFile;
use crate::store::keyring::{self, KeyId};
use crate::store::signature::{Invalid, MAX_SIGNATURE, Subject};
use crate::sys::files::{read_limited, write_atomically};
use crate::sys::hash::Digest;
use crate::tools;

/// The largest record of a source, in bytes: a URL and a digest.
const MAX_SOURCE: usize = 2048;

/// Who made a coco file, by its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A store's file, unchanged.
    Store {
        /// Its revision.
        revision: u64,
        /// The key that signed it.
        key: KeyId,
    },
    /// The user: it has no signature.
    Local,
    /// Its signature is not valid, for this reason.
    Modified(String),
}

/// The origin of a tool's coco file with these bytes.
pub fn origin(world: &World, name: &ToolName, bytes: &[u8]) -> Result<Origin, Error> {
    let trusted = keyring::keys(world)?;
    let mut outcome = Origin::Local;
    // An interrupted write has left the new signature beside the old one.
    for path in [signature_path(world, name), new_signature_path(world, name)] {
        let Some(signature) = read_limited(&path, MAX_SIGNATURE).map_err(Error::io("read", &path))? else { continue };
        match keyring::verify(bytes, &signature, &trusted, &Subject::Config(name.clone())) {
            Ok(verified) => {
                return Ok(match trusted.get(verified.signer()) {
                    Some(key) => Origin::Store { revision: verified.revision(), key: key.id.clone() },
                    None => Origin::Modified(Invalid::UnknownKey.to_string()),
                });
            }
            Err(reason) => {
                if outcome == Origin::Local {
                    outcome = Origin::Modified(reason.to_string());
                }
            }
        }
    }
    Ok(outcome)
}

/// Where a coco file was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The URL of the store, or the name of the bundled one.
    pub store: String,
    /// The digest of the key that signed the file.
    pub key: Digest,
}

/// Where a tool's coco file was fetched, if that is known.
pub fn source(world: &World, name: &ToolName) -> Option<Source> {
    let text = String::from_utf8(read_limited(&source_path(world, name), MAX_SOURCE).ok()??).ok()?;
    let (store, key) = text.trim_end().split_once('\n')?;
    Some(Source { store: store.to_owned(), key: Digest::parse(key)? })
}

/// Writes a coco file that was verified, its signature, and the store that it was fetched from. Wherever this is
/// interrupted, the file is the old or the new one, and its signature is there.
pub fn write(world: &World, name: &ToolName, signed: &SignedFile, store: &str) -> Result<(), Error> {
    let (signature, new) = (signature_path(world, name), new_signature_path(world, name));
    write_atomically(&source_path(world, name), format!("{store}\n{}\n", signed.key.digest).as_bytes())?;
    write_atomically(&new, &signed.signature)?;
    write_atomically(&tools::path(world, name), signed.verified.bytes())?;
    fs::rename(&new, &signature).map_err(Error::io("write", signature))
}

/// Copies a tool's coco file to a name that no tool can have, and gives the copy's path.
pub fn keep_copy(world: &World, name: &ToolName) -> Result<PathBuf, Error> {
    let from = tools::path(world, name);
    let copy = (1..1000)
        .map(|number| world.directories.tools.join(format!("{name}.json.kept-{number}")))
        .find(|path| path.symlink_metadata().is_err())
        .ok_or_else(|| Error::Exists { path: from.clone(), hint: "remove old copies of it".to_owned() })?;
    fs::copy(&from, &copy).map_err(Error::io("keep a copy of", from))?;
    Ok(copy)
}

fn signature_path(world: &World, name: &ToolName) -> PathBuf {
    world.directories.tools.join(format!("{name}.json.minisig"))
}

fn new_signature_path(world: &World, name: &ToolName) -> PathBuf {
    world.directories.tools.join(format!("{name}.json.minisig.new"))
}

fn source_path(world: &World, name: &ToolName) -> PathBuf {
    world.directories.state.join("store").join("origins").join(name.as_str())
}
