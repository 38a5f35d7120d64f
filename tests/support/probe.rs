//! Probes: scripts of python that try things inside the sandbox and, for the controls, outside of it.

use super::Run;

/// What the probes share; the code of a probe follows it.
pub const PROBE: &str = include_str!("probe.py");

/// What a probe said: lines of what was tried and how it ended.
#[derive(Debug)]
pub struct Answers {
    lines: Vec<(String, String)>,
    /// Everything that coco and the probe wrote to standard error.
    pub errors: String,
}

impl Answers {
    /// Takes them from a run that succeeded.
    #[track_caller]
    pub fn of(run: &Run) -> Answers {
        let lines: Vec<String> = run.succeeds().text().lines().map(str::to_owned).collect();
        Answers { errors: run.errors(), ..Answers::of_lines(&lines) }
    }

    /// Takes them from lines that a probe has written until now.
    pub fn of_lines(lines: &[String]) -> Answers {
        let lines = lines.iter().filter_map(|line| line.split_once(": "));
        let lines = lines.map(|(what, ending)| (what.to_owned(), ending.to_owned())).collect();
        Answers { lines, errors: String::new() }
    }

    /// How what was tried ended.
    #[track_caller]
    pub fn get(&self, what: &str) -> &str {
        match self.lines.iter().find(|(known, _)| known == what) {
            Some((_, ending)) => ending,
            None => panic!("{what:?} was not tried: {self:?}"),
        }
    }

    /// Insists on how it ended.
    #[track_caller]
    pub fn is(&self, what: &str, expected: &str) -> &Self {
        assert_eq!(self.get(what), expected, "{what}: {self:?}");
        self
    }

    /// Insists that it ended in one of these ways.
    #[track_caller]
    pub fn is_one_of(&self, what: &str, expected: &[&str]) -> &Self {
        let ending = self.get(what);
        assert!(expected.contains(&ending), "{what} is {ending:?}, which is none of {expected:?}: {self:?}");
        self
    }

    /// What was tried under names that begin so, and how it ended.
    pub fn beginning(&self, beginning: &str) -> impl Iterator<Item = &(String, String)> {
        self.lines.iter().filter(move |(what, _)| what.starts_with(beginning))
    }

    /// Insists on how it ended for all that was tried under names that begin so; gives how many there were.
    #[track_caller]
    pub fn all(&self, beginning: &str, expected: &[&str]) -> usize {
        let mut count = 0;
        for (what, _) in self.beginning(beginning) {
            self.is_one_of(what, expected);
            count += 1;
        }
        count
    }

    /// Insists on words in standard error.
    #[track_caller]
    pub fn complains(&self, words: &str) -> &Self {
        assert!(self.errors.contains(words), "{words:?} is not in: {}", self.errors);
        self
    }
}

/// How a TLS connection ends that is not let through: by an alert, which clients show as an error of TLS, or closed.
pub const TLS_DENIED: [&str; 4] = ["fatal alert", "closed", "refused", "tls TLSV1_ALERT_ACCESS_DENIED"];
