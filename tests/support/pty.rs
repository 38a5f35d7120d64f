//! A terminal for tests: a process in a session of its own, with everything that it prints kept.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

use super::{Background, World, command, printable, run, run_with};

/// A terminal and the process that it was made for.
#[derive(Debug)]
pub struct Pty {
    /// The first process, the session's leader.
    pub leader: Background,
    master: Mutex<File>,
    slave: PathBuf,
    output: Arc<Mutex<Vec<u8>>>,
    /// How much of the output was waited for.
    seen: Cell<usize>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

/// Which streams of the process are the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// All three.
    All,
    /// Standard output is a pipe, which [`Pty::leader`] holds.
    PipedOutput,
}

impl Pty {
    /// Starts what `built` says on a new terminal of 24 by 80.
    pub fn start(world: &World, built: &Command, ends: Ends) -> Pty {
        // Close-on-exec from the first: the tests' threads start other processes at the same time.
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = PathBuf::from(ptsname_r(&master).unwrap());
        let (uid, _) = world.owner();
        chown(&slave, Some(uid), None).unwrap();
        let open = || File::options().read(true).write(true).custom_flags(nix::libc::O_NOCTTY).open(&slave).unwrap();
        let keep = open();
        stty(&slave, &["rows", "24", "cols", "80"]);
        let mut session = command("setsid");
        session.arg("--ctty").arg(built.get_program()).args(built.get_args());
        session.env_clear();
        for (name, value) in built.get_envs() {
            if let Some(value) = value {
                session.env(name, value);
            }
        }
        session.env("TERM", "xterm");
        if let Some(directory) = built.get_current_dir() {
            session.current_dir(directory);
        }
        session.stdin(open()).stderr(open());
        match ends {
            Ends::All => session.stdout(open()),
            Ends::PipedOutput => session.stdout(Stdio::piped()),
        };
        let leader = Background(session.spawn().unwrap());
        // The command holds the terminal open until it is dropped.
        drop((session, keep));
        let master = File::from(master.as_fd().try_clone_to_owned().unwrap());
        let (output, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let reader = {
            let (master, output, stop) = (master.try_clone().unwrap(), Arc::clone(&output), Arc::clone(&stop));
            thread::spawn(move || collect(master, &output, &stop))
        };
        Pty { leader, master: Mutex::new(master), slave, output, seen: Cell::new(0), stop, reader: Some(reader) }
    }

    /// Everything printed so far.
    pub fn output(&self) -> String {
        printable(&self.output.lock().unwrap())
    }

    /// Waits for words that come after those that were waited for before.
    #[track_caller]
    pub fn wait_for(&self, words: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let output = self.output();
            let fresh = output.get(self.seen.get()..).unwrap_or_default();
            if let Some(at) = fresh.find(words) {
                self.seen.set(self.seen.get() + at + words.len());
                return;
            }
            assert!(Instant::now() < deadline, "{words:?} was not printed, but: {output}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Types.
    pub fn type_in(&self, text: &str) {
        self.master.lock().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Makes the window another size.
    ///
    /// In one step, which stty can't: podman's conmon takes only the first of two changes in quick succession.
    pub fn resize(&self, rows: u16, columns: u16) {
        let code = format!(
            "my $size = pack('S4', {rows}, {columns}, 0, 0); ioctl(STDIN, {}, $size) or die",
            nix::libc::TIOCSWINSZ
        );
        run_with(command("perl").args(["-e", &code]).stdin(File::open(&self.slave).unwrap()), b"").succeeds();
    }

    /// The terminal's settings, for comparison.
    pub fn settings(&self) -> String {
        stty(&self.slave, &["-g"])
    }

    /// Waits for the end of the first process.
    #[track_caller]
    pub fn ends(&mut self) -> i32 {
        self.leader.ends(Duration::from_secs(60))
    }

    /// Closes the terminal, as its window's closing does.
    pub fn close(mut self) -> Background {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.take().unwrap().join().unwrap();
        self.leader
    }
}

fn collect(mut master: File, output: &Mutex<Vec<u8>>, stop: &AtomicBool) {
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(20_u8)).unwrap_or(0) == 0 {
            continue;
        }
        match master.read(&mut buffer) {
            Ok(count) if count > 0 => output.lock().unwrap().extend_from_slice(&buffer[..count]),
            // Nobody has the other end open.
            _ => return,
        }
    }
}

fn stty(terminal: &PathBuf, arguments: &[&str]) -> String {
    run(command("stty").arg("-F").arg(terminal).args(arguments)).succeeds().text()
}
