//! `coco search`: the tools of the store inside this program.

use serde_json::{Value, json};

use super::print;
use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::error::Error;
use crate::host::World;
use crate::store::bundled;
use crate::{term, tools};

/// Prints what the bundled store has about a word.
pub fn search(world: &World, line: &Line) -> Result<u8, Error> {
    let wanted = line.operands.first().map(|typed| term::os(typed).to_lowercase()).unwrap_or_default();
    let index = bundled::index()?;
    let configured = tools::list(world)?;
    let found: Vec<_> = index
        .tools
        .iter()
        .filter(|entry| {
            [entry.name.as_str(), &entry.tool.to_string(), &entry.description]
                .iter()
                .any(|text| text.to_lowercase().contains(&wanted))
        })
        .collect();
    if line.has(Switch::Json) {
        let rows: Vec<Value> = found
            .iter()
            .map(|entry| {
                json!({
                    "name": entry.name.as_str(),
                    "tool": entry.tool.to_string(),
                    "revision": entry.revision,
                    "description": entry.description,
                    "configured": configured.contains(&entry.name),
                })
            })
            .collect();
        return print(&format!("{:#}\n", Value::Array(rows)));
    }
    if found.is_empty() {
        return Err(Error::usage(
            format!("no tool in the store matches {wanted}"),
            "coco search without a word prints all of the store; you can also write a coco file yourself",
        ));
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|entry| {
            let mark = if configured.contains(&entry.name) { "*" } else { " " };
            vec![format!("{mark} {}", entry.name), entry.tool.to_string(), term::printable(&entry.description)]
        })
        .collect();
    print(&term::table(&rows))
}
