//! One run or installation: everything that its plans are made of, and what its user must be told.

use std::path::PathBuf;

use crate::config::Isolation;
use crate::engine::{Engine, UserMapping};
use crate::facts::{Controllers, Facts};
use crate::host::World;
use crate::host::volumes::Volumes;
use crate::policy::Policy;
use crate::term;

/// What is known and decided about one run or installation of a tool.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The machine and the caller.
    pub world: &'a World,
    /// What was looked up for the tool.
    pub facts: &'a Facts,
    /// What the tool gets.
    pub policy: &'a Policy,
    /// Which engine starts the sandbox.
    pub engine: &'a Engine,
}

impl<'a> Job<'a> {
    /// Where the engine's installations are.
    pub fn volumes(&self) -> Volumes<'a> {
        self.engine.kind.volumes(&self.world.directories)
    }

    /// Where the tool's runtimes are.
    pub fn runtimes(&self) -> PathBuf {
        match self.policy.installation.isolation {
            Isolation::SharedRuntimes => self.volumes().shared_runtimes(),
            Isolation::OwnRuntimes => self.volumes().own_runtimes(&self.policy.tool),
        }
    }

    /// The limits that the engine can set here. Root can set all of them, and so can an engine's daemon.
    pub fn settable_limits(&self) -> Controllers {
        match self.engine.mapping {
            UserMapping::Identity => Controllers { memory: true, pids: true, cpu: true },
            UserMapping::RootIsCaller => self.facts.controllers,
        }
    }

    /// What the user must be told before every run: the policy's warnings, and those that depend on the
    /// engine. `run`, its dry run and `show` all take them from here.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.policy.warnings.clone();
        warnings.extend(self.unenforced_limits().into_iter().map(|limit| {
            format!("limits: {limit} is not enforced, because this user's cgroup has no controller for it")
        }));
        let cut = self.facts.cut_short.iter();
        warnings.extend(cut.map(|path| {
            format!(
                "{} has more directories than coco scans: what runs on your machine by itself, deep in it, may not be protected; \
                 mount something narrower",
                term::path(path)
            )
        }));
        warnings
    }

    /// The limits that the coco file asks for and that can't be set here.
    fn unenforced_limits(&self) -> Vec<&'static str> {
        let (asked, can) = (&self.policy.limits, self.settable_limits());
        let rows = [
            ("memory", asked.memory.is_some(), can.memory),
            ("pids", asked.pids.is_some(), can.pids),
            ("cpus", asked.milli_cpus.is_some(), can.cpu),
        ];
        rows.into_iter().filter(|(_, asked, can)| *asked && !can).map(|(name, _, _)| name).collect()
    }
}
