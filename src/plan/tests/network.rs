//! What of the host's network a plan shares.

use super::*;

/// A port is published once: where the sandbox has the host's network, the tool's own is the host's.
#[test]
fn the_hosts_network_publishes_only_ports_of_another_number() {
    let planned = |ports: &str, network: &str| {
        let text = format!(r#"{{"tool": "npm:x", "network": "{network}", "ports": [{ports}]}}"#);
        run_case(&case(EngineKind::Podman, 1000, "x", &text, &[]), &nothing(), &[])
    };
    let published = |plan: &Plan| -> Vec<String> {
        plan.proxy.iter().flat_map(|orders| orders.ports.iter().map(ToString::to_string)).collect()
    };
    let socket = |plan: &Plan| plan.launch.expect.mounts.iter().any(|mount| mount == NETWORK_GUEST);

    let plan = planned(r#""8080:80", "9000:9000""#, "host");
    assert_eq!(
        (published(&plan).join(" ").as_str(), &plan.launch.network_role),
        ("127.0.0.1:8080:80", &NetworkRole::PortsOnly)
    );
    assert!(plan.arguments.contains(&"--network=host".into()) && socket(&plan));

    let plan = planned(r#""9000:9000""#, "host");
    assert_eq!(
        (plan.proxy.clone(), &plan.launch.network_role),
        (None, &NetworkRole::Absent),
        "there is nothing left to do"
    );
    assert!(plan.arguments.contains(&"--network=host".into()) && !socket(&plan));

    for network in ["none", "public", "default", "shared-net"] {
        let plan = planned(r#""8080:80", "9000:9000""#, network);
        assert_eq!(published(&plan), ["127.0.0.1:8080:80", "127.0.0.1:9000:9000"], "{network}");
    }
}

/// Init refuses a sandbox in a namespace of the caller's; consent to the host's network is
/// consent to that one, and to no other.
#[test]
fn only_the_hosts_network_is_shared_and_only_where_it_was_agreed_to() {
    let forbidden = |network: &str| {
        let text = format!(r#"{{"tool": "npm:x", "network": "{network}"}}"#);
        let case = case(EngineKind::Podman, 1000, "x", &text, &[]);
        let install = install_runtimes(&case.job(), &image());
        assert_eq!(install.launch.expect.namespaces, ["ipc:[1]", "mnt:[1]", "net:[1]", "pid:[1]", "uts:[1]"]);
        run_case(&case, &nothing(), &[]).launch.expect.namespaces
    };
    assert_eq!(forbidden("host"), ["ipc:[1]", "mnt:[1]", "pid:[1]", "uts:[1]"]);
    for network in ["none", "public", "default", "shared-net"] {
        assert_eq!(forbidden(network), ["ipc:[1]", "mnt:[1]", "net:[1]", "pid:[1]", "uts:[1]"], "{network}");
    }
}
