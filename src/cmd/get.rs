//! `coco get`: the moment when a stranger's permissions enter the machine.

use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::error::Error;
use crate::host::World;
use crate::names::ToolName;
use crate::store::{BUNDLED, Fallback, Store, remote};
use crate::sys::lock::{Lock, lock_exclusive};
use crate::{explain, term, tools};

use super::reported;

/// Fetches coco files; each stands or falls alone.
pub fn get(world: &World, line: &Line) -> Result<u8, Error> {
    let mut failed = 0;
    let mut names = Vec::new();
    for operand in &line.operands {
        match crate::tools::tool_name(operand).and_then(|name| absent(world, &name).map(|()| name)) {
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
        match open(world, line, None) {
            Ok(store) => {
                for name in names {
                    if let Err(error) = get_one(world, &name, &store) {
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
    lock_exclusive(&world.directories.tools.join(".lock"), || {
        term::say("waiting for another coco that changes coco files or keys");
    })
}

fn get_one(world: &World, name: &ToolName, store: &Store) -> Result<(), Error> {
    // Another coco may have fetched it while this one waited.
    absent(world, name)?;
    let path = tools::path(world, name);
    let signed = store.coco_file(world, name)?;
    tools::write(world, name, &signed, store.name())?;
    term::out(&format!(
        "{name}: from {}, revision {}, written to {}\n",
        place(store),
        signed.verified.revision(),
        term::path(&path)
    ));
    term::out(&explain::grants(name, &signed.file));
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

/// A store in a sentence, with whose it is: of the bundled one everybody knows.
fn place(store: &Store) -> String {
    match store.name() {
        BUNDLED => BUNDLED.to_owned(),
        base => format!("the store at {base}, key {} {}", store.key().name, store.key().id.number),
    }
}

/// The store that is meant: the one that was typed, where a file came from, the one of the environment, or the
/// bundled one. That one serves in the place of the environment's where it can't be reached.
pub fn open(world: &World, line: &Line, came_from: Option<&str>) -> Result<Store, Error> {
    let typed = line.value(Switch::From);
    if line.has(Switch::Bundled) {
        return match typed {
            None => Store::bundled(),
            Some(_) => Err(Error::usage("--bundled and --from are two stores", "name one of them")),
        };
    }
    let usual = remote::base_url(world, None)?;
    let base = match (typed, came_from) {
        (Some(_), _) => remote::base_url(world, typed)?,
        (None, Some(address)) if remote::is_store_url(address) => Some(address.to_owned()),
        (None, _) => usual.clone(),
    };
    let Some(base) = base else { return Store::bundled() };
    let fallback = if typed.is_none() && usual.as_ref() == Some(&base) { Fallback::Bundled } else { Fallback::None };
    match (world.is_on("COCO_OFFLINE"), fallback) {
        (true, Fallback::Bundled) => Store::bundled(),
        (true, Fallback::None) if base.starts_with("https:") => {
            Err(Error::Download { url: base, reason: "COCO_OFFLINE is set".to_owned() })
        }
        _ => Store::open(world, &base, fallback),
    }
}
