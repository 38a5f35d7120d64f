//! Files: whose they are, and which are seen.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use serde_json::json;

use crate::support::{World, each_engine, one_engine, owner_and_mode, run};

each_engine!(
    what_a_tool_makes_is_the_callers,
    awkward_paths_are_mounted_exactly,
    a_missing_directory_at_home_is_made,
    files_of_the_bash_coco_write_where_they_did,
    read_only_is_read_only,
    the_project_is_where_git_is,
);
one_engine!(docker Docker: what_a_tool_makes_is_an_ordinary_docker_users);

fn workspace() -> serde_json::Value {
    json!({"mounts": [{"src": ".", "dst": "/workspace", "opts": "rw"}]})
}

fn what_a_tool_makes_is_the_callers(world: &World) {
    world.python("maker", &workspace());
    for (umask, file, directory) in [("022", 0o644, 0o755), ("077", 0o600, 0o700), ("002", 0o664, 0o775)] {
        let project = world.project("maker");
        let mut shell = world.command("/bin/sh");
        shell.args(["-c", &format!(r#"umask {umask}; exec "$@""#), "sh"]).arg(&world.coco);
        shell.args(["run", "maker", "-c", "import os; open('file', 'w'); os.mkdir('directory')"]);
        run(shell.current_dir(&project)).succeeds();
        let (uid, gid) = world.owner();
        assert_eq!(owner_and_mode(&project.join("file")), (uid, gid, file), "umask {umask}");
        assert_eq!(owner_and_mode(&project.join("directory")), (uid, gid, directory), "umask {umask}");
    }
}

fn what_a_tool_makes_is_an_ordinary_docker_users(world: &World) {
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
    world.python("warm-docker", &json!({}));
    // The daemon's socket, as a member of the group docker has it: root's, and open to the user.
    let socket = world.root.join("run/docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(world.root.join("run"), fs::Permissions::from_mode(0o711)).unwrap();
    let daemon = world.variable("DOCKER_HOST").strip_prefix("unix://").unwrap().to_owned();
    thread::spawn(move || {
        for client in listener.incoming() {
            relay(client.unwrap(), UnixStream::connect(&daemon).unwrap());
        }
    });
    let home = world.root.join("home/nobody");
    let project = home.join("project");
    let runtime = home.join("run");
    for directory in [&home, &project, &runtime, &home.join(".local/share/coco/tools"), &home.join(".local/state/coco")]
    {
        fs::create_dir_all(directory).unwrap();
    }
    fs::write(
        home.join(".local/share/coco/tools/maker.json"),
        r#"{"tool": "python@system", "command": "python3", "mounts": [{"src": ".", "dst": "/workspace", "opts": "rw"}]}"#,
    )
    .unwrap();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).unwrap();
    run(crate::support::command("cp")
        .arg("-r")
        .arg(world.home.join(".local/state/coco/images"))
        .arg(home.join(".local/state/coco")))
    .succeeds();
    run(crate::support::command("chown").arg("-R").arg(format!("{uid}:{gid}")).arg(&home)).succeeds();
    let mut user = world.command("setpriv");
    user.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).args(["--clear-groups", "--inh-caps=-all", "--"]);
    user.arg(&world.coco).args(["run", "maker", "-c", "import os; open('file', 'w'); print(os.getuid(), os.getgid())"]);
    user.env("HOME", &home).env("XDG_RUNTIME_DIR", &runtime).env("DOCKER_HOST", format!("unix://{}", socket.display()));
    let made = run(user.current_dir(&project));
    assert_eq!(made.succeeds().text(), format!("{uid} {gid}"));
    let (owner, group, _) = owner_and_mode(&project.join("file"));
    assert_eq!((owner, group), (uid, gid));
}

/// Passes bytes both ways until both ends are done, with each end's half-close.
fn relay(client: UnixStream, server: UnixStream) {
    let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || copy(client, server));
    thread::spawn(move || copy(server_too, client_too));
}

fn copy(mut from: UnixStream, mut to: UnixStream) {
    let mut buffer = [0; 16384];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn awkward_paths_are_mounted_exactly(world: &World) {
    world.python("awkward", &workspace());
    let names: [&[u8]; 11] = [
        b"a:b",
        b"a,b",
        b"a b",
        b"a\"b",
        b"a'b",
        b"a\nb",
        b"-v",
        b"\xff\xfe",
        b"a\\b",
        b"a:ro,z \"q\"\n$(id)`id`%s\xc3",
        "\u{e9}\u{4e2d}=x;y".as_bytes(),
    ];
    for name in names {
        let project = world.project(OsStr::from_bytes(name));
        world.write(project.join("in"), name);
        // A neighbour that a badly cut path would lead to.
        world.write(project.parent().unwrap().join("a/in"), "the wrong directory");
        let code = "import sys; data = open('in', 'rb').read(); open('out', 'wb').write(data); print(data)";
        let shown = world.coco_in(&project, ["run", "awkward", "-c", code]);
        shown.succeeds();
        assert_eq!(fs::read(project.join("out")).unwrap(), name, "{project:?}: {shown:?}");
    }
}

fn a_missing_directory_at_home_is_made(world: &World) {
    let name = format!("missing-{}", world.engine.name());
    world.python("missing", &json!({"mounts": [{"src": format!("~/{name}/deeper"), "dst": "/made", "opts": "rw"}]}));
    world.says("missing", "open('/made/file', 'w')");
    let (uid, gid) = world.owner();
    assert_eq!(owner_and_mode(&world.home.join(&name).join("deeper")), (uid, gid, 0o700));
    assert!(world.home.join(&name).join("deeper/file").exists());
    // Outside of home nothing is made.
    let elsewhere = world.root.join("missing");
    world.python("elsewhere", &json!({"mounts": [{"src": elsewhere, "dst": "/made", "opts": "ro"}]}));
    world.coco(["run", "elsewhere", "-c", "pass"]).exits(125).complains("does not exist");
    assert!(!elsewhere.exists());
}

/// The bash coco's own examples: a linter's project, and an agent's directory in home.
fn files_of_the_bash_coco_write_where_they_did(world: &World) {
    let kept = world.home.join(".local/share/claude");
    let _ = fs::remove_dir_all(&kept);
    let here = json!({"src": ".", "dst": "/workspace"});
    world.python("like-eslint", &json!({"mounts": [here]}));
    world.python("like-claude", &json!({"mounts": [here, {"src": "~/.local/share/claude", "dst": "/root/.claude"}]}));
    let project = world.project("from-bash");
    world.write(project.join("source.js"), "var x");
    let (uid, gid) = world.owner();

    let fix = "import os; open('source.js', 'a').write('=1'); open('report', 'w'); print(os.getcwd())";
    assert_eq!(world.coco_in(&project, ["run", "like-eslint", "-c", fix]).succeeds().text(), "/workspace");
    assert_eq!(fs::read_to_string(project.join("source.js")).unwrap(), "var x=1");
    assert_eq!(owner_and_mode(&project.join("report")), (uid, gid, 0o644));

    let work = "
import os
os.makedirs('/root/.claude/projects', exist_ok=True)
with open('/root/.claude/projects/history', 'a') as history:
    history.write('once ')
open('/workspace/answer', 'w').close()
print(open('/root/.claude/projects/history').read())
";
    for said in ["once", "once once"] {
        assert_eq!(world.coco_in(&project, ["run", "like-claude", "-c", work]).succeeds().text(), said);
    }
    assert_eq!(owner_and_mode(&kept), (uid, gid, 0o700));
    assert_eq!(owner_and_mode(&kept.join("projects")), (uid, gid, 0o755));
    for file in [kept.join("projects/history"), project.join("answer")] {
        assert_eq!(owner_and_mode(&file), (uid, gid, 0o644), "{file:?}");
    }
}

fn read_only_is_read_only(world: &World) {
    let code = "
import errno
try:
    open('/workspace/file', 'a')
    print('written')
except OSError as error:
    print(errno.errorcode[error.errno])
";
    let project = world.project("read-only");
    world.python("reader", &json!({"mounts": [{"src": ".", "dst": "/workspace", "opts": "ro"}]}));
    assert_eq!(world.coco_in(&project, ["run", "reader", "-c", code]).succeeds().text(), "EROFS");
    assert!(!project.join("file").exists());
    world.python("writer", &workspace());
    assert_eq!(world.coco_in(&project, ["run", "writer", "-c", code]).succeeds().text(), "written");
    assert!(project.join("file").exists());
}

fn the_project_is_where_git_is(world: &World) {
    let project = world.project("git");
    world.make_directory(&project.join(".git")).unwrap();
    world.make_directory(&project.join("a/b")).unwrap();
    world.write(project.join("top"), "top");
    let code = "import os; print(os.getcwd(), open('../../top').read())";
    world.python("there", &json!({"mounts": [{"src": "@project", "opts": "rw"}], "workdir": "."}));
    let same = world.coco_in(&project.join("a/b"), ["run", "there", "-c", code]).succeeds().text();
    assert_eq!(same, format!("{} top", project.join("a/b").display()));
    world.python("moved", &json!({"mounts": [{"src": "@project", "dst": "/workspace"}]}));
    let moved = world.coco_in(&project.join("a/b"), ["run", "moved", "-c", code]).succeeds().text();
    assert_eq!(moved, "/workspace/a/b top");
}
