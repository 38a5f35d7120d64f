//! `coco get`: fetches coco files, by which somebody else's permissions come to this machine.

use super::reported;
use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::error::Error;
use crate::host::World;
use crate::names::ToolName;
use crate::store::{BUNDLED, Fallback, Store, remote};
use crate::sys::lock::{Lock, lock_exclusive};
use crate::term::progress::waiting;
use crate::tools::origin;
use crate::{explain, term, tools};

/// Fetches coco files. One that fails does not stop the others.
pub fn get(world: &World, line: &Line) -> Result<u8, Error> {
    let mut failed = 0;
    let mut names = Vec::new();
    for operand in &line.operands {
        match tools::tool_name(operand).and_then(|name| refuse_existing(world, &name).map(|()| name)) {
            Ok(name) => names.push(name),
            Err(error) => {
                error.report();
                failed += 1;
            }
        }
    }
    // Without a name that can be fetched, no store is asked.
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

fn get_one(world: &World, name: &ToolName, store: &Store) -> Result<(), Error> {
    // Another coco may have fetched it while this one waited.
    refuse_existing(world, name)?;
    let path = tools::path(world, name);
    let signed = store.coco_file(world, name)?;
    origin::write(world, name, &signed, store.name())?;
    term::out(&format!(
        "{name}: from {}, revision {}, written to {}\n",
        described(store),
        signed.verified.revision(),
        term::path(&path)
    ));
    term::out(&explain::grants(name, &signed.file));
    Ok(())
}

fn refuse_existing(world: &World, name: &ToolName) -> Result<(), Error> {
    let path = tools::path(world, name);
    match path.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(_) => Err(Error::Exists {
            path,
            hint: format!("coco get never replaces a file; to fetch a newer one: coco update {name}"),
        }),
    }
}

/// A store in a sentence. Of one at an address, the key is named too.
fn described(store: &Store) -> String {
    match store.name() {
        BUNDLED => BUNDLED.to_owned(),
        base => format!("the store at {base}, key {} {}", store.key().name, store.key().id.number),
    }
}

/// Waits for the lock that whoever changes coco files or keys takes.
pub fn lock(world: &World) -> Result<Lock, Error> {
    let words = "waiting for another coco that changes coco files or keys".to_owned();
    lock_exclusive(&world.directories.tools.join(".lock"), waiting(words))
}

/// The store to use: the one that was typed, the one that a file was fetched from, the one of the environment, or the
/// bundled one. The bundled one also replaces the environment's where that can't be reached.
pub fn open(world: &World, line: &Line, source: Option<&str>) -> Result<Store, Error> {
    let typed = line.value(Switch::From);
    if line.has(Switch::Bundled) {
        return match typed {
            None => Store::bundled(),
            Some(_) => Err(Error::usage("--bundled and --from name two stores", "use only one of them")),
        };
    }
    let usual = remote::base_url(world, None)?;
    let base = match (typed, source) {
        (Some(_), _) => remote::base_url(world, typed)?,
        (None, Some(source)) if remote::is_store_url(source) => Some(source.to_owned()),
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
