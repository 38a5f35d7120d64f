//! F10 and F12: paths with every byte that a file system takes, and destinations that don't collide.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::world::{PROBE, World};

const NAMES: &[&[u8]] = &[
    b"plain",
    b"with space",
    b" leading",
    b"trailing ",
    b"co:lon",
    b"com,ma",
    b",",
    b"quo\"te",
    b"\"quoted\"",
    b"\"",
    b"\"\"",
    b"comma,\"and quote\"",
    b"apos'trophe",
    b"back\\slash",
    b"do$lar $(id) `id`",
    b"-leading-dash",
    b"--privileged",
    b"semi;colon&pipe|",
    b"star*?[x]",
    b"equals=readonly=false",
    b",readonly=false",
    b"x,dst=/etc",
    b"hash#",
    b"percent%41",
    b"new\nline",
    b"\n",
    b"carriage\rreturn",
    b"tab\tulator",
    b"es\x1b[2Jcape",
    b"del\x7f",
    b"not-utf8-\xff",
    b"\xc3\x28",
    b"\xf0\x9f\x90\xa5 \xe2\x80\xae",
    b"\xc2\x85next-line",
    b"...",
];

/// The directory as the current one, and as a mount of an absolute path.
#[test]
fn every_path_is_mounted_exactly() {
    let mut world = World::with_probe();
    for name in NAMES {
        let directory = world.path("home").join(OsStr::from_bytes(name));
        fs::create_dir_all(&directory).unwrap();
        world.directory = directory.clone();
        world.coco(["run", "probe"]).exits(126);
        assert_eq!(world.call().source_of("/workspace"), directory, "{}", name.escape_ascii());
        no_field_is_invented(&world, name);
        world.forget_calls();
        let left: Vec<_> = fs::read_dir(world.path("runtime/coco")).unwrap().collect();
        assert!(left.is_empty(), "left in the runtime directory: {left:?}");
    }
}

/// A mount has the fields that coco writes, and a path adds none.
#[track_caller]
fn no_field_is_invented(world: &World, name: &[u8]) {
    for fields in world.call().mounts() {
        let kinds: Vec<&[u8]> =
            fields.iter().map(|field| field.split(|byte| *byte == b'=').next().unwrap_or_default()).collect();
        let bind = kinds == [&b"type"[..], b"src", b"dst"] || kinds == [&b"type"[..], b"src", b"dst", b"readonly"];
        let tmpfs = fields[0] == b"type=tmpfs" && kinds[1] == b"dst";
        assert!(bind || tmpfs, "{}: {fields:?}", name.escape_ascii());
    }
}

#[test]
fn docker_gets_every_path_exactly_too() {
    let mut world = World::with_probe();
    world.engine("docker", 3);
    world.set("COCO_RUNTIME", "docker");
    for name in NAMES {
        let directory = world.path("home").join(OsStr::from_bytes(name));
        fs::create_dir_all(&directory).unwrap();
        world.directory = directory.clone();
        world.coco(["run", "probe"]).exits(126);
        assert_eq!(world.call().source_of("/workspace"), directory, "{}", name.escape_ascii());
        world.forget_calls();
    }
}

#[test]
fn a_path_that_can_not_be_the_same_inside_is_an_error() {
    let mut world = World::new();
    world.tool("probe", r#"{"tool": "python@system", "mounts": [{"src": "."}], "workdir": "."}"#);
    for name in NAMES {
        let directory = world.path("home").join(OsStr::from_bytes(name));
        fs::create_dir_all(&directory).unwrap();
        world.directory = directory.clone();
        match std::str::from_utf8(name) {
            Ok(text) if !text.chars().any(char::is_control) => {
                world.coco(["run", "probe"]).exits(126);
                assert_eq!(world.call().source_of(directory.to_str().unwrap()), directory);
                world.forget_calls();
            }
            _ => {
                world.coco(["run", "probe"]).fails(125, "is not mounted");
                assert!(world.calls().is_empty());
            }
        }
    }
}

#[test]
fn coco_and_its_own_directories_may_lie_anywhere() {
    for name in NAMES {
        let mut world = World::new();
        let place = world.path("home").join(OsStr::from_bytes(name));
        let tools = place.join("coco/tools");
        fs::create_dir_all(&tools).unwrap();
        fs::write(tools.join("probe.json"), PROBE).unwrap();
        world.set("XDG_DATA_HOME", &place);
        world.coco(["run", "probe"]).exits(126);
        let cache = World::cache_in(place.join("coco/volumes"), "probe", &world.path("project"));
        assert_eq!(world.call().source_of("/root/.cache"), cache);
    }
}

#[test]
fn a_runtime_directory_that_no_engine_can_carry_is_an_error() {
    for name in [&b"new\nline"[..], b"\xff"] {
        let mut world = World::with_probe();
        let place = world.path("home").join(OsStr::from_bytes(name));
        fs::create_dir_all(&place).unwrap();
        world.set("XDG_RUNTIME_DIR", &place);
        world.coco(["run", "probe"]).fails(125, "XDG_RUNTIME_DIR");
        assert!(world.calls().is_empty());
    }
}

#[test]
fn a_mount_can_not_take_a_place_of_the_sandbox() {
    let world = World::with_probe();
    world.coco(["run", "probe"]).exits(126);
    let call = world.call();
    let taken: BTreeSet<String> = call
        .mounts()
        .iter()
        .map(|fields| fields.iter().find_map(|field| field.strip_prefix(b"dst=")).unwrap())
        .map(|dst| String::from_utf8(dst.to_vec()).unwrap())
        .filter(|dst| dst != "/workspace")
        .collect();
    assert!(taken.len() >= 6, "{taken:?}");
    world.forget_calls();
    let more =
        ["/coco/data", "/coco/runtimes", "/coco", "/run/coco/ca.crt", "/run", "/", "/etc/hosts", "/dev/shm", "/proc"];
    for dst in taken.iter().map(String::as_str).chain(more) {
        for spelling in [dst.to_owned(), format!("{dst}/"), format!("/{dst}"), format!("{dst}//")] {
            world.tool(
                "probe",
                format!(r#"{{"tool": "python@system", "mounts": [{{"src": ".", "dst": "{spelling}"}}]}}"#),
            );
            world.coco(["run", "probe"]).fails(125, "/mounts/0/dst: ");
        }
    }
    assert!(world.calls().is_empty());
}

#[test]
fn two_mounts_can_not_share_a_destination() {
    let world = World::new();
    fs::create_dir(world.path("home/a")).unwrap();
    for second in ["/w", "/w/", "//w"] {
        world.tool(
            "probe",
            format!(
                r#"{{"tool": "python@system", "mounts": [{{"src": ".", "dst": "/w"}}, {{"src": "~/a", "dst": "{second}"}}]}}"#
            ),
        );
        world.coco(["run", "probe"]).fails(125, "is mounted at /w already");
    }
}

/// F9, as far as it concerns the command line: nothing above the secrets is mounted.
#[test]
fn a_current_directory_that_is_too_much_is_refused() {
    let mut world = World::with_probe();
    for directory in ["/", "/tmp", "/etc", "/usr", "/var", "/proc", "/sys", "/dev"] {
        world.directory = PathBuf::from(directory);
        let ended = world.coco(["run", "probe"]).fails(125, "is not mounted");
        assert!(ended.hint().contains("project's own directory"), "{ended:?}");
    }
    for directory in ["home", "", "data/coco/tools", "data", "config", "state", "runtime/coco", "bin", "home/.ssh/x"] {
        world.directory = world.path(directory);
        fs::create_dir_all(&world.directory).unwrap();
        let ended = world.coco(["run", "probe"]).fails(125, "");
        let said = ["is not mounted", "lies in the project"];
        assert!(said.iter().any(|words| ended.stderr.contains(words)), "{ended:?}");
    }
    assert!(world.calls().is_empty());
}

#[test]
fn a_missing_source_below_home_is_made_private() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    world.tool(
        "probe",
        r#"{"tool": "python@system", "mounts": [{"src": "~/.config/probe/x", "dst": "/c", "opts": "rw"}]}"#,
    );
    world.coco(["run", "--dry-run", "probe"]).exits(0);
    assert!(!world.path("home/.config").exists(), "a dry run makes nothing");
    world.coco(["run", "probe"]).exits(126);
    let made = world.path("home/.config/probe/x");
    assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(world.call().source_of("/c"), made);
}

/// F7.
#[test]
fn a_link_to_something_forbidden_is_seen_through() {
    let world = World::new();
    fs::create_dir(world.path("home/.ssh")).unwrap();
    std::os::unix::fs::symlink("../home/.ssh", world.path("project/keys")).unwrap();
    std::os::unix::fs::symlink("nowhere", world.path("project/dangling")).unwrap();
    std::os::unix::fs::symlink("/proc", world.path("project/processes")).unwrap();
    for name in ["keys", "dangling", "processes", "keys/../keys", "keys/new"] {
        let src = world.path("project").join(name);
        world.tool(
            "probe",
            format!(r#"{{"tool": "python@system", "mounts": [{{"src": "{}", "dst": "/w"}}]}}"#, src.display()),
        );
        world.coco(["run", "probe"]).fails(125, "is not mounted");
    }
    assert!(world.calls().is_empty());
}

/// Whoever keeps coco files or keys among settings of their own and links them: no tool is started on the settings.
#[test]
fn what_decides_by_way_of_a_link_is_out_of_reach() {
    for (link, name) in
        [("data/coco/tools/other.json", "other.json"), ("config/coco/keys", "keys"), ("config/coco/allowed/x", "x")]
    {
        let world = World::with_probe();
        let linked = world.path(link);
        fs::create_dir_all(linked.parent().unwrap()).unwrap();
        fs::write(world.path("project").join(name), "{}").unwrap();
        std::os::unix::fs::symlink(world.path("project").join(name), &linked).unwrap();
        world.coco(["run", "probe"]).fails(125, "is not mounted");
        assert!(world.calls().is_empty(), "{link}");
        // The control: the same file is no matter where nothing leads to it.
        fs::remove_file(&linked).unwrap();
        world.coco(["run", "probe"]);
        assert_eq!(world.calls().len(), 1, "{link}");
    }
}

/// F16 by way of the environment: a project's `.env` can name directories, and would bring coco files and consent.
#[test]
fn directories_in_the_project_are_refused() {
    for name in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        let mut world = World::with_probe();
        let planted = world.path("project/.planted");
        fs::create_dir_all(planted.join("coco/tools")).unwrap();
        fs::write(planted.join("coco/tools/probe.json"), PROBE).unwrap();
        world.set(name, &planted);
        world.coco(["run", "probe"]).fails(125, "lies in the project");
        fs::create_dir_all(world.path("project/.git")).unwrap();
        fs::create_dir_all(world.path("project/below/.git")).unwrap();
        world.directory = world.path("project/below");
        world.coco(["run", "probe"]).fails(125, "lies in the project");
        assert!(world.calls().is_empty());
        // The control: elsewhere the same directory is the user's own choice.
        world.directory = world.path("home");
        fs::create_dir_all(world.path("home/elsewhere")).unwrap();
        world.directory = world.path("home/elsewhere");
        world.coco(["run", "probe"]).exits(126);
    }
}
