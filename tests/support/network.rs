//! A network of the tests' own: two namespaces with a cable between them, and nothing else.
//!
//! coco and the engine's client run in the caller's namespace. It has the machine's files but for `/etc/hosts`,
//! `/etc/resolv.conf` and `/etc/nsswitch.conf`, and routes to nothing but the servers' namespace, where threads of the
//! test play every host of the internet, its private corners included: what is not reached there was not dialled.
//! So coco's own program resolves names and dials as it always does, and no packet can leave the machine.
//!
//! Both namespaces belong to threads of the test's process and end with it.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt};

use super::authority::{Authority, KeyExchange};
use super::outcome::{or_skip, unless_it_panics};
use super::probe::{Answers, PROBE};
use super::resolver::Names;
use super::servers::{self, Server, Tap};
use super::setup::is_installed;
use super::{Background, Engine, Run, Unusable, World, command, printable, run, settled, variable};

/// The caller's end of the cable: an address that is public by its range, and the machine's own.
pub const CALLER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The caller's end of the cable.
pub const CALLER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 2);
/// The domain in which the caller's resolver looks for names that it does not find.
pub const SEARCHED: &str = "corp.example.net";
/// The name server that the caller's `/etc/resolv.conf` names.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 53);

/// What the servers' namespace answers for: addresses that coco may dial, then those that it must never dial.
const REACHABLE: [&str; 12] = [
    "198.51.100.0/24",
    "203.0.113.0/24",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "198.18.0.0/15",
    "192.0.0.0/24",
    "192.88.99.0/24",
    "240.0.0.0/4",
    "0.1.0.0/16",
];

/// The same for IPv6.
const REACHABLE6: [&str; 7] =
    ["2001:db8::/48", "64:ff9b::/96", "64:ff9b:1::/48", "fd00::/8", "fec0::/10", "2002::/16", "2001:0::/32"];

/// Makes one `#[test]` for each engine out of a `fn(&World, &Network)`.
macro_rules! each_engine_with_network {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::support::{Engine, network::on_network};

            #[test]
            fn podman_rootful() {
                on_network(Engine::PodmanRootful, module_path!(), super::$name);
            }

            #[test]
            fn podman_rootless() {
                on_network(Engine::PodmanRootless, module_path!(), super::$name);
            }

            #[test]
            fn docker() {
                on_network(Engine::Docker, module_path!(), super::$name);
            }
        }
    )+};
}
pub(crate) use each_engine_with_network;

/// Runs a test in an engine's world with the network around it, or says why it can't.
pub fn on_network(engine: Engine, test: &str, run: fn(&World, &Network)) {
    // Neither is set up for a test that the other leaves out.
    let world = settled(engine, test, engine.name(), World::of(engine));
    let network = world.and_then(|_| settled(engine, test, "network of the tests' own", Network::of()));
    if let (Some(world), Some(network)) = (world, network) {
        or_skip(engine, test, || run(world, network));
    }
}

/// The two namespaces, and who is in them.
#[derive(Debug)]
pub struct Network {
    /// Where coco and the engine's client run.
    pub caller: Space,
    /// Where the servers are.
    pub servers: Space,
    /// Who signs the servers' certificates.
    pub authority: Authority,
    names: Arc<Names>,
    addresses: AtomicU16,
    places: AtomicU32,
}

impl Network {
    /// This process's network.
    pub fn of() -> Result<&'static Network, &'static Unusable> {
        static NETWORK: OnceLock<Result<Network, Unusable>> = OnceLock::new();
        NETWORK.get_or_init(|| unless_it_panics(Network::make)).as_ref()
    }

    fn make() -> Result<Network, Unusable> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Unusable::Absent("namespaces need root".to_owned()));
        }
        if let Some(missing) = ["ip", "nsenter"].into_iter().find(|program| !is_installed(program)) {
            return Err(Unusable::Absent(format!("{missing} is not installed")));
        }
        let files = tempfile::tempdir().map_err(|error| error.to_string())?.keep();
        let caller = Space::make(Some(files.clone()))?;
        let servers = Space::make(None)?;
        let _ = fs::remove_dir_all(files);
        connect(&caller, &servers)?;
        let names = Arc::new(Names::default());
        let socket = servers.enter(|| UdpSocket::bind((RESOLVER, 53))).map_err(|error| error.to_string())?;
        let answering = Arc::clone(&names);
        thread::spawn(move || answering.serve(&socket));
        Ok(Network {
            caller,
            servers,
            authority: Authority::new(),
            names,
            addresses: AtomicU16::new(0),
            places: AtomicU32::new(0),
        })
    }

    /// An address that nobody has yet, of a range that coco may dial.
    pub fn address(&self) -> IpAddr {
        let number = self.addresses.fetch_add(1, Ordering::Relaxed);
        let host = u8::try_from(number % 150 + 100).unwrap();
        match number / 150 {
            0 => IpAddr::from([198, 51, 100, host]),
            1 => IpAddr::from([203, 0, 113, host]),
            more => panic!("out of addresses: {more}"),
        }
    }

    /// The same for IPv6.
    pub fn address6(&self) -> IpAddr {
        let number = self.addresses.fetch_add(1, Ordering::Relaxed);
        IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0x6, number])
    }

    /// A port that no other test listens on.
    pub fn port(&self) -> u16 {
        20_000 + self.addresses.fetch_add(1, Ordering::Relaxed)
    }

    /// A number for an address of a range that no other test uses.
    pub fn number(&self) -> u8 {
        u8::try_from(self.addresses.fetch_add(1, Ordering::Relaxed) % 250).unwrap() + 1
    }

    /// A domain of a test's own.
    pub fn domain(&self) -> String {
        format!("t{}.example.com", self.places.fetch_add(1, Ordering::Relaxed))
    }

    /// Lets a name resolve to addresses.
    pub fn resolve(&self, name: &str, addresses: &[IpAddr]) {
        self.resolve_in_turn(name, &[addresses]);
    }

    /// Lets a name resolve to something else each time that its IPv4 addresses are asked for.
    pub fn resolve_in_turn(&self, name: &str, turns: &[&[IpAddr]]) {
        let turns = turns.iter().map(|turn| turn.to_vec()).collect();
        self.names.learn(name, turns);
    }

    /// Lets questions for a name go without any answer.
    pub fn resolve_never(&self, name: &str) {
        self.names.learn(name, Vec::new());
    }

    /// Nobody answers there, not even by a refusal.
    #[track_caller]
    pub fn drop_packets_to(&self, address: IpAddr) {
        self.servers.enter(|| ip(&["route", "replace", "blackhole", &address.to_string(), "table", "local"])).unwrap();
    }

    /// The names that the caller's resolver was asked for and that end in this.
    pub fn asked(&self, end: &str) -> Vec<String> {
        self.names.asked(end)
    }

    /// Starts a server that hands each connection to `serve`, in a thread of its own.
    #[track_caller]
    pub fn serve(&self, address: IpAddr, port: u16, serve: impl Fn(Tap) + Send + Sync + 'static) -> Server {
        Server::start(self.servers.enter(|| TcpListener::bind((address, port))).unwrap(), serve)
    }

    /// The same on the caller's side: the machine's own services.
    #[track_caller]
    pub fn serve_beside_coco(&self, at: SocketAddr, serve: impl Fn(Tap) + Send + Sync + 'static) -> Server {
        Server::start(self.caller.enter(|| TcpListener::bind(at)).unwrap(), serve)
    }

    /// A proxy at an address of its own, which knows all names.
    pub fn proxy(&self, user: &str, password: &str) -> Server {
        let names = Arc::clone(&self.names);
        let known = move |name: &str| names.addresses(name, 1)?.into_iter().find(IpAddr::is_ipv4);
        self.serve(self.address(), 3128, servers::proxy(self.servers.share(), known, user, password))
    }

    /// A command, started in the caller's namespaces.
    pub fn command(&self, built: &Command) -> Command {
        let mut entered = command("nsenter");
        entered.arg(format!("--net={}", self.caller.path("net")));
        entered.arg(format!("--mount={}", self.caller.path("mnt")));
        // In the namespace: a directory from outside of it would be another mount.
        let mut chdir = std::ffi::OsString::from("--chdir=");
        chdir.push(built.get_current_dir().unwrap_or(Path::new("/")));
        entered.args(["--", "env"]).arg(chdir).arg(built.get_program()).args(built.get_args()).env_clear();
        for (name, value) in built.get_envs() {
            if let Some(value) = value {
                entered.env(name, value);
            }
        }
        entered
    }

    /// A command of a world, started in the caller's namespaces, that trusts the servers.
    pub fn world_command(&self, world: &World, more: impl FnOnce(&mut Command)) -> Command {
        let mut built = world.command(&world.coco);
        built.env("COCO_CA_BUNDLE", self.bundle(world));
        more(&mut built);
        self.command(&built)
    }

    /// Runs coco.
    pub fn coco<A: AsRef<std::ffi::OsStr>>(&self, world: &World, arguments: impl IntoIterator<Item = A>) -> Run {
        run(&mut self.world_command(world, |coco| {
            coco.args(arguments);
        }))
    }

    /// Starts coco beside the test.
    pub fn start<A: AsRef<std::ffi::OsStr>>(
        &self,
        world: &World,
        arguments: impl IntoIterator<Item = A>,
    ) -> Background {
        Background::start(&mut self.world_command(world, |coco| {
            coco.args(arguments);
        }))
    }

    /// Runs a probe as a tool that is the image's python, and gives what it says.
    #[track_caller]
    pub fn probe(&self, world: &World, tool: &str, code: &str, arguments: &[impl AsRef<str>]) -> Answers {
        let code = format!("{PROBE}\n{code}");
        let run = self.coco(world, ["run", tool, "-c", &code].into_iter().chain(arguments.iter().map(AsRef::as_ref)));
        Answers::of(&run)
    }

    /// The same in the caller's namespaces without any sandbox.
    #[track_caller]
    pub fn bare_probe(&self, code: &str, arguments: &[impl AsRef<str>]) -> Answers {
        let mut python = command("/usr/bin/python3");
        python
            .env_clear()
            .env("PROBE_CA", self.authority.pem())
            .arg("-c")
            .arg(format!("{PROBE}\n{code}"))
            .args(arguments.iter().map(AsRef::as_ref));
        Answers::of(&run(&mut self.command(&python)))
    }

    /// Two hosts of a domain of their own: the one that is granted, and its neighbour that is not. Each has an address
    /// of its own, and speaks TLS and HTTP for both names there.
    pub fn site(&self) -> Site {
        let domain = self.domain();
        let (api, other) = (format!("api.{domain}"), format!("other.{domain}"));
        let config = self.authority.config(&[&api, &other, &format!("*.{domain}")], KeyExchange::Usual);
        let host = |name: String| {
            let address = self.address();
            self.resolve(&name, &[address]);
            let tls = self.serve(address, 443, servers::tls(Arc::clone(&config)));
            Host { tls, http: self.serve(address, 80, servers::http), address, name }
        };
        Site { api: host(api), other: host(other), domain }
    }

    /// The certificates that the world's own commands trust, and the servers' one.
    pub fn bundle(&self, world: &World) -> PathBuf {
        let path = world.root.join("network-ca.pem");
        let own = variable("SSL_CERT_FILE").map(|path| fs::read_to_string(path).unwrap()).unwrap_or_default();
        let text = format!("{own}\n{}", self.authority.pem());
        if fs::read_to_string(&path).is_ok_and(|written| written == text) {
            return path;
        }
        // Another test of this world may read it at this moment.
        let mut new = tempfile::NamedTempFile::new_in(&world.root).unwrap();
        new.write_all(text.as_bytes()).unwrap();
        fs::set_permissions(new.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        new.persist(&path).unwrap();
        path
    }

    /// Listens to every packet on the caller's interfaces and on the machine's own until it is stopped.
    pub fn capture(&self) -> Capture {
        let stop = Arc::new(AtomicBool::new(false));
        let packets = Arc::new(Mutex::new(Vec::new()));
        let mut threads = Vec::new();
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC;
            let opened = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).unwrap();
            let wait = nix::sys::time::TimeVal::new(0, 20_000);
            setsockopt(&opened, sockopt::ReceiveTimeout, &wait).unwrap();
            opened
        };
        for opened in [self.caller.enter(open), open()] {
            let (stop, packets) = (Arc::clone(&stop), Arc::clone(&packets));
            threads.push(thread::spawn(move || {
                let mut packet = vec![0; 65536];
                loop {
                    match recv(opened.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                        Ok(length) => packets.lock().unwrap().push(packet[..length].to_vec()),
                        // Everything that came before the end was asked for is read first.
                        Err(_) if stop.load(Ordering::Relaxed) => return,
                        Err(_) => {}
                    }
                }
            }));
        }
        Capture { stop, packets, threads }
    }
}

/// See [`Network::site`].
#[derive(Debug)]
pub struct Site {
    /// The domain, with nothing at the name itself.
    pub domain: String,
    /// `api.` of the domain.
    pub api: Host,
    /// `other.` of the domain.
    pub other: Host,
}

/// A name with its servers.
#[derive(Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: IpAddr,
    /// Port 443.
    pub tls: Server,
    /// Port 80.
    pub http: Server,
}

impl Host {
    /// How many connections it has had.
    pub fn connections(&self) -> usize {
        self.tls.connections() + self.http.connections()
    }
}

/// Packets, as they were seen.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    packets: Arc<Mutex<Vec<Vec<u8>>>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Capture {
    /// Ends it and gives the packets.
    pub fn stop(self) -> Vec<Vec<u8>> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        std::mem::take(&mut self.packets.lock().unwrap())
    }
}

/// A network namespace, perhaps with a mount namespace, that a thread of this process holds.
#[derive(Debug)]
pub struct Space {
    thread: i32,
    net: File,
}

impl Space {
    /// Makes one; with a directory for new files, it gets a mount namespace with `/etc` files of its own.
    fn make(files: Option<PathBuf>) -> Result<Space, String> {
        let (made, is_made) = mpsc::channel();
        thread::spawn(move || {
            let outcome = unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|error| format!("no network namespace: {error}"))
                .and_then(|()| files.map_or(Ok(()), |files| own_files(&files)))
                .and_then(|()| ip(&["link", "set", "lo", "up"]));
            let made = made.send(outcome.map(|()| nix::unistd::gettid().as_raw()));
            while made.is_ok() {
                thread::park();
            }
        });
        let thread = is_made.recv().map_err(|error| error.to_string())??;
        let path = format!("/proc/{}/task/{thread}/ns/net", std::process::id());
        Ok(Space { thread, net: File::open(path).map_err(|error| error.to_string())? })
    }

    /// Does something in this network namespace; the sockets that it opens stay there.
    pub fn enter<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                setns(&self.net, CloneFlags::CLONE_NEWNET).unwrap();
                what()
            });
            entered.join().unwrap()
        })
    }

    /// Another handle of this namespace.
    pub fn share(&self) -> Space {
        Space { thread: self.thread, net: self.net.try_clone().unwrap() }
    }

    fn path(&self, kind: &str) -> String {
        format!("/proc/{}/task/{}/ns/{kind}", std::process::id(), self.thread)
    }
}

/// A mount namespace whose names are the tests' own. What the machine mounts later still arrives; what an engine mounts
/// here stays here.
fn own_files(files: &Path) -> Result<(), String> {
    let failed = |what: &str, error: nix::Error| format!("{what}: {error}");
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| failed("no mount namespace", error))?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .map_err(|error| failed("slave mounts", error))?;
    for (place, text) in [
        ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n198.51.100.99 only-in-hosts.example.com\n".to_owned()),
        // As patient as it is by default: who waits for a name in vain waits for long.
        ("/etc/resolv.conf", format!("nameserver {RESOLVER}\nsearch {SEARCHED}\noptions timeout:5 attempts:2\n")),
        // The machine's may ask a daemon, which is outside.
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
    ] {
        if !Path::new(place).exists() {
            return Err(format!("{place} is missing"));
        }
        let source = files.join(Path::new(place).file_name().unwrap_or_default());
        fs::write(&source, text).map_err(|error| format!("{}: {error}", source.display()))?;
        mount(Some(&source), place, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|error| failed(place, error))?;
    }
    Ok(())
}

/// Lays the cable.
fn connect(caller: &Space, servers: &Space) -> Result<(), String> {
    let peer = caller.thread.to_string();
    servers.enter(|| {
        ip(&["link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", &peer])?;
        ip(&["addr", "add", "192.0.2.1/30", "dev", "cable"])?;
        ip(&["addr", "add", "2001:db8:ffff::1/64", "dev", "cable", "nodad"])?;
        ip(&["link", "set", "cable", "up"])?;
        for range in REACHABLE.iter().chain(&REACHABLE6) {
            ip(&["route", "add", "local", range, "dev", "lo"])?;
        }
        // IPv6 lets nobody listen on such an address otherwise. The file is the calling thread's namespace's.
        fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1").map_err(|error| format!("ip_nonlocal_bind: {error}"))?;
        Ok::<(), String>(())
    })?;
    caller.enter(|| {
        ip(&["addr", "add", &format!("{CALLER}/30"), "dev", "cable"])?;
        ip(&["addr", "add", &format!("{CALLER6}/64"), "dev", "cable", "nodad"])?;
        ip(&["link", "set", "cable", "up"])?;
        for range in REACHABLE {
            ip(&["route", "add", range, "via", "192.0.2.1"])?;
        }
        for range in REACHABLE6 {
            ip(&["route", "add", range, "via", "2001:db8:ffff::1"])?;
        }
        Ok(())
    })
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = command("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), printable(&output.stderr).trim()))
}
