//! Questions to the host's name services, by getent(1).

use std::io;
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::guard::read_in_time;
use crate::network::Resolve;

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
