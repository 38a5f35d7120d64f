//! The CA bundle of the caller: its certificates, and nothing else of that file.

use std::io::BufRead;
use std::path::Path;

use crate::error::Error;
use crate::host::World;
use crate::sys::files::read_limited;
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
    let certificates = pem_certificates(&bytes);
    if certificates.is_empty() {
        return Err(refuse("it holds no certificate".to_owned()));
    }
    Ok(Some(certificates))
}

/// The certificate blocks of a PEM file; comments and keys are left out. Whole blocks are copied,
/// and only lines of dashes are looked at: a bundle has thousands of lines, and every run reads it.
fn pem_certificates(bytes: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut block: Option<&[u8]> = None;
    let mut rest = bytes;
    while !rest.is_empty() {
        let (line, after) = first_line(rest);
        if line.starts_with(b"-----") {
            match (line.trim_ascii_end(), block) {
                (b"-----BEGIN CERTIFICATE-----" | b"-----BEGIN TRUSTED CERTIFICATE-----", None) => block = Some(rest),
                (line, Some(start)) if line.starts_with(b"-----END ") => {
                    kept.extend_from_slice(start.get(..start.len() - after.len()).unwrap_or_default());
                    if !kept.ends_with(b"\n") {
                        kept.push(b'\n');
                    }
                    block = None;
                }
                // A block that begins inside another one is none.
                (line, Some(_)) if line.starts_with(b"-----BEGIN ") => block = None,
                _ => {}
            }
        }
        rest = after;
    }
    kept
}

/// The first line with its end, and what follows it.
fn first_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut after = bytes;
    // Searches a word at a time; a loop over bytes takes most of a run's own time.
    let length = after.skip_until(b'\n').unwrap_or(bytes.len());
    (bytes.get(..length).unwrap_or(bytes), after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_are_taken_from_a_bundle() {
        let certificate = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n";
        assert_eq!(
            pem_certificates(format!("# a comment\n{key}{certificate}{key}{certificate}").as_bytes()),
            certificate.repeat(2).into_bytes()
        );
        assert_eq!(pem_certificates(key.as_bytes()), b"");
        // A key that is hidden in a certificate's block, and an end without a line end.
        let hidden = format!("-----BEGIN CERTIFICATE-----\n{key}");
        assert_eq!(pem_certificates(hidden.as_bytes()), b"");
        assert_eq!(pem_certificates(certificate.trim_end().as_bytes()), certificate.as_bytes());
    }
}
