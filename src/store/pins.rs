//! Which key each store's address is pinned to: the one that signed its index first, and its successors.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::Error;
use crate::host::World;
use crate::store::keyring::{KeyId, TrustedKey};
use crate::sys::files::{read_json, write_json};
use crate::sys::hash::Digest;
use crate::term;

/// The largest record, in bytes.
const MAX_PINS: usize = 1 << 20;

/// The pinned keys.
#[derive(Debug, Clone, Default)]
pub struct Pins {
    path: PathBuf,
    /// A key's digest for each address.
    record: BTreeMap<String, Digest>,
}

impl Pins {
    /// Reads the record.
    pub fn read(world: &World) -> Result<Pins, Error> {
        let path = world.directories.state.join("store").join("addresses").join("keys.json");
        let record = read_json(&path, MAX_PINS, "remove it to forget which keys the stores had")?.unwrap_or_default();
        Ok(Pins { path, record })
    }

    /// The key that an address is pinned to, if it is still trusted.
    pub fn pinned_key<'keys>(&self, base: &str, trusted: &'keys [TrustedKey]) -> Option<&'keys TrustedKey> {
        let pinned = self.record.get(base)?;
        trusted.iter().find(|key| key.id.digest == *pinned)
    }

    /// The error for an index that another key than the pinned one has signed.
    pub fn refusal(&self, base: &str, key: &KeyId, pinned: &TrustedKey) -> Error {
        Error::Store {
            message: format!(
                "{base}/index.json is signed by the key {}, but was signed by {} before",
                key.number, pinned.name
            ),
            hint: format!(
                "ask the owner of the store; if it has a new owner, remove its line in {}",
                term::path(&self.path)
            ),
        }
    }

    /// Pins an address to a key from now on.
    pub fn pin(mut self, base: &str, key: &KeyId) -> Result<(), Error> {
        let before = self.record.insert(base.to_owned(), key.digest);
        if before.as_ref() == Some(&key.digest) { Ok(()) } else { write_json(&self.path, &self.record) }
    }
}
