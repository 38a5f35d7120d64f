//! coco's own commands, one file each where there is more than a few lines to it.

use std::ffi::OsString;

use crate::cli::args::{self, Line, Typed};
use crate::cli::help;
use crate::cli::table::{Command, Switch};
use crate::engine::{Engine, discover};
use crate::error::Error;
use crate::facts::Facts;
use crate::host::World;
use crate::install;
use crate::install::image::{self, Cache};
use crate::names::ToolName;
use crate::plan::record::Record;
use crate::policy::{self, Policy};
use crate::run::{self, Mode};
use crate::store::bundled;
use crate::tools::{self, tool_name};
use crate::{explain, plan, term};

mod allow;
mod get;
mod key;
mod links;
mod lint;
mod list;
mod log;
mod prune;
mod update;
mod verify;

/// Runs what was typed after `coco`.
pub fn manage(world: &World, arguments: Vec<OsString>) -> Result<u8, Error> {
    let line = match args::parse(arguments).map_err(hint_at_tool)? {
        Typed::Nothing => {
            term::out(&help::overview());
            return Ok(1);
        }
        Typed::Help => return print(&help::overview()),
        Typed::Version => return print(&help::version()),
        Typed::CommandHelp(row) => return print(&help::command(row)),
        Typed::Command(line) => line,
    };
    // What is trusted and agreed to is no project's to say.
    if let Command::Get | Command::Update | Command::Key | Command::Allow = line.row.command {
        world.has_private_directories()?;
    }
    match line.row.command {
        Command::Run => run(world, &line),
        Command::List => list::list(world, &line),
        Command::Get => get::get(world, &line),
        Command::Update => update::update(world, &line),
        Command::Key => key::key(world, &line),
        Command::Up => links::up(world, &line),
        Command::Down => links::down(world, &line),
        Command::Show => show(world, &first_name(&line)?),
        Command::Lint => lint::lint(world, &line),
        Command::Verify => verify::verify(world, &line),
        Command::Log => log::log(world, &line),
        Command::Search => list::search(world, &line),
        Command::Allow => allow::allow(world, &line, &first_name(&line)?),
        Command::Upgrade => upgrade(world, &line),
        Command::Prune => prune::prune(world, &line),
        Command::Rebuild => rebuild(world),
        Command::Help => help(&line),
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
    line.operands
        .first()
        .map_or_else(|| Err(Error::usage("a tool's name is missing", "coco list shows them")), |name| tool_name(name))
}

fn help(line: &Line) -> Result<u8, Error> {
    if line.has(Switch::Names) {
        return print(&help::names());
    }
    let Some(name) = line.operands.first() else { return print(&help::overview()) };
    print(&help::command(args::command(name).map_err(hint_at_tool)?))
}

fn run(world: &World, line: &Line) -> Result<u8, Error> {
    let name = first_name(line)?;
    let arguments = line.operands.get(1..).unwrap_or_default();
    let learn = line.has(Switch::Learn);
    if line.has(Switch::DryRun) {
        let Decided { facts, mut policy, .. } = decide(world, &name)?;
        if learn {
            policy = policy.dangerous_learn();
        }
        return show_plans(world, &facts, &policy, &discover::find_engine(world)?, arguments);
    }
    if learn {
        term::note("warning", &format!("--learn: {name} may reach every public host in this run"));
    }
    run::tool(world, &name, arguments, if learn { Mode::DangerousLearn } else { Mode::Granted })
}

/// What there is to know about a tool before anything is started.
struct Decided {
    tool: tools::Tool,
    facts: Facts,
    policy: Policy,
}

fn decide(world: &World, name: &ToolName) -> Result<Decided, Error> {
    let tool = tools::load(world, name)?;
    let facts = Facts::gather(world, &tool.file, tools::consent(world, name))?;
    let policy = policy::decide(name, &tool.file, world, &facts, &tool.digest)?;
    Ok(Decided { tool, facts, policy })
}

/// The policy in words, then the engine's commands.
fn show(world: &World, name: &ToolName) -> Result<u8, Error> {
    let tool = tools::load(world, name)?;
    let facts = Facts::gather(world, &tool.file, tools::consent(world, name))?;
    let (policy, missing) = policy::dangerous_as_if_agreed(name, &tool.file, world, &facts, &tool.digest)?;
    let engine = discover::find_engine(world)?;
    let image = image::known(world, &engine, image::Stage::of(&policy.installation.tool))?;
    let record = image.and_then(|image| install::installed(world, &policy, &engine, &image));
    if let Some(text) = &tool.file.description {
        term::out(&format!("{}\n\n", term::printable(text)));
    }
    term::out(&explain::policy(&policy, &engine, plan::settable(&engine, &facts), record.as_ref(), &tool.path));
    if !missing.is_empty() {
        term::out(&explain::not_agreed(name, &missing));
    }
    term::out("\n");
    show_plans(world, &facts, &policy, &engine, &[])
}

/// The engine's commands of both phases, exactly as they would be given now.
fn show_plans(
    world: &World,
    facts: &Facts,
    policy: &Policy,
    engine: &Engine,
    arguments: &[OsString],
) -> Result<u8, Error> {
    let stage = image::Stage::of(&policy.installation.tool);
    let known = image::known(world, engine, stage)?;
    let image = known.clone().unwrap_or_else(|| stage.tag());
    let record = known.and_then(|image| install::installed(world, policy, engine, &image));
    if !policy.installation.runtimes.is_empty() {
        let plan = plan::install_runtimes(policy, world, facts, engine, &image);
        term::out(&format!(
            "{}\n",
            explain::plan("install phase, runtimes: once, with public hosts, nothing of yours", &plan)
        ));
    }
    if policy.installation.is_nothing() {
        term::out("# install phase: none, the image has it\n\n");
    } else {
        let data = record.as_ref().and_then(|record| record.data.clone()).unwrap_or_else(|| "data-NEW".to_owned());
        let plan = plan::install_tool(policy, world, facts, engine, &image, &data, &Record::default(), None);
        let title = match record {
            Some(_) => "install phase: done; it was",
            None => "install phase: once, with public hosts, nothing of yours",
        };
        term::out(&format!("{}\n", explain::plan(title, &plan)));
    }
    let record = record.unwrap_or_else(|| explain::placeholder_record(policy));
    let plan = plan::run(policy, world, facts, engine, &image, &record, arguments);
    print(&explain::plan("run phase", &plan))
}

fn upgrade(world: &World, line: &Line) -> Result<u8, Error> {
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

fn rebuild(world: &World) -> Result<u8, Error> {
    if world.variable("COCO_IMAGE").is_some() {
        return Err(Error::usage("COCO_IMAGE is set, and that image is not coco's to build", "unset COCO_IMAGE"));
    }
    let engine = discover::find_engine(world)?;
    let mut stages = image::built(world, &engine);
    if stages.is_empty() {
        stages.push(image::Stage::Base);
    }
    // The later stages stand on layers that the first one made just now.
    for (position, stage) in stages.into_iter().enumerate() {
        let cache = if position == 0 { Cache::Ignore } else { Cache::Use };
        let id = image::build(world, &engine, stage, cache)?;
        term::out(&format!("{} {id}\n", stage.name()));
    }
    Ok(0)
}

/// The end of a command whose parts each reported their own failure.
fn reported(failed: usize) -> Result<u8, Error> {
    if failed == 0 { Ok(0) } else { Err(Error::Reported { count: failed }) }
}
