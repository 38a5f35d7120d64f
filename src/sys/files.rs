//! Files and directories that no other user can read, written in one step and read up to a limit.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use rustix::fs::OFlags;

use crate::error::Error;
use crate::json;

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
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| File::open(directory)?.sync_all());
    written.map_err(|source| {
        // The first error is reported; a leftover of this name is removed next time.
        let _ = fs::remove_file(&beside);
        Error::Io { action: "write", path: path.to_owned(), source }
    })
}

/// Reads a file of at most `limit` bytes; `None` when there is none. More is returned as it is,
/// one byte over, for the parser to refuse.
pub fn read_limited(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path) {
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

/// Reads one of coco's own records, of at most `limit` bytes; `None` when there is none. `hint` says what removing it
/// forgets.
///
/// # Errors
/// A file that can't be read or is not such a record: one that was damaged must not pass for one that is not there.
pub fn read_json<T: DeserializeOwned>(path: &Path, limit: usize, hint: &'static str) -> Result<Option<T>, Error> {
    let Some(bytes) = read_limited(path, limit).map_err(Error::io("read", path))? else { return Ok(None) };
    let damaged = |reason: String| Error::Record { path: path.to_owned(), reason, hint };
    // A second key of the same name is an error only there: serde keeps the last one of a map.
    json::parse(&bytes, limit).map_err(|error| damaged(error.message))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| damaged(error.to_string()))
}

/// Writes one of coco's own records in one step: as indented JSON, its keys sorted.
pub fn write_json<T: Serialize>(path: &Path, record: &T) -> Result<(), Error> {
    let value = serde_json::to_value(record).map_err(|error| Error::io("write", path)(error.into()))?;
    write_atomically(path, format!("{value:#}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
    #[test]
    fn a_record_is_read_as_it_was_written_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.json");
        let read = || read_json::<BTreeMap<String, u64>>(&path, 64, "remove it");
        assert_eq!(read().unwrap(), None);
        let record = BTreeMap::from([("b".to_owned(), 2), ("a".to_owned(), 1)]);
        write_json(&path, &record).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"a\": 1,\n  \"b\": 2\n}\n");
        assert_eq!(read().unwrap(), Some(record));
        for (text, reason) in [
            ("", "not valid JSON"),
            ("[1]", "expected a map"),
            (r#"{"a": "1"}"#, "expected u64"),
            (r#"{"a": 1, "a": 2}"#, "twice"),
            (r#"{"a": 1} x"#, "not valid JSON"),
            (&format!(r#"{{"{}": 1}}"#, "a".repeat(64)), "more than 64 bytes"),
        ] {
            fs::write(&path, text).unwrap();
            let error = read().unwrap_err();
            assert!(
                error.to_string().contains(" is damaged: ") && error.to_string().contains(reason),
                "{text}: {error}"
            );
            assert_eq!(error.hint(), "remove it");
        }
    }
}
