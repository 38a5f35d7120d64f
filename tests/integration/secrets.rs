//! P4 and P5: no secret in what `ps` shows, and the caller's proxies stay outside.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::world::{Call, PROGRAM, World, contains, finish, write_program};

const TOOL: &str = r#"{"tool": "python@system", "env": {"SET_VALUE": "set-3f1c77", "HOME_LIKE": "x"},
    "env_passthrough": ["PASSED_TOKEN", "ABSENT", "EMPTY"], "mounts": [{"src": ".", "dst": "/workspace"}]}"#;

fn world() -> World {
    let mut world = World::new();
    world.tool("probe", TOOL);
    world.set("PASSED_TOKEN", "passed-8a02e4");
    world.set("OTHER_TOKEN", "other-55c0d1");
    world.set("EMPTY", "");
    world
}

/// What the fake engine's own shell adds.
fn without_shells_own(call: &Call) -> BTreeMap<OsString, OsString> {
    let own = ["_", "PWD", "OLDPWD", "SHLVL"].map(OsStr::new);
    call.environment
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_os_str()))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect()
}

#[test]
fn no_value_stands_in_the_arguments() {
    let world = world();
    world.coco(["run", "probe", "argument-with-secret-77aa"]).exits(126);
    for argument in &world.call().arguments {
        for secret in ["set-3f1c77", "passed-8a02e4", "other-55c0d1", "argument-with-secret-77aa"] {
            assert!(!contains(argument.as_bytes(), secret.as_bytes()), "{argument:?} has {secret}");
        }
    }
}

#[test]
fn the_engines_environment_is_a_list_and_the_guard() {
    let mut world = world();
    for name in ["LC_ALL", "TMPDIR"] {
        world.set(name, "passed");
    }
    // The first two can name programs that podman starts.
    for name in [
        "STORAGE_OPTS",
        "STORAGE_DRIVER",
        "PODMAN_USERNS",
        "_CONTAINERS_ROOTLESS_UID",
        "LD_LIBRARY_PATH",
        "SSH_AUTH_SOCK",
        "COCO_QUIET",
    ] {
        world.set(name, "not-passed");
    }
    world.coco(["run", "probe"]).exits(126);
    let kept = |name: &OsStr| {
        let name = name.to_str().unwrap();
        ["HOME", "PATH", "LC_ALL", "TMPDIR"].contains(&name) || name.starts_with("XDG_")
    };
    let mut expected = world.variables.clone();
    expected.retain(|name, _| kept(name));
    expected.insert("COCO_RECURSION_GUARD".into(), "1".into());
    assert_eq!(without_shells_own(&world.call()), expected);
}

/// P6: a project's `.env` could name an engine, or a configuration of one, that is no sandbox.
#[test]
fn what_steers_the_engine_is_the_users_own_and_is_shown() {
    let mut world = world();
    let project = world.path("project");
    std::fs::create_dir_all(project.join(".git")).unwrap();
    world.tool("bare", r#"{"tool": "python@system"}"#);
    let (inside, own) = (project.join("containers.conf"), world.path("home/containers.conf"));
    std::fs::write(&inside, "").unwrap();
    std::fs::write(&own, "").unwrap();
    let run = |world: &World| {
        let mut command = world.command(PROGRAM);
        command.args(["run", "bare"]).current_dir(&project);
        finish(command)
    };
    let (unix, bus) = (format!("unix://{}", inside.display()), format!("unix:path={}", inside.display()));
    for (name, value, words) in [
        ("CONTAINERS_CONF", inside.to_str().unwrap(), "lies in the project"),
        ("CONTAINERS_CONF_OVERRIDE", inside.to_str().unwrap(), "lies in the project"),
        ("DOCKER_CONFIG", project.to_str().unwrap(), "lies in the project"),
        ("CONTAINERS_STORAGE_CONF", "containers.conf", "not an absolute path"),
        ("DOCKER_HOST", "tcp://198.51.100.1:2375", "not a socket of this machine"),
        ("DOCKER_HOST", &unix, "lies in the project"),
        ("CONTAINER_HOST", "ssh://root@198.51.100.1/run/podman.sock", "not a socket of this machine"),
        ("DBUS_SESSION_BUS_ADDRESS", "unixexec:path=/bin/sh,argv1=-c,argv2=x", "not a socket in the file system"),
        ("DBUS_SESSION_BUS_ADDRESS", "tcp:host=198.51.100.1,port=1", "not a socket in the file system"),
        ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/x;unixexec:path=/bin/sh", "not a socket in the file system"),
        ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/x,argv1=y", "not a socket in the file system"),
        ("DBUS_SESSION_BUS_ADDRESS", &bus, "lies in the project"),
    ] {
        world.set(name, value);
        let refused = run(&world).fails(125, words);
        assert!(refused.stderr.contains(name), "{refused:?}");
        world.unset(name);
    }
    assert!(world.calls().is_empty());
    // The control: the user's own is honoured, passed on and shown.
    let bus = format!("unix:path={},guid=0123456789abcdef", own.display());
    world.set("DBUS_SESSION_BUS_ADDRESS", &bus);
    run(&world).exits(126);
    assert_eq!(world.call().environment.get(OsStr::new("DBUS_SESSION_BUS_ADDRESS")).unwrap(), OsStr::new(&bus));
    world.forget_calls();
    world.set("CONTAINERS_CONF", own.as_os_str());
    run(&world).exits(126);
    assert_eq!(world.call().environment.get(OsStr::new("CONTAINERS_CONF")).unwrap(), own.as_os_str());
    let shown = world.coco(["show", "bare"]).exits(0);
    let row = format!("CONTAINERS_CONF={}", own.display());
    assert!(shown.text().lines().any(|line| line.contains("steered by") && line.contains(&row)), "{}", shown.text());
}

#[test]
fn show_names_variables_and_hides_values() {
    let world = world();
    for command in [&["show", "probe"][..], &["run", "--dry-run", "probe"], &["list", "--json"], &["lint"], &["verify"]]
    {
        let ended = world.coco(command).exits(0);
        for secret in ["set-3f1c77", "passed-8a02e4", "other-55c0d1"] {
            assert!(!contains(&ended.stdout, secret.as_bytes()), "{command:?} shows {secret}");
            assert!(!ended.stderr.contains(secret), "{command:?} shows {secret}");
        }
    }
    let names = inside(&world);
    for name in ["SET_VALUE", "PASSED_TOKEN", "EMPTY", "HOME_LIKE"] {
        assert!(names.contains(&name.to_owned()), "{names:?} lacks {name}");
    }
    for name in ["OTHER_TOKEN", "ABSENT", "HOME", "COCO_IMAGE", "XDG_DATA_HOME"] {
        assert!(!names.contains(&name.to_owned()), "{names:?} has {name}");
    }
}

/// The names of the variables that init is told to set in the run phase.
fn inside(world: &World) -> Vec<String> {
    let shown = world.coco(["run", "--dry-run", "probe"]).exits(0);
    let line = shown.text().lines().rev().find(|line| line.starts_with("#   in ")).unwrap().to_owned();
    let (_, names) = line.split_once(", with ").unwrap();
    names.strip_suffix(" set").unwrap().split(' ').map(str::to_owned).collect()
}

/// Every spelling that some client reads.
const PROXIES: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "ftp_proxy",
    "FTP_PROXY",
    "no_proxy",
    "NO_PROXY",
];

#[test]
fn the_callers_proxies_stay_outside() {
    let mut world = world();
    for name in PROXIES {
        world.set(name, "http://user:password-9e81@proxy.example:3128");
    }
    world.coco(["run", "probe"]).exits(126);
    let call = world.call();
    assert!(call.has("--http-proxy=false"), "{call:?}");
    assert!(call.arguments.iter().all(|argument| !contains(argument.as_bytes(), b"password-9e81")));
    let names = inside(&world);
    assert!(PROXIES.iter().all(|proxy| !names.contains(&(*proxy).to_owned())), "{names:?}");
}

#[test]
fn variables_that_steer_the_engine_or_the_tool_do_not_enter() {
    let mut world = world();
    for name in ["LD_PRELOAD_X", "NODE_OPTIONS", "BASH_ENV_X", "MISE_TRUSTED_CONFIG_PATHS", "PYTHONPATH", "GIT_DIR"] {
        world.set(name, "x");
    }
    let names = inside(&world);
    let known = ["EMPTY", "HOME_LIKE", "LANG", "PASSED_TOKEN", "SET_VALUE"];
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(sorted, known, "what the least tool gets");
}

#[test]
fn only_presentation_comes_along_unasked() {
    let mut world = World::with_probe();
    for name in ["TERM", "COLORTERM", "NO_COLOR", "LANG", "LC_ALL", "USER", "EDITOR", "TZ"] {
        world.set(name, "x");
    }
    let mut names = inside(&world);
    names.sort();
    assert_eq!(names, ["COLORTERM", "LANG", "NO_COLOR", "TERM"]);
}

/// P11.
#[test]
fn the_callers_open_files_are_not_inherited() {
    let world = World::with_probe();
    let (engine, leaked) = (world.path("engines/podman"), world.path("leaked"));
    let script = format!("#!/bin/sh\nif [ -e /proc/$$/fd/7 ]; then echo leaked > '{}'; fi\n", leaked.display());
    write_program(&engine, &script);
    let started = |program: &str| {
        let mut command = world.command("/bin/sh");
        command.arg("-c").arg(format!("exec 7< /dev/null; exec {program}"));
        finish(command)
    };
    started(&format!("'{PROGRAM}' run probe")).exits(126);
    assert!(!leaked.exists());
    started(&format!("'{}'", engine.display())).exits(0);
    assert!(leaked.exists(), "the control");
}
