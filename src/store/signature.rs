//! Signed bytes: a minisign signature, prehashed only, whose trusted comment says what the bytes are. Pure; shared with
//! `build.rs`.
//!
//! Verify, then parse: [`verify`] hands out [`Verified`] bytes, and the parsers of store files take nothing else.

use std::fmt;

use minisign_verify::{PublicKey, Signature};

use crate::names::ToolName;

/// The largest signature file, in bytes. minisign's own has about 330.
pub const MAX_SIGNATURE: usize = 1024;

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

/// Bytes with a valid signature, and their revision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Verified {
    bytes: Vec<u8>,
    revision: u64,
    signer: usize,
}

impl Verified {
    /// The bytes that were verified.
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
/// A sentence that says why the text is not such a file.
pub fn public_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::decode(text.trim_end()).map_err(|error| format!("not a minisign public key: {error}"))
}

/// Why a signature is not valid. Its words are a sentence without a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalid {
    /// It is not what minisign writes.
    Malformed,
    /// It is one of minisign's older signatures, which are not over a hash.
    Legacy,
    /// No key was given.
    NoKey,
    /// None of the keys has made it.
    UnknownKey,
    /// It does not cover these bytes.
    Changed,
    /// It covers them and says that they are something else.
    AnotherSubject {
        /// What it says.
        comment: String,
        /// What was wanted.
        expected: String,
    },
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::Malformed => formatter.write_str("it is not a minisign signature"),
            Invalid::Legacy => formatter.write_str("it is a legacy signature, not a prehashed one"),
            Invalid::NoKey => formatter.write_str("there is no key to check it with"),
            Invalid::UnknownKey => formatter.write_str("it was made by an unknown key"),
            Invalid::Changed => formatter.write_str("the file or its signature was changed"),
            Invalid::AnotherSubject { comment, expected } => {
                write!(formatter, "it is for {comment:?}, not for \"{expected}\"")
            }
        }
    }
}

/// Checks that `signature` by one of `keys` covers `bytes` and says that they are `subject`.
///
/// # Errors
/// Why it is not valid.
pub fn verify(bytes: Vec<u8>, signature: &[u8], keys: &[PublicKey], subject: &Subject) -> Result<Verified, Invalid> {
    let signature = decode(signature)?;
    let mut reason = Invalid::NoKey;
    for (signer, key) in keys.iter().enumerate() {
        match key.verify(&bytes, &signature, false) {
            Ok(()) => {
                let comment = signature.trusted_comment();
                return match subject.revision(comment) {
                    Some(revision) => Ok(Verified { bytes, revision, signer }),
                    None => Err(Invalid::AnotherSubject {
                        comment: comment.to_owned(),
                        expected: subject.comment(0).trim_end_matches(" revision=0").to_owned(),
                    }),
                };
            }
            Err(minisign_verify::Error::UnexpectedKeyId) => reason = Invalid::UnknownKey,
            Err(minisign_verify::Error::UnexpectedAlgorithm) => return Err(Invalid::Legacy),
            Err(_) => return Err(Invalid::Changed),
        }
    }
    Err(reason)
}

/// Takes four lines, as minisign writes them, and no more: the decoder stops after the fourth and would let anything
/// follow.
fn decode(signature: &[u8]) -> Result<Signature, Invalid> {
    let malformed = || Invalid::Malformed;
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
