//! Downloads by curl.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::engine::Client;
use super::guard::read_in_time;
use crate::error::Error;

/// The most of what curl writes to standard error that is read, in bytes.
const MAX_STDERR: usize = 64 << 10;

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
/// reach a `file:` that blocks. `curl` is the client with its whole environment; the arguments are the caller's.
pub fn fetch(
    program: &Path,
    curl: Client<'_>,
    arguments: &[OsString],
    limit: usize,
    time: Duration,
) -> Result<Fetched, Error> {
    let failed = |source| Error::Io { action: "run", path: curl.program.to_owned(), source };
    #[expect(clippy::disallowed_methods, reason = "this is the module that starts processes")]
    let mut command = Command::new(program);
    command.arg0("coco-guard").arg(std::process::id().to_string()).arg(curl.program).args(arguments);
    command.env_clear().envs(curl.environment.iter().map(|(name, value)| (name, value)));
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    // One byte over tells that there was more; closing the pipe then ends curl.
    let read = child.stdout.take().map_or(Ok(Vec::new()), |stdout| read_in_time(stdout, time, limit));
    let outcome = match (&read, child.stderr.take()) {
        (Ok(_), Some(stderr)) => read_in_time(stderr, time, MAX_STDERR),
        _ => Err(io::ErrorKind::TimedOut.into()),
    };
    if outcome.is_err() {
        // It may have ended by itself just now.
        let _ = child.kill();
    }
    let code = child.wait().map_err(failed)?.code();
    match read {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Ok(Fetched { code: Some(CURL_TIMED_OUT), bytes: Vec::new(), outcome: String::new() })
        }
        read => {
            let outcome = String::from_utf8(outcome.unwrap_or_default()).unwrap_or_default();
            Ok(Fetched { code, bytes: read.map_err(failed)?, outcome })
        }
    }
}

/// curl's exit code for what took too long (curl(1), EXIT CODES).
const CURL_TIMED_OUT: i32 = 28;
