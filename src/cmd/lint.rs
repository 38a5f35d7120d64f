//! `coco lint`: checks coco files.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::reported;
use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::config::{self, Access, AccessSource, CocoFile, Danger, Located, MAX_FILE, MountSource, from_bash};
use crate::error::Error;
use crate::host::World;
use crate::json::JsonError;
use crate::names::ToolName;
use crate::rules::variables::{PassThrough, looks_secret, pass_through};
use crate::sys::files::read_limited;
use crate::term;
use crate::tools;

/// Checks coco files.
pub fn lint(world: &World, line: &Line) -> Result<u8, Error> {
    let paths: Vec<PathBuf> = if line.operands.is_empty() {
        tools::list(world)?.iter().map(|name| tools::path(world, name)).collect()
    } else {
        line.operands.iter().map(|operand| operand_path(world, operand)).collect()
    };
    let mut failed = 0;
    for path in paths {
        match lint_file(&path, line.has(Switch::Store)) {
            Ok(Findings { warnings, notes }) => {
                term::out(&format!("ok: {}\n", term::path(&path)));
                for warning in warnings {
                    term::note("warning", &format!("{}: {warning}", term::path(&path)));
                }
                for note in notes {
                    term::note("note", &format!("{}: {note}", term::path(&path)));
                }
            }
            Err(error) => {
                error.report();
                failed += 1;
            }
        }
    }
    reported(failed)
}

/// A configured tool's file by its name, or a path.
fn operand_path(world: &World, operand: &OsStr) -> PathBuf {
    match operand.to_str().map(ToolName::new) {
        Some(Ok(name)) if tools::path(world, &name).exists() => tools::path(world, &name),
        _ => PathBuf::from(operand),
    }
}

/// What there is to say about a file that is in order.
struct Findings {
    warnings: Vec<String>,
    /// How it differs from what the bash coco made of it.
    notes: Vec<&'static str>,
}

fn lint_file(path: &Path, for_store: bool) -> Result<Findings, Error> {
    let missing = || std::io::Error::new(std::io::ErrorKind::NotFound, "there is no such file");
    let bytes =
        read_limited(path, MAX_FILE).and_then(|bytes| bytes.ok_or_else(missing)).map_err(Error::io("read", path))?;
    let file = config::parse(&bytes).map_err(|error| Error::Config { file: path.to_owned(), error })?;
    if for_store && let Some(error) = config::unfit_for_store(&file) {
        return Err(Error::Config { file: path.to_owned(), error });
    }
    let name = path.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix(".json")).unwrap_or_default();
    let mut warnings = warnings(&file);
    if let Err(message) = ToolName::new(name) {
        warnings.push(format!("the file's name is the tool's name: {message}"));
    }
    // An agent's key and its own directory in home are what it is granted for; the rest is a mistake.
    let granted = |warning: &&String| !["/env_passthrough", "/mounts"].iter().any(|place| warning.starts_with(place));
    if for_store && let Some(warning) = warnings.iter().find(granted) {
        let error = JsonError::new("", warning.clone(), "a store's file has no warnings");
        return Err(Error::Config { file: path.to_owned(), error });
    }
    let notes = if for_store { Vec::new() } else { from_bash::notes(&bytes) };
    Ok(Findings { warnings, notes })
}

/// What a careful author would want to know.
fn warnings(file: &CocoFile) -> Vec<String> {
    let mut warnings = Vec::new();
    for name in file.env_passthrough.iter().filter(|name| looks_secret(name)) {
        warnings.push(format!(
            "/env_passthrough: {name} looks like a secret or an agent; the tool and all it runs can read it"
        ));
    }
    for name in &file.env_passthrough {
        // Another's value is refused by the parser.
        if let PassThrough::SteersCode(reason) = pass_through(name) {
            warnings.push(format!(
                "/env_passthrough: your {name} steers what runs in the sandbox: {reason}; a project's .envrc can set it"
            ));
        }
    }
    for (name, value) in &file.env {
        if looks_secret(name) && !value.is_empty() {
            warnings.push(format!(
                "/env/{name}: whoever can read this file can read the secret; use env_passthrough instead"
            ));
        }
    }
    for (position, mount) in file.mounts.iter().enumerate() {
        if mount.access_source == AccessSource::Default {
            warnings.push(format!(
                "/mounts/{position}: the tool may write {}; write \"opts\": \"rw\", or \"ro\" if it only reads there",
                mount.src
            ));
        }
        if mount.access == Access::ReadWrite && matches!(mount.src, MountSource::Home(_) | MountSource::Absolute(_)) {
            warnings.push(format!(
                "/mounts/{position}: a writable mount outside the project; make it \"ro\" if the tool only reads there"
            ));
        }
    }
    for Located { place, danger } in Danger::of(file) {
        warnings.push(match danger {
            Danger::EngineNetwork => {
                format!("{place}: the engine's network reaches private addresses too; allowed_hosts is narrower")
            }
            Danger::Unprotected => format!("{place}: the tool may have {danger}"),
            Danger::EngineArgument(_)
            | Danger::HostNetwork
            | Danger::Display
            | Danger::Home(_)
            | Danger::StartedAtHome(_)
            | Danger::Socket(_) => {
                format!("{place}: the tool runs only after coco allow, because it asks for {danger}")
            }
        });
    }
    if file.description.is_none() {
        warnings.push("/description is missing; coco list and search show it".to_owned());
    }
    warnings
}
