//! What a run reaches, and what its user is told about that.

use super::*;
use crate::names::{HostPattern, NetworkName};
use crate::network::upstream::Upstream;

#[test]
fn ports_asked_for_by_hand_are_added_and_said_where_others_reach_them() {
    let published = |list: &str| {
        let policy = decided(r#"{"tool": "npm:x", "ports": ["1:2"]}"#, &[("COCO_EXTRA_PORTS", list)]).unwrap();
        (policy.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), policy.warnings)
    };
    assert_eq!(published(""), ("127.0.0.1:1:2".to_owned(), vec![]));
    assert_eq!(published(" 7:8,,[::1]:9:9 "), ("127.0.0.1:1:2 127.0.0.1:7:8 [::1]:9:9".to_owned(), vec![]));
    let (ports, warnings) = published("0.0.0.0:7:8");
    assert_eq!(ports, "127.0.0.1:1:2 0.0.0.0:7:8");
    assert_eq!(warnings, ["COCO_EXTRA_PORTS publishes 0.0.0.0:7:8 beyond this machine"]);
    assert!(matches!(decided(LEAST, &[("COCO_EXTRA_PORTS", "x")]), Err(Error::Environment { .. })));
}

#[test]
fn each_network_is_what_it_says() {
    for (rest, network) in [
        ("", RunNetwork::None),
        (r#", "network": "none""#, RunNetwork::None),
        (r#", "allowed_hosts": []"#, RunNetwork::None),
        (r#", "ports": ["1:2"]"#, RunNetwork::None),
        (r#", "network": "public""#, RunNetwork::Public),
        (r#", "allowed_hosts": ["a.example"]"#, RunNetwork::Hosts(vec![HostPattern::new("a.example").unwrap()])),
        (r#", "network": "default""#, RunNetwork::DangerousEngineDefault),
        (r#", "network": "a-net""#, RunNetwork::DangerousEngineNetwork(NetworkName::new("a-net").unwrap())),
    ] {
        let policy = decided(&format!(r#"{{"tool": "npm:x"{rest}}}"#), &[]).unwrap();
        assert_eq!((policy.network, policy.warnings), (network, vec![]), "{rest}");
    }
}

/// Going around a proxy that can't be used is not what was asked for.
#[test]
fn a_proxy_that_can_not_be_used_is_said_where_it_matters() {
    let public = r#"{"tool": "npm:x", "network": "public"}"#;
    for (text, mode, warnings) in [
        (LEAST, Mode::Granted, 0),
        (LEAST, Mode::DangerousLearn, 2),
        (public, Mode::Granted, 1),
        (public, Mode::DangerousLearn, 2),
    ] {
        let world = world(1000);
        let file = file(text);
        let mut facts = facts(&world, &file);
        facts.upstream = Upstream::new(Some("socks5://user:secret@proxy:1"), None);
        let policy = decide(&tool("probe"), &file, &world, &facts, DIGEST, mode).unwrap();
        assert_eq!(policy.warnings.len(), warnings, "{text} {mode:?}");
        assert!(policy.warnings.iter().all(|warning| !warning.contains("secret")));
    }
}

#[test]
fn opening_the_network_by_hand_is_said() {
    for text in [LEAST, r#"{"tool": "npm:x", "network": "public"}"#, r#"{"tool": "npm:x", "network": "a-net"}"#] {
        let policy = decided(text, &[("COCO_ALLOW_NETWORK", "1")]).unwrap();
        assert_eq!(policy.network, RunNetwork::DangerousEngineDefault);
        assert_eq!(policy.warnings.len(), 1);
    }
    // It is no consent to the host's own network.
    let outcome = decided(r#"{"tool": "npm:x", "network": "host"}"#, &[("COCO_ALLOW_NETWORK", "1")]);
    assert!(matches!(outcome, Err(Error::Consent { .. })), "{outcome:?}");
}

/// A learning run reaches every public host, whatever network the coco file or the caller names: the
/// engine's own would hide what the tool wants.
#[test]
fn a_learning_run_reaches_public_hosts_and_those_of_the_file() {
    let hosts = vec![HostPattern::new("a.example:22").unwrap()];
    for (rest, variables, besides) in [
        ("", &[][..], vec![]),
        (r#", "network": "public""#, &[], vec![]),
        (r#", "allowed_hosts": ["a.example:22"]"#, &[], hosts.clone()),
        (r#", "network": "default""#, &[], vec![]),
        (r#", "network": "a-net""#, &[], vec![]),
        // It says nothing of a network that this run does not have.
        (r#", "allowed_hosts": ["a.example:22"]"#, &[("COCO_ALLOW_NETWORK", "1")], hosts),
    ] {
        let world = with(world(1000), variables);
        let file = file(&format!(r#"{{"tool": "npm:x"{rest}}}"#));
        let facts = facts(&world, &file);
        let policy = decide(&tool("probe"), &file, &world, &facts, DIGEST, Mode::DangerousLearn).unwrap();
        assert_eq!(policy.network, RunNetwork::DangerousLearn(besides), "{rest}");
        assert_eq!(policy.warnings, ["--learn: probe may reach any public host in this run"], "{rest}");
    }
    // Learning is no consent to what the file asks for.
    let world = world(1000);
    let file = file(r#"{"tool": "npm:x", "network": "host"}"#);
    let outcome = decide(&tool("probe"), &file, &world, &facts(&world, &file), DIGEST, Mode::DangerousLearn);
    assert!(matches!(outcome, Err(Error::Consent { .. })), "{outcome:?}");
}
