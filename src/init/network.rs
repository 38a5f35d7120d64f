//! The network inside: answers names out of thin air, and opens connections to published ports.
//!
//! A granted name gets a loopback address of its own, and listening sockets there on the ports that
//! are granted. Those are handed to the broker, which takes the connections itself: nothing of a
//! connection passes through the sandbox's own processes. No query and no packet ever leaves: what
//! is not granted does not exist.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::SigSet;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::Refusal;
use super::dns::{self, Answer, Query};
use crate::names::{HostName, Port};
use crate::protocol::control::Relay;
use crate::protocol::network::{self, FromHelper, MOST_LISTENERS, Open};
use crate::rules::egress::Reach;
use crate::rules::sandbox_paths::NETWORK_GUEST;

/// Where names are asked for; resolv.conf inside says the same.
const STUB: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
/// The first of the addresses that names get; far from 127.0.0.x, where tools listen themselves.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([127, 64, 0, 0]);
/// The last.
const LAST_ADDRESS: u32 = u32::from_be_bytes([127, 127, 255, 255]);
/// How many names that are not granted are told to the broker; it writes down fewer, and says so.
const MOST_TOLD: usize = 2000;
/// How many clients ask over TCP at a time, and how long each has.
const MOST_TCP_CLIENTS: usize = 8;
const TCP_TIME: Duration = Duration::from_secs(3);
/// How long a published port's program has to take a connection.
const OPEN_TIME: Duration = Duration::from_secs(2);
/// The stacks of these threads have no deep calls on them, in bytes.
const STACK: usize = 128 << 10;

/// What the events of the loop are about.
const CHANNEL: u64 = 0;
const UDP: u64 = 1;
const TCP: u64 = 2;

/// Connects to the broker and starts to serve, before the tool does.
pub fn start(relay: &Relay) -> Result<(), Refusal> {
    let reach = match relay {
        Relay::Absent => return Ok(()),
        Relay::PortsOnly => None,
        Relay::Names(reach) => Some(reach.clone()),
    };
    let channel = connected().map_err(|error| {
        Refusal::new(
            format!("the sandbox can't reach coco's broker: {error}"),
            "the engine must run on this machine and kernel, not in a virtual machine",
        )
    })?;
    let no_names = |error: io::Error| {
        Refusal::new(
            format!("the sandbox can't answer names on {STUB}: {error}"),
            "look for what listens there in the image, or for sysctls in the engine's own configuration",
        )
    };
    let names = Names::new(channel, reach).map_err(no_names)?;
    let stub = match relay {
        Relay::Names(_) => Some(names.listen().map_err(no_names)?),
        Relay::Absent | Relay::PortsOnly => None,
    };
    // The helper's first thread takes the signals; no other may have them delivered to it.
    let all = SigSet::all();
    let before = all.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK).unwrap_or(SigSet::empty());
    let started = thread::Builder::new().stack_size(STACK).spawn(move || names.serve(stub.as_ref()));
    let _ = before.thread_set_mask();
    started.map(drop).map_err(no_names)
}

fn connected() -> rustix::io::Result<OwnedFd> {
    let channel = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&channel, &SocketAddrUnix::new(NETWORK_GUEST)?)?;
    Ok(channel)
}

/// Everything that the threads share.
struct Names {
    channel: OwnedFd,
    events: OwnedFd,
    reach: Reach,
    table: Mutex<Table>,
    tcp_clients: AtomicUsize,
}

/// Which name has which address. Addresses are never given to a second name.
#[derive(Default)]
struct Table {
    known: HashMap<HostName, Known>,
    oldest_first: VecDeque<HostName>,
    listeners: usize,
    next_address: u32,
    told: HashSet<String>,
}

struct Known {
    address: Ipv4Addr,
    listeners: usize,
}

type Stub = (UdpSocket, TcpListener);

impl Names {
    fn new(channel: OwnedFd, reach: Option<Reach>) -> io::Result<Arc<Names>> {
        let events = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&events, &channel, EventData::new_u64(CHANNEL), EventFlags::IN)?;
        Ok(Arc::new(Names {
            channel,
            events,
            reach: reach.unwrap_or_default(),
            table: Mutex::default(),
            tcp_clients: AtomicUsize::new(0),
        }))
    }

    fn listen(&self) -> io::Result<Stub> {
        let (udp, tcp) = (UdpSocket::bind(STUB)?, TcpListener::bind(STUB)?);
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        epoll::add(&self.events, &udp, EventData::new_u64(UDP), EventFlags::IN)?;
        epoll::add(&self.events, &tcp, EventData::new_u64(TCP), EventFlags::IN)?;
        Ok((udp, tcp))
    }

    /// The loop: until the broker has gone.
    fn serve(self: &Arc<Self>, stub: Option<&Stub>) {
        let mut events: Vec<Event> = Vec::with_capacity(64);
        loop {
            events.clear();
            match epoll::wait(&self.events, spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            for event in &events {
                match (event.data.u64(), stub) {
                    (CHANNEL, _) => match network::next_order(&self.channel) {
                        Ok(Some(order)) => self.open(order),
                        // The control connection tells the end of the sandbox; this is only the
                        // end of its network.
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
                // A client that has gone gets none.
                let _ = udp.send_to(&answer, client);
            }
        }
    }

    fn answer_tcp(self: &Arc<Self>, tcp: &TcpListener) {
        while let Ok((client, _)) = tcp.accept() {
            if self.tcp_clients.fetch_add(1, Ordering::SeqCst) < MOST_TCP_CLIENTS {
                let names = Arc::clone(self);
                let started = thread::Builder::new().stack_size(STACK).spawn(move || {
                    // A client that breaks off, or that takes too long.
                    let _ = names.converse(client);
                    names.tcp_clients.fetch_sub(1, Ordering::SeqCst);
                });
                if started.is_ok() {
                    continue;
                }
            }
            self.tcp_clients.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Queries over TCP, RFC 1035 section 4.2.2: each message after its length.
    fn converse(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nonblocking(false)?;
        client.set_read_timeout(Some(TCP_TIME))?;
        client.set_write_timeout(Some(TCP_TIME))?;
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
        Some(dns::answer(&query, &self.decide(&query)))
    }

    fn decide(&self, query: &Query) -> Answer {
        if query.problem.is_some() {
            // The answer says which.
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
                // Addresses are asked for by those who want to connect; the rest is noise.
                if matches!(query.kind, dns::A | dns::AAAA) {
                    self.tell(&query.name);
                }
                Answer::NoSuchName
            }
        }
    }

    /// The address of a granted name, with listeners on its ports.
    fn address(&self, host: &HostName, ports: &[Port]) -> Option<Ipv4Addr> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = table.known.get(host).map(|known| known.address) {
            // Asked for again: it is forgotten last.
            table.oldest_first.retain(|other| other != host);
            table.oldest_first.push_back(host.clone());
            return Some(address);
        }
        while table.listeners + ports.len() > MOST_LISTENERS
            && let Some(oldest) = table.forget_oldest()
        {
            network::tell(&self.channel, &FromHelper::Forget { host: oldest.to_string() }, None).ok()?;
        }
        let address = table.new_address()?;
        let mut listeners = 0;
        for port in ports {
            // A tool that listens on all addresses has taken the port; the others still work.
            let Ok(socket) = TcpListener::bind((address, port.number())) else { continue };
            let message = FromHelper::Listen { host: host.to_string(), port: port.number() };
            network::tell(&self.channel, &message, Some(socket.as_fd())).ok()?;
            listeners += 1;
        }
        if listeners == 0 {
            return None;
        }
        table.listeners += listeners;
        table.known.insert(host.clone(), Known { address, listeners });
        table.oldest_first.push_back(host.clone());
        Some(address)
    }

    /// Tells the broker of a name that is not granted, once.
    fn tell(&self, name: &str) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.told.len() < MOST_TOLD && table.told.insert(name.to_owned()) {
            // Without the broker there is no network that it could be told about.
            let _ = network::tell(&self.channel, &FromHelper::NotGranted { host: name.to_owned() }, None);
        }
    }

    // --- ports ---

    /// Connects to a port inside for the broker.
    fn open(self: &Arc<Self>, order: Open) {
        let names = Arc::clone(self);
        let started = thread::Builder::new().stack_size(STACK).spawn(move || {
            let inside = [
                SocketAddr::from((Ipv4Addr::LOCALHOST, order.port)),
                SocketAddr::from((Ipv6Addr::LOCALHOST, order.port)),
            ]
            .iter()
            .find_map(|address| TcpStream::connect_timeout(address, OPEN_TIME).ok());
            let (message, connection) = match &inside {
                Some(stream) => (FromHelper::Opened { id: order.id }, Some(stream.as_fd())),
                None => (FromHelper::NobodyListens { id: order.id }, None),
            };
            let _ = network::tell(&names.channel, &message, connection);
        });
        if started.is_err() {
            let _ = network::tell(&self.channel, &FromHelper::NobodyListens { id: order.id }, None);
        }
    }
}

impl Table {
    /// The next address that does not look like a network's or a broadcast one.
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

    /// The name that was forgotten, if there was one.
    fn forget_oldest(&mut self) -> Option<HostName> {
        let host = self.oldest_first.pop_front()?;
        let known = self.known.remove(&host)?;
        self.listeners = self.listeners.saturating_sub(known.listeners);
        Some(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_given_once_and_look_like_hosts() {
        let mut table = Table::default();
        let first: Vec<Ipv4Addr> = (0..600).map_while(|_| table.new_address()).collect();
        assert_eq!(first.first(), Some(&Ipv4Addr::new(127, 64, 0, 1)));
        assert_eq!(first.iter().collect::<HashSet<_>>().len(), 600);
        assert!(first.iter().all(|address| address.is_loopback() && !matches!(address.octets()[3], 0 | 255)));
        table.next_address = LAST_ADDRESS - FIRST_ADDRESS;
        assert_eq!(table.new_address(), None);
    }
}
