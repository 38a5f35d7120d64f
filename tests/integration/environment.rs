//! The variables of coco's own, with good and hostile values.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::world::{CERTIFICATE, PROBE, World};

#[test]
fn extra_ports_are_published() {
    let mut world = World::new();
    world.tool("probe", r#"{"tool": "python@system", "network": "default", "ports": ["1:2"]}"#);
    world.set("COCO_EXTRA_PORTS", "8080:80, 0.0.0.0:9000:9001/tcp,,[::1]:5:6");
    let shown = world.coco(["show", "probe"]).exits(0).text().to_owned();
    for port in ["127.0.0.1:1:2", "127.0.0.1:8080:80", "0.0.0.0:9000:9001", "[::1]:5:6"] {
        assert!(shown.contains(&format!("#   and listens on {port} (address:host:inside)\n")), "{port}: {shown}");
    }
}

#[test]
fn bad_extra_ports_are_refused() {
    let mut world = World::new();
    world.tool("probe", r#"{"tool": "python@system", "network": "default"}"#);
    for value in ["80", "a:b", "1:2 --privileged", "1:2;3:4", "-p:1", "1:2/udp", "0:1", "1:99999", "1:2,x", "::1:1:2"] {
        world.set("COCO_EXTRA_PORTS", value);
        world.coco(["run", "probe"]).fails(125, "COCO_EXTRA_PORTS: ");
    }
    world.set("COCO_EXTRA_PORTS", OsStr::from_bytes(b"1:2\xff"));
    world.coco(["run", "probe"]).fails(125, "COCO_EXTRA_PORTS: ");
    assert!(world.calls().is_empty());
}

#[test]
fn extra_ports_open_no_network() {
    let mut world = World::with_probe();
    world.set("COCO_EXTRA_PORTS", "0.0.0.0:8080:80");
    let shown = world.coco(["show", "probe"]).exits(0).text().to_owned();
    assert!(shown.contains("--network=none") && shown.contains("# outside, the proxy reaches no host"), "{shown}");
    assert!(shown.contains("COCO_EXTRA_PORTS publishes 0.0.0.0:8080:80 beyond this machine"), "{shown}");
}

#[test]
fn the_runtime_is_podman_then_docker_unless_named() {
    let mut world = World::with_probe();
    world.engine("docker", 4);
    world.coco(["run", "probe"]).fails(126, "podman did not start the sandbox (exit code 3)");
    assert!(world.call().has("--http-proxy=false"));
    world.forget_calls();
    world.set("COCO_RUNTIME", "docker");
    world.coco(["run", "probe"]).fails(126, "docker did not start the sandbox (exit code 4)");
    assert!(!world.call().has("--http-proxy=false"), "docker has no such option");
    world.forget_calls();
    fs::remove_file(world.path("engines/podman")).unwrap();
    world.set("COCO_RUNTIME", "podman");
    world.coco(["run", "probe"]).fails(126, "no podman on the PATH");
    world.unset("COCO_RUNTIME");
    world.coco(["run", "probe"]).fails(126, "docker did not start the sandbox");
}

#[test]
fn a_runtime_that_coco_does_not_know_is_refused() {
    let mut world = World::with_probe();
    let evil = world.path("evil");
    world.recorder(&evil, 0);
    let values = ["sh", "Podman", "podman ", "../evil", "/bin/sh", "-v", "podman;id", "bwrap;", evil.to_str().unwrap()];
    for value in values {
        world.set("COCO_RUNTIME", value);
        world.coco(["run", "probe"]).fails(125, "COCO_RUNTIME: ");
    }
    world.set("COCO_RUNTIME", OsStr::from_bytes(b"podman\xff"));
    world.coco(["run", "probe"]).fails(125, "COCO_RUNTIME: ");
    assert!(world.calls().is_empty());
}

#[test]
fn an_image_is_a_reference_and_never_an_option() {
    let mut world = World::with_probe();
    for value in [
        "--privileged",
        "-v",
        "-",
        "a b",
        "a\nb",
        " a",
        "a;b",
        "$(id)",
        "a,b",
        "a=b",
        "/a",
        ":a",
        "\u{e9}",
        &"a".repeat(600),
    ] {
        world.set("COCO_IMAGE", value);
        for command in [&["run", "probe"][..], &["run", "--dry-run", "probe"]] {
            world.coco(command).fails(125, "COCO_IMAGE: ");
        }
    }
    world.set("COCO_IMAGE", OsStr::from_bytes(b"a\xff"));
    world.coco(["run", "probe"]).fails(125, "COCO_IMAGE: ");
    assert!(world.calls().is_empty());
    for value in ["localhost/x:1", "host.example:5000/a/b@sha256:0123", "debian"] {
        world.set("COCO_IMAGE", value);
        world.coco(["run", "probe"]).exits(126);
        assert_eq!(world.call().arguments.last().unwrap(), value);
        world.forget_calls();
    }
}

#[test]
fn a_base_image_is_a_reference_and_never_an_option() {
    let mut world = World::with_probe();
    world.unset("COCO_IMAGE");
    for value in ["--privileged", "a b", "a\nb", "=x"] {
        world.set("COCO_BASE_IMAGE", value);
        world.coco(["run", "probe"]).fails(125, "COCO_BASE_IMAGE: ");
    }
    assert!(world.calls().is_empty());
    world.set("COCO_BASE_IMAGE", "localhost/base:1");
    // It makes no image; what counts is how it was asked.
    world.engine("podman", 0);
    world.coco(["run", "probe"]).fails(125, "the image for base: the engine reports no image id");
    let calls = world.calls();
    let tag = calls.iter().find(|call| call.arguments[..2] == ["image", "tag"]).unwrap();
    assert_eq!(tag.arguments[2], "localhost/base:1");
    let builds: Vec<_> = calls.iter().filter(|call| call.arguments[0] == "build").collect();
    assert_eq!(builds.len(), 1);
    let from = format!("--build-arg=BASE_IMAGE={}", tag.arguments[3].to_str().unwrap());
    assert!(builds[0].has(&from) && builds[0].has("--target=base"), "{builds:?}");
    // One that is not there is pulled, and nothing is built where that fails.
    world.forget_calls();
    world.engine("podman", 1);
    world.coco(["run", "probe"]).fails(125, "the image for base: podman build failed");
    let calls = world.calls();
    assert!(calls.iter().any(|call| call.arguments == ["pull", "localhost/base:1"]), "{calls:?}");
    assert!(!calls.iter().any(|call| call.arguments[0] == "build"), "{calls:?}");
}

#[test]
fn only_the_certificates_of_a_ca_bundle_are_mounted() {
    let mut world = World::with_probe();
    world.set("COCO_CA_BUNDLE", "relative.pem");
    world.coco(["run", "probe"]).fails(125, "COCO_CA_BUNDLE: ");
    assert!(world.calls().is_empty());
    let bundle = world.path("home/ca,\"bundle\".pem");
    world.set("COCO_CA_BUNDLE", &bundle);
    for secret in ["x", "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"] {
        fs::write(&bundle, secret).unwrap();
        world.coco(["run", "probe"]).fails(125, "it holds no certificate");
    }
    world.set("COCO_CA_BUNDLE", world.path("home"));
    world.coco(["run", "probe"]).fails(125, "COCO_CA_BUNDLE: ");
    assert!(world.calls().is_empty());
    fs::write(&bundle, CERTIFICATE).unwrap();
    world.set("COCO_CA_BUNDLE", &bundle);
    world.coco(["run", "probe"]).exits(126);
    let call = world.call();
    // A copy in the run's own directory: the caller's path is never mounted.
    assert!(call.source_of("/run/coco/ca.crt").starts_with(world.path("runtime")));
    assert!(call.mounts().iter().any(|fields| {
        fields.contains(&b"dst=/run/coco/ca.crt".to_vec()) && fields.contains(&b"readonly".to_vec())
    }));
}

#[test]
fn relative_xdg_paths_count_as_unset() {
    let mut world = World::new();
    for name in ["XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"] {
        world.set(name, "relative");
    }
    for (name, text) in [("home/.local/share/coco/tools", PROBE), ("project/relative/coco/tools", "{}")] {
        fs::create_dir_all(world.path(name)).unwrap();
        fs::write(world.path(name).join("probe.json"), text).unwrap();
    }
    world.coco(["run", "probe"]).exits(126);
    let call = world.call();
    let cache = World::cache_in(world.path("home/.local/share/coco/volumes"), "probe", &world.path("project"));
    assert_eq!(call.source_of("/root/.cache"), cache);
    assert_eq!(fs::read_dir(world.path("project/relative")).unwrap().count(), 1);
}

#[test]
fn a_relative_runtime_directory_counts_as_unset() {
    let mut world = World::with_probe();
    world.set("XDG_RUNTIME_DIR", "relative");
    let ended = world.coco(["run", "--dry-run", "probe"]).exits(0);
    let socket = format!("src=/tmp/coco-{}/coco/run-", nix::unistd::geteuid());
    assert!(ended.text().contains(&socket), "{}", ended.text());
}

#[test]
fn a_runtime_directory_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::with_probe();
    fs::create_dir(world.path("runtime/coco")).unwrap();
    fs::set_permissions(world.path("runtime/coco"), fs::Permissions::from_mode(0o777)).unwrap();
    world.coco(["run", "probe"]).fails(125, "XDG_RUNTIME_DIR: ");
    fs::remove_dir(world.path("runtime/coco")).unwrap();
    fs::create_dir(world.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(world.path("elsewhere"), world.path("runtime/coco")).unwrap();
    world.coco(["run", "probe"]).fails(125, "XDG_RUNTIME_DIR: ");
    assert!(world.calls().is_empty());
}

#[test]
fn a_relative_home_is_refused() {
    let mut world = World::with_probe();
    world.set("HOME", "relative");
    world.coco(["run", "probe"]).fails(125, "HOME");
}
