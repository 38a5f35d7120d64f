//! What of the host is never mounted, whatever a coco file asks for; and from where the system's own programs
//! run. Pure.

use std::path::{Path, PathBuf};

/// Trees of which nothing may be mounted: the kernel's and the running system's own.
pub const FORBIDDEN_TREES: &[&str] = &[
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/var/run",
    "/boot",
    "/var/lib/docker",
    "/var/lib/containers",
    "/var/lib/containerd",
];

/// Trees that no sandbox may write: programs and configuration of the host come from there.
pub const FORBIDDEN_WRITABLE: &[&str] =
    &["/usr", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/var/spool", "/var/lib", "/nix", "/snap"];

/// Directories that may not be mounted themselves, only something inside.
pub const FORBIDDEN_WHOLE: &[&str] =
    &["/", "/home", "/root", "/etc", "/var", "/usr", "/tmp", "/var/tmp", "/opt", "/srv", "/mnt", "/media", "/var/lib"];

/// Paths below home that hold secrets or decide what runs on the host.
pub const OFF_LIMITS_AT_HOME: &[&str] = &[
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".password-store",
    ".pki",
    ".mozilla",
    ".thunderbird",
    ".netrc",
    ".git-credentials",
    ".config/gcloud",
    ".config/gh",
    ".config/git",
    ".config/containers",
    ".config/systemd",
    ".config/autostart",
    ".config/mise",
    ".config/environment.d",
    ".local/share/containers",
    ".local/share/keyrings",
    ".local/share/mise",
    ".local/bin",
    ".bashrc",
    ".bash_profile",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".gitconfig",
    ".npmrc",
    ".pypirc",
    ".cargo",
    ".gem",
    ".m2",
    ".gradle",
    ".vault-token",
    ".terraform.d",
    "bin",
    ".zprofile",
    ".zlogin",
    ".bash_login",
    ".bash_logout",
    ".inputrc",
    ".xprofile",
    ".xsessionrc",
    ".Xauthority",
    ".vscode",
    ".vscode-server",
    ".config/fish",
    ".config/zsh",
    ".config/nvim",
    ".config/op",
    ".config/rclone",
    ".config/google-chrome",
    ".config/chromium",
    ".local/share/applications",
    ".local/share/fish",
];

/// Whether a path is a user's whole home directory, by its usual place.
pub fn is_users_home(path: &Path) -> bool {
    path.parent() == Some(Path::new("/home"))
}

/// The secret that a path is or lies in, in any user's home: root may be called with another HOME, and the
/// caller's own home is not the only one with secrets.
pub fn secret_in_any_home(path: &Path) -> Option<PathBuf> {
    let home = match path.strip_prefix("/home") {
        Ok(rest) => Path::new("/home").join(rest.components().next()?),
        Err(_) => PathBuf::from("/root"),
    };
    OFF_LIMITS_AT_HOME.iter().map(|name| home.join(name)).find(|secret| path.starts_with(secret))
}

/// Where the system installs programs. These entries of PATH count whatever the current directory is.
pub const SYSTEM_PROGRAM_DIRECTORIES: &[&str] = &[
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/opt/bin",
    "/run/current-system/sw/bin",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_in_every_home() {
        for (path, secret) in [
            ("/home/other/.ssh", Some("/home/other/.ssh")),
            ("/home/other/.config/gh/hosts.yml", Some("/home/other/.config/gh")),
            ("/root/.aws/credentials", Some("/root/.aws")),
            ("/home/other/.sshd", None),
            ("/home/other/code", None),
            ("/home", None),
            ("/srv/.ssh", None),
        ] {
            assert_eq!(secret_in_any_home(Path::new(path)), secret.map(PathBuf::from), "{path}");
        }
        assert!(is_users_home(Path::new("/home/other")));
        assert!(!is_users_home(Path::new("/home/other/x")) && !is_users_home(Path::new("/home")));
    }
}
