//! What is left in an engine when a start or a build does not end in order: nothing, in the end.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Background, World, each_engine, run, until};

each_engine!(containers_that_were_never_started, a_build_leaves_nothing_without_a_name, a_build_that_is_killed);

/// A container that was made and not started, as an engine leaves it that is killed in between.
fn left(world: &World, tool: &str, run: &Path) -> String {
    let labels = [format!("--label=coco.tool={tool}"), format!("--label=coco.run={}", run.display())];
    let image = "localhost/coco:python";
    let made = world.engine(["create", "--network=none", &labels[0], &labels[1], image, "true"]);
    made.succeeds().text()
}

fn containers_that_were_never_started(world: &World) {
    world.python("left", &json!({}));
    let runs = PathBuf::from(world.variable("XDG_RUNTIME_DIR")).join("coco");
    world.make_directory(&runs).unwrap();
    let used = runs.join("run-4000001");
    world.make_directory(&used).unwrap();
    let lock = File::open(&used).unwrap();
    lock.lock_shared().unwrap();
    let gone = left(world, "left", &runs.join("run-4000000"));
    let living = left(world, "left", &used);
    let other = left(world, "left", Path::new("/nonexistent/coco/run-1"));
    // Something else was killed, and this is how the next run knows.
    let dead = runs.join("run-4000002");
    world.make_directory(&dead).unwrap();
    world.write(dead.join("of-coco"), "");
    File::open(&dead).unwrap().set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    world.coco(["run", "left", "-c", "pass"]).succeeds();
    let there = |id: &String| world.containers("left").iter().any(|known| id.starts_with(known.as_str()));
    assert!(!dead.exists() && !there(&gone), "the next run removes it");
    assert!(there(&living) && there(&other), "one whose coco lives, and one that is not this user's, stay");
    // Without a sign there is no question; prune asks always.
    let gone = left(world, "left", &runs.join("run-4000003"));
    world.coco(["run", "left", "-c", "pass"]).succeeds();
    assert!(there(&gone));
    drop(lock);
    fs::remove_dir(&used).unwrap();
    let pruned = world.coco(["prune"]);
    pruned.succeeds().complains("2 containers that were never started");
    assert!(!there(&gone) && !there(&living) && there(&other));
    world.engine(["rm", &other]).succeeds();
    // The whole start is killed, the engine's client with it, at any moment.
    for moment in [20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 240, 280] {
        let mut shell = world.command("/bin/sh");
        shell.args(["-c", "exec setsid \"$@\"", "sh"]).arg(&world.coco).args(["run", "left", "-c", "pass"]);
        let mut coco = Background::start(&mut shell);
        std::thread::sleep(Duration::from_millis(moment));
        coco.send(Signal::SIGTERM);
        // The second one is for the engine's client.
        coco.send(Signal::SIGTERM);
        coco.ends(Duration::from_secs(10));
    }
    world.coco(["prune"]).succeeds();
    until("no container", Duration::from_secs(5), || world.containers("left").is_empty().then_some(()));
}

fn a_build_leaves_nothing_without_a_name(world: &World) {
    world.python("built", &json!({}));
    let label = format!("--filter=label=coco.scrap={}", owner_of(&world.home.join(".local/state")));
    let asked = ["image", "ls", "--quiet", "--filter=dangling=true", &label];
    assert_eq!(world.engine(asked).succeeds().text(), "");
    let record = world.home.join(format!(".local/state/coco/images/{}-base.json", world.engine.program()));
    assert!(record.exists(), "the base has a record, and prune knows it");
}

/// The next build of the stage or `coco prune` removes the container in which a killed one stopped; docker does itself.
fn a_build_that_is_killed(world: &World) {
    world.python("killed", &json!({}));
    let state = world.home.join(".killed-state");
    world.make_directory(&state).unwrap();
    // A state of its own, so that everything is to be built, on an image that is there.
    let coco = || {
        let mut command = world.command(&world.coco);
        command.env("XDG_STATE_HOME", &state).env("COCO_BASE_IMAGE", "localhost/coco:python");
        command
    };
    let owner = owner_of(&state);
    let stopped = || -> Vec<String> {
        let label = format!("--filter=label=coco.scrap={owner}");
        let (asked, name) = match world.engine.program() {
            "podman" => (["ps", "--all", "--external"], format!(" coco-build-{owner}-base-")),
            _ => (["ps", "--all", &*label], String::new()),
        };
        let listed = world.engine(asked.into_iter().chain(["--format={{.ID}} {{.Names}}"])).succeeds().text();
        listed.lines().filter(|line| line.contains(&name)).map(str::to_owned).collect()
    };
    let build_and_kill = || {
        let before = stopped();
        let mut building = Background::start(coco().args(["run", "killed", "-c", "pass"]));
        until("a container of the build", Duration::from_secs(60), || {
            stopped().iter().any(|container| !before.contains(container)).then_some(())
        });
        building.send(Signal::SIGKILL);
        building.ends(Duration::from_secs(10));
    };
    build_and_kill();
    if world.engine.program() == "podman" {
        assert_eq!(stopped().len(), 1, "the control: it is left, and its name is known");
        build_and_kill();
        assert_eq!(stopped().len(), 1, "the next build removes what the one before left");
        until("prune", Duration::from_secs(20), || {
            run(coco().arg("prune")).succeeds();
            stopped().is_empty().then_some(())
        });
    }
    until("no container of the build", Duration::from_secs(20), || stopped().is_empty().then_some(()));
    let name = format!("--filter=reference=localhost/coco-build-{owner}-base");
    assert_eq!(world.engine(["image", "ls", "--quiet", &name]).succeeds().text(), "");
}

/// How coco marks what is of one user's.
fn owner_of(state: &Path) -> String {
    coco::sys::hash::digest(state.join("coco").as_os_str().as_bytes()).chars().take(16).collect()
}
