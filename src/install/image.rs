//! The image: which stage a tool needs, whether it is built, and how to build it.
//!
//! Every other stage is built on the base, which is made and recorded first: so the engine keeps nothing of what the base
//! alone needs, and builds nothing for a stage but that stage.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::engine::helpers::{self, Start};
use crate::engine::image::{Image, ImageId, ImageName};
use crate::engine::{Engine, EngineKind, discover};
use crate::error::Error;
use crate::exec::{self, BuildEvent, Client};
use crate::facts::ca_certificates;
use crate::host::World;
use crate::names::{Backend, ToolSpec};
use crate::plan::build_args::{Build, BuildBase, Cache, CallerLimits};
use crate::store::bundled;
use crate::sys::files::{read_json, read_limited, write_atomically, write_json};
use crate::sys::hash::Digest;
use crate::sys::limits::{Resource, limits};
use crate::sys::lock::{Lock, lock_exclusive};
use crate::term;
use crate::term::progress::{Progress, waiting};

mod leftovers;
mod steps;

use leftovers::{Foundation, owner, remove_scrap};
pub use leftovers::{Removed, remove_unused};

/// What images are built on, unless `COCO_BASE_IMAGE` says otherwise.
const BASE_IMAGE: &str = "docker.io/library/debian:forky-slim";

/// How many lines of an engine's output are kept, to be shown when it fails.
const MAX_TAIL: usize = 40;

/// A stage of the Containerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// mise and nothing else.
    Base,
    /// node and npm.
    Node,
    /// python and pipx.
    Python,
    /// rustc and cargo.
    Rust,
    /// ruby and gem.
    Ruby,
    /// go.
    Go,
}

impl Stage {
    /// Every stage.
    pub const ALL: &'static [Stage] = &[Stage::Base, Stage::Node, Stage::Python, Stage::Rust, Stage::Ruby, Stage::Go];

    /// Its name in the Containerfile.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Base => "base",
            Stage::Node => "node",
            Stage::Python => "python",
            Stage::Rust => "rust",
            Stage::Ruby => "ruby",
            Stage::Go => "go",
        }
    }

    /// The stages of the Containerfile that its build is made from.
    fn parts(self) -> &'static [&'static str] {
        match self {
            Stage::Base => &["mise-fetch", "base"],
            Stage::Node => &["node"],
            Stage::Python => &["python"],
            Stage::Rust => &["rust"],
            Stage::Ruby => &["ruby"],
            Stage::Go => &["go"],
        }
    }

    /// The name of its image.
    pub fn image_name(self) -> ImageName {
        ImageName::of_own(if self == Stage::Base { "latest" } else { self.name() })
    }

    /// The stage whose runtime a tool needs.
    pub fn of(tool: &ToolSpec) -> Stage {
        match tool.backend {
            Backend::Npm => Stage::Node,
            Backend::Pipx => Stage::Python,
            Backend::Cargo => Stage::Rust,
            Backend::Gem => Stage::Ruby,
            Backend::Go => Stage::Go,
            Backend::Core => {
                Stage::ALL.iter().copied().find(|stage| stage.name() == tool.package).unwrap_or(Stage::Base)
            }
        }
    }
}

/// What is known about a built stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ImageRecord {
    id: ImageId,
    /// The Containerfile that it was built from.
    containerfile: Digest,
    /// What it stands on.
    base: ImageName,
    /// What that was then: its id in the engine's words, or empty where the engine could not tell.
    base_digest: String,
}

/// The image for a stage if it is known, without building: for `show` and `--dry-run`.
pub fn known(world: &World, engine: &Engine, stage: Stage) -> Result<Option<Image>, Error> {
    if let Some(image) = of_the_user(world)? {
        return Ok(Some(image));
    }
    let base = base_image(world)?;
    let containerfile = bundled::containerfile_digest();
    Ok(read(&record_path(world, engine.kind, stage))
        .filter(|record| record.base == base && record.containerfile == containerfile)
        .map(|record| Image::Id(record.id)))
}

/// The image for a stage; builds it when there is none, or when the Containerfile or the
/// base's name has changed.
pub fn ready(world: &World, engine: &Engine, stage: Stage) -> Result<Image, Error> {
    if let Some(image) = known(world, engine, stage)? {
        return Ok(image);
    }
    let _lock = locked(world, engine, stage)?;
    if let Some(image) = known(world, engine, stage)? {
        return Ok(image);
    }
    warn_slow_storage(engine);
    build(world, engine, stage, Cache::Use).map(Image::Id)
}

/// Forgets a stage whose image the engine no longer has; gives whether that was so.
///
/// # Errors
/// The engine can't tell: that is no reason to build anything.
pub fn forget_if_gone(world: &World, engine: &Engine, stage: Stage, image: &Image) -> Result<bool, Error> {
    // An image of the user's own is not coco's to build.
    if of_the_user(world)?.is_some() {
        return Ok(false);
    }
    // A record that can't be removed is met again by the next start, which says so.
    Ok(!is_there(engine, &image.to_string())? && std::fs::remove_file(record_path(world, engine.kind, stage)).is_ok())
}

/// Whether the engine has an image.
///
/// # Errors
/// It can't tell.
fn is_there(engine: &Engine, image: &str) -> Result<bool, Error> {
    let asked: &[&str] = match engine.kind {
        EngineKind::Podman => &["image", "exists", image],
        EngineKind::Docker => &["image", "inspect", "--format={{.Id}}", image],
    };
    let answer = exec::answer(engine, asked)?;
    match presence(engine.kind, &answer) {
        Some(presence) => Ok(presence == Presence::There),
        None => Err(Error::Engine {
            message: format!("{} can't tell whether it has the image: {}", engine.kind.program(), answer.stderr),
            hint: helpers::hint(&discover::missing_helpers_in(engine, &answer.stderr)).unwrap_or_else(|| {
                format!("make `{} image ls` work, then start the tool again", engine.kind.program())
            }),
        }),
    }
}

/// Whether an engine has an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    There,
    Gone,
}

/// What an answer says about an image; nothing when it says something else. podman-image-exists(1) has an exit code
/// of its own for "no such image"; docker has none, and says so in words.
fn presence(kind: EngineKind, answer: &exec::Answer) -> Option<Presence> {
    match (kind, answer.code) {
        (_, Some(0)) => Some(Presence::There),
        (EngineKind::Podman, Some(1)) => Some(Presence::Gone),
        (EngineKind::Docker, Some(1)) if answer.stderr.to_lowercase().contains("no such image") => Some(Presence::Gone),
        _ => None,
    }
}

/// The same for whichever image the record names.
pub fn forget_if_lost(world: &World, engine: &Engine, stage: Stage) -> Result<bool, Error> {
    match known(world, engine, stage)? {
        Some(image) => forget_if_gone(world, engine, stage, &image),
        None => Ok(false),
    }
}

/// The stages that were built.
pub fn built(world: &World, kind: EngineKind) -> Vec<Stage> {
    Stage::ALL.iter().copied().filter(|stage| record_path(world, kind, *stage).exists()).collect()
}

/// podman falls back to this driver by itself, and then every run copies the whole image.
pub fn warn_slow_storage(engine: &Engine) {
    if engine.kind == EngineKind::Podman
        && exec::ask(engine, &["info", "--format={{.Store.GraphDriverName}}"]).as_deref() == Some("vfs")
    {
        let words = "podman keeps images with the vfs driver, which copies a whole image for each run. To change that: write \
                     driver = \"overlay\" under [storage] into ~/.config/containers/storage.conf, then run podman system \
                     reset, which removes all containers and images";
        term::note("warning", words);
    }
}

/// Builds a stage again.
pub fn rebuild(world: &World, engine: &Engine, stage: Stage, cache: Cache) -> Result<ImageId, Error> {
    let _lock = locked(world, engine, stage)?;
    build(world, engine, stage, cache)
}

/// Waits until no other coco builds the stage.
fn locked(world: &World, engine: &Engine, stage: Stage) -> Result<Lock, Error> {
    let words = format!("waiting for another coco that builds the image for {}", stage.name());
    lock_exclusive(&lock_path(world, engine.kind, stage), waiting(words))
}

/// Builds a stage and records it, while its lock is held. Reports when the base image has changed since the last build.
fn build(world: &World, engine: &Engine, stage: Stage, cache: Cache) -> Result<ImageId, Error> {
    let base = base_image(world)?;
    let standing_on = match stage {
        Stage::Base => None,
        _ => Some(built_base(world, engine)?),
    };
    let context = world.directories.runtime.join(format!("build-{}", world.pid));
    let _directory = exec::PrivateDirectory::make(&context, Client::of(engine))?;
    let containerfile = bundled::containerfile()?;
    let text = std::str::from_utf8(containerfile.bytes()).unwrap_or_default();
    write_atomically(&context.join("Containerfile"), steps::only(text, stage.parts()).as_bytes())?;
    write_atomically(&context.join("ca.crt"), &ca_certificates(world)?.unwrap_or_default())?;
    term::say(&format!("building the image for {} (once; it takes a minute or more)", stage.name()));
    let mut progress = Progress::new(format!("image {}", stage.name()), "preparing the build");
    let failed = |tail: &[String]| failed_build(world, engine, stage, &base, tail);
    let from = standing_on.unwrap_or_else(|| base.to_string());
    let foundation = match engine.kind {
        EngineKind::Podman => {
            if !is_there(engine, &from)? {
                run_with_progress(world, engine, &["pull".into(), from.clone().into()], &mut progress)?
                    .map_err(|tail| failed(&tail))?;
            }
            Some(Foundation::of(world, engine, stage, &from).map_err(|words| failed(&[words]))?)
        }
        EngineKind::Docker => None,
    };
    let from = foundation.as_ref().map_or(from.as_str(), Foundation::name);
    let (_, files) = limits(Resource::Nofile);
    let (_, processes) = limits(Resource::Nproc);
    let build = Build {
        target: stage.name(),
        name: &stage.image_name(),
        base: if stage == Stage::Base { BuildBase::Image(from) } else { BuildBase::CocoBase(from) },
        cache,
        owner: &owner(world),
        limits: CallerLimits { files, processes },
        context: &context,
    };
    run_with_progress(world, engine, &build.arguments(engine.kind), &mut progress)?.map_err(|tail| failed(&tail))?;
    let id = built_id(stage, &build.id_file())?;
    remove_scrap(world, engine, stage);
    record(world, engine, stage, base, id)?;
    term::say(&format!("image {}: built in {:.0} s", stage.name(), progress.elapsed().as_secs_f32()));
    Ok(id)
}

/// Carries out a command of the engine that takes a while, and says what it is at. Where it fails, the end of its output is
/// given.
fn run_with_progress(
    world: &World,
    engine: &Engine,
    arguments: &[OsString],
    progress: &mut Progress,
) -> Result<Result<(), Vec<String>>, Error> {
    let mut tail: Vec<String> = Vec::new();
    let success = exec::build(&world.program, engine, arguments, |event| {
        if let BuildEvent::Line(line) = event {
            if let Some(step) = steps::step(line) {
                progress.step(step);
            }
            if tail.len() >= MAX_TAIL {
                tail.remove(0);
            }
            tail.push(line.to_owned());
        }
        progress.tick();
    })?;
    Ok(if success { Ok(()) } else { Err(tail) })
}

/// The base that the other stages stand on, as the engine's builder takes it; built when the engine does not have it.
fn built_base(world: &World, engine: &Engine) -> Result<String, Error> {
    let _lock = locked(world, engine, Stage::Base)?;
    let image = match known(world, engine, Stage::Base)? {
        Some(image) if !forget_if_gone(world, engine, Stage::Base, &image)? => image,
        _ => Image::Id(build(world, engine, Stage::Base, Cache::Use)?),
    };
    let id = image.to_string();
    match engine.kind {
        EngineKind::Podman => Ok(id),
        // docker's builder takes no id, so the name is made to lead to it.
        EngineKind::Docker => {
            let answer = exec::answer(engine, &["image", "tag", &id, &Stage::Base.image_name().to_string()])?;
            if answer.code == Some(0) {
                Ok(Stage::Base.image_name().to_string())
            } else {
                Err(failed_build(world, engine, Stage::Base, &base_image(world)?, &[answer.stderr]))
            }
        }
    }
}

/// What the engine said, and what can be done about it.
fn failed_build(world: &World, engine: &Engine, stage: Stage, base: &ImageName, tail: &[String]) -> Error {
    term::print_lines(&tail.join("\n"));
    // What podman and docker say of a registry that does not answer, or does not have it.
    let lacks_base = |line: &String| {
        ["initializing source", "pull access denied", "failed to resolve source"]
            .iter()
            .any(|words| line.contains(words))
    };
    let start = Start { rootful: world.uid == 0, engine_network: false };
    let missing = discover::missing_helpers(engine, &tail.join("\n"), start);
    let hint = if let Some(hint) = helpers::hint(&missing) {
        hint
    } else if tail.iter().any(lacks_base) {
        format!("{base} can't be pulled: load it by hand; the README says how to make it without a registry")
    } else if world.variable("COCO_CA_BUNDLE").is_none() {
        "see its output above; if a company proxy re-signs TLS, set COCO_CA_BUNDLE to its CA file".to_owned()
    } else {
        "see its output above".to_owned()
    };
    Error::Image { stage: stage.name().to_owned(), message: format!("{} build failed", engine.kind.program()), hint }
}

/// The id that the engine has written.
fn built_id(stage: Stage, id_file: &Path) -> Result<ImageId, Error> {
    let bytes = read_limited(id_file, 256).ok().flatten();
    let id = bytes.and_then(|bytes| ImageId::parse(std::str::from_utf8(&bytes).ok()?.trim()));
    id.ok_or_else(|| Error::Image {
        stage: stage.name().to_owned(),
        message: "the engine reports no image id".to_owned(),
        hint: "try again, or try another engine with COCO_RUNTIME".to_owned(),
    })
}

/// Records a built stage.
fn record(world: &World, engine: &Engine, stage: Stage, base: ImageName, id: ImageId) -> Result<(), Error> {
    let base_digest =
        exec::ask(engine, &["image", "inspect", "--format={{.Id}}", &base.to_string()]).unwrap_or_default();
    let path = record_path(world, engine.kind, stage);
    if let Some(old) = read(&path)
        && old.base == base
        && old.base_digest != base_digest
        // An engine that could not tell has not said that anything changed.
        && ![&old.base_digest, &base_digest].iter().any(|digest| digest.is_empty())
    {
        let words = format!("the base image {base} has changed: it was {}, now it is {base_digest}", old.base_digest);
        term::note("warning", &words);
    }
    let containerfile = bundled::containerfile_digest();
    write_json(&path, &ImageRecord { id, containerfile, base, base_digest })
}

/// Held by who builds the stage.
pub fn lock_path(world: &World, kind: EngineKind, stage: Stage) -> PathBuf {
    world.directories.state.join("images").join(format!("{}-{}.lock", kind.program(), stage.name()))
}

fn record_path(world: &World, kind: EngineKind, stage: Stage) -> PathBuf {
    world.directories.state.join("images").join(format!("{}-{}.json", kind.program(), stage.name()))
}

/// A broken record counts as none, so that the image is built anew.
fn read(path: &Path) -> Option<ImageRecord> {
    read_json(path, 4096, "remove it").ok().flatten()
}

/// `COCO_IMAGE`: used as it is.
fn of_the_user(world: &World) -> Result<Option<Image>, Error> {
    const NAME: &str = "COCO_IMAGE";
    world.text(NAME)?.map(|text| Image::parse(text).map_err(|message| bad_reference(NAME, message))).transpose()
}

fn base_image(world: &World) -> Result<ImageName, Error> {
    const NAME: &str = "COCO_BASE_IMAGE";
    let text = world.text(NAME)?.unwrap_or(BASE_IMAGE);
    ImageName::new(text).map_err(|message| bad_reference(NAME, message))
}

fn bad_reference(name: &'static str, message: String) -> Error {
    Error::Environment { name, message, hint: "write for example localhost/my-image:latest".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_no_such_image_is_no_such_image() {
        let said = |kind, code, words: &str| {
            presence(kind, &exec::Answer { code, stdout: String::new(), stderr: words.to_owned() })
        };
        let (podman, docker) = (EngineKind::Podman, EngineKind::Docker);
        for (kind, code, words, presence) in [
            (podman, Some(0), "", Some(Presence::There)),
            (podman, Some(1), "", Some(Presence::Gone)),
            (podman, Some(125), "Error: image not known", None),
            (podman, Some(2), "runtime: out of memory", None),
            (podman, None, "", None),
            (docker, Some(0), "", Some(Presence::There)),
            (docker, Some(1), "Error: No such image: sha256:0", Some(Presence::Gone)),
            (docker, Some(1), "Error response from daemon: no such image: x", Some(Presence::Gone)),
            (docker, Some(1), "Cannot connect to the Docker daemon at unix:///x", None),
            (docker, Some(125), "no such image", None),
            (docker, None, "", None),
        ] {
            assert_eq!(said(kind, code, words), presence, "{kind:?} {code:?} {words}");
        }
    }
}
