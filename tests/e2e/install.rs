//! The install phase: once, all or nothing, pinned.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Background, Engine, World, each_engine, is_impossible, printable, until};

each_engine!(
    two_at_once_install_once,
    a_failed_installation_leaves_nothing,
    a_killed_installation_is_not_trusted,
    the_version_is_pinned,
    a_change_of_grants_installs_nothing,
    debian_packages_are_for_the_installation_alone,
    companions,
    own_runtimes,
    the_installation_is_writable_only_on_request,
    limits,
    prune,
);

/// The installations in a tool's directory.
fn installations(world: &World, tool: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.volume(tool)).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("data-")).collect()
}

fn two_at_once_install_once(world: &World) {
    world.tool("twice", &json!({"tool": "npm:prettier", "command": "prettier"}));
    let start =
        || Background::start(world.command(&world.coco).args(["run", "twice", "--version"]).stdin(Stdio::null()));
    let mut both = [start(), start()];
    let mut errors = String::new();
    let mut versions = Vec::new();
    for one in &mut both {
        let mut bytes = Vec::new();
        versions.push(one.line());
        one.0.stderr.as_mut().unwrap().read_to_end(&mut bytes).unwrap();
        errors += &printable(&bytes);
        assert_eq!(one.ends(Duration::from_secs(60)), 0, "{errors}");
    }
    assert!(
        versions[0].starts_with(|first: char| first.is_ascii_digit()) && versions[0] == versions[1],
        "{versions:?}"
    );
    assert_eq!(errors.matches("coco: installing").count(), 1, "{errors}");
    assert_eq!(installations(world, "twice").len(), 1);
}

fn a_failed_installation_leaves_nothing(world: &World) {
    world.tool("failing", &json!({"tool": "npm:coco-no-such-package-for-its-tests", "command": "x"}));
    for _ in 0..2 {
        let failed = world.coco(["run", "failing"]);
        failed.exits(125).complains("coco: installing").complains("mise ERROR").complains("package not found");
        failed.complains("coco: error:").complains("coco: hint:");
        assert_eq!(failed.stdout, b"");
        assert!(!world.record("failing").exists());
        assert!(installations(world, "failing").is_empty());
    }
    let listed = world.coco(["list", "--json"]).succeeds().text();
    assert_eq!(row(&listed, "failing")["version"], Value::Null);
}

fn a_killed_installation_is_not_trusted(world: &World) {
    world.tool("killed", &json!({"tool": "pipx:ruff", "command": "ruff"}));
    let mut first = Background::start(world.command(&world.coco).args(["run", "killed", "--version"]));
    let half_done = until("a half-done installation", Duration::from_secs(300), || {
        assert!(first.0.try_wait().unwrap().is_none(), "the installation was too fast to be killed");
        installations(world, "killed").into_iter().find(|path| path.join("mise/installs/pipx-ruff").exists())
    });
    first.send(Signal::SIGKILL);
    first.ends(Duration::from_secs(5));
    until("the installer's end", Duration::from_secs(2), || world.containers("killed").is_empty().then_some(()));
    assert!(!world.record("killed").exists());
    let again = world.coco(["run", "killed", "--version"]);
    again.succeeds().complains("coco: installing");
    let record: Value = serde_json::from_slice(&fs::read(world.record("killed")).unwrap()).unwrap();
    assert_ne!(half_done.file_name().unwrap().to_str(), record["data"].as_str(), "nothing of the first is used");
    assert_eq!(installations(world, "killed").len(), 1, "and nothing of it stays");
}

fn the_version_is_pinned(world: &World) {
    world.tool("pinned", &json!({"tool": "npm:prettier@3.5", "command": "prettier"}));
    let version = world.coco(["run", "pinned", "--version"]).succeeds().text();
    assert!(version.starts_with("3.5."), "{version}");
    let listed = world.coco(["list", "--json"]).succeeds().text();
    assert_eq!(row(&listed, "pinned")["version"], json!(version));
    let table = world.coco(["list", "-l"]).succeeds().text();
    let line = table.lines().find(|line| line.starts_with("pinned ")).unwrap();
    assert!(line.contains("npm:prettier@3.5") && line.contains(&format!(" {version} ")), "{line}");
    // What a tool does now is what it did yesterday: the next run asks nobody.
    assert_eq!(world.coco(["run", "pinned", "--version"]).succeeds().errors(), "");
}

fn row(listed: &str, name: &str) -> Value {
    let rows: Vec<Value> = serde_json::from_str(listed).unwrap();
    rows.into_iter().find(|row| row["name"] == name).unwrap()
}

fn a_change_of_grants_installs_nothing(world: &World) {
    world.tool("changed", &json!({"tool": "npm:prettier", "command": "prettier"}));
    world.coco(["run", "changed", "--version"]).succeeds().complains("coco: installing");
    world.tool("changed", &json!({"tool": "npm:prettier", "command": "prettier", "env": {"A": "b"}}));
    assert!(!world.coco(["run", "changed", "--version"]).succeeds().errors().contains("installing"));
    world.tool("changed", &json!({"tool": "npm:prettier@3.5", "command": "prettier"}));
    world.coco(["run", "changed", "--version"]).succeeds().complains("coco: installing");
}

fn debian_packages_are_for_the_installation_alone(world: &World) {
    world.tool("debian", &json!({"tool": "npm:prettier", "command": "sh", "dependencies": {"apt": ["jq"]}}));
    let code = "prettier --version && ! command -v jq && head -c 0 /dev/null";
    world.coco(["run", "debian", "-c", code]).succeeds();
    let log = fs::read_to_string(world.home.join(".local/state/coco/logs/install-debian.log")).unwrap();
    assert!(log.contains("Setting up jq"), "{log}");
    // What the installation made belongs to the caller, though Debian's part ran as root.
    let (uid, gid) = world.owner();
    for path in installations(world, "debian") {
        let (owner, group, _) = crate::support::owner_and_mode(&path.join("mise/installs"));
        assert_eq!((owner, group), (uid, gid));
    }
    world.tool(
        "debian-failing",
        &json!({"tool": "npm:prettier", "command": "sh", "dependencies": {"apt": ["no-such-package-for-coco"]}}),
    );
    let failed = world.coco(["run", "debian-failing", "-c", "true"]);
    failed.exits(125).complains("Unable to locate package");
    assert!(!world.record("debian-failing").exists());
}

fn companions(world: &World) {
    let file = json!({"tool": "npm:typescript", "command": "sh", "dependencies": {"mise": ["npm:prettier"]}});
    world.tool("company", &file);
    let both = world.coco(["run", "company", "-c", "tsc --version && prettier --version"]).succeeds().text();
    assert!(both.starts_with("Version ") && both.lines().count() == 2, "{both}");
    let listed = world.coco(["list", "--json"]).succeeds().text();
    assert_eq!(
        format!("Version {}", row(&listed, "company")["version"].as_str().unwrap()),
        both.lines().next().unwrap()
    );
}

fn own_runtimes(world: &World) {
    world.tool("own", &json!({"tool": "npm:prettier", "command": "prettier", "isolated": true}));
    world.coco(["run", "own", "--version"]).succeeds();
}

fn the_installation_is_writable_only_on_request(world: &World) {
    let code = "echo x > /coco/data/x && cat /coco/data/x";
    world.tool("closed-data", &json!({"tool": "npm:prettier", "command": "sh"}));
    world.coco(["run", "closed-data", "-c", code]).exits(2).complains("Read-only file system");
    world.tool("open-data", &json!({"tool": "npm:prettier", "command": "sh", "data": "rw"}));
    assert_eq!(world.coco(["run", "open-data", "-c", code]).succeeds().text(), "x");
    // It lasts.
    assert_eq!(world.coco(["run", "open-data", "-c", "cat /coco/data/x"]).succeeds().text(), "x");
}

fn limits(world: &World) {
    world.python("limited", &json!({"limits": {"pids": 40, "memory": "96m", "cpus": 0.5}}));
    let forks = "
import os, signal
count = 0
try:
    while count < 80:
        if os.fork() == 0:
            signal.pause()
        count += 1
except BlockingIOError:
    pass
print(count, flush=True)
os._exit(0)
";
    let memory = "data = bytearray(200 << 20); print('all of it')";
    let forked = world.coco(["run", "limited", "-c", forks]);
    let hungry = world.coco(["run", "limited", "-c", memory]);
    // The control: without the limits both go through.
    world.python("unlimited", &json!({}));
    assert_eq!(world.says("unlimited", forks), "80");
    assert_eq!(world.says("unlimited", memory), "all of it");
    if world.engine == Engine::PodmanRootless && forked.text() == "80" {
        // An ordinary user may not make control groups here; then nobody may think that there is a limit.
        forked.complains("limits");
        is_impossible("this user can't limit processes", !world.bare_engine_limits("--pids-limit=40", "40"));
    }
    let count: u32 = forked.succeeds().text().parse().unwrap();
    assert!((20..40).contains(&count), "{count}");
    assert_eq!(hungry.code(), 137, "{hungry:?}");
}

fn prune(world: &World) {
    world.tool("pruned", &json!({"tool": "npm:prettier", "command": "sh"}));
    world.coco(["run", "pruned", "-c", "echo x > /root/.cache/x"]).succeeds();
    let cache = world.volume("pruned").join("install-cache");
    // It was the installation's alone. What an older coco has left there goes by prune.
    assert!(!cache.exists());
    world.make_directory(&cache).unwrap();
    let left = || {
        let own = fs::read_dir(world.volume("pruned")).unwrap().map(Result::unwrap);
        own.filter(|entry| entry.file_name().to_str().unwrap().starts_with("cache-") && entry.path().join("x").exists())
            .count()
    };
    assert_eq!(left(), 1);
    let mut busy = Background::start(world.command(&world.coco).args(["run", "pruned", "-c", "echo ready; read line"]));
    assert_eq!(busy.line(), "ready");
    let pruned = world.coco(["prune"]);
    assert!(pruned.succeeds().text().contains("freed "), "{pruned:?}");
    assert!(!cache.exists());
    assert_eq!(left(), 1, "a running tool's cache stays");
    drop(busy.0.stdin.take());
    busy.ends(Duration::from_secs(10));
    world.coco(["prune"]).succeeds();
    assert_eq!(left(), 0);
    // The tool itself is as it was.
    assert!(!world.coco(["run", "pruned", "-c", "prettier --version"]).succeeds().errors().contains("installing"));
    // Without its coco file, all of it goes; but not before somebody says so.
    fs::remove_file(world.home.join(".local/share/coco/tools/pruned.json")).unwrap();
    world.coco(["prune"]).succeeds();
    assert!(world.volume("pruned").exists());
    world.coco(["prune", "--all"]).succeeds();
    assert!(!world.volume("pruned").exists() && !world.record("pruned").exists());
}
