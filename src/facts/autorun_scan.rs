//! A bounded scan of a mount's source for what runs on the host by itself, for sockets and for secrets:
//! before a run, to protect or hide it, and after a run, to tell what is new.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::Identity;
use crate::error::Error;
use crate::names::RelativePath;
use crate::rules::autorun::{
    ConfiguredPath, MAX_DEPTH, MAX_DIRECTORIES, MAX_NESTING, PROTECTED_IN_GIT, PROTECTED_IN_OTHER_REPOSITORIES,
    UNSEARCHED_DIRECTORIES, is_protected, paths_in_git_config,
};
use crate::term;

/// One path that a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtectedPath {
    /// How it is protected.
    pub protection: Protection,
    /// What it is.
    pub kind: FileKind,
    /// Which file or directory it is.
    pub identity: Identity,
}

/// How a path is protected. The more closed variant stands first, and wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// It can't be protected: a link, or a mount of a git directory itself.
    Impossible,
    /// It is not seen: a secret, or a socket that a program outside answers.
    Hidden,
    /// It is read-only.
    ReadOnly,
    /// It can be written, but not moved or replaced: something protected is inside.
    Pinned,
}

/// What a found path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A socket.
    Socket,
    /// A link, a device or a pipe.
    Other,
}

/// What a scan found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Every path that needs protection.
    pub paths: BTreeMap<PathBuf, ProtectedPath>,
    /// Links with a protected name, and where they lead: nothing can be mounted over a link.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Whether the scan covered everything within its bounds.
    pub extent: Extent,
}

/// How far a scan went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// It covered everything.
    #[default]
    Complete,
    /// It ended at [`MAX_DIRECTORIES`] or [`MAX_NESTING`].
    CutShort,
}

/// What a scan looks for.
#[derive(Debug, Clone, Copy)]
pub enum ScanScope<'a> {
    /// Sockets and secrets, in a tree that is only read.
    Hidden,
    /// Sockets and secrets, in a tree that may be written: the directories above them must stay in place.
    HiddenInWritable,
    /// These and all that runs on the host by itself, with the coco file's own paths.
    All(&'a [RelativePath]),
}

/// What a scan needs to know besides the tree itself.
#[derive(Debug, Clone, Copy)]
pub struct ScanContext<'a> {
    /// Secrets and coco's own directories, hidden wherever they lie in the tree.
    pub secrets: &'a [PathBuf],
    /// The caller's own git configuration, which may name paths in every repository.
    pub git_configuration: &'a [u8],
}

/// Scans a directory before a run.
///
/// # Errors
/// [`Error::Mount`] for a repository that can't be protected: its `.git` is a link, which anybody who
/// may write beside it may replace.
pub fn scan_before_run(root: &Path, scope: ScanScope, context: ScanContext) -> Result<Scan, Error> {
    let scan = scan(root, scope, context);
    match scan.paths.iter().find(|(_, found)| found.protection == Protection::Impossible) {
        None => Ok(scan),
        Some((path, _)) if path == root => {
            Err(unprotectable(path, root, "it lies in a git directory, where hooks and configuration are"))
        }
        Some((path, _)) => {
            let reason = "it is neither a directory nor a file, so the repository's hooks can't be protected";
            Err(unprotectable(path, root, reason))
        }
    }
}

/// Scans a directory. What can't be protected is found like the rest.
pub fn scan(root: &Path, scope: ScanScope, context: ScanContext) -> Scan {
    let mut search = Search { root, scope, git: context.git_configuration, scan: Scan::default(), repositories: 0 };
    // The nearest directories first: a tool that makes many of them must not hide what lies above.
    let mut queue = VecDeque::from([(root.to_owned(), 0)]);
    let mut directories = 0;
    // In this order: what is taken from the queue is searched.
    while directories < MAX_DIRECTORIES
        && let Some((directory, level)) = queue.pop_front()
    {
        directories += 1;
        for below in search.directory(&directory) {
            if level < MAX_DEPTH {
                queue.push_back((below, level + 1));
            }
        }
    }
    if !queue.is_empty() {
        search.scan.extent = Extent::CutShort;
    }
    for secret in context.secrets.iter().filter(|secret| secret.starts_with(root) && *secret != root) {
        search.record_within(secret, Protection::Hidden);
    }
    match scope {
        ScanScope::Hidden => {}
        ScanScope::HiddenInWritable => search.pin_ancestors(),
        ScanScope::All(more) => {
            for path in more {
                search.record_read_only(&root.join(path.as_str()));
            }
            search.pin_ancestors();
            if root.components().any(|part| part.as_os_str() == ".git") {
                search.record(root, Protection::Impossible);
            }
        }
    }
    search.drop_covered_paths();
    search.scan
}

fn unprotectable(path: &Path, root: &Path, reason: &str) -> Error {
    Error::Mount {
        path: path.to_owned(),
        reason: reason.to_owned(),
        hint: format!(
            "mount {} read-only, or set \"protect\": false if the tool may change what runs on your machine",
            term::path(root)
        ),
    }
}

struct Search<'a> {
    root: &'a Path,
    scope: ScanScope<'a>,
    git: &'a [u8],
    scan: Scan,
    /// How many directories of sub-modules and worktrees were scanned.
    repositories: usize,
}

impl Search<'_> {
    /// Records what is in a directory, and returns the directories in it that are to be scanned.
    fn directory(&mut self, directory: &Path) -> Vec<PathBuf> {
        let (mut below, mut names) = (Vec::new(), 0);
        // What the caller can't read, the tool can't read.
        for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
            let (path, name) = (entry.path(), entry.file_name());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_socket() {
                self.record(&path, Protection::Hidden);
            }
            if let ScanScope::All(_) = self.scope {
                names += usize::from([&b"HEAD"[..], b"objects", b"refs"].contains(&name.as_bytes()));
                if name == OsStr::new(".git") {
                    self.repository(&path);
                } else if is_protected(name.as_bytes()) {
                    self.record_read_only(&path);
                } else if let Some((_, inner)) =
                    PROTECTED_IN_OTHER_REPOSITORIES.iter().find(|(other, _)| name == OsStr::new(other))
                {
                    inner.iter().for_each(|inner| self.record_read_only(&path.join(inner)));
                }
            }
            // A protected directory may hold sockets, too.
            if kind.is_dir() && !UNSEARCHED_DIRECTORIES.iter().any(|skipped| name == OsStr::new(skipped)) {
                below.push(path);
            }
        }
        // A git directory holds many directories. What matters in it is found by name.
        if directory.file_name() == Some(OsStr::new(".git")) {
            return Vec::new();
        }
        if names == 3 {
            // A bare repository.
            self.git_directory(directory, directory, 0);
            return Vec::new();
        }
        below
    }

    /// `.git`: a directory, or a file that names one (gitrepository-layout(5)).
    fn repository(&mut self, path: &Path) {
        let Ok(metadata) = fs::symlink_metadata(path) else { return };
        let tree = path.parent().unwrap_or(self.root);
        if metadata.is_dir() {
            self.git_directory(path, tree, 0);
        } else if metadata.is_file() {
            self.record_read_only(path);
            self.repository_elsewhere(path, tree);
        } else {
            self.record(path, Protection::Impossible);
        }
    }

    /// The repository of a worktree or sub-module, where that lies in the mount as well.
    fn repository_elsewhere(&mut self, file: &Path, tree: &Path) {
        let text = crate::sys::files::read_limited(file, 4096).ok().flatten().unwrap_or_default();
        let Some(target) = text.strip_prefix(b"gitdir: ") else { return };
        let target = file.parent().unwrap_or(Path::new("/")).join(OsStr::from_bytes(target.trim_ascii_end()));
        let Ok(git) = fs::canonicalize(target) else { return };
        for directory in [Some(git.as_path()), git.ancestors().nth(2)].into_iter().flatten() {
            if directory.join("HEAD").is_file() {
                self.git_directory(directory, tree, 0);
            }
        }
    }

    /// Records what runs programs in a git directory. `tree` is the working tree: paths in the configuration
    /// are relative to it.
    fn git_directory(&mut self, directory: &Path, tree: &Path, level: usize) {
        self.configured_paths(self.git, &[tree], level);
        for name in ["config", "config.worktree"] {
            // A repository outside the mount may name something inside it.
            self.configuration(&directory.join(name), tree, level);
        }
        if !directory.starts_with(self.root) {
            return;
        }
        self.record_within(directory, Protection::Pinned);
        for name in PROTECTED_IN_GIT {
            self.record_read_only(&directory.join(name));
        }
        // The repositories of sub-modules, which may hold more of them; and of worktrees.
        for nested in ["modules", "worktrees"] {
            self.nested_repositories(&directory.join(nested), level);
        }
    }

    /// A git configuration, and those that it includes.
    fn configuration(&mut self, file: &Path, tree: &Path, level: usize) {
        let text = crate::sys::files::read_limited(file, MAX_CONFIGURATION).ok().flatten().unwrap_or_default();
        // An included file is relative to the one that names it.
        self.configured_paths(&text, &[tree, file.parent().unwrap_or(tree)], level);
    }

    /// Records what a git configuration names: a program, a directory of hooks, one more configuration.
    fn configured_paths(&mut self, text: &[u8], bases: &[&Path], level: usize) {
        for configured in paths_in_git_config(text) {
            for base in bases {
                let (ConfiguredPath::Hooks(path) | ConfiguredPath::File(path)) = configured;
                let Ok(path) = fs::canonicalize(base.join(OsStr::from_bytes(path))) else { continue };
                let known = self.scan.paths.get(&path).is_some_and(|found| found.protection <= Protection::ReadOnly);
                let fits = match configured {
                    // A directory that holds the working tree itself is not a directory of hooks.
                    ConfiguredPath::Hooks(_) => path.is_dir() && !base.starts_with(&path),
                    ConfiguredPath::File(_) => path.is_file(),
                };
                if !known && fits {
                    self.record_read_only(&path);
                    if path.is_file() && level < MAX_DEPTH {
                        self.configuration(&path, base, level + 1);
                    }
                }
            }
        }
    }

    fn nested_repositories(&mut self, directory: &Path, level: usize) {
        if level > MAX_NESTING || self.repositories >= MAX_DIRECTORIES {
            self.scan.extent = Extent::CutShort;
            return;
        }
        self.repositories += 1;
        for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
            let path = entry.path();
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            // Whatever HEAD is: git takes a link that leads nowhere for one, and a tool may have put it there.
            let is_repository =
                ["HEAD", "config", "hooks", "commondir"].iter().any(|name| path.join(name).symlink_metadata().is_ok());
            if is_repository {
                self.git_directory(&path, &path, level + 1);
            } else {
                // A sub-module's name may have slashes.
                self.nested_repositories(&path, level + 1);
            }
        }
    }

    /// Records a path with a protected name. Nothing can be mounted over a link: its target is protected, and
    /// the link itself is compared after the run.
    fn record_read_only(&mut self, path: &Path) {
        if let Ok(target) = fs::read_link(path) {
            self.scan.links.insert(path.to_owned(), target);
            if let Ok(target) = fs::canonicalize(path) {
                self.record_within(&target, Protection::ReadOnly);
            }
        } else {
            self.record_within(path, Protection::ReadOnly);
        }
    }

    /// Records a file or directory inside the mount; a path outside can't be written from it.
    fn record_within(&mut self, path: &Path, protection: Protection) {
        let Ok(metadata) = fs::symlink_metadata(path) else { return };
        let within = path.starts_with(self.root) && path != self.root;
        if within && (metadata.is_dir() || metadata.is_file()) {
            self.record(path, protection);
        }
    }

    fn record(&mut self, path: &Path, protection: Protection) {
        let Ok(metadata) = fs::symlink_metadata(path) else { return };
        let identity = Identity { device: metadata.dev(), inode: metadata.ino() };
        let found = ProtectedPath { protection, kind: file_kind(&metadata), identity };
        self.scan
            .paths
            .entry(path.to_owned())
            .and_modify(|known| known.protection = known.protection.min(protection))
            .or_insert(found);
    }

    /// Keeps the directories above each protected path in place: a tool must not move one away and put
    /// another there.
    fn pin_ancestors(&mut self) {
        let paths: Vec<PathBuf> = self.scan.paths.keys().cloned().collect();
        let root = self.root;
        for path in paths {
            for ancestor in path.ancestors().skip(1).take_while(|ancestor| *ancestor != root) {
                self.record_within(ancestor, Protection::Pinned);
            }
        }
    }

    /// Drops paths that another one covers: inside a hidden path all of them, inside a read-only one all that
    /// are not hidden.
    fn drop_covered_paths(&mut self) {
        let covers: Vec<(PathBuf, Protection)> = self
            .scan
            .paths
            .iter()
            .filter(|(_, found)| matches!(found.protection, Protection::Hidden | Protection::ReadOnly))
            .map(|(path, found)| (path.clone(), found.protection))
            .collect();
        self.scan.paths.retain(|path, found| {
            !covers.iter().any(|(outer, protection)| {
                path != outer
                    && path.starts_with(outer)
                    && (*protection == Protection::Hidden || found.protection != Protection::Hidden)
            })
        });
    }
}

/// The largest git configuration that is read, in bytes.
const MAX_CONFIGURATION: usize = 64 << 10;

fn file_kind(metadata: &Metadata) -> FileKind {
    let kind = metadata.file_type();
    match (kind.is_dir(), kind.is_file(), kind.is_socket()) {
        (true, _, _) => FileKind::Directory,
        (_, true, _) => FileKind::File,
        (_, _, true) => FileKind::Socket,
        _ => FileKind::Other,
    }
}

/// What runs on the host by itself and was not there before. Of a new repository only its directory.
pub fn newly_protected(before: &Scan, after: &Scan) -> Vec<PathBuf> {
    let runs = |(path, found): &(&PathBuf, &ProtectedPath)| match found.protection {
        Protection::Impossible | Protection::ReadOnly => true,
        // A path of secrets that was not there before counts; a socket runs nothing.
        Protection::Hidden => found.kind != FileKind::Socket,
        Protection::Pinned => path.file_name() == Some(OsStr::new(".git")),
    };
    let files = after.paths.iter().filter(runs).map(|(path, _)| path);
    let files = files.filter(|path| !before.paths.contains_key(*path));
    let links = after.links.iter().filter(|(path, target)| before.links.get(*path) != Some(*target));
    let new: Vec<&PathBuf> = files.chain(links.map(|(path, _)| path)).collect();
    let outermost = |path: &&&PathBuf| !new.iter().any(|other| **path != *other && path.starts_with(other));
    new.iter().filter(outermost).map(|path| (*path).clone()).collect()
}

#[cfg(test)]
mod tests;
