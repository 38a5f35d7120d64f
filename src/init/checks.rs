//! Checks from inside, before anything starts, that the sandbox is what was asked for. An engine's own configuration, a
//! missing kernel feature or a bug may have left it open, and then the tool does not run.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::Refusal;
use crate::protocol::control::{Enclosure, Expect, Interfaces, Launch, Task};
use crate::sys::mountinfo::{self, Mount};
use crate::sys::proc_status::ProcStatus;
use crate::term;

/// Where every engine mounts something of its own. Podman mounts the keys of a subscription at `/run/secrets` on some
/// distributions; it is refused when something is in it.
const ENGINE_MOUNT_POINTS: &[&str] =
    &["/", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/run/.containerenv", "/run", "/run/secrets"];

/// Checks what `launch` expects.
pub fn check(launch: &Launch) -> Result<(), Refusal> {
    let status = ProcStatus::of_this_process().map_err(|error| unreadable(&error))?;
    match launch.expect.enclosure {
        Enclosure::Closed => {
            for set in ["CapEff", "CapPrm", "CapBnd", "CapAmb"] {
                require(status.hexadecimal(set) == Some(0), &format!("the sandbox has capabilities ({set})"))?;
            }
            check_confinement(&status, launch)?;
        }
        Enclosure::AptCapabilities => check_confinement(&status, launch)?,
        Enclosure::DangerousUnchecked => {}
    }
    check_identities(&launch.expect)?;
    check_hidden(&launch.expect)?;
    match launch.expect.network {
        Interfaces::LoopbackOnly => check_interfaces()?,
        Interfaces::Any => {}
    }
    check_owner(launch)
}

/// What must be true with and without apt's capabilities.
fn check_confinement(status: &ProcStatus, launch: &Launch) -> Result<(), Refusal> {
    check_privileges(status)?;
    check_namespaces(&launch.expect)?;
    check_mounts(&launch.expect)?;
    check_devices()?;
    match launch.task {
        Task::Run { .. } => check_read_only_root(),
        Task::InstallRuntimes { .. } | Task::InstallTool { .. } => Ok(()),
    }
}

fn check_privileges(status: &ProcStatus) -> Result<(), Refusal> {
    require(
        status.hexadecimal("NoNewPrivs") == Some(1),
        "programs in the sandbox may gain privileges (no_new_privs is off)",
    )?;
    require(status.hexadecimal("Seccomp") == Some(2), "the sandbox has no seccomp filter")
}

/// A refusal with this message, unless the condition holds.
fn require(holds: bool, message: &str) -> Result<(), Refusal> {
    if holds {
        return Ok(());
    }
    Err(Refusal::new(
        message,
        "look for what changes it in the engine's own configuration (containers.conf, daemon.json)",
    ))
}

fn check_mounts(expect: &Expect) -> Result<(), Refusal> {
    for mount in mountinfo::mounts().map_err(|error| unreadable(&error))? {
        let point = &mount.point;
        let is_granted = expect.mounts.iter().any(|dst| point == Path::new(dst))
            || expect.trees.iter().any(|dst| point.starts_with(dst));
        let is_engines = ENGINE_MOUNT_POINTS.iter().any(|place| point == Path::new(place)) || is_kernel_mount(&mount);
        require(
            is_engines || is_granted,
            &format!("the engine mounts {} in the sandbox, which nobody granted", term::path(point)),
        )?;
    }
    let secrets = fs::read_dir("/run/secrets").is_ok_and(|mut entries| entries.next().is_some());
    require(!secrets, "the engine mounts secrets at /run/secrets in the sandbox, which nobody granted")
}

/// Whether this is one of the kernel's file systems at its usual place, or an engine's mask over a part of one. Any other
/// mount below /proc, /sys and /dev shows somebody's files.
fn is_kernel_mount(mount: &Mount) -> bool {
    let at = |tree: &str| mount.point.starts_with(tree);
    let kind = mount.kind.as_str();
    if at("/dev") {
        let name = mount.point.strip_prefix("/dev").ok().and_then(Path::to_str).unwrap_or_default();
        return match kind {
            "tmpfs" | "devtmpfs" if DEVICES.contains(&name) => true,
            "tmpfs" => matches!(name, "" | "shm"),
            "devpts" => matches!(name, "pts" | "console"),
            "mqueue" => name == "mqueue",
            _ => false,
        };
    }
    if !(at("/proc") || at("/sys")) {
        return false;
    }
    match kind {
        "proc" | "binfmt_misc" => at("/proc"),
        "sysfs" | "cgroup" | "cgroup2" | "securityfs" | "debugfs" | "tracefs" | "pstore" | "bpf" | "fusectl"
        | "configfs" | "efivarfs" | "selinuxfs" => at("/sys"),
        // Masks: an empty directory, or the null device over a file.
        "tmpfs" | "devtmpfs" => {
            mount.root == Path::new("/null")
                || is_empty_directory(&mount.point)
                || mount.point == Path::new("/sys/fs/cgroup")
        }
        _ => false,
    }
}

fn is_empty_directory(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn check_namespaces(expect: &Expect) -> Result<(), Refusal> {
    for outside in &expect.namespaces {
        let name = outside.to_str().and_then(|text| text.split(':').next()).unwrap_or_default();
        let inside = fs::read_link(format!("/proc/self/ns/{name}")).map_err(|error| unreadable(&error))?;
        require(inside.as_os_str() != outside, &format!("the sandbox shares your {name} namespace"))?;
    }
    Ok(())
}

/// The devices that every engine makes: the default devices of the OCI runtime specification.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"];

fn check_devices() -> Result<(), Refusal> {
    for entry in fs::read_dir("/dev").map_err(|error| unreadable(&error))?.flatten() {
        // Not by the entry's type: a device may be mounted over a plain file.
        let kind = entry.path().symlink_metadata().map_err(|error| unreadable(&error))?.file_type();
        let known = entry.file_name().to_str().is_some_and(|name| DEVICES.contains(&name));
        let device = kind.is_char_device() || kind.is_block_device();
        // Another directory of /dev may contain more devices.
        let directory = kind.is_dir() && !["pts", "shm", "mqueue"].iter().any(|name| entry.file_name() == *name);
        require(
            (!device || known) && !directory,
            &format!("the engine gives the sandbox the device {}, which nobody granted", term::path(&entry.path())),
        )?;
    }
    Ok(())
}

fn check_read_only_root() -> Result<(), Refusal> {
    let mounts = mountinfo::mounts().map_err(|error| unreadable(&error))?;
    let root = mounts.iter().find(|mount| mount.point == Path::new("/"));
    require(root.is_some_and(Mount::is_read_only), "the sandbox's root file system is writable")
}

/// Whether each grant is the file that coco looked at. Another tool may have put a link in its place in the meantime.
fn check_identities(expect: &Expect) -> Result<(), Refusal> {
    for (place, device, inode) in &expect.identities {
        let found = fs::metadata(place).map(|metadata| (metadata.dev(), metadata.ino())).ok();
        if found != Some((*device, *inode)) {
            return Err(Refusal::new(
                format!("{} is not what coco looked at: it was replaced while the sandbox started", term::os(place)),
                "find out what replaces it, another running tool perhaps, and start the tool again",
            ));
        }
    }
    Ok(())
}

/// Whether everything is hidden that must be.
fn check_hidden(expect: &Expect) -> Result<(), Refusal> {
    for place in &expect.empty {
        let empty = fs::symlink_metadata(place).is_ok_and(|metadata| {
            metadata.is_file() && metadata.len() == 0 || metadata.is_dir() && is_empty_directory(Path::new(place))
        });
        require(empty, &format!("{} must be hidden, but the sandbox can see it", term::os(place)))?;
    }
    Ok(())
}

/// Interfaces that the kernel makes. On some machines its tunnels appear in every new namespace, down and unusable.
const KERNEL_INTERFACES: &[&str] =
    &["lo", "tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6tnl0", "ip6gre0"];

fn check_interfaces() -> Result<(), Refusal> {
    let table = fs::read_to_string("/proc/net/dev").map_err(|error| unreadable(&error))?;
    let names = table.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim);
    for name in names {
        require(
            KERNEL_INTERFACES.contains(&name),
            &format!("the sandbox has the network interface {name}, and no network was granted"),
        )?;
    }
    Ok(())
}

/// Whether files that are made here belong to the caller outside: `/proc/self/uid_map`,
/// user_namespaces(7).
fn check_owner(launch: &Launch) -> Result<(), Refusal> {
    let uid = match &launch.task {
        Task::InstallTool { user, .. } => user.0,
        Task::Run { .. } | Task::InstallRuntimes { .. } => rustix::process::geteuid().as_raw(),
    };
    let map = fs::read_to_string("/proc/self/uid_map").map_err(|error| unreadable(&error))?;
    let outside = map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map_while(|number| number.parse::<u32>().ok());
        let (inside, outside, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let offset = uid.checked_sub(inside)?;
        (offset < count).then(|| outside.checked_add(offset))?
    });
    if outside == Some(launch.expect.owner) {
        return Ok(());
    }
    Err(Refusal::new(
        format!(
            "files that the tool makes would belong to another user ({})",
            outside.map_or("none".to_owned(), |uid| uid.to_string())
        ),
        "the engine maps users in a way that coco does not know; try the other engine with COCO_RUNTIME",
    ))
}

fn unreadable(error: &std::io::Error) -> Refusal {
    Refusal::new(
        format!("the sandbox has no usable /proc: {error}"),
        "start the tool again, or try another engine with COCO_RUNTIME",
    )
}
