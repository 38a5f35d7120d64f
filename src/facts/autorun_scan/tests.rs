//! What a scan finds and how it is protected, in directories made for it.

use super::*;

fn make(root: &Path, files: &[&str]) {
    for file in files {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
}

const NOTHING: ScanContext = ScanContext { secrets: &[], git_configuration: b"" };
const EVERYTHING: ScanScope = ScanScope::All(&[]);

/// What is found, with a mark for how it is protected.
fn found(root: &Path) -> Vec<String> {
    found_with(root, EVERYTHING, NOTHING)
}

fn found_with(root: &Path, scope: ScanScope, context: ScanContext) -> Vec<String> {
    let scan = scan_before_run(root, scope, context).unwrap();
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    scan.paths
        .iter()
        .map(|(path, found)| match found.protection {
            Protection::ReadOnly => name(path),
            Protection::Pinned => format!("{}/", name(path)),
            Protection::Impossible => format!("{}!", name(path)),
            Protection::Hidden => format!("{}?", name(path)),
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
        assert!(matches!(scan_before_run(root.path(), EVERYTHING, NOTHING), Err(Error::Mount { .. })), "{target}");
        fs::remove_file(link).unwrap();
    }
}

#[test]
fn many_directories_hide_nothing_above_them() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &["z/.git/HEAD", "z/.git/config", ".envrc"]);
    for number in 0..MAX_DIRECTORIES {
        fs::create_dir_all(root.path().join(format!("a/b/{number}"))).unwrap();
    }
    assert_eq!(found(root.path()), [".envrc", "z/", "z/.git/", "z/.git/config"]);
}

#[test]
fn nothing_in_a_git_directory_may_be_written_as_a_whole() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &[".git/hooks/x"]);
    for inside in [".git", ".git/hooks"] {
        assert!(
            matches!(scan_before_run(&root.path().join(inside), EVERYTHING, NOTHING), Err(Error::Mount { .. })),
            "{inside}"
        );
    }
}

#[test]
fn what_appeared_is_told_once() {
    let root = tempfile::tempdir().unwrap();
    let before = scan_before_run(root.path(), EVERYTHING, NOTHING).unwrap();
    make(root.path(), &[".git/hooks/pre-commit", ".git/HEAD", "deep/.envrc"]);
    let after = scan_before_run(root.path(), EVERYTHING, NOTHING).unwrap();
    assert_eq!(newly_protected(&before, &after), [root.path().join(".git"), root.path().join("deep/.envrc")]);
    assert!(newly_protected(&after, &after).is_empty());
    // A link, over which nothing can be mounted, hides nothing beside it.
    std::os::unix::fs::symlink("x", root.path().join("deep/.git")).unwrap();
    make(root.path(), &["mise.toml"]);
    let new = ["deep/.git", "mise.toml"].map(|path| root.path().join(path));
    assert_eq!(newly_protected(&after, &scan(root.path(), EVERYTHING, NOTHING)), new);
}

fn link(target: impl AsRef<Path>, path: PathBuf) {
    std::os::unix::fs::symlink(target, path).unwrap();
}

#[test]
fn what_gits_configuration_names_is_held() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &[".git/HEAD", ".githooks/pre-commit", "tools/clean.sh", "shared.config", "own/hook", "main/x"]);
    fs::write(
        root.path().join(".git/config"),
        "[core]\n hooksPath = .githooks\n[include]\n path = ../shared.config\n[init]\n defaultBranch = main\n",
    )
    .unwrap();
    fs::write(root.path().join("shared.config"), "[filter \"x\"]\n clean = sh ./tools/clean.sh\n").unwrap();
    let protected = found(root.path());
    for path in [".githooks", "tools/clean.sh", "shared.config"] {
        assert!(protected.contains(&path.to_owned()), "{path}: {protected:?}");
    }
    assert!(!protected.iter().any(|path| path.starts_with("main") || path.starts_with("own")), "{protected:?}");
    // The caller's own configuration holds in every repository; the working tree itself is no hook.
    let context = ScanContext { secrets: &[], git_configuration: b"[core]\nhooksPath = own\n" };
    assert!(found_with(root.path(), EVERYTHING, context).contains(&"own".to_owned()));
    let context = ScanContext { secrets: &[], git_configuration: b"[core]\nhooksPath = .\n" };
    assert_eq!(found_with(root.path(), EVERYTHING, context), protected);
}

#[test]
fn a_link_by_a_protected_name_is_told_when_it_changes_and_its_target_is_held() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &["config/vscode/tasks.json", ".git/HEAD", "hooks/x"]);
    link("config/vscode", root.path().join(".vscode"));
    link("../hooks", root.path().join(".git/hooks"));
    link("/elsewhere", root.path().join(".envrc"));
    assert_eq!(found(root.path()), [".git/", "config/", "config/vscode", "hooks"]);
    let before = scan(root.path(), EVERYTHING, NOTHING);
    assert!(newly_protected(&before, &before).is_empty());
    fs::remove_file(root.path().join(".envrc")).unwrap();
    link("evil", root.path().join(".envrc"));
    assert_eq!(newly_protected(&before, &scan(root.path(), EVERYTHING, NOTHING)), [root.path().join(".envrc")]);
}

#[test]
fn other_version_control_systems_have_hooks_too() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &["a/.hg/hgrc", "a/.hg/store/x", "b/.jj/repo/config.toml"]);
    assert_eq!(
        found(root.path()),
        ["a/", "a/.hg/", "a/.hg/hgrc", "b/", "b/.jj/", "b/.jj/repo/", "b/.jj/repo/config.toml"]
    );
}

#[test]
fn sockets_and_secrets_are_hidden_in_what_may_only_be_read() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &[".git/HEAD", ".envrc", ".vscode/x", ".ssh/key", ".netrc", "src/x"]);
    for socket in [".git/fsmonitor", "src/server", ".vscode/agent"] {
        drop(std::os::unix::net::UnixListener::bind(root.path().join(socket)).unwrap());
    }
    link("src", root.path().join("linked"));
    let secrets = [".ssh", ".netrc", ".gone", "linked"].map(|name| root.path().join(name));
    let context = ScanContext { secrets: &secrets, git_configuration: b"" };
    let hidden = [".git/fsmonitor?", ".netrc?", ".ssh?", ".vscode/agent?", "src/server?"];
    assert_eq!(found_with(root.path(), ScanScope::Hidden, context), hidden);
    // Writable without protection: they stay in their places.
    assert_eq!(
        found_with(root.path(), ScanScope::HiddenInWritable, context),
        [".git/", ".git/fsmonitor?", ".netrc?", ".ssh?", ".vscode/", ".vscode/agent?", "src/", "src/server?"]
    );
    // Writable: the same, beside the rest; a read-only directory does not cover a socket in it.
    assert_eq!(
        found_with(root.path(), EVERYTHING, context),
        [".envrc", ".git/", ".git/fsmonitor?", ".netrc?", ".ssh?", ".vscode", ".vscode/agent?", "src/", "src/server?"]
    );
    // Nothing in what is hidden as a whole is mounted over.
    let context = ScanContext { secrets: &[root.path().join(".vscode")], git_configuration: b"" };
    let found = found_with(root.path(), EVERYTHING, context);
    assert!(found.contains(&".vscode?".to_owned()) && !found.iter().any(|path| path.contains("agent")), "{found:?}");
}

#[test]
fn a_search_says_when_it_was_cut_short() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &["a/x"]);
    assert_eq!(scan(root.path(), EVERYTHING, NOTHING).extent, Extent::Complete);
    for number in 0..MAX_DIRECTORIES {
        fs::create_dir(root.path().join(format!("a/{number}"))).unwrap();
    }
    assert_eq!(scan(root.path(), EVERYTHING, NOTHING).extent, Extent::CutShort);
}

/// git takes a link for HEAD whose target is not there, and a tool may have put one.
#[test]
fn a_sub_module_is_one_whatever_its_head_is() {
    let root = tempfile::tempdir().unwrap();
    make(
        root.path(),
        &[
            ".git/HEAD",
            ".git/modules/linked/config",
            ".git/modules/linked/hooks/x",
            ".git/modules/headless/config",
            ".git/modules/a/b/c/d/e/f/config",
            ".git/modules/a/b/c/d/e/f/HEAD",
        ],
    );
    link("refs/heads/unborn", root.path().join(".git/modules/linked/HEAD"));
    let protected = found(root.path());
    for path in ["linked/config", "linked/hooks", "headless/config", "a/b/c/d/e/f/config"] {
        assert!(protected.contains(&format!(".git/modules/{path}")), "{path}: {protected:?}");
    }
    assert_eq!(scan(root.path(), EVERYTHING, NOTHING).extent, Extent::Complete);
    make(root.path(), &[&format!(".git/modules/{}HEAD", "x/".repeat(MAX_NESTING + 2))]);
    assert_eq!(scan(root.path(), EVERYTHING, NOTHING).extent, Extent::CutShort);
}
