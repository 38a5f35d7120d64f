//! Laws that are about some of their cases only: each counts those, and too few of them fail it. A law that says what
//! holds "if it is accepted" is true of a parser that accepts nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::strategy::Strategy;
use proptest::test_runner::{TestCaseResult, TestRunner};

use crate::cases;

/// How often each thing was the case.
#[derive(Debug, Default)]
pub struct Tally(RefCell<BTreeMap<&'static str, u32>>);

impl Tally {
    /// One more.
    pub fn count(&self, what: &'static str) {
        *self.0.borrow_mut().entry(what).or_default() += 1;
    }

    /// One more, where it is so.
    pub fn count_if(&self, so: bool, what: &'static str) {
        if so {
            self.count(what);
        }
    }

    fn of(&self, what: &str) -> u32 {
        self.0.borrow().get(what).copied().unwrap_or_default()
    }
}

/// Tries a law so many times, and insists that each thing named was the case so often, at the least. The floors are
/// well below what is usual, which differs from run to run.
#[track_caller]
pub fn law<S: Strategy>(
    count: u32,
    floors: &[(&'static str, u32)],
    strategy: S,
    check: impl Fn(&Tally, S::Value) -> TestCaseResult,
) {
    let tally = Tally::default();
    if let Err(error) = TestRunner::new(cases(count)).run(&strategy, |value| check(&tally, value)) {
        panic!("{error}");
    }
    for (what, floor) in floors {
        assert!(tally.of(what) >= *floor, "fewer than {floor} of {count} cases were {what:?}: {tally:?}");
    }
}

#[test]
#[should_panic(expected = "fewer than 1 of 20 cases were \"accepted\"")]
fn a_law_about_nothing_fails() {
    law(20, &[("accepted", 1)], 0_u8..9, |_, _| Ok(()));
}

#[test]
fn a_law_about_enough_holds() {
    law(20, &[("small", 5)], 0_u8..9, |tally, number| {
        tally.count_if(number < 9, "small");
        Ok(())
    });
}
