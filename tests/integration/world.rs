//! A small world: a temporary home with coco files, a project, and a fake engine.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use coco::engine::helpers::HELPERS;
use tempfile::TempDir;

/// The image that tools run in here; nobody ever looks for it.
pub const IMAGE: &str = "localhost/image-of-the-test:1";

/// What the fake engine exits with unless a test says otherwise.
pub const ENGINE_CODE: i32 = 3;

/// A tool that needs no installation and sees the project.
pub const PROBE: &str = r#"{"tool": "python@system", "command": "python3", "description": "looks around",
    "mounts": [{"src": ".", "dst": "/workspace", "opts": "rw"}]}"#;

/// Everything that a run of coco may see.
pub struct World {
    /// Removed with all that is in it when the test ends.
    root: TempDir,
    /// The environment, and nothing of the caller's.
    pub variables: BTreeMap<OsString, OsString>,
    /// Where coco is started.
    pub directory: PathBuf,
}

/// How a run of coco ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` for a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error, which is always UTF-8.
    pub stderr: String,
}

/// One call of the fake engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its environment.
    pub environment: BTreeMap<OsString, OsString>,
    /// The links in coco's run directory at that time, and where they led.
    pub links: BTreeMap<OsString, OsString>,
}

impl World {
    /// A world with a home, a project in which coco is started, and a fake podman.
    pub fn new() -> World {
        let root = tempfile::Builder::new().prefix("coco-").tempdir().unwrap();
        let mut world = World { directory: PathBuf::new(), variables: BTreeMap::new(), root };
        for directory in ["home", "project", "engines", "bin", "data", "state", "config"] {
            fs::create_dir(world.path(directory)).unwrap();
        }
        fs::DirBuilder::new().create(world.path("runtime")).unwrap();
        fs::set_permissions(world.path("runtime"), fs::Permissions::from_mode(0o700)).unwrap();
        for (name, directory) in [
            ("HOME", "home"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_RUNTIME_DIR", "runtime"),
            ("COCO_BIN_DIR", "bin"),
            ("PATH", "engines"),
        ] {
            let path = world.path(directory);
            world.set(name, path);
        }
        world.set("COCO_IMAGE", IMAGE);
        world.directory = world.path("project");
        world.engine("podman", ENGINE_CODE);
        world
    }

    /// The same with the tool `probe`.
    pub fn with_probe() -> World {
        let world = World::new();
        world.tool("probe", PROBE);
        world
    }

    /// A path in this world.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        fs::canonicalize(self.root.path()).unwrap().join(relative)
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.variables.insert(name.into(), value.into());
    }

    /// Unsets a variable.
    pub fn unset(&mut self, name: &str) {
        self.variables.remove(OsStr::new(name));
    }

    /// Writes a tool's coco file and gives its path.
    pub fn tool(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(format!("data/coco/tools/{name}.json"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Puts a fake engine on the PATH: it records how it was called and exits with `code`.
    pub fn engine(&self, name: &str, code: i32) -> PathBuf {
        let path = self.path("engines").join(name);
        self.recorder(&path, code);
        path
    }

    /// The cache of a tool's runs in a project, below the directory of volumes.
    pub fn cache_in(volumes: impl AsRef<Path>, tool: &str, project: &Path) -> PathBuf {
        let digest = coco::sys::hash::digest(fs::canonicalize(project).unwrap().as_os_str().as_bytes());
        volumes.as_ref().join(format!("podman/{tool}/cache-{}", digest.get(..32).unwrap()))
    }

    /// Puts all that podman calls for help on the PATH, whatever this machine has of it.
    pub fn helpers(&self) {
        for helper in HELPERS {
            write_program(&self.path("engines").join(helper.program), "#!/bin/sh\n");
        }
    }

    /// Makes a recording program anywhere.
    pub fn recorder(&self, path: &Path, code: i32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let calls = self.path("calls");
        let script = format!(
            r#"#!/bin/sh
calls='{}'
/bin/mkdir -p "$calls" && call=$(/bin/mktemp -d "$calls/XXXXXXXX") || exit 99
printf '%s\0' "$@" > "$call/arguments"
/usr/bin/env -0 > "$call/environment"
for link in "$XDG_RUNTIME_DIR"/coco/*/mount-*; do
    if [ -L "$link" ]; then printf '%s\0' "$link"; /bin/readlink -z "$link"; fi
done > "$call/links"
exit {code}
"#,
            calls.display()
        );
        write_program(path, &script);
    }

    /// Every call of the fake engines so far, in no order.
    pub fn calls(&self) -> Vec<Call> {
        let Ok(entries) = fs::read_dir(self.path("calls")) else { return Vec::new() };
        entries
            .map(|entry| {
                let call = entry.unwrap().path();
                let fields = |name: &str| split_nul(&fs::read(call.join(name)).unwrap());
                let links = fields("links");
                Call {
                    arguments: fields("arguments"),
                    environment: fields("environment").iter().map(|field| variable(field)).collect(),
                    links: links.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
                }
            })
            .collect()
    }

    /// The one call of the fake engine.
    pub fn call(&self) -> Call {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "the engine was called {} times: {calls:?}", calls.len());
        calls.remove(0)
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        let _ = fs::remove_dir_all(self.path("calls"));
    }

    /// A program with this world's environment, and nothing on its standard input.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        #[expect(clippy::disallowed_methods, reason = "the one place where these tests start programs")]
        let mut command = Command::new(program);
        command.env_clear().envs(&self.variables).current_dir(&self.directory).stdin(Stdio::null());
        command
    }

    /// Runs `coco` with arguments.
    pub fn coco<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ended {
        let mut command = self.command(PROGRAM);
        command.args(arguments);
        finish(command)
    }

    /// Everything there is in this world but the engine's records, with what files and links hold.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut pending = vec![self.path("")];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                let content = if metadata.is_symlink() {
                    fs::read_link(&path).unwrap().into_os_string().into_vec()
                } else if metadata.is_file() {
                    fs::read(&path).unwrap()
                } else {
                    Vec::new()
                };
                if metadata.is_dir() && path != self.path("calls") {
                    pending.push(path.clone());
                }
                found.insert(path, content);
            }
        }
        found
    }
}

/// The built program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_coco");

/// One at a time: a child that another thread starts while a program is being written holds that file
/// open for a moment, and a file that is open for writing can't be executed.
static STARTING: Mutex<()> = Mutex::new(());

/// Starts a program.
pub fn start(command: &mut Command) -> Child {
    let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    command.spawn().unwrap()
}

/// Writes a script that can be executed.
pub fn write_program(path: &Path, script: &str) {
    let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Copies the built program.
pub fn copy_program(path: &Path) {
    let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    fs::copy(PROGRAM, path).unwrap();
}

/// Runs a command to its end. Nothing here may take long: what hangs is a failure.
pub fn finish(mut command: Command) -> Ended {
    let mut child = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let stdout = drain(child.stdout.take().unwrap());
    let stderr = drain(child.stderr.take().unwrap());
    let code = wait(&mut child, Duration::from_secs(30));
    let ended =
        Ended { code, stdout: stdout.join().unwrap(), stderr: String::from_utf8(stderr.join().unwrap()).unwrap() };
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    ended
}

/// Waits for a child, and ends it when it takes too long.
pub fn wait(child: &mut Child, most: Duration) -> Option<i32> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if started.elapsed() > most {
            child.kill().unwrap();
            panic!("it did not end within {most:?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn drain(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map_or_else(|error: io::Error| panic!("{error}"), |_| bytes)
    })
}

impl Ended {
    /// Standard output as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Checks the exit code and gives itself.
    #[track_caller]
    pub fn exits(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Checks that it failed with this code, and that an error with these words and a hint were
    /// printed, each on a line of its own.
    #[track_caller]
    pub fn fails(self, code: i32, words: &str) -> Ended {
        let ended = self.exits(code);
        let lines: Vec<&str> = ended.stderr.lines().collect();
        let error = lines.iter().position(|line| line.starts_with("coco: error: ") && line.contains(words));
        let Some(error) = error else { panic!("no error with {words:?}: {ended:?}") };
        assert!(
            lines
                .get(error + 1)
                .is_some_and(|line| line.len() > "coco: hint: ".len() && line.starts_with("coco: hint: ")),
            "no hint after the error: {ended:?}"
        );
        assert!(!lines[error].ends_with('.'), "a full stop: {ended:?}");
        ended
    }

    /// The hint.
    pub fn hint(&self) -> &str {
        self.stderr.lines().find_map(|line| line.strip_prefix("coco: hint: ")).unwrap_or_default()
    }
}

impl Call {
    /// Whether an argument is there.
    pub fn has(&self, argument: &str) -> bool {
        self.arguments.iter().any(|other| other == argument)
    }

    /// The fields of each `--mount`, decoded as Go's `encoding/csv` does it.
    pub fn mounts(&self) -> Vec<Vec<Vec<u8>>> {
        self.arguments
            .iter()
            .filter_map(|argument| argument.as_bytes().strip_prefix(b"--mount="))
            .map(csv_record)
            .collect()
    }

    /// The host's side of the bind mount at `dst`, through the run directory's links.
    pub fn source_of(&self, dst: &str) -> PathBuf {
        let wanted = [b"dst=", dst.as_bytes()].concat();
        let found: Vec<_> = self.mounts().into_iter().filter(|fields| fields.contains(&wanted)).collect();
        assert_eq!(found.len(), 1, "mounts at {dst}: {found:?}");
        let source = found[0].iter().find_map(|field| field.strip_prefix(b"src=")).unwrap();
        let source = OsStr::from_bytes(source);
        PathBuf::from(self.links.get(source).map_or(source, OsString::as_os_str))
    }
}

/// One record of Go's `encoding/csv`: a field in quotes holds commas, and quotes as pairs.
fn csv_record(text: &[u8]) -> Vec<Vec<u8>> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let mut field = Vec::new();
        if let [b'"', after @ ..] = rest {
            rest = after;
            loop {
                match rest {
                    [b'"', b'"', after @ ..] => {
                        field.push(b'"');
                        rest = after;
                    }
                    [b'"', after @ ..] => {
                        rest = after;
                        break;
                    }
                    [byte, after @ ..] => {
                        field.push(*byte);
                        rest = after;
                    }
                    [] => panic!("an open quote in {}", text.escape_ascii()),
                }
            }
        } else {
            let end = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
            let (bare, after) = rest.split_at(end);
            assert!(!bare.contains(&b'"'), "a bare quote in {}", text.escape_ascii());
            field.extend_from_slice(bare);
            rest = after;
        }
        fields.push(field);
        match rest {
            [] => return fields,
            [b',', after @ ..] => rest = after,
            _ => panic!("text after a quote in {}", text.escape_ascii()),
        }
    }
}

/// Text between NULs.
pub fn split_nul(bytes: &[u8]) -> Vec<OsString> {
    let Some(body) = bytes.strip_suffix(b"\0") else {
        assert!(bytes.is_empty(), "{}", bytes.escape_ascii());
        return Vec::new();
    };
    body.split(|byte| *byte == 0).map(|field| OsStr::from_bytes(field).to_owned()).collect()
}

fn variable(field: &OsStr) -> (OsString, OsString) {
    let at = field.as_bytes().iter().position(|byte| *byte == b'=').unwrap();
    let (name, value) = field.as_bytes().split_at(at);
    (OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(&value[1..]).to_owned())
}

/// Whether `needle` is in `haystack`.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// What a CA bundle needs to have at least.
pub const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n";
