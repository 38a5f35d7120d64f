//! S11: what a project controls never chooses the engine.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::world::{PROGRAM, World, finish};

/// A world without any engine, in a project with `.git`.
fn world() -> World {
    let world = World::with_probe();
    fs::remove_file(world.path("engines/podman")).unwrap();
    fs::create_dir(world.path("project/.git")).unwrap();
    world
}

#[track_caller]
fn nothing_runs(world: &World) {
    world.coco(["run", "probe"]).fails(126, "no podman or docker on the PATH");
    world.coco(["run", "--dry-run", "probe"]).fails(126, "no podman or docker on the PATH");
    assert!(world.calls().is_empty(), "an engine of the project was run: {:?}", world.calls());
}

#[test]
fn an_engine_outside_of_the_project_runs() {
    let mut world = world();
    world.recorder(&world.path("elsewhere/podman"), 3);
    let path = world.path("elsewhere");
    world.set("PATH", path);
    world.coco(["run", "probe"]).fails(126, "podman did not start the sandbox");
    let _ = world.call();
}

#[test]
fn relative_entries_are_passed_over() {
    let mut world = world();
    for place in ["podman", "docker", "bin/podman", "sub/podman", "sub/bin/podman"] {
        world.recorder(&world.path("project").join(place), 0);
    }
    for path in [".", "./", ":", "::", "bin", "./bin", "../project", "../project/bin", "sub/..", ".:bin:sub"] {
        world.set("PATH", path);
        nothing_runs(&world);
    }
    // The default holds the system's own directories alone; there may be an engine in one.
    world.set("PATH", "");
    let _ = world.coco(["run", "--dry-run", "probe"]);
    world.unset("PATH");
    let _ = world.coco(["run", "--dry-run", "probe"]);
    assert!(world.calls().is_empty());
}

#[test]
fn the_projects_own_directories_are_passed_over() {
    let mut world = world();
    fs::create_dir_all(world.path("project/src/deep")).unwrap();
    for place in ["podman", "bin/podman", ".venv/bin/podman", "node_modules/.bin/podman", "src/deep/docker"] {
        world.recorder(&world.path("project").join(place), 0);
    }
    for directory in ["project", "project/src", "project/src/deep"] {
        world.directory = world.path(directory);
        for entry in ["project", "project/bin", "project/.venv/bin", "project/node_modules/.bin", "project/src/deep"] {
            let entry = world.path(entry);
            world.set("PATH", entry);
            nothing_runs(&world);
        }
    }
}

#[test]
fn node_modules_are_passed_over_wherever_they_are() {
    let mut world = world();
    for place in ["node_modules/.bin", "other/node_modules/.bin", "other/node_modules/x/bin"] {
        world.recorder(&world.path(place).join("podman"), 0);
        let entry = world.path(place);
        world.set("PATH", entry);
        nothing_runs(&world);
    }
}

#[test]
fn a_link_into_the_project_is_seen_through() {
    let mut world = world();
    world.recorder(&world.path("project/bin/podman"), 0);
    symlink(world.path("project/bin"), world.path("looks-fine")).unwrap();
    let entry = world.path("looks-fine");
    world.set("PATH", entry);
    nothing_runs(&world);
    let dots = PathBuf::from(format!("{}/../project/bin", world.path("home").display()));
    world.set("PATH", dots);
    nothing_runs(&world);
}

#[test]
fn an_engine_file_that_leads_into_the_project_is_passed_over() {
    let mut world = world();
    world.recorder(&world.path("project/evil"), 0);
    fs::create_dir(world.path("elsewhere")).unwrap();
    symlink(world.path("project/evil"), world.path("elsewhere/podman")).unwrap();
    let entry = world.path("elsewhere");
    world.set("PATH", entry);
    nothing_runs(&world);
}

#[test]
fn the_first_good_entry_after_bad_ones_is_taken() {
    let mut world = world();
    world.recorder(&world.path("project/bin/podman"), 0);
    world.recorder(&world.path("elsewhere/podman"), 3);
    fs::create_dir_all(world.path("directory/podman")).unwrap();
    fs::create_dir(world.path("plain")).unwrap();
    fs::write(world.path("plain/podman"), "not executable").unwrap();
    let entries = ["project/bin", "directory", "plain", "nowhere", "elsewhere"].map(|entry| world.path(entry));
    let mut path = OsString::from(".:bin:");
    path.push(std::env::join_paths(entries).unwrap());
    world.set("PATH", path);
    let shown = world.coco(["run", "--dry-run", "probe"]).exits(0);
    let engine = world.path("elsewhere/podman");
    assert!(shown.text().lines().any(|line| line.starts_with(engine.to_str().unwrap())), "{}", shown.text());
    world.coco(["run", "probe"]).exits(126);
    assert_eq!(world.calls().len(), 1);
}

/// podman looks for its helpers in its PATH, and runs some of them as root.
#[test]
fn the_engine_finds_no_helper_of_the_projects() {
    let mut world = world();
    world.recorder(&world.path("elsewhere/podman"), 3);
    fs::create_dir_all(world.path("project/src")).unwrap();
    fs::create_dir_all(world.path("other/node_modules/.bin")).unwrap();
    for place in ["project/node_modules/.bin", "project/bin", "project/.venv/bin"] {
        fs::create_dir_all(world.path(place)).unwrap();
    }
    symlink(world.path("project/bin"), world.path("linked")).unwrap();
    let bad = ["project/node_modules/.bin", "project/bin", "project/.venv/bin", "other/node_modules/.bin", "linked"];
    let good = [world.path("elsewhere"), PathBuf::from("/usr/bin"), PathBuf::from("/bin")];
    let mut path = OsString::from(".:bin::");
    path.push(std::env::join_paths(bad.map(|entry| world.path(entry)).into_iter().chain(good.clone())).unwrap());
    world.set("PATH", path);
    let mut command = world.command(PROGRAM);
    command.args(["run", "probe"]).current_dir(world.path("project/src"));
    finish(command).exits(126);
    let call = world.call();
    let given = call.environment.iter().find(|(name, _)| *name == "PATH").unwrap().1;
    assert_eq!(std::env::split_paths(given).collect::<Vec<_>>(), good);
    // With nothing good in it, it is not empty: that would be the current directory.
    world.forget_calls();
    world.set("PATH", world.path("project/bin"));
    world.coco(["run", "probe"]).fails(126, "no podman or docker on the PATH");
}

/// `SSLKEYLOGFILE` has curl append to a file, `CURL_HOME` and `HOME` bring configurations.
#[test]
fn curl_gets_its_own_variables_alone() {
    let mut world = world();
    world.recorder(&world.path("elsewhere/curl"), 7);
    let entry = world.path("elsewhere");
    world.set("PATH", entry);
    world.set("COCO_STORE_BASE", "https://tools.acme.example");
    let passed = [("HTTPS_PROXY", "http://proxy.example:3128"), ("SSL_CERT_FILE", "/etc/x.pem"), ("no_proxy", "x")];
    for (name, value) in passed {
        world.set(name, value);
    }
    for name in ["SSLKEYLOGFILE", "CURL_HOME", "LD_PRELOAD", "API_TOKEN", "HOSTALIASES"] {
        world.set(name, "/not/passed");
    }
    let _ = world.coco(["get", "eslint"]);
    let environment = world.call().environment;
    let mut names: Vec<_> = environment.keys().filter_map(|name| name.to_str()).collect();
    // What the recorder's own shell sets.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    assert_eq!(names, ["HTTPS_PROXY", "SSL_CERT_FILE", "no_proxy"]);
}

#[test]
fn a_curl_of_the_project_is_never_run() {
    let mut world = world();
    world.recorder(&world.path("project/bin/curl"), 0);
    let entry = world.path("project/bin");
    world.set("PATH", entry);
    let store = format!("file://{}", world.path("store").display());
    world.set("COCO_STORE_BASE", store);
    let mut command = world.command(PROGRAM);
    command.args(["get", "eslint"]);
    finish(command).fails(1, "curl is not on it");
    assert!(world.calls().is_empty());
}
