//! Files and directories that no other user can read, written in one step and read up to a limit.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::error::Error;

/// Makes a directory and what is missing above it, mode 0700.
pub fn make_private(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("create the directory", path))
}

/// Writes a file in one step: beside it, synced, then renamed over it.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    make_private(directory)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = directory.join(name);
    // A leftover of this name, or a link that somebody put there, is not written through.
    let _ = fs::remove_file(&beside);
    let written = File::options()
        .create_new(true)
        .write(true)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| File::open(directory)?.sync_all());
    written.map_err(|source| {
        // The first error is the one to tell; a leftover of this name is removed next time.
        let _ = fs::remove_file(&beside);
        Error::Io { action: "write", path: path.to_owned(), source }
    })
}

/// Reads a file of at most `limit` bytes; `None` when there is none. More is returned as it is,
/// one byte over, for the parser to refuse.
pub fn read_limited(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, limit as u64 + 1), &mut bytes)?;
    Ok(Some(bytes))
}

/// Writes a record as pretty-printed JSON in one step.
pub fn write_json(path: &Path, value: &serde_json::Value) -> Result<(), Error> {
    write_atomically(path, format!("{value:#}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_place_of_the_new_file_is_not_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let (path, precious) = (directory.path().join("a"), directory.path().join("precious"));
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, directory.path().join(format!("a.{}.new", std::process::id()))).unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }
}
