//! An image, as an engine's command line takes it. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sys::hash::Digest;

/// An image in an engine's store. Printed and written as the engines do: `sha256:HEX` or `localhost/x:latest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Image {
    /// By its id: what coco has built.
    Id(ImageId),
    /// By a name: what the user has set, used as it is.
    Named(ImageName),
}

/// The id of an image: the SHA-256 of its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId(Digest);

/// The name of an image in the syntax of both engines, which takes no blanks, no option and none of podman's transports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

impl Image {
    /// Reads an id or a name.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Image, String> {
        // Without its prefix an id is a name like another, and stays as it was written.
        match text.strip_prefix(ID_PREFIX).and_then(Digest::parse) {
            Some(digest) => Ok(Image::Id(ImageId(digest))),
            None => ImageName::new(text).map(Image::Named),
        }
    }
}

/// What an engine writes before the digits of an id.
const ID_PREFIX: &str = "sha256:";

impl ImageId {
    /// Reads an id. Not every engine writes `sha256:` before it.
    pub fn parse(text: &str) -> Option<ImageId> {
        Digest::parse(text.strip_prefix(ID_PREFIX).unwrap_or(text)).map(ImageId)
    }
}

impl ImageName {
    /// The longest name, in bytes.
    const MAX: usize = 512;

    /// The name of an image that coco builds.
    pub fn of_own(tag: &'static str) -> ImageName {
        ImageName(format!("localhost/coco:{tag}"))
    }

    /// Checks a name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<ImageName, String> {
        let good = text.len() <= Self::MAX
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:/@-".contains(&byte))
            && !has_transport(text);
        if good { Ok(ImageName(text.to_owned())) } else { Err(format!("{text:?} is not a valid image reference")) }
    }
}

/// Whether an image reference starts with one of podman's transports (containers-transports(5)):
/// `dir:/x` would be read from that directory, even where nothing may be pulled.
fn has_transport(text: &str) -> bool {
    const TRANSPORTS: &[&str] = &[
        "containers-storage",
        "dir",
        "docker",
        "docker-archive",
        "docker-daemon",
        "oci",
        "oci-archive",
        "ostree",
        "sif",
        "tarball",
    ];
    text.contains(":/") || text.split_once(':').is_some_and(|(name, _)| TRANSPORTS.contains(&name))
}

impl fmt::Display for Image {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Image::Id(id) => id.fmt(formatter),
            Image::Named(name) => name.fmt(formatter),
        }
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{ID_PREFIX}{}", self.0)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for Image {
    type Error = String;

    fn try_from(text: String) -> Result<Image, String> {
        Image::parse(&text)
    }
}

impl From<Image> for String {
    fn from(image: Image) -> String {
        image.to_string()
    }
}

impl TryFrom<String> for ImageId {
    type Error = String;

    fn try_from(text: String) -> Result<ImageId, String> {
        ImageId::parse(&text).ok_or_else(|| format!("{text:?} is not a valid image id"))
    }
}

impl From<ImageId> for String {
    fn from(id: ImageId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for ImageName {
    type Error = String;

    fn try_from(text: String) -> Result<ImageName, String> {
        ImageName::new(&text)
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> String {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_printed_in_one_way() {
        let digits = "0123456789abcdef".repeat(4);
        let whole = format!("sha256:{digits}");
        let id = ImageId::parse(&digits).unwrap();
        assert_eq!(ImageId::parse(&whole), Some(id));
        assert_eq!(id.to_string(), whole);
        assert_eq!(Image::parse(&whole), Ok(Image::Id(id)));
        for bad in ["", "sha256:", "sha256:0123", &digits.to_uppercase(), &format!("sha512:{digits}")] {
            assert_eq!(ImageId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_stay_as_they_are_written() {
        let bare = "0".repeat(64);
        for good in ["localhost/x:latest", "host:5000/x:1", "x@sha256:00", "dir/x:1", "debian", "sha256:0123", &bare] {
            let image = Image::parse(good).unwrap();
            assert!(matches!(image, Image::Named(_)), "{good}");
            assert_eq!(image.to_string(), good);
        }
        let long = "x".repeat(513);
        for bad in ["dir:/etc", "oci:x", "docker://x/y", "containers-storage:x", "", "-x", "a b", "a\n", "a,b", &long] {
            assert!(Image::parse(bad).is_err(), "{bad}");
        }
    }
}
