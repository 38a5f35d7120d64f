//! What coco and its helper inside the sandbox say to each other, over one unix socket.
//!
//! The connection is also the lifeline: when coco is gone, however it went, the helper reads the
//! end of the stream and takes the sandbox down. The helper connects before the tool starts and
//! coco stops listening then, so the tool can't connect; it is not trusted all the same, and
//! [`Message`]s are small, bounded and can only end, stop or report.
//!
//! A frame is a `u32` length (little endian) and that many bytes; strings inside are a `u32`
//! length and bytes, so any path and argument arrives exactly.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::names::HostPattern;
use crate::rules::egress::Reach;

/// The largest frame to the helper: arguments and environment, which execve(2) bounds at 2 MiB by
/// default and 6 MiB at most.
const MAX_ORDER: usize = 8 << 20;
/// The largest frame from the helper.
const MAX_MESSAGE: usize = 64 << 10;

/// What coco tells the helper to do, first and once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// What the helper must find before it starts anything.
    pub expect: Expect,
    /// The permission bits that new files don't get.
    pub umask: u32,
    /// Where to start.
    pub workdir: OsString,
    /// The whole environment but HOME and PATH.
    pub environment: Vec<(OsString, OsString)>,
    /// Directories before the image's own on PATH.
    pub path: Vec<OsString>,
    /// Processes outside that are said to be alive when the tool asks with signal 0, and nothing else.
    pub ancestors: Vec<u32>,
    /// What the helper does about the network.
    pub relay: Relay,
    /// What to do.
    pub task: Task,
}

/// What the helper does about the network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Relay {
    /// Nothing: the network is the engine's.
    #[default]
    Absent,
    /// It opens connections to published ports; the network is the engine's.
    PortsOnly,
    /// It answers names, hands over connections to these hosts, and serves published ports.
    Names(Reach),
}

/// What the helper must find before it starts anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// The user outside whom files that are made inside must belong to.
    pub owner: u32,
    /// How closed the sandbox must be.
    pub enclosure: Enclosure,
    /// Whether there must be no network interface but `lo`.
    pub network: Interfaces,
    /// Mount points that were asked for; any other of the engine's making is a refusal.
    pub mounts: Vec<OsString>,
    /// Writable grants: the host's own mounts below them come along and are part of the grant.
    pub trees: Vec<OsString>,
    /// The caller's own namespaces, none of which may be the sandbox's.
    pub namespaces: Vec<OsString>,
    /// Which file or directory must be mounted at each grant: (place, device, inode).
    pub identities: Vec<(OsString, u64, u64)>,
    /// Places that must be empty: what is hidden there must not be seen.
    pub empty: Vec<OsString>,
}

/// How closed the sandbox must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enclosure {
    /// No capabilities, no new privileges, seccomp, no other mounts.
    Closed,
    /// The install phase with Debian packages: apt needs a few capabilities.
    AptCapabilities,
    /// The user agreed to engine arguments that may open it.
    DangerousUnchecked,
}

/// Which network interfaces there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interfaces {
    /// The loopback alone.
    LoopbackOnly,
    /// Any.
    Any,
}

/// What the helper does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Runs the tool.
    Run {
        /// Found on PATH.
        program: OsString,
        /// The tool's own.
        arguments: Vec<OsString>,
        /// Whether the standard streams are a terminal of the sandbox's own.
        terminal: Streams,
    },
    /// Installs runtimes into [`RUNTIMES_GUEST`].
    InstallRuntimes {
        /// mise specifiers.
        specifiers: Vec<OsString>,
    },
    /// Installs Debian packages, other tools and the tool, the tools into [`DATA_GUEST`].
    InstallTool {
        /// Debian packages.
        apt: Vec<OsString>,
        /// mise specifiers; the tool stands last.
        specifiers: Vec<OsString>,
        /// The program that must be there afterwards.
        program: OsString,
        /// The user and group, after apt.
        user: (u32, u32),
    },
}

/// What the standard streams are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// Pipes or files.
    Pipes,
    /// A terminal.
    Terminal,
}

/// What coco says later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deliver {
    /// A signal's number for the tool.
    pub signal: i32,
}

/// What the helper says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The tool was stopped (SIGTSTP, SIGSTOP).
    Stopped,
    /// The tool ended with this exit code, 128+n for a signal.
    Exited(u8),
    /// The tool was not started.
    Refused {
        /// Why.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The installation succeeded.
    Installed(Installed),
}

/// What was installed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Installed {
    /// The exact version of the last specifier.
    pub version: String,
    /// Directories for PATH.
    pub path: Vec<String>,
    /// Variables that the runtimes want.
    pub environment: Vec<(String, String)>,
}

/// Sends one frame.
pub fn send(stream: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| malformed())?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(frame);
    stream.write_all(&bytes)
}

/// Receives a [`Launch`].
pub fn receive_launch(stream: &mut impl Read) -> io::Result<Launch> {
    Launch::decode(&receive(stream, MAX_ORDER)?).ok_or_else(malformed)
}

/// Receives a [`Deliver`].
pub fn receive_delivery(stream: &mut impl Read) -> io::Result<Deliver> {
    let frame = receive(stream, 4)?;
    let bytes: [u8; 4] = frame.as_slice().try_into().map_err(|_| malformed())?;
    Ok(Deliver { signal: i32::from_le_bytes(bytes) })
}

/// Receives a [`Message`].
pub fn receive_message(stream: &mut impl Read) -> io::Result<Message> {
    Message::decode(&receive(stream, MAX_MESSAGE)?).ok_or_else(malformed)
}

fn receive(stream: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(|_| malformed())?;
    if length > most {
        return Err(malformed());
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a malformed message between coco and its helper")
}

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
        out.number(self.expect.owner);
        out.number(match self.expect.enclosure {
            Enclosure::Closed => 0,
            Enclosure::AptCapabilities => 1,
            Enclosure::DangerousUnchecked => 2,
        });
        out.number(match self.expect.network {
            Interfaces::LoopbackOnly => 0,
            Interfaces::Any => 1,
        });
        out.list(&self.expect.mounts);
        out.list(&self.expect.trees);
        out.list(&self.expect.namespaces);
        out.list(&self.expect.identities.iter().map(|(place, _, _)| place.clone()).collect::<Vec<_>>());
        for (_, device, inode) in &self.expect.identities {
            out.long(*device);
            out.long(*inode);
        }
        out.list(&self.expect.empty);
        out.number(self.umask);
        out.text(&self.workdir);
        let (names, values): (Vec<_>, Vec<_>) = self.environment.iter().cloned().unzip();
        out.list(&names);
        out.list(&values);
        out.list(&self.path);
        out.numbers(&self.ancestors);
        match &self.relay {
            Relay::Absent => out.number(0),
            Relay::PortsOnly => out.number(1),
            Relay::Names(reach) => {
                let (number, patterns) = match reach {
                    Reach::Hosts(patterns) => (2, patterns),
                    Reach::Public { besides } => (3, besides),
                };
                out.number(number);
                out.list(&patterns.iter().map(|pattern| pattern.to_string().into()).collect::<Vec<_>>());
            }
        }
        match &self.task {
            Task::Run { program, arguments, terminal } => {
                out.number(0);
                out.text(program);
                out.list(arguments);
                out.number(u32::from(*terminal == Streams::Terminal));
            }
            Task::InstallRuntimes { specifiers } => {
                out.number(1);
                out.list(specifiers);
            }
            Task::InstallTool { apt, specifiers, program, user } => {
                out.number(2);
                out.list(apt);
                out.list(specifiers);
                out.text(program);
                out.number(user.0);
                out.number(user.1);
            }
        }
        out.0
    }

    fn decode(frame: &[u8]) -> Option<Launch> {
        let mut rest = Decoder(frame);
        let expect = Expect {
            owner: rest.number()?,
            enclosure: match rest.number()? {
                0 => Enclosure::Closed,
                1 => Enclosure::AptCapabilities,
                2 => Enclosure::DangerousUnchecked,
                _ => return None,
            },
            network: match rest.number()? {
                0 => Interfaces::LoopbackOnly,
                1 => Interfaces::Any,
                _ => return None,
            },
            mounts: rest.list()?,
            trees: rest.list()?,
            namespaces: rest.list()?,
            identities: rest.identities()?,
            empty: rest.list()?,
        };
        let umask = rest.number()?;
        let workdir = rest.text()?;
        let names = rest.list()?;
        let values = rest.list()?;
        if names.len() != values.len() {
            return None;
        }
        let path = rest.list()?;
        let ancestors = rest.numbers()?;
        let relay = match rest.number()? {
            0 => Relay::Absent,
            1 => Relay::PortsOnly,
            number @ (2 | 3) => {
                let pattern = |text: OsString| HostPattern::new(text.to_str()?).ok();
                let patterns = rest.list()?.into_iter().map(pattern).collect::<Option<_>>()?;
                Relay::Names(if number == 2 { Reach::Hosts(patterns) } else { Reach::Public { besides: patterns } })
            }
            _ => return None,
        };
        let task = match rest.number()? {
            0 => Task::Run {
                program: rest.text()?,
                arguments: rest.list()?,
                terminal: match rest.number()? {
                    0 => Streams::Pipes,
                    1 => Streams::Terminal,
                    _ => return None,
                },
            },
            1 => Task::InstallRuntimes { specifiers: rest.list()? },
            2 => Task::InstallTool {
                apt: rest.list()?,
                specifiers: rest.list()?,
                program: rest.text()?,
                user: (rest.number()?, rest.number()?),
            },
            _ => return None,
        };
        rest.0.is_empty().then(|| Launch {
            expect,
            umask,
            workdir,
            environment: names.into_iter().zip(values).collect(),
            path,
            ancestors,
            relay,
            task,
        })
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
        }
        out.0
    }

    fn decode(frame: &[u8]) -> Option<Message> {
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
            _ => return None,
        };
        rest.0.is_empty().then_some(message)
    }
}

#[derive(Default)]
struct Encoder(Vec<u8>);

impl Encoder {
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

    /// Longer strings than 4 GiB can't be: execve(2) and the frame limit stand before.
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

struct Decoder<'a>(&'a [u8]);

impl Decoder<'_> {
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
        // Not reserved ahead: the count is the sender's word.
        (0..count).map(|_| self.text()).collect()
    }
}

#[cfg(test)]
mod tests;
