//! Moves bytes between two connections until both directions have ended.
//!
//! Small amounts are copied; a direction that moves much gets a pipe and splice(2), and then the
//! bytes never pass through this process. A slow reader holds its writer back: nothing is read
//! that can't be handed on.

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
const MUCH: u64 = 256 << 10;
/// A pipe's size, in bytes, and how many there are at most. All pipes of one user share 64 MiB by
/// default (pipe(7)), and past that other programs' pipes get small.
const PIPE: usize = 512 << 10;
const MOST_PIPES: usize = 64;
static PIPES: AtomicUsize = AtomicUsize::new(0);
/// How often a silent connection looks whether the broker has ended.
const LOOK_UP: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// How much one direction moves before the other gets its turn, in bytes.
const TURN: usize = 2 << 20;

/// How many of those a connection may stay silent that one side has closed.
const HALF_CLOSED: u32 = 30;

/// Relays until both directions have ended, one has failed, or the broker has `over`.
pub fn both_ways(client: &TcpStream, server: &TcpStream, counts: &Counts, over: &AtomicBool) {
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
        silent = if matches!(outcome, Ok(Woken::ByNobody)) { silent + 1 } else { 0 };
        // Whoever has closed may be gone for good, which nothing tells while the other is silent.
        let abandoned = silent >= HALF_CLOSED && (up.ended || down.ended);
        match outcome {
            Ok(_) if up.ended && down.ended => return,
            Ok(_) if !abandoned && !over.load(Ordering::SeqCst) => {}
            // A broken connection breaks its other half, as the peer would see it without a relay.
            Ok(_) | Err(_) => {
                super::reset(client);
                super::reset(server);
                return;
            }
        }
    }
}

enum Woken {
    ByNobody,
    ByOne,
}

/// Sleeps until one of the directions can go on.
fn wait(client: &TcpStream, server: &TcpStream, up: &Direction, down: &Direction) -> io::Result<Woken> {
    let (from_client, to_server) = up.wants();
    let (from_server, to_client) = down.wants();
    if up.ended && down.ended || up.turn_is_over || down.turn_is_over {
        return Ok(Woken::ByOne);
    }
    let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(2);
    for (stream, events) in [(client, from_client | to_client), (server, from_server | to_server)] {
        // One that nothing is wanted of would wake this thread for its hang-up again and again.
        if !events.is_empty() {
            fds.push(PollFd::new(stream, events));
        }
    }
    match poll(&mut fds, Some(&LOOK_UP)) {
        Ok(0) => Ok(Woken::ByNobody),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(Woken::ByOne),
        Err(error) => Err(error.into()),
    }
}

/// One direction.
#[derive(Default)]
struct Direction {
    /// Read and not yet written.
    held: Vec<u8>,
    pipe: Option<Pipe>,
    moved: u64,
    read_all: bool,
    ended: bool,
    turn_is_over: bool,
}

struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    held: usize,
}

impl Direction {
    /// What it waits for, of its source and of its destination.
    fn wants(&self) -> (PollFlags, PollFlags) {
        if self.ended {
            (PollFlags::empty(), PollFlags::empty())
        } else if self.is_holding() {
            (PollFlags::empty(), PollFlags::OUT)
        } else {
            (PollFlags::IN, PollFlags::empty())
        }
    }

    fn is_holding(&self) -> bool {
        !self.held.is_empty() || self.pipe.as_ref().is_some_and(|pipe| pipe.held > 0)
    }

    /// Moves what can be moved now.
    fn advance(&mut self, from: &TcpStream, to: &TcpStream, count: &AtomicU64) -> io::Result<()> {
        let mut turn = 0;
        self.turn_is_over = false;
        while !self.ended {
            let moved = match &mut self.pipe {
                // What a plain read left over goes first.
                Some(_) if !self.held.is_empty() => copy(&mut self.held, &mut self.read_all, from, to)?,
                None => copy(&mut self.held, &mut self.read_all, from, to)?,
                Some(pipe) => match pipe.splice(from, to)? {
                    // splice stops at urgent data for ever, while the source counts as readable; a
                    // plain read steps over it. It also tells the end.
                    None if pipe.held == 0 => copy(&mut self.held, &mut self.read_all, from, to)?,
                    moved => moved,
                },
            };
            if self.read_all && !self.is_holding() {
                // The peer may be gone already; then there is nobody to tell.
                let _ = to.shutdown(Shutdown::Write);
                self.ended = true;
            }
            let Some(moved) = moved else { break };
            turn += moved;
            self.moved += moved as u64;
            count.fetch_add(moved as u64, Ordering::Relaxed);
            if self.pipe.is_none() && self.moved > MUCH && self.held.is_empty() {
                self.pipe = Pipe::new();
                // Without one, it goes on as before.
                self.moved = 0;
            }
            if turn > TURN {
                self.turn_is_over = true;
                break;
            }
        }
        Ok(())
    }
}

/// Writes what is held, else reads and writes once; how much was written, `None` when that has to
/// wait.
fn copy(
    held: &mut Vec<u8>,
    read_all: &mut bool,
    mut from: &TcpStream,
    mut to: &TcpStream,
) -> io::Result<Option<usize>> {
    if !held.is_empty() {
        let Some(written) = ready(to.write(held))? else { return Ok(None) };
        held.drain(..written);
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
    held.extend_from_slice(bytes.get(written..).unwrap_or_default());
    Ok(Some(written))
}

impl Pipe {
    fn new() -> Option<Pipe> {
        if PIPES.fetch_add(1, Ordering::SeqCst) >= MOST_PIPES {
            PIPES.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let pipe = Pipe::made();
        if pipe.is_none() {
            PIPES.fetch_sub(1, Ordering::SeqCst);
        }
        pipe
    }

    fn made() -> Option<Pipe> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Smaller ones work too.
        let _ = fcntl_setpipe_size(&writer, PIPE);
        Some(Pipe { reader, writer, held: 0 })
    }

    /// Fills and empties the pipe once; as [`copy`], but for the end of the source. An empty source, a
    /// full pipe, urgent data and the end all look alike here; a plain read tells them apart.
    fn splice(&mut self, from: &TcpStream, to: &TcpStream) -> io::Result<Option<usize>> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let filled = ready(splice(from, None, &self.writer, None, PIPE, flags).map_err(Into::into))?.unwrap_or(0);
        self.held += filled;
        if self.held == 0 {
            return Ok(None);
        }
        let emptied = ready(splice(&self.reader, None, to, None, self.held, flags).map_err(Into::into))?;
        self.held = self.held.saturating_sub(emptied.unwrap_or(0));
        Ok(if filled == 0 && emptied.is_none() { None } else { Some(emptied.unwrap_or(0)) })
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

    /// A client and a host with a relay between them, which runs until both have closed.
    fn relayed(test: impl FnOnce(TcpStream, TcpStream) + Send) -> Counts {
        let ((client, inner_client), (host, inner_host)) = (pair(), pair());
        let counts = Counts::default();
        thread::scope(|scope| {
            scope.spawn(|| {
                both_ways(&inner_client, &inner_host, &counts, &AtomicBool::new(false));
                // As the broker does, when the connection's thread ends.
                drop((inner_client, inner_host));
            });
            test(client, host);
        });
        counts
    }

    #[test]
    fn large_transfers_arrive_whole_both_ways_and_are_counted() {
        let data: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let counts = relayed(|client, host| {
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
        relayed(|mut client, mut host| {
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
    fn one_side_that_closes_still_hears_the_other() {
        relayed(|mut client, mut host| {
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
        relayed(|mut client, host| {
            super::super::reset(&host);
            drop(host);
            let error = client.read(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        });
    }
}
