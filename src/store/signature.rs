//! Signed bytes: a minisign signature, prehashed only, whose trusted comment says what the bytes
//! are, and the index of a store. Pure; shared with `build.rs`.
//!
//! Verify, then parse: [`verify`] hands out [`Verified`] bytes, and the parsers of this program
//! that read store files take nothing else.

use minisign_verify::{PublicKey, Signature};

use crate::json::{self, JsonError};
use crate::names::{ToolName, ToolSpec};

/// The largest signature file, in bytes. minisign's own has about 330.
pub const MAX_SIGNATURE: usize = 1024;
/// The largest index, in bytes.
pub const MAX_INDEX: usize = 256 * 1024;

/// What [`verify`] says when none of the keys made the signature.
pub const UNKNOWN_KEY: &str = "it was made by an unknown key";

/// What signed bytes are. The name is part of the signature, so one file can't pass for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// `coco-config name=NAME revision=N`
    Config(ToolName),
    /// `coco-index revision=N`
    Index,
    /// `coco-containerfile revision=N`
    Containerfile,
    /// `coco-key revision=N`: the public key that comes after the one that signs it.
    Key,
}

impl Subject {
    /// The trusted comment for this subject at a revision.
    pub fn comment(&self, revision: u64) -> String {
        match self {
            Subject::Config(name) => format!("coco-config name={name} revision={revision}"),
            Subject::Index => format!("coco-index revision={revision}"),
            Subject::Containerfile => format!("coco-containerfile revision={revision}"),
            Subject::Key => format!("coco-key revision={revision}"),
        }
    }

    /// The revision in a trusted comment, if the comment is about this subject: the text must be
    /// what [`Subject::comment`] makes, byte for byte.
    fn revision(&self, comment: &str) -> Option<u64> {
        let (_, digits) = comment.rsplit_once("revision=")?;
        let revision = digits.parse().ok()?;
        (self.comment(revision) == comment).then_some(revision)
    }
}

/// Bytes whose signature holds, and their revision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Verified {
    bytes: Vec<u8>,
    revision: u64,
    signer: usize,
}

impl Verified {
    /// The very bytes that were verified.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Which of the keys made the signature, by its place in the list.
    pub fn signer(&self) -> usize {
        self.signer
    }

    /// The revision that the signature states.
    pub fn revision(&self) -> u64 {
        self.revision
    }
}

/// Reads a minisign public key file: a comment line and the key.
///
/// # Errors
/// Anything else.
pub fn public_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::decode(text.trim_end()).map_err(|error| format!("no minisign public key: {error}"))
}

/// The number of a minisign public key, as minisign prints it: eight bytes, the last one first. The key
/// is the second line of its file, base 64 of two bytes of algorithm, the number and the key itself.
pub fn key_number(text: &str) -> Option<String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let line = text.lines().nth(1)?.as_bytes();
    let mut bits: u128 = 0;
    // 16 letters are 12 bytes, of which ten are wanted.
    for letter in line.get(..16)? {
        let value = ALPHABET.iter().position(|known| known == letter)?;
        bits = bits << 6 | u128::try_from(value).ok()?;
    }
    let bytes = bits.to_be_bytes();
    let number: Vec<String> = bytes.get(6..14)?.iter().rev().map(|byte| format!("{byte:02X}")).collect();
    Some(number.concat())
}

/// Checks that `signature` by one of `keys` covers `bytes` and says that they are `subject`.
///
/// # Errors
/// A sentence without a subject: "it was made by an unknown key".
pub fn verify(bytes: Vec<u8>, signature: &[u8], keys: &[PublicKey], subject: &Subject) -> Result<Verified, String> {
    let signature = decode(signature)?;
    let mut reason = "there is no key to check it with".to_owned();
    for (signer, key) in keys.iter().enumerate() {
        match key.verify(&bytes, &signature, false) {
            Ok(()) => {
                let comment = signature.trusted_comment();
                return match subject.revision(comment) {
                    Some(revision) => Ok(Verified { bytes, revision, signer }),
                    None => Err(format!(
                        "it is for {comment:?}, not for \"{}\"",
                        subject.comment(0).trim_end_matches(" revision=0")
                    )),
                };
            }
            Err(minisign_verify::Error::UnexpectedKeyId) => UNKNOWN_KEY.clone_into(&mut reason),
            Err(minisign_verify::Error::UnexpectedAlgorithm) => {
                return Err("it is of the legacy kind, not prehashed".to_owned());
            }
            Err(_) => return Err("the file or its signature was changed".to_owned()),
        }
    }
    Err(reason)
}

/// Four lines, no more: what minisign writes. A decoder that stops after the fourth would let
/// anything follow.
fn decode(signature: &[u8]) -> Result<Signature, String> {
    let malformed = || "it is no minisign signature".to_owned();
    if signature.len() > MAX_SIGNATURE {
        return Err(malformed());
    }
    let text = std::str::from_utf8(signature).map_err(|_| malformed())?;
    let body = text.strip_suffix('\n').ok_or_else(malformed)?;
    let lines: Vec<&str> = body.split('\n').collect();
    let shape = matches!(lines.as_slice(), [first, _, third, _]
        if first.starts_with("untrusted comment: ") && third.starts_with("trusted comment: "));
    if !shape || text.contains('\r') {
        return Err(malformed());
    }
    Signature::decode(body).map_err(|_| malformed())
}

/// A store's index: what it holds.
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
        let wrong =
            |place: &str| JsonError::new(place, "missing or of the wrong type", "make the index anew with make sign");
        let revision = root.member("revision").and_then(json::Value::integer).ok_or_else(|| wrong("/revision"))?;
        if revision != verified.revision() {
            return Err(JsonError::new(
                "/revision",
                "another revision than the signature's",
                "make the index anew with make sign",
            ));
        }
        let expires = root
            .member("expires")
            .and_then(json::Value::text)
            .filter(|day| is_date(day))
            .ok_or_else(|| wrong("/expires"))?;
        let Some(json::Value::Object(members)) = root.member("tools") else {
            return Err(wrong("/tools"));
        };
        let mut tools = Vec::new();
        for (name, entry) in members {
            let place = format!("/tools/{}", json::escape(name));
            let field = |key: &str| {
                entry.member(key).and_then(json::Value::text).ok_or_else(|| wrong(&format!("{place}/{key}")))
            };
            tools.push(IndexEntry {
                name: ToolName::new(name)
                    .map_err(|message| JsonError::new(&place, message, "make the index anew with make sign"))?,
                revision: entry.member("revision").and_then(json::Value::integer).ok_or_else(|| wrong(&place))?,
                tool: ToolSpec::new(field("tool")?)
                    .map_err(|message| JsonError::new(&place, message, "make the index anew with make sign"))?,
                description: field("description")?.to_owned(),
            });
        }
        tools.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Index { revision, expires: expires.to_owned(), tools })
    }

    /// The entry of a tool.
    pub fn entry(&self, name: &ToolName) -> Option<&IndexEntry> {
        self.tools.iter().find(|entry| entry.name == *name)
    }
}

fn is_date(day: &str) -> bool {
    day.len() == 10
        && day.bytes().enumerate().all(|(position, byte)| match position {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}
