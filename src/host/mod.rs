//! The machine and the caller, read once into plain data. Tests make a [`World`] by hand.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::term;

pub mod directories;
mod home;
pub mod kernel;
pub mod project;
pub mod search_path;
pub mod volumes;

use directories::{Directories, check_outside_projects};
use project::current_directory;
use search_path::system_program;

/// What every command may need to know.
#[derive(Debug, Clone)]
pub struct World {
    /// The caller's environment.
    pub variables: BTreeMap<OsString, OsString>,
    /// The caller's home, canonical.
    pub home: PathBuf,
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// The permission bits that new files don't get.
    pub umask: u32,
    /// This program's file, canonical.
    pub program: PathBuf,
    /// Where coco keeps its files.
    pub directories: Directories,
    /// Which of the standard streams are terminals.
    pub terminals: Terminals,
    /// This process, for names that must differ between runs.
    pub pid: u32,
    /// The process that started this one.
    pub parent: u32,
}

/// Which of the standard streams are terminals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terminals {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// Asks a user database: this program, getent(1), and the user's id; gives a line of passwd(5).
pub type AskPasswd = fn(&Path, &Path, u32) -> Option<Vec<u8>>;

impl World {
    /// Reads the environment, the user and the standard streams of this process. `ask` is for a caller without
    /// `HOME` who is not in `/etc/passwd`.
    ///
    /// # Errors
    /// [`Error::Environment`] without a home, [`Error::Io`] without `/proc`.
    pub fn read(ask: AskPasswd) -> Result<World, Error> {
        #[expect(clippy::disallowed_methods, reason = "the environment is read here, once")]
        let variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        let program =
            fs::canonicalize("/proc/self/exe").map_err(Error::io("find this program's own file", "/proc/self/exe"))?;
        let uid = rustix::process::geteuid().as_raw();
        let home = variables.get(OsStr::new("HOME")).map(OsString::as_os_str);
        let home = home::home_of(home, uid, |uid| ask(&program, &system_program("getent")?, uid))?;
        let home = fs::canonicalize(&home).unwrap_or(home);
        let directories = directories::directories(&variables, &home, uid);
        Ok(World {
            home,
            uid,
            gid: rustix::process::getegid().as_raw(),
            umask: current_umask(),
            program,
            directories,
            terminals: Terminals {
                stdin: io::stdin().is_terminal(),
                stdout: io::stdout().is_terminal(),
                stderr: io::stderr().is_terminal(),
            },
            pid: std::process::id(),
            parent: std::os::unix::process::parent_id(),
            variables,
        })
    }

    /// Refuses directories of coco's own that lie in the project that the caller works in.
    ///
    /// # Errors
    /// [`Error::Environment`] names the directory and the project.
    pub fn ensure_directories_outside_projects(&self) -> Result<(), Error> {
        match current_directory() {
            Ok(cwd) => check_outside_projects(self, &cwd),
            // A directory that is gone is in no project.
            Err(_) => Ok(()),
        }
    }

    /// A variable that is set to something.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// A variable that has to be text.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, Error> {
        self.variable(name)
            .map(|value| {
                value.to_str().ok_or_else(|| Error::Environment {
                    name,
                    message: format!("{} is not UTF-8", term::os(value)),
                    hint: format!("unset {name} or set it to plain text"),
                })
            })
            .transpose()
    }

    /// Whether a switch variable is on: `true` and `1` are, and nothing else.
    pub fn is_on(&self, name: &str) -> bool {
        self.variable(name).is_some_and(|value| value == "1" || value == "true")
    }
}

/// The umask can only be read by setting it. Only one thread runs yet.
fn current_umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    rustix::process::umask(mask);
    mask.bits()
}
