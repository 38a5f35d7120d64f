//! Which program on the caller's `PATH` coco may run.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::World;
use super::project::{current_directory, project_of, projects_of};
use crate::error::Error;
use crate::rules::host_paths::SYSTEM_PROGRAM_DIRECTORIES;
use crate::term;

/// The first trustworthy program of that name on the caller's `PATH`.
///
/// # Errors
/// The first one found is this very program.
pub fn search_path(world: &World, program: &str) -> Result<Option<PathBuf>, Error> {
    let own = fs::metadata(&world.program).map_err(Error::io("look at", &world.program))?;
    let cwd = current_directory().unwrap_or_default();
    for directory in trusted_directories(world, &cwd) {
        let candidate = directory.join(program);
        // What an entry leads to may lie in the project, though its directory does not.
        let Ok(file) = fs::canonicalize(&candidate) else { continue };
        if !is_system(&directory) && is_a_projects(world, &cwd, &file) {
            continue;
        }
        let Ok(metadata) = fs::metadata(&candidate) else { continue };
        if !metadata.is_file() || metadata.mode() & 0o111 == 0 {
            continue;
        }
        if (metadata.dev(), metadata.ino()) == (own.dev(), own.ino()) {
            return Err(Error::Recursion { name: term::path(&candidate) });
        }
        return Ok(Some(candidate));
    }
    Ok(None)
}

/// The caller's `PATH` for a program that looks for others in it: the trustworthy directories in the caller's order; the
/// system's where there are none, because an empty `PATH` may mean the current directory.
pub fn trusted_path(world: &World) -> OsString {
    let mut directories = trusted_directories(world, &current_directory().unwrap_or_default());
    if directories.is_empty() {
        directories = SYSTEM_PROGRAM_DIRECTORIES.iter().map(PathBuf::from).collect();
    }
    let mut path = OsString::new();
    for (position, directory) in directories.iter().enumerate() {
        if position > 0 {
            path.push(":");
        }
        path.push(directory);
    }
    path
}

/// The directories of the caller's `PATH` that no project controls: absolute, outside of all projects, of no package.
fn trusted_directories(world: &World, cwd: &Path) -> Vec<PathBuf> {
    let path = world.variable("PATH").unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    let entries = path.as_bytes().split(|byte| *byte == b':').map(|entry| Path::new(OsStr::from_bytes(entry)));
    let trusted = entries.filter(|entry| {
        let is_projects = || fs::canonicalize(entry).map_or(true, |place| is_a_projects(world, cwd, &place));
        entry.is_absolute() && (is_system(entry) || !is_projects())
    });
    trusted.map(Path::to_owned).collect()
}

fn is_system(directory: &Path) -> bool {
    SYSTEM_PROGRAM_DIRECTORIES.iter().any(|known| directory == Path::new(known))
}

/// Whether a file or directory lies in a project that the caller works in, or in somebody's package.
fn is_a_projects(world: &World, cwd: &Path, path: &Path) -> bool {
    let nearest = project_of(cwd);
    let mut projects = projects_of(world, cwd).chain([nearest.as_path()]);
    projects.any(|project| project != Path::new("/") && path.starts_with(project))
        || path.components().any(|part| part.as_os_str() == "node_modules")
}

/// A program of the system's, whatever the caller's `PATH` says.
pub fn system_program(name: &str) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0);
    SYSTEM_PROGRAM_DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(is_program)
}
