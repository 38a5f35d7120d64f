//! C1 and C2: engine options come from consent alone, and never from a tool's own arguments.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;

use coco::config;

use crate::world::{IMAGE, PROGRAM, World, finish};

/// Options that open the sandbox or steer the engine, in every spelling that the engines take, and
/// things that only look harmless.
const DANGEROUS: &[&str] = &[
    "--privileged",
    "--privileged=true",
    "-v=/:/host",
    "-v/:/host",
    "-v",
    "/:/host",
    "--volume=/:/host",
    "--volume",
    "--mount=type=bind,src=/,dst=/host",
    "--mount",
    "type=bind,src=/,dst=/host",
    "--volumes-from=other",
    "--tmpfs=/run",
    "--cap-add=ALL",
    "--cap-add",
    "ALL",
    "--security-opt=seccomp=unconfined",
    "--security-opt=label=disable",
    "--security-opt",
    "--network=host",
    "--network",
    "--net=host",
    "--net",
    "host",
    "--publish=80:80",
    "-p80:80",
    "-P",
    "--pid=host",
    "--ipc=host",
    "--uts=host",
    "--userns=host",
    "--cgroupns=host",
    "--cgroups=disabled",
    "--cgroup-parent=/",
    "--user=0",
    "-u0",
    "-u",
    "--group-add=0",
    "--uidmap=0:0:1",
    "--device=/dev/mem",
    "--device-cgroup-rule=a *:* rwm",
    "--gpus=all",
    "--entrypoint=/bin/sh",
    "--env=LD_PRELOAD=/x",
    "-eLD_PRELOAD=/x",
    "-e",
    "--env-host",
    "--env-file=/etc/passwd",
    "--http-proxy=true",
    "--read-only=false",
    "--read-only-tmpfs=true",
    "--rm=false",
    "--detach",
    "-d",
    "-dit",
    "-itv/:/host",
    "--init-path=/bin/sh",
    "--runtime=/bin/sh",
    "--hooks-dir=/x",
    "--root=/x",
    "--storage-opt=x",
    "--module=/x",
    "--url=unix:///x",
    "--remote",
    "--connection=x",
    "--conmon-pidfile=/x",
    "--cidfile=/x",
    "--pidfile=/x",
    "--log-driver=k8s-file",
    "--log-opt=path=/x",
    "--secret=x",
    "--sysctl=net.ipv4.ip_forward=1",
    "--ulimit=core=-1",
    "--oom-score-adj=-1000",
    "--oom-kill-disable",
    "--pids-limit=-1",
    "--pull=always",
    "--rootfs",
    "--add-host=a:10.0.0.1",
    "--dns=10.0.0.1",
    "--annotation=run.oci.keep_original_groups=1",
    "--seccomp-policy=image",
    "--systemd=always",
    "--sig-proxy=true",
    "--restart=always",
    "--name=x",
    "--pod=x",
    "--replace",
    "--passwd-entry=x",
    "--label-file=/etc/passwd",
    "--workdir=/x",
    "-w/x",
    "--tty",
    "--unknown-option=1",
    "alpine",
    "sh",
    "--",
    "-",
    "---label=x",
    "-label=x",
    "label=x",
    " --label=x",
    "--label",
    "--hostname",
    "--labels=x",
    "--label-=x",
    "--Label=x",
    "--LABEL=x",
    "--label =x",
    "--hostname=",
    "--shm-size",
    "--shm-size 1g",
    "--label=x --privileged",
    "--label=x\n--privileged",
    "--label=x\t",
    "--hostname=a,b",
    "--hostname=a=b",
    "--hostname=\u{e9}",
    "--label=\"x\"",
    "--stop-signal=$(id)",
];

/// Options that can't open the sandbox.
const HARMLESS: &[&str] =
    &["--shm-size=256m", "--hostname=box", "--label=team=tools", "--stop-timeout=5", "--stop-signal=SIGINT"];

fn file(arguments: &[&str]) -> String {
    serde_json::json!({"tool": "python@system", "podman_args": arguments}).to_string()
}

#[test]
fn dangerous_arguments_need_consent() {
    let world = World::new();
    for argument in DANGEROUS {
        world.tool("probe", file(&[argument]));
        let shown = world.coco(["show", "probe"]).exits(0);
        assert!(shown.text().contains("needs your consent: the engine argument"), "{argument:?}");
        assert!(shown.text().contains("until then it does not run: coco allow probe"), "{argument:?}");
        for command in [&["run", "probe"][..], &["run", "--dry-run", "probe"]] {
            let ended = world.coco(command).fails(125, "probe asks for the engine argument");
            assert!(ended.hint().contains("coco allow probe"), "{ended:?}");
        }
        let lint = world.coco(["lint", "probe"]).exits(0);
        assert!(lint.stderr.contains("the tool runs only after coco allow"), "{argument:?}: {lint:?}");
    }
    assert!(world.calls().is_empty());
}

#[test]
fn a_dangerous_argument_does_not_hide_among_harmless_ones() {
    let world = World::new();
    for position in 0..=HARMLESS.len() {
        let mut arguments = HARMLESS.to_vec();
        arguments.insert(position, "--privileged");
        world.tool("probe", file(&arguments));
        world.coco(["run", "probe"]).fails(125, "the engine argument \"--privileged\"");
    }
    assert!(world.calls().is_empty());
}

#[test]
fn no_argument_at_all_may_stand_in_a_store() {
    for argument in DANGEROUS.iter().chain(HARMLESS) {
        let file = config::parse(file(&[argument]).as_bytes()).unwrap();
        let error = config::unfit_for_store(&file).unwrap_or_else(|| panic!("{argument:?} fits"));
        assert_eq!(error.pointer, "/podman_args");
    }
    let host = config::parse(br#"{"tool": "npm:x", "network": "host"}"#).unwrap();
    assert_eq!(config::unfit_for_store(&host).unwrap().pointer, "/network");
}

/// What opens the sandbox is the user's own to write.
#[test]
fn what_opens_the_sandbox_may_not_stand_in_a_store() {
    let unfit = |rest: &str| {
        let file = config::parse(format!(r#"{{"tool": "npm:x", {rest}}}"#).as_bytes()).unwrap();
        config::unfit_for_store(&file).map(|error| error.pointer)
    };
    for (rest, place) in [
        (r#""network": "host""#, "/network"),
        (r#""network": "default""#, "/network"),
        (r#""network": "my-net""#, "/network"),
        (r#""x11": true"#, "/x11"),
        (r#""protect": false"#, "/protect"),
        (r#""mounts": [{"src": ".", "opts": "ro"}, {"src": "~", "dst": "/h", "opts": "ro"}]"#, "/mounts/1/src"),
        (r#""mounts": [{"src": "/run/podman/podman.sock", "dst": "/s", "opts": "rw"}]"#, "/mounts/0/src"),
        (r#""mounts": [{"src": "/var/run/docker.sock", "dst": "/s", "opts": "rw"}]"#, "/mounts/0/src"),
        (r#""mounts": [{"src": "/srv/x.sock", "dst": "/s", "opts": "rw"}]"#, "/mounts/0/src"),
        (r#""mounts": [{"src": "~/.colima/docker.sock", "dst": "/s", "opts": "rw"}]"#, "/mounts/0/src"),
    ] {
        assert_eq!(unfit(rest).as_deref(), Some(place), "{rest}");
    }
    for rest in [
        r#""network": "none""#,
        r#""network": "public""#,
        r#""allowed_hosts": ["a.example"]"#,
        r#""x11": false"#,
        r#""protect": ["x"]"#,
        r#""mounts": [{"src": "@project", "opts": "rw"}, {"src": "~/.config/x", "dst": "/c", "opts": "ro"}]"#,
    ] {
        assert_eq!(unfit(rest), None, "{rest}");
    }
}

#[test]
fn harmless_arguments_pass_unchanged() {
    let world = World::new();
    world.tool("probe", file(HARMLESS));
    world.coco(["run", "probe"]).exits(126);
    let call = world.call();
    let image = call.arguments.len() - 1;
    assert_eq!(call.arguments[image], IMAGE);
    assert_eq!(call.arguments[image - HARMLESS.len()..image], HARMLESS.iter().map(OsString::from).collect::<Vec<_>>());
    let allow = world.coco(["allow", "probe"]).exits(0);
    assert_eq!(allow.text(), "probe asks for nothing that needs your consent\n");
}

#[test]
fn hostile_values_of_harmless_options_need_consent() {
    let world = World::new();
    for argument in ["--tz=../../etc/shadow", "--tz=/etc/shadow", "--tz=a/../../etc/shadow"] {
        world.tool("probe", file(&[argument]));
        world.coco(["run", "probe"]).fails(125, "probe asks for the engine argument");
    }
}

#[test]
fn with_consent_they_pass_verbatim_and_an_edit_asks_again() {
    let world = World::new();
    let arguments = ["--privileged", "-v", "/srv/x y:/h", "--label=a", "bare", "--env=A=b\nc"];
    let path = world.tool("probe", file(&arguments));
    world.coco(["run", "probe"]).exits(125);
    let allow = world.coco(["allow", "probe"]).exits(0);
    for argument in ["--privileged", "-v", "/srv/x y:/h", "bare"] {
        assert!(allow.text().contains(&format!("probe may now have the engine argument {argument:?}\n")), "{allow:?}");
    }
    world.coco(["run", "probe"]).exits(126);
    let call = world.call();
    let image = call.arguments.len() - 1;
    assert_eq!(
        call.arguments[image - arguments.len()..],
        arguments.iter().chain(&[IMAGE]).map(OsString::from).collect::<Vec<_>>()
    );
    world.forget_calls();

    // Not one byte may change.
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text} ")).unwrap();
    world.coco(["run", "probe"]).fails(125, "you have not agreed to that");
    fs::write(&path, &text).unwrap();
    world.coco(["run", "probe"]).exits(126);
    world.forget_calls();
    assert_eq!(world.coco(["allow", "--revoke", "probe"]).exits(0).text(), "consent removed\n");
    world.coco(["run", "probe"]).fails(125, "you have not agreed to that");
    assert_eq!(world.coco(["allow", "--revoke", "probe"]).exits(0).text(), "there was no consent to remove\n");
    assert!(world.calls().is_empty());
}

#[test]
fn consent_is_for_one_tool_and_one_text() {
    let world = World::new();
    world.tool("probe", file(&["--privileged"]));
    world.tool("twin", file(&["--privileged"]));
    world.coco(["allow", "probe"]).exits(0);
    world.coco(["run", "twin"]).fails(125, "twin asks for");
    let record = world.path("config/coco/allowed/probe");
    let written = fs::read_to_string(&record).unwrap();
    let (digest, terms) = written.split_once('\n').unwrap();
    // Without its terms, or with others, it is of another coco, to which the same text granted less.
    for forged in [
        String::new(),
        "\n".to_owned(),
        "1".to_owned(),
        format!("*\n{terms}"),
        format!("{}\n{terms}", digest.get(..63).unwrap()),
        format!("{}\n{terms}", digest.to_uppercase()),
        format!("{digest}0\n{terms}"),
        format!("{digest}\n"),
        format!("{digest}\nhome\n"),
        format!("{digest}\nterms 1\n"),
        format!("{digest}\nhome\n{terms}"),
        format!("{written}x\n"),
    ] {
        fs::write(&record, forged).unwrap();
        world.coco(["run", "probe"]).fails(125, "probe asks for");
    }
    fs::write(&record, &written).unwrap();
    world.coco(["run", "probe"]).exits(126);
}

#[test]
fn the_hosts_network_needs_consent() {
    let world = World::new();
    world.tool("probe", r#"{"tool": "python@system", "network": "host"}"#);
    world.coco(["run", "probe"]).fails(125, "probe asks for the host's own network");
    assert!(world.calls().is_empty());
    world.coco(["allow", "probe"]).exits(0);
    world.coco(["run", "probe"]).exits(126);
    assert!(world.call().has("--network=host"));
}

/// C2.
#[test]
fn a_tools_arguments_reach_the_engine_in_no_way() {
    let world = World::with_probe();
    symlink(PROGRAM, world.path("bin/probe")).unwrap();
    world.coco(["run", "probe"]).exits(126);
    let bare = numbered(world.call().arguments);
    world.forget_calls();
    let hostile: Vec<&str> = DANGEROUS
        .iter()
        .chain(HARMLESS)
        .chain(&["--dry-run", "-n", "--help", "-h", "--version", "-V", "", "list", "coco", "--force"])
        .copied()
        .collect();
    for arguments in hostile.iter().map(std::slice::from_ref).chain([hostile.as_slice()]) {
        let mut by_name = world.command(world.path("bin/probe"));
        by_name.args(arguments);
        finish(by_name).exits(126);
        assert_eq!(numbered(world.call().arguments), bare, "by name: {arguments:?}");
        world.forget_calls();
        let mut by_run = world.command(PROGRAM);
        by_run.args(["run", "probe"]).args(arguments);
        finish(by_run).exits(126);
        assert_eq!(numbered(world.call().arguments), bare, "by run: {arguments:?}");
        world.forget_calls();
    }
}

/// The number of the process in the run directory's name is all that may differ.
pub fn numbered(arguments: Vec<OsString>) -> Vec<OsString> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let marker = b"/runtime/coco/run-";
    arguments
        .into_iter()
        .map(|argument| {
            let bytes = argument.as_bytes();
            let Some(at) = bytes.windows(marker.len()).position(|window| window == marker) else { return argument };
            let (before, rest) = bytes.split_at(at + marker.len());
            let after = &rest[rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len())..];
            OsString::from_vec([before, b"N", after].concat())
        })
        .collect()
}
