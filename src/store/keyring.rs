//! The keys that store files are checked with: the one that is compiled in, and the user's own in
//! `$XDG_CONFIG_HOME/coco/keys/NAME.pub`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use minisign_verify::PublicKey;
use serde_json::json;

use crate::error::Error;
use crate::host::World;
use crate::json::{self, JsonError};
use crate::store::bundled::PUBLIC_KEY;
use crate::store::signature::{key_number, public_key};
use crate::sys::files::{read_limited, write_atomically, write_json};
use crate::sys::hash::digest;

/// The largest key file, in bytes; minisign's own has about 110.
pub const MAX_KEY: usize = 1024;

/// The name of the key that is compiled in.
pub const BUILT_IN: &str = "built-in";

/// Which key it is. Whoever makes a key can choose its number, so that it is for people alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyId {
    /// Its number, as minisign prints it: 16 hexadecimal digits.
    pub number: String,
    /// SHA-256 of the key as its file spells it, in base 64; hexadecimal.
    pub digest: String,
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
        let number = key_number(text).ok_or("no minisign public key: its number can't be read")?;
        let id = KeyId { number, digest: digest(text.lines().nth(1).unwrap_or_default().trim().as_bytes()) };
        Ok(TrustedKey { name: name.to_owned(), id, text: text.to_owned(), key })
    }
}

/// Where the user's keys are.
pub fn directory(world: &World) -> PathBuf {
    world.directories.config.join("keys")
}

/// All keys, the one that is compiled in first. A file that is no key is an error: a trusted key must not
/// vanish unnoticed.
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
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or("?").to_owned();
        keys.push(read(&name, &path)?);
    }
    Ok(keys)
}

/// Which keys have named which as the next: for the new one's digest, the old one. Noted once the signature that
/// said so was seen to hold, so that it lasts when the old key goes.
#[derive(Debug, Clone, Default)]
pub struct Succession(BTreeMap<String, KeyId>);

/// The most that is read of the succession, in bytes.
const MAX_SUCCESSION: usize = 1 << 20;

impl Succession {
    /// What is on record.
    pub fn of(world: &World) -> Result<Succession, Error> {
        let path = Succession::path(world);
        let Some(bytes) = read_limited(&path, MAX_SUCCESSION).map_err(Error::io("read", &path))? else {
            return Ok(Succession::default());
        };
        let read = |value: &json::Value| {
            let text = |key: &str| value.member(key).and_then(json::Value::text).map(str::to_owned);
            Some(KeyId { number: text("number")?, digest: text("digest")? })
        };
        let members = match json::parse(&bytes, MAX_SUCCESSION) {
            Ok(json::Value::Object(members)) => members,
            _ => Vec::new(),
        };
        let known: Option<BTreeMap<_, _>> = members.into_iter().map(|(new, old)| Some((new, read(&old)?))).collect();
        known.filter(|known| !known.is_empty()).map(Succession).ok_or_else(|| {
            let hint = "remove it to forget which keys have named a next one";
            Error::Config { error: JsonError::new("", "not what coco wrote there", hint), file: path }
        })
    }

    fn path(world: &World) -> PathBuf {
        directory(world).join("succession.json")
    }

    /// Notes that the old key has named the new one, and writes it down.
    pub fn note(mut self, world: &World, old: &KeyId, new: &KeyId) -> Result<(), Error> {
        self.0.insert(new.digest.clone(), old.clone());
        let text: serde_json::Map<_, _> =
            self.0.into_iter().map(|(new, old)| (new, json!({"number": old.number, "digest": old.digest}))).collect();
        write_json(&Succession::path(world), &text.into())
    }

    /// The key that has named this one.
    pub fn named_by(&self, new: &KeyId) -> Option<&KeyId> {
        self.0.get(&new.digest)
    }

    /// The key that this one has named as the next, if it is trusted.
    pub fn next<'keys>(&self, old: &KeyId, keys: &'keys [TrustedKey]) -> Option<&'keys TrustedKey> {
        keys.iter().find(|key| self.named_by(&key.id).is_some_and(|by| by == old))
    }

    /// Whether one key, by its digest, comes after another: named by it, or by one that itself comes after it.
    pub fn comes_after(&self, old: &str, new: &str) -> bool {
        let mut digest = new;
        // No chain is longer than the record.
        for _ in 0..self.0.len() {
            match self.0.get(digest) {
                Some(by) if by.digest == old => return true,
                Some(by) => digest = &by.digest,
                None => return false,
            }
        }
        false
    }
}

/// Where the keys are noted that the user has removed: none of them comes back by being named.
fn removed_path(world: &World) -> PathBuf {
    directory(world).join("removed")
}

/// The most that is read of the removed keys, in bytes; a line has 65.
const MAX_REMOVED: usize = 1 << 20;

/// The digests of the keys that the user has removed.
pub fn removed(world: &World) -> Result<Vec<String>, Error> {
    let path = removed_path(world);
    let bytes = read_limited(&path, MAX_REMOVED).map_err(Error::io("read", &path))?.unwrap_or_default();
    let text =
        String::from_utf8(bytes).map_err(|_| Error::Key { path: path.clone(), reason: "it is no text".to_owned() })?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Notes whether a key was removed by the user.
pub fn note_removed(world: &World, key: &KeyId, is_removed: bool) -> Result<(), Error> {
    let mut digests = removed(world)?;
    if digests.contains(&key.digest) == is_removed {
        return Ok(());
    }
    digests.retain(|digest| *digest != key.digest);
    if is_removed {
        digests.push(key.digest.clone());
    }
    let text: String = digests.iter().map(|digest| format!("{digest}\n")).collect();
    write_atomically(&removed_path(world), text.as_bytes())
}

/// Where a key is.
pub fn path(world: &World, name: &str) -> PathBuf {
    directory(world).join(format!("{name}.pub"))
}

/// The key that is compiled in.
pub fn built_in() -> Result<TrustedKey, Error> {
    TrustedKey::new(BUILT_IN, PUBLIC_KEY).map_err(|reason| Error::Signature { what: "coco.pub".to_owned(), reason })
}

/// Reads a key file.
pub fn read(name: &str, path: &Path) -> Result<TrustedKey, Error> {
    let bytes = read_limited(path, MAX_KEY).map_err(Error::io("read", path))?;
    let bytes = bytes.ok_or_else(|| Error::io("read", path)(io::ErrorKind::NotFound.into()))?;
    let wrong = |reason: String| Error::Key { path: path.to_owned(), reason };
    if bytes.len() > MAX_KEY {
        return Err(wrong(format!("it has more than {MAX_KEY} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is no text".to_owned()))?;
    TrustedKey::new(name, &text).map_err(wrong)
}
