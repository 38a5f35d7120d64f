//! `coco rebuild`: builds the images again.

use crate::engine::discover;
use crate::error::Error;
use crate::host::World;
use crate::install::image;
use crate::plan::build_args::Cache;
use crate::term;

/// Builds the base, and every stage that is in use.
pub fn rebuild(world: &World) -> Result<u8, Error> {
    if world.variable("COCO_IMAGE").is_some() {
        return Err(Error::usage("COCO_IMAGE is set, and coco does not build that image", "unset COCO_IMAGE"));
    }
    let engine = discover::find_engine(world)?;
    image::warn_slow_storage(&engine);
    // The base comes first, and the later stages are built on it.
    let later = image::built(world, engine.kind).into_iter().filter(|stage| *stage != image::Stage::Base);
    for (position, stage) in [image::Stage::Base].into_iter().chain(later).enumerate() {
        let cache = if position == 0 { Cache::Ignore } else { Cache::Use };
        let id = image::rebuild(world, &engine, stage, cache)?;
        term::out(&format!("{} {id}\n", stage.name()));
    }
    Ok(0)
}
