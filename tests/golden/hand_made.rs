//! A world and facts made by hand, for tests of the pure part: nothing here looks at this machine, which
//! `laws::pure` holds. Whoever includes this file has the crate in scope under its own name, `coco`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::coco::config::{CocoFile, MountSource, parse};
use super::coco::engine::{Engine, EngineKind};
use super::coco::facts::autorun_scan::Scan;
use super::coco::facts::{
    AtHome, Consent, Controllers, Display, Facts, SeLinux, Source, SourceKind, off_limits_by_name,
};
use super::coco::host::directories::Directories;
use super::coco::host::{Terminals, World};
use super::coco::names::ToolName;
use super::coco::network::upstream::Upstream;
use super::coco::sys::hash::Digest;

/// The digest of every coco file here; policies compare it and never compute it.
pub const DIGEST: Digest = Digest::from_bytes([0x12; 32]);

/// A caller of this number on a machine where all is in its usual place.
pub fn world(uid: u32) -> World {
    let home = PathBuf::from(if uid == 0 { "/root" } else { "/home/user" });
    let data = home.join(".local/share/coco");
    World {
        variables: BTreeMap::new(),
        uid,
        gid: uid,
        umask: 0o022,
        program: PathBuf::from("/usr/local/bin/coco"),
        directories: Directories {
            tools: data.join("tools"),
            volumes: data.join("volumes"),
            config: home.join(".config/coco"),
            state: home.join(".local/state/coco"),
            bin: home.join(".local/bin"),
            runtime: PathBuf::from(format!("/run/user/{uid}/coco")),
        },
        terminals: Terminals::default(),
        pid: 4242,
        parent: 4241,
        home,
    }
}

/// The same with variables.
pub fn with(mut world: World, variables: &[(&str, &str)]) -> World {
    world.variables.extend(variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))));
    world
}

/// What there is to know for a coco file: the current directory is below a project, and every mount
/// source is a directory.
pub fn facts(world: &World, file: &CocoFile) -> Facts {
    let cwd = PathBuf::from("/code/project/src");
    let project = PathBuf::from("/code/project");
    let sources = file
        .mounts
        .iter()
        .map(|mount| {
            let path = match &mount.src {
                MountSource::CurrentDirectory => cwd.clone(),
                MountSource::Project => project.clone(),
                MountSource::Home(None) => world.home.clone(),
                MountSource::Home(Some(rest)) => world.home.join(rest.as_str()),
                MountSource::Absolute(path) => PathBuf::from(path),
            };
            Source { asked: path.clone(), canonical: path, kind: SourceKind::Directory, identity: None }
        })
        .collect();
    Facts {
        scans: vec![Scan::default(); file.mounts.len()],
        missing_directories: Vec::new(),
        cwd,
        project,
        sources,
        namespaces: ["ipc", "mnt", "net", "pid", "uts"].map(|name| format!("{name}:[1]")).to_vec(),
        ancestors: vec![4242, 77],
        off_limits: off_limits_by_name(world).collect(),
        mount_points: vec![PathBuf::from("/"), PathBuf::from("/proc"), PathBuf::from("/code")],
        open_files: (1024, 20_000),
        processes: (30_000, 60_000),
        core_dumps: (0, u64::MAX),
        controllers: Controllers { memory: true, pids: true, cpu: true },
        selinux: SeLinux::Off,
        ca_certificates: world
            .variables
            .contains_key(std::ffi::OsStr::new("COCO_CA_BUNDLE"))
            .then(|| b"PEM\n".to_vec()),
        consent: None,
        display: Some(Display {
            socket: PathBuf::from("/tmp/.X11-unix/X7"),
            name: ":7".to_owned(),
            authority: Some(world.home.join(".Xauthority")),
        }),
        upstream: Upstream::new(Some("http://user:secret@proxy.corp:3128"), None),
        getent: Some(PathBuf::from("/usr/bin/getent")),
        landlock_is_missing: false,
        cut_short: Vec::new(),
    }
}

/// Consent to a file of this digest as it is written.
pub fn agreed(digest: Digest) -> Consent {
    Consent { digest, home: AtHome::Refused }
}

/// A coco file that parses.
pub fn file(text: &str) -> CocoFile {
    parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

/// A tool's name.
pub fn tool(name: &str) -> ToolName {
    ToolName::new(name).unwrap()
}

/// An engine in the usual place; docker's socket is root's.
pub fn engine(kind: EngineKind, uid: u32) -> Engine {
    Engine::new(kind, Path::new("/usr/bin").join(kind.program()), uid, Some(0))
}

/// The least tool.
pub const LEAST: &str = r#"{"tool": "npm:least"}"#;

/// A tool to which everything is granted that needs no consent, and what does.
pub const EVERYTHING: &str = r#"{
    "tool": "npm:@scope/everything@2.1", "command": "every-thing", "description": "d", "homepage": "https://e.example",
    "mounts": [
        {"src": "@project", "dst": "/workspace", "opts": "rw"},
        {"src": "~/.config/every", "dst": "/root/.config/every", "opts": "ro,z"},
        {"src": "/opt/with, comma and \"quote\"", "opts": "rw,Z"},
        {"src": "/code/read", "dst": "/srv/read", "opts": "ro"}
    ],
    "env": {"LEVEL": "9", "NAME": "a b\nc"}, "env_passthrough": ["LC_ALL", "API_TOKEN", "ABSENT"],
    "dependencies": {"mise": ["node@22", "npm:companion@1"]}, "isolated": true,
    "network": "shared-net", "ports": ["8080:80", "[::1]:9000:9001/tcp"], "x11": true, "data": "rw",
    "limits": {"memory": "2g", "pids": 99, "cpus": 1.25},
    "podman_args": ["--shm-size=256m", "--device", "/dev/fuse"]
}"#;

/// A tool that may write the project.
pub const WRITING: &str = r#"{"tool": "npm:writing", "mounts": [{"src": "@project", "dst": "/w", "opts": "rw"}]}"#;

/// A tool that reaches some hosts and can be reached itself.
pub const REACHING: &str = r#"{
    "tool": "npm:reaching", "allowed_hosts": ["api.example.com", "*.cdn.example.com", "git.example.com:22"],
    "ports": ["8080:80"]
}"#;

/// A tool that needs Debian packages, a companion and runtimes to be installed.
pub const BUILT: &str = r#"{
    "tool": "pipx:built@0.6", "dependencies": {"apt": ["gcc", "libpq-dev"], "mise": ["python@3.13", "uv", "node@lts"]}
}"#;
