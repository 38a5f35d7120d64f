//! Which signals coco handles while a sandbox is up, and which of them the caller had ignored.

use nix::sys::signal::{SigSet, Signal};

use crate::error::Error;
use crate::sys::proc_status::ProcStatus;

/// The signals that were blocked before a session, and are again after it: the next session's
/// engine must not inherit a blocked mask.
pub struct Mask(pub SigSet);

impl Drop for Mask {
    fn drop(&mut self) {
        let _ = self.0.thread_set_mask();
    }
}

/// The signals that are handled; all others keep their meaning.
pub const HANDLED: &[Signal] = &[
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGTSTP,
    Signal::SIGCHLD,
];

/// Refuses to go on with SIGCHLD ignored: the kernel would neither tell of a child's end nor keep
/// its exit code.
pub fn ensure_children_can_be_awaited() -> Result<(), Error> {
    if !ignored_signals().contains(&Signal::SIGCHLD) {
        return Ok(());
    }
    Err(Error::Environment {
        name: "SIGCHLD",
        message: "it is ignored, and so coco can't wait for the engine".to_owned(),
        hint: "start coco through env --default-signal=CHLD".to_owned(),
    })
}

/// Signals that the caller had ignored (`nohup` does that with SIGHUP) stay ignored: proc(5),
/// `SigIgn` in `/proc/self/status`.
pub fn ignored_signals() -> Vec<Signal> {
    let mask = ProcStatus::of_this_process().ok().and_then(|status| status.hexadecimal("SigIgn")).unwrap_or(0);
    HANDLED.iter().copied().filter(|signal| mask & (1 << (*signal as i32 - 1)) != 0).collect()
}

/// The exit code of a program that a signal ended: 128 and its number.
pub fn signal_code(signal: Signal) -> u8 {
    u8::try_from(128 + signal as i32).unwrap_or(u8::MAX)
}
