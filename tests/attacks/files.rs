//! F10 to F14, and what else a tool may try with files that it was not granted.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use serde_json::json;

use crate::support::{World, each_engine};

each_engine!(
    f7_links_that_lead_out,
    f8_f9_forbidden_sources,
    f10_hostile_directory_names,
    f11_f12_hostile_mounts,
    f13_what_other_runs_execute,
    f14_the_hosts_mise,
    nothing_of_home,
    d1_caches_of_projects,
);

fn f7_links_that_lead_out(world: &World) {
    let project = world.project("links");
    let secret = world.home.join("secret-file");
    world.write(&secret, "secret");
    std::os::unix::fs::symlink(&secret, project.join("out")).unwrap();
    world.python("links", &json!({"mounts": [{"src": ".", "dst": "/workspace"}]}));
    let read = world.coco_in(&project, ["run", "links", "-c", "print(open('out').read())"]);
    read.exits(1).complains("FileNotFoundError");
    // The control: mounted itself, the same file is there.
    world.python("links-granted", &json!({"mounts": [{"src": "~/secret-file", "dst": "/secret"}]}));
    assert_eq!(world.says("links-granted", "print(open('/secret').read())"), "secret");
    // A source that is a link to something forbidden is what it leads to.
    world.make_directory(&world.home.join(".ssh")).unwrap();
    let _ = std::os::unix::fs::symlink(world.home.join(".ssh"), world.home.join("innocent"));
    world.python("links-forbidden", &json!({"mounts": [{"src": "~/innocent", "dst": "/x"}]}));
    world.coco(["run", "links-forbidden", "-c", "pass"]).exits(125).complains(".ssh");
}

fn f8_f9_forbidden_sources(world: &World) {
    world.make_directory(&world.home.join(".aws")).unwrap();
    for source in [
        "/",
        "~",
        "~/.ssh",
        "~/.aws",
        "~/.gnupg",
        "/proc",
        "/sys",
        "/dev",
        "/run",
        "/var/run",
        "/etc",
        "~/.config",
        "~/.local",
    ] {
        let _ = world.make_directory(&world.home.join(source.trim_start_matches("~/")));
        world.python("forbidden", &json!({"mounts": [{"src": source, "dst": "/x", "opts": "rw"}]}));
        let refused = world.coco(["run", "forbidden", "-c", "print('ran')"]);
        assert_eq!(refused.exits(125).text(), "", "{source}");
        refused.complains("coco: hint:");
    }
    world.python("here", &json!({"mounts": [{"src": ".", "dst": "/workspace"}]}));
    for directory in [world.home.clone(), "/".into(), "/tmp".into(), world.home.parent().unwrap().to_owned()] {
        let refused = world.coco_in(&directory, ["run", "here", "-c", "print('ran')"]);
        assert_eq!(refused.exits(125).text(), "", "{directory:?}");
    }
    let project = world.project("here");
    assert_eq!(world.coco_in(&project, ["run", "here", "-c", "print('ran')"]).succeeds().text(), "ran");
}

/// A project's name is a stranger's choice: it must stay one path, whatever the engine's own syntax is.
fn f10_hostile_directory_names(world: &World) {
    world.python("hostile", &json!({"mounts": [{"src": ".", "dst": "/workspace", "opts": "ro"}]}));
    let names: [&[u8]; 9] = [
        b"x:/workspace:rw",
        b"x,dst=/usr/bin,readonly=false",
        b"x\",dst=/etc,\"",
        b"x\ntype=bind,src=/,dst=/host",
        b"--privileged",
        b"-v=",
        b"$HOME",
        b"x;touch injected;",
        b"\xff,dst=/etc",
    ];
    let code = "
import os
print(os.listdir('/workspace'), os.access('/workspace', os.W_OK), os.path.exists('/host'), len(os.listdir('/etc')) > 20)
mounts = [line.split()[4].decode() for line in open('/proc/self/mountinfo', 'rb')]
print(sorted(mount for mount in mounts if not mount.startswith(('/proc', '/sys', '/dev', '/run', '/etc/'))))
";
    let mut seen = Vec::new();
    for name in names {
        let project = world.project(OsStr::from_bytes(name));
        world.write(project.join("only-this"), "");
        let shown = world.coco_in(&project, ["run", "hostile", "-c", code]);
        let text = shown.succeeds().text();
        assert!(text.starts_with("['only-this'] False False True\n"), "{project:?}: {text}");
        seen.push(text);
        assert!(!project.join("injected").exists() && !project.parent().unwrap().join("injected").exists());
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
}

fn f11_f12_hostile_mounts(world: &World) {
    let project = world.project("mounts");
    let mount = |key: &str, value: &str| {
        let mut mount = json!({"src": ".", "dst": "/workspace"});
        mount[key] = json!(value);
        world.tool("hostile-mount", &json!({"tool": "python@system", "command": "python3", "mounts": [mount]}));
        world.coco_in(&project, ["run", "hostile-mount", "-c", "print('ran')"])
    };
    world.python("warm-mounts", &json!({}));
    for options in
        ["exec", "dev", "suid", "rw,exec", "rw,ro", "rshared", "shared", "rbind", "U", "O", "idmap", "", "rw,", " rw"]
    {
        let refused = mount("opts", options);
        assert_eq!(refused.exits(125).text(), "", "{options}");
        refused.complains("/mounts/0/opts");
    }
    for destination in [
        "/",
        "//",
        "/.",
        "/proc",
        "/proc/1",
        "/sys",
        "/dev",
        "/dev/shm",
        "/run",
        "/run/coco",
        "/run/coco/coco-init",
        "/coco",
        "/coco/data",
        "/coco/runtimes/x",
        "/root",
        "/tmp",
        "/var/tmp",
        "workspace",
        "./x",
        "",
        "/x/../etc",
        "/x/..",
        "/workspace/../proc",
        "/etc/hosts/..",
    ] {
        let refused = mount("dst", destination);
        assert_eq!(refused.exits(125).text(), "", "{destination}");
        refused.complains("/mounts/0/dst");
    }
    assert_eq!(mount("dst", "/somewhere/else").succeeds().text(), "ran");
    assert_eq!(mount("opts", "rw").succeeds().text(), "ran");
}

/// Whatever a tool can write, nothing that runs later may come from there.
fn f13_what_other_runs_execute(world: &World) {
    world.tool("victim", &json!({"tool": "npm:prettier", "command": "prettier"}));
    let version = world.coco(["run", "victim", "--version"]).succeeds().text();
    world.tool("attacker", &json!({"tool": "npm:prettier", "command": "node", "network": "default"}));
    world.tool("attacker-rw", &json!({"tool": "npm:prettier", "command": "node", "data": "rw"}));
    let code = "
const fs = require('fs');
const targets = process.argv.slice(1);
for (const target of targets) {
    try {
        fs.mkdirSync(target.replace(/[^/]*$/, ''), { recursive: true });
        fs.writeFileSync(target, '#!/bin/sh\\necho pwned\\n', { mode: 0o755 });
        console.log(target, 'written');
    } catch (error) {
        console.log(target, error.code);
    }
}
const found = [];
const look = (directory, depth) => {
    for (const name of fs.readdirSync(directory)) {
        if (name.includes('victim')) found.push(name);
        try { if (depth < 3) look(directory + '/' + name, depth + 1); } catch {}
    }
};
look('/coco', 0);
console.log('others', found.length);
";
    let targets = [
        "/coco/data/mise/installs/x",
        "/coco/data/x",
        "/coco/runtimes/x",
        "/coco/x",
        "/usr/local/bin/prettier",
        "/usr/bin/node",
        "/bin/sh",
        "/etc/ld.so.preload",
        "/run/coco/coco-init",
        "/run/x",
        "/x",
    ];
    let tried = |tool: &str| {
        let mut arguments = vec!["run", tool, "-e", code];
        arguments.extend(targets);
        world.coco(arguments).succeeds().text()
    };
    let closed = tried("attacker");
    assert!(!closed.contains("written") && closed.ends_with("others 0"), "{closed}");
    assert_eq!(
        closed.lines().filter(|line| line.ends_with("EROFS") || line.ends_with("EBUSY")).count(),
        targets.len(),
        "{closed}"
    );
    // The control: with the grant its own data is writable, and its own alone.
    let open = tried("attacker-rw");
    let written: Vec<&str> = open.lines().filter(|line| line.ends_with("written")).collect();
    assert_eq!(written, ["/coco/data/mise/installs/x written", "/coco/data/x written"], "{open}");
    assert_eq!(world.coco(["run", "victim", "--version"]).succeeds().text(), version);
    // A program planted in the cache, the one place that lasts, is on nobody's PATH.
    world.tool("planter", &json!({"tool": "npm:prettier", "command": "sh"}));
    let plant = "printf '#!/bin/sh\\necho pwned' > /root/.cache/prettier; chmod +x /root/.cache/prettier; mkdir -p /root/.local/bin; cp /root/.cache/prettier /root/.local/bin/";
    world.coco(["run", "planter", "-c", plant]).succeeds();
    assert_eq!(world.coco(["run", "planter", "-c", "prettier --version"]).succeeds().text(), version);
}

/// mise trusts its configuration: it may run programs.
fn f14_the_hosts_mise(world: &World) {
    let secret = "[env]\nFROM_HOST = 'yes'\n[tasks.x]\nrun = 'echo pwned'\n";
    world.write(world.home.join(".config/mise/config.toml"), secret);
    world.write(world.home.join(".local/share/mise/x"), secret);
    let project = world.project("mise");
    world.write(project.join("mise.toml"), secret);
    world.write(project.join(".tool-versions"), "node 1.2.3\n");
    world.tool("mise-probe", &json!({"tool": "npm:prettier", "command": "node", "mounts": [{"src": "@project"}]}));
    let code = "
const { execSync } = require('child_process');
console.log(process.env.FROM_HOST, Object.keys(process.env).some((name) => name.startsWith('MISE')));
console.log(execSync('find / -xdev -path /proc -prune -o -name \"*.toml\" -path \"*mise*\" -print 2>/dev/null || true').toString());
console.log(require('fs').existsSync('mise.toml'));
";
    let shown = world.coco_in(&project, ["run", "mise-probe", "-e", code]).succeeds().text();
    assert!(shown.starts_with("undefined false\n"), "{shown}");
    assert!(!shown.contains(".config/mise"), "{shown}");
    // The control: what was granted is there.
    assert!(shown.ends_with("true"), "{shown}");
    world.python("mise-mount", &json!({"mounts": [{"src": "~/.config/mise", "dst": "/x"}]}));
    world.coco(["run", "mise-mount", "-c", "pass"]).exits(125).complains(".config/mise");
}

fn nothing_of_home(world: &World) {
    let secret = world.home.join("private/secret");
    world.write(&secret, "secret");
    let project = world.project("home");
    let code = format!(
        "
import os
print(os.path.exists({:?}), sorted(set(os.listdir('/root')) - {{'.cache'}}), os.path.exists({:?}))
print(os.path.exists('/etc/shadow') and open('/etc/hostname').read().strip())
",
        world.home,
        fs::canonicalize("/var/tmp").unwrap().join("coco-tests"),
    );
    world.python("home", &json!({}));
    let closed = world.coco_in(&project, ["run", "home", "-c", &code]).succeeds().text();
    assert!(closed.starts_with("False [] False\n"), "{closed}");
    world.python("home-granted", &json!({"mounts": [{"src": "~/private"}]}));
    let granted = world.says("home-granted", &format!("print(open({secret:?}).read())"));
    assert_eq!(granted, "secret");
}

/// What a build leaves in its package manager's cache decides what the next build does.
fn d1_caches_of_projects(world: &World) {
    let (hostile, other) = (world.project("hostile"), world.project("other"));
    fs::create_dir(hostile.join("deep")).unwrap();
    let leaves = "open('/root/.cache/left', 'w').write('x')";
    let looks = "import os; print(os.path.exists('/root/.cache/left'))";
    let mounts = json!([{"src": ".", "dst": "/workspace", "opts": "ro"}]);
    for (tool, scope, seen) in [("own-cache", "project", "False"), ("one-cache", "shared", "True")] {
        world.python(tool, &json!({"mounts": mounts, "cache": scope}));
        world.coco_in(&hostile, ["run", tool, "-c", leaves]).succeeds();
        assert_eq!(world.coco_in(&hostile, ["run", tool, "-c", looks]).succeeds().text(), "True", "{scope}");
        // The control is the one that asks for it.
        assert_eq!(world.coco_in(&other, ["run", tool, "-c", looks]).succeeds().text(), seen, "{scope}");
    }
}
