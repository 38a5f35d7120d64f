//! What was reached and what was denied: a line of JSON for each in a private file, and a summary
//! for the end of the run.
//!
//! The file is bounded: it is put aside when it has grown, one older file is kept, and one run
//! writes a bounded number of lines, whatever a hostile tool tries.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::copy::Counts;
use super::denial::Denial;
use super::locked;
use crate::names::{HostName, Port};
use crate::sys::files::make_private;
use crate::term;

/// How large the file may be before a run puts it aside, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// How many lines one run writes.
const MOST_LINES: usize = 5000;
/// How many different hosts one run's summary holds.
const MOST_HOSTS: usize = 1000;

/// What the broker of one run knows at its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Each host once, with the first reason.
    pub denied: Vec<Denied>,
    /// The hosts that were reached.
    pub reached: Vec<(HostName, Port)>,
}

impl Summary {
    /// Adds another part's.
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
    /// As it was asked for, printable.
    pub host: String,
    /// Where a connection was tried.
    pub port: Option<Port>,
    /// Why.
    pub denial: Denial,
}

/// The journal of one run.
pub struct Journal {
    path: PathBuf,
    tool: String,
    phase: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: Option<File>,
    lines: usize,
    /// In the order of time; the set finds what is in it already.
    denied: Vec<Denied>,
    known: HashSet<(String, Option<Port>)>,
    reached: BTreeMap<(HostName, Port), Total>,
    open: BTreeMap<u64, Open>,
    next: u64,
}

/// What went to and came from one host, in bytes.
#[derive(Default)]
struct Total {
    connections: u64,
    sent: u64,
    received: u64,
}

/// A connection that has not ended yet.
struct Open {
    host: HostName,
    port: Port,
    since: SystemTime,
    counts: std::sync::Arc<Counts>,
}

/// A connection's entry; its end is [`Journal::closed`].
#[derive(Debug, Clone, Copy)]
pub struct Entry(u64);

impl Journal {
    /// A journal that writes to `path`; the file is opened with the first line.
    pub fn new(path: &Path, tool: &str, phase: &'static str) -> Journal {
        Journal { path: path.to_owned(), tool: tool.to_owned(), phase, state: Mutex::default() }
    }

    /// A connection or a look-up was denied.
    pub fn denied(&self, host: &str, port: Option<Port>, denial: &Denial) {
        let host: String = term::printable(host).chars().take(260).collect();
        let mut state = locked(&self.state);
        if state.known.contains(&(host.clone(), port)) {
            return;
        }
        if state.denied.len() >= MOST_HOSTS {
            return self.truncate(&mut state);
        }
        let line = json!({
            "time": timestamp(SystemTime::now()), "tool": self.tool, "phase": self.phase, "host": host,
            "port": port.map(Port::number), "verdict": "denied", "reason": denial.to_string(),
        });
        self.write(&mut state, &line);
        state.known.insert((host.clone(), port));
        state.denied.push(Denied { host, port, denial: denial.clone() });
    }

    /// A granted host could not be reached.
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

    /// A connection was made.
    pub fn opened(&self, host: &HostName, port: Port, counts: &std::sync::Arc<Counts>) -> Entry {
        let mut state = locked(&self.state);
        let known = state.reached.contains_key(&(host.clone(), port));
        if known || state.reached.len() < MOST_HOSTS {
            state.reached.entry((host.clone(), port)).or_default().connections += 1;
        }
        let id = state.next;
        state.next += 1;
        let counts = std::sync::Arc::clone(counts);
        state.open.insert(id, Open { host: host.clone(), port, since: SystemTime::now(), counts });
        Entry(id)
    }

    /// It has ended.
    pub fn closed(&self, entry: Entry) {
        let mut state = locked(&self.state);
        if let Some(open) = state.open.remove(&entry.0) {
            self.write_ended(&mut state, &open);
        }
    }

    /// Writes what is still open, and gives the summary.
    pub fn finish(&self) -> Summary {
        let mut state = locked(&self.state);
        for open in std::mem::take(&mut state.open).values() {
            self.write_ended(&mut state, open);
        }
        if state.lines > MOST_LINES {
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

    /// Appends one line. A journal that can't be written is no reason to stop the tool: what was
    /// decided holds, and the summary is told anyway.
    fn write(&self, state: &mut State, line: &serde_json::Value) {
        if state.lines >= MOST_LINES {
            return self.truncate(state);
        }
        state.lines += 1;
        self.append(state, line);
    }

    /// Says, once, that lines are left out.
    fn truncate(&self, state: &mut State) {
        if state.lines <= MOST_LINES {
            state.lines = MOST_LINES + 1;
            self.append(
                state,
                &json!({
                    "time": timestamp(SystemTime::now()), "tool": self.tool, "phase": self.phase, "verdict": "truncated",
                    "reason": "more than one run may write; the totals follow at its end",
                }),
            );
        }
    }

    /// What a run that wrote too much has moved all the same: many short connections must not hide
    /// a long one.
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

/// The older file beside it.
pub fn older(path: &Path) -> PathBuf {
    path.with_extension("old.jsonl")
}

fn open(path: &Path) -> Option<File> {
    make_private(path.parent()?).ok()?;
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > MAX_FILE) {
        // Two runs may do it at once; then one of the files is short.
        let _ = fs::rename(path, older(path));
    }
    File::options().append(true).create(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW).open(path).ok()
}

/// UTC, as RFC 3339 writes it.
pub fn timestamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day since 1970-01-01 in the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    let mut rest = days;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if rest < length {
            break;
        }
        rest -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    (year, month, rest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_478_400, "2026-11-24T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_flood_of_denials_is_one_line_a_host_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log/network.jsonl");
        let journal = Journal::new(&path, "x", "run");
        for _ in 0..3 {
            journal.denied("a.example\x1b[2J\n", Port::from_number(443), &Denial::Host);
        }
        for number in 0..20_000 {
            journal.denied(&format!("{number}.example"), None, &Denial::Host);
        }
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), MOST_HOSTS + 1);
        assert!(text.lines().last().unwrap().contains("truncated"));
        assert!(!text.contains('\x1b'));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(journal.finish().denied.len(), MOST_HOSTS);
    }

    #[test]
    fn one_run_writes_a_bounded_number_of_lines_and_a_grown_file_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("network.jsonl");
        fs::write(&path, vec![b'x'; usize::try_from(MAX_FILE).unwrap() + 1]).unwrap();
        let journal = Journal::new(&path, "x", "run");
        let (host, port) = (HostName::new("a.example").unwrap(), Port::HTTPS);
        let counts = Arc::new(Counts::default());
        for _ in 0..MOST_LINES + 10 {
            let entry = journal.opened(&host, port, &counts);
            journal.closed(entry);
        }
        counts.sent.store(77, Ordering::Relaxed);
        let open = journal.opened(&host, port, &counts);
        assert_eq!(journal.finish().reached, [(host, port)]);
        journal.closed(open);
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), MOST_LINES + 2);
        assert!(lines[MOST_LINES].contains("truncated"));
        // What was hidden among many is in the total.
        assert!(
            lines[MOST_LINES + 1].contains("\"verdict\":\"total\"") && lines[MOST_LINES + 1].contains("\"sent\":77")
        );
        assert!(older(&path).exists());
    }
}
