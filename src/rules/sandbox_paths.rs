//! Every path inside the sandbox that coco gives a meaning, and the places that a mount of a coco file may have.

use std::fmt;
use std::str::FromStr;

/// Where the control socket is mounted inside.
pub const SOCKET_GUEST: &str = "/run/coco/control.sock";
/// Where the network channel's socket is mounted inside.
pub const NETWORK_GUEST: &str = "/run/coco/network.sock";
/// Where init is mounted inside. It knows its role by this name.
pub const INIT_GUEST: &str = "/run/coco/coco-init";
/// Where the CA bundle is mounted inside.
pub const CA_GUEST: &str = "/run/coco/ca.crt";
/// Where a private Xauthority is mounted inside.
pub const XAUTHORITY_GUEST: &str = "/run/coco/xauthority";
/// The tool's installation inside.
pub const DATA_GUEST: &str = "/coco/data";
/// The runtimes inside.
pub const RUNTIMES_GUEST: &str = "/coco/runtimes";
/// The home inside.
pub const HOME_GUEST: &str = "/root";
/// Directories that end with the sandbox, beside home.
pub const TEMPORARY_GUESTS: &[&str] = &["/tmp", "/var/tmp"];
/// Where a process may make sockets and pipes for others to find: what ends with the sandbox and lies beside nothing of the
/// host's. Anywhere else two sandboxes could meet.
pub const MEETING_GUESTS: &[&str] = &["/tmp", "/var/tmp", "/dev/shm"];
/// The cache inside, below home.
pub const CACHE_GUEST: &str = "/root/.cache";
/// Where the tool starts when nothing of the project is mounted.
pub const WORKSPACE: &str = "/workspace";

/// What the sandbox itself needs: mounts of a coco file stay out of these trees.
const OWNED_GUEST_TREES: &[&str] = &[
    "/proc",
    "/sys",
    "/dev",
    "/coco",
    CACHE_GUEST,
    "/run",
    "/etc",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/boot",
    "/var/run",
];

/// Directories that the sandbox mounts or needs itself. A mount may lie below them.
const SANDBOX_DIRECTORIES: &[&str] = &["/", "/tmp", "/var", "/var/tmp", "/home", HOME_GUEST, CACHE_GUEST];

/// An absolute path inside the sandbox, normalised, outside what the sandbox itself needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GuestPath(String);

impl GuestPath {
    /// Checks a text, as [`str::parse`] does; the type's name stands where it is read.
    pub fn new(text: &str) -> Result<Self, String> {
        text.parse()
    }

    /// The checked text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Checks a mount's destination: absolute, without `.` and `..`, and outside what the sandbox
/// itself needs, because a mount there would replace init, the names or the loader.
impl FromStr for GuestPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("{text:?} is not absolute"));
        };
        if text.len() > 4096 || text.chars().any(char::is_control) {
            return Err(format!("{text:?} has control characters or is too long"));
        }
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        if parts.iter().any(|part| *part == "." || *part == "..") {
            return Err(format!("{text:?} has '.' or '..' in it; write the path that is meant"));
        }
        let path = format!("/{}", parts.join("/"));
        if SANDBOX_DIRECTORIES.contains(&path.as_str()) {
            return Err(format!("{text:?} is used by the sandbox itself; mount below it"));
        }
        if let Some(tree) = OWNED_GUEST_TREES.iter().find(|tree| is_within(&path, tree)) {
            return Err(format!("{text:?} is inside {tree}, which the sandbox itself needs"));
        }
        Ok(GuestPath(path))
    }
}

fn is_within(path: &str, tree: &str) -> bool {
    path.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_paths_stay_out_of_the_sandbox_itself() {
        for good in ["/workspace", "/home/u/x", "/root/.config/x", "/opt/a b", "//srv//x/"] {
            assert!(GuestPath::new(good).is_ok(), "{good}");
        }
        assert_eq!(GuestPath::new("//srv//x/").unwrap().as_str(), "/srv/x");
        for bad in [
            "",
            "x",
            "./x",
            "/",
            "//",
            "/proc",
            "/proc/1",
            "/dev/x",
            "/sys",
            "/coco/data",
            "/run/coco/coco-init",
            "/etc/resolv.conf",
            "/usr/bin",
            "/a/../etc",
            "/a/./b",
            "/tmp",
            "/root",
            "/a\nb",
            "/a\0",
            "/lib64/x",
        ] {
            assert!(GuestPath::new(bad).is_err(), "{bad:?}");
        }
        for beside in ["/processes", "/libraries", "/usrlocal", "/var/runs", "/tmp/x"] {
            assert!(GuestPath::new(beside).is_ok(), "{beside} only begins like a place of the sandbox");
        }
        assert!(GuestPath::new(&format!("/{}", "a".repeat(4095))).is_ok());
        assert!(GuestPath::new(&format!("/{}", "a".repeat(4096))).is_err());
    }
}
