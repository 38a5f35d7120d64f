//! `coco run`: one run of a tool, or with `--dry-run` its commands.

use super::{Decided, decide, first_name, show};
use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::engine::discover;
use crate::error::Error;
use crate::host::World;
use crate::run::{self, Mode};
use crate::term;

/// Runs a tool.
pub fn run(world: &World, line: &Line) -> Result<u8, Error> {
    let name = first_name(line)?;
    let arguments = line.operands.get(1..).unwrap_or_default();
    let learn = line.has(Switch::Learn);
    if line.has(Switch::DryRun) {
        let Decided { facts, mut policy, .. } = decide(world, &name)?;
        if learn {
            policy = policy.dangerous_learn();
        }
        return show::plans(world, &facts, &policy, &discover::find_engine(world)?, arguments);
    }
    if learn {
        term::note("warning", &format!("--learn: {name} may reach every public host in this run"));
    }
    run::tool(world, &name, arguments, if learn { Mode::DangerousLearn } else { Mode::Granted })
}
