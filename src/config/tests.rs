use super::*;

fn wrong(text: &str) -> (String, String) {
    let error = parse(text.as_bytes()).unwrap_err();
    assert!(!error.hint.is_empty(), "{text}: an error without a hint");
    (error.pointer, error.message)
}

fn good(text: &str) -> CocoFile {
    parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

#[test]
fn the_least_file_grants_nothing() {
    let file = good(r#"{"tool": "npm:eslint"}"#);
    assert_eq!(file.network, Network::None);
    assert_eq!(file.data, Access::ReadOnly);
    assert!(file.mounts.is_empty() && file.env_passthrough.is_empty() && file.podman_args.is_empty());
    assert_eq!((file.x11, file.protect), (X11::Absent, Protect::Default));
}

#[test]
fn a_mount_is_writable_unless_it_says_otherwise() {
    for (mount, access, source, relabel) in [
        (r#"{"src": ".", "dst": "/w"}"#, Access::ReadWrite, AccessSource::Default, Relabel::Keep),
        (r#"{"src": ".", "opts": "z"}"#, Access::ReadWrite, AccessSource::Default, Relabel::Shared),
        (r#"{"src": ".", "opts": "ro"}"#, Access::ReadOnly, AccessSource::Stated, Relabel::Keep),
        (r#"{"src": ".", "opts": "Z,ro"}"#, Access::ReadOnly, AccessSource::Stated, Relabel::Private),
        (r#"{"src": "~/a b", "opts": "rw,Z"}"#, Access::ReadWrite, AccessSource::Stated, Relabel::Private),
    ] {
        let file = good(&format!(r#"{{"tool": "npm:x", "mounts": [{mount}]}}"#));
        let found = &file.mounts[0];
        assert_eq!((found.access, found.access_source, found.relabel), (access, source, relabel), "{mount}");
        // Whether the word is there is kept when the file is printed.
        assert_eq!(good(&file.print()), file);
    }
    // What is not said in the policy stays the closed choice.
    assert_eq!(Access::default(), Access::ReadOnly);
}

#[test]
fn a_file_of_a_store_says_what_it_leaves_to_nobody() {
    let unfit = |rest: &str| unfit_for_store(&good(&format!(r#"{{"tool": "npm:x", {rest}}}"#)));
    for (rest, place, words) in [
        (r#""mounts": [{"src": ".", "opts": "ro"}, {"src": "~/x"}]"#, "/mounts/1", "neither \"ro\" nor \"rw\""),
        (r#""mounts": [{"src": ".", "opts": "z"}]"#, "/mounts/0", "neither \"ro\" nor \"rw\""),
        (r#""ports": ["8080:80", "0.0.0.0:8081:80"]"#, "/ports/1", "a port that other machines reach"),
        (r#""ports": ["[::]:8081:80"]"#, "/ports/0", "a port that other machines reach"),
        (r#""env_passthrough": ["TERM", "NODE_OPTIONS"]"#, "/env_passthrough/1", "the user's NODE_OPTIONS: node"),
    ] {
        let error = unfit(rest).unwrap();
        assert!(error.pointer == place && error.message.contains(words), "{rest}: {error:?}");
    }
    assert_eq!(unfit(r#""mounts": [{"src": ".", "opts": "rw"}], "env": {"NODE_OPTIONS": "-x"}"#), None);
    assert_eq!(unfit(r#""ports": ["8080:80", "[::1]:8081:80"]"#), None);
}

#[test]
fn a_key_of_the_bash_coco_that_is_gone_is_told_so() {
    for key in ["pre-cmd", "pre_cmd"] {
        let error = parse(format!(r#"{{"tool": "npm:x", "{key}": "make"}}"#).as_bytes()).unwrap_err();
        assert_eq!(error.message, format!("{key} is gone: coco runs no command before the tool"));
        assert!(error.pointer == format!("/{key}") && error.hint.contains("dependencies"), "{error:?}");
    }
    let inner = parse(br#"{"tool": "npm:x", "limits": {"pre-cmd": 1}}"#).unwrap_err();
    assert_eq!(inner.message, "unknown key");
}

#[test]
fn variables_that_steer_code_inside_pass() {
    let file = good(r#"{"tool": "npm:x", "env_passthrough": ["NODE_OPTIONS", "npm_config_registry"]}"#);
    assert_eq!(file.env_passthrough.len(), 2);
    let error = parse(br#"{"tool": "npm:x", "env_passthrough": ["HOME"]}"#).unwrap_err();
    assert!(error.message.starts_with("your HOME can't be passed to the tool: it decides"), "{error:?}");
    // No hint leads to the next error.
    assert!(!error.hint.contains("\"env\""), "{error:?}");
}

#[test]
fn every_error_cites_its_place() {
    for (text, place) in [
        ("[]", ""),
        ("{}", ""),
        (r#"{"tool": 1}"#, "/tool"),
        (r#"{"tool": "npm:-x"}"#, "/tool"),
        (r#"{"tool": "npm:x", "mount": []}"#, "/mount"),
        (r#"{"tool": "npm:x", "tool": "npm:y"}"#, "/tool"),
        (r#"{"tool": "npm:x", "command": "a b"}"#, "/command"),
        (r#"{"tool": "npm:x", "command": "-c"}"#, "/command"),
        (r#"{"tool": "npm:x", "command": "/bin/sh"}"#, "/command"),
        (r#"{"tool": "npm:x", "mounts": {}}"#, "/mounts"),
        (r#"{"tool": "npm:x", "mounts": [{"dst": "/w"}]}"#, "/mounts/0"),
        (r#"{"tool": "npm:x", "mounts": [{"src": "../x"}]}"#, "/mounts/0/src"),
        (r#"{"tool": "npm:x", "mounts": [{"src": "~/../x"}]}"#, "/mounts/0/src"),
        (r#"{"tool": "npm:x", "mounts": [{"src": ".", "dst": "w"}]}"#, "/mounts/0/dst"),
        (r#"{"tool": "npm:x", "mounts": [{"src": ".", "dst": "/proc"}]}"#, "/mounts/0/dst"),
        (r#"{"tool": "npm:x", "mounts": [{"src": ".", "opts": "rw,exec"}]}"#, "/mounts/0/opts"),
        (r#"{"tool": "npm:x", "mounts": [{"src": ".", "opts": "ro,rw"}]}"#, "/mounts/0/opts"),
        (r#"{"tool": "npm:x", "mounts": [{"src": ".", "option": "rw"}]}"#, "/mounts/0/option"),
        (r#"{"tool": "npm:x", "env": {"A B": "x"}}"#, "/env/A B"),
        (r#"{"tool": "npm:x", "env": {"LD_PRELOAD": "x"}}"#, "/env/LD_PRELOAD"),
        (r#"{"tool": "npm:x", "env": {"A": 1}}"#, "/env/A"),
        (r#"{"tool": "npm:x", "env_passthrough": ["BASH_ENV"]}"#, "/env_passthrough/0"),
        (r#"{"tool": "npm:x", "env_passthrough": ["OK", "A*"]}"#, "/env_passthrough/1"),
        (r#"{"tool": "npm:x", "dependencies": {"apt": ["-y"]}}"#, "/dependencies/apt/0"),
        (r#"{"tool": "npm:x", "dependencies": {"mise": ["a b"]}}"#, "/dependencies/mise/0"),
        (r#"{"tool": "npm:x", "dependencies": {"pip": []}}"#, "/dependencies/pip"),
        (r#"{"tool": "npm:x", "workdir": "x"}"#, "/workdir"),
        (r#"{"tool": "npm:x", "network": "container:x"}"#, "/network"),
        (r#"{"tool": "npm:x", "network": "none", "allowed_hosts": []}"#, "/allowed_hosts"),
        (r#"{"tool": "npm:x", "network": "public", "allowed_hosts": ["a.example"]}"#, "/allowed_hosts"),
        (r#"{"tool": "npm:x", "allowed_hosts": ["*"]}"#, "/allowed_hosts/0"),
        (r#"{"tool": "npm:x", "isolated": "true"}"#, "/isolated"),
        (r#"{"tool": "npm:x", "ports": ["80"]}"#, "/ports/0"),
        (r#"{"tool": "npm:x", "x11": 1}"#, "/x11"),
        (r#"{"tool": "npm:x", "podman_args": [""]}"#, "/podman_args/0"),
        (r#"{"tool": "npm:x", "data": "rwx"}"#, "/data"),
        (r#"{"tool": "npm:x", "protect": "yes"}"#, "/protect"),
        (r#"{"tool": "npm:x", "protect": ["../x"]}"#, "/protect/0"),
        (r#"{"tool": "npm:x", "limits": {"pids": 0}}"#, "/limits/pids"),
        (r#"{"tool": "npm:x", "limits": {"memory": "1"}}"#, "/limits/memory"),
        (r#"{"tool": "npm:x", "limits": {"memory": "1m"}}"#, "/limits/memory"),
        (r#"{"tool": "npm:x", "limits": {"cpus": -1}}"#, "/limits/cpus"),
        (r#"{"tool": "npm:x", "description": "a\nb"}"#, "/description"),
        (r#"{"tool": "npm:x", "homepage": "javascript:x"}"#, "/homepage"),
        (r#"{"tool": "npm:x", "description": "a\u202eb"}"#, "/description"),
        (r#"{"tool": "npm:x", "description": "a\u2028b"}"#, "/description"),
        (r#"{"tool": "npm:x", "homepage": "https://a.example/\u200b"}"#, "/homepage"),
        (r#"{"tool": "npm:x", "mounts": [{"src": "/a\nb"}]}"#, "/mounts/0/src"),
        (r#"{"tool": "npm:x", "mounts": [{"src": "~/a\u2029b"}]}"#, "/mounts/0/src"),
        (r#"{"tool": "npm:x", "mounts": [{"src": ".", "dst": "/a\u00adb"}]}"#, "/mounts/0/dst"),
        (r#"{"tool": "npm:x", "workdir": "/a\ufeffb"}"#, "/workdir"),
        (r#"{"tool": "npm:x", "protect": ["a", "b\udb40\udc41"]}"#, "/protect/1"),
    ] {
        assert_eq!(wrong(text).0, place, "{text}");
    }
}

#[test]
fn a_list_or_the_environment_can_be_read_in_a_while() {
    let variables = |count| (0..count).map(|number| format!(r#""A{number}": """#)).collect::<Vec<_>>().join(", ");
    let file = |count| format!(r#"{{"tool": "npm:x", "env": {{{}}}}}"#, variables(count));
    assert_eq!(good(&file(256)).env.len(), 256);
    assert_eq!(wrong(&file(257)).0, "/env");
    let hosts =
        |count| format!(r#"{{"tool": "npm:x", "allowed_hosts": [{}]}}"#, vec!["\"a.example\""; count].join(","));
    assert_eq!(wrong(&hosts(257)).0, "/allowed_hosts");
}

#[test]
fn an_unknown_key_gets_a_suggestion() {
    let error = parse(br#"{"tool": "npm:x", "allowed_host": []}"#).unwrap_err();
    assert_eq!(error.hint, "did you mean \"allowed_hosts\"?");
}

#[test]
fn an_empty_host_list_is_no_network() {
    assert_eq!(good(r#"{"tool": "npm:x", "allowed_hosts": []}"#).network, Network::None);
}

#[test]
fn what_is_printed_parses_to_the_same() {
    let file = good(
        r#"{"$schema": "https://x.example/s", "tool": "npm:@a/b@1.0", "command": "b", "description": "d", "homepage": "https://b.example",
        "mounts": [{"src": "@project", "opts": "rw"}, {"src": "~/.config/b", "dst": "/root/.config/b", "opts": "ro,z"}, {"src": "/opt/x"}],
        "workdir": ".", "env": {"A": "1", "B": "x y"}, "env_passthrough": ["TERM"], "dependencies": {"apt": ["gcc"], "mise": ["node@22"]},
        "allowed_hosts": ["a.example.com:8443", "*.b.example"], "ports": ["[::1]:1:2"], "isolated": true, "data": "rw", "protect": ["x/y"],
        "limits": {"memory": "2g", "pids": 100, "cpus": 1.5}, "x11": true, "podman_args": ["--shm-size=1g"]}"#,
    );
    assert_eq!(good(&file.print()), file);
}

#[test]
fn a_large_or_deep_file_is_refused_without_a_panic() {
    let large = format!(r#"{{"tool": "npm:x", "description": "{}"}}"#, "a".repeat(MAX_FILE));
    assert!(parse(large.as_bytes()).is_err());
    let deep = format!(r#"{{"tool": {}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert!(parse(deep.as_bytes()).is_err());
}
