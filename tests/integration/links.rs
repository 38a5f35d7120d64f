//! S8: `coco up` and `coco down` touch what is coco's own, and nothing else.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use crate::world::{PROBE, PROGRAM, World, copy_program, finish};

const RESERVED_NAMES: &[&str] = &[
    "sudo", "git", "sh", "bash", "podman", "docker", "bwrap", "ssh", "mise", "env", "su", "doas", "zsh", "runc", "crun",
];

#[track_caller]
fn leads_to_coco(path: &Path) {
    let (link, own) = (fs::metadata(path).unwrap(), fs::metadata(PROGRAM).unwrap());
    assert_eq!((link.dev(), link.ino()), (own.dev(), own.ino()), "{}", path.display());
}

#[test]
fn up_says_created_and_then_exists() {
    let world = World::with_probe();
    world.tool("other", PROBE);
    let (probe, other) = (world.path("bin/probe"), world.path("bin/other"));
    let first = world.coco(["up", "probe"]).exits(0);
    assert_eq!(first.text(), format!("created: {}\n", probe.display()));
    leads_to_coco(&probe);
    assert!(fs::symlink_metadata(&probe).unwrap().is_symlink());
    let all = world.coco(["up"]).exits(0);
    assert_eq!(all.text(), format!("created: {}\nexists: {}\n", other.display(), probe.display()));
    let down = world.coco(["down", "probe"]).exits(0);
    assert_eq!(down.text(), format!("removed: {}\n", probe.display()));
    assert!(!probe.exists() && other.exists());
    assert_eq!(world.coco(["down", "probe"]).exits(0).text(), format!("absent: {}\n", probe.display()));
    assert_eq!(world.coco(["down"]).exits(0).text(), format!("removed: {}\n", other.display()));
    assert_eq!(fs::read_dir(world.path("bin")).unwrap().count(), 0);
}

#[test]
fn hard_links_are_made_and_removed() {
    let world = World::with_probe();
    fs::create_dir(world.path("installed")).unwrap();
    let coco = world.path("installed/coco");
    copy_program(&coco);
    let run = |arguments: &[&str]| {
        let mut command = world.command(&coco);
        command.args(arguments);
        finish(command)
    };
    run(&["up", "--hard", "probe"]).exits(0);
    let link = world.path("bin/probe");
    assert!(!fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&link).unwrap().ino(), fs::metadata(&coco).unwrap().ino());
    assert_eq!(run(&["up", "probe"]).exits(0).text(), format!("exists: {}\n", link.display()));
    run(&["down"]).exits(0);
    assert!(!link.exists() && coco.exists());
}

#[test]
fn precious_names_are_linked_by_force_alone() {
    let world = World::new();
    for name in RESERVED_NAMES {
        world.tool(name, PROBE);
    }
    for name in RESERVED_NAMES {
        let ended = world.coco(["up", name]).fails(1, &format!("a link {name} would hide a program"));
        assert_eq!(ended.text(), format!("skip: {}\n", world.path("bin").join(name).display()));
    }
    let all = world.coco(["up"]).exits(1);
    assert_eq!(all.text().matches("skip: ").count(), RESERVED_NAMES.len());
    assert_eq!(fs::read_dir(world.path("bin")).unwrap().count(), 0);
    world.coco(["up", "--force", "sudo"]).exits(0);
    leads_to_coco(&world.path("bin/sudo"));
}

#[test]
fn a_name_without_a_coco_file_is_not_linked() {
    let world = World::new();
    let ended = world.coco(["up", "eslint"]).fails(1, "no coco file for the tool eslint");
    assert_eq!(ended.hint(), "the store has it: coco get eslint");
    world.tool("broken", "{");
    world.coco(["up", "broken"]).fails(1, "not valid JSON");
    assert_eq!(fs::read_dir(world.path("bin")).unwrap().count(), 0);
}

#[test]
fn what_is_foreign_stays_as_it_is() {
    let world = World::with_probe();
    let bin = world.path("bin");
    for name in ["file", "directory", "dangling", "elsewhere", "copy"] {
        world.tool(name, PROBE);
    }
    fs::write(bin.join("file"), "mine").unwrap();
    fs::create_dir(bin.join("directory")).unwrap();
    symlink("nowhere", bin.join("dangling")).unwrap();
    symlink("/bin/sh", bin.join("elsewhere")).unwrap();
    copy_program(&bin.join("copy"));
    let before = world.snapshot();
    for name in ["file", "directory", "dangling", "elsewhere", "copy"] {
        for arguments in [&["up", name][..], &["up", "--force", name], &["up", "--hard", name], &["down", name]] {
            let words = if arguments[0] == "down" { "it is not a link to coco" } else { "exists already" };
            let ended = world.coco(arguments).fails(1, words);
            assert_eq!(ended.text(), format!("skip: {}\n", bin.join(name).display()), "{arguments:?}");
        }
    }
    assert_eq!(world.coco(["down"]).exits(0).text(), "");
    assert_eq!(world.snapshot(), before);
}

#[test]
fn down_removes_links_without_a_coco_file_too() {
    let world = World::with_probe();
    world.coco(["up"]).exits(0);
    fs::remove_file(world.path("data/coco/tools/probe.json")).unwrap();
    world.coco(["down", "probe"]).exits(0);
    assert!(world.path("bin/probe").symlink_metadata().is_err());
}

#[test]
fn down_never_removes_the_program_itself() {
    let world = World::with_probe();
    let own = world.path("bin/coco-1.0");
    copy_program(&own);
    symlink("coco-1.0", world.path("bin/coco")).unwrap();
    symlink("coco", world.path("bin/probe")).unwrap();
    for arguments in [&["down", "coco-1.0"][..], &["down"]] {
        let mut command = world.command(world.path("bin/coco"));
        command.args(arguments);
        let _ = finish(command);
        assert!(own.exists(), "coco {arguments:?} removed coco");
        assert!(world.path("bin/coco").exists());
    }
    assert!(world.path("bin/probe").symlink_metadata().is_err(), "the link went");
}

#[test]
fn a_directory_that_is_not_on_the_path_is_said() {
    let mut world = World::with_probe();
    let bin = world.path("bin");
    let ended = world.coco(["up"]).exits(0);
    assert!(ended.stderr.contains(&format!("coco: warning: {} is not on your PATH\n", bin.display())), "{ended:?}");
    assert!(ended.stderr.contains(&format!("export PATH={}:$PATH", bin.display())), "{ended:?}");
    world.set("PATH", std::env::join_paths([world.path("engines"), bin]).unwrap());
    assert_eq!(world.coco(["up"]).exits(0).stderr, "");
}

#[test]
fn the_directory_is_made_and_defaults_below_home() {
    let mut world = World::with_probe();
    world.unset("COCO_BIN_DIR");
    world.coco(["down"]).exits(0);
    assert!(!world.path("home/.local").exists());
    world.coco(["up"]).exits(0);
    leads_to_coco(&world.path("home/.local/bin/probe"));
    world.set("COCO_BIN_DIR", "relative/bin");
    world.coco(["down"]).exits(0);
    assert!(!world.path("home/.local/bin/probe").exists());
    assert!(!world.path("project/relative").exists());
}
