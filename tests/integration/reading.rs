//! `list`, `search` and `lint`.

use serde_json::Value;

use crate::world::{PROBE, World};

fn json(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

#[test]
fn list_prints_one_name_a_line() {
    let world = World::new();
    assert_eq!(world.coco(["list"]).exits(0).text(), "");
    for name in ["zebra", "apple", "python3.12"] {
        world.tool(name, PROBE);
    }
    let ended = world.coco(["list"]).exits(0);
    assert_eq!((ended.text(), ended.stderr.as_str()), ("apple\npython3.12\nzebra\n", ""));
}

#[test]
fn list_shows_a_table_and_json() {
    let world = World::with_probe();
    world.tool("hosts", r#"{"tool": "npm:x@1", "allowed_hosts": ["a.example", "b.example"]}"#);
    world.tool("broken", "{");
    world.coco(["get", "eslint"]).exits(0);
    world.coco(["up", "probe"]).exits(0);
    let table = world.coco(["list", "-l"]).exits(0);
    let rows: Vec<Vec<&str>> = table
        .text()
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(
        rows,
        [
            vec!["NAME", "TOOL", "VERSION", "NETWORK", "ORIGIN", "LINKED"],
            vec!["broken", "BROKEN: see coco lint"],
            vec!["eslint", "npm:eslint", "-", "none", "store r1", "-"],
            vec!["hosts", "npm:x@1", "-", "2 hosts", "local", "-"],
            vec!["probe", "python@system", "system", "none", "local", "yes"],
        ]
    );
    assert_eq!(world.coco(["list", "--long"]).exits(0).text(), table.text());
    let ended = world.coco(["list", "--json"]).exits(0);
    let rows = json(ended.text());
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0]["name"], "broken");
    assert!(rows[0]["error"].as_str().unwrap().contains("not valid JSON"), "{rows:?}");
    assert_eq!(
        rows[3],
        serde_json::json!({"name": "probe", "tool": "python@system", "version": "system", "network": "none", "origin": "local", "linked": true})
    );
    assert_eq!(rows[2]["version"], Value::Null);
}

#[test]
fn list_works_without_an_engine() {
    let world = World::with_probe();
    std::fs::remove_file(world.path("engines/podman")).unwrap();
    world.tool("other", r#"{"tool": "npm:x"}"#);
    assert_eq!(json(world.coco(["list", "--json"]).exits(0).text()).len(), 2);
    world.coco(["list", "-l"]).exits(0);
}

#[test]
fn search_looks_through_the_store() {
    let world = World::new();
    world.coco(["get", "eslint"]).exits(0);
    let all = world.coco(["search"]).exits(0);
    assert!(all.text().lines().count() >= 30, "{all:?}");
    let starred: Vec<&str> = all.text().lines().filter(|line| line.starts_with('*')).collect();
    assert_eq!(starred.len(), 1);
    assert!(starred[0].starts_with("* eslint "), "{starred:?}");
    for word in ["ESLINT", "npm:eslint", "problems in javascript"] {
        let found = world.coco(["search", word]).exits(0);
        assert!(found.text().lines().any(|line| line.starts_with("* eslint")), "{word}: {found:?}");
        assert!(found.text().lines().count() < 5, "{word}: {found:?}");
    }
    world.coco(["search", "no-such-thing"]).fails(125, "no tool in the store matches no-such-thing");
    let ended = world.coco(["search", "--json", "eslint"]).exits(0);
    let rows = json(ended.text());
    assert_eq!((&rows[0]["name"], &rows[0]["configured"]), (&Value::from("eslint"), &Value::from(true)));
    assert_eq!(json(world.coco(["search", "--json", "no-such-thing"]).exits(0).text()), Vec::<Value>::new());
}

#[test]
fn lint_passes_good_files_and_names_bad_ones() {
    let world = World::with_probe();
    let probe = world.path("data/coco/tools/probe.json");
    let ended = world.coco(["lint"]).exits(0);
    assert_eq!((ended.text(), ended.stderr.as_str()), (format!("ok: {}\n", probe.display()).as_str(), ""));
    let bad = world.tool("bad", r#"{"tool": "npm:x", "netwrok": "none"}"#);
    let ended = world.coco(["lint"]).fails(1, &format!("{}: /netwrok: unknown key", bad.display()));
    assert_eq!(ended.text(), format!("ok: {}\n", probe.display()));
    assert_eq!(ended.hint(), "did you mean \"network\"?");
    world.coco(["lint", "probe"]).exits(0);
    world.coco(["lint", "bad", "probe"]).exits(1);
    world.coco(["lint", bad.to_str().unwrap()]).exits(1);
    world.coco(["lint", probe.to_str().unwrap()]).exits(0);
    world.coco(["lint", "no-such-tool"]).fails(1, "can't read");
}

#[test]
fn lint_checks_a_file_of_the_project_by_its_path() {
    let world = World::new();
    std::fs::write(world.path("project/mine.json"), PROBE).unwrap();
    assert_eq!(world.coco(["lint", "mine.json"]).exits(0).text(), "ok: mine.json\n");
    std::fs::write(world.path("project/Not A Tool.json"), PROBE).unwrap();
    let ended = world.coco(["lint", "Not A Tool.json"]).exits(0);
    assert!(ended.stderr.contains("the file's name is the tool's name"), "{ended:?}");
}

#[test]
fn lint_warns_of_what_is_legal_and_risky() {
    let world = World::new();
    for (rest, words) in [
        (r#""env_passthrough": ["GITHUB_TOKEN"]"#, "/env_passthrough: GITHUB_TOKEN looks like a secret"),
        (r#""env_passthrough": ["SSH_AUTH_SOCK"]"#, "/env_passthrough: SSH_AUTH_SOCK looks like a secret or an agent"),
        (r#""env_passthrough": ["PYTHONPATH"]"#, "/env_passthrough: your PYTHONPATH steers what runs in the sandbox"),
        (r#""env": {"API_KEY": "x"}"#, "/env/API_KEY: whoever can read this file can read the secret"),
        (r#""mounts": [{"src": "~/x", "opts": "rw"}]"#, "/mounts/0: a writable mount outside the project"),
        (r#""mounts": [{"src": "@project"}]"#, "/mounts/0: the tool may write @project; write \"opts\": \"rw\""),
        (r#""mounts": [{"src": ".", "opts": "z"}]"#, "/mounts/0: the tool may write .; write"),
        (r#""network": "default""#, "/network: the engine's network reaches private addresses too"),
        (
            r#""network": "host""#,
            "/network: the tool runs only after coco allow, because it asks for the host's own network",
        ),
        (
            r#""podman_args": ["--privileged"]"#,
            "/podman_args/0: the tool runs only after coco allow, because it asks for the engine argument \"--privileged\"",
        ),
        (r#""x11": true"#, "/x11: the tool runs only after coco allow, because it asks for your X11 display"),
        (r#""protect": false"#, "/protect: the tool may have write access to git hooks and editor settings"),
    ] {
        world.tool("probe", format!(r#"{{"tool": "npm:x", "description": "d", {rest}}}"#));
        let ended = world.coco(["lint", "probe"]).exits(0);
        let warnings: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("coco: warning: ")).collect();
        assert_eq!(warnings.len(), 1, "{rest}: {ended:?}");
        assert!(warnings[0].contains(words), "{rest}: {ended:?}");
    }
    world.tool("probe", r#"{"tool": "npm:x", "description": "d", "env_passthrough": ["TERM"], "env": {"API_KEY": ""}, "mounts": [{"src": ".", "opts": "rw"}]}"#);
    assert_eq!(world.coco(["lint", "probe"]).exits(0).stderr, "");
}

#[test]
fn every_file_of_the_store_passes_lint_without_a_warning() {
    let world = World::new();
    let ended = world.coco(["search", "--json"]).exits(0);
    let names: Vec<String> = json(ended.text()).iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
    let mut arguments = vec!["get".to_owned()];
    arguments.extend(names.iter().cloned());
    let got = world.coco(&arguments).exits(0);
    assert_eq!(got.text().matches("grants: ").count(), names.len());
    let lint = world.coco(["lint"]).exits(0);
    assert_eq!(lint.text().lines().count(), names.len());
    // An agent for the terminal is nothing without its key and a directory of its own in home.
    let granted = |line: &&str| {
        line.contains(": /env_passthrough: ") || line.contains(": a writable mount outside the project; ")
    };
    let odd: Vec<&str> = lint.stderr.lines().filter(|line| !granted(line)).collect();
    assert_eq!(odd, Vec::<&str>::new());
    let verified = world.coco(["verify"]).exits(0);
    assert!(
        verified
            .text()
            .lines()
            .all(|line| line.contains("  store  revision ") && line.ends_with(", from the bundled store")),
        "{verified:?}"
    );
}
