//! S10: the engine resolves to coco itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;

use crate::world::{PROGRAM, World, copy_program, finish, write_program};

/// A world whose engines' directory holds a copy of coco, so that links to it cross no file system.
fn world_with_copy() -> World {
    let world = World::with_probe();
    fs::remove_file(world.path("engines/podman")).unwrap();
    copy_program(&world.path("bin/coco"));
    world
}

#[test]
fn an_engine_that_links_to_coco_is_refused() {
    let world = world_with_copy();
    let coco = world.path("bin/coco");
    for kind in ["podman", "docker"] {
        let engine = world.path("engines").join(kind);
        symlink(&coco, &engine).unwrap();
        let mut command = world.command(&coco);
        command.args(["run", "probe"]);
        finish(command).fails(125, &format!("coco was started as {}", engine.display()));
        fs::remove_file(&engine).unwrap();

        fs::hard_link(&coco, &engine).unwrap();
        let mut command = world.command(&coco);
        command.args(["run", "probe"]);
        finish(command).fails(125, &format!("coco was started as {}", engine.display()));
        fs::remove_file(&engine).unwrap();
    }
}

#[test]
fn an_engine_that_is_a_copy_of_coco_ends_at_once() {
    let world = world_with_copy();
    world.tool("podman", crate::world::PROBE);
    copy_program(&world.path("engines/podman"));
    let ended = world.coco(["run", "probe"]).fails(126, "podman did not start the sandbox");
    assert!(ended.stderr.contains("coco was started as podman by the engine that coco itself started"), "{ended:?}");
    assert_eq!(ended.stderr.matches("coco: error: ").count(), 2, "{ended:?}");
}

#[test]
fn an_engine_that_runs_coco_ends_at_once() {
    let world = world_with_copy();
    let engine = world.path("engines/podman");
    write_program(&engine, &format!("#!/bin/sh\nexec '{}' run probe\n", world.path("bin/coco").display()));
    let ended = world.coco(["run", "probe"]).fails(126, "podman did not start the sandbox");
    assert!(ended.stderr.contains("by the engine that coco itself started"), "{ended:?}");
}

#[test]
fn the_guard_in_the_environment_stops_every_command() {
    let mut world = World::with_probe();
    world.set("COCO_RECURSION_GUARD", "1");
    for arguments in [&["list"][..], &["run", "probe"], &["up"], &["help"]] {
        world.coco(arguments).fails(125, "coco was started as coco by the engine");
    }
    let mut command = world.command(PROGRAM);
    command.arg0("probe");
    finish(command).fails(125, "coco was started as probe by the engine");
    assert!(world.calls().is_empty());
}

#[test]
fn the_engine_gets_the_guard() {
    let world = World::with_probe();
    world.coco(["run", "probe"]).exits(126);
    let call = world.call();
    assert_eq!(call.environment.get(std::ffi::OsStr::new("COCO_RECURSION_GUARD")).unwrap(), "1");
}
