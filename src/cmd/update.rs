//! `coco update`: newer coco files, and what they grant more and less.

use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::config::{self, CocoFile};
use crate::error::Error;
use crate::host::World;
use crate::names::ToolName;
use crate::policy::permissions::{Difference, difference};
use crate::store::bundled::SignedFile;
use crate::store::keyring::{self, KeyId};
use crate::store::rotation::KeyRotations;
use crate::store::{BUNDLED, Store};
use crate::tools::{self, CameFrom, Origin};
use crate::{explain, term};

use super::get::{self, lock};
use super::reported;

/// Updates the named tools, or all that came from a store; each stands or falls alone.
pub fn update(world: &World, line: &Line) -> Result<u8, Error> {
    let names = tools::named_or_all(world, &line.operands)?;
    let _lock = lock(world)?;
    let mut failed = 0;
    let mut open = Open::default();
    for name in names {
        if let Err(error) = update_one(world, line, &name, &mut open) {
            error.report();
            failed += 1;
        }
    }
    reported(failed)
}

/// The stores that were asked already, by where a file came from.
#[derive(Default)]
struct Open(Vec<(Option<String>, Option<Store>)>);

impl Open {
    /// Asks each store once, also when it fails.
    fn store(&mut self, world: &World, line: &Line, name: &ToolName, from: Option<&str>) -> Result<&Store, Error> {
        if !self.0.iter().any(|(known, _)| known.as_deref() == from) {
            let (opened, failed) = match get::open(world, line, from) {
                Ok(opened) => (Some(opened), None),
                Err(error) => (None, Some(error)),
            };
            self.0.push((from.map(str::to_owned), opened));
            if let Some(error) = failed {
                return Err(error);
            }
        }
        let found = self.0.iter().find(|(known, _)| known.as_deref() == from);
        found.and_then(|(_, opened)| opened.as_ref()).ok_or_else(|| Error::Store {
            message: format!("{name} is not updated: what its store did is told above"),
            hint: "try again later".to_owned(),
        })
    }
}

/// What an update has to fit.
struct Held {
    /// The revision of the file that is there; none where nobody vouches for it.
    revision: Option<u64>,
    /// The digest of its key; none where the user no longer trusts that.
    key: Option<String>,
}

/// What holds the file that is there; `None` where it is the user's own, which is then said.
fn held(
    world: &World,
    line: &Line,
    name: &ToolName,
    old: &[u8],
    came_from: Option<&CameFrom>,
) -> Result<Option<Held>, Error> {
    let words = match (tools::origin(world, name, old)?, came_from) {
        (Origin::Store { revision, key }, _) => {
            return Ok(Some(Held { revision: Some(revision), key: Some(key.digest) }));
        }
        (Origin::Modified(_), Some(from)) if !keyring::keys(world)?.iter().any(|key| key.id.digest == from.key) => {
            return Ok(Some(Held { revision: None, key: None }));
        }
        (Origin::Modified(_), Some(from)) if line.has(Switch::Force) => {
            return Ok(Some(Held { revision: None, key: Some(from.key.clone()) }));
        }
        // Whose it was has to be known: what the user has changed has no signature that holds.
        (Origin::Modified(_), None) if line.has(Switch::Force) => {
            return Err(Error::Store {
                message: format!("it is not known which store {name} came from"),
                hint: format!(
                    "keep your changes, remove {}, and coco get {name}",
                    term::path(&tools::path(world, name))
                ),
            });
        }
        (Origin::Modified(_), _) => "changed by you, left as it is (--force takes the store's and keeps yours)",
        // Without a name, only what has a store is meant.
        (Origin::Local, _) if line.operands.is_empty() => return Ok(None),
        (Origin::Local, _) => "your own, left as it is",
    };
    term::out(&format!("{name}: {words}\n"));
    Ok(None)
}

fn update_one(world: &World, line: &Line, name: &ToolName, open: &mut Open) -> Result<(), Error> {
    let old = tools::read(world, name)?;
    let came_from = tools::came_from(world, name);
    let Some(Held { revision, key }) = held(world, line, name, &old, came_from.as_ref())? else { return Ok(()) };
    let store = came_from.as_ref().map(|from| from.store.as_str());
    let mut shelf = open.store(world, line, name, store)?;
    // Only now: the store may have named its next key.
    let rotations = KeyRotations::read(world)?;
    let fits =
        |now: &KeyId| key.as_ref().is_none_or(|key| *key == now.digest || rotations.is_successor_of(&now.digest, key));
    let bundled;
    // What came with this program is not another store's to update, whichever is the usual one.
    if store == Some(BUNDLED) && line.value(Switch::From).is_none() && !fits(&shelf.key().id) {
        bundled = Store::bundled()?;
        shelf = &bundled;
    }
    let (signed, from) = (shelf.coco_file(world, name)?, shelf.name());
    if !fits(&signed.key) {
        return Err(Error::Store {
            message: format!(
                "{name}.json from {from} was made by the key {}, and yours came from another one",
                signed.key.number
            ),
            hint: format!("keep yours, or remove {} and coco get {name}", term::path(&tools::path(world, name))),
        });
    }
    let next = signed.verified.revision();
    if revision.is_some_and(|revision| revision == next) && old == signed.verified.bytes() {
        term::out(&format!("{name}: up to date, revision {next}\n"));
        return Ok(());
    }
    if let Some(revision) = revision.filter(|revision| *revision >= next) {
        return Err(Error::Rollback {
            what: format!("{name}.json from {from}"),
            reason: format!("it is revision {next}, and yours is {revision}"),
        });
    }
    // What no longer parses granted nothing: it did not run. Nor does anybody vouch for what nobody signed.
    let before = config::parse(&old).ok().filter(|_| key.is_some());
    agree(world, line, name, before.as_ref(), &signed)?;
    // The question may have stood for long.
    if tools::read(world, name)? != old {
        return Err(Error::usage(format!("{name} was changed in the meantime"), format!("coco update {name}")));
    }
    if revision.is_none() {
        let kept = tools::set_aside(world, name)?;
        term::out(&format!("{name}: yours is kept as {}\n", term::path(&kept)));
    }
    tools::write(world, name, &signed, from)?;
    let shown = revision.map_or_else(|| "yours".to_owned(), |revision| format!("revision {revision}"));
    term::out(&format!("{name}: {shown} -> revision {next}, from {from}\n"));
    Ok(())
}

/// Shows what changes, and asks where more is granted.
fn agree(
    world: &World,
    line: &Line,
    name: &ToolName,
    before: Option<&CocoFile>,
    signed: &SignedFile,
) -> Result<(), Error> {
    let Difference { added, removed } = match before {
        Some(before) => difference(name, before, &signed.file),
        None => Difference { added: crate::policy::permissions::grants(name, &signed.file), removed: Vec::new() },
    };
    term::out(&explain::changes(name, signed.verified.revision(), &added, &removed));
    if added.is_empty() || line.has(Switch::Yes) {
        return Ok(());
    }
    let terminals = world.terminals;
    // All three: nobody agrees to a difference that went into a file.
    if terminals.stdin
        && terminals.stdout
        && terminals.stderr
        && term::ask(&format!("grant {name} what is marked with +?"))
    {
        return Ok(());
    }
    Err(Error::Widening { tool: name.to_string() })
}
