//! `coco lint`, `coco verify` and `coco allow`: what a coco file says, and who said it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{print, reported};
use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::config::{self, Access, CocoFile, MAX_FILE, Mount, MountSource, Network};
use crate::error::Error;
use crate::facts::{AtHome, Facts};
use crate::host::World;
use crate::json::JsonError;
use crate::names::ToolName;
use crate::policy::{self, Danger};
use crate::rules::variables::looks_secret;
use crate::sys::files::read_limited;
use crate::term;
use crate::tools::{self, Origin};

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
            Ok(warnings) => {
                term::out(&format!("ok: {}\n", term::path(&path)));
                for warning in warnings {
                    term::note("warning", &format!("{}: {warning}", term::path(&path)));
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

fn lint_file(path: &Path, for_store: bool) -> Result<Vec<String>, Error> {
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
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
    Ok(warnings)
}

/// What a careful author would want to know.
fn warnings(file: &CocoFile) -> Vec<String> {
    let mut warnings = Vec::new();
    for name in file.env_passthrough.iter().filter(|name| looks_secret(name)) {
        warnings.push(format!(
            "/env_passthrough: {name} looks like a secret or an agent; the tool and all it runs can read it"
        ));
    }
    for (name, value) in &file.env {
        if looks_secret(name) && !value.is_empty() {
            warnings.push(format!(
                "/env/{name}: a secret in a coco file is readable by who reads the file; use env_passthrough"
            ));
        }
    }
    for mount in &file.mounts {
        if mount.access == Access::ReadWrite && matches!(mount.src, MountSource::Home(_) | MountSource::Absolute(_)) {
            warnings.push(
                "/mounts: a writable mount outside the project; make it \"ro\" if the tool only reads there".to_owned(),
            );
        }
    }
    if matches!(file.network, Network::EngineDefault | Network::EngineNetwork(_)) {
        warnings
            .push("/network: the engine's network reaches private addresses too; allowed_hosts is narrower".to_owned());
    }
    for need in policy::needs_consent(file) {
        warnings.push(format!("{need} needs coco allow before it runs"));
    }
    if file.description.is_none() {
        warnings.push("/description is missing; coco list and search show it".to_owned());
    }
    warnings
}

/// Checks installed coco files against their signatures.
pub fn verify(world: &World, line: &Line) -> Result<u8, Error> {
    let mut origins = Vec::new();
    let (mut modified, mut failed) = (0, 0);
    for name in tools::named_or_all(world, &line.operands)? {
        // By its bytes: what no longer parses may still be what was signed, or was changed.
        match tools::read(world, &name).and_then(|bytes| tools::origin(world, &name, &bytes)) {
            Ok(origin) => {
                modified += usize::from(matches!(origin, Origin::Modified(_)));
                origins.push((tools::came_from(world, &name).map(|from| from.store), name, origin));
            }
            Err(error) => {
                error.report();
                failed += 1;
            }
        }
    }
    if line.has(Switch::Json) {
        let rows: Vec<Value> =
            origins.iter().map(|(store, name, origin)| origin_json(name, origin, store.as_deref())).collect();
        term::out(&format!("{:#}\n", Value::Array(rows)));
    } else {
        let rows: Vec<Vec<String>> = origins
            .iter()
            .map(|(store, name, origin)| {
                let (state, words) = match origin {
                    Origin::Store { revision, key } => {
                        let store = store.as_deref().unwrap_or("an unknown store");
                        ("store", term::printable(&format!("revision {revision}, key {}, from {store}", key.number)))
                    }
                    Origin::Local => ("local", "no signature".to_owned()),
                    Origin::Modified(reason) => ("MODIFIED", reason.clone()),
                };
                vec![name.to_string(), state.to_owned(), words]
            })
            .collect();
        term::out(&term::table(&rows));
    }
    reported(modified + failed)
}

fn origin_json(name: &ToolName, origin: &Origin, store: Option<&str>) -> Value {
    match origin {
        Origin::Store { revision, key } => {
            json!({"name": name.as_str(), "state": "store", "revision": revision, "key": key.number, "store": store})
        }
        Origin::Local => json!({"name": name.as_str(), "state": "local"}),
        Origin::Modified(reason) => {
            json!({"name": name.as_str(), "state": "MODIFIED", "reason": reason, "store": store})
        }
    }
}

/// Shows what a coco file asks for and records that the user agrees, or takes that back.
pub fn allow(world: &World, line: &Line, name: &ToolName) -> Result<u8, Error> {
    if line.has(Switch::Revoke) {
        let was = tools::revoke(world, name)?;
        return print(if was { "taken back\n" } else { "there was no agreement\n" });
    }
    let tool = tools::load(world, name)?;
    // What can't be looked at here and now is refused when the tool runs, whatever is agreed to.
    let mut needs = match Facts::gather(world, &tool.file, None) {
        Ok(facts) => policy::dangers(&tool.file, world, &facts),
        Err(_) => policy::needs_consent(&tool.file),
    };
    needs.retain(|danger| !matches!(danger, Danger::StartedAtHome(_)));
    let home = if line.has(Switch::Home) {
        let here = |mount: &&Mount| matches!(mount.src, MountSource::CurrentDirectory | MountSource::Project);
        needs.extend(tool.file.mounts.iter().filter(here).map(|mount| Danger::StartedAtHome(mount.access)));
        AtHome::DangerousAllowed
    } else {
        AtHome::Refused
    };
    if needs.is_empty() {
        return print(&format!("{name} asks for nothing that needs agreement\n"));
    }
    for need in &needs {
        term::out(&format!("{name} may now have {}\n", term::printable(&need.to_string())));
    }
    tools::agree(world, &tool, home)?;
    print(&format!("this holds until {} changes; coco allow --revoke {name} takes it back\n", term::path(&tool.path)))
}
