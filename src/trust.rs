//! The keys that store files are checked with: the one that is compiled in, and the user's own in
//! `$XDG_CONFIG_HOME/coco/keys/NAME.pub`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use minisign_verify::PublicKey;

use crate::error::Error;
use crate::facts::World;
use crate::install::{digest, read_limited, write_atomically};
use crate::signed::{MAX_SIGNATURE, Subject, key_number, public_key, verify};
use crate::store::PUBLIC_KEY;

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
        let id = KeyId { number, digest: digest(text.lines().nth(1).unwrap_or_default().as_bytes()) };
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

/// Keeps a key that a trusted one has named as the next, with the signature that says so.
pub fn keep_successor(world: &World, key: &TrustedKey, signature: &[u8]) -> Result<(), Error> {
    write_atomically(&signature_path(world, &key.name), signature)?;
    write_atomically(&path(world, &key.name), key.text.as_bytes())
}

/// Whether a trusted key, by its digest, comes after another: the old one signed it, or one that itself comes
/// after the old one.
pub fn succeeds(world: &World, old: &str, new: &str) -> Result<bool, Error> {
    let keys = keys(world)?;
    let mut digest = new;
    // No chain is longer than there are keys.
    for _ in &keys {
        let Some(key) = keys.iter().find(|key| key.id.digest == digest) else { return Ok(false) };
        match named_by(world, key, &keys) {
            Some(by) if by.id.digest == old => return Ok(true),
            Some(by) => digest = &by.id.digest,
            None => return Ok(false),
        }
    }
    Ok(false)
}

/// The trusted key that a key has named as the next one.
pub fn successor<'keys>(world: &World, key: &KeyId, keys: &'keys [TrustedKey]) -> Option<&'keys TrustedKey> {
    keys.iter().find(|next| named_by(world, next, keys).is_some_and(|by| by.id == *key))
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

/// The trusted key that has named this one as the next.
pub fn named_by<'keys>(world: &World, key: &TrustedKey, keys: &'keys [TrustedKey]) -> Option<&'keys TrustedKey> {
    let signature = read_limited(&signature_path(world, &key.name), MAX_SIGNATURE).ok()??;
    let public: Vec<PublicKey> = keys.iter().map(|key| key.key.clone()).collect();
    let verified = verify(key.text.clone().into_bytes(), &signature, &public, &Subject::Key).ok()?;
    keys.get(verified.signer())
}

/// Where a key is.
pub fn path(world: &World, name: &str) -> PathBuf {
    directory(world).join(format!("{name}.pub"))
}

/// Where the signature is that says which key named this one.
pub fn signature_path(world: &World, name: &str) -> PathBuf {
    directory(world).join(format!("{name}.pub.minisig"))
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
