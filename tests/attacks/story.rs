//! F13, F14, N25 end to end: a malicious package and an honest one, from a registry of the tests' own, installed by the
//! real mise and npm in coco's own install phase. The malicious one attacks twice: by its install script, and as the
//! program that the user then runs with the project writable.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::network::{Network, each_engine_with_network};
use crate::support::registry::{Package, Registry, tree};
use crate::support::{Background, World, command, marker, processes_with, run, servers, until};

each_engine_with_network!(
    a_malicious_package,
    f14_mise_configuration_of_a_package,
    f14_a_package_that_replaces_mise,
    p13_killed_while_mise_is_asked,
);

/// Something that the package tries, and what comes of it in the sandbox.
struct Attempt {
    action: &'static str,
    name: &'static str,
    target: String,
    comes_to: &'static str,
}

fn attempt(action: &'static str, name: &'static str, target: impl Into<String>, comes_to: &'static str) -> Attempt {
    Attempt { action, name, target: target.into(), comes_to }
}

/// The outcome of each action where nothing is in its way.
fn success(action: &str) -> &'static str {
    match action {
        "read" => "read",
        "list" => "listed",
        "write" => "written",
        "look for" => "seen",
        "connect to" => "connected",
        _ => panic!("{action}"),
    }
}

fn a_malicious_package(world: &World, network: &Network) {
    let scene = Scene::set(world, network);
    let (install, run_phase) = (scene.while_installed(), scene.while_it_ran());
    let registry = Registry::start(world, network, &[malicious(&install, &run_phase).package(), honest()]);
    let coco = |arguments: &[&str]| registry.coco(world, network, &scene.project, arguments);
    world.tool("honest-tool", &json!({"tool": "npm:honest-tool@1.0.0"}));
    world.tool("honest-later", &json!({"tool": "npm:honest-tool@1.0.0", "command": "honest-tool"}));
    world.tool(
        "left-padded",
        &json!({"tool": "npm:left-padded@1.0.0", "mounts": [{"src": "@project", "opts": "rw"}], "workdir": "."}),
    );
    // The honest tool first, so that there is something to poison.
    assert_eq!(coco(&["run", "honest-tool"]).succeeds().text(), HONEST);
    let (tool_before, project_before) = (tree(&world.volume("honest-tool")), tree(&scene.project));
    let settings = [".config", ".ssh", ".local/share/coco/tools", ".local/bin"].map(|place| world.home.join(place));
    let settings_before = settings.each_ref().map(|place| tree(place));

    let attacked = coco(&["run", "left-padded"]);
    let told = attacked.succeeds().text();
    assert_eq!(told, expected(&install, &run_phase, |attempt| attempt.comes_to), "{}", attacked.errors());
    attacked.complains("coco: denied left-padded -> ");

    // Nothing on this machine has changed but the one file that the project grants; nobody was reached.
    let mut project_after = tree(&scene.project);
    assert!(project_after.remove("index.js") != project_before.get("index.js").cloned(), "the grant does nothing");
    let mut project_before = project_before;
    project_before.remove("index.js");
    assert_eq!(project_after, project_before);
    assert_eq!(settings.each_ref().map(|place| tree(place)), settings_before);
    assert_eq!((scene.outside.connections(), scene.lan.connections()), (0, 0));
    // The honest tool is what it was, byte for byte, and installed anew after the malicious one it comes out the same.
    assert_eq!(tree(&world.volume("honest-tool")), tool_before);
    for tool in ["honest-tool", "honest-later"] {
        assert_eq!(coco(&["run", tool]).succeeds().text(), HONEST);
    }
    let program = "mise/installs/npm-honest-tool/1.0.0";
    let (first, later) = (installation(world, "honest-tool"), installation(world, "honest-later"));
    let bytes = |data: &Path| tree(&data.join(program).join("lib/node_modules/honest-tool"));
    assert!(!bytes(&first).is_empty() && bytes(&first) == bytes(&later));

    scene.without_coco(&install, &run_phase);
    // For the README: what the test has seen.
    if let Some(place) = crate::support::variable("COCO_TEST_STORY") {
        fs::write(place, format!("{}---\n{told}\n", attacked.errors())).unwrap();
    }
}

const METADATA: &str = "169.254.169.254:80";

const HONEST: &str = "honest-tool 1.0.0, untouched";

/// Where the attack takes place.
struct Scene<'a> {
    world: &'a World,
    network: &'a Network,
    project: PathBuf,
    outside: servers::Server,
    lan: servers::Server,
    own: servers::Server,
    name: String,
}

impl<'a> Scene<'a> {
    fn set(world: &'a World, network: &'a Network) -> Scene<'a> {
        let project = world.project("shop");
        for (file, text) in [
            (".git/HEAD", "ref: refs/heads/main\n"),
            (".git/config", "[core]\n\tbare = false\n"),
            (".git/hooks/pre-commit.sample", "exit 0\n"),
            (".git/objects/x", ""),
            (".git/refs/x", ""),
            (".envrc", "export A=b\n"),
            (".vscode/tasks.json", "{}\n"),
            ("index.js", "1;\n"),
        ] {
            world.write(project.join(file), text);
        }
        world.write(world.home.join(".ssh/id_ed25519"), marker("ssh-key"));
        world.write(world.home.join(".config/mise/config.toml"), "[env]\nFROM_HOST = 'yes'\n");
        world.write(world.home.join(".local/bin/other"), "#!/bin/sh\n");
        let outside = network.address();
        let name = format!("exfiltration.{}", network.domain());
        network.resolve(&name, &[outside]);
        Scene {
            world,
            network,
            project,
            outside: network.serve(outside, 443, servers::silent),
            lan: network.serve(IpAddr::from([10, 6, 0, network.number()]), 443, servers::silent),
            own: network.serve_beside_coco(SocketAddr::from(([127, 0, 0, 1], network.port())), servers::silent),
            name,
        }
    }

    fn home(&self, file: &str) -> String {
        self.world.home.join(file).to_str().unwrap().to_owned()
    }

    fn in_project(&self, file: &str) -> String {
        self.project.join(file).to_str().unwrap().to_owned()
    }

    fn other_tool(&self) -> String {
        self.world.volume("honest-tool").to_str().unwrap().to_owned()
    }

    /// The install script's attempts. It may write the sandbox's own root, which is thrown away.
    fn while_installed(&self) -> Vec<Attempt> {
        const NOT_THERE: &str = "no such file or directory";
        const NO_NETWORK: &str = "network is unreachable";
        vec![
            attempt("list", "the project", self.in_project(""), NOT_THERE),
            attempt("list", "~", self.home(""), NOT_THERE),
            attempt("read", "~/.ssh/id_ed25519", self.home(".ssh/id_ed25519"), NOT_THERE),
            attempt("read", "~/.config/mise/config.toml", self.home(".config/mise/config.toml"), NOT_THERE),
            attempt("look for", "API_TOKEN", "API_TOKEN", "not set"),
            attempt("connect to", "docker.sock", "/run/docker.sock", NOT_THERE),
            attempt("connect to", "podman.sock", "/run/podman/podman.sock", NOT_THERE),
            attempt("connect to", "the LAN", self.lan.address.to_string(), NO_NETWORK),
            attempt("connect to", "the metadata address", METADATA, NO_NETWORK),
            attempt("connect to", "this machine's 127.0.0.1", self.own.address.to_string(), "connection refused"),
            attempt("connect to", "198.51.100.x", self.outside.address.to_string(), NO_NETWORK),
            attempt("list", "honest-tool's installation", self.other_tool(), NOT_THERE),
            attempt("list", "honest-tool's cache", self.other_tool() + "/install-cache", NOT_THERE),
            attempt("write", "/usr/local/bin/honest-tool", "/usr/local/bin/honest-tool", "written"),
            attempt("write", "its own installation", "/coco/data/honest-tool", "written"),
        ]
    }

    /// The program's attempts.
    fn while_it_ran(&self) -> Vec<Attempt> {
        const NOT_THERE: &str = "no such file or directory";
        const READ_ONLY: &str = "read-only file system";
        let other = self.other_tool() + "/honest";
        vec![
            attempt("write", "index.js", self.in_project("index.js"), "written"),
            attempt("write", ".git/hooks/pre-commit", self.in_project(".git/hooks/pre-commit"), READ_ONLY),
            attempt("write", ".git/config", self.in_project(".git/config"), READ_ONLY),
            attempt("write", ".envrc", self.in_project(".envrc"), READ_ONLY),
            attempt("write", ".vscode/tasks.json", self.in_project(".vscode/tasks.json"), READ_ONLY),
            attempt("read", "/usr/local/bin/honest-tool", "/usr/local/bin/honest-tool", NOT_THERE),
            attempt("write", "/usr/local/bin/honest-tool", "/usr/local/bin/honest-tool", READ_ONLY),
            attempt("write", "its own installation", "/coco/data/honest-tool", READ_ONLY),
            attempt("write", "the shared runtimes", "/coco/runtimes/node", READ_ONLY),
            attempt("write", "honest-tool's installation", other, NOT_THERE),
            attempt("write", "coco's files", self.home(".local/share/coco/tools/honest-tool.json"), NOT_THERE),
            attempt("write", "~/.local/bin/honest-tool", self.home(".local/bin/honest-tool"), NOT_THERE),
            attempt("read", "~/.ssh/id_ed25519", self.home(".ssh/id_ed25519"), NOT_THERE),
            attempt("look for", "API_TOKEN", "API_TOKEN", "not set"),
            attempt("connect to", "a host by name", format!("{}:443", self.name), "unknown name"),
            attempt("connect to", "198.51.100.x", self.outside.address.to_string(), "network is unreachable"),
            attempt("connect to", "coco itself", "/run/coco/control.sock", "connection refused"),
            attempt("read", "init's environment", "/proc/1/environ", "permission denied"),
        ]
    }

    /// The control: the very package, run by itself on a copy of everything it wants. Each attempt succeeds.
    fn without_coco(&self, install: &[Attempt], run_phase: &[Attempt]) {
        let copy = tempfile::tempdir_in(&self.world.root).unwrap();
        // Beside the metadata address: another test may be there.
        let metadata = self.network.serve(IpAddr::from([169, 254, 170, self.network.number()]), 80, servers::silent);
        let copied = |target: &str| match target.strip_prefix('/') {
            Some(path) => copy.path().join(path).to_str().unwrap().to_owned(),
            None if target == METADATA => metadata.address.to_string(),
            None => target.to_owned(),
        };
        let again = |attempts: &[Attempt]| -> Vec<Attempt> {
            attempts.iter().map(|old| attempt(old.action, old.name, copied(&old.target), old.comes_to)).collect()
        };
        let (install, run_phase) = (again(install), again(run_phase));
        let mut sockets = Vec::new();
        for attempt in install.iter().chain(&run_phase).filter(|attempt| attempt.target.starts_with('/')) {
            let place = Path::new(&attempt.target);
            if attempt.target.ends_with('/') || attempt.action == "list" {
                fs::create_dir_all(place).unwrap();
            } else {
                fs::create_dir_all(place.parent().unwrap()).unwrap();
            }
            match attempt.action {
                "connect to" => sockets.push(UnixListener::bind(place).unwrap()),
                "read" => fs::write(place, "secret").unwrap(),
                _ => {}
            }
        }
        let package = copy.path().join("package");
        fs::create_dir(&package).unwrap();
        for (name, text) in malicious(&install, &run_phase).package().files {
            fs::write(package.join(name), text).unwrap();
        }
        let bare = |program: &str| {
            let mut python = command("/usr/bin/python3");
            python.env_clear().env("API_TOKEN", "token-of-the-caller").arg(package.join(program));
            run(&mut self.network.command(&python)).succeeds().text()
        };
        bare("postinstall.py");
        let told = bare("left-padded.py");
        assert_eq!(told, expected(&install, &run_phase, |attempt| success(attempt.action)));
        // A connection stands before its server has taken it.
        let counts = || (self.outside.connections(), self.lan.connections(), metadata.connections());
        until("each server has its connections", Duration::from_secs(10), || (counts() == (3, 1, 1)).then_some(()));
        let hook = fs::read_to_string(copied(&self.in_project(".git/hooks/pre-commit"))).unwrap();
        assert!(hook.contains("pwned"), "{hook}");
    }
}

/// What the program prints when its attempts come to this.
fn expected(install: &[Attempt], run_phase: &[Attempt], comes_to: impl Fn(&Attempt) -> &'static str) -> String {
    let lines = |attempts: &[Attempt]| -> Vec<String> {
        attempts.iter().map(|one| format!("  {} {}: {}", one.action, one.name, comes_to(one))).collect()
    };
    format!("while it was installed:\n{}\nwhile it ran:\n{}", lines(install).join("\n"), lines(run_phase).join("\n"))
}

/// The malicious package's files, with its list of targets.
struct Malicious(Vec<(&'static str, String)>);

fn malicious(install: &[Attempt], run_phase: &[Attempt]) -> Malicious {
    let rows = |attempts: &[Attempt]| -> Vec<Value> {
        attempts.iter().map(|one| json!([one.action, one.name, one.target])).collect()
    };
    let targets = json!({"install": rows(install), "run": rows(run_phase)});
    Malicious(vec![
        ("attempts.py", include_str!("malicious/attempts.py").to_owned()),
        ("postinstall.py", include_str!("malicious/postinstall.py").to_owned()),
        ("left-padded.py", include_str!("malicious/left-padded.py").to_owned()),
        ("targets.json", targets.to_string()),
    ])
}

impl Malicious {
    fn package(&self) -> Package<'_> {
        Package {
            manifest: json!({
                "name": "left-padded",
                "version": "1.0.0",
                "bin": {"left-padded": "left-padded.py"},
                "scripts": {"postinstall": "python3 postinstall.py"},
            }),
            files: self.0.iter().map(|(name, text)| (*name, text.as_str())).collect(),
        }
    }
}

fn honest() -> Package<'static> {
    Package {
        manifest: json!({"name": "honest-tool", "version": "1.0.0", "bin": {"honest-tool": "honest-tool.py"}}),
        files: vec![("honest-tool.py", include_str!("malicious/honest-tool.py"))],
    }
}

/// The directory of the recorded installation.
fn installation(world: &World, tool: &str) -> PathBuf {
    let record: Value = serde_json::from_slice(&fs::read(world.record(tool)).unwrap()).unwrap();
    world.volume(tool).join(record["data"].as_str().unwrap())
}

/// A package that does something while it is installed; its program says where it looks for programs, and more.
fn planter(postinstall: &str) -> Package<'_> {
    Package {
        manifest: json!({
            "name": "planter",
            "version": "1.0.0",
            "bin": {"planter": "planter.py"},
            "scripts": {"postinstall": "python3 postinstall.py"},
        }),
        files: vec![("postinstall.py", postinstall), ("planter.py", include_str!("malicious/planter.py"))],
    }
}

/// mise trusts its configuration, which may name programs. A package writes some wherever mise could look for it: in
/// its next installation, mise goes by none of it.
fn f14_mise_configuration_of_a_package(world: &World, network: &Network) {
    let postinstall = include_str!("malicious/configuration.py");
    let registry = Registry::start(world, network, &[planter(postinstall), honest()]);
    let project = world.project("planter");
    let coco = |arguments: &[&str]| registry.coco(world, network, &project, arguments);
    world.tool("planter", &json!({"tool": "npm:planter@1.0.0"}));
    world.tool("honest-beside", &json!({"tool": "npm:honest-tool@1.0.0", "command": "honest-tool"}));
    let path =
        "/coco/data/mise/installs/npm-planter/1.0.0/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for again in [["run", "planter"], ["upgrade", "planter"], ["run", "planter"]] {
        let said = coco(&again).succeeds().text();
        assert!(again[0] == "upgrade" || said == format!("{path} not hooked, untouched"), "{said}");
        let record: Value = serde_json::from_slice(&fs::read(world.record("planter")).unwrap()).unwrap();
        assert_eq!(record["environment"], json!([]), "{record}");
    }
    assert_eq!(coco(&["run", "honest-beside"]).succeeds().text(), HONEST);
    // The control: told nothing, the same mise goes by such a file.
    let script = "cd /tmp; printf %s \"$1\" > post.py; python3 post.py; exec env MISE_YES=1 mise env --json";
    let network_none = ["run", "--rm", "--network=none", "--entrypoint=sh"];
    let asked = [&registry.image, "-c", script, "sh", postinstall].map(str::to_owned);
    let bare = world.engine(network_none.map(str::to_owned).into_iter().chain(asked)).succeeds().text();
    let bare: Value = serde_json::from_str(&bare).unwrap();
    assert_eq!(bare["PLANTED"], "pwned", "{bare}");
}

/// A package that runs as the sandbox's root may replace the very mise that is asked what was installed: its answers
/// are not trusted, and its silence keeps nobody.
fn f14_a_package_that_replaces_mise(world: &World, network: &Network) {
    let project = world.project("replacer");
    let answers = |variables: &str| {
        let variables = variables.replace("OWN", "/coco/data/mise/installs/npm-planter/1.0.0/bin");
        include_str!("malicious/replace.py").replace(
            "ANSWERS",
            &format!(
                "case $1 in where) echo /coco/data/mise/installs/npm-planter/1.0.0;; *) echo '{variables}';; esac"
            ),
        )
    };
    for (number, (variables, complaint)) in [
        (r#"{"PATH": "OWN", "LD_PRELOAD": "/coco/data/x.so"}"#, "it reports the variable \"LD_PRELOAD\""),
        (r#"{"PATH": "OWN:/coco/data/../../workspace/bin"}"#, "it reports \"/coco/data/../../workspace/bin\""),
    ]
    .into_iter()
    .enumerate()
    {
        let postinstall = answers(variables);
        let registry = Registry::start(world, network, &[planter(&postinstall)]);
        let tool = format!("replacer{number}");
        world.tool(&tool, &json!({"tool": "npm:planter@1.0.0", "command": "planter"}));
        let refused = registry.coco(world, network, &project, &["run", &tool]);
        refused.exits(125).complains(complaint).complains("do not trust this package");
        assert!(!world.record(&tool).exists());
    }
    // The control: with answers as mise's own are, the replaced one is believed, and what it adds of other places is
    // left out.
    let postinstall = answers(r#"{"PATH": "/workspace/bin:OWN:/tmp"}"#);
    let registry = Registry::start(world, network, &[planter(&postinstall)]);
    world.tool("replacer", &json!({"tool": "npm:planter@1.0.0", "command": "planter"}));
    let said = registry.coco(world, network, &project, &["run", "replacer"]).succeeds().text();
    assert!(said.starts_with("/coco/data/mise/installs/npm-planter/1.0.0/bin:/usr/local/sbin:"), "{said}");
}

/// P13 in the install phase: a mise that never answers does not outlive coco.
fn p13_killed_while_mise_is_asked(world: &World, network: &Network) {
    let mark = marker("silent-mise");
    let postinstall = include_str!("malicious/replace.py").replace("ANSWERS", &format!("sh -c 'sleep 1000; : {mark}'"));
    let registry = Registry::start(world, network, &[planter(&postinstall)]);
    world.tool("silent-mise", &json!({"tool": "npm:planter@1.0.0", "command": "planter"}));
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut coco = Background::start(&mut network.world_command(world, |coco| {
            coco.env("COCO_IMAGE", &registry.image).args(["run", "silent-mise"]);
        }));
        // The control: it is there until coco goes.
        until("the silent mise", Duration::from_secs(120), || (!processes_with(&mark).is_empty()).then_some(()));
        coco.send(signal);
        coco.ends(Duration::from_secs(5));
        until("the end of everything", Duration::from_secs(4), || {
            (processes_with(&mark).is_empty() && world.containers("silent-mise").is_empty()).then_some(())
        });
    }
}
