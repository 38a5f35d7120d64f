//! Checked names: every string of a coco file that reaches an engine, a shell-less argument vector
//! or the file system passes through a constructor here, and its type is the proof.
//!
//! Shared with `build.rs`; nothing of the program but the standard library. Pure.
//! A constructor's error is the sentence a user reads: what is wrong, lower case, no full stop.
//! The checks are `FromStr`, where `cargo mutants` looks at them; it leaves functions called `new` alone.

use std::fmt;
use std::str::FromStr;

mod invisible;
mod network;
mod similar;
mod tool_spec;

pub use invisible::is_invisible;
pub use network::{HostName, HostPattern, Port, PublishedPort, Scope};
pub use similar::nearest;
pub use tool_spec::{Backend, RUNTIMES, ToolSpec};

/// Names that no tool may have: the program's own, as it is called on the host and inside.
pub const OWN_NAMES: &[&str] = &["coco", "coco-init", "coco-guard"];

macro_rules! checked_string {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The checked text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

checked_string!(
    /// A tool's name: `[a-z0-9][a-z0-9._+-]*`, at most 64 bytes, none of [`OWN_NAMES`].
    ToolName
);
checked_string!(
    /// The name of an environment variable: `[A-Za-z_][A-Za-z0-9_]*`, at most 128 bytes.
    EnvName
);
checked_string!(
    /// A program to be found on the PATH inside: a file name, no slash, no leading dash.
    ProgramName
);
checked_string!(
    /// A Debian package name: lower case letters, digits, `+`, `-`, `.`; Debian policy 5.6.1.
    AptName
);
checked_string!(
    /// The name of an engine's network: letters, digits, `_`, `.`, `-`.
    NetworkName
);
checked_string!(
    /// A path relative to a mount, without `..`.
    RelativePath
);

macro_rules! constructor {
    ($($name:ident),*) => {
        $(impl $name {
            /// Checks a text, as [`str::parse`] does; the type's name stands where it is read.
            pub fn new(text: &str) -> Result<Self, String> {
                text.parse()
            }
        })*
    };
}

constructor!(ToolName, EnvName, ProgramName, AptName, NetworkName, RelativePath);
constructor!(HostName, HostPattern, Port, PublishedPort, ToolSpec);

/// Checks a tool's name.
impl FromStr for ToolName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = "a tool's name is lower case letters, digits, '.', '_', '+' and '-', at most 64 bytes";
        let first = text.bytes().next().ok_or_else(|| format!("the name is empty; {shape}"))?;
        if text.len() > 64 {
            return Err(format!("the name is {} bytes long; {shape}", text.len()));
        }
        if !(first.is_ascii_lowercase() || first.is_ascii_digit())
            || !text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._+-".contains(&byte))
        {
            return Err(format!("{text:?} is not a valid tool name; {shape}"));
        }
        if OWN_NAMES.contains(&text) {
            return Err(format!("{text:?} is coco's own name"));
        }
        Ok(ToolName(text.to_owned()))
    }
}

/// Checks the shape of a variable's name.
impl FromStr for EnvName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = text.len() <= 128
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !good {
            return Err(format!("{text:?} is not a valid variable name; letters, digits and '_' only, no wildcard"));
        }
        Ok(EnvName(text.to_owned()))
    }
}

/// Checks a program's name.
impl FromStr for ProgramName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = text.len() <= 64
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-@".contains(&byte));
        if !good {
            return Err(format!(
                "{text:?} is not a valid program name; letters, digits, '.', '_', '+', '-', no path, no arguments"
            ));
        }
        Ok(ProgramName(text.to_owned()))
    }
}

/// Checks a Debian package's name (two characters at least, Debian policy 5.6.1).
impl FromStr for AptName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = (2..=128).contains(&text.len())
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte));
        // `apt-get install x-` removes x, and `x+` installs it: the suffix is an operator there.
        if !good || text.ends_with('-') {
            return Err(format!("{text:?} is not a valid Debian package name"));
        }
        Ok(AptName(text.to_owned()))
    }
}

/// Checks the name of an engine's network (podman's and docker's alphabet). The engines' own
/// modes (`container:x`, `ns:/path`, `slirp4netns:...`) need a colon, so they can't be written.
impl FromStr for NetworkName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = text.len() <= 128
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        // Bare words that the engines read as a mode and not as a network's name.
        if !good || matches!(text, "bridge" | "private" | "slirp4netns" | "pasta" | "container" | "ns" | "nat") {
            return Err(format!("{text:?} is neither none, public, default, host nor an engine network's name"));
        }
        Ok(NetworkName(text.to_owned()))
    }
}

/// Checks a relative path without `.`, `..` or empty parts.
impl FromStr for RelativePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        let bad = trimmed.is_empty()
            || trimmed.len() > 1024
            || trimmed.chars().any(char::is_control)
            || trimmed.split('/').any(|part| matches!(part, "" | "." | ".."));
        if bad {
            return Err(format!("{text:?} is not a path relative to the mount; write for example \".git/hooks\""));
        }
        Ok(RelativePath(trimmed.to_owned()))
    }
}

#[cfg(test)]
mod tests;
