//! What is installed: records on the host, out of every tool's reach, and the locks around them.
//!
//! A record is written last, by renaming, so that an interrupted installation leaves nothing that
//! a later run would trust. Each installation goes into a new directory; the one it replaces stays
//! until no running tool holds a lock on it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::config::Isolation;
use crate::engine::Engine;
use crate::error::Error;
use crate::facts::World;
use crate::json;
use crate::names::{EnvName, ToolName};
use crate::policy::{Installation, Policy};
use crate::protocol::control::{DATA_GUEST, Installed, RUNTIMES_GUEST};

/// The outcome of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// SHA-256 of the coco file, hexadecimal.
    pub coco_file: String,
    /// SHA-256 of what the installation depends on: a change of it installs anew.
    pub inputs: String,
    /// The image's id.
    pub image: String,
    /// The specifier in the coco file.
    pub tool: String,
    /// The exact version, or `system`.
    pub version: String,
    /// The directory's name below the tool's own; `None` for what the image itself has.
    pub data: Option<String>,
    /// Directories for PATH, inside.
    pub path: Vec<String>,
    /// Variables that the runtimes want.
    pub environment: Vec<(String, String)>,
    /// The hosts that the installation contacted, `name:port`.
    pub hosts: Vec<String>,
}

/// The largest record, in bytes.
const MAX_RECORD: usize = 512 << 10;

/// SHA-256, hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the installation depends on, digested. Not the whole coco file: a changed mount needs no
/// download.
pub fn inputs(policy: &Policy, image: &str) -> String {
    let Installation { tool, apt, runtimes, companions, isolation } = &policy.installation;
    let isolation = match isolation {
        Isolation::SharedRuntimes => "shared",
        Isolation::OwnRuntimes => "own",
    };
    let list = |items: Vec<String>| items.join(" ");
    let text = [
        tool.to_string(),
        policy.program.to_string(),
        list(apt.iter().map(ToString::to_string).collect()),
        list(runtimes.iter().map(ToString::to_string).collect()),
        list(companions.iter().map(ToString::to_string).collect()),
        isolation.to_owned(),
        image.to_owned(),
    ]
    .join("\n");
    digest(text.as_bytes())
}

/// The record of what the image itself has (`node@system`): nothing is installed.
pub fn system_record(policy: &Policy, image: &str) -> Record {
    Record {
        inputs: inputs(policy, image),
        image: image.to_owned(),
        tool: policy.installation.tool.to_string(),
        version: "system".to_owned(),
        ..Record::default()
    }
}

/// Where a tool's record is.
pub fn record_path(world: &World, engine: &Engine, tool: &ToolName) -> PathBuf {
    world.directories.state.join("installs").join(engine.kind.program()).join(format!("{tool}.json"))
}

/// Reads a tool's record; a broken one counts as none, so that the tool is installed anew.
pub fn read_record(path: &Path) -> Option<Record> {
    let bytes = read_limited(path, MAX_RECORD).ok()??;
    let root = json::parse(&bytes, MAX_RECORD).ok()?;
    let text = |key: &str| root.member(key).and_then(json::Value::text).map(str::to_owned);
    let list = |key: &str| root.member(key).map(json::Value::items).unwrap_or_default();
    let pair = |item: &json::Value| match item.items() {
        [name, value] => Some((name.text()?.to_owned(), value.text()?.to_owned())),
        _ => None,
    };
    Some(Record {
        coco_file: text("coco_file")?,
        inputs: text("inputs")?,
        image: text("image")?,
        tool: text("tool")?,
        version: text("version")?,
        data: text("data"),
        path: list("path").iter().map(|item| item.text().map(str::to_owned)).collect::<Option<_>>()?,
        environment: list("environment").iter().map(pair).collect::<Option<_>>()?,
        hosts: list("hosts").iter().map(|item| item.text().map(str::to_owned)).collect::<Option<_>>()?,
    })
}

/// Writes a record in one step.
pub fn write_record(path: &Path, record: &Record) -> Result<(), Error> {
    let text = json!({
        "coco_file": record.coco_file,
        "inputs": record.inputs,
        "image": record.image,
        "tool": record.tool,
        "version": record.version,
        "data": record.data,
        "path": record.path,
        "environment": record.environment.iter().map(|(name, value)| json!([name, value])).collect::<Vec<_>>(),
        "hosts": record.hosts,
    });
    write_record_json(path, &text)
}

/// Writes a record as pretty-printed JSON in one step.
pub fn write_record_json(path: &Path, value: &serde_json::Value) -> Result<(), Error> {
    write_atomically(path, format!("{value:#}\n").as_bytes())
}

/// Checks what the helper reported: it ran beside the installer's scripts, so its words are not
/// trusted to name places outside the installation or variables that steer the helper.
pub fn accept(installed: Installed) -> Result<Installed, String> {
    let version = &installed.version;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    if version.is_empty() || version.len() > 64 || !version.bytes().all(plain) || version.starts_with('-') {
        return Err(format!("it reports {version:?} as the installed version"));
    }
    let inside = |path: &&String| {
        let known = [DATA_GUEST, RUNTIMES_GUEST]
            .iter()
            .any(|tree| path.strip_prefix(tree).is_some_and(|rest| rest.starts_with('/')));
        known && !path.contains(':') && !path.split('/').any(|part| part == "..")
    };
    if let Some(path) = installed.path.iter().find(|path| !inside(path)) {
        return Err(format!("it reports {path:?} as a directory of its programs"));
    }
    for (name, value) in &installed.environment {
        let good =
            EnvName::new(name).is_ok_and(|name| name.may_be_set()) && !value.contains('\0') && value.len() <= 4096;
        if !good {
            return Err(format!("it reports the variable {name:?}"));
        }
    }
    Ok(installed)
}

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

/// Makes a directory and what is missing above it, mode 0700.
pub fn make_private(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("create the directory", path))
}

/// Makes a directory that must be new, mode 0700, after removing a leftover of that name.
pub fn make_new_private(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("remove the leftover", path)(error));
        }
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(path).map_err(Error::io("create the directory", path))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(version: &str, path: &str, variable: &str) -> Installed {
        Installed { version: version.into(), path: vec![path.into()], environment: vec![(variable.into(), "x".into())] }
    }

    #[test]
    fn what_an_installer_reports_is_not_trusted() {
        assert!(accept(installed("1.2.3", "/coco/data/bin", "GEM_HOME")).is_ok());
        for (version, path, variable) in [
            ("", "/coco/data/bin", "A"),
            ("-x", "/coco/data/bin", "A"),
            ("1\n", "/coco/data/bin", "A"),
            ("1", "/workspace/bin", "A"),
            ("1", "/coco/data/../../workspace", "A"),
            ("1", "/coco/data/a:/workspace", "A"),
            ("1", "/coco/database", "A"),
            ("1", "/coco/data/bin", "LD_PRELOAD"),
            ("1", "/coco/data/bin", "PATH"),
        ] {
            assert!(accept(installed(version, path, variable)).is_err(), "{version} {path} {variable}");
        }
    }

    #[test]
    fn a_record_survives_the_disk_and_a_broken_one_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b.json");
        assert_eq!(read_record(&path), None);
        let record = Record {
            coco_file: "c".into(),
            inputs: "i".into(),
            image: "sha256:x".into(),
            tool: "npm:eslint".into(),
            version: "9.0.0".into(),
            data: Some("data-1".into()),
            path: vec!["/coco/data/bin".into()],
            environment: vec![("A".into(), "b".into())],
            hosts: vec!["a.example:443".into()],
        };
        write_record(&path, &record).unwrap();
        assert_eq!(read_record(&path), Some(record));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::write(&path, "{").unwrap();
        assert_eq!(read_record(&path), None);
    }

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
    fn a_directory_in_use_is_seen_by_another_open() {
        let directory = tempfile::tempdir().unwrap();
        assert!(lock_unused(directory.path()).is_ok());
        let lock = lock_shared(directory.path()).unwrap();
        assert_eq!(lock_unused(directory.path()).unwrap_err(), InUse);
        drop(lock);
        assert!(lock_unused(directory.path()).is_ok());
    }
}
