//! `coco verify`: where coco files come from, and whether they were changed.

use serde_json::{Value, json};

use super::reported;
use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::error::Error;
use crate::host::World;
use crate::names::ToolName;
use crate::term;
use crate::tools;
use crate::tools::origin::{self, Origin};

/// Checks installed coco files against their signatures.
pub fn verify(world: &World, line: &Line) -> Result<u8, Error> {
    let mut origins = Vec::new();
    let (mut modified, mut failed) = (0, 0);
    for name in tools::named_or_all(world, &line.operands)? {
        // By its bytes: a file that does not parse may still be what was signed.
        match tools::read(world, &name).and_then(|bytes| origin::origin(world, &name, &bytes)) {
            Ok(origin) => {
                modified += usize::from(matches!(origin, Origin::Modified(_)));
                origins.push((origin::source(world, &name).map(|source| source.store), name, origin));
            }
            Err(error) => {
                error.report();
                failed += 1;
            }
        }
    }
    if line.has(Switch::Json) {
        let rows: Vec<Value> =
            origins.iter().map(|(store, name, origin)| origin_json(name, origin, store.as_deref())).collect();
        term::out(&format!("{:#}\n", Value::Array(rows)));
    } else {
        let rows: Vec<Vec<String>> = origins
            .iter()
            .map(|(store, name, origin)| {
                let (state, words) = match origin {
                    Origin::Store { revision, key } => {
                        let store = store.as_deref().unwrap_or("an unknown store");
                        ("store", term::printable(&format!("revision {revision}, key {}, from {store}", key.number)))
                    }
                    Origin::Local => ("local", "no signature".to_owned()),
                    Origin::Modified(reason) => ("MODIFIED", reason.clone()),
                };
                vec![name.to_string(), state.to_owned(), words]
            })
            .collect();
        term::out(&term::table(&rows));
    }
    reported(modified + failed)
}

fn origin_json(name: &ToolName, origin: &Origin, store: Option<&str>) -> Value {
    match origin {
        Origin::Store { revision, key } => {
            json!({"name": name.as_str(), "state": "store", "revision": revision, "key": key.number, "store": store})
        }
        Origin::Local => json!({"name": name.as_str(), "state": "local"}),
        Origin::Modified(reason) => {
            json!({"name": name.as_str(), "state": "MODIFIED", "reason": reason, "store": store})
        }
    }
}
