//! `coco down`: removes the links to this program.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::reported;
use crate::cli::args::Line;
use crate::error::Error;
use crate::host::World;
use crate::names::ToolName;
use crate::term;
use crate::tools::link::{self, Link};
use crate::tools::tool_name;

/// Removes the named links, or all.
pub fn down(world: &World, line: &Line) -> Result<u8, Error> {
    let paths: Vec<PathBuf> = if line.operands.is_empty() {
        all_links(world)?
    } else {
        line.operands.iter().map(|name| Ok(link::path(world, &tool_name(name)?))).collect::<Result<_, Error>>()?
    };
    let mut failed = 0;
    for path in paths {
        let outcome = match link::state(world, &path) {
            Link::Own => fs::remove_file(&path).map(|()| "removed").map_err(Error::io("remove", &path)),
            Link::Free => Ok("absent"),
            Link::Foreign => Err(Error::usage(
                format!("{} is not removed: it is not a link to coco", term::path(&path)),
                "remove it by hand if you no longer need it",
            )),
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

/// The links to this program under any valid tool name, but not the program itself.
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
        .filter(|path| link::state(world, path) == Link::Own)
        .collect();
    paths.sort();
    Ok(paths)
}
