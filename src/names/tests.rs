use super::*;

#[test]
fn tool_names() {
    for good in ["eslint", "python3.12", "g++", "7z", "a", "x-y_z"] {
        assert!(ToolName::new(good).is_ok(), "{good}");
    }
    let long = "a".repeat(65);
    for bad in ["", ".", "..", "-x", "a/b", "../x", "A", "a b", "a\n", "a\0", "é", "coco", "coco-init", &long] {
        assert!(ToolName::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn guest_paths_stay_out_of_the_sandbox_itself() {
    for good in ["/workspace", "/home/u/x", "/root/.config/x", "/opt/a b", "//srv//x/"] {
        assert!(GuestPath::new(good).is_ok(), "{good}");
    }
    assert_eq!(GuestPath::new("//srv//x/").unwrap().as_str(), "/srv/x");
    for bad in [
        "",
        "x",
        "./x",
        "/",
        "//",
        "/proc",
        "/proc/1",
        "/dev/x",
        "/sys",
        "/coco/data",
        "/run/coco/coco-init",
        "/etc/resolv.conf",
        "/usr/bin",
        "/a/../etc",
        "/a/./b",
        "/tmp",
        "/root",
        "/a\nb",
        "/a\0",
        "/lib64/x",
    ] {
        assert!(GuestPath::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn environment_names() {
    for bad in ["", "1A", "A-B", "A=B", "A*", "LC_*", "A\n", "A B"] {
        assert!(EnvName::new(bad).is_err(), "{bad:?}");
    }
    for bad in [
        "PATH",
        "LD_PRELOAD",
        "NODE_OPTIONS",
        "BASH_ENV",
        "MISE_TRUSTED_CONFIG_PATHS",
        "COCO_IMAGE",
        "HTTPS_PROXY",
        "http_proxy",
        "PYTHONPATH",
        "GIT_CONFIG_COUNT",
        "LD_AUDIT",
    ] {
        assert!(!EnvName::new(bad).unwrap().may_pass_through(), "{bad}");
    }
    for good in ["TERM", "LANG", "NO_COLOR", "ANTHROPIC_API_KEY"] {
        assert!(EnvName::new(good).unwrap().may_pass_through(), "{good}");
    }
    assert!(EnvName::new("GITHUB_TOKEN").unwrap().looks_secret());
    assert!(EnvName::new("SSH_AUTH_SOCK").unwrap().looks_secret());
    assert!(!EnvName::new("TERM").unwrap().looks_secret());
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
        &long,
    ] {
        assert!(HostPattern::new(bad).is_err(), "{bad:?}");
    }
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
}
