use super::*;

fn file(rest: &str) -> CocoFile {
    crate::config::parse(format!(r#"{{"tool": "npm:x"{rest}}}"#).as_bytes()).unwrap()
}

fn tool(name: &str) -> ToolName {
    ToolName::new(name).unwrap()
}

/// What is added and removed, in words.
fn compared(old: &str, new: &str) -> (Vec<String>, Vec<String>) {
    let found = difference(&tool("x"), &file(old), &file(new));
    let words = |grants: &[Grant]| grants.iter().map(ToString::to_string).collect();
    (words(&found.added), words(&found.removed))
}

#[test]
fn every_way_to_get_more_is_seen() {
    for (old, new, added) in [
        ("", r#", "mounts": [{"src": ".", "opts": "ro"}]"#, "reads the current directory"),
        ("", r#", "mounts": [{"src": "."}]"#, "writes the current directory"),
        (
            r#", "mounts": [{"src": ".", "opts": "ro"}]"#,
            r#", "mounts": [{"src": "."}]"#,
            "writes the current directory",
        ),
        (
            r#", "mounts": [{"src": ".", "opts": "ro"}]"#,
            r#", "mounts": [{"src": ".", "opts": "rw"}]"#,
            "writes the current directory",
        ),
        (
            r#", "mounts": [{"src": ".", "opts": "ro"}]"#,
            r#", "mounts": [{"src": ".", "dst": "/w", "opts": "ro"}]"#,
            "reads the current directory as /w",
        ),
        ("", r#", "allowed_hosts": ["a.example"]"#, "reaches a.example"),
        (r#", "allowed_hosts": ["a.example"]"#, r#", "allowed_hosts": ["*.a.example"]"#, "reaches *.a.example"),
        (r#", "allowed_hosts": ["a.example"]"#, r#", "allowed_hosts": ["a.example:22"]"#, "reaches a.example:22"),
        (r#", "network": "public""#, r#", "allowed_hosts": ["a.example:22"]"#, "reaches a.example:22"),
        (r#", "allowed_hosts": ["a.example"]"#, r#", "network": "public""#, "reaches any public host"),
        (r#", "network": "public""#, r#", "network": "default""#, "is on the engine's own network"),
        ("", r#", "env_passthrough": ["API_TOKEN"]"#, "sees your variable API_TOKEN"),
        (r#", "env": {"A": "1"}"#, r#", "env": {"A": "2"}"#, "sets A=2"),
        ("", r#", "ports": ["8080:80"]"#, "listens on 127.0.0.1:8080:80"),
        ("", r#", "data": "rw""#, "may write its own installation"),
        ("", r#", "protect": false"#, "may change git hooks, editor settings and task files"),
        (r#", "protect": ["ci"]"#, "", "may change ci in what it writes"),
        ("", r#", "dependencies": {"apt": ["gcc"]}"#, "installs Debian's gcc"),
        ("", r#", "dependencies": {"mise": ["npm:y"]}"#, "installs the companion npm:y"),
        ("", r#", "command": "other""#, "runs the program other"),
        ("", r#", "x11": true"#, "uses your X11 display"),
        ("", r#", "podman_args": ["--privileged"]"#, "gives the engine --privileged"),
        (r#", "limits": {"memory": "1g"}"#, "", "uses any amount of memory"),
        (r#", "limits": {"memory": "1g"}"#, r#", "limits": {"memory": "2g"}"#, "uses 2048 MiB of memory at most"),
        (r#", "limits": {"pids": 10}"#, "", "has 4096 processes at most"),
    ] {
        assert!(compared(old, new).0.contains(&added.to_owned()), "{old} -> {new}: {:?}", compared(old, new));
    }
    let other = crate::config::parse(br#"{"tool": "npm:evil"}"#).unwrap();
    assert_eq!(difference(&tool("x"), &file(""), &other).added, [Grant::Tool(other.tool)]);
}

#[test]
fn what_only_takes_away_adds_nothing() {
    for (old, new) in [
        (r#", "mounts": [{"src": ".", "opts": "rw"}]"#, r#", "mounts": [{"src": ".", "opts": "ro"}]"#),
        // The word alone changes nothing, in either direction.
        (r#", "mounts": [{"src": ".", "opts": "rw"}]"#, r#", "mounts": [{"src": "."}]"#),
        (r#", "mounts": [{"src": "."}]"#, r#", "mounts": [{"src": ".", "opts": "rw"}]"#),
        (r#", "mounts": [{"src": "."}]"#, r#", "mounts": [{"src": ".", "opts": "ro"}]"#),
        (r#", "network": "public""#, r#", "allowed_hosts": ["*.a.example", "*.b.example:443"]"#),
        (r#", "allowed_hosts": ["a.example", "b.example"]"#, r#", "allowed_hosts": ["b.example"]"#),
        (r#", "network": "host""#, r#", "network": "public""#),
        (r#", "allowed_hosts": ["*.a.example"]"#, r#", "allowed_hosts": ["*.b.a.example"]"#),
        (r#", "allowed_hosts": ["a.example"]"#, r#", "allowed_hosts": ["a.example:443"]"#),
        (r#", "protect": false"#, r#", "protect": ["ci"]"#),
        ("", r#", "protect": ["ci"]"#),
        ("", r#", "limits": {"memory": "1g", "pids": 10, "cpus": 1}"#),
        ("", r#", "description": "d", "homepage": "https://e.example", "isolated": true"#),
        (r#", "env_passthrough": ["A_B"], "ports": ["1:2"], "data": "rw", "x11": true"#, ""),
    ] {
        let (added, _) = compared(old, new);
        assert_eq!(added, [""; 0], "{old} -> {new}");
    }
    let (_, removed) = compared(r#", "network": "public""#, "");
    assert_eq!(removed, ["reaches any public host"]);
}

#[test]
fn a_suffix_is_no_sub_domain() {
    let (added, _) = compared(r#", "allowed_hosts": ["*.a.example"]"#, r#", "allowed_hosts": ["evila.example"]"#);
    assert_eq!(added, ["reaches evila.example"]);
}

/// A list of cases: the old file's rest, the new one's, and exactly what is added.
#[track_caller]
fn adds(cases: &[(&str, &str, &[&str])]) {
    for (old, new, added) in cases {
        assert_eq!(compared(old, new).0, *added, "{old} -> {new}");
    }
}

#[test]
fn another_label_on_the_users_files_is_added() {
    let mount = |opts: &str| format!(r#", "mounts": [{{"src": "~/x", "opts": "{opts}"}}]"#);
    let private = "changes the SELinux labels of ~/x, for its own container alone";
    let shared = "changes the SELinux labels of ~/x, for all containers";
    adds(&[
        (&mount("ro"), &mount("ro,Z"), &[private]),
        (&mount("rw"), &mount("rw,z"), &[shared]),
        (&mount("rw,z"), &mount("rw,Z"), &[private]),
        (&mount("ro,Z"), &mount("ro"), &[]),
    ]);
}

#[test]
fn an_exact_host_is_covered_by_itself_alone() {
    let exact = r#", "allowed_hosts": ["intranet.corp.example"]"#;
    let added: &[&str] = &["reaches intranet.corp.example"];
    adds(&[
        (r#", "network": "public""#, exact, added),
        (r#", "network": "host""#, exact, added),
        (r#", "allowed_hosts": ["*.corp.example"]"#, exact, added),
        (r#", "allowed_hosts": ["*.corp.example", "intranet.corp.example"]"#, exact, &[]),
        (exact, r#", "allowed_hosts": ["intranet.corp.example:80"]"#, &[]),
        (r#", "allowed_hosts": ["intranet.corp.example:443"]"#, exact, added),
    ]);
}

#[test]
fn a_variable_that_is_set_hides_the_callers() {
    adds(&[
        (
            r#", "env_passthrough": ["X"], "env": {"X": ""}"#,
            r#", "env_passthrough": ["X"]"#,
            &["sees your variable X", "no longer sets X="],
        ),
        (r#", "env_passthrough": ["X"]"#, r#", "env_passthrough": ["X"], "env": {"X": ""}"#, &["sets X="]),
        (r#", "env": {"X": ""}"#, r#", "env_passthrough": ["X"], "env": {"X": ""}"#, &[]),
    ]);
}

#[test]
fn a_variable_that_is_set_no_more_is_added() {
    let set = r#", "env": {"npm_config_ignore_scripts": "true"}"#;
    let unset = "no longer sets npm_config_ignore_scripts=true";
    adds(&[
        (set, "", &[unset]),
        (set, r#", "env": {"npm_config_ignore_scripts": "false"}"#, &["sets npm_config_ignore_scripts=false"]),
    ]);
    assert_eq!(compared(set, "").1, [""; 0], "said once");
}

#[test]
fn the_program_is_the_one_that_runs() {
    adds(&[
        (r#", "command": "safe""#, "", &["runs the program x"]),
        (r#", "command": "x""#, "", &[]),
        ("", r#", "command": "x""#, &[]),
    ]);
}

#[test]
fn a_mount_over_a_part_of_another_holds_it_back() {
    let mounts = |list: &str| format!(r#", "mounts": [{list}]"#);
    for (outer, inner, lost) in [
        (
            r#"{"src": "~/.foo", "dst": "/foo"}"#,
            r#"{"src": "~/empty", "dst": "/foo/credentials"}"#,
            "/foo/credentials with ~/empty",
        ),
        (r#"{"src": "~/.foo"}"#, r#"{"src": "~/.foo/a"}"#, "~/.foo/a with ~/.foo/a"),
        (r#"{"src": "~/.foo", "dst": "/foo"}"#, r#"{"src": "/x/../foo//a"}"#, "/x/../foo//a with /x/../foo//a"),
        (r#"{"src": "/foo"}"#, r#"{"src": "~/empty", "dst": "/foo/a"}"#, "/foo/a with ~/empty"),
        // Wherever home is.
        (r#"{"src": "~/.foo"}"#, r#"{"src": "~/empty", "dst": "/root/.foo/a"}"#, "/root/.foo/a with ~/empty"),
        (r#"{"src": "~/.foo"}"#, r#"{"src": "/e", "dst": "/home/me/.foo/a"}"#, "/home/me/.foo/a with /e"),
        (r#"{"src": "/foo", "dst": "/home/me/x"}"#, r#"{"src": "~/x/a"}"#, "~/x/a with ~/x/a"),
    ] {
        let (both, one) = (mounts(&format!("{outer}, {inner}")), mounts(outer));
        assert_eq!(compared(&both, &one).0, [format!("no longer covers {lost}")]);
        // Without the outer one there is nothing to see.
        assert_eq!(compared(&both, "").0, [""; 0]);
        assert_eq!(compared(&both, &mounts(inner)).0, [""; 0]);
    }
    let beside = r#"{"src": "~/a", "dst": "/foo"}, {"src": "~/b", "dst": "/food/a"}"#;
    assert_eq!(compared(&mounts(beside), &mounts(r#"{"src": "~/a", "dst": "/foo"}"#)).0, [""; 0]);
}

#[test]
fn mounts_are_compared_by_their_sides_and_not_by_words() {
    let text = r#", "mounts": [{"src": "~/.foo as /data", "opts": "ro"}]"#;
    let sides = r#", "mounts": [{"src": "~/.foo", "dst": "/data", "opts": "ro"}]"#;
    adds(&[
        (text, sides, &["reads ~/.foo as /data"]),
        (sides, text, &["reads '~/.foo as /data'"]),
        (
            "",
            r#", "mounts": [{"src": "/a;b", "dst": "/c d", "opts": "ro"}], "workdir": "/w $x", "protect": ["a b"]"#,
            &["reads '/a;b' as '/c d'", "starts in '/w $x'"],
        ),
        (r#", "protect": ["a; b"]"#, "", &["may change 'a; b' in what it writes"]),
    ]);
}

#[test]
fn what_is_installed_is_told_apart() {
    let files = [
        r#"{"tool": "npm:a", "dependencies": {"mise": ["npm:b"]}}"#,
        r#"{"tool": "npm:b", "dependencies": {"mise": ["npm:a"]}}"#,
    ];
    let [old, new] = files.map(|text| crate::config::parse(text.as_bytes()).unwrap());
    let added: Vec<String> = difference(&tool("x"), &old, &new).added.iter().map(ToString::to_string).collect();
    assert_eq!(added, ["installs npm:b", "installs the companion npm:a"]);
    // What comes last stands first on the PATH.
    adds(&[(
        r#", "dependencies": {"mise": ["node@20", "node@22"]}"#,
        r#", "dependencies": {"mise": ["node@22", "node@20"]}"#,
        &["installs in another order: node@22, node@20"],
    )]);
}

#[test]
fn runtimes_that_others_use_are_added() {
    let runtime = |rest: &str| format!(r#", "dependencies": {{"mise": ["node@22"]}}{rest}"#);
    adds(&[
        (&runtime(r#", "isolated": true"#), &runtime(""), &["shares runtimes with other tools"]),
        (&runtime(""), &runtime(r#", "isolated": true"#), &[]),
        ("", &runtime(""), &["installs the runtime node@22", "shares runtimes with other tools"]),
        // Without runtimes of its own there is nothing to share.
        (r#", "isolated": true"#, "", &[]),
    ]);
}

#[test]
fn a_version_that_is_pinned_no_more_is_added() {
    let needs = |list: &str| format!(r#", "isolated": true, "dependencies": {{"mise": [{list}]}}"#);
    let lost = "no longer installs the runtime node@22.1.0";
    adds(&[
        (&needs(r#""node@22.1.0""#), &needs(""), &[lost]),
        (&needs(r#""node@22.1.0""#), &needs(r#""node""#), &["installs the runtime node", lost]),
        (&needs(r#""node@22.1.0", "node@20""#), &needs(r#""node@20""#), &[lost]),
        (&needs(r#""node""#), &needs(""), &["no longer installs the runtime node"]),
        (&needs(r#""uv@0.5""#), &needs(""), &["no longer installs the companion uv@0.5"]),
        (&needs(r#""uv""#), &needs(""), &[]),
    ]);
    let pinned = crate::config::parse(br#"{"tool": "npm:x@1.2"}"#).unwrap();
    assert_eq!(difference(&tool("x"), &pinned, &file("")).added, [Grant::Tool(file("").tool)]);
}

#[test]
fn engine_arguments_are_compared_as_a_whole() {
    adds(&[
        (
            r#", "podman_args": ["--label", "--privileged"]"#,
            r#", "podman_args": ["--privileged", "--label"]"#,
            &["gives the engine --privileged --label", "no longer gives the engine --label --privileged"],
        ),
        (r#", "podman_args": ["--memory=1g"]"#, "", &["no longer gives the engine --memory=1g"]),
    ]);
}

#[test]
fn amounts_of_memory_are_exact() {
    adds(&[(
        r#", "limits": {"memory": "9216k"}"#,
        r#", "limits": {"memory": "10239k"}"#,
        &["uses 10239 KiB of memory at most"],
    )]);
    assert_eq!(
        compared(r#", "limits": {"memory": "10239k"}"#, r#", "limits": {"memory": "9m"}"#).1,
        ["uses 10239 KiB of memory at most"]
    );
}

#[test]
fn a_long_value_is_short_in_words() {
    let new = format!(r#", "env": {{"NODE_OPTIONS": "--require=/very/long {}"}}"#, "x ".repeat(2000));
    let (added, _) = compared("", &new);
    assert_eq!(added.len(), 1);
    assert!(added[0].starts_with("sets 'NODE_OPTIONS=--require=/very/long x x") && added[0].len() < 100, "{added:?}");
    assert!(added[0].ends_with(" (4,034 characters)"), "{added:?}");
}
