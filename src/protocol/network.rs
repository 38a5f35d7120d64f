//! The network channel: the messages of init inside and the proxy outside about connections. It is one SOCK_SEQPACKET
//! connection, made by init before the tool starts. One packet is one message, with a socket's file descriptor where
//! the message hands one over.
//!
//! The proxy takes whatever comes from inside as hostile: a message names a host and a port, and proves nothing.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// The most listening sockets that init hands over before it forgets the oldest host.
pub const MAX_LISTENERS: usize = 400;

/// The longest message: a name has 253 bytes (RFC 1035 section 2.3.4), escaped four times that.
const MAX_MESSAGE: usize = 1100;

/// What init sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InitEvent {
    /// Connections to this host arrive at the listening socket that comes with the message.
    Listen {
        /// The name that was looked up.
        host: String,
        /// The port.
        port: u16,
    },
    /// The host's listening sockets are no longer needed.
    Forget {
        /// Its name.
        host: String,
    },
    /// A process inside asked for a name that is not granted.
    NotGranted {
        /// The name.
        host: String,
    },
    /// The connection that [`Open`] asked for comes with the message.
    Opened {
        /// The number of the request.
        id: u32,
    },
    /// Nobody inside listens there.
    NobodyListens {
        /// The number of the request.
        id: u32,
    },
}

/// What the proxy sends: connect to a port inside and hand the connection over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// The number of this request, for the answer.
    pub id: u32,
    /// The port inside.
    pub port: u16,
}

impl InitEvent {
    /// The message, as it is sent.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            InitEvent::Listen { host, port } => [&[1][..], &port.to_le_bytes(), host.as_bytes()].concat(),
            InitEvent::Forget { host } => [&[5][..], host.as_bytes()].concat(),
            InitEvent::NotGranted { host } => [&[2][..], host.as_bytes()].concat(),
            InitEvent::Opened { id } => [&[3][..], &id.to_le_bytes()].concat(),
            InitEvent::NobodyListens { id } => [&[4][..], &id.to_le_bytes()].concat(),
        }
    }

    /// `None` for what init never sends.
    pub fn decode(packet: &[u8]) -> Option<InitEvent> {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let (tag, rest) = packet.split_first()?;
        match tag {
            1 => {
                let (port, host) = rest.split_first_chunk()?;
                Some(InitEvent::Listen { host: text(host)?, port: u16::from_le_bytes(*port) })
            }
            2 => Some(InitEvent::NotGranted { host: text(rest)? }),
            3 => Some(InitEvent::Opened { id: u32::from_le_bytes(rest.try_into().ok()?) }),
            4 => Some(InitEvent::NobodyListens { id: u32::from_le_bytes(rest.try_into().ok()?) }),
            5 => Some(InitEvent::Forget { host: text(rest)? }),
            _ => None,
        }
    }
}

/// Sends init's message, with a socket or without.
pub fn send_event(channel: impl AsFd, event: &InitEvent, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
    send(channel, &event.encode(), socket)
}

/// Receives init's next message; `None` at the end.
pub fn recv_event(channel: impl AsFd) -> io::Result<Option<(InitEvent, Option<OwnedFd>)>> {
    let mut buffer = [0; MAX_MESSAGE];
    let Some((length, socket)) = receive(channel, &mut buffer)? else { return Ok(None) };
    let event = buffer.get(..length).and_then(InitEvent::decode).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some((event, socket)))
}

/// Sends the proxy's request.
pub fn send_open(channel: impl AsFd, open: Open) -> io::Result<()> {
    send(channel, &[&open.id.to_le_bytes()[..], &open.port.to_le_bytes()].concat(), None)
}

/// Receives the proxy's next request; `None` at the end.
pub fn recv_open(channel: impl AsFd) -> io::Result<Option<Open>> {
    let mut buffer = [0; 6];
    let Some((6, None)) = receive(channel, &mut buffer)? else { return Ok(None) };
    let [a, b, c, d, low, high] = buffer;
    Ok(Some(Open { id: u32::from_le_bytes([a, b, c, d]), port: u16::from_le_bytes([low, high]) }))
}

fn send(channel: impl AsFd, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    rustix::net::sendmsg(channel, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one packet: its length and the descriptor that came with it, if one did.
///
/// # Errors
/// A packet that was truncated, or that came with two descriptors.
fn receive(channel: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<(usize, Option<OwnedFd>)>> {
    // Space for two, so that a second one is always seen and closed.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        rustix::net::recvmsg(channel, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            descriptors.extend(more);
        }
    }
    if received.flags.contains(ReturnFlags::TRUNC) || descriptors.len() > 1 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // Truncated: this process had no free descriptor, or there were more than two.
    if received.flags.contains(ReturnFlags::CTRUNC) {
        descriptors.clear();
    }
    // No message is empty, so an empty packet is the end.
    if received.bytes == 0 {
        return Ok(None);
    }
    Ok(Some((received.bytes, descriptors.pop())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn what_is_sent_arrives_with_its_socket() {
        let (inside, outside) = pair();
        let file = std::fs::File::open("/dev/null").unwrap();
        for (message, with) in [
            (InitEvent::Listen { host: "a.example".into(), port: 443 }, true),
            (InitEvent::Forget { host: "a.example".into() }, false),
            (InitEvent::NotGranted { host: "b.example".into() }, false),
            (InitEvent::Opened { id: 7 }, true),
            (InitEvent::NobodyListens { id: u32::MAX }, false),
        ] {
            send_event(&inside, &message, with.then(|| file.as_fd())).unwrap();
            let (received, socket) = recv_event(&outside).unwrap().unwrap();
            assert_eq!((received, socket.is_some()), (message, with));
        }
        send_open(&outside, Open { id: 9, port: 80 }).unwrap();
        assert_eq!(recv_open(&inside).unwrap(), Some(Open { id: 9, port: 80 }));
        drop(inside);
        assert!(recv_event(&outside).unwrap().is_none());
    }

    #[test]
    fn several_descriptors_or_a_long_packet_are_malformed() {
        let (inside, outside) = pair();
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        for count in 2..=3 {
            let many = vec![file.as_fd(); count];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&many));
            rustix::net::sendmsg(&inside, &[IoSlice::new(&[2, b'a'])], &mut control, SendFlags::empty()).unwrap();
            assert!(recv_event(&outside).is_err(), "{count}");
        }
        send(&inside, &[2; MAX_MESSAGE + 1], None).unwrap();
        assert!(recv_event(&outside).is_err());
    }
}
