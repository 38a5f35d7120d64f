//! The environment of a run: a list, and nothing else of the caller's. Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::config::CocoFile;
use crate::facts::{Display, Facts};
use crate::host::World;
use crate::names::EnvName;
use crate::rules::sandbox_paths::{CA_GUEST, XAUTHORITY_GUEST};
use crate::rules::variables::{CA_VARIABLES, PRESENTATION};

/// Every variable that the tool gets but HOME and PATH, each once. The coco file's own value wins over
/// the caller's, and the caller's over coco's defaults.
pub fn environment(
    file: &CocoFile,
    world: &World,
    facts: &Facts,
    display: Option<&Display>,
) -> Vec<(EnvName, OsString)> {
    let mut variables: Vec<(EnvName, OsString)> = Vec::new();
    let mut set = |name: &str, value: &OsStr| {
        if let Ok(name) = EnvName::new(name) {
            variables.retain(|(other, _)| *other != name);
            variables.push((name, value.to_owned()));
        }
    };
    set("LANG", OsStr::new("C.UTF-8"));
    for name in PRESENTATION {
        if let Some(value) = world.variable(name) {
            set(name, value);
        }
    }
    if facts.ca_certificates.is_some() {
        for name in CA_VARIABLES {
            set(name, OsStr::new(CA_GUEST));
        }
    }
    if let Some(display) = display {
        set("DISPLAY", OsStr::new(&display.name));
        if display.authority.is_some() {
            set("XAUTHORITY", OsStr::new(XAUTHORITY_GUEST));
        }
    }
    for name in &file.env_passthrough {
        if let Some(value) = world.variables.get(OsStr::new(name.as_str())) {
            set(name.as_str(), value);
        }
    }
    for (name, value) in &file.env {
        set(name.as_str(), OsStr::from_bytes(value.as_bytes()));
    }
    variables
}
