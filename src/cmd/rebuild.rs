//! `coco rebuild`: builds the images again.

use crate::engine::discover;
use crate::error::Error;
use crate::host::World;
use crate::install::image::{self, Cache};
use crate::term;

/// Builds every stage that is in use, the base where there is none.
pub fn rebuild(world: &World) -> Result<u8, Error> {
    if world.variable("COCO_IMAGE").is_some() {
        return Err(Error::usage("COCO_IMAGE is set, and coco does not build that image", "unset COCO_IMAGE"));
    }
    let engine = discover::find_engine(world)?;
    let mut stages = image::built(world, &engine);
    if stages.is_empty() {
        stages.push(image::Stage::Base);
    }
    // The later stages are built on the layers that the first one has just made.
    for (position, stage) in stages.into_iter().enumerate() {
        let cache = if position == 0 { Cache::Ignore } else { Cache::Use };
        let id = image::build(world, &engine, stage, cache)?;
        term::out(&format!("{} {id}\n", stage.name()));
    }
    Ok(0)
}
