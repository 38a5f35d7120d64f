//! Setting an engine's world up: once in a process, to the end or to the reason why not. It ends with a container that
//! starts, so that what is broken about the engine itself is told here and not by every test in words of its own.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::json;

use super::outcome::unless_it_panics;
use super::{Engine, Unusable, User, World, binary, command, printable, variable};

/// What a world's commands find programs on, behind its own links.
const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// As `machine.sh` has it.
const BASE_IMAGE: &str = "docker.io/library/debian:forky-slim";
/// The longest that the engine may take for an answer, in seconds, and `machine.sh` for an image that it has to make.
const ANSWER_SECONDS: &str = "120";
const MACHINE_SECONDS: &str = "900";

/// Whether a program is installed where the worlds' commands find it.
pub fn is_installed(program: &str) -> bool {
    PROGRAMS.split(':').any(|place| {
        let metadata = fs::metadata(Path::new(place).join(program));
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

impl Engine {
    /// What of it is not on this machine, if anything.
    fn missing(self, am_root: bool) -> Option<String> {
        let programs: &[&str] = match self {
            Engine::PodmanRootful | Engine::PodmanRootless => &["podman"],
            // The tests have a daemon of their own.
            Engine::Docker => &["docker", "dockerd"],
        };
        if let Some(missing) = programs.iter().find(|program| !is_installed(program)) {
            return Some(format!("{missing} is not installed"));
        }
        (self != Engine::PodmanRootless && !am_root).then(|| "it needs root".to_owned())
    }
}

impl World {
    /// The engine's world in this process, made when it is first asked for.
    pub fn of(engine: Engine) -> Result<&'static World, &'static Unusable> {
        static WORLDS: [OnceLock<Result<World, Unusable>>; 3] = [const { OnceLock::new() }; 3];
        WORLDS[engine as usize].get_or_init(|| unless_it_panics(|| World::prepare(engine))).as_ref()
    }

    fn prepare(engine: Engine) -> Result<World, Unusable> {
        let am_root = nix::unistd::geteuid().is_root();
        if let Some(missing) = engine.missing(am_root) {
            return Err(Unusable::Absent(missing));
        }
        let state = variable("COCO_TEST_STATE")
            .map_or_else(|| PathBuf::from(format!("/var/tmp/coco-tests-{}", nix::unistd::geteuid())), PathBuf::from);
        let root = state.join(engine.name());
        fs::create_dir_all(&root).map_err(|error| format!("can't make {}: {error}", root.display()))?;
        // Another run of these tests would remove this one's files.
        let lock = File::create(root.join("lock")).and_then(|file| file.lock().map(|()| file));
        let lock = lock.map_err(|error| format!("can't lock {}: {error}", root.display()))?;
        let mut world = World {
            engine,
            home: root.join("home"),
            coco: root.join("coco"),
            root,
            user: None,
            variables: Vec::new(),
            python: OnceLock::new(),
            node: OnceLock::new(),
            _lock: lock,
        };
        world.variables = world.engine_variables(am_root)?;
        if engine == Engine::PodmanRootless && am_root {
            world.user = Some(test_user()?);
        }
        world.clean().map_err(|error| format!("can't clean {}: {error}", world.root.display()))?;
        world.copy_binary()?;
        world.answers("info", &["info"])?;
        world.base(am_root)?;
        let image = variable("COCO_BASE_IMAGE").unwrap_or_else(|| BASE_IMAGE.into());
        let start = ["run", "--rm", "--pull=never", "--network=none", "--entrypoint=/bin/true"].map(OsStr::new);
        world.answers("run", &[start.as_slice(), &[&image]].concat())?;
        Ok(world)
    }

    /// What steers the engine, as `machine.sh` arranged it.
    fn engine_variables(&self, am_root: bool) -> Result<Vec<(OsString, OsString)>, String> {
        let mut variables = match (self.engine, am_root) {
            (Engine::PodmanRootful, _) => vec![("CONTAINERS_CONF".into(), self.configuration()?)],
            (Engine::PodmanRootless, true) => pairs(&machine(&[OsStr::new("user")])?),
            (Engine::PodmanRootless, false) => {
                vec![
                    ("CONTAINERS_CONF".into(), self.configuration()?),
                    ("CONTAINERS_STORAGE_CONF".into(), self.root.join("conf/storage.conf").into_os_string()),
                    ("XDG_RUNTIME_DIR".into(), variable("XDG_RUNTIME_DIR").ok_or("XDG_RUNTIME_DIR is not set")?),
                ]
            }
            (Engine::Docker, _) => {
                let host = machine(&[OsStr::new("dockerd"), OsStr::new("start")])?;
                vec![("DOCKER_HOST".into(), host.trim().into())]
            }
        };
        variables.retain(|(name, _)| name != "HOME");
        if self.engine != Engine::PodmanRootless {
            variables.push(("XDG_RUNTIME_DIR".into(), self.root.join("run").into_os_string()));
        }
        variables.push(("HOME".into(), self.home.clone().into_os_string()));
        variables.push(("COCO_RUNTIME".into(), self.engine.program().into()));
        variables.push(("COCO_BIN_DIR".into(), self.bin().into_os_string()));
        variables.push(("COCO_OFFLINE".into(), "1".into()));
        if let Some(bundle) = variable("SSL_CERT_FILE") {
            variables.push(("COCO_CA_BUNDLE".into(), bundle));
        }
        if let Some(image) = variable("COCO_BASE_IMAGE") {
            variables.push(("COCO_BASE_IMAGE".into(), image));
        }
        let mut path = OsString::from(self.bin());
        path.push(":");
        path.push(PROGRAMS);
        variables.push(("PATH".into(), path));
        Ok(variables)
    }

    /// podman's configuration: the one that the caller chose, or one for this machine.
    fn configuration(&self) -> Result<OsString, String> {
        let directory = self.root.join("conf");
        machine(&[OsStr::new("conf"), directory.as_os_str()])?;
        Ok(variable("CONTAINERS_CONF").unwrap_or_else(|| directory.join("containers.conf").into_os_string()))
    }

    /// Removes what an earlier run left, but for the records of images.
    fn clean(&self) -> std::io::Result<()> {
        let kept = self.home.join(".local/state/coco/images");
        let saved = self.root.join("images");
        if kept.is_dir() {
            let _ = fs::remove_dir_all(&saved);
            fs::rename(&kept, &saved)?;
        }
        for left in ["home", "run"] {
            match fs::remove_dir_all(self.root.join(left)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        for directory in [".local/state/coco", ".local/share/coco/tools", ".local/bin", "p"] {
            self.make_directory(&self.home.join(directory))?;
        }
        self.make_directory(&self.root.join("run"))?;
        fs::set_permissions(self.root.join("run"), fs::Permissions::from_mode(0o700))?;
        if saved.is_dir() {
            fs::rename(&saved, &kept)?;
        }
        Ok(())
    }

    /// Puts the binary under test where the world's user can read it.
    fn copy_binary(&self) -> Result<(), String> {
        let (from, new) = (binary(), self.root.join("coco.new"));
        fs::copy(&from, &new)
            .and_then(|_| fs::rename(&new, &self.coco))
            .map_err(|error| format!("can't copy {} (make build): {error}", from.display()))
    }

    fn base(&self, am_root: bool) -> Result<(), String> {
        let name = match self.engine {
            _ if !am_root => "podman",
            Engine::PodmanRootful => "podman",
            Engine::PodmanRootless => "rootless",
            Engine::Docker => "docker",
        };
        // As root, machine.sh finds the user's own configuration.
        let own = |name: &OsStr| match self.engine {
            Engine::PodmanRootless => !am_root,
            Engine::PodmanRootful => name == "CONTAINERS_CONF",
            Engine::Docker => name == "DOCKER_HOST",
        };
        let variables = self.variables.iter().filter(|(name, _)| own(name)).map(|(name, value)| (name, value));
        let output = machine_command(&[OsStr::new("base"), OsStr::new(name)]).envs(variables).output();
        succeeded("machine.sh base", &output.map_err(|error| error.to_string())?).map(drop)
    }

    /// Insists that the engine does something.
    fn answers(&self, what: &str, arguments: &[impl AsRef<OsStr>]) -> Result<(), String> {
        let program = self.engine.program();
        let mut asking = self.command("timeout");
        asking.arg(ANSWER_SECONDS).arg(program).args(arguments).stdin(Stdio::null());
        succeeded(&format!("{program} {what}"), &asking.output().map_err(|error| error.to_string())?).map(drop)
    }

    /// Has coco build an image by running a tool in it; the first to ask waits for that, and what failed once is not
    /// tried again for every test.
    #[track_caller]
    pub fn has_image(&self, tool: &str, program: &str, built: &OnceLock<Result<(), String>>) {
        let outcome = built.get_or_init(|| {
            unless_it_panics(|| {
                let name = format!("warm-{program}");
                self.tool(&name, &json!({"tool": tool, "command": program}));
                let run = self.coco(["run", &name, "--version"]);
                if run.code() == 0 { Ok(()) } else { Err(format!("{run:?}")) }
            })
        });
        if let Err(reason) = outcome {
            panic!("{} is here, and coco can't make its image for {tool}: {reason}", self.engine.name());
        }
    }
}

fn test_user() -> Result<User, String> {
    let name = variable("COCO_MACHINE_USER").unwrap_or_else(|| "cocotest".into());
    let user = nix::unistd::User::from_name(name.to_str().unwrap_or_default())
        .ok()
        .flatten()
        .ok_or("the test user is missing")?;
    Ok(User { name, uid: user.uid.as_raw(), gid: user.gid.as_raw() })
}

fn machine_command(arguments: &[&OsStr]) -> Command {
    let mut machine = command("timeout");
    machine.arg(MACHINE_SECONDS).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/machine.sh"));
    machine.args(arguments).stdin(Stdio::null());
    machine
}

/// Runs `machine.sh`; one at a time, for it is made for people.
fn machine(arguments: &[&OsStr]) -> Result<String, String> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock();
    let output = machine_command(arguments).output().map_err(|error| error.to_string())?;
    succeeded(&format!("machine.sh {}", printable(arguments[0].as_encoded_bytes())), &output)
}

fn succeeded(what: &str, output: &Output) -> Result<String, String> {
    if output.status.success() {
        return Ok(printable(&output.stdout));
    }
    let code = output.status.code().unwrap_or_default();
    Err(format!("{what} failed ({code}): {}", printable(&output.stderr).trim()))
}

fn pairs(text: &str) -> Vec<(OsString, OsString)> {
    text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}
