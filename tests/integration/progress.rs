//! What takes long says what it does at least every ten seconds, in words.

use crate::world::{Ended, World, write_program};

/// An engine that says nothing for a while.
fn slow_engine(world: &World) {
    let script = r#"#!/bin/sh
case "$1" in
    build)
        echo '[1/2] STEP 2/3: RUN : "fetching mise"; set -eu;     npm ci --ignore-scripts'
        case "$*" in *--target=base*) /bin/sleep 11 ;; esac
        for argument; do
            case "$argument" in --iidfile=*) printf 'sha256:%064d' 1 > "${argument#--iidfile=}" ;; esac
        done ;;
    run) /bin/sleep 11; exit 9 ;;
esac
"#;
    write_program(&world.path("engines/podman"), script);
}

#[track_caller]
fn says(ended: &Ended, line: &str) {
    assert!(ended.stderr.lines().any(|said| said.starts_with(line)), "{line}: {ended:?}");
}

#[test]
fn a_build_and_a_start_show_that_they_go_on() {
    let mut world = World::with_probe();
    world.unset("COCO_IMAGE");
    slow_engine(&world);
    let ended = world.coco(["run", "probe"]).exits(126);
    says(&ended, "coco: image base: fetching mise");
    says(&ended, "coco: image base: still fetching mise (");
    says(&ended, "coco: image python: built in 0 s");
    says(&ended, &format!("coco: still waiting for {} to start the sandbox (", world.path("engines/podman").display()));
    assert!(!ended.stderr.contains("set -eu") && !ended.stderr.contains("npm ci"), "no shell: {ended:?}");
}

#[test]
fn an_installation_shows_that_it_goes_on() {
    let world = World::new();
    world.tool("probe", r#"{"tool": "npm:probe", "dependencies": {"apt": ["jq"]}}"#);
    slow_engine(&world);
    let ended = world.coco(["run", "probe"]).exits(126);
    says(&ended, "coco: installing npm:probe for probe");
    says(&ended, "coco: probe: still installing Debian's jq, then npm:probe (");
}

#[test]
fn who_waits_for_another_coco_says_so() {
    let world = World::new();
    world.tool("probe", r#"{"tool": "npm:probe"}"#);
    let own = world.path("data/coco/volumes/podman/probe");
    std::fs::create_dir_all(&own).unwrap();
    let lock = std::fs::File::create(own.join("install.lock")).unwrap();
    lock.lock().unwrap();
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| world.coco(["run", "probe"]));
        std::thread::sleep(std::time::Duration::from_secs(11));
        drop(lock);
        waiting.join().unwrap()
    });
    says(&waiting, "coco: waiting for another coco that installs probe");
    says(&waiting, "coco: still waiting for another coco that installs probe (");
}
