//! What a coco file grants, as a set of values, so that two files can be compared. Pure.
//!
//! Whatever makes a tool see, write, reach or run more is a grant here, and so is another package: the
//! comparison decides whether an update has to be agreed to. Some lines of a coco file also hold a tool
//! back (a variable's value, a pinned version, a mount over a part of another): their loss is an addition.

use crate::config::{
    Access, CacheScope, CocoFile, Isolation, Mount, MountSource, Network, Protect, Relabel, Workdir, X11,
};
use crate::names::{
    AptName, EnvName, HostPattern, NetworkName, PublishedPort, RelativePath, Scope, ToolName, ToolSpec,
};
use crate::rules::egress::Protocol;
use crate::rules::sandbox_paths::GuestPath;

/// One thing that a coco file grants.
#[derive(Debug, Clone, PartialEq)]
pub enum Grant {
    /// It is this package.
    Tool(ToolSpec),
    /// Debian's package is there while it is installed.
    Debian(AptName),
    /// It runs on this, installed before it.
    Runtime(ToolSpec),
    /// This is installed before it, and its code runs.
    Companion(ToolSpec),
    /// Its runtimes are those of other tools.
    SharedRuntimes,
    /// Projects share its cache.
    SharedCache,
    /// What is installed before it comes in this order, which decides whose programs are found.
    Order(Vec<ToolSpec>),
    /// It runs this program.
    Program(String),
    /// It sees something of the host's.
    Reads(MountPair),
    /// It writes it.
    Writes(MountPair),
    /// The host's files get other SELinux labels.
    Relabels(MountSource, Relabel),
    /// A part of another mount is out of sight, because this is in its place.
    Covers(MountPair),
    /// It may change what in writable mounts runs on the host: everything, or a path that was protected.
    Unprotected(Option<RelativePath>),
    /// It reaches a host.
    Host(HostPattern),
    /// It reaches every public host.
    PublicHosts,
    /// It is on the engine's own network, or on one that the user made.
    EngineNetwork(Option<NetworkName>),
    /// It is on the host's network.
    HostNetwork,
    /// It listens on the host.
    Port(PublishedPort),
    /// It sees a variable of the caller's.
    Variable(EnvName),
    /// A variable has a value.
    Value(EnvName, String),
    /// It starts in another place.
    Workdir(Workdir),
    /// It may write its own installation.
    Installation,
    /// It may use the X11 display.
    Display,
    /// The engine's arguments, all of them: one may be the value of the one before it.
    EngineArguments(Vec<String>),
    /// So many bytes of memory; none is no limit.
    Memory(Option<u64>),
    /// So many processes.
    Processes(u32),
    /// So many thousandths of a CPU; none is no limit.
    Cpus(Option<u32>),
    /// What held it back is gone.
    NoLonger(Box<Grant>),
}

/// Where something of the host's comes from, and where it is seen.
#[derive(Debug, Clone, PartialEq)]
pub struct MountPair {
    /// The host's side.
    pub src: MountSource,
    /// The sandbox's side; `None` is the same path as on the host.
    pub dst: Option<GuestPath>,
}

/// What a grant is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// What is installed and run.
    Software,
    /// The host's files.
    Files,
    /// What it reaches.
    Network,
    /// All else.
    Rest,
}

/// What one file grants and another does not.
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use]
pub struct Difference {
    /// What the new one grants beyond the old one.
    pub added: Vec<Grant>,
    /// What only the old one granted.
    pub removed: Vec<Grant>,
}

/// Compares two coco files of one tool.
pub fn difference(tool: &ToolName, old: &CocoFile, new: &CocoFile) -> Difference {
    let (before, after) = (grants(tool, old), grants(tool, new));
    let beyond = |these: &[Grant], those: &[Grant]| {
        these.iter().filter(|grant| !those.iter().any(|other| other.covers(grant))).cloned().collect::<Vec<_>>()
    };
    let mut added = beyond(&after, &before);
    let mut removed = beyond(&before, &after);
    added.extend(no_longer_protected(old, new));
    removed.extend(no_longer_protected(new, old));
    added.extend(changed_order(old, new));
    let lost = [
        no_longer_set(old, new),
        no_longer_installed(old, new),
        no_longer_covered(old, new),
        no_longer_given(old, new),
    ]
    .concat();
    removed.retain(|grant| !lost.contains(grant));
    added.extend(lost.into_iter().map(|grant| Grant::NoLonger(Box::new(grant))));
    Difference { added, removed }
}

/// Everything that a coco file grants to the tool of this name.
pub fn grants(tool: &ToolName, file: &CocoFile) -> Vec<Grant> {
    let mut found = software_grants(tool, file);
    for mount in &file.mounts {
        let place = MountPair::of(mount);
        if mount.access == Access::ReadWrite {
            found.push(Grant::Writes(place.clone()));
        }
        found.push(Grant::Reads(place));
        if mount.relabel != Relabel::Keep {
            found.push(Grant::Relabels(mount.src.clone(), mount.relabel));
        }
    }
    if file.protect == Protect::DangerousNothing {
        found.push(Grant::Unprotected(None));
    }
    match &file.network {
        Network::None => {}
        Network::AllowedHosts(hosts) => found.extend(hosts.iter().cloned().map(Grant::Host)),
        Network::Public => found.push(Grant::PublicHosts),
        Network::EngineDefault => found.push(Grant::EngineNetwork(None)),
        Network::EngineNetwork(name) => found.push(Grant::EngineNetwork(Some(name.clone()))),
        Network::DangerousHost => found.push(Grant::HostNetwork),
    }
    found.extend(file.ports.iter().cloned().map(Grant::Port));
    // A value in the file takes the place of the caller's.
    let passed = file.env_passthrough.iter().filter(|name| !sets(file, name));
    found.extend(passed.cloned().map(Grant::Variable));
    found.extend(file.env.iter().cloned().map(|(name, value)| Grant::Value(name, value)));
    found.push(Grant::Workdir(file.workdir.clone()));
    if file.data == Access::ReadWrite {
        found.push(Grant::Installation);
    }
    if file.cache == CacheScope::Shared {
        found.push(Grant::SharedCache);
    }
    if file.x11 == X11::DangerousDisplay {
        found.push(Grant::Display);
    }
    if !file.podman_args.is_empty() {
        found.push(Grant::EngineArguments(file.podman_args.clone()));
    }
    found.push(Grant::Memory(file.limits.memory));
    found.push(Grant::Processes(file.limits.processes()));
    found.push(Grant::Cpus(file.limits.milli_cpus));
    found
}

fn software_grants(tool: &ToolName, file: &CocoFile) -> Vec<Grant> {
    let mut found = vec![Grant::Tool(file.tool.clone())];
    found.extend(file.apt.iter().cloned().map(Grant::Debian));
    found.extend(file.mise.iter().cloned().map(dependency));
    if file.isolation == Isolation::SharedRuntimes && file.mise.iter().any(ToolSpec::is_runtime) {
        found.push(Grant::SharedRuntimes);
    }
    // As the policy has it.
    let program = file.command.as_ref().map_or(tool.as_str(), |program| program.as_str());
    found.push(Grant::Program(program.to_owned()));
    found
}

/// What a dependency is, as the policy sorts them.
fn dependency(tool: ToolSpec) -> Grant {
    if tool.is_runtime() { Grant::Runtime(tool) } else { Grant::Companion(tool) }
}

fn sets(file: &CocoFile, name: &EnvName) -> bool {
    file.env.iter().any(|(other, _)| other == name)
}

// --- what holds a tool back, and is lost ---

/// Paths that `old` protects and `new` does not.
fn no_longer_protected(old: &CocoFile, new: &CocoFile) -> Vec<Grant> {
    let (Protect::Paths(before), false) = (&old.protect, new.protect == Protect::DangerousNothing) else {
        return Vec::new();
    };
    let after = match &new.protect {
        Protect::Paths(paths) => paths.as_slice(),
        Protect::Default | Protect::List | Protect::DangerousNothing => &[],
    };
    before.iter().filter(|path| !after.contains(path)).map(|path| Grant::Unprotected(Some(path.clone()))).collect()
}

/// Variables that have a value in `old` alone: without it (`npm_config_ignore_scripts=true`) a tool may do more.
fn no_longer_set(old: &CocoFile, new: &CocoFile) -> Vec<Grant> {
    let lost = old.env.iter().filter(|(name, _)| !sets(new, name));
    lost.cloned().map(|(name, value)| Grant::Value(name, value)).collect()
}

/// Runtimes and pinned versions that are in `old` alone: something else of their name is found instead.
fn no_longer_installed(old: &CocoFile, new: &CocoFile) -> Vec<Grant> {
    let constrains = |tool: &&ToolSpec| tool.is_runtime() || tool.version.is_some();
    let lost = old.mise.iter().filter(constrains).filter(|tool| !new.mise.contains(tool));
    lost.cloned().map(dependency).collect()
}

/// Engine arguments that are gone: most of them hold a tool back.
fn no_longer_given(old: &CocoFile, new: &CocoFile) -> Vec<Grant> {
    if old.podman_args.is_empty() || old.podman_args == new.podman_args {
        return Vec::new();
    }
    vec![Grant::EngineArguments(old.podman_args.clone())]
}

/// The order of what both files install, if it is another one.
fn changed_order(old: &CocoFile, new: &CocoFile) -> Option<Grant> {
    let before: Vec<&ToolSpec> = old.mise.iter().filter(|tool| new.mise.contains(tool)).collect();
    let after: Vec<&ToolSpec> = new.mise.iter().filter(|tool| old.mise.contains(tool)).collect();
    (before != after).then(|| Grant::Order(new.mise.clone()))
}

/// Mounts of `old` whose place shows, in `new`, what another mount has there.
fn no_longer_covered(old: &CocoFile, new: &CocoFile) -> Vec<Grant> {
    let after: Vec<String> = new.mounts.iter().map(guest_path).collect();
    let lost = old.mounts.iter().filter(|mount| {
        let place = guest_path(mount);
        !after.contains(&place) && after.iter().any(|outer| is_below(&place, outer))
    });
    lost.map(|mount| Grant::Covers(MountPair::of(mount))).collect()
}

/// Where a mount is seen, as far as that is known without the machine.
fn guest_path(mount: &Mount) -> String {
    match (&mount.dst, &mount.src) {
        (Some(dst), _) => dst.to_string(),
        (None, MountSource::Absolute(path)) => {
            let mut parts: Vec<&str> = Vec::new();
            for part in path.split('/') {
                match part {
                    "" | "." => {}
                    ".." => drop(parts.pop()),
                    part => parts.push(part),
                }
            }
            format!("/{}", parts.join("/"))
        }
        (None, src @ (MountSource::CurrentDirectory | MountSource::Project | MountSource::Home(_))) => src.to_string(),
    }
}

/// Whether a place is below another. Nobody knows here whose home `~` is: it may be any.
fn is_below(inner: &str, outer: &str) -> bool {
    let at_home = |place: &str| {
        let parts: Vec<&str> = place.split('/').collect();
        match parts.as_slice() {
            ["", "root", rest @ ..] | ["", "home", _, rest @ ..] => [&["~"], rest].concat().join("/"),
            ["", "home"] => "~".to_owned(),
            _ => place.to_owned(),
        }
    };
    at_home(inner).strip_prefix(&at_home(outer)).is_some_and(|rest| rest.starts_with('/'))
}

// --- comparison ---

impl Grant {
    /// What this is about.
    pub fn topic(&self) -> Topic {
        match self {
            Grant::Tool(_)
            | Grant::Debian(_)
            | Grant::Runtime(_)
            | Grant::Companion(_)
            | Grant::SharedRuntimes
            | Grant::Order(_)
            | Grant::Program(_) => Topic::Software,
            Grant::Reads(_) | Grant::Writes(_) | Grant::Relabels(..) | Grant::Covers(_) | Grant::Unprotected(_) => {
                Topic::Files
            }
            Grant::Host(_) | Grant::PublicHosts | Grant::EngineNetwork(_) | Grant::HostNetwork => Topic::Network,
            Grant::Port(_)
            | Grant::Variable(_)
            | Grant::Value(..)
            | Grant::Workdir(_)
            | Grant::SharedCache
            | Grant::Installation
            | Grant::Display
            | Grant::EngineArguments(_)
            | Grant::Memory(_)
            | Grant::Processes(_)
            | Grant::Cpus(_)
            | Grant::NoLonger(_) => Topic::Rest,
        }
    }

    /// Whether whoever has this has the other as well.
    fn covers(&self, other: &Grant) -> bool {
        /// No limit covers every limit.
        fn at_least<N: PartialOrd>(this: Option<N>, other: Option<N>) -> bool {
            match (this, other) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(this), Some(other)) => this >= other,
            }
        }
        match (self, other) {
            (Grant::Memory(this), Grant::Memory(other)) => at_least(*this, *other),
            (Grant::Cpus(this), Grant::Cpus(other)) => at_least(*this, *other),
            (Grant::Processes(this), Grant::Processes(other)) => this >= other,
            (Grant::HostNetwork, Grant::PublicHosts | Grant::EngineNetwork(_)) => true,
            (Grant::HostNetwork, Grant::Host(host)) => host.scope == Scope::Subdomains,
            // `public` is ports 443 and 80 alone.
            (Grant::PublicHosts, Grant::Host(host)) => {
                host.scope == Scope::Subdomains && host.port.is_none_or(|port| Protocol::of(port) != Protocol::Raw)
            }
            (Grant::Host(this), Grant::Host(other)) => host_covers(this, other),
            (this, other) => this == other,
        }
    }
}

/// A name that is granted by itself is covered by nothing but itself: the caller's proxy is asked for it
/// even where this machine does not know it, and so it may be a host that nobody outside can reach.
fn host_covers(this: &HostPattern, other: &HostPattern) -> bool {
    let ports = this.port == other.port
        || this.port.is_none() && other.port.is_some_and(|port| Protocol::of(port) != Protocol::Raw);
    let below = || other.name.as_str().ends_with(&format!(".{}", this.name));
    let name = match (this.scope, other.scope) {
        (Scope::Exactly, Scope::Exactly) => this.name == other.name,
        (Scope::Subdomains, Scope::Subdomains) => this.name == other.name || below(),
        (Scope::Exactly, Scope::Subdomains) | (Scope::Subdomains, Scope::Exactly) => false,
    };
    ports && name
}

impl MountPair {
    /// The two sides of a mount.
    fn of(mount: &Mount) -> MountPair {
        MountPair { src: mount.src.clone(), dst: mount.dst.clone() }
    }
}

#[cfg(test)]
mod tests;
