//! The relay channel: what the helper inside and the broker outside say to each other about
//! connections. One SOCK_SEQPACKET connection, made by the helper before the tool starts; one
//! packet is one message, with a connection's file descriptor where the message hands one over.
//!
//! The broker takes whatever comes from inside as hostile: a message names a host and a port, and
//! is no proof of anything.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// How many listening sockets a helper hands over at most, before it forgets the oldest host.
pub const MOST_LISTENERS: usize = 400;

/// The longest message: a name has 253 bytes (RFC 1035 section 2.3.4), escaped four times that.
const MAX_MESSAGE: usize = 1100;

/// What the helper says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromHelper {
    /// Connections to this host arrive at the listening socket that comes along.
    Listen {
        /// The name that was looked up.
        host: String,
        /// The port.
        port: u16,
    },
    /// The host's listening sockets are no longer needed.
    Forget {
        /// Which.
        host: String,
    },
    /// A process inside asked for a name that is not granted.
    NotGranted {
        /// The name.
        host: String,
    },
    /// The connection for [`Open`] comes along.
    Opened {
        /// Which.
        id: u32,
    },
    /// Nobody inside listens there.
    NobodyListens {
        /// Which.
        id: u32,
    },
}

/// What the broker says: connect to a port inside and send the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// For the answer.
    pub id: u32,
    /// The port inside.
    pub port: u16,
}

impl FromHelper {
    fn encode(&self) -> Vec<u8> {
        match self {
            FromHelper::Listen { host, port } => [&[1][..], &port.to_le_bytes(), host.as_bytes()].concat(),
            FromHelper::Forget { host } => [&[5][..], host.as_bytes()].concat(),
            FromHelper::NotGranted { host } => [&[2][..], host.as_bytes()].concat(),
            FromHelper::Opened { id } => [&[3][..], &id.to_le_bytes()].concat(),
            FromHelper::NobodyListens { id } => [&[4][..], &id.to_le_bytes()].concat(),
        }
    }

    /// `None` for what no helper sends.
    pub fn decode(packet: &[u8]) -> Option<FromHelper> {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let (tag, rest) = packet.split_first()?;
        match tag {
            1 => {
                let (port, host) = rest.split_first_chunk()?;
                Some(FromHelper::Listen { host: text(host)?, port: u16::from_le_bytes(*port) })
            }
            2 => Some(FromHelper::NotGranted { host: text(rest)? }),
            3 => Some(FromHelper::Opened { id: u32::from_le_bytes(rest.try_into().ok()?) }),
            4 => Some(FromHelper::NobodyListens { id: u32::from_le_bytes(rest.try_into().ok()?) }),
            5 => Some(FromHelper::Forget { host: text(rest)? }),
            _ => None,
        }
    }
}

/// Sends the helper's message, with a connection or without.
pub fn tell(channel: impl AsFd, message: &FromHelper, connection: Option<BorrowedFd<'_>>) -> io::Result<()> {
    send(channel, &message.encode(), connection)
}

/// Receives the helper's next message; `None` at the end.
pub fn hear(channel: impl AsFd) -> io::Result<Option<(FromHelper, Option<OwnedFd>)>> {
    let mut buffer = [0; MAX_MESSAGE];
    let Some((length, connection)) = receive(channel, &mut buffer)? else { return Ok(None) };
    let message = buffer.get(..length).and_then(FromHelper::decode).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some((message, connection)))
}

/// Sends the broker's order.
pub fn order(channel: impl AsFd, order: Open) -> io::Result<()> {
    send(channel, &[&order.id.to_le_bytes()[..], &order.port.to_le_bytes()].concat(), None)
}

/// Receives the broker's next order; `None` at the end.
pub fn next_order(channel: impl AsFd) -> io::Result<Option<Open>> {
    let mut buffer = [0; 6];
    let Some((6, None)) = receive(channel, &mut buffer)? else { return Ok(None) };
    let [a, b, c, d, low, high] = buffer;
    Ok(Some(Open { id: u32::from_le_bytes([a, b, c, d]), port: u16::from_le_bytes([low, high]) }))
}

fn send(channel: impl AsFd, bytes: &[u8], connection: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = connection.into_iter().collect();
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    rustix::net::sendmsg(channel, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// One packet: its length and the descriptor that came along, if one did.
///
/// # Errors
/// A packet that was cut, or that brought two descriptors.
fn receive(channel: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<(usize, Option<OwnedFd>)>> {
    // Room for two, so that a second one is seen and closed, not left to chance.
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
    // Cut here means that there was no descriptor free for it, or that there were more than two.
    if received.flags.contains(ReturnFlags::CTRUNC) {
        descriptors.clear();
    }
    // No message is empty, so nothing is the end.
    if received.bytes == 0 {
        return Ok(None);
    }
    Ok(Some((received.bytes, descriptors.pop())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn what_is_said_is_heard_with_its_connection() {
        let (inside, outside) = pair();
        let file = std::fs::File::open("/dev/null").unwrap();
        for (message, with) in [
            (FromHelper::Listen { host: "a.example".into(), port: 443 }, true),
            (FromHelper::Forget { host: "a.example".into() }, false),
            (FromHelper::NotGranted { host: "b.example".into() }, false),
            (FromHelper::Opened { id: 7 }, true),
            (FromHelper::NobodyListens { id: u32::MAX }, false),
        ] {
            tell(&inside, &message, with.then(|| file.as_fd())).unwrap();
            let (heard, connection) = hear(&outside).unwrap().unwrap();
            assert_eq!((heard, connection.is_some()), (message, with));
        }
        order(&outside, Open { id: 9, port: 80 }).unwrap();
        assert_eq!(next_order(&inside).unwrap(), Some(Open { id: 9, port: 80 }));
        drop(inside);
        assert!(hear(&outside).unwrap().is_none());
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
            assert!(hear(&outside).is_err(), "{count}");
        }
        send(&inside, &[2; MAX_MESSAGE + 1], None).unwrap();
        assert!(hear(&outside).is_err());
    }

    proptest! {
        #[test]
        fn hostile_packets_never_panic(packet in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(message) = FromHelper::decode(&packet) {
                prop_assert_eq!(FromHelper::decode(&message.encode()), Some(message));
            }
        }
    }
}
