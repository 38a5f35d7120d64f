//! Finds the engine on this machine, and checks that what steers it is the user's own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::helpers::{self, Found, HELPER_DIRECTORIES, HelperProgram, Start};
use super::{Engine, EngineKind};
use crate::error::Error;
use crate::host::World;
use crate::host::project::{current_directory, projects_of};
use crate::host::search_path::{search_path, trusted_path};
use crate::rules::host_paths::SYSTEM_PROGRAM_DIRECTORIES;
use crate::rules::variables::{ENGINE_STEERING, EngineValue};
use crate::term;

/// Finds the engine: the one that `COCO_RUNTIME` names, else podman, else docker.
///
/// A `PATH` entry that a project controls must not choose what runs on the host: relative entries,
/// `node_modules`, and entries inside the project are passed over.
pub fn find_engine(world: &World) -> Result<Engine, Error> {
    let kinds: Vec<EngineKind> = match world.text("COCO_RUNTIME")? {
        Some(name) => vec![EngineKind::named(name).ok_or_else(|| Error::Environment {
            name: "COCO_RUNTIME",
            message: format!("unknown container engine {name:?}"),
            hint: "set it to podman or docker, or unset it".to_owned(),
        })?],
        None => EngineKind::ALL.to_vec(),
    };
    for kind in &kinds {
        if let Some(engine) = engine_of(world, *kind)? {
            return Ok(engine);
        }
    }
    let names: Vec<&str> = kinds.iter().map(|kind| kind.program()).collect();
    Err(Error::Engine {
        message: format!("no {} on the PATH", names.join(" or ")),
        hint: "install podman with the packages that README's section Install lists, or install docker".to_owned(),
    })
}

/// The engine of a kind, if it is on this machine.
pub fn engine_of(world: &World, kind: EngineKind) -> Result<Option<Engine>, Error> {
    let Some(path) = search_path(world, kind.program())? else { return Ok(None) };
    let engine = Engine::new(kind, path, world.uid, docker_socket_owner(world, kind));
    let engine = engine.with_environment(&world.variables, trusted_path(world));
    engine.steering().try_for_each(|(name, value)| check_owner(world, name, value))?;
    Ok(Some(engine))
}

/// Refuses a variable that steers the engine unless it names something of the user's own, on this machine:
/// an engine's configuration decides what a sandbox is, and a project's `.env` could name its own.
fn check_owner(world: &World, name: &OsStr, value: &OsStr) -> Result<(), Error> {
    let Some(known) = ENGINE_STEERING.iter().find(|known| name == known.name).filter(|_| !value.is_empty()) else {
        return Ok(());
    };
    let refuse =
        |message: String, hint: &str| Err(Error::Environment { name: known.name, message, hint: hint.to_owned() });
    let path = match known.value {
        EngineValue::Word => return Ok(()),
        EngineValue::Path => Path::new(value),
        EngineValue::Bus => match bus_path(value) {
            Some(path) => path,
            None => {
                return refuse(
                    format!("{} is not a socket in the file system", term::os(value)),
                    "unset it, or set it to unix:path=/run/user/ID/bus",
                );
            }
        },
        EngineValue::Address => match value.as_bytes().strip_prefix(b"unix://") {
            Some(path) => Path::new(OsStr::from_bytes(path)),
            None => {
                return refuse(
                    format!("{} is not a socket of this machine", term::os(value)),
                    "unset it: the engine must run on this machine, where coco and your files are",
                );
            }
        },
    };
    if !path.is_absolute() {
        return refuse(format!("{} is not an absolute path", term::os(value)), "write the whole path, or unset it");
    }
    let cwd = current_directory().unwrap_or_default();
    // The engine itself refuses or makes what is not there.
    let Ok(canonical) = fs::canonicalize(path) else { return Ok(()) };
    if projects_of(world, &cwd).any(|project| canonical.starts_with(project) || path.starts_with(project)) {
        let message = format!("{} lies in the project that you work in", term::os(value));
        return refuse(message, "unset it: a project may not choose what its sandbox is");
    }
    let owner = fs::metadata(&canonical).map_err(Error::io("look at", &canonical))?.uid();
    // An engine's socket belongs to root or to the user it serves, and so does its configuration.
    if owner != 0 && owner != world.uid {
        return refuse(format!("{} belongs to another user", term::os(value)), "unset it, or name a file of yours");
    }
    Ok(())
}

/// The path of the one socket that a bus address names: `unix:path=PATH`, perhaps with a `guid`.
fn bus_path(value: &OsStr) -> Option<&Path> {
    let mut fields = value.as_bytes().strip_prefix(b"unix:path=")?.split(|byte| *byte == b',');
    let path = fields.next()?;
    let plain = !path.iter().any(|byte| matches!(byte, b';' | b'%')) && fields.all(|field| field.starts_with(b"guid="));
    (plain && !value.as_bytes().contains(&b';')).then(|| Path::new(OsStr::from_bytes(path)))
}

/// The helpers of the engine's that its own words name and that are not where the engine looks; else those that a start
/// needs and that are not there.
pub fn missing_helpers(engine: &Engine, words: &str, start: Start) -> Vec<&'static HelperProgram> {
    let named = missing_helpers_in(engine, words);
    // docker's are its daemon's, wherever that is.
    if !named.is_empty() || engine.kind != EngineKind::Podman {
        return named;
    }
    helpers::missing_for(start, |program, found| is_installed(engine, program, found))
}

/// The helpers that an engine's own words name and that are not where it looks: what they say of one that is there may be
/// about a program of the image.
pub fn missing_helpers_in(engine: &Engine, words: &str) -> Vec<&'static HelperProgram> {
    let mut missing = helpers::missing_in(words);
    missing.retain(|helper| !is_installed(engine, helper.program, helper.found));
    missing
}

/// Whether a program is where the engine looks for it.
fn is_installed(engine: &Engine, program: &str, found: Found) -> bool {
    let path = engine.environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_bytes());
    let path: Vec<&Path> = path
        .unwrap_or(b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .split(|byte| *byte == b':')
        .map(|entry| Path::new(OsStr::from_bytes(entry)))
        .collect();
    let is_program = |path: PathBuf| fs::metadata(path).is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0);
    let more: [&[&str]; 2] = match found {
        Found::OnPath => [&[], &[]],
        Found::InSystem => [SYSTEM_PROGRAM_DIRECTORIES, HELPER_DIRECTORIES],
        Found::AmongHelpers => [&[], HELPER_DIRECTORIES],
    };
    path.iter().copied().chain(more.concat().into_iter().map(Path::new)).any(|place| is_program(place.join(program)))
}

/// Who owns docker's socket: a rootless daemon's belongs to the user.
fn docker_socket_owner(world: &World, kind: EngineKind) -> Option<u32> {
    if kind != EngineKind::Docker {
        return None;
    }
    let socket = world
        .variable("DOCKER_HOST")
        .and_then(OsStr::to_str)
        .map_or("/var/run/docker.sock", |host| host.strip_prefix("unix://").unwrap_or(host));
    fs::metadata(socket).ok().map(|metadata| metadata.uid())
}
