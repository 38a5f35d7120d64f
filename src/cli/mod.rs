//! The command line: what the process is, what was typed, and the table of commands behind both and help.

pub mod args;
pub mod argv0;
pub mod help;
pub mod table;
