//! What a coco file says, as checked types. The closed variant of each permission stands first.

use crate::names::{AptName, EnvName, HostPattern, NetworkName, ProgramName, PublishedPort, RelativePath, ToolSpec};
use crate::rules::sandbox_paths::GuestPath;

/// One tool's permissions, as its coco file states them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CocoFile {
    /// What mise installs.
    pub tool: ToolSpec,
    /// The program to run; the tool's name when left out.
    pub command: Option<ProgramName>,
    /// Host paths that the tool may see.
    pub mounts: Vec<Mount>,
    /// Variables that are set for the tool.
    pub env: Vec<(EnvName, String)>,
    /// Variables of the caller that reach the tool.
    pub env_passthrough: Vec<EnvName>,
    /// Debian packages for the install phase.
    pub apt: Vec<AptName>,
    /// More tools that mise installs first.
    pub mise: Vec<ToolSpec>,
    /// Where the tool starts.
    pub workdir: Workdir,
    /// What the tool may reach.
    pub network: Network,
    /// Whether runtimes are shared with other tools.
    pub isolation: Isolation,
    /// Whose the cache of its runs is.
    pub cache: CacheScope,
    /// Ports published on the host.
    pub ports: Vec<PublishedPort>,
    /// The X11 display.
    pub x11: X11,
    /// More engine arguments, verbatim.
    pub podman_args: Vec<String>,
    /// Whether the tool may write its own installation.
    pub data: Access,
    /// What stays read-only inside writable mounts.
    pub protect: Protect,
    /// Resource limits.
    pub limits: Limits,
    /// One line for people.
    pub description: Option<String>,
    /// The tool's own site.
    pub homepage: Option<String>,
    /// The JSON schema that an editor uses.
    pub schema: Option<String>,
}

/// Reading or writing. The closed variant stands first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Access {
    /// May be read.
    #[default]
    ReadOnly,
    /// May be read and written.
    ReadWrite,
}

/// A bind mount as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The host's side.
    pub src: MountSource,
    /// The sandbox's side; `None` is the same path as on the host.
    pub dst: Option<GuestPath>,
    /// Reading or writing.
    pub access: Access,
    /// Whether the file says so.
    pub access_source: AccessSource,
    /// SELinux relabelling.
    pub relabel: Relabel,
}

/// Where a mount's access comes from. A store's file has to state it, and `coco lint` asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessSource {
    /// `opts` say `ro` or `rw`.
    Stated,
    /// They say neither, and the format's default counts.
    Default,
}

/// The host's side of a mount, before the world is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// `.`: the directory in which the tool was started.
    CurrentDirectory,
    /// `@project`: the nearest ancestor that holds `.git`, else the current directory.
    Project,
    /// `~` or `~/x`; the part after `~/`, `None` for home itself.
    Home(Option<RelativePath>),
    /// An absolute path.
    Absolute(String),
}

impl std::fmt::Display for MountSource {
    /// As it is written.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MountSource::CurrentDirectory => formatter.write_str("."),
            MountSource::Project => formatter.write_str("@project"),
            MountSource::Home(None) => formatter.write_str("~"),
            MountSource::Home(Some(path)) => write!(formatter, "~/{path}"),
            MountSource::Absolute(path) => formatter.write_str(path),
        }
    }
}

/// SELinux labels of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Relabel {
    /// Labels stay as they are.
    #[default]
    Keep,
    /// `z`: one label for every container.
    Shared,
    /// `Z`: a label for this container alone.
    Private,
}

/// Where the tool starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Workdir {
    /// `/workspace`, or the matching place when the project is mounted elsewhere.
    #[default]
    Default,
    /// `.`: the same path as on the host.
    CurrentDirectory,
    /// A path inside.
    Guest(GuestPath),
}

/// What the tool may reach. The closed variant stands first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(
    clippy::enum_variant_names,
    reason = "an engine's network is called so; private to the build script, public here"
)]
pub enum Network {
    /// Nothing.
    #[default]
    None,
    /// These hosts.
    AllowedHosts(Vec<HostPattern>),
    /// Any public host by name, never private addresses.
    Public,
    /// The engine's own network, private addresses included.
    EngineDefault,
    /// A network that the user made with the engine.
    EngineNetwork(NetworkName),
    /// The host's network.
    DangerousHost,
}

/// Whether runtimes (node, python) that mise installs are shared with other tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// One runtimes directory for all tools, written only while a runtime is installed.
    #[default]
    SharedRuntimes,
    /// A runtimes directory of the tool's own.
    OwnRuntimes,
}

/// Whose the cache of a tool's runs is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheScope {
    /// One for each project: what runs in one can't leave anything for a run in another.
    #[default]
    Project,
    /// One for all.
    Shared,
}

/// The X11 display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum X11 {
    /// Not there.
    #[default]
    Absent,
    /// The caller's display, with all that X11 lets a client do.
    DangerousDisplay,
}

/// What stays read-only inside writable mounts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Protect {
    /// Nothing was said: coco's own list.
    #[default]
    Default,
    /// `true`: coco's own list, asked for by name.
    List,
    /// These paths as well as coco's own list.
    Paths(Vec<RelativePath>),
    /// `false`: nothing is protected.
    DangerousNothing,
}

/// Resource limits, as they are written; `None` is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// CPUs, in thousandths.
    pub milli_cpus: Option<u32>,
}

impl Limits {
    /// The limit on processes and threads that holds.
    pub fn processes(&self) -> u32 {
        self.pids.unwrap_or(DEFAULT_PIDS)
    }
}

/// The limit on processes and threads where the coco file sets none.
pub const DEFAULT_PIDS: u32 = 4096;
