//! The network inside: answers names by itself, and opens connections to published ports.
//!
//! A granted name gets a loopback address of its own, with listening sockets on the ports that are granted. They are
//! handed to the proxy, which accepts the connections itself: no process of the sandbox sees their bytes. No query and no
//! packet ever leaves the sandbox: a host that is not granted does not exist.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::Refusal;
use super::dns::{self, Answer, Query};
use crate::names::{HostName, Port};
use crate::protocol::control::NetworkRole;
use crate::protocol::network::{InitEvent, MAX_LISTENERS, Open, recv_open, send_event};
use crate::rules::egress::Reach;
use crate::rules::sandbox_paths::NETWORK_GUEST;

/// Where the name server listens; resolv.conf inside says the same.
const NAME_SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
/// The first of the addresses that names get. It is far from 127.0.0.x, where tools listen themselves.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([127, 64, 0, 0]);
/// The last.
const LAST_ADDRESS: u32 = u32::from_be_bytes([127, 127, 255, 255]);
/// The most names that are reported as not granted. The proxy's log has fewer, and says that lines are missing.
const MAX_REPORTED: usize = 2000;
/// The most clients that ask over TCP at a time.
const MAX_TCP_CLIENTS: usize = 8;
/// How long each of them has.
const TCP_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a published port's program has to accept a connection.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// The stack of these threads, in bytes. They have no deep calls.
const STACK_SIZE: usize = 128 << 10;

/// What an event of the loop is about.
const CHANNEL: u64 = 0;
const UDP: u64 = 1;
const TCP: u64 = 2;

/// Connects to the proxy and starts to serve, before the tool starts.
pub fn start(role: &NetworkRole) -> Result<(), Refusal> {
    let reach = match role {
        NetworkRole::Absent => return Ok(()),
        NetworkRole::PortsOnly => None,
        NetworkRole::Names(reach) => Some(reach.clone()),
    };
    let channel = connect_to_proxy().map_err(|error| {
        Refusal::new(
            format!("the sandbox can't reach coco's proxy: {error}"),
            "the engine must run on this machine and kernel, not in a virtual machine",
        )
    })?;
    let no_names = |error: io::Error| {
        Refusal::new(
            format!("the sandbox can't answer names on {NAME_SERVER}: {error}"),
            "look for what listens there in the image, or for sysctls in the engine's own configuration",
        )
    };
    let service = Service::new(channel, reach).map_err(no_names)?;
    let name_server = match role {
        NetworkRole::Names(_) => Some(service.listen().map_err(no_names)?),
        NetworkRole::Absent | NetworkRole::PortsOnly => None,
    };
    // Init's first thread takes the signals. They must not be delivered to another one.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK).unwrap_or(SigSet::empty());
    let started = thread::Builder::new().stack_size(STACK_SIZE).spawn(move || service.run(name_server.as_ref()));
    let _ = before.thread_set_mask();
    started.map(drop).map_err(no_names)
}

fn connect_to_proxy() -> rustix::io::Result<OwnedFd> {
    let channel = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&channel, &SocketAddrUnix::new(NETWORK_GUEST)?)?;
    Ok(channel)
}

/// What all these threads share.
struct Service {
    channel: OwnedFd,
    events: OwnedFd,
    reach: Reach,
    table: Mutex<Table>,
    tcp_clients: AtomicUsize,
}

/// Which name has which address. No address is given to a second name.
#[derive(Default)]
struct Table {
    entries: HashMap<HostName, Entry>,
    oldest_first: VecDeque<HostName>,
    /// How many listening sockets all entries have.
    listeners: usize,
    next_address: u32,
    /// Names that were reported as not granted.
    reported: HashSet<String>,
}

struct Entry {
    address: Ipv4Addr,
    listeners: usize,
}

/// The name server's sockets.
type NameServer = (UdpSocket, TcpListener);

impl Service {
    fn new(channel: OwnedFd, reach: Option<Reach>) -> io::Result<Arc<Service>> {
        let events = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&events, &channel, EventData::new_u64(CHANNEL), EventFlags::IN)?;
        Ok(Arc::new(Service {
            channel,
            events,
            reach: reach.unwrap_or_default(),
            table: Mutex::default(),
            tcp_clients: AtomicUsize::new(0),
        }))
    }

    fn listen(&self) -> io::Result<NameServer> {
        let (udp, tcp) = (UdpSocket::bind(NAME_SERVER)?, TcpListener::bind(NAME_SERVER)?);
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        epoll::add(&self.events, &udp, EventData::new_u64(UDP), EventFlags::IN)?;
        epoll::add(&self.events, &tcp, EventData::new_u64(TCP), EventFlags::IN)?;
        Ok((udp, tcp))
    }

    /// The loop, until the proxy has gone.
    fn run(self: &Arc<Self>, name_server: Option<&NameServer>) {
        let mut events: Vec<Event> = Vec::with_capacity(64);
        loop {
            events.clear();
            match epoll::wait(&self.events, spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            for event in &events {
                match (event.data.u64(), name_server) {
                    (CHANNEL, _) => match recv_open(&self.channel) {
                        Ok(Some(open)) => self.open(open),
                        // The control socket shows the end of the sandbox. This is only the end of its network.
                        Ok(None) | Err(_) => return,
                    },
                    (UDP, Some((udp, _))) => self.answer_udp(udp),
                    (TCP, Some((_, tcp))) => self.answer_tcp(tcp),
                    _ => {}
                }
            }
        }
    }

    // --- names ---

    fn answer_udp(&self, udp: &UdpSocket) {
        let mut packet = [0; 4 << 10];
        while let Ok((length, client)) = udp.recv_from(&mut packet) {
            if let Some(answer) = packet.get(..length).and_then(|packet| self.answer(packet)) {
                // The client may have gone.
                let _ = udp.send_to(&answer, client);
            }
        }
    }

    fn answer_tcp(self: &Arc<Self>, tcp: &TcpListener) {
        while let Ok((client, _)) = tcp.accept() {
            if self.tcp_clients.fetch_add(1, Ordering::SeqCst) < MAX_TCP_CLIENTS {
                let service = Arc::clone(self);
                let started = thread::Builder::new().stack_size(STACK_SIZE).spawn(move || {
                    // The client may break off, or take too long.
                    let _ = service.serve_tcp_client(client);
                    service.tcp_clients.fetch_sub(1, Ordering::SeqCst);
                });
                if started.is_ok() {
                    continue;
                }
            }
            self.tcp_clients.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Answers queries over TCP (RFC 1035 section 4.2.2), where each message comes after its length.
    fn serve_tcp_client(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nonblocking(false)?;
        client.set_read_timeout(Some(TCP_TIMEOUT))?;
        client.set_write_timeout(Some(TCP_TIMEOUT))?;
        loop {
            let mut length = [0; 2];
            client.read_exact(&mut length)?;
            let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
            client.read_exact(&mut packet)?;
            let Some(answer) = self.answer(&packet) else { return Ok(()) };
            let length = u16::try_from(answer.len()).unwrap_or(0);
            client.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
        }
    }

    fn answer(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let query = dns::query(packet)?;
        Some(dns::answer(&query, &self.look_up(&query)))
    }

    fn look_up(&self, query: &Query) -> Answer {
        if query.problem.is_some() {
            // The answer's code says which.
            return Answer::Failed;
        }
        if query.class != dns::IN {
            return Answer::NoSuchName;
        }
        let host = HostName::new(&query.name);
        let ports = host.as_ref().map(|host| self.reach.ports(host)).unwrap_or_default();
        match host {
            Ok(host) if !ports.is_empty() => match query.kind {
                dns::A => self.address(&host, &ports).map_or(Answer::Failed, Answer::Address),
                _ => Answer::Nothing,
            },
            _ => {
                // Whoever wants to connect asks for an address; other queries are noise.
                if matches!(query.kind, dns::A | dns::AAAA) {
                    self.report_not_granted(&query.name);
                }
                Answer::NoSuchName
            }
        }
    }

    /// The address of a granted name, with listeners on its ports.
    fn address(&self, host: &HostName, ports: &[Port]) -> Option<Ipv4Addr> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = table.entries.get(host).map(|entry| entry.address) {
            // It was asked for again, so it is forgotten last.
            table.oldest_first.retain(|other| other != host);
            table.oldest_first.push_back(host.clone());
            return Some(address);
        }
        while table.listeners + ports.len() > MAX_LISTENERS
            && let Some(oldest) = table.forget_oldest()
        {
            send_event(&self.channel, &InitEvent::Forget { host: oldest.to_string() }, None).ok()?;
        }
        let address = table.new_address()?;
        let mut listeners = 0;
        for port in ports {
            // A tool that listens on all addresses may have this port. The other ports still work.
            let Ok(socket) = TcpListener::bind((address, port.number())) else { continue };
            let message = InitEvent::Listen { host: host.to_string(), port: port.number() };
            send_event(&self.channel, &message, Some(socket.as_fd())).ok()?;
            listeners += 1;
        }
        if listeners == 0 {
            return None;
        }
        table.listeners += listeners;
        table.entries.insert(host.clone(), Entry { address, listeners });
        table.oldest_first.push_back(host.clone());
        Some(address)
    }

    /// Reports a name that is not granted to the proxy, once.
    fn report_not_granted(&self, name: &str) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.reported.len() < MAX_REPORTED && table.reported.insert(name.to_owned()) {
            // Without the proxy there is no network to report about.
            let _ = send_event(&self.channel, &InitEvent::NotGranted { host: name.to_owned() }, None);
        }
    }

    // --- ports ---

    /// Connects to a port inside for the proxy.
    fn open(self: &Arc<Self>, open: Open) {
        let service = Arc::clone(self);
        let started = thread::Builder::new().stack_size(STACK_SIZE).spawn(move || {
            let inside = [
                SocketAddr::from((Ipv4Addr::LOCALHOST, open.port)),
                SocketAddr::from((Ipv6Addr::LOCALHOST, open.port)),
            ]
            .iter()
            .find_map(|address| TcpStream::connect_timeout(address, OPEN_TIMEOUT).ok());
            let (message, connection) = match &inside {
                Some(stream) => (InitEvent::Opened { id: open.id }, Some(stream.as_fd())),
                None => (InitEvent::NobodyListens { id: open.id }, None),
            };
            let _ = send_event(&service.channel, &message, connection);
        });
        if started.is_err() {
            let _ = send_event(&self.channel, &InitEvent::NobodyListens { id: open.id }, None);
        }
    }
}

impl Table {
    /// The next address that does not look like a network or broadcast address.
    fn new_address(&mut self) -> Option<Ipv4Addr> {
        loop {
            let number = FIRST_ADDRESS.checked_add(self.next_address)?;
            if number > LAST_ADDRESS {
                return None;
            }
            self.next_address += 1;
            if !matches!(number & 0xff, 0 | 0xff) {
                return Some(Ipv4Addr::from(number));
            }
        }
    }

    /// Forgets the name that was not asked for the longest. Gives it, unless there was none.
    fn forget_oldest(&mut self) -> Option<HostName> {
        let host = self.oldest_first.pop_front()?;
        let entry = self.entries.remove(&host)?;
        self.listeners = self.listeners.saturating_sub(entry.listeners);
        Some(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_given_once_and_look_like_those_of_hosts() {
        let mut table = Table::default();
        let first: Vec<Ipv4Addr> = (0..600).map_while(|_| table.new_address()).collect();
        assert_eq!(first.first(), Some(&Ipv4Addr::new(127, 64, 0, 1)));
        assert_eq!(first.iter().collect::<HashSet<_>>().len(), 600);
        assert!(first.iter().all(|address| address.is_loopback() && !matches!(address.octets()[3], 0 | 255)));
        table.next_address = LAST_ADDRESS - FIRST_ADDRESS;
        assert_eq!(table.new_address(), None);
    }
}
