//! A store at an address: its index and its coco files. Nothing is used before its signature was checked.

use std::ffi::OsStr;

use crate::config::MAX_FILE;
use crate::error::Error;
use crate::host::World;
use crate::names::ToolName;
use crate::store::bundled::{self, SignedFile};
use crate::store::curl::{FetchError, download};
use crate::store::index::{Index, MAX_INDEX};
use crate::store::keyring::{self, TrustedKey};
use crate::store::pins::Pins;
use crate::store::rollback::SeenRevisions;
use crate::store::rotation::{KeyRotations, fetch_successor};
use crate::store::signature::{Invalid, MAX_SIGNATURE, Subject};
use crate::sys::time::{self, DAY};
use crate::term;

/// The URL of the store: the one that was typed, `COCO_STORE_BASE`, the one that was built in, or none.
pub fn base_url(world: &World, typed: Option<&OsStr>) -> Result<Option<String>, Error> {
    let (name, base) = if let Some(typed) = typed {
        ("--from", term::os(typed))
    } else {
        let set = world.text("COCO_STORE_BASE")?;
        ("COCO_STORE_BASE", set.or(option_env!("COCO_DEFAULT_STORE_BASE")).unwrap_or_default().to_owned())
    };
    if base.is_empty() && typed.is_none() {
        return Ok(None);
    }
    if is_store_url(&base) {
        return Ok(Some(base.trim_end_matches('/').to_owned()));
    }
    Err(Error::Environment {
        name,
        message: format!("{base:?} is not the address of a store"),
        hint: "write an https:// or file:/// address, for example https://store.example.com/coco".to_owned(),
    })
}

/// Whether a text can be the URL of a store: a host without a user's name or password, or a directory.
pub fn is_store_url(text: &str) -> bool {
    let start = match text.strip_prefix("https://") {
        Some(rest) => rest.split('/').next().filter(|host| !host.contains('@')),
        None => text.strip_prefix("file:///"),
    };
    start.is_some_and(|start| !start.is_empty())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\".contains(&byte))
        && text.len() <= 1024
}

/// Downloads and checks the index of a store; gives the key that signed it, too. A next key that the store's old one
/// has named is trusted from now on.
pub fn fetch_index(world: &World, base: &str) -> Result<(Index, TrustedKey), FetchError> {
    let url = format!("{base}/index.json");
    let bytes = download(world, &url, MAX_INDEX)?;
    let signature = download(world, &format!("{url}.minisig"), MAX_SIGNATURE)?;
    let mut trusted = keyring::keys(world)?;
    let mut checked = keyring::verify(&bytes, &signature, &trusted, &Subject::Index);
    if checked.as_ref().is_err_and(|reason| *reason == Invalid::UnknownKey) {
        let Some(successor) = fetch_successor(world, base, &trusted)? else {
            return Err(FetchError::Refused(Error::Store {
                message: format!("{url} was made by an unknown key"),
                hint: "if you trust the owner of this store, add the key that they gave you: coco key add FILE"
                    .to_owned(),
            }));
        };
        checked = keyring::verify(&bytes, &signature, std::slice::from_ref(&successor.key), &Subject::Index);
        if checked.is_ok() {
            successor.trust(world, base)?;
            // The first, as it was the only one that was tried.
            trusted.insert(0, successor.key);
        }
    }
    let invalid = |reason: Invalid| Error::Signature { what: url.clone(), reason: reason.to_string() };
    let verified = checked.map_err(invalid)?;
    let index = Index::parse(&verified).map_err(|error| Error::Config { file: url.clone().into(), error })?;
    let key = trusted.get(verified.signer()).cloned().ok_or_else(|| invalid(Invalid::UnknownKey))?;
    let mut seen = SeenRevisions::read(world, &key.id)?;
    seen.accept_index(&url, &verified)?;
    refuse_outdated(world, &url, &index, &key, &trusted)?;
    pin(world, base, &key, &trusted)?;
    warn_if_expired(base, &index, &seen);
    seen.write()?;
    Ok((index, key))
}

/// Downloads a coco file and its signature by this key.
pub fn fetch_coco_file(world: &World, base: &str, name: &ToolName, key: &TrustedKey) -> Result<SignedFile, Error> {
    let url = format!("{base}/{name}.json");
    // A store whose index was read is not one that can't be reached: there is no fallback any more.
    let fetch = |url: &str, limit| download(world, url, limit).map_err(|failure| failure.into_error(url));
    let bytes = fetch(&url, MAX_FILE)?;
    let signature = fetch(&format!("{url}.minisig"), MAX_SIGNATURE)?;
    bundled::verify_coco_file(name, &bytes, signature, std::slice::from_ref(key), &url)
}

/// Refuses an index that was replaced: by a newer one inside this program, or by a newer key.
fn refuse_outdated(
    world: &World,
    url: &str,
    index: &Index,
    key: &TrustedKey,
    trusted: &[TrustedKey],
) -> Result<(), Error> {
    let refused = |reason: String| Err(Error::Rollback { what: url.to_owned(), reason });
    if key.name == keyring::BUILT_IN {
        let own = bundled::index()?.revision;
        if own > index.revision {
            return refused(format!("it is revision {}, older than the bundled revision {own}", index.revision));
        }
    }
    // A key is often replaced because somebody else has it now.
    match KeyRotations::read(world)?.successor(&key.id, trusted) {
        Some(next) => refused(format!("it is signed by the key {}, which {} has replaced", key.id.number, next.name)),
        None => Ok(()),
    }
}

/// Pins an address to the key of its index. Another key than the pinned one has to be a successor of it: one who may
/// sign for a store of their own must not speak for another's.
fn pin(world: &World, base: &str, key: &TrustedKey, trusted: &[TrustedKey]) -> Result<(), FetchError> {
    let pins = Pins::read(world)?;
    let pinned = pins.pinned_key(base, trusted).filter(|pinned| pinned.id.digest != key.id.digest);
    if let Some(pinned) = pinned
        && !KeyRotations::read(world)?.is_successor_of(key.id.digest, pinned.id.digest)
    {
        // A successor that the user trusts already may have been named since.
        match fetch_successor(world, base, std::slice::from_ref(pinned)) {
            Ok(Some(successor)) if successor.key.id == key.id => successor.trust(world, base)?,
            _ => return Err(FetchError::Refused(pins.refusal(base, &key.id, pinned))),
        }
    }
    Ok(pins.pin(base, &key.id)?)
}

fn warn_if_expired(base: &str, index: &Index, seen: &SeenRevisions) {
    let now = time::now();
    if seen.clock_is_behind(now) {
        let words = "the system clock is more than a day behind the last check of this store; expiry not checked";
        term::note("warning", words);
    } else if time::day(&index.expires).is_none_or(|day| now / DAY > day) {
        let expired = &index.expires;
        let words = format!("{base}: the index expired on {expired}; updates may be held back, or your clock is wrong");
        term::note("warning", &words);
    }
}
