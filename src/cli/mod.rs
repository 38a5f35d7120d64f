//! The command line: who the process is, what was typed, and the one table of commands behind both and help.

pub mod args;
pub mod help;
pub mod table;
