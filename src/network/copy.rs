//! Copies bytes between two connections until both directions have ended.
//!
//! Small amounts are read and written. A direction that moves large amounts gets a pipe and splice(2), and then the
//! bytes never pass through this process. A slow reader slows its writer down: nothing is read that can't be written.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// How many bytes went each way.
#[derive(Debug, Default)]
pub struct Counts {
    /// To the host.
    pub sent: AtomicU64,
    /// From the host.
    pub received: AtomicU64,
}

/// How much a direction moves before it gets a pipe, in bytes.
const SPLICE_THRESHOLD: u64 = 256 << 10;
/// A pipe's size, in bytes.
const PIPE_SIZE: usize = 512 << 10;
/// The most pipes. All pipes of one user share 64 MiB by default (pipe(7)), and past that other programs' pipes get
/// small.
const MAX_PIPES: usize = 64;
/// How many there are.
static PIPES: AtomicUsize = AtomicUsize::new(0);
/// How often a silent connection checks whether the proxy has ended.
const POLL_INTERVAL: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// How many intervals a connection may stay silent after one side has closed.
const MAX_HALF_CLOSED_INTERVALS: u32 = 30;
/// How much one direction moves before the other gets its turn, in bytes.
const MAX_TURN: usize = 2 << 20;

/// Copies until both directions have ended, one has failed, or `proxy_ended` is set.
pub fn both_ways(client: &TcpStream, server: &TcpStream, counts: &Counts, proxy_ended: &AtomicBool) {
    if client.set_nonblocking(true).and_then(|()| server.set_nonblocking(true)).is_err() {
        return;
    }
    let mut up = Direction::default();
    let mut down = Direction::default();
    let mut silent = 0;
    loop {
        let outcome = up
            .advance(client, server, &counts.sent)
            .and_then(|()| down.advance(server, client, &counts.received))
            .and_then(|()| wait(client, server, &up, &down));
        silent = if matches!(outcome, Ok(Woken::TimedOut)) { silent + 1 } else { 0 };
        // Whoever has closed may be gone for good; nothing shows that while the other is silent.
        let abandoned = silent >= MAX_HALF_CLOSED_INTERVALS && (up.ended || down.ended);
        match outcome {
            Ok(_) if up.ended && down.ended => return,
            Ok(_) if !abandoned && !proxy_ended.load(Ordering::SeqCst) => {}
            // A broken connection breaks the other one too, as if the peers were connected to each other.
            Ok(_) | Err(_) => {
                super::reset(client);
                super::reset(server);
                return;
            }
        }
    }
}

/// How a wait ended.
enum Woken {
    TimedOut,
    Ready,
}

/// Sleeps until one of the directions can go on.
fn wait(client: &TcpStream, server: &TcpStream, up: &Direction, down: &Direction) -> io::Result<Woken> {
    let (from_client, to_server) = up.awaited();
    let (from_server, to_client) = down.awaited();
    if up.ended && down.ended || up.turn_is_over || down.turn_is_over {
        return Ok(Woken::Ready);
    }
    let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(2);
    for (stream, events) in [(client, from_client | to_client), (server, from_server | to_server)] {
        // A stream without an awaited event would wake this thread for its hang-up again and again.
        if !events.is_empty() {
            fds.push(PollFd::new(stream, events));
        }
    }
    match poll(&mut fds, Some(&POLL_INTERVAL)) {
        Ok(0) => Ok(Woken::TimedOut),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(Woken::Ready),
        Err(error) => Err(error.into()),
    }
}

/// One direction.
#[derive(Default)]
struct Direction {
    /// Read and not yet written.
    pending: Vec<u8>,
    pipe: Option<Pipe>,
    moved: u64,
    /// The source has ended.
    read_all: bool,
    /// And all of it is written.
    ended: bool,
    turn_is_over: bool,
}

struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    /// How many bytes are in it.
    filled: usize,
}

impl Direction {
    /// The events that it waits for, of its source and of its destination.
    fn awaited(&self) -> (PollFlags, PollFlags) {
        if self.ended {
            (PollFlags::empty(), PollFlags::empty())
        } else if self.has_pending() {
            (PollFlags::empty(), PollFlags::OUT)
        } else {
            (PollFlags::IN, PollFlags::empty())
        }
    }

    fn has_pending(&self) -> bool {
        !self.pending.is_empty() || self.pipe.as_ref().is_some_and(|pipe| pipe.filled > 0)
    }

    /// Moves what can be moved now.
    fn advance(&mut self, from: &TcpStream, to: &TcpStream, count: &AtomicU64) -> io::Result<()> {
        let mut turn = 0;
        self.turn_is_over = false;
        while !self.ended {
            let moved = match &mut self.pipe {
                // What a plain read left over is written first.
                Some(_) if !self.pending.is_empty() => copy(&mut self.pending, &mut self.read_all, from, to)?,
                None => copy(&mut self.pending, &mut self.read_all, from, to)?,
                Some(pipe) => match pipe.splice(from, to)? {
                    // splice stops at urgent data for ever, while the source counts as readable. A plain read steps
                    // over it, and it also shows the end.
                    None if pipe.filled == 0 => copy(&mut self.pending, &mut self.read_all, from, to)?,
                    moved => moved,
                },
            };
            if self.read_all && !self.has_pending() {
                // The peer may be gone already.
                let _ = to.shutdown(Shutdown::Write);
                self.ended = true;
            }
            let Some(moved) = moved else { break };
            turn += moved;
            self.moved += moved as u64;
            count.fetch_add(moved as u64, Ordering::Relaxed);
            if self.pipe.is_none() && self.moved > SPLICE_THRESHOLD && self.pending.is_empty() {
                self.pipe = Pipe::new();
                // Without one, it goes on as before.
                self.moved = 0;
            }
            if turn > MAX_TURN {
                self.turn_is_over = true;
                break;
            }
        }
        Ok(())
    }
}

/// Writes what is pending, or else reads and writes once. Gives how much was written, or `None` when that has to wait.
fn copy(
    pending: &mut Vec<u8>,
    read_all: &mut bool,
    mut from: &TcpStream,
    mut to: &TcpStream,
) -> io::Result<Option<usize>> {
    if !pending.is_empty() {
        let Some(written) = ready(to.write(pending))? else { return Ok(None) };
        pending.drain(..written);
        return Ok(Some(written));
    }
    if *read_all {
        return Ok(None);
    }
    let mut buffer = [0; 8 << 10];
    let Some(read) = ready(from.read(&mut buffer))? else { return Ok(None) };
    if read == 0 {
        *read_all = true;
        return Ok(None);
    }
    let bytes = buffer.get(..read).unwrap_or_default();
    let written = ready(to.write(bytes))?.unwrap_or(0);
    pending.extend_from_slice(bytes.get(written..).unwrap_or_default());
    Ok(Some(written))
}

impl Pipe {
    fn new() -> Option<Pipe> {
        if PIPES.fetch_add(1, Ordering::SeqCst) >= MAX_PIPES {
            PIPES.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let pipe = Pipe::create();
        if pipe.is_none() {
            PIPES.fetch_sub(1, Ordering::SeqCst);
        }
        pipe
    }

    fn create() -> Option<Pipe> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Smaller ones work too.
        let _ = fcntl_setpipe_size(&writer, PIPE_SIZE);
        Some(Pipe { reader, writer, filled: 0 })
    }

    /// Fills and empties the pipe once, as [`copy`] does, except at the end of the source: an empty source, a full pipe,
    /// urgent data and the end all look alike here, and a plain read tells them apart.
    fn splice(&mut self, from: &TcpStream, to: &TcpStream) -> io::Result<Option<usize>> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let read = ready(splice(from, None, &self.writer, None, PIPE_SIZE, flags).map_err(Into::into))?.unwrap_or(0);
        self.filled += read;
        if self.filled == 0 {
            return Ok(None);
        }
        let written = ready(splice(&self.reader, None, to, None, self.filled, flags).map_err(Into::into))?;
        self.filled = self.filled.saturating_sub(written.unwrap_or(0));
        Ok(if read == 0 && written.is_none() { None } else { Some(written.unwrap_or(0)) })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        PIPES.fetch_sub(1, Ordering::SeqCst);
    }
}

/// `None` for what has to wait.
fn ready(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;
    use std::time::Duration;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        near.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        (near, listener.accept().unwrap().0)
    }

    /// A client and a host whose bytes are copied until both have closed.
    fn connected(test: impl FnOnce(TcpStream, TcpStream) + Send) -> Counts {
        let ((client, inner_client), (host, inner_host)) = (pair(), pair());
        let counts = Counts::default();
        thread::scope(|scope| {
            scope.spawn(|| {
                both_ways(&inner_client, &inner_host, &counts, &AtomicBool::new(false));
                // As the proxy does, when the connection's thread ends.
                drop((inner_client, inner_host));
            });
            test(client, host);
        });
        counts
    }

    #[test]
    fn large_transfers_arrive_whole_both_ways_and_are_counted() {
        let data: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let counts = connected(|client, host| {
            thread::scope(|scope| {
                for (mut from, mut to) in [(client.try_clone().unwrap(), host.try_clone().unwrap()), (host, client)] {
                    let data = &data;
                    scope.spawn(move || {
                        from.write_all(data).unwrap();
                        from.shutdown(Shutdown::Write).unwrap();
                    });
                    scope.spawn(move || {
                        let mut arrived = Vec::new();
                        to.read_to_end(&mut arrived).unwrap();
                        assert!(arrived == *data);
                    });
                }
            });
        });
        let length = 12_000_000;
        assert_eq!((counts.sent.into_inner(), counts.received.into_inner()), (length, length));
    }

    /// splice(2) stops at urgent data for ever, while poll says that there is something to read.
    #[test]
    fn an_urgent_byte_stops_nothing() {
        connected(|mut client, mut host| {
            // Enough for a pipe.
            let much = vec![7; 2 << 20];
            let mut arrived = vec![0; much.len()];
            thread::scope(|scope| {
                scope.spawn(|| client.write_all(&much).unwrap());
                host.read_exact(&mut arrived).unwrap();
            });
            rustix::net::send(&client, b"!", rustix::net::SendFlags::OOB).unwrap();
            client.write_all(b"after").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut rest = Vec::new();
            host.read_to_end(&mut rest).unwrap();
            assert!(rest.ends_with(b"after"), "{rest:?}");
        });
    }

    #[test]
    fn one_side_that_closes_still_reads_from_the_other() {
        connected(|mut client, mut host| {
            client.write_all(b"question").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut question = String::new();
            host.read_to_string(&mut question).unwrap();
            host.write_all(b"answer").unwrap();
            drop(host);
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
        });
    }

    #[test]
    fn a_connection_that_breaks_breaks_the_other() {
        connected(|mut client, host| {
            super::super::reset(&host);
            drop(host);
            let error = client.read(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        });
    }
}
