//! The one error type. Each variant carries the path, tool or JSON pointer that it is about;
//! [`Error::report`] prints it as `coco: error: ...` and `coco: hint: ...`, lower case, no full stop.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::json::JsonError;
use crate::term;

/// coco's own failure.
pub const EXIT_FAILURE: u8 = 125;
/// The engine can't be started.
pub const EXIT_ENGINE: u8 = 126;
/// No tool of that name.
pub const EXIT_UNKNOWN_TOOL: u8 = 127;

/// Everything that can go wrong.
#[derive(Debug)]
pub enum Error {
    /// The command line is wrong.
    Usage {
        /// What is wrong with it.
        message: String,
        /// What to type.
        hint: String,
    },
    /// coco has no such command.
    UnknownCommand {
        /// The word that was typed, printable.
        word: String,
        /// What to type.
        hint: String,
    },
    /// There is no coco file of that name.
    UnknownTool {
        /// The name, printable.
        name: String,
        /// Whether the bundled store has one.
        in_store: bool,
    },
    /// A name breaks the rules of `names`.
    BadName {
        /// What is wrong, from the name's constructor.
        message: String,
    },
    /// A coco file or record is wrong.
    Config {
        /// The file.
        file: PathBuf,
        /// Where and what.
        error: JsonError,
    },
    /// One of coco's own records is damaged.
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What removing it forgets.
        hint: &'static str,
    },
    /// A file operation failed.
    Io {
        /// What was tried, as in "can't {action} PATH".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A signature is not valid.
    Signature {
        /// Which file or name.
        what: String,
        /// Why not.
        reason: String,
    },
    /// A store, or one of its files, is not signed by the expected key.
    Store {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// A file is not a public key.
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A store's file is older than one that was seen before, or is not the one that the index lists.
    Rollback {
        /// Which file.
        what: String,
        /// How.
        reason: String,
    },
    /// An update grants more, and nobody agreed.
    Widening {
        /// The tool.
        tool: String,
    },
    /// The store has no such tool.
    NotInStore {
        /// The name.
        name: String,
        /// A similar name.
        nearest: Option<String>,
    },
    /// A download failed.
    Download {
        /// The address.
        url: String,
        /// Why.
        reason: String,
    },
    /// A file exists already.
    Exists {
        /// Which.
        path: PathBuf,
        /// What to do about it.
        hint: String,
    },
    /// A mount is refused.
    Mount {
        /// The path.
        path: PathBuf,
        /// Why.
        reason: String,
        /// What to mount instead.
        hint: String,
    },
    /// The user has not agreed to what a tool asks for.
    Consent {
        /// The tool.
        tool: String,
        /// What it asks for.
        what: String,
    },
    /// Something in the caller's environment has an invalid value.
    Environment {
        /// Which variable or fact.
        name: &'static str,
        /// What is wrong.
        message: String,
        /// What to set.
        hint: String,
    },
    /// No engine was found, or it can't be run.
    Engine {
        /// What happened.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The sandbox was not what was asked for, so the tool was not started.
    Sandbox {
        /// What init found inside.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The image could not be built.
    Image {
        /// Which stage.
        stage: String,
        /// What happened.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The installer failed.
    Install {
        /// The tool.
        tool: String,
        /// What happened.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A signal ended what came before the tool.
    Interrupted {
        /// What was under way.
        what: String,
        /// The signal's number.
        signal: i32,
    },
    /// coco was started by the engine that it started.
    Recursion {
        /// By which name.
        name: String,
    },
    /// Several things failed, each already reported.
    Reported {
        /// How many.
        count: usize,
    },
}

impl Error {
    /// An [`Error::Io`] for use with `map_err`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }

    /// A usage error.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::Usage { message: message.into(), hint: hint.into() }
    }

    /// The process's exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::UnknownTool { .. } => EXIT_UNKNOWN_TOOL,
            Error::Engine { .. } => EXIT_ENGINE,
            Error::Reported { .. } => 1,
            Error::Interrupted { signal, .. } => u8::try_from(128 + signal).unwrap_or(u8::MAX),
            _ => EXIT_FAILURE,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Error::UnknownTool { name, in_store: true } => format!("the store has it: coco get {name}"),
            Error::UnknownTool { .. } => {
                "coco list prints the configured tools, coco search those of the store".to_owned()
            }
            Error::BadName { .. } => "coco list and coco search print the valid names".to_owned(),
            Error::Config { error, .. } => error.hint.clone(),
            Error::Record { hint, .. } => (*hint).to_owned(),
            Error::Io { .. } => "check that the path exists and that you have the permission".to_owned(),
            Error::Signature { .. } => {
                "do not use this file; fetch it again with coco get, or write a file of your own".to_owned()
            }
            Error::Key { .. } => {
                "a public key file has two lines, as minisign -G writes NAME.pub; to remove a damaged one: coco key \
                 remove NAME"
                    .to_owned()
            }
            Error::Rollback { .. } => {
                "somebody may be holding back updates; try again later, or ask the owner of the store".to_owned()
            }
            Error::Widening { tool } => {
                format!("what it adds is listed above; to agree, run this on a terminal, or coco update --yes {tool}")
            }
            Error::NotInStore { nearest: Some(name), .. } => format!("did you mean {name}?"),
            Error::NotInStore { .. } => "coco search WORD searches the store".to_owned(),
            Error::Download { .. } => "try again later; --bundled uses the store inside this program".to_owned(),
            Error::Consent { tool, .. } => format!("read it with coco show {tool}; if you agree: coco allow {tool}"),
            Error::Interrupted { .. } => "start it again: nothing half done is used".to_owned(),
            Error::Recursion { .. } => {
                "set COCO_RUNTIME to podman or docker, and check which program that name runs".to_owned()
            }
            Error::Usage { hint, .. }
            | Error::UnknownCommand { hint, .. }
            | Error::Store { hint, .. }
            | Error::Exists { hint, .. }
            | Error::Mount { hint, .. }
            | Error::Environment { hint, .. }
            | Error::Engine { hint, .. }
            | Error::Sandbox { hint, .. }
            | Error::Image { hint, .. }
            | Error::Install { hint, .. } => hint.clone(),
            Error::Reported { .. } => String::new(),
        }
    }

    /// Prints the error and its hint to standard error and gives the exit code.
    pub fn report(&self) -> u8 {
        if !matches!(self, Error::Reported { .. }) {
            term::note("error", &self.to_string());
            term::note("hint", &self.hint());
        }
        self.exit_code()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage { message, .. }
            | Error::BadName { message }
            | Error::Store { message, .. }
            | Error::Engine { message, .. }
            | Error::Sandbox { message, .. } => formatter.write_str(message),
            Error::UnknownCommand { word, .. } => write!(formatter, "unknown command {word}"),
            Error::UnknownTool { name, .. } => write!(formatter, "no coco file for the tool {name}"),
            Error::Config { file, error } => {
                write!(
                    formatter,
                    "{}: {}: {}",
                    term::path(file),
                    if error.pointer.is_empty() { "/".to_owned() } else { term::shortened(&error.pointer) },
                    error.message
                )
            }
            Error::Record { path, reason, .. } => write!(formatter, "{} is damaged: {reason}", term::path(path)),
            Error::Io { action, path, source } => write!(formatter, "can't {action} {}: {source}", term::path(path)),
            Error::Signature { what, reason } => write!(formatter, "the signature of {what} is not valid: {reason}"),
            Error::Key { path, reason } => write!(formatter, "{}: {reason}", term::path(path)),
            Error::Rollback { what, reason } => write!(formatter, "{what} is refused: {reason}"),
            Error::Widening { tool } => write!(formatter, "{tool} is not updated: the new file grants more"),
            Error::NotInStore { name, .. } => write!(formatter, "the store has no tool {name}"),
            Error::Download { url, reason } => write!(formatter, "can't fetch {url}: {reason}"),
            Error::Exists { path, .. } => write!(formatter, "{} exists already", term::path(path)),
            Error::Mount { path, reason, .. } => write!(formatter, "{} is not mounted: {reason}", term::path(path)),
            Error::Consent { tool, what } => {
                write!(formatter, "{tool} asks for {what}, and you have not agreed to that")
            }
            Error::Environment { name, message, .. } => write!(formatter, "{name}: {message}"),
            Error::Image { stage, message, .. } => write!(formatter, "the image for {stage}: {message}"),
            Error::Install { tool, message, .. } => write!(formatter, "{tool} is not installed: {message}"),
            Error::Interrupted { what, signal } => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(signal) => write!(formatter, "{what} was interrupted by {signal}"),
                Err(_) => write!(formatter, "{what} was interrupted"),
            },
            Error::Recursion { name } => {
                write!(formatter, "coco was started as {name} by the engine that coco itself started")
            }
            Error::Reported { count } => write!(formatter, "{count} failed"),
        }
    }
}

impl std::error::Error for Error {}
