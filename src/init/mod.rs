//! Inside the sandbox: coco itself, mounted read-only and run as PID 1 under the name `coco-init`.
//!
//! It connects to coco, checks from inside that the sandbox is what was asked for, starts the tool
//! with nothing of its own environment, reaps, delivers signals, and ends with the tool or with
//! coco, whichever goes first: the end of PID 1 is the end of every process in the sandbox.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::error::EXIT_FAILURE;
use crate::protocol::control::{self, Launch, Message, Streams, Task};
use crate::rules::sandbox_paths::{HOME_GUEST, INIT_GUEST, SOCKET_GUEST};
use crate::term;

mod capabilities;
mod checks;
pub mod dns;
mod install;
mod network;
mod seccomp;

/// The image's own directories for programs, after what was installed.
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
        return not_the_first(UnixStream::connect(SOCKET_GUEST).ok());
    }
    // Cancelled, or killed, or an engine that is not on coco's own machine. Which of them, only coco can tell, if
    // it is still there.
    let Ok(mut coco) = UnixStream::connect(SOCKET_GUEST) else { return control::EXIT_UNREACHABLE };
    match control::receive_launch(&mut coco)
        .map_err(|error| Refusal::new(error.to_string(), "start the tool again"))
        .and_then(|launch| obey(&launch, &mut coco))
    {
        Ok(code) => code,
        Err(Refusal { message, hint }) => {
            // Without coco there is nobody to tell.
            let _ = control::send(&mut coco, &Message::Refused { message, hint }.encode());
            EXIT_FAILURE
        }
    }
}

/// Not PID 1: started by hand, or in a sandbox whose processes are not its own.
fn not_the_first(coco: Option<UnixStream>) -> u8 {
    let message = "coco-init runs inside a sandbox, as its first process".to_owned();
    let Some(mut coco) = coco else {
        term::note("error", &message);
        term::note("hint", "coco help");
        return EXIT_FAILURE;
    };
    let hint = "look for pidns or init in the engine's own configuration (containers.conf, daemon.json)".to_owned();
    // The orders are read before the connection closes, or coco's sending could fail before it reads.
    let _ = control::receive_launch(&mut coco);
    let _ = control::send(&mut coco, &Message::Refused { message, hint }.encode());
    EXIT_FAILURE
}

fn obey(launch: &Launch, coco: &mut UnixStream) -> Result<u8, Refusal> {
    checks::check(launch)?;
    hide()?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(launch.umask));
    network::start(&launch.network_role)?;
    match &launch.task {
        Task::Run { program, arguments, terminal } => run(launch, program, arguments, *terminal, coco),
        Task::InstallRuntimes { specifiers } => install::runtimes(launch, specifiers, coco),
        Task::InstallTool { apt, specifiers, program, user } => {
            install::tool(launch, apt, specifiers, program, *user, coco)
        }
    }
}

/// The tool must not read this process: it holds the whole environment and the connection.
fn hide() -> Result<(), Refusal> {
    nix::sys::prctl::set_dumpable(false)
        .map_err(|error| Refusal::new(format!("can't hide the helper: {error}"), "start the tool again"))
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
            "check \"command\" in the coco file, or install the tool anew with coco upgrade",
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
    // Last: what is there by now, the relay's threads, goes on without it.
    seccomp::apply(&launch.ancestors)?;
    // A group of its own: a signal for the tool's group must not hit the helper, and a terminal's
    // stop key works only in a group whose parent is outside of it.
    let child = command.args(arguments).process_group(0).spawn();
    let child = child.map_err(|error| {
        Refusal::new(format!("can't run {}: {error}", term::os(program)), "install the tool anew with coco upgrade")
    })?;
    let code = attend(Pid::from_raw(child.id().cast_signed()), coco);
    let _ = control::send(coco, &Message::Exited(code).encode());
    Ok(code)
}

/// Second stage with a terminal: puts its own group into the foreground before the tool can read,
/// and becomes the tool.
fn foreground(arguments: &[OsString]) -> u8 {
    let [program, rest @ ..] = arguments else { return EXIT_FAILURE };
    // A background process that takes the foreground is stopped, unless it blocks this signal.
    let output = SigSet::from(Signal::SIGTTOU);
    let _ = output.thread_block();
    let _ = nix::unistd::tcsetpgrp(std::io::stdin(), nix::unistd::getpgrp());
    let _ = output.thread_unblock();
    #[expect(clippy::disallowed_methods, reason = "the helper's one way to start the tool")]
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
    #[expect(clippy::disallowed_methods, reason = "the helper's one way to start processes")]
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

/// Reaps and delivers signals until `child` has ended, and gives its exit code. When coco is gone,
/// so is the sandbox: returning ends PID 1.
fn attend(child: Pid, coco: &mut UnixStream) -> u8 {
    // Blocked only now: the child must not inherit a blocked mask. What came in between is seen in
    // the first round.
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
        let called = {
            let mut fds =
                [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(coco.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::NONE);
            let [_, coco] = fds;
            coco.any().unwrap_or(false)
        };
        if called {
            match control::receive_delivery(coco) {
                Ok(order) => deliver(order.signal, child),
                // coco is gone, killed perhaps: nothing may go on without it.
                Err(_) => return 128 + 9,
            }
        }
        while let Ok(Some(info)) = signals.read_signal() {
            // From the engine itself, as in `podman stop`.
            if info.ssi_signo != Signal::SIGCHLD as u32 {
                deliver(i32::try_from(info.ssi_signo).unwrap_or(15), child);
            }
        }
    }
}

/// What a terminal sends goes to the whole group, as a terminal does it; the rest to the tool alone.
fn deliver(number: i32, child: Pid) {
    let Ok(signal) = Signal::try_from(number) else { return };
    // The tool may have ended just now; then its end is seen in the next round.
    let _ = match signal {
        Signal::SIGINT | Signal::SIGQUIT | Signal::SIGHUP | Signal::SIGTSTP | Signal::SIGCONT | Signal::SIGWINCH => {
            killpg(child, signal)
        }
        _ => kill(child, signal),
    };
}

enum Reaped {
    Nothing,
    Stopped,
    Ended(u8),
}

/// Reaps everything that has ended; orphans of the sandbox are PID 1's children too.
fn reap(child: Pid) -> Reaped {
    let mut stopped = false;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => {
                return Reaped::Ended(u8::try_from(code & 0xff).unwrap_or(u8::MAX));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Reaped::Ended(u8::try_from(128 + signal as i32).unwrap_or(u8::MAX));
            }
            Ok(WaitStatus::Stopped(pid, _)) if pid == child => stopped = true,
            Ok(WaitStatus::StillAlive) | Err(_) => return if stopped { Reaped::Stopped } else { Reaped::Nothing },
            Ok(_) => {}
        }
    }
}
