//! `coco key`: the keys that may sign coco files.

use std::ffi::{OsStr, OsString};
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
use crate::tools::origin::{Origin, origin};
use crate::{term, tools};

/// Lists, adds or removes keys: `list`, `add FILE`, `remove NAME`.
pub fn key(world: &World, line: &Line) -> Result<u8, Error> {
    let words: Vec<&OsStr> = line.operands.iter().map(OsString::as_os_str).collect();
    match words.as_slice() {
        [verb] if *verb == "list" => list(world, line),
        [verb, file] if *verb == "add" => {
            let _lock = lock(world)?;
            add(world, Path::new(file))
        }
        [verb, name] if *verb == "remove" => {
            let _lock = lock(world)?;
            remove(world, name)
        }
        _ => {
            let typed: Vec<String> = words.iter().map(|word| term::os(word)).collect();
            let message = format!("unknown arguments of coco key: {}", typed.join(" "));
            Err(Error::usage(message, "usage: coco key list | add FILE | remove NAME"))
        }
    }
}

fn list(world: &World, line: &Line) -> Result<u8, Error> {
    let keys = keyring::keys(world)?;
    let rotations = KeyRotations::read(world)?;
    let named_by = |key: &TrustedKey| rotations.predecessor(&key.id).map(|by| by.number.clone());
    if line.has(Switch::Json) {
        let row = |key: &TrustedKey| json!({"name": key.name, "number": key.id.number, "named_by": named_by(key)});
        return print(&format!("{:#}\n", Value::Array(keys.iter().map(row).collect())));
    }
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            let named = named_by(key).map(|number| format!("named by {number}")).unwrap_or_default();
            vec![term::printable(&key.name), key.id.number.clone(), named]
        })
        .collect();
    print(&term::table(&rows))
}

/// Whether a key file may have this name: letters, digits, `.`, `_` and `-`.
fn is_key_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with(['.', '-']) && name != BUILT_IN
}

fn add(world: &World, file: &Path) -> Result<u8, Error> {
    let name = file.file_stem().and_then(|name| name.to_str()).filter(|name| is_key_name(name)).ok_or_else(|| {
        Error::usage(
            format!("{} is not a valid name for a key file", term::path(file)),
            "name the file after the owner, as in acme.pub; letters, digits, '.', '_' and '-' are allowed",
        )
    })?;
    let key = keyring::read(name, file)?;
    let keys = keyring::keys(world)?;
    if let Some(known) = keys.iter().find(|known| known.id.number == key.id.number) {
        let message = if known.id == key.id {
            format!("the key {} is already trusted, as {}", key.id.number, known.name)
        } else {
            format!("the key {} has the same number as the key {}", key.id.number, known.name)
        };
        return Err(Error::usage(message, "coco key list prints all keys"));
    }
    let path = keyring::path(world, name);
    if path.symlink_metadata().is_ok() {
        return Err(Error::Exists {
            path,
            hint: format!("remove it first with coco key remove {name}, or rename the new file"),
        });
    }
    keyring::record_removed(world, &key.id, false)?;
    write_atomically(&path, key.text.as_bytes())?;
    print(&format!("{name}: {} may now sign coco files; check this number with the key's owner\n", key.id.number))
}

fn remove(world: &World, typed: &OsStr) -> Result<u8, Error> {
    if typed == BUILT_IN {
        return Err(Error::usage("the built-in key can't be removed", "coco key list prints the others"));
    }
    let known = |name: &&str| is_key_name(name) && keyring::path(world, name).symlink_metadata().is_ok();
    let Some(name) = typed.to_str().filter(known) else {
        return Err(Error::usage(format!("unknown key {}", term::os(typed)), "coco key list prints all keys"));
    };
    let path = keyring::path(world, name);
    // A damaged file is only deleted.
    let Ok(TrustedKey { id, .. }) = keyring::read(name, &path) else {
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        return print(&format!("{name}: removed; the file was not a valid key\n"));
    };
    let keys = keyring::keys(world)?;
    // First of all: a removed key must not come back, even if this is interrupted now.
    keyring::record_removed(world, &id, true)?;
    for known in keys.iter().filter(|known| known.id == id && known.name != BUILT_IN) {
        let path = keyring::path(world, &known.name);
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        term::out(&format!("{}: {} may no longer sign coco files\n", known.name, id.number));
    }
    if let Some(next) = KeyRotations::read(world)?.successor(&id, &keys) {
        let next = &next.name;
        term::out(&format!("  {next}: named by that key, still trusted; to remove it: coco key remove {next}\n"));
    }
    for tool in tools::list(world)? {
        let bytes = tools::read(world, &tool)?;
        if let Origin::Modified(_) = origin(world, &tool, &bytes)? {
            let path = tools::path(world, &tool);
            term::out(&format!(
                "  {tool}: not signed by a trusted key any more; coco update {tool}, or remove {}\n",
                term::path(&path)
            ));
        }
    }
    Ok(0)
}
