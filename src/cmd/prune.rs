//! `coco prune`: frees what can be fetched again.

use std::fs;
use std::path::{Path, PathBuf};

use super::print;
use crate::applet::Switch;
use crate::args::Line;
use crate::engine::{Engine, EngineKind};
use crate::error::Error;
use crate::facts::World;
use crate::install::{InUse, lock_unused, read_record, record_path};
use crate::names::ToolName;
use crate::prepare::{remove_replaced, size};
use crate::{term, tools};

/// Removes download caches and replaced installations; with `--all`, everything of tools that have
/// no coco file.
pub fn prune(world: &World, line: &Line) -> Result<u8, Error> {
    let mut freed = 0;
    for kind in EngineKind::ALL {
        let volumes = world.directories.volumes.join(kind.program());
        for name in tools_in(&volumes) {
            let own = volumes.join(name.as_str());
            let engine = Engine::new(*kind, PathBuf::new(), world.uid, None);
            let record = record_path(world, &engine, &name);
            if line.has(Switch::All) && !tools::path(world, &name).exists() {
                freed += remove_tool(&own, &name)?;
                if !own.exists() {
                    // Without its directory the record is invalid anyway.
                    let _ = fs::remove_file(&record);
                }
                continue;
            }
            for cache in ["install-cache", "cache", "runtimes/cache"] {
                freed += remove_unless_used(&own.join(cache), &name)?;
            }
            freed += remove_replaced(&own, &read_record(&record).unwrap_or_default());
        }
        freed += remove_unless_used(&volumes.join(".runtimes/cache"), "runtimes")?;
    }
    print(&format!("freed {:.1} MiB\n", f64::from(u32::try_from(freed >> 10).unwrap_or(u32::MAX)) / 1024.0))
}

fn tools_in(volumes: &Path) -> Vec<ToolName> {
    let entries = fs::read_dir(volumes).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<ToolName> =
        entries.filter_map(|entry| ToolName::new(entry.file_name().to_str()?).ok()).collect();
    names.sort();
    names
}

/// Removes a directory unless some process uses it; gives the bytes that came free.
fn remove_unless_used(path: &Path, name: impl std::fmt::Display) -> Result<u64, Error> {
    if path.symlink_metadata().is_err() {
        return Ok(0);
    }
    let Ok(_lock) = lock_unused(path) else { return skip(name) };
    let bytes = size(path);
    fs::remove_dir_all(path).map_err(Error::io("remove", path))?;
    Ok(bytes)
}

/// Removes a tool's own directory unless a process uses something in it. The names in it are
/// coco's; what lies deeper is the tool's, and no lock.
fn remove_tool(own: &Path, name: &ToolName) -> Result<u64, Error> {
    let children = fs::read_dir(own).into_iter().flatten().filter_map(Result::ok);
    let locks: Result<Vec<_>, InUse> = children.map(|entry| lock_unused(&entry.path())).collect();
    let Ok(_locks) = locks else { return skip(name) };
    remove_unless_used(own, name)
}

#[expect(clippy::unnecessary_wraps, reason = "the other end of two functions")]
fn skip(name: impl std::fmt::Display) -> Result<u64, Error> {
    term::say(&format!("skip: {name} is in use"));
    Ok(0)
}
