//! Short-lived programs: questions to an engine, image builds and their guard, curl.

use std::ffi::OsString;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::RECURSION_GUARD;
use crate::engine::Engine;
use crate::error::Error;
use crate::network::Resolve;
use crate::plan::Plan;
use crate::term;
use crate::term::progress::TICK;

/// What the engine answered.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output, without the white space around it.
    pub text: String,
    /// Its standard error, likewise.
    pub words: String,
}

/// Asks the engine something short and gives its standard output, or `None` when it fails.
pub fn ask(engine: &Engine, arguments: &[&str]) -> Option<String> {
    answer(engine, arguments).ok().filter(|answer| answer.code == Some(0)).map(|answer| answer.text)
}

/// Asks the engine something short.
pub fn answer(engine: &Engine, arguments: &[&str]) -> Result<Answer, Error> {
    answer_of(Client::of(engine), arguments)
}

/// An engine's client.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its whole environment.
    pub environment: &'a [(OsString, OsString)],
}

impl<'a> Client<'a> {
    /// An engine's.
    pub fn of(engine: &'a Engine) -> Client<'a> {
        Client { program: &engine.path, environment: &engine.environment }
    }

    /// A plan's.
    pub fn of_plan(plan: &'a Plan) -> Client<'a> {
        Client { program: &plan.program, environment: &plan.environment }
    }
}

/// Asks an engine's client something short.
pub fn answer_of(client: Client<'_>, arguments: &[&str]) -> Result<Answer, Error> {
    #[expect(clippy::disallowed_methods, reason = "this is the module that starts processes")]
    let output = Command::new(client.program)
        .args(arguments)
        .env_clear()
        .envs(client.environment.iter().map(|(name, value)| (name, value)))
        .env(RECURSION_GUARD, "1")
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io("run", client.program))?;
    let text = |bytes: &[u8]| bytes.utf8_chunks().map(|chunk| chunk.valid()).collect::<String>().trim().to_owned();
    Ok(Answer { code: output.status.code(), text: text(&output.stdout), words: text(&output.stderr) })
}

/// What is heard of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A line of its output.
    Line(&'a str),
    /// Nothing for a while.
    Nothing,
}

/// Runs the engine's build through the guard, so that it ends with coco; `heard` gets every line that it prints, and is
/// called when it prints none.
pub fn build(
    program: &Path,
    engine: &Engine,
    arguments: &[OsString],
    mut heard: impl FnMut(Heard),
) -> Result<bool, Error> {
    let failed = |source| Error::Io { action: "run", path: engine.path.clone(), source };
    let (mut reader, writer) = io::pipe().map_err(failed)?;
    #[expect(clippy::disallowed_methods, reason = "this is the module that starts processes")]
    let mut command = Command::new(program);
    command.arg0("coco-guard").arg(std::process::id().to_string()).arg(&engine.path).args(arguments);
    command.env_clear().envs(engine.environment.iter().map(|(name, value)| (name, value)));
    command.env(RECURSION_GUARD, "1").stdin(Stdio::null());
    command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    let mut child = command.spawn().map_err(failed)?;
    // The command holds the pipe's writing end, and reading ends only when all are closed.
    drop(command);
    let tick = Timespec::try_from(TICK).unwrap_or_default();
    let mut line = Vec::new();
    let mut buffer = [0; 4 << 10];
    loop {
        match poll(&mut [PollFd::new(&reader, PollFlags::IN)], Some(&tick)) {
            Ok(1..) => {}
            Ok(_) | Err(rustix::io::Errno::INTR) => {
                heard(Heard::Nothing);
                continue;
            }
            Err(error) => return Err(failed(error.into())),
        }
        let read = reader.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        for byte in buffer.get(..read).unwrap_or_default() {
            match byte {
                b'\r' => {}
                b'\n' => {
                    heard(Heard::Line(&term::os(std::os::unix::ffi::OsStrExt::from_bytes(line.as_slice()))));
                    line.clear();
                }
                byte => line.push(*byte),
            }
        }
    }
    Ok(child.wait().map_err(failed)?.success())
}

/// `coco-guard PARENT PROGRAM ARGUMENT...`: asks the kernel for a SIGTERM when the parent dies, and
/// becomes the program.
pub fn guard(arguments: &[OsString]) -> Error {
    let [parent, program, rest @ ..] = arguments else {
        return Error::usage("coco-guard is coco's own", "coco help");
    };
    let asked = nix::sys::prctl::set_pdeathsig(Signal::SIGTERM);
    // Threads that start this have blocked all signals.
    let unblocked = nix::sys::signal::SigSet::empty().thread_set_mask();
    // The parent may have died before the kernel was asked.
    if asked.is_err() || unblocked.is_err() || parent.to_str() != Some(nix::unistd::getppid().to_string().as_str()) {
        return Error::usage("coco-guard was not started by coco", "coco help");
    }
    #[expect(clippy::disallowed_methods, reason = "this is the module that starts processes")]
    let error = Command::new(program).args(rest).exec();
    Error::io("run", program)(error)
}

/// What came of a fetch.
#[derive(Debug)]
pub struct Fetched {
    /// curl's exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The file, or its first `limit + 1` bytes.
    pub bytes: Vec<u8>,
    /// What curl wrote to standard error, in the main.
    pub outcome: String,
}

/// Fetches a file with curl, which ends with this process, and in time at the latest: curl's own limits don't
/// reach a `file:` that blocks. The arguments are the caller's.
pub fn fetch(
    program: &Path,
    curl: &Path,
    arguments: &[OsString],
    limit: usize,
    time: Duration,
) -> Result<Fetched, Error> {
    let failed = |source| Error::Io { action: "run", path: curl.to_owned(), source };
    #[expect(clippy::disallowed_methods, reason = "this is the module that starts processes")]
    let mut command = Command::new(program);
    command.arg0("coco-guard").arg(std::process::id().to_string()).arg(curl).args(arguments);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    // One byte over tells that there was more; closing the pipe then ends curl.
    let read = child.stdout.take().map_or(Ok(Vec::new()), |stdout| read_in_time(stdout, time, limit));
    let outcome = match (&read, child.stderr.take()) {
        (Ok(_), Some(stderr)) => read_in_time(stderr, time, MAX_ANSWER),
        _ => Err(io::ErrorKind::TimedOut.into()),
    };
    if outcome.is_err() {
        // It may have ended by itself just now.
        let _ = child.kill();
    }
    let code = child.wait().map_err(failed)?.code();
    match read {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Ok(Fetched { code: Some(TOO_LONG), bytes: Vec::new(), outcome: String::new() })
        }
        read => {
            let outcome = String::from_utf8(outcome.unwrap_or_default()).unwrap_or_default();
            Ok(Fetched { code, bytes: read.map_err(failed)?, outcome })
        }
    }
}

/// curl's exit code for what took too long (curl(1), EXIT CODES).
const TOO_LONG: i32 = 28;

/// How long one look-up may take: two tries of five seconds are resolv.conf(5)'s default.
const LOOKUP_TIME: Duration = Duration::from_secs(12);
/// The longest answer that is read, in bytes; a line is an address.
const MAX_ANSWER: usize = 64 << 10;

/// Looks names up with the host's getent(1): its name services decide as for every other program,
/// and none of their modules is loaded into this one, which is static.
pub fn resolver(program: PathBuf, getent: Option<PathBuf>) -> Resolve {
    Arc::new(move |name| match &getent {
        Some(getent) => lookup(&program, getent, name),
        None => Err(io::Error::other("there is no getent on the PATH to look names up with")),
    })
}

fn lookup(program: &Path, getent: &Path, name: &str) -> io::Result<Vec<IpAddr>> {
    let answer = ask_getent(program, getent, &["ahosts", name])?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for line in answer.utf8_chunks().flat_map(|chunk| chunk.valid().lines()) {
        // One line for each type of socket; the address stands first.
        if let Some(address) = line.split_whitespace().next().and_then(|address| address.parse().ok())
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::other("the name is not known"));
    }
    Ok(addresses)
}

/// The line of passwd(5) about a user, as the host's name services have it.
pub fn passwd(program: &Path, getent: &Path, uid: u32) -> Option<Vec<u8>> {
    ask_getent(program, getent, &["passwd", &uid.to_string()]).ok()
}

/// What getent(1) answers.
fn ask_getent(program: &Path, getent: &Path, arguments: &[&str]) -> io::Result<Vec<u8>> {
    // Through the guard: a look-up that nobody answers must not outlive coco. This thread waits for
    // its end, and the guard's signal comes with the end of the thread.
    #[expect(clippy::disallowed_methods, reason = "this is the module that starts processes")]
    let mut command = Command::new(program);
    command.arg0("coco-guard").arg(std::process::id().to_string()).arg(getent);
    // Nothing of the environment: HOSTALIASES and its like would answer instead. And no search
    // domains: another name is another host.
    command.args(arguments).env_clear().env("LOCALDOMAIN", "").current_dir("/");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let answer: io::Result<_> = child.stdout.take().map_or(Ok(Vec::new()), |stdout| {
        let answer = read_in_time(stdout, LOOKUP_TIME, MAX_ANSWER)?;
        if answer.len() > MAX_ANSWER { Err(io::ErrorKind::InvalidData.into()) } else { Ok(answer) }
    });
    if answer.is_err() {
        // It may have ended by itself just now.
        let _ = child.kill();
    }
    let status = child.wait()?;
    let answer = answer?;
    if status.success() { Ok(answer) } else { Err(io::Error::other("the name is not known")) }
}

/// Reads to the end, or until there is more than `most`; that late is an error.
fn read_in_time(mut stream: impl Read + AsFd, limit: Duration, most: usize) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + limit;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4 << 10];
    while bytes.len() <= most {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).unwrap_or_default();
        match poll(&mut [PollFd::new(&stream, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(1..) => {}
            Ok(_) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
        match stream.read(&mut buffer)? {
            0 => break,
            read => bytes.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
    Ok(bytes)
}
