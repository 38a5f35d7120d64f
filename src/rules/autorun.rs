//! What in a project runs on the host by itself: hooks, task files, settings of editors and agents. A tool
//! that may write the project must not plant such a file. Pure.

/// Files and directories that are protected wherever they are found, by the program that runs them.
const PROTECTED_NAMES: &[&str] = &[
    // git: sub-modules' addresses, and hooks that package managers install.
    ".gitmodules",
    ".gitconfig",
    ".husky",
    ".pre-commit-config.yaml",
    "lefthook.yml",
    ".lefthook.yml",
    // Editors: tasks and settings that name programs.
    ".vscode",
    ".idea",
    ".fleet",
    ".zed",
    ".cursor",
    ".windsurf",
    ".devcontainer",
    ".devcontainer.json",
    ".exrc",
    ".vimrc",
    ".gvimrc",
    ".nvimrc",
    ".nvim.lua",
    ".dir-locals.el",
    ".dir-locals-2.el",
    // Shells and version managers, at a change of directory or where a home is a repository.
    ".envrc",
    ".direnv",
    ".mise.toml",
    "mise.toml",
    ".mise.local.toml",
    "mise.local.toml",
    ".mise",
    ".tool-versions",
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".profile",
    ".zshenv",
    ".zshrc",
    ".zprofile",
    ".zlogin",
    ".inputrc",
    // Debuggers and interactive interpreters, which read these from the directory they start in.
    ".gdbinit",
    ".lldbinit",
    ".pdbrc",
    ".irbrc",
    ".pryrc",
    ".ghci",
    ".Rprofile",
    // Agents: commands and servers that they start.
    ".claude",
    ".mcp.json",
    ".gemini",
    ".codex",
    ".opencode",
    "opencode.json",
    ".roo",
    ".kiro",
    ".continue",
    ".aider.conf.yml",
];

/// The ends of protected names: a workspace holds tasks and settings as `.vscode` does.
const PROTECTED_SUFFIXES: &[&str] = &[".code-workspace"];

/// In a git directory: what names programs, or where the rest is.
pub const PROTECTED_IN_GIT: &[&str] =
    &["hooks", "config", "config.worktree", "commondir", "gitdir", "info/attributes", "objects/info/alternates"];

/// In the directories of other version control systems: hooks, aliases and programs (hgrc(5), jj's
/// configuration), or where the rest is.
pub const PROTECTED_IN_OTHER_REPOSITORIES: &[(&str, &[&str])] =
    &[(".hg", &["hgrc", "hgrc-not-shared", "sharedpath"]), (".jj", &["repo/config.toml", "workspace-config.toml"])];

/// Directories that are not scanned: tools make them, and they are full of other people's packages.
pub const UNSEARCHED_DIRECTORIES: &[&str] =
    &["node_modules", "target", "vendor", ".venv", "venv", "dist", "build", "__pycache__", ".tox", ".cache"];

/// How deep below a mount a scan goes.
pub const MAX_DEPTH: usize = 4;
/// How deep the repositories of sub-modules lie in their superproject's: the slashes of a name, and sub-modules in sub-modules.
pub const MAX_NESTING: usize = 16;
/// How many directories a scan reads: a large monorepo has as many, and the kernel lists them in some 50 ms.
pub const MAX_DIRECTORIES: usize = 20_000;
/// How many mounts may protect one granted mount.
pub const MAX_PROTECTIVE_MOUNTS: usize = 250;

/// Whether a file or directory of this name is protected.
pub fn is_protected(name: &[u8]) -> bool {
    PROTECTED_NAMES.iter().any(|known| known.as_bytes() == name)
        || PROTECTED_SUFFIXES.iter().any(|end| name.len() > end.len() && name.ends_with(end.as_bytes()))
}

/// A path that a git configuration names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfiguredPath<'a> {
    /// A directory of hooks.
    Hooks(&'a [u8]),
    /// A file, perhaps: a program or one more configuration.
    File(&'a [u8]),
}

/// The most paths that are taken from one git configuration.
const MAX_CONFIGURED_PATHS: usize = 1000;

/// The paths in the values of a git configuration that could lie in a project (git-config(1)):
/// `core.hooksPath`, further configurations, and whatever looks like a program's path. The caller checks
/// which of them exist; one too many costs nothing.
pub fn paths_in_git_config(text: &[u8]) -> Vec<ConfiguredPath<'_>> {
    let mut named = Vec::new();
    for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        let (key, value) = match (line.first(), line.iter().position(|byte| *byte == b'=')) {
            (None | Some(b'#' | b';'), _) | (Some(b'['), None) => continue,
            (_, Some(at)) => line.split_at(at),
            // A value may go on in lines without a name.
            (_, None) => (&b""[..], line),
        };
        let value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii();
        let whole = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
        // The section may be on the same line.
        let key = key.rsplit(|byte| *byte == b']').next().unwrap_or(key).trim_ascii();
        if key.eq_ignore_ascii_case(b"hooksPath") {
            named.push(ConfiguredPath::Hooks(whole));
            continue;
        }
        if key.eq_ignore_ascii_case(b"path") || whole.contains(&b'/') {
            named.push(ConfiguredPath::File(whole));
        }
        let words = value.split(|byte| byte.is_ascii_whitespace() || b"\"\\!;&|".contains(byte));
        named.extend(words.filter(|word| word.contains(&b'/')).map(ConfiguredPath::File));
    }
    named.retain(|(ConfiguredPath::Hooks(path) | ConfiguredPath::File(path))| {
        !path.is_empty() && !path.contains(&b'\0')
    });
    named.truncate(MAX_CONFIGURED_PATHS);
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whole() {
        for name in [".envrc", ".vscode", "mise.toml", "x.code-workspace", ".bashrc"] {
            assert!(is_protected(name.as_bytes()), "{name}");
        }
        for name in ["envrc", ".envrc.example", ".vscode2", ".code-workspace", "x.code-workspace.txt", ""] {
            assert!(!is_protected(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_a_git_configuration_names() {
        let text = br#"
# comment = not/this
; comment = nor/this
[core]
    HooksPath = .githooks
    fsmonitor=".git/hooks/watch"
[core] editor = "my editor/run"
[include]
	path = shared.gitconfig
[filter "x"]
    clean = sh scripts/clean.sh --fast
    smudge = a \
        second/line
[alias]
    run = !./tools/run; other/tool
[init]
    defaultBranch = main
"#;
        let named = paths_in_git_config(text);
        assert!(named.contains(&ConfiguredPath::Hooks(b".githooks")), "{named:?}");
        for file in [
            ".git/hooks/watch",
            "my editor/run",
            "shared.gitconfig",
            "scripts/clean.sh",
            "second/line",
            "./tools/run",
            "other/tool",
        ] {
            assert!(named.contains(&ConfiguredPath::File(file.as_bytes())), "{file}: {named:?}");
        }
        for ConfiguredPath::Hooks(path) | ConfiguredPath::File(path) in &named {
            let path = std::str::from_utf8(path).unwrap();
            assert!(!path.contains("this") && path != "main", "{named:?}");
        }
        assert_eq!(paths_in_git_config(b""), []);
        assert_eq!(paths_in_git_config(&b"a = b/c\n".repeat(5000)).len(), MAX_CONFIGURED_PATHS);
    }
}
