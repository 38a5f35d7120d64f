//! One run of a tool: the pipeline, from a name to an exit code.

use std::ffi::OsString;

use crate::engine::discover;
use crate::engine::helpers::{self, Start};
use crate::error::{self, Error};
use crate::exec::{self, Ended, Outcome};
use crate::explain::{self, WITHOUT_LANDLOCK};
use crate::facts::Facts;
use crate::facts::autorun_scan::Extent;
use crate::host::{World, kernel};
use crate::install;
use crate::names::ToolName;
use crate::network::log::Summary;
use crate::plan::{self, Job};
use crate::policy::{self, Mode, Policy};
use crate::term;
use crate::tools::{self, Tool};

/// A configured tool, and what has to be known to decide about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The tool.
    pub tool: Tool,
    /// What was looked up for it.
    pub facts: Facts,
}

/// Reads a tool's coco file and looks up the facts that the decision about it needs.
///
/// # Errors
/// There is no such coco file, it is wrong, or a fact can't be found out.
pub fn load(world: &World, name: &ToolName) -> Result<Loaded, Error> {
    let tool = tools::load(world, name)?;
    let facts = Facts::gather(world, &tool.file, tools::consent::read(world, name))?;
    Ok(Loaded { tool, facts })
}

/// Loads a tool and decides what it gets.
///
/// # Errors
/// Those of [`load`] and [`policy::decide`].
pub fn decide(world: &World, name: &ToolName, mode: Mode) -> Result<(Loaded, Policy), Error> {
    let loaded = load(world, name)?;
    let Loaded { tool, facts } = &loaded;
    let policy = policy::decide(name, &tool.file, world, facts, tool.digest, mode)?;
    Ok((loaded, policy))
}

/// One run of a tool: the pipeline.
///
/// # Errors
/// Whatever kept the tool from being started; its own failure is an exit code.
pub fn tool(world: &World, name: &ToolName, arguments: &[OsString], mode: Mode) -> Result<u8, Error> {
    let (Loaded { tool, facts }, policy) = decide(world, name, mode)?;
    let engine = discover::find_engine(world)?;
    let job = Job { world, facts: &facts, policy: &policy, engine: &engine };
    warn(&job);
    let stage = install::image::Stage::of(&policy.installation.tool);
    // Twice at most: an image that the engine has lost is built again, once.
    for _ in 0..2 {
        let (image, record) = match install::ready(&job) {
            Err(Error::Engine { .. }) if install::image::forget_if_lost(world, &engine, stage)? => continue,
            ready => ready?,
        };
        let plan = plan::run(&job, &image, &record, arguments);
        if world.is_on("COCO_DEBUG") {
            term::print_lines(&explain::plan("run phase", &plan));
        }
        let Ended { outcome, network, without_landlock } = exec::run(&plan, world.parent)?;
        if without_landlock {
            warn_of_missing_landlock(world);
        }
        match outcome {
            Outcome::Exited(code) => {
                warn_of_planted_files(world, &tool, &facts);
                report_network(world, &tool, &network, mode);
                return Ok(code);
            }
            Outcome::EngineFailed(code)
                if code != error::EXIT_FAILURE || !install::image::forget_if_gone(world, &engine, stage, &image)? =>
            {
                // Its words went past coco, to where the tool's would have gone.
                let start = Start { rootful: world.uid == 0, engine_network: policy.network.is_the_engines() };
                let missing = discover::missing_helpers(&engine, "", start);
                return Err(Error::Engine {
                    message: format!("{} did not start the sandbox (exit code {code})", engine.kind.program()),
                    hint: helpers::hint(&missing).unwrap_or_else(|| {
                        format!("see its output above; coco run --dry-run {name} shows its command")
                    }),
                });
            }
            Outcome::EngineFailed(_) => {}
        }
    }
    Err(Error::Engine { message: "the engine lost the image again".to_owned(), hint: "run coco rebuild".to_owned() })
}

/// Tells what the user must know before a run.
pub fn warn(job: &Job) {
    for warning in job.warnings() {
        term::note("warning", &warning);
    }
}

/// Tells what a tool has put into a project that runs on the host by itself.
fn warn_of_planted_files(world: &World, tool: &Tool, facts: &Facts) {
    let (planted, extent) = facts.planted(world, &tool.file);
    for path in planted {
        let path = term::path(&path);
        term::note(
            "warning",
            &format!("{} made {path}, which may run programs on your machine: read it first", tool.name),
        );
    }
    if extent == Extent::CutShort {
        let words = "made more directories than coco scans for what may run on your machine";
        term::note("warning", &format!("{} {words}: check them yourself", tool.name));
    }
}

/// Tells, once per boot, that rights are bound to mounts alone.
fn warn_of_missing_landlock(world: &World) {
    // What can't be recorded is told again: the tool has run, and its outcome is its own.
    if kernel::record_missing_landlock(world).unwrap_or(true) {
        term::note("warning", &format!("{WITHOUT_LANDLOCK} (told once per boot; see SECURITY.md)"));
    }
}

/// Tells what was denied, and what a learning run has learnt. An editor that reads standard error can ask
/// for silence; at a terminal it is always told.
fn report_network(world: &World, tool: &Tool, summary: &Summary, mode: Mode) {
    if world.terminals.stderr || !world.is_on("COCO_QUIET") {
        for line in explain::denied(&tool.name, summary, &tool.path) {
            term::say(&line);
        }
    }
    if mode == Mode::DangerousLearn {
        term::print_lines(&explain::learned(&tool.name, summary, &tool.path));
    }
}
