//! The decision: what one tool gets in one run. Pure: (tool, coco file, facts) to plain data.
//!
//! What may be mounted is answered by `mounts` and `rules/host_paths`, what may be reached by `network` and
//! `rules/egress`. The first variant of each enum is the closed one, a `match` on a permission names every variant, and
//! whatever widens the sandbox has `dangerous_` in its name.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::{Access, CacheScope, CocoFile, Isolation, Limits, Protect, Relabel, X11};
use crate::error::Error;
use crate::facts::{Display, Facts, Identity};
use crate::host::World;
use crate::names::{AptName, EnvName, ProgramName, PublishedPort, ToolName, ToolSpec};
use crate::rules::sandbox_paths::GuestPath;
use crate::sys::hash::Digest;

mod consent;
mod environment;
mod mounts;
mod network;
pub mod permissions;

pub use crate::config::Danger;
pub use consent::{Agreement, dangers, needs_consent};
use environment::environment;
pub use network::{Mode, RunNetwork};
use network::{network, ports};

/// What a tool gets.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Policy {
    /// The tool.
    pub tool: ToolName,
    /// The program that is run.
    pub program: ProgramName,
    /// What is installed.
    pub installation: Installation,
    /// The host's files that it sees, and no others.
    pub mounts: Vec<GrantedMount>,
    /// Mounts over parts of them that stay as they are although the rest may be written.
    pub protected: Vec<GrantedMount>,
    /// Parts of them that are not seen: known secrets, and sockets.
    pub hidden: Vec<HiddenPath>,
    /// What the coco file says about that.
    pub protect: Protect,
    /// What the user had to agree to.
    pub dangers: Vec<Danger>,
    /// Where it starts, inside.
    pub workdir: PathBuf,
    /// Its whole environment but HOME and PATH, which init sets.
    pub environment: Vec<(EnvName, OsString)>,
    /// What it may reach.
    pub network: RunNetwork,
    /// Ports published on the host.
    pub ports: Vec<PublishedPort>,
    /// Whether it may write its own installation.
    pub data: Access,
    /// Whose its cache is.
    pub cache: CacheScope,
    /// The X display.
    pub display: Option<Display>,
    /// Resource limits, as the coco file has them.
    pub limits: Limits,
    /// More engine arguments: harmless ones, or consented to.
    pub engine_arguments: Vec<String>,
    /// Whether init must find the sandbox closed.
    pub posture: Posture,
    /// The CA certificates that it is to trust, PEM.
    pub ca_certificates: Option<Vec<u8>>,
    /// What the user must be told at every run, whatever the engine.
    pub warnings: Vec<String>,
}

/// What the install phase does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// The tool.
    pub tool: ToolSpec,
    /// Debian packages for its installation.
    pub apt: Vec<AptName>,
    /// Runtimes, into the runtimes directory.
    pub runtimes: Vec<ToolSpec>,
    /// Other tools, into the tool's own directory: their installation runs package code.
    pub companions: Vec<ToolSpec>,
    /// Whether the runtimes directory is shared.
    pub isolation: Isolation,
}

impl Installation {
    /// Whether everything is the image's own.
    pub fn is_nothing(&self) -> bool {
        self.tool.is_system() && self.companions.is_empty() && self.runtimes.is_empty() && self.apt.is_empty()
    }
}

/// A bind mount that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantedMount {
    /// On the host, canonical.
    pub src: PathBuf,
    /// Inside.
    pub dst: GuestPath,
    /// Reading or writing.
    pub access: Access,
    /// SELinux labels.
    pub relabel: Relabel,
    /// Whether the source has to be made first.
    pub creation: Creation,
    /// Which file or directory the decision was about; `None` for what was missing.
    pub identity: Option<Identity>,
}

/// A path inside a granted mount over which something empty is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenPath {
    /// Inside.
    pub dst: GuestPath,
    /// What is mounted over it, by what is there on the host.
    pub cover: Cover,
}

/// What a hidden path is covered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// An empty directory.
    Directory,
    /// An empty file.
    File,
}

/// Whether a mount's source has to be made first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// It is there.
    Present,
    /// It is made as a directory, mode 0700.
    MakeDirectory,
}

/// Whether init insists on a closed sandbox before it starts the tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Posture {
    /// No capabilities, no new privileges, seccomp, only granted mounts, no interface but `lo`
    /// where the network is none.
    #[default]
    Closed,
    /// The user agreed to engine arguments that may open it.
    DangerousConsented,
}

/// Decides what `tool` gets in a run of this mode. `digest` is the coco file's, to which consent was given.
///
/// # Errors
/// A refusal: what is asked for is forbidden, not consented to, or can't be enforced.
pub fn decide(
    tool: &ToolName,
    file: &CocoFile,
    world: &World,
    facts: &Facts,
    digest: Digest,
    mode: Mode,
) -> Result<Policy, Error> {
    let agreement = Agreement::on_record(facts, digest);
    let dangers = consent::dangers(file, world, facts);
    match dangers.iter().find(|danger| !agreement.covers(danger)) {
        None => with_agreement(tool, file, world, facts, dangers, mode),
        Some(danger @ Danger::StartedAtHome(_)) => Err(Error::Mount {
            path: facts.cwd.clone(),
            reason: format!("{tool} would get {danger}"),
            hint: format!("start it in the project's own directory; if you want that of it: coco allow --home {tool}"),
        }),
        Some(danger) => Err(Error::Consent { tool: tool.to_string(), what: danger.to_string() }),
    }
}

/// What `tool` would get if the user agreed to all that it asks for; for showing alone. The second
/// part is what the user has not agreed to yet.
///
/// # Errors
/// As [`decide`], without what lacks consent.
pub fn dangerous_as_if_agreed(
    tool: &ToolName,
    file: &CocoFile,
    world: &World,
    facts: &Facts,
    digest: Digest,
) -> Result<(Policy, Vec<Danger>), Error> {
    let agreement = Agreement::on_record(facts, digest);
    let dangers = consent::dangers(file, world, facts);
    let missing = dangers.iter().filter(|danger| !agreement.covers(danger)).cloned().collect();
    Ok((with_agreement(tool, file, world, facts, dangers, Mode::Granted)?, missing))
}

/// The decision, when `dangers` are agreed to.
fn with_agreement(
    tool: &ToolName,
    file: &CocoFile,
    world: &World,
    facts: &Facts,
    dangers: Vec<Danger>,
    mode: Mode,
) -> Result<Policy, Error> {
    let mut warnings = Vec::new();
    let network = network(tool, file, world, &facts.upstream, mode, &mut warnings);
    let ports = ports(file, world, &mut warnings)?;
    let mounts = mounts::granted_mounts(file, world, facts)?;
    let (protected, hidden) = mounts::protective_mounts(file, facts)?;
    let opened = dangers.iter().any(|danger| matches!(danger, Danger::EngineArgument(_)));
    let display = match file.x11 {
        X11::Absent => None,
        X11::DangerousDisplay => facts.display.clone(),
    };
    let (runtimes, companions) = file.mise.iter().cloned().partition(ToolSpec::is_runtime);
    Ok(Policy {
        program: program(tool, file)?,
        installation: Installation {
            tool: file.tool.clone(),
            apt: file.apt.clone(),
            runtimes,
            companions,
            isolation: file.isolation,
        },
        workdir: mounts::workdir(file, facts, &mounts)?,
        environment: environment(file, world, facts, display.as_ref()),
        limits: file.limits,
        ca_certificates: facts.ca_certificates.clone(),
        tool: tool.clone(),
        data: file.data,
        cache: file.cache,
        protected,
        hidden,
        dangers,
        protect: file.protect.clone(),
        mounts,
        network,
        ports,
        display,
        engine_arguments: file.podman_args.clone(),
        posture: if opened { Posture::DangerousConsented } else { Posture::Closed },
        warnings,
    })
}

fn program(tool: &ToolName, file: &CocoFile) -> Result<ProgramName, Error> {
    match &file.command {
        Some(program) => Ok(program.clone()),
        None => ProgramName::new(tool.as_str()).map_err(|message| Error::BadName { message }),
    }
}

#[cfg(test)]
mod tests;
