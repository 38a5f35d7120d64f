//! Who started coco and speaks with the tool through pipes, as an editor does with its language server.
//!
//! The bare tool would notice that its editor is gone by looking for the process. From inside, that
//! process seems to be there for ever (decision 0011), so coco looks in its place.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::process::{Pid, getppid};

/// How often a caller that has closed coco's standard input is looked for.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// What is known of the caller.
#[derive(Debug)]
pub enum Parent {
    /// It does not speak through pipes, or its end means nothing to the run.
    Unwatched,
    /// It holds the other end of standard input.
    Speaks(Pid),
    /// Nobody holds the other end of standard input. That alone is the tool's to see.
    Silent(Pid),
}

impl Parent {
    /// The process that started this one, if both ways to it are pipes or sockets.
    pub fn of(parent: u32) -> Parent {
        let (input, output) = (io::stdin(), io::stdout());
        match (i32::try_from(parent), is_pipe(input.as_fd()) && is_pipe(output.as_fd())) {
            (Ok(parent), true) => Pid::from_raw(parent).map_or(Parent::Unwatched, Parent::Speaks),
            _ => Parent::Unwatched,
        }
    }

    /// Whether standard input is to be watched.
    pub fn speaks(&self) -> bool {
        matches!(self, Parent::Speaks(_))
    }

    /// Takes note that standard input was hung up.
    pub fn hung_up(&mut self) {
        if let Parent::Speaks(pid) = *self {
            *self = Parent::Silent(pid);
        }
    }

    /// Whether the caller is to be looked for now and then.
    pub fn is_silent(&self) -> bool {
        matches!(self, Parent::Silent(_))
    }

    /// Whether it is gone for good: nobody writes to the tool, nobody reads from it, and whoever started coco
    /// is not its parent any more.
    pub fn is_gone(&self) -> bool {
        matches!(self, Parent::Silent(pid) if getppid() != Some(*pid)) && is_hung_up(io::stdout().as_fd())
    }
}

fn is_pipe(stream: BorrowedFd<'_>) -> bool {
    let Ok(stat) = fstat(stream) else { return false };
    matches!(FileType::from_raw_mode(stat.st_mode), FileType::Fifo | FileType::Socket)
}

/// Whether the other end of a pipe or socket is closed; a pipe's reading end tells it as an error.
fn is_hung_up(stream: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(stream, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec::default())).is_ok()
        && fds.iter().any(|fd| fd.revents().intersects(PollFlags::HUP | PollFlags::ERR))
}
