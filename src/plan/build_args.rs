//! An engine's arguments for the build of an image, spelled out one after the other. Pure.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::engine::EngineKind;
use crate::engine::image::ImageName;

/// On an image: whose coco has made it.
pub const OWNER_LABEL: &str = "coco.owner";

/// Whether layers of an earlier build may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// They may.
    Use,
    /// Everything is made anew.
    Ignore,
}

/// What a stage is built on, as the engine's builder takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildBase<'a> {
    /// The base image, for coco's own base.
    Image(&'a str),
    /// coco's own base, for every other stage.
    CocoBase(&'a str),
}

/// The limits of the calling process, beyond which none can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerLimits {
    /// Open files.
    pub files: u64,
    /// Processes.
    pub processes: u64,
}

/// One build.
#[derive(Debug)]
pub struct Build<'a> {
    /// The stage of the Containerfile.
    pub target: &'static str,
    /// What the image is called.
    pub name: &'a ImageName,
    /// What it is built on.
    pub base: BuildBase<'a>,
    /// Whether earlier layers may be used.
    pub cache: Cache,
    /// Whose it is.
    pub owner: &'a str,
    /// The caller's limits.
    pub limits: CallerLimits,
    /// The directory with the Containerfile and what it copies.
    pub context: &'a Path,
}

impl Build<'_> {
    /// The file to which the engine writes the id.
    pub fn id_file(&self) -> PathBuf {
        self.context.join("id")
    }

    /// The engine's arguments.
    pub fn arguments(&self, kind: EngineKind) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["build".into()];
        if kind == EngineKind::Podman {
            // podman asks for more than its own hard limit unless told, and fails where it may not.
            let CallerLimits { files, processes } = self.limits;
            let processes = processes.min(super::MAX_NPROC);
            arguments.push(format!("--ulimit=nofile={files}:{files}").into());
            arguments.push(format!("--ulimit=nproc={processes}:{processes}").into());
            // Else it keeps an image for each step, and of the stage that fetches mise most of a gigabyte.
            arguments.push("--layers=false".into());
        }
        arguments.push("--force-rm".into());
        if self.cache == Cache::Ignore {
            arguments.push("--no-cache".into());
        }
        match self.base {
            BuildBase::Image(image) => {
                arguments.push(format!("--build-arg=BASE_IMAGE={image}").into());
                arguments.push(format!("--build-arg=COCO_OWNER={}", self.owner).into());
            }
            BuildBase::CocoBase(image) => arguments.push(format!("--build-arg=COCO_BASE={image}").into()),
        }
        arguments.push(format!("--label={OWNER_LABEL}={}", self.owner).into());
        arguments.push(format!("--target={}", self.target).into());
        arguments.push(format!("--tag={}", self.name).into());
        arguments.push(with_path("--iidfile=", &self.id_file()));
        arguments.push(with_path("--file=", &self.context.join("Containerfile")));
        arguments.push(self.context.into());
        arguments
    }
}

fn with_path(option: &str, path: &Path) -> OsString {
    let mut text = OsString::from(option);
    text.push(path);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::golden;

    #[test]
    fn the_builds_of_each_engine() {
        let name = ImageName::new("localhost/coco:node").unwrap();
        for (kind, cache) in [(EngineKind::Podman, Cache::Use), (EngineKind::Docker, Cache::Ignore)] {
            for (stage, base) in [
                ("base", BuildBase::Image("docker.io/library/debian:forky-slim")),
                ("node", BuildBase::CocoBase("localhost/coco:latest")),
            ] {
                let build = Build {
                    target: stage,
                    name: &name,
                    base,
                    cache,
                    owner: "0123456789abcdef",
                    limits: CallerLimits { files: 20_000, processes: 100_000 },
                    context: Path::new("/run/user/1000/coco/build-4242"),
                };
                let lines: Vec<_> =
                    build.arguments(kind).iter().map(|word| word.to_str().unwrap().to_owned()).collect();
                golden::compare(&format!("{}-build-{stage}", kind.program()), &format!("{}\n", lines.join("\n")));
            }
        }
    }
}
