//! The CA bundle of the caller: its certificates, and nothing else of that file.

use std::path::Path;

use super::World;
use crate::error::Error;
use crate::install::read_limited;
use crate::term;

/// The largest CA bundle, in bytes; Debian's has about 220,000.
const MAX_CA_BUNDLE: usize = 4 << 20;

/// The certificates in `COCO_CA_BUNDLE`, and nothing else of that file: a variable must not be a
/// way to mount any file that it names.
pub fn ca_certificates(world: &World) -> Result<Option<Vec<u8>>, Error> {
    let Some(path) = world.variable("COCO_CA_BUNDLE").map(Path::new) else { return Ok(None) };
    let refuse = |message: String| Error::Environment {
        name: "COCO_CA_BUNDLE",
        message: format!("{}: {message}", term::path(path)),
        hint: "set it to the absolute path of a PEM file with CA certificates, or unset it".to_owned(),
    };
    if !path.is_absolute() {
        return Err(refuse("it is not an absolute path".to_owned()));
    }
    let bytes = read_limited(path, MAX_CA_BUNDLE).map_err(|error| refuse(error.to_string()))?;
    let bytes = bytes.ok_or_else(|| refuse("there is no such file".to_owned()))?;
    if bytes.len() > MAX_CA_BUNDLE {
        return Err(refuse(format!("it has more than {MAX_CA_BUNDLE} bytes")));
    }
    let text: String = bytes.utf8_chunks().map(|chunk| chunk.valid()).collect();
    let certificates = pem_certificates(&text);
    if certificates.is_empty() {
        return Err(refuse("it holds no certificate".to_owned()));
    }
    Ok(Some(certificates.into_bytes()))
}

/// The certificate blocks of a PEM text; comments and keys are left out.
fn pem_certificates(text: &str) -> String {
    let mut kept = String::new();
    let mut inside = false;
    for line in text.lines().map(str::trim_end) {
        inside |= matches!(line, "-----BEGIN CERTIFICATE-----" | "-----BEGIN TRUSTED CERTIFICATE-----");
        if inside {
            kept.push_str(line);
            kept.push('\n');
        }
        inside &= !line.starts_with("-----END ");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_are_taken_from_a_bundle() {
        let certificate = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n";
        assert_eq!(
            pem_certificates(&format!("# a comment\n{key}{certificate}{key}{certificate}")),
            certificate.repeat(2)
        );
        assert_eq!(pem_certificates(key), "");
    }
}
