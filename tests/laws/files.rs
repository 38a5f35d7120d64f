//! Coco files that nobody wrote, and what is printed of them.

use coco::config;
use coco::names::{EnvName, ToolSpec};
use coco::rules::variables::may_be_set;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::counted::law;

fn text(pattern: &'static str) -> BoxedStrategy<Value> {
    proptest::string::string_regex(pattern).unwrap().prop_map(Value::from).boxed()
}

fn one_of(values: &'static [&'static str]) -> BoxedStrategy<Value> {
    select(values).prop_map(Value::from).boxed()
}

fn mounts() -> BoxedStrategy<Value> {
    let source = prop_oneof![
        one_of(&[".", "@project", "/code", "/code/other", "/opt/x", "/srv/a/../b", "/opt/a, \"b\" é"]),
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
pub fn members() -> impl Strategy<Value = Map<String, Value>> {
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
            let good = variables.keys().all(|name| EnvName::new(name).is_ok_and(|name| may_be_set(&name)));
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
        (option::of(one_of(&["ro", "rw"])), option::of(one_of(&["project", "shared"]))),
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
        let (isolated, x11, (data, cache), protect, limits, dependencies) = switches;
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
            ("cache", cache),
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

/// The coco file of these keys.
pub fn parse(members: &Map<String, Value>) -> config::CocoFile {
    let text = Value::Object(members.clone()).to_string();
    config::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

#[test]
fn what_is_printed_parses_to_the_same() {
    // Every key of the format, those of a key added tomorrow included.
    let floors: Vec<_> = config::KEYS.iter().map(|key| (*key, 100)).collect();
    law(2000, &floors, members(), |tally, members| {
        for key in config::KEYS {
            tally.count_if(members.contains_key(*key), key);
        }
        let file = parse(&members);
        let printed = file.print();
        let again = config::parse(printed.as_bytes()).unwrap_or_else(|error| panic!("{printed}: {error:?}"));
        prop_assert_eq!(&again, &file, "{}", printed);
        prop_assert_eq!(again.print(), printed);
        Ok(())
    });
}
