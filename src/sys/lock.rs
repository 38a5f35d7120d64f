//! Advisory locks (flock(2)) on files and directories: whoever holds one is alive.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::files::make_private;
use crate::error::Error;

/// A lock on a file or directory, released when dropped or when the process ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for the lock on it")] File);

/// Waits for the only lock on `path`, a file that is made when missing.
pub fn lock_exclusive(path: &Path, waiting: impl FnOnce()) -> Result<Lock, Error> {
    if let Some(parent) = path.parent() {
        make_private(parent)?;
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        // Not through a link, and a pipe in its place is an error and no wait.
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("open", path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            waiting();
            file.lock().map_err(Error::io("lock", path))?;
        }
        Err(fs::TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
    }
    Ok(Lock(file))
}

/// Marks a directory as in use by this process, beside others.
pub fn lock_shared(path: &Path) -> Result<Lock, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.lock_shared().map_err(Error::io("lock", path))?;
    Ok(Lock(file))
}

/// The only lock on a directory or lock file, unless some process uses it. Keep it while the thing
/// is removed. What can't be opened (a link, a pipe that a tool put there) is not locked by anybody.
pub fn lock_unused(path: &Path) -> Result<Option<Lock>, InUse> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let Ok(file) = File::options().read(true).custom_flags(flags).open(path) else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock(file))),
        Err(_) => Err(InUse),
    }
}

/// Some process uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InUse;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_seen_by_another_open() {
        let directory = tempfile::tempdir().unwrap();
        assert!(lock_unused(directory.path()).is_ok());
        let lock = lock_shared(directory.path()).unwrap();
        assert_eq!(lock_unused(directory.path()).unwrap_err(), InUse);
        drop(lock);
        assert!(lock_unused(directory.path()).is_ok());
    }
}
