//! `coco get`: the moment when a stranger's permissions enter the machine.

use crate::applet::Switch;
use crate::args::Line;
use crate::error::Error;
use crate::facts::World;
use crate::fetch;
use crate::install::{lock_exclusive, write_atomically};
use crate::names::ToolName;
use crate::store::{self, Signed};
use crate::{explain, term, tools};

use super::reported;

/// Fetches coco files; each stands or falls alone.
pub fn get(world: &World, line: &Line) -> Result<u8, Error> {
    let mut failed = 0;
    for operand in &line.operands {
        let outcome = crate::tool_name(operand).and_then(|name| get_one(world, &name, line.has(Switch::Bundled)));
        if let Err(error) = outcome {
            error.report();
            failed += 1;
        }
    }
    reported(failed)
}

fn get_one(world: &World, name: &ToolName, bundled_only: bool) -> Result<(), Error> {
    let path = tools::path(world, name);
    let _lock =
        lock_exclusive(&world.directories.tools.join(".lock"), || term::say("waiting for another coco that fetches"))?;
    if path.symlink_metadata().is_ok() {
        return Err(Error::Exists {
            path,
            hint: "coco get never replaces a file; remove it first to have the store's".to_owned(),
        });
    }
    let (signed, from) = obtain(world, name, bundled_only)?;
    let mut signature = path.clone().into_os_string();
    signature.push(".minisig");
    // The signature first: a file without one counts as the user's own.
    write_atomically(signature.as_ref(), &signed.signature)?;
    write_atomically(&path, signed.verified.bytes())?;
    term::out(&format!("{name}: {from}, revision {}, written to {}\n", signed.verified.revision(), term::path(&path)));
    term::out(&explain::grants(&signed.file));
    Ok(())
}

/// From the store that the user named, else from the bundled one; a network failure alone leads
/// from the first to the second.
fn obtain(world: &World, name: &ToolName, bundled_only: bool) -> Result<(Signed, String), Error> {
    let bundled = |why: &str| Ok((store::bundled(name)?, format!("from the bundled store{why}")));
    let base = match fetch::base(world)? {
        Some(base) if !bundled_only && !world.is_on("COCO_OFFLINE") => base,
        _ => return bundled(""),
    };
    match fetch::coco_file(world, &base, name) {
        Ok(signed) => {
            // Going back behind what this program carries would undo a fix.
            if let Ok(own) = store::bundled(name)
                && own.verified.revision() > signed.verified.revision()
            {
                return Err(Error::Signature {
                    what: format!("{name}.json at {base}"),
                    reason: format!(
                        "it is revision {}, older than the bundled {}",
                        signed.verified.revision(),
                        own.verified.revision()
                    ),
                });
            }
            Ok((signed, format!("from {base}")))
        }
        Err(fetch::Failure::Network(reason)) => {
            term::note("warning", &format!("{base} can't be reached ({reason}); using the bundled store"));
            bundled(", as the network failed")
        }
        Err(fetch::Failure::Refused(error)) => Err(error),
    }
}
