//! The container engines: which there are, how they are told apart, and what they spell
//! differently. Pure.

use std::path::PathBuf;

/// A kind of container engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// podman, the default.
    Podman,
    /// docker.
    Docker,
}

impl EngineKind {
    /// In the order in which they are looked for.
    pub const ALL: &'static [EngineKind] = &[EngineKind::Podman, EngineKind::Docker];

    /// The program's name.
    pub fn program(self) -> &'static str {
        match self {
            EngineKind::Podman => "podman",
            EngineKind::Docker => "docker",
        }
    }

    /// The kind of a name in `COCO_RUNTIME`.
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

/// An engine on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// Which.
    pub kind: EngineKind,
    /// Its program, absolute.
    pub path: PathBuf,
    /// Whose user namespace.
    pub mapping: UserMapping,
}

impl Engine {
    /// Decides the user mapping: podman is rootless when the caller is not root; docker when its
    /// socket belongs to a caller who is not root. The helper checks the outcome from inside.
    pub fn new(kind: EngineKind, path: PathBuf, uid: u32, docker_socket_owner: Option<u32>) -> Engine {
        let rootless = match kind {
            EngineKind::Podman => uid != 0,
            EngineKind::Docker => uid != 0 && docker_socket_owner == Some(uid),
        };
        Engine { kind, path, mapping: if rootless { UserMapping::RootIsCaller } else { UserMapping::Identity } }
    }

    /// The user inside, `uid:gid`, whose files belong to the caller outside.
    pub fn user(&self, uid: u32, gid: u32) -> String {
        match self.mapping {
            UserMapping::RootIsCaller => "0:0".to_owned(),
            UserMapping::Identity => format!("{uid}:{gid}"),
        }
    }
}
