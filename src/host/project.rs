//! The directory that the caller works in, and the projects that it belongs to.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::World;

/// The current directory, canonical.
pub fn current_directory() -> io::Result<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the working directory")]
    std::env::current_dir().and_then(fs::canonicalize)
}

/// The nearest ancestor that holds `.git`, as a file or a directory; else the directory itself.
pub fn project_of(cwd: &Path) -> PathBuf {
    cwd.ancestors().find(|ancestor| ancestor.join(".git").symlink_metadata().is_ok()).unwrap_or(cwd).to_owned()
}

/// The projects that the caller works in: the current directory, and every directory above it that holds
/// `.git`. A directory that holds home is none: its files are the user's own.
pub fn projects_of<'a>(world: &'a World, cwd: &'a Path) -> impl Iterator<Item = &'a Path> {
    let is_project = move |directory: &&Path| *directory == cwd || directory.join(".git").symlink_metadata().is_ok();
    cwd.ancestors().filter(is_project).filter(|project| !world.home.starts_with(project))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_where_git_is() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        fs::create_dir_all(root.join("p/a/b")).unwrap();
        assert_eq!(project_of(&root.join("p/a")), root.join("p/a"));
        fs::write(root.join("p/.git"), "gitdir: x").unwrap();
        assert_eq!(project_of(&root.join("p/a/b")), root.join("p"));
    }
}
