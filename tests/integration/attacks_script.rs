//! `make attacks` and `make e2e` as they end: with counts, and with an error where nothing was tried. What the tests
//! would say is written here; the scripts are the real ones.

use std::fs;
use std::path::Path;

use crate::world::{Ended, World, finish, write_program};

const ENGINES: [&str; 3] = ["podman-rootless", "podman-rootful", "docker"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of the tests that docs/threats.md has: those of attacks without their target's name, and all others.
fn named() -> (Vec<String>, Vec<String>) {
    let threats = fs::read_to_string(root().join("docs/threats.md")).unwrap();
    let rows = threats.lines().filter(|line| line.starts_with("| ") && line.split('`').count() > 1);
    let words = rows.flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned));
    let (mut attacks, mut others): (Vec<String>, Vec<String>) =
        words.filter(|word| word.contains("::")).partition(|word| word.starts_with("attacks::"));
    for names in [&mut attacks, &mut others] {
        names.sort();
        names.dedup();
    }
    (attacks.iter().filter_map(|name| name.strip_prefix("attacks::")).map(str::to_owned).collect(), others)
}

/// What the tests say: for each attack on each engine what `outcome` makes of it, and all others pass.
struct Said {
    world: World,
}

/// How a test ends, and for a skipped one the kind and the reason.
#[derive(Clone, Copy)]
enum Outcome {
    Passed,
    Failed,
    Skipped(&'static str, &'static str),
    NotRun,
}

impl Said {
    fn new(outcome: impl Fn(&str, &str) -> Outcome) -> Said {
        let (attacks, others) = named();
        assert!(attacks.len() > 50 && others.len() > 50, "{} {}", attacks.len(), others.len());
        let world = World::new();
        let (mut lines, mut skipped) = (String::from("\nrunning tests\n"), String::new());
        for name in &attacks {
            for engine in ENGINES {
                let test = format!("test {name}::{} ... ", engine.replace('-', "_"));
                match outcome(name, engine) {
                    Outcome::Passed => lines.push_str(&format!("{test}ok\n")),
                    Outcome::Failed => lines.push_str(&format!("{test}FAILED\n")),
                    Outcome::Skipped(kind, reason) => {
                        lines.push_str(&format!("{test}ok\n"));
                        skipped.push_str(&format!("attacks::{name}\t{engine}\t{kind}\t{reason}\n"));
                    }
                    Outcome::NotRun => {}
                }
            }
        }
        fs::write(world.path("attacks"), lines).unwrap();
        fs::write(world.path("skips"), skipped).unwrap();
        let of = |target: &str, prefix: &str| {
            let names = others.iter().filter_map(|name| name.strip_prefix(prefix));
            let elsewhere =
                |name: &str| ["integration::", "laws::", "e2e::"].iter().any(|other| name.starts_with(other));
            let names = names.filter(|name| !prefix.is_empty() || !elsewhere(name));
            let text: String = names.map(|name| format!("test {name} ... ok\n")).collect();
            fs::write(world.path(target), text).unwrap();
        };
        of("lib", "");
        of("laws", "laws::");
        of("integration", "integration::");
        // `cargo test --locked --lib`, or `--test TARGET`.
        let script = format!(
            "#!/bin/sh\ncd '{}'\ncase $3 in\n--lib) cat lib ;;\n*) cat \"$4\"\n\
             if [ \"$4\" = attacks ]; then cat skips >>\"$COCO_TEST_SKIPPED\"; ! grep -q FAILED attacks; fi ;;\nesac\n",
            world.path("").display()
        );
        write_program(&world.path("cargo"), &script);
        Said { world }
    }

    fn script(&self, name: &str, more: &[&str]) -> Ended {
        let mut script = self.world.command("/bin/bash");
        script.arg(root().join("scripts").join(name)).arg(self.world.path("cargo")).args(more);
        script.env("PATH", "/usr/bin:/bin");
        finish(script)
    }

    /// How `make attacks` ends.
    fn attacks(&self) -> Ended {
        self.script("attacks.sh", &[])
    }
}

/// The end of what is printed.
#[track_caller]
fn counts(ended: &Ended, code: i32, lines: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for line in lines {
        assert!(ended.text().lines().any(|printed| printed == *line), "{line:?} is not in: {}", ended.text());
    }
}

fn count() -> usize {
    named().0.len()
}

#[test]
fn all_that_passes_is_counted() {
    let said = Said::new(|_, _| Outcome::Passed);
    let (one, all) = (count(), 3 * count());
    let line = format!("attacks on docker: {one} passed, 0 failed, 0 skipped");
    counts(&said.attacks(), 0, &[&line, &format!("attacks: {all} passed, 0 failed, 0 skipped")]);
    // Any target that needs engines is counted so.
    let line = format!("attacks on podman-rootful: {one} passed, 0 failed, 0 skipped");
    counts(&said.script("engine-tests.sh", &["attacks"]), 0, &[&line]);
}

#[test]
fn one_failure_fails() {
    let said = Said::new(|name, engine| match engine {
        "docker" if name == "kill::p13_the_terminal_closes" => Outcome::Failed,
        _ => Outcome::Passed,
    });
    let line = format!("attacks on docker: {} passed, 1 failed, 0 skipped", count() - 1);
    for ended in [said.attacks(), said.script("engine-tests.sh", &["attacks"])] {
        assert_ne!(ended.code, Some(0), "{ended:?}");
        counts(&ended, ended.code.unwrap(), &[&line]);
    }
}

#[test]
fn a_machine_without_an_engine_says_so_once() {
    let reason = "no docker here: dockerd is not installed";
    let said = Said::new(|_, engine| match engine {
        "docker" => Outcome::Skipped("absent", reason),
        _ => Outcome::Passed,
    });
    let (one, rest) = (count(), 2 * count());
    let ended = said.attacks();
    counts(
        &ended,
        0,
        &[
            &format!("attacks on docker: 0 passed, 0 failed, {one} skipped"),
            &format!("    skipped {one}: {reason}"),
            &format!("attacks: {rest} passed, 0 failed, {one} skipped"),
        ],
    );
    assert_eq!(ended.text().matches(reason).count(), 1, "{}", ended.text());
}

#[test]
fn no_engine_at_all_is_said() {
    let said = Said::new(|_, _| Outcome::Skipped("absent", "no engine here: it is not installed"));
    counts(&said.attacks(), 0, &["attacks: no engine on this machine, so nothing was tried"]);
}

#[test]
fn nothing_tried_on_an_engine_that_is_here_is_an_error() {
    // All skipped, none run, and none left of one engine.
    let skipped = Said::new(|_, _| Outcome::Skipped("here", "not today"));
    let line = "    error: podman-rootful is not absent, and nothing was tried on it";
    counts(&skipped.attacks(), 1, &[line]);
    counts(&skipped.script("engine-tests.sh", &["attacks"]), 1, &[line]);
    let nothing = Said::new(|_, _| Outcome::NotRun);
    counts(&nothing.attacks(), 1, &[line, "attacks: 0 passed, 0 failed, 0 skipped"]);
    counts(&nothing.script("engine-tests.sh", &["attacks"]), 1, &[line]);
    let one = Said::new(|_, engine| match engine {
        "podman-rootful" => Outcome::Skipped("here", "not today"),
        _ => Outcome::Passed,
    });
    counts(&one.attacks(), 1, &[line]);
}
