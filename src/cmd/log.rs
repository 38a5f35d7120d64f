//! `coco log`: which hosts were reached and denied, from the proxy's log.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::error::Error;
use crate::host::World;
use crate::host::volumes::journal;
use crate::json::{self, Value};
use crate::network::log::older;
use crate::term;
use crate::tools::tool_name;

/// The longest line that is read, in bytes; the proxy's own have less than a tenth of it.
const MAX_LINE: usize = 16 << 10;

/// Prints the log, or the part of it that was asked for.
pub fn log(world: &World, line: &Line) -> Result<u8, Error> {
    let tool = line.operands.first().map(|name| tool_name(name)).transpose()?;
    let path = journal(&world.directories);
    let mut found: Vec<(String, String, Vec<String>)> = Vec::new();
    for file in [older(&path), path] {
        for text in lines(&file)? {
            let Ok(entry) = json::parse(text.as_bytes(), MAX_LINE) else { continue };
            let field = |key: &str| entry.member(key).map(shown).unwrap_or_default();
            let other_tool = tool.as_ref().is_some_and(|tool| field("tool") != tool.as_str());
            if other_tool || (line.has(Switch::Denied) && field("verdict") != "denied") {
                continue;
            }
            let row = row(&field);
            found.push((field("time"), text, row));
        }
    }
    // A connection is logged at its end, with the time of its start.
    found.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    match tool.filter(|_| found.is_empty()) {
        Some(tool) => term::say(&format!("the log has nothing about {tool}")),
        None if line.has(Switch::Json) => {
            for (_, text, _) in &found {
                term::out(&format!("{text}\n"));
            }
        }
        None => term::out(&term::table(&found.into_iter().map(|(.., row)| row).collect::<Vec<_>>())),
    }
    Ok(0)
}

fn row(field: &impl Fn(&str) -> String) -> Vec<String> {
    let place = match (field("host"), field("port")) {
        (host, port) if port.is_empty() || port == "null" => host,
        (host, port) => format!("{host}:{port}"),
    };
    let what = match field("reason") {
        reason if reason.is_empty() => format!("{} sent, {} received", field("sent"), field("received")),
        reason => reason,
    };
    [field("time"), field("tool"), field("phase"), field("verdict"), place, what]
        .map(|cell| term::printable(&cell))
        .to_vec()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        other => other.text().unwrap_or_default().to_owned(),
    }
}

/// The lines of a file, which may be missing. Lines that are not UTF-8 or too long are left out.
fn lines(path: &Path) -> Result<Vec<String>, Error> {
    let file = match File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let mut lines = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = line.map_err(Error::io("read", path))?;
        if line.len() <= MAX_LINE
            && let Ok(text) = String::from_utf8(line)
            && !text.is_empty()
        {
            lines.push(text);
        }
    }
    Ok(lines)
}
