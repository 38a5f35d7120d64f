//! The policy: taking a grant away narrows it, and nothing dangerous comes without consent.

use coco::config::{Access, KEYS};
use coco::policy::{Mode, Policy, Posture, RunNetwork, decide, needs_consent};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::counted::law;
use crate::files::{members, parse};
use crate::hand_made::{DIGEST, agreed, facts, file, tool, with, world};

/// What is no grant: what a file says for people, which tool it is, and what narrows. A new key is a grant until it
/// stands here.
const NO_GRANTS: &[&str] = &["$schema", "description", "homepage", "tool", "command", "isolated", "protect", "limits"];

/// Every way to take one grant out of a coco file.
fn narrower(members: &Map<String, Value>) -> Vec<Map<String, Value>> {
    let mut found = Vec::new();
    for key in KEYS.iter().filter(|key| !NO_GRANTS.contains(key) && members.contains_key(**key)) {
        let mut without = members.clone();
        without.remove(*key);
        found.push(without);
        let count = match &members[*key] {
            Value::Array(items) => items.len(),
            Value::Object(members) => members.len(),
            _ => 0,
        };
        for position in 0..count {
            let mut without = members.clone();
            match &mut without[*key] {
                Value::Array(items) => drop(items.remove(position)),
                Value::Object(inner) => {
                    let name = inner.keys().nth(position).unwrap().clone();
                    inner.remove(&name);
                }
                _ => {}
            }
            found.push(without);
        }
    }
    let mounts = members.get("mounts").and_then(Value::as_array).map_or(0, Vec::len);
    for position in 0..mounts {
        let mut without = members.clone();
        // Left out, they are "rw".
        without["mounts"][position]["opts"] = json!("ro");
        found.push(without);
    }
    found
}

/// What of `narrow` goes beyond `wide`.
fn beyond(narrow: &Policy, wide: &Policy) -> Vec<String> {
    let mut found = Vec::new();
    for mount in &narrow.mounts {
        let covered = wide.mounts.iter().any(|other| {
            other.src == mount.src
                && other.dst == mount.dst
                && (other.access == Access::ReadWrite || mount.access == Access::ReadOnly)
        });
        if !covered {
            found.push(format!("{mount:?}"));
        }
    }
    let network = match (&narrow.network, &wide.network) {
        // Nothing is wider than the host's own.
        (RunNetwork::None, _) | (_, RunNetwork::DangerousHost) => true,
        (RunNetwork::Hosts(narrow), RunNetwork::Hosts(wide)) => narrow.iter().all(|host| wide.contains(host)),
        (narrow, wide) => narrow == wide,
    };
    if !network {
        found.push(format!("{:?}", narrow.network));
    }
    found.extend(narrow.ports.iter().filter(|port| !wide.ports.contains(port)).map(ToString::to_string));
    for (name, value) in &narrow.environment {
        // Taking a fixed value away may bring the caller's, or coco's own, back; never another name.
        if !wide.environment.iter().any(|(other, _)| other == name) {
            found.push(format!("{name}={}", value.display()));
        }
    }
    found.extend(narrow.engine_arguments.iter().filter(|argument| !wide.engine_arguments.contains(argument)).cloned());
    if narrow.posture == Posture::DangerousConsented && wide.posture == Posture::Closed {
        found.push("the posture".to_owned());
    }
    found.extend(narrow.dangers.iter().filter(|danger| !wide.dangers.contains(danger)).map(ToString::to_string));
    if narrow.data == Access::ReadWrite && wide.data == Access::ReadOnly {
        found.push("its own installation".to_owned());
    }
    if narrow.display.is_some() && wide.display.is_none() {
        found.push("the display".to_owned());
    }
    found.extend(
        narrow.installation.apt.iter().filter(|name| !wide.installation.apt.contains(name)).map(ToString::to_string),
    );
    found
}

fn decided(members: &Map<String, Value>, variables: &[(&str, &str)]) -> Option<Policy> {
    let file = parse(members);
    let world = with(world(1000), variables);
    let mut facts = facts(&world, &file);
    // Mounts below a source come and go with its access; the tests of the policy have those.
    facts.mount_points.clear();
    facts.consent = Some(agreed(DIGEST));
    decide(&tool("probe"), &file, &world, &facts, DIGEST, Mode::Granted).ok()
}

/// Variables of the caller.
pub const CALLER: &[(&str, &str)] = &[("TERM", "xterm"), ("LC_ALL", "C"), ("API_TOKEN", "secret"), ("EMPTY", "")];

#[test]
fn removing_a_grant_never_widens_the_policy() {
    let floors = [("decided", 300), ("compared", 1000), ("with the network opened", 100)];
    law(1000, &floors, (members(), any::<bool>()), |tally, (members, open)| {
        let mut variables = CALLER.to_vec();
        if open {
            variables.push(("COCO_ALLOW_NETWORK", "1"));
        }
        // What is refused as a whole grants nothing; then there is nothing to compare with.
        let Some(wide) = decided(&members, &variables) else { return Ok(()) };
        tally.count("decided");
        tally.count_if(open, "with the network opened");
        for narrow in narrower(&members) {
            if let Some(policy) = decided(&narrow, &variables) {
                tally.count("compared");
                let found = beyond(&policy, &wide);
                prop_assert!(found.is_empty(), "{:?} goes beyond {:?}: {:?}", narrow, members, found);
            }
        }
        Ok(())
    });
}

#[test]
fn without_consent_nothing_dangerous_is_decided() {
    // What needs consent is refused as a whole; the rest is decided, mounts of its own included.
    let floors = [("decided", 50), ("decided with a mount", 20), ("refused for want of consent", 200)];
    law(1000, &floors, members(), |tally, members| {
        let file = parse(&members);
        let world = with(world(1000), CALLER);
        let outcome = decide(&tool("probe"), &file, &world, &facts(&world, &file), DIGEST, Mode::Granted);
        if let Ok(policy) = outcome {
            tally.count("decided");
            tally.count_if(!policy.mounts.is_empty(), "decided with a mount");
            prop_assert_eq!(policy.posture, Posture::Closed);
            prop_assert_eq!(&policy.dangers, &[]);
            prop_assert!(policy.display.is_none());
            prop_assert!(needs_consent(&file).is_empty());
            prop_assert_ne!(policy.network, RunNetwork::DangerousHost);
        } else {
            tally.count_if(!needs_consent(&file).is_empty(), "refused for want of consent");
        }
        Ok(())
    });
}

#[test]
fn an_engine_argument_is_harmless_or_needs_consent() {
    let arguments = prop_oneof![
        "[^\0]{1,20}",
        "--(shm-size|hostname|label|stop-timeout|stop-signal|privileged|volume|network|tz)[ =:]?[^\0]{0,12}",
        "--(shm-size|hostname|label|stop-timeout|stop-signal|privileged|volume|network|tz)=[a-zA-Z0-9._:+/=-]{0,9}",
        "-{0,3}[a-z-]{1,12}(=[ -~]{0,12})?",
    ];
    law(1000, &[("harmless", 30), ("refused", 300)], arguments, |tally, argument| {
        let file = file(&json!({"tool": "npm:x", "podman_args": [&argument]}).to_string());
        let world = world(1000);
        let harmless = argument.split_once('=').is_some_and(|(option, value)| {
            ["--shm-size", "--hostname", "--label", "--stop-timeout", "--stop-signal"].contains(&option)
                && !value.is_empty()
                && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:+/-=".contains(&byte))
        });
        let outcome = decide(&tool("probe"), &file, &world, &facts(&world, &file), DIGEST, Mode::Granted);
        tally.count(if outcome.is_ok() { "harmless" } else { "refused" });
        prop_assert!(harmless || outcome.is_err(), "{:?} passes without consent", argument);
        Ok(())
    });
}
