//! What the tests that need a real engine share: an isolated world for each engine, and ways to run coco in it.
//!
//! A world is a home of its own with its own state, links and engine configuration, below `COCO_TEST_STATE` (default: a
//! directory in /var/tmp). The images' records outlive a test run, so that a stage is built once; installations and
//! everything else are made anew. `machine.sh` makes the machine fit; nothing of it is in the product.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Once, OnceLock};
use std::time::Duration;

pub mod authority;
pub mod network;
pub mod probe;
mod processes;
pub mod pty;
pub mod registry;
pub mod resolver;
pub mod servers;

pub use processes::{Background, Run, marker, processes_with, run, run_with, until};

/// The longest that one command may take, an image's build included.
const LONGEST: Duration = Duration::from_secs(420);

/// An engine, and who calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// podman as root.
    PodmanRootful,
    /// podman as an ordinary user.
    PodmanRootless,
    /// docker as root, with a daemon of the tests' own.
    Docker,
}

impl Engine {
    /// Its name in messages and directories.
    pub fn name(self) -> &'static str {
        match self {
            Engine::PodmanRootful => "podman-rootful",
            Engine::PodmanRootless => "podman-rootless",
            Engine::Docker => "docker",
        }
    }

    /// Its program.
    pub fn program(self) -> &'static str {
        match self {
            Engine::PodmanRootful | Engine::PodmanRootless => "podman",
            Engine::Docker => "docker",
        }
    }

    /// As `machine.sh base` knows it, when root calls.
    fn base_name(self) -> &'static str {
        match self {
            Engine::PodmanRootful => "podman",
            Engine::PodmanRootless => "rootless",
            Engine::Docker => "docker",
        }
    }
}

/// Makes one `#[test]` for each engine out of a `fn(&World)`: `name::podman_rootful` and so on.
macro_rules! each_engine {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::support::{Engine, on};

            #[test]
            fn podman_rootful() {
                on(Engine::PodmanRootful, stringify!($name), super::$name);
            }

            #[test]
            fn podman_rootless() {
                on(Engine::PodmanRootless, stringify!($name), super::$name);
            }

            #[test]
            fn docker() {
                on(Engine::Docker, stringify!($name), super::$name);
            }
        }
    )+};
}
pub(crate) use each_engine;

/// Runs a test in an engine's world, or says why it can't.
pub fn on(engine: Engine, name: &str, test: fn(&World)) {
    match World::of(engine) {
        Ok(world) => test(world),
        Err(reason) => skip(engine, name, reason),
    }
}

/// Reports a test that can't run here. In CI, podman's may not be skipped.
pub fn skip(engine: Engine, name: &str, reason: &str) {
    assert!(
        engine == Engine::Docker || variable("CI").is_none_or(|value| value != "true"),
        "{name} on {} can't be skipped in CI: {reason}",
        engine.name()
    );
    // Past the harness, which shows a passing test's output to nobody.
    let _ = writeln!(std::io::stderr(), "skipped: {name} on {}: {reason}", engine.name());
    if let Some(list) = variable("COCO_TEST_SKIPPED") {
        let file = File::options().append(true).create(true).open(list);
        let _ = file.and_then(|mut file| writeln!(file, "{name} {}: {reason}", engine.name()));
    }
}

/// A variable of the tests' own environment.
pub fn variable(name: &str) -> Option<OsString> {
    #[expect(clippy::disallowed_methods, reason = "the tests' one look at their environment")]
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A command with the tests' own environment.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the tests' one way to start processes")]
    Command::new(program)
}

/// The user that the world's commands run as, when it is not the tests' own.
#[derive(Debug)]
struct User {
    name: OsString,
    uid: u32,
    gid: u32,
}

/// One engine's isolated world.
#[derive(Debug)]
pub struct World {
    /// Which engine.
    pub engine: Engine,
    /// Everything of this world.
    pub root: PathBuf,
    /// The caller's home.
    pub home: PathBuf,
    /// coco's binary, readable by the world's user.
    pub coco: PathBuf,
    user: Option<User>,
    variables: Vec<(OsString, OsString)>,
    ready: Once,
    _lock: File,
}

// --- setting up ---

impl World {
    /// The engine's world in this process, made when it is first asked for.
    fn of(engine: Engine) -> Result<&'static World, &'static String> {
        static WORLDS: [OnceLock<Result<World, String>>; 3] = [OnceLock::new(), OnceLock::new(), OnceLock::new()];
        WORLDS[engine as usize].get_or_init(|| World::prepare(engine)).as_ref()
    }

    fn prepare(engine: Engine) -> Result<World, String> {
        let am_root = nix::unistd::geteuid().is_root();
        if engine != Engine::PodmanRootless && !am_root {
            return Err("it needs root".to_owned());
        }
        if !Path::new("/usr/bin").join(engine.program()).exists() {
            return Err(format!("{} is not installed", engine.program()));
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
            ready: Once::new(),
            _lock: lock,
        };
        world.variables = world.engine_variables(am_root)?;
        if engine == Engine::PodmanRootless && am_root {
            world.user = Some(test_user()?);
        }
        world.clean().map_err(|error| format!("can't clean {}: {error}", world.root.display()))?;
        world.base(am_root)?;
        Ok(world)
    }

    /// What steers the engine, as `machine.sh` arranged it.
    fn engine_variables(&self, am_root: bool) -> Result<Vec<(OsString, OsString)>, String> {
        let conf = self.root.join("conf");
        let mut variables = match (self.engine, am_root) {
            (Engine::PodmanRootful, _) => {
                machine(&[OsStr::new("conf"), conf.as_os_str()])?;
                vec![("CONTAINERS_CONF".into(), conf.join("containers.conf").into_os_string())]
            }
            (Engine::PodmanRootless, true) => pairs(&machine(&[OsStr::new("user")])?),
            (Engine::PodmanRootless, false) => {
                machine(&[OsStr::new("conf"), conf.as_os_str()])?;
                vec![
                    ("CONTAINERS_CONF".into(), conf.join("containers.conf").into_os_string()),
                    ("CONTAINERS_STORAGE_CONF".into(), conf.join("storage.conf").into_os_string()),
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
        let mut path = OsString::from(self.bin());
        path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        variables.push(("PATH".into(), path));
        Ok(variables)
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
        fs::copy(binary(), self.root.join("coco.new"))?;
        fs::rename(self.root.join("coco.new"), &self.coco)
    }

    fn base(&self, am_root: bool) -> Result<(), String> {
        let name = if am_root { self.engine.base_name() } else { "podman" };
        let output = machine_command(&[OsStr::new("base"), OsStr::new(name)])
            .envs(
                self.variables
                    .iter()
                    .filter(|(name, _)| {
                        // As root, machine.sh finds the user's own; docker's client needs the host.
                        !am_root || self.engine == Engine::Docker && name == "DOCKER_HOST"
                    })
                    .map(|(name, value)| (name, value)),
            )
            .output()
            .map_err(|error| error.to_string())?;
        succeeded("base", &output).map(drop)
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

/// The binary under test.
pub fn binary() -> PathBuf {
    variable("COCO_TEST_BINARY").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/coco"), PathBuf::from)
}

fn machine_command(arguments: &[&OsStr]) -> Command {
    let mut machine = command(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/machine.sh"));
    machine.args(arguments).stdin(Stdio::null());
    machine
}

/// Runs `machine.sh`; one at a time, for it is made for people.
fn machine(arguments: &[&OsStr]) -> Result<String, String> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock();
    let output = machine_command(arguments).output().map_err(|error| error.to_string())?;
    succeeded(&printable(arguments[0].as_encoded_bytes()), &output)
}

fn succeeded(what: &str, output: &Output) -> Result<String, String> {
    if output.status.success() {
        return Ok(printable(&output.stdout));
    }
    Err(format!("machine.sh {what} failed: {}", printable(&output.stderr).trim()))
}

fn pairs(text: &str) -> Vec<(OsString, OsString)> {
    text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

/// Bytes as text for messages and comparisons of text.
pub fn printable(bytes: &[u8]) -> String {
    bytes
        .utf8_chunks()
        .map(|chunk| format!("{}{}", chunk.valid(), if chunk.invalid().is_empty() { "" } else { "\u{fffd}" }))
        .collect()
}

// --- using it ---

impl World {
    /// A variable of this world's environment.
    pub fn variable(&self, name: &str) -> &str {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found.and_then(|(_, value)| value.to_str()).unwrap()
    }

    /// Where links are made.
    pub fn bin(&self) -> PathBuf {
        self.home.join(".local/bin")
    }

    /// The caller's uid and gid.
    pub fn owner(&self) -> (u32, u32) {
        match &self.user {
            Some(user) => (user.uid, user.gid),
            None => (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()),
        }
    }

    /// Where the engine's records of installations are.
    pub fn record(&self, tool: &str) -> PathBuf {
        self.home.join(format!(".local/state/coco/installs/{}/{tool}.json", self.engine.program()))
    }

    /// A tool's own directory of installations.
    pub fn volume(&self, tool: &str) -> PathBuf {
        self.home.join(format!(".local/share/coco/volumes/{}/{tool}", self.engine.program()))
    }

    /// Makes a directory and what is missing above it, the caller's.
    pub fn make_directory(&self, path: &Path) -> std::io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.make_directory(parent)?;
        }
        match fs::create_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
            made => made?,
        }
        let (uid, gid) = self.owner();
        chown(path, Some(uid), Some(gid))
    }

    /// A new project directory of the caller's; its name has a counter, for a tool's name may come twice.
    pub fn project(&self, name: impl AsRef<OsStr>) -> PathBuf {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed).to_string();
        let path = self.home.join("p").join(number).join(name.as_ref());
        self.make_directory(&path).unwrap();
        path
    }

    /// Writes a file of the caller's.
    pub fn write(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let path = path.as_ref();
        self.make_directory(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        let (uid, gid) = self.owner();
        chown(path, Some(uid), Some(gid)).unwrap();
    }

    /// Writes a coco file.
    pub fn tool(&self, name: &str, file: &serde_json::Value) {
        self.write(self.home.join(format!(".local/share/coco/tools/{name}.json")), file.to_string());
    }

    /// Makes `name` the image's own python, with more keys; sees to it that the image is there.
    pub fn python(&self, name: &str, more: &serde_json::Value) {
        let mut file = serde_json::json!({"tool": "python@system", "command": "python3"});
        let members = file.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        self.tool(name, &file);
        self.ready.call_once_force(|_| {
            self.tool("warm", &serde_json::json!({"tool": "python@system", "command": "python3"}));
            self.coco(["run", "warm", "-c", "pass"]).succeeds();
        });
    }

    /// A command in this world: its user, its environment and nothing of the tests' own.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut built = match &self.user {
            None => command(program),
            Some(user) => {
                let mut built = command("setpriv");
                built.arg("--reuid").arg(&user.name).arg(format!("--regid={}", user.gid));
                built.args(["--init-groups", "--inh-caps=-all", "--"]).arg(program);
                built
            }
        };
        built.env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        built.current_dir(&self.home);
        built
    }

    /// `coco` with arguments, in the home.
    pub fn coco<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        run(self.command(&self.coco).args(arguments))
    }

    /// `coco` with arguments, in a directory.
    pub fn coco_in<A: AsRef<OsStr>>(&self, directory: &Path, arguments: impl IntoIterator<Item = A>) -> Run {
        run(self.command(&self.coco).args(arguments).current_dir(directory))
    }

    /// Runs python code as the tool `name` and gives what it prints.
    pub fn says(&self, name: &str, code: &str) -> String {
        self.coco(["run", name, "-c", code]).succeeds().text()
    }

    /// Links a tool and gives the link.
    pub fn up(&self, name: &str) -> PathBuf {
        self.coco(["up", name]).succeeds();
        self.bin().join(name)
    }

    /// The engine's client itself.
    pub fn engine<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        run(self.command(self.engine.program()).args(arguments))
    }

    /// The ids of a tool's containers, whatever their state.
    pub fn containers(&self, tool: &str) -> Vec<String> {
        let listed = self.engine(["ps", "--all", "--quiet", &format!("--filter=label=coco.tool={tool}")]);
        listed.succeeds().text().split_whitespace().map(str::to_owned).collect()
    }
}

/// The owner and permission bits of a file.
pub fn owner_and_mode(path: &Path) -> (u32, u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
}
