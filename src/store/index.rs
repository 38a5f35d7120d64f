//! The index of a store: which tools it has, at which revisions. Pure; shared with `build.rs`.

use super::signature::Verified;
use crate::json::{self, JsonError};
use crate::names::{ToolName, ToolSpec};

/// The largest index, in bytes.
pub const MAX_INDEX: usize = 256 * 1024;

/// The hint of every error: the owner of the store has to act.
const HINT: &str = "make the index again with make sign";

/// The index of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Raised with every change of the store.
    pub revision: u64,
    /// The day after which the index is stale, `YYYY-MM-DD`.
    pub expires: String,
    /// The tools, in the order of their names.
    pub tools: Vec<IndexEntry>,
}

/// One tool of an [`Index`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The tool's name.
    pub name: ToolName,
    /// The revision of its coco file.
    pub revision: u64,
    /// What mise installs.
    pub tool: ToolSpec,
    /// One line for people.
    pub description: String,
}

impl Index {
    /// Parses an index that was verified.
    ///
    /// # Errors
    /// Where it is not of the form `{"revision": N, "expires": "YYYY-MM-DD", "tools": {NAME:
    /// {"revision": N, "tool": SPEC, "description": TEXT}}}`.
    pub fn parse(verified: &Verified) -> Result<Index, JsonError> {
        let root = json::parse(verified.bytes(), MAX_INDEX)?;
        let revision = root.member("revision").and_then(json::Value::integer).ok_or_else(|| wrong("/revision"))?;
        if revision != verified.revision() {
            return Err(JsonError::new("/revision", "not the revision that the signature states", HINT));
        }
        let expires = root.member("expires").and_then(json::Value::text).filter(|day| is_date(day));
        let expires = expires.ok_or_else(|| wrong("/expires"))?.to_owned();
        let Some(json::Value::Object(members)) = root.member("tools") else {
            return Err(wrong("/tools"));
        };
        let mut tools =
            members.iter().map(|(name, value)| IndexEntry::parse(name, value)).collect::<Result<Vec<_>, _>>()?;
        tools.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Index { revision, expires, tools })
    }

    /// The entry of a tool.
    pub fn entry(&self, name: &ToolName) -> Option<&IndexEntry> {
        self.tools.iter().find(|entry| entry.name == *name)
    }
}

impl IndexEntry {
    fn parse(name: &str, value: &json::Value) -> Result<IndexEntry, JsonError> {
        let pointer = format!("/tools/{}", json::escape(name));
        let invalid = |message: String| JsonError::new(&pointer, message, HINT);
        let text =
            |key: &str| value.member(key).and_then(json::Value::text).ok_or_else(|| wrong(&format!("{pointer}/{key}")));
        let revision = value.member("revision").and_then(json::Value::integer);
        Ok(IndexEntry {
            name: ToolName::new(name).map_err(invalid)?,
            revision: revision.ok_or_else(|| wrong(&format!("{pointer}/revision")))?,
            tool: ToolSpec::new(text("tool")?).map_err(invalid)?,
            description: text("description")?.to_owned(),
        })
    }
}

fn wrong(pointer: &str) -> JsonError {
    JsonError::new(pointer, "missing or of the wrong type", HINT)
}

/// Whether a text has the form `YYYY-MM-DD`.
fn is_date(day: &str) -> bool {
    day.len() == 10
        && day.bytes().enumerate().all(|(position, byte)| match position {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}
