//! A policy in words: what one run of a tool may do. Pure.

use std::path::Path;

use super::network;
use super::permissions::memory;
use crate::config::{Access, CacheScope, Protect};
use crate::names::ToolName;
use crate::plan::Job;
use crate::plan::record::Record;
use crate::policy::{Creation, Danger, Policy, Posture};
use crate::term;

/// What a kernel without Landlock means.
pub const WITHOUT_LANDLOCK: &str = "this kernel has no Landlock, or the engine's seccomp profile hides it: what is protected in a writable mount is protected by \
                                    mounts alone, and two sandboxes that run at once can pass files to each other";

/// The effective policy, a line for each grant.
pub fn policy(job: &Job, record: Option<&Record>, file: &Path) -> String {
    let Job { policy, engine, .. } = *job;
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
    row("network", network::of_run(&policy.network));
    for port in &policy.ports {
        row("listens", format!("on {port} (address:host:inside)"));
    }
    row("sees", policy.environment.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" "));
    row("keeps", kept(policy).to_owned());
    row("limits", limits(job));
    for (what, text) in openings(policy) {
        row(what, text);
    }
    for warning in job.warnings() {
        row("warning", warning);
    }
    if job.facts.landlock_is_missing {
        row("warning", WITHOUT_LANDLOCK.to_owned());
    }
    row("engine", term::path(&engine.path));
    for (name, value) in engine.steering() {
        row("steered by", format!("{}={}", term::os(name), term::os(value)));
    }
    row("file", term::path(file));
    format!("{}\n{}", policy.tool, term::table(&rows))
}

/// What lasts from one run to the next.
fn kept(policy: &Policy) -> &'static str {
    match (policy.cache, policy.data) {
        (CacheScope::Project, Access::ReadOnly) => "a cache for this project; its installation is read-only",
        (CacheScope::Project, Access::ReadWrite) => "a cache for this project, and may write its installation",
        (CacheScope::Shared, Access::ReadOnly) => "one cache for all projects; its installation is read-only",
        (CacheScope::Shared, Access::ReadWrite) => "one cache for all projects, and may write its installation",
    }
}

/// What the user has not agreed to yet, with the way to do so.
pub fn not_agreed(tool: &ToolName, missing: &[Danger]) -> String {
    let mut text = String::new();
    for danger in missing {
        text.push_str(&format!("\nneeds your consent: {}\n", term::printable(&danger.to_string())));
    }
    let home = if missing.iter().any(|danger| matches!(danger, Danger::StartedAtHome(_))) { "--home " } else { "" };
    text.push_str(&format!("until then it does not run: coco allow {home}{tool}\n"));
    text
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
            Danger::EngineArgument(_)
            | Danger::HostNetwork
            | Danger::Display
            | Danger::EngineNetwork
            | Danger::Unprotected => {}
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

fn limits(job: &Job) -> String {
    let (asked, can) = (&job.policy.limits, job.settable_limits());
    let unless = |can: bool| if can { "" } else { " (not set: this user has no such cgroup controller)" };
    let mut limits = vec![format!("{} processes{}", asked.processes(), unless(can.pids))];
    limits.extend(asked.memory.map(|bytes| format!("{} of memory{}", memory(bytes), unless(can.memory))));
    limits
        .extend(asked.milli_cpus.map(|milli| format!("{}.{:03} CPUs{}", milli / 1000, milli % 1000, unless(can.cpu))));
    limits.join(", ")
}
