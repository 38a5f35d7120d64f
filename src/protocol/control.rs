//! The control socket: the messages between coco on the host and init in the sandbox, over one unix socket.
//!
//! The connection also keeps the sandbox up. When coco is gone, for whatever reason, init reads the end of the stream and
//! takes the sandbox down. Init connects before the tool starts, and then coco stops listening, so the tool can't
//! connect. Init is not trusted all the same: [`Message`]s are small and bounded, and can only end, stop or report.
//!
//! A frame is a `u32` length (little endian) and that many bytes. Strings inside are a `u32` length and bytes, so every
//! path and argument arrives exactly.

use std::ffi::OsString;
use std::io::{self, Read, Write};

use crate::rules::egress::Reach;

/// The exit code of an init that can't reach coco. No engine has it for a failure of its own.
pub const EXIT_UNREACHABLE: u8 = 119;

/// The largest frame to init, in bytes: arguments and environment, which execve(2) limits to 2 MiB by default and 6 MiB at
/// most.
const MAX_LAUNCH: usize = 8 << 20;
/// The largest frame from init, in bytes.
const MAX_MESSAGE: usize = 64 << 10;

/// What coco sends first, and once: everything that init is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// What init must find before it starts anything.
    pub expect: Expect,
    /// The permission bits that new files don't get.
    pub umask: u32,
    /// Where to start.
    pub workdir: OsString,
    /// The whole environment but HOME and PATH.
    pub environment: Vec<(OsString, OsString)>,
    /// Directories before the image's own on PATH.
    pub path: Vec<OsString>,
    /// Processes outside that seem to be alive when the tool asks with signal 0, and can't be signalled otherwise.
    pub ancestors: Vec<u32>,
    /// Places of the host's that a run may write, beside what ends with the sandbox.
    pub writable: Vec<OsString>,
    /// What init does about the network.
    pub network_role: NetworkRole,
    /// What to do.
    pub task: Task,
}

/// What init does about the network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NetworkRole {
    /// Nothing: the network is the engine's.
    #[default]
    Absent,
    /// It opens connections to published ports; the network is the engine's.
    PortsOnly,
    /// It answers names, hands over listening sockets for these hosts, and opens connections to published ports.
    Names(Reach),
}

/// What init must find before it starts anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// The user outside to whom files that are made inside must belong.
    pub owner: u32,
    /// How closed the sandbox must be.
    pub enclosure: Enclosure,
    /// Whether there must be no network interface but `lo`.
    pub network: Interfaces,
    /// Mount points that were asked for. Init refuses any other that the engine makes.
    pub mounts: Vec<OsString>,
    /// Writable grants. The host's own mounts below them are mounted too, and are part of the grant.
    pub trees: Vec<OsString>,
    /// The caller's own namespaces. The sandbox must share none of them.
    pub namespaces: Vec<OsString>,
    /// Which file or directory must be mounted at each grant: (place, device, inode).
    pub identities: Vec<(OsString, u64, u64)>,
    /// Places that must be empty, because what is there on the host is hidden.
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

/// What init does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Runs the tool.
    Run {
        /// Its name, which is looked up on PATH.
        program: OsString,
        /// The tool's arguments.
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
        /// mise specifiers, the tool's last.
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

/// What coco sends later: a signal to deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deliver {
    /// The signal's number, for the tool.
    pub signal: i32,
}

/// What init sends.
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
    /// The sandbox has no Landlock: rights are bound to mounts alone.
    WithoutLandlock,
}

/// What was installed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Installed {
    /// The exact version of the last specifier.
    pub version: String,
    /// Directories for PATH.
    pub path: Vec<String>,
    /// Variables that the runtimes need.
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
    Launch::decode(&receive(stream, MAX_LAUNCH)?).ok_or_else(malformed)
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

fn receive(stream: &mut impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(|_| malformed())?;
    if length > limit {
        return Err(malformed());
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a malformed message between coco and init")
}

#[cfg(test)]
mod tests;
