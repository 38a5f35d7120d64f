//! Stores of coco files: the one inside this program, or one at an address. What comes from a store is verified before
//! it is used, and nothing goes back behind what was seen before.

pub mod bundled;
mod curl;
pub mod index;
pub mod keyring;
mod pins;
pub mod remote;
mod rollback;
pub mod rotation;
pub mod signature;

use crate::error::Error;
use crate::host::World;
use crate::names::{ToolName, nearest};
use crate::store::bundled::SignedFile;
use crate::store::curl::FetchError;
use crate::store::index::Index;
use crate::store::keyring::TrustedKey;
use crate::store::rollback::SeenRevisions;
use crate::term;

/// The name of the store inside this program.
pub const BUNDLED: &str = "the bundled store";

/// A store whose index was checked.
#[derive(Debug)]
pub struct Store {
    location: Location,
    index: Index,
    /// The key that signed the index. Its files have to be signed by the same one.
    key: TrustedKey,
}

#[derive(Debug, Clone)]
enum Location {
    Bundled,
    /// A URL without a slash at its end.
    At(String),
}

/// What is used when a store can't be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing: the user asked for this very store.
    None,
    /// The store inside this program.
    Bundled,
}

impl Store {
    /// The store inside this program. Its index may be older than one that was seen elsewhere; its files may not.
    pub fn bundled() -> Result<Store, Error> {
        Ok(Store { location: Location::Bundled, index: bundled::index()?, key: keyring::built_in()? })
    }

    /// The store at a URL, or the fallback where that can't be reached.
    pub fn open(world: &World, base: &str, fallback: Fallback) -> Result<Store, Error> {
        match (remote::fetch_index(world, base), fallback) {
            (Ok((index, key)), _) => Ok(Store { location: Location::At(base.to_owned()), index, key }),
            (Err(FetchError::Unreachable(reason)), Fallback::Bundled) => {
                term::note("warning", &format!("can't reach {base}: {reason}; using the bundled store"));
                Store::bundled()
            }
            (Err(failure), _) => Err(failure.into_error(base)),
        }
    }

    /// The key that signed its index.
    pub fn key(&self) -> &TrustedKey {
        &self.key
    }

    /// Its name for people and records.
    pub fn name(&self) -> &str {
        match &self.location {
            Location::Bundled => BUNDLED,
            Location::At(base) => base,
        }
    }

    /// A tool's coco file, checked against the index, against what was seen before, and against the file inside this
    /// program. Its revision is recorded as seen.
    pub fn coco_file(&self, world: &World, name: &ToolName) -> Result<SignedFile, Error> {
        let Some(entry) = self.index.entry(name) else {
            let nearest = nearest(name.as_str(), self.index.tools.iter().map(|entry| entry.name.as_str()));
            return Err(Error::NotInStore { name: name.to_string(), nearest: nearest.map(str::to_owned) });
        };
        let (signed, what) = match &self.location {
            Location::Bundled => (bundled::coco_file(name)?, format!("{name}.json in {BUNDLED}")),
            Location::At(base) => {
                (remote::fetch_coco_file(world, base, name, &self.key)?, format!("{base}/{name}.json"))
            }
        };
        let revision = signed.verified.revision();
        let refused = |reason: String| Err(Error::Rollback { what: what.clone(), reason });
        if revision != entry.revision {
            return refused(format!("it is revision {revision}, but the index lists revision {}", entry.revision));
        }
        // An older file than the one inside this program could undo a fix.
        if let Ok(own) = bundled::coco_file(name)
            && own.key == signed.key
            && own.verified.revision() > revision
        {
            let own = own.verified.revision();
            return refused(format!("it is revision {revision}, older than the bundled revision {own}"));
        }
        // Read again: another store with the same key may have written since.
        let mut seen = SeenRevisions::read(world, &self.key.id)?;
        seen.accept_file(&what, name, &signed.verified)?;
        seen.write()?;
        Ok(signed)
    }
}
