//! Container Conductor: runs developer tools in a sandbox with only the permissions that a small
//! JSON file grants.
//!
//! `ARCHITECTURE.md` shows the rooms; `run` holds the pipeline of one run on one screen:
//!
//! ```text
//! argv --> cli    --> store, tools --> facts --> policy --> plan --> exec
//! bytes    typed      verified         world     decision   argv     the only processes
//! ```

pub mod cli;
pub mod config;
pub mod engine;
pub mod error;
pub mod exec;
pub mod explain;
pub mod facts;
pub mod host;
pub mod init;
pub mod install;
pub mod json;
pub mod names;
pub mod network;
pub mod plan;
pub mod policy;
pub mod protocol;
pub mod rules;
pub mod run;
pub mod store;
pub mod sys;
pub mod term;
pub mod tools;

mod cmd;

use std::ffi::OsString;
use std::fs;

use crate::cli::argv0::{Applet, applet};
use crate::error::Error;
use crate::host::World;
use crate::policy::Mode;

/// The whole program: the process's arguments to its exit code.
pub fn main() -> u8 {
    close_inherited_files();
    let mut argv = std::env::args_os();
    let name = argv.next();
    let arguments: Vec<OsString> = argv.collect();
    let outcome = applet(name.as_ref()).and_then(|applet| match applet {
        Applet::Init => Ok(init::main(&arguments)),
        Applet::Guard => Err(exec::guard(&arguments)),
        Applet::Manage => cmd::manage(&guarded_world("coco")?, arguments),
        Applet::Tool(tool) => run::tool(&guarded_world(tool.as_str())?, &tool, &arguments, Mode::Granted),
    });
    outcome.unwrap_or_else(|error| error.report())
}

/// The world, unless an engine that coco started has started coco.
fn guarded_world(name: &str) -> Result<World, Error> {
    exec::ensure_children_can_be_awaited()?;
    let world = World::read(exec::passwd)?;
    match world.variable(exec::RECURSION_GUARD) {
        None => Ok(world),
        Some(_) => Err(Error::Recursion { name: name.to_owned() }),
    }
}

/// Closes what the caller left open beyond the standard streams, so that none of it is inherited
/// by the engine. Runs first: this process has not opened anything yet.
fn close_inherited_files() {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<i32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in open {
        // The directory's own descriptor is closed already.
        let _ = nix::unistd::close(number);
    }
}
