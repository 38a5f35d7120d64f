//! What a tool gets only when the user has agreed to it. Pure.

use std::fmt;
use std::path::Path;

use super::RunNetwork;
use crate::config::{Access, CocoFile, Danger, MountSource, is_socket_path};
use crate::facts::{AtHome, Facts, SourceKind};
use crate::host::World;
use crate::sys::hash::Digest;
use crate::term;

impl fmt::Display for Danger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Danger::EngineArgument(argument) => write!(formatter, "the engine argument {argument:?}"),
            Danger::HostNetwork => RunNetwork::DangerousHost.fmt(formatter),
            Danger::EngineNetwork => RunNetwork::DangerousEngineDefault.fmt(formatter),
            Danger::Unprotected => {
                formatter.write_str("write access to git hooks and editor settings, which run on your machine later")
            }
            Danger::Display => {
                formatter.write_str("your X11 display, where it may watch and type into every window")
            }
            Danger::Home(Access::ReadOnly) | Danger::StartedAtHome(Access::ReadOnly) => {
                formatter.write_str("read access to your whole home directory, except for known places of secrets")
            }
            Danger::Home(Access::ReadWrite) | Danger::StartedAtHome(Access::ReadWrite) => formatter.write_str(
                "write access to your whole home directory, except for known places of secrets; what it makes there may run on your machine",
            ),
            Danger::Socket(path) => write!(
                formatter,
                "the socket {}, and all that the program behind it does for you (an engine's is as good as root)",
                term::path(path)
            ),
        }
    }
}

/// What a coco file asks for by itself that needs consent; nothing for most.
pub fn needs_consent(file: &CocoFile) -> Vec<Danger> {
    Danger::of(file).into_iter().map(|located| located.danger).filter(Danger::needs_consent).collect()
}

/// What a run asks for that needs consent: the coco file's, and what only the machine shows: where a path leads,
/// and where the tool is started.
pub fn dangers(file: &CocoFile, world: &World, facts: &Facts) -> Vec<Danger> {
    let mut found = needs_consent(file);
    for (mount, source) in file.mounts.iter().zip(&facts.sources) {
        let danger = match (&mount.src, source.kind) {
            (MountSource::CurrentDirectory | MountSource::Project, _) if is_home(&source.canonical, world) => {
                Danger::StartedAtHome(mount.access)
            }
            (MountSource::Absolute(_) | MountSource::Home(Some(_)), _) if is_home(&source.canonical, world) => {
                Danger::Home(mount.access)
            }
            (source_text, SourceKind::Socket) if !is_socket_path(source_text) => {
                Danger::Socket(source.canonical.clone())
            }
            (
                MountSource::CurrentDirectory | MountSource::Project | MountSource::Home(_) | MountSource::Absolute(_),
                SourceKind::Missing
                | SourceKind::Directory
                | SourceKind::File
                | SourceKind::Socket
                | SourceKind::Special,
            ) => continue,
        };
        found.push(danger);
    }
    found.sort();
    found.dedup();
    found
}

pub fn is_home(path: &Path, world: &World) -> bool {
    path == world.home
}

/// What the user agreed to for this coco file as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Agreement {
    /// Nothing.
    #[default]
    Nothing,
    /// What the file asks for.
    AsWritten,
    /// That, and being started in home.
    AtHomeToo,
}

impl Agreement {
    /// What is on record for a coco file of this digest.
    pub fn on_record(facts: &Facts, digest: Digest) -> Agreement {
        match &facts.consent {
            Some(consent) if consent.digest == digest => match consent.home {
                AtHome::Refused => Agreement::AsWritten,
                AtHome::DangerousAllowed => Agreement::AtHomeToo,
            },
            Some(_) | None => Agreement::Nothing,
        }
    }

    /// Whether it covers this.
    pub fn covers(self, danger: &Danger) -> bool {
        match danger {
            Danger::StartedAtHome(_) => self == Agreement::AtHomeToo,
            Danger::EngineArgument(_) | Danger::HostNetwork | Danger::Display | Danger::Home(_) | Danger::Socket(_) => {
                self != Agreement::Nothing
            }
            Danger::EngineNetwork | Danger::Unprotected => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn every_need_for_consent_is_named() {
        let needs = |rest: &str| -> Vec<String> {
            let text = format!(r#"{{"tool": "npm:x", {rest}}}"#);
            let file = crate::config::parse(text.as_bytes()).unwrap();
            needs_consent(&file).iter().map(ToString::to_string).collect()
        };
        assert_eq!(needs(r#""network": "public""#), Vec::<String>::new());
        assert_eq!(
            needs(r#""network": "host", "podman_args": ["--privileged", "--shm-size=1g"]"#),
            ["the engine argument \"--privileged\"", "the host's own network"]
        );
        for (rest, words) in [
            (r#""x11": true"#, "X11 display"),
            (r#""mounts": [{"src": "~", "dst": "/h", "opts": "ro"}]"#, "read access to your whole home directory"),
            (r#""mounts": [{"src": "~", "dst": "/h", "opts": "rw"}]"#, "write access to your whole home directory"),
            (r#""mounts": [{"src": "~", "dst": "/h"}]"#, "write access to your whole home directory"),
            (r#""mounts": [{"src": "/run/podman/podman.sock", "dst": "/s"}]"#, "the socket /run/podman/podman.sock"),
            (r#""mounts": [{"src": "~/x/docker.sock", "dst": "/s"}]"#, "the socket ~/x/docker.sock"),
        ] {
            let needs = needs(rest);
            assert!(needs.len() == 1 && needs[0].contains(words), "{rest}: {needs:?}");
        }
    }

    #[test]
    fn agreeing_to_a_file_is_not_agreeing_to_be_started_in_home() {
        let started = Danger::StartedAtHome(Access::ReadOnly);
        for danger in [
            Danger::EngineArgument("-x".to_owned()),
            Danger::HostNetwork,
            Danger::Display,
            Danger::Home(Access::ReadWrite),
            Danger::Socket(PathBuf::from("/s")),
        ] {
            assert!(!Agreement::Nothing.covers(&danger), "{danger:?}");
            assert!(Agreement::AsWritten.covers(&danger) && Agreement::AtHomeToo.covers(&danger), "{danger:?}");
        }
        assert!(!Agreement::Nothing.covers(&started) && !Agreement::AsWritten.covers(&started));
        assert!(Agreement::AtHomeToo.covers(&started));
        for danger in [Danger::EngineNetwork, Danger::Unprotected] {
            assert!(!danger.needs_consent() && Agreement::Nothing.covers(&danger), "{danger:?}");
        }
    }
}
