//! Tells a person how far something long has come: each step in words, and a sign of life at least every ten seconds.

use std::time::{Duration, Instant};

use super::say;

/// How long nothing may be said; with one tick it makes ten seconds.
const MAX_SILENCE: Duration = Duration::from_secs(9);
/// How often a wait is interrupted to see whether something is to be said.
pub const TICK: Duration = Duration::from_secs(1);

/// How far something has come.
#[derive(Debug)]
pub struct Progress {
    what: String,
    step: String,
    started: Instant,
    said: Instant,
}

impl Progress {
    /// Begins, and says nothing yet: `what`, if it is anything, stands before each line; `step` is what is done first.
    pub fn new(what: impl Into<String>, step: impl Into<String>) -> Progress {
        let now = Instant::now();
        Progress { what: what.into(), step: step.into(), started: now, said: now }
    }

    /// Says what is done next.
    pub fn step(&mut self, step: impl Into<String>) {
        self.step = step.into();
        self.said = Instant::now();
        say(&format!("{}: {}", self.what, self.step));
    }

    /// Says that it still goes on, if nothing was said for a while.
    pub fn tick(&mut self) {
        let now = Instant::now();
        if let Some(line) = self.due(now) {
            self.said = now;
            say(&line);
        }
    }

    /// How long it has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn due(&self, now: Instant) -> Option<String> {
        (now.duration_since(self.said) >= MAX_SILENCE).then(|| {
            let seconds = now.duration_since(self.started).as_secs();
            let what = if self.what.is_empty() { String::new() } else { format!("{}: ", self.what) };
            format!("{what}still {} ({seconds} s so far)", self.step)
        })
    }
}

/// For a wait whose length nobody knows: says what is waited for when it is first called, and that it still goes on when it
/// is called after a while.
pub fn waiting(words: String) -> impl FnMut() {
    let mut progress: Option<Progress> = None;
    move || {
        let progress = progress.get_or_insert_with(|| {
            say(&words);
            Progress::new("", words.clone())
        });
        progress.tick();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_said_every_ten_seconds() {
        let mut progress = Progress::new("image node", "installing Debian's node and npm");
        let after = |seconds| progress.started + Duration::from_secs(seconds);
        assert_eq!(progress.due(after(8)), None);
        assert_eq!(MAX_SILENCE + TICK, Duration::from_secs(10));
        let line = "image node: still installing Debian's node and npm (9 s so far)";
        assert_eq!(progress.due(after(9)).as_deref(), Some(line));
        let (early, late) = (after(17), after(19));
        progress.said = after(10);
        assert_eq!(progress.due(early), None);
        assert!(progress.due(late).unwrap().ends_with("(19 s so far)"));
    }
}
