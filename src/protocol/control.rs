//! What coco and its helper inside the sandbox say to each other, over one unix socket.
//!
//! The connection is also the lifeline: when coco is gone, however it went, the helper reads the
//! end of the stream and takes the sandbox down. The helper connects before the tool starts and
//! coco stops listening then, so the tool can't connect; it is not trusted all the same, and
//! [`Message`]s are small, bounded and can only end, stop or report.
//!
//! A frame is a `u32` length (little endian) and that many bytes; strings inside are a `u32`
//! length and bytes, so any path and argument arrives exactly.

use std::ffi::OsString;
use std::io::{self, Read, Write};

use crate::rules::egress::Reach;

/// The exit code of an init that can't reach coco. No engine has it for a failure of its own.
pub const EXIT_UNREACHABLE: u8 = 119;

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

#[cfg(test)]
mod tests;
