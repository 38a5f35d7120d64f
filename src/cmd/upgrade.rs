//! `coco upgrade`: installs the newest versions of tools.

use super::{Decided, decide, reported};
use crate::cli::args::Line;
use crate::engine::discover;
use crate::error::Error;
use crate::host::World;
use crate::{install, term, tools};

/// Upgrades the named tools, or all.
pub fn upgrade(world: &World, line: &Line) -> Result<u8, Error> {
    let engine = discover::find_engine(world)?;
    let mut failed = 0;
    for name in tools::named_or_all(world, &line.operands)? {
        let outcome = decide(world, &name).and_then(|Decided { tool, facts, policy }| {
            install::upgrade(world, &facts, &policy, &engine, &tool.digest)
        });
        match outcome {
            Ok(record) => term::out(&format!("{name} {}\n", record.version)),
            Err(error) => {
                error.report();
                failed += 1;
            }
        }
    }
    reported(failed)
}
