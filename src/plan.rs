//! From a decision to the exact program, argument vector and orders for the helper. Pure.
//!
//! No shell anywhere. A path that the engine's syntax can't carry goes by a link in the run's own
//! private directory; nothing is escaped by guess.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::broker;
use crate::channel::NETWORK_GUEST;
use crate::config::{self, Access, Isolation, Relabel};
use crate::control::{
    DATA_GUEST, Enclosure, Expect, HELPER_GUEST, HOME_GUEST, Interfaces, Launch, RUNTIMES_GUEST, Relay, SOCKET_GUEST,
    Streams, Task,
};
use crate::engine::{Engine, EngineKind, UserMapping};
use crate::facts::{Controllers, Facts, SeLinux, World};
use crate::install::Record;
use crate::names::{PublishedPort, ToolName};
use crate::policy::{CA_GUEST, CA_VARIABLES, Creation, Policy, Posture, RunNetwork};

/// Where a private Xauthority is mounted inside.
pub const XAUTHORITY_GUEST: &str = "/run/coco/xauthority";

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
    /// What the helper is told.
    pub launch: Launch,
    /// The run's own directory, made before and removed after; the control socket is in it.
    pub run_directory: PathBuf,
    /// What is put into it.
    pub run_files: Vec<RunFile>,
    /// Directories that are made before, mode 0700.
    pub directories: Vec<PathBuf>,
    /// Directories that running tools hold a lock on, so that none is removed under them.
    pub in_use: Vec<PathBuf>,
    /// What the broker does; `None` where there is nothing for it to do.
    pub broker: Option<broker::Orders>,
    /// What the standard streams are.
    pub streams: Streams,
}

/// The socket of the relay channel, in the run's own directory.
pub const NETWORK_SOCKET: &str = "network.sock";

/// Names are asked of the helper, which answers at once.
const RESOLV_CONF: &str = "nameserver 127.0.0.1\noptions timeout:1 attempts:5\n";
/// Files first, then the helper; no other way of finding names.
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

/// A bind mount for the engine.
struct Bind<'a> {
    src: &'a Path,
    dst: &'a str,
    access: Access,
    relabel: Relabel,
}

impl<'a> Bind<'a> {
    fn new(src: &'a Path, dst: &'a str, access: Access) -> Self {
        Bind { src, dst, access, relabel: Relabel::Keep }
    }
}

/// The limits that the engine can set here.
pub fn settable(engine: &Engine, facts: &Facts) -> Controllers {
    match engine.mapping {
        UserMapping::Identity => Controllers { memory: true, pids: true, cpu: true },
        UserMapping::RootIsCaller => facts.controllers,
    }
}

/// The limits that the coco file asks for and nobody can set here; the user is told at every run.
pub fn limits_not_set(asked: &config::Limits, can: Controllers) -> Vec<&'static str> {
    let rows = [
        ("memory", asked.memory.is_some(), can.memory),
        ("pids", asked.pids.is_some(), can.pids),
        ("cpus", asked.milli_cpus.is_some(), can.cpu),
    ];
    rows.into_iter().filter(|(_, asked, can)| *asked && !can).map(|(name, _, _)| name).collect()
}

/// Where the directories of a tool are.
pub fn tool_directory(world: &World, engine: &Engine, tool: &ToolName) -> PathBuf {
    world.directories.volumes.join(engine.kind.program()).join(tool.as_str())
}

/// Where all runs write what was reached and denied.
pub fn journal(world: &World) -> PathBuf {
    world.directories.state.join("log").join("network.jsonl")
}

fn runtimes_directory(world: &World, engine: &Engine, policy: &Policy) -> PathBuf {
    match policy.installation.isolation {
        // No tool is called so: a tool's name has no leading dot.
        Isolation::SharedRuntimes => world.directories.volumes.join(engine.kind.program()).join(".runtimes"),
        Isolation::OwnRuntimes => tool_directory(world, engine, &policy.tool).join("runtimes"),
    }
}

/// The run phase.
pub fn run(
    policy: &Policy,
    world: &World,
    facts: &Facts,
    engine: &Engine,
    image: &str,
    record: &Record,
    arguments: &[OsString],
) -> Plan {
    let streams = if world.terminals.stdin && world.terminals.stdout { Streams::Terminal } else { Streams::Pipes };
    let mut builder = Builder::new(world, engine, "run");
    builder.common(policy, facts);
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
    builder.network(policy, facts, &policy.network, &policy.ports, "run");
    builder.tmpfs("/tmp");
    builder.tmpfs("/var/tmp");
    builder.tmpfs(HOME_GUEST);
    builder.files(policy, record);
    builder.display(policy);
    builder.options(policy.engine_arguments.iter().map(OsString::from));
    let mut environment: Vec<(OsString, OsString)> =
        record.environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
    environment.extend(policy.environment.iter().map(|(name, value)| (OsString::from(name.as_str()), value.clone())));
    let launch = Launch {
        expect: run_expect(policy, world, facts),
        umask: world.umask,
        workdir: policy.workdir.clone().into_os_string(),
        environment,
        path: record.path.iter().map(OsString::from).collect(),
        relay: Relay::default(),
        task: Task::Run { program: policy.program.as_str().into(), arguments: arguments.to_vec(), terminal: streams },
    };
    builder.finish(image, launch, streams)
}

/// What the helper must find before it starts the tool.
fn run_expect(policy: &Policy, world: &World, facts: &Facts) -> Expect {
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
        mounts: Vec::new(),
        trees: policy
            .mounts
            .iter()
            .filter(|mount| mount.access == Access::ReadWrite)
            .map(|mount| mount.dst.as_str().into())
            .collect(),
        namespaces: own_namespaces(facts, &policy.network),
        identities: policy
            .mounts
            .iter()
            .filter_map(|mount| Some((mount.dst.as_str().into(), mount.identity?.device, mount.identity?.inode)))
            .collect(),
    }
}

/// The part of the install phase that installs runtimes; none of the tool's code runs in it.
pub fn install_runtimes(policy: &Policy, world: &World, facts: &Facts, engine: &Engine, image: &str) -> Plan {
    let runtimes = runtimes_directory(world, engine, policy);
    let cache = runtimes.join("cache");
    let mut builder = install(policy, world, facts, engine, "runtimes");
    builder.option("--cap-drop=all");
    builder.option(format!("--user={}", engine.user(world.uid, world.gid)));
    builder.bind(&Bind::new(&runtimes, RUNTIMES_GUEST, Access::ReadWrite));
    builder.bind(&Bind::new(&cache, "/root/.cache", Access::ReadWrite));
    builder.in_use.push(cache);
    builder.directories.push(runtimes);
    let specifiers = policy.installation.runtimes.iter().map(|tool| tool.to_string().into()).collect();
    let launch = install_launch(
        policy,
        world,
        facts,
        Enclosure::Closed,
        &Record::default(),
        Task::InstallRuntimes { specifiers },
    );
    builder.finish(image, launch, Streams::Pipes)
}

/// The part of the install phase that runs the tool's own installation: network, and nothing of
/// the user's. `data` is a new directory in the tool's own; `runtimes` is what the first part
/// reported; `version` is the one to install again, when it is known.
#[expect(clippy::too_many_arguments, reason = "the whole context of one installation")]
pub fn install_tool(
    policy: &Policy,
    world: &World,
    facts: &Facts,
    engine: &Engine,
    image: &str,
    data: &str,
    runtimes: &Record,
    version: Option<&str>,
) -> Plan {
    let own = tool_directory(world, engine, &policy.tool);
    let (data, cache) = (own.join(data), own.join("install-cache"));
    let mut builder = install(policy, world, facts, engine, "tool");
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
    builder.bind(&Bind::new(&cache, "/root/.cache", Access::ReadWrite));
    if !policy.installation.runtimes.is_empty() {
        builder.bind(&Bind::new(&runtimes_directory(world, engine, policy), RUNTIMES_GUEST, Access::ReadOnly));
    }
    builder.in_use.extend([data, cache]);
    let wanted = &policy.installation.tool;
    let tool = version.map_or_else(|| wanted.clone(), |version| wanted.at(version));
    let mut specifiers: Vec<OsString> =
        policy.installation.companions.iter().map(|tool| tool.to_string().into()).collect();
    // Of what the image itself has, mise knows nothing.
    if !tool.is_system() {
        specifiers.push(tool.to_string().into());
    }
    let task = Task::InstallTool {
        apt: policy.installation.apt.iter().map(|name| name.as_str().into()).collect(),
        specifiers,
        program: policy.program.as_str().into(),
        user: match engine.mapping {
            UserMapping::RootIsCaller => (0, 0),
            UserMapping::Identity => (world.uid, world.gid),
        },
    };
    let launch = install_launch(policy, world, facts, enclosure, runtimes, task);
    builder.finish(image, launch, Streams::Pipes)
}

fn install<'a>(policy: &Policy, world: &'a World, facts: &Facts, engine: &'a Engine, part: &str) -> Builder<'a> {
    let mut builder = Builder::new(world, engine, part);
    builder.common(policy, facts);
    builder.network(policy, facts, &RunNetwork::Public, &[], "install");
    builder.tmpfs("/tmp");
    builder.tmpfs("/var/tmp");
    builder.tmpfs(HOME_GUEST);
    builder
}

fn install_launch(
    policy: &Policy,
    world: &World,
    facts: &Facts,
    enclosure: Enclosure,
    runtimes: &Record,
    task: Task,
) -> Launch {
    let mut environment: Vec<(OsString, OsString)> =
        runtimes.environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
    if policy.ca_certificates.is_some() {
        environment.extend(CA_VARIABLES.iter().map(|name| (OsString::from(name), OsString::from(CA_GUEST))));
    }
    Launch {
        expect: Expect {
            owner: world.uid,
            enclosure,
            network: Interfaces::LoopbackOnly,
            mounts: Vec::new(),
            trees: Vec::new(),
            namespaces: own_namespaces(facts, &RunNetwork::Public),
            identities: Vec::new(),
        },
        umask: 0o022,
        workdir: "/".into(),
        environment,
        path: runtimes.path.iter().map(OsString::from).collect(),
        relay: Relay::default(),
        task,
    }
}

/// The caller's namespaces that the sandbox may not be in: all, but for a host's network that was
/// agreed to.
fn own_namespaces(facts: &Facts, network: &RunNetwork) -> Vec<OsString> {
    let shared = |name: &&String| *network == RunNetwork::DangerousHost && name.starts_with("net:");
    facts.namespaces.iter().filter(|name| !shared(name)).map(OsString::from).collect()
}

/// Collects an engine's arguments in the order in which they are given.
struct Builder<'a> {
    world: &'a World,
    engine: &'a Engine,
    arguments: Vec<OsString>,
    run_directory: PathBuf,
    run_files: Vec<RunFile>,
    directories: Vec<PathBuf>,
    in_use: Vec<PathBuf>,
    mount_points: Vec<OsString>,
    relay: Relay,
    broker: Option<broker::Orders>,
}

impl<'a> Builder<'a> {
    fn new(world: &'a World, engine: &'a Engine, part: &str) -> Self {
        Builder {
            world,
            engine,
            arguments: vec!["run".into()],
            run_directory: world.directories.runtime.join(format!("{part}-{}", world.pid)),
            run_files: Vec::new(),
            directories: Vec::new(),
            in_use: Vec::new(),
            mount_points: Vec::new(),
            relay: Relay::Absent,
            broker: None,
        }
    }

    fn option(&mut self, option: impl Into<OsString>) {
        self.arguments.push(option.into());
    }

    fn options(&mut self, options: impl IntoIterator<Item = OsString>) {
        self.arguments.extend(options);
    }

    /// What every start has, whatever is granted.
    fn common(&mut self, policy: &Policy, facts: &Facts) {
        self.option("--rm");
        self.option("--pull=never");
        self.option("--log-driver=none");
        // coco delivers signals to the helper itself: no detour, and the same for every engine.
        self.option("--sig-proxy=false");
        self.option("--hostname=coco");
        self.option(format!("--label=coco.tool={}", policy.tool));
        self.option("--security-opt=no-new-privileges");
        // What an engine's configuration could set otherwise; the helper checks the outcome.
        self.option("--ipc=private");
        if self.engine.kind == EngineKind::Podman {
            self.option("--http-proxy=false");
            self.option("--no-hosts");
        }
        if facts.selinux == SeLinux::Enforcing {
            // A confined container may neither connect to coco's socket nor read a home directory.
            self.option("--security-opt=label=disable");
        }
        let (soft, hard) = facts.open_files;
        self.option(format!("--ulimit=nofile={soft}:{hard}"));
        let (soft, hard) = facts.processes;
        self.option(format!("--ulimit=nproc={}:{}", soft.min(MAX_NPROC), hard.min(MAX_NPROC)));
        // A rootless engine warns at every run, or fails, where it can't set a limit.
        let can = settable(self.engine, facts);
        if can.pids {
            self.option(format!("--pids-limit={}", policy.limits.pids));
        }
        if let Some(bytes) = policy.limits.memory.filter(|_| can.memory) {
            self.option(format!("--memory={bytes}b"));
        }
        if let Some(milli) = policy.limits.milli_cpus.filter(|_| can.cpu) {
            self.option(format!("--cpus={}.{:03}", milli / 1000, milli % 1000));
        }
        self.option("--workdir=/");
        self.option(format!("--entrypoint={HELPER_GUEST}"));
        let program = self.world.program.clone();
        self.bind(&Bind::new(&program, HELPER_GUEST, Access::ReadOnly));
        let socket = self.run_directory.join("control.sock");
        self.bind(&Bind::new(&socket, SOCKET_GUEST, Access::ReadOnly));
        self.file("hosts", HOSTS.as_bytes(), "/etc/hosts");
        if let Some(certificates) = &policy.ca_certificates {
            self.file("ca.crt", certificates, CA_GUEST);
        }
    }

    /// A file of the run's own directory, read-only inside.
    fn file(&mut self, name: &str, bytes: &[u8], dst: &str) {
        self.run_files.push(RunFile::Bytes { name: name.to_owned(), bytes: bytes.to_vec() });
        let path = self.run_directory.join(name);
        self.bind(&Bind::new(&path, dst, Access::ReadOnly));
    }

    /// The engine's part of the network, and the broker's where it has one.
    fn network(
        &mut self,
        policy: &Policy,
        facts: &Facts,
        network: &RunNetwork,
        ports: &[PublishedPort],
        phase: &'static str,
    ) {
        match network {
            RunNetwork::None | RunNetwork::Hosts(_) | RunNetwork::Public | RunNetwork::DangerousLearn(_) => {
                self.option("--network=none");
                // The helper listens on ports below 1024, and has no capability for it.
                self.option("--sysctl=net.ipv4.ip_unprivileged_port_start=0");
                self.file("resolv.conf", RESOLV_CONF.as_bytes(), "/etc/resolv.conf");
                self.file("nsswitch.conf", NSSWITCH_CONF.as_bytes(), "/etc/nsswitch.conf");
            }
            RunNetwork::DangerousEngineDefault => {}
            RunNetwork::DangerousEngineNetwork(name) => self.option(format!("--network={name}")),
            RunNetwork::DangerousHost => self.option("--network=host"),
        }
        // On the host's own network, a tool's port is the host's port already.
        let published = |port: &&PublishedPort| *network != RunNetwork::DangerousHost || port.host != port.container;
        let ports: Vec<PublishedPort> = ports.iter().filter(published).cloned().collect();
        self.relay = match network.reach() {
            Some(reach) => Relay::Names(reach),
            None if ports.is_empty() => return,
            None => Relay::PortsOnly,
        };
        let socket = self.run_directory.join(NETWORK_SOCKET);
        self.bind(&Bind::new(&socket, NETWORK_GUEST, Access::ReadOnly));
        self.broker = Some(broker::Orders {
            reach: network.reach().unwrap_or_default(),
            ports,
            upstream: facts.upstream.clone(),
            program: self.world.program.clone(),
            getent: facts.getent.clone(),
            journal: journal(self.world),
            tool: policy.tool.to_string(),
            phase,
        });
    }

    fn tmpfs(&mut self, dst: &str) {
        // podman copies what the image has there into a tmpfs unless told not to. docker makes one
        // without exec, which only this spelling changes; build scripts run in /tmp.
        let option = match self.engine.kind {
            EngineKind::Podman => format!("--mount=type=tmpfs,dst={dst},tmpfs-mode=1777,notmpcopyup"),
            EngineKind::Docker => format!("--tmpfs={dst}:rw,exec,nosuid,nodev,mode=1777"),
        };
        self.option(option);
        self.mount_points.push(dst.into());
    }

    /// Every bind mount goes through here, so that the helper can tell an engine's own additions
    /// from what was asked for.
    fn bind(&mut self, bind: &Bind) {
        let src = self.carry(bind.src);
        let mut fields =
            vec![OsString::from("type=bind"), joined("src=", src.as_os_str()), joined("dst=", OsStr::new(bind.dst))];
        if bind.access == Access::ReadOnly {
            fields.push("readonly".into());
        }
        match (self.engine.kind, bind.relabel) {
            (_, Relabel::Keep) | (EngineKind::Docker, _) => {}
            (EngineKind::Podman, Relabel::Shared) => fields.push("relabel=shared".into()),
            (EngineKind::Podman, Relabel::Private) => fields.push("relabel=private".into()),
        }
        let fields: Vec<OsString> = fields.iter().map(|field| csv_field(field)).collect();
        self.option(joined("--mount=", &fields.join(OsStr::new(","))));
        self.mount_points.push(bind.dst.into());
    }

    /// The path itself, or a link to it: engines keep paths as JSON text, which loses bytes that
    /// are not UTF-8, and their CSV reader folds line ends.
    fn carry(&mut self, path: &Path) -> PathBuf {
        if path.to_str().is_some_and(|text| !text.chars().any(char::is_control)) {
            return path.to_owned();
        }
        let name = format!("mount-{}", self.run_files.len());
        self.run_files.push(RunFile::Alias { name: name.clone(), target: path.to_owned() });
        self.run_directory.join(name)
    }

    /// The granted files, the tool's own directories, and what runs must keep from being removed.
    fn files(&mut self, policy: &Policy, record: &Record) {
        for mount in &policy.mounts {
            self.bind(&Bind { src: &mount.src, dst: mount.dst.as_str(), access: mount.access, relabel: mount.relabel });
            if mount.creation == Creation::MakeDirectory {
                self.directories.push(mount.src.clone());
            }
        }
        let own = tool_directory(self.world, self.engine, &policy.tool);
        let cache = own.join("cache");
        self.bind(&Bind::new(&cache, "/root/.cache", Access::ReadWrite));
        self.directories.push(cache.clone());
        self.in_use.push(cache);
        if let Some(data) = &record.data {
            self.bind(&Bind::new(&own.join(data), DATA_GUEST, policy.data));
            self.in_use.push(own.join(data));
        }
        if !policy.installation.runtimes.is_empty() {
            let runtimes = runtimes_directory(self.world, self.engine, policy);
            self.bind(&Bind::new(&runtimes, RUNTIMES_GUEST, Access::ReadOnly));
            self.in_use.push(runtimes);
        }
    }

    fn display(&mut self, policy: &Policy) {
        let Some(display) = &policy.display else { return };
        // Not in a directory of its own name inside: a tool finds it by DISPLAY, so it must be there.
        let dst = display.socket.to_str().unwrap_or("/tmp/.X11-unix/X0").to_owned();
        self.bind(&Bind::new(&display.socket, &dst, Access::ReadOnly));
        if let Some(authority) = &display.authority {
            let name = "xauthority".to_owned();
            let path = self.run_directory.join(&name);
            self.run_files.push(RunFile::Xauthority { name, from: authority.clone(), display: display.name.clone() });
            self.bind(&Bind::new(&path, XAUTHORITY_GUEST, Access::ReadOnly));
        }
    }

    fn finish(mut self, image: &str, mut launch: Launch, streams: Streams) -> Plan {
        self.option(image);
        launch.expect.mounts = self.mount_points;
        launch.relay = self.relay;
        Plan {
            program: self.engine.path.clone(),
            arguments: self.arguments,
            launch,
            run_directory: self.run_directory,
            run_files: self.run_files,
            directories: self.directories,
            in_use: self.in_use,
            broker: self.broker,
            streams,
        }
    }
}

fn joined(left: &str, right: &OsStr) -> OsString {
    let mut text = OsString::from(left);
    text.push(right);
    text
}

/// A field of the comma-separated value of `--mount`, quoted as Go's `encoding/csv` reads it.
fn csv_field(field: &OsStr) -> OsString {
    let bytes = field.as_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b',' | b'"')) {
        return field.to_owned();
    }
    let mut quoted = vec![b'"'];
    for byte in bytes {
        if *byte == b'"' {
            quoted.push(b'"');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    OsStr::from_bytes(&quoted).to_owned()
}

#[cfg(test)]
mod tests;
