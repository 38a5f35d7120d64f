//! What comes of a test besides passing: it fails with the reason where its engine is here and can't be set up, and is
//! skipped with a reason where there is nothing to try it on.

use std::any::Any;
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Once;

use super::{Engine, World, variable};

/// Why no test can run with something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// This machine does not have it: what it takes is not installed, or we are not root where root is needed.
    Absent(String),
    /// It is here, and its set-up failed.
    Broken(String),
}

impl From<String> for Unusable {
    fn from(reason: String) -> Unusable {
        Unusable::Broken(reason)
    }
}

/// Why a single test is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What it needs is not on this machine.
    Absent,
    /// Its engine is here, and there is nothing to try on it.
    Here,
}

/// What a test ends with that is skipped.
struct Skipped(String);

/// Runs a test in an engine's world, or says why it can't.
pub fn in_world(engine: Engine, test: &str, run: fn(&World)) {
    let world = settled(engine, test, engine.name(), World::of(engine));
    if let Some(world) = world {
        or_skip(engine, test, || run(world));
    }
}

/// Runs a test to its end, which may be [`does_not_apply`] or [`is_impossible`].
pub fn or_skip(engine: Engine, test: &str, run: impl FnOnce()) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(run)) else { return };
    match payload.downcast::<Skipped>() {
        Ok(skipped) => {
            say(&format!("{test} on {}: {}", engine.name(), skipped.0));
            note(engine, test, Kind::Here, &skipped.0);
        }
        Err(failure) => resume_unwind(failure),
    }
}

/// Ends a test that means nothing on this engine or this kind of machine: it is skipped everywhere, CI included.
pub fn does_not_apply(reason: &str) -> ! {
    // Past the hook that prints panics: this is none.
    resume_unwind(Box::new(Skipped(reason.to_owned())))
}

/// Ends a test that this machine can't run. `control` shows that by the engine alone: the test fails where the bare
/// engine can do what coco could not.
#[track_caller]
pub fn is_impossible(reason: &str, control: bool) -> ! {
    assert!(control, "the bare engine can, so this could have run: {reason}");
    does_not_apply(reason)
}

/// What a test needs, if it is usable. What is absent skips the test; with `CI=true`, and where it is broken, the test
/// fails here.
pub fn settled<T>(engine: Engine, test: &str, what: &str, usable: Result<T, &Unusable>) -> Option<T> {
    static SAID: [Once; 3] = [const { Once::new() }; 3];
    match usable {
        Ok(usable) => Some(usable),
        Err(Unusable::Broken(reason)) => panic!("{what} is here and its set-up failed: {reason}"),
        Err(Unusable::Absent(reason)) => {
            let in_ci = variable("CI").is_some_and(|value| value == "true");
            assert!(!in_ci, "no {what} here, and CI has to have it: {reason}");
            SAID[engine as usize].call_once(|| say(&format!("no {what} here: {reason}")));
            note(engine, test, Kind::Absent, &format!("no {what} here: {reason}"));
            None
        }
    }
}

/// A set-up that may fail by a panic, as the helpers of tests do, is broken all the same, and not to be tried again.
pub fn unless_it_panics<T, E: From<String>>(set_up: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(set_up)).unwrap_or_else(|payload| Err(E::from(words(payload.as_ref()))))
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "it panicked".to_owned())
}

/// Past the harness, which shows a passing test's output to nobody.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

/// Into the list that scripts/count-tests.sh reads: a line of four fields.
fn note(engine: Engine, test: &str, kind: Kind, reason: &str) {
    let Some(list) = variable("COCO_TEST_SKIPPED") else { return };
    let kind = match kind {
        Kind::Absent => "absent",
        Kind::Here => "here",
    };
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    let file = File::options().append(true).create(true).open(list);
    // A list that can't be written would count a skipped test as passed.
    file.and_then(|mut file| file.write_all(format!("{test}\t{}\t{kind}\t{reason}\n", engine.name()).as_bytes()))
        .unwrap();
}
