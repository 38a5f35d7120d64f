//! The revisions that were seen, so that no store can go back to an older one: for each key, the highest revision of
//! its index and of each of its files, and the latest time of a check.
//!
//! By key and not by address: a mirror, or the store inside this program, may lag behind another store with the same
//! key, but must not undo what that one has shown.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::host::World;
use crate::names::ToolName;
use crate::store::keyring::KeyId;
use crate::store::signature::Verified;
use crate::sys::files::{read_json, write_json};
use crate::sys::hash::digest;
use crate::sys::time::{self, DAY};

/// The largest record, in bytes.
const MAX_RECORD: usize = 1 << 20;
/// How far the clock may be behind the latest check, in seconds.
const CLOCK_SLACK: u64 = DAY;

/// The revisions that were seen from the stores of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenRevisions {
    path: PathBuf,
    record: Record,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    index: Revision,
    /// Seconds since 1970.
    latest: u64,
    files: BTreeMap<String, Revision>,
}

/// The highest revision of something, and what it was: one revision has one content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Revision {
    revision: u64,
    /// SHA-256, hexadecimal; empty before anything was seen.
    digest: String,
}

impl SeenRevisions {
    /// Reads the record of a key. A damaged record is an error: to forget it would allow what it forbids.
    pub fn read(world: &World, key: &KeyId) -> Result<SeenRevisions, Error> {
        let path = world.directories.state.join("store").join(format!("{}.json", key.digest));
        let record = read_json(&path, MAX_RECORD, "remove it to forget which revisions were seen")?.unwrap_or_default();
        Ok(SeenRevisions { path, record })
    }

    /// Refuses an index that is older than one that was seen, or differs from one of the same revision. Takes any other
    /// for seen.
    pub fn accept_index(&mut self, what: &str, verified: &Verified) -> Result<(), Error> {
        self.record.index = check(what, verified, &self.record.index)?;
        Ok(())
    }

    /// The same for a file.
    pub fn accept_file(&mut self, what: &str, name: &ToolName, verified: &Verified) -> Result<(), Error> {
        let before = self.record.files.get(name.as_str()).cloned().unwrap_or_default();
        self.record.files.insert(name.to_string(), check(what, verified, &before)?);
        Ok(())
    }

    /// Whether the clock is far behind the latest check, so that no date can be compared with it.
    pub fn clock_is_behind(&self, now: u64) -> bool {
        now.saturating_add(CLOCK_SLACK) < self.record.latest
    }

    /// Writes the record, with the time of this check.
    pub fn write(&mut self) -> Result<(), Error> {
        self.record.latest = self.record.latest.max(time::now());
        write_json(&self.path, &self.record)
    }
}

/// Compares a revision with the highest one before it and gives the higher one.
fn check(what: &str, verified: &Verified, before: &Revision) -> Result<Revision, Error> {
    let now = Revision { revision: verified.revision(), digest: digest(verified.bytes()) };
    let reason = if now.revision < before.revision {
        format!("it is revision {}, but revision {} was seen before", now.revision, before.revision)
    } else if now.revision == before.revision && !before.digest.is_empty() && now.digest != before.digest {
        format!("revision {} was seen before with different contents", now.revision)
    } else {
        return Ok(now);
    };
    Err(Error::Rollback { what: what.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::signature::{self, Subject};

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
        let mut seen = SeenRevisions::default();
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
            assert_eq!(seen.accept_index("i", &verified).is_ok(), taken, "{bytes} {revision}");
            assert_eq!(seen.accept_file("f", &x, &verified).is_ok(), taken, "{bytes} {revision}");
        }
        // What was refused has changed nothing, and another file is another matter.
        assert_eq!((seen.record.index.revision, seen.record.files["x"].revision), (8, 8));
        assert!(seen.accept_file("f", &y, &verified("b", 1)).is_ok());
    }

    #[test]
    fn a_clock_that_went_back_is_noticed() {
        let seen =
            SeenRevisions { record: Record { latest: 1_000_000, ..Record::default() }, ..SeenRevisions::default() };
        assert!(seen.clock_is_behind(1_000_000 - CLOCK_SLACK - 1));
        assert!(!seen.clock_is_behind(1_000_000 - CLOCK_SLACK));
    }
}
