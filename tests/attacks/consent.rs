//! F8, F9, F15: sockets, the home directory and coco's own places; what consent opens, and what it does not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::json;

use crate::support::{Run, World, each_engine, run};

each_engine!(f8_sockets, f9_started_in_home, f15_coco_s_own_places, consent_ends_with_a_change);

/// Connects to each of its arguments and says what came of it.
const CONNECT: &str = "
import socket, sys
for path in sys.argv[1:]:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            print(client.recv(9).decode())
    except OSError as error:
        print(type(error).__name__)
";

/// A service of the caller's own that answers whoever connects.
fn serve(world: &World, path: &Path) {
    world.make_directory(path.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(path).unwrap();
    let (uid, gid) = world.owner();
    chown(path, Some(uid), Some(gid)).unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            // The client may be gone already.
            let _ = std::io::Write::write_all(&mut client.unwrap(), b"answered");
        }
    });
}

fn f8_sockets(world: &World) {
    let project = world.project("socket");
    let places = ["server.sock", "deep/er/engine.sock", ".vscode/agent"].map(|name| project.join(name));
    for place in &places {
        serve(world, place);
    }
    let paths: Vec<&str> = places.iter().map(|place| place.to_str().unwrap()).collect();
    for access in ["ro", "rw"] {
        world.python("connector", &json!({"mounts": [{"src": ".", "opts": access}]}));
        let tried = world.coco_in(&project, ["run", "connector", "-c", CONNECT].iter().chain(&paths));
        let refused = ["ConnectionRefusedError"; 3].join("\n");
        assert_eq!(tried.succeeds().text(), refused, "{access}");
    }
    // Nothing came of it on the host: they are sockets as before.
    assert_eq!(run(world.command("python3").args(["-c", CONNECT]).args(&paths)).text(), ["answered"; 3].join("\n"));
    // The control: a bare container with the same read-only mount is answered.
    let mount = format!("{}:{}:ro", project.display(), project.display());
    let mut bare = vec!["run", "--rm", "--pull=never", "--network=none", "-v", &mount, "--entrypoint=python3"];
    bare.extend(["localhost/coco:python", "-c", CONNECT]);
    assert_eq!(world.engine(bare.iter().chain(&paths)).succeeds().text(), ["answered"; 3].join("\n"));
    // A directory elsewhere that holds one, by its name, by a link, and above it.
    let house = world.home.join("sockets");
    serve(world, &house.join("default/docker.sock"));
    let _ = fs::remove_file(project.join("link"));
    std::os::unix::fs::symlink(&house, project.join("link")).unwrap();
    let link = project.join("link");
    for source in ["~/sockets", "~/sockets/default", link.to_str().unwrap()] {
        world.python("holder", &json!({"mounts": [{"src": source, "dst": "/s"}]}));
        let refused = world.coco(["run", "holder", "-c", "print('ran')"]);
        assert_eq!(refused.exits(125).text(), "", "{source}");
        refused.complains("it holds the socket").complains("coco: hint:");
    }
    // One itself needs consent, and is then what was asked for.
    world.python("socket", &json!({"mounts": [{"src": "~/sockets/default/docker.sock", "dst": "/s"}]}));
    let connect = || world.coco(["run", "socket", "-c", CONNECT, "/s"]);
    connect().exits(125).complains("asks for the socket").complains("coco allow socket");
    assert!(world.coco(["allow", "socket"]).succeeds().text().contains("as good as root"));
    assert_eq!(connect().succeeds().text(), "answered");
    world.coco(["allow", "--revoke", "socket"]).succeeds();
    connect().exits(125);
}

/// A home of its own below the world's, which knows the world's images.
struct House<'a> {
    world: &'a World,
    home: PathBuf,
}

impl<'a> House<'a> {
    fn new(world: &'a World) -> House<'a> {
        world.python("warm-house", &json!({}));
        let home = world.project("house");
        let state = home.join(".local/state/coco");
        world.make_directory(&state).unwrap();
        run(world.command("cp").arg("-r").arg(world.home.join(".local/state/coco/images")).arg(&state)).succeeds();
        House { world, home }
    }

    fn tool(&self, name: &str, file: &serde_json::Value) {
        self.world.write(self.home.join(format!(".local/share/coco/tools/{name}.json")), file.to_string());
    }

    fn coco(&self, arguments: &[&str]) -> Run {
        let mut coco: Command = self.world.command(&self.world.coco);
        coco.env("HOME", &self.home).env("COCO_BIN_DIR", self.home.join(".local/bin")).args(arguments);
        // The engine's own files stay where they are.
        coco.env("XDG_CONFIG_HOME", self.home.join(".config"));
        run(coco.current_dir(&self.home))
    }
}

fn f9_started_in_home(world: &World) {
    let house = House::new(world);
    for (path, text) in [
        (".ssh/id_rsa", "secret"),
        (".config/gh/hosts.yml", "secret"),
        (".netrc", "secret"),
        (".bashrc", "before"),
        ("notes.txt", "notes"),
        ("src/.envrc", "before"),
    ] {
        world.write(house.home.join(path), text);
    }
    let file = |source: &str| json!({"tool": "python@system", "command": "python3", "workdir": ".", "mounts": [{"src": source, "opts": "rw"}]});
    let probe = "
import os
for path in ('.ssh/id_rsa', '.config/gh/hosts.yml', '.netrc', '.bashrc', '.local/share/coco/tools/x.json', 'notes.txt'):
    try:
        print(path, open(path).read() or 'empty')
    except OSError as error:
        print(path, type(error).__name__)
for path in ('.ssh/authorized_keys', '.netrc', '.bashrc', 'src/.envrc', '.local/share/coco/tools/evil.json', '.config/coco/allowed/evil', '.local/bin/evil', '.bash_login', 'made'):
    try:
        open(path, 'w').write('evil')
        print('wrote', path)
    except OSError as error:
        print('kept', path)
for path in ('.ssh', '.config', '.config/gh', '.local', '.local/share/coco', 'src'):
    try:
        os.rename(path, 'moved')
        print('moved', path)
    except OSError: pass
";
    house.tool("x", &file("."));
    let refused = house.coco(&["run", "x", "-c", probe]);
    assert_eq!(refused.exits(125).text(), "");
    refused.complains("write access to your whole home directory").complains("coco allow --home x");
    // Consent to the file is not consent to that.
    house.coco(&["allow", "x"]).succeeds();
    house.coco(&["run", "x", "-c", probe]).exits(125);
    let agreed = house.coco(&["allow", "--home", "x"]);
    assert!(agreed.succeeds().text().contains("write access to your whole home directory"), "{agreed:?}");
    let expected = "\
.ssh/id_rsa FileNotFoundError
.config/gh/hosts.yml FileNotFoundError
.netrc empty
.bashrc empty
.local/share/coco/tools/x.json FileNotFoundError
notes.txt notes
kept .ssh/authorized_keys
kept .netrc
kept .bashrc
kept src/.envrc
kept .local/share/coco/tools/evil.json
kept .config/coco/allowed/evil
kept .local/bin/evil
wrote .bash_login
wrote made";
    let seen = house.coco(&["run", "x", "-c", probe]);
    assert_eq!(seen.succeeds().text(), expected);
    // What was not there before can be made, and is told.
    seen.complains(".bash_login, which may run programs on your machine");
    assert!(!seen.errors().contains("made/"), "{seen:?}");
    for (path, text) in [(".ssh/id_rsa", "secret"), (".bashrc", "before"), (".netrc", "secret"), ("made", "evil")] {
        assert_eq!(fs::read_to_string(house.home.join(path)).unwrap(), text, "{path}");
    }
    // The whole of home by its own name needs consent as well.
    house.tool("y", &file("~"));
    house.coco(&["run", "y", "-c", "print('ran')"]).exits(125).complains("write access to your whole home directory");
    house.coco(&["allow", "y"]).succeeds();
    assert_eq!(house.coco(&["run", "y", "-c", "print(open('.netrc').read(), 'ran')"]).succeeds().text(), "ran");
}

/// Not even consent opens these.
fn f15_coco_s_own_places(world: &World) {
    world.python("own", &json!({}));
    let runtime = Path::new(world.variable("XDG_RUNTIME_DIR")).join("coco");
    let own = [".local/share/coco", ".local/share/coco/tools", ".local/share/coco/volumes", ".local/state/coco"];
    let mut sources: Vec<PathBuf> = own.iter().map(|path| world.home.join(path)).collect();
    sources.extend([world.bin(), runtime, world.home.join(".config/coco"), world.home.join(".local/share")]);
    for source in &sources {
        world.make_directory(source).unwrap();
        for access in ["ro", "rw"] {
            world.python("own", &json!({"mounts": [{"src": source, "dst": "/x", "opts": access}]}));
            world.coco(["allow", "own"]).succeeds();
            let refused = world.coco(["run", "own", "-c", "print('ran')"]);
            assert_eq!(refused.exits(125).text(), "", "{source:?} {access}");
            refused.complains("is not mounted");
        }
    }
    // A socket in one of them, which consent would open elsewhere.
    let socket = world.home.join(".local/share/coco/volumes/x.sock");
    let _ = fs::remove_file(&socket);
    serve(world, &socket);
    world.python("own", &json!({"mounts": [{"src": socket, "dst": "/x"}]}));
    world.coco(["allow", "own"]).succeeds();
    world.coco(["run", "own", "-c", "print('ran')"]).exits(125).complains("no tool may see");
    // The control: what lies beside them.
    let beside = world.home.join(".local/share/cocoa");
    world.make_directory(&beside).unwrap();
    world.python("own", &json!({"mounts": [{"src": beside, "dst": "/x", "opts": "ro"}]}));
    assert_eq!(world.says("own", "print('ran')"), "ran");
}

/// C1: agreed to is a file as it was, on every engine.
fn consent_ends_with_a_change(world: &World) {
    let file = |argument: &str| world.python("agreed", &json!({"podman_args": [argument]}));
    let probe = "print(open('/proc/sys/kernel/hostname').read(), end='')";
    file("--env=FROM_ARGUMENTS=1");
    let code = "import os; print(os.environ.get('FROM_ARGUMENTS'))";
    world.coco(["run", "agreed", "-c", code]).exits(125).complains("asks for the engine argument");
    world.coco(["allow", "agreed"]).succeeds();
    world.coco(["run", "agreed", "-c", "print('ran')"]).succeeds();
    for change in ["--env=FROM_ARGUMENTS=2", "--privileged", "--env=FROM_ARGUMENTS=1 "] {
        file(change);
        let refused = world.coco(["run", "agreed", "-c", code]);
        assert_eq!(refused.exits(125).text(), "", "{change}");
        refused.complains("coco allow agreed");
    }
    // A file in the place of the record, made by who does not know the digest.
    world.write(world.home.join(".config/coco/allowed/agreed"), "home\n");
    world.coco(["run", "agreed", "-c", code]).exits(125);
    // The control: harmless ones need none, and do what they say.
    file("--hostname=harmless");
    assert_eq!(world.says("agreed", probe), "harmless");
    let record = world.home.join(".config/coco/allowed/agreed");
    assert_eq!(fs::metadata(record).unwrap().permissions().mode() & 0o022, 0);
}
