//! Whole argument vectors, compared with the files in `tests/golden`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::*;
use crate as coco;
use crate::engine::{Engine, EngineKind};
use crate::facts::autorun_scan::{FileKind, ProtectedPath, Protection, Scan};
use crate::facts::{Controllers, Identity, SeLinux};
use crate::host::{Terminals, World};
use crate::policy::{Cover, HiddenPath, Mode, Policy, decide};
use crate::protocol::control::{NetworkRole, Streams};
use crate::rules::sandbox_paths::{GuestPath, NETWORK_GUEST};
use crate::sys::hash::Digest;

#[path = "../../tests/golden/hand_made.rs"]
#[allow(clippy::duplicate_mod, reason = "the tests of plans and of policies share it, and both are private")]
mod hand_made;
mod network;

use hand_made::{BUILT, DIGEST, EVERYTHING, LEAST, REACHING, WRITING, agreed, engine, facts, file, tool, with, world};

/// Who calls which engine.
const CALLERS: &[(&str, EngineKind, u32)] = &[
    ("podman-rootful", EngineKind::Podman, 0),
    ("podman-rootless", EngineKind::Podman, 1000),
    ("docker-root", EngineKind::Docker, 0),
    ("docker-user", EngineKind::Docker, 1000),
];

struct Case {
    world: World,
    facts: Facts,
    policy: Policy,
    engine: Engine,
}

fn case(kind: EngineKind, uid: u32, name: &str, text: &str, variables: &[(&str, &str)]) -> Case {
    let world = with(world(uid), variables);
    let file = file(text);
    let mut facts = facts(&world, &file);
    facts.consent = Some(agreed(DIGEST));
    let policy = decide(&tool(name), &file, &world, &facts, DIGEST, Mode::Granted).unwrap();
    Case { engine: engine(kind, uid), world, facts, policy }
}

impl Case {
    fn job(&self) -> Job<'_> {
        Job { world: &self.world, facts: &self.facts, policy: &self.policy, engine: &self.engine }
    }
}

fn image() -> Image {
    Image::parse("sha256:0000").unwrap()
}

fn data(name: &str) -> DataName {
    name.parse().unwrap()
}

/// An installation that succeeded.
fn record(data: Option<&str>) -> Record {
    Record {
        version: "1.2.3".to_owned(),
        data: data.map(|name| name.parse().unwrap()),
        path: vec!["/coco/data/bin".to_owned(), "/coco/runtimes/node/22/bin".to_owned()],
        environment: vec![("GEM_HOME".to_owned(), "/coco/data/gems".to_owned())],
        ..nothing()
    }
}

/// What is on record where nothing is installed.
fn nothing() -> Record {
    Record {
        inputs: Digest::of(b""),
        image: image(),
        tool: String::new(),
        version: String::new(),
        data: None,
        path: Vec::new(),
        environment: Vec::new(),
        hosts: Vec::new(),
    }
}

fn run_case(case: &Case, record: &Record, arguments: &[&str]) -> Plan {
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    run(&case.job(), &image(), record, &arguments)
}

/// A plan as text: the program and its arguments, one a line, then everything else that is done.
fn text(plan: &Plan) -> String {
    let mut text = format!("{}\n", plan.program.display());
    for argument in &plan.arguments {
        writeln!(text, "{}", argument.as_bytes().escape_ascii().to_string().replace("\\\"", "\"")).unwrap();
    }
    let Launch { expect, umask, workdir, environment, path, ancestors, writable, network_role, task } = &plan.launch;
    text.push_str("\n# what init is told\n");
    let Expect { owner, enclosure, network, mounts, trees, empty, namespaces, identities } = expect;
    writeln!(text, "expect owner {owner} {enclosure:?} {network:?}").unwrap();
    for mount in mounts {
        writeln!(text, "expect mount {mount:?}").unwrap();
    }
    for tree in trees {
        writeln!(text, "expect tree {tree:?}").unwrap();
    }
    for place in empty {
        writeln!(text, "expect empty {place:?}").unwrap();
    }
    for (place, device, inode) in identities {
        writeln!(text, "expect at {place:?} device {device} inode {inode}").unwrap();
    }
    writeln!(text, "expect none of {namespaces:?}").unwrap();
    writeln!(text, "umask {umask:03o}\nworkdir {workdir:?}").unwrap();
    for (name, value) in environment {
        writeln!(text, "environment {name:?} {value:?}").unwrap();
    }
    for directory in path {
        writeln!(text, "path {directory:?}").unwrap();
    }
    writeln!(text, "ancestors {ancestors:?}").unwrap();
    writeln!(text, "writable {writable:?}").unwrap();
    writeln!(text, "{network_role:?}\n{task:?}").unwrap();
    text.push_str("\n# what is done around it\n");
    writeln!(text, "run directory {}\nstreams {:?}", plan.run_directory.display(), plan.streams).unwrap();
    writeln!(text, "proxy {:?}", plan.proxy).unwrap();
    for file in &plan.run_files {
        match file {
            RunFile::Bytes { name, bytes } => writeln!(text, "run file {name}: {}", bytes.escape_ascii()).unwrap(),
            RunFile::Directory { .. } | RunFile::Alias { .. } | RunFile::Xauthority { .. } => {
                writeln!(text, "run file {file:?}").unwrap();
            }
        }
    }
    for directory in &plan.directories {
        writeln!(text, "make {}", directory.display()).unwrap();
    }
    for directory in &plan.in_use {
        writeln!(text, "in use {}", directory.display()).unwrap();
    }
    text
}

#[track_caller]
fn golden(name: &str, plan: &Plan) {
    super::golden::compare(name, &text(plan));
}

#[test]
fn a_tool_with_hosts_and_ports() {
    for (caller, kind, uid) in CALLERS {
        let case = case(*kind, *uid, "reaching", REACHING, &[]);
        let plan = run_case(&case, &record(Some("data-1")), &[]);
        assert!(!text(&plan).contains("secret"), "the proxy's password stays outside");
        golden(&format!("{caller}-reaching"), &plan);
    }
}

/// Mounts over parts of a writable grant come after it, and init is told which files they are.
#[test]
fn a_tool_with_a_writable_project() {
    for (caller, kind, uid) in CALLERS {
        let mut case = case(*kind, *uid, "writing", WRITING, &[]);
        let identity = Identity { device: 8, inode: 99 };
        let places = [
            (".git", Protection::Pinned, FileKind::Directory),
            (".git/hooks", Protection::ReadOnly, FileKind::Directory),
            (".git/fsmonitor.ipc", Protection::Hidden, FileKind::Socket),
            (".secrets", Protection::Hidden, FileKind::Directory),
        ];
        let project = &case.facts.project;
        let found =
            places.map(|(path, protection, kind)| (project.join(path), ProtectedPath { protection, kind, identity }));
        case.facts.scans = vec![Scan { paths: BTreeMap::from(found), ..Scan::default() }];
        case.policy =
            decide(&tool("writing"), &file(WRITING), &case.world, &case.facts, DIGEST, Mode::Granted).unwrap();
        golden(&format!("{caller}-writing"), &run_case(&case, &record(Some("data-1")), &[]));
    }
}

/// What covers a hidden place is made, and nothing that covers none.
#[test]
fn an_empty_file_or_directory_is_made_where_one_hides_something() {
    let hiding = |covers: &[Cover]| -> Vec<RunFile> {
        let mut case = case(EngineKind::Podman, 1000, "writing", WRITING, &[]);
        let hidden = |(cover, dst)| HiddenPath { dst: GuestPath::new(dst).unwrap(), cover };
        case.policy.hidden = covers.iter().copied().zip(["/w/a", "/w/b"]).map(hidden).collect();
        let plan = run_case(&case, &nothing(), &[]);
        let is_empty = |file: &RunFile| match file {
            RunFile::Directory { .. } => true,
            RunFile::Bytes { bytes, .. } => bytes.is_empty(),
            RunFile::Alias { .. } | RunFile::Xauthority { .. } => false,
        };
        plan.run_files.into_iter().filter(is_empty).collect()
    };
    let directory = RunFile::Directory { name: "nothing.d".to_owned() };
    let file = RunFile::Bytes { name: "nothing".to_owned(), bytes: Vec::new() };
    assert_eq!(hiding(&[]), []);
    assert_eq!(hiding(&[Cover::Directory]), std::slice::from_ref(&directory));
    assert_eq!(hiding(&[Cover::File]), std::slice::from_ref(&file));
    assert_eq!(hiding(&[Cover::File, Cover::Directory]), [directory, file]);
}

#[test]
fn the_least_tool() {
    for (caller, kind, uid) in CALLERS {
        let case = case(*kind, *uid, "least", LEAST, &[]);
        golden(&format!("{caller}-least"), &run_case(&case, &record(Some("data-1")), &["--flag", "a b"]));
    }
}

#[test]
fn a_tool_of_the_images_own() {
    for (caller, kind, uid) in CALLERS {
        let case =
            case(*kind, *uid, "python3", r#"{"tool": "python@system", "mounts": [{"src": ".", "opts": "ro"}]}"#, &[]);
        golden(&format!("{caller}-system"), &run_case(&case, &nothing(), &[]));
    }
}

#[test]
fn a_tool_with_everything_on_a_terminal() {
    let variables = [
        ("LC_ALL", "C"),
        ("API_TOKEN", "secret"),
        ("TERM", "xterm"),
        ("NO_COLOR", "1"),
        ("COCO_CA_BUNDLE", "/etc/ssl/ca, own.pem"),
        ("COCO_EXTRA_PORTS", "0.0.0.0:7:8"),
    ];
    for (caller, kind, uid) in CALLERS {
        let mut case = case(*kind, *uid, "everything", EVERYTHING, &variables);
        case.world.terminals = Terminals { stdin: true, stdout: true, stderr: false };
        golden(&format!("{caller}-everything"), &run_case(&case, &record(Some("data-1")), &["x"]));
    }
}

#[test]
fn the_install_phase() {
    for (caller, kind, uid) in CALLERS {
        let case =
            case(*kind, *uid, "least", LEAST, &[("API_TOKEN", "secret"), ("COCO_CA_BUNDLE", "/etc/ssl/own.pem")]);
        let plan = install_tool(&case.job(), &image(), &data("data-2"), &Installed::default(), Some("1.2.3"));
        golden(&format!("{caller}-install"), &plan);
    }
}

#[test]
fn the_install_phase_with_packages_and_runtimes() {
    for (caller, kind, uid) in CALLERS {
        let case = case(*kind, *uid, "built", BUILT, &[]);
        golden(&format!("{caller}-install-runtimes"), &install_runtimes(&case.job(), &image()));
        let Record { path, environment, .. } = record(None);
        let runtimes = Installed { version: String::new(), path, environment };
        let plan = install_tool(&case.job(), &image(), &data("data-2"), &runtimes, None);
        golden(&format!("{caller}-install-apt"), &plan);
        golden(&format!("{caller}-run-runtimes"), &run_case(&case, &record(Some("data-2")), &[]));
    }
}

#[test]
fn an_isolated_tool_has_runtimes_of_its_own() {
    let shared = case(EngineKind::Podman, 1000, "built", BUILT, &[]);
    let text = BUILT.replacen('{', r#"{"isolated": true,"#, 1);
    let own = case(EngineKind::Podman, 1000, "built", &text, &[]);
    let source = |case: &Case| {
        let plan = install_runtimes(&case.job(), &image());
        let mount = format!(",dst={RUNTIMES_GUEST}");
        let arguments: Vec<String> =
            plan.arguments.iter().map(|argument| argument.clone().into_string().unwrap()).collect();
        arguments.into_iter().find(|argument| argument.ends_with(&mount)).unwrap()
    };
    assert!(source(&shared).contains("/podman/.runtimes,"), "{}", source(&shared));
    assert!(source(&own).contains("/podman/built/runtimes,"), "{}", source(&own));
}

/// Section 5: the install phase sees nothing of the user's, whatever the tool is granted.
#[test]
fn grants_do_not_reach_the_install_phase() {
    let variables = [("API_TOKEN", "secret"), ("LC_ALL", "C"), ("TERM", "xterm"), ("COCO_EXTRA_PORTS", "7:8")];
    for (caller, kind, uid) in CALLERS {
        let bare = r#"{"tool": "npm:@scope/everything@2.1", "command": "every-thing", "isolated": true,
            "dependencies": {"mise": ["node@22", "npm:companion@1"]}, "limits": {"memory": "2g", "pids": 99, "cpus": 1.25}}"#;
        let granted = case(*kind, *uid, "everything", EVERYTHING, &variables);
        let bare = case(*kind, *uid, "everything", bare, &[]);
        for part in [
            |case: &Case| install_runtimes(&case.job(), &image()),
            |case: &Case| install_tool(&case.job(), &image(), &data("data-1"), &Installed::default(), None),
        ] {
            assert_eq!(part(&granted), part(&bare), "{caller}");
        }
    }
}

/// P4: names and values of variables go to init alone.
#[test]
fn no_variable_is_an_argument() {
    for (_, kind, uid) in CALLERS {
        let case =
            case(*kind, *uid, "everything", EVERYTHING, &[("API_TOKEN", "secret-value"), ("LC_ALL", "lc-value")]);
        let plan = run_case(&case, &record(Some("data-1")), &["argument-of-the-tool"]);
        for argument in &plan.arguments {
            let argument = argument.to_str().unwrap();
            for hidden in
                ["secret-value", "lc-value", "API_TOKEN", "LEVEL", "GEM_HOME", "argument-of-the-tool", "every-thing"]
            {
                assert!(!argument.contains(hidden), "{argument} has {hidden}");
            }
            assert!(!argument.starts_with("-e") && !argument.starts_with("--env"), "{argument}");
        }
        let environment: Vec<_> = plan.launch.environment.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        assert!(environment.contains(&"API_TOKEN") && !environment.contains(&"ABSENT"), "{environment:?}");
    }
}

/// P5.
#[test]
fn proxies_do_not_reach_the_tool() {
    let proxies = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "no_proxy"];
    let variables: Vec<(&str, &str)> = proxies.iter().map(|name| (*name, "http://u:p@proxy.example")).collect();
    for (caller, kind, uid) in CALLERS {
        let case = case(*kind, *uid, "least", LEAST, &variables);
        let plan = run_case(&case, &record(Some("data-1")), &[]);
        assert_eq!(
            plan.arguments.iter().filter(|argument| *argument == "--http-proxy=false").count(),
            usize::from(*kind == EngineKind::Podman)
        );
        let text = text(&plan);
        assert!(!text.contains("proxy.example"), "{caller}: {text}");
        assert!(plan.launch.environment.iter().all(|(name, _)| !proxies.contains(&name.to_str().unwrap())));
    }
}

#[test]
fn a_terminal_is_given_only_when_both_ends_are_one() {
    for (stdin, stdout) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut case = case(EngineKind::Podman, 1000, "least", LEAST, &[]);
        case.world.terminals = Terminals { stdin, stdout, stderr: true };
        let plan = run_case(&case, &nothing(), &[]);
        let has = |option: &str| plan.arguments.iter().any(|argument| argument == option);
        assert!(has("--interactive"), "piped input must arrive");
        assert_eq!(has("--tty"), stdin && stdout);
        assert_eq!(plan.streams == Streams::Terminal, stdin && stdout);
    }
}

/// Where cgroups let a plain user set no limits, an engine would fail or warn every time.
#[test]
fn limits_that_can_not_be_set_are_left_out() {
    for (_, kind, uid) in CALLERS {
        let mut case = case(*kind, *uid, "everything", EVERYTHING, &[]);
        case.facts.controllers = Controllers::default();
        let plan = run_case(&case, &nothing(), &[]);
        let limits = plan
            .arguments
            .iter()
            .filter(|argument| {
                let text = argument.to_str().unwrap();
                ["--pids-limit=", "--memory=", "--cpus="].iter().any(|option| text.starts_with(option))
            })
            .count();
        // Rootless podman alone depends on the caller's own cgroup.
        let rootless = *kind == EngineKind::Podman && *uid != 0;
        assert_eq!(limits, if rootless { 0 } else { 3 });
    }
}

/// `run`, its dry run and `show` all tell what is asked for and can't be enforced here.
#[test]
fn what_is_asked_for_and_can_not_be_set_is_named() {
    let none = Controllers::default();
    let all = Controllers { memory: true, pids: true, cpu: true };
    let named = |text: &str, kind: EngineKind, uid: u32, controllers: Controllers| -> Vec<String> {
        let mut case = case(kind, uid, "everything", text, &[]);
        case.facts.controllers = controllers;
        let warnings = case.job().warnings();
        warnings.iter().filter_map(|text| Some(text.strip_prefix("limits: ")?.split_once(' ')?.0.to_owned())).collect()
    };
    let rootless = |text: &str, controllers: Controllers| named(text, EngineKind::Podman, 1000, controllers);
    assert_eq!(rootless(EVERYTHING, none), ["memory", "pids", "cpus"]);
    assert_eq!(rootless(EVERYTHING, Controllers { memory: true, ..none }), ["pids", "cpus"]);
    assert_eq!(rootless(EVERYTHING, Controllers { pids: true, ..none }), ["memory", "cpus"]);
    assert_eq!(rootless(EVERYTHING, Controllers { cpu: true, ..none }), ["memory", "pids"]);
    assert_eq!(rootless(EVERYTHING, all), [""; 0]);
    assert_eq!(rootless(LEAST, none), [""; 0], "nobody asked");
    assert_eq!(named(EVERYTHING, EngineKind::Podman, 0, none), [""; 0], "root can set all");
    assert_eq!(named(EVERYTHING, EngineKind::Docker, 1000, none), [""; 0], "the daemon can set all");
    // The policy's own warnings come along.
    let opened = case(EngineKind::Podman, 1000, "least", LEAST, &[("COCO_ALLOW_NETWORK", "1")]);
    assert_eq!(opened.job().warnings(), opened.policy.warnings);
    assert_eq!(opened.policy.warnings.len(), 1);
}

#[test]
fn selinux_is_told_to_let_the_socket_be() {
    let mut case = case(EngineKind::Podman, 1000, "least", LEAST, &[]);
    let option = OsString::from("--security-opt=label=disable");
    assert!(!run_case(&case, &nothing(), &[]).arguments.contains(&option));
    case.facts.selinux = SeLinux::Enforcing;
    assert!(run_case(&case, &nothing(), &[]).arguments.contains(&option));
}

/// F10: what the engine's syntax can't carry goes by a link in the run's own directory.
#[test]
fn a_path_is_quoted_or_goes_by_a_link() {
    for (path, mount) in [
        (&b"/w/plain"[..], &b"--mount=type=bind,src=/w/plain,dst=/workspace,readonly"[..]),
        (b"/w/a:b c'$", b"--mount=type=bind,src=/w/a:b c'$,dst=/workspace,readonly"),
        (b"/w/a,b", b"--mount=type=bind,\"src=/w/a,b\",dst=/workspace,readonly"),
        (b"/w/a\"b", b"--mount=type=bind,\"src=/w/a\"\"b\",dst=/workspace,readonly"),
        (b"/w/a\nb", b"--mount=type=bind,src=/run/user/1000/coco/run-4242/LINK,dst=/workspace,readonly"),
        (b"/w/a\xffb", b"--mount=type=bind,src=/run/user/1000/coco/run-4242/LINK,dst=/workspace,readonly"),
        (b"/w/a\x7f", b"--mount=type=bind,src=/run/user/1000/coco/run-4242/LINK,dst=/workspace,readonly"),
    ] {
        let path = Path::new(OsStr::from_bytes(path));
        let mut case = case(
            EngineKind::Podman,
            1000,
            "x",
            r#"{"tool": "npm:x", "mounts": [{"src": ".", "dst": "/workspace", "opts": "ro"}]}"#,
            &[],
        );
        for mount in &mut case.policy.mounts {
            mount.src = path.to_owned();
        }
        let plan = run_case(&case, &nothing(), &[]);
        let links: Vec<&RunFile> = plan
            .run_files
            .iter()
            .filter(|file| matches!(file, RunFile::Alias { target, .. } if target == path))
            .collect();
        let expected = match links.as_slice() {
            [RunFile::Alias { name, .. }] => mount.escape_ascii().to_string().replace("LINK", name),
            _ => mount.escape_ascii().to_string(),
        };
        assert!(
            plan.arguments.iter().any(|argument| argument.as_bytes().escape_ascii().to_string() == expected),
            "{expected}: {plan:?}"
        );
        assert_eq!(links.len(), usize::from(mount.windows(4).any(|part| part == b"LINK")));
    }
}

/// Init compares the sandbox's mounts with this list.
#[test]
fn init_knows_every_mount() {
    for (_, kind, uid) in CALLERS {
        let case = case(*kind, *uid, "everything", EVERYTHING, &[]);
        let plan = run_case(&case, &record(Some("data-1")), &[]);
        let is_mount = |argument: &&OsString| {
            argument.as_bytes().starts_with(b"--mount=") || argument.as_bytes().starts_with(b"--tmpfs=")
        };
        let mounts = plan.arguments.iter().filter(is_mount).count();
        assert_eq!(plan.launch.expect.mounts.len(), mounts);
        let trees: Vec<_> = plan.launch.expect.trees.iter().map(|tree| tree.to_str().unwrap()).collect();
        assert_eq!(trees, ["/opt/with, comma and \"quote\"", "/workspace"]);
    }
}

/// Who may not raise a limit can't start a sandbox that asks for more.
#[test]
fn the_limit_on_dumps_is_never_above_the_callers() {
    for (callers, expected) in
        [((0, 0), "--ulimit=core=0:0"), ((0, u64::MAX), "--ulimit=core=1:1"), ((0, 1), "--ulimit=core=1:1")]
    {
        for kind in [EngineKind::Podman, EngineKind::Docker] {
            let mut case = case(kind, 1000, "least", LEAST, &[]);
            case.facts.core_dumps = callers;
            let plans = [run_case(&case, &nothing(), &[]), install_runtimes(&case.job(), &image())];
            assert!(plans.iter().all(|plan| plan.arguments.contains(&expected.into())), "{callers:?}");
        }
    }
}
