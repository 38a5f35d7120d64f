//! What in a coco file opens the sandbox further than a granted file or host does. The one list of it: what
//! needs the user's consent follows from it, and what a store refuses and `coco lint` warns of beside `store_rules`. Pure.

use std::path::{Path, PathBuf};

use super::{Access, CocoFile, MountSource, Network, Protect, X11};
use crate::rules::engine_options::is_harmless;

/// Something that opens the sandbox further than a granted file or host does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Danger {
    /// An engine argument that may open the sandbox.
    EngineArgument(String),
    /// The host's own network.
    HostNetwork,
    /// The X11 display.
    Display,
    /// The whole home directory, asked for by the coco file.
    Home(Access),
    /// The whole home directory, because the tool was started there.
    StartedAtHome(Access),
    /// A socket of the host's.
    Socket(PathBuf),
    /// A network of the engine's, private addresses included.
    EngineNetwork,
    /// `"protect": false`: what runs on the host by itself may be written.
    Unprotected,
}

/// A danger, and where the coco file asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// A JSON pointer (RFC 6901) into the coco file.
    pub place: String,
    /// What is asked for there.
    pub danger: Danger,
}

impl Danger {
    /// Every danger that a coco file asks for by itself.
    pub fn of(file: &CocoFile) -> Vec<Located> {
        let mut found = Vec::new();
        let mut add = |place: String, danger| found.push(Located { place, danger });
        for (position, argument) in file.podman_args.iter().enumerate().filter(|(_, argument)| !is_harmless(argument)) {
            add(format!("/podman_args/{position}"), Danger::EngineArgument(argument.clone()));
        }
        match file.network {
            Network::None | Network::AllowedHosts(_) | Network::Public => {}
            Network::EngineDefault | Network::EngineNetwork(_) => add("/network".to_owned(), Danger::EngineNetwork),
            Network::DangerousHost => add("/network".to_owned(), Danger::HostNetwork),
        }
        match file.x11 {
            X11::Absent => {}
            X11::DangerousDisplay => add("/x11".to_owned(), Danger::Display),
        }
        match file.protect {
            Protect::Default | Protect::List | Protect::Paths(_) => {}
            Protect::DangerousNothing => add("/protect".to_owned(), Danger::Unprotected),
        }
        for (position, mount) in file.mounts.iter().enumerate() {
            let place = format!("/mounts/{position}/src");
            match &mount.src {
                MountSource::Home(None) => add(place, Danger::Home(mount.access)),
                source @ (MountSource::Home(Some(_)) | MountSource::Absolute(_)) if is_socket_path(source) => {
                    add(place, Danger::Socket(PathBuf::from(source.to_string())));
                }
                MountSource::CurrentDirectory
                | MountSource::Project
                | MountSource::Home(Some(_))
                | MountSource::Absolute(_) => {}
            }
        }
        found
    }

    /// What a coco file asks for besides when the tool is started in the home directory.
    pub fn of_start_at_home(file: &CocoFile) -> Vec<Located> {
        let mounts = file.mounts.iter().enumerate();
        mounts
            .filter(|(_, mount)| matches!(mount.src, MountSource::CurrentDirectory | MountSource::Project))
            .map(|(position, mount)| Located {
                place: format!("/mounts/{position}/src"),
                danger: Danger::StartedAtHome(mount.access),
            })
            .collect()
    }

    /// Whether the user has to agree to it before the tool runs.
    pub fn needs_consent(&self) -> bool {
        match self {
            Danger::EngineArgument(_)
            | Danger::HostNetwork
            | Danger::Display
            | Danger::Home(_)
            | Danger::StartedAtHome(_)
            | Danger::Socket(_) => true,
            Danger::EngineNetwork | Danger::Unprotected => false,
        }
    }
}

/// Whether a mount's source is, by its name, a socket of the host's: engines, agents and message buses have
/// theirs in these places.
pub fn is_socket_path(source: &MountSource) -> bool {
    let ends_so = |path: &str| Path::new(path).extension().is_some_and(|end| end == "sock");
    match source {
        MountSource::Absolute(path) => path.starts_with("/run/") || path.starts_with("/var/run/") || ends_so(path),
        MountSource::Home(Some(path)) => ends_so(path.as_str()),
        MountSource::CurrentDirectory | MountSource::Project | MountSource::Home(None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{parse, unfit_for_store};

    /// One file for each danger, and where it asks for it.
    const FILES: &[(&str, &str)] = &[
        (r#""podman_args": ["--shm-size=1g", "--privileged"]"#, "/podman_args/1"),
        (r#""network": "host""#, "/network"),
        (r#""network": "default""#, "/network"),
        (r#""network": "a-net""#, "/network"),
        (r#""x11": true"#, "/x11"),
        (r#""protect": false"#, "/protect"),
        (r#""mounts": [{"src": ".", "opts": "ro"}, {"src": "~", "dst": "/h", "opts": "ro"}]"#, "/mounts/1/src"),
        (r#""mounts": [{"src": "/run/podman/podman.sock", "dst": "/s"}]"#, "/mounts/0/src"),
        (r#""mounts": [{"src": "~/x/docker.sock", "dst": "/s"}]"#, "/mounts/0/src"),
    ];

    /// A new variant needs a number here and a file above. No file asks for a start in home by itself.
    fn number(danger: &Danger) -> Option<usize> {
        match danger {
            Danger::EngineArgument(_) => Some(0),
            Danger::HostNetwork => Some(1),
            Danger::Display => Some(2),
            Danger::Home(_) => Some(3),
            Danger::StartedAtHome(_) => None,
            Danger::Socket(_) => Some(4),
            Danger::EngineNetwork => Some(5),
            Danger::Unprotected => Some(6),
        }
    }

    #[test]
    fn every_danger_has_its_place_and_no_store_takes_it() {
        let mut numbers = Vec::new();
        for (rest, place) in FILES {
            let file = parse(format!(r#"{{"tool": "npm:x", {rest}}}"#).as_bytes()).unwrap();
            let found = Danger::of(&file);
            let [located] = found.as_slice() else { panic!("{rest}: {found:?}") };
            assert_eq!(located.place, *place, "{rest}");
            let refused = unfit_for_store(&file).unwrap();
            assert!(place.starts_with(&refused.pointer), "{rest}: {}", refused.pointer);
            numbers.extend(number(&located.danger));
        }
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers, (0..7).collect::<Vec<_>>());
    }

    #[test]
    fn a_start_in_home_opens_the_mounts_that_follow_the_start() {
        let file =
            br#"{"tool": "npm:x", "mounts": [{"src": "/a", "opts": "ro"}, {"src": ".", "opts": "rw", "dst": "/w"},
            {"src": "@project", "opts": "ro"}]}"#;
        let found = Danger::of_start_at_home(&parse(file).unwrap());
        let found: Vec<(&str, &Danger)> = found.iter().map(|found| (found.place.as_str(), &found.danger)).collect();
        assert_eq!(
            found,
            [
                ("/mounts/1/src", &Danger::StartedAtHome(Access::ReadWrite)),
                ("/mounts/2/src", &Danger::StartedAtHome(Access::ReadOnly)),
            ]
        );
    }
}
