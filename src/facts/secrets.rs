//! Paths that no tool may see, on this machine and for this user.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::host::World;
use crate::rules::host_paths::OFF_LIMITS_AT_HOME;
use crate::rules::variables::SOCKET_VARIABLES;

/// Directories whose entries decide what coco does.
fn deciding(world: &World) -> [PathBuf; 4] {
    let own = &world.directories;
    [own.tools.clone(), own.config.join("keys"), own.config.join("allowed"), own.state.join("store")]
}

/// Which entries of those are links: into a repository of settings, say, that a tool may write.
fn linked(world: &World) -> impl Iterator<Item = PathBuf> {
    deciding(world).into_iter().flat_map(|directory| {
        let entries = fs::read_dir(&directory).into_iter().flatten().filter_map(Result::ok);
        let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
        links.map(|entry| entry.path()).collect::<Vec<_>>()
    })
}

/// The secrets and coco's own directories, as named and as resolved: a `~/.ssh` may be a link into a
/// repository of settings, and so may a coco file.
pub fn off_limits(world: &World) -> Vec<PathBuf> {
    let all = off_limits_by_name(world).chain(linked(world));
    all.flat_map(|path| [resolved(&path), Some(path)]).flatten().collect()
}

/// The same by their names alone. Pure.
pub fn off_limits_by_name(world: &World) -> impl Iterator<Item = PathBuf> {
    let own = world.directories.own().map(PathBuf::clone);
    let base = |name| world.variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let below = |base: Option<PathBuf>, prefix: &'static str| {
        let names = OFF_LIMITS_AT_HOME.iter().filter_map(move |name| name.strip_prefix(prefix));
        base.into_iter().flat_map(move |base| names.clone().map(move |name| base.join(name)).collect::<Vec<_>>())
    };
    // Whoever sees the directory of an agent's or engine's socket can use the socket.
    let sockets = SOCKET_VARIABLES
        .iter()
        .filter_map(|name| world.variable(name)?.to_str())
        .map(|address| address.trim_start_matches("unix://").trim_start_matches("unix:path="))
        .map(|address| PathBuf::from(address.split(',').next().unwrap_or_default()))
        .filter(|path| path.is_absolute());
    let named = OFF_LIMITS_AT_HOME.iter().map(|name| world.home.join(name));
    let moved = below(base("XDG_CONFIG_HOME"), ".config/").chain(below(base("XDG_DATA_HOME"), ".local/share/"));
    named
        .chain(moved)
        .chain(own)
        .chain(deciding(world))
        .chain(sockets)
        .chain(base("XDG_RUNTIME_DIR"))
        .chain(base("GNUPGHOME"))
}

/// Where the path leads, if it exists. The kernel resolves it, in one call where nothing exists: that is
/// the case for most paths, and every run asks for all of them.
fn resolved(path: &Path) -> Option<PathBuf> {
    let file = File::options().read(true).custom_flags(OFlags::PATH.bits().cast_signed()).open(path).ok()?;
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}
