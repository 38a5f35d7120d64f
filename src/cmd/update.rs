//! `coco update`: fetches newer coco files, and shows what they grant in addition and no longer.

use super::get::{self, lock};
use super::reported;
use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::config::{self, CocoFile};
use crate::error::Error;
use crate::host::World;
use crate::names::ToolName;
use crate::policy::permissions::{self, Difference, difference};
use crate::store::bundled::SignedFile;
use crate::store::keyring::{self, KeyId};
use crate::store::rotation::KeyRotations;
use crate::store::{BUNDLED, Store};
use crate::sys::hash::Digest;
use crate::tools::origin::{self, Origin, Source};
use crate::{explain, term, tools};

/// Updates the named tools, or all that were fetched from a store. One that fails does not stop the others.
pub fn update(world: &World, line: &Line) -> Result<u8, Error> {
    let names = tools::named_or_all(world, &line.operands)?;
    let _lock = lock(world)?;
    let mut failed = 0;
    let mut stores = Stores::default();
    for name in names {
        if let Err(error) = update_one(world, line, &name, &mut stores) {
            error.report();
            failed += 1;
        }
    }
    reported(failed)
}

/// The stores that were opened, or not, by the store that a file was fetched from.
#[derive(Default)]
struct Stores(Vec<(Option<String>, Option<Store>)>);

impl Stores {
    /// Opens each store once, also when that fails.
    fn open(&mut self, world: &World, line: &Line, name: &ToolName, source: Option<&str>) -> Result<&Store, Error> {
        if !self.0.iter().any(|(known, _)| known.as_deref() == source) {
            let (opened, failed) = match get::open(world, line, source) {
                Ok(opened) => (Some(opened), None),
                Err(error) => (None, Some(error)),
            };
            self.0.push((source.map(str::to_owned), opened));
            if let Some(error) = failed {
                return Err(error);
            }
        }
        let found = self.0.iter().find(|(known, _)| known.as_deref() == source);
        found.and_then(|(_, opened)| opened.as_ref()).ok_or_else(|| Error::Store {
            message: format!("{name} is not updated: its store failed, see the error above"),
            hint: "try again later".to_owned(),
        })
    }
}

/// The installed file, which an update has to fit.
struct Installed {
    /// Its revision; none where no trusted key has signed it.
    revision: Option<u64>,
    /// The digest of its key; none where that is not trusted any more.
    key: Option<Digest>,
}

/// The installed file, if it may be replaced. Where it is the user's own, that is printed.
fn installed(
    world: &World,
    line: &Line,
    name: &ToolName,
    old: &[u8],
    source: Option<&Source>,
) -> Result<Option<Installed>, Error> {
    let words = match (origin::origin(world, name, old)?, source) {
        (Origin::Store { revision, key }, _) => {
            return Ok(Some(Installed { revision: Some(revision), key: Some(key.digest) }));
        }
        (Origin::Modified(_), Some(source)) if !keyring::keys(world)?.iter().any(|key| key.id.digest == source.key) => {
            return Ok(Some(Installed { revision: None, key: None }));
        }
        (Origin::Modified(_), Some(source)) if line.has(Switch::Force) => {
            return Ok(Some(Installed { revision: None, key: Some(source.key) }));
        }
        // The signature of a changed file does not say which key it had.
        (Origin::Modified(_), None) if line.has(Switch::Force) => {
            return Err(Error::Store {
                message: format!("coco does not know which store {name} came from"),
                hint: format!(
                    "save a copy of your changes, remove {}, then run coco get {name}",
                    term::path(&tools::path(world, name))
                ),
            });
        }
        (Origin::Modified(_), _) => "changed by you, left as it is (--force replaces it and keeps a copy of yours)",
        // Without a name, only files of a store are meant.
        (Origin::Local, _) if line.operands.is_empty() => return Ok(None),
        (Origin::Local, _) => "your own, left as it is",
    };
    term::out(&format!("{name}: {words}\n"));
    Ok(None)
}

fn update_one(world: &World, line: &Line, name: &ToolName, stores: &mut Stores) -> Result<(), Error> {
    let old = tools::read(world, name)?;
    let source = origin::source(world, name);
    let Some(installed) = installed(world, line, name, &old, source.as_ref())? else { return Ok(()) };
    let source = source.as_ref().map(|source| source.store.as_str());
    let (signed, from) = fetch(world, line, name, &installed, stores.open(world, line, name, source)?, source)?;
    let Installed { revision, key } = installed;
    let next = signed.verified.revision();
    if revision.is_some_and(|revision| revision == next) && old == signed.verified.bytes() {
        term::out(&format!("{name}: up to date, revision {next}\n"));
        return Ok(());
    }
    if let Some(revision) = revision.filter(|revision| *revision >= next) {
        return Err(Error::Rollback {
            what: format!("{name}.json from {from}"),
            reason: format!("it is revision {next}, and yours is revision {revision}"),
        });
    }
    // A file that does not parse did not run, so it granted nothing. Nor did anything that no key has signed.
    let before = config::parse(&old).ok().filter(|_| key.is_some());
    agree(world, line, name, before.as_ref(), &signed)?;
    // The user may have taken long to answer.
    if tools::read(world, name)? != old {
        return Err(Error::usage(format!("{name} was changed meanwhile"), format!("run coco update {name} again")));
    }
    if revision.is_none() {
        let copy = origin::keep_copy(world, name)?;
        term::out(&format!("{name}: yours is kept as {}\n", term::path(&copy)));
    }
    origin::write(world, name, &signed, &from)?;
    let before = revision.map_or_else(|| "yours".to_owned(), |revision| format!("revision {revision}"));
    term::out(&format!("{name}: {before} -> revision {next}, from {from}\n"));
    Ok(())
}

/// The store's file for an installed one, and the name of that store. It has to be signed by the same key, or by a
/// successor of it.
fn fetch(
    world: &World,
    line: &Line,
    name: &ToolName,
    installed: &Installed,
    store: &Store,
    source: Option<&str>,
) -> Result<(SignedFile, String), Error> {
    // Only now: by opening the store, its next key may have become trusted.
    let rotations = KeyRotations::read(world)?;
    let fits = |now: &KeyId| {
        let same = |key: Digest| key == now.digest || rotations.is_successor_of(now.digest, key);
        installed.key.is_none_or(same)
    };
    let bundled;
    let store = if source == Some(BUNDLED) && line.value(Switch::From).is_none() && !fits(&store.key().id) {
        // A file of the bundled store is not updated by another store, even if that is the usual one.
        bundled = Store::bundled()?;
        &bundled
    } else {
        store
    };
    let signed = store.coco_file(world, name)?;
    if fits(&signed.key) {
        return Ok((signed, store.name().to_owned()));
    }
    Err(Error::Store {
        message: format!(
            "{name}.json from {} was signed by the key {}, but yours was signed by another one",
            store.name(),
            signed.key.number
        ),
        hint: format!("keep yours, or remove {} and coco get {name}", term::path(&tools::path(world, name))),
    })
}

/// Shows what changes, and asks the user where the new file grants more.
fn agree(
    world: &World,
    line: &Line,
    name: &ToolName,
    before: Option<&CocoFile>,
    signed: &SignedFile,
) -> Result<(), Error> {
    let Difference { added, removed } = match before {
        Some(before) => difference(name, before, &signed.file),
        None => Difference { added: permissions::grants(name, &signed.file), removed: Vec::new() },
    };
    term::out(&explain::changes(name, signed.verified.revision(), &added, &removed));
    if added.is_empty() || line.has(Switch::Yes) {
        return Ok(());
    }
    let terminals = world.terminals;
    // All three: nobody can agree to a difference that was written to a file.
    if terminals.stdin
        && terminals.stdout
        && terminals.stderr
        && term::ask(&format!("grant {name} what is marked with +?"))
    {
        return Ok(());
    }
    Err(Error::Widening { tool: name.to_string() })
}
