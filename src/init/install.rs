//! The install phase inside: runs apt, then mise without apt's capabilities, and reports what is installed. The network is
//! open here, and nothing of the user's is mounted.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};

use super::{Refusal, capabilities, clean_command, confine, search_path, supervise, which};
use crate::protocol::control::{self, Installed, Launch, Message};
use crate::rules::sandbox_paths::{CACHE_GUEST, DATA_GUEST, RUNTIMES_GUEST};
use crate::term;

/// The variables of mise and the package managers. No configuration of the user's or the project's can be read: mise trusts
/// it, and it can run programs.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("MISE_CONFIG_DIR", "/coco/none"),
    ("MISE_SYSTEM_CONFIG_DIR", "/coco/none"),
    ("MISE_GLOBAL_CONFIG_FILE", "/coco/none/config.toml"),
    ("MISE_STATE_DIR", "/tmp/mise-state"),
    ("MISE_OVERRIDE_CONFIG_FILENAMES", "none"),
    ("MISE_IGNORED_CONFIG_PATHS", "/"),
    ("MISE_CEILING_PATHS", "/"),
    ("MISE_YES", "1"),
    // Versions come from the tool's own registry, and no other server learns what is installed.
    ("MISE_USE_VERSIONS_HOST", "0"),
    ("MISE_USE_VERSIONS_HOST_TRACK", "0"),
    ("MISE_CARGO_BINSTALL", "0"),
    ("NO_COLOR", "1"),
    // mise's own npm installer insists on release times, which not every registry gives.
    ("MISE_NPM_PACKAGE_MANAGER", "npm"),
    // pipx is in the image; uv would be one more download.
    ("MISE_PIPX_UVX", "false"),
    ("npm_config_update_notifier", "false"),
    ("npm_config_fund", "false"),
    ("npm_config_audit", "false"),
    ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
    ("PIPX_DEFAULT_PYTHON", "/usr/bin/python3"),
    ("GOTOOLCHAIN", "local"),
];

/// Where they keep what they download, each in a directory of its own in the tool's cache.
const CACHES: &[(&str, &str)] =
    &[("MISE_CACHE_DIR", "mise"), ("npm_config_cache", "npm"), ("CARGO_HOME", "cargo"), ("GOPATH", "go")];

/// The longest output of mise that is read, in bytes.
const MAX_OUTPUT: u64 = 1 << 20;
/// How long the rest of the output may take after mise has ended.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(2);

/// Installs runtimes: mise's own downloads, no package code.
pub fn runtimes(launch: &Launch, specifiers: &[OsString], coco: &mut UnixStream) -> Result<u8, Refusal> {
    confine(launch, coco)?;
    let mise = Mise { launch, data: RUNTIMES_GUEST };
    let mut installed = Installed::default();
    for specifier in specifiers {
        mise.install(specifier, coco, &mut installed)?;
    }
    report(installed, coco)
}

/// Installs Debian packages, then the tools. The last specifier is the tool itself.
pub fn tool(
    launch: &Launch,
    apt: &[OsString],
    specifiers: &[OsString],
    program: &OsStr,
    user: (u32, u32),
    coco: &mut UnixStream,
) -> Result<u8, Refusal> {
    if !apt.is_empty() {
        install_debian(launch, apt, coco)?;
        // From here on packages' code runs: as the user, and without what apt needed.
        capabilities::drop_all(user)?;
    }
    // Not before: dpkg unpacks setuid files.
    confine(launch, coco)?;
    let mise = Mise { launch, data: DATA_GUEST };
    let mut installed = Installed::default();
    for specifier in specifiers {
        mise.install(specifier, coco, &mut installed)?;
    }
    // The installer's success is not enough: without the program there is nothing to run.
    let mut path: OsString = installed.path.join(":").into();
    path.push(":");
    path.push(search_path(launch));
    if which(&program.to_owned(), &path).is_none() {
        return Err(Refusal::new(
            format!("the installer succeeded, but there is no program {}", term::os(program)),
            programs_hint(&installed.path),
        ));
    }
    report(installed, coco)
}

fn programs_hint(path: &[String]) -> String {
    let mut names: Vec<String> = path
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flat_map(|entries| entries.filter_map(Result::ok))
        .map(|entry| term::os(&entry.file_name()))
        .take(20)
        .collect();
    names.sort();
    match names.as_slice() {
        [] => "check \"tool\" in the coco file: this package has no programs".to_owned(),
        _ => format!("set \"command\" in the coco file; the package has {}", names.join(", ")),
    }
}

fn report(mut installed: Installed, coco: &mut UnixStream) -> Result<u8, Refusal> {
    let mut seen = std::collections::BTreeSet::new();
    installed.path.retain(|directory| seen.insert(directory.clone()));
    control::send(coco, &Message::Installed(installed).encode())
        .map_err(|error| Refusal::new(error.to_string(), "start the tool again"))?;
    Ok(0)
}

fn install_debian(launch: &Launch, packages: &[OsString], coco: &mut UnixStream) -> Result<(), Refusal> {
    let apt = |arguments: &[&str], packages: &[OsString]| {
        let mut command = clean_command(OsStr::new("/usr/bin/apt-get"), launch, &search_path(launch));
        command.args(arguments).args(packages).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run_to_end(apt(&["update"], &[]), "apt-get update", coco)?;
    run_to_end(apt(&["install", "-y", "--no-install-recommends", "--"], packages), "apt-get install", coco)
}

/// Runs a command to its end. Its output goes where the container's goes.
fn run_to_end(mut command: Command, what: &str, coco: &mut UnixStream) -> Result<(), Refusal> {
    let child =
        command.stdin(Stdio::null()).process_group(0).spawn().map_err(|error| {
            Refusal::new(format!("can't run {what}: {error}"), "rebuild the image with coco rebuild")
        })?;
    match supervise(&child, coco) {
        0 => Ok(()),
        code => Err(Refusal::new(format!("{what} failed with exit code {code}"), "see its output above")),
    }
}

struct Mise<'a> {
    launch: &'a Launch,
    data: &'static str,
}

impl Mise<'_> {
    fn install(&self, specifier: &OsStr, coco: &mut UnixStream, installed: &mut Installed) -> Result<(), Refusal> {
        let mut command = self.command();
        command.arg("install").arg(with_scripts(specifier));
        run_to_end(command, &format!("mise install {}", term::os(specifier)), coco)?;
        let place = self.output_of(&[OsStr::new("where"), specifier], coco)?;
        // The place may be a link named after a shorter version. Its target is named after the exact one.
        let place = fs::canonicalize(place.trim()).map_err(|error| {
            Refusal::new(
                format!("mise says that {} is at {place}: {error}", term::os(specifier)),
                "install it again with coco upgrade",
            )
        })?;
        let version = place.file_name().map(term::os).unwrap_or_default();
        let exact = exact(specifier, &version);
        let environment = self.output_of(&[OsStr::new("env"), OsStr::new("--json"), &exact], coco)?;
        let variables: BTreeMap<String, String> = parse_environment(&environment).ok_or_else(|| {
            Refusal::new(
                format!("coco can't read the output of mise env for {}", term::os(&exact)),
                "rebuild the image with coco rebuild",
            )
        })?;
        let mut path: Vec<String> = Vec::new();
        for (name, value) in variables {
            match name.as_str() {
                "PATH" => {
                    path = std::env::split_paths(&value)
                        .filter(|directory| is_installed(directory))
                        .map(|directory| term::path(&directory))
                        .collect();
                }
                name if ENVIRONMENT.iter().chain(CACHES).any(|(own, _)| *own == name) => {}
                _ => installed.environment.push((name, value)),
            }
        }
        path.append(&mut installed.path);
        installed.path = path;
        installed.version = version;
        Ok(())
    }

    fn command(&self) -> Command {
        let path = search_path(self.launch);
        let mut command = clean_command(OsStr::new("/usr/local/bin/mise"), self.launch, &path);
        command.env("MISE_DATA_DIR", Path::new(self.data).join("mise")).envs(ENVIRONMENT.iter().copied());
        command.envs(CACHES.iter().map(|(name, directory)| (name, Path::new(CACHE_GUEST).join(directory))));
        command
    }

    /// What mise prints. A package's code may run beside it, or in its place. So it is supervised as any program is, and
    /// the sandbox still goes down with coco.
    fn output_of(&self, arguments: &[&OsStr], coco: &mut UnixStream) -> Result<String, Refusal> {
        let what = arguments.iter().map(|argument| term::os(argument)).collect::<Vec<_>>().join(" ");
        let rebuild = "rebuild the image with coco rebuild";
        let failed = |error: io::Error| Refusal::new(format!("can't run mise {what}: {error}"), rebuild);
        let mut command = self.command();
        command.args(arguments).env("MISE_OFFLINE", "1").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.process_group(0).spawn().map_err(failed)?;
        let output = child.stdout.take().map(read_in_thread).transpose().map_err(failed)?;
        match supervise(&child, coco) {
            0 => output
                .and_then(|output| output.recv_timeout(OUTPUT_TIMEOUT).ok())
                .and_then(|output| String::from_utf8(output).ok())
                .ok_or_else(|| Refusal::new(format!("the output of mise {what} is incomplete or not UTF-8"), rebuild)),
            code => Err(Refusal::new(format!("mise {what} failed with exit code {code}"), "see its output above")),
        }
    }
}

/// Reads to the end in a thread: whoever has the other end may never close it.
fn read_in_thread(stream: ChildStdout) -> io::Result<mpsc::Receiver<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    // Init's first thread takes the signals. They must not be delivered to another one.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let started = thread::Builder::new().spawn(move || {
        let mut output = Vec::new();
        if stream.take(MAX_OUTPUT).read_to_end(&mut output).is_ok() {
            // Perhaps nobody waits for it any more.
            let _ = sender.send(output);
        }
    });
    before.thread_set_mask()?;
    started.map(|_| receiver)
}

/// The specifier with install scripts, where it is npm's: `npm:NAME[allow_builds=true]@VERSION`. mise does not run them
/// otherwise, and packages that fetch or place their binary in one are broken. They can do less here than the tool
/// itself may do later.
fn with_scripts(specifier: &OsStr) -> OsString {
    let text = specifier.to_str().unwrap_or_default();
    if !text.starts_with("npm:") {
        return specifier.to_owned();
    }
    let (package, version) = text.split_at_checked(version_at(text)).unwrap_or((text, ""));
    format!("{package}[allow_builds=true]{version}").into()
}

/// Where the '@' of the version is, or the end. An '@' directly after the colon begins an npm scope.
fn version_at(specifier: &str) -> usize {
    let start = specifier.find(':').map_or(0, |colon| colon + 1) + 1;
    specifier.char_indices().find(|(at, letter)| *at >= start && *letter == '@').map_or(specifier.len(), |(at, _)| at)
}

/// The specifier at the exact version.
fn exact(specifier: &OsStr, version: &str) -> OsString {
    let text = specifier.to_str().unwrap_or_default();
    let package = text.split_at_checked(version_at(text)).map_or(text, |(package, _)| package);
    format!("{package}@{version}").into()
}

/// Whether this directory of PATH belongs to an installation.
fn is_installed(directory: &Path) -> bool {
    directory.starts_with(DATA_GUEST) || directory.starts_with(RUNTIMES_GUEST)
}

fn parse_environment(text: &str) -> Option<BTreeMap<String, String>> {
    let root: serde_json::Value = serde_json::from_str(text).ok()?;
    root.as_object()?.iter().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_specifier() {
        for (specifier, expected) in [
            ("npm:eslint", "npm:eslint@1.2"),
            ("npm:eslint@latest", "npm:eslint@1.2"),
            ("npm:@a/b", "npm:@a/b@1.2"),
            ("npm:@a/b@3", "npm:@a/b@1.2"),
            ("node@22", "node@1.2"),
            ("uv", "uv@1.2"),
        ] {
            assert_eq!(exact(OsStr::new(specifier), "1.2"), expected);
        }
    }

    #[test]
    fn install_scripts_run_for_npm_alone() {
        for (specifier, expected) in [
            ("npm:eslint", "npm:eslint[allow_builds=true]"),
            ("npm:@a/b@3", "npm:@a/b[allow_builds=true]@3"),
            ("pipx:ruff@1", "pipx:ruff@1"),
        ] {
            assert_eq!(with_scripts(OsStr::new(specifier)), expected);
        }
    }
}
