//! `coco key`: whose signatures count.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::get::lock;
use super::print;
use crate::cli::args::Line;
use crate::cli::table::Switch;
use crate::error::Error;
use crate::host::World;
use crate::store::keyring::{self, BUILT_IN, TrustedKey};
use crate::store::rotation::KeyRotations;
use crate::sys::files::write_atomically;
use crate::{term, tools};

/// `list`, `add FILE`, `remove NAME`.
pub fn key(world: &World, line: &Line) -> Result<u8, Error> {
    let words: Vec<&str> = line.operands.iter().map(|word| word.to_str().unwrap_or("\u{fffd}")).collect();
    match words.as_slice() {
        ["list"] => list(world, line),
        ["add", _] => {
            let _lock = lock(world)?;
            add(world, line.operands.get(1).map_or(Path::new(""), Path::new))
        }
        ["remove", name] => {
            let _lock = lock(world)?;
            remove(world, name)
        }
        _ => Err(Error::usage("what to do with keys is not clear", "usage: coco key list | add FILE | remove NAME")),
    }
}

fn list(world: &World, line: &Line) -> Result<u8, Error> {
    let keys = keyring::keys(world)?;
    let rotations = KeyRotations::read(world)?;
    let after = |key: &TrustedKey| rotations.predecessor(&key.id).map(|by| by.number.clone());
    if line.has(Switch::Json) {
        let row = |key: &TrustedKey| json!({"name": key.name, "number": key.id.number, "named_by": after(key)});
        return print(&format!("{:#}\n", Value::Array(keys.iter().map(row).collect())));
    }
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            let named = after(key).map(|number| format!("named by {number}")).unwrap_or_default();
            vec![term::printable(&key.name), key.id.number.clone(), named]
        })
        .collect();
    print(&term::table(&rows))
}

/// Names of key files: letters, digits, `.`, `_` and `-`.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with(['.', '-']) && name != BUILT_IN
}

fn add(world: &World, file: &Path) -> Result<u8, Error> {
    let name = file.file_stem().and_then(|name| name.to_str()).filter(|name| is_name(name)).ok_or_else(|| {
        Error::usage(
            format!("{} can't name a key", term::path(file)),
            "call the file by whose key it is, as in acme.pub: letters, digits, '.', '_' and '-'",
        )
    })?;
    let key = keyring::read(name, file)?;
    let keys = keyring::keys(world)?;
    if let Some(known) = keys.iter().find(|known| known.id.number == key.id.number) {
        let words = if known.id == key.id { "is there already" } else { "has the number of another key" };
        let message = format!("the key {} {words}: {}", key.id.number, known.name);
        return Err(Error::usage(message, "coco key list shows all"));
    }
    let path = keyring::path(world, name);
    if path.symlink_metadata().is_ok() {
        return Err(Error::Exists { path, hint: "remove it first, or give the new one another name".to_owned() });
    }
    keyring::record_removed(world, &key.id, false)?;
    write_atomically(&path, key.text.as_bytes())?;
    print(&format!("{name}: {} may now sign coco files; compare the number with who gave it to you\n", key.id.number))
}

fn remove(world: &World, name: &str) -> Result<u8, Error> {
    if name == BUILT_IN {
        return Err(Error::usage("the built-in key can't be removed", "coco key list shows the others"));
    }
    let path = keyring::path(world, name);
    if !is_name(name) {
        return Err(Error::usage(format!("there is no key {}", term::printable(name)), "coco key list shows all"));
    }
    if path.symlink_metadata().is_err() {
        return Err(Error::usage(format!("there is no key {name}"), "coco key list shows all"));
    }
    // A file that is no key only goes.
    let Ok(TrustedKey { id, .. }) = keyring::read(name, &path) else {
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        return print(&format!("{name}: it was no key\n"));
    };
    let keys = keyring::keys(world)?;
    // First: what was removed must not come back, whatever happens now.
    keyring::record_removed(world, &id, true)?;
    for known in keys.iter().filter(|known| known.id == id && known.name != BUILT_IN) {
        let path = keyring::path(world, &known.name);
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        term::out(&format!("{}: {} may no longer sign coco files\n", known.name, id.number));
    }
    if let Some(next) = KeyRotations::read(world)?.successor(&id, &keys) {
        let next = &next.name;
        term::out(&format!("  {next}: it was named by that key and stays; coco key remove {next}\n"));
    }
    for tool in tools::list(world)? {
        let bytes = tools::read(world, &tool)?;
        if let tools::Origin::Modified(_) = tools::origin(world, &tool, &bytes)? {
            let path = tools::path(world, &tool);
            term::out(&format!(
                "  {tool}: nothing vouches for it any more; coco update {tool}, or remove {}\n",
                term::path(&path)
            ));
        }
    }
    Ok(0)
}
