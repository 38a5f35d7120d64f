//! P10: bombs, each under a small limit that holds it. Where an engine can't limit, that is said, and none is tried: the
//! test is skipped, if the bare engine can't limit either.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Background, Engine, World, each_engine, is_impossible, marker, processes_with, until};

each_engine!(p10_fork_bomb, p10_memory_bomb);

/// Goes on where this user can set limits. Where not, the user must have been told, and the bare engine must be as
/// unable.
fn insist_on_limits(world: &World, tool: &str, what: &str, (option, number): (&str, &str)) {
    let shown = world.coco(["show", tool]).succeeds().text();
    let row = shown.lines().find(|line| line.trim_start().starts_with("limits")).unwrap().to_owned();
    let told = world.coco(["run", tool, "-c", "pass"]).succeeds().errors();
    let holds = !row.contains("not set");
    assert_eq!(!told.contains(&format!("limits: {what} is not enforced")), holds, "{row}\n{told}");
    let bare_holds = world.bare_engine_limits(option, number);
    if !holds {
        assert!(world.engine == Engine::PodmanRootless, "{row}");
        is_impossible(&format!("this user can't limit {what}"), !bare_holds);
    }
    assert!(bare_holds, "the control sees a limit that holds");
}

/// Every process makes more of itself, for two seconds.
fn p10_fork_bomb(world: &World) {
    world.python("forking", &json!({"limits": {"pids": 40}}));
    insist_on_limits(world, "forking", "pids", ("--pids-limit=40", "40"));
    let mark = marker("bomb");
    let bomb = "
import os, sys, time
end = time.monotonic() + 2
print('begun', flush=True)
while time.monotonic() < end:
    try:
        os.fork()
    except OSError:
        time.sleep(0.01)
";
    let mut tool = Background::start(world.command(&world.coco).args(["run", "forking", "-c", bomb, &mark]));
    assert_eq!(tool.line(), "begun");
    // Meanwhile there are never more than the limit, and other tools start as ever.
    let most = thread::spawn({
        let mark = mark.clone();
        move || {
            let end = Instant::now() + Duration::from_secs(2);
            let mut most = 0;
            while Instant::now() < end {
                most = most.max(processes_with(&mark).len());
                thread::sleep(Duration::from_millis(20));
            }
            most
        }
    });
    world.python("beside", &json!({}));
    assert_eq!(world.says("beside", "print('ran')"), "ran");
    let most = most.join().unwrap();
    // coco and the engine's own processes have the mark on their command lines, too.
    assert!((15..60).contains(&most), "{most}");
    tool.ends(Duration::from_secs(20));
    until("the bomb is gone", Duration::from_secs(5), || processes_with(&mark).is_empty().then_some(()));
    assert_eq!(world.containers("forking"), [""; 0]);
}

fn p10_memory_bomb(world: &World) {
    world.python("hungry", &json!({"limits": {"memory": "64m"}}));
    insist_on_limits(world, "hungry", "memory", ("--memory=64m", "67108864"));
    // In its own memory, and in the file system that lies in memory.
    let heap = "
held = []
while len(held) < 300:
    held.append(bytearray(1 << 20))
print('held')
";
    let files = "
with open('/tmp/x', 'wb') as file:
    for _ in range(300):
        file.write(bytes(1 << 20))
print('held')
";
    for bomb in [heap, files] {
        let ended = world.coco(["run", "hungry", "-c", bomb]);
        assert_eq!((ended.code(), ended.text().as_str()), (137, ""), "{ended:?}");
    }
    // The controls: within the limit, and with a higher one.
    assert_eq!(world.says("hungry", "x = bytearray(16 << 20); print('held')"), "held");
    world.python("fed", &json!({"limits": {"memory": "1g"}}));
    for bomb in [heap, files] {
        assert_eq!(world.says("fed", bomb), "held");
    }
}
