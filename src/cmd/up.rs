//! `coco up`: makes the links by which tools run under their own names.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;

use super::reported;
use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::error::Error;
use crate::host::World;
use crate::names::ToolName;
use crate::term;
use crate::tools::link::{self, Link};
use crate::tools::{self};

/// Names of programs that a shell, an engine or coco itself runs: a link of such a name breaks the system, or makes the
/// engine that coco runs run coco.
const RESERVED_NAMES: &[&str] = &[
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

/// Links the named tools, or all.
pub fn up(world: &World, line: &Line) -> Result<u8, Error> {
    let bin = &world.directories.bin;
    fs::create_dir_all(bin).map_err(Error::io("create the directory", bin))?;
    let mut failed = 0;
    for name in tools::named_or_all(world, &line.operands)? {
        let path = term::path(&link::path(world, &name));
        match link(world, &name, line) {
            Ok(what) => term::out(&format!("{what}: {path}\n")),
            Err(error) => {
                term::out(&format!("skip: {path}\n"));
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
    let path = link::path(world, name);
    tools::load(world, name)?;
    if RESERVED_NAMES.contains(&name.as_str()) && !line.has(Switch::Force) {
        return Err(Error::usage(
            format!("a link {name} would hide a program that the system or coco itself needs"),
            "coco up --force makes the link anyway",
        ));
    }
    match link::state(world, &path) {
        Link::Own => Ok("exists"),
        Link::Foreign => Err(Error::Exists {
            path,
            hint: "it is not a link to coco, so it stays; move it away or set COCO_BIN_DIR".to_owned(),
        }),
        Link::Free => {
            // Neither call replaces what another process has put there meanwhile.
            let made = if line.has(Switch::Hard) {
                fs::hard_link(&world.program, &path)
            } else {
                symlink(&world.program, &path)
            };
            match made {
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Err(Error::usage(
                    format!("a hard link can't be on another file system than coco: {}", term::path(&path)),
                    "coco up without --hard makes a symbolic link",
                )),
                made => made.map(|()| "created").map_err(Error::io("create the link", path)),
            }
        }
    }
}
