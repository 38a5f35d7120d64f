//! Each network is what it says, and what widens it is said every time.

use crate::world::World;

const NETWORK_NOTE: &str =
    "COCO_ALLOW_NETWORK is set: probe runs with the engine's network, whatever its coco file says";

#[test]
fn what_can_be_enforced_runs() {
    let world = World::new();
    for (rest, option) in [
        (r#""allowed_hosts": []"#, Some("--network=none")),
        (r#""allowed_hosts": ["api.example.com"]"#, Some("--network=none")),
        (r#""network": "public""#, Some("--network=none")),
        (r#""network": "none""#, Some("--network=none")),
        (r#""network": "default""#, None),
        (r#""network": "my-net""#, Some("--network=my-net")),
    ] {
        world.tool("probe", format!("{{\"tool\": \"python@system\", {rest}}}"));
        world.coco(["run", "probe"]).exits(126);
        let call = world.call();
        match option {
            Some(option) => assert!(call.has(option), "{rest}: {call:?}"),
            None => assert!(!call.arguments.iter().any(|argument| argument.to_str().unwrap().starts_with("--net"))),
        }
        world.forget_calls();
    }
}

/// The engine never publishes anything: a port is relayed by init, in every network.
#[test]
fn ports_are_the_brokers_in_every_network() {
    let world = World::new();
    for network in ["none", "public", "default", "my-net", "host"] {
        world.tool("probe", format!(r#"{{"tool": "python@system", "network": "{network}", "ports": ["8080:80"]}}"#));
        world.coco(["allow", "probe"]).exits(0);
        let shown = world.coco(["show", "probe"]).exits(0).text().to_owned();
        assert!(shown.contains("#   and listens on 127.0.0.1:8080:80 (address:host:inside)"), "{network}: {shown}");
        assert!(!shown.contains("--publish"), "{network}: {shown}");
    }
    // The tool listens there itself.
    world.tool("probe", r#"{"tool": "python@system", "network": "host", "ports": ["80:80"]}"#);
    world.coco(["allow", "probe"]).exits(0);
    assert!(!world.coco(["show", "probe"]).exits(0).text().contains("#   and listens"));
}

#[test]
fn a_port_in_use_is_an_error_before_anything_starts() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    world.tool("probe", format!(r#"{{"tool": "python@system", "ports": ["{port}:80"]}}"#));
    world.coco(["run", "probe"]).fails(125, &format!("ports: can't listen on 127.0.0.1:{port}"));
    assert!(world.calls().is_empty());
}

#[test]
fn allow_network_opens_it_with_a_warning_every_time() {
    let mut world = World::new();
    for rest in [
        "",
        r#", "network": "none""#,
        r#", "network": "public""#,
        r#", "allowed_hosts": ["a.example.com"]"#,
        r#", "ports": ["8080:80"]"#,
    ] {
        world.tool("probe", format!("{{\"tool\": \"python@system\"{rest}}}"));
        for value in ["1", "true"] {
            world.set("COCO_ALLOW_NETWORK", value);
            for _ in 0..2 {
                let ended = world.coco(["run", "probe"]).exits(126);
                assert!(ended.stderr.contains(&format!("coco: warning: {NETWORK_NOTE}\n")), "{rest} {ended:?}");
                let call = world.call();
                assert!(
                    !call.arguments.iter().any(|argument| argument.to_str().unwrap().starts_with("--net")),
                    "{call:?}"
                );
                world.forget_calls();
            }
            assert!(world.coco(["show", "probe"]).exits(0).text().contains(NETWORK_NOTE));
        }
    }
}

#[test]
fn allow_network_is_off_unless_it_says_true() {
    let mut world = World::with_probe();
    for value in ["", "0", "false", "yes", "TRUE", "on", "1 ", "2"] {
        world.set("COCO_ALLOW_NETWORK", value);
        let ended = world.coco(["run", "probe"]).exits(126);
        assert!(!ended.stderr.contains("COCO_ALLOW_NETWORK"), "{value:?} {ended:?}");
        assert!(world.call().has("--network=none"), "{value:?}");
        world.forget_calls();
    }
}

#[test]
fn the_network_is_never_open_by_default() {
    let world = World::with_probe();
    let ended = world.coco(["run", "probe"]).exits(126);
    assert!(!ended.stderr.contains("warning"), "{ended:?}");
    assert!(world.call().has("--network=none"));
}
