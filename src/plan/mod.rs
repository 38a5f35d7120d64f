//! From a decision to the exact program, argument vector and orders for init. Pure: `record` alone
//! reads and writes files.
//!
//! No shell anywhere. A path that the engine's syntax can't carry goes by a link in the run's own
//! private directory; nothing is escaped by guess.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::Access;
use crate::engine::image::Image;
use crate::engine::{EngineKind, UserMapping};
use crate::facts::Facts;
use crate::host::volumes::{DataName, download_cache};
use crate::network::orders::Orders;
use crate::plan::record::Record;
use crate::policy::{Posture, RunNetwork};
use crate::protocol::control::{Enclosure, Expect, Installed, Interfaces, Launch, Streams, Task};
use crate::rules::sandbox_paths::{CA_GUEST, CACHE_GUEST, DATA_GUEST, RUNTIMES_GUEST};
use crate::rules::variables::CA_VARIABLES;

pub mod build_args;
mod engine_args;
#[cfg(test)]
pub mod golden;
mod job;
pub mod record;

use engine_args::{Bind, Builder, Collected};
pub use job::Job;

/// The most processes that are asked for as `nproc`: podman lowers its own limit to this, and
/// without CAP_SYS_RESOURCE a runtime can't raise it again (seen with podman 4.3).
const MAX_NPROC: u64 = 32_768;

/// One start of a container, ready to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Plan {
    /// The engine's program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// What init is told.
    pub launch: Launch,
    /// The run's own directory, made before and removed after; the control socket is in it.
    pub run_directory: PathBuf,
    /// What is put into it.
    pub run_files: Vec<RunFile>,
    /// Directories that are made before, mode 0700.
    pub directories: Vec<PathBuf>,
    /// Directories that running tools hold a lock on, so that none is removed under them.
    pub in_use: Vec<PathBuf>,
    /// What the proxy does; `None` where there is nothing for it to do.
    pub proxy: Option<Orders>,
    /// What the standard streams are.
    pub streams: Streams,
}

/// On a container: the run's own directory, which is locked for as long as its coco lives.
pub const RUN_LABEL: &str = "coco.run";

/// The control connection's socket, in the run's own directory.
pub const CONTROL_SOCKET: &str = "control.sock";
/// The network channel's socket, in the run's own directory.
pub const NETWORK_SOCKET: &str = "network.sock";

/// Names are looked up at init, which answers at once.
const RESOLV_CONF: &str = "nameserver 127.0.0.1\noptions timeout:1 attempts:5\n";
/// Files first, then init; no other source of names.
const NSSWITCH_CONF: &str = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n";

/// The only names that resolve without a network; engines would put the host's own names there.
const HOSTS: &str = "127.0.0.1 localhost coco\n::1 localhost ip6-localhost\n";

/// Something in the run's own directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunFile {
    /// A file with this content.
    Bytes {
        /// Its name there.
        name: String,
        /// What it holds.
        bytes: Vec<u8>,
    },
    /// A directory with nothing in it.
    Directory {
        /// Its name there.
        name: String,
    },
    /// A link to a path that the engine's syntax can't carry.
    Alias {
        /// Its name there.
        name: String,
        /// Where it leads.
        target: PathBuf,
    },
    /// An Xauthority with the cookie of one display.
    Xauthority {
        /// Its name there.
        name: String,
        /// The caller's.
        from: PathBuf,
        /// The display, `:N`.
        display: String,
    },
}

/// The run phase: `image` is what the container is made of, `record` what was installed, `arguments`
/// are the tool's own.
pub fn run(job: &Job, image: &Image, record: &Record, arguments: &[OsString]) -> Plan {
    let Job { world, facts, policy, engine } = *job;
    let streams = if world.terminals.stdin && world.terminals.stdout { Streams::Terminal } else { Streams::Pipes };
    let mut builder = Builder::new(*job, "run");
    builder.common();
    builder.option("--interactive");
    if streams == Streams::Terminal {
        builder.option("--tty");
        // The client would hold back Ctrl-P for its own detach sequence. podman knows "none"; docker
        // takes an empty one for its default, so it gets one that nobody types.
        builder.option(match engine.kind {
            EngineKind::Podman => "--detach-keys=",
            EngineKind::Docker => "--detach-keys=ctrl-@,ctrl-^,ctrl-@,ctrl-_,ctrl-@",
        });
    }
    builder.option("--read-only");
    if engine.kind == EngineKind::Podman {
        builder.option("--read-only-tmpfs=false");
    }
    builder.option("--cap-drop=all");
    builder.option(format!("--user={}", engine.user(world.uid, world.gid)));
    builder.network(&policy.network, &policy.ports, "run");
    builder.temporary_directories();
    builder.files(record);
    builder.display();
    builder.options(policy.engine_arguments.iter().map(OsString::from));
    let mut environment = strings_to_os(&record.environment);
    environment.extend(policy.environment.iter().map(|(name, value)| (OsString::from(name.as_str()), value.clone())));
    builder.finish(image, streams, |collected| Launch {
        expect: run_expect(job, collected.mount_points),
        umask: world.umask,
        workdir: policy.workdir.clone().into_os_string(),
        environment,
        path: record.path.iter().map(OsString::from).collect(),
        ancestors: facts.ancestors.clone(),
        writable: collected.writable,
        network_role: collected.network_role,
        task: Task::Run { program: policy.program.as_str().into(), arguments: arguments.to_vec(), terminal: streams },
    })
}

/// What init must find before it starts the tool.
fn run_expect(job: &Job, mount_points: Vec<OsString>) -> Expect {
    let Job { world, facts, policy, .. } = *job;
    Expect {
        owner: world.uid,
        enclosure: match policy.posture {
            Posture::Closed => Enclosure::Closed,
            Posture::DangerousConsented => Enclosure::DangerousUnchecked,
        },
        network: match (policy.network.reach(), policy.posture) {
            (Some(_), Posture::Closed) => Interfaces::LoopbackOnly,
            (Some(_), Posture::DangerousConsented) | (None, Posture::Closed | Posture::DangerousConsented) => {
                Interfaces::Any
            }
        },
        mounts: mount_points,
        trees: policy
            .mounts
            .iter()
            .filter(|mount| mount.access == Access::ReadWrite)
            .map(|mount| mount.dst.as_str().into())
            .collect(),
        namespaces: forbidden_namespaces(facts, &policy.network),
        identities: policy
            .mounts
            .iter()
            .chain(&policy.protected)
            .filter_map(|mount| Some((mount.dst.as_str().into(), mount.identity?.device, mount.identity?.inode)))
            .collect(),
        empty: policy.hidden.iter().map(|hidden| hidden.dst.as_str().into()).collect(),
    }
}

/// The part of the install phase that installs runtimes. None of the tool's code runs in it.
pub fn install_runtimes(job: &Job, image: &Image) -> Plan {
    let runtimes = job.runtimes();
    let cache = download_cache(&runtimes);
    let mut builder = install(job, "runtimes");
    builder.option("--cap-drop=all");
    builder.option(format!("--user={}", job.engine.user(job.world.uid, job.world.gid)));
    builder.bind(&Bind::new(&runtimes, RUNTIMES_GUEST, Access::ReadWrite));
    builder.bind(&Bind::new(&cache, CACHE_GUEST, Access::ReadWrite));
    builder.in_use.push(cache);
    builder.directories.push(runtimes);
    let specifiers = job.policy.installation.runtimes.iter().map(|tool| tool.to_string().into()).collect();
    let task = Task::InstallRuntimes { specifiers };
    builder.finish(image, Streams::Pipes, |collected| {
        install_launch(job, Enclosure::Closed, &Installed::default(), task, collected)
    })
}

/// The part of the install phase that runs the tool's own installation: with a network, and without
/// anything of the user's. `data` is a new directory in the tool's own; `runtimes` is what the first
/// part reported; `version` is the one to install again, when it is known.
pub fn install_tool(job: &Job, image: &Image, data: &DataName, runtimes: &Installed, version: Option<&str>) -> Plan {
    let Job { world, policy, engine, .. } = *job;
    let volumes = job.volumes();
    let (data, cache) = (volumes.data(&policy.tool, data), volumes.install_cache(&policy.tool));
    let mut builder = install(job, "tool");
    builder.option("--cap-drop=all");
    let enclosure = if policy.installation.apt.is_empty() {
        builder.option(format!("--user={}", engine.user(world.uid, world.gid)));
        Enclosure::Closed
    } else {
        // dpkg unpacks as root and changes owners; apt itself goes down to the user _apt.
        for capability in ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID", "SETPCAP"] {
            builder.option(format!("--cap-add={capability}"));
        }
        builder.option("--user=0:0");
        Enclosure::AptCapabilities
    };
    builder.bind(&Bind::new(&data, DATA_GUEST, Access::ReadWrite));
    builder.bind(&Bind::new(&cache, CACHE_GUEST, Access::ReadWrite));
    if !policy.installation.runtimes.is_empty() {
        builder.bind(&Bind::new(&job.runtimes(), RUNTIMES_GUEST, Access::ReadOnly));
    }
    builder.in_use.extend([data, cache]);
    let task = install_task(job, version);
    builder.finish(image, Streams::Pipes, |collected| install_launch(job, enclosure, runtimes, task, collected))
}

/// What init installs: Debian packages, companions and the tool.
fn install_task(job: &Job, version: Option<&str>) -> Task {
    let Job { world, policy, engine, .. } = *job;
    let installation = &policy.installation;
    let tool = version.map_or_else(|| installation.tool.clone(), |version| installation.tool.at(version));
    let mut specifiers: Vec<OsString> = installation.companions.iter().map(|tool| tool.to_string().into()).collect();
    // mise knows nothing of what the image itself has.
    if !tool.is_system() {
        specifiers.push(tool.to_string().into());
    }
    Task::InstallTool {
        apt: installation.apt.iter().map(|name| name.as_str().into()).collect(),
        specifiers,
        program: policy.program.as_str().into(),
        user: match engine.mapping {
            UserMapping::RootIsCaller => (0, 0),
            UserMapping::Identity => (world.uid, world.gid),
        },
    }
}

/// What both parts of the install phase have.
fn install<'a>(job: &Job<'a>, part: &str) -> Builder<'a> {
    let mut builder = Builder::new(*job, part);
    builder.common();
    builder.network(&RunNetwork::Public, &[], "install");
    builder.temporary_directories();
    builder
}

fn install_launch(job: &Job, enclosure: Enclosure, runtimes: &Installed, task: Task, collected: Collected) -> Launch {
    let mut environment = strings_to_os(&runtimes.environment);
    if job.policy.ca_certificates.is_some() {
        environment.extend(CA_VARIABLES.iter().map(|name| (OsString::from(name), OsString::from(CA_GUEST))));
    }
    Launch {
        expect: Expect {
            owner: job.world.uid,
            enclosure,
            network: Interfaces::LoopbackOnly,
            mounts: collected.mount_points,
            trees: Vec::new(),
            namespaces: forbidden_namespaces(job.facts, &RunNetwork::Public),
            identities: Vec::new(),
            empty: Vec::new(),
        },
        umask: 0o022,
        workdir: "/".into(),
        environment,
        path: runtimes.path.iter().map(OsString::from).collect(),
        ancestors: Vec::new(),
        writable: collected.writable,
        network_role: collected.network_role,
        task,
    }
}

/// The caller's namespaces that the sandbox may not be in: all of them, but for a host's network that
/// was agreed to.
fn forbidden_namespaces(facts: &Facts, network: &RunNetwork) -> Vec<OsString> {
    let shared = |name: &&String| *network == RunNetwork::DangerousHost && name.starts_with("net:");
    facts.namespaces.iter().filter(|name| !shared(name)).map(OsString::from).collect()
}

fn strings_to_os(variables: &[(String, String)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

#[cfg(test)]
mod tests;
