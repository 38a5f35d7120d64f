//! The container engines: which ones there are, and where they differ. Pure but for `discover`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::host::directories::Directories;
use crate::host::volumes::Volumes;
use crate::rules::variables::{CLIENT_VARIABLES, ENGINE_STEERING};

pub mod discover;
pub mod helpers;
pub mod image;

/// A kind of container engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// podman, the default.
    Podman,
    /// docker.
    Docker,
}

impl EngineKind {
    /// In the order of preference.
    pub const ALL: &'static [EngineKind] = &[EngineKind::Podman, EngineKind::Docker];

    /// The program's name.
    pub fn program(self) -> &'static str {
        match self {
            EngineKind::Podman => "podman",
            EngineKind::Docker => "docker",
        }
    }

    /// Where its installations are.
    pub fn volumes(self, directories: &Directories) -> Volumes<'_> {
        Volumes::new(directories, self.program())
    }

    /// The kind with this name in `COCO_RUNTIME`.
    pub fn named(name: &str) -> Option<EngineKind> {
        EngineKind::ALL.iter().copied().find(|kind| kind.program() == name)
    }
}

/// Whose user namespace containers live in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserMapping {
    /// Root inside is the calling user outside.
    RootIsCaller,
    /// Ids are the same inside and outside.
    Identity,
}

fn is_passed_to_client(name: &str) -> bool {
    CLIENT_VARIABLES.contains(&name)
        || name.starts_with("LC_")
        || ENGINE_STEERING.iter().any(|known| known.name == name)
}

/// An engine on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// Which.
    pub kind: EngineKind,
    /// Its program, absolute.
    pub path: PathBuf,
    /// Whose user namespace.
    pub mapping: UserMapping,
    /// Its client's whole environment.
    pub environment: Vec<(OsString, OsString)>,
}

impl Engine {
    /// Decides the user mapping: podman is rootless when the caller is not root; docker when its
    /// socket belongs to a caller who is not root. Init checks the outcome from inside.
    pub fn new(kind: EngineKind, path: PathBuf, uid: u32, docker_socket_owner: Option<u32>) -> Engine {
        let rootless = match kind {
            EngineKind::Podman => uid != 0,
            EngineKind::Docker => uid != 0 && docker_socket_owner == Some(uid),
        };
        let mapping = if rootless { UserMapping::RootIsCaller } else { UserMapping::Identity };
        Engine { kind, path, mapping, environment: Vec::new() }
    }

    /// The same with those of the caller's variables that its client gets, and this PATH: podman looks for its helpers there.
    #[must_use]
    pub fn with_environment(mut self, variables: &BTreeMap<OsString, OsString>, path: OsString) -> Engine {
        let passed = variables.iter().filter(|(name, _)| name.to_str().is_some_and(is_passed_to_client));
        self.environment = passed.map(|(name, value)| (name.clone(), value.clone())).collect();
        self.environment.retain(|(name, _)| name != "PATH");
        self.environment.push(("PATH".into(), path));
        self
    }

    /// The variables that choose the engine's configuration, storage or service.
    pub fn steering(&self) -> impl Iterator<Item = &(OsString, OsString)> {
        self.environment.iter().filter(|(name, _)| ENGINE_STEERING.iter().any(|known| name == known.name))
    }

    /// The user inside, `uid:gid`, whose files belong to the caller outside.
    pub fn user(&self, uid: u32, gid: u32) -> String {
        match self.mapping {
            UserMapping::RootIsCaller => "0:0".to_owned(),
            UserMapping::Identity => format!("{uid}:{gid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_gets_what_it_needs_and_nothing_else() {
        let variables = [
            ("HOME", "/h"),
            ("LC_ALL", "C"),
            ("DOCKER_HOST", "unix:///x"),
            ("API_TOKEN", "secret"),
            ("PODMAN_USERNS", "host"),
            ("_CONTAINERS_ROOTLESS_UID", "0"),
            ("LD_PRELOAD", "/x"),
            ("BUILDAH_ISOLATION", "chroot"),
        ];
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        let engine = Engine::new(EngineKind::Podman, PathBuf::from("/usr/bin/podman"), 0, None)
            .with_environment(&variables, "/usr/bin".into());
        let names: Vec<&str> = engine.environment.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        assert_eq!(names, ["DOCKER_HOST", "HOME", "LC_ALL", "PATH"]);
        let steering: Vec<&str> = engine.steering().map(|(name, _)| name.to_str().unwrap()).collect();
        assert_eq!(steering, ["DOCKER_HOST"]);
    }
}
