//! One container's life: the engine's client, the control connection, and the signals in between.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{Termios, tcgetattr};

use super::containers;
use super::engine::Client;
use super::getent::resolver;
use super::parent::{self, Parent};
use super::run_directory::RunDirectory;
use super::signals::{HANDLED, Mask, ignored_signals};
use super::terminal;
use crate::error::Error;
use crate::network::log::Summary;
use crate::network::proxy::{self, Proxy};
use crate::plan::{CONTROL_SOCKET, NETWORK_SOCKET, Plan};
use crate::protocol::control::{self, Deliver, Installed, Message, Streams};
use crate::sys::files::make_private;
use crate::sys::lock::{Lock, make_in_use};
use crate::term;
use crate::term::progress::{Progress, TICK};

/// How long a tool may go on after the terminal was closed.
const HANGUP_GRACE: Duration = Duration::from_secs(1);
/// How often a deadline is looked at.
const DEADLINE_TICK: Duration = Duration::from_millis(100);
/// How long init may take over one message, once it has begun.
const MESSAGE_TIME: Duration = Duration::from_secs(2);

/// How a session ended, as far as it is known.
#[derive(Debug, Default)]
pub struct End {
    pub connected: bool,
    pub cancelled: Option<Signal>,
    pub exited: Option<u8>,
    pub refused: Option<(String, String)>,
    pub installed: Option<Installed>,
    pub without_landlock: bool,
    pub status: Option<ExitStatus>,
}

/// What a signal that asks to end does to a sandbox that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// The tool gets it and decides, as the bare tool would.
    ToolDecides,
    /// The sandbox goes down: an installation is simply begun anew.
    EndsWithTheFirstSignal,
}

/// One container's life.
pub struct Session<'a> {
    plan: &'a Plan,
    /// The caller's terminal as it was, when the sandbox gets one of its own.
    settings: Option<Termios>,
    pub engine: Child,
    signals: SignalFd,
    _mask: Mask,
    listener: Option<UnixListener>,
    init: Option<UnixStream>,
    deadline: Option<Instant>,
    pub patience: Patience,
    pub caller: Parent,
    /// What is told while nothing happens.
    pub progress: Option<Progress>,
    pub end: End,
    proxy: Option<Proxy>,
    _directory: RunDirectory,
    _locks: Vec<Lock>,
}

impl<'a> Session<'a> {
    pub fn start(plan: &'a Plan, mut command: Command) -> Result<Self, Error> {
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
            init: None,
            deadline: None,
            patience: Patience::ToolDecides,
            caller: Parent::Unwatched,
            progress: None,
            end: End::default(),
            _directory: directory,
            _locks: locks,
        })
    }

    /// Ends the network, and tells what it was used for.
    pub fn finish_network(&mut self) -> Summary {
        self.proxy.take().map(Proxy::finish).unwrap_or_default()
    }

    /// Waits until the engine's client has ended.
    pub fn wait(&mut self) -> Result<(), Error> {
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
                self.caller = Parent::Unwatched;
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
            containers::remove_orphaned_containers(Client::of_plan(self.plan), runs, Some(run));
        }
    }

    /// Sleeps until a signal or init calls, or the caller falls silent; and tells whether init does.
    fn poll(&mut self) -> bool {
        let input = io::stdin();
        let mut fds = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        let connection = match (&self.init, &self.listener) {
            (Some(init), _) => Some(init.as_fd()),
            (None, listener) => listener.as_ref().map(UnixListener::as_fd),
        };
        fds.extend(connection.map(|connection| PollFd::from_borrowed_fd(connection, PollFlags::IN)));
        if self.caller.speaks() {
            // What it says is the tool's to read: only that it has stopped is asked for.
            fds.push(PollFd::new(&input, PollFlags::empty()));
        }
        let timeout = match self.deadline {
            Some(_) => Some(DEADLINE_TICK),
            None if self.progress.is_some() => Some(TICK),
            None if self.caller.is_silent() => Some(parent::POLL_INTERVAL),
            None => None,
        };
        let timeout = timeout.and_then(|time| Timespec::try_from(time).ok());
        // An interrupted wait is as good as a finished one: everything is looked at again.
        let _ = poll(&mut fds, timeout.as_ref());
        let any = |place: usize| fds.get(place).is_some_and(|fd| !fd.revents().is_empty());
        let calls = connection.is_some() && any(1);
        if any(1 + usize::from(connection.is_some())) {
            self.caller.hung_up();
        }
        calls
    }

    /// Takes init's connection, or its next message.
    fn handle_socket(&mut self) {
        if let Some(init) = &mut self.init {
            match control::receive_message(init) {
                Ok(message) => self.message(message),
                // The sandbox is going down; the engine's client tells how.
                Err(_) => self.init = None,
            }
        } else if let Some(listener) = self.listener.take() {
            // One connection, init's: the tool starts only after it, and finds no listener.
            let _ = fs::remove_file(self.plan.run_directory.join(CONTROL_SOCKET));
            if let Ok((mut stream, _)) = listener.accept() {
                let ready = stream
                    .set_read_timeout(Some(MESSAGE_TIME))
                    .and_then(|()| stream.set_write_timeout(Some(MESSAGE_TIME)))
                    .and_then(|()| control::send(&mut stream, &self.plan.launch.encode()));
                if ready.is_ok() {
                    self.init = Some(stream);
                    self.end.connected = true;
                    // From here on standard error is the tool's, where there is one.
                    self.progress = self.progress.take().filter(|_| self.patience != Patience::ToolDecides);
                }
            }
        }
    }

    fn read_remaining(&mut self) {
        while let Some(init) = &mut self.init {
            match control::receive_message(init) {
                Ok(message) => self.message(message),
                Err(_) => self.init = None,
            }
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Stopped => terminal::suspend(self.settings.as_ref(), &self.engine),
            Message::Exited(code) => self.end.exited = Some(code),
            Message::Refused { message, hint } => self.end.refused = Some((message, hint)),
            Message::Installed(installed) => self.end.installed = Some(installed),
            Message::WithoutLandlock => self.end.without_landlock = true,
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
            _ if self.init.is_some() && self.patience == Patience::ToolDecides => {
                self.deliver(signal);
                if signal == Signal::SIGHUP {
                    self.deadline = Some(Instant::now() + HANGUP_GRACE);
                }
            }
            // Not up yet: with nobody listening, init gives up and the engine cleans up.
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
        if let Some(init) = &mut self.init {
            // An init that is gone needs no signal; its end is seen in the next round.
            let _ = control::send(init, &Deliver { signal: signal as i32 }.encode());
        }
    }

    /// Lets go of the sandbox, so that it goes down.
    fn abandon(&mut self) {
        self.init = None;
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
