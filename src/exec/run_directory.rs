//! The private directory of one run (the control socket, and links for odd paths) or of an image build.

use std::fs;
use std::path::{Path, PathBuf};

use super::containers;
use super::engine::Client;
use crate::error::Error;
use crate::plan::{Plan, RunFile};
use crate::sys::files::{make_private, read_limited};
use crate::sys::lock::{Lock, lock_unused, make_in_use};
use crate::sys::xauthority;
use crate::term;

/// The largest Xauthority that is read, in bytes; a usual one has a few hundred.
const MAX_XAUTHORITY: usize = 1 << 20;
/// How old another process's directory must be before it counts as left behind, in seconds.
const MIN_SWEEP_AGE: u64 = 60;
/// How the directories of coco's own begin; a process's number follows. Nothing else is swept.
const DIRECTORY_PREFIXES: &[&str] = &["run-", "runtimes-", "tool-", "build-"];

/// The file by which a directory there is known as coco's, beside its name.
const MARK: &str = "of-coco";

/// A directory of one process among those of all: locked as long as it is used, removed when dropped.
#[derive(Debug)]
pub struct PrivateDirectory {
    path: PathBuf,
    _lock: Lock,
}

impl PrivateDirectory {
    /// Makes it, and removes what killed processes left beside it, and in the engine.
    pub fn make(path: &Path, client: Client<'_>) -> Result<Self, Error> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        make_private(parent)?;
        check_private(parent)?;
        let mut swept = sweep(parent);
        if path.symlink_metadata().is_ok() {
            // A process of the same number was killed; one in another PID namespace may still live.
            let Ok(_lock) = lock_unused(path) else {
                return Err(Error::Environment {
                    name: "XDG_RUNTIME_DIR",
                    message: format!("{} is in use by a process of the same number", term::path(path)),
                    hint: "give each container or PID namespace an XDG_RUNTIME_DIR of its own".to_owned(),
                });
            };
            if !is_marked(path) {
                return Err(Error::Environment {
                    name: "XDG_RUNTIME_DIR",
                    message: format!("{} is there, and coco did not make it", term::path(path)),
                    hint: "move it away, or set XDG_RUNTIME_DIR to another private directory".to_owned(),
                });
            }
            fs::remove_dir_all(path).map_err(Error::io("remove the leftover", path))?;
            swept = Swept::Runs;
        }
        // Only then: each question costs a start of the engine's client.
        if swept == Swept::Runs {
            containers::remove_orphaned_containers(client, parent, None);
        }
        let made = PrivateDirectory { path: path.to_owned(), _lock: make_in_use(path)? };
        let mark = path.join(MARK);
        fs::write(&mark, b"").map_err(Error::io("write", mark))?;
        Ok(made)
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        // It lies in a tmpfs or in /tmp; a leftover is removed by the next process of this number.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A run's own directory; removed when dropped.
pub struct RunDirectory {
    _directory: PrivateDirectory,
}

impl RunDirectory {
    /// Makes it, and what the plan puts into it.
    pub fn make(plan: &Plan) -> Result<Self, Error> {
        let path = &plan.run_directory;
        let made = RunDirectory { _directory: PrivateDirectory::make(path, Client::of_plan(plan))? };
        for file in &plan.run_files {
            match file {
                RunFile::Alias { name, target } => {
                    std::os::unix::fs::symlink(target, path.join(name))
                        .map_err(Error::io("create", path.join(name)))?;
                }
                RunFile::Directory { name } => make_private(&path.join(name))?,
                RunFile::Bytes { name, bytes } => {
                    // Not synced: it lives as long as the run.
                    fs::write(path.join(name), bytes).map_err(Error::io("write", path.join(name)))?;
                }
                RunFile::Xauthority { name, from, display } => {
                    let bytes = read_limited(from, MAX_XAUTHORITY).map_err(Error::io("read", from))?;
                    let private = xauthority::for_display(&bytes.unwrap_or_default(), display);
                    crate::sys::files::write_atomically(&path.join(name), &private)?;
                }
            }
        }
        Ok(made)
    }
}

/// What was swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Swept {
    /// Nothing that a killed coco has left.
    Nothing,
    /// Something; its engine may have been killed with it.
    Runs,
}

/// Removes what killed processes left behind: a living one holds a lock on its directory.
fn sweep(parent: &Path) -> Swept {
    let mut swept = Swept::Nothing;
    for entry in fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok) {
        let age =
            entry.metadata().ok().and_then(|metadata| metadata.modified().ok()?.elapsed().ok()).unwrap_or_default();
        if entry.file_name().to_str().is_some_and(is_own)
            && is_marked(&entry.path())
            && age.as_secs() > MIN_SWEEP_AGE
            && let Ok(Some(_lock)) = lock_unused(&entry.path())
        {
            // Another process may do the same just now.
            let _ = fs::remove_dir_all(entry.path());
            swept = Swept::Runs;
        }
    }
    swept
}

/// Whether a directory there may be removed: coco has made it, or nothing is in it, as in one whose coco was killed before
/// it was marked. Nothing is followed: a link is no mark.
fn is_marked(directory: &Path) -> bool {
    let is_directory = fs::symlink_metadata(directory).is_ok_and(|metadata| metadata.is_dir());
    let is_empty = || fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    is_directory && (fs::symlink_metadata(directory.join(MARK)).is_ok_and(|metadata| metadata.is_file()) || is_empty())
}

/// Whether a name is one that coco gives to a directory there.
fn is_own(name: &str) -> bool {
    DIRECTORY_PREFIXES.iter().any(|start| {
        name.strip_prefix(start).is_some_and(|number| {
            !number.is_empty() && number.len() <= 10 && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    })
}

fn check_private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::MetadataExt;
    for directory in
        [Some(path), path.parent().filter(|parent| parent.starts_with("/tmp") && *parent != Path::new("/tmp"))]
            .into_iter()
            .flatten()
    {
        let metadata = fs::symlink_metadata(directory).map_err(Error::io("look at", directory))?;
        let good =
            metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0;
        if !good {
            return Err(Error::Environment {
                name: "XDG_RUNTIME_DIR",
                message: format!("{} does not belong to you alone", term::path(directory)),
                hint: "set XDG_RUNTIME_DIR to a private directory".to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_cocos_own_is_known_by_its_name() {
        for own in ["run-1", "runtimes-4194304", "tool-77", "build-5"] {
            assert!(is_own(own), "{own}");
        }
        for foreign in ["", "run", "run-", "run-x", "run-1x", "run-1.d", "build-12345678901", "other-1", "arun-1"] {
            assert!(!is_own(foreign), "{foreign}");
        }
    }
}
