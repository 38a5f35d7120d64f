//! Removing what a tool has written: as it stands, by nobody's rules.
//!
//! A tool may make directories deeper than any stack or path is long, take their permissions away, put links into them,
//! and go on changing them. So nothing is found by a path twice, no link is followed, and there is no recursion: what is
//! in a directory's directories is moved up before it is looked at.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use rustix::path::Arg;

/// Removes a directory with all in it, or a file. What can't be removed does not keep the rest; the error is that of
/// the last one.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let top = match open(CWD, path) {
        Err(Errno::NOTDIR | Errno::LOOP) => return fs::remove_file(path),
        opened => opened?,
    };
    let mut mover = Mover { top, moved: 0 };
    loop {
        let names = names(&mover.top)?;
        if names.is_empty() {
            return fs::remove_dir(path);
        }
        let (mut removed, mut failure) = (false, None);
        for name in &names {
            match mover.remove(name) {
                Ok(()) => removed = true,
                Err(error) => failure = Some(error),
            }
        }
        if let (false, Some(error)) = (removed, failure) {
            return Err(error.into());
        }
    }
}

struct Mover {
    top: OwnedFd,
    moved: u64,
}

impl Mover {
    /// Removes one name of the top directory. Directories in it become the top's own.
    fn remove(&mut self, name: &CString) -> rustix::io::Result<()> {
        if removed_as_file(&self.top, name)? {
            return Ok(());
        }
        let directory = open(&self.top, name)?;
        for inner in names(&directory)? {
            if !removed_as_file(&directory, &inner)? {
                // A directory moves only if it may be written itself: its `..` changes.
                open(&directory, &inner)?;
                self.move_up(&directory, &inner)?;
            }
        }
        unlinkat(&self.top, name, AtFlags::REMOVEDIR)
    }

    fn move_up(&mut self, directory: &OwnedFd, name: &CString) -> rustix::io::Result<()> {
        loop {
            self.moved += 1;
            let new = format!("moved-{}", self.moved);
            match renameat_with(directory, name, &self.top, new, RenameFlags::NOREPLACE) {
                // The tool has called something so.
                Err(Errno::EXIST) => {}
                done => return done,
            }
        }
    }
}

/// Whether it is gone; a directory is not.
fn removed_as_file(directory: &OwnedFd, name: &CString) -> rustix::io::Result<bool> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens a directory, never by a link, and gives its owner every permission: package managers make some without.
fn open(parent: impl AsFd, name: impl Arg + Copy) -> rustix::io::Result<OwnedFd> {
    let only = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = openat(&parent, name, only | OFlags::PATH, Mode::empty())?;
    // Of another user's, what may be done is done all the same.
    let _ = fs::set_permissions(format!("/proc/self/fd/{}", place.as_raw_fd()), fs::Permissions::from_mode(0o700));
    openat(&place, c".", only | OFlags::RDONLY, Mode::empty())
}

fn names(directory: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let entries = Dir::read_from(directory)?.map(|entry| entry.map(|entry| entry.file_name().to_owned()));
    let special = |name: &CString| name.as_bytes() == b"." || name.as_bytes() == b"..";
    entries.filter(|entry| !entry.as_ref().is_ok_and(special)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tool_made_is_removed_whatever_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let (tree, precious) = (directory.path().join("tree"), directory.path().join("precious"));
        fs::create_dir_all(tree.join("a/b/moved-1")).unwrap();
        fs::create_dir_all(tree.join("moved-1/moved-2/moved-3")).unwrap();
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "precious").unwrap();
        fs::set_permissions(&precious, fs::Permissions::from_mode(0o751)).unwrap();
        for link in ["link", "a/link", "a/b/link"] {
            std::os::unix::fs::symlink(&precious, tree.join(link)).unwrap();
        }
        nix::unistd::mkfifo(&tree.join("a/pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        fs::hard_link(precious.join("file"), tree.join("a/hard")).unwrap();
        for closed in ["a/b", "a", ""] {
            fs::set_permissions(tree.join(closed), fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "precious");
        assert_eq!(fs::metadata(&precious).unwrap().permissions().mode() & 0o7777, 0o751);
        // Links and files themselves.
        std::os::unix::fs::symlink(&precious, &tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(tree.symlink_metadata().is_err() && precious.join("file").exists());
        assert_eq!(remove_tree(&tree).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    /// Deeper than a path may be long, than a process may have files open, and than a stack has room for.
    #[test]
    fn no_directory_is_too_deep() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut place = open(CWD, &tree).unwrap();
        for _ in 0..5_000 {
            rustix::fs::mkdirat(&place, c"d", Mode::RWXU).unwrap();
            place = openat(&place, c"d", OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
        }
        drop(place);
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}
