//! What image builds leave in an engine, how coco's own is known there, and its removal.

use std::os::unix::ffi::OsStrExt;

use super::{Stage, lock_path, read, record_path};
use crate::engine::image::ImageId;
use crate::engine::{Engine, EngineKind};
use crate::exec;
use crate::host::World;
use crate::plan::build_args::OWNER_LABEL;
use crate::sys::hash::Digest;
use crate::sys::lock::{Lock, lock_unused};

/// On what a build leaves behind: whose coco has made it. The Containerfile sets it to what [`OWNER_LABEL`] is on an image,
/// which is [`owner`]'s.
pub const SCRAP_LABEL: &str = "coco.scrap";

/// Several users may share an engine. Each has images of their own, known by the place of their records.
pub fn owner(world: &World) -> String {
    Digest::of(world.directories.state.as_os_str().as_bytes()).to_string().chars().take(16).collect()
}

/// What a stage stands on, under a name of coco's own while it is built. podman names a build's containers by it, so that
/// those of a build that was killed are known.
#[must_use]
pub struct Foundation<'a> {
    engine: &'a Engine,
    name: String,
}

impl<'a> Foundation<'a> {
    /// Names an image that podman has. Who calls holds the stage's lock: what an earlier build of it left is removed.
    ///
    /// # Errors
    /// What podman said.
    pub fn of(world: &World, engine: &'a Engine, stage: Stage, image: &str) -> Result<Foundation<'a>, String> {
        let name = foundation_name(world, stage);
        remove_abandoned(world, engine, stage);
        let answer = exec::answer(engine, &["image", "tag", image, &name]).map_err(|error| error.to_string())?;
        if answer.code == Some(0) { Ok(Foundation { engine, name }) } else { Err(answer.stderr) }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Foundation<'_> {
    fn drop(&mut self) {
        untag(self.engine, &self.name);
    }
}

fn foundation_name(world: &World, stage: Stage) -> String {
    format!("localhost/coco-build-{}-{}", owner(world), stage.name())
}

/// Takes a name from an image. Told no name to take, podman-untag(1) would take them all.
fn untag(engine: &Engine, name: &str) {
    // It may have none. The next build takes it, or prune does.
    let _ = exec::ask(engine, &["image", "untag", name, name]);
}

/// Removes the containers in which a killed build of a stage stopped; gives how many. docker removes its own.
fn remove_abandoned(world: &World, engine: &Engine, stage: Stage) -> usize {
    if engine.kind == EngineKind::Docker {
        return 0;
    }
    let name = foundation_name(world, stage);
    let start = format!("{}-working-container", name.trim_start_matches("localhost/"));
    let listed = exec::ask(engine, &["ps", "--all", "--external", "--no-trunc", "--format={{.ID}} {{.Names}}"]);
    let listed = listed.unwrap_or_default();
    let abandoned = listed.lines().filter_map(|line| line.split_once(' ')).filter(|(_, name)| name.starts_with(&start));
    abandoned.filter(|(id, _)| exec::ask(engine, &["rm", "--force", id]).is_some()).count()
}

/// What was removed from an engine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Removed {
    /// Containers.
    pub containers: usize,
    /// Images.
    pub images: usize,
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
/// what builds have left; and the containers of killed builds. Nothing while something is being built.
pub fn remove_unused(world: &World, engine: &Engine) -> Removed {
    let mut removed = Removed::default();
    let locks: Result<Vec<Option<Lock>>, _> =
        Stage::ALL.iter().map(|stage| lock_unused(&lock_path(world, engine.kind, *stage))).collect();
    let Ok(_locks) = locks else { return removed };
    for stage in Stage::ALL.iter().filter(|_| engine.kind == EngineKind::Podman) {
        removed.containers += remove_abandoned(world, engine, *stage);
        untag(engine, &foundation_name(world, *stage));
    }
    let recorded: Vec<ImageId> =
        Stage::ALL.iter().filter_map(|stage| Some(read(&record_path(world, engine.kind, *stage))?.id)).collect();
    for label in [OWNER_LABEL, SCRAP_LABEL] {
        let filter = format!("--filter=label={label}={}", owner(world));
        let asked = ["image", "ls", "--quiet", "--no-trunc", "--filter=dangling=true", &filter];
        let listed = exec::ask(engine, &asked).unwrap_or_default();
        for id in listed.lines().filter(|id| ImageId::parse(id).is_none_or(|id| !recorded.contains(&id))) {
            // One that a container or another image stands on stays.
            removed.images += usize::from(exec::ask(engine, &["image", "rm", id]).is_some());
        }
    }
    removed
}
