//! Help texts out of the table in `applet`. Pure.

use crate::cli::table::{COMMANDS, CommandRow};
use crate::term;

/// `coco help`.
pub fn overview() -> String {
    let rows: Vec<Vec<String>> =
        COMMANDS.iter().map(|row| vec![format!("  {} {}", row.name, row.usage), row.summary.to_owned()]).collect();
    format!(
        "coco runs developer tools in a sandbox with only the permissions that a small JSON file grants.\n\n\
         usage: coco COMMAND [OPTION...] [OPERAND...]\n       TOOL [ARGUMENT...]      (after coco up TOOL)\n\n\
         {}\n\
         coco help COMMAND tells more. To start, in a project: coco get eslint && coco up eslint && eslint --version\n",
        term::table(&rows)
    )
}

/// `coco help COMMAND`.
pub fn command(row: &CommandRow) -> String {
    let mut text = format!(
        "usage: coco {} {}{}\n\n{}\n",
        row.name,
        if row.switches.is_empty() { "" } else { "[OPTION...] " },
        row.usage,
        row.details
    );
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

/// `coco --version`.
pub fn version() -> String {
    format!("coco {}\n", env!("CARGO_PKG_VERSION"))
}

/// `coco help --names`: for shell completion.
pub fn names() -> String {
    COMMANDS.iter().map(|row| format!("{}\n", row.name)).collect()
}
