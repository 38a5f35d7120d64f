//! PID 1 inside the sandbox: coco itself, mounted read-only and started under the name `coco-init`.
//!
//! Init connects to coco, checks from inside that the sandbox is what was asked for, and starts the tool with nothing of
//! its own environment. Then it reaps, delivers signals, and ends with the tool or with coco, whichever ends first. The
//! end of PID 1 is the end of every process in the sandbox.

use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, WaitOptions, getpgrp, set_dumpable_behavior, umask, wait};
use rustix::termios::tcsetpgrp;

use self::landlock::Landlock;
use crate::error::EXIT_FAILURE;
use crate::protocol::control::{self, Launch, Message, Streams, Task};
use crate::rules::sandbox_paths::{HOME_GUEST, INIT_GUEST, SOCKET_GUEST};
use crate::term;

mod capabilities;
mod checks;
pub mod dns;
mod install;
mod landlock;
mod network;
mod seccomp;

/// The image's own directories on PATH, which come after those of what was installed.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why the tool was not started, and what to do.
#[derive(Debug)]
struct Refusal {
    message: String,
    hint: String,
}

impl Refusal {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Refusal { message: message.into(), hint: hint.into() }
    }
}

/// `coco-init [--foreground PROGRAM ARGUMENT...]`; gives the exit code.
pub fn main(arguments: &[OsString]) -> u8 {
    if let [first, rest @ ..] = arguments
        && first == "--foreground"
    {
        return foreground(rest);
    }
    if std::process::id() != 1 {
        return refuse_unless_first(UnixStream::connect(SOCKET_GUEST).ok());
    }
    // Cancelled, or killed, or an engine that is not on coco's own machine. Which of them, only coco can tell, if
    // it is still there.
    let Ok(mut coco) = UnixStream::connect(SOCKET_GUEST) else { return control::EXIT_UNREACHABLE };
    match control::receive_launch(&mut coco)
        .map_err(|error| Refusal::new(error.to_string(), "start the tool again"))
        .and_then(|launch| execute(&launch, &mut coco))
    {
        Ok(code) => code,
        Err(Refusal { message, hint }) => {
            // Without coco, nobody reads it.
            let _ = control::send(&mut coco, &Message::Refused { message, hint }.encode());
            EXIT_FAILURE
        }
    }
}

/// Not PID 1: started by hand, or in a sandbox whose processes are not its own.
fn refuse_unless_first(coco: Option<UnixStream>) -> u8 {
    let message = "coco-init runs inside a sandbox, as its first process".to_owned();
    let Some(mut coco) = coco else {
        term::note("error", &message);
        term::note("hint", "coco help");
        return EXIT_FAILURE;
    };
    let hint = "look for pidns or init in the engine's own configuration (containers.conf, daemon.json)".to_owned();
    // The launch is read before the connection closes, or coco's sending could fail before it reads the refusal.
    let _ = control::receive_launch(&mut coco);
    let _ = control::send(&mut coco, &Message::Refused { message, hint }.encode());
    EXIT_FAILURE
}

/// Does what coco asked for.
fn execute(launch: &Launch, coco: &mut UnixStream) -> Result<u8, Refusal> {
    checks::check(launch)?;
    forbid_reading()?;
    umask(Mode::from_bits_truncate(launch.umask));
    network::start(&launch.network_role)?;
    match &launch.task {
        Task::Run { program, arguments, terminal } => run(launch, program, arguments, *terminal, coco),
        Task::InstallRuntimes { specifiers } => install::runtimes(launch, specifiers, coco),
        Task::InstallTool { apt, specifiers, program, user } => {
            install::tool(launch, apt, specifiers, program, *user, coco)
        }
    }
}

/// Forbids other processes to read this one, which has the whole environment and the connection to coco.
fn forbid_reading() -> Result<(), Refusal> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| {
        Refusal::new(format!("can't protect init from the sandbox's processes: {error}"), "start the tool again")
    })
}

fn run(
    launch: &Launch,
    program: &OsString,
    arguments: &[OsString],
    streams: Streams,
    coco: &mut UnixStream,
) -> Result<u8, Refusal> {
    std::env::set_current_dir(&launch.workdir).map_err(|error| {
        Refusal::new(
            format!("the working directory {} can't be entered: {error}", term::os(&launch.workdir)),
            "check \"workdir\" and \"mounts\" in the coco file",
        )
    })?;
    let path = search_path(launch);
    let found = which(program, &path).ok_or_else(|| {
        Refusal::new(
            format!("the sandbox has no program {}", term::os(program)),
            "check \"command\" in the coco file, or reinstall the tool with coco upgrade",
        )
    })?;
    let mut command = match streams {
        Streams::Pipes => clean_command(&found, launch, &path),
        Streams::Terminal => {
            let mut command = clean_command(INIT_GUEST.as_ref(), launch, &path);
            command.arg("--foreground").arg(&found);
            command
        }
    };
    // Last: the threads of the network, which run by now, go on without them.
    confine(launch, coco)?;
    // A group of its own: a signal for the tool's group must not reach init, and a terminal's stop key works only in a
    // group whose parent is outside of it.
    let child = command.args(arguments).process_group(0).spawn();
    let child = child.map_err(|error| {
        Refusal::new(format!("can't run {}: {error}", term::os(program)), "reinstall the tool with coco upgrade")
    })?;
    let code = supervise(&child, coco);
    let _ = control::send(coco, &Message::Exited(code).encode());
    Ok(code)
}

/// Gives up what the tool must not have: writing where nothing is granted, and system calls.
fn confine(launch: &Launch, coco: &mut UnixStream) -> Result<(), Refusal> {
    match landlock::restrict(launch)? {
        Landlock::Enforced => {}
        Landlock::Missing => {
            // Told once per boot; without coco, nobody hears it.
            let _ = control::send(coco, &Message::WithoutLandlock.encode());
        }
    }
    seccomp::apply(&launch.ancestors)
}

/// The second stage with a terminal: puts its own group into the foreground before the tool can read, and becomes the
/// tool.
fn foreground(arguments: &[OsString]) -> u8 {
    let [program, rest @ ..] = arguments else { return EXIT_FAILURE };
    // A background process that takes the foreground is stopped, unless it blocks this signal.
    let output = SigSet::from(Signal::SIGTTOU);
    let _ = output.thread_block();
    let _ = tcsetpgrp(std::io::stdin(), getpgrp());
    let _ = output.thread_unblock();
    #[expect(clippy::disallowed_methods, reason = "init's one way to become the tool")]
    let mut command = Command::new(program);
    if let Some(name) = std::path::Path::new(program).file_name() {
        command.arg0(name);
    }
    let error = command.args(rest).exec();
    term::note("error", &format!("can't run {}: {error}", term::os(program)));
    EXIT_FAILURE
}

/// A command with the launch's environment and nothing else.
fn clean_command(program: &std::ffi::OsStr, launch: &Launch, path: &OsString) -> Command {
    #[expect(clippy::disallowed_methods, reason = "init's one way to start processes")]
    let mut command = Command::new(program);
    command.env_clear().envs(launch.environment.iter().map(|(name, value)| (name, value)));
    command.env("HOME", HOME_GUEST).env("PATH", path);
    if let Some(name) = std::path::Path::new(program).file_name() {
        command.arg0(name);
    }
    command
}

fn search_path(launch: &Launch) -> OsString {
    let mut path = OsString::new();
    for directory in &launch.path {
        path.push(directory);
        path.push(":");
    }
    path.push(SYSTEM_PATH);
    path
}

/// The first executable file of that name on `path`.
fn which(program: &OsString, path: &OsString) -> Option<OsString> {
    use std::os::unix::fs::PermissionsExt;
    std::env::split_paths(path).map(|directory| directory.join(program)).find_map(|candidate| {
        let metadata = std::fs::metadata(&candidate).ok()?;
        (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then(|| candidate.into_os_string())
    })
}

/// Reaps and delivers signals until `child` has ended, and gives its exit code. When coco is gone, so is the sandbox:
/// returning ends PID 1.
fn supervise(child: &Child, coco: &mut UnixStream) -> u8 {
    let child = Pid::from_raw(child.id().cast_signed());
    // Blocked only now: the child must not inherit a blocked mask. What came in between is seen in the first round.
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ] {
        set.add(signal);
    }
    let _ = set.thread_block();
    let Ok(signals) = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK) else {
        return EXIT_FAILURE;
    };
    loop {
        match reap(child) {
            Reaped::Ended(code) => {
                let _ = set.thread_unblock();
                return code;
            }
            Reaped::Stopped => {
                let _ = control::send(coco, &Message::Stopped.encode());
            }
            Reaped::Nothing => {}
        }
        let is_readable = {
            let mut fds = [PollFd::new(&signals, PollFlags::IN), PollFd::new(&*coco, PollFlags::IN)];
            let _ = poll(&mut fds, None);
            let [_, coco] = fds;
            !coco.revents().is_empty()
        };
        if is_readable {
            match control::receive_delivery(coco) {
                Ok(delivery) => deliver(delivery.signal, child),
                // coco is gone, perhaps killed: nothing may go on without it.
                Err(_) => return 128 + 9,
            }
        }
        while let Ok(Some(info)) = signals.read_signal() {
            // From the engine itself, as `podman stop` sends it.
            if info.ssi_signo != Signal::SIGCHLD as u32 {
                deliver(i32::try_from(info.ssi_signo).unwrap_or(15), child);
            }
        }
    }
}

/// Signals that a terminal sends go to the whole group, as a terminal sends them. All others go to the tool alone.
fn deliver(number: i32, child: Pid) {
    let Ok(signal) = Signal::try_from(number) else { return };
    // The tool may have ended just now. Then its end is seen in the next round.
    let _ = match signal {
        Signal::SIGINT | Signal::SIGQUIT | Signal::SIGHUP | Signal::SIGTSTP | Signal::SIGCONT | Signal::SIGWINCH => {
            killpg(child, signal)
        }
        _ => kill(child, signal),
    };
}

/// What became of the child.
enum Reaped {
    Nothing,
    Stopped,
    Ended(u8),
}

/// Reaps everything that has ended. Orphans of the sandbox are PID 1's children too.
fn reap(child: Pid) -> Reaped {
    let mut stopped = false;
    loop {
        let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) else {
            return if stopped { Reaped::Stopped } else { Reaped::Nothing };
        };
        if pid.as_raw_nonzero().get() != child.as_raw() {
            continue;
        }
        if let Some(code) = status.exit_status() {
            return Reaped::Ended(u8::try_from(code & 0xff).unwrap_or(u8::MAX));
        }
        if let Some(signal) = status.terminating_signal() {
            return Reaped::Ended(u8::try_from(128 + signal).unwrap_or(u8::MAX));
        }
        stopped |= status.stopped();
    }
}
