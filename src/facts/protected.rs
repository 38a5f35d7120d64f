//! What of a writable mount is there that would run on the host: a bounded search, before a run for
//! protecting it, and after a run for telling what appeared.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Identity;
use crate::error::Error;
use crate::names::RelativePath;
use crate::protect::{IN_GIT, MOST_DIRECTORIES, MOST_LEVELS, NOT_SEARCHED, is_protected};
use crate::term;

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How it is kept as it is.
    pub hold: Hold,
    /// Which file or directory it is.
    pub identity: Identity,
}

/// How something is kept as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// It can't be: a link, or a mount of a git directory itself.
    Never,
    /// It is read-only.
    ReadOnly,
    /// It can be written, but not moved or replaced: something read-only is inside.
    InPlace,
}

/// What there is, by path.
pub type Protected = BTreeMap<PathBuf, Found>;

/// Searches a directory. `more` are paths below it that the coco file names.
///
/// # Errors
/// A repository that can't be protected: its `.git` is a link, which anybody who may write beside it
/// may replace.
pub fn search(root: &Path, more: &[RelativePath]) -> Result<Protected, Error> {
    let found = look(root, more);
    match found.iter().find(|(_, found)| found.hold == Hold::Never) {
        None => Ok(found),
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
pub fn look(root: &Path, more: &[RelativePath]) -> Protected {
    let mut search = Search { root, found: BTreeMap::new(), repositories: 0 };
    // The nearest first: a tool that makes many directories must not hide what lies above them.
    let mut queue = VecDeque::from([(root.to_owned(), 0)]);
    let mut directories = 0;
    while let Some((directory, level)) = queue.pop_front() {
        directories += 1;
        if directories > MOST_DIRECTORIES {
            break;
        }
        for below in search.directory(&directory) {
            if level < MOST_LEVELS {
                queue.push_back((below, level + 1));
            }
        }
    }
    for path in more {
        search.read_only(&root.join(path.as_str()));
    }
    search.hold_ancestors();
    if root.components().any(|part| part.as_os_str() == ".git") {
        search.put(root, Hold::Never);
    }
    search.found
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
    found: Protected,
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
            names += usize::from([&b"HEAD"[..], b"objects", b"refs"].contains(&name.as_bytes()));
            if name == OsStr::new(".git") {
                self.repository(&path);
            } else if is_protected(name.as_bytes()) {
                self.read_only(&path);
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir())
                && !NOT_SEARCHED.iter().any(|skipped| name == OsStr::new(skipped))
            {
                below.push(path);
            }
        }
        // A bare repository.
        if names == 3 {
            self.git_directory(directory, 0);
        }
        below
    }

    /// `.git`: a directory, or a file that says where it is (gitrepository-layout(5)).
    fn repository(&mut self, path: &Path) {
        let Ok(metadata) = fs::symlink_metadata(path) else { return };
        if metadata.is_dir() {
            self.git_directory(path, 0);
        } else if metadata.is_file() {
            self.read_only(path);
            self.linked(path);
        } else {
            self.put(path, Hold::Never);
        }
    }

    /// The repository of a worktree or sub-module, where it lies in the mount as well.
    fn linked(&mut self, file: &Path) {
        let text = crate::install::read_limited(file, 4096).ok().flatten().unwrap_or_default();
        let Some(target) = text.strip_prefix(b"gitdir: ") else { return };
        let target = file.parent().unwrap_or(Path::new("/")).join(OsStr::from_bytes(target.trim_ascii_end()));
        let Ok(git) = fs::canonicalize(target) else { return };
        for directory in [Some(git.as_path()), git.ancestors().nth(2)].into_iter().flatten() {
            if directory.starts_with(self.root) && directory.join("HEAD").is_file() {
                self.git_directory(directory, 0);
            }
        }
    }

    fn git_directory(&mut self, directory: &Path, level: usize) {
        self.add(directory, Hold::InPlace);
        for name in IN_GIT {
            self.read_only(&directory.join(name));
        }
        // The repositories of sub-modules, which may hold more of them; and of worktrees.
        for nested in ["modules", "worktrees"] {
            self.nested(&directory.join(nested), level);
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
                self.git_directory(&path, level + 1);
            } else {
                // A sub-module's name may have slashes.
                self.nested(&path, level + 1);
            }
        }
    }

    fn read_only(&mut self, path: &Path) {
        self.add(path, Hold::ReadOnly);
    }

    /// Links are left alone: nothing can be mounted over one, and what it leads to is found by its
    /// own name, or lies outside.
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
        let found = Found { hold, identity };
        self.found.entry(path.to_owned()).and_modify(|known| known.hold = known.hold.min(hold)).or_insert(found);
    }

    /// A directory on the way to something protected must not be moved away and replaced.
    fn hold_ancestors(&mut self) {
        let paths: Vec<PathBuf> = self.found.keys().cloned().collect();
        let root = self.root;
        for path in paths {
            for ancestor in path.ancestors().skip(1).take_while(|ancestor| *ancestor != root) {
                self.add(ancestor, Hold::InPlace);
            }
        }
        // Inside what is read-only anyway, nothing more is needed.
        let read_only: Vec<PathBuf> =
            self.found.iter().filter(|(_, found)| found.hold == Hold::ReadOnly).map(|(path, _)| path.clone()).collect();
        self.found.retain(|path, _| !read_only.iter().any(|outer| path != outer && path.starts_with(outer)));
    }
}

/// What is there now that runs on the host, and was not before; of a new repository only itself.
pub fn appeared(before: &Protected, after: &Protected) -> Vec<PathBuf> {
    let runs = |(path, found): &(&PathBuf, &Found)| {
        found.hold != Hold::InPlace || path.file_name() == Some(OsStr::new(".git"))
    };
    let new: Vec<&PathBuf> =
        after.iter().filter(runs).map(|(path, _)| path).filter(|path| !before.contains_key(*path)).collect();
    let outermost = |path: &&&PathBuf| !new.iter().any(|other| **path != *other && path.starts_with(other));
    new.iter().filter(outermost).map(|path| (*path).clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }

    fn found(root: &Path) -> Vec<String> {
        let protected = search(root, &[]).unwrap();
        let name = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        protected
            .iter()
            .map(|(path, found)| match found.hold {
                Hold::ReadOnly => name(path),
                Hold::InPlace => format!("{}/", name(path)),
                Hold::Never => format!("{}!", name(path)),
            })
            .collect()
    }

    #[test]
    fn hooks_settings_and_task_files_are_found_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        make(
            root.path(),
            &[
                ".git/hooks/x.sample",
                ".git/config",
                ".git/HEAD",
                ".git/objects/aa/bb",
                ".vscode/tasks.json",
                ".envrc",
                "src/main.rs",
                "node_modules/x/.vscode/settings.json",
            ],
        );
        assert_eq!(found(root.path()), [".envrc", ".git/", ".git/config", ".git/hooks", ".vscode"]);
    }

    #[test]
    fn what_is_nested_is_found_and_its_parents_are_held() {
        let root = tempfile::tempdir().unwrap();
        make(root.path(), &["a/b/.git/config", "a/b/.git/HEAD", "c/.husky/pre-commit", "bare/HEAD", "bare/config"]);
        fs::create_dir_all(root.path().join("bare/objects")).unwrap();
        fs::create_dir_all(root.path().join("bare/refs")).unwrap();
        assert_eq!(
            found(root.path()),
            ["a/", "a/b/", "a/b/.git/", "a/b/.git/config", "bare/", "bare/config", "c/", "c/.husky"]
        );
    }

    #[test]
    fn worktrees_and_sub_modules() {
        let root = tempfile::tempdir().unwrap();
        make(
            root.path(),
            &[".git/HEAD", ".git/config", ".git/modules/deep/er/HEAD", ".git/modules/deep/er/hooks/x", "sub/x"],
        );
        fs::write(root.path().join("sub/.git"), "gitdir: ../.git/modules/deep/er\n").unwrap();
        assert_eq!(
            found(root.path()),
            [
                ".git/",
                ".git/config",
                ".git/modules/",
                ".git/modules/deep/",
                ".git/modules/deep/er/",
                ".git/modules/deep/er/hooks",
                "sub/",
                "sub/.git"
            ]
        );
    }

    #[test]
    fn a_repository_behind_a_link_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        for target in ["elsewhere", "/nowhere"] {
            let link = root.path().join(".git");
            std::os::unix::fs::symlink(target, &link).unwrap();
            assert!(matches!(search(root.path(), &[]), Err(Error::Mount { .. })), "{target}");
            fs::remove_file(link).unwrap();
        }
    }

    #[test]
    fn many_directories_hide_nothing_above_them() {
        let root = tempfile::tempdir().unwrap();
        make(root.path(), &["z/.git/HEAD", "z/.git/config", ".envrc"]);
        for number in 0..MOST_DIRECTORIES {
            fs::create_dir_all(root.path().join(format!("a/b/{number}"))).unwrap();
        }
        assert_eq!(found(root.path()), [".envrc", "z/", "z/.git/", "z/.git/config"]);
    }

    #[test]
    fn nothing_in_a_git_directory_may_be_written_as_a_whole() {
        let root = tempfile::tempdir().unwrap();
        make(root.path(), &[".git/hooks/x"]);
        for inside in [".git", ".git/hooks"] {
            assert!(matches!(search(&root.path().join(inside), &[]), Err(Error::Mount { .. })), "{inside}");
        }
    }

    #[test]
    fn what_appeared_is_told_once() {
        let root = tempfile::tempdir().unwrap();
        let before = search(root.path(), &[]).unwrap();
        make(root.path(), &[".git/hooks/pre-commit", ".git/HEAD", "deep/.envrc"]);
        let after = search(root.path(), &[]).unwrap();
        assert_eq!(appeared(&before, &after), [root.path().join(".git"), root.path().join("deep/.envrc")]);
        assert!(appeared(&after, &after).is_empty());
        // A link, over which nothing can be mounted, hides nothing beside it.
        std::os::unix::fs::symlink("x", root.path().join("deep/.git")).unwrap();
        make(root.path(), &["mise.toml"]);
        let new = ["deep/.git", "mise.toml"].map(|path| root.path().join(path));
        assert_eq!(appeared(&after, &look(root.path(), &[])), new);
    }
}
