//! By its name the program is coco or a tool, however the name comes about.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;

use crate::world::{ENGINE_CODE, Ended, PROBE, PROGRAM, World, copy_program, finish};

/// The fake engine never lets init connect, so that coco says 126.
#[track_caller]
fn ran(world: &World, tool: &str, ended: Ended) {
    ended.fails(126, &format!("podman did not start the sandbox (exit code {ENGINE_CODE})"));
    let call = world.call();
    assert!(call.has(&format!("--label=coco.tool={tool}")), "{call:?}");
    world.forget_calls();
}

#[test]
fn a_symbolic_link() {
    let world = World::with_probe();
    symlink(PROGRAM, world.path("bin/probe")).unwrap();
    ran(&world, "probe", finish(world.command(world.path("bin/probe"))));
    symlink("probe", world.path("bin/other")).unwrap();
    finish(world.command(world.path("bin/other"))).fails(127, "no coco file for the tool other");
}

#[test]
fn a_hard_link_and_a_copy() {
    let world = World::with_probe();
    copy_program(&world.path("bin/copy-of-coco"));
    fs::hard_link(world.path("bin/copy-of-coco"), world.path("bin/probe")).unwrap();
    ran(&world, "probe", finish(world.command(world.path("bin/probe"))));
    fs::remove_file(world.path("bin/probe")).unwrap();
    copy_program(&world.path("bin/probe"));
    ran(&world, "probe", finish(world.command(world.path("bin/probe"))));
}

#[test]
fn another_name_by_exec() {
    let world = World::with_probe();
    let mut command = world.command("/bin/bash");
    command.args(["-c", r#"exec -a probe "$0" --flag"#, PROGRAM]);
    ran(&world, "probe", finish(command));
    for name in ["probe", "./probe", "/no/such/directory/probe", "-/probe"] {
        let mut command = world.command(PROGRAM);
        command.arg0(name);
        ran(&world, "probe", finish(command));
    }
}

#[test]
fn a_relative_path_and_another_directory() {
    let mut world = World::with_probe();
    symlink(PROGRAM, world.path("bin/probe")).unwrap();
    fs::create_dir_all(world.path("project/deep/er")).unwrap();
    for (directory, name) in
        [("project", "../bin/probe"), ("bin", "./probe"), ("project/deep/er", "../../../bin/probe")]
    {
        world.directory = world.path(directory);
        // coco's own links are no place to mount.
        if directory == "bin" {
            finish(world.command(name)).fails(125, "is not mounted");
        } else {
            let mut command = world.command("/bin/sh");
            command.args(["-c", r#"exec "$0""#, name]);
            ran(&world, "probe", finish(command));
        }
    }
}

#[test]
fn the_whole_final_component_is_the_name() {
    let world = World::with_probe();
    world.tool("probe.12", PROBE);
    for (name, tool) in [("x/probe.12", "probe.12"), ("probe", "probe"), ("coco.d/probe", "probe")] {
        let mut command = world.command(PROGRAM);
        command.arg0(name);
        ran(&world, tool, finish(command));
    }
    for name in ["probe.1", "probe.exe", "xprobe", "probex", "probe-1", "coco.exe", "coco2", "coco-probe"] {
        let mut command = world.command(PROGRAM);
        command.arg0(name);
        finish(command).fails(127, &format!("no coco file for the tool {name}"));
    }
    assert!(world.calls().is_empty());
}

#[test]
fn coco_by_any_path_is_coco() {
    let world = World::new();
    for name in ["coco", "./coco", "/x/../coco", "probe/coco"] {
        let mut command = world.command(PROGRAM);
        command.arg0(name).arg("--version");
        assert!(finish(command).exits(0).text().starts_with("coco "), "{name}");
    }
}

/// S9.
#[test]
fn hostile_names_run_nothing() {
    let world = World::with_probe();
    let long = "p".repeat(100_000);
    let before = world.snapshot();
    for name in [
        &b""[..],
        b"/",
        b".",
        b"..",
        b"-",
        b"-probe",
        b"--help",
        b"-coco",
        b"probe/",
        b"probe/.",
        b"probe/..",
        b"probe\n",
        b"probe ",
        b" probe",
        b"PROBE",
        b"\xffprobe",
        b"probe\xff",
        b"pr\xc3\xb6be",
        b"probe\x1b[2J",
        b"$(probe)",
        b"COCO",
        long.as_bytes(),
    ] {
        let mut command = world.command(PROGRAM);
        command.arg0(OsStr::from_bytes(name)).arg("--privileged");
        let ended = finish(command).fails(125, "started under a name that is not valid for a tool");
        assert_eq!(ended.stderr.lines().count(), 2, "{ended:?}");
        assert!(ended.stderr.len() < 2000, "the whole name is printed: {} bytes", ended.stderr.len());
        assert!(!ended.stderr.contains('\x1b'), "{ended:?}");
        assert!(ended.stdout.is_empty());
    }
    assert_eq!(world.snapshot(), before);
}

#[test]
fn the_names_of_init_and_guard_are_no_way_in() {
    let world = World::with_probe();
    let mut command = world.command(PROGRAM);
    command.arg0("coco-init");
    finish(command).fails(125, "coco-init runs inside a sandbox");
    let marker = world.path("marker");
    let mut command = world.command(PROGRAM);
    command.arg0("coco-guard").arg("1").arg("/usr/bin/touch").arg(&marker);
    finish(command).fails(125, "was not started by coco");
    assert!(!marker.exists());
}

#[test]
fn an_unknown_tool_exits_127_and_says_how_to_get_it() {
    let world = World::new();
    let known = world.coco(["run", "eslint"]).fails(127, "no coco file for the tool eslint");
    assert_eq!(known.hint(), "the store has it: coco get eslint");
    let mut command = world.command(PROGRAM);
    command.arg0("no-such-tool");
    let unknown = finish(command).fails(127, "no coco file for the tool no-such-tool");
    assert!(unknown.hint().contains("coco search"), "{unknown:?}");
    world.coco(["show", "no-such-tool"]).fails(127, "no-such-tool");
    assert!(world.calls().is_empty());
}
