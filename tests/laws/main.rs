//! Laws: what holds for every input, tried on many that nobody thought of.

#![cfg(test)]

// For `hand_made`, which finds the crate beside itself.
extern crate coco;

use proptest::prelude::ProptestConfig;

mod arguments;
mod bytes;
mod counted;
mod files;
#[path = "../golden/hand_made.rs"]
#[allow(dead_code, reason = "shared with the tests of plans and policies")]
mod hand_made;
mod hellos;
mod narrowing;
mod pure;
mod questions;
mod requests;
mod signatures;
mod widening;

/// So many tries. Nothing is written beside the sources: a failure prints its smallest input.
fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}
