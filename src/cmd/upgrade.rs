//! `coco upgrade`: installs the newest versions of tools.

use super::reported;
use crate::cli::args::Line;
use crate::engine::discover;
use crate::error::Error;
use crate::host::World;
use crate::plan::Job;
use crate::policy::Mode;
use crate::run::{self, Loaded};
use crate::{install, term, tools};

/// Upgrades the named tools, or all.
pub fn upgrade(world: &World, line: &Line) -> Result<u8, Error> {
    let engine = discover::find_engine(world)?;
    let mut failed = 0;
    for name in tools::named_or_all(world, &line.operands)? {
        let outcome = run::decide(world, &name, Mode::Granted).and_then(|(Loaded { facts, .. }, policy)| {
            install::upgrade(&Job { world, facts: &facts, policy: &policy, engine: &engine })
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
