//! Which of the host's files a tool gets, and where. Which ones no tool may get is data in
//! `rules/host_paths`. Pure.

use std::path::{Path, PathBuf};

use super::consent::is_home;
use super::{Cover, Creation, GrantedMount, HiddenPath};
use crate::config::{Access, CocoFile, Mount, MountSource, Relabel, Workdir};
use crate::error::Error;
use crate::facts::autorun_scan::{FileKind, ProtectedPath, Protection, Scan};
use crate::facts::{Facts, Source, SourceKind};
use crate::host::World;
use crate::rules::autorun::MAX_PROTECTIVE_MOUNTS;
use crate::rules::host_paths::{
    FORBIDDEN_TREES, FORBIDDEN_WHOLE, FORBIDDEN_WRITABLE, is_users_home, secret_in_any_home,
};
use crate::rules::sandbox_paths::{GuestPath, WORKSPACE};
use crate::term;

/// The mounts that a tool gets, parents before children. What needs consent was agreed to.
///
/// # Errors
/// A source that no tool may see, that is missing, or that can't have its place.
pub fn granted_mounts(file: &CocoFile, world: &World, facts: &Facts) -> Result<Vec<GrantedMount>, Error> {
    let mut granted: Vec<GrantedMount> = Vec::new();
    for ((mount, source), scan) in file.mounts.iter().zip(&facts.sources).zip(&facts.scans) {
        check_allowed(mount, source, scan, world, facts)?;
        let creation = check_presence(source, mount, world)?;
        let dst = destination(mount, source)?;
        if let Some(other) = granted.iter().find(|other| other.dst == dst) {
            return Err(Error::Mount {
                path: source.canonical.clone(),
                reason: format!("{} is mounted at {dst} already", term::path(&other.src)),
                hint: "give one of the two another \"dst\"".to_owned(),
            });
        }
        let new = GrantedMount {
            src: source.canonical.clone(),
            dst,
            access: mount.access,
            relabel: mount.relabel,
            creation,
            identity: source.identity,
        };
        granted.extend(nested_mounts(&new, facts));
        granted.push(new);
    }
    // A mount point below a writable mount lies in files that the tool may change: an earlier run could
    // have left a link there that leads the mount to coco's own directories.
    for outer in granted.iter().filter(|outer| outer.access == Access::ReadWrite) {
        let below = |inner: &&GrantedMount| {
            inner.dst != outer.dst && Path::new(inner.dst.as_str()).starts_with(outer.dst.as_str())
        };
        if let Some(inner) = granted.iter().find(below) {
            return Err(Error::Mount {
                path: inner.src.clone(),
                reason: format!("its destination {} is inside {}, which the tool may change", inner.dst, outer.dst),
                hint: "give it a \"dst\" beside the writable mount, or make that one \"ro\"".to_owned(),
            });
        }
    }
    // Parents before children, whatever the order in the file: an engine that mounts in the given
    // order would otherwise hide a child.
    granted.sort_by(|left, right| left.dst.cmp(&right.dst));
    Ok(granted)
}

/// Mounts over parts of granted ones: read-only over what runs on the host by itself; the directories above
/// that over themselves, because a mount point can't be moved or removed; and empty ones over what must
/// not be seen.
///
/// # Errors
/// [`Error::Mount`] for what can't be protected, because of its name or because there is too much of it.
pub fn protective_mounts(file: &CocoFile, facts: &Facts) -> Result<(Vec<GrantedMount>, Vec<HiddenPath>), Error> {
    let (mut protected, mut hidden) = (Vec::new(), Vec::new());
    for ((mount, source), scan) in file.mounts.iter().zip(&facts.sources).zip(&facts.scans) {
        let outer = destination(mount, source)?;
        let refuse = |path: &Path, reason: String| Error::Mount {
            path: path.to_owned(),
            reason,
            hint:
                "mount a narrower directory, or set \"protect\": false if the tool may change what runs on your machine"
                    .to_owned(),
        };
        if scan.paths.len() > MAX_PROTECTIVE_MOUNTS {
            let count = scan.paths.len();
            return Err(refuse(&source.canonical, format!("{count} places in it would have to be protected")));
        }
        for (path, found) in &scan.paths {
            let rest = path.strip_prefix(&source.canonical).ok().and_then(Path::to_str);
            let rest = rest.ok_or_else(|| refuse(path, "it can't be protected: its name is not UTF-8".to_owned()))?;
            let dst = GuestPath::new(&format!("{outer}/{rest}"))
                .map_err(|message| refuse(path, format!("it can't be protected: {message}")))?;
            let access = match found.protection {
                Protection::Hidden => {
                    hidden.push(HiddenPath { dst, cover: cover(found) });
                    continue;
                }
                // The scan has refused what can't be protected. Were it here, read-only would be the closed choice.
                Protection::Impossible | Protection::ReadOnly => Access::ReadOnly,
                Protection::Pinned => Access::ReadWrite,
            };
            protected.push(GrantedMount {
                src: path.clone(),
                dst,
                access,
                relabel: Relabel::Keep,
                creation: Creation::Present,
                identity: Some(found.identity),
            });
        }
    }
    protected.sort_by(|left, right| left.dst.cmp(&right.dst));
    hidden.sort_by(|left, right| left.dst.cmp(&right.dst));
    Ok((protected, hidden))
}

fn cover(found: &ProtectedPath) -> Cover {
    match found.kind {
        FileKind::Directory => Cover::Directory,
        FileKind::File | FileKind::Socket | FileKind::Other => Cover::File,
    }
}

/// File systems mounted below a read-only source: a read-only bind does not reach into them, so
/// each is mounted over itself, read-only (mount_setattr(2) tells the difference).
fn nested_mounts(granted: &GrantedMount, facts: &Facts) -> Vec<GrantedMount> {
    if granted.access != Access::ReadOnly {
        return Vec::new();
    }
    facts
        .mount_points
        .iter()
        .filter(|point| **point != granted.src && !facts.off_limits.iter().any(|secret| point.starts_with(secret)))
        .filter_map(|point| {
            let rest = point.strip_prefix(&granted.src).ok()?.to_str()?;
            let dst = GuestPath::new(&format!("{}/{rest}", granted.dst)).ok()?;
            Some(GrantedMount { src: point.clone(), dst, identity: None, ..granted.clone() })
        })
        .collect()
}

fn check_presence(source: &Source, mount: &Mount, world: &World) -> Result<Creation, Error> {
    let refuse = |reason: &str, hint: &str| {
        Err(Error::Mount { path: source.asked.clone(), reason: reason.to_owned(), hint: hint.to_owned() })
    };
    match source.kind {
        SourceKind::Directory | SourceKind::File | SourceKind::Socket => Ok(Creation::Present),
        SourceKind::Special => refuse("it is a device or a pipe", "only files and directories can be mounted"),
        SourceKind::Missing => match mount.src {
            MountSource::Home(Some(_)) if source.canonical.starts_with(&world.home) => Ok(Creation::MakeDirectory),
            _ => refuse("it does not exist", "create it, or take the mount out of the coco file"),
        },
    }
}

fn destination(mount: &Mount, source: &Source) -> Result<GuestPath, Error> {
    if let Some(dst) = &mount.dst {
        return Ok(dst.clone());
    }
    let refuse = |reason: String| Error::Mount {
        path: source.canonical.clone(),
        reason,
        hint: "give the mount a \"dst\", for example \"/workspace\"".to_owned(),
    };
    let text = source
        .canonical
        .to_str()
        .ok_or_else(|| refuse("its path is not UTF-8, so it can't be the same inside".to_owned()))?;
    GuestPath::new(text).map_err(|message| refuse(format!("it can't have the same path inside: {message}")))
}

/// Refuses what no tool may see or write, whatever the user agreed to.
fn check_allowed(mount: &Mount, source: &Source, scan: &Scan, world: &World, facts: &Facts) -> Result<(), Error> {
    let path = source.canonical.as_path();
    let hint = match mount.src {
        _ if is_readable_alone(mount, path, scan, world) => "write \"opts\": \"ro\" if the tool only reads there",
        MountSource::CurrentDirectory | MountSource::Project => "start the tool in the project's own directory",
        MountSource::Home(_) | MountSource::Absolute(_) => "mount the one directory or file that the tool needs",
    };
    match reason_against(mount, source, scan, world, facts) {
        None => Ok(()),
        Some(reason) => Err(Error::Mount { path: path.to_owned(), reason, hint: hint.to_owned() }),
    }
}

/// Whether only writing is forbidden there, which a mount without `opts` asks for, too.
fn is_readable_alone(mount: &Mount, path: &Path, scan: &Scan, world: &World) -> bool {
    mount.access == Access::ReadWrite
        && reason_against_reading(path, world).is_none()
        && reason_against_writing(path, scan, world).is_some()
}

fn reason_against(mount: &Mount, source: &Source, scan: &Scan, world: &World, facts: &Facts) -> Option<String> {
    let path = source.canonical.as_path();
    if source.kind == SourceKind::Socket {
        // The user agreed to it by its name. coco's own sockets steer other sandboxes: nobody gets them.
        return world.directories.own().into_iter().find(|own| path.starts_with(own)).map(|own| secret(own));
    }
    let write = match mount.access {
        Access::ReadOnly => None,
        Access::ReadWrite => reason_against_writing(path, scan, world),
    };
    reason_against_reading(path, world).or(write).or_else(|| {
        if is_home(path, world) {
            // What is hidden has to exist: a tool must not make it first.
            let missing = facts.missing_directories.iter().find(|own| own.starts_with(path));
            missing.map(|own| {
                format!(
                    "coco's own {} does not exist yet, so it can't be hidden; coco allow creates it",
                    term::path(own)
                )
            })
        } else {
            reason_in_the_tree(mount, path, scan, facts)
        }
    })
}

/// Why nothing may be mounted from here, by the path alone. Home as a whole was agreed to.
fn reason_against_reading(path: &Path, world: &World) -> Option<String> {
    let agreed_home = is_home(path, world);
    if let Some(tree) = FORBIDDEN_TREES.iter().find(|tree| path.starts_with(tree)) {
        return Some(format!("nothing in {tree} may be mounted"));
    }
    if world.home.starts_with(path) && !agreed_home {
        return Some("it holds your home directory, with all your secrets".to_owned());
    }
    if FORBIDDEN_WHOLE.iter().any(|whole| path == Path::new(whole)) && !agreed_home {
        return Some("it is too broad to be mounted as a whole".to_owned());
    }
    if is_users_home(path) && !agreed_home {
        return Some("it is another user's whole home directory".to_owned());
    }
    let secret = secret_in_any_home(path)?;
    Some(format!("it is or is inside {}, which no tool may see", term::path(&secret)))
}

/// Why a path may not be written.
fn reason_against_writing(path: &Path, scan: &Scan, world: &World) -> Option<String> {
    let is_hidden = |path: &Path| {
        scan.paths.iter().any(|(place, found)| found.protection == Protection::Hidden && path.starts_with(place))
    };
    if world.program.starts_with(path) && !is_hidden(&world.program) {
        return Some("it holds coco itself, which the tool could replace".to_owned());
    }
    let tree = FORBIDDEN_WRITABLE.iter().find(|tree| path.starts_with(tree))?;
    Some(format!("nothing of {tree} may be written from inside"))
}

/// Why a path may not be mounted for what lies in it, or in what it lies.
fn reason_in_the_tree(mount: &Mount, path: &Path, scan: &Scan, facts: &Facts) -> Option<String> {
    if let Some(found) = facts.off_limits.iter().find(|secret| path.starts_with(secret) || secret.starts_with(path)) {
        return Some(secret(found));
    }
    let (socket, _) = scan.paths.iter().find(|(_, found)| found.kind == FileKind::Socket)?;
    match mount.src {
        // A project's sockets are hidden: git and development servers have some there.
        MountSource::CurrentDirectory | MountSource::Project => None,
        MountSource::Home(_) | MountSource::Absolute(_) => Some(format!(
            "it holds the socket {}, and whoever connects there can do what the program behind it can",
            term::path(socket)
        )),
    }
}

fn secret(path: &Path) -> String {
    format!("it is, is inside or holds {}, which no tool may see", term::path(path))
}

/// The working directory inside: where the current directory is mounted, unless the file says.
pub fn workdir(file: &CocoFile, facts: &Facts, mounts: &[GrantedMount]) -> Result<PathBuf, Error> {
    let inside = |sources: &[MountSource]| {
        file.mounts.iter().zip(&facts.sources).filter(|(mount, _)| sources.contains(&mount.src)).find_map(
            |(_, source)| {
                let rest = facts.cwd.strip_prefix(&source.canonical).ok()?;
                let granted = mounts.iter().find(|granted| granted.src == source.canonical)?;
                Some(if rest.as_os_str().is_empty() {
                    PathBuf::from(granted.dst.as_str())
                } else {
                    Path::new(granted.dst.as_str()).join(rest)
                })
            },
        )
    };
    match &file.workdir {
        Workdir::Guest(path) => Ok(PathBuf::from(path.as_str())),
        Workdir::Default => {
            Ok(inside(&[MountSource::CurrentDirectory, MountSource::Project])
                .unwrap_or_else(|| PathBuf::from(WORKSPACE)))
        }
        Workdir::CurrentDirectory => {
            let seen = mounts
                .iter()
                .any(|granted| facts.cwd.starts_with(&granted.src) && Path::new(granted.dst.as_str()) == granted.src);
            if seen {
                return Ok(facts.cwd.clone());
            }
            Err(Error::Mount {
                path: facts.cwd.clone(),
                reason: "the tool must start there (\"workdir\": \".\"), but no mount shows it at its own path"
                    .to_owned(),
                hint: "add {\"src\": \".\"} or {\"src\": \"@project\"} without \"dst\" to \"mounts\"".to_owned(),
            })
        }
    }
}
