//! What of the host is never mounted, whatever a coco file asks for.

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

/// Trees that nobody may write from a sandbox: what runs on the host comes from there.
pub const FORBIDDEN_WRITABLE: &[&str] =
    &["/usr", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/var/spool", "/var/lib", "/nix", "/snap"];

/// Directories that may not be mounted themselves, only something inside.
pub const FORBIDDEN_WHOLE: &[&str] =
    &["/", "/home", "/root", "/etc", "/var", "/usr", "/tmp", "/var/tmp", "/opt", "/srv", "/mnt", "/media", "/var/lib"];

/// Places below home that hold secrets or decide what runs on the host.
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
