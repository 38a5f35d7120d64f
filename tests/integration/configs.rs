//! C3 and C4: a coco file that is wrong is an error with its place, whatever is in it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;

use crate::world::World;

/// `run` and `show` cite the file and the place, `lint` too; none of them calls the engine.
#[track_caller]
fn refused(world: &World, text: impl AsRef<[u8]>, pointer: &str) {
    let path = world.tool("probe", text.as_ref());
    let shown = text.as_ref()[..text.as_ref().len().min(300)].escape_ascii().to_string();
    let place = format!("{}: {pointer}: ", path.display());
    for (arguments, code) in [(&["run", "probe"][..], 125), (&["show", "probe"], 125), (&["lint", "probe"], 1)] {
        let ended = world.coco(arguments);
        assert_eq!(ended.code, Some(code), "{shown}: {ended:?}");
        let error = ended.stderr.lines().next().unwrap_or_default();
        assert!(error.starts_with(&format!("coco: error: {place}")), "{shown}: {ended:?}");
        assert!(!ended.hint().is_empty(), "{shown}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 2, "{shown}: {ended:?}");
        assert!(ended.stdout.is_empty(), "{shown}: {ended:?}");
    }
    assert!(world.calls().is_empty(), "{shown}");
}

#[expect(clippy::too_many_lines, reason = "one table")]
#[test]
fn wrong_values_are_errors_at_their_place() {
    let world = World::new();
    for (rest, pointer) in [
        // C3: names that an engine, a shell or an installer could read as something else.
        (r#""tool": "npm:a b""#, "/tool"),
        (r#""tool": "npm:a\nb""#, "/tool"),
        (r#""tool": "-x""#, "/tool"),
        (r#""tool": "npm:-x""#, "/tool"),
        (r#""tool": "npm:$(id)""#, "/tool"),
        (r#""tool": "npm:`id`""#, "/tool"),
        (r#""tool": "npm:a;id""#, "/tool"),
        (r#""tool": "npm:a|id""#, "/tool"),
        (r#""tool": "npm:a@1;id""#, "/tool"),
        (r#""tool": "npm:a[b=c]""#, "/tool"),
        (r#""tool": "npm:../a""#, "/tool"),
        (r#""tool": "pipx:git+https://x.example/y""#, "/tool"),
        (r#""tool": "ubi:a/b""#, "/tool"),
        (r#""tool": "http:x""#, "/tool"),
        (r#""tool": "npm:a\u0000""#, "/tool"),
        (r#""tool": "npm:ä""#, "/tool"),
        (r#""tool": """#, "/tool"),
        (r#""tool": null"#, "/tool"),
        (r#""tool": ["npm:a"]"#, "/tool"),
        (r#""tool": "npm:a", "command": "sh -c id""#, "/command"),
        (r#""tool": "npm:a", "command": "-c""#, "/command"),
        (r#""tool": "npm:a", "command": "/bin/sh""#, "/command"),
        (r#""tool": "npm:a", "command": "../sh""#, "/command"),
        (r#""tool": "npm:a", "command": "a\nb""#, "/command"),
        (r#""tool": "npm:a", "command": """#, "/command"),
        (r#""tool": "npm:a", "env": {"A B": ""}"#, "/env/A B"),
        (r#""tool": "npm:a", "env": {"A=B": ""}"#, "/env/A=B"),
        (r#""tool": "npm:a", "env": {"": ""}"#, "/env/"),
        (r#""tool": "npm:a", "env": {"-e": ""}"#, "/env/-e"),
        (r#""tool": "npm:a", "env": {"A\nB": ""}"#, "/env/A\\nB"),
        (r#""tool": "npm:a", "env": {"A/B~": ""}"#, "/env/A~1B~0"),
        (r#""tool": "npm:a", "env": {"PATH": "/x"}"#, "/env/PATH"),
        (r#""tool": "npm:a", "env": {"LD_PRELOAD": "/x"}"#, "/env/LD_PRELOAD"),
        (r#""tool": "npm:a", "env": {"MISE_X": "/x"}"#, "/env/MISE_X"),
        (r#""tool": "npm:a", "env": {"COCO_X": "/x"}"#, "/env/COCO_X"),
        (r#""tool": "npm:a", "env": {"A": "\u0000"}"#, "/env/A"),
        (r#""tool": "npm:a", "env": {"A": 1}"#, "/env/A"),
        (r#""tool": "npm:a", "env": []"#, "/env"),
        // P7.
        (r#""tool": "npm:a", "env_passthrough": ["LD_PRELOAD"]"#, "/env_passthrough/0"),
        (r#""tool": "npm:a", "env_passthrough": ["PATH"]"#, "/env_passthrough/0"),
        (r#""tool": "npm:a", "env_passthrough": ["TERM", "GLIBC_TUNABLES"]"#, "/env_passthrough/1"),
        (r#""tool": "npm:a", "env_passthrough": ["BASH_ENV"]"#, "/env_passthrough/0"),
        (r#""tool": "npm:a", "env_passthrough": ["MISE_CONFIG_FILE"]"#, "/env_passthrough/0"),
        (r#""tool": "npm:a", "env_passthrough": ["COCO_IMAGE"]"#, "/env_passthrough/0"),
        (r#""tool": "npm:a", "env_passthrough": ["https_proxy"]"#, "/env_passthrough/0"),
        (r#""tool": "npm:a", "env_passthrough": ["TERM", "*"]"#, "/env_passthrough/1"),
        (r#""tool": "npm:a", "env_passthrough": ["AWS_*"]"#, "/env_passthrough/0"),
        (r#""tool": "npm:a", "env_passthrough": ["A=B"]"#, "/env_passthrough/0"),
        (r#""tool": "npm:a", "env_passthrough": "A""#, "/env_passthrough"),
        (r#""tool": "npm:a", "dependencies": {"apt": ["-o=x"]}"#, "/dependencies/apt/0"),
        (r#""tool": "npm:a", "dependencies": {"apt": ["gcc", "./x.deb"]}"#, "/dependencies/apt/1"),
        (r#""tool": "npm:a", "dependencies": {"apt": ["vim-"]}"#, "/dependencies/apt/0"),
        (r#""tool": "npm:a", "dependencies": {"mise": ["node@22", "x y"]}"#, "/dependencies/mise/1"),
        (r#""tool": "npm:a", "dependencies": {"npm": []}"#, "/dependencies/npm"),
        // F8, F11, F12 as far as the text alone shows it.
        (r#""tool": "npm:a", "mounts": [{"src": "x"}]"#, "/mounts/0/src"),
        (r#""tool": "npm:a", "mounts": [{"src": "../x"}]"#, "/mounts/0/src"),
        (r#""tool": "npm:a", "mounts": [{"src": "~other/x"}]"#, "/mounts/0/src"),
        (r#""tool": "npm:a", "mounts": [{"src": "~/../x"}]"#, "/mounts/0/src"),
        (r#""tool": "npm:a", "mounts": [{"src": "$HOME"}]"#, "/mounts/0/src"),
        (r#""tool": "npm:a", "mounts": [{"src": ""}]"#, "/mounts/0/src"),
        (r#""tool": "npm:a", "mounts": [{"src": "/x\u0000"}]"#, "/mounts/0/src"),
        (r#""tool": "npm:a", "mounts": [{"src": ".", "dst": "/proc/x"}]"#, "/mounts/0/dst"),
        (r#""tool": "npm:a", "mounts": [{"src": ".", "dst": "/"}]"#, "/mounts/0/dst"),
        (r#""tool": "npm:a", "mounts": [{"src": ".", "dst": "w"}]"#, "/mounts/0/dst"),
        (r#""tool": "npm:a", "mounts": [{"src": ".", "dst": "/w/../etc"}]"#, "/mounts/0/dst"),
        (r#""tool": "npm:a", "mounts": [{"src": ".", "dst": "/w\n"}]"#, "/mounts/0/dst"),
        (r#""tool": "npm:a", "mounts": [{"src": ".", "dst": "/coco/data"}]"#, "/mounts/0/dst"),
        (r#""tool": "npm:a", "mounts": [{"src": ".", "dst": "/run/coco/coco-init"}]"#, "/mounts/0/dst"),
        (r#""tool": "npm:a", "mounts": [{"src": ".", "opts": "rw,exec"}]"#, "/mounts/0/opts"),
        (r#""tool": "npm:a", "mounts": [{"src": ".", "opts": "suid"}]"#, "/mounts/0/opts"),
        (r#""tool": "npm:a", "mounts": [{"src": ".", "opts": "ro,rw"}]"#, "/mounts/0/opts"),
        (r#""tool": "npm:a", "mounts": [{"src": ".", "opts": ""}]"#, "/mounts/0/opts"),
        (r#""tool": "npm:a", "mounts": [{"src": ".", "opts": "RO"}]"#, "/mounts/0/opts"),
        (r#""tool": "npm:a", "mounts": [{"src": ".", "opts": "rw,bind-propagation=shared"}]"#, "/mounts/0/opts"),
        (r#""tool": "npm:a", "mounts": [{"src": "."}, {"dst": "/w"}]"#, "/mounts/1"),
        (r#""tool": "npm:a", "workdir": "../x""#, "/workdir"),
        (r#""tool": "npm:a", "workdir": "/proc""#, "/workdir"),
        // N20, N21.
        (r#""tool": "npm:a", "network": "container:x""#, "/network"),
        (r#""tool": "npm:a", "network": "ns:/proc/1/ns/net""#, "/network"),
        (r#""tool": "npm:a", "network": "slirp4netns:allow_host_loopback=true""#, "/network"),
        (r#""tool": "npm:a", "network": "slirp4netns""#, "/network"),
        (r#""tool": "npm:a", "network": "bridge""#, "/network"),
        (r#""tool": "npm:a", "network": "-x""#, "/network"),
        (r#""tool": "npm:a", "network": "a,b""#, "/network"),
        (r#""tool": "npm:a", "network": """#, "/network"),
        (r#""tool": "npm:a", "network": true"#, "/network"),
        (r#""tool": "npm:a", "network": "none", "allowed_hosts": []"#, "/allowed_hosts"),
        (r#""tool": "npm:a", "network": "default", "allowed_hosts": ["a.example"]"#, "/allowed_hosts"),
        (r#""tool": "npm:a", "allowed_hosts": ["*"]"#, "/allowed_hosts/0"),
        (r#""tool": "npm:a", "allowed_hosts": ["."]"#, "/allowed_hosts/0"),
        (r##""tool": "npm:a", "allowed_hosts": ["#"]"##, "/allowed_hosts/0"),
        (r#""tool": "npm:a", "allowed_hosts": ["a/b"]"#, "/allowed_hosts/0"),
        (r#""tool": "npm:a", "allowed_hosts": ["a.example\n"]"#, "/allowed_hosts/0"),
        (r#""tool": "npm:a", "allowed_hosts": ["a.example\u0000"]"#, "/allowed_hosts/0"),
        (r#""tool": "npm:a", "allowed_hosts": ["10.0.0.1"]"#, "/allowed_hosts/0"),
        (r#""tool": "npm:a", "ports": ["80"]"#, "/ports/0"),
        (r#""tool": "npm:a", "ports": ["80:80/udp"]"#, "/ports/0"),
        (r#""tool": "npm:a", "ports": ["0:80"]"#, "/ports/0"),
        (r#""tool": "npm:a", "ports": [80]"#, "/ports/0"),
        (r#""tool": "npm:a", "limits": {"pids": -1}"#, "/limits/pids"),
        (r#""tool": "npm:a", "limits": {"pids": 1e9}"#, "/limits/pids"),
        (r#""tool": "npm:a", "limits": {"memory": "1t"}"#, "/limits/memory"),
        (r#""tool": "npm:a", "limits": {"memory": "99999999999999999999g"}"#, "/limits/memory"),
        (r#""tool": "npm:a", "limits": {"memory": 1}"#, "/limits/memory"),
        (r#""tool": "npm:a", "limits": {"cpus": "all"}"#, "/limits/cpus"),
        (r#""tool": "npm:a", "limits": {"cpus": 0}"#, "/limits/cpus"),
        (r#""tool": "npm:a", "limits": {"swap": "1g"}"#, "/limits/swap"),
        (r#""tool": "npm:a", "protect": ["/etc"]"#, "/protect/0"),
        (r#""tool": "npm:a", "data": true"#, "/data"),
        (r#""tool": "npm:a", "isolated": 1"#, "/isolated"),
        (r#""tool": "npm:a", "x11": "yes""#, "/x11"),
        (r#""tool": "npm:a", "podman_args": "--privileged""#, "/podman_args"),
        (r#""tool": "npm:a", "podman_args": ["a\u0000"]"#, "/podman_args/0"),
        (r#""tool": "npm:a", "description": "\u001b]0;x\u0007""#, "/description"),
        (r#""tool": "npm:a", "homepage": "file:///etc/passwd""#, "/homepage"),
        // C4: keys.
        (r#""tool": "npm:a", "tools": "x""#, "/tools"),
        (r#""tool": "npm:a", "Network": "none""#, "/Network"),
        (r#""tool": "npm:a", "": 1"#, "/"),
        (r#""tool": "npm:a", "a/b": 1"#, "/a~1b"),
        (r#""tool": "npm:a", "tool": "npm:a""#, "/tool"),
        (r#""tool": "npm:a", "network": "none", "network": "host""#, "/network"),
        (r#""tool": "npm:a", "env": {"A": "1", "A": "2"}"#, "/env/A"),
        (r#""tool": "npm:a", "mounts": [{"src": ".", "opts": "ro", "opts": "rw"}]"#, "/mounts/0/opts"),
    ] {
        refused(&world, format!("{{{rest}}}"), pointer);
    }
}

#[test]
fn what_is_no_object_of_json_is_an_error() {
    let world = World::new();
    let deep = |open: &str, close: &str| format!("{{\"tool\": {}1{}}}", open.repeat(5000), close.repeat(5000));
    for text in [
        &b""[..],
        b" ",
        b"null",
        b"[]",
        b"1",
        b"\"npm:a\"",
        b"{",
        b"{}",
        b"{\"tool\": \"npm:a\"} {}",
        b"{\"tool\": \"npm:a\",}",
        b"{\"tool\": \"npm:a\"} // x",
        b"{'tool': 'npm:a'}",
        b"{\"tool\": \"npm:a\", \"limits\": {\"cpus\": NaN}}",
        b"{\"tool\": \"npm:a\", \"limits\": {\"cpus\": 1e999}}",
        b"\xef\xbb\xbf{\"tool\": \"npm:a\"}",
        b"\xff\xfe{\0}\0",
        b"{\"tool\": \"npm:\xff\"}",
        b"{\"tool\": \"npm:\\ud800\"}",
        b"{\"tool\": \"npm:a\", \"description\": \"a\nb\"}",
        b"\0",
        deep("[", "]").as_bytes(),
        deep("{\"a\":", "}").as_bytes(),
        "[".repeat(60_000).as_bytes(),
    ] {
        refused(&world, text, "/");
    }
    // Deeper than any key of coco's, and not so deep that the reader itself gives up.
    refused(&world, format!("{{\"tool\": {}1{}}}", "[".repeat(20), "]".repeat(20)), "/tool/0/0/0/0/0/0/0/0");
}

#[test]
fn the_largest_file_works_and_one_byte_more_does_not() {
    let world = World::new();
    let text = r#"{"tool": "python@system"}"#;
    let most = format!("{text}{}", " ".repeat(64 * 1024 - text.len()));
    world.tool("probe", &most);
    world.coco(["lint", "probe"]).exits(0);
    refused(&world, format!("{most} "), "/");
    // A huge file is not read to its end.
    let path = world.tool("probe", "");
    fs::File::options().write(true).open(&path).unwrap().set_len(64 << 30).unwrap();
    world.coco(["run", "probe"]).fails(125, "the file has more than 65536 bytes");
}

#[test]
fn many_entries_are_an_error() {
    let world = World::new();
    let hosts = vec!["\"a.example\""; 257].join(",");
    refused(&world, format!("{{\"tool\": \"npm:a\", \"allowed_hosts\": [{hosts}]}}"), "/allowed_hosts");
}

#[test]
fn a_suggestion_names_the_right_key() {
    let world = World::new();
    for (key, near) in
        [("mount", "mounts"), ("allowed_host", "allowed_hosts"), ("netwrok", "network"), ("prot", "ports")]
    {
        world.tool("probe", format!("{{\"tool\": \"npm:a\", \"{key}\": 1}}"));
        let ended = world.coco(["run", "probe"]).fails(125, &format!("/{key}: unknown key"));
        if near != "ports" {
            assert_eq!(ended.hint(), format!("did you mean \"{near}\"?"));
        }
    }
}

#[test]
fn what_is_no_file_is_an_error_and_never_waited_for() {
    let world = World::new();
    let path = world.tool("probe", "");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    world.coco(["run", "probe"]).fails(125, "can't read");
    fs::remove_dir(&path).unwrap();
    let mut command = world.command("/usr/bin/mkfifo");
    command.arg(&path);
    crate::world::finish(command).exits(0);
    world.coco(["run", "probe"]).fails(125, "not a regular file");
    fs::remove_file(&path).unwrap();
    symlink("/dev/zero", &path).unwrap();
    world.coco(["run", "probe"]).fails(125, "not a regular file");
    fs::remove_file(&path).unwrap();
    symlink("probe.json", &path).unwrap();
    world.coco(["run", "probe"]).fails(125, "can't read");
    // The control: a link to a good file is a good file.
    fs::remove_file(&path).unwrap();
    fs::write(world.path("home/mine.json"), crate::world::PROBE).unwrap();
    symlink(world.path("home/mine.json"), &path).unwrap();
    world.coco(["run", "probe"]).exits(126);
}

/// F16.
#[test]
fn a_coco_file_in_the_project_is_never_read() {
    let world = World::new();
    for place in ["probe.json", "tools/probe.json", "coco/tools/probe.json", ".coco/tools/probe.json", "coco.json"] {
        let path = world.path("project").join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, crate::world::PROBE).unwrap();
    }
    world.coco(["run", "probe"]).fails(127, "no coco file for the tool probe");
}

/// Padding would push what was said before off the screen.
#[test]
fn an_error_is_no_page_long() {
    let world = World::new();
    for text in [
        format!(r#"{{"tool": "npm:a", "{}": 1}}"#, "x ".repeat(30_000)),
        format!(r#"{{"tool": "npm:a", "mounts": [{{"src": "{}"}}]}}"#, "é ".repeat(20_000)),
    ] {
        world.tool("probe", text);
        for command in ["run", "lint"] {
            let ended = world.coco([command, "probe"]);
            assert!(ended.code != Some(0) && ended.stderr.contains("coco: error: "), "{ended:?}");
            let longest = ended.stderr.lines().map(str::len).max();
            assert!(longest.is_some_and(|length| length < 4200), "{longest:?}");
        }
    }
    let long = format!(r#"{{"tool": "npm:a", "{}": 1}}"#, "x ".repeat(30_000));
    world.tool("probe", long);
    world.coco(["run", "probe"]).fails(125, "' (60,001 characters): unknown key");
}

#[test]
fn an_error_can_not_write_to_the_terminal() {
    let world = World::new();
    let mut text = b"{\"tool\": \"npm:a\", \"\\u001b]0;title\\u0007\\u202e".to_vec();
    text.write_all("\u{202e}\": 1}".as_bytes()).unwrap();
    world.tool("probe", text);
    let ended = world.coco(["run", "probe"]).fails(125, "unknown key");
    assert!(!ended.stderr.contains(['\x1b', '\x07', '\u{202e}']), "{ended:?}");
}
