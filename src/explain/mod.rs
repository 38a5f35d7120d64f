//! A policy and a plan in words, and in shell for people to read. Pure.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::config::{Access, CocoFile, DEFAULT_PIDS, Protect, Workdir};
use crate::engine::Engine;
use crate::facts::Controllers;
use crate::names::{HostPattern, Port, ToolName};
use crate::network::denial::Denial;
use crate::network::log::{Denied, Summary};
use crate::plan::Plan;
use crate::plan::record::Record;
use crate::policy::permissions::{self, Grant, Topic};
use crate::policy::{Creation, Danger, Policy, Posture, RunNetwork};
use crate::protocol::control::Task;
use crate::rules::egress::{Protocol, Reach};
use crate::term;

/// The effective policy, a line for each grant.
pub fn policy(policy: &Policy, engine: &Engine, can: Controllers, record: Option<&Record>, file: &Path) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |what: &str, text: String| rows.push(vec![format!("  {what}"), term::printable(&text)]);
    row("runs", policy.program.to_string());
    row(
        "from",
        format!(
            "{}, {}",
            policy.installation.tool,
            record.map_or("not installed yet".to_owned(), |record| format!("installed at {}", record.version))
        ),
    );
    if let Some(record) = record.filter(|record| !record.hosts.is_empty()) {
        row("installed from", record.hosts.join(", "));
    }
    for (access, verb) in [(Access::ReadOnly, "reads"), (Access::ReadWrite, "reads and writes")] {
        for mount in policy.mounts.iter().filter(|mount| mount.access == access) {
            let made = match mount.creation {
                Creation::Present => "",
                Creation::MakeDirectory => " (made when missing)",
            };
            let place =
                if Path::new(mount.dst.as_str()) == mount.src { String::new() } else { format!(" as {}", mount.dst) };
            row(verb, format!("{}{place}{made}", term::path(&mount.src)));
        }
    }
    if policy.mounts.is_empty() {
        row("files", "none of yours".to_owned());
    }
    row("starts in", term::path(&policy.workdir));
    row(
        "network",
        match &policy.network {
            RunNetwork::None => "none".to_owned(),
            RunNetwork::Hosts(hosts) => format!("only {}", words(hosts)),
            RunNetwork::Public => "any public host by name, on ports 443 and 80; no private address".to_owned(),
            RunNetwork::DangerousLearn(_) => "any public host by name, to learn which ones it wants".to_owned(),
            RunNetwork::DangerousEngineDefault => "the engine's own, private addresses included".to_owned(),
            RunNetwork::DangerousEngineNetwork(name) => format!("the engine's network {name}"),
            RunNetwork::DangerousHost => "the host's own".to_owned(),
        },
    );
    for port in &policy.ports {
        row("listens", format!("on {port} (address:host:inside)"));
    }
    row("sees", policy.environment.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" "));
    row(
        "keeps",
        match policy.data {
            Access::ReadOnly => "a cache of its own; its installation is read-only".to_owned(),
            Access::ReadWrite => "a cache of its own, and may write its installation".to_owned(),
        },
    );
    row("limits", limits(policy, can));
    for (what, text) in openings(policy) {
        row(what, text);
    }
    for warning in &policy.warnings {
        row("warning", warning.clone());
    }
    row("engine", term::path(&engine.path));
    for (name, value) in engine.steering() {
        row("steered by", format!("{}={}", term::os(name), term::os(value)));
    }
    row("file", term::path(file));
    format!("{}\n{}", policy.tool, term::table(&rows))
}

/// What the user has not agreed to yet, with the way to do so.
pub fn not_agreed(tool: &ToolName, missing: &[Danger]) -> String {
    let mut text = String::new();
    for danger in missing {
        text.push_str(&format!("\nneeds your agreement: {}\n", term::printable(&danger.to_string())));
    }
    let home = if missing.iter().any(|danger| matches!(danger, Danger::StartedAtHome(_))) { "--home " } else { "" };
    text.push_str(&format!("until then it does not run: coco allow {home}{tool}\n"));
    text
}

/// Hosts in words: of a port that coco does not know, only the address is checked.
fn words(hosts: &[HostPattern]) -> String {
    let word = |host: &HostPattern| match host.port.map(Protocol::of) {
        Some(Protocol::Raw) => format!("{host} (raw TCP: weaker, what is spoken there is not checked)"),
        None | Some(Protocol::Tls | Protocol::Http) => host.to_string(),
    };
    hosts.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// How many denied hosts are told at the end of a run.
const MOST_DENIED: usize = 12;

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
    let mut lines: Vec<String> = told.iter().take(MOST_DENIED).copied().map(line).collect();
    if told.len() > MOST_DENIED {
        lines.push(format!("{} more hosts were denied: coco log {tool} --denied", told.len() - MOST_DENIED));
    }
    lines
}

/// The same for the install phase, where only private addresses and odd connections are denied.
pub fn denied_while_installing(summary: &Summary) -> Vec<String> {
    let told = summary.denied.iter().filter(|denied| denied.denial != Denial::InvalidName).take(MOST_DENIED);
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

/// What opens the sandbox further than files and hosts do.
fn openings(policy: &Policy) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    let mut row = |what: &'static str, text: String| rows.push((what, text));
    if let Some(display) = &policy.display {
        row("display", format!("{} (X11: it may watch and type into every window)", display.name));
    }
    if !policy.engine_arguments.is_empty() {
        row("arguments", policy.engine_arguments.join(" "));
    }
    if policy.posture == Posture::DangerousConsented {
        row(
            "warning",
            "you agreed to engine arguments that may open the sandbox; it is not checked from inside".to_owned(),
        );
    }
    for danger in &policy.dangers {
        match danger {
            Danger::Home(_) | Danger::StartedAtHome(_) | Danger::Socket(_) => row("dangerous", danger.to_string()),
            // Each has a row of its own.
            Danger::EngineArgument(_) | Danger::HostNetwork | Danger::Display => {}
        }
    }
    if !policy.hidden.is_empty() {
        let hidden: Vec<&str> = policy.hidden.iter().map(|hidden| hidden.dst.as_str()).collect();
        row("can't see", hidden.join(", "));
    }
    if policy.mounts.iter().any(|mount| mount.access == Access::ReadWrite) {
        match policy.protect {
            Protect::DangerousNothing => row(
                "unprotected",
                "what it may write includes git hooks and editor settings, which run on your machine later".to_owned(),
            ),
            Protect::Default | Protect::List | Protect::Paths(_) => {
                let held = policy.protected.iter().filter(|mount| mount.access == Access::ReadOnly);
                let held: Vec<String> = held.map(|mount| term::path(&mount.src)).collect();
                if !held.is_empty() {
                    row("can't change", held.join(", "));
                }
            }
        }
    }
    rows
}

fn limits(policy: &Policy, can: Controllers) -> String {
    let unless = |can: bool| if can { "" } else { " (not set: this user has no such cgroup controller)" };
    let mut limits = vec![format!("{} processes{}", policy.limits.pids, unless(can.pids))];
    limits.extend(
        policy.limits.memory.map(|bytes| format!("{} of memory{}", permissions::memory(bytes), unless(can.memory))),
    );
    limits.extend(
        policy.limits.milli_cpus.map(|milli| format!("{}.{:03} CPUs{}", milli / 1000, milli % 1000, unless(can.cpu))),
    );
    limits.join(", ")
}

/// A plan as a comment line, the engine's command, one option a line, and what the helper is told.
pub fn plan(title: &str, plan: &Plan) -> String {
    let mut text = format!("# {title}\n{}", term::shell_quote(plan.program.as_os_str()));
    for argument in &plan.arguments {
        // The sub-command beside the program, and then one argument a line.
        text.push_str(if argument == "run" { " " } else { " \\\n  " });
        text.push_str(&term::shell_quote(argument));
    }
    let quoted = |words: &[&OsStr]| words.iter().map(|word| term::shell_quote(word)).collect::<Vec<_>>().join(" ");
    let inside = match &plan.launch.task {
        Task::Run { program, arguments, .. } => {
            let mut words = vec![program.as_os_str()];
            words.extend(arguments.iter().map(OsString::as_os_str));
            format!("runs {}", quoted(&words))
        }
        Task::InstallRuntimes { specifiers } => {
            format!("installs {}", quoted(&specifiers.iter().map(AsRef::as_ref).collect::<Vec<_>>()))
        }
        Task::InstallTool { apt, specifiers, .. } => {
            let debian = if apt.is_empty() {
                String::new()
            } else {
                format!(" after Debian's {}", quoted(&apt.iter().map(AsRef::as_ref).collect::<Vec<_>>()))
            };
            format!("installs {}{debian}", quoted(&specifiers.iter().map(AsRef::as_ref).collect::<Vec<_>>()))
        }
    };
    let names: Vec<&OsStr> = plan.launch.environment.iter().map(|(name, _)| name.as_os_str()).collect();
    text.push_str(&format!("\n# inside, the helper {inside}\n#   in {}", term::shell_quote(&plan.launch.workdir)));
    if !names.is_empty() {
        text.push_str(&format!(", with {} set", quoted(&names)));
    }
    text.push('\n');
    if let Some(orders) = &plan.proxy {
        let reached = match &orders.reach {
            Reach::Public { besides } if besides.is_empty() => "reaches public hosts".to_owned(),
            Reach::Public { besides } => format!("reaches public hosts, and {}", words(besides)),
            Reach::Hosts(hosts) if hosts.is_empty() => "reaches no host".to_owned(),
            Reach::Hosts(hosts) => format!("reaches {}", words(hosts)),
        };
        text.push_str(&format!("# outside, the broker {reached}\n"));
        for port in &orders.ports {
            text.push_str(&format!("#   and listens on {port} (address:host:inside)\n"));
        }
    }
    text
}

/// What a record says when nothing is installed yet, for showing what would be done.
pub fn placeholder_record(policy: &Policy) -> Record {
    Record {
        version: if policy.installation.tool.is_system() { "system".to_owned() } else { String::new() },
        data: (!policy.installation.is_nothing()).then(|| "data-NEW".to_owned()),
        ..Record::default()
    }
}

/// More lines than this may leave the screen before they are read.
const A_SCREEN: usize = 20;

/// What an update changes: a line for each grant that goes and comes. What comes stands last, where the
/// question is: however much goes, it is on the screen.
pub fn changes(tool: &ToolName, revision: u64, added: &[Grant], removed: &[Grant]) -> String {
    let mut text = format!("{tool}: revision {revision}");
    if added.is_empty() && removed.is_empty() {
        text.push_str(" grants the same");
    }
    text.push('\n');
    let signs = removed.iter().map(|grant| ('-', grant)).chain(added.iter().map(|grant| ('+', grant)));
    for (sign, grant) in signs {
        text.push_str(&format!("  {sign} {grant}\n"));
    }
    if added.len() > A_SCREEN {
        text.push_str(&format!("  {} lines above are marked with +\n", added.len()));
    }
    text
}

/// The longest line of what a coco file grants, in characters.
const A_LINE: usize = 120;

/// What a coco file grants, in words, before there is a world to decide in: one line where it is short, else
/// a line for each thing.
pub fn grants(tool: &ToolName, file: &CocoFile) -> String {
    let all = permissions::grants(tool, file);
    let mut clauses = Vec::new();
    for (topic, none) in [
        (Topic::Software, None),
        (Topic::Files, Some("no files of yours")),
        (Topic::Network, Some("no network")),
        (Topic::Rest, None),
    ] {
        let told = all.iter().filter(|grant| grant.topic() == topic).filter_map(|grant| clause(tool, &all, grant));
        let told = joined(told);
        clauses.extend(none.filter(|_| told.is_empty()).map(str::to_owned));
        clauses.extend(told);
    }
    let line = format!("  grants: {}\n", clauses.join("; "));
    if line.chars().count() <= A_LINE { line } else { format!("  grants: {}\n", clauses.join("\n          ")) }
}

/// One grant among all of a file, unless it is what every file has or is said with another.
fn clause(tool: &ToolName, all: &[Grant], grant: &Grant) -> Option<String> {
    match grant {
        Grant::Program(program) if program == tool.as_str() => None,
        Grant::Workdir(Workdir::Default | Workdir::CurrentDirectory)
        | Grant::Memory(None)
        | Grant::Processes(DEFAULT_PIDS)
        | Grant::Cpus(None)
        | Grant::Writes(_) => None,
        Grant::Reads(place) if all.contains(&Grant::Writes(place.clone())) => Some(format!("reads and writes {place}")),
        grant => Some(grant.to_string()),
    }
}

/// Beginnings that neighbours share, as they are before one thing and before more.
const SHARED: &[(&str, &str)] = &[
    ("installs Debian's ", "installs Debian's "),
    ("installs the runtime ", "installs the runtimes "),
    ("installs the companion ", "installs the companions "),
    ("reaches ", "reaches "),
    ("listens on ", "listens on "),
    ("sees your variable ", "sees your variables "),
    ("sets ", "sets "),
];

/// Clauses with the same beginning as one.
fn joined(clauses: impl Iterator<Item = String>) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for clause in clauses {
        let shared = SHARED.iter().find_map(|(one, more)| Some((clause.strip_prefix(one)?, *one, *more)));
        if let (Some((rest, one, more)), Some(last)) = (shared, joined.last_mut())
            && let Some(before) = last.strip_prefix(more).or_else(|| last.strip_prefix(one))
        {
            *last = format!("{more}{before}, {rest}");
        } else {
            joined.push(clause);
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::HostName;
    use crate::policy::permissions::difference;

    fn granted(rest: &str) -> String {
        let file = crate::config::parse(format!(r#"{{"tool": "npm:x"{rest}}}"#).as_bytes()).unwrap();
        grants(&ToolName::new("x").unwrap(), &file)
    }

    #[test]
    fn all_that_a_file_grants_is_said_and_the_usual_in_a_line() {
        for (rest, said) in [
            ("", "installs npm:x; no files of yours; no network"),
            (
                r#", "mounts": [{"src": "@project", "opts": "rw"}], "workdir": ".""#,
                "installs npm:x; reads and writes the project; no network",
            ),
            (
                r#", "allowed_hosts": ["a.example", "*.b.example"], "env_passthrough": ["A", "B"]"#,
                "installs npm:x; no files of yours; reaches a.example, *.b.example; sees your variables A, B",
            ),
        ] {
            assert_eq!(granted(rest), format!("  grants: {said}\n"));
        }
        let all = granted(
            r#", "command": "y", "dependencies": {"apt": ["gcc", "make"], "mise": ["node@22", "npm:b"]},
            "mounts": [{"src": "~/.c", "dst": "/c", "opts": "ro,z"}], "workdir": "/c", "env": {"A": "1", "B": "2 3"},
            "env_passthrough": ["A", "C"], "network": "public", "ports": ["1:2"], "data": "rw", "x11": true,
            "protect": false, "limits": {"memory": "7m", "pids": 9, "cpus": 1.5}, "podman_args": ["--shm-size=1g"]"#,
        );
        let lines: Vec<&str> = all.trim_start_matches("  grants: ").lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "installs npm:x",
                "installs Debian's gcc, make",
                "installs the runtime node@22",
                "installs the companion npm:b",
                "shares runtimes with other tools",
                "runs the program y",
                "reads ~/.c as /c",
                "changes the SELinux labels of ~/.c, for all containers",
                "may change git hooks, editor settings and task files",
                "reaches any public host",
                "listens on 127.0.0.1:1:2",
                "sees your variable C",
                "sets A=1, 'B=2 3'",
                "starts in /c",
                "may write its own installation",
                "uses your X11 display",
                "gives the engine --shm-size=1g",
                "uses 7 MiB of memory at most",
                "has 9 processes at most",
                "uses 1.500 CPUs at most",
            ]
        );
    }

    #[test]
    fn a_path_can_not_read_as_a_grant() {
        let said = granted(r#", "mounts": [{"src": "~/.cache/tool; no network; nothing else"}], "network": "public""#);
        let path = "'~/.cache/tool; no network; nothing else'";
        assert_eq!(said, format!("  grants: installs npm:x; reads {path}; reaches any public host\n"));
    }

    #[test]
    fn what_is_added_stands_last_and_is_counted() {
        let file = |rest: &str| crate::config::parse(format!(r#"{{"tool": "npm:x"{rest}}}"#).as_bytes()).unwrap();
        let list =
            |name: &str| (0..30).map(|number| format!("\"{number}.{name}.example\"")).collect::<Vec<_>>().join(", ");
        let hosts = |name: &str| file(&format!(r#", "allowed_hosts": [{}]"#, list(name)));
        let tool = ToolName::new("x").unwrap();
        let found = difference(&tool, &hosts("old"), &hosts("new"));
        let text = changes(&tool, 2, &found.added, &found.removed);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "  - reaches 0.old.example");
        assert_eq!(lines[60..], ["  + reaches 29.new.example", "  30 lines above are marked with +"]);
    }

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
        assert_eq!(lines.len(), MOST_DENIED + 1);
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
