//! The caller's terminal: suspending with the tool, and feeding a terminal's input to an engine
//! that is not in the foreground.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::unistd::Pid;
use rustix::process::getpgrp;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// Stops coco as the terminal would have stopped the bare tool, and returns when it is continued,
/// with one SIGCONT pending for the tool.
///
/// With a terminal of the sandbox's own, the caller's is raw meanwhile: `settings`, as they were
/// at the start, are put back for the shell, the whole process group stops, and raw comes back
/// afterwards.
pub fn suspend(settings: Option<&Termios>, engine: &Child) {
    match settings {
        // The engine's client keeps waiting; only coco is the shell's job.
        None => drop(raise(Signal::SIGSTOP)),
        Some(settings) => suspend_group(settings, engine),
    }
    // What woke coco is pending, and signals of a kind to a process don't add up (to a thread they
    // would count apart): this one is for the case that the stop did not happen.
    let _ = kill(Pid::this(), Signal::SIGCONT);
}

fn suspend_group(settings: &Termios, engine: &Child) {
    let raw = tcgetattr(io::stdin()).ok();
    set(settings);
    // To the group, as the terminal does it. A group without a shell to continue it does not stop:
    // that is the kernel's rule for the default action, so the mask is lifted for a moment.
    let stop = SigSet::from(Signal::SIGTSTP);
    let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
    let _ = stop.thread_unblock();
    let _ = stop.thread_block();
    if let Some(raw) = &raw {
        set(raw);
    }
    // The window may have changed; the client looks only when told.
    let _ = kill(Pid::from_raw(engine.id().cast_signed()), Signal::SIGWINCH);
}

fn set(settings: &Termios) {
    // Fails when the terminal is gone, and then nobody looks at it.
    let _ = tcsetattr(io::stdin(), OptionalActions::Drain, settings);
}

/// Copies the terminal's input into the engine's pipe, on a thread that ends with the process.
///
/// Used when standard input is a terminal and standard output is not: the engine's client is not
/// in the foreground then and would be stopped for reading. coco itself reads only while it is in
/// the foreground, so that a job in the background is not stopped for input that it never wanted.
pub fn pump(mut pipe: ChildStdin) {
    thread::spawn(move || {
        // A read in the background fails then instead of stopping the process.
        let _ = SigSet::from(Signal::SIGTTIN).thread_block();
        let mut buffer = [0; 4096];
        loop {
            if tcgetpgrp(io::stdin()).is_ok_and(|group| group != getpgrp()) {
                thread::sleep(Duration::from_millis(200));
                continue;
            }
            match io::stdin().read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    if pipe.write_all(buffer.get(..count).unwrap_or_default()).and_then(|()| pipe.flush()).is_err() {
                        return;
                    }
                }
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                    thread::sleep(Duration::from_millis(200));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
}
