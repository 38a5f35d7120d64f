//! Help, versions, unknown commands, and a reader that goes away.

use std::io;
use std::process::Stdio;

use coco::cli::table::{COMMANDS, Command};

use crate::world::{PROGRAM, World, finish, start, wait};

/// Each command with what it is good for in a world with the tool `probe`, whose engine starts nothing.
fn example(command: Command) -> &'static [&'static str] {
    match command {
        Command::Run => &["run", "--dry-run", "probe"],
        Command::List => &["list", "--long"],
        Command::Get => &["get", "eslint"],
        Command::Update => &["update"],
        Command::Key => &["key", "list"],
        Command::Up => &["up"],
        Command::Down => &["down"],
        Command::Show => &["show", "probe"],
        Command::Lint => &["lint"],
        Command::Verify => &["verify"],
        Command::Log => &["log"],
        Command::Search => &["search"],
        Command::Allow => &["allow", "probe"],
        Command::Upgrade => &["upgrade"],
        Command::Prune => &["prune"],
        Command::Rebuild => &["rebuild"],
        Command::Help => &["help"],
    }
}

fn examples(more: &'static [&'static str]) -> impl Iterator<Item = &'static [&'static str]> {
    COMMANDS.iter().map(|row| example(row.command)).chain([more])
}

/// How a command ends in a new world for each, and what it says on standard error, with the same name for every world.
fn ending(arguments: &[&str], streams: impl FnOnce(&World) -> (Option<i32>, String)) -> (Option<i32>, String) {
    let world = World::with_probe();
    let (code, stderr) = streams(&world);
    assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    (code, stderr.replace(world.path("").to_str().unwrap(), "WORLD/"))
}

fn with_open_streams(arguments: &[&str]) -> (Option<i32>, String) {
    ending(arguments, |world| {
        let ended = world.coco(arguments);
        (ended.code, ended.stderr)
    })
}

#[test]
fn coco_alone_prints_help_and_exits_1() {
    let world = World::new();
    let alone = world.coco::<&str>([]).exits(1);
    assert_eq!(alone.stderr, "");
    assert_eq!(alone.text(), world.coco(["help"]).exits(0).text());
}

#[test]
fn help_has_many_spellings() {
    let world = World::new();
    let help = world.coco(["help"]).exits(0);
    for spelling in ["--help", "-h"] {
        assert_eq!(world.coco([spelling]).exits(0).text(), help.text(), "{spelling}");
    }
    for row in COMMANDS {
        let is_its = |line: &str| {
            let rest = line.trim_start().strip_prefix(row.name);
            rest.is_some_and(|rest| rest.starts_with(' ') && rest.ends_with(row.summary))
        };
        assert!(help.text().lines().any(is_its), "{} is not in help: {}", row.name, help.text());
    }
}

#[test]
fn version_is_the_crates() {
    let world = World::new();
    let version = concat!("coco ", env!("CARGO_PKG_VERSION"), "\n");
    for spelling in ["--version", "-V"] {
        assert_eq!(world.coco([spelling]).exits(0).text(), version);
    }
}

#[test]
fn every_command_has_help_of_its_own() {
    let world = World::new();
    let names = world.coco(["help", "--names"]).exits(0);
    assert_eq!(names.text().lines().collect::<Vec<_>>(), COMMANDS.iter().map(|row| row.name).collect::<Vec<_>>());
    for name in names.text().lines() {
        let help = world.coco(["help", name]).exits(0);
        assert!(help.text().starts_with(&format!("usage: coco {name}")), "{help:?}");
        assert_eq!(world.coco([name, "--help"]).exits(0).text(), help.text());
    }
}

#[test]
fn an_unknown_command_gets_a_suggestion() {
    let world = World::new();
    let ended = world.coco(["lst"]).fails(125, "unknown command lst");
    assert_eq!(ended.hint(), "did you mean coco list?");
    // A tool's name is no command, but it is known what was meant.
    let tool = world.coco(["eslint"]).fails(125, "unknown command eslint");
    assert_eq!(tool.hint(), "a tool runs by its own name after coco up eslint, or by coco run eslint");
    world.coco(["help", "lst"]).fails(125, "unknown command lst");
    world.coco(["list", "--jsn"]).fails(125, "unknown option --jsn");
    world.coco(["list", "extra"]).fails(125, "too many arguments");
    world.coco(["show"]).fails(125, "needs an argument");
}

#[test]
fn an_unknown_command_can_not_write_to_the_terminal() {
    let ended = World::new().coco(["\x1b]0;title\x07"]).fails(125, "unknown command ");
    assert!(!ended.stderr.contains('\x1b') && !ended.stderr.contains('\x07'), "{ended:?}");
}

#[test]
fn help_works_without_a_home() {
    let mut world = World::new();
    let nowhere = world.path("nowhere");
    world.set("HOME", nowhere);
    assert!(world.coco(["--version"]).exits(0).text().starts_with("coco "));
    assert!(world.coco(["help"]).exits(0).text().starts_with("coco runs"));
}

#[test]
fn a_closed_pipe_is_no_panic() {
    for arguments in examples(&["list", "--json"]) {
        let closed = ending(arguments, |world| {
            let (reader, writer) = io::pipe().unwrap();
            drop(reader);
            let mut command = world.command(PROGRAM);
            command.args(arguments).stdout(writer).stderr(Stdio::piped());
            let mut child = start(&mut command);
            let code = wait(&mut child, std::time::Duration::from_secs(30));
            (code, io::read_to_string(child.stderr.take().unwrap()).unwrap())
        });
        assert_eq!(closed, with_open_streams(arguments), "{arguments:?}");
        // No image is made by an engine that starts nothing.
        assert_eq!(closed.0, Some(if *arguments == ["rebuild"] { 125 } else { 0 }), "{arguments:?}: {}", closed.1);
    }
}

#[test]
fn closed_standard_streams_are_no_panic() {
    for arguments in examples(&["run", "probe"]) {
        let (code, _) = ending(arguments, |world| {
            let mut command = world.command("/bin/sh");
            command.arg("-c").arg(format!("exec '{PROGRAM}' {} <&- >&- 2>&-", arguments.join(" ")));
            (finish(command).code, String::new())
        });
        assert_eq!(code, with_open_streams(arguments).0, "{arguments:?}");
    }
}
