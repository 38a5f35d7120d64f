//! What a run may reach. Pure.

use std::fmt;

use crate::config::{CocoFile, Network};
use crate::error::Error;
use crate::host::World;
use crate::names::{HostPattern, NetworkName, PublishedPort, ToolName};
use crate::network::upstream::Upstream;
use crate::rules::egress::Reach;

/// Which hosts a run may reach. The closed variant stands first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Those that the coco file grants.
    #[default]
    Granted,
    /// Every public one, to find out which the tool wants; asked for on the command line.
    DangerousLearn,
}

/// The network of a run. The closed variant stands first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RunNetwork {
    /// No interface but a loopback of its own.
    #[default]
    None,
    /// No interface either; these hosts, through the proxy.
    Hosts(Vec<HostPattern>),
    /// No interface either; any public host, through the proxy.
    Public,
    /// The same and these hosts, asked for on the command line for one run.
    DangerousLearn(Vec<HostPattern>),
    /// The engine's own network, private addresses included.
    DangerousEngineDefault,
    /// A network that the user made.
    DangerousEngineNetwork(NetworkName),
    /// The host's own.
    DangerousHost,
}

impl RunNetwork {
    /// Whether the engine makes an interface for it.
    pub fn is_the_engines(&self) -> bool {
        matches!(self, RunNetwork::DangerousEngineDefault | RunNetwork::DangerousEngineNetwork(_))
    }

    /// What the proxy lets through; `None` where the engine's own network is in use.
    pub fn reach(&self) -> Option<Reach> {
        match self {
            RunNetwork::None => Some(Reach::default()),
            RunNetwork::Hosts(hosts) => Some(Reach::Hosts(hosts.clone())),
            RunNetwork::Public => Some(Reach::PUBLIC),
            RunNetwork::DangerousLearn(besides) => Some(Reach::Public { besides: besides.clone() }),
            RunNetwork::DangerousEngineDefault | RunNetwork::DangerousEngineNetwork(_) | RunNetwork::DangerousHost => {
                None
            }
        }
    }
}

/// The network as a noun phrase. `show`, grants, dangers and plans all say it so.
impl fmt::Display for RunNetwork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunNetwork::None => formatter.write_str("no network"),
            RunNetwork::Hosts(hosts) => {
                let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
                formatter.write_str(&hosts.join(", "))
            }
            RunNetwork::Public | RunNetwork::DangerousLearn(_) => formatter.write_str("any public host"),
            RunNetwork::DangerousEngineDefault => formatter.write_str("the engine's own network"),
            RunNetwork::DangerousEngineNetwork(name) => write!(formatter, "the engine's network {name}"),
            RunNetwork::DangerousHost => formatter.write_str("the host's own network"),
        }
    }
}

/// The network of one run. What a user must know about it is added to `warnings`.
pub fn network(
    tool: &ToolName,
    file: &CocoFile,
    world: &World,
    upstream: &Upstream,
    mode: Mode,
    warnings: &mut Vec<String>,
) -> RunNetwork {
    let network = match mode {
        Mode::Granted => granted_network(tool, file, world, warnings),
        Mode::DangerousLearn => {
            warnings.push(format!("--learn: {tool} may reach any public host in this run"));
            learning_network(file)
        }
    };
    match (upstream, &network) {
        (Upstream::Unusable(reason), RunNetwork::Hosts(_) | RunNetwork::Public | RunNetwork::DangerousLearn(_)) => {
            warnings.push(format!("HTTPS_PROXY: {reason}; {tool} will reach nothing"));
        }
        (
            Upstream::Unusable(_),
            RunNetwork::None
            | RunNetwork::DangerousEngineDefault
            | RunNetwork::DangerousEngineNetwork(_)
            | RunNetwork::DangerousHost,
        )
        | (Upstream::Direct | Upstream::Proxy(_), _) => {}
    }
    network
}

fn granted_network(tool: &ToolName, file: &CocoFile, world: &World, warnings: &mut Vec<String>) -> RunNetwork {
    if world.is_on("COCO_ALLOW_NETWORK") && !matches!(file.network, Network::DangerousHost) {
        warnings.push(format!(
            "COCO_ALLOW_NETWORK is set: {tool} runs with the engine's network, whatever its coco file says"
        ));
        return RunNetwork::DangerousEngineDefault;
    }
    match &file.network {
        Network::None => RunNetwork::None,
        Network::AllowedHosts(hosts) => RunNetwork::Hosts(hosts.clone()),
        Network::Public => RunNetwork::Public,
        Network::EngineDefault => RunNetwork::DangerousEngineDefault,
        Network::EngineNetwork(name) => RunNetwork::DangerousEngineNetwork(name.clone()),
        Network::DangerousHost => RunNetwork::DangerousHost,
    }
}

/// Every public host, and those of the coco file. The engine's and the host's own networks would hide
/// which hosts the tool wants, so a learning run has neither.
fn learning_network(file: &CocoFile) -> RunNetwork {
    RunNetwork::DangerousLearn(match &file.network {
        Network::AllowedHosts(hosts) => hosts.clone(),
        Network::None
        | Network::Public
        | Network::EngineDefault
        | Network::EngineNetwork(_)
        | Network::DangerousHost => Vec::new(),
    })
}

/// The ports of the coco file and those of `COCO_EXTRA_PORTS`.
///
/// # Errors
/// [`Error::Environment`] when the variable holds something else than a list of ports.
pub fn ports(file: &CocoFile, world: &World, warnings: &mut Vec<String>) -> Result<Vec<PublishedPort>, Error> {
    let mut ports = file.ports.clone();
    for port in extra_ports(world)? {
        if !port.address.is_loopback() {
            warnings.push(format!("COCO_EXTRA_PORTS publishes {port} beyond this machine"));
        }
        ports.push(port);
    }
    Ok(ports)
}

fn extra_ports(world: &World) -> Result<Vec<PublishedPort>, Error> {
    let Some(list) = world.text("COCO_EXTRA_PORTS")? else { return Ok(Vec::new()) };
    list.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(|entry| {
            PublishedPort::new(entry).map_err(|message| Error::Environment {
                name: "COCO_EXTRA_PORTS",
                message,
                hint: "write for example COCO_EXTRA_PORTS=8080:80,9000:9000".to_owned(),
            })
        })
        .collect()
}
