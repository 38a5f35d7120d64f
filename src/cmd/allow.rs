//! `coco allow`: records that the user agrees to what a coco file asks for, or takes that back.

use super::print;
use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::config::Danger;
use crate::error::Error;
use crate::facts::{AtHome, Facts};
use crate::host::World;
use crate::names::ToolName;
use crate::policy;
use crate::term;
use crate::tools;

/// Shows what a coco file asks for and records that the user agrees, or takes that back.
pub fn allow(world: &World, line: &Line, name: &ToolName) -> Result<u8, Error> {
    if line.has(Switch::Revoke) {
        let was = tools::consent::revoke(world, name)?;
        return print(if was { "consent removed\n" } else { "there was no consent to remove\n" });
    }
    let tool = tools::load(world, name)?;
    // A mount that can't be looked up here is refused when the tool runs, whatever is agreed to.
    let mut needs = match Facts::gather(world, &tool.file, None) {
        Ok(facts) => policy::dangers(&tool.file, world, &facts),
        Err(_) => policy::needs_consent(&tool.file),
    };
    needs.retain(|danger| !matches!(danger, Danger::StartedAtHome(_)));
    let home = if line.has(Switch::Home) {
        needs.extend(Danger::of_start_at_home(&tool.file).into_iter().map(|located| located.danger));
        AtHome::DangerousAllowed
    } else {
        AtHome::Refused
    };
    if needs.is_empty() {
        return print(&format!("{name} asks for nothing that needs your consent\n"));
    }
    for need in &needs {
        term::out(&format!("{name} may now have {}\n", term::printable(&need.to_string())));
    }
    tools::consent::record(world, &tool, home)?;
    print(&format!(
        "your consent ends when {} changes; to remove it: coco allow --revoke {name}\n",
        term::path(&tool.path)
    ))
}
