//! The proxy of one sandbox: takes the connections that come from inside, and those to published ports.
//!
//! The sandbox is hostile. Init hands over a listening socket for each name that was looked up, and connections are
//! accepted here. Nothing that comes over the network channel is believed, and nothing is dialled that was not granted
//! by name, resolved on this side and found to be public. Each connection has a thread: a peer that is slow, endless or
//! half open costs that thread and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with, sockopt,
};

use crate::error::Error;
use crate::names::{HostName, Port, PublishedPort};
use crate::protocol::network::{InitEvent, MAX_LISTENERS, Open, recv_event, send_open};
use crate::sys::limits::{self, Resource};

use super::connection::{self, Context};
use super::denial::Denial;
use super::dial::{Dialer, Resolve};
use super::log::{Log, Summary};
use super::orders::Orders;
use super::{STACK_SIZE, WRITE_TIMEOUT, copy, locked, reset};

/// The most connections at a time, in each direction. A connection has two descriptors, and up to four more while it
/// moves large amounts.
const MAX_CONNECTIONS: usize = 512;
/// How many connections there may always be, however low the limit on open files is.
const MIN_CONNECTIONS: usize = 16;
/// The most connections from outside that wait for init's answer.
const MAX_PENDING: usize = 128;
/// How many workers wait for a connection; more are ended.
const MAX_IDLE_WORKERS: usize = 8;
/// The limit on open files that is asked for.
const WANTED_OPEN_FILES: u64 = 8192;
/// One event wakes one worker, and nobody else until the connection has been accepted.
const ONE_SHOT: EventFlags = EventFlags::IN.union(EventFlags::ONESHOT);
/// How often a waiting worker checks whether the proxy has ended.
const POLL_INTERVAL: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// How long to wait after a failed accept: without free descriptors it fails at once, until a connection ends.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// The sockets, bound before the engine starts: a port in use is an error before the tool runs.
pub struct BoundSockets {
    channel: OwnedFd,
    socket: PathBuf,
    ports: Vec<(PublishedPort, TcpListener)>,
}

/// Binds the network channel's socket at `socket`, and the published ports.
pub fn bind_all(orders: &Orders, socket: &Path) -> Result<BoundSockets, Error> {
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
                    format!("only root may use ports below 1024: change the host's port of \"{port}\"")
                }
                _ => format!("stop what listens there, or change the host's port of \"{port}\""),
            },
        })?;
        ports.push((port.clone(), listener));
    }
    Ok(BoundSockets { channel, socket: socket.to_owned(), ports })
}

/// A running proxy. Dropping it ends its connections.
pub struct Proxy {
    shared: Arc<Shared>,
    listener: Arc<OwnedFd>,
}

impl BoundSockets {
    /// Starts to serve. Init is the first to connect; nobody else is accepted.
    pub fn serve(self, orders: &Orders, resolve: Resolve) -> Result<Proxy, Error> {
        let events = epoll::create(CreateFlags::CLOEXEC)
            .map_err(|error| Error::io("watch the connections of", &self.socket)(error.into()))?;
        let shared = Arc::new(Shared {
            context: Context {
                reach: orders.reach.clone(),
                dialer: Dialer::new(orders.upstream.clone(), resolve),
                log: Log::new(&orders.journal, &orders.tool, orders.phase),
                ended: AtomicBool::new(false),
            },
            listeners: Mutex::new(BTreeMap::new()),
            events,
            idle_workers: AtomicUsize::new(0),
            outbound: AtomicUsize::new(0),
            inbound: AtomicUsize::new(0),
            connection_limit: connection_limit(),
            init: Mutex::new(None),
            published: Mutex::new(Vec::new()),
            pending: Mutex::new(HashMap::new()),
            next_id: AtomicU32::new(0),
        });
        let listener = Arc::new(self.channel);
        let (for_thread, accepting) = (Arc::clone(&shared), Arc::clone(&listener));
        let (socket, ports) = (self.socket, self.ports);
        let at = socket.clone();
        if !spawn(move || serve_channel(&for_thread, &accepting, &at, ports)) {
            // Without it, names would resolve and every connection would wait for ever.
            return Err(Error::io("start a thread for", &socket)(io::ErrorKind::WouldBlock.into()));
        }
        Ok(Proxy { shared, listener })
    }
}

impl Proxy {
    /// Ends every connection, and gives the summary.
    pub fn finish(self) -> Summary {
        self.shut_down();
        self.shared.context.log.finish()
    }

    fn shut_down(&self) {
        self.shared.context.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for init, or for its next message.
        let _ = rustix::net::shutdown(self.listener.as_fd(), Shutdown::Both);
        if let Some(init) = locked(&self.shared.init).as_ref() {
            let _ = rustix::net::shutdown(init.as_fd(), Shutdown::Both);
        }
        self.shared.stop_listening();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// How many connections the limit on open files allows, after raising it.
fn connection_limit() -> usize {
    let open_files = limits::raise(Resource::Nofile, WANTED_OPEN_FILES);
    let open_files = usize::try_from(open_files).unwrap_or(usize::MAX);
    let others = 64 + MAX_LISTENERS + MAX_PENDING;
    MAX_CONNECTIONS.min(open_files.saturating_sub(others) / 6).max(MIN_CONNECTIONS)
}

/// Starts a thread, unless the system gives none: then what `work` owns is dropped, and so closed.
fn spawn(work: impl FnOnce() + Send + 'static) -> bool {
    thread::Builder::new().stack_size(STACK_SIZE).spawn(work).is_ok()
}

/// The network channel's thread.
fn serve_channel(shared: &Arc<Shared>, listener: &OwnedFd, socket: &Path, ports: Vec<(PublishedPort, TcpListener)>) {
    let Ok(init) = accept_with(listener, SocketFlags::CLOEXEC).map(Arc::new) else { return };
    // Init connects before the tool starts: a second one would be the tool.
    let _ = rustix::net::shutdown(listener, Shutdown::Both);
    let _ = std::fs::remove_file(socket);
    *locked(&shared.init) = Some(Arc::clone(&init));
    for (port, listener) in ports {
        shared.publish(&init, port.container, listener);
    }
    if shared.context.ended.load(Ordering::SeqCst) {
        return shared.stop_listening();
    }
    // A malformed message ends the sandbox's network: init sends none.
    while let Ok(Some((event, descriptor))) = recv_event(&init) {
        if shared.handle_event(event, descriptor.and_then(as_tcp_socket)).is_none() {
            break;
        }
    }
    let _ = rustix::net::shutdown(init.as_fd(), Shutdown::Both);
    shared.stop_listening();
}

/// The descriptor, if it is a TCP socket. Anything else from inside could block or change one of these threads in ways
/// that a connection can't.
fn as_tcp_socket(descriptor: OwnedFd) -> Option<OwnedFd> {
    let is_stream = sockopt::socket_type(&descriptor).ok()? == SocketType::STREAM;
    let family = sockopt::socket_domain(&descriptor).ok()?;
    let is_internet = family == AddressFamily::INET || family == AddressFamily::INET6;
    let is_tcp = sockopt::socket_protocol(&descriptor).ok()? == Some(rustix::net::ipproto::TCP);
    (is_stream && is_internet && is_tcp).then_some(descriptor)
}

/// A connection from inside, without any option by which the sandbox could stop a thread.
fn sanitized(socket: impl Into<TcpStream>) -> Option<TcpStream> {
    let stream = socket.into();
    // A lingering close would block for as long as the sandbox likes.
    sockopt::set_socket_linger(&stream, None).ok()?;
    stream.set_nonblocking(false).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT)).ok()?;
    Some(stream)
}

/// What all threads of a proxy share.
struct Shared {
    context: Context,
    /// The listening sockets from inside, and the set in which workers wait for their connections.
    listeners: Mutex<BTreeMap<u64, Listener>>,
    events: OwnedFd,
    /// Workers that wait for a connection.
    idle_workers: AtomicUsize,
    /// Connections from inside at this moment.
    outbound: AtomicUsize,
    /// Connections to published ports at this moment. Counted apart: they must not use up the tool's own.
    inbound: AtomicUsize,
    /// The most of each.
    connection_limit: usize,
    /// Init's end of the channel, once it has connected.
    init: Mutex<Option<Arc<OwnedFd>>>,
    /// The published ports, for closing them.
    published: Mutex<Vec<TcpListener>>,
    /// Connections from outside that wait for init's answer.
    pending: Mutex<HashMap<u32, TcpStream>>,
    next_id: AtomicU32,
}

/// A listening socket inside.
#[derive(Clone)]
struct Listener {
    name: HostName,
    port: Port,
    socket: Arc<TcpListener>,
}

/// Counts one connection for as long as it lives.
struct Counted {
    shared: Arc<Shared>,
    count: fn(&Shared) -> &AtomicUsize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.count)(&self.shared).fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    /// Does what init asks for; `None` for what init never sends.
    fn handle_event(self: &Arc<Self>, event: InitEvent, socket: Option<OwnedFd>) -> Option<()> {
        match (event, socket) {
            (InitEvent::Listen { host, port }, Some(socket)) => self.listen(&host, port, TcpListener::from(socket))?,
            // Init had no free descriptor for it: connections there are refused.
            (InitEvent::Listen { .. }, None) => {}
            (InitEvent::Forget { host }, _) => self.close_listeners(|name| name.as_str() == host),
            (InitEvent::NotGranted { host }, _) => match HostName::new(&host) {
                Ok(host) if self.context.reach.ports(&host).is_empty() => {
                    self.context.log.denied(host.as_str(), None, &Denial::Host);
                }
                Ok(_) => {}
                Err(_) => self.context.log.denied(&host, None, &Denial::InvalidName),
            },
            (InitEvent::Opened { id }, Some(inside)) => {
                if let (Some(outside), Some(inside)) = (locked(&self.pending).remove(&id), sanitized(inside)) {
                    self.serve_inbound(outside, inside);
                }
            }
            (InitEvent::NobodyListens { id } | InitEvent::Opened { id }, _) => {
                if let Some(outside) = locked(&self.pending).remove(&id) {
                    reset(&outside);
                }
            }
        }
        Some(())
    }

    /// Closes everything that connections come from.
    fn stop_listening(&self) {
        self.close_listeners(|_| true);
        for listener in locked(&self.published).drain(..) {
            let _ = rustix::net::shutdown(&listener, Shutdown::Both);
        }
        locked(&self.pending).clear();
    }

    /// Closes the listening sockets of these hosts. Dropping them is not enough: a worker may just be accepting from
    /// one.
    fn close_listeners(&self, matches: impl Fn(&HostName) -> bool) {
        locked(&self.listeners).retain(|_, listener| {
            if matches(&listener.name) {
                let _ = rustix::net::shutdown(&*listener.socket, Shutdown::Both);
            }
            !matches(&listener.name)
        });
    }

    /// Counts a connection, unless there are too many.
    fn count(self: &Arc<Self>, count: fn(&Shared) -> &AtomicUsize) -> Option<Counted> {
        let before = count(self).fetch_add(1, Ordering::SeqCst);
        let counted = Counted { shared: Arc::clone(self), count };
        (before < self.connection_limit && !self.context.ended.load(Ordering::SeqCst)).then_some(counted)
    }

    // --- from inside ---

    /// Accepts connections from a listening socket inside; `None` for what init never sends.
    fn listen(self: &Arc<Self>, host: &str, port: u16, socket: TcpListener) -> Option<()> {
        let name = HostName::new(host).ok()?;
        let port = Port::from_number(port)?;
        socket.set_nonblocking(true).ok()?;
        let mut listeners = locked(&self.listeners);
        if listeners.len() >= MAX_LISTENERS {
            return None;
        }
        let id = u64::from(self.next_id.fetch_add(1, Ordering::SeqCst));
        epoll::add(&self.events, &socket, EventData::new_u64(id), ONE_SHOT).ok()?;
        listeners.insert(id, Listener { name, port, socket: Arc::new(socket) });
        drop(listeners);
        // Without a worker there is no network.
        (self.idle_workers.load(Ordering::SeqCst) > 0 || self.spawn_worker()).then_some(())
    }

    /// Starts one more worker, unless the system gives no thread.
    fn spawn_worker(self: &Arc<Self>) -> bool {
        let shared = Arc::clone(self);
        spawn(move || shared.work())
    }

    /// A worker waits for a connection, serves it, and waits again. Before it serves, it makes sure that another one
    /// waits.
    fn work(self: &Arc<Self>) {
        while let Some(id) = self.wait_for_connection() {
            let Some(Listener { name, port, socket }) = locked(&self.listeners).get(&id).cloned() else { continue };
            let client = socket.accept();
            if client.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
                thread::sleep(ACCEPT_RETRY_DELAY);
            }
            // The next one is another worker's.
            let _ = epoll::modify(&self.events, &*socket, EventData::new_u64(id), ONE_SHOT);
            drop(socket);
            if let Ok((client, _)) = client {
                self.serve_outbound(&name, port, client);
            }
        }
    }

    /// Waits until a listener has a connection; `None` when this worker is not needed any more.
    fn wait_for_connection(&self) -> Option<u64> {
        let leave = || {
            self.idle_workers.fetch_sub(1, Ordering::SeqCst);
            None
        };
        if self.idle_workers.fetch_add(1, Ordering::SeqCst) >= MAX_IDLE_WORKERS {
            return leave();
        }
        let mut events: Vec<Event> = Vec::with_capacity(1);
        loop {
            events.clear();
            let waited = epoll::wait(&self.events, spare_capacity(&mut events), Some(&POLL_INTERVAL));
            if self.context.ended.load(Ordering::SeqCst) {
                return leave();
            }
            match (waited, events.first()) {
                (Ok(_), Some(event)) => {
                    self.idle_workers.fetch_sub(1, Ordering::SeqCst);
                    return Some(event.data.u64());
                }
                // Nothing came for a while: one worker that waits is enough.
                (Ok(_), None) => {
                    let others = |idle: usize| (idle > 1).then(|| idle - 1);
                    if self.idle_workers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, others).is_ok() {
                        return None;
                    }
                }
                (Err(rustix::io::Errno::INTR), _) => {}
                (Err(_), _) => return leave(),
            }
        }
    }

    /// Serves one connection in this thread.
    fn serve_outbound(self: &Arc<Self>, name: &HostName, port: Port, client: TcpStream) {
        let (Some(client), Some(counted)) = (sanitized(client), self.count(|shared| &shared.outbound)) else {
            self.context.log.denied(name.as_str(), Some(port), &Denial::TooMany);
            return;
        };
        if self.idle_workers.load(Ordering::SeqCst) == 0 {
            self.spawn_worker();
        }
        connection::serve(&self.context, name, port, &client);
        drop(counted);
    }

    // --- to published ports ---

    /// Starts to accept connections to a published port.
    fn publish(self: &Arc<Self>, init: &Arc<OwnedFd>, port: Port, listener: TcpListener) {
        let Ok(copy) = listener.try_clone() else { return };
        locked(&self.published).push(copy);
        let (shared, init) = (Arc::clone(self), Arc::clone(init));
        // Without its thread, whoever connects would wait for ever.
        if !spawn(move || shared.accept_inbound(&init, port, &listener))
            && let Some(unserved) = locked(&self.published).pop()
        {
            let _ = rustix::net::shutdown(&unserved, Shutdown::Both);
        }
    }

    /// A published port's thread: asks init for a connection inside for each one from outside.
    fn accept_inbound(&self, init: &OwnedFd, port: Port, listener: &TcpListener) {
        while !self.context.ended.load(Ordering::SeqCst) {
            let Ok((outside, _)) = listener.accept() else {
                thread::sleep(ACCEPT_RETRY_DELAY);
                continue;
            };
            let id = self.next_id.fetch_add(1, Ordering::SeqCst);
            {
                let mut pending = locked(&self.pending);
                if pending.len() >= MAX_PENDING {
                    reset(&outside);
                    continue;
                }
                pending.insert(id, outside);
            }
            if send_open(init, Open { id, port: port.number() }).is_err() {
                if let Some(outside) = locked(&self.pending).remove(&id) {
                    reset(&outside);
                }
                return;
            }
        }
    }

    fn serve_inbound(self: &Arc<Self>, outside: TcpStream, inside: TcpStream) {
        let Some(counted) = self.count(|shared| &shared.inbound) else { return };
        let shared = Arc::clone(self);
        spawn(move || {
            let _ = outside.set_nodelay(true);
            copy::both_ways(&outside, &inside, &copy::Counts::default(), &shared.context.ended);
            drop(counted);
        });
    }
}
