//! What the process is, by the name in `argv[0]`.
//!
//! `argv[0]` is untrusted. The bytes of its last path component are taken whole; any name but coco's own is a tool, whose
//! coco file has exactly that name. Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::error::Error;
use crate::names::ToolName;
use crate::term;

/// What the process is, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applet {
    /// `coco`: the commands.
    Manage,
    /// `coco-init`: PID 1 inside the sandbox.
    Init,
    /// `coco-guard`: starts an image build, curl or getent, so that it ends with coco.
    Guard,
    /// Any other name: that tool.
    Tool(ToolName),
}

/// Which applet a name means.
///
/// # Errors
/// A name that is not a valid tool name.
pub fn applet(argv0: Option<&OsString>) -> Result<Applet, Error> {
    let bytes = argv0.map(|name| name.as_bytes()).unwrap_or_default();
    // Not Path::file_name: it drops a trailing slash and `/.`, and then `x/` would be `x`.
    let name = bytes.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    match name {
        b"coco" => Ok(Applet::Manage),
        b"coco-init" => Ok(Applet::Init),
        b"coco-guard" => Ok(Applet::Guard),
        // A login shell's argv[0] starts with a dash, which is refused: no tool's name does.
        _ => std::str::from_utf8(name)
            .map_err(|_| format!("{} is not UTF-8", term::os(OsStr::from_bytes(name))))
            .and_then(ToolName::new)
            .map(Applet::Tool)
            .map_err(|message| Error::BadName {
                message: format!("coco was started under a name that is not valid for a tool: {message}"),
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(name: &[u8]) -> Result<Applet, Error> {
        applet(Some(&OsStr::from_bytes(name).to_owned()))
    }

    #[test]
    fn the_whole_last_component_counts() {
        assert_eq!(by(b"/usr/bin/coco").unwrap(), Applet::Manage);
        assert_eq!(by(b"./coco").unwrap(), Applet::Manage);
        for name in ["python3.12", "eslint", "coco.exe", "cocox", "xcoco"] {
            assert_eq!(by(format!("../x/{name}").as_bytes()).unwrap(), Applet::Tool(ToolName::new(name).unwrap()));
        }
    }

    #[test]
    fn hostile_names_are_errors() {
        let long = vec![b'a'; 100_000];
        for name in [&b""[..], b"-bash", b"eslint/", b"a/..", b".", b"a\n", b"a b", b"\xff", b"COCO", &long] {
            assert!(by(name).is_err(), "{name:?}");
        }
        assert!(applet(None).is_err());
    }
}
