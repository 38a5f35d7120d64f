//! What image builds leave in an engine, how coco's own is known there, and its removal.

use std::os::unix::ffi::OsStrExt;

use super::{Stage, lock_path, read, record_path};
use crate::engine::image::ImageId;
use crate::engine::{Engine, EngineKind};
use crate::exec;
use crate::host::World;
use crate::sys::hash::Digest;
use crate::sys::lock::{Lock, lock_unused};

/// On an image: whose coco has made it. The value is [`owner`]'s.
pub const OWNER_LABEL: &str = "coco.owner";
/// The same on what a build leaves behind; the Containerfile sets it.
pub const SCRAP_LABEL: &str = "coco.scrap";

/// Several users may share an engine. Each has images of their own, known by the place of their records.
pub fn owner(world: &World) -> String {
    Digest::of(world.directories.state.as_os_str().as_bytes()).to_string().chars().take(16).collect()
}

/// Removes what docker keeps of the stage that only fetched something. podman is told to keep nothing.
pub fn remove_scrap(world: &World, engine: &Engine, stage: Stage) {
    if engine.kind == EngineKind::Docker && stage == Stage::Base {
        let filter = format!("--filter=label={SCRAP_LABEL}={}", owner(world));
        // What can't be removed now is met again by prune.
        let _ = exec::ask(engine, &["image", "prune", "--force", &filter]);
    }
}

/// Removes images of this user's coco that have no name and that no record has: those that a newer one has replaced, and
/// what builds have left. Gives how many; none while something is being built.
pub fn remove_unused(world: &World, engine: &Engine) -> usize {
    let locks: Result<Vec<Option<Lock>>, _> =
        Stage::ALL.iter().map(|stage| lock_unused(&lock_path(world, engine, *stage))).collect();
    let Ok(_locks) = locks else { return 0 };
    let recorded: Vec<ImageId> =
        Stage::ALL.iter().filter_map(|stage| Some(read(&record_path(world, engine, *stage))?.id)).collect();
    let mut removed = 0;
    for label in [OWNER_LABEL, SCRAP_LABEL] {
        let filter = format!("--filter=label={label}={}", owner(world));
        let asked = ["image", "ls", "--quiet", "--no-trunc", "--filter=dangling=true", &filter];
        let listed = exec::ask(engine, &asked).unwrap_or_default();
        for id in listed.lines().filter(|id| ImageId::parse(id).is_none_or(|id| !recorded.contains(&id))) {
            // One that a container or another image stands on stays.
            removed += usize::from(exec::ask(engine, &["image", "rm", id]).is_some());
        }
    }
    removed
}
