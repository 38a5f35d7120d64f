//! What was typed after `coco`, parsed by the table of commands. Pure; bytes stay bytes.

use std::ffi::{OsStr, OsString};

use lexopt::Arg;

use crate::cli::table::{COMMANDS, CommandRow, Operands, Switch, SwitchRow, command_row};
use crate::error::Error;
use crate::names::nearest;
use crate::term;

/// What was typed after `coco`.
#[derive(Debug)]
pub enum Typed {
    /// Nothing: help, with exit code 1.
    Nothing,
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// `COMMAND --help`
    CommandHelp(&'static CommandRow),
    /// A command.
    Command(Line),
}

/// A command with its switches and operands.
#[derive(Debug)]
pub struct Line {
    /// The command's row.
    pub row: &'static CommandRow,
    /// The switches that were given.
    pub switches: Vec<Switch>,
    /// The values of the switches that take one.
    pub values: Vec<(Switch, OsString)>,
    /// The operands. For `run`, the tool and its own arguments.
    pub operands: Vec<OsString>,
}

impl Line {
    /// The value of a switch, the last one that was given.
    pub fn value(&self, switch: Switch) -> Option<&OsStr> {
        self.values.iter().rev().find(|(known, _)| *known == switch).map(|(_, value)| value.as_os_str())
    }

    /// Whether a switch was given.
    pub fn has(&self, switch: Switch) -> bool {
        self.switches.contains(&switch)
    }
}

/// Parses the arguments after `argv[0]`.
///
/// # Errors
/// [`Error::Usage`] or [`Error::UnknownCommand`], with a hint that says what to type.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Typed, Error> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let row = match next(&mut parser)? {
        None => return Ok(Typed::Nothing),
        Some(Arg::Long("help") | Arg::Short('h')) => return Ok(Typed::Help),
        Some(Arg::Long("version") | Arg::Short('V')) => return Ok(Typed::Version),
        Some(Arg::Value(name)) => command(&name)?,
        Some(other) => return Err(unknown_option(&other, &[], None)),
    };
    let mut line = Line { row, switches: Vec::new(), values: Vec::new(), operands: Vec::new() };
    while let Some(argument) = next(&mut parser)? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(Typed::CommandHelp(row)),
            Arg::Value(value) => {
                line.operands.push(value);
                if row.operands == Operands::ToolAndArguments {
                    let rest = parser.raw_args().map_err(|error| Error::usage(error.to_string(), "coco help run"))?;
                    line.operands.extend(rest);
                }
            }
            option => match row.switches.iter().find(|known| is(known, &option)) {
                Some(SwitchRow { switch, value: None, .. }) => line.switches.push(*switch),
                Some(SwitchRow { switch, value: Some(_), long, .. }) => {
                    let value = parser.value().map_err(|_| {
                        Error::usage(format!("--{long} needs a value"), format!("coco help {} says which", row.name))
                    })?;
                    line.values.push((*switch, value));
                }
                None => return Err(unknown_option(&option, row.switches, Some(row.name))),
            },
        }
    }
    count(line).map(Typed::Command)
}

fn next(parser: &mut lexopt::Parser) -> Result<Option<Arg<'_>>, Error> {
    parser.next().map_err(|error| {
        Error::usage(error.to_string(), "coco help COMMAND lists the options and which of them take a value")
    })
}

/// The row of a command that was typed.
///
/// # Errors
/// [`Error::UnknownCommand`] with the word and a hint about coco's own commands.
pub fn command(typed: &OsStr) -> Result<&'static CommandRow, Error> {
    typed.to_str().and_then(command_row).ok_or_else(|| {
        let word = term::os(typed);
        let hint = match (word.as_str(), nearest(&word, COMMANDS.iter().map(|row| row.name))) {
            // What other programs call it.
            ("remove" | "rm" | "uninstall" | "delete", _) => {
                "coco down NAME removes a tool's link; the README says how to remove the rest".to_owned()
            }
            ("install" | "add", _) => "coco get NAME fetches a tool's coco file, coco up NAME links it".to_owned(),
            ("version", _) => "coco --version".to_owned(),
            (_, Some(near)) => format!("did you mean coco {near}?"),
            (_, None) => "coco help lists the commands; a tool runs by its own name, or with coco run TOOL".to_owned(),
        };
        Error::UnknownCommand { word, hint }
    })
}

fn is(known: &SwitchRow, option: &Arg<'_>) -> bool {
    match option {
        Arg::Long(long) => known.long == *long,
        Arg::Short(short) => known.short == Some(*short),
        Arg::Value(_) => false,
    }
}

fn unknown_option(option: &Arg<'_>, known: &[SwitchRow], command: Option<&str>) -> Error {
    let (typed, bare) = match option {
        Arg::Long(long) => (format!("--{long}"), (*long).to_owned()),
        Arg::Short(short) => (format!("-{short}"), String::new()),
        Arg::Value(value) => (term::os(value), String::new()),
    };
    let hint = match (nearest(&bare, known.iter().map(|row| row.long)), command) {
        (Some(near), _) => format!("did you mean --{near}?"),
        (None, Some(command)) => format!("coco help {command} lists the options"),
        (None, None) => "coco help lists the commands; each has its own options".to_owned(),
    };
    Error::usage(format!("unknown option {}", term::printable(&typed)), hint)
}

fn count(line: Line) -> Result<Line, Error> {
    let given = line.operands.len();
    let fits = match line.row.operands {
        Operands::None => given == 0,
        Operands::Optional => given <= 1,
        Operands::One => given == 1,
        Operands::Any => true,
        Operands::Some | Operands::ToolAndArguments => given >= 1,
    };
    if fits {
        return Ok(line);
    }
    let what = if given == 0 { "needs an argument" } else { "was given too many arguments" };
    Err(Error::usage(
        format!("coco {} {what}", line.row.name),
        format!("usage: coco {} {}", line.row.name, line.row.usage).trim_end().to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::Command;

    fn typed(words: &[&str]) -> Result<Typed, Error> {
        parse(words.iter().map(OsString::from))
    }

    fn line(words: &[&str]) -> Line {
        match typed(words) {
            Ok(Typed::Command(line)) => line,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn what_follows_the_tool_is_the_tools() {
        let line = line(&["run", "--dry-run", "eslint", "--dry-run", "-v", "/:/host", "--", "--privileged", "-h"]);
        assert_eq!(line.row.command, Command::Run);
        assert_eq!(line.switches, [Switch::DryRun]);
        assert_eq!(line.operands, ["eslint", "--dry-run", "-v", "/:/host", "--", "--privileged", "-h"]);
    }

    #[test]
    fn mistakes_get_a_hint() {
        for (words, hint) in [
            (&["lst"][..], "did you mean coco list?"),
            (&["list", "--jsn"], "did you mean --json?"),
            (&["show"], "usage: coco show NAME"),
            (&["list", "x"], "usage: coco list"),
            (&["--x"], "coco help lists the commands; each has its own options"),
            (&["list", "--json=x"], "coco help COMMAND lists the options and which of them take a value"),
            (&["x"], "coco help lists the commands; a tool runs by its own name, or with coco run TOOL"),
            (&["uninstall"], "coco down NAME removes a tool's link; the README says how to remove the rest"),
            (&["get", "--from"], "coco help get says which"),
        ] {
            let error = typed(words).unwrap_err();
            assert_eq!(error.hint(), hint, "{words:?}");
            assert_eq!(error.exit_code(), 125);
        }
    }

    #[test]
    fn help_is_everywhere() {
        assert!(matches!(typed(&[]), Ok(Typed::Nothing)));
        assert!(matches!(typed(&["--help"]), Ok(Typed::Help)));
        assert!(matches!(typed(&["-V"]), Ok(Typed::Version)));
        for row in COMMANDS {
            assert!(matches!(typed(&[row.name, "--help"]), Ok(Typed::CommandHelp(_))));
        }
    }
}
