//! Checked names: every string of a coco file that reaches an engine, a shell-less argument vector
//! or the file system passes through a constructor here, and its type is the proof.
//!
//! Shared with `build.rs`; pure, no I/O, nothing of the program but the standard library.
//! A constructor's error is the sentence a user reads: what is wrong, lower case, no full stop.
//! The checks are `FromStr`, where `cargo mutants` looks at them; it leaves functions called `new` alone.

use std::fmt;
use std::str::FromStr;

mod network;
mod tool_spec;

pub use network::{HostName, HostPattern, Port, PublishedPort, Scope};
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
    /// An absolute path inside the sandbox, normalised, outside the places that coco owns.
    GuestPath
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

constructor!(ToolName, EnvName, ProgramName, AptName, GuestPath, NetworkName, RelativePath);
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
            return Err(format!("{text:?} is no tool's name; {shape}"));
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
            return Err(format!("{text:?} is no name of a variable; letters, digits and '_' only, no wildcard"));
        }
        Ok(EnvName(text.to_owned()))
    }
}

impl EnvName {
    /// Whether a coco file may *set* this variable. `PATH` and the loader's variables decide which
    /// program runs, and coco's and mise's own ones are not for a tool.
    pub fn may_be_set(&self) -> bool {
        let name = self.as_str();
        !matches!(name, "PATH" | "HOME" | "LD_PRELOAD" | "LD_LIBRARY_PATH" | "LD_AUDIT")
            && !name.starts_with("COCO_")
            && !name.starts_with("MISE_")
    }

    /// Whether the caller's value may be passed in. A variable that makes a program load or run
    /// something is a way to steer the tool from a project's `.envrc`; such a value has to stand
    /// in the coco file, where it is read and signed.
    pub fn may_pass_through(&self) -> bool {
        const STEERING: &[&str] = &[
            "NODE_OPTIONS",
            "NODE_PATH",
            "BASH_ENV",
            "ENV",
            "SHELLOPTS",
            "BASHOPTS",
            "PS4",
            "PROMPT_COMMAND",
            "IFS",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "PYTHONHOME",
            "PYTHONINSPECT",
            "PERL5OPT",
            "PERL5LIB",
            "PERL5DB",
            "RUBYOPT",
            "RUBYLIB",
            "JAVA_TOOL_OPTIONS",
            "_JAVA_OPTIONS",
            "JDK_JAVA_OPTIONS",
            "GIT_SSH_COMMAND",
            "GIT_SSH",
            "GIT_ASKPASS",
            "GIT_EXEC_PATH",
            "RUSTC_WRAPPER",
            "RUSTC",
            "GCONV_PATH",
            "ZDOTDIR",
            "XDG_RUNTIME_DIR",
        ];
        let name = self.as_str();
        let upper = name.to_ascii_uppercase();
        self.may_be_set()
            && !name.starts_with("LD_")
            && !name.starts_with("DYLD_")
            && !name.starts_with("BASH_FUNC_")
            && !name.starts_with("GIT_CONFIG")
            && !STEERING.contains(&name)
            && !matches!(upper.as_str(), "HTTP_PROXY" | "HTTPS_PROXY" | "ALL_PROXY" | "FTP_PROXY")
    }

    /// Whether the name looks like a secret's or an agent's; `coco lint` warns about those.
    pub fn looks_secret(&self) -> bool {
        let upper = self.as_str().to_ascii_uppercase();
        [
            "TOKEN",
            "SECRET",
            "PASSWORD",
            "PASSWD",
            "API_KEY",
            "APIKEY",
            "PRIVATE_KEY",
            "CREDENTIAL",
            "ACCESS_KEY",
            "AUTH_SOCK",
            "AGENT",
        ]
        .iter()
        .any(|word| upper.contains(word))
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
                "{text:?} is no program's name; letters, digits, '.', '_', '+', '-', no path, no arguments"
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
            return Err(format!("{text:?} is no Debian package name"));
        }
        Ok(AptName(text.to_owned()))
    }
}

/// Where the sandbox keeps what is coco's: mounts of a coco file stay out of these.
const OWNED_GUEST_TREES: &[&str] = &[
    "/proc",
    "/sys",
    "/dev",
    "/coco",
    "/root/.cache",
    "/run",
    "/etc",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/boot",
    "/var/run",
];

/// Directories that the sandbox mounts or needs themselves; below them there is room.
const SANDBOX_PLACES: &[&str] = &["/", "/tmp", "/var", "/var/tmp", "/home", "/root", "/root/.cache"];

/// Checks a mount's destination: absolute, without `.` and `..`, and outside what the sandbox
/// itself needs, because a mount there would replace the helper, the names or the loader.
impl FromStr for GuestPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("{text:?} is not absolute"));
        };
        if text.len() > 4096 || text.chars().any(char::is_control) {
            return Err(format!("{text:?} has control characters or is too long"));
        }
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        if parts.iter().any(|part| *part == "." || *part == "..") {
            return Err(format!("{text:?} has '.' or '..' in it; write the path that is meant"));
        }
        let path = format!("/{}", parts.join("/"));
        if SANDBOX_PLACES.contains(&path.as_str()) {
            return Err(format!("{text:?} is a place of the sandbox itself; mount below it"));
        }
        if let Some(tree) = OWNED_GUEST_TREES.iter().find(|tree| is_within(&path, tree)) {
            return Err(format!("{text:?} is inside {tree}, which the sandbox itself needs"));
        }
        Ok(GuestPath(path))
    }
}

fn is_within(path: &str, tree: &str) -> bool {
    path.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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
            return Err(format!("{text:?} is no path relative to the mount; write for example \".git/hooks\""));
        }
        Ok(RelativePath(trimmed.to_owned()))
    }
}

/// Whether a letter shows nothing of itself, or moves what stands around it: control characters, line and
/// paragraph separators, and the format characters (Unicode's categories Cc, Cf, Zl and Zp, with the whole
/// block of tags). Text with such letters can read as another text.
pub fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'
                | '\u{891}'
                | '\u{8e2}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The known name that is nearest to what was typed, for "did you mean"; at most two edits away.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (edit_distance(typed, name), name))
        .filter(|(distance, name)| *distance <= 2 && *distance < name.chars().count())
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance; inputs are short names.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(80).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().take(80).enumerate() {
        let mut diagonal = line;
        let mut previous = line + 1;
        let mut next = vec![previous];
        for (to, above) in right.iter().zip(row.iter().skip(1)) {
            let cost = if from == *to { diagonal } else { 1 + diagonal.min(*above).min(previous) };
            diagonal = *above;
            previous = cost;
            next.push(cost);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
