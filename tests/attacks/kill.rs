//! P13: however coco goes, nothing of the sandbox stays.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::pty::{Ends, Pty};
use crate::support::{Background, World, each_engine, marker, processes_with};

each_engine!(
    p13_killed_in_the_middle,
    p13_killed_at_any_moment,
    p13_the_terminal_closes,
    p13_polite_signals_to_a_deaf_tool,
);

/// Deaf to every signal that can be ignored, with a child that has left its session and its parent.
const DEAF: &str = "
import os, signal, sys, time
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print('ready', flush=True)
        while True:
            time.sleep(1)
    os._exit(0)
while True:
    time.sleep(1)
";

/// How long everything may take to be gone.
const LIMIT: Duration = Duration::from_secs(2);

/// Insists that no container and no process is left, within the limit.
#[track_caller]
fn all_gone(world: &World, tool: &str, mark: &str, ids: &[String], what: &str) {
    let started = Instant::now();
    // The engine's client counts as well: one that is still starting may yet bring up a container.
    let client = format!("--label=coco.tool={tool}");
    let marks: Vec<&str> = [mark, &client].into_iter().chain(ids.iter().map(String::as_str)).collect();
    loop {
        let processes: Vec<u32> = marks.iter().copied().flat_map(processes_with).collect();
        let containers = world.containers(tool);
        if containers.is_empty() && processes.is_empty() {
            return;
        }
        assert!(started.elapsed() < LIMIT, "{what}: still there: containers {containers:?}, processes {processes:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn p13_killed_in_the_middle(world: &World) {
    world.python("kill-middle", &json!({}));
    let mark = marker("kill-middle");
    let mut coco = Background::start(world.command(&world.coco).args(["run", "kill-middle", "-c", DEAF, &mark]));
    assert_eq!(coco.line(), "ready");
    let ids = world.containers("kill-middle");
    // The control: the probe sees them while they are there: the tool, its child, and the engine's own process.
    assert_eq!(ids.len(), 1);
    assert!(processes_with(&mark).len() >= 3, "coco, the tool and its child");
    coco.send(Signal::SIGKILL);
    coco.ends(LIMIT);
    all_gone(world, "kill-middle", &mark, &ids, "killed in the middle");
}

/// Before, while and after the engine makes the container.
fn p13_killed_at_any_moment(world: &World) {
    world.python("kill-any", &json!({}));
    for moment in [0, 3, 10, 30, 60, 100, 150, 200, 250, 300, 400, 600] {
        let mark = marker("kill-any");
        let mut coco = Background::start(world.command(&world.coco).args(["run", "kill-any", "-c", DEAF, &mark]));
        // Not a wait for anything: the moment itself is what is tried.
        std::thread::sleep(Duration::from_millis(moment));
        coco.send(Signal::SIGKILL);
        coco.ends(LIMIT);
        all_gone(world, "kill-any", &mark, &[], &format!("killed after {moment} ms"));
    }
}

fn p13_the_terminal_closes(world: &World) {
    world.python("kill-tty", &json!({}));
    let mark = marker("kill-tty");
    let pty = Pty::start(world, world.command(&world.coco).args(["run", "kill-tty", "-c", DEAF, &mark]), Ends::All);
    pty.wait_for("ready");
    let ids = world.containers("kill-tty");
    assert_eq!(ids.len(), 1);
    let mut coco = pty.close();
    coco.ends(LIMIT);
    all_gone(world, "kill-tty", &mark, &ids, "the terminal closed");
}

fn p13_polite_signals_to_a_deaf_tool(world: &World) {
    world.python("kill-deaf", &json!({}));
    let mark = marker("kill-deaf");
    let mut coco = Background::start(world.command(&world.coco).args(["run", "kill-deaf", "-c", DEAF, &mark]));
    assert_eq!(coco.line(), "ready");
    // As with the bare tool: deaf is deaf, and coco goes on with it.
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGUSR1] {
        coco.send(signal);
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(coco.0.try_wait().unwrap().is_none());
    assert!(processes_with(&mark).len() >= 3);
    coco.send(Signal::SIGKILL);
    coco.ends(LIMIT);
    all_gone(world, "kill-deaf", &mark, &[], "after polite signals");
}
