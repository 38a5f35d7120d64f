//! Files as the bash coco's users bring them, one for each feature of that format: each is checked and dry-run.

use std::fs;
use std::path::Path;

use coco::rules::variables::NEVER_PASSED;
use serde_json::Value;

use crate::world::World;

/// What mounts the project in all of them, without `opts`.
const HERE: &str = r#"{"src": ".", "dst": "/workspace"}"#;

/// One file of that form.
struct Original {
    /// Its keys beside `tool` and the project's mount.
    rest: &'static str,
    /// More mounts, each with a comma before it.
    mounts: &'static str,
    /// What `coco lint` says beside what it says of all of them.
    said: &'static [&'static str],
    /// Words of the engine's command, where there is something to see there.
    command: &'static [&'static str],
    /// Whether it needs `coco allow` before it runs.
    consent: bool,
}

const PLAIN: Original = Original { rest: "", mounts: "", said: &[], command: &[], consent: false };
const NO_NETWORK: &str = "note: no \"network\": the bash coco gave the engine's, this one gives none";

const FILES: &[Original] = &[
    Original { said: &[NO_NETWORK], command: &["dst=/workspace "], ..PLAIN },
    Original {
        mounts: r#", {"src": "~/.local/share/claude", "dst": "/root/.claude"}"#,
        said: &[
            NO_NETWORK,
            "warning: /mounts/1: the tool may write ~/.local/share/claude",
            "warning: /mounts/1: a writable mount outside the project",
        ],
        command: &["dst=/root/.claude "],
        ..PLAIN
    },
    Original {
        mounts: r#", {"src": "~/.config/x", "dst": "/root/.config/x", "opts": "ro,z"}, {"src": "/usr/share", "dst": "/share-of-host", "opts": "ro"}"#,
        said: &[NO_NETWORK],
        command: &["dst=/root/.config/x,readonly", "dst=/share-of-host,readonly"],
        ..PLAIN
    },
    Original { rest: r#", "env": {"NO_UPDATE_NOTIFIER": "1"}"#, said: &[NO_NETWORK], ..PLAIN },
    Original {
        rest: r#", "network": "none", "env_passthrough": ["EDITOR"]"#,
        said: &["note: \"env_passthrough\": the installation sees none of these variables"],
        ..PLAIN
    },
    Original {
        rest: r#", "network": "none", "env_passthrough": ["NODE_OPTIONS", "npm_config_registry"]"#,
        said: &[
            "note: \"env_passthrough\": ",
            "warning: /env_passthrough: your NODE_OPTIONS steers what runs in the sandbox: node loads code",
            "warning: /env_passthrough: your npm_config_registry steers what runs in the sandbox: node's package",
        ],
        ..PLAIN
    },
    Original {
        rest: r#", "network": "public", "dependencies": {"apt": ["libpq-dev"], "mise": ["node@22"]}"#,
        said: &["note: \"dependencies\": Debian packages are there while the tool is installed"],
        ..PLAIN
    },
    Original { rest: r#", "network": "none", "isolated": true"#, ..PLAIN },
    Original {
        rest: r#", "network": "none", "ports": ["3000:3000", "127.0.0.1:9000:9000"]"#,
        said: &["note: \"ports\": without an address they listen on 127.0.0.1 alone"],
        ..PLAIN
    },
    Original {
        rest: r#", "allowed_hosts": ["api.example.com", "*.example.org"]"#,
        said: &["note: \"allowed_hosts\": the tool reaches these names exactly"],
        command: &["--network=none"],
        ..PLAIN
    },
    Original { rest: r#", "network": "public""#, command: &["--network=none"], ..PLAIN },
    Original {
        rest: r#", "network": "default""#,
        said: &["warning: /network: the engine's network reaches private addresses too"],
        ..PLAIN
    },
    Original {
        rest: r#", "network": "host""#,
        said: &["warning: /network: the tool runs only after coco allow, because it asks for the host's own network"],
        command: &["--network=host"],
        consent: true,
        ..PLAIN
    },
    Original {
        rest: r#", "network": "none", "podman_args": ["--shm-size=256m"]"#,
        command: &["--shm-size=256m"],
        ..PLAIN
    },
    Original {
        rest: r#", "network": "none", "podman_args": ["--device", "/dev/fuse"]"#,
        said: &[
            "warning: /podman_args/0: the tool runs only after",
            "warning: /podman_args/1: the tool runs only after",
        ],
        command: &["--device /dev/fuse"],
        consent: true,
        ..PLAIN
    },
    Original {
        rest: r#", "network": "none", "x11": true"#,
        said: &["X11 display"],
        // The display itself is where a machine has one.
        consent: true,
        ..PLAIN
    },
];

#[test]
fn files_of_the_bash_coco_are_checked_and_run() {
    let world = World::new();
    for file in FILES {
        let text = format!(r#"{{"tool": "python@system", "mounts": [{HERE}{}]{}}}"#, file.mounts, file.rest);
        let path = world.tool("probe", &text);
        let lint = world.coco(["lint", "probe"]).exits(0);
        let mut expected = vec![
            "note: it looks like a file of the bash coco",
            "warning: /mounts/0: the tool may write .; write \"opts\": \"rw\"",
            "warning: /description is missing",
        ];
        expected.extend(file.said);
        let lines: Vec<String> =
            lint.stderr.lines().map(|line| line.replace(&format!("{}: ", path.display()), "")).collect();
        for words in &expected {
            assert!(lines.iter().any(|line| line.starts_with("coco: ") && line.contains(words)), "{text}: {lint:?}");
        }
        assert_eq!(lines.len(), expected.len(), "{text}: {lint:?}");
        if file.consent {
            world.coco(["run", "probe"]).fails(125, "asks for");
            world.coco(["allow", "probe"]).exits(0);
        }
        let shown = world.coco(["run", "--dry-run", "probe", "argument"]).exits(0);
        let command = shown.text().split_whitespace().filter(|word| *word != "\\").collect::<Vec<_>>().join(" ");
        for words in file.command {
            assert!(command.contains(words), "{text}: {command}");
        }
        assert!(world.calls().is_empty(), "{text}");
        // A run listens on ports, which another test may have, and an installation needs a real engine.
        if ["\"ports\"", "\"dependencies\""].iter().any(|key| file.rest.contains(key)) {
            continue;
        }
        // And it runs: the project is writable, as it was.
        world.coco(["run", "probe"]).exits(126);
        let project = world.call().mounts().into_iter().find(|fields| fields.contains(&b"dst=/workspace".to_vec()));
        assert!(project.is_some_and(|fields| !fields.contains(&b"readonly".to_vec())), "{text}");
        world.forget_calls();
    }
}

#[test]
fn a_key_that_is_gone_is_told_with_what_to_write() {
    let world = World::new();
    for key in ["pre-cmd", "pre_cmd"] {
        world.tool("probe", format!(r#"{{"tool": "python@system", "mounts": [{HERE}], "{key}": "make"}}"#));
        for (command, code) in [("lint", 1), ("run", 125)] {
            let refused = world.coco([command, "probe"]).fails(code, &format!("/{key}: {key} is gone"));
            assert!(refused.hint().contains("\"dependencies\""), "{refused:?}");
        }
    }
}

/// What the format leaves open, a store says: for its users the file is read, not its default.
#[test]
fn every_mount_of_the_store_says_ro_or_rw() {
    let mut files = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("store")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") || path.ends_with("index.json") {
            continue;
        }
        let file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for mount in file["mounts"].as_array().into_iter().flatten() {
            let said = mount["opts"].as_str().unwrap_or_default().split(',').any(|word| word == "ro" || word == "rw");
            assert!(said, "{}: {mount}", path.display());
        }
        files += 1;
    }
    assert_eq!(files, 107);
}

/// Which variables are refused is in the reference, name by name.
#[test]
fn the_reference_names_every_variable_that_is_refused() {
    let reference = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.md")).unwrap();
    let row = reference.lines().find(|line| line.starts_with("| steers coco, the loader")).unwrap();
    let mut named: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
    let mut refused: Vec<&str> = NEVER_PASSED.iter().flat_map(|(patterns, _)| *patterns).copied().collect();
    named.sort_unstable();
    refused.sort_unstable();
    assert_eq!(named, refused);
}

/// The rule is the program's own, not this test's.
#[test]
fn a_store_takes_no_file_that_leaves_it_open() {
    let world = World::new();
    for (rest, words) in [
        (r#""mounts": [{"src": "@project"}]"#, "/mounts/0: a store's file may not have a mount that says neither"),
        (
            r#""env_passthrough": ["PYTHONPATH"]"#,
            "/env_passthrough/0: a store's file may not have the user's PYTHONPATH",
        ),
    ] {
        let text = format!(r#"{{"tool": "npm:x", "description": "d", {rest}}}"#);
        fs::write(world.path("project/x.json"), &text).unwrap();
        world.coco(["lint", "--store", "x.json"]).fails(1, words);
        world.coco(["lint", "x.json"]).exits(0);
    }
    let good = r#"{"tool": "npm:x", "description": "d", "mounts": [{"src": "@project", "opts": "ro"}]}"#;
    fs::write(world.path("project/x.json"), good).unwrap();
    world.coco(["lint", "--store", "x.json"]).exits(0);
}
