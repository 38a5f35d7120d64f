//! The log of what was reached and what was denied: a line of JSON for each in a private file, and a summary for the end
//! of the run.
//!
//! The file is bounded, whatever a hostile tool tries: it is renamed when it has grown, one older file is kept, and one
//! run writes a bounded number of lines.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use rustix::fs::OFlags;
use serde_json::json;

use super::copy::Counts;
use super::denial::Denial;
use super::locked;
use crate::names::{HostName, Port};
use crate::sys::files::make_private;
use crate::sys::time::timestamp;
use crate::term;

/// How large the file may be before a run renames it, in bytes.
const MAX_FILE_SIZE: u64 = 4 << 20;
/// The most lines that one run writes.
const MAX_LINES: usize = 5000;
/// The most hosts in one run's summary.
const MAX_HOSTS: usize = 1000;

/// What a run's network was used for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Each host once, with the first reason.
    pub denied: Vec<Denied>,
    /// Each host and port that was reached.
    pub reached: Vec<(HostName, Port)>,
}

impl Summary {
    /// Adds what another part of the run did.
    pub fn add(&mut self, other: Summary) {
        for denied in other.denied {
            if !self.denied.contains(&denied) {
                self.denied.push(denied);
            }
        }
        for reached in other.reached {
            if !self.reached.contains(&reached) {
                self.reached.push(reached);
            }
        }
    }
}

/// A host that was denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Its name as it was asked for, made printable.
    pub host: String,
    /// The port of the connection; `None` for a look-up.
    pub port: Option<Port>,
    /// Why.
    pub denial: Denial,
}

/// The log of one run.
pub struct Log {
    path: PathBuf,
    tool: String,
    phase: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: Option<File>,
    lines: usize,
    /// In the order of time.
    denied: Vec<Denied>,
    /// The same, for finding what is in it already.
    known_denied: HashSet<(String, Option<Port>)>,
    reached: BTreeMap<(HostName, Port), Total>,
    open: BTreeMap<u64, Open>,
    next_id: u64,
}

/// What all connections to one host and port moved, in bytes.
#[derive(Default)]
struct Total {
    connections: u64,
    sent: u64,
    received: u64,
}

/// An open connection.
struct Open {
    host: HostName,
    port: Port,
    since: SystemTime,
    counts: std::sync::Arc<Counts>,
}

/// An open connection's number, for [`Log::closed`].
#[derive(Debug, Clone, Copy)]
pub struct Entry(u64);

impl Log {
    /// A log that writes to `path`. The file is opened for the first line.
    pub fn new(path: &Path, tool: &str, phase: &'static str) -> Log {
        Log { path: path.to_owned(), tool: tool.to_owned(), phase, state: Mutex::default() }
    }

    /// Records that a connection or a look-up was denied.
    pub fn denied(&self, host: &str, port: Option<Port>, denial: &Denial) {
        let host: String = term::printable(host).chars().take(260).collect();
        let mut state = locked(&self.state);
        if state.known_denied.contains(&(host.clone(), port)) {
            return;
        }
        if state.denied.len() >= MAX_HOSTS {
            return self.truncate(&mut state);
        }
        let line = json!({
            "time": timestamp(SystemTime::now()), "tool": self.tool, "phase": self.phase, "host": host,
            "port": port.map(Port::number), "verdict": "denied", "reason": denial.to_string(),
        });
        self.write(&mut state, &line);
        state.known_denied.insert((host.clone(), port));
        state.denied.push(Denied { host, port, denial: denial.clone() });
    }

    /// Records that a granted host could not be reached.
    pub fn failed(&self, host: &HostName, port: Port, reason: &str) {
        let mut state = locked(&self.state);
        self.write(
            &mut state,
            &json!({
                "time": timestamp(SystemTime::now()), "tool": self.tool, "phase": self.phase, "host": host.as_str(),
                "port": port.number(), "verdict": "failed", "reason": term::printable(reason),
            }),
        );
    }

    /// Records a new connection.
    pub fn opened(&self, host: &HostName, port: Port, counts: &std::sync::Arc<Counts>) -> Entry {
        let mut state = locked(&self.state);
        let known = state.reached.contains_key(&(host.clone(), port));
        if known || state.reached.len() < MAX_HOSTS {
            state.reached.entry((host.clone(), port)).or_default().connections += 1;
        }
        let id = state.next_id;
        state.next_id += 1;
        let counts = std::sync::Arc::clone(counts);
        state.open.insert(id, Open { host: host.clone(), port, since: SystemTime::now(), counts });
        Entry(id)
    }

    /// Records the end of a connection.
    pub fn closed(&self, entry: Entry) {
        let mut state = locked(&self.state);
        if let Some(open) = state.open.remove(&entry.0) {
            self.write_ended(&mut state, &open);
        }
    }

    /// Records the end of every open connection, and gives the summary.
    pub fn finish(&self) -> Summary {
        let mut state = locked(&self.state);
        for open in std::mem::take(&mut state.open).values() {
            self.write_ended(&mut state, open);
        }
        if state.lines > MAX_LINES {
            self.write_totals(&mut state);
        }
        Summary { denied: state.denied.clone(), reached: state.reached.keys().cloned().collect() }
    }

    fn write_ended(&self, state: &mut State, open: &Open) {
        let (sent, received) = (open.counts.sent.load(Ordering::Relaxed), open.counts.received.load(Ordering::Relaxed));
        if let Some(total) = state.reached.get_mut(&(open.host.clone(), open.port)) {
            total.sent += sent;
            total.received += received;
        }
        let milliseconds = open.since.elapsed().unwrap_or_default().as_millis();
        let line = json!({
            "time": timestamp(open.since), "tool": self.tool, "phase": self.phase, "host": open.host.as_str(),
            "port": open.port.number(), "verdict": "allowed", "sent": sent, "received": received,
            "milliseconds": u64::try_from(milliseconds).unwrap_or(u64::MAX),
        });
        self.write(state, &line);
    }

    /// Appends one line. A log that can't be written does not stop the tool: every decision holds, and the summary is
    /// complete without the file.
    fn write(&self, state: &mut State, line: &serde_json::Value) {
        if state.lines >= MAX_LINES {
            return self.truncate(state);
        }
        state.lines += 1;
        self.append(state, line);
    }

    /// Records, once, that lines are left out.
    fn truncate(&self, state: &mut State) {
        if state.lines <= MAX_LINES {
            state.lines = MAX_LINES + 1;
            self.append(
                state,
                &json!({
                    "time": timestamp(SystemTime::now()), "tool": self.tool, "phase": self.phase, "verdict": "truncated",
                    "reason": "more than one run may write; the totals follow at its end",
                }),
            );
        }
    }

    /// Writes what was moved in all by a run whose lines were left out: many short connections must not hide a long one.
    fn write_totals(&self, state: &mut State) {
        let lines: Vec<serde_json::Value> = state
            .reached
            .iter()
            .map(|((host, port), total)| {
                json!({
                    "time": timestamp(SystemTime::now()), "tool": self.tool, "phase": self.phase, "host": host.as_str(),
                    "port": port.number(), "verdict": "total", "sent": total.sent, "received": total.received,
                    "connections": total.connections,
                })
            })
            .collect();
        for line in lines {
            self.append(state, &line);
        }
    }

    fn append(&self, state: &mut State, line: &serde_json::Value) {
        if state.file.is_none() {
            state.file = open(&self.path);
        }
        if let Some(file) = &mut state.file {
            // One write, so that lines of several runs never mix.
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }
}

/// The older log beside this one.
pub fn older(path: &Path) -> PathBuf {
    path.with_extension("old.jsonl")
}

fn open(path: &Path) -> Option<File> {
    make_private(path.parent()?).ok()?;
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > MAX_FILE_SIZE) {
        // Two runs may do it at once; then one of the files is short.
        let _ = fs::rename(path, older(path));
    }
    File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    #[test]
    fn a_flood_of_denials_is_one_line_a_host_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log/network.jsonl");
        let log = Log::new(&path, "x", "run");
        for _ in 0..3 {
            log.denied("a.example\x1b[2J\n", Port::from_number(443), &Denial::Host);
        }
        for number in 0..20_000 {
            log.denied(&format!("{number}.example"), None, &Denial::Host);
        }
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), MAX_HOSTS + 1);
        assert!(text.lines().last().unwrap().contains("truncated"));
        assert!(!text.contains('\x1b'));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(log.finish().denied.len(), MAX_HOSTS);
    }

    #[test]
    fn one_run_writes_a_bounded_number_of_lines_and_a_grown_file_is_renamed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("network.jsonl");
        fs::write(&path, vec![b'x'; usize::try_from(MAX_FILE_SIZE).unwrap() + 1]).unwrap();
        let log = Log::new(&path, "x", "run");
        let (host, port) = (HostName::new("a.example").unwrap(), Port::HTTPS);
        let counts = Arc::new(Counts::default());
        for _ in 0..MAX_LINES + 10 {
            let entry = log.opened(&host, port, &counts);
            log.closed(entry);
        }
        counts.sent.store(77, Ordering::Relaxed);
        let open = log.opened(&host, port, &counts);
        assert_eq!(log.finish().reached, [(host, port)]);
        log.closed(open);
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), MAX_LINES + 2);
        assert!(lines[MAX_LINES].contains("truncated"));
        // What was hidden among many is in the total.
        assert!(lines[MAX_LINES + 1].contains("\"verdict\":\"total\"") && lines[MAX_LINES + 1].contains("\"sent\":77"));
        assert!(older(&path).exists());
    }
}
