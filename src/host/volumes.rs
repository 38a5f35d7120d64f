//! The layout of what coco keeps on disk for an engine's installations: one volume for each tool, the
//! shared runtimes, and the records about them. Paths are only spelled here; others open them.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::directories::Directories;
use crate::names::ToolName;
use crate::sys::hash::Digest;

/// Runtimes that tools share. No tool has this name: a tool's name has no leading dot.
const SHARED_RUNTIMES: &str = ".runtimes";

/// The cache of an installation.
const INSTALL_CACHE: &str = "install-cache";
/// The cache of all runs.
const SHARED_CACHE: &str = "cache";
/// The caches of runs in one project each: this, and digits of the project's digest.
const PROJECT_CACHE: &str = "cache-";
const CACHE_DIGITS: usize = 32;

/// The volumes of one engine: `$XDG_DATA_HOME/coco/volumes/ENGINE`. Each engine has its own, because
/// the owners of the files in it differ.
#[derive(Debug, Clone, Copy)]
pub struct Volumes<'a> {
    directories: &'a Directories,
    engine: &'static str,
}

impl<'a> Volumes<'a> {
    /// The volumes of the engine with this program.
    pub fn new(directories: &'a Directories, engine: &'static str) -> Self {
        Volumes { directories, engine }
    }

    /// The directory that holds all of them.
    pub fn root(&self) -> PathBuf {
        self.directories.volumes.join(self.engine)
    }

    /// A tool's own directory: its installations, caches and lock.
    pub fn tool(&self, tool: &ToolName) -> PathBuf {
        self.root().join(tool.as_str())
    }

    /// One installation of a tool.
    pub fn data(&self, tool: &ToolName, name: &DataName) -> PathBuf {
        self.tool(tool).join(name.as_str())
    }

    /// The cache of a tool's runs in all projects.
    pub fn shared_cache(&self, tool: &ToolName) -> PathBuf {
        self.tool(tool).join(SHARED_CACHE)
    }

    /// The cache of a tool's runs in one project: what a build leaves there decides what the next one does.
    pub fn cache_of(&self, tool: &ToolName, project: &Path) -> PathBuf {
        let digest = Digest::of(project.as_os_str().as_bytes()).to_string();
        self.tool(tool).join(format!("{PROJECT_CACHE}{}", digest.get(..CACHE_DIGITS).unwrap_or(&digest)))
    }

    /// What a tool's installer downloads.
    pub fn install_cache(&self, tool: &ToolName) -> PathBuf {
        self.tool(tool).join(INSTALL_CACHE)
    }

    /// The lock that an installation of a tool holds.
    pub fn install_lock(&self, tool: &ToolName) -> PathBuf {
        self.tool(tool).join("install.lock")
    }

    /// The runtimes of a tool that shares none.
    pub fn own_runtimes(&self, tool: &ToolName) -> PathBuf {
        self.tool(tool).join("runtimes")
    }

    /// The runtimes that tools share.
    pub fn shared_runtimes(&self) -> PathBuf {
        self.root().join(SHARED_RUNTIMES)
    }

    /// The lock that an installation of runtimes holds.
    pub fn runtimes_lock(&self) -> PathBuf {
        self.root().join(format!("{SHARED_RUNTIMES}.lock"))
    }

    /// Whether this is the name of a cache in a tool's own directory; all of them can be filled again.
    pub fn is_cache(name: &OsStr) -> bool {
        name == SHARED_CACHE || name == INSTALL_CACHE || name.as_bytes().starts_with(PROJECT_CACHE.as_bytes())
    }

    /// The record of a tool's installation: `$XDG_STATE_HOME/coco/installs/ENGINE/TOOL.json`.
    pub fn record(&self, tool: &ToolName) -> PathBuf {
        self.directories.state.join("installs").join(self.engine).join(format!("{tool}.json"))
    }
}

/// What the names of installations start with.
const DATA_PREFIX: &str = "data-";

/// The name of the directory of one installation, inside the tool's own. Each installation gets a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DataName(String);

impl DataName {
    /// The name of a new installation. Together, the time since 1970 in nanoseconds and the process make it unique.
    pub fn of_new(nanoseconds: u128, process: u32) -> DataName {
        DataName(format!("{DATA_PREFIX}{nanoseconds:x}-{process:x}"))
    }

    /// What is shown where there is no installation yet.
    pub fn placeholder() -> DataName {
        DataName(format!("{DATA_PREFIX}NEW"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DataName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Checks the name of a directory, from a record or from the file system.
impl TryFrom<String> for DataName {
    type Error = String;

    fn try_from(text: String) -> Result<DataName, String> {
        if text.starts_with(DATA_PREFIX) && !text.contains(['/', '\0']) {
            return Ok(DataName(text));
        }
        Err(format!("{text:?} is not the name of an installation's directory"))
    }
}

impl FromStr for DataName {
    type Err = String;

    fn from_str(text: &str) -> Result<DataName, String> {
        DataName::try_from(text.to_owned())
    }
}

impl From<DataName> for String {
    fn from(name: DataName) -> String {
        name.0
    }
}

/// What the installer of runtimes downloads, inside the directory of the runtimes.
pub fn download_cache(runtimes: &Path) -> PathBuf {
    runtimes.join("cache")
}

/// The file to which all runs write which hosts were reached and denied.
pub fn journal(directories: &Directories) -> PathBuf {
    directories.state.join("log").join("network.jsonl")
}

/// What a tool's last installation printed.
pub fn install_log(directories: &Directories, tool: &ToolName) -> PathBuf {
    directories.state.join("logs").join(format!("install-{tool}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_installation_is_one_directory() {
        for good in [DataName::of_new(255, 16), DataName::placeholder()] {
            assert_eq!(good.as_str().parse(), Ok(good));
        }
        assert_eq!(DataName::of_new(255, 16).as_str(), "data-ff-10");
        for bad in ["", "data", "cache", "../data-1", "data-1/..", "/data-1", "data-1\0"] {
            assert!(bad.parse::<DataName>().is_err(), "{bad:?}");
        }
    }
}
