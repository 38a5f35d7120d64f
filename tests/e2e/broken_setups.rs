//! Set-ups that are broken on purpose, each by files of the test's own, and engines that are not here: these very tests,
//! started again under it, fail with the reason in the one case and are skipped with the reason in the other.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::{Engine, Run, World, command, each_engine, one_engine, run};

each_engine!(a_tool_starts, a_tool_starts_again);
one_engine!(podman_rootful PodmanRootful: a_wrong_runtime, a_base_image_that_can_not_be_made, nobody_but_root);
one_engine!(docker Docker: a_daemon_that_dies, a_machine_without_docker);

/// What is started again: without the break it passes.
fn a_tool_starts(world: &World) {
    world.python("starts", &json!({}));
    assert_eq!(world.says("starts", "print('started')"), "started");
}

/// One more, for what is to be told to each and tried once.
fn a_tool_starts_again(world: &World) {
    a_tool_starts(world);
}

/// The two tests of an engine in another run of this program, with a state of its own.
fn again(state: &Path, engine: Engine) -> Command {
    let mut tests = command(std::env::current_exe().unwrap());
    for name in ["a_tool_starts", "a_tool_starts_again"] {
        tests.arg(format!("broken_setups::{name}::{}", engine.name().replace('-', "_")));
    }
    tests.arg("--exact").env("COCO_TEST_STATE", state.join("tests")).env_remove("CI");
    // A backtrace names the test, and would make two reasons of one.
    tests.env("COCO_TEST_SKIPPED", state.join("skipped")).env("RUST_BACKTRACE", "0");
    tests
}

/// Both fail by the reason, which comes from one and the same try: times and names of temporary files are in it.
#[track_caller]
fn both_fail(ended: &Run, engine: Engine, reason: &str) {
    ended.exits(101);
    let (text, words) = (ended.text(), format!("{} is here and its set-up failed: ", engine.name()));
    assert!(text.contains("0 passed; 2 failed"), "{ended:?}");
    let reasons: Vec<String> = text
        .split(&words)
        .skip(1)
        .map(|rest| rest.lines().take_while(|line| !line.is_empty() && !line.starts_with("note: run with")).collect())
        .collect();
    assert_eq!(reasons.len(), 2, "{ended:?}");
    assert!(reasons[0].contains(reason), "{reason:?}: {ended:?}");
    assert_eq!(reasons[0], reasons[1]);
}

fn a_wrong_runtime(world: &World) {
    let state = tempfile::tempdir().unwrap();
    let own = fs::read_to_string(world.variable("CONTAINERS_CONF")).unwrap();
    let other: String =
        own.lines().filter(|line| !line.starts_with("runtime =")).map(|line| format!("{line}\n")).collect();
    let file = state.path().join("containers.conf");
    // One that is not there, and one that is and starts nothing.
    for (runtime, reason) in [("no-such-runtime", "no-such-runtime"), ("/bin/false", "podman run failed")] {
        fs::write(&file, other.replacen("[engine]\n", &format!("[engine]\nruntime = \"{runtime}\"\n"), 1)).unwrap();
        let ended = run(again(state.path(), world.engine).env("CONTAINERS_CONF", &file));
        both_fail(&ended, world.engine, reason);
    }
}

fn a_base_image_that_can_not_be_made(world: &World) {
    let state = tempfile::tempdir().unwrap();
    let mut tests = again(state.path(), world.engine);
    tests.env("COCO_MACHINE_SUITE", "nonsense").env("COCO_MACHINE_CACHE", state.path().join("cache"));
    // Nobody listens there.
    tests.env("COCO_BASE_IMAGE", "localhost:9/coco/nonsense:1").env("COCO_MACHINE_PULL_SECONDS", "5");
    both_fail(&run(&mut tests), world.engine, "Debian packages: mmdebstrap failed");
}

fn a_daemon_that_dies(world: &World) {
    let state = tempfile::tempdir().unwrap();
    let cache = state.path().join("cache");
    fs::create_dir_all(cache.join("docker")).unwrap();
    // It needs a directory there.
    fs::write(cache.join("docker/data"), "").unwrap();
    let mut tests = again(state.path(), world.engine);
    tests.env("COCO_MACHINE_CACHE", &cache).env("COCO_MACHINE_STATE", state.path().join("state"));
    both_fail(&run(&mut tests), world.engine, "dockerd: did not start");
}

/// Both pass for the harness, and are skipped with the reason, which is said once.
#[track_caller]
fn both_skipped(ended: &Run, state: &Path, engine: Engine, reason: &str) {
    ended.succeeds();
    assert_eq!(ended.errors().matches("skipped: ").count(), 1, "{ended:?}");
    ended.complains(&format!("skipped: no {} here: {reason}\n", engine.name()));
    let list = fs::read_to_string(state.join("skipped")).unwrap();
    let line = format!("\t{}\tabsent\tno {} here: {reason}", engine.name(), engine.name());
    assert_eq!((list.lines().count(), list.matches(&line).count()), (2, 2), "{list}");
    assert!(list.contains("e2e::broken_setups::a_tool_starts_again\t"), "{list}");
}

fn a_machine_without_docker(world: &World) {
    for program in ["docker", "dockerd"] {
        let state = tempfile::tempdir().unwrap();
        let hidden = |tests: &Command| {
            // Wherever it is installed, there is something else in a namespace of these tests' own.
            let script = "for place in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
                if [ -e $place/$0 ]; then mount --bind /dev/null $place/$0; fi; done; exec \"$@\"";
            let mut hidden = command("unshare");
            hidden.args(["--mount", "sh", "-c", script, program]).arg(tests.get_program()).args(tests.get_args());
            for (name, value) in tests.get_envs() {
                match value {
                    Some(value) => hidden.env(name, value),
                    None => hidden.env_remove(name),
                };
            }
            hidden
        };
        let ended = run(&mut hidden(&again(state.path(), world.engine)));
        both_skipped(&ended, state.path(), world.engine, &format!("{program} is not installed"));
        // CI's machine has every engine: there it is a failure.
        let in_ci = run(hidden(&again(state.path(), world.engine)).env("CI", "true"));
        assert!(in_ci.exits(101).text().contains("no docker here, and CI has to have it"), "{in_ci:?}");
    }
}

fn nobody_but_root(world: &World) {
    let state = tempfile::tempdir().unwrap();
    let tests = again(state.path(), world.engine);
    let mut user = command("unshare");
    user.arg("--user").arg(tests.get_program()).args(tests.get_args()).env_remove("CI");
    user.envs(tests.get_envs().filter_map(|(name, value)| Some((name, value?))));
    both_skipped(&run(&mut user), state.path(), world.engine, "it needs root");
}
