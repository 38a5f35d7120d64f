//! `coco help`.

use super::{hint_at_tool, print};
use crate::cli::args::{self, Line};
use crate::cli::help;
use crate::cli::table::Switch;
use crate::error::Error;

/// Prints the help of a command, or of all.
pub fn help(line: &Line) -> Result<u8, Error> {
    if line.has(Switch::Names) {
        return print(&help::names());
    }
    let Some(name) = line.operands.first() else { return print(&help::overview()) };
    print(&help::command(args::command(name).map_err(hint_at_tool)?))
}
