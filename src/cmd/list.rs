//! `coco list` and `coco search`.

use serde_json::{Value, json};

use super::links::{Link, link_state};
use super::print;
use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::config::Network;
use crate::engine::discover;
use crate::error::Error;
use crate::host::World;
use crate::names::ToolName;
use crate::plan::record::{read_record, record_path};
use crate::store::bundled;
use crate::term;
use crate::tools::{self, Origin, Tool};

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
        return print("no tools yet: coco search shows what there is, coco get NAME fetches one\n");
    }
    let mut rows = vec![["NAME", "TOOL", "VERSION", "NETWORK", "ORIGIN", "LINKED"].map(str::to_owned).to_vec()];
    for name in &names {
        rows.push(match tools::load(world, name) {
            Ok(tool) => vec![
                name.to_string(),
                tool.file.tool.to_string(),
                version(world, &tool).unwrap_or_else(|| "-".to_owned()),
                network(&tool.file.network),
                origin(world, &tool)?,
                if link_state(world, name) == Link::Ours { "yes" } else { "-" }.to_owned(),
            ],
            // One broken file does not hide the others; lint tells what is wrong with it.
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
            "network": network(&tool.file.network),
            "origin": origin(world, &tool).unwrap_or_else(|error| error.to_string()),
            "linked": link_state(world, name) == Link::Ours,
        }),
        Err(error) => json!({"name": name.as_str(), "error": error.to_string()}),
    }
}

/// The installed version; `system` for what the image has.
fn version(world: &World, tool: &Tool) -> Option<String> {
    if tool.file.tool.is_system() {
        return Some("system".to_owned());
    }
    let engine = discover::find_engine(world).ok()?;
    read_record(&record_path(world, &engine, &tool.name)).map(|record| record.version)
}

/// The network in a word or two.
fn network(network: &Network) -> String {
    match network {
        Network::None => "none".to_owned(),
        Network::AllowedHosts(hosts) => format!("{} host{}", hosts.len(), if hosts.len() == 1 { "" } else { "s" }),
        Network::Public => "public".to_owned(),
        Network::EngineDefault => "default".to_owned(),
        Network::EngineNetwork(name) => name.to_string(),
        Network::DangerousHost => "HOST".to_owned(),
    }
}

fn origin(world: &World, tool: &Tool) -> Result<String, Error> {
    Ok(match tools::origin(world, &tool.name, &tool.bytes)? {
        Origin::Store { revision, .. } => format!("store r{revision}"),
        Origin::Local => "local".to_owned(),
        Origin::Modified(_) => "MODIFIED".to_owned(),
    })
}

/// Looks through the bundled store's index.
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
            format!("the store has nothing about {wanted}"),
            "coco search alone prints all of it; a coco file of your own works as well",
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
