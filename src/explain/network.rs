//! The network in words: what a run may reach, what it reached, and what was denied. Pure.

use std::path::Path;

use crate::config::Network;
use crate::names::{HostPattern, Port, ToolName};
use crate::network::denial::Denial;
use crate::network::log::{Denied, Summary};
use crate::policy::RunNetwork;
use crate::rules::egress::{Protocol, Reach};
use crate::term;

/// What a run may reach.
pub fn of_run(network: &RunNetwork) -> String {
    match network {
        RunNetwork::None => "none".to_owned(),
        RunNetwork::Hosts(hosts) => format!("only {}", words(hosts)),
        RunNetwork::Public => format!("{network} by name, on ports 443 and 80; no private address"),
        RunNetwork::DangerousLearn(_) => format!("{network} by name, to learn which ones it wants"),
        RunNetwork::DangerousEngineDefault => format!("{network}, private addresses included"),
        RunNetwork::DangerousEngineNetwork(_) | RunNetwork::DangerousHost => network.to_string(),
    }
}

/// The network of a coco file in one word of the file itself, or as a number of hosts: for tables.
pub fn short_network(network: &Network) -> String {
    match network {
        Network::None => "none".to_owned(),
        Network::AllowedHosts(hosts) => format!("{} host{}", hosts.len(), if hosts.len() == 1 { "" } else { "s" }),
        Network::Public => "public".to_owned(),
        Network::EngineDefault => "default".to_owned(),
        Network::EngineNetwork(name) => name.to_string(),
        Network::DangerousHost => "HOST".to_owned(),
    }
}

/// What the proxy of a run reaches.
pub fn of_proxy(reach: &Reach) -> String {
    match reach {
        Reach::Public { besides } if besides.is_empty() => format!("reaches {}", RunNetwork::Public),
        Reach::Public { besides } => format!("reaches {}, and {}", RunNetwork::Public, words(besides)),
        Reach::Hosts(hosts) if hosts.is_empty() => "reaches no host".to_owned(),
        Reach::Hosts(hosts) => format!("reaches {}", words(hosts)),
    }
}

/// Hosts in words: of a port that coco does not know, only the address is checked.
fn words(hosts: &[HostPattern]) -> String {
    let word = |host: &HostPattern| match host.port.map(Protocol::of) {
        Some(Protocol::Raw) => format!("{host} (raw TCP: weaker, what is spoken there is not checked)"),
        None | Some(Protocol::Tls | Protocol::Http) => host.to_string(),
    };
    hosts.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// How many denied hosts are listed at the end of a run.
const MAX_DENIED: usize = 12;

/// What was denied, a line for each host, with the line that would grant it.
pub fn denied(tool: &ToolName, summary: &Summary, file: &Path) -> Vec<String> {
    let grant = |pattern: String| format!("add \"{pattern}\" to allowed_hosts in {}", term::path(file));
    let line = |denied: &Denied| {
        let place = denied.port.map_or(denied.host.clone(), |port| format!("{}:{port}", denied.host));
        let way_out = match (&denied.denial, denied.port) {
            (Denial::Host, _) => grant(denied.host.clone()),
            (Denial::Port, Some(port)) => grant(format!("{}:{port}", denied.host)),
            (other, _) => other.to_string(),
        };
        format!("denied {tool} -> {place} ({way_out})")
    };
    // A look-up and the connection after it are one denial; what is no host's name is noise.
    let mut told: Vec<&Denied> = Vec::new();
    let noise = [Denial::InvalidName, Denial::Expectation];
    for denied in summary.denied.iter().filter(|denied| !noise.contains(&denied.denial)) {
        let same = |other: &&Denied| other.host == denied.host && other.denial == denied.denial;
        if !told.iter().any(same) {
            told.push(denied);
        }
    }
    let mut lines: Vec<String> = told.iter().take(MAX_DENIED).copied().map(line).collect();
    if told.len() > MAX_DENIED {
        lines.push(format!("{} more hosts were denied: coco log {tool} --denied", told.len() - MAX_DENIED));
    }
    lines
}

/// The same for the install phase, where only private addresses and odd connections are denied.
pub fn denied_while_installing(summary: &Summary) -> Vec<String> {
    let told = summary.denied.iter().filter(|denied| denied.denial != Denial::InvalidName).take(MAX_DENIED);
    told.map(|denied| format!("denied while installing: {} ({})", denied.host, denied.denial)).collect()
}

/// What a learning run proposes.
pub fn learned(tool: &ToolName, summary: &Summary, file: &Path) -> String {
    let mut hosts: Vec<String> = summary
        .reached
        .iter()
        .map(|(host, port)| match *port {
            Port::HTTPS | Port::HTTP => host.to_string(),
            port => format!("{host}:{port}"),
        })
        .collect();
    hosts.dedup();
    if hosts.is_empty() {
        return format!("coco: learnt: {tool} reached no host in this run; it needs no network\n");
    }
    let list = hosts.iter().map(|host| format!("\"{host}\"")).collect::<Vec<_>>().join(", ");
    format!(
        "coco: learnt: for what {tool} reached in this run, write into {}:\n  \"allowed_hosts\": [{list}]\n",
        term::path(file)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::HostName;

    fn denied_host(host: &str, port: Option<u16>, denial: Denial) -> Denied {
        Denied { host: host.to_owned(), port: port.and_then(Port::from_number), denial }
    }

    #[test]
    fn each_denied_host_is_one_line_with_the_way_out() {
        let summary = Summary {
            denied: vec![
                denied_host("a.example", None, Denial::Host),
                denied_host("a.example", Some(443), Denial::Host),
                denied_host("b.example", Some(22), Denial::Port),
                denied_host("c.example", Some(443), Denial::ServerName("d.example".into())),
                denied_host("e.example", Some(80), Denial::Private),
                denied_host("wpad", None, Denial::InvalidName),
            ],
            reached: Vec::new(),
        };
        let lines = denied(&ToolName::new("x").unwrap(), &summary, Path::new("/f.json"));
        assert_eq!(
            lines,
            [
                r#"denied x -> a.example (add "a.example" to allowed_hosts in /f.json)"#,
                r#"denied x -> b.example:22 (add "b.example:22" to allowed_hosts in /f.json)"#,
                "denied x -> c.example:443 (the TLS server name is d.example)",
                "denied x -> e.example:80 (it resolves to private addresses)",
            ]
        );
    }

    #[test]
    fn a_flood_of_denied_hosts_is_a_few_lines() {
        let hosts = (0..50).map(|number| denied_host(&format!("{number}.example"), None, Denial::Host));
        let summary = Summary { denied: hosts.collect(), reached: Vec::new() };
        let lines = denied(&ToolName::new("x").unwrap(), &summary, Path::new("/f.json"));
        assert_eq!(lines.len(), MAX_DENIED + 1);
        assert_eq!(lines.last().unwrap(), "38 more hosts were denied: coco log x --denied");
    }

    #[test]
    fn what_was_learnt_is_a_list_to_copy() {
        let reached = [("a.example", 80), ("a.example", 443), ("git.example", 22)];
        let reached = reached.map(|(host, port)| (HostName::new(host).unwrap(), Port::from_number(port).unwrap()));
        let tool = ToolName::new("x").unwrap();
        let summary = Summary { denied: Vec::new(), reached: reached.to_vec() };
        assert!(
            learned(&tool, &summary, Path::new("/f.json"))
                .ends_with("\n  \"allowed_hosts\": [\"a.example\", \"git.example:22\"]\n")
        );
        assert!(learned(&tool, &Summary::default(), Path::new("/f.json")).contains("needs no network"));
    }
}
