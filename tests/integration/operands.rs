//! S1: names that are paths, options, too long or not text.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::world::World;

fn hostile() -> Vec<OsString> {
    let long = "a".repeat(65);
    let huge = "a".repeat(100_000);
    [
        &b""[..],
        b".",
        b"..",
        b"/",
        b"../x",
        b"../../home/x",
        b"a/b",
        b"./a",
        b"a/../b",
        b"/etc/passwd",
        b"-x",
        b"--help",
        b"A",
        b"a b",
        b"a\nb",
        b"a\tb",
        b"a\xff",
        b"\xc3\xa9",
        b"*",
        b"a*",
        b"~",
        b"$(id)",
        b".hidden",
        b".runtimes",
        b"coco",
        b"coco-init",
        b"coco-guard",
        b"index.json/../eslint",
        b"eslint.json/",
        b"a\x1b[2J",
        long.as_bytes(),
        huge.as_bytes(),
    ]
    .map(|name| OsStr::from_bytes(name).to_owned())
    .to_vec()
}

#[test]
fn hostile_names_are_refused_and_touch_nothing() {
    let world = World::with_probe();
    let before = world.snapshot();
    // Commands that take one name fail as a whole; those that take many report each.
    for (command, code) in [
        ("get", 1),
        ("show", 125),
        ("up", 125),
        ("down", 125),
        ("run", 125),
        ("allow", 125),
        ("verify", 125),
        ("upgrade", 125),
    ] {
        for name in hostile() {
            let ended = world.coco([OsStr::new(command), OsStr::new("--"), &name]).exits(code);
            assert!(ended.stderr.starts_with("coco: error: "), "{command} {name:?}: {ended:?}");
            assert_eq!(ended.stderr.lines().count(), 2, "{command} {name:?}: {ended:?}");
            assert!(!ended.stderr.contains('\x1b'), "{command} {name:?}: {ended:?}");
            assert!(ended.stdout.is_empty(), "{command} {name:?}: {ended:?}");
        }
    }
    assert_eq!(world.snapshot(), before);
    assert!(world.calls().is_empty());
}

#[test]
fn a_store_is_never_asked_for_a_hostile_name() {
    let mut world = World::new();
    world.engine("curl", 0);
    let base = format!("file://{}", world.path("store").display());
    world.set("COCO_STORE_BASE", base);
    for name in hostile() {
        world.coco([OsStr::new("get"), OsStr::new("--"), &name]).exits(1);
    }
    assert!(world.calls().is_empty());
    // The control: a good name is asked for.
    world.coco(["get", "eslint"]).exits(1);
    assert!(!world.calls().is_empty());
}

#[test]
fn one_bad_name_does_not_keep_the_good_ones_back() {
    let world = World::new();
    let ended = world.coco(["get", "eslint", "../x", "no-such-tool", "ruff"]).exits(1);
    assert_eq!(ended.stderr.matches("coco: error: ").count(), 2, "{ended:?}");
    assert_eq!(world.coco(["list"]).exits(0).text(), "eslint\nruff\n");
}

#[test]
fn a_name_that_is_not_in_the_store_gets_a_suggestion() {
    let ended = World::new().coco(["get", "eslnt"]).fails(1, "the store has no tool eslnt");
    assert_eq!(ended.hint(), "did you mean eslint?");
}

#[test]
fn a_coco_file_with_a_hostile_name_is_reported_and_not_loaded() {
    let world = World::with_probe();
    for name in ["-x", "A B", "coco"] {
        world.tool(name, crate::world::PROBE);
    }
    let ended = world.coco(["list"]).exits(0);
    assert_eq!(ended.text(), "probe\n");
    assert_eq!(ended.stderr.matches("coco: warning: ").count(), 3, "{ended:?}");
    world.coco(["up"]).exits(0);
    assert_eq!(std::fs::read_dir(world.path("bin")).unwrap().count(), 1);
}
