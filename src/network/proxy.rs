//! Outside: decides about every connection of one sandbox, dials, relays and keeps the journal.
//!
//! The sandbox is hostile. The helper inside hands over a listening socket for each name that was
//! looked up, and connections are taken here; nothing that comes over the channel is believed, and
//! nothing is dialled that was not granted by name, resolved on this side and found to be public.
//! One thread a connection: a peer that is slow, endless or half open costs that thread and
//! nothing else.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with, sockopt,
};

use crate::error::Error;
use crate::names::{HostName, Port, PublishedPort};
use crate::protocol::network::{self, FromHelper, MOST_LISTENERS, Open};

use super::connection::{self, Context};
use super::denial::Denial;
use super::dial::{Dialler, Resolve};
use super::log::{Journal, Summary};
use super::orders::Orders;
use super::{STACK, WRITE_TIME, copy, locked, reset};

/// The most connections at a time. Each has two descriptors, and up to four more while it moves
/// much.
const MOST_CONNECTIONS: usize = 512;
/// The most connections from outside that wait for the helper.
const MOST_WAITING: usize = 128;
/// How many workers wait for a connection; more are let go.
const MOST_IDLE: usize = 8;
/// A waiting worker is woken for one connection, and nobody else until it has been taken.
const ONCE: EventFlags = EventFlags::IN.union(EventFlags::ONESHOT);
/// How often a waiting worker looks whether the broker has ended.
const LOOK_UP: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// The sockets, bound before the engine starts: a port in use is an error before the tool runs.
pub struct Listening {
    channel: OwnedFd,
    socket: PathBuf,
    ports: Vec<(PublishedPort, TcpListener)>,
}

/// Binds the relay channel's socket at `socket`, and the published ports.
pub fn bind_all(orders: &Orders, socket: &Path) -> Result<Listening, Error> {
    let bound = || -> rustix::io::Result<OwnedFd> {
        let channel = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        bind(&channel, &SocketAddrUnix::new(socket)?)?;
        listen(&channel, 1)?;
        Ok(channel)
    };
    let channel = bound().map_err(|error| Error::io("listen on", socket)(error.into()))?;
    let mut ports = Vec::new();
    for port in &orders.ports {
        let listener = TcpListener::bind((port.address, port.host.number())).map_err(|error| Error::Environment {
            name: "ports",
            message: format!(
                "can't listen on {}: {error}",
                std::net::SocketAddr::new(port.address, port.host.number())
            ),
            hint: match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    format!("ports below 1024 are root's: change the host's port of \"{port}\"")
                }
                _ => format!("stop what listens there, or change the host's port of \"{port}\""),
            },
        })?;
        ports.push((port.clone(), listener));
    }
    Ok(Listening { channel, socket: socket.to_owned(), ports })
}

/// A broker at work. Dropping it ends its connections.
pub struct Broker {
    shared: Arc<Shared>,
    listener: Arc<OwnedFd>,
}

/// What all threads of a broker share.
struct Shared {
    context: Context,
    /// The listening sockets from inside, and the set in which workers wait for them.
    hosts: Mutex<BTreeMap<u64, Host>>,
    events: OwnedFd,
    /// Threads that wait, and connections at this moment, with those that may be.
    idle: AtomicUsize,
    active: AtomicUsize,
    most: usize,
    /// The helper's end, once it is there.
    helper: Mutex<Option<Arc<OwnedFd>>>,
    /// Connections that come in by published ports: those may not use up the tool's own.
    inward: AtomicUsize,
    /// The published ports, for closing them.
    published: Mutex<Vec<TcpListener>>,
    /// Connections from outside that wait for the helper.
    waiting: Mutex<HashMap<u32, TcpStream>>,
    next: AtomicU32,
}

/// A listening socket inside.
#[derive(Clone)]
struct Host {
    name: HostName,
    port: Port,
    socket: Arc<TcpListener>,
}

impl Listening {
    /// Starts to serve: the first to connect is the helper, and nobody else ever is.
    pub fn serve(self, orders: &Orders, resolve: Resolve) -> Result<Broker, Error> {
        let events = epoll::create(CreateFlags::CLOEXEC)
            .map_err(|error| Error::io("watch the connections of", &self.socket)(error.into()))?;
        let shared = Arc::new(Shared {
            context: Context {
                reach: orders.reach.clone(),
                dialler: Dialler::new(orders.upstream.clone(), resolve),
                journal: Journal::new(&orders.journal, &orders.tool, orders.phase),
                ended: AtomicBool::new(false),
            },
            hosts: Mutex::new(BTreeMap::new()),
            events,
            idle: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            inward: AtomicUsize::new(0),
            published: Mutex::new(Vec::new()),
            most: room(),
            helper: Mutex::new(None),
            waiting: Mutex::new(HashMap::new()),
            next: AtomicU32::new(0),
        });
        let listener = Arc::new(self.channel);
        let (for_thread, accepting) = (Arc::clone(&shared), Arc::clone(&listener));
        let (socket, ports) = (self.socket, self.ports);
        let at = socket.clone();
        if !spawn(move || attend(&for_thread, &accepting, &at, ports)) {
            // Without it, names would resolve and every connection would wait for ever.
            return Err(Error::io("start a thread for", &socket)(io::ErrorKind::WouldBlock.into()));
        }
        Ok(Broker { shared, listener })
    }
}

impl Broker {
    /// Ends every connection, and tells what happened.
    pub fn finish(self) -> Summary {
        self.shut();
        self.shared.context.journal.finish()
    }

    fn shut(&self) {
        self.shared.context.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for the helper, or for its next word.
        let _ = rustix::net::shutdown(self.listener.as_fd(), Shutdown::Both);
        if let Some(helper) = locked(&self.shared.helper).as_ref() {
            let _ = rustix::net::shutdown(helper.as_fd(), Shutdown::Both);
        }
        self.shared.close();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shut();
    }
}

/// How many connections the limit on open files has room for, after raising it.
fn room() -> usize {
    let wanted = 8192;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    let raised = soft.max(hard.min(wanted));
    let limit = if setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok() { raised } else { soft };
    let others = 64 + MOST_LISTENERS + MOST_WAITING;
    MOST_CONNECTIONS.min(usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(others) / 6).max(16)
}

/// A thread, or none where the system gives none: then what it held is dropped, and so closed.
fn spawn(work: impl FnOnce() + Send + 'static) -> bool {
    thread::Builder::new().stack_size(STACK).spawn(work).is_ok()
}

/// The channel's thread.
fn attend(shared: &Arc<Shared>, listener: &OwnedFd, socket: &Path, ports: Vec<(PublishedPort, TcpListener)>) {
    let Ok(helper) = accept_with(listener, SocketFlags::CLOEXEC).map(Arc::new) else { return };
    // The helper connects before the tool starts: a second one would be the tool.
    let _ = rustix::net::shutdown(listener, Shutdown::Both);
    let _ = std::fs::remove_file(socket);
    *locked(&shared.helper) = Some(Arc::clone(&helper));
    for (port, listener) in ports {
        let Ok(copy) = listener.try_clone() else { continue };
        locked(&shared.published).push(copy);
        let (published, shared, helper) = (Arc::clone(shared), Arc::clone(shared), Arc::clone(&helper));
        // Without its thread, whoever connects would wait for ever.
        if !spawn(move || publish(&shared, &helper, port.container, &listener))
            && let Some(unserved) = locked(&published.published).pop()
        {
            let _ = rustix::net::shutdown(&unserved, Shutdown::Both);
        }
    }
    if shared.context.ended.load(Ordering::SeqCst) {
        return shared.close();
    }
    // A malformed message ends the sandbox's network: no helper sends one.
    while let Ok(Some((message, descriptor))) = network::hear(&helper) {
        match (message, descriptor.and_then(tcp_socket)) {
            (FromHelper::Listen { host, port }, Some(socket)) => {
                if shared.listen(&host, port, TcpListener::from(socket)).is_none() {
                    break;
                }
            }
            (FromHelper::Forget { host }, _) => shared.forget(|name| name.as_str() == host),
            (FromHelper::NotGranted { host }, _) => match HostName::new(&host) {
                Ok(host) if shared.context.reach.ports(&host).is_empty() => {
                    shared.context.journal.denied(host.as_str(), None, &Denial::Host);
                }
                Ok(_) => {}
                Err(_) => shared.context.journal.denied(&host, None, &Denial::NoName),
            },
            (FromHelper::Opened { id }, Some(inside)) => {
                if let (Some(outside), Some(inside)) = (locked(&shared.waiting).remove(&id), stream(inside)) {
                    shared.start_inward(outside, inside);
                }
            }
            (FromHelper::NobodyListens { id } | FromHelper::Opened { id }, _) => {
                if let Some(outside) = locked(&shared.waiting).remove(&id) {
                    reset(&outside);
                }
            }
            // No descriptor was free for it: connections there are refused.
            (FromHelper::Listen { .. }, None) => {}
        }
    }
    let _ = rustix::net::shutdown(helper.as_fd(), Shutdown::Both);
    shared.close();
}

/// The descriptor, if it is a TCP socket. Anything else from inside could block or change a thread
/// of ours in ways that a connection can't.
fn tcp_socket(descriptor: OwnedFd) -> Option<OwnedFd> {
    let is_stream = sockopt::socket_type(&descriptor).ok()? == SocketType::STREAM;
    let family = sockopt::socket_domain(&descriptor).ok()?;
    let is_internet = family == AddressFamily::INET || family == AddressFamily::INET6;
    let is_tcp = sockopt::socket_protocol(&descriptor).ok()? == Some(rustix::net::ipproto::TCP);
    (is_stream && is_internet && is_tcp).then_some(descriptor)
}

/// A connection from inside, with nothing left that the sandbox could have set to stop a thread.
fn stream(socket: impl Into<TcpStream>) -> Option<TcpStream> {
    let stream = socket.into();
    // A lingering close would block for as long as the sandbox likes.
    sockopt::set_socket_linger(&stream, None).ok()?;
    stream.set_nonblocking(false).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_write_timeout(Some(WRITE_TIME)).ok()?;
    Some(stream)
}

/// One of the connections at this moment.
struct Active {
    shared: Arc<Shared>,
    count: fn(&Shared) -> &AtomicUsize,
}

impl Drop for Active {
    fn drop(&mut self) {
        (self.count)(&self.shared).fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    /// Closes what waits for connections.
    fn close(&self) {
        self.forget(|_| true);
        for listener in locked(&self.published).drain(..) {
            let _ = rustix::net::shutdown(&listener, Shutdown::Both);
        }
        locked(&self.waiting).clear();
    }

    /// Closes the listening sockets of hosts. Not by dropping them alone: a worker may just be
    /// accepting from one.
    fn forget(&self, which: impl Fn(&HostName) -> bool) {
        locked(&self.hosts).retain(|_, host| {
            if which(&host.name) {
                let _ = rustix::net::shutdown(&*host.socket, Shutdown::Both);
            }
            !which(&host.name)
        });
    }

    /// Counts a connection, unless there are too many.
    fn enter(self: &Arc<Self>, count: fn(&Shared) -> &AtomicUsize) -> Option<Active> {
        let before = count(self).fetch_add(1, Ordering::SeqCst);
        let active = Active { shared: Arc::clone(self), count };
        (before < self.most && !self.context.ended.load(Ordering::SeqCst)).then_some(active)
    }

    /// Takes connections from a listening socket inside; `None` for what no helper sends.
    fn listen(self: &Arc<Self>, host: &str, port: u16, socket: TcpListener) -> Option<()> {
        let name = HostName::new(host).ok()?;
        let port = Port::from_number(port)?;
        socket.set_nonblocking(true).ok()?;
        let mut hosts = locked(&self.hosts);
        if hosts.len() >= MOST_LISTENERS {
            return None;
        }
        let id = u64::from(self.next.fetch_add(1, Ordering::SeqCst));
        epoll::add(&self.events, &socket, EventData::new_u64(id), ONCE).ok()?;
        hosts.insert(id, Host { name, port, socket: Arc::new(socket) });
        drop(hosts);
        // Without a worker there is no network.
        (self.idle.load(Ordering::SeqCst) > 0 || self.hire()).then_some(())
    }

    /// One more worker, where the system gives a thread.
    fn hire(self: &Arc<Self>) -> bool {
        let shared = Arc::clone(self);
        spawn(move || shared.work())
    }

    /// A worker: waits for a connection, serves it, and waits again. Before it serves, it sees to
    /// it that another one waits.
    fn work(self: &Arc<Self>) {
        while let Some(id) = self.wait() {
            let Some(Host { name, port, socket }) = locked(&self.hosts).get(&id).cloned() else { continue };
            let client = socket.accept();
            if client.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
                // Out of descriptors perhaps: connections end, and then there are some.
                thread::sleep(Duration::from_millis(50));
            }
            // The next one is another worker's.
            let _ = epoll::modify(&self.events, &*socket, EventData::new_u64(id), ONCE);
            drop(socket);
            if let Ok((client, _)) = client {
                self.serve(&name, port, client);
            }
        }
    }

    /// Waits for a connection; `None` when this worker is not needed any more.
    fn wait(&self) -> Option<u64> {
        let leave = || {
            self.idle.fetch_sub(1, Ordering::SeqCst);
            None
        };
        if self.idle.fetch_add(1, Ordering::SeqCst) >= MOST_IDLE {
            return leave();
        }
        let mut events: Vec<Event> = Vec::with_capacity(1);
        loop {
            events.clear();
            let waited = epoll::wait(&self.events, spare_capacity(&mut events), Some(&LOOK_UP));
            if self.context.ended.load(Ordering::SeqCst) {
                return leave();
            }
            match (waited, events.first()) {
                (Ok(_), Some(event)) => {
                    self.idle.fetch_sub(1, Ordering::SeqCst);
                    return Some(event.data.u64());
                }
                // Nothing came for a while: one worker that waits is enough.
                (Ok(_), None) => {
                    let others = |idle: usize| (idle > 1).then(|| idle - 1);
                    if self.idle.fetch_update(Ordering::SeqCst, Ordering::SeqCst, others).is_ok() {
                        return None;
                    }
                }
                (Err(rustix::io::Errno::INTR), _) => {}
                (Err(_), _) => return leave(),
            }
        }
    }

    /// Serves one connection in this thread, with another one to take the next.
    fn serve(self: &Arc<Self>, name: &HostName, port: Port, client: TcpStream) {
        let (Some(client), Some(active)) = (stream(client), self.enter(|shared| &shared.active)) else {
            self.context.journal.denied(name.as_str(), Some(port), &Denial::TooMany);
            return;
        };
        if self.idle.load(Ordering::SeqCst) == 0 {
            self.hire();
        }
        connection::serve(&self.context, name, port, &client);
        drop(active);
    }

    /// From a published port to the inside.
    fn start_inward(self: &Arc<Self>, outside: TcpStream, inside: TcpStream) {
        let Some(active) = self.enter(|shared| &shared.inward) else { return };
        let shared = Arc::clone(self);
        spawn(move || {
            let _ = outside.set_nodelay(true);
            copy::both_ways(&outside, &inside, &copy::Counts::default(), &shared.context.ended);
            drop(active);
        });
    }
}

/// A published port's thread.
fn publish(shared: &Arc<Shared>, helper: &OwnedFd, port: Port, listener: &TcpListener) {
    while !shared.context.ended.load(Ordering::SeqCst) {
        let Ok((outside, _)) = listener.accept() else {
            // Out of descriptors perhaps; the next may find one.
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        let id = shared.next.fetch_add(1, Ordering::SeqCst);
        {
            let mut waiting = locked(&shared.waiting);
            if waiting.len() >= MOST_WAITING {
                reset(&outside);
                continue;
            }
            waiting.insert(id, outside);
        }
        if network::order(helper, Open { id, port: port.number() }).is_err() {
            if let Some(outside) = locked(&shared.waiting).remove(&id) {
                reset(&outside);
            }
            return;
        }
    }
}
