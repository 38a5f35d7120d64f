//! What a coco file grants, as a set, so that two files can be compared. Pure.
//!
//! Whatever makes a tool see, write, reach or run more is a grant here, and so is another package: the
//! comparison decides whether an update has to be agreed to.

use std::fmt;

use crate::config::{Access, CocoFile, MountSource, Network, Protect, X11};
use crate::names::{EnvName, HostPattern, Scope};
use crate::policy::DEFAULT_PIDS;
use crate::reach::Protocol;
use crate::term;

/// One thing that a coco file grants.
#[derive(Debug, Clone, PartialEq)]
pub enum Grant {
    /// It installs this package: (kind, specifier).
    Package(&'static str, String),
    /// It runs this program.
    Program(String),
    /// It sees a path of the host's, at a place inside.
    Reads(String),
    /// It writes it.
    Writes(String),
    /// It may change what in writable mounts runs on the host: everything, or a path that was held.
    Unprotected(Option<String>),
    /// It reaches a host.
    Host(HostPattern),
    /// It reaches every public host.
    PublicHosts,
    /// It is on an engine's network.
    EngineNetwork(String),
    /// It is on the host's network.
    HostNetwork,
    /// It listens on the host.
    Port(String),
    /// It sees a variable of the caller's.
    Variable(EnvName),
    /// A variable has a value.
    Value(EnvName, String),
    /// It starts in another place.
    Workdir(String),
    /// It may write its own installation.
    Installation,
    /// It may use the X11 display.
    Display,
    /// An engine argument.
    EngineArgument(String),
    /// So many bytes of memory; none is no limit.
    Memory(Option<u64>),
    /// So many processes.
    Processes(u32),
    /// So many thousandths of a CPU; none is no limit.
    Cpus(Option<u32>),
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
pub fn difference(old: &CocoFile, new: &CocoFile) -> Difference {
    let (before, after) = (grants(old), grants(new));
    let beyond = |these: &[Grant], those: &[Grant]| {
        these.iter().filter(|grant| !those.iter().any(|other| other.covers(grant))).cloned().collect::<Vec<_>>()
    };
    let mut added = beyond(&after, &before);
    let mut removed = beyond(&before, &after);
    added.extend(held_no_more(old, new));
    removed.extend(held_no_more(new, old));
    Difference { added, removed }
}

/// Everything that a coco file grants.
pub fn grants(file: &CocoFile) -> Vec<Grant> {
    let mut found = vec![Grant::Package("", file.tool.to_string())];
    found.extend(file.apt.iter().map(|name| Grant::Package("Debian's ", name.to_string())));
    found.extend(file.mise.iter().map(|tool| Grant::Package("", tool.to_string())));
    found.extend(file.command.as_ref().map(|program| Grant::Program(program.to_string())));
    for mount in &file.mounts {
        let place = match (&mount.src, &mount.dst) {
            (src, None) => words(src),
            (src, Some(dst)) => format!("{} as {dst}", words(src)),
        };
        if mount.access == Access::ReadWrite {
            found.push(Grant::Writes(place.clone()));
        }
        found.push(Grant::Reads(place));
    }
    if file.protect == Protect::DangerousNothing {
        found.push(Grant::Unprotected(None));
    }
    match &file.network {
        Network::None => {}
        Network::AllowedHosts(hosts) => found.extend(hosts.iter().cloned().map(Grant::Host)),
        Network::Public => found.push(Grant::PublicHosts),
        Network::EngineDefault => found.push(Grant::EngineNetwork("default".to_owned())),
        Network::EngineNetwork(name) => found.push(Grant::EngineNetwork(name.to_string())),
        Network::DangerousHost => found.push(Grant::HostNetwork),
    }
    found.extend(file.ports.iter().map(|port| Grant::Port(port.to_string())));
    found.extend(file.env_passthrough.iter().cloned().map(Grant::Variable));
    found.extend(file.env.iter().cloned().map(|(name, value)| Grant::Value(name, value)));
    found.push(Grant::Workdir(match &file.workdir {
        crate::config::Workdir::Default => "where the project is mounted".to_owned(),
        crate::config::Workdir::CurrentDirectory => "the current directory".to_owned(),
        crate::config::Workdir::Guest(path) => path.to_string(),
    }));
    if file.data == Access::ReadWrite {
        found.push(Grant::Installation);
    }
    if file.x11 == X11::DangerousDisplay {
        found.push(Grant::Display);
    }
    found.extend(file.podman_args.iter().cloned().map(Grant::EngineArgument));
    found.push(Grant::Memory(file.limits.memory));
    found.push(Grant::Processes(file.limits.pids.unwrap_or(DEFAULT_PIDS)));
    found.push(Grant::Cpus(file.limits.milli_cpus));
    found
}

/// The host's side of a mount in words.
pub fn words(source: &MountSource) -> String {
    match source {
        MountSource::CurrentDirectory => "the current directory".to_owned(),
        MountSource::Project => "the project".to_owned(),
        MountSource::Home(None) => "your home".to_owned(),
        source @ (MountSource::Home(Some(_)) | MountSource::Absolute(_)) => source.to_string(),
    }
}

/// Paths that `old` holds read-only and `new` does not.
fn held_no_more(old: &CocoFile, new: &CocoFile) -> Vec<Grant> {
    let (Protect::Paths(before), false) = (&old.protect, new.protect == Protect::DangerousNothing) else {
        return Vec::new();
    };
    let after = match &new.protect {
        Protect::Paths(paths) => paths.as_slice(),
        Protect::Default | Protect::List | Protect::DangerousNothing => &[],
    };
    before.iter().filter(|path| !after.contains(path)).map(|path| Grant::Unprotected(Some(path.to_string()))).collect()
}

impl Grant {
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
            (Grant::HostNetwork, Grant::Host(_) | Grant::PublicHosts | Grant::EngineNetwork(_)) => true,
            // `public` is ports 443 and 80 alone.
            (Grant::PublicHosts, Grant::Host(host)) => {
                host.port.is_none_or(|port| matches!(Protocol::of(port), Protocol::Tls | Protocol::Http))
            }
            (Grant::Host(this), Grant::Host(other)) => host_covers(this, other),
            (this, other) => this == other,
        }
    }
}

fn host_covers(this: &HostPattern, other: &HostPattern) -> bool {
    let ports = this.port == other.port
        || this.port.is_none()
            && other.port.is_some_and(|port| matches!(Protocol::of(port), Protocol::Tls | Protocol::Http));
    let below = || other.name.as_str().ends_with(&format!(".{}", this.name));
    let name = match (this.scope, other.scope) {
        (Scope::Exactly, Scope::Exactly) => this.name == other.name,
        (Scope::Subdomains, Scope::Exactly) => below(),
        (Scope::Subdomains, Scope::Subdomains) => this.name == other.name || below(),
        (Scope::Exactly, Scope::Subdomains) => false,
    };
    ports && name
}

impl fmt::Display for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Grant::Package(kind, name) => format!("installs {kind}{name}"),
            Grant::Program(program) => format!("runs the program {program}"),
            Grant::Reads(place) => format!("reads {place}"),
            Grant::Writes(place) => format!("writes {place}"),
            Grant::Unprotected(None) => "may change git hooks, editor settings and task files".to_owned(),
            Grant::Unprotected(Some(path)) => format!("may change {path} in what it writes"),
            Grant::Host(host) => format!("reaches {host}"),
            Grant::PublicHosts => "reaches any public host".to_owned(),
            Grant::EngineNetwork(name) => format!("is on the engine's network {name}"),
            Grant::HostNetwork => "is on the host's own network".to_owned(),
            Grant::Port(port) => format!("listens on {port}"),
            Grant::Variable(name) => format!("sees your variable {name}"),
            Grant::Value(name, value) => format!("has {name}={value}"),
            Grant::Workdir(place) => format!("starts in {place}"),
            Grant::Installation => "may write its own installation".to_owned(),
            Grant::Display => "uses your X11 display".to_owned(),
            Grant::EngineArgument(argument) => format!("gives the engine {argument}"),
            Grant::Memory(Some(bytes)) => format!("uses {} MiB of memory at most", bytes >> 20),
            Grant::Memory(None) => "uses any amount of memory".to_owned(),
            Grant::Processes(count) => format!("has {count} processes at most"),
            Grant::Cpus(Some(milli)) => format!("uses {}.{:03} CPUs at most", milli / 1000, milli % 1000),
            Grant::Cpus(None) => "uses all CPUs".to_owned(),
        };
        formatter.write_str(&term::printable(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(rest: &str) -> CocoFile {
        crate::config::parse(format!(r#"{{"tool": "npm:x"{rest}}}"#).as_bytes()).unwrap()
    }

    /// What is added and removed, in words.
    fn compared(old: &str, new: &str) -> (Vec<String>, Vec<String>) {
        let found = difference(&file(old), &file(new));
        let words = |grants: &[Grant]| grants.iter().map(ToString::to_string).collect();
        (words(&found.added), words(&found.removed))
    }

    #[test]
    fn every_way_to_get_more_is_seen() {
        for (old, new, added) in [
            ("", r#", "mounts": [{"src": "."}]"#, "reads the current directory"),
            (
                r#", "mounts": [{"src": "."}]"#,
                r#", "mounts": [{"src": ".", "opts": "rw"}]"#,
                "writes the current directory",
            ),
            (
                r#", "mounts": [{"src": "."}]"#,
                r#", "mounts": [{"src": ".", "dst": "/w"}]"#,
                "reads the current directory as /w",
            ),
            ("", r#", "allowed_hosts": ["a.example"]"#, "reaches a.example"),
            (r#", "allowed_hosts": ["a.example"]"#, r#", "allowed_hosts": ["*.a.example"]"#, "reaches *.a.example"),
            (r#", "allowed_hosts": ["a.example"]"#, r#", "allowed_hosts": ["a.example:22"]"#, "reaches a.example:22"),
            (r#", "network": "public""#, r#", "allowed_hosts": ["a.example:22"]"#, "reaches a.example:22"),
            (r#", "allowed_hosts": ["a.example"]"#, r#", "network": "public""#, "reaches any public host"),
            (r#", "network": "public""#, r#", "network": "default""#, "is on the engine's network default"),
            ("", r#", "env_passthrough": ["API_TOKEN"]"#, "sees your variable API_TOKEN"),
            (r#", "env": {"A": "1"}"#, r#", "env": {"A": "2"}"#, "has A=2"),
            ("", r#", "ports": ["8080:80"]"#, "listens on 127.0.0.1:8080:80"),
            ("", r#", "data": "rw""#, "may write its own installation"),
            ("", r#", "protect": false"#, "may change git hooks, editor settings and task files"),
            (r#", "protect": ["ci"]"#, "", "may change ci in what it writes"),
            ("", r#", "dependencies": {"apt": ["gcc"]}"#, "installs Debian's gcc"),
            ("", r#", "dependencies": {"mise": ["npm:y"]}"#, "installs npm:y"),
            ("", r#", "command": "other""#, "runs the program other"),
            ("", r#", "x11": true"#, "uses your X11 display"),
            ("", r#", "podman_args": ["--privileged"]"#, "gives the engine --privileged"),
            (r#", "limits": {"memory": "1g"}"#, "", "uses any amount of memory"),
            (r#", "limits": {"memory": "1g"}"#, r#", "limits": {"memory": "2g"}"#, "uses 2048 MiB of memory at most"),
            (r#", "limits": {"pids": 10}"#, "", "has 4096 processes at most"),
        ] {
            assert!(compared(old, new).0.contains(&added.to_owned()), "{old} -> {new}: {:?}", compared(old, new));
        }
        let other = crate::config::parse(br#"{"tool": "npm:evil"}"#).unwrap();
        assert_eq!(difference(&file(""), &other).added, [Grant::Package("", "npm:evil".to_owned())]);
    }

    #[test]
    fn what_only_takes_away_adds_nothing() {
        for (old, new) in [
            (r#", "mounts": [{"src": ".", "opts": "rw"}]"#, r#", "mounts": [{"src": "."}]"#),
            (r#", "network": "public""#, r#", "allowed_hosts": ["a.example", "b.example:443"]"#),
            (r#", "network": "host""#, r#", "network": "public""#),
            (r#", "allowed_hosts": ["*.a.example"]"#, r#", "allowed_hosts": ["b.a.example"]"#),
            (r#", "allowed_hosts": ["a.example"]"#, r#", "allowed_hosts": ["a.example:443"]"#),
            (r#", "protect": false"#, r#", "protect": ["ci"]"#),
            ("", r#", "protect": ["ci"]"#),
            ("", r#", "limits": {"memory": "1g", "pids": 10, "cpus": 1}"#),
            ("", r#", "description": "d", "homepage": "https://e.example", "isolated": true"#),
            (r#", "env_passthrough": ["A_B"], "ports": ["1:2"], "data": "rw", "x11": true"#, ""),
        ] {
            let (added, _) = compared(old, new);
            assert_eq!(added, [""; 0], "{old} -> {new}");
        }
        let (_, removed) = compared(r#", "network": "public""#, "");
        assert_eq!(removed, ["reaches any public host"]);
    }

    #[test]
    fn a_suffix_is_no_sub_domain() {
        let (added, _) = compared(r#", "allowed_hosts": ["*.a.example"]"#, r#", "allowed_hosts": ["evila.example"]"#);
        assert_eq!(added, ["reaches evila.example"]);
    }
}
