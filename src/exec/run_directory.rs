//! The private directory of one run: the control socket, and links for odd paths.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::Error;
use crate::install::make_private;
use crate::plan::{Plan, RunFile};
use crate::{term, xauthority};

/// A run's own directory; removed when dropped.
pub struct RunDirectory<'a> {
    plan: &'a Plan,
}

impl<'a> RunDirectory<'a> {
    /// Makes it, and what the plan puts into it.
    pub fn make(plan: &'a Plan) -> Result<Self, Error> {
        let path = &plan.run_directory;
        let parent = path.parent().unwrap_or(Path::new("/"));
        make_private(parent)?;
        own_and_private(parent)?;
        // A process of the same number may have been killed; what it left is not reused.
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove the leftover", path)(error));
            }
            _ => {}
        }
        make_private(path)?;
        let made = RunDirectory { plan };
        for file in &plan.run_files {
            match file {
                RunFile::Alias { name, target } => {
                    std::os::unix::fs::symlink(target, path.join(name))
                        .map_err(Error::io("create", path.join(name)))?;
                }
                RunFile::Text { name, text } => {
                    // Not synced: it lives as long as the run.
                    fs::write(path.join(name), text).map_err(Error::io("write", path.join(name)))?;
                }
                RunFile::Xauthority { name, from, display } => {
                    let bytes = fs::read(from).map_err(Error::io("read", from))?;
                    let private = xauthority::for_display(&bytes, display);
                    crate::install::write_atomically(&path.join(name), &private)?;
                }
            }
        }
        Ok(made)
    }
}

impl Drop for RunDirectory<'_> {
    fn drop(&mut self) {
        // It lies in a tmpfs or in /tmp; a leftover is removed by the next process of this number.
        let _ = fs::remove_dir_all(&self.plan.run_directory);
    }
}

/// In /tmp another user could have made the directory first.
fn own_and_private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::MetadataExt;
    for directory in
        [Some(path), path.parent().filter(|parent| parent.starts_with("/tmp") && *parent != Path::new("/tmp"))]
            .into_iter()
            .flatten()
    {
        let metadata = fs::symlink_metadata(directory).map_err(Error::io("look at", directory))?;
        let good =
            metadata.is_dir() && metadata.uid() == nix::unistd::geteuid().as_raw() && metadata.mode() & 0o022 == 0;
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
