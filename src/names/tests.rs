use super::*;

#[test]
fn tool_names() {
    let longest = "a".repeat(64);
    for good in ["eslint", "python3.12", "g++", "7z", "a", "x-y_z", &longest] {
        assert!(ToolName::new(good).is_ok(), "{good}");
    }
    let long = "a".repeat(65);
    for bad in ["", ".", "..", "-x", "a/b", "../x", "A", "a b", "a\n", "a\0", "é", "coco", "coco-init", &long] {
        assert!(ToolName::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn program_names_are_no_paths_and_no_options() {
    let longest = "a".repeat(64);
    for good in ["eslint", "python3.12", "g++", "_x", "X", "7z", "a@1", &longest] {
        assert!(ProgramName::new(good).is_ok(), "{good}");
    }
    let long = "a".repeat(65);
    for bad in ["", "-x", ".x", "a/b", "../a", "a b", "a\n", "a;b", "é", &long] {
        assert!(ProgramName::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn network_names_are_no_modes_of_an_engine() {
    let longest = "a".repeat(128);
    for good in ["shared-net", "a", "7", "A_b.c-d", &longest] {
        assert!(NetworkName::new(good).is_ok(), "{good}");
    }
    let long = "a".repeat(129);
    for bad in [
        "",
        "-a",
        ".a",
        "a b",
        "a:b",
        "a,b",
        "a/b",
        "container:x",
        "ns:/proc/1/ns/net",
        "bridge",
        "private",
        "slirp4netns",
        "pasta",
        "container",
        "ns",
        "nat",
        &long,
    ] {
        assert!(NetworkName::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn relative_paths_stay_below_the_mount() {
    let longest = "a".repeat(1024);
    for (good, kept) in [(".git/hooks", ".git/hooks"), ("a/", "a"), ("a b/..c", "a b/..c"), (&longest, &longest)] {
        assert_eq!(RelativePath::new(good).unwrap().as_str(), kept);
    }
    let long = "a".repeat(1025);
    for bad in ["", "/", "/a", "a//b", "a//", ".", "..", "a/..", "../a", "a/./b", "a\nb", "a\0", &long] {
        assert!(RelativePath::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn environment_names() {
    let (longest, long) = ("A".repeat(128), "A".repeat(129));
    for good in ["A", "_", "_a1", "lower", &longest] {
        assert!(EnvName::new(good).is_ok(), "{good}");
    }
    for bad in ["", "1A", "A-B", "A=B", "A*", "LC_*", "A\n", "A B", &long] {
        assert!(EnvName::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn tool_specifiers() {
    for good in [
        "npm:eslint",
        "npm:@scope/tool@1.2.3",
        "pipx:ruff@0.6",
        "cargo:ripgrep",
        "node@lts",
        "uv",
        "go:golang.org/x/tools/gopls@v0.16.0",
        "gem:rubocop",
        "python@system",
    ] {
        assert_eq!(ToolSpec::new(good).unwrap().to_string(), good);
    }
    assert!(ToolSpec::new("node@system").unwrap().is_system());
    for bad in [
        "",
        "npm:",
        "npm:-x",
        "npm:a b",
        "npm:a;b",
        "npm:a\n",
        "npm:$(x)",
        "ubi:x/y",
        "npm:a@",
        "npm:a@-1",
        "npm:@a",
        "npm:@a/b/c",
        "npm:../x",
        "-x",
        "cargo:a[b]",
        "go:x",
        "go:h.st/../x",
        "npm:a@1@2",
        "asdf:x",
        "pipx:git+x",
    ] {
        assert!(ToolSpec::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn hosts() {
    for good in ["api.example.com", "*.example.com", "example.com:8443", "xn--bcher-kva.example"] {
        assert!(HostPattern::new(good).is_ok(), "{good}");
    }
    let long = format!("{}.com", "a".repeat(64));
    for bad in [
        "",
        "*",
        ".",
        "#",
        "localhost",
        "a/b",
        "a\nb.com",
        "com",
        "*.com",
        "a..b",
        "a.com.",
        "1.2.3.4",
        "0x7f.1",
        "127.1",
        "[::1]",
        "a.com:0",
        "a.com:99999",
        "a.com:",
        "*.*.com",
        "a.*.com",
        "https://a.com",
        "a b.com",
        "bücher.example",
        "-a.com",
        "a-.com",
        "a.-b.com",
        "a.1",
        "a.0xf",
        &long,
    ] {
        assert!(HostPattern::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn host_names_have_one_spelling_and_a_length() {
    let host = HostName::new("A_b.Example.COM").unwrap();
    assert_eq!((host.as_str(), host.to_string().as_str()), ("a_b.example.com", "a_b.example.com"));
    let of_length = |length: usize| {
        let label = "a".repeat(63);
        let name = format!("{label}.{label}.{label}.{}", "b".repeat(length - 3 * 64));
        assert_eq!(name.len(), length);
        HostName::new(&name)
    };
    assert!(of_length(253).is_ok());
    assert!(of_length(254).is_err());
}

#[test]
fn a_pattern_means_the_name_or_what_is_below_it() {
    let matches = |pattern: &str, host: &str| {
        let parsed = HostPattern::new(pattern).unwrap();
        assert_eq!(parsed.to_string(), pattern);
        parsed.matches(&HostName::new(host).unwrap())
    };
    assert!(matches("example.com", "example.com"));
    assert!(matches("example.com:8443", "EXAMPLE.com"));
    assert!(!matches("example.com", "www.example.com"));
    assert!(!matches("example.com", "example.com.evil.example"));
    assert!(matches("*.example.com", "www.example.com"));
    assert!(matches("*.example.com:22", "a.b.example.com"));
    assert!(!matches("*.example.com", "example.com"));
    assert!(!matches("*.example.com", "evilexample.com"));
    assert!(!matches("*.example.com", "example.com.evil.example"));
}

#[test]
fn ports() {
    assert_eq!(PublishedPort::new("8080:80").unwrap().to_string(), "127.0.0.1:8080:80");
    assert_eq!(PublishedPort::new("0.0.0.0:1:2/tcp").unwrap().to_string(), "0.0.0.0:1:2");
    assert_eq!(PublishedPort::new("[::1]:1:2").unwrap().to_string(), "[::1]:1:2");
    for bad in [
        "",
        "80",
        "80:",
        ":80",
        "0:80",
        "80:0",
        "70000:1",
        "a:1:2",
        "1.2.3:1:2",
        "1:2/udp",
        "::1:1:2",
        "+1:2",
        "1:2:3:4",
    ] {
        assert!(PublishedPort::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_port_is_1_to_65535_in_at_most_five_digits() {
    for (good, number) in [("1", 1), ("65535", 65535), ("00080", 80)] {
        let port = Port::new(good).unwrap();
        assert_eq!((port.number(), port.to_string()), (number, number.to_string()));
    }
    for bad in ["", "0", "00000", "65536", "000080", "+80", "-1", " 80", "8o"] {
        assert!(Port::new(bad).is_err(), "{bad:?}");
    }
    assert_eq!(Port::from_number(443), Some(Port::HTTPS));
    assert_eq!(Port::from_number(1).map(Port::number), Some(1));
    assert_eq!(Port::from_number(0), None, "the wire's zero is no port");
}

#[test]
fn debian_names_are_no_operators() {
    assert!(AptName::new("g++").is_ok());
    for bad in ["", "a", "vim-", "-y", "a b", "A", "x=1", "./x.deb", "x/testing"] {
        assert!(AptName::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn the_nearest_name() {
    assert_eq!(nearest("mount", ["mounts", "env"]), Some("mounts"));
    assert_eq!(nearest("envv", ["mounts", "env"]), Some("env"));
    assert_eq!(nearest("zzz", ["mounts", "env"]), None);
    assert_eq!(nearest("mouzzz", ["mounts"]), None, "three edits are another word");
    assert_eq!(nearest("zz", ["rm"]), None, "every word of two letters is two edits away");
}
