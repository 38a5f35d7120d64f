//! Laws: what holds for every input, tried on many that nobody thought of.

#![cfg(test)]

// For `hand_made`, which finds the crate beside itself.
extern crate coco;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Cursor;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use coco::applet::{Applet, applet};
use coco::config::{self, Access, MAX_FILE};
use coco::engine::EngineKind;
use coco::install::Record;
use coco::names::{
    AptName, EnvName, GuestPath, HostPattern, NetworkName, ProgramName, PublishedPort, RelativePath, ToolName, ToolSpec,
};
use coco::plan::{self, Plan};
use coco::policy::{Policy, Posture, RunNetwork, decide, needs_consent};
use coco::signed::{self, Index, Subject, Verified, verify};
use coco::{args, json, store, term, xauthority};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index as Pick, select, subsequence};
use serde_json::{Map, Value, json};

#[path = "golden/hand_made.rs"]
#[allow(dead_code, reason = "shared with the tests of plans and policies")]
mod hand_made;

use hand_made::{DIGEST, EVERYTHING, LEAST, engine, facts, file, tool, with, world};

// --- coco files that nobody wrote ---

fn text(pattern: &'static str) -> BoxedStrategy<Value> {
    proptest::string::string_regex(pattern).unwrap().prop_map(Value::from).boxed()
}

fn one_of(values: &'static [&'static str]) -> BoxedStrategy<Value> {
    select(values).prop_map(Value::from).boxed()
}

fn mounts() -> BoxedStrategy<Value> {
    let source = prop_oneof![
        one_of(&[".", "@project", "/work", "/work/other", "/opt/x", "/srv/a/../b", "/opt/a, \"b\" é"]),
        text("~/[a-z][a-z .]{0,8}(/[a-z]{1,4}){0,2}"),
        text("/opt/[a-zA-Z0-9 ,:'\"$-]{1,12}"),
    ];
    let destination = option::of(prop_oneof![
        one_of(&["/workspace", "/w", "/root/.config/x", "//srv//y/", "/opt/a b,c"]),
        text("/w/[a-z]{1,8}(/[a-z]{1,4})?"),
    ]);
    let options = option::of(one_of(&["ro", "rw", "z", "Z", "ro,z", "rw,Z", "Z,rw", "z,ro"]));
    let mount = (source, destination, options).prop_map(|(src, dst, opts)| {
        let mut members = Map::new();
        members.insert("src".to_owned(), src);
        members.extend(dst.map(|dst| ("dst".to_owned(), dst)));
        members.extend(opts.map(|opts| ("opts".to_owned(), opts)));
        Value::Object(members)
    });
    vec(mount, 0..4).prop_map(Value::from).boxed()
}

fn tool_specifiers() -> BoxedStrategy<Value> {
    prop_oneof![
        text("(npm:@[a-z0-9]{1,8}/)[a-z0-9][a-zA-Z0-9._-]{0,12}(@[0-9][a-zA-Z0-9.+_-]{0,8})?"),
        text("(npm|pipx|gem|cargo):[a-zA-Z0-9][a-zA-Z0-9_-]{0,12}(@[a-z0-9][a-z0-9.]{0,8})?"),
        text("go:[a-z]{1,6}\\.[a-z]{2,3}(/[a-z0-9~_.]?[a-z0-9]{1,6}){1,3}(@v1\\.2)?")
            .prop_filter("a part starts with a letter or digit", |value| ToolSpec::new(value.as_str().unwrap())
                .is_ok()),
        one_of(&["node@22", "python", "rust@system", "uv@0.5", "node@lts"]),
    ]
    .boxed()
}

/// The keys of a coco file, each there or not. `network` and `allowed_hosts` exclude each other.
fn members() -> impl Strategy<Value = Map<String, Value>> {
    let network = prop_oneof![
        Just(("network", Value::from("none"))),
        one_of(&["public", "default", "host", "my-net", "a_b.c"]).prop_map(|mode| ("network", mode)),
        vec(text("(\\*\\.)?[a-zA-Z0-9]{1,8}(\\.[a-z][a-z0-9-]{0,6}[a-z]){1,3}(:[1-9][0-9]{0,3})?"), 0..4)
            .prop_map(|hosts| ("allowed_hosts", Value::from(hosts))),
    ];
    let limits = (
        option::of(prop_oneof![text("[1-9][0-9]{4,7}k"), text("[1-9][0-9]{1,6}m"), text("[1-9][0-9]{0,5}g")]),
        option::of((1_u32..=4_194_304).prop_map(Value::from)),
        option::of(prop_oneof![(1_u32..=1024).prop_map(Value::from), (0.01_f64..=1024.0).prop_map(Value::from)]),
    )
        .prop_map(|(memory, pids, cpus)| {
            let members = [("memory", memory), ("pids", pids), ("cpus", cpus)];
            members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect::<Map<_, _>>()
        });
    let environment =
        btree_map("[A-Z_][A-Z0-9_]{0,8}", "[^\0]{0,12}", 0..4).prop_filter_map("may be set", |variables| {
            let good = variables.keys().all(|name| EnvName::new(name).is_ok_and(|name| name.may_be_set()));
            good.then(|| json!(variables))
        });
    let people = (
        option::of(text("[^\\p{C}\\p{Z}]{1,40}")),
        option::of(text("https?://[a-z]{1,9}\\.example/[!-~]{0,9}")),
        option::of(text("[a-z:/.]{1,30}")),
        option::of(text("[a-zA-Z0-9_][a-zA-Z0-9._+@-]{0,9}")),
    );
    let grants = (
        option::of(mounts()),
        option::of(environment),
        option::of(vec(one_of(&["TERM", "LC_ALL", "API_TOKEN", "ABSENT", "EMPTY"]), 0..4).prop_map(Value::from)),
        option::of(network),
        option::of(
            vec(text("(127\\.0\\.0\\.1:|\\[::1\\]:|0\\.0\\.0\\.0:)?[1-9][0-9]{0,3}:[1-9][0-9]{0,3}(/tcp)?"), 0..3)
                .prop_map(Value::from),
        ),
        option::of(
            vec(
                prop_oneof![one_of(&["--shm-size=1g", "--label=a=b", "--privileged", "-v", "x"]), text("[^\0]{1,12}")],
                0..4,
            )
            .prop_map(Value::from),
        ),
        option::of(one_of(&[".", "/workspace", "/w/x", "//a//"])),
    );
    let switches = (
        option::of(any::<bool>().prop_map(Value::from)),
        option::of(any::<bool>().prop_map(Value::from)),
        option::of(one_of(&["ro", "rw"])),
        option::of(prop_oneof![
            any::<bool>().prop_map(Value::from),
            vec(text("[.a-z][a-z]{1,8}(/[a-z]{1,6})?/?"), 0..3).prop_map(Value::from)
        ]),
        option::of(limits.prop_map(Value::from)),
        option::of(
            (
                option::of(vec(text("[a-z0-9][a-z0-9+.-]{0,8}[a-z0-9+.]"), 0..3)),
                option::of(vec(tool_specifiers(), 0..3)),
            )
                .prop_map(|(apt, mise)| {
                    let members = [("apt", apt), ("mise", mise)];
                    members
                        .into_iter()
                        .filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?))))
                        .collect::<Map<_, _>>()
                        .into()
                }),
        ),
    );
    (tool_specifiers(), people, grants, switches).prop_map(|(tool, people, grants, switches)| {
        let mut members = Map::new();
        let (description, homepage, schema, command) = people;
        let (mounts, env, env_passthrough, network, ports, podman_args, workdir) = grants;
        let (isolated, x11, data, protect, limits, dependencies) = switches;
        members.insert("tool".to_owned(), tool);
        for (key, value) in [
            ("description", description),
            ("homepage", homepage),
            ("$schema", schema),
            ("command", command),
            ("mounts", mounts),
            ("env", env),
            ("env_passthrough", env_passthrough),
            ("ports", ports),
            ("podman_args", podman_args),
            ("workdir", workdir),
            ("isolated", isolated),
            ("x11", x11),
            ("data", data),
            ("protect", protect),
            ("limits", limits),
            ("dependencies", dependencies),
        ] {
            members.extend(value.map(|value| (key.to_owned(), value)));
        }
        members.extend(network.map(|(key, value)| (key.to_owned(), value)));
        members
    })
}

fn parse(members: &Map<String, Value>) -> config::CocoFile {
    let text = Value::Object(members.clone()).to_string();
    config::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

fn cases(count: u32) -> ProptestConfig {
    // Nothing is written beside the sources: a failure prints its smallest input.
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn what_is_printed_parses_to_the_same(members in members()) {
        let file = parse(&members);
        let printed = file.print();
        let again = config::parse(printed.as_bytes()).unwrap_or_else(|error| panic!("{printed}: {error:?}"));
        prop_assert_eq!(&again, &file, "{}", printed);
        prop_assert_eq!(again.print(), printed);
    }
}

// --- the policy only narrows ---

/// Every way to take one grant out of a coco file. Limits, `isolated` and `protect` are no grants:
/// they narrow.
fn narrower(members: &Map<String, Value>) -> Vec<Map<String, Value>> {
    const GRANTS: &[&str] = &[
        "mounts",
        "env",
        "env_passthrough",
        "network",
        "allowed_hosts",
        "ports",
        "x11",
        "podman_args",
        "data",
        "workdir",
        "dependencies",
    ];
    let mut found = Vec::new();
    for key in GRANTS.iter().filter(|key| members.contains_key(**key)) {
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
        without["mounts"][position].as_object_mut().unwrap().remove("opts");
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
    facts.consent = Some(DIGEST.to_owned());
    decide(&tool("probe"), &file, &world, &facts, DIGEST).ok()
}

const CALLER: &[(&str, &str)] = &[("TERM", "xterm"), ("LC_ALL", "C"), ("API_TOKEN", "secret"), ("EMPTY", "")];

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn removing_a_grant_never_widens_the_policy(members in members(), open in any::<bool>()) {
        let mut variables = CALLER.to_vec();
        if open {
            variables.push(("COCO_ALLOW_NETWORK", "1"));
        }
        // What is refused as a whole grants nothing; then there is nothing to compare with.
        if let Some(wide) = decided(&members, &variables) {
            for narrow in narrower(&members) {
                if let Some(policy) = decided(&narrow, &variables) {
                    let found = beyond(&policy, &wide);
                    prop_assert!(found.is_empty(), "{:?} goes beyond {:?}: {:?}", narrow, members, found);
                }
            }
        }
    }

    #[test]
    fn without_consent_nothing_dangerous_is_decided(members in members()) {
        let file = parse(&members);
        let world = with(world(1000), CALLER);
        let outcome = decide(&tool("probe"), &file, &world, &facts(&world, &file), DIGEST);
        if let Ok(policy) = outcome {
            prop_assert_eq!(policy.posture, Posture::Closed);
            prop_assert!(needs_consent(&file).is_empty());
            prop_assert_ne!(policy.network, RunNetwork::DangerousHost);
        }
    }

    #[test]
    fn an_engine_argument_is_harmless_or_needs_consent(argument in prop_oneof![
        "[^\0]{1,20}",
        "--(shm-size|hostname|label|stop-timeout|stop-signal|privileged|volume|network|tz)[ =:]?[^\0]{0,12}",
        "-{0,3}[a-z-]{1,12}(=[ -~]{0,12})?",
    ]) {
        let file = file(&json!({"tool": "npm:x", "podman_args": [&argument]}).to_string());
        let world = world(1000);
        let harmless = argument.split_once('=').is_some_and(|(option, value)| {
            ["--shm-size", "--hostname", "--label", "--stop-timeout", "--stop-signal"].contains(&option)
                && !value.is_empty()
                && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:+/-=".contains(&byte))
        });
        let outcome = decide(&tool("probe"), &file, &world, &facts(&world, &file), DIGEST);
        prop_assert!(harmless || outcome.is_err(), "{:?} passes without consent", argument);
    }
}

// --- a tool's arguments are the tool's ---

fn bytes_without_nul() -> impl Strategy<Value = OsString> {
    prop_oneof![
        vec(1_u8..=255, 0..40).prop_map(OsString::from_vec),
        select(&["--privileged", "-v", "/:/host", "--", "--network=host", "--rm=false", "-", "", "--entrypoint=/bin/sh"][..]).prop_map(OsString::from),
    ]
}

fn planned(text: &str, kind: EngineKind, uid: u32, arguments: &[OsString]) -> Plan {
    let file = file(text);
    let world = with(world(uid), CALLER);
    let mut facts = facts(&world, &file);
    facts.consent = Some(DIGEST.to_owned());
    let policy = decide(&tool("probe"), &file, &world, &facts, DIGEST).unwrap();
    plan::run(&policy, &world, &facts, &engine(kind, uid), "image", &Record::default(), arguments)
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn a_tools_arguments_never_become_the_engines(arguments in vec(bytes_without_nul(), 0..8)) {
        for kind in [EngineKind::Podman, EngineKind::Docker] {
            for text in [LEAST, EVERYTHING] {
                let (bare, given) = (planned(text, kind, 1000, &[]), planned(text, kind, 1000, &arguments));
                prop_assert_eq!(&bare.arguments, &given.arguments);
                prop_assert_eq!((&bare.run_files, &bare.directories, &bare.program), (&given.run_files, &given.directories, &given.program));
                let coco::control::Task::Run { arguments: told, .. } = &given.launch.task else { panic!("{given:?}") };
                prop_assert_eq!(told, &arguments);
            }
        }
    }

    #[test]
    fn what_follows_the_tool_is_never_read(arguments in vec(bytes_without_nul(), 0..8)) {
        let line = ["run", "eslint"].iter().map(OsString::from).chain(arguments.iter().cloned());
        let Ok(args::Typed::Command(line)) = args::parse(line) else { panic!("{arguments:?}") };
        prop_assert!(line.switches.is_empty());
        prop_assert_eq!(&line.operands[1..], arguments.as_slice());
    }
}

// --- names ---

proptest! {
    #![proptest_config(cases(5000))]

    #[test]
    fn a_tool_is_exactly_the_final_component(name in prop_oneof![
        vec(any::<u8>(), 0..90),
        "[a-z0-9./_+-]{0,70}".prop_map(String::into_bytes),
        "(/?[a-z.]{0,5}/){0,3}(coco|coco-init|coco-guard|eslint|python3.12)?[/. \n]?".prop_map(String::into_bytes),
    ]) {
        let last = name.rsplit(|byte| *byte == b'/').next().unwrap();
        match applet(Some(&OsStr::from_bytes(&name).to_owned())) {
            Ok(Applet::Manage) => prop_assert_eq!(last, b"coco"),
            Ok(Applet::Init) => prop_assert_eq!(last, b"coco-init"),
            Ok(Applet::Guard) => prop_assert_eq!(last, b"coco-guard"),
            Ok(Applet::Tool(tool)) => {
                prop_assert_eq!(tool.as_str().as_bytes(), last);
                prop_assert!((1..=64).contains(&last.len()));
                prop_assert!(last[0].is_ascii_lowercase() || last[0].is_ascii_digit());
                prop_assert!(last.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._+-".contains(byte)));
            }
            Err(_) => {}
        }
    }

    #[test]
    fn no_constructor_panics_and_what_passes_is_tame(text in prop_oneof!["\\PC{0,40}", "[ -~]{0,40}", ".{0,40}"]) {
        let tame = |name: &str| !name.is_empty() && !name.starts_with('-') && !name.chars().any(char::is_whitespace) && !name.contains(['\0', ';', '$', '`', '|', '&', ',', '=']);
        if let Ok(name) = ToolName::new(&text) { prop_assert!(tame(name.as_str()) && !name.as_str().contains('/')); }
        if let Ok(name) = ProgramName::new(&text) { prop_assert!(tame(name.as_str()) && !name.as_str().contains('/')); }
        if let Ok(name) = AptName::new(&text) { prop_assert!(tame(name.as_str()) && !name.as_str().contains('/')); }
        if let Ok(name) = NetworkName::new(&text) { prop_assert!(tame(name.as_str()) && !name.as_str().contains([':', '/'])); }
        if let Ok(name) = EnvName::new(&text) { prop_assert!(tame(name.as_str())); }
        if let Ok(spec) = ToolSpec::new(&text) { prop_assert!(tame(&spec.to_string()) && spec.to_string() == text); }
        if let Ok(host) = HostPattern::new(&text) { prop_assert!(tame(host.as_str()) && host.as_str().contains('.') && !host.as_str().contains('/')); }
        if let Ok(path) = GuestPath::new(&text) {
            prop_assert!(path.as_str().starts_with('/') && GuestPath::new(path.as_str()) == Ok(path.clone()));
            prop_assert!(path.as_str().split('/').skip(1).all(|part| !matches!(part, "" | "." | "..")));
        }
        if let Ok(path) = RelativePath::new(&text) { prop_assert!(!path.as_str().starts_with('/') && !path.as_str().split('/').any(|part| part == "..")); }
        if let Ok(port) = PublishedPort::new(&text) { prop_assert_eq!(PublishedPort::new(&port.to_string()), Ok(port)); }
    }

    #[test]
    fn a_message_never_moves_the_cursor(bytes in vec(any::<u8>(), 0..60)) {
        let shown = term::os(OsStr::from_bytes(&bytes));
        let moves = |letter: char| letter.is_control() || ('\u{202a}'..='\u{202e}').contains(&letter);
        prop_assert!(!shown.chars().any(moves));
        let quoted = term::shell_quote(OsStr::from_bytes(&bytes));
        prop_assert!(!quoted.is_empty() && !quoted.chars().any(char::is_control));
    }
}

// --- hostile bytes ---

/// Valid texts, cut, doubled and changed somewhere, or nothing but noise.
fn mangled(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<Pick>(), any::<u8>(), 0_u8..4), 1..6);
    let altered = (select(seeds), changes).prop_map(|(mut bytes, changes)| {
        for (at, byte, kind) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        bytes
    });
    prop_oneof![altered, vec(any::<u8>(), 0..200)]
}

fn stored(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("store").join(name)).unwrap()
}

/// The names of the store's signed files.
fn signed_files() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("store");
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().into_string().unwrap().strip_suffix(".minisig").map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

fn subject(name: &str) -> Subject {
    match name {
        "index.json" => Subject::Index,
        "Containerfile" => Subject::Containerfile,
        _ => Subject::Config(ToolName::new(name.strip_suffix(".json").unwrap()).unwrap()),
    }
}

/// Signs with a key of the test's own, and gives that key.
fn signed_by_test(bytes: &[u8], comment: &str) -> (Vec<u8>, minisign_verify::PublicKey) {
    let keys = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let signature = minisign::sign(Some(&keys.pk), &keys.sk, Cursor::new(bytes), Some(comment), None).unwrap();
    let key = signed::public_key(&keys.pk.to_box().unwrap().into_string()).unwrap();
    (signature.into_string().into_bytes(), key)
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn hostile_bytes_never_panic_the_parsers(bytes in mangled(std::vec![EVERYTHING.as_bytes().to_vec(), LEAST.as_bytes().to_vec(), b"[[[[{\"a\":{\"a\":1e9}}]]]]".to_vec()])) {
        match config::parse(&bytes) {
            Ok(file) => prop_assert_eq!(config::parse(file.print().as_bytes()), Ok(file)),
            Err(error) => prop_assert!(!error.message.is_empty() && !error.hint.is_empty()),
        }
        let _ = json::parse(&bytes, MAX_FILE);
        let _ = xauthority::for_display(&bytes, ":0");
        let _ = coco::facts::unescape_octal(&bytes);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = signed::public_key(text);
        }
    }

    #[test]
    fn hostile_signatures_never_hold(signature in mangled(std::vec![stored("eslint.json.minisig")])) {
        let good = stored("eslint.json.minisig");
        let outcome = verify(stored("eslint.json"), &signature, &store::keys().unwrap(), &subject("eslint.json"));
        // All but the first line, the untrusted comment, is covered.
        let covered = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n').map(|at| bytes[at..].to_vec());
        prop_assert_eq!(outcome.is_ok(), covered(&signature) == covered(&good) && signature.starts_with(b"untrusted comment: ") && std::str::from_utf8(&signature).is_ok() && !signature.contains(&b'\r') && signature.len() <= 1024);
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn hostile_indexes_never_panic(bytes in mangled(std::vec![stored("index.json")])) {
        let (signature, key) = signed_by_test(&bytes, "coco-index revision=1");
        let verified = verify(bytes, &signature, &[key], &Subject::Index).unwrap();
        if let Ok(index) = Index::parse(&verified) {
            prop_assert_eq!(index.revision, 1);
        }
    }

    #[test]
    fn any_bytes_signed_as_they_are_hold(bytes in vec(any::<u8>(), 0..300), revision in any::<u64>()) {
        let subject = subject("eslint.json");
        let (signature, key) = signed_by_test(&bytes, &subject.comment(revision));
        let verified = verify(bytes.clone(), &signature, &[key], &subject).unwrap();
        prop_assert_eq!((verified.bytes(), verified.revision()), (bytes.as_slice(), revision));
    }
}

// --- signatures ---

/// Whether the file with one bit changed is refused.
fn refuses_bit_of_file(name: &str, bit: usize) -> bool {
    let mut bytes = stored(name);
    bytes[bit / 8] ^= 1 << (bit % 8);
    verify(bytes, &stored(&format!("{name}.minisig")), &store::keys().unwrap(), &subject(name)).is_err()
}

/// The same for its signature. The untrusted comment is what it says: nobody reads it, and nothing
/// signs it; a change there must change nothing.
fn refuses_bit_of_signature(name: &str, bit: usize) -> bool {
    let mut signature = stored(&format!("{name}.minisig"));
    let comment = b"untrusted comment: ".len()..signature.iter().position(|byte| *byte == b'\n').unwrap();
    signature[bit / 8] ^= 1 << (bit % 8);
    match verify(stored(name), &signature, &store::keys().unwrap(), &subject(name)) {
        Err(_) => true,
        Ok(verified) => comment.contains(&(bit / 8)) && verified.bytes() == stored(name),
    }
}

#[test]
fn every_file_of_the_store_holds_as_it_is() {
    let names = signed_files();
    assert!(names.len() >= 32, "{names:?}");
    for name in names {
        let outcome =
            verify(stored(&name), &stored(&format!("{name}.minisig")), &store::keys().unwrap(), &subject(&name));
        let _: Verified = outcome.unwrap_or_else(|reason| panic!("{name}: {reason}"));
    }
}

#[test]
fn every_bit_of_a_signed_file_counts() {
    for name in ["eslint.json", "node.json"] {
        for bit in 0..stored(name).len() * 8 {
            assert!(refuses_bit_of_file(name, bit), "bit {bit} of {name} may be flipped");
        }
    }
}

#[test]
fn every_bit_of_a_signature_counts() {
    for name in ["eslint.json", "index.json"] {
        for bit in 0..stored(&format!("{name}.minisig")).len() * 8 {
            assert!(refuses_bit_of_signature(name, bit), "bit {bit} of {name}.minisig may be flipped");
        }
    }
}

#[test]
fn some_bits_of_every_other_file_count() {
    for (position, name) in signed_files().iter().enumerate() {
        let (file, signature) = (stored(name).len() * 8, stored(&format!("{name}.minisig")).len() * 8);
        for step in 0..24 {
            assert!(refuses_bit_of_file(name, (position * 7 + step * 7919) % file), "{name}");
            assert!(refuses_bit_of_signature(name, (position * 11 + step * 104_729) % signature), "{name}");
        }
        assert!(refuses_bit_of_file(name, 0) && refuses_bit_of_file(name, file - 1), "{name}");
    }
}

proptest! {
    #![proptest_config(cases(64))]

    /// S2: whichever two files are taken, one's signature says nothing of the other.
    #[test]
    fn a_signature_is_for_one_name(pair in subsequence(signed_files(), 2)) {
        let [first, second] = pair.as_slice() else { panic!("{pair:?}") };
        let keys = store::keys().unwrap();
        let signature = |name: &str| stored(&format!("{name}.minisig"));
        prop_assert!(verify(stored(first), &signature(first), &keys, &subject(second)).is_err());
        prop_assert!(verify(stored(second), &signature(first), &keys, &subject(second)).is_err());
        prop_assert!(verify(stored(first), &signature(second), &keys, &subject(first)).is_err());
    }
}

#[test]
fn the_trusted_comment_is_exact() {
    let bytes = stored("eslint.json");
    let subject = subject("eslint.json");
    let outcome = |comment: &str| {
        let (signature, key) = signed_by_test(&bytes, comment);
        verify(bytes.clone(), &signature, &[key], &subject).map(|verified| verified.revision())
    };
    assert_eq!(outcome("coco-config name=eslint revision=7"), Ok(7));
    assert_eq!(outcome("coco-config name=eslint revision=18446744073709551615"), Ok(u64::MAX));
    for comment in [
        "coco-config name=eslint revision=07",
        "coco-config name=eslint revision=+7",
        "coco-config name=eslint revision=-7",
        "coco-config name=eslint revision=7 ",
        " coco-config name=eslint revision=7",
        "coco-config  name=eslint revision=7",
        "coco-config name=eslint revision=7 revision=8",
        "coco-config name=eslint revision=18446744073709551616",
        "coco-config name=eslint revision=",
        "coco-config name=eslint",
        "coco-config name=eslintx revision=7",
        "coco-config name=prettier revision=7",
        "coco-config name=eslint,prettier revision=7",
        "coco-config revision=7 name=eslint",
        "COCO-CONFIG name=eslint revision=7",
        "coco-index revision=7",
        "coco-containerfile revision=7",
        "timestamp:1 file:eslint.json",
        "revision=7",
    ] {
        assert!(outcome(comment).is_err(), "{comment:?} passes");
    }
}

/// S4. The control: minisign itself takes this signature when it is told to take legacy ones.
#[test]
fn a_legacy_signature_never_holds() {
    const KEY: &str = "untrusted comment: minisign public key 6F9BA32AF9CDD96B\nRWRr2c35KqObb0pmEraJnPrfAMSj2wLj1ww1O9u03s4nhXJ77dRWqzNF\n";
    const BYTES: &[u8] = b"{\"tool\": \"npm:legacy\"}\n";
    const LEGACY: &str = "untrusted comment: signature from minisign secret key\n\
        RWRr2c35KqObb+UJILIPLFAWWXet8S70m2j9Q3biVagmRftBTGf571koLOxbwx6X6epiu1M+uedgaKr032Ugr8wiswoU0I9twAc=\n\
        trusted comment: coco-config name=legacy revision=1\n\
        YVtu04c7nTwUg5E2sZE+gdgPs9sHjLW5YobRMUhpoAvSjoEAYxW5P34zRDjCoGV99aL7Gl9ja/HjIwysgtpFDA==\n";
    const PREHASHED: &str = "untrusted comment: signature from minisign secret key\n\
        RURr2c35KqObb/OnyJgDB4RJ6NA1qbOQaQ8NvOzcCC272cMkOqY/PcDt3P71HFWApqZN7s1PPFUYzg1MfP01X1+E3qlMFX0Ryw0=\n\
        trusted comment: coco-config name=legacy revision=1\n\
        0mBw8V9OV3DOS5AAWP7iH1qn35usfzY/b+0r/w/1WMfGyFyzoubxrETYr4zqIXCb/Na9uLrwRq8p6B8r1DDdAA==\n";
    let key = signed::public_key(KEY).unwrap();
    let legacy = minisign_verify::Signature::decode(LEGACY).unwrap();
    assert!(key.verify(BYTES, &legacy, true).is_ok(), "the control");
    let check = |signature: &str| {
        verify(BYTES.to_vec(), signature.as_bytes(), std::slice::from_ref(&key), &subject("legacy.json"))
    };
    assert_eq!(check(LEGACY), Err("it is of the legacy kind, not prehashed".to_owned()));
    assert_eq!(check(PREHASHED).unwrap().revision(), 1);
}

#[test]
fn without_a_key_nothing_holds() {
    let outcome = verify(stored("eslint.json"), &stored("eslint.json.minisig"), &[], &subject("eslint.json"));
    assert!(outcome.is_err());
}
