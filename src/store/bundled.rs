//! The store inside this program, and how a store's coco file is checked: verify, then parse.

use std::io::Read;

use flate2::read::DeflateDecoder;
use rust_embed::RustEmbed;

use crate::config::{self, CocoFile};
use crate::error::Error;
use crate::names::{ToolName, nearest};
use crate::store::BUNDLED;
use crate::store::index::Index;
use crate::store::keyring::{self, KeyId, TrustedKey};
use crate::store::signature::{Invalid, Subject, Verified};
use crate::sys::hash::Digest;

/// What `build.rs` wrote: each file of `store/` and its signature, compressed.
#[derive(RustEmbed)]
#[folder = "$OUT_DIR/store"]
struct Bundle;

/// The largest embedded file, in bytes.
const MAX_EMBEDDED: u64 = 1 << 20;

/// The coco file of a tool in the bundled store.
pub fn coco_file(name: &ToolName) -> Result<SignedFile, Error> {
    let file = format!("{name}.json");
    if Bundle::get(&file).is_none() {
        let index = index()?;
        let nearest = nearest(name.as_str(), index.tools.iter().map(|entry| entry.name.as_str())).map(str::to_owned);
        return Err(Error::NotInStore { name: name.to_string(), nearest });
    }
    let (bytes, signature) = (embedded(&file)?, embedded(&format!("{file}.minisig"))?);
    verify_coco_file(name, &bytes, signature, &[keyring::built_in()?], &format!("{file} in {BUNDLED}"))
}

/// Whether the bundled store has a tool, by the file's name alone: for hints.
pub fn contains(name: &ToolName) -> bool {
    Bundle::get(&format!("{name}.json")).is_some()
}

/// The bundled store's index.
pub fn index() -> Result<Index, Error> {
    let verified = verify("index.json", &Subject::Index)?;
    Index::parse(&verified).map_err(|error| Error::Config { file: "index.json".into(), error })
}

/// The Containerfile that images are built from.
pub fn containerfile() -> Result<Verified, Error> {
    verify("Containerfile", &Subject::Containerfile)
}

/// SHA-256 of the Containerfile inside this program. Cheap, for every run; the signature is checked when an image is
/// built.
pub fn containerfile_digest() -> Digest {
    Digest::from_bytes(Bundle::get("Containerfile").map(|file| file.metadata.sha256_hash()).unwrap_or_default())
}

/// A coco file with the signature that covers it.
#[derive(Debug, Clone)]
pub struct SignedFile {
    /// The bytes that were verified.
    pub verified: Verified,
    /// The signature file.
    pub signature: Vec<u8>,
    /// The key that made the signature.
    pub key: KeyId,
    /// The parsed file.
    pub file: CocoFile,
}

/// Verifies and then parses a store's coco file. A store's file may not ask for engine arguments or the host's network:
/// nobody consented to those by fetching it.
pub fn verify_coco_file(
    name: &ToolName,
    bytes: &[u8],
    signature: Vec<u8>,
    trusted: &[TrustedKey],
    what: &str,
) -> Result<SignedFile, Error> {
    let verified = keyring::verify(bytes, &signature, trusted, &Subject::Config(name.clone()))
        .map_err(|reason| Error::Signature { what: what.to_owned(), reason: reason.to_string() })?;
    let file = config::parse(verified.bytes()).map_err(|error| Error::Config { file: what.into(), error })?;
    if let Some(error) = config::unfit_for_store(&file) {
        return Err(Error::Config { file: what.into(), error });
    }
    let unknown = || Error::Signature { what: what.to_owned(), reason: Invalid::UnknownKey.to_string() };
    let key = trusted.get(verified.signer()).ok_or_else(unknown)?.id.clone();
    Ok(SignedFile { verified, signature, key, file })
}

fn verify(name: &str, subject: &Subject) -> Result<Verified, Error> {
    let signature = embedded(&format!("{name}.minisig"))?;
    keyring::verify(&embedded(name)?, &signature, &[keyring::built_in()?], subject)
        .map_err(|reason| Error::Signature { what: format!("{name} in {BUNDLED}"), reason: reason.to_string() })
}

fn embedded(name: &str) -> Result<Vec<u8>, Error> {
    let broken = |source| Error::Io { action: "read the bundled", path: name.into(), source };
    let deflated = Bundle::get(name).ok_or_else(|| broken(std::io::ErrorKind::NotFound.into()))?;
    let mut bytes = Vec::new();
    DeflateDecoder::new(deflated.data.as_ref()).take(MAX_EMBEDDED).read_to_end(&mut bytes).map_err(broken)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bundled_file_verifies_and_the_index_lists_it() {
        let index = index().unwrap();
        assert!(index.tools.len() >= 30, "{}", index.tools.len());
        for entry in &index.tools {
            let signed = coco_file(&entry.name).unwrap();
            assert_eq!(signed.verified.revision(), entry.revision);
            assert_eq!(signed.file.tool, entry.tool);
        }
        let _: Verified = containerfile().unwrap();
    }

    #[test]
    fn another_tools_file_is_refused_under_this_name() {
        let eslint = coco_file(&ToolName::new("eslint").unwrap()).unwrap();
        let name = ToolName::new("prettier").unwrap();
        let error =
            verify_coco_file(&name, eslint.verified.bytes(), eslint.signature, &[keyring::built_in().unwrap()], "x")
                .unwrap_err();
        assert!(error.to_string().contains("name=eslint"), "{error}");
    }

    #[test]
    fn what_is_not_there_gets_a_suggestion() {
        let error = coco_file(&ToolName::new("eslnt").unwrap()).unwrap_err();
        assert_eq!(error.hint(), "did you mean eslint?");
    }
}
