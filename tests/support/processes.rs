//! Processes that a test starts: to their end, or beside it.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{LONGEST, printable};

/// How a command ended.
pub struct Run {
    /// Its status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "exit code {}\nstdout: {}\nstderr: {}", self.code(), self.text(), self.errors())
    }
}

impl Run {
    /// Its exit code as a shell sees it.
    pub fn code(&self) -> i32 {
        shell_code(self.status)
    }

    /// Insists on an exit code.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code(), code, "{self:?}");
        self
    }

    /// Insists on success.
    #[track_caller]
    pub fn succeeds(&self) -> &Self {
        self.exits(0)
    }

    /// Insists on words in standard error.
    #[track_caller]
    pub fn complains(&self, words: &str) -> &Self {
        let stderr = self.errors();
        assert!(stderr.contains(words), "{words:?} is not in: {stderr}");
        self
    }

    /// Standard output without the white space around it.
    pub fn text(&self) -> String {
        printable(&self.stdout).trim().to_owned()
    }

    /// Standard error.
    pub fn errors(&self) -> String {
        printable(&self.stderr)
    }
}

/// Runs a command to its end without input.
#[track_caller]
pub fn run(command: &mut Command) -> Run {
    run_with(command.stdin(Stdio::null()), b"")
}

/// Runs a command to its end and feeds it; the caller may have set a standard input of its own for no bytes.
#[track_caller]
pub fn run_with(command: &mut Command, input: &[u8]) -> Run {
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    thread::scope(|scope| {
        scope.spawn(move || {
            // The command may end before it has read everything.
            let _ = stdin.map(|mut stdin| stdin.write_all(input));
        });
        let stdout = scope.spawn(move || read_all(&mut stdout));
        let stderr = scope.spawn(move || read_all(&mut stderr));
        let status = ended(&mut child, LONGEST);
        Run { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
    })
}

fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Waits for a process's end; one that takes too long is killed and fails the test.
#[track_caller]
pub fn ended(child: &mut Child, limit: Duration) -> ExitStatus {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("still running after {limit:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Asks again and again until there is an answer.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A process beside the test, killed at the latest when it is dropped.
#[derive(Debug)]
pub struct Background(pub Child);

impl Background {
    /// Starts a command with all standard streams piped.
    pub fn start(command: &mut Command) -> Background {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Background(piped.spawn().unwrap())
    }

    /// Sends a signal.
    pub fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    /// Waits for the next line of standard output, for half a minute at most.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let stdout = self.0.stdout.as_mut().unwrap();
        let mut line = Vec::new();
        let mut byte = [0];
        let ready = |stdout: &std::process::ChildStdout| {
            let mut fds = [nix::poll::PollFd::new(stdout.as_fd(), nix::poll::PollFlags::POLLIN)];
            assert_ne!(nix::poll::poll(&mut fds, 30_000_u16).unwrap(), 0, "no line within half a minute");
        };
        while {
            ready(stdout);
            stdout.read(&mut byte).unwrap() == 1
        } && byte != *b"\n"
        {
            line.push(byte[0]);
        }
        printable(&line)
    }

    /// Waits for its end and gives the exit code as a shell sees it.
    #[track_caller]
    pub fn ends(&mut self, limit: Duration) -> i32 {
        shell_code(ended(&mut self.0, limit))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn shell_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// The processes of this machine with `marker` in their command line, containers' included.
pub fn processes_with(marker: &str) -> Vec<u32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            *pid != std::process::id() && line.windows(marker.len()).any(|window| window == marker.as_bytes())
        })
        .collect()
}

/// A word that occurs nowhere else on this machine.
pub fn marker(name: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("coco-{name}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}
