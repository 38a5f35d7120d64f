//! The package managers' own clients, against the real registries, through the proxy. What a registry is called is
//! found out by the tool itself: no host is named here.

use serde_json::{Value, json};

use crate::support::{World, each_engine, printable};

each_engine!(pip, npm, cargo);

/// Runs a tool once with every public host, then with those that it reached, then with one of them left out.
fn learn_and_grant(world: &World, tool: &str, mut file: Value, arguments: &[&str], answer: &str) {
    let project = world.project(tool);
    file["mounts"] = json!([{"src": ".", "dst": "/workspace", "opts": "rw"}]);
    world.tool(tool, &file);
    let run = |more: &[&str]| world.coco_in(&project, [&["run"], more, &[tool], arguments].concat());
    // Without any network there is no way.
    let closed = run(&[]);
    assert_ne!(closed.code(), 0, "{closed:?}");
    let learnt = run(&["--learn"]);
    assert!(output(learnt.succeeds()).contains(answer), "{learnt:?}");
    let errors = learnt.errors();
    let proposed = errors.lines().find_map(|line| line.trim().strip_prefix("\"allowed_hosts\": "));
    let hosts: Vec<String> = serde_json::from_str(proposed.unwrap_or_else(|| panic!("{learnt:?}"))).unwrap();
    assert!((1..8).contains(&hosts.len()), "{hosts:?}");
    file["allowed_hosts"] = json!(hosts);
    world.tool(tool, &file);
    let granted = run(&[]);
    assert!(output(granted.succeeds()).contains(answer), "{granted:?}");
    assert!(!granted.errors().contains("coco: denied"), "{granted:?}");
}

fn output(run: &crate::support::Run) -> String {
    printable(&run.stdout) + &run.errors()
}

fn pip(world: &World) {
    let file = json!({"tool": "python@system", "command": "python3"});
    world.python("warm-pip", &json!({}));
    // The image has Debian's pip as a wheel alone.
    let code = "import glob, sys; sys.path.insert(0, glob.glob('/usr/share/python-wheels/pip-*.whl')[0]); \
                from pip._internal.cli.main import main; sys.exit(main(sys.argv[1:]))";
    let arguments = ["-c", code, "download", "--no-deps", "--no-cache-dir", "--dest=/tmp/wheels", "six"];
    learn_and_grant(world, "pip-client", file, &arguments, "Successfully downloaded six");
}

fn npm(world: &World) {
    let file = json!({"tool": "node@system", "command": "npm", "env": {"npm_config_cache": "/root/.cache/npm", "npm_config_update_notifier": "false", "npm_config_fetch_retries": "0"}});
    learn_and_grant(world, "npm-client", file, &["view", "left-pad", "name"], "left-pad");
}

fn cargo(world: &World) {
    let file = json!({"tool": "rust@system", "command": "cargo", "env": {"CARGO_HOME": "/root/.cache/cargo", "CARGO_NET_RETRY": "0"}});
    learn_and_grant(world, "cargo-client", file, &["info", "itoa"], "itoa");
}
