//! What the sandbox's processes may write, as a property of the processes themselves (landlock(7)).
//!
//! A mount protects a path in one mount namespace; whoever holds a descriptor of what lies below can go by that instead,
//! and another sandbox may have passed one in. The kernel asks this list for whatever is written, made, removed, linked or
//! renamed, from the file itself upwards, so a descriptor from elsewhere is worth nothing for writing. It also refuses every
//! change of mounts. A restriction is inherited by every process and can't be removed.

use std::fmt::Display;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::Refusal;
use crate::protocol::control::{Enclosure, Launch, Task};
use crate::rules::sandbox_paths::{HOME_GUEST, MEETING_GUESTS, TEMPORARY_GUESTS};
use crate::sys::mountinfo;
use crate::term;

/// The newest of the kernel's interfaces that this was tried with (Linux 6.15). On an older one what it lacks is not
/// asked for.
const NEWEST: ABI = ABI::V7;

/// Whether the kernel has taken the restriction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landlock {
    /// It holds.
    Enforced,
    /// This kernel has no Landlock, or it is off.
    Missing,
}

/// Everything that changes a file system. What a device does on request is a terminal's own business.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::from_write(NEWEST) & !BitFlags::from(AccessFs::IoctlDev)
}

/// What two sandboxes could meet at, and devices.
fn special() -> BitFlags<AccessFs> {
    AccessFs::MakeSock | AccessFs::MakeFifo | AccessFs::MakeChar | AccessFs::MakeBlock
}

/// Restricts the calling thread and all that it starts, and tries whether it is so.
pub fn restrict(launch: &Launch) -> Result<Landlock, Refusal> {
    let mut opened = Vec::new();
    for (path, access) in places(launch).map_err(|error| refused(&error))? {
        let open = PathFd::new(&path);
        opened.push((open.map_err(|error| refused(&format!("{}: {error}", term::path(&path))))?, access));
    }
    let status = ruleset(opened).and_then(RulesetCreated::restrict_self).map_err(|error| refused(&error))?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Ok(Landlock::Missing);
    }
    match (&launch.task, launch.expect.enclosure) {
        (Task::Run { .. }, Enclosure::Closed | Enclosure::AptCapabilities) => check().map(|()| Landlock::Enforced),
        // Home may be anything there.
        (Task::Run { .. }, Enclosure::DangerousUnchecked)
        // All of the sandbox's own root may be written there, and nothing of anybody's is mounted.
        | (Task::InstallRuntimes { .. } | Task::InstallTool { .. }, _) => Ok(Landlock::Enforced),
    }
}

fn ruleset(places: Vec<(PathFd, BitFlags<AccessFs>)>) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(writing())?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for (place, access) in places {
        ruleset = ruleset.add_rule(PathBeneath::new(place, access))?;
    }
    Ok(ruleset)
}

/// Where what may be done: `launch.writable`, the places that end with the sandbox, and what is the kernel's.
fn places(launch: &Launch) -> io::Result<Vec<(PathBuf, BitFlags<AccessFs>)>> {
    let mut places: Vec<(PathBuf, BitFlags<AccessFs>)> = Vec::new();
    match launch.task {
        Task::InstallRuntimes { .. } | Task::InstallTool { .. } => places.push(("/".into(), writing())),
        Task::Run { .. } => {
            let kept = launch.writable.iter().map(PathBuf::from).chain(agreed_mounts(launch)?);
            places.extend(kept.chain([HOME_GUEST.into()]).map(|place| (place, writing() & !special())));
            places.extend(TEMPORARY_GUESTS.iter().map(|place| (place.into(), writing() & !special())));
            let meeting = writing() & !(AccessFs::MakeChar | AccessFs::MakeBlock);
            places.extend(MEETING_GUESTS.iter().map(|place| (place.into(), meeting)));
            // Terminals, the null device, shared memory; and what a process sets of itself.
            places.extend(["/dev", "/proc"].map(|place| (place.into(), writing() & !special())));
        }
    }
    // A right that only a directory can have is none of a file's.
    for (place, access) in &mut places {
        if !place.is_dir() {
            *access &= AccessFs::WriteFile | AccessFs::Truncate;
        }
    }
    // Not every engine makes all of the sandbox's own. A grant that is missing is an error when it is opened.
    let is_own = |place: &Path| MEETING_GUESTS.iter().any(|own| place == Path::new(own));
    places.retain(|(place, _)| !is_own(place) || place.symlink_metadata().is_ok());
    Ok(places)
}

/// Mounts that engine arguments have made, to which the user has agreed.
fn agreed_mounts(launch: &Launch) -> io::Result<Vec<PathBuf>> {
    match launch.expect.enclosure {
        Enclosure::Closed | Enclosure::AptCapabilities => Ok(Vec::new()),
        Enclosure::DangerousUnchecked => {
            let known = |point: &Path| launch.expect.mounts.iter().any(|dst| point == Path::new(dst));
            let mounts = mountinfo::mounts()?.into_iter().map(|mount| mount.point);
            Ok(mounts.filter(|point| point != Path::new("/") && !known(point)).collect())
        }
    }
}

/// A restriction that is there and does nothing would be worse than none: a socket at home is one that no mount forbids.
fn check() -> Result<(), Refusal> {
    let place = Path::new(HOME_GUEST).join(".coco-landlock");
    match UnixListener::bind(&place) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        outcome => Err(Refusal::new(
            format!("Landlock is on, and does not forbid what it should ({outcome:?})"),
            "coco needs a kernel whose Landlock works, or none (see SECURITY.md)",
        )),
    }
}

fn refused(error: &dyn Display) -> Refusal {
    Refusal::new(format!("Landlock can't be applied: {error}"), "start the tool again")
}
