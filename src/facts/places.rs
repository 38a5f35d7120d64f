//! Places that no tool may see, and where coco's own may not be.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::World;
use crate::error::Error;
use crate::term;

/// coco's own directories may not lie in a project that the caller works in: a project's `.env`
/// could name them by the XDG variables, and bring coco files and consent of its own.
pub fn outside_of_projects(world: &World, cwd: &Path) -> Result<(), Error> {
    let own = &world.directories;
    for project in projects_of(world, cwd) {
        for directory in [&own.tools, &own.volumes, &own.config, &own.state] {
            let resolved = fs::canonicalize(directory).unwrap_or_else(|_| directory.clone());
            if resolved.starts_with(project) || directory.starts_with(project) {
                return Err(Error::Environment {
                    name: "XDG_DATA_HOME, XDG_CONFIG_HOME or XDG_STATE_HOME",
                    message: format!(
                        "coco's own {} lies in the project {}",
                        term::path(directory),
                        term::path(project)
                    ),
                    hint: "unset the variable, or start the tool elsewhere: a project may not bring coco files"
                        .to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// The projects that the caller works in: the current directory, and those above it that hold `.git`;
/// but for one that holds home, whose files are the user's own.
pub fn projects_of<'a>(world: &'a World, cwd: &'a Path) -> impl Iterator<Item = &'a Path> {
    let is_project = move |directory: &&Path| *directory == cwd || directory.join(".git").symlink_metadata().is_ok();
    cwd.ancestors().filter(is_project).filter(|project| !world.home.starts_with(project))
}

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

/// Directories whose entries decide what coco does, and which of them are links: into a repository of settings, say,
/// that a tool may write.
fn linked(world: &World) -> impl Iterator<Item = PathBuf> {
    let own = &world.directories;
    let deciding = [own.tools.clone(), own.config.join("keys"), own.config.join("allowed"), own.state.join("store")];
    deciding.into_iter().flat_map(|directory| {
        let entries = fs::read_dir(&directory).into_iter().flatten().filter_map(Result::ok);
        let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
        links.map(|entry| entry.path()).chain([directory]).collect::<Vec<_>>()
    })
}

/// The secrets and coco's own directories, by their names and by where those lead: a `~/.ssh` may
/// be a link into a repository of settings, and so may a coco file.
pub fn off_limits(world: &World) -> Vec<PathBuf> {
    let own = world.directories.own().map(PathBuf::clone);
    let base = |name| world.variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let below = |base: Option<PathBuf>, prefix: &'static str| {
        let names = OFF_LIMITS_AT_HOME.iter().filter_map(move |name| name.strip_prefix(prefix));
        base.into_iter().flat_map(move |base| names.clone().map(move |name| base.join(name)).collect::<Vec<_>>())
    };
    // A directory that holds an agent's or engine's socket is as good as the socket.
    let sockets = ["SSH_AUTH_SOCK", "DOCKER_HOST", "CONTAINER_HOST", "DBUS_SESSION_BUS_ADDRESS"]
        .into_iter()
        .filter_map(|name| world.variable(name)?.to_str())
        .map(|address| address.trim_start_matches("unix://").trim_start_matches("unix:path="))
        .map(|address| PathBuf::from(address.split(',').next().unwrap_or_default()))
        .filter(|path| path.is_absolute());
    let named = OFF_LIMITS_AT_HOME.iter().map(|name| world.home.join(name));
    let moved = below(base("XDG_CONFIG_HOME"), ".config/").chain(below(base("XDG_DATA_HOME"), ".local/share/"));
    let all = named
        .chain(moved)
        .chain(own)
        .chain(linked(world))
        .chain(sockets)
        .chain(base("XDG_RUNTIME_DIR"))
        .chain(base("GNUPGHOME"));
    all.flat_map(|path| [resolved(&path), Some(path)]).flatten().collect()
}

/// Where the path leads, if there is anything. The kernel resolves it, in one call where there is
/// nothing; that is most of them, and every run asks for all.
fn resolved(path: &Path) -> Option<PathBuf> {
    let file = File::options().read(true).custom_flags(nix::libc::O_PATH).open(path).ok()?;
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}
