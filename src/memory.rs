//! What the stores have shown before, so that nobody can show something older: for each key, the highest
//! revision of its index and of each of its files, and the latest time at which that was looked at.
//!
//! By key and not by address: a mirror, or the store inside this program, signed with the same key, may
//! lag behind but must not undo what another has shown.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::error::Error;
use crate::facts::World;
use crate::install::{read_limited, write_record_json};
use crate::json;
use crate::names::ToolName;
use crate::trust::{self, KeyId, TrustedKey};

/// The largest record, in bytes.
const MAX_MEMORY: usize = 1 << 20;
/// How far a clock may stand back behind an earlier look, in seconds.
const CLOCK_SLACK: u64 = 24 * 60 * 60;

/// What one key's stores have shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    path: PathBuf,
    index: u64,
    latest: u64,
    files: BTreeMap<String, u64>,
}

impl Memory {
    /// What is on record for a key. A broken record is an error: forgetting would allow what it forbids.
    pub fn of(world: &World, key: &KeyId) -> Result<Memory, Error> {
        let path = directory(world).join(format!("{}.json", key.digest));
        let Some(bytes) = read_limited(&path, MAX_MEMORY).map_err(Error::io("read", &path))? else {
            return Ok(Memory { path, ..Memory::default() });
        };
        let root = json::parse(&bytes, MAX_MEMORY).map_err(|error| Error::Config { file: path.clone(), error })?;
        let number = |key: &str| root.member(key).and_then(json::Value::integer);
        let files = match root.member("files") {
            Some(json::Value::Object(members)) => {
                members.iter().map(|(name, value)| Some((name.clone(), value.integer()?))).collect::<Option<_>>()
            }
            _ => None,
        };
        if let (Some(index), Some(latest), Some(files)) = (number("index"), number("latest"), files) {
            return Ok(Memory { path, index, latest, files });
        }
        let hint = "remove it to forget which revisions you have seen";
        Err(Error::Config { error: json::JsonError::new("", "not what coco wrote there", hint), file: path })
    }

    /// Refuses an index that is older than one that was seen.
    pub fn allow_index(&self, what: &str, revision: u64) -> Result<(), Error> {
        newer(what, revision, self.index)
    }

    /// Refuses a file that is older than one that was seen.
    pub fn allow_file(&self, what: &str, name: &ToolName, revision: u64) -> Result<(), Error> {
        newer(what, revision, self.files.get(name.as_str()).copied().unwrap_or(0))
    }

    /// Notes an index.
    pub fn saw_index(&mut self, revision: u64) {
        self.index = self.index.max(revision);
    }

    /// Notes a file.
    pub fn saw_file(&mut self, name: &ToolName, revision: u64) {
        let known = self.files.entry(name.to_string()).or_default();
        *known = revision.max(*known);
    }

    /// Whether the clock stands far behind an earlier look: dates then mean nothing.
    pub fn clock_went_back(&self, now: u64) -> bool {
        now.saturating_add(CLOCK_SLACK) < self.latest
    }

    /// Writes it down, with the time of this look.
    pub fn save(&mut self, now: u64) -> Result<(), Error> {
        self.latest = self.latest.max(now);
        let text = json!({"index": self.index, "latest": self.latest, "files": self.files});
        write_record_json(&self.path, &text)
    }
}

fn directory(world: &World) -> PathBuf {
    world.directories.state.join("store")
}

/// The most that is read of the addresses' record, in bytes.
const MAX_ADDRESSES: usize = 1 << 20;

/// Holds a store's address to the key that signed its index before, as long as that key is trusted, or to one
/// that comes after it: one who may sign for a store of their own can't speak in the place of another's.
pub fn hold_address(world: &World, base: &str, key: &KeyId, trusted: &[TrustedKey]) -> Result<(), Error> {
    let path = directory(world).join("addresses").join("keys.json");
    let bytes = read_limited(&path, MAX_ADDRESSES).map_err(Error::io("read", &path))?;
    let mut known: BTreeMap<String, String> = match bytes {
        None => BTreeMap::new(),
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|_| {
            let hint = "remove it to forget which keys the stores have had";
            Error::Config { error: json::JsonError::new("", "not what coco wrote there", hint), file: path.clone() }
        })?,
    };
    match known.get(base) {
        Some(before) if *before == key.digest => return Ok(()),
        Some(before) => {
            if let Some(before) = trusted.iter().find(|trusted| trusted.id.digest == *before)
                && !trust::succeeds(world, &before.id.digest, &key.digest)?
            {
                return Err(Error::AnotherKey {
                    what: format!("{base}/index.json"),
                    key: key.number.clone(),
                    before: before.name.clone(),
                });
            }
        }
        None => {}
    }
    known.insert(base.to_owned(), key.digest.clone());
    write_record_json(&path, &json!(known))
}

fn newer(what: &str, revision: u64, seen: u64) -> Result<(), Error> {
    if revision >= seen {
        return Ok(());
    }
    Err(Error::Rollback {
        what: what.to_owned(),
        reason: format!("it is revision {revision}, and revision {seen} was seen before"),
    })
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// The day of a date `YYYY-MM-DD`, in days since 1970: days_from_civil of Howard Hinnant's public
/// date algorithms. `None` for what is no date.
pub fn day(date: &str) -> Option<u64> {
    let mut parts = date.split('-').map(str::parse::<u64>);
    let (year, month, day) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    if parts.next().is_some()
        || !(1970..=9999).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
    {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let of_era = year % 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    (year / 400 * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (date, expected) in [
            ("1970-01-01", Some(0)),
            ("1970-03-01", Some(59)),
            ("2000-02-29", Some(11_016)),
            ("2026-11-24", Some(20_781)),
            ("2026-13-01", None),
            ("2026-00-01", None),
            ("1969-01-01", None),
            ("x", None),
            ("2026-11-24-1", None),
        ] {
            assert_eq!(day(date), expected, "{date}");
        }
    }

    #[test]
    fn nothing_goes_back() {
        let name = ToolName::new("x").unwrap();
        let mut memory = Memory::default();
        assert!(memory.allow_index("i", 0).is_ok() && memory.allow_file("f", &name, 0).is_ok());
        memory.saw_index(7);
        memory.saw_index(5);
        memory.saw_file(&name, 3);
        memory.saw_file(&name, 2);
        assert!(memory.allow_index("i", 7).is_ok() && memory.allow_file("f", &name, 3).is_ok());
        assert!(memory.allow_index("i", 6).is_err() && memory.allow_file("f", &name, 2).is_err());
        assert!(memory.allow_file("f", &ToolName::new("y").unwrap(), 0).is_ok());
    }

    #[test]
    fn a_clock_that_went_back_is_noticed() {
        let memory = Memory { latest: 1_000_000, ..Memory::default() };
        assert!(memory.clock_went_back(1_000_000 - CLOCK_SLACK - 1));
        assert!(!memory.clock_went_back(1_000_000 - CLOCK_SLACK));
    }
}
