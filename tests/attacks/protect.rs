//! F1 to F6: what runs on the host stays as it is, in projects that a tool may write.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::install::limits;
use crate::support::{Engine, World, each_engine, run};

each_engine!(
    f1_f6_hooks_settings_and_task_files,
    f1_a_mount_that_says_neither_ro_nor_rw,
    f2_nested_repositories,
    f3_what_appears_is_reported,
    f4_a_git_that_is_no_directory,
    f5_parents_stay_in_their_places,
    f1_hooks_that_gits_configuration_names,
    f4_links_by_protected_names,
    what_a_repository_needs_still_works,
    git_itself_still_works,
);

/// Tries to change each of its arguments in every way there is; prints those that worked.
const PROBE: &str = r#"
import os, shutil, sys
def tries(what, path, attempt):
    try:
        attempt()
    except OSError:
        return
    print(what, path)
def over(path):
    with open("evil", "w") as evil: evil.write("evil")
    try:
        os.rename("evil", path)
    finally:
        if os.path.exists("evil"): os.unlink("evil")
for given in sys.argv[1:]:
    for path in (given, "./" + given, given.replace("/", "//"), "x/../" + given):
        if os.path.isdir(path):
            tries("create", path, lambda: open(os.path.join(path, "evil"), "w").close())
            tries("directory", path, lambda: os.mkdir(os.path.join(path, "evil.d")))
            for name in os.listdir(path):
                tries("append", path, lambda: open(os.path.join(path, name), "a").close())
                tries("remove", path, lambda: os.unlink(os.path.join(path, name)))
        else:
            tries("append", path, lambda: open(path, "a").close())
            tries("truncate", path, lambda: os.truncate(path, 0))
            tries("replace", path, lambda: over(path))
        tries("chmod", path, lambda: os.chmod(path, 0o777))
        tries("link", path, lambda: os.link(path, "evil-link"))
        tries("rename", path, lambda: os.rename(path, "evil-name"))
        tries("rmtree", path, lambda: os.unlink(path) if os.path.isfile(path) else os.rmdir(path))
"#;

/// Everything of F1, one file in each.
const HELD: &[&str] = &[
    ".git/hooks/pre-commit",
    ".git/config",
    ".git/info/attributes",
    ".gitmodules",
    ".husky/pre-commit",
    ".vscode/tasks.json",
    ".idea/workspace.xml",
    ".envrc",
    "mise.toml",
    ".mise.toml",
    ".claude/settings.json",
    ".mcp.json",
];

/// What of it is given to the probe: directories are tried as a whole.
const TRIED: &[&str] = &[
    ".git/hooks",
    ".git/hooks/pre-commit",
    ".git/config",
    ".git/info/attributes",
    ".gitmodules",
    ".husky",
    ".vscode",
    ".idea",
    ".envrc",
    "mise.toml",
    ".mise.toml",
    ".claude",
    ".mcp.json",
];

fn fill(world: &World, project: &Path, files: &[&str]) {
    for file in files {
        world.write(project.join(file), "before");
    }
    world.make_directory(&project.join("x")).unwrap();
}

fn writer(world: &World, name: &str, more: &Value) {
    let mut file = json!({"mounts": [{"src": "@project", "opts": "rw"}], "workdir": "."});
    file.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.python(name, &file);
}

/// Runs the probe and gives what it could do.
fn tried(world: &World, tool: &str, project: &Path, paths: &[&str]) -> Vec<String> {
    let mut arguments = vec!["run", tool, "-c", PROBE];
    arguments.extend(paths);
    world.coco_in(project, arguments).succeeds().text().lines().map(str::to_owned).collect()
}

/// Every path below a directory with what is in it.
fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.push((path.clone(), fs::read(&path).unwrap_or_default()));
        }
    }
    all.sort();
    all
}

fn f1_f6_hooks_settings_and_task_files(world: &World) {
    let project = world.project("protect");
    fill(world, &project, HELD);
    fill(world, &project, &[".git/HEAD", "ordinary"]);
    writer(world, "protected", &json!({}));
    let before = contents(&project);
    assert_eq!(tried(world, "protected", &project, TRIED), Vec::<String>::new());
    // Nothing was changed, and no mount point was made on the host.
    assert_eq!(contents(&project), before);
    // The controls: an ordinary file, and the same without protection.
    assert!(!tried(world, "protected", &project, &["ordinary"]).is_empty());
    writer(world, "open", &json!({"protect": false}));
    for path in TRIED {
        let copy = world.project("open");
        fill(world, &copy, HELD);
        fill(world, &copy, &[".git/HEAD"]);
        assert!(!tried(world, "open", &copy, &[path]).is_empty(), "{path}");
    }
    // A path of the coco file's own.
    writer(world, "more", &json!({"protect": ["ordinary", "src/secret.sh"]}));
    let own = world.project("more");
    fill(world, &own, &["ordinary", "src/secret.sh", "src/other", ".envrc"]);
    assert_eq!(tried(world, "more", &own, &["ordinary", "src/secret.sh", ".envrc"]), Vec::<String>::new());
    assert!(!tried(world, "more", &own, &["src/other"]).is_empty());
}

/// Without `opts` a mount is writable, and what is protected is protected all the same.
fn f1_a_mount_that_says_neither_ro_nor_rw(world: &World) {
    let here = json!({"src": ".", "dst": "/workspace"});
    let project = world.project("unsaid");
    fill(world, &project, HELD);
    fill(world, &project, &[".git/HEAD", "ordinary"]);
    world.python("unsaid", &json!({"mounts": [here]}));
    let before = contents(&project);
    assert_eq!(tried(world, "unsaid", &project, TRIED), Vec::<String>::new());
    assert_eq!(contents(&project), before);
    // The controls: it is writable, and without protection so are those.
    assert!(!tried(world, "unsaid", &project, &["ordinary"]).is_empty());
    world.python("unsaid-open", &json!({"mounts": [here], "protect": false}));
    assert!(!tried(world, "unsaid-open", &project, &[".git/hooks"]).is_empty());
}

fn f2_nested_repositories(world: &World) {
    let project = world.project("nested");
    let files = [
        ".git/HEAD",
        ".git/config",
        ".git/modules/lib/HEAD",
        ".git/modules/lib/config",
        ".git/modules/lib/hooks/post-checkout",
        "packages/one/.git/HEAD",
        "packages/one/.git/config",
        "packages/one/.git/hooks/pre-push",
        "packages/two/.vscode/tasks.json",
        "bare.git/HEAD",
        "bare.git/config",
        "bare.git/hooks/update",
        "bare.git/objects/x",
        "bare.git/refs/x",
    ];
    fill(world, &project, &files);
    world.write(project.join("lib/.git"), "gitdir: ../.git/modules/lib\n");
    writer(world, "nested", &json!({}));
    let paths = [
        ".git/modules/lib/config",
        ".git/modules/lib/hooks",
        "lib/.git",
        "packages/one/.git/config",
        "packages/one/.git/hooks",
        "packages/two/.vscode",
        "bare.git/config",
        "bare.git/hooks",
    ];
    assert_eq!(tried(world, "nested", &project, &paths), Vec::<String>::new());
    assert!(!tried(world, "nested", &project, &["packages/one/.git/HEAD"]).is_empty());
}

fn f3_what_appears_is_reported(world: &World) {
    let project = world.project("appears");
    world.make_directory(&project.join("deep")).unwrap();
    world.python("planter", &json!({"mounts": [{"src": ".", "opts": "rw"}], "workdir": "."}));
    let plant = |code: &str| world.coco_in(&project, ["run", "planter", "-c", code]);
    let planted = plant(
        "import os; os.makedirs('deep/.git/hooks'); open('deep/.git/hooks/pre-commit', 'w').close(); open('.envrc', 'w').close(); open('harmless', 'w').close()",
    );
    let planted = planted.succeeds();
    for path in ["deep/.git", ".envrc"] {
        let path = project.join(path);
        planted.complains(&format!("coco: warning: planter made {}, which may run programs", path.display()));
    }
    assert!(!planted.errors().contains("harmless"), "{planted:?}");
    // Said once; from now on it is protected.
    let again = plant("open('.envrc', 'a')");
    assert!(!again.exits(1).errors().contains("coco: warning"), "{again:?}");
    // A link, over which nothing can be mounted, hides nothing beside it; the next run is refused.
    let linked = plant(
        "import os; os.symlink('x', 'deep/sub.git'); os.makedirs('n'); os.symlink('/x', 'n/.git'); open('.mcp.json', 'w').close()",
    );
    linked.succeeds().complains("n/.git, which may run").complains(".mcp.json, which may run");
    plant("print('ran')").exits(125).complains("hooks can't be protected");
    fs::remove_file(project.join("n/.git")).unwrap();
    // A redirection in a repository that was there.
    world.write(project.join(".git/HEAD"), "ref: refs/heads/main\n");
    world.write(project.join(".git/config"), "");
    plant("open('.git/commondir', 'w').close()").succeeds().complains(".git/commondir, which may run programs");
}

fn f4_a_git_that_is_no_directory(world: &World) {
    writer(world, "odd", &json!({}));
    // A worktree: the repository lies elsewhere and is not there.
    let worktree = world.project("worktree");
    world.write(worktree.join(".git"), "gitdir: /elsewhere/.git/worktrees/x\n");
    world.make_directory(&worktree.join("x")).unwrap();
    assert_eq!(tried(world, "odd", &worktree, &[".git"]), Vec::<String>::new());
    // A link, whole and dangling: an error, and nothing was started.
    for target in ["repository", "nowhere"] {
        let project = world.project("linked");
        world.write(project.join("repository/config"), "");
        std::os::unix::fs::symlink(target, project.join(".git")).unwrap();
        let refused = world.coco_in(&project, ["run", "odd", "-c", "print('ran')"]);
        assert_eq!(refused.exits(125).text(), "");
        refused.complains("hooks can't be protected").complains("\"protect\": false");
        world.python("reader", &json!({"mounts": [{"src": "@project", "opts": "ro"}], "workdir": "."}));
        assert_eq!(world.coco_in(&project, ["run", "reader", "-c", "print('ran')"]).succeeds().text(), "ran");
    }
}

fn f5_parents_stay_in_their_places(world: &World) {
    let project = world.project("parents");
    fill(
        world,
        &project,
        &[".git/HEAD", ".git/config", ".git/hooks/x", "a/b/.git/HEAD", "a/b/.git/config", "free/file"],
    );
    writer(world, "mover", &json!({}));
    let code = "import os, sys
for path in sys.argv[1:]:
    for attempt in (lambda: os.rename(path, 'moved'), lambda: os.replace('free', path), lambda: os.rename(path, 'x/moved')):
        try:
            attempt()
            print(path)
        except OSError as error: pass
";
    let moved = |paths: &[&str]| {
        let mut arguments = vec!["run", "mover", "-c", code];
        arguments.extend(paths);
        world.coco_in(&project, arguments).succeeds().text()
    };
    assert_eq!(moved(&[".git", ".git/hooks", "a", "a/b", "a/b/.git"]), "");
    assert!(project.join("a/b/.git/config").exists() && project.join(".git/hooks/x").exists());
    assert_eq!(moved(&["free"]), "free");
}

/// Hooks and programs need not lie in `.git`: its configuration may name any file of the project.
fn f1_hooks_that_gits_configuration_names(world: &World) {
    let project = world.project("named");
    fill(
        world,
        &project,
        &[".git/HEAD", ".githooks/pre-commit", "scripts/clean.sh", "scripts/other.sh", "more.config"],
    );
    world.write(
        project.join(".git/config"),
        "[core]\n\thooksPath = .githooks\n[include]\n\tpath = ../more.config\n[filter \"x\"]\n\tclean = sh scripts/clean.sh\n",
    );
    writer(world, "named", &json!({}));
    let held = [".githooks", ".githooks/pre-commit", "scripts/clean.sh", "more.config"];
    assert_eq!(tried(world, "named", &project, &held), Vec::<String>::new());
    assert!(!tried(world, "named", &project, &["scripts/other.sh"]).is_empty());
    // The caller's own configuration holds in every repository.
    world.write(world.home.join(".gitconfig"), "[core]\n\thooksPath = own-hooks\n");
    let other = world.project("named");
    fill(world, &other, &[".git/HEAD", "own-hooks/pre-push"]);
    assert_eq!(tried(world, "named", &other, &["own-hooks", "own-hooks/pre-push"]), Vec::<String>::new());
    fs::remove_file(world.home.join(".gitconfig")).unwrap();
    assert!(!tried(world, "named", &other, &["own-hooks/pre-push"]).is_empty());
}

/// Nothing can be mounted over a link: what it leads to is held, and another link in its place is told.
fn f4_links_by_protected_names(world: &World) {
    let project = world.project("links");
    fill(world, &project, &["settings/tasks.json", "env", "evil-env"]);
    std::os::unix::fs::symlink("settings", project.join(".vscode")).unwrap();
    std::os::unix::fs::symlink("env", project.join(".envrc")).unwrap();
    world.python("linker", &json!({"mounts": [{"src": ".", "opts": "rw"}], "workdir": "."}));
    assert_eq!(tried(world, "linker", &project, &["settings", "env"]), Vec::<String>::new());
    let code = "import os; os.unlink('.envrc'); os.symlink('evil-env', '.envrc')";
    let relinked = world.coco_in(&project, ["run", "linker", "-c", code]);
    relinked.succeeds().complains(".envrc, which may run programs");
    assert!(!relinked.errors().contains(".vscode"), "{relinked:?}");
}

/// Debian's git on coco's own python image, built once.
fn image_with_git(world: &World) -> &'static str {
    world.python("warm-git", &json!({}));
    let context = world.project("git-image");
    let containerfile = "FROM localhost/coco:python\nRUN apt-get -o Acquire::Check-Valid-Until=false update \
        && apt-get install -y --no-install-recommends git\n";
    world.write(context.join("Containerfile"), containerfile);
    let tag = "localhost/coco-test:git";
    let mut arguments = vec!["build".to_owned(), format!("--tag={tag}")];
    arguments.push(format!("--file={}", context.join("Containerfile").display()));
    match world.engine {
        Engine::Docker => arguments.push("--force-rm".to_owned()),
        Engine::PodmanRootful | Engine::PodmanRootless => arguments.extend(limits()),
    }
    arguments.push(context.display().to_string());
    world.engine(&arguments).succeeds();
    tag
}

/// The real one, in a repository with hooks: what works, and what does not.
fn git_itself_still_works(world: &World) {
    let image = image_with_git(world);
    let project = world.project("git");
    world.tool(
        "git-in-a-box",
        &json!({
            "tool": "python@system", "command": "git", "workdir": ".", "mounts": [{"src": "@project", "opts": "rw"}],
            "env": {
                "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com",
                "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com",
            },
        }),
    );
    let git = |arguments: &[&str]| {
        let mut coco = world.command(&world.coco);
        coco.env("COCO_IMAGE", image).args(["run", "git-in-a-box"]).args(arguments);
        run(coco.current_dir(&project))
    };
    // A new repository is one more that would run hooks.
    git(&["init", "-q", "-b", "main"]).succeeds().complains(".git, which may run programs");
    world.write(project.join("file"), "one\n");
    for arguments in [
        &["add", "file"][..],
        &["commit", "-q", "-m", "first"],
        &["branch", "other"],
        &["checkout", "-q", "other"],
        &["tag", "v1"],
        &["mv", "file", "moved"],
        &["commit", "-q", "-m", "moved"],
        &["checkout", "-q", "main"],
        &["merge", "-q", "other"],
        &["rebase", "-q", "other"],
        &["reset", "-q", "--hard", "HEAD~1"],
        &["gc", "-q"],
    ] {
        let ended = git(arguments);
        assert!(!ended.succeeds().errors().contains("coco: warning"), "{arguments:?}: {ended:?}");
    }
    world.write(project.join("file"), "two\n");
    assert_eq!(git(&["status", "--short"]).succeeds().text(), "M file");
    assert!(git(&["diff"]).succeeds().text().contains("+two"));
    git(&["stash", "-q"]).succeeds();
    git(&["stash", "pop", "-q"]).succeeds();
    // What writes the configuration does not, and nothing of it is left behind.
    let before = fs::read(project.join(".git/config")).unwrap();
    for arguments in [
        &["config", "core.hooksPath", "evil"][..],
        &["config", "alias.x", "!evil"],
        &["remote", "add", "origin", "/elsewhere"],
        &["branch", "-m", "main", "trunk"],
    ] {
        assert_ne!(git(arguments).code(), 0, "{arguments:?}");
    }
    assert_eq!(fs::read(project.join(".git/config")).unwrap(), before);
    // The control: with the grant it does.
    world.tool(
        "git-in-the-open",
        &json!({
            "tool": "python@system", "command": "git", "workdir": ".", "protect": false,
            "mounts": [{"src": "@project", "opts": "rw"}],
        }),
    );
    let mut coco = world.command(&world.coco);
    coco.env("COCO_IMAGE", image).args(["run", "git-in-the-open", "config", "alias.x", "status"]);
    run(coco.current_dir(&project)).succeeds();
    assert_ne!(fs::read(project.join(".git/config")).unwrap(), before);
}

/// What git itself does when it adds, commits and changes branches: files beside others, renamed
/// over them, in the places that are left writable.
fn what_a_repository_needs_still_works(world: &World) {
    let project = world.project("commits");
    fill(world, &project, &[".git/HEAD", ".git/config", ".git/hooks/x", ".git/index", ".git/refs/heads/main"]);
    world.make_directory(&project.join(".git/objects")).unwrap();
    writer(world, "committer", &json!({}));
    let code = "import os
def locked(path):
    with open(path + '.lock', 'w') as lock: lock.write('after')
    os.rename(path + '.lock', path)
for path in ('.git/index', '.git/HEAD', '.git/refs/heads/main', '.git/COMMIT_EDITMSG', '.git/refs/heads/new'): locked(path)
os.makedirs('.git/objects/ab'); locked('.git/objects/ab/cd')
os.makedirs('.git/logs/refs'); locked('.git/logs/HEAD')
print(open('.git/config').read())
";
    assert_eq!(world.coco_in(&project, ["run", "committer", "-c", code]).succeeds().text(), "before");
    assert_eq!(fs::read_to_string(project.join(".git/index")).unwrap(), "after");
}
