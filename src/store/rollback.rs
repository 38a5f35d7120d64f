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
use crate::host::World;
use crate::names::ToolName;
use crate::store::keyring::{KeyId, Succession, TrustedKey};
use crate::store::signature::Verified;
use crate::sys::files::{read_limited, write_json};
use crate::sys::hash::digest;
use crate::{json, term};

/// The largest record, in bytes.
const MAX_MEMORY: usize = 1 << 20;
/// How far a clock may stand back behind an earlier look, in seconds.
const CLOCK_SLACK: u64 = 24 * 60 * 60;

/// What one key's stores have shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    path: PathBuf,
    index: Seen,
    latest: u64,
    files: BTreeMap<String, Seen>,
}

/// The highest revision of something, and what it was: one revision is one content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    revision: u64,
    /// SHA-256, hexadecimal; nothing before anything was seen.
    digest: String,
}

impl Seen {
    fn of(verified: &Verified) -> Seen {
        Seen { revision: verified.revision(), digest: digest(verified.bytes()) }
    }

    fn read(value: &json::Value) -> Option<Seen> {
        let revision = value.member("revision")?.integer()?;
        Some(Seen { revision, digest: value.member("digest")?.text()?.to_owned() })
    }

    fn json(&self) -> serde_json::Value {
        json!({"revision": self.revision, "digest": self.digest})
    }
}

impl Memory {
    /// What is on record for a key. A broken record is an error: forgetting would allow what it forbids.
    pub fn of(world: &World, key: &KeyId) -> Result<Memory, Error> {
        let path = directory(world).join(format!("{}.json", key.digest));
        let Some(bytes) = read_limited(&path, MAX_MEMORY).map_err(Error::io("read", &path))? else {
            return Ok(Memory { path, ..Memory::default() });
        };
        let root = json::parse(&bytes, MAX_MEMORY).map_err(|error| Error::Config { file: path.clone(), error })?;
        let files = match root.member("files") {
            Some(json::Value::Object(members)) => {
                members.iter().map(|(name, value)| Some((name.clone(), Seen::read(value)?))).collect::<Option<_>>()
            }
            _ => None,
        };
        let index = root.member("index").and_then(Seen::read);
        let latest = root.member("latest").and_then(json::Value::integer);
        if let (Some(index), Some(latest), Some(files)) = (index, latest, files) {
            return Ok(Memory { path, index, latest, files });
        }
        let hint = "remove it to forget which revisions you have seen";
        Err(Error::Config { error: json::JsonError::new("", "not what coco wrote there", hint), file: path })
    }

    /// Refuses an index that is older than one that was seen, or another one of its revision, and notes it.
    pub fn saw_index(&mut self, what: &str, verified: &Verified) -> Result<(), Error> {
        self.index = newer(what, verified, &self.index)?;
        Ok(())
    }

    /// The same for a file.
    pub fn saw_file(&mut self, what: &str, name: &ToolName, verified: &Verified) -> Result<(), Error> {
        let seen = newer(what, verified, &self.files.get(name.as_str()).cloned().unwrap_or_default())?;
        self.files.insert(name.to_string(), seen);
        Ok(())
    }

    /// Whether the clock stands far behind an earlier look: dates then mean nothing.
    pub fn clock_went_back(&self, now: u64) -> bool {
        now.saturating_add(CLOCK_SLACK) < self.latest
    }

    /// Writes it down, with the time of this look.
    pub fn save(&mut self, now: u64) -> Result<(), Error> {
        self.latest = self.latest.max(now);
        let files: serde_json::Map<_, _> = self.files.iter().map(|(name, seen)| (name.clone(), seen.json())).collect();
        let text = json!({"index": self.index.json(), "latest": self.latest, "files": files});
        write_json(&self.path, &text)
    }
}

fn directory(world: &World) -> PathBuf {
    world.directories.state.join("store")
}

/// The most that is read of the addresses' record, in bytes.
const MAX_ADDRESSES: usize = 1 << 20;

/// Which key signed the index of each address.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    path: PathBuf,
    known: BTreeMap<String, String>,
}

impl Addresses {
    /// What is on record.
    pub fn of(world: &World) -> Result<Addresses, Error> {
        let path = directory(world).join("addresses").join("keys.json");
        let bytes = read_limited(&path, MAX_ADDRESSES).map_err(Error::io("read", &path))?;
        let known = match bytes {
            None => BTreeMap::new(),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|_| {
                let hint = "remove it to forget which keys the stores have had";
                Error::Config { error: json::JsonError::new("", "not what coco wrote there", hint), file: path.clone() }
            })?,
        };
        Ok(Addresses { path, known })
    }

    /// The trusted key that an address is held to, when another one has signed its index now, and does not come
    /// after it: one who may sign for a store of their own can't speak in the place of another's.
    pub fn held_to<'keys>(
        &self,
        base: &str,
        key: &KeyId,
        trusted: &'keys [TrustedKey],
        succession: &Succession,
    ) -> Option<&'keys TrustedKey> {
        let before = self.known.get(base).filter(|before| **before != key.digest)?;
        let before = trusted.iter().find(|trusted| trusted.id.digest == *before)?;
        (!succession.comes_after(&before.id.digest, &key.digest)).then_some(before)
    }

    /// The refusal.
    pub fn refuse(&self, base: &str, key: &KeyId, before: &TrustedKey) -> Error {
        Error::Store {
            message: format!(
                "{base}/index.json is signed by the key {}, and was signed by {} before",
                key.number, before.name
            ),
            hint: format!(
                "ask who runs the store; if it has changed hands, remove its line in {}",
                term::path(&self.path)
            ),
        }
    }

    /// Holds an address to a key from now on.
    pub fn hold(mut self, base: &str, key: &KeyId) -> Result<(), Error> {
        let before = self.known.insert(base.to_owned(), key.digest.clone());
        if before.as_ref() == Some(&key.digest) { Ok(()) } else { write_json(&self.path, &json!(self.known)) }
    }
}

fn newer(what: &str, verified: &Verified, seen: &Seen) -> Result<Seen, Error> {
    let now = Seen::of(verified);
    let reason = if now.revision < seen.revision {
        format!("it is revision {}, and revision {} was seen before", now.revision, seen.revision)
    } else if now.revision == seen.revision && !seen.digest.is_empty() && now.digest != seen.digest {
        format!("it is another revision {} than the one that was seen before", now.revision)
    } else {
        return Ok(now);
    };
    Err(Error::Rollback { what: what.to_owned(), reason })
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
    use crate::store::signature::{self, Subject};

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
    fn nothing_goes_back_and_one_revision_is_one_content() {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        let key = signature::public_key(&pair.pk.to_box().unwrap().into_string()).unwrap();
        let verified = |bytes: &str, revision: u64| {
            let comment = Subject::Index.comment(revision);
            let signature = minisign::sign(Some(&pair.pk), &pair.sk, bytes.as_bytes(), Some(&comment), None).unwrap();
            let keys = std::slice::from_ref(&key);
            signature::verify(bytes.into(), signature.into_string().as_bytes(), keys, &Subject::Index).unwrap()
        };
        let [x, y] = ["x", "y"].map(|name| ToolName::new(name).unwrap());
        let mut memory = Memory::default();
        for (bytes, revision, taken) in [
            ("a", 0, true),
            ("a", 0, true),
            ("b", 0, false),
            ("b", 7, true),
            ("a", 6, false),
            ("a", 7, false),
            ("b", 7, true),
            ("a", 8, true),
            ("b", 7, false),
        ] {
            let verified = verified(bytes, revision);
            assert_eq!(memory.saw_index("i", &verified).is_ok(), taken, "{bytes} {revision}");
            assert_eq!(memory.saw_file("f", &x, &verified).is_ok(), taken, "{bytes} {revision}");
        }
        // What was refused has changed nothing, and another file is another matter.
        assert_eq!((memory.index.revision, memory.files["x"].revision), (8, 8));
        assert!(memory.saw_file("f", &y, &verified("b", 1)).is_ok());
    }

    #[test]
    fn a_clock_that_went_back_is_noticed() {
        let memory = Memory { latest: 1_000_000, ..Memory::default() };
        assert!(memory.clock_went_back(1_000_000 - CLOCK_SLACK - 1));
        assert!(!memory.clock_went_back(1_000_000 - CLOCK_SLACK));
    }
}
