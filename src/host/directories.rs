//! Where coco keeps its files, and that no project brings them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use super::World;
use super::project::projects_of;
use crate::error::Error;
use crate::term;

/// Where coco keeps its files.
#[derive(Debug, Clone)]
pub struct Directories {
    /// Coco files: `$XDG_DATA_HOME/coco/tools`.
    pub tools: PathBuf,
    /// Consent: `$XDG_CONFIG_HOME/coco`.
    pub config: PathBuf,
    /// Records and logs: `$XDG_STATE_HOME/coco`.
    pub state: PathBuf,
    /// Installations and caches: `$XDG_DATA_HOME/coco/volumes`.
    pub volumes: PathBuf,
    /// Links: `$COCO_BIN_DIR` or `~/.local/bin`.
    pub bin: PathBuf,
    /// Sockets of running tools: `$XDG_RUNTIME_DIR/coco` or `/tmp/coco-UID`.
    pub runtime: PathBuf,
}

impl Directories {
    /// All that are coco's own alone.
    pub fn own(&self) -> [&PathBuf; 6] {
        [&self.tools, &self.volumes, &self.config, &self.state, &self.bin, &self.runtime]
    }
}

/// Where they are, by the environment and home.
pub fn directories(variables: &BTreeMap<OsString, OsString>, home: &Path, uid: u32) -> Directories {
    // The XDG base directory specification: a relative path is invalid and counts as unset.
    let base = |name: &str, fallback: PathBuf| {
        variables.get(OsStr::new(name)).map(PathBuf::from).filter(|path| path.is_absolute()).unwrap_or(fallback)
    };
    let data = base("XDG_DATA_HOME", home.join(".local/share")).join("coco");
    Directories {
        tools: data.join("tools"),
        volumes: data.join("volumes"),
        config: base("XDG_CONFIG_HOME", home.join(".config")).join("coco"),
        state: base("XDG_STATE_HOME", home.join(".local/state")).join("coco"),
        bin: base("COCO_BIN_DIR", home.join(".local/bin")),
        runtime: base("XDG_RUNTIME_DIR", PathBuf::from(format!("/tmp/coco-{uid}"))).join("coco"),
    }
}

/// Refuses directories of coco's own that lie in a project that the caller works in: a project's `.env`
/// could name them by the XDG variables, and bring coco files and consent of its own.
///
/// # Errors
/// [`Error::Environment`] names the directory and the project.
pub fn check_outside_projects(world: &World, cwd: &Path) -> Result<(), Error> {
    let own = &world.directories;
    for project in projects_of(world, cwd) {
        for directory in [&own.tools, &own.volumes, &own.config, &own.state, &own.runtime] {
            let resolved = fs::canonicalize(directory).unwrap_or_else(|_| directory.clone());
            if resolved.starts_with(project) || directory.starts_with(project) {
                return Err(Error::Environment {
                    name: "XDG_DATA_HOME, XDG_CONFIG_HOME, XDG_STATE_HOME or XDG_RUNTIME_DIR",
                    message: format!(
                        "coco's own {} lies in the project {}",
                        term::path(directory),
                        term::path(project)
                    ),
                    hint: "unset the variable, or start the tool elsewhere: a project may not bring coco files"
                        .to_owned(),
                });
            }
        }
    }
    Ok(())
}
