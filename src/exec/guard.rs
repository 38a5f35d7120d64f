//! `coco-guard`: starts a program that ends with coco.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, parent_id};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::error::Error;

/// `coco-guard PARENT PROGRAM ARGUMENT...`: asks the kernel for a SIGTERM when the parent dies, and
/// becomes the program.
pub fn guard(arguments: &[OsString]) -> Error {
    let [parent, program, rest @ ..] = arguments else {
        return Error::usage("coco-guard is coco's own", "coco help");
    };
    let asked = set_parent_process_death_signal(Some(Signal::TERM));
    // Threads that start this have blocked all signals.
    let unblocked = SigSet::empty().thread_set_mask();
    // The parent may have died before the kernel was asked.
    if asked.is_err() || unblocked.is_err() || parent.to_str() != Some(parent_id().to_string().as_str()) {
        return Error::usage("coco-guard was not started by coco", "coco help");
    }
    #[expect(clippy::disallowed_methods, reason = "this is the module that starts processes")]
    let error = Command::new(program).args(rest).exec();
    Error::io("run", program)(error)
}

/// Reads to the end, or until there is more than `max_bytes`; that late is an error.
pub fn read_in_time(mut stream: impl Read + AsFd, limit: Duration, max_bytes: usize) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + limit;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4 << 10];
    while bytes.len() <= max_bytes {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).unwrap_or_default();
        match poll(&mut [PollFd::new(&stream, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(1..) => {}
            Ok(_) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
        match stream.read(&mut buffer)? {
            0 => break,
            read => bytes.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
    Ok(bytes)
}
