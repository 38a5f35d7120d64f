//! `coco show`: what a tool may do, and the engine's commands.

use std::ffi::OsString;

use super::print;
use crate::engine::discover;
use crate::engine::image::Image;
use crate::error::Error;
use crate::host::World;
use crate::host::volumes::DataName;
use crate::install;
use crate::install::image;
use crate::names::ToolName;
use crate::plan::{self, Job};
use crate::policy;
use crate::protocol::control::Installed;
use crate::run::{self, Loaded};
use crate::{explain, term};

/// Prints the policy in words, then the engine's commands.
pub fn show(world: &World, name: &ToolName) -> Result<u8, Error> {
    let Loaded { tool, facts } = run::load(world, name)?;
    let (policy, missing) = policy::dangerous_as_if_agreed(name, &tool.file, world, &facts, tool.digest)?;
    let engine = discover::find_engine(world)?;
    let job = Job { world, facts: &facts, policy: &policy, engine: &engine };
    let image = image::known(world, &engine, image::Stage::of(&policy.installation.tool))?;
    let record = image.and_then(|image| install::installed(&job, &image));
    if let Some(text) = &tool.file.description {
        term::out(&format!("{}\n\n", term::printable(text)));
    }
    term::out(&explain::policy(&job, record.as_ref(), &tool.path));
    if !missing.is_empty() {
        term::out(&explain::not_agreed(name, &missing));
    }
    term::out("\n");
    plans(&job, &[])
}

/// Prints the engine's commands of both phases, exactly as they would be run now.
pub fn plans(job: &Job, arguments: &[OsString]) -> Result<u8, Error> {
    let policy = job.policy;
    let stage = image::Stage::of(&policy.installation.tool);
    let known = image::known(job.world, job.engine, stage)?;
    let image = known.clone().unwrap_or_else(|| Image::Named(stage.image_name()));
    let record = known.and_then(|image| install::installed(job, &image));
    if !policy.installation.runtimes.is_empty() {
        let plan = plan::install_runtimes(job, &image);
        term::out(&format!(
            "{}\n",
            explain::plan("install phase, runtimes: once, with public hosts, nothing of yours", &plan)
        ));
    }
    if policy.installation.is_nothing() {
        term::out("# install phase: none, the image has it\n\n");
    } else {
        let data = record.as_ref().and_then(|record| record.data.clone()).unwrap_or_else(DataName::placeholder);
        let plan = plan::install_tool(job, &image, &data, &Installed::default(), None);
        let title = match record {
            Some(_) => "install phase: done; it was",
            None => "install phase: once, with public hosts, nothing of yours",
        };
        term::out(&format!("{}\n", explain::plan(title, &plan)));
    }
    let record = record.unwrap_or_else(|| explain::placeholder_record(policy, &image));
    let plan = plan::run(job, &image, &record, arguments);
    print(&explain::plan("run phase", &plan))
}
