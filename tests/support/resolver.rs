//! The name server of the tests' own network: it knows what a test lets it know, and remembers what it was asked.

use std::collections::HashMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::Mutex;

use super::printable;

/// What the caller's resolver knows, and what it was asked.
#[derive(Debug, Default)]
pub struct Names {
    zone: Mutex<HashMap<String, Name>>,
    asked: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Name {
    turns: Vec<Vec<IpAddr>>,
    asked: usize,
}

impl Names {
    /// Lets a name resolve to one of the lists each time that its IPv4 addresses are asked for, in turn.
    pub fn learn(&self, name: &str, turns: Vec<Vec<IpAddr>>) {
        self.zone.lock().unwrap().insert(name.to_owned(), Name { turns, asked: 0 });
    }

    /// The names that were asked for and that end in this.
    pub fn asked(&self, end: &str) -> Vec<String> {
        self.asked.lock().unwrap().iter().filter(|name| name.ends_with(end)).cloned().collect()
    }

    /// Answers queries for as long as the socket lives.
    pub fn serve(&self, socket: &UdpSocket) {
        let mut query = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            if let Some(answer) = self.answer(&query[..length]) {
                let _ = socket.send_to(&answer, from);
            }
        }
    }

    /// Answers a query; RFC 1035, as far as the C library's resolver needs it.
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        let mut at = 12;
        while *query.get(at)? != 0 {
            let end = at + 1 + usize::from(query[at]);
            name.push(printable(query.get(at + 1..end)?).to_lowercase());
            at = end;
        }
        let question = query.get(12..at + 5)?;
        let kind = question[question.len() - 3];
        let name = name.join(".");
        let silent = self.zone.lock().unwrap().get(&name).is_some_and(|known| known.turns.is_empty());
        let found = if silent { None } else { self.addresses(&name, kind) };
        self.asked.lock().unwrap().push(name);
        if silent {
            return None;
        }
        let mut answer = query[..2].to_vec();
        // A response, recursion available; NXDOMAIN for what is not in the zone.
        answer.extend([0x81, if found.is_some() { 0x80 } else { 0x83 }]);
        let found: Vec<IpAddr> =
            found.unwrap_or_default().into_iter().filter(|ip| ip.is_ipv4() == (kind == 1)).collect();
        answer.extend([0, 1, 0, u8::try_from(found.len()).unwrap(), 0, 0, 0, 0]);
        answer.extend(question);
        for address in found {
            // The question's name, the kind, class IN, no time to live.
            answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0]);
            match address {
                IpAddr::V4(address) => answer.extend([[4].as_slice(), &address.octets()].concat()),
                IpAddr::V6(address) => answer.extend([[16].as_slice(), &address.octets()].concat()),
            }
        }
        Some(answer)
    }

    /// What the name has now, if it is known; `kind` is that of the query.
    pub fn addresses(&self, name: &str, kind: u8) -> Option<Vec<IpAddr>> {
        let mut zone = self.zone.lock().unwrap();
        let known = zone.get_mut(name)?;
        let turn = known.turns[known.asked % known.turns.len()].clone();
        known.asked += usize::from(kind == 1);
        Some(if matches!(kind, 1 | 28) { turn } else { Vec::new() })
    }
}
