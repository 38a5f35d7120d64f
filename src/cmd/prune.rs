//! `coco prune`: removes what can be downloaded again, and what coco left in an engine.

use std::fs;
use std::path::Path;

use super::reported;
use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::engine::EngineKind;
use crate::engine::discover::engine_of;
use crate::error::Error;
use crate::exec::{self, Client};
use crate::host::World;
use crate::host::volumes::{Volumes, download_cache};
use crate::install::image::Removed;
use crate::install::{image, remove_replaced, size};
use crate::names::ToolName;
use crate::plan::record::read_record;
use crate::sys::lock::{InUse, lock_unused};
use crate::sys::remove_tree::remove_tree;
use crate::{term, tools};

/// Removes download caches, replaced installations and what coco left in its engines; with `--all`, everything of tools
/// that have no coco file. What can't be removed is reported, and the rest goes on.
pub fn prune(world: &World, line: &Line) -> Result<u8, Error> {
    let mut tally = Tally::default();
    let used: Vec<EngineKind> = EngineKind::ALL.iter().copied().filter(|kind| is_used(world, *kind)).collect();
    for kind in &used {
        let volumes = kind.volumes(&world.directories);
        for name in tools_in(&volumes.root()) {
            let (own, record) = (volumes.tool(&name), volumes.record(&name));
            if line.has(Switch::All) && !tools::path(world, &name).exists() {
                tally.remove_tool(&own, &name);
                if !own.exists() {
                    // A record without its directory is not valid anyway.
                    let _ = fs::remove_file(&record);
                }
                continue;
            }
            // What is being installed is in no record yet.
            let Ok(_lock) = lock_unused(&volumes.install_lock(&name)) else {
                term::say(&format!("skip: {name} is being installed"));
                continue;
            };
            let caches = fs::read_dir(&own).into_iter().flatten().filter_map(Result::ok);
            for cache in caches.filter(|entry| Volumes::is_cache(&entry.file_name())) {
                tally.remove_unless_used(&cache.path(), name.as_str());
            }
            tally.remove_unless_used(&download_cache(&volumes.own_runtimes(&name)), name.as_str());
            let current = read_record(&record).and_then(|record| record.data);
            tally.freed += remove_replaced(&own, current.as_ref());
        }
        match lock_unused(&volumes.runtimes_lock()) {
            Ok(_lock) => tally.remove_unless_used(&download_cache(&volumes.shared_runtimes()), "runtimes"),
            Err(InUse) => term::say("skip: runtimes are being installed"),
        }
    }
    for kind in &used {
        if let Err(error) = remove_from_engine(world, *kind) {
            error.report();
            tally.failed += 1;
        }
    }
    let mebibytes = f64::from(u32::try_from(tally.freed >> 10).unwrap_or(u32::MAX)) / 1024.0;
    term::out(&format!("freed {mebibytes:.1} MiB\n"));
    reported(tally.failed)
}

/// Whether coco has installed or built anything with an engine.
fn is_used(world: &World, kind: EngineKind) -> bool {
    world.directories.volumes.join(kind.program()).exists() || !image::built(world, kind).is_empty()
}

/// What coco has left in an engine that it has used: containers of a start or a build that was killed, and images that
/// nothing uses.
fn remove_from_engine(world: &World, kind: EngineKind) -> Result<(), Error> {
    let Some(engine) = engine_of(world, kind)? else { return Ok(()) };
    let never_started = exec::remove_orphaned_containers(Client::of(&engine), &world.directories.runtime, None);
    let Removed { containers, images } = image::remove_unused(world, &engine);
    for (number, one, many) in [
        (never_started, "container that was never started", "containers that were never started"),
        (containers, "container of a build that was killed", "containers of builds that were killed"),
        (images, "image that nothing uses", "images that nothing uses"),
    ] {
        if number > 0 {
            let what = if number == 1 { one } else { many };
            term::say(&format!("removed from {}: {number} {what}", kind.program()));
        }
    }
    Ok(())
}

fn tools_in(volumes: &Path) -> Vec<ToolName> {
    let entries = fs::read_dir(volumes).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<ToolName> =
        entries.filter_map(|entry| ToolName::new(entry.file_name().to_str()?).ok()).collect();
    names.sort();
    names
}

/// What prune has done so far. A directory that can't be removed does not stop it.
#[derive(Debug, Default)]
struct Tally {
    freed: u64,
    failed: usize,
}

impl Tally {
    /// Removes a directory unless some process uses it.
    fn remove_unless_used(&mut self, path: &Path, name: &str) {
        if path.symlink_metadata().is_err() {
            return;
        }
        match lock_unused(path) {
            Ok(_lock) => self.remove(path),
            Err(InUse) => term::say(&format!("skip: {name} is in use")),
        }
    }

    /// Removes a tool's own directory unless a process uses something in it. The directories in it are
    /// coco's, and locked while they are used; what is deeper is the tool's.
    fn remove_tool(&mut self, own: &Path, name: &ToolName) {
        let children = fs::read_dir(own).into_iter().flatten().filter_map(Result::ok);
        let locks: Result<Vec<_>, InUse> = children.map(|entry| lock_unused(&entry.path())).collect();
        match locks {
            Ok(_locks) => self.remove(own),
            Err(InUse) => term::say(&format!("skip: {name} is in use")),
        }
    }

    fn remove(&mut self, path: &Path) {
        let before = size(path);
        let removed = remove_tree(path);
        self.freed += before.saturating_sub(size(path));
        if let Err(source) = removed {
            self.failed += 1;
            Error::Io { action: "remove", path: path.to_owned(), source }.report();
        }
    }
}
