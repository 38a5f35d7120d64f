//! What has to be there before a run: the image and the installation. Each is made between policy and plan, and passed by
//! when its record says that it is there.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use self::image::Stage;
use crate::engine::discover;
use crate::engine::helpers::{self, Start};
use crate::engine::image::Image;
use crate::error::Error;
use crate::host::volumes::{DataName, install_log};
use crate::network::log::Summary;
use crate::plan::record::{self, Record, accept, read_record, write_record};
use crate::plan::{self, Job};
use crate::protocol::control::Installed;
use crate::sys::files::make_private;
use crate::sys::lock::{lock_exclusive, lock_unused};
use crate::sys::remove_tree::remove_tree;
use crate::term::progress::waiting;
use crate::{exec, explain, term};

pub mod image;

/// How much of an installer's words are shown when it fails, in bytes.
const SHOWN_LOG: u64 = 8 << 10;

/// The image and the tool's record, made when they are missing or out of date.
pub fn ready(job: &Job) -> Result<(Image, Record), Error> {
    let image = image::ready(job.world, job.engine, Stage::of(&job.policy.installation.tool))?;
    let record = match installed(job, &image) {
        Some(record) => record,
        None => install(job, &image, Version::AsRecorded)?,
    };
    Ok((image, record))
}

/// Installs the newest version that the coco file allows.
pub fn upgrade(job: &Job) -> Result<Record, Error> {
    let image = image::ready(job.world, job.engine, Stage::of(&job.policy.installation.tool))?;
    if job.policy.installation.is_nothing() {
        return Ok(record::system_record(job.policy, &image));
    }
    install(job, &image, Version::Newest)
}

/// The valid record of an installation from this image, if there is one.
pub fn installed(job: &Job, image: &Image) -> Option<Record> {
    let policy = job.policy;
    if policy.installation.is_nothing() {
        return Some(record::system_record(policy, image));
    }
    let volumes = job.volumes();
    let record = read_record(&volumes.record(&policy.tool))?;
    let data = volumes.data(&policy.tool, record.data.as_ref()?);
    (record.inputs == record::inputs(policy, image) && data.is_dir()).then_some(record)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    AsRecorded,
    Newest,
}

fn install(job: &Job, image: &Image, version: Version) -> Result<Record, Error> {
    let Job { world, policy, .. } = *job;
    let volumes = job.volumes();
    let own = volumes.tool(&policy.tool);
    let words = format!("waiting for another coco that installs {}", policy.tool);
    let _lock = lock_exclusive(&volumes.install_lock(&policy.tool), waiting(words))?;
    if version == Version::AsRecorded
        && let Some(record) = installed(job, image)
    {
        return Ok(record);
    }
    let path = volumes.record(&policy.tool);
    let specifier = policy.installation.tool.to_string();
    // An installation that is only repeated, because the image was rebuilt, keeps its version.
    let pinned = match version {
        Version::Newest => None,
        Version::AsRecorded => {
            read_record(&path).filter(|old| old.tool == specifier && old.version != "system").map(|old| old.version)
        }
    };
    let log = install_log(&world.directories, &policy.tool);
    make_private(log.parent().unwrap_or(Path::new("/")))?;
    fs::write(&log, b"").map_err(Error::io("write", &log))?;
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let data = DataName::of_new(nanoseconds, world.pid);
    let started = Instant::now();
    term::say(&format!("installing {specifier} for {}", policy.tool));
    let mut network = Summary::default();
    let outcome = phases(job, image, &data, pinned.as_deref(), &log, &mut network);
    let installed = match outcome {
        Ok(installed) => installed,
        Err(error) => {
            // An interrupted installer's last words explain nothing.
            if !matches!(error, Error::Interrupted { .. }) {
                show_log(&log);
            }
            for line in explain::denied_while_installing(&network) {
                term::say(&line);
            }
            // What is left of it is never trusted; prune removes what can't be removed now.
            let _ = remove_tree(&volumes.data(&policy.tool, &data));
            return Err(explained(error, &last_words(&log), job));
        }
    };
    let record = Record {
        inputs: record::inputs(policy, image),
        image: image.clone(),
        tool: specifier,
        version: if policy.installation.tool.is_system() { "system".to_owned() } else { installed.version },
        data: Some(data),
        path: installed.path,
        environment: installed.environment,
        hosts: network.reached.iter().map(|(host, port)| format!("{host}:{port}")).collect(),
    };
    write_record(&path, &record)?;
    term::say(&format!("installed {} {} in {:.1} s", policy.tool, record.version, started.elapsed().as_secs_f32()));
    remove_replaced(&own, record.data.as_ref());
    Ok(record)
}

fn phases(
    job: &Job,
    image: &Image,
    data: &DataName,
    pinned: Option<&str>,
    log: &Path,
    network: &mut Summary,
) -> Result<Installed, Error> {
    let policy = job.policy;
    let tool = policy.tool.as_str();
    let checked = |installed: Installed| {
        accept(installed).map_err(|message| Error::Install {
            tool: tool.to_owned(),
            message,
            hint: "do not trust this package; report it to its registry".to_owned(),
        })
    };
    let mut runtimes = Installed::default();
    if !policy.installation.runtimes.is_empty() {
        let words = "waiting for another coco that installs runtimes".to_owned();
        let _lock = lock_exclusive(&job.volumes().runtimes_lock(), waiting(words))?;
        runtimes = checked(exec::install(&plan::install_runtimes(job, image), tool, log, network)?)?;
    }
    let plan = plan::install_tool(job, image, data, &runtimes, pinned);
    // What another version has left there could decide what this one is.
    let cache = job.volumes().install_cache(&policy.tool);
    empty(&cache)?;
    let ended = exec::install(&plan, tool, log, network);
    // What can't be removed now keeps the next installation from starting.
    let _ = empty(&cache);
    let mut installed = checked(ended?)?;
    installed.path.extend(runtimes.path);
    installed.environment.splice(0..0, runtimes.environment);
    Ok(installed)
}

/// Removes a directory that may be missing.
fn empty(directory: &Path) -> Result<(), Error> {
    match remove_tree(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", directory)(error)),
        _ => Ok(()),
    }
}

/// An engine's failure, with the helper that it misses.
fn explained(error: Error, words: &str, job: &Job) -> Error {
    let Error::Engine { message, hint } = error else { return error };
    let start = Start { rootful: job.world.uid == 0, engine_network: false };
    let missing = discover::missing_helpers(job.engine, words, start);
    Error::Engine { message, hint: helpers::hint(&missing).unwrap_or(hint) }
}

fn show_log(log: &Path) {
    let text = last_words(log);
    if !text.is_empty() {
        term::print_lines(&text);
    }
}

/// The end of what the engine and the installer said.
fn last_words(log: &Path) -> String {
    let mut tail = Vec::new();
    if let Ok(mut file) = fs::File::open(log) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        // What can't be read of it is not shown; the error itself is told anyway.
        let _ = file
            .seek(SeekFrom::Start(length.saturating_sub(SHOWN_LOG)))
            .and_then(|_| file.take(SHOWN_LOG).read_to_end(&mut tail));
    }
    let text: String = tail.utf8_chunks().map(|chunk| chunk.valid()).collect();
    text.replace('\r', "")
}

/// Removes all installations but the current one and those that a running tool uses; gives the bytes that it freed.
pub fn remove_replaced(own: &Path, current: Option<&DataName>) -> u64 {
    let mut freed = 0;
    for entry in fs::read_dir(own).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name();
        let is_old =
            name.to_str().and_then(|name| name.parse().ok()).is_some_and(|name: DataName| current != Some(&name));
        if is_old && let Ok(_lock) = lock_unused(&entry.path()) {
            let before = size(&entry.path());
            // What can't be removed now is met again by the next prune.
            let _ = remove_tree(&entry.path());
            freed += before.saturating_sub(size(&entry.path()));
        }
    }
    freed
}

/// The bytes that a directory takes, by allocated blocks; links are not followed.
pub fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() {
        bytes += fs::read_dir(path)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| size(&entry.path()))
            .sum::<u64>();
    }
    bytes
}
