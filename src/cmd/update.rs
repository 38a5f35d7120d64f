//! `coco update`: newer coco files, and what they grant more and less.

use crate::applet::Switch;
use crate::args::Line;
use crate::config::{self, CocoFile};
use crate::error::Error;
use crate::facts::World;
use crate::fetch::Shelf;
use crate::grants::{Difference, difference};
use crate::names::ToolName;
use crate::store::Signed;
use crate::tools::{self, Origin};
use crate::{explain, term, trust};

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
struct Open(Vec<(Option<String>, Shelf)>);

impl Open {
    fn store(&mut self, world: &World, line: &Line, came_from: Option<String>) -> Result<&Shelf, Error> {
        let position = if let Some(position) = self.0.iter().position(|(known, _)| *known == came_from) {
            position
        } else {
            let opened = get::open(world, line, came_from.as_deref())?;
            self.0.push((came_from, opened));
            self.0.len() - 1
        };
        let missing = || Error::usage("the store was lost", "try again");
        self.0.get(position).map(|(_, opened)| opened).ok_or_else(missing)
    }
}

fn update_one(world: &World, line: &Line, name: &ToolName, open: &mut Open) -> Result<(), Error> {
    let old = tools::read(world, name)?;
    let came_from = tools::came_from(world, name);
    let (revision, key) = match tools::origin(world, name, &old)? {
        Origin::Local => {
            // Without a name, only what has a store is meant.
            if !line.operands.is_empty() {
                term::out(&format!("{name}: your own, left as it is\n"));
            }
            return Ok(());
        }
        Origin::Modified(_) if !line.has(Switch::Force) => {
            term::out(&format!("{name}: changed by you, left as it is (--force takes the store's and keeps yours)\n"));
            return Ok(());
        }
        // Whose it was has to be known: what the user has changed has no signature that holds.
        Origin::Modified(_) => match &came_from {
            Some(from) => (None, from.key.clone()),
            None => {
                return Err(Error::usage(
                    format!("it is not known which store {name} came from"),
                    format!("keep your changes, remove the file, and coco get {name}"),
                ));
            }
        },
        Origin::Store { revision, key } => (Some(revision), key.digest),
    };
    let shelf = open.store(world, line, came_from.map(|from| from.store))?;
    let (signed, from) = (shelf.coco_file(world, name)?, shelf.name());
    if key != signed.key.digest && !trust::succeeds(world, &key, &signed.key.digest)? {
        return Err(Error::Signature {
            what: format!("{name}.json from {from}"),
            reason: format!("it was made by the key {}, and yours came from another one", signed.key.number),
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
    // What no longer parses granted nothing: it did not run.
    let before = config::parse(&old).ok();
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
fn agree(world: &World, line: &Line, name: &ToolName, before: Option<&CocoFile>, signed: &Signed) -> Result<(), Error> {
    let Difference { added, removed } = match before {
        Some(before) => difference(name, before, &signed.file),
        None => Difference { added: crate::grants::grants(name, &signed.file), removed: Vec::new() },
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
