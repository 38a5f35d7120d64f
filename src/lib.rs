//! Container Conductor: runs developer tools in a sandbox with only the permissions that a small
//! JSON file grants.
//!
//! One direction, left to right; a module uses what stands before it and the leaves (`names`,
//! `json`, `error`, `term`):
//!
//! ```text
//! argv --> applet --> args --> store, tools --> facts --> policy --> plan --> exec
//! bytes    who am I   typed    verified, typed  world     decision   argv     processes
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
pub mod store;
pub mod sys;
pub mod term;
pub mod tools;

mod cmd;

use std::ffi::{OsStr, OsString};
use std::fs;

use crate::cli::table::Applet;
use crate::engine::discover;
use crate::error::Error;
use crate::exec::Outcome;
use crate::facts::Facts;
use crate::facts::autorun_scan::Extent;
use crate::host::World;
use crate::names::ToolName;
use crate::network::log::Summary;

/// The whole program: the process's arguments to its exit code.
pub fn main() -> u8 {
    close_inherited_files();
    let mut argv = std::env::args_os();
    let name = argv.next();
    let arguments: Vec<OsString> = argv.collect();
    let outcome = crate::cli::table::applet(name.as_ref()).and_then(|applet| match applet {
        Applet::Init => Ok(init::main(&arguments)),
        Applet::Guard => Err(exec::guard(&arguments)),
        Applet::Manage => cmd::manage(&guarded_world("coco")?, arguments),
        Applet::Tool(tool) => run_tool(&guarded_world(tool.as_str())?, &tool, &arguments, Mode::Granted),
    });
    outcome.unwrap_or_else(|error| error.report())
}

/// Which hosts a run may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Those that the coco file grants.
    Granted,
    /// Every public one, to find out which the tool wants; asked for on the command line.
    DangerousLearn,
}

/// One run of a tool: the pipeline.
///
/// # Errors
/// Whatever kept the tool from being started; its own failure is an exit code.
pub fn run_tool(world: &World, name: &ToolName, arguments: &[OsString], mode: Mode) -> Result<u8, Error> {
    let tool = tools::load(world, name)?;
    let facts = Facts::gather(world, &tool.file, tools::consent(world, name))?;
    let mut policy = policy::decide(name, &tool.file, world, &facts, &tool.digest)?;
    if mode == Mode::DangerousLearn {
        policy = policy.dangerous_learn();
    }
    let engine = discover::find_engine(world)?;
    for warning in &policy.warnings {
        term::note("warning", warning);
    }
    for limit in plan::limits_not_set(&tool.file.limits, plan::settable(&engine, &facts)) {
        term::note("warning", &format!("limits: {limit} is not enforced, your cgroups have no controller for it"));
    }
    let stage = install::image::Stage::of(&policy.installation.tool);
    // Twice at most: an image that the engine has lost is built again, once.
    for _ in 0..2 {
        let (image, record) = match install::ready(world, &facts, &policy, &engine, &tool.digest) {
            Err(Error::Engine { .. }) if install::image::forget_if_lost(world, &engine, stage) => continue,
            ready => ready?,
        };
        let plan = plan::run(&policy, world, &facts, &engine, &image, &record, arguments);
        if world.is_on("COCO_DEBUG") {
            term::relay(&explain::plan("run phase", &plan));
        }
        let (outcome, summary) = exec::run(&plan, world.parent)?;
        match outcome {
            Outcome::Exited(code) => {
                tell_planted(world, &tool, &facts);
                tell_network(world, &tool, &summary, mode);
                return Ok(code);
            }
            Outcome::EngineFailed(code)
                if code != error::EXIT_FAILURE || !install::image::forget_if_gone(world, &engine, stage, &image) =>
            {
                return Err(Error::Engine {
                    message: format!("{} did not start the sandbox (exit code {code})", engine.kind.program()),
                    hint: format!("what it said stands above; its command: coco run --dry-run {name}"),
                });
            }
            Outcome::EngineFailed(_) => {}
        }
    }
    Err(Error::Engine { message: "the engine lost the image again".to_owned(), hint: "try coco rebuild".to_owned() })
}

/// What a tool has put into a project that would run on the host.
fn tell_planted(world: &World, tool: &tools::Tool, facts: &Facts) {
    let (planted, extent) = facts.planted(world, &tool.file);
    for path in planted {
        let path = term::path(&path);
        term::note(
            "warning",
            &format!("{} made {path}, which may run programs on your machine: look at it first", tool.name),
        );
    }
    if extent == Extent::CutShort {
        let words = "made more directories than are looked through for what may run on your machine";
        term::note("warning", &format!("{} {words}: look yourself", tool.name));
    }
}

/// What was denied, and what a learning run has learnt. An editor that reads standard error can
/// ask for silence; a person at a terminal is always told.
fn tell_network(world: &World, tool: &tools::Tool, summary: &Summary, mode: Mode) {
    if world.terminals.stderr || world.variable("COCO_QUIET").is_none() {
        for line in explain::denied(&tool.name, summary, &tool.path) {
            term::say(&line);
        }
    }
    if mode == Mode::DangerousLearn {
        term::relay(&explain::learned(&tool.name, summary, &tool.path));
    }
}

/// The world, unless an engine that coco started has started coco.
fn guarded_world(name: &str) -> Result<World, Error> {
    exec::can_wait()?;
    let world = World::read()?;
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

/// An operand that has to be a tool's name.
fn tool_name(operand: &OsStr) -> Result<ToolName, Error> {
    ToolName::new(operand.to_str().unwrap_or("\u{fffd}")).map_err(|message| Error::BadName { message })
}
