//! An engine's arguments, spelled out one after the other. Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{
    CONTROL_SOCKET, HOSTS, Job, MAX_NPROC, NETWORK_SOCKET, NSSWITCH_CONF, Plan, RESOLV_CONF, RUN_LABEL, RunFile,
};
use crate::config::{Access, CacheScope, Relabel};
use crate::engine::EngineKind;
use crate::engine::image::Image;
use crate::facts::SeLinux;
use crate::host::volumes::journal;
use crate::names::PublishedPort;
use crate::network::orders::Orders;
use crate::plan::record::Record;
use crate::policy::{Cover, Creation, RunNetwork};
use crate::protocol::control::{Launch, NetworkRole, Streams};
use crate::rules::sandbox_paths::{
    CA_GUEST, CACHE_GUEST, DATA_GUEST, HOME_GUEST, INIT_GUEST, NETWORK_GUEST, RUNTIMES_GUEST, SOCKET_GUEST,
    TEMPORARY_GUESTS, XAUTHORITY_GUEST,
};

/// A bind mount for the engine.
pub struct Bind<'a> {
    src: &'a Path,
    dst: &'a str,
    access: Access,
    relabel: Relabel,
}

impl<'a> Bind<'a> {
    pub fn new(src: &'a Path, dst: &'a str, access: Access) -> Self {
        Bind { src, dst, access, relabel: Relabel::Keep }
    }
}

/// What hidden directories are covered with, in the run's own directory.
const EMPTY_DIRECTORY: &str = "nothing.d";
/// What hidden files are covered with.
const EMPTY_FILE: &str = "nothing";

/// Collects an engine's arguments in the order in which they are given.
pub struct Builder<'a> {
    job: Job<'a>,
    pub arguments: Vec<OsString>,
    run_directory: PathBuf,
    run_files: Vec<RunFile>,
    pub directories: Vec<PathBuf>,
    pub in_use: Vec<PathBuf>,
    mount_points: Vec<OsString>,
    writable: Vec<OsString>,
    network_role: NetworkRole,
    proxy: Option<Orders>,
}

/// What init has to know of the engine's arguments.
pub struct Collected {
    /// Every mount that was asked for, by its place inside.
    pub mount_points: Vec<OsString>,
    /// Those of them that bring something of the host's that may be written.
    pub writable: Vec<OsString>,
    /// What init does about the network.
    pub network_role: NetworkRole,
}

impl<'a> Builder<'a> {
    /// The first arguments of a container's start; `part` names the run's own directory.
    pub fn new(job: Job<'a>, part: &str) -> Self {
        Builder {
            job,
            arguments: vec!["run".into()],
            run_directory: job.world.directories.runtime.join(format!("{part}-{}", job.world.pid)),
            run_files: Vec::new(),
            directories: Vec::new(),
            in_use: Vec::new(),
            mount_points: Vec::new(),
            writable: Vec::new(),
            network_role: NetworkRole::Absent,
            proxy: None,
        }
    }

    /// One argument.
    pub fn option(&mut self, option: impl Into<OsString>) {
        self.arguments.push(option.into());
    }

    /// Several arguments.
    pub fn options(&mut self, options: impl IntoIterator<Item = OsString>) {
        self.arguments.extend(options);
    }

    /// What every start has, whatever is granted.
    pub fn common(&mut self) {
        let Job { world, facts, policy, engine } = self.job;
        self.option("--rm");
        self.option("--pull=never");
        self.option("--log-driver=none");
        // coco delivers signals to init itself: no detour, and the same for every engine.
        self.option("--sig-proxy=false");
        self.option("--hostname=coco");
        self.option(format!("--label=coco.tool={}", policy.tool));
        self.option(joined(&format!("--label={RUN_LABEL}="), self.run_directory.as_os_str()));
        self.option("--security-opt=no-new-privileges");
        // What an engine's configuration could set otherwise; init checks the outcome.
        self.option("--ipc=private");
        if engine.kind == EngineKind::Podman {
            self.option("--http-proxy=false");
            self.option("--no-hosts");
        }
        if facts.selinux == SeLinux::Enforcing {
            // A confined container may neither connect to coco's socket nor read a home directory.
            self.option("--security-opt=label=disable");
        }
        self.limits();
        self.option("--workdir=/");
        self.option(format!("--entrypoint={INIT_GUEST}"));
        self.bind(&Bind::new(&world.program, INIT_GUEST, Access::ReadOnly));
        let socket = self.run_directory.join(CONTROL_SOCKET);
        self.bind(&Bind::new(&socket, SOCKET_GUEST, Access::ReadOnly));
        self.file("hosts", HOSTS.as_bytes(), "/etc/hosts");
        if let Some(certificates) = &policy.ca_certificates {
            self.file("ca.crt", certificates, CA_GUEST);
        }
    }

    /// The limits of the caller, and those of the coco file that can be set here.
    fn limits(&mut self) {
        let Job { facts, policy, .. } = self.job;
        let (soft, hard) = facts.open_files;
        self.option(format!("--ulimit=nofile={soft}:{hard}"));
        let (soft, hard) = facts.processes;
        self.option(format!("--ulimit=nproc={}:{}", soft.min(MAX_NPROC), hard.min(MAX_NPROC)));
        // No dump of a tool's memory in the project, and none to the program that the host's core_pattern names: that one is
        // started even where the limit is 0, but not where it is 1 (core(5)). A limit above the caller's own can't be set.
        let core = facts.core_dumps.1.min(1);
        self.option(format!("--ulimit=core={core}:{core}"));
        // A rootless engine warns at every run, or fails, where it can't set a limit.
        let can = self.job.settable_limits();
        if can.pids {
            self.option(format!("--pids-limit={}", policy.limits.processes()));
        }
        if let Some(bytes) = policy.limits.memory.filter(|_| can.memory) {
            self.option(format!("--memory={bytes}b"));
        }
        if let Some(milli) = policy.limits.milli_cpus.filter(|_| can.cpu) {
            self.option(format!("--cpus={}.{:03}", milli / 1000, milli % 1000));
        }
    }

    /// A file of the run's own directory, read-only inside.
    fn file(&mut self, name: &str, bytes: &[u8], dst: &str) {
        self.run_files.push(RunFile::Bytes { name: name.to_owned(), bytes: bytes.to_vec() });
        let path = self.run_directory.join(name);
        self.bind(&Bind::new(&path, dst, Access::ReadOnly));
    }

    /// The engine's part of the network, and the proxy's where there is one.
    pub fn network(&mut self, network: &RunNetwork, ports: &[PublishedPort], phase: &'static str) {
        let Job { world, facts, policy, .. } = self.job;
        match network {
            RunNetwork::None | RunNetwork::Hosts(_) | RunNetwork::Public | RunNetwork::DangerousLearn(_) => {
                self.option("--network=none");
                // Init listens on ports below 1024, and has no capability for it.
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
        self.network_role = match network.reach() {
            Some(reach) => NetworkRole::Names(reach),
            None if ports.is_empty() => return,
            None => NetworkRole::PortsOnly,
        };
        let socket = self.run_directory.join(NETWORK_SOCKET);
        self.bind(&Bind::new(&socket, NETWORK_GUEST, Access::ReadOnly));
        self.proxy = Some(Orders {
            reach: network.reach().unwrap_or_default(),
            ports,
            upstream: facts.upstream.clone(),
            program: world.program.clone(),
            getent: facts.getent.clone(),
            journal: journal(&world.directories),
            tool: policy.tool.to_string(),
            phase,
        });
    }

    /// The directories that a tool may write and that end with the container.
    pub fn temporary_directories(&mut self) {
        for dst in TEMPORARY_GUESTS.iter().chain(&[HOME_GUEST]) {
            self.tmpfs(dst);
        }
    }

    /// A fresh, writable directory.
    fn tmpfs(&mut self, dst: &str) {
        // podman copies what the image has there into a tmpfs unless told not to. docker makes one
        // without exec, which only this spelling changes; build scripts run in /tmp.
        let option = match self.job.engine.kind {
            EngineKind::Podman => format!("--mount=type=tmpfs,dst={dst},tmpfs-mode=1777,notmpcopyup"),
            EngineKind::Docker => format!("--tmpfs={dst}:rw,exec,nosuid,nodev,mode=1777"),
        };
        self.option(option);
        self.mount_points.push(dst.into());
    }

    /// Every bind mount goes through here, so that init can tell an engine's own additions
    /// from what was asked for.
    pub fn bind(&mut self, bind: &Bind) {
        let src = self.carry(bind.src);
        let mut fields =
            vec![OsString::from("type=bind"), joined("src=", src.as_os_str()), joined("dst=", OsStr::new(bind.dst))];
        if bind.access == Access::ReadOnly {
            fields.push("readonly".into());
        }
        match (self.job.engine.kind, bind.relabel) {
            (_, Relabel::Keep) | (EngineKind::Docker, _) => {}
            (EngineKind::Podman, Relabel::Shared) => fields.push("relabel=shared".into()),
            (EngineKind::Podman, Relabel::Private) => fields.push("relabel=private".into()),
        }
        let fields: Vec<OsString> = fields.iter().map(|field| csv_field(field)).collect();
        self.option(joined("--mount=", &fields.join(OsStr::new(","))));
        self.mount_points.push(bind.dst.into());
        match bind.access {
            Access::ReadOnly => {}
            Access::ReadWrite => self.writable.push(bind.dst.into()),
        }
    }

    /// The path itself, or a link to it where the engine can't carry the path: engines keep paths as JSON
    /// text, which loses bytes that are not UTF-8, and their CSV reader folds line ends.
    fn carry(&mut self, path: &Path) -> PathBuf {
        if path.to_str().is_some_and(|text| !text.chars().any(char::is_control)) {
            return path.to_owned();
        }
        let name = format!("mount-{}", self.run_files.len());
        self.run_files.push(RunFile::Alias { name: name.clone(), target: path.to_owned() });
        self.run_directory.join(name)
    }

    /// The granted files and the tool's own directories; the latter must not be removed during the run.
    pub fn files(&mut self, record: &Record) {
        let policy = self.job.policy;
        for mount in policy.mounts.iter().chain(&policy.protected) {
            self.bind(&Bind { src: &mount.src, dst: mount.dst.as_str(), access: mount.access, relabel: mount.relabel });
            if mount.creation == Creation::MakeDirectory {
                self.directories.push(mount.src.clone());
            }
        }
        self.hidden();
        let volumes = self.job.volumes();
        let cache = match policy.cache {
            CacheScope::Project => volumes.cache_of(&policy.tool, &self.job.facts.project),
            CacheScope::Shared => volumes.shared_cache(&policy.tool),
        };
        self.bind(&Bind::new(&cache, CACHE_GUEST, Access::ReadWrite));
        self.directories.push(cache.clone());
        self.in_use.push(cache);
        if let Some(data) = &record.data {
            let data = volumes.data(&policy.tool, data);
            self.bind(&Bind::new(&data, DATA_GUEST, policy.data));
            self.in_use.push(data);
        }
        if !policy.installation.runtimes.is_empty() {
            let runtimes = self.job.runtimes();
            self.bind(&Bind::new(&runtimes, RUNTIMES_GUEST, Access::ReadOnly));
            self.in_use.push(runtimes);
        }
    }

    /// Something empty over each path that must not be seen.
    fn hidden(&mut self) {
        let policy = self.job.policy;
        let run_files = [
            (Cover::Directory, RunFile::Directory { name: EMPTY_DIRECTORY.to_owned() }),
            (Cover::File, RunFile::Bytes { name: EMPTY_FILE.to_owned(), bytes: Vec::new() }),
        ];
        let wanted = |shape| policy.hidden.iter().any(|hidden| hidden.cover == shape);
        self.run_files.extend(run_files.into_iter().filter(|(shape, _)| wanted(*shape)).map(|(_, file)| file));
        for hidden in &policy.hidden {
            let src = self.run_directory.join(match hidden.cover {
                Cover::Directory => EMPTY_DIRECTORY,
                Cover::File => EMPTY_FILE,
            });
            self.bind(&Bind::new(&src, hidden.dst.as_str(), Access::ReadOnly));
        }
    }

    /// The X display, with a cookie for it alone.
    pub fn display(&mut self) {
        let Some(display) = &self.job.policy.display else { return };
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

    /// The plan. `launch` makes init's orders out of what was collected, once all of it is there.
    pub fn finish(mut self, image: &Image, streams: Streams, launch: impl FnOnce(Collected) -> Launch) -> Plan {
        self.option(image.to_string());
        let engine = self.job.engine;
        Plan {
            program: engine.path.clone(),
            arguments: self.arguments,
            environment: engine.environment.clone(),
            launch: launch(Collected {
                mount_points: self.mount_points,
                writable: self.writable,
                network_role: self.network_role,
            }),
            run_directory: self.run_directory,
            run_files: self.run_files,
            directories: self.directories,
            in_use: self.in_use,
            proxy: self.proxy,
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
