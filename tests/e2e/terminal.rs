//! Terminals: seen inside when both ends are one, and job control as a shell's user expects it.

use std::fs;
use std::io::{Read, Write};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::pty::{Ends, Pty};
use crate::support::{Background, Engine, World, each_engine, marker, processes_with, until};

each_engine!(
    both_ends_make_a_terminal,
    a_piped_output_is_no_terminal,
    the_window_size_follows,
    the_interrupt_key,
    stop_and_continue_under_a_shell,
    stop_and_continue_without_a_terminal,
);

fn both_ends_make_a_terminal(world: &World) {
    world.python("tty", &json!({}));
    // docker's client tells the size only once the tool runs.
    let patience = u8::from(world.engine == Engine::Docker);
    let code = format!(
        "
import os, time
deadline = time.monotonic() + {patience}
while os.get_terminal_size().lines == 0 and time.monotonic() < deadline:
    time.sleep(0.01)
print([os.isatty(n) for n in (0, 1, 2)], os.get_terminal_size(), os.environ['TERM'])
print(input().upper())
"
    );
    let mut pty = Pty::start(world, world.command(&world.coco).args(["run", "tty", "-c", &code]), Ends::All);
    pty.wait_for("[True, True, True] os.terminal_size(columns=80, lines=24) xterm");
    pty.type_in("typed\r");
    pty.wait_for("TYPED");
    assert_eq!(pty.ends(), 0);
}

fn a_piped_output_is_no_terminal(world: &World) {
    world.python("half-tty", &json!({}));
    let code = "import os; print([os.isatty(n) for n in (0, 1)]); print(input().upper())";
    let before_command = world.command("/bin/true");
    let settings = Pty::start(world, &before_command, Ends::All).settings();
    let mut pty =
        Pty::start(world, world.command(&world.coco).args(["run", "half-tty", "-c", code]), Ends::PipedOutput);
    assert_eq!(pty.leader.line(), "[False, False]");
    assert_eq!(pty.settings(), settings, "the terminal is left as it was");
    pty.type_in("typed\n");
    let mut rest = Vec::new();
    pty.leader.0.stdout.as_mut().unwrap().read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"TYPED\n");
    assert_eq!(pty.ends(), 0);
}

fn the_window_size_follows(world: &World) {
    world.python("winch", &json!({}));
    let code = "
import os, signal, time
def show(*_):
    print('size', *os.get_terminal_size(), flush=True)
signal.signal(signal.SIGWINCH, show)
show()
while tuple(os.get_terminal_size()) != (132, 50):
    time.sleep(0.01)
time.sleep(0.2)
";
    let mut pty = Pty::start(world, world.command(&world.coco).args(["run", "winch", "-c", code]), Ends::All);
    pty.wait_for("size 80 24");
    pty.resize(50, 132);
    pty.wait_for("size 132 50");
    assert_eq!(pty.ends(), 0);
}

fn the_interrupt_key(world: &World) {
    world.python("key", &json!({}));
    let code = "
import signal, sys, time
count = 0
def interrupted(*_):
    global count
    count += 1
signal.signal(signal.SIGINT, interrupted)
print('ready', flush=True)
sys.stdin.readline()
print('interrupts', count)
sys.exit(9)
";
    let mut pty = Pty::start(world, world.command(&world.coco).args(["run", "key", "-c", code]), Ends::All);
    pty.wait_for("ready");
    pty.type_in("\x03");
    pty.wait_for("^C");
    pty.type_in("\r");
    pty.wait_for("interrupts 1");
    assert_eq!(pty.ends(), 9);
    // Without a handler, it ends the tool, and the code says so.
    let code =
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL); print('ready', flush=True); time.sleep(60)";
    let mut pty = Pty::start(world, world.command(&world.coco).args(["run", "key", "-c", code]), Ends::All);
    pty.wait_for("ready");
    pty.type_in("\x03");
    assert_eq!(pty.ends(), 130);
}

/// Waits for a line, and tells when and how often it was continued.
const TICKER: &str = "
import os, select, signal, sys
continued = 0
def again(*_):
    global continued
    continued += 1
    os.write(1, b'continued\\n')
signal.signal(signal.SIGCONT, again)
# A signal between two steps must end the wait as well: the handler runs only outside of it.
woken, wake = os.pipe2(os.O_NONBLOCK)
signal.set_wakeup_fd(wake)
print('ready', flush=True)
while not select.select([0, woken], [], [])[0].count(0):
    os.read(woken, 64)
# A handler waits for a read that is under way, and a signal may come just before that.
while not select.select([0], [], [], 0.02)[0]:
    pass
print('got', sys.stdin.readline().strip(), continued, flush=True)
sys.exit(5)
";

fn stop_and_continue_under_a_shell(world: &World) {
    world.python("jobs", &json!({}));
    let mark = marker("jobs");
    let mut shell = world.command("/bin/bash");
    shell.args(["--norc", "--noprofile", "--noediting", "-i"]).env("PS1", "prompt> ").env("TICKER", TICKER);
    shell.env("COCO", &world.coco);
    let mut pty = Pty::start(world, &shell, Ends::All);
    pty.wait_for("prompt> ");
    let cooked = pty.settings();
    pty.type_in(&format!("\"$COCO\" run jobs -c \"$TICKER\" {mark}\n"));
    pty.wait_for("ready\r\n");
    until("a raw terminal", Duration::from_secs(10), || (pty.settings() != cooked).then_some(()));
    let tool = || processes_with(&mark).into_iter().filter(|pid| program(*pid).contains("python"));
    assert_eq!(tool().count(), 1);
    pty.type_in("\x1a");
    pty.wait_for("Stopped");
    assert!(tool().all(|pid| state(pid) == 'T'), "the tool itself stands still");
    assert_eq!(pty.settings(), cooked, "the shell has its terminal back");
    pty.type_in("echo in $((20+3)) between\n");
    pty.wait_for("in 23 between");
    pty.type_in("fg\n");
    pty.wait_for("continued");
    pty.type_in("typed\r");
    pty.wait_for("got typed 1");
    pty.wait_for("prompt> ");
    pty.type_in("echo left with $?\n");
    pty.wait_for("left with 5");
    assert_eq!(pty.settings(), cooked);
    pty.type_in("exit\n");
    pty.ends();
}

fn stop_and_continue_without_a_terminal(world: &World) {
    world.python("stopped", &json!({}));
    let mark = marker("stopped");
    let mut coco = Background::start(world.command(&world.coco).args(["run", "stopped", "-c", TICKER, &mark]));
    assert_eq!(coco.line(), "ready");
    coco.send(Signal::SIGTSTP);
    until("coco to stop", Duration::from_secs(10), || (state(coco.0.id()) == 'T').then_some(()));
    let tool = || processes_with(&mark).into_iter().filter(|pid| program(*pid).contains("python"));
    assert_eq!(tool().map(state).collect::<Vec<_>>(), ['T']);
    coco.send(Signal::SIGCONT);
    assert_eq!(coco.line(), "continued");
    coco.0.stdin.take().unwrap().write_all(b"typed\n").unwrap();
    assert_eq!(coco.line(), "got typed 1");
    assert_eq!(coco.ends(Duration::from_secs(10)), 5);
}

/// The state letter of a process, proc(5).
fn state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

fn program(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default()
}
