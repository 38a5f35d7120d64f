//! An update that is taken without a question allows nothing that was not allowed before. What is allowed is
//! told from the policies here, by looking at what a tool would find, and not by comparing grants.

use coco::config::{Access, CacheScope, Isolation, KEYS, Relabel};
use coco::names::HostName;
use coco::policy::permissions::difference;
use coco::policy::{GrantedMount, Mode, Policy, RunNetwork, decide};
use coco::rules::egress::Reach;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

use crate::counted::law;
use crate::files::{members, parse};
use crate::hand_made::{DIGEST, agreed, facts, tool, with, world};
use crate::narrowing::CALLER;

/// The values of a key, in a world so small that two files have much in common.
fn values(key: &str) -> BoxedStrategy<Value> {
    let some = |items: &[&str]| {
        let items: Vec<Value> = items.iter().map(|item| Value::from(*item)).collect();
        let count = items.len();
        subsequence(items, 0..=count.min(3)).prop_shuffle().prop_map(Value::from).boxed()
    };
    let one = |items: &[&'static str]| select(items.to_vec()).prop_map(Value::from).boxed();
    match key {
        "tool" => one(&["npm:a", "npm:b", "npm:a@1", "node@system"]),
        "command" => one(&["probe", "other"]),
        "mounts" => {
            let source = select(&["~/a", "~/b", "/srv/a", "@project"][..]);
            let place = select(&["", "/w", "/w", "/w/a", "/w/a/b", "/root/a/c", "/srv/a/b"][..]);
            let mount = (source, place, select(&["ro", "ro", "rw", "ro,z", ""][..])).prop_map(|(src, dst, opts)| {
                let keys =
                    [("src", src), ("dst", dst), ("opts", opts)].into_iter().filter(|(_, text)| !text.is_empty());
                keys.map(|(key, text)| (key.to_owned(), json!(text))).collect::<Map<_, _>>()
            });
            prop::collection::vec(mount.prop_map(Value::from), 0..4).prop_map(Value::from).boxed()
        }
        "workdir" => one(&[".", "/w"]),
        "env" => prop::collection::btree_map(select(&["API_TOKEN", "LC_ALL", "X"][..]), select(&["", "1"][..]), 0..3)
            .prop_map(|variables| json!(variables))
            .boxed(),
        "env_passthrough" => some(&["API_TOKEN", "LC_ALL", "EMPTY"]),
        "dependencies" => (some(&["gcc", "make"]), some(&["node@20", "node@22", "npm:a", "npm:b@1", "npm:c"]))
            .prop_map(|(apt, mise)| json!({"apt": apt, "mise": mise}))
            .boxed(),
        "network" => one(&["none", "public", "public", "default", "host", "my-net"]),
        "allowed_hosts" => {
            some(&["a.example", "*.a.example", "*.b.a.example", "c.b.a.example", "a.example:443", "*.a.example:22"])
        }
        "ports" => some(&["1:2", "0.0.0.0:1:2", "3:4"]),
        "podman_args" => some(&["--shm-size=1g", "--label", "--privileged"]),
        "data" => one(&["ro", "rw"]),
        "cache" => one(&["project", "shared"]),
        "limits" => (select(&["8m", "9216k", "10239k"][..]), 1_u32..3, select(&[0.5, 1.0][..]))
            .prop_map(|(memory, pids, cpus)| json!({"memory": memory, "pids": pids, "cpus": cpus}))
            .boxed(),
        _ => any::<bool>().prop_map(Value::from).boxed(),
    }
}

/// What a file says for people grants nothing.
const FOR_PEOPLE: &[&str] = &["$schema", "description", "homepage"];

fn small() -> BoxedStrategy<Map<String, Value>> {
    let keys: Vec<_> = KEYS
        .iter()
        .filter(|key| !FOR_PEOPLE.contains(key))
        .map(|key| (Just(*key), prop::option::weighted(if *key == "network" { 0.4 } else { 0.7 }, values(key))))
        .collect();
    keys.prop_map(|keys| {
        let mut members: Map<String, Value> =
            keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        members.entry("tool").or_insert_with(|| json!("npm:a"));
        if members.contains_key("network") {
            members.remove("allowed_hosts");
        }
        members
    })
    .boxed()
}

/// Keys that change together, the more often the more there is to their comparison.
const CHANGES: &[&[&str]] = &[
    &["mounts"],
    &["mounts"],
    &["mounts"],
    &["mounts"],
    &["network", "allowed_hosts"],
    &["network", "allowed_hosts"],
    &["env"],
    &["env", "env_passthrough"],
    &["dependencies"],
    &["dependencies", "isolated"],
    &["cache"],
    &["tool"],
    &["command"],
    &["ports"],
    &["podman_args"],
    &["limits"],
    &["data", "x11"],
    &["protect", "workdir"],
];

/// How a key is changed.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// As another file has it, or not at all.
    Other,
    /// The key is gone.
    Gone,
    /// One entry is gone.
    Less(usize),
    /// One mount has other options, or none.
    Options(usize, &'static str),
}

fn change() -> BoxedStrategy<Change> {
    let options = (0_usize..4, select(&["ro", "rw", "ro,z", "ro,Z", "rw,Z", "z", ""][..]));
    prop_oneof![
        2 => Just(Change::Other),
        1 => Just(Change::Gone),
        3 => (0_usize..4).prop_map(Change::Less),
        1 => options.prop_map(|(position, options)| Change::Options(position, options)),
    ]
    .boxed()
}

fn changed(value: Option<&Value>, other: Option<&Value>, change: Change) -> Option<Value> {
    let mut value = match (change, value) {
        (Change::Other, _) => return other.cloned(),
        (Change::Gone, _) | (_, None) => return None,
        (Change::Less(_) | Change::Options(..), Some(value)) => value.clone(),
    };
    match (&mut value, change) {
        (Value::Array(items), Change::Less(position)) if !items.is_empty() => {
            items.remove(position % items.len());
        }
        (Value::Object(members), Change::Less(position)) if !members.is_empty() => {
            let name = members.keys().nth(position % members.len()).unwrap().clone();
            members.remove(&name);
        }
        (Value::Array(items), Change::Options(position, options)) if !items.is_empty() => {
            let count = items.len();
            if let Value::Object(mount) = &mut items[position % count] {
                mount.remove("opts");
                mount.extend((!options.is_empty()).then(|| ("opts".to_owned(), json!(options))));
            }
        }
        _ => {}
    }
    Some(value)
}

/// A file, and the same with some changes, for which another file is at hand.
fn pairs() -> BoxedStrategy<(Map<String, Value>, Map<String, Value>)> {
    let files = prop_oneof![4 => (small(), small()).boxed(), 1 => (members().boxed(), members().boxed()).boxed()];
    let changes = prop::collection::vec((select(CHANGES), change()), 1..3);
    (files, changes)
        .prop_map(|((old, other), changes)| {
            let mut new = old.clone();
            for (keys, change) in changes {
                for key in keys {
                    let value = changed(new.get(*key), other.get(*key), change);
                    new.remove(*key);
                    new.extend(value.map(|value| ((*key).to_owned(), value)));
                }
            }
            if new.contains_key("network") {
                new.remove("allowed_hosts");
            }
            new.entry("tool").or_insert_with(|| json!("npm:a"));
            (old, new)
        })
        .boxed()
}

fn policy(members: &Map<String, Value>) -> Option<Policy> {
    let file = parse(members);
    let world = with(world(0), CALLER);
    let mut facts = facts(&world, &file);
    facts.mount_points.clear();
    facts.consent = Some(agreed(DIGEST));
    decide(&tool("probe"), &file, &world, &facts, DIGEST, Mode::Granted).ok()
}

/// What is at a path inside: the mount that shows it, and the path on the host.
fn seen<'a>(mounts: &'a [GrantedMount], path: &str) -> Option<(&'a GrantedMount, std::path::PathBuf)> {
    let holding = mounts.iter().filter_map(|mount| {
        let rest = std::path::Path::new(path).strip_prefix(mount.dst.as_str()).ok()?;
        Some((mount, mount.src.join(rest)))
    });
    holding.max_by_key(|(mount, _)| mount.dst.as_str().len())
}

fn files(new: &Policy, old: &Policy) -> Vec<String> {
    let mut found = Vec::new();
    for place in new.mounts.iter().chain(&old.mounts) {
        for path in [place.dst.to_string(), format!("{}/x", place.dst)] {
            let Some((mount, file)) = seen(&new.mounts, &path) else { continue };
            let before = seen(&old.mounts, &path).filter(|(_, other)| *other == file).map(|(mount, _)| mount.access);
            if before.is_none_or(|access| access < mount.access) {
                found.push(format!("{path}: {mount:?}"));
            }
        }
    }
    for mount in new.mounts.iter().filter(|mount| mount.relabel != Relabel::Keep) {
        if !old.mounts.iter().any(|other| (&other.src, other.relabel) == (&mount.src, mount.relabel)) {
            found.push(format!("labels: {mount:?}"));
        }
    }
    found
}

fn hosts(new: &Policy, old: &Policy) -> Vec<String> {
    let (after, before) = (new.network.reach(), old.network.reach());
    let everything = old.network == RunNetwork::DangerousHost;
    let Some(after) = after.filter(|_| before.is_some() || everything) else {
        let less = everything || new.network == old.network || new.network == RunNetwork::None;
        return if less { Vec::new() } else { vec![format!("{:?}", new.network)] };
    };
    let (Reach::Hosts(patterns) | Reach::Public { besides: patterns }) = &after;
    let named = patterns.iter().flat_map(|host| [host.name.to_string(), format!("x.{}", host.name)]);
    let others = ["a.example", "b.a.example", "c.b.a.example", "z.example"].map(str::to_owned);
    let all = named.chain(others).filter_map(|name| HostName::new(&name).ok());
    let more = |host: &HostName| {
        let ports = before.as_ref().map(|before| before.ports(host));
        let another_port = ports.is_some_and(|ports| after.ports(host).iter().any(|port| !ports.contains(port)));
        // Whatever is granted by its name may be known to the caller's proxy alone.
        another_port || after.names_exactly(host) && !before.as_ref().is_some_and(|before| before.names_exactly(host))
    };
    all.filter(more).map(|host| host.to_string()).collect()
}

/// What `new` allows and `old` does not.
fn beyond(new: &Policy, old: &Policy) -> Vec<String> {
    let mut found = files(new, old);
    found.extend(hosts(new, old));
    let mut unless = |good: bool, what: &str| {
        if !good {
            found.push(what.to_owned());
        }
    };
    for (name, value) in &new.environment {
        unless(old.environment.contains(&(name.clone(), value.clone())), name.as_str());
    }
    unless(new.program == old.program, "the program");
    let (after, before) = (&new.installation, &old.installation);
    unless(after.tool == before.tool, "the tool");
    unless(after.apt.iter().all(|name| before.apt.contains(name)), "Debian's");
    unless(after.runtimes == before.runtimes, "the runtimes");
    unless(after.companions.iter().all(|tool| before.companions.contains(tool)), "companions");
    let shares = |policy: &Policy| {
        policy.installation.isolation == Isolation::SharedRuntimes && !policy.installation.runtimes.is_empty()
    };
    unless(shares(old) || !shares(new), "shared runtimes");
    unless(new.ports.iter().all(|port| old.ports.contains(port)), "ports");
    unless(new.data == Access::ReadOnly || old.data == Access::ReadWrite, "its own installation");
    unless(new.cache == CacheScope::Project || old.cache == CacheScope::Shared, "one cache for all projects");
    unless(new.display.is_none() || old.display.is_some(), "the display");
    unless(new.dangers.iter().all(|danger| old.dangers.contains(danger)), "dangers");
    unless(new.engine_arguments.is_empty() || new.engine_arguments == old.engine_arguments, "engine arguments");
    let (after, before) = (new.limits, old.limits);
    unless(before.memory.is_none_or(|most| after.memory.is_some_and(|bytes| bytes <= most)), "memory");
    unless(before.milli_cpus.is_none_or(|most| after.milli_cpus.is_some_and(|milli| milli <= most)), "cpus");
    unless(after.processes() <= before.processes(), "processes");
    found
}

/// Variables that a file set, and that do not have that value any more.
fn unset(old: &Map<String, Value>, new: &Policy) -> Vec<String> {
    let set = old.get("env").and_then(Value::as_object).into_iter().flatten();
    let kept = |name: &str, value: &Value| {
        new.environment.iter().any(|(other, now)| other.as_str() == name && now.to_str() == value.as_str())
    };
    set.filter(|(name, value)| !kept(name, value)).map(|(name, value)| format!("no {name}={value}")).collect()
}

#[test]
fn what_adds_nothing_allows_nothing_more() {
    let floors = [("adds nothing", 800), ("adds nothing and takes away", 240), ("adds something", 1000)];
    law(8000, &floors, pairs(), |tally, (old, new)| {
        let found = difference(&tool("probe"), &parse(&old), &parse(&new));
        tally.count_if(!found.added.is_empty(), "adds something");
        if found.added.is_empty()
            && let (Some(before), Some(after)) = (policy(&old), policy(&new))
        {
            tally.count("adds nothing");
            tally.count_if(!found.removed.is_empty(), "adds nothing and takes away");
            let mut more = beyond(&after, &before);
            more.extend(unset(&old, &after));
            prop_assert!(more.is_empty(), "{:?} -> {:?} adds nothing, and yet: {:?}", old, new, more);
        }
        Ok(())
    });
}

/// Each key that grants something is changed by one of the changes above.
#[test]
fn every_grant_is_changed() {
    let granting = KEYS.iter().filter(|key| !FOR_PEOPLE.contains(key));
    let left: Vec<_> = granting.filter(|key| !CHANGES.concat().contains(key)).collect();
    assert!(left.is_empty(), "{left:?}");
}
