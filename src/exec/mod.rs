//! Carries out plans: the only room on the host that starts processes.
//!
//! The engine's client runs beside coco, which delivers signals to init over the control connection. Losing that
//! connection is how init learns that coco is gone, so SIGKILL of coco takes the sandbox down as surely as a polite exit.
//! Signals are blocked only after the engine was started: the engine must not inherit a blocked mask.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use nix::sys::signal::Signal;

use crate::error::Error;
use crate::network::log::Summary;
use crate::plan::Plan;
use crate::protocol::control::{self, Installed, Streams, Task};
use crate::term;
use crate::term::progress::Progress;

mod containers;
mod curl;
mod engine;
mod getent;
mod guard;
mod parent;
mod run_directory;
mod session;
mod signals;
mod terminal;

pub use containers::remove_orphaned_containers;
pub use curl::{Fetched, fetch};
pub use engine::{Answer, BuildEvent, Client, answer, ask, build};
pub use getent::passwd;
pub use guard::guard;
pub use run_directory::PrivateDirectory;
pub use signals::ensure_children_can_be_awaited;

use parent::Parent;
use session::{End, Patience, Session};
use signals::{ignored_signals, signal_code};

/// Set for the engine: whoever finds it set was started by an engine that coco started.
pub const RECURSION_GUARD: &str = "COCO_RECURSION_GUARD";

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// The tool's exit code; 128+n for a signal.
    Exited(u8),
    /// The engine failed before init was there, with this exit code.
    EngineFailed(u8),
}

/// What is known of a run after its end.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub outcome: Outcome,
    /// What its network was used for.
    pub network: Summary,
    /// Whether the kernel had no Landlock for it.
    pub without_landlock: bool,
}

/// Runs the tool, with the caller's own standard streams.
pub fn run(plan: &Plan, parent: u32) -> Result<Ended, Error> {
    let mut command = engine_command(plan);
    let pump = match plan.streams {
        // The engine's client reads the terminal and sets it raw, so it shares coco's place in the
        // foreground; the terminal then sends no signals for keys.
        Streams::Terminal => Pump::None,
        Streams::Pipes => {
            // The terminal's signals are for coco alone, which delivers them once.
            command.process_group(0);
            if io::IsTerminal::is_terminal(&io::stdin()) { Pump::Stdin } else { Pump::None }
        }
    };
    if pump == Pump::Stdin {
        command.stdin(Stdio::piped());
    }
    let mut session = Session::start(plan, command)?;
    if pump == Pump::Stdin
        && let Some(pipe) = session.engine.stdin.take()
    {
        terminal::pump(pipe);
    }
    // Who asked for hangups to be ignored meant this one as well.
    if plan.streams == Streams::Pipes && !ignored_signals().contains(&Signal::SIGHUP) {
        session.caller = Parent::of(parent);
    }
    session.progress =
        Some(Progress::new("", format!("waiting for {} to start the sandbox", term::path(&plan.program))));
    session.wait()?;
    let network = session.finish_network();
    let without_landlock = session.end.without_landlock;
    let outcome = match std::mem::take(&mut session.end) {
        End { refused: Some((message, hint)), .. } => return Err(Error::Sandbox { message, hint }),
        End { cancelled: Some(signal), .. } => Outcome::Exited(signal_code(signal)),
        End { exited: Some(code), .. } => Outcome::Exited(code),
        End { connected: true, status, .. } => Outcome::Exited(exit_code(status)),
        End { status, .. } if exit_code(status) == control::EXIT_UNREACHABLE => return Err(unreachable()),
        End { status, .. } => Outcome::EngineFailed(exit_code(status)),
    };
    Ok(Ended { outcome, network, without_landlock })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pump {
    None,
    Stdin,
}

/// Carries out a part of the install phase; what the engine and the installer print goes to `log`.
/// What the network was used for is added to `network`, also when the rest fails.
///
/// # Errors
/// Whatever kept init from reporting success. [`Error::Engine`] when it never came up.
pub fn install(plan: &Plan, tool: &str, log: &Path, network: &mut Summary) -> Result<Installed, Error> {
    let file = fs::File::options().create(true).append(true).open(log).map_err(Error::io("open", log))?;
    let mut command = engine_command(plan);
    let copy = file.try_clone().map_err(Error::io("open", log))?;
    command.process_group(0).stdin(Stdio::null()).stdout(copy).stderr(file);
    let mut session = Session::start(plan, command)?;
    session.patience = Patience::EndsWithTheFirstSignal;
    session.progress = Some(Progress::new(tool, installing(&plan.launch.task)));
    let waited = session.wait();
    network.add(session.finish_network());
    waited?;
    let failed = |message: String, hint: String| Error::Install { tool: tool.to_owned(), message, hint };
    match std::mem::take(&mut session.end) {
        End { cancelled: Some(signal), .. } => {
            Err(Error::Interrupted { what: format!("the installation of {tool}"), signal: signal as i32 })
        }
        End { refused: Some((message, hint)), .. } => Err(failed(message, hint)),
        End { installed: Some(installed), .. } => Ok(installed),
        End { connected: true, status, .. } => Err(failed(
            format!("the installation ended without a result (exit code {})", exit_code(status)),
            "start the tool again to install it".to_owned(),
        )),
        End { status, .. } if exit_code(status) == control::EXIT_UNREACHABLE => Err(unreachable()),
        End { status, .. } => Err(Error::Engine {
            message: format!(
                "{} could not start the sandbox (exit code {})",
                term::path(&plan.program),
                exit_code(status)
            ),
            hint: "see its output above".to_owned(),
        }),
    }
}

/// What an installation does, in words.
fn installing(task: &Task) -> String {
    let list = |names: &[OsString]| names.iter().map(|name| term::os(name)).collect::<Vec<_>>().join(", ");
    match task {
        Task::InstallTool { apt, specifiers, .. } if !apt.is_empty() => {
            format!("installing Debian's {}, then {}", list(apt), list(specifiers))
        }
        Task::InstallTool { specifiers, .. } | Task::InstallRuntimes { specifiers } => {
            format!("installing {}", list(specifiers))
        }
        Task::Run { program, .. } => format!("running {}", term::os(program)),
    }
}

/// Init was there, and nobody had let go of it.
fn unreachable() -> Error {
    Error::Sandbox {
        message: "the sandbox can't reach coco".to_owned(),
        hint: "the engine must run on this machine and kernel, not in a virtual machine".to_owned(),
    }
}

fn engine_command(plan: &Plan) -> Command {
    #[expect(clippy::disallowed_methods, reason = "this is the module that starts processes")]
    let mut command = Command::new(&plan.program);
    command.args(&plan.arguments).env_clear().envs(plan.environment.iter().map(|(name, value)| (name, value)));
    command.env(RECURSION_GUARD, "1");
    command
}

fn exit_code(status: Option<ExitStatus>) -> u8 {
    let Some(status) = status else { return crate::error::EXIT_FAILURE };
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    u8::try_from(code).unwrap_or(u8::MAX)
}
