//! What a coco file grants, in words: for reading before it is fetched or updated. Pure.

use std::fmt;

use crate::config::{CocoFile, DEFAULT_PIDS, MountSource, Relabel, Workdir};
use crate::names::ToolName;
use crate::policy::RunNetwork;
use crate::policy::permissions::{self, Grant, MountPair, Topic};
use crate::term;

/// More lines than this may leave the screen before they are read.
const SCREEN_LINES: usize = 20;

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
    if added.len() > SCREEN_LINES {
        text.push_str(&format!("  {} lines above are marked with +\n", added.len()));
    }
    text
}

/// The longest line of what a coco file grants, in characters.
const MAX_LINE: usize = 120;

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
    if line.chars().count() <= MAX_LINE { line } else { format!("  grants: {}\n", clauses.join("\n          ")) }
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

/// The host's side of a mount in words. A path has a slash, a `~` or quotes, so that none reads as words.
fn words(source: &MountSource) -> String {
    match source {
        MountSource::CurrentDirectory => "the current directory".to_owned(),
        MountSource::Project => "the project".to_owned(),
        MountSource::Home(None) => "your home".to_owned(),
        source @ (MountSource::Home(Some(_)) | MountSource::Absolute(_)) => term::word(&source.to_string()),
    }
}

impl fmt::Display for MountPair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&words(&self.src))?;
        self.dst.as_ref().map_or(Ok(()), |dst| write!(formatter, " as {}", term::word(dst.as_str())))
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Grant::Tool(tool) if tool.is_system() => format!("uses the image's own {}", tool.package),
            Grant::Tool(tool) => format!("installs {tool}"),
            Grant::Debian(name) => format!("installs Debian's {name}"),
            Grant::Runtime(tool) => format!("installs the runtime {tool}"),
            Grant::Companion(tool) => format!("installs the companion {tool}"),
            Grant::SharedRuntimes => "shares runtimes with other tools".to_owned(),
            Grant::SharedCache => "has one cache for all projects".to_owned(),
            Grant::Order(tools) => {
                let tools: Vec<String> = tools.iter().map(ToString::to_string).collect();
                format!("installs in another order: {}", tools.join(", "))
            }
            Grant::Program(program) => format!("runs the program {}", term::word(program)),
            Grant::Reads(place) => format!("reads {place}"),
            Grant::Writes(place) => format!("writes {place}"),
            Grant::Relabels(source, Relabel::Private) => {
                format!("changes the SELinux labels of {}, for its own container alone", words(source))
            }
            Grant::Relabels(source, Relabel::Keep | Relabel::Shared) => {
                format!("changes the SELinux labels of {}, for all containers", words(source))
            }
            Grant::Covers(MountPair { src, dst }) => {
                let place = dst.as_ref().map_or_else(|| words(src), |dst| term::word(dst.as_str()));
                format!("covers {place} with {}", words(src))
            }
            Grant::Unprotected(None) => "may change git hooks, editor settings and task files".to_owned(),
            Grant::Unprotected(Some(path)) => format!("may change {} in what it writes", term::word(path.as_str())),
            Grant::Host(host) => format!("reaches {host}"),
            Grant::PublicHosts => format!("reaches {}", RunNetwork::Public),
            Grant::EngineNetwork(None) => format!("is on {}", RunNetwork::DangerousEngineDefault),
            Grant::EngineNetwork(Some(name)) => format!("is on {}", RunNetwork::DangerousEngineNetwork(name.clone())),
            Grant::HostNetwork => format!("is on {}", RunNetwork::DangerousHost),
            Grant::Port(port) => format!("listens on {port}"),
            Grant::Variable(name) => format!("sees your variable {name}"),
            Grant::Value(name, value) => format!("sets {}", term::word(&format!("{name}={value}"))),
            Grant::Workdir(Workdir::Default) => "starts where the project is mounted".to_owned(),
            Grant::Workdir(Workdir::CurrentDirectory) => "starts in the current directory".to_owned(),
            Grant::Workdir(Workdir::Guest(path)) => format!("starts in {}", term::word(path.as_str())),
            Grant::Installation => "may write its own installation".to_owned(),
            Grant::Display => "uses your X11 display".to_owned(),
            Grant::EngineArguments(arguments) => {
                let arguments: Vec<String> = arguments.iter().map(|argument| term::word(argument)).collect();
                format!("gives the engine {}", arguments.join(" "))
            }
            Grant::Memory(Some(bytes)) => format!("uses {} of memory at most", memory(*bytes)),
            Grant::Memory(None) => "uses any amount of memory".to_owned(),
            Grant::Processes(count) => format!("has {count} processes at most"),
            Grant::Cpus(Some(milli)) => format!("uses {}.{:03} CPUs at most", milli / 1000, milli % 1000),
            Grant::Cpus(None) => "uses all CPUs".to_owned(),
            Grant::NoLonger(lost) => format!("no longer {lost}"),
        };
        formatter.write_str(&text)
    }
}

/// An amount of memory, exactly; coco files have it in whole KiB.
pub fn memory(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let said = granted(
            r#", "mounts": [{"src": "~/.cache/tool; no network; nothing else", "opts": "ro"}], "network": "public""#,
        );
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
}
