//! `coco get`: the moment when a stranger's permissions enter the machine.

use crate::applet::Switch;
use crate::args::Line;
use crate::error::Error;
use crate::facts::World;
use crate::fetch::{self, Failure, Shelf};
use crate::install::{Lock, lock_exclusive};
use crate::names::ToolName;
use crate::store::Signed;
use crate::{explain, term, tools};

use super::reported;

/// Fetches coco files; each stands or falls alone.
pub fn get(world: &World, line: &Line) -> Result<u8, Error> {
    let mut failed = 0;
    let mut names = Vec::new();
    for operand in &line.operands {
        match crate::tool_name(operand).and_then(|name| absent(world, &name).map(|()| name)) {
            Ok(name) => names.push(name),
            Err(error) => {
                error.report();
                failed += 1;
            }
        }
    }
    // A store is not asked for what can't be had.
    if !names.is_empty() {
        let _lock = lock(world)?;
        match Shelves::open(world, line, None) {
            Ok(mut shelves) => {
                for name in names {
                    if let Err(error) = get_one(world, &name, &mut shelves) {
                        error.report();
                        failed += 1;
                    }
                }
            }
            Err(error) => {
                error.report();
                failed += names.len();
            }
        }
    }
    reported(failed)
}

/// Only one coco changes coco files.
pub fn lock(world: &World) -> Result<Lock, Error> {
    lock_exclusive(&world.directories.tools.join(".lock"), || term::say("waiting for another coco that fetches"))
}

fn get_one(world: &World, name: &ToolName, shelves: &mut Shelves) -> Result<(), Error> {
    // Another coco may have fetched it while this one waited.
    absent(world, name)?;
    let path = tools::path(world, name);
    let (signed, from) = shelves.take(world, name)?;
    tools::write(world, name, &signed, &from)?;
    term::out(&format!(
        "{name}: from the {}, revision {}, written to {}\n",
        place(&from),
        signed.verified.revision(),
        term::path(&path)
    ));
    term::out(&explain::grants(&signed.file));
    Ok(())
}

/// Refuses what is there already.
fn absent(world: &World, name: &ToolName) -> Result<(), Error> {
    let path = tools::path(world, name);
    match path.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(_) => Err(Error::Exists {
            path,
            hint: format!("coco get never replaces a file; for a newer one: coco update {name}"),
        }),
    }
}

/// A store's name in a sentence that says "from the".
fn place(from: &str) -> String {
    if from == fetch::BUNDLED { from.to_owned() } else { format!("store at {from}") }
}

/// The store that was asked for and, behind it, the one inside this program.
pub struct Shelves {
    first: Shelf,
    fallback: Option<Shelf>,
}

impl Shelves {
    /// The one that was typed, where a file came from, the one of the environment, or the bundled one. A network
    /// failure alone leads from the first to the last.
    pub fn open(world: &World, line: &Line, came_from: Option<&str>) -> Result<Shelves, Error> {
        let typed = line.value(Switch::From);
        let only_bundled = line.has(Switch::Bundled) || world.is_on("COCO_OFFLINE") && typed.is_none();
        let base = match came_from.filter(|base| fetch::is_address(base) && typed.is_none()) {
            Some(base) => Some(base.to_owned()),
            None => fetch::base(world, typed)?,
        };
        let bundled = || Shelf::bundled(world);
        match base.filter(|_| !only_bundled) {
            None => Ok(Shelves { first: bundled()?, fallback: None }),
            Some(base) => match Shelf::at(world, &base) {
                Ok(first) => Ok(Shelves { first, fallback: Some(bundled()?) }),
                Err(failure) => {
                    unreachable(&base, failure)?;
                    Ok(Shelves { first: bundled()?, fallback: None })
                }
            },
        }
    }

    /// A tool's coco file, and where it is from.
    pub fn take(&mut self, world: &World, name: &ToolName) -> Result<(Signed, String), Error> {
        let from = self.first.name().to_owned();
        let signed = match (self.first.coco_file(world, name), &mut self.fallback) {
            (Ok(signed), _) => signed,
            (Err(failure), Some(bundled)) => {
                unreachable(&from, failure)?;
                let signed = bundled.coco_file(world, name).map_err(refusal)?;
                bundled.took(name, signed.verified.revision())?;
                return Ok((signed, bundled.name().to_owned()));
            }
            (Err(failure), None) => return Err(refusal(failure)),
        };
        self.first.took(name, signed.verified.revision())?;
        Ok((signed, from))
    }
}

/// Says that the network failed; whatever else failed is an error.
fn unreachable(base: &str, failure: Failure) -> Result<(), Error> {
    match failure {
        Failure::Network(reason) => {
            term::note("warning", &format!("{base} can't be reached: {reason}; using the bundled store"));
            Ok(())
        }
        Failure::Refused(error) => Err(error),
    }
}

fn refusal(failure: Failure) -> Error {
    match failure {
        Failure::Network(reason) => Error::Download { url: fetch::BUNDLED.to_owned(), reason },
        Failure::Refused(error) => error,
    }
}
