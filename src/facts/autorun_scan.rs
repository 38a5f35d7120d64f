//! What of a mount is there that would run on the host, or answers for it: a bounded search, before a
//! run for protecting it, and after a run for telling what appeared.

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
    IN_GIT, IN_OTHERS, MOST_DIRECTORIES, MOST_LEVELS, NOT_SEARCHED, Named, is_protected, named_in_git_config,
};
use crate::term;

/// One thing that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// How it is kept as it is.
    pub hold: Hold,
    /// What it is.
    pub kind: FoundKind,
    /// Which file or directory it is.
    pub identity: Identity,
}

/// How something is kept as it is. What is more closed stands first, and wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// It can't be: a link, or a mount of a git directory itself.
    Never,
    /// It is not even seen: a secret, or a socket that somebody outside answers.
    Hidden,
    /// It is read-only.
    ReadOnly,
    /// It can be written, but not moved or replaced: something read-only is inside.
    InPlace,
}

/// What something is that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A socket.
    Socket,
    /// A link, a device or a pipe.
    Other,
}

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protected {
    /// What is mounted over, by path.
    pub found: BTreeMap<PathBuf, Found>,
    /// Links by a protected name, with what they hold: nothing can be mounted over them.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Whether everything within the bounds was looked at.
    pub extent: Extent,
}

/// How far a search went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// It saw all that it should.
    #[default]
    Whole,
    /// It ended at its most directories.
    CutShort,
}

/// What is searched for.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// Sockets and secrets: of a tree that may only be read.
    Hidden,
    /// The same, in a tree that may be written: they must not be moved out from under their covers.
    HiddenInWritable,
    /// That and all that runs on the host, with paths of the coco file's own.
    Everything(&'a [RelativePath]),
}

/// What the search knows of the rest of the world.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Places of secrets and coco's own; hidden wherever they lie in a mount.
    pub secrets: &'a [PathBuf],
    /// The caller's own git configuration, which may name paths in every repository.
    pub git: &'a [u8],
}

/// Searches a directory.
///
/// # Errors
/// A repository that can't be protected: its `.git` is a link, which anybody who may write beside it
/// may replace.
pub fn search(root: &Path, wanted: Wanted, around: Surroundings) -> Result<Protected, Error> {
    let protected = look(root, wanted, around);
    match protected.found.iter().find(|(_, found)| found.hold == Hold::Never) {
        None => Ok(protected),
        Some((path, _)) if path == root => {
            Err(unprotectable(path, root, "it lies in a git directory, where hooks and configuration are"))
        }
        Some((path, _)) => {
            let reason = "it is no directory and no file, and so the repository's hooks can't be protected";
            Err(unprotectable(path, root, reason))
        }
    }
}

/// The same without an error: what can't be protected is found like the rest.
pub fn look(root: &Path, wanted: Wanted, around: Surroundings) -> Protected {
    let mut search = Search { root, wanted, git: around.git, all: Protected::default(), repositories: 0 };
    // The nearest first: a tool that makes many directories must not hide what lies above them.
    let mut queue = VecDeque::from([(root.to_owned(), 0)]);
    let mut directories = 0;
    while let Some((directory, level)) = queue.pop_front()
        && directories < MOST_DIRECTORIES
    {
        directories += 1;
        for below in search.directory(&directory) {
            if level < MOST_LEVELS {
                queue.push_back((below, level + 1));
            }
        }
    }
    search.all.extent = if queue.is_empty() { Extent::Whole } else { Extent::CutShort };
    for secret in around.secrets.iter().filter(|secret| secret.starts_with(root) && *secret != root) {
        search.add(secret, Hold::Hidden);
    }
    match wanted {
        Wanted::Hidden => {}
        Wanted::HiddenInWritable => search.hold_ancestors(),
        Wanted::Everything(more) => {
            for path in more {
                search.read_only(&root.join(path.as_str()));
            }
            search.hold_ancestors();
            if root.components().any(|part| part.as_os_str() == ".git") {
                search.put(root, Hold::Never);
            }
        }
    }
    search.leave_out_what_is_covered();
    search.all
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
    wanted: Wanted<'a>,
    git: &'a [u8],
    all: Protected,
    /// Directories of sub-modules and worktrees that were looked into.
    repositories: usize,
}

impl Search<'_> {
    /// Looks at what is in a directory, and gives the directories in it that are to be searched.
    fn directory(&mut self, directory: &Path) -> Vec<PathBuf> {
        let (mut below, mut names) = (Vec::new(), 0);
        // What can't be read by the caller can't be read by the tool.
        for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
            let (path, name) = (entry.path(), entry.file_name());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_socket() {
                self.put(&path, Hold::Hidden);
            }
            if let Wanted::Everything(_) = self.wanted {
                names += usize::from([&b"HEAD"[..], b"objects", b"refs"].contains(&name.as_bytes()));
                if name == OsStr::new(".git") {
                    self.repository(&path);
                } else if is_protected(name.as_bytes()) {
                    self.read_only(&path);
                } else if let Some((_, inner)) = IN_OTHERS.iter().find(|(other, _)| name == OsStr::new(other)) {
                    inner.iter().for_each(|inner| self.read_only(&path.join(inner)));
                }
            }
            // In what is read-only as a whole may be sockets, too.
            if kind.is_dir() && !NOT_SEARCHED.iter().any(|skipped| name == OsStr::new(skipped)) {
                below.push(path);
            }
        }
        // git's own directories are many, and what counts in them is found by name.
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

    /// `.git`: a directory, or a file that says where it is (gitrepository-layout(5)).
    fn repository(&mut self, path: &Path) {
        let Ok(metadata) = fs::symlink_metadata(path) else { return };
        let tree = path.parent().unwrap_or(self.root);
        if metadata.is_dir() {
            self.git_directory(path, tree, 0);
        } else if metadata.is_file() {
            self.read_only(path);
            self.linked(path, tree);
        } else {
            self.put(path, Hold::Never);
        }
    }

    /// The repository of a worktree or sub-module, where it lies in the mount as well.
    fn linked(&mut self, file: &Path, tree: &Path) {
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

    /// `tree` is the working tree: what the configuration names is relative to that.
    fn git_directory(&mut self, directory: &Path, tree: &Path, level: usize) {
        self.named(self.git, &[tree], level);
        for name in ["config", "config.worktree"] {
            // Its repository may lie outside of the mount, and name something inside.
            self.configuration(&directory.join(name), tree, level);
        }
        if !directory.starts_with(self.root) {
            return;
        }
        self.add(directory, Hold::InPlace);
        for name in IN_GIT {
            self.read_only(&directory.join(name));
        }
        // The repositories of sub-modules, which may hold more of them; and of worktrees.
        for nested in ["modules", "worktrees"] {
            self.nested(&directory.join(nested), level);
        }
    }

    /// A git configuration, and those that it includes.
    fn configuration(&mut self, file: &Path, tree: &Path, level: usize) {
        let text = crate::sys::files::read_limited(file, MAX_CONFIGURATION).ok().flatten().unwrap_or_default();
        // An included file is relative to the one that names it.
        self.named(&text, &[tree, file.parent().unwrap_or(tree)], level);
    }

    /// What a git configuration names: a program's file, a directory of hooks, one more configuration.
    fn named(&mut self, text: &[u8], bases: &[&Path], level: usize) {
        for named in named_in_git_config(text) {
            for base in bases {
                let (Named::Hooks(path) | Named::File(path)) = named;
                let Ok(path) = fs::canonicalize(base.join(OsStr::from_bytes(path))) else { continue };
                let known = self.all.found.get(&path).is_some_and(|found| found.hold <= Hold::ReadOnly);
                let fits = match named {
                    // What holds the working tree itself is no directory of hooks.
                    Named::Hooks(_) => path.is_dir() && !base.starts_with(&path),
                    Named::File(_) => path.is_file(),
                };
                if !known && fits {
                    self.read_only(&path);
                    if path.is_file() && level < MOST_LEVELS {
                        self.configuration(&path, base, level + 1);
                    }
                }
            }
        }
    }

    fn nested(&mut self, directory: &Path, level: usize) {
        if level > MOST_LEVELS || self.repositories >= MOST_DIRECTORIES {
            return;
        }
        self.repositories += 1;
        for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
            let path = entry.path();
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if path.join("HEAD").is_file() {
                self.git_directory(&path, &path, level + 1);
            } else {
                // A sub-module's name may have slashes.
                self.nested(&path, level + 1);
            }
        }
    }

    /// What is there by a protected name. Nothing can be mounted over a link; what it leads to can be
    /// held, and the link itself is looked at again after the run.
    fn read_only(&mut self, path: &Path) {
        if let Ok(target) = fs::read_link(path) {
            self.all.links.insert(path.to_owned(), target);
            if let Ok(target) = fs::canonicalize(path) {
                self.add(&target, Hold::ReadOnly);
            }
        } else {
            self.add(path, Hold::ReadOnly);
        }
    }

    /// What lies outside of the mount can't be written from it.
    fn add(&mut self, path: &Path, hold: Hold) {
        let Ok(metadata) = fs::symlink_metadata(path) else { return };
        let within = path.starts_with(self.root) && path != self.root;
        if within && (metadata.is_dir() || metadata.is_file()) {
            self.put(path, hold);
        }
    }

    fn put(&mut self, path: &Path, hold: Hold) {
        let Ok(metadata) = fs::symlink_metadata(path) else { return };
        let identity = Identity { device: metadata.dev(), inode: metadata.ino() };
        let found = Found { hold, kind: kind_of(&metadata), identity };
        self.all.found.entry(path.to_owned()).and_modify(|known| known.hold = known.hold.min(hold)).or_insert(found);
    }

    /// A directory on the way to something protected must not be moved away and replaced.
    fn hold_ancestors(&mut self) {
        let paths: Vec<PathBuf> = self.all.found.keys().cloned().collect();
        let root = self.root;
        for path in paths {
            for ancestor in path.ancestors().skip(1).take_while(|ancestor| *ancestor != root) {
                self.add(ancestor, Hold::InPlace);
            }
        }
    }

    /// Inside what is hidden, nothing more is needed; inside what is read-only, only what is hidden is.
    fn leave_out_what_is_covered(&mut self) {
        let covers: Vec<(PathBuf, Hold)> = self
            .all
            .found
            .iter()
            .filter(|(_, found)| matches!(found.hold, Hold::Hidden | Hold::ReadOnly))
            .map(|(path, found)| (path.clone(), found.hold))
            .collect();
        self.all.found.retain(|path, found| {
            !covers.iter().any(|(outer, hold)| {
                path != outer && path.starts_with(outer) && (*hold == Hold::Hidden || found.hold != Hold::Hidden)
            })
        });
    }
}

/// The largest git configuration that is read, in bytes.
const MAX_CONFIGURATION: usize = 64 << 10;

fn kind_of(metadata: &Metadata) -> FoundKind {
    let kind = metadata.file_type();
    match (kind.is_dir(), kind.is_file(), kind.is_socket()) {
        (true, _, _) => FoundKind::Directory,
        (_, true, _) => FoundKind::File,
        (_, _, true) => FoundKind::Socket,
        _ => FoundKind::Other,
    }
}

/// What is there now that runs on the host, and was not before; of a new repository only itself.
pub fn appeared(before: &Protected, after: &Protected) -> Vec<PathBuf> {
    let runs = |(path, found): &(&PathBuf, &Found)| match found.hold {
        Hold::Never | Hold::ReadOnly => true,
        // A secret's place, where there was none, counts; a socket runs nothing.
        Hold::Hidden => found.kind != FoundKind::Socket,
        Hold::InPlace => path.file_name() == Some(OsStr::new(".git")),
    };
    let files = after.found.iter().filter(runs).map(|(path, _)| path);
    let files = files.filter(|path| !before.found.contains_key(*path));
    let links = after.links.iter().filter(|(path, target)| before.links.get(*path) != Some(*target));
    let new: Vec<&PathBuf> = files.chain(links.map(|(path, _)| path)).collect();
    let outermost = |path: &&&PathBuf| !new.iter().any(|other| **path != *other && path.starts_with(other));
    new.iter().filter(outermost).map(|path| (*path).clone()).collect()
}

#[cfg(test)]
mod tests;
