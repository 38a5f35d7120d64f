//! What the tests that need a real engine share: an isolated world for each engine, and ways to run coco in it.
//!
//! A world is a home of its own with its own state, links and engine configuration, below `COCO_TEST_STATE` (default: a
//! directory in /var/tmp). The images' records outlive a test run, so that a stage is built once; installations and
//! everything else are made anew. `machine.sh` makes the machine fit; nothing of it is in the product.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub mod authority;
pub mod network;
mod outcome;
pub mod probe;
mod processes;
pub mod pty;
pub mod registry;
pub mod resolver;
pub mod servers;
mod setup;

pub use outcome::{Unusable, does_not_apply, in_world, is_impossible, settled};
pub use processes::{Background, Run, ended, marker, processes_with, run, run_with, until};

/// The longest that one command may take, an image's build included.
const LONGEST: Duration = Duration::from_secs(1200);

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
}

/// Makes one `#[test]` for each engine out of a `fn(&World)`: `name::podman_rootful` and so on.
macro_rules! each_engine {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::support::{Engine, in_world};

            #[test]
            fn podman_rootful() {
                in_world(Engine::PodmanRootful, module_path!(), super::$name);
            }

            #[test]
            fn podman_rootless() {
                in_world(Engine::PodmanRootless, module_path!(), super::$name);
            }

            #[test]
            fn docker() {
                in_world(Engine::Docker, module_path!(), super::$name);
            }
        }
    )+};
}
pub(crate) use each_engine;

#[allow(unused_macros, unused_imports, reason = "the attacks need none")]
/// The same for one engine alone: `one_engine!(docker Docker: name)`.
macro_rules! one_engine {
    ($test:ident $engine:ident: $($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::support::{Engine, in_world};

            #[test]
            fn $test() {
                in_world(Engine::$engine, module_path!(), super::$name);
            }
        }
    )+};
}
pub(crate) use one_engine;

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
    python: OnceLock<Result<(), String>>,
    node: OnceLock<Result<(), String>>,
    _lock: File,
}

/// A port that nobody listens on, for a server that another process starts later. Not one that the kernel gives out:
/// until then it may give it to somebody else.
pub fn free_port() -> u16 {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
    use std::sync::atomic::AtomicU16;
    // Below the kernel's own (ip_local_port_range), and another one for each process of tests.
    const PORTS: std::ops::Range<u16> = 10_000..30_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id().wrapping_mul(131) % 20_000).unwrap();
    loop {
        let number = (first + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000) % 20_000;
        let port = PORTS.start + number;
        let is_free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
            && TcpListener::bind((Ipv6Addr::LOCALHOST, port)).map_or_else(
                // No IPv6 here.
                |error| error.kind() != std::io::ErrorKind::AddrInUse,
                |_| true,
            );
        if is_free {
            return port;
        }
    }
}

/// The binary under test.
pub fn binary() -> PathBuf {
    variable("COCO_TEST_BINARY").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/coco"), PathBuf::from)
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
        self.has_image("python@system", "python3", &self.python);
    }

    /// Sees to it that the image with node is there.
    pub fn has_node(&self) {
        self.has_image("node@system", "node", &self.node);
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

    /// Whether a limit that the engine is asked for by this option holds in a bare container: whether the kernel has
    /// this number there.
    pub fn bare_engine_limits(&self, option: &str, number: &str) -> bool {
        let kept = "pids.max pids/pids.max memory.max memory/memory.limit_in_bytes";
        let script = format!("cd /sys/fs/cgroup && cat {kept} 2>/dev/null; true");
        let sh = ["--entrypoint=/bin/sh", "localhost/coco:python", "-c", &script];
        let run = self.engine(["run", "--rm", "--pull=never", "--network=none", option].into_iter().chain(sh));
        // An engine that refuses the option limits nothing.
        run.code() == 0 && run.text().split_whitespace().any(|word| word == number)
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
