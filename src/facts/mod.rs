//! What a run or an installation of one tool needs to know, looked up once into plain data. Reads the file
//! system and `/proc`, changes nothing, starts nothing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{Access, CocoFile, Protect};
use crate::error::Error;
use crate::host::World;
use crate::host::directories::Directories;
use crate::host::directories::check_outside_projects;
use crate::host::kernel;
use crate::host::project::{current_directory, project_of};
use crate::host::search_path::search_path;
use crate::network::upstream::Upstream;
use crate::sys::files::read_limited;
use crate::sys::hash::Digest;
use crate::sys::limits::{Resource, limits};
use crate::sys::mountinfo::mount_points;
use crate::term;

mod ancestors;
pub mod autorun_scan;
mod certificates;
mod mount_sources;
mod secrets;

use autorun_scan::{Extent, Scan, ScanContext, ScanScope, newly_protected};
pub use certificates::ca_certificates;
use mount_sources::source;
pub use mount_sources::{Identity, Source, SourceKind};
pub use secrets::{off_limits, off_limits_by_name};

/// What a run or an installation of one tool needs to know.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The directory in which the tool was started, canonical.
    pub cwd: PathBuf,
    /// The nearest ancestor of `cwd` that holds `.git`, else `cwd`.
    pub project: PathBuf,
    /// One for each mount of the coco file, in its order.
    pub sources: Vec<Source>,
    /// What a scan of each source found, in the same order: what runs on the host by itself, where the tool
    /// may write it; secrets and sockets.
    pub scans: Vec<Scan>,
    /// The caller's own namespaces (`pid:[4026531836]`, namespaces(7)): the sandbox must have others.
    pub namespaces: Vec<String>,
    /// The processes above this one, the nearest first. A language server asks whether its editor is alive.
    pub ancestors: Vec<u32>,
    /// What no tool may see: secrets and coco's own directories, as named and as resolved.
    pub off_limits: Vec<PathBuf>,
    /// Those of coco's own directories that do not exist yet.
    pub missing_directories: Vec<PathBuf>,
    /// Mount points of this machine, for what lies below a source.
    pub mount_points: Vec<PathBuf>,
    /// Soft and hard limits on open files.
    pub open_files: (u64, u64),
    /// Soft and hard limits on processes.
    pub processes: (u64, u64),
    /// Soft and hard limits on core dumps, in bytes.
    pub core_dumps: (u64, u64),
    /// Which limits this user can set through cgroups.
    pub controllers: Controllers,
    /// Whether SELinux is enforcing.
    pub selinux: SeLinux,
    /// The certificates of `COCO_CA_BUNDLE`, PEM.
    pub ca_certificates: Option<Vec<u8>>,
    /// The consent that is on record.
    pub consent: Option<Consent>,
    /// The X display's socket and cookie, if there is one.
    pub display: Option<Display>,
    /// How hosts are reached, by `HTTPS_PROXY` and `NO_PROXY`.
    pub upstream: Upstream,
    /// The program that looks names up as all of this machine does, name services included.
    pub getent: Option<PathBuf>,
    /// Whether a sandbox of this boot had no Landlock.
    pub landlock_is_missing: bool,
    /// Writable sources whose scan did not cover everything.
    pub cut_short: Vec<PathBuf>,
}

/// What the user agreed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// The digest of the coco file, as it was then.
    pub digest: Digest,
    /// Whether the tool may be started in the home directory, and see all of it.
    pub home: AtHome,
}

/// Whether a tool whose coco file grants the current directory or the project may be started in home.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AtHome {
    /// It may not.
    #[default]
    Refused,
    /// It may, and gets all of home but secrets and coco's own.
    DangerousAllowed,
}

/// The longest runtime directory, in bytes. A socket's path has at most 107 (unix(7)), of which
/// `/run-PID/control.sock` takes the rest.
const MAX_RUNTIME_DIRECTORY: usize = 75;

/// What cgroups let this user limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Controllers {
    /// `memory`
    pub memory: bool,
    /// `pids`
    pub pids: bool,
    /// `cpu`
    pub cpu: bool,
}

/// Whether SELinux confines containers on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeLinux {
    /// Not there or permissive.
    Off,
    /// Enforcing.
    Enforcing,
}

/// The caller's X display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Display {
    /// Its socket.
    pub socket: PathBuf,
    /// `:N`, as the tool gets it.
    pub name: String,
    /// The caller's Xauthority file.
    pub authority: Option<PathBuf>,
}

impl Facts {
    /// Looks up everything that the decision about `file` needs.
    ///
    /// # Errors
    /// A fact that can't be found out, and an environment that coco can't work in.
    pub fn gather(world: &World, file: &CocoFile, consent: Option<Consent>) -> Result<Facts, Error> {
        let cwd = current_directory().map_err(Error::io("find the current directory", "."))?;
        let project = project_of(&cwd);
        check_runtime_directory(&world.directories)?;
        check_outside_projects(world, &cwd)?;
        let sources: Vec<Source> =
            file.mounts.iter().map(|mount| source(world, &mount.src, &cwd, &project)).collect::<Result<_, _>>()?;
        let off_limits = off_limits(world);
        let git = git_configuration(world);
        let scans: Vec<Scan> = scan_scopes(file, &sources)
            .map(|(source, scope)| match scope {
                Some(scope) => autorun_scan::scan_before_run(
                    &source.canonical,
                    scope,
                    ScanContext { secrets: &off_limits, git_configuration: &git },
                ),
                None => Ok(Scan::default()),
            })
            .collect::<Result<_, _>>()?;
        let cut_short = scan_scopes(file, &sources)
            .zip(&scans)
            .filter(|((_, scope), scan)| matches!(scope, Some(ScanScope::All(_))) && scan.extent == Extent::CutShort)
            .map(|((source, _), _)| source.canonical.clone())
            .collect();
        Ok(Facts {
            cut_short,
            sources,
            scans,
            project,
            namespaces: namespaces()?,
            ancestors: ancestors::ancestors(),
            off_limits,
            missing_directories: world.directories.own().into_iter().filter(|path| !path.exists()).cloned().collect(),
            mount_points: mount_points(),
            open_files: limits(Resource::Nofile),
            processes: limits(Resource::Nproc),
            core_dumps: limits(Resource::Core),
            controllers: controllers(),
            selinux: match fs::read("/sys/fs/selinux/enforce") {
                Ok(state) if state.first() == Some(&b'1') => SeLinux::Enforcing,
                _ => SeLinux::Off,
            },
            ca_certificates: ca_certificates(world)?,
            consent,
            display: display(world),
            upstream: upstream(world),
            getent: search_path(world, "getent")?,
            cwd,
            landlock_is_missing: kernel::landlock_is_missing(world),
        })
    }
}

impl Facts {
    /// What runs on the host by itself, lies in writable sources now, and was not there before; and whether a
    /// scan was cut short that was complete before the run.
    pub fn planted(&self, world: &World, file: &CocoFile) -> (Vec<PathBuf>, Extent) {
        let git = git_configuration(world);
        let context = ScanContext { secrets: &self.off_limits, git_configuration: &git };
        let mut new: Vec<PathBuf> = Vec::new();
        let mut extent = Extent::Complete;
        for ((source, scope), before) in scan_scopes(file, &self.sources).zip(&self.scans) {
            if let Some(scope @ ScanScope::All(_)) = scope {
                let after = autorun_scan::scan(&source.canonical, scope, context);
                new.extend(newly_protected(before, &after));
                if before.extent == Extent::Complete {
                    extent = extent.max(after.extent);
                }
            }
        }
        new.sort();
        new.dedup();
        (new, extent)
    }
}

/// Refuses a runtime directory in which no engine could be given a socket or a link.
fn check_runtime_directory(directories: &Directories) -> Result<(), Error> {
    let runtime = directories.runtime.as_path();
    let overlaps = |other: &&&PathBuf| runtime.starts_with(other) || other.starts_with(runtime);
    let kept = [&directories.tools, &directories.volumes, &directories.config, &directories.state];
    if let Some(other) = kept.iter().find(overlaps) {
        return Err(Error::Environment {
            name: "XDG_RUNTIME_DIR",
            message: format!(
                "what lies in {} is removed after a run, and coco keeps {}",
                term::path(runtime),
                term::path(other)
            ),
            hint: "set XDG_RUNTIME_DIR to a directory of its own".to_owned(),
        });
    }
    // Links for paths that no engine can carry lie in it, so every engine must be able to carry it.
    if runtime.to_str().is_none_or(|text| text.chars().any(char::is_control)) {
        return Err(Error::Environment {
            name: "XDG_RUNTIME_DIR",
            message: format!("{} has bytes that engines can't carry", term::path(runtime)),
            hint: "set it to a private directory with a plain name".to_owned(),
        });
    }
    if runtime.as_os_str().len() > MAX_RUNTIME_DIRECTORY {
        return Err(Error::Environment {
            name: "XDG_RUNTIME_DIR",
            message: format!("{} is too long for a socket's path in it", term::path(runtime)),
            hint: "set it to a private directory with a shorter name".to_owned(),
        });
    }
    Ok(())
}

/// What each source is scanned for; `None` for what is not scanned.
fn scan_scopes<'a>(
    file: &'a CocoFile,
    sources: &'a [Source],
) -> impl Iterator<Item = (&'a Source, Option<ScanScope<'a>>)> {
    file.mounts.iter().zip(sources).map(|(mount, source)| {
        let scope = match (source.kind, mount.access, &file.protect) {
            (SourceKind::Missing | SourceKind::File | SourceKind::Socket | SourceKind::Special, _, _) => None,
            (SourceKind::Directory, Access::ReadOnly, _) => Some(ScanScope::Hidden),
            (SourceKind::Directory, Access::ReadWrite, Protect::DangerousNothing) => Some(ScanScope::HiddenInWritable),
            (SourceKind::Directory, Access::ReadWrite, Protect::Default | Protect::List) => Some(ScanScope::All(&[])),
            (SourceKind::Directory, Access::ReadWrite, Protect::Paths(paths)) => Some(ScanScope::All(paths)),
        };
        (source, scope)
    })
}

/// The caller's own git configuration: it applies to every repository.
fn git_configuration(world: &World) -> Vec<u8> {
    let base = world.variable("XDG_CONFIG_HOME").map_or_else(|| world.home.join(".config"), PathBuf::from);
    let files = [PathBuf::from("/etc/gitconfig"), world.home.join(".gitconfig"), base.join("git/config")];
    let texts = files.iter().filter_map(|path| read_limited(path, MAX_GIT_CONFIGURATION).ok().flatten());
    texts.collect::<Vec<_>>().join(&b'\n')
}

/// The most that is read of the caller's git configuration, in bytes.
const MAX_GIT_CONFIGURATION: usize = 64 << 10;

/// The lower-case spelling comes first, as curl has it.
fn upstream(world: &World) -> Upstream {
    let value = |lower: &str, upper: &str| {
        let value = world.variable(lower).or_else(|| world.variable(upper))?;
        // What is not UTF-8 holds no usable address. The reason is told when the proxy is used.
        Some(value.to_str().unwrap_or("\u{fffd}"))
    };
    Upstream::new(value("https_proxy", "HTTPS_PROXY"), value("no_proxy", "NO_PROXY"))
}

/// The controllers of this process's cgroup, version 2 (cgroups(7)); with version 1 a plain user has
/// none. `/proc/self/cgroup` has one line `0::/PATH` then.
fn controllers() -> Controllers {
    let table = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = match table.trim_end().strip_prefix("0::/") {
        Some(path) if !path.contains('\n') => Path::new("/sys/fs/cgroup").join(path),
        _ => return Controllers::default(),
    };
    let list = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
    let has = |name| list.split_whitespace().any(|controller| controller == name);
    Controllers { memory: has("memory"), pids: has("pids"), cpu: has("cpu") }
}

fn namespaces() -> Result<Vec<String>, Error> {
    let link = |name| {
        let path = PathBuf::from(format!("/proc/self/ns/{name}"));
        let link = fs::read_link(&path).map_err(Error::io("read", &path))?;
        Ok(term::path(&link))
    };
    ["ipc", "mnt", "net", "pid", "uts"].into_iter().map(link).collect()
}

/// The display in `DISPLAY`, if it is a local one with a socket in the file system.
fn display(world: &World) -> Option<Display> {
    let name = world.variable("DISPLAY")?.to_str()?;
    let number = name.strip_prefix(':')?.split('.').next()?;
    if number.is_empty() || number.len() > 5 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let socket = PathBuf::from(format!("/tmp/.X11-unix/X{number}"));
    let authority = world.variable("XAUTHORITY").map_or_else(|| world.home.join(".Xauthority"), PathBuf::from);
    socket.symlink_metadata().ok()?;
    Some(Display { socket, name: format!(":{number}"), authority: authority.is_file().then_some(authority) })
}
