//! `coco up` and `coco down`: links by which tools run under their own names.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::error::Error;
use crate::host::World;
use crate::names::ToolName;
use crate::{term, tools};

use super::reported;

/// Names that decide what a shell, an engine or coco itself runs: hiding one of them behind a
/// sandbox breaks the system, or runs coco by the engine that coco runs.
const PRECIOUS: &[&str] = &[
    "podman",
    "docker",
    "bwrap",
    "crun",
    "runc",
    "conmon",
    "sh",
    "bash",
    "dash",
    "zsh",
    "fish",
    "ksh",
    "su",
    "sudo",
    "doas",
    "ssh",
    "scp",
    "ssh-agent",
    "ssh-add",
    "gpg",
    "git",
    "mise",
    "env",
    "login",
    "ls",
    "cp",
    "mv",
    "rm",
    "cat",
    "curl",
    "systemctl",
];

/// What is at a tool's place in the directory of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Nothing.
    Free,
    /// A link to this program.
    Ours,
    /// Anything else.
    Foreign,
}

/// What is at a tool's place.
pub fn link_state(world: &World, name: &ToolName) -> Link {
    state(world, &world.directories.bin.join(name.as_str()))
}

fn state(world: &World, path: &Path) -> Link {
    if path.symlink_metadata().is_err() {
        return Link::Free;
    }
    // The program itself is no link, whatever its file is called: `down` must not delete it.
    if fs::canonicalize(path).is_ok_and(|file| file == world.program) && !path.is_symlink() {
        return Link::Foreign;
    }
    // A hard link is the same file; a symbolic one leads to it. Another copy of coco is foreign.
    match (fs::metadata(path), fs::metadata(&world.program)) {
        (Ok(link), Ok(own)) if (link.dev(), link.ino()) == (own.dev(), own.ino()) => Link::Ours,
        _ => Link::Foreign,
    }
}

/// Links tools.
pub fn up(world: &World, line: &Line) -> Result<u8, Error> {
    let bin = &world.directories.bin;
    fs::create_dir_all(bin).map_err(Error::io("create the directory", bin))?;
    let mut failed = 0;
    for name in tools::named_or_all(world, &line.operands)? {
        match link(world, &name, line) {
            Ok(what) => term::out(&format!("{what}: {}\n", term::path(&bin.join(name.as_str())))),
            Err(error) => {
                term::out(&format!("skip: {}\n", term::path(&bin.join(name.as_str()))));
                error.report();
                failed += 1;
            }
        }
    }
    let on_path = world.variable("PATH").is_some_and(|path| std::env::split_paths(path).any(|entry| entry == *bin));
    if !on_path {
        term::note("warning", &format!("{} is not on your PATH", term::path(bin)));
        term::note("hint", &format!("export PATH={}:$PATH", term::shell_quote(bin.as_os_str())));
    }
    reported(failed)
}

fn link(world: &World, name: &ToolName, line: &Line) -> Result<&'static str, Error> {
    let path = world.directories.bin.join(name.as_str());
    tools::load(world, name)?;
    if PRECIOUS.contains(&name.as_str()) && !line.has(Switch::Force) {
        return Err(Error::usage(
            format!("a link {name} would hide a program that the system or coco itself needs"),
            "coco up --force links it all the same",
        ));
    }
    match state(world, &path) {
        Link::Ours => Ok("exists"),
        Link::Foreign => Err(Error::Exists {
            path,
            hint: "it is not coco's, so it stays; move it away or set COCO_BIN_DIR".to_owned(),
        }),
        Link::Free => {
            // Neither call replaces what another process put there in between.
            let made = if line.has(Switch::Hard) {
                fs::hard_link(&world.program, &path)
            } else {
                symlink(&world.program, &path)
            };
            match made {
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Err(Error::usage(
                    format!("{} is on another file system than coco, which a hard link can't cross", term::path(&path)),
                    "leave --hard out",
                )),
                made => made.map(|()| "created").map_err(Error::io("create the link", path)),
            }
        }
    }
}

/// Removes links that lead to this program.
pub fn down(world: &World, line: &Line) -> Result<u8, Error> {
    let paths: Vec<PathBuf> = if line.operands.is_empty() {
        all_links(world)?
    } else {
        line.operands
            .iter()
            .map(|name| Ok(world.directories.bin.join(crate::tools::tool_name(name)?.as_str())))
            .collect::<Result<_, Error>>()?
    };
    let mut failed = 0;
    for path in paths {
        let outcome = match state(world, &path) {
            Link::Ours => fs::remove_file(&path).map(|()| "removed").map_err(Error::io("remove", &path)),
            Link::Free => Ok("absent"),
            Link::Foreign => {
                Err(Error::Exists { path: path.clone(), hint: "it is not coco's, so it stays".to_owned() })
            }
        };
        match outcome {
            Ok(what) => term::out(&format!("{what}: {}\n", term::path(&path))),
            Err(error) => {
                term::out(&format!("skip: {}\n", term::path(&path)));
                error.report();
                failed += 1;
            }
        }
    }
    reported(failed)
}

/// Links to this program under any tool's name; not the program itself.
fn all_links(world: &World) -> Result<Vec<PathBuf>, Error> {
    let bin = &world.directories.bin;
    let entries = match fs::read_dir(bin) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", bin)(error)),
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| ToolName::new(name).is_ok()))
        .map(|entry| entry.path())
        .filter(|path| state(world, path) == Link::Ours)
        .collect();
    paths.sort();
    Ok(paths)
}
