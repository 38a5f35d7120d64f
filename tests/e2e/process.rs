//! Exit codes and signals: as the bare tool's.

use std::io::Write;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Background, World, each_engine, until};

each_engine!(exit_codes, death_by_signal, delivered_signals, the_hangup_signal);

fn exit_codes(world: &World) {
    world.python("exit-codes", &json!({}));
    for code in [0, 1, 3, 42, 125, 126, 127, 255] {
        world.coco(["run", "exit-codes", "-c", &format!("import sys; sys.exit({code})")]).exits(code);
    }
}

fn death_by_signal(world: &World) {
    world.python("death", &json!({}));
    // The last two are real-time signals, which have a number and no name.
    for signal in [libc::SIGKILL, libc::SIGSEGV, libc::SIGTERM, 34, 64] {
        let code = format!("import os; os.kill(os.getpid(), {signal})");
        world.coco(["run", "death", "-c", &code]).exits(128 + signal);
    }
}

/// Counts what arrives; leaves by what is written to standard input.
const COUNTER: &str = "
import signal, sys
counts = {}
def count(number, frame):
    counts[number] = counts.get(number, 0) + 1
for name in ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGQUIT', 'SIGWINCH']:
    signal.signal(getattr(signal, name), count)
print('ready', flush=True)
for line in sys.stdin:
    print(sorted(counts.items()), flush=True)
sys.exit(7)
";

fn delivered_signals(world: &World) {
    world.python("signals", &json!({}));
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGQUIT, Signal::SIGWINCH]
    {
        let mut tool = Background::start(world.command(&world.coco).args(["run", "signals", "-c", COUNTER]));
        assert_eq!(tool.line(), "ready");
        tool.send(signal);
        let once = format!("[({}, 1)]", signal as i32);
        let count = |tool: &mut Background| {
            tool.0.stdin.as_mut().unwrap().write_all(b"?\n").unwrap();
            tool.line()
        };
        let counted = until(&format!("{signal} at the tool"), Duration::from_secs(10), || {
            Some(count(&mut tool)).filter(|counted| counted != "[]")
        });
        assert_eq!(counted, once, "{signal}");
        // A second delivery of the same signal would be here by now.
        assert_eq!(count(&mut tool), once, "{signal}");
        drop(tool.0.stdin.take());
        assert_eq!(tool.ends(Duration::from_secs(10)), 7, "{signal}");
    }
}

/// The tool is told once and may end in its own way; a caller that ignores the signal is not hung up on.
fn the_hangup_signal(world: &World) {
    world.python("hangup", &json!({}));
    let code = "
import os, select, signal, sys, time
signal.signal(signal.SIGHUP, lambda *_: (os.write(1, b'hung up\\n'), time.sleep(0.2), os._exit(6)))
print('ready', flush=True)
# A handler waits for a read that is under way, and a signal may come just before that.
while not select.select([0], [], [], 0.02)[0]:
    pass
sys.stdin.readline()
print('not hung up')
";
    let mut tool = Background::start(world.command(&world.coco).args(["run", "hangup", "-c", code]));
    assert_eq!(tool.line(), "ready");
    tool.send(Signal::SIGHUP);
    assert_eq!(tool.line(), "hung up");
    assert_eq!(tool.line(), "");
    assert_eq!(tool.ends(Duration::from_secs(10)), 6);
    let mut shell = world.command("/bin/sh");
    shell.args(["-c", r#"trap '' HUP; exec "$@""#, "sh"]).arg(&world.coco).args(["run", "hangup", "-c", code]);
    let mut tool = Background::start(&mut shell);
    assert_eq!(tool.line(), "ready");
    tool.send(Signal::SIGHUP);
    tool.0.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(tool.line(), "not hung up");
    assert_eq!(tool.ends(Duration::from_secs(10)), 0);
}
