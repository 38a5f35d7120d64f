//! The host's side of a mount: where a path of a coco file leads, and what is there.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;

use crate::config::MountSource;
use crate::error::Error;
use crate::host::World;

/// The host's side of one mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As it stands in the coco file, made absolute.
    pub asked: PathBuf,
    /// With every symbolic link resolved. For what is missing: its resolved parent and the rest.
    pub canonical: PathBuf,
    /// What is there.
    pub kind: SourceKind,
    /// Which file or directory it is; `None` for what is missing.
    pub identity: Option<Identity>,
}

/// A file's or directory's device and inode number. Init compares it with what it finds
/// mounted: between the decision and the mount, another running tool may have put a link there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// `st_dev`, inode(7).
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

/// What a mount's source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Nothing.
    Missing,
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A socket: whoever connects is served by what is behind it.
    Socket,
    /// A device, a pipe.
    Special,
}

/// Looks up a mount's source.
///
/// # Errors
/// A source that can't be looked at, or a link that leads nowhere.
pub fn source(world: &World, source: &MountSource, cwd: &Path, project: &Path) -> Result<Source, Error> {
    let asked = match source {
        MountSource::CurrentDirectory => cwd.to_owned(),
        MountSource::Project => project.to_owned(),
        MountSource::Home(None) => world.home.clone(),
        MountSource::Home(Some(path)) => world.home.join(path.as_str()),
        MountSource::Absolute(path) => PathBuf::from(path),
    };
    // Opened once, so that path and identity are of the same thing: the kernel says where it is.
    match File::options().read(true).custom_flags(OFlags::PATH.bits().cast_signed()).open(&asked) {
        Ok(file) => {
            let metadata = file.metadata().map_err(Error::io("look at", &asked))?;
            let link = format!("/proc/self/fd/{}", file.as_raw_fd());
            let canonical = fs::read_link(link).map_err(Error::io("resolve the mount source", &asked))?;
            let kind = match (metadata.is_dir(), metadata.is_file(), metadata.file_type().is_socket()) {
                (true, _, _) => SourceKind::Directory,
                (_, true, _) => SourceKind::File,
                (_, _, true) => SourceKind::Socket,
                _ => SourceKind::Special,
            };
            let identity = Some(Identity { device: metadata.dev(), inode: metadata.ino() });
            Ok(Source { asked, canonical, kind, identity })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => missing(&asked),
        Err(error) => Err(Error::Io { action: "resolve the mount source", path: asked, source: error }),
    }
}

/// What is missing is resolved as far as it exists, so that a link above it can't hide where it
/// would be created. A dangling link is an error: creating its target is not what was asked for.
fn missing(asked: &Path) -> Result<Source, Error> {
    let dangling = |path: &Path| Error::Mount {
        path: path.to_owned(),
        reason: "it is a link that leads nowhere".to_owned(),
        hint: "remove the link or create what it leads to".to_owned(),
    };
    let plain = asked.components().all(|part| !matches!(part, Component::ParentDir));
    for ancestor in asked.ancestors() {
        if ancestor.symlink_metadata().is_ok() {
            let resolved = fs::canonicalize(ancestor).map_err(|_| dangling(ancestor))?;
            let rest = asked.strip_prefix(ancestor).unwrap_or(Path::new(""));
            if plain {
                return Ok(Source {
                    canonical: resolved.join(rest),
                    asked: asked.to_owned(),
                    kind: SourceKind::Missing,
                    identity: None,
                });
            }
        }
    }
    Err(dangling(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_source_is_resolved_through_links_above_it() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink(root.join("real"), root.join("link")).unwrap();
        std::os::unix::fs::symlink(root.join("nowhere"), root.join("dangling")).unwrap();
        assert_eq!(missing(&root.join("link/x/y")).unwrap().canonical, root.join("real/x/y"));
        assert!(missing(&root.join("dangling")).is_err());
        assert!(missing(&root.join("dangling/x")).is_err());
    }
}
