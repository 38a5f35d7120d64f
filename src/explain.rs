//! A policy and a plan in words, and in shell for people to read. Pure.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::config::{Access, CocoFile, MountSource, Network, X11};
use crate::control::Task;
use crate::facts::Controllers;
use crate::install::Record;
use crate::plan::Plan;
use crate::policy::{Creation, Policy, Posture, RunNetwork};
use crate::term;

/// The effective policy, a line for each grant.
pub fn policy(policy: &Policy, can: Controllers, version: Option<&str>, file: &Path) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |what: &str, text: String| rows.push(vec![format!("  {what}"), term::printable(&text)]);
    row("runs", policy.program.to_string());
    row(
        "from",
        format!(
            "{}, {}",
            policy.installation.tool,
            version.map_or("not installed yet".to_owned(), |version| format!("installed at {version}"))
        ),
    );
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
    row("file", term::path(file));
    format!("{}\n{}", policy.tool, term::table(&rows))
}

/// What opens the sandbox further than files and hosts do.
fn openings(policy: &Policy) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    let mut row = |what: &'static str, text: String| rows.push((what, text));
    if let Some(display) = &policy.display {
        row("display", format!("{} (X11: it may watch and type into every window)", display.name));
    }
    if !policy.engine_arguments.is_empty() {
        row("engine", policy.engine_arguments.join(" "));
    }
    if policy.posture == Posture::DangerousConsented {
        row(
            "warning",
            "you agreed to engine arguments that may open the sandbox; it is not checked from inside".to_owned(),
        );
    }
    if policy.mounts.iter().any(|mount| mount.access == Access::ReadWrite) {
        row(
            "unprotected",
            "what it may write includes git hooks and editor settings there; this version does not protect them yet"
                .to_owned(),
        );
    }
    rows
}

fn limits(policy: &Policy, can: Controllers) -> String {
    let unless = |can: bool| if can { "" } else { " (not set: this user has no such cgroup controller)" };
    let mut limits = vec![format!("{} processes{}", policy.limits.pids, unless(can.pids))];
    limits.extend(policy.limits.memory.map(|bytes| format!("{} MiB of memory{}", bytes >> 20, unless(can.memory))));
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

/// What a coco file grants, in words, before there is a world to decide in.
pub fn grants(file: &CocoFile) -> String {
    let mut parts = Vec::new();
    for mount in &file.mounts {
        let verb = match mount.access {
            Access::ReadOnly => "reads",
            Access::ReadWrite => "reads and writes",
        };
        let what = match &mount.src {
            MountSource::CurrentDirectory => "the current directory".to_owned(),
            MountSource::Project => "the project".to_owned(),
            MountSource::Home(None) => "your home".to_owned(),
            MountSource::Home(Some(path)) => format!("~/{path}"),
            MountSource::Absolute(path) => path.clone(),
        };
        parts.push(format!("{verb} {what}"));
    }
    if parts.is_empty() {
        parts.push("no files of yours".to_owned());
    }
    parts.push(match &file.network {
        Network::None => "no network".to_owned(),
        Network::AllowedHosts(hosts) => {
            format!("reaches {}", hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
        Network::Public => "reaches public hosts".to_owned(),
        Network::EngineDefault => "the engine's whole network".to_owned(),
        Network::EngineNetwork(name) => format!("the engine's network {name}"),
        Network::DangerousHost => "the host's network".to_owned(),
    });
    if !file.env_passthrough.is_empty() {
        parts.push(format!(
            "sees {}",
            file.env_passthrough.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        ));
    }
    if file.data == Access::ReadWrite {
        parts.push("may change its own installation".to_owned());
    }
    if file.x11 == X11::DangerousDisplay {
        parts.push("uses your X11 display".to_owned());
    }
    if !file.ports.is_empty() {
        parts.push(format!("listens on {}", file.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")));
    }
    format!("  grants: {}\n", term::printable(&parts.join("; ")))
}
