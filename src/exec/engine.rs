//! The engine's client: short questions, and image builds.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::RECURSION_GUARD;
use crate::engine::Engine;
use crate::error::Error;
use crate::plan::Plan;
use crate::term;
use crate::term::progress::TICK;

/// What the engine answered.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output, without the white space around it.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
}

/// Asks the engine something short and gives its standard output, or `None` when it fails.
pub fn ask(engine: &Engine, arguments: &[&str]) -> Option<String> {
    answer(engine, arguments).ok().filter(|answer| answer.code == Some(0)).map(|answer| answer.stdout)
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
    Ok(Answer { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

/// What is told of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildEvent<'a> {
    /// A line of its output.
    Line(&'a str),
    /// Nothing for a while.
    Silence,
}

/// Runs the engine's build through the guard, so that it ends with coco; `event` gets every line that it prints, and is
/// called when it prints none.
pub fn build(
    program: &Path,
    engine: &Engine,
    arguments: &[OsString],
    mut event: impl FnMut(BuildEvent),
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
                event(BuildEvent::Silence);
                continue;
            }
            Err(error) => return Err(failed(error.into())),
        }
        let read = reader.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            // The last one may have no end.
            if !line.is_empty() {
                event(BuildEvent::Line(&term::os(std::os::unix::ffi::OsStrExt::from_bytes(line.as_slice()))));
            }
            break;
        }
        for byte in buffer.get(..read).unwrap_or_default() {
            match byte {
                b'\r' => {}
                b'\n' => {
                    event(BuildEvent::Line(&term::os(std::os::unix::ffi::OsStrExt::from_bytes(line.as_slice()))));
                    line.clear();
                }
                byte => line.push(*byte),
            }
        }
    }
    Ok(child.wait().map_err(failed)?.success())
}
