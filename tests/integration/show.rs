//! What `show` and `--dry-run` print is what is run, to the byte.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;

use coco::engine::image::Image;
use coco::plan::record::{Record, write_record};
use coco::sys::hash::Digest;

use crate::engine_arguments::numbered;
use crate::world::{IMAGE, PROGRAM, World, finish, split_nul};

/// The printed command of the run phase, read back by a shell.
fn read_back(world: &World, arguments: &[&OsStr]) -> Vec<OsString> {
    let mut command = world.command(PROGRAM);
    command.args(["run", "--dry-run", "probe"]).args(arguments);
    let shown = finish(command).exits(0);
    let text = shown.text();
    let (_, phase) = text.split_once("# run phase\n").unwrap();
    // bash, because Debian's sh has no $'...' yet, and only some bytes need that.
    let shell = if phase.contains("$'") { "/bin/bash" } else { "/bin/sh" };
    let mut shell = world.command(shell);
    shell.arg("-c").arg(format!("set -f; printf '%s\\0' {phase}"));
    split_nul(&finish(shell).exits(0).stdout)
}

/// What is printed, and then what is run.
#[track_caller]
fn prints_what_it_runs(world: &World, arguments: &[&OsStr]) {
    let mut shown = numbered(read_back(world, arguments));
    let mut command = world.command(PROGRAM);
    command.args(["run", "probe"]).args(arguments);
    finish(command).exits(126);
    assert_eq!(shown.remove(0), world.path("engines/podman"));
    assert_eq!(shown, numbered(world.call().arguments));
    world.forget_calls();
}

#[test]
fn the_printed_command_is_the_one_that_runs() {
    let world = World::with_probe();
    prints_what_it_runs(&world, &[]);
}

#[test]
fn hostile_paths_and_arguments_survive_the_shell() {
    let mut world = World::with_probe();
    for name in [
        &b"with space"[..],
        b"quo\"te, comma",
        b"apos'trophe",
        b"$(id) `id` $HOME",
        b"back\\slash",
        b"*",
        b"~",
        b"#",
        b"!x",
        b"new\nline'",
        b"\xff\\'",
        b"\xffa",
        b"-x",
    ] {
        world.directory = world.path("home").join(OsStr::from_bytes(name));
        fs::create_dir(&world.directory).unwrap();
        prints_what_it_runs(&world, &[OsStr::from_bytes(name), OsStr::new("a\nb; touch x")]);
    }
    assert!(!world.path("home/x").exists());
}

#[test]
fn a_tool_with_everything_prints_what_it_runs() {
    let mut world = World::new();
    world.tool(
        "probe",
        r#"{"tool": "python@system", "command": "python3", "mounts": [{"src": "@project", "opts": "rw,z"}, {"src": "~/x y"}],
        "workdir": ".", "env": {"A": "b c"}, "env_passthrough": ["TERM"], "network": "my-net", "ports": ["8080:80"],
        "isolated": true, "data": "rw", "limits": {"memory": "1g", "pids": 7, "cpus": 1.5},
        "podman_args": ["--label=x", "-v", "/srv/a b:/c"]}"#,
    );
    fs::create_dir(world.path("home/x y")).unwrap();
    world.coco(["allow", "probe"]).exits(0);
    world.set("TERM", "xterm");
    prints_what_it_runs(&world, &[]);
}

#[test]
fn docker_prints_what_it_runs() {
    let mut world = World::with_probe();
    world.engine("docker", 3);
    world.set("COCO_RUNTIME", "docker");
    let shown = numbered(read_back(&world, &[]));
    world.coco(["run", "probe"]).exits(126);
    assert_eq!(shown[0], world.path("engines/docker"));
    assert_eq!(shown[1..], numbered(world.call().arguments));
}

/// A tool that mise installs, with the record of its installation.
fn installed(world: &World) {
    world.tool(
        "probe",
        r#"{"tool": "npm:prettier", "command": "prettier", "mounts": [{"src": ".", "dst": "/workspace"}]}"#,
    );
    fs::create_dir_all(world.path("data/coco/volumes/podman/probe/data-1")).unwrap();
    let record = Record {
        // tool, program, apt, runtimes, companions, isolation, image.
        inputs: Digest::of(["npm:prettier", "prettier", "", "", "", "shared", IMAGE].join("\n").as_bytes()),
        image: Image::parse(IMAGE).unwrap(),
        tool: "npm:prettier".into(),
        version: "3.2.1".into(),
        data: Some("data-1".parse().unwrap()),
        path: vec!["/coco/data/bin".into()],
        environment: Vec::new(),
        hosts: vec!["a.example:443".to_owned()],
    };
    write_record(&world.path("state/coco/installs/podman/probe.json"), &record).unwrap();
}

#[test]
fn an_installed_tool_prints_what_it_runs_and_installs_nothing() {
    let world = World::new();
    installed(&world);
    prints_what_it_runs(&world, &[]);
    world.coco(["run", "probe"]).exits(126);
    let call = world.call();
    assert_eq!(call.source_of("/coco/data"), world.path("data/coco/volumes/podman/probe/data-1"));
    assert!(
        call.mounts()
            .iter()
            .any(|fields| fields.contains(&b"dst=/coco/data".to_vec()) && fields.contains(&b"readonly".to_vec())),
        "{call:?}"
    );
}

#[test]
fn the_installed_version_is_seen() {
    let world = World::new();
    installed(&world);
    assert!(world.coco(["show", "probe"]).exits(0).text().contains("npm:prettier, installed at 3.2.1"));
    assert!(world.coco(["list", "--long"]).exits(0).text().contains("3.2.1"));
    assert!(world.coco(["list", "--json"]).exits(0).text().contains("\"version\": \"3.2.1\""));
}

/// A record of another image, another tool, or without its directory is no installation.
#[test]
fn a_record_that_does_not_fit_is_not_trusted() {
    for change in ["image", "tool", "directory", "record"] {
        let mut world = World::new();
        installed(&world);
        match change {
            "image" => world.set("COCO_IMAGE", "localhost/another:1"),
            "tool" => {
                world.tool("probe", r#"{"tool": "npm:prettier@2", "command": "prettier"}"#);
            }
            "directory" => fs::remove_dir(world.path("data/coco/volumes/podman/probe/data-1")).unwrap(),
            _ => fs::write(world.path("state/coco/installs/podman/probe.json"), "{").unwrap(),
        }
        assert!(world.coco(["show", "probe"]).exits(0).text().contains("not installed yet"), "{change}");
        let ended = world.coco(["run", "probe"]).exits(126);
        assert!(ended.stderr.contains("coco: installing npm:prettier"), "{change}: {ended:?}");
        let call = world.call();
        let data = call.source_of("/coco/data");
        assert_ne!(data.file_name().unwrap(), "data-1", "{change}");
        assert!(
            call.mounts().iter().any(|fields| fields.contains(&b"dst=/run/coco/network.sock".to_vec())),
            "{change}"
        );
        assert!(call.mounts().iter().all(|fields| !fields.contains(&b"dst=/workspace".to_vec())), "{change}");
        assert!(!data.exists(), "{change}: a failed installation leaves nothing");
    }
}

/// A changed mount installs nothing anew.
#[test]
fn a_changed_grant_keeps_the_installation() {
    let world = World::new();
    installed(&world);
    world.tool("probe", r#"{"tool": "npm:prettier", "command": "prettier"}"#);
    world.coco(["run", "probe"]).exits(126);
    assert_eq!(world.call().source_of("/coco/data").file_name().unwrap(), "data-1");
}

#[test]
fn the_dry_run_of_a_system_tool_with_dependencies_shows_its_installation() {
    for dependencies in [r#"{"mise": ["npm:prettier"]}"#, r#"{"apt": ["gcc"]}"#] {
        let world = World::new();
        world.tool(
            "probe",
            format!(r#"{{"tool": "python@system", "command": "python3", "dependencies": {dependencies}}}"#),
        );
        let shown = world.coco(["run", "--dry-run", "probe"]).exits(0);
        world.coco(["run", "probe"]).exits(126);
        assert!(world.call().mounts().iter().any(|fields| fields.contains(&b"dst=/coco/data".to_vec())));
        assert!(!shown.text().contains("install phase: none"), "{}", shown.text());
        assert_eq!(shown.text().matches("dst=/coco/data").count(), 2, "{}", shown.text());
    }
}

#[test]
fn a_dry_run_changes_nothing() {
    let world = World::with_probe();
    world.tool("other", r#"{"tool": "npm:prettier", "dependencies": {"mise": ["node@22"]}}"#);
    let before = world.snapshot();
    for tool in ["probe", "other"] {
        world.coco(["run", "--dry-run", tool, "x"]).exits(0);
        world.coco(["run", "-n", tool, "x"]).exits(0);
        world.coco(["show", tool]).exits(0);
    }
    assert_eq!(world.snapshot(), before);
    assert!(world.calls().is_empty());
}

#[test]
fn show_says_what_a_tool_may_do() {
    let world = World::with_probe();
    let shown = world.coco(["show", "probe"]).exits(0);
    let text = shown.text();
    for words in [
        "looks around\n",
        "runs         python3",
        &format!("reads and writes  {} as /workspace", world.path("project").display()),
        "network           none",
        "# install phase: none, the image has it",
        "# inside, init runs python3",
    ] {
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeezed(text).contains(&squeezed(words)), "{words:?} is not in\n{text}");
    }
    // What is held, and where nothing is.
    let hooks = world.path("project/.git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    let shown = world.coco(["show", "probe"]).exits(0);
    assert!(shown.text().contains(&format!("can't change      {}\n", hooks.display())), "{}", shown.text());
    let file = fs::read_to_string(world.path("data/coco/tools/probe.json")).unwrap();
    world.tool("probe", file.replacen('{', "{\"protect\": false, ", 1));
    let shown = world.coco(["show", "probe"]).exits(0);
    assert!(shown.text().contains("unprotected       what it may write includes git hooks"), "{}", shown.text());
}

/// A search that ended early has left something unprotected: that is told at each start, and not only after it.
#[test]
fn a_project_that_is_too_large_to_search_is_told() {
    let world = World::with_probe();
    let warning = "has more directories than coco scans";
    fs::create_dir_all(world.path("project/many")).unwrap();
    for number in 0..coco::rules::autorun::MAX_DIRECTORIES - 2 {
        fs::create_dir(world.path("project/many").join(number.to_string())).unwrap();
    }
    // The control: as many as it scans.
    assert!(!world.coco(["run", "--dry-run", "probe"]).exits(0).stderr.contains(warning));
    fs::create_dir(world.path("project/many/one-more")).unwrap();
    assert!(world.coco(["run", "--dry-run", "probe"]).exits(0).stderr.contains(warning));
    assert!(world.coco(["show", "probe"]).exits(0).text().contains(warning));
    assert!(world.coco(["run", "probe"]).exits(126).stderr.contains(warning));
}
