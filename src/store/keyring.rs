//! The keys that store files are checked with: the one that is compiled in, and the user's own in
//! `$XDG_CONFIG_HOME/coco/keys/NAME.pub`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use minisign_verify::PublicKey;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::host::World;
use crate::store::signature::{self, Invalid, Subject, Verified, public_key};
use crate::sys::base64;
use crate::sys::files::{read_limited, write_atomically};
use crate::sys::hash::Digest;

/// The key that is compiled in, as its file spells it.
const PUBLIC_KEY: &str = include_str!("../../store/coco.pub");

/// The largest key file, in bytes; minisign's own has about 110.
pub const MAX_KEY: usize = 1024;

/// The name of the key that is compiled in.
pub const BUILT_IN: &str = "built-in";

/// Identifies a key. Whoever makes a key can choose its number, so the number is only shown to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyId {
    /// The number, as minisign prints it: 16 hexadecimal digits.
    pub number: String,
    /// That of the key in base 64, as its file spells it.
    pub digest: Digest,
}

/// A key that may sign coco files.
#[derive(Debug, Clone)]
pub struct TrustedKey {
    /// Its name: the file's, without `.pub`.
    pub name: String,
    /// Which key it is.
    pub id: KeyId,
    /// Its file.
    pub text: String,
    /// The key.
    pub key: PublicKey,
}

impl TrustedKey {
    /// Reads a key file's text.
    pub fn new(name: &str, text: &str) -> Result<TrustedKey, String> {
        let key = public_key(text)?;
        let line = text.lines().nth(1).unwrap_or_default();
        let number = number(line).ok_or("not a minisign public key: its number can't be read")?;
        let id = KeyId { number, digest: Digest::of(line.trim().as_bytes()) };
        Ok(TrustedKey { name: name.to_owned(), id, text: text.to_owned(), key })
    }
}

/// The number of a key, as minisign prints it: eight bytes, the last one first. A key is two bytes of algorithm, the
/// number and the key itself, in base 64.
fn number(line: &str) -> Option<String> {
    // 16 letters are 12 bytes, of which ten are wanted.
    let bytes = base64::decode(line.as_bytes().get(..16)?)?;
    Some(bytes.get(2..10)?.iter().rev().map(|byte| format!("{byte:02X}")).collect())
}

/// The directory of the user's keys.
pub fn directory(world: &World) -> PathBuf {
    world.directories.config.join("keys")
}

/// All keys, the built-in one first. A file that is not a key is an error: a trusted key must not vanish unnoticed.
pub fn keys(world: &World) -> Result<Vec<TrustedKey>, Error> {
    let mut keys = vec![built_in()?];
    let directory = directory(world);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(keys),
        Err(error) => return Err(Error::io("read", &directory)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("read", &directory))?.path();
        if path.extension().is_some_and(|end| end == "pub") {
            paths.push(path);
        }
    }
    paths.sort();
    for path in paths {
        let name = path.file_stem().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::Key { path: path.clone(), reason: "its name is not UTF-8".to_owned() })?;
        keys.push(read(name, &path)?);
    }
    Ok(keys)
}

/// The record of the keys that the user has removed, so that no store brings one back by naming it.
fn removed_path(world: &World) -> PathBuf {
    directory(world).join("removed")
}

/// The largest record of removed keys, in bytes; a line has 65.
const MAX_REMOVED: usize = 1 << 20;

/// The digests of the keys that the user has removed. A damaged record is an error: a removed key must not come back.
pub fn removed(world: &World) -> Result<Vec<Digest>, Error> {
    let path = removed_path(world);
    let bytes = read_limited(&path, MAX_REMOVED).map_err(Error::io("read", &path))?.unwrap_or_default();
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::Key { path: path.clone(), reason: "it is not UTF-8".to_owned() })?;
    let damaged = || Error::Key { path: path.clone(), reason: "a line of it is not the digest of a key".to_owned() };
    text.lines().map(|line| Digest::parse(line).ok_or_else(damaged)).collect()
}

/// Records whether the user has removed a key.
pub fn record_removed(world: &World, key: &KeyId, is_removed: bool) -> Result<(), Error> {
    let mut digests = removed(world)?;
    if digests.contains(&key.digest) == is_removed {
        return Ok(());
    }
    digests.retain(|digest| *digest != key.digest);
    if is_removed {
        digests.push(key.digest);
    }
    let text: String = digests.iter().map(|digest| format!("{digest}\n")).collect();
    write_atomically(&removed_path(world), text.as_bytes())
}

/// The file of a key.
pub fn path(world: &World, name: &str) -> PathBuf {
    directory(world).join(format!("{name}.pub"))
}

/// The built-in key.
pub fn built_in() -> Result<TrustedKey, Error> {
    TrustedKey::new(BUILT_IN, PUBLIC_KEY).map_err(|reason| Error::Signature { what: "coco.pub".to_owned(), reason })
}

/// Checks that a signature by one of these keys covers the bytes and says that they are `subject`.
///
/// # Errors
/// A sentence without a subject, as of [`signature::verify`].
pub fn verify(bytes: &[u8], signature: &[u8], trusted: &[TrustedKey], subject: &Subject) -> Result<Verified, Invalid> {
    let keys: Vec<PublicKey> = trusted.iter().map(|trusted| trusted.key.clone()).collect();
    signature::verify(bytes.to_vec(), signature, &keys, subject)
}

/// Reads a key file.
pub fn read(name: &str, path: &Path) -> Result<TrustedKey, Error> {
    let bytes = read_limited(path, MAX_KEY).map_err(Error::io("read", path))?;
    let bytes = bytes
        .ok_or_else(|| Error::io("read", path)(io::Error::new(io::ErrorKind::NotFound, "there is no such file")))?;
    let wrong = |reason: String| Error::Key { path: path.to_owned(), reason };
    if bytes.len() > MAX_KEY {
        return Err(wrong(format!("it has more than {MAX_KEY} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
    TrustedKey::new(name, &text).map_err(wrong)
}
