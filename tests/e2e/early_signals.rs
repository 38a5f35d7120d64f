//! A signal while the sandbox starts: it ends the start, and nothing else is said about it.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Background, World, each_engine, printable, until};

each_engine!(a_signal_at_any_moment_of_the_start, a_kill_at_any_moment_of_the_start);

/// From before the engine is there until after the tool is.
const MOMENTS: std::ops::RangeInclusive<u64> = 0..=20;
/// Between two of them.
const STEP: Duration = Duration::from_millis(20);

/// Sends a signal at a moment; gives the exit code as a shell sees it, and standard error to its very end.
fn interrupted(world: &World, tool: &str, signal: Signal, moment: u64) -> (i32, String) {
    let mut coco = Background::start(world.command(&world.coco).args(["run", tool, "60"]));
    // Not a wait for anything: the moment itself is what is tried.
    std::thread::sleep(STEP * u32::try_from(moment).unwrap());
    coco.send(signal);
    let code = coco.ends(Duration::from_secs(10));
    let mut words = Vec::new();
    // Whoever holds it open, init for one, is done only then.
    std::io::Read::read_to_end(coco.0.stderr.as_mut().unwrap(), &mut words).unwrap();
    (code, printable(&words))
}

fn sleeper(world: &World, tool: &str) {
    world.python("warm-up", &json!({}));
    world.tool(tool, &json!({"tool": "python@system", "command": "sleep"}));
}

fn a_signal_at_any_moment_of_the_start(world: &World) {
    sleeper(world, "early");
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        for moment in MOMENTS {
            let (code, words) = interrupted(world, "early", signal, moment);
            let at = format!("{signal} after {:?}", STEP * u32::try_from(moment).unwrap());
            assert_eq!((code, words.as_str()), (128 + signal as i32, ""), "{at}");
        }
    }
    until("the last container's end", Duration::from_secs(5), || world.containers("early").is_empty().then_some(()));
}

fn a_kill_at_any_moment_of_the_start(world: &World) {
    sleeper(world, "early-kill");
    for moment in MOMENTS {
        let (code, words) = interrupted(world, "early-kill", Signal::SIGKILL, moment);
        assert_eq!((code, words.as_str()), (137, ""), "killed after {:?}", STEP * u32::try_from(moment).unwrap());
    }
    let gone = || world.containers("early-kill").is_empty().then_some(());
    until("the last container's end", Duration::from_secs(5), gone);
}
