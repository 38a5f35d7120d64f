//! Carries out plans: the only place on the host that starts processes.
//!
//! The engine's client runs beside coco, which delivers signals to the helper over the control
//! connection. Losing that connection is how the helper learns that coco is gone, so SIGKILL of
//! coco takes the sandbox down as surely as a polite exit. Signals are blocked only after the
//! engine was started: the engine must not inherit a blocked mask.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

use crate::error::Error;
use crate::network::log::Summary;
use crate::network::proxy::{self, Proxy};
use crate::plan::{CONTROL_SOCKET, NETWORK_SOCKET, Plan};
use crate::protocol::control::{self, Deliver, Installed, Message, Streams, Task};
use crate::sys::files::make_private;
use crate::sys::lock::{Lock, make_in_use};
use crate::sys::proc_status::ProcStatus;
use crate::term;
use crate::term::progress::{Progress, TICK};

mod caller;
mod containers;
mod programs;
mod run_directory;
mod terminal;

use caller::Caller;
pub use containers::remove_left;
use programs::resolver;
pub use programs::{Answer, Client, Fetched, Heard, answer, ask, build, fetch, guard, passwd};
pub use run_directory::PrivateDirectory;
use run_directory::RunDirectory;

/// Set for the engine: whoever finds it set was started by an engine that coco started.
pub const RECURSION_GUARD: &str = "COCO_RECURSION_GUARD";

/// How long a tool may go on after the terminal was closed.
const HANGUP_GRACE: Duration = Duration::from_secs(1);
/// How long the helper may take over one message, once it has begun.
const MESSAGE_TIME: Duration = Duration::from_secs(2);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// The tool's exit code; 128+n for a signal.
    Exited(u8),
    /// The engine failed before the helper was there, with this exit code.
    EngineFailed(u8),
}

/// Runs the tool, with the caller's own standard streams; also tells what its network was used for.
pub fn run(plan: &Plan, parent: u32) -> Result<(Outcome, Summary), Error> {
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
        session.caller = Caller::of(parent);
    }
    session.progress =
        Some(Progress::new("", format!("waiting for {} to start the sandbox", term::path(&plan.program))));
    session.wait()?;
    let summary = session.finish_network();
    let outcome = match std::mem::take(&mut session.end) {
        End { refused: Some((message, hint)), .. } => return Err(Error::Sandbox { message, hint }),
        End { cancelled: Some(signal), .. } => Outcome::Exited(signal_code(signal)),
        End { exited: Some(code), .. } => Outcome::Exited(code),
        End { connected: true, status, .. } => Outcome::Exited(exit_code(status)),
        End { status, .. } if exit_code(status) == control::EXIT_UNREACHABLE => return Err(unreachable()),
        End { status, .. } => Outcome::EngineFailed(exit_code(status)),
    };
    Ok((outcome, summary))
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
/// Whatever kept the helper from reporting success. [`Error::Engine`] when it never came up.
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
            format!("the installation ended without a result ({status:?})"),
            "start the tool again to install it".to_owned(),
        )),
        End { status, .. } if exit_code(status) == control::EXIT_UNREACHABLE => Err(unreachable()),
        End { status, .. } => Err(Error::Engine {
            message: format!(
                "{} could not start the sandbox (exit code {})",
                term::path(&plan.program),
                exit_code(status)
            ),
            hint: "its own words stand above".to_owned(),
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

/// The helper was there, and nobody had let go of it.
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

/// How a session ended, as far as it is known.
#[derive(Debug, Default)]
struct End {
    connected: bool,
    cancelled: Option<Signal>,
    exited: Option<u8>,
    refused: Option<(String, String)>,
    installed: Option<Installed>,
    status: Option<ExitStatus>,
}

/// What a signal that asks to end does to a sandbox that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// The tool gets it and decides, as the bare tool would.
    ToolDecides,
    /// The sandbox goes down: an installation is simply begun anew.
    EndsWithTheFirstSignal,
}

/// One container's life.
struct Session<'a> {
    plan: &'a Plan,
    /// The caller's terminal as it was, when the sandbox gets one of its own.
    settings: Option<Termios>,
    engine: Child,
    signals: SignalFd,
    _mask: Mask,
    listener: Option<UnixListener>,
    helper: Option<UnixStream>,
    deadline: Option<Instant>,
    patience: Patience,
    caller: Caller,
    /// What is told while nothing happens.
    progress: Option<Progress>,
    end: End,
    proxy: Option<Proxy>,
    _directory: RunDirectory,
    _locks: Vec<Lock>,
}

impl<'a> Session<'a> {
    fn start(plan: &'a Plan, mut command: Command) -> Result<Self, Error> {
        let locks = plan.in_use.iter().map(|path| make_in_use(path)).collect::<Result<_, _>>()?;
        for directory in &plan.directories {
            make_private(directory)?;
        }
        let directory = RunDirectory::make(plan)?;
        let socket = plan.run_directory.join(CONTROL_SOCKET);
        let listener = UnixListener::bind(&socket).map_err(Error::io("listen on", &socket))?;
        // Before the engine starts: a published port that is in use is an error, and no half a run.
        let listening = plan
            .proxy
            .as_ref()
            .map(|orders| proxy::bind_all(orders, &plan.run_directory.join(NETWORK_SOCKET)))
            .transpose()?;
        let settings = match plan.streams {
            Streams::Terminal => tcgetattr(io::stdin()).ok(),
            Streams::Pipes => None,
        };
        let ignored = ignored_signals();
        let engine = command.spawn().map_err(|error| Error::Engine {
            message: format!("can't start {}: {error}", term::path(&plan.program)),
            hint: "check that it runs by hand, or set COCO_RUNTIME to another engine".to_owned(),
        })?;
        let mut set = SigSet::empty();
        for signal in HANDLED.iter().filter(|signal| !ignored.contains(signal)) {
            set.add(*signal);
        }
        let before = set
            .thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .map_err(|error| Error::io("block signals in", "/proc/self")(error.into()))?;
        let mask = Mask(before);
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|error| Error::io("watch for signals in", "/proc/self")(error.into()))?;
        // Its threads inherit the blocked signals: only this one takes them.
        let proxy = listening
            .zip(plan.proxy.as_ref())
            .map(|(listening, orders)| listening.serve(orders, resolver(orders.program.clone(), orders.getent.clone())))
            .transpose()?;
        Ok(Session {
            plan,
            settings,
            proxy,
            engine,
            signals,
            _mask: mask,
            listener: Some(listener),
            helper: None,
            deadline: None,
            patience: Patience::ToolDecides,
            caller: Caller::Unwatched,
            progress: None,
            end: End::default(),
            _directory: directory,
            _locks: locks,
        })
    }

    /// Ends the network, and tells what it was used for.
    fn finish_network(&mut self) -> Summary {
        self.proxy.take().map(Proxy::finish).unwrap_or_default()
    }

    /// Waits until the engine's client has ended.
    fn wait(&mut self) -> Result<(), Error> {
        let failed = |source| Error::Io { action: "wait for", path: self.plan.program.clone(), source };
        loop {
            if let Some(status) = self.engine.try_wait().map_err(failed)? {
                self.read_remaining();
                self.end.status = Some(status);
                self.clean_up();
                return Ok(());
            }
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.abandon();
            }
            if self.poll() {
                self.handle_socket();
            }
            self.progress.iter_mut().for_each(Progress::tick);
            if self.caller.is_gone() {
                self.caller = Caller::Unwatched;
                self.signal(Signal::SIGHUP);
            }
            while let Ok(Some(info)) = self.signals.read_signal() {
                if let Some(signal) =
                    i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok())
                {
                    self.signal(signal);
                }
            }
        }
    }

    /// Removes the container that a start leaves when a signal ends it in the middle.
    fn clean_up(&self) {
        let killed = self.end.status.is_some_and(|status| status.signal().is_some());
        if !self.end.connected && (killed || self.end.cancelled.is_some()) {
            let run = &self.plan.run_directory;
            let runs = run.parent().unwrap_or(Path::new("/"));
            containers::remove_left(Client::of_plan(self.plan), runs, Some(run));
        }
    }

    /// Sleeps until a signal or the helper calls, or the caller falls silent; whether the helper does.
    fn poll(&mut self) -> bool {
        let input = io::stdin();
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let connection = match (&self.helper, &self.listener) {
            (Some(helper), _) => Some(helper.as_fd()),
            (None, listener) => listener.as_ref().map(UnixListener::as_fd),
        };
        fds.extend(connection.map(|connection| PollFd::new(connection, PollFlags::POLLIN)));
        if self.caller.speaks() {
            // What it says is the tool's to read: only that it has stopped is asked for.
            fds.push(PollFd::new(input.as_fd(), PollFlags::empty()));
        }
        let timeout = match self.deadline {
            Some(_) => PollTimeout::from(100_u8),
            None if self.progress.is_some() => PollTimeout::try_from(TICK).unwrap_or(PollTimeout::MAX),
            None if self.caller.is_silent() => PollTimeout::try_from(caller::LOOK).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        // An interrupted wait is as good as a finished one: everything is looked at again.
        let _ = poll(&mut fds, timeout);
        let any = |place: usize| fds.get(place).and_then(PollFd::any).unwrap_or(false);
        let calls = connection.is_some() && any(1);
        if any(1 + usize::from(connection.is_some())) {
            self.caller.hung_up();
        }
        calls
    }

    /// Takes the helper's connection, or its next message.
    fn handle_socket(&mut self) {
        if let Some(helper) = &mut self.helper {
            match control::receive_message(helper) {
                Ok(message) => self.message(message),
                // The sandbox is going down; the engine's client tells how.
                Err(_) => self.helper = None,
            }
        } else if let Some(listener) = self.listener.take() {
            // One connection, the helper's: the tool starts only after it, and finds no listener.
            let _ = fs::remove_file(self.plan.run_directory.join(CONTROL_SOCKET));
            if let Ok((mut stream, _)) = listener.accept() {
                let ready = stream
                    .set_read_timeout(Some(MESSAGE_TIME))
                    .and_then(|()| stream.set_write_timeout(Some(MESSAGE_TIME)))
                    .and_then(|()| control::send(&mut stream, &self.plan.launch.encode()));
                if ready.is_ok() {
                    self.helper = Some(stream);
                    self.end.connected = true;
                    // From here on standard error is the tool's, where there is one.
                    self.progress = self.progress.take().filter(|_| self.patience != Patience::ToolDecides);
                }
            }
        }
    }

    fn read_remaining(&mut self) {
        while let Some(helper) = &mut self.helper {
            match control::receive_message(helper) {
                Ok(message) => self.message(message),
                Err(_) => self.helper = None,
            }
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Stopped => terminal::suspend(self.settings.as_ref(), &self.engine),
            Message::Exited(code) => self.end.exited = Some(code),
            Message::Refused { message, hint } => self.end.refused = Some((message, hint)),
            Message::Installed(installed) => self.end.installed = Some(installed),
        }
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            // The loop looks at the engine anyway.
            Signal::SIGCHLD => {}
            // The engine's client resizes the sandbox's terminal, and the kernel tells the tool.
            Signal::SIGWINCH if self.plan.streams == Streams::Terminal => {}
            Signal::SIGCONT | Signal::SIGWINCH | Signal::SIGTSTP | Signal::SIGUSR1 | Signal::SIGUSR2 => {
                self.deliver(signal);
            }
            _ if self.helper.is_some() && self.patience == Patience::ToolDecides => {
                self.deliver(signal);
                if signal == Signal::SIGHUP {
                    self.deadline = Some(Instant::now() + HANGUP_GRACE);
                }
            }
            // Not up yet: with nobody listening, the helper gives up and the engine cleans up.
            _ if self.end.cancelled.is_none()
                && (!self.end.connected || self.patience == Patience::EndsWithTheFirstSignal) =>
            {
                self.end.cancelled = Some(signal);
                self.abandon();
            }
            _ => {
                // Asked twice: the engine itself seems stuck. It may have ended just now.
                let _ = kill(Pid::from_raw(self.engine.id().cast_signed()), Signal::SIGTERM);
            }
        }
    }

    fn deliver(&mut self, signal: Signal) {
        if let Some(helper) = &mut self.helper {
            // A helper that is gone needs no signal; its end is seen in the next round.
            let _ = control::send(helper, &Deliver { signal: signal as i32 }.encode());
        }
    }

    /// Lets go of the sandbox, so that it goes down.
    fn abandon(&mut self) {
        self.helper = None;
        self.listener = None;
        self.deadline = None;
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // What came too late is not for whoever comes next.
        while let Ok(Some(_)) = self.signals.read_signal() {}
    }
}

/// The signals that were blocked before a session, and are again after it: the next session's
/// engine must not inherit a blocked mask.
struct Mask(SigSet);

impl Drop for Mask {
    fn drop(&mut self) {
        let _ = self.0.thread_set_mask();
    }
}

/// The signals that are handled; all others keep their meaning.
const HANDLED: &[Signal] = &[
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
pub fn can_wait() -> Result<(), Error> {
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
fn ignored_signals() -> Vec<Signal> {
    let mask = ProcStatus::of_this_process().ok().and_then(|status| status.hexadecimal("SigIgn")).unwrap_or(0);
    HANDLED.iter().copied().filter(|signal| mask & (1 << (*signal as i32 - 1)) != 0).collect()
}

fn signal_code(signal: Signal) -> u8 {
    u8::try_from(128 + signal as i32).unwrap_or(u8::MAX)
}

fn exit_code(status: Option<ExitStatus>) -> u8 {
    let Some(status) = status else { return crate::error::EXIT_FAILURE };
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    u8::try_from(code).unwrap_or(u8::MAX)
}
