//! An engine that does less than it was told, or more: init looks for itself before the tool starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::json;

use crate::support::{Run, World, each_engine, run};

each_engine!(
    a_source_that_is_replaced_in_the_meantime,
    an_engine_that_opens_the_sandbox,
    s11_an_engine_in_the_project,
    s10_an_engine_that_is_coco
);

/// A program of the engine's name that changes the arguments of `run` and hands them to the real one.
fn wrapper(world: &World, drop: &str, add: &str) -> PathBuf {
    let directory = world.project("engine");
    let script = format!(
        r#"#!/bin/bash
changed=()
for argument; do
    case $argument in
        {drop}) continue ;;
    esac
    changed+=("$argument")
    if [ ${{#changed[@]}} = 1 ] && [ "$argument" = run ]; then
        changed+=({add})
    fi
done
exec /usr/bin/{program} "${{changed[@]}}"
"#,
        drop = if drop.is_empty() { "'no such argument'" } else { drop },
        program = world.engine.program(),
    );
    let path = directory.join(world.engine.program());
    world.write(&path, script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// Runs the tool `open` with an engine that drops or adds an argument.
pub fn by_wrapper(world: &World, drop: &str, add: &str) -> Run {
    let path = format!("{}:{}", wrapper(world, drop, add).display(), world.variable("PATH"));
    let elsewhere = world.project("elsewhere");
    run(world.command(&world.coco).env("PATH", path).args(["run", "open", "-c", "print('ran')"]).current_dir(elsewhere))
}

fn an_engine_that_opens_the_sandbox(world: &World) {
    world.python("open", &json!({}));
    // The control: the wrapper itself is no hindrance.
    assert_eq!(by_wrapper(world, "", "").succeeds().text(), "ran");
    assert_eq!(by_wrapper(world, "", "--label=x=y").succeeds().text(), "ran");
    let changes = [
        ("--cap-drop=all", ""),
        ("", "--cap-add=NET_RAW"),
        ("", "--privileged"),
        ("--network=none", ""),
        ("--network=none", "--network=host"),
        ("--security-opt=no-new-privileges", ""),
        ("", "--security-opt=seccomp=unconfined"),
        ("", "--volume=/etc:/x"),
        ("", "--volume=/etc:/x:ro"),
        ("", "--volume=/usr/share:/workspace"),
        ("", "--tmpfs=/x"),
        ("", "--pid=host"),
        ("--read-only", ""),
        ("", "--device=/dev/kmsg:/dev/planted"),
        ("--ipc=*", "--ipc=host"),
        ("", "--volume=/etc:/dev/x"),
        ("", "--volume=/var/tmp:/dev/shm/x"),
        ("--user=*", "--user=4242:4242"),
        ("", "--init"),
    ];
    let mut let_through = Vec::new();
    for (drop, add) in changes {
        let opened = by_wrapper(world, drop, add);
        let refused =
            matches!(opened.code(), 125 | 126) && opened.stdout.is_empty() && opened.errors().contains("coco: error:");
        if !refused {
            let_through.push(format!("without {drop:?}, with {add:?}: {} {}", opened.code(), opened.text()));
        }
    }
    assert!(let_through.is_empty(), "the tool ran in an open sandbox:\n{}", let_through.join("\n"));
}

/// A project's own directory on PATH must not choose what runs on the host.
fn s11_an_engine_in_the_project(world: &World) {
    world.python("planted", &json!({}));
    let project = world.project("planted");
    world.make_directory(&project.join(".git")).unwrap();
    let program = world.engine.program();
    for directory in [project.clone(), project.join("bin"), project.join("node_modules/.bin")] {
        let path = directory.join(program);
        world.write(&path, format!("#!/bin/sh\ntouch {}\nexit 0\n", project.join("pwned").display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let absolute = directory.display().to_string();
        for entry in [
            ".",
            "",
            "bin",
            "./node_modules/.bin",
            &absolute,
            &format!("{absolute}/../{}", directory.file_name().unwrap().display()),
        ] {
            let path = format!("{entry}:{}", world.variable("PATH"));
            let ran = run(world
                .command(&world.coco)
                .env("PATH", &path)
                .args(["run", "planted", "-c", "print('ran')"])
                .current_dir(&project));
            assert!(!project.join("pwned").exists(), "{path}");
            assert_eq!(ran.succeeds().text(), "ran", "{path}");
        }
    }
}

fn s10_an_engine_that_is_coco(world: &World) {
    world.python("recursion", &json!({}));
    let directory = world.project("recursion");
    std::os::unix::fs::symlink(&world.coco, directory.join(world.engine.program())).unwrap();
    let path = format!("{}:{}", directory.display(), world.variable("PATH"));
    let mut coco = world.command(&world.coco);
    let refused =
        run(coco.env("PATH", path).args(["run", "recursion", "-c", "print('ran')"]).current_dir(world.project("x")));
    assert_eq!(refused.exits(125).text(), "");
}

/// Another running tool with the project writable may put a link in the place of a directory after coco has judged it.
/// The wrapper does that at the worst moment, right before the real engine mounts.
fn a_source_that_is_replaced_in_the_meantime(world: &World) {
    let project = world.project("replaced");
    let (inner, secret) = (project.join("inner"), world.project("replaced-secret"));
    world.write(secret.join("key"), "secret");
    world.make_directory(&inner).unwrap();
    world.write(inner.join("key"), "granted");
    world.python("replaced", &json!({"mounts": [{"src": ".", "dst": "/workspace"}]}));
    let read = "print(open('/workspace/key').read())";
    assert_eq!(world.coco_in(&inner, ["run", "replaced", "-c", read]).succeeds().text(), "granted");
    let engine = world.project("replacing");
    let script = format!(
        "#!/bin/bash\nif [ \"$1\" = run ]; then mv '{inner}' '{inner}.moved'; ln -s '{secret}' '{inner}'; fi\nexec /usr/bin/{program} \"$@\"\n",
        inner = inner.display(),
        secret = secret.display(),
        program = world.engine.program(),
    );
    let path = engine.join(world.engine.program());
    world.write(&path, script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let search = format!("{}:{}", engine.display(), world.variable("PATH"));
    let replaced =
        run(world.command(&world.coco).env("PATH", search).args(["run", "replaced", "-c", read]).current_dir(&inner));
    replaced.exits(125).complains("replaced");
    assert_eq!(replaced.text(), "");
    // The control: the engine did mount the other one, and without the check it would have been read.
    assert!(inner.is_symlink());
}
