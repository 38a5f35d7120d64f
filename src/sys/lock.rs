//! Advisory locks (flock(2)) on files and directories: whoever holds one is alive.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

use super::files::make_private;
use crate::error::Error;

/// A lock on a file or directory, released when dropped or when the process ends.
#[derive(Debug)]
pub struct Lock(File);

/// How often a lock that another process holds is asked for.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// Waits for the only lock on `path`, a file that is made when missing. Calls `waiting` again and again while another
/// process holds it.
pub fn lock_exclusive(path: &Path, mut waiting: impl FnMut()) -> Result<Lock, Error> {
    if let Some(parent) = path.parent() {
        make_private(parent)?;
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        // Not through a link, and a pipe in its place is an error and no wait.
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .mode(0o600)
        .open(path)
        .map_err(Error::io("open", path))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(file)),
            Err(fs::TryLockError::WouldBlock) => waiting(),
            Err(fs::TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
        }
        thread::sleep(LOCK_INTERVAL);
    }
}

/// Marks a directory as in use by this process, beside others.
pub fn lock_shared(path: &Path) -> Result<Lock, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.lock_shared().map_err(Error::io("lock", path))?;
    Ok(Lock(file))
}

/// Makes a directory that is missing and marks it as in use, beside others. Whoever removes unused directories may do so
/// in between: then it is made again.
pub fn make_in_use(path: &Path) -> Result<Lock, Error> {
    for _ in 0..100 {
        match make_private(path) {
            // It was there, and was removed before anybody could look what it is.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists && !is_other(path) => {}
            made => made?,
        }
        match lock_shared(path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Ok(Lock(file)) if !is_at(&file, path) => {}
            locked => return locked,
        }
    }
    Err(Error::io("keep", path)(io::Error::other("it is removed again and again")))
}

/// Whether something that is no directory is at that path.
fn is_other(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir())
}

/// Whether what is open is what is at that path now.
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |one: fs::Metadata, other: fs::Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
    file.metadata().and_then(|open| Ok(same(open, fs::metadata(path)?))).unwrap_or(false)
}

/// The only lock on a directory or lock file, unless some process uses it. Keep it while the thing
/// is removed. What can't be opened (a link, a pipe that a tool put there) is not locked by anybody.
pub fn lock_unused(path: &Path) -> Result<Option<Lock>, InUse> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
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

    /// Whoever makes and whoever removes, at the same time: what was given is there, and stays.
    #[test]
    fn a_directory_that_is_given_as_in_use_is_there() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let done = AtomicBool::new(false);
        let (held, removed) = std::thread::scope(|scope| {
            let remover = scope.spawn(|| {
                let mut removed = 0;
                while !done.load(Ordering::Relaxed) {
                    if let Ok(Some(_lock)) = lock_unused(&path) {
                        removed += usize::from(fs::remove_dir(&path).is_ok());
                    }
                    std::thread::sleep(std::time::Duration::from_micros(300));
                }
                removed
            });
            let mut held = 0;
            for _ in 0..200 {
                let lock = make_in_use(&path);
                held += usize::from(lock.is_ok() && path.is_dir() && lock_unused(&path).is_err());
                drop(lock);
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
            done.store(true, Ordering::Relaxed);
            (held, remover.join().unwrap())
        });
        assert!(held == 200 && removed > 0, "{held} {removed}");
    }
}
