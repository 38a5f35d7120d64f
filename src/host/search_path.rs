//! Which program on the caller's `PATH` coco may run.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::World;
use super::project::{current_directory, project_of};
use crate::error::Error;
use crate::rules::host_paths::SYSTEM_PROGRAM_DIRECTORIES;
use crate::term;

/// The first trustworthy program of that name on the caller's `PATH`.
///
/// # Errors
/// The first one found is this very program.
pub fn search_path(world: &World, program: &str) -> Result<Option<PathBuf>, Error> {
    let path = world.variable("PATH").unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    let cwd = current_directory().unwrap_or_default();
    let project = project_of(&cwd);
    let own = fs::metadata(&world.program).map_err(Error::io("look at", &world.program))?;
    let is_projects = |path: &Path| {
        let in_project = path.starts_with(&project) && project != Path::new("/");
        in_project || path.components().any(|part| part.as_os_str() == "node_modules")
    };
    for entry in path.as_bytes().split(|byte| *byte == b':') {
        let directory = Path::new(OsStr::from_bytes(entry));
        let system = SYSTEM_PROGRAM_DIRECTORIES.iter().any(|known| directory == Path::new(known));
        let candidate = directory.join(program);
        // Either the directory or what its entry leads to may lie in the project.
        let (Ok(canonical), Ok(file)) = (fs::canonicalize(directory), fs::canonicalize(&candidate)) else { continue };
        if !directory.is_absolute() || (!system && (is_projects(&canonical) || is_projects(&file))) {
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

/// A program of the system's, whatever the caller's `PATH` says.
pub fn system_program(name: &str) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0);
    SYSTEM_PROGRAM_DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(is_program)
}
