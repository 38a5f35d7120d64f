//! Help texts out of the table of commands, at most [`WIDTH`] columns wide. Pure.

use crate::cli::table::{COMMANDS, CommandRow};
use crate::term;

/// The width of a terminal that nobody has enlarged.
const WIDTH: usize = 80;

/// `coco help`.
pub fn overview() -> String {
    let rows: Vec<Vec<String>> =
        COMMANDS.iter().map(|row| vec![format!("  {}", row.name), row.summary.to_owned()]).collect();
    format!(
        "coco runs developer tools in a sandbox, with only the permissions that a small\n\
         JSON file grants.\n\n\
         usage: coco COMMAND [OPTION...] [OPERAND...]\n       TOOL [ARGUMENT...]      (after coco up TOOL)\n\n\
         commands:\n{}\n\
         coco help COMMAND prints more about a command. To start, in a project:\n\
         \x20 coco get eslint && coco up eslint && eslint --version\n",
        term::table(&rows)
    )
}

/// `coco help COMMAND`.
pub fn command(row: &CommandRow) -> String {
    let options = if row.switches.is_empty() { "" } else { "[OPTION...] " };
    let usage = format!("usage: coco {} {options}{}", row.name, row.usage);
    let mut text = format!("{}\n\n{}", usage.trim_end(), wrapped(row.details));
    if !row.switches.is_empty() {
        let rows: Vec<Vec<String>> = row
            .switches
            .iter()
            .map(|switch| {
                let short = switch.short.map(|letter| format!("-{letter}, ")).unwrap_or_default();
                let value = switch.value.map(|value| format!(" {value}")).unwrap_or_default();
                vec![format!("  {short}--{}{value}", switch.long), switch.help.to_owned()]
            })
            .collect();
        text.push_str(&format!("\noptions:\n{}", term::table(&rows)));
    }
    text
}

/// A paragraph in lines of at most [`WIDTH`] columns.
fn wrapped(paragraph: &str) -> String {
    let mut lines = vec![String::new()];
    for word in paragraph.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// `coco --version`.
pub fn version() -> String {
    format!("coco {}\n", env!("CARGO_PKG_VERSION"))
}

/// `coco help --names`: for shell completion.
pub fn names() -> String {
    COMMANDS.iter().map(|row| format!("{}\n", row.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_help_text_fits_a_terminal() {
        let texts = COMMANDS.iter().map(command).chain([overview()]);
        for text in texts {
            for line in text.lines() {
                assert!(line.is_ascii() && line.len() <= WIDTH && line.trim_end() == line, "{line:?}");
            }
        }
    }

    #[test]
    fn a_paragraph_is_wrapped_between_words() {
        let long = "x".repeat(90);
        assert_eq!(
            wrapped(&format!("a {} b {long} c", "y".repeat(78))),
            format!("a {}\nb\n{long}\nc\n", "y".repeat(78))
        );
    }
}
