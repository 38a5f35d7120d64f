//! Help, versions, unknown commands, and a reader that goes away.

use std::io;
use std::process::Stdio;

use crate::world::{PROGRAM, World, finish, start, wait};

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
    for words in ["run", "list", "get", "up", "down", "prune", "rebuild", "help", "show", "lint", "verify", "search"] {
        assert!(help.text().lines().any(|line| line.trim_start().starts_with(words)), "{words} is not in help");
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
    assert!(names.text().lines().count() >= 12, "{names:?}");
    for name in names.text().lines() {
        let help = world.coco(["help", name]).exits(0);
        assert!(help.text().starts_with(&format!("usage: coco {name}")), "{help:?}");
        assert_eq!(world.coco([name, "--help"]).exits(0).text(), help.text());
    }
}

#[test]
fn an_unknown_command_gets_a_suggestion() {
    let world = World::new();
    let ended = world.coco(["lst"]).fails(125, "lst is no command of coco");
    assert_eq!(ended.hint(), "did you mean coco list?");
    world.coco(["help", "lst"]).fails(125, "lst is no command of coco");
    world.coco(["list", "--jsn"]).fails(125, "--jsn is no option here");
    world.coco(["list", "extra"]).fails(125, "too many operands");
    world.coco(["show"]).fails(125, "is missing an operand");
}

#[test]
fn an_unknown_command_can_not_write_to_the_terminal() {
    let ended = World::new().coco(["\x1b]0;title\x07"]).fails(125, "is no command of coco");
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
    let world = World::with_probe();
    for arguments in [
        &["help"][..],
        &["list", "--long"],
        &["list", "--json"],
        &["search"],
        &["show", "probe"],
        &["run", "--dry-run", "probe"],
        &["lint"],
        &["verify"],
    ] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut command = world.command(PROGRAM);
        command.args(arguments).stdout(writer).stderr(Stdio::piped());
        let mut child = start(&mut command);
        let code = wait(&mut child, std::time::Duration::from_secs(30));
        let stderr = io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn closed_standard_streams_are_no_panic() {
    let world = World::with_probe();
    for arguments in ["help", "list", "show probe", "run probe"] {
        let mut command = world.command("/bin/sh");
        command.arg("-c").arg(format!("exec '{PROGRAM}' {arguments} <&- >&- 2>&-"));
        let code = finish(command).code;
        assert_eq!(code, Some(if arguments == "run probe" { 126 } else { 0 }), "{arguments}");
    }
}
