//! How the control socket's messages look as bytes: numbers are little endian, a string is a `u32` length and its bytes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::control::{Deliver, Enclosure, Expect, Installed, Interfaces, Launch, Message, NetworkRole, Streams, Task};
use crate::names::HostPattern;
use crate::rules::egress::Reach;

impl Deliver {
    /// The frame.
    pub fn encode(self) -> Vec<u8> {
        self.signal.to_le_bytes().to_vec()
    }
}

impl Launch {
    /// The frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.expect(&self.expect);
        out.number(self.umask);
        out.text(&self.workdir);
        let (names, values): (Vec<_>, Vec<_>) = self.environment.iter().cloned().unzip();
        out.list(&names);
        out.list(&values);
        out.list(&self.path);
        out.numbers(&self.ancestors);
        out.list(&self.writable);
        out.network_role(&self.network_role);
        out.task(&self.task);
        out.0
    }

    /// `None` for what coco never sends.
    pub(super) fn decode(frame: &[u8]) -> Option<Launch> {
        let mut rest = Decoder(frame);
        let expect = rest.expect()?;
        let umask = rest.number()?;
        let workdir = rest.text()?;
        let names = rest.list()?;
        let values = rest.list()?;
        if names.len() != values.len() {
            return None;
        }
        let launch = Launch {
            expect,
            umask,
            workdir,
            environment: names.into_iter().zip(values).collect(),
            path: rest.list()?,
            ancestors: rest.numbers()?,
            writable: rest.list()?,
            network_role: rest.network_role()?,
            task: rest.task()?,
        };
        rest.0.is_empty().then_some(launch)
    }
}

impl Message {
    /// The frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        match self {
            Message::Stopped => out.number(1),
            Message::Exited(code) => {
                out.number(2);
                out.number(u32::from(*code));
            }
            Message::Refused { message, hint } => {
                out.number(3);
                out.text(OsStr::new(message));
                out.text(OsStr::new(hint));
            }
            Message::Installed(installed) => {
                out.number(4);
                out.text(OsStr::new(&installed.version));
                out.list(&installed.path.iter().map(OsString::from).collect::<Vec<_>>());
                out.list(&installed.environment.iter().map(|(name, _)| OsString::from(name)).collect::<Vec<_>>());
                out.list(&installed.environment.iter().map(|(_, value)| OsString::from(value)).collect::<Vec<_>>());
            }
            Message::WithoutLandlock => out.number(5),
        }
        out.0
    }

    /// `None` for what init never sends.
    pub(super) fn decode(frame: &[u8]) -> Option<Message> {
        let mut rest = Decoder(frame);
        let utf8 = |text: OsString| text.into_string().ok();
        let utf8_list = |list: Vec<OsString>| list.into_iter().map(utf8).collect::<Option<Vec<String>>>();
        let message = match rest.number()? {
            1 => Message::Stopped,
            2 => Message::Exited(u8::try_from(rest.number()?).ok()?),
            3 => Message::Refused { message: utf8(rest.text()?)?, hint: utf8(rest.text()?)? },
            4 => {
                let version = utf8(rest.text()?)?;
                let path = utf8_list(rest.list()?)?;
                let names = utf8_list(rest.list()?)?;
                let values = utf8_list(rest.list()?)?;
                (names.len() == values.len()).then(|| {
                    Message::Installed(Installed {
                        version,
                        path,
                        environment: names.into_iter().zip(values).collect(),
                    })
                })?
            }
            5 => Message::WithoutLandlock,
            _ => return None,
        };
        rest.0.is_empty().then_some(message)
    }
}

/// What was written so far.
#[derive(Default)]
struct Encoder(Vec<u8>);

impl Encoder {
    fn expect(&mut self, expect: &Expect) {
        self.number(expect.owner);
        self.number(match expect.enclosure {
            Enclosure::Closed => 0,
            Enclosure::AptCapabilities => 1,
            Enclosure::DangerousUnchecked => 2,
        });
        self.number(match expect.network {
            Interfaces::LoopbackOnly => 0,
            Interfaces::Any => 1,
        });
        self.list(&expect.mounts);
        self.list(&expect.trees);
        self.list(&expect.namespaces);
        self.list(&expect.identities.iter().map(|(place, _, _)| place.clone()).collect::<Vec<_>>());
        for (_, device, inode) in &expect.identities {
            self.long(*device);
            self.long(*inode);
        }
        self.list(&expect.empty);
    }

    fn network_role(&mut self, network_role: &NetworkRole) {
        let (number, patterns) = match network_role {
            NetworkRole::Absent => return self.number(0),
            NetworkRole::PortsOnly => return self.number(1),
            NetworkRole::Names(Reach::Hosts(patterns)) => (2, patterns),
            NetworkRole::Names(Reach::Public { besides }) => (3, besides),
        };
        self.number(number);
        self.list(&patterns.iter().map(|pattern| pattern.to_string().into()).collect::<Vec<_>>());
    }

    fn task(&mut self, task: &Task) {
        match task {
            Task::Run { program, arguments, terminal } => {
                self.number(0);
                self.text(program);
                self.list(arguments);
                self.number(u32::from(*terminal == Streams::Terminal));
            }
            Task::InstallRuntimes { specifiers } => {
                self.number(1);
                self.list(specifiers);
            }
            Task::InstallTool { apt, specifiers, program, user } => {
                self.number(2);
                self.list(apt);
                self.list(specifiers);
                self.text(program);
                self.number(user.0);
                self.number(user.1);
            }
        }
    }

    fn number(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn numbers(&mut self, numbers: &[u32]) {
        self.number(u32::try_from(numbers.len()).unwrap_or(u32::MAX));
        for number in numbers {
            self.number(*number);
        }
    }

    fn long(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// Strings are shorter than 4 GiB: execve(2) and the limit on a frame see to that.
    fn text(&mut self, text: &OsStr) {
        self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(text.as_bytes());
    }

    fn list(&mut self, list: &[OsString]) {
        self.number(u32::try_from(list.len()).unwrap_or(u32::MAX));
        for text in list {
            self.text(text);
        }
    }
}

/// What is left to read.
struct Decoder<'a>(&'a [u8]);

impl Decoder<'_> {
    fn expect(&mut self) -> Option<Expect> {
        Some(Expect {
            owner: self.number()?,
            enclosure: match self.number()? {
                0 => Enclosure::Closed,
                1 => Enclosure::AptCapabilities,
                2 => Enclosure::DangerousUnchecked,
                _ => return None,
            },
            network: match self.number()? {
                0 => Interfaces::LoopbackOnly,
                1 => Interfaces::Any,
                _ => return None,
            },
            mounts: self.list()?,
            trees: self.list()?,
            namespaces: self.list()?,
            identities: self.identities()?,
            empty: self.list()?,
        })
    }

    fn network_role(&mut self) -> Option<NetworkRole> {
        match self.number()? {
            0 => Some(NetworkRole::Absent),
            1 => Some(NetworkRole::PortsOnly),
            2 => Some(NetworkRole::Names(Reach::Hosts(self.patterns()?))),
            3 => Some(NetworkRole::Names(Reach::Public { besides: self.patterns()? })),
            _ => None,
        }
    }

    fn patterns(&mut self) -> Option<Vec<HostPattern>> {
        self.list()?.into_iter().map(|text| HostPattern::new(text.to_str()?).ok()).collect()
    }

    fn task(&mut self) -> Option<Task> {
        match self.number()? {
            0 => Some(Task::Run {
                program: self.text()?,
                arguments: self.list()?,
                terminal: match self.number()? {
                    0 => Streams::Pipes,
                    1 => Streams::Terminal,
                    _ => return None,
                },
            }),
            1 => Some(Task::InstallRuntimes { specifiers: self.list()? }),
            2 => Some(Task::InstallTool {
                apt: self.list()?,
                specifiers: self.list()?,
                program: self.text()?,
                user: (self.number()?, self.number()?),
            }),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }

    fn numbers(&mut self) -> Option<Vec<u32>> {
        let count = self.number()?;
        (0..count).map(|_| self.number()).collect()
    }

    fn long(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }

    fn identities(&mut self) -> Option<Vec<(OsString, u64, u64)>> {
        self.list()?.into_iter().map(|place| Some((place, self.long()?, self.long()?))).collect()
    }

    fn text(&mut self) -> Option<OsString> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(OsString::from_vec(text.to_vec()))
    }

    fn list(&mut self) -> Option<Vec<OsString>> {
        let count = self.number()?;
        // Nothing is reserved ahead: the sender chooses the count.
        (0..count).map(|_| self.text()).collect()
    }
}
