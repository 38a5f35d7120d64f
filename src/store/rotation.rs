//! How the key of a store is replaced: the old key names the new one, which is trusted from then on.
//!
//! A store publishes its next key as `successor.pub`, signed with the old one. A key has one successor and follows one
//! key, and a key that the user has removed does not come back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::Error;
use crate::host::World;
use crate::store::curl::{FetchError, download};
use crate::store::keyring::{self, KeyId, TrustedKey};
use crate::store::signature::{Invalid, MAX_SIGNATURE, Subject};
use crate::sys::files::{read_json, write_atomically, write_json};
use crate::sys::hash::Digest;
use crate::term;

/// The largest record, in bytes.
const MAX_RECORD: usize = 1 << 20;

/// The hint for a damaged record.
const HINT: &str = "remove it to forget which keys have named a next one";

/// For the digest of each key that another one has named as its successor: that other key. Recorded once the signature
/// was checked, so that it lasts when the old key is removed.
#[derive(Debug, Clone, Default)]
pub struct KeyRotations(BTreeMap<Digest, KeyId>);

impl KeyRotations {
    /// Reads the record.
    pub fn read(world: &World) -> Result<KeyRotations, Error> {
        let path = KeyRotations::path(world);
        match read_json::<BTreeMap<_, _>>(&path, MAX_RECORD, HINT)? {
            None => Ok(KeyRotations::default()),
            // It is written with the first one.
            Some(record) if record.is_empty() => {
                Err(Error::Record { path, reason: "it is empty".to_owned(), hint: HINT })
            }
            Some(record) => Ok(KeyRotations(record)),
        }
    }

    fn path(world: &World) -> PathBuf {
        keyring::directory(world).join("succession.json")
    }

    /// Records that the old key has named the new one.
    pub fn record(mut self, world: &World, old: &KeyId, new: &KeyId) -> Result<(), Error> {
        self.0.insert(new.digest, old.clone());
        write_json(&KeyRotations::path(world), &self.0)
    }

    /// The key that has named this one.
    pub fn predecessor(&self, new: &KeyId) -> Option<&KeyId> {
        self.0.get(&new.digest)
    }

    /// The key that this one has named, if it is trusted.
    pub fn successor<'keys>(&self, old: &KeyId, keys: &'keys [TrustedKey]) -> Option<&'keys TrustedKey> {
        keys.iter().find(|key| self.predecessor(&key.id).is_some_and(|predecessor| predecessor == old))
    }

    /// Whether one key, by its digest, was named by the other, or by a successor of it.
    pub fn is_successor_of(&self, new: Digest, old: Digest) -> bool {
        let mut digest = new;
        // No chain is longer than the record.
        for _ in 0..self.0.len() {
            match self.0.get(&digest) {
                Some(predecessor) if predecessor.digest == old => return true,
                Some(predecessor) => digest = predecessor.digest,
                None => return false,
            }
        }
        false
    }
}

/// A key that a trusted one has named.
pub struct Successor {
    /// The new key.
    pub key: TrustedKey,
    /// The old one.
    old: KeyId,
}

impl Successor {
    /// Trusts it from now on and says so. Where the user trusts it already, only the rotation is recorded.
    pub fn trust(&self, world: &World, base: &str) -> Result<(), Error> {
        KeyRotations::read(world)?.record(world, &self.old, &self.key.id)?;
        if keyring::keys(world)?.iter().any(|known| known.id == self.key.id) {
            return Ok(());
        }
        write_atomically(&keyring::path(world, &self.key.name), self.key.text.as_bytes())?;
        let words = format!(
            "{base} has a new key {}, signed with its old one {}; it is trusted from now on (coco key list)",
            self.key.id.number, self.old.number
        );
        term::note("warning", &words);
        Ok(())
    }
}

/// The key that a store has named as its next one, if there is any and a trusted key has signed it.
pub fn fetch_successor(world: &World, base: &str, trusted: &[TrustedKey]) -> Result<Option<Successor>, FetchError> {
    let url = format!("{base}/successor.pub");
    let (Ok(bytes), Ok(signature)) =
        (download(world, &url, keyring::MAX_KEY), download(world, &format!("{url}.minisig"), MAX_SIGNATURE))
    else {
        return Ok(None);
    };
    let invalid = |reason: String| Error::Signature { what: url.clone(), reason };
    let verified =
        keyring::verify(&bytes, &signature, trusted, &Subject::Key).map_err(|reason| invalid(reason.to_string()))?;
    let text = std::str::from_utf8(verified.bytes()).map_err(|_| invalid("it is not UTF-8".to_owned()))?;
    let mut key = TrustedKey::new("", text).map_err(invalid)?;
    key.name = format!("successor-{}", key.id.number);
    let old = trusted.get(verified.signer()).ok_or_else(|| invalid(Invalid::UnknownKey.to_string()))?;
    check_successor(world, &url, old, &key)?;
    Ok(Some(Successor { key, old: old.id.clone() }))
}

/// Refuses a key that was removed, that looks like another one, or that breaks a chain of keys.
fn check_successor(world: &World, url: &str, old: &TrustedKey, new: &TrustedKey) -> Result<(), Error> {
    let invalid = |reason: String| Err(Error::Signature { what: url.to_owned(), reason });
    if keyring::removed(world)?.contains(&new.id.digest) {
        return Err(Error::Store {
            message: format!("{url} names the key {}, which you have removed", new.id.number),
            hint: "if you trust it again: coco key add FILE".to_owned(),
        });
    }
    let all = keyring::keys(world)?;
    let alike = |known: &&TrustedKey| known.name == new.name || known.id.number == new.id.number;
    if let Some(known) = all.iter().filter(alike).find(|known| known.id != new.id) {
        return invalid(format!("it names a key with the number of {}", known.name));
    }
    let rotations = KeyRotations::read(world)?;
    if let Some(next) = rotations.successor(&old.id, &all).filter(|next| next.id != new.id) {
        return invalid(format!("{} has named {} already", old.name, next.name));
    }
    // Otherwise whoever may sign for one store could cut another store's key off from the one that it follows.
    if let Some(other) = rotations.predecessor(&new.id).filter(|predecessor| **predecessor != old.id) {
        return invalid(format!("the key {} is the successor of {} already", new.id.number, other.number));
    }
    Ok(())
}
