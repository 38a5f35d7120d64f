//! What in a project runs on the host by itself: hooks, task files, settings of editors and agents.
//! A tool that may write the project must not plant it there. Pure: names, and nothing of a file
//! system.

/// Files and directories that are protected wherever they are found, with who runs what is in them.
pub const NAMES: &[&str] = &[
    // git: sub-modules' addresses, and hooks that package managers install.
    ".gitmodules",
    ".husky",
    ".pre-commit-config.yaml",
    "lefthook.yml",
    ".lefthook.yml",
    // Editors: tasks and settings that name programs.
    ".vscode",
    ".idea",
    ".zed",
    ".cursor",
    ".devcontainer",
    ".devcontainer.json",
    ".exrc",
    ".nvim.lua",
    ".dir-locals.el",
    // Shells and version managers, at a change of directory.
    ".envrc",
    ".mise.toml",
    "mise.toml",
    ".mise.local.toml",
    "mise.local.toml",
    ".mise",
    ".tool-versions",
    // Agents: commands and servers that they start.
    ".claude",
    ".mcp.json",
    ".gemini",
    ".codex",
];

/// In a git directory: what names programs, or says where the rest is.
pub const IN_GIT: &[&str] =
    &["hooks", "config", "config.worktree", "commondir", "gitdir", "info/attributes", "objects/info/alternates"];

/// Directories that are not searched: full of other people's packages, and made by tools.
pub const NOT_SEARCHED: &[&str] =
    &["node_modules", "target", "vendor", ".venv", "venv", "dist", "build", "__pycache__", ".tox", ".cache"];

/// How deep below a mount is searched, and how many directories.
pub const MOST_LEVELS: usize = 4;
/// See [`MOST_LEVELS`].
pub const MOST_DIRECTORIES: usize = 2000;
/// How many mounts protect one run.
pub const MOST_MOUNTS: usize = 250;

/// Whether a file or directory of this name is protected.
pub fn is_protected(name: &[u8]) -> bool {
    NAMES.iter().any(|known| known.as_bytes() == name)
}
