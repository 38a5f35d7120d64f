//! `coco run`: one run of a tool, or with `--dry-run` its commands.

use super::{first_name, show};
use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::engine::discover;
use crate::error::Error;
use crate::host::World;
use crate::plan::Job;
use crate::policy::Mode;
use crate::run::{self, Loaded};

/// Runs a tool.
pub fn run(world: &World, line: &Line) -> Result<u8, Error> {
    let name = first_name(line)?;
    let arguments = line.operands.get(1..).unwrap_or_default();
    let mode = if line.has(Switch::Learn) { Mode::DangerousLearn } else { Mode::Granted };
    if line.has(Switch::DryRun) {
        let (Loaded { facts, .. }, policy) = run::decide(world, &name, mode)?;
        let engine = discover::find_engine(world)?;
        let job = Job { world, facts: &facts, policy: &policy, engine: &engine };
        run::warn(&job);
        return show::plans(&job, arguments);
    }
    run::tool(world, &name, arguments, mode)
}
