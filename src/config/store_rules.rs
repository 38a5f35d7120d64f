//! What a store's coco files may not have: fetching a file is no consent to what opens the sandbox. Pure.

use super::{AccessSource, CocoFile, Danger, Located};
use crate::json::JsonError;
use crate::rules::variables::{PassThrough, pass_through};

/// Why a coco file can't be in a store, if it can't.
pub fn unfit_for_store(file: &CocoFile) -> Option<JsonError> {
    dangerous(file).or_else(|| steered(file)).or_else(|| left_open(file)).or_else(|| published(file))
}

fn refuse(place: &str, what: &str, hint: &str) -> JsonError {
    JsonError::new(place, format!("a store's file may not have {what}"), hint)
}

fn dangerous(file: &CocoFile) -> Option<JsonError> {
    // Not even harmless ones: what an engine makes of its options changes with the engine.
    if !file.podman_args.is_empty() {
        return Some(refuse("/podman_args", "engine arguments", "use another key, or leave it out"));
    }
    let Located { place, danger } = Danger::of(file).into_iter().next()?;
    Some(match danger {
        Danger::EngineArgument(_) => refuse(&place, "engine arguments", "use another key, or leave it out"),
        Danger::HostNetwork => refuse(&place, "the host's network", "write \"allowed_hosts\" or \"public\""),
        Danger::EngineNetwork => refuse(&place, "the engine's network", "write \"allowed_hosts\" or \"public\""),
        Danger::Display => refuse(&place, "the X11 display", "leave it out"),
        Danger::Unprotected => refuse(&place, "\"protect\": false", "leave it out"),
        Danger::Home(_) | Danger::StartedAtHome(_) => refuse(&place, "the whole home", "mount what the tool needs"),
        Danger::Socket(_) => refuse(&place, "a socket of the host's", "leave it out"),
    })
}

/// A variable by which a project's `.envrc` would steer the tools of everybody who has the file.
fn steered(file: &CocoFile) -> Option<JsonError> {
    file.env_passthrough.iter().enumerate().find_map(|(position, name)| match pass_through(name) {
        PassThrough::Plain => None,
        PassThrough::Refused(reason) | PassThrough::SteersCode(reason) => Some(refuse(
            &format!("/env_passthrough/{position}"),
            &format!("the user's {name}: {reason}"),
            "set a fixed value under \"env\", or leave it out",
        )),
    })
}

/// A port that other machines reach.
fn published(file: &CocoFile) -> Option<JsonError> {
    let position = file.ports.iter().position(|port| !port.address.is_loopback())?;
    Some(refuse(&format!("/ports/{position}"), "a port that other machines reach", "leave its address out"))
}

/// A mount that is writable by the format's default. Who reads a store's file need not know that.
fn left_open(file: &CocoFile) -> Option<JsonError> {
    let position = file.mounts.iter().position(|mount| mount.access_source == AccessSource::Default)?;
    Some(refuse(
        &format!("/mounts/{position}"),
        "a mount that says neither \"ro\" nor \"rw\"",
        "write \"opts\": \"ro\" or \"rw\"",
    ))
}
