//! `coco list`: the configured tools.

use serde_json::{Value, json};

use super::print;
use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::engine::discover;
use crate::error::Error;
use crate::explain::short_network;
use crate::host::World;
use crate::names::ToolName;
use crate::plan::record::read_record;
use crate::term;
use crate::tools::link::{self, Link};
use crate::tools::origin::{self, Origin};
use crate::tools::{self, Tool};

/// Prints the configured tools.
pub fn list(world: &World, line: &Line) -> Result<u8, Error> {
    let names = tools::list(world)?;
    if line.has(Switch::Json) {
        let rows: Vec<Value> = names.iter().map(|name| row_json(world, name)).collect();
        return print(&format!("{:#}\n", Value::Array(rows)));
    }
    if !line.has(Switch::Long) && !world.terminals.stdout {
        return print(&names.iter().map(|name| format!("{name}\n")).collect::<String>());
    }
    if names.is_empty() {
        return print("no tools yet; coco search shows the store, coco get NAME fetches one of its tools\n");
    }
    let mut rows = vec![["NAME", "TOOL", "VERSION", "NETWORK", "ORIGIN", "LINKED"].map(str::to_owned).to_vec()];
    for name in &names {
        rows.push(match tools::load(world, name) {
            Ok(tool) => vec![
                name.to_string(),
                tool.file.tool.to_string(),
                version(world, &tool).unwrap_or_else(|| "-".to_owned()),
                short_network(&tool.file.network),
                state(world, &tool)?,
                if is_linked(world, name) { "yes" } else { "-" }.to_owned(),
            ],
            // One broken file does not hide the others; coco lint says what is wrong with it.
            Err(_) => vec![name.to_string(), "BROKEN: see coco lint".to_owned()],
        });
    }
    print(&term::table(&rows))
}

fn row_json(world: &World, name: &ToolName) -> Value {
    match tools::load(world, name) {
        Ok(tool) => json!({
            "name": name.as_str(),
            "tool": tool.file.tool.to_string(),
            "version": version(world, &tool),
            "network": short_network(&tool.file.network),
            "origin": state(world, &tool).unwrap_or_else(|error| error.to_string()),
            "linked": is_linked(world, name),
        }),
        Err(error) => json!({"name": name.as_str(), "error": error.to_string()}),
    }
}

fn is_linked(world: &World, name: &ToolName) -> bool {
    link::state(world, &link::path(world, name)) == Link::Own
}

/// The installed version; `system` for a tool of the image.
fn version(world: &World, tool: &Tool) -> Option<String> {
    if tool.file.tool.is_system() {
        return Some("system".to_owned());
    }
    let engine = discover::find_engine(world).ok()?;
    read_record(&engine.kind.volumes(&world.directories).record(&tool.name)).map(|record| record.version)
}

/// The origin in a word or two.
fn state(world: &World, tool: &Tool) -> Result<String, Error> {
    Ok(match origin::origin(world, &tool.name, &tool.bytes)? {
        Origin::Store { revision, .. } => format!("store r{revision}"),
        Origin::Local => "local".to_owned(),
        Origin::Modified(_) => "MODIFIED".to_owned(),
    })
}
