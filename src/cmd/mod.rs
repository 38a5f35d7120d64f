//! The commands of coco, one file each; the dispatch, and what several of them share.

use std::ffi::OsString;

use crate::cli::args::{self, Line, Typed};
use crate::cli::help as texts;
use crate::cli::table::Command;
use crate::error::Error;
use crate::host::World;
use crate::names::ToolName;
use crate::store::bundled;
use crate::term;
use crate::tools::tool_name;

mod allow;
mod down;
mod get;
mod help;
mod key;
mod lint;
mod list;
mod log;
mod prune;
mod rebuild;
mod run;
mod search;
mod show;
mod up;
mod update;
mod upgrade;
mod verify;

/// Runs what was typed after `coco`.
pub fn manage(world: &World, arguments: Vec<OsString>) -> Result<u8, Error> {
    let line = match args::parse(arguments).map_err(hint_at_tool)? {
        Typed::Nothing => {
            term::out(&texts::overview());
            return Ok(1);
        }
        Typed::Help => return print(&texts::overview()),
        Typed::Version => return print(&texts::version()),
        Typed::CommandHelp(row) => return print(&texts::command(row)),
        Typed::Command(line) => line,
    };
    // A project must not decide what is trusted and agreed to.
    if let Command::Get | Command::Update | Command::Key | Command::Allow = line.row.command {
        world.ensure_directories_outside_projects()?;
    }
    match line.row.command {
        Command::Run => run::run(world, &line),
        Command::List => list::list(world, &line),
        Command::Get => get::get(world, &line),
        Command::Update => update::update(world, &line),
        Command::Key => key::key(world, &line),
        Command::Up => up::up(world, &line),
        Command::Down => down::down(world, &line),
        Command::Show => show::show(world, &first_name(&line)?),
        Command::Lint => lint::lint(world, &line),
        Command::Verify => verify::verify(world, &line),
        Command::Log => log::log(world, &line),
        Command::Search => search::search(world, &line),
        Command::Allow => allow::allow(world, &line, &first_name(&line)?),
        Command::Upgrade => upgrade::upgrade(world, &line),
        Command::Prune => prune::prune(world, &line),
        Command::Rebuild => rebuild::rebuild(world),
        Command::Help => help::help(&line),
    }
}

/// Says how a tool is run, where its name was typed as a command.
fn hint_at_tool(error: Error) -> Error {
    match error {
        Error::UnknownCommand { word, .. } if ToolName::new(&word).is_ok_and(|name| bundled::contains(&name)) => {
            let hint = format!("a tool runs by its own name after coco up {word}, or by coco run {word}");
            Error::UnknownCommand { word, hint }
        }
        error => error,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the end of most commands, in their own type")]
fn print(text: &str) -> Result<u8, Error> {
    term::out(text);
    Ok(0)
}

fn first_name(line: &Line) -> Result<ToolName, Error> {
    line.operands.first().map_or_else(
        || Err(Error::usage("a tool's name is missing", "coco list prints the names")),
        |name| tool_name(name),
    )
}

/// The end of a command whose parts each reported their own failure.
fn reported(failed: usize) -> Result<u8, Error> {
    if failed == 0 { Ok(0) } else { Err(Error::Reported { count: failed }) }
}
