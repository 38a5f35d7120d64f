//! Ports that a tool listens on, in a sandbox without any interface.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::network::{Network, each_engine_with_network};
use crate::support::probe::PROBE;
use crate::support::{Background, World, free_port, until};

each_engine_with_network!(
    a_port_without_any_network,
    a_server_beside_granted_hosts,
    ports_that_are_taken,
    ports_of_the_environment,
    many_connections_inwards,
);

/// Starts a tool that publishes ports, and waits until it listens.
fn start(world: &World, tool: &str, file: &Value, code: &str) -> Background {
    world.python(tool, file);
    let code = format!("{PROBE}\n{code}\nprint('ready', flush=True)\nsys.stdin.read()");
    let mut coco = Background::start(world.command(&world.coco).args(["run", tool, "-c", &code]));
    assert_eq!(coco.line(), "ready");
    coco
}

/// Says something, ends its half, and reads the answer to the end.
fn talk(address: impl Into<SocketAddr>, words: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address.into(), Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(words)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Servers inside: each reads to the end and answers its name and what it read.
const SERVERS: &str = "
def serves(name, family, address):
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(address)
    server.listen(128)
    def one(stream):
        with stream:
            data = read_all(stream, 1 << 30)
            stream.sendall(name.encode() + b' ' + hashlib.sha256(data).hexdigest().encode() + b' ' + data[:9])
    def accepts():
        while True:
            threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()
    threading.Thread(target=accepts, daemon=True).start()
";

fn a_port_without_any_network(world: &World, network: &Network) {
    let site = network.site();
    for (tool, grant) in [("port-none", json!({})), ("port-hosts", json!({"allowed_hosts": [site.api.name]}))] {
        let [one, other, six, all, nobody] = [(); 5].map(|()| free_port());
        let mut file = json!({"ports": [
            format!("{one}:80"), format!("127.0.0.1:{other}:8080/tcp"), format!("[::1]:{six}:80"), format!("0.0.0.0:{all}:80"), format!("{nobody}:81"),
        ]});
        file.as_object_mut().unwrap().extend(grant.as_object().unwrap().clone());
        let code = format!(
            "{SERVERS}
serves('low', socket.AF_INET, ('127.0.0.1', 80))
try:
    serves('high', socket.AF_INET6, ('::1', 8080))
except OSError:
    # docker turns IPv6 off in such a sandbox.
    serves('high', socket.AF_INET, ('127.0.0.1', 8080))
print('interfaces:', sorted(line.split(':')[0].strip() for line in open('/proc/net/dev').readlines()[2:] if line.split(':')[0].strip() in ('lo', 'cable', 'eth0', 'tap0')))
"
        );
        let mut coco = {
            world.python(tool, &file);
            let code = format!("{PROBE}\n{code}\nprint('ready', flush=True)\nsys.stdin.read()");
            Background::start(world.command(&world.coco).args(["run", tool, "-c", &code]))
        };
        assert_eq!((coco.line(), coco.line()), ("interfaces: ['lo']".to_owned(), "ready".to_owned()));
        let v4 = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let text = |answer: std::io::Result<Vec<u8>>| crate::support::printable(&answer.unwrap());
        assert!(text(talk(v4(one), b"hello")).starts_with("low ") && text(talk(v4(one), b"hello")).ends_with(" hello"));
        // A server that listens on IPv6 inside is found as well.
        assert!(text(talk(v4(other), b"hello")).starts_with("high "));
        assert!(text(talk((Ipv6Addr::LOCALHOST, six), b"hello")).starts_with("low "));
        assert!(text(talk(v4(all), b"hello")).starts_with("low "));
        // Nobody listens inside: the connection ends, and the next ones work.
        assert!(talk(v4(nobody), b"hello").map_or(true, |answer| answer.is_empty()));
        assert!(text(talk(v4(one), b"again")).ends_with(" again"));
        // On loopback alone, unless the coco file says more.
        let own = own_address();
        if let Some(own) = own {
            assert!(TcpStream::connect_timeout(&SocketAddr::new(own, one), Duration::from_secs(2)).is_err());
            assert!(TcpStream::connect_timeout(&SocketAddr::new(own, all), Duration::from_secs(2)).is_ok());
        }
        drop(coco.0.stdin.take());
        assert_eq!(coco.ends(Duration::from_secs(10)), 0);
        for port in [one, other, all] {
            assert!(TcpStream::connect(v4(port)).is_err(), "the port outlives the run");
        }
    }
}

/// A development server often listens on every address; that leaves the granted hosts where they are.
fn a_server_beside_granted_hosts(world: &World, network: &Network) {
    let site = network.site();
    let port = free_port();
    world.python("beside-hosts", &json!({"ports": [format!("{port}:8080")], "allowed_hosts": [site.api.name]}));
    let code = format!(
        "{SERVERS}
serves('all', socket.AF_INET, ('0.0.0.0', 8080))
tries('api', https, sys.argv[1])
# On a granted host's port as well, before the host is looked up for the first time.
serves('all', socket.AF_INET, ('127.0.0.1', 80))
serves('all', socket.AF_INET, ('127.0.0.1', 443))
tries('api again', https, sys.argv[1])
tries('plain', http, sys.argv[1], get(sys.argv[1]))
print('ready', flush=True)
sys.stdin.read()
"
    );
    let mut coco = network.start(world, ["run", "beside-hosts", "-c", &format!("{PROBE}\n{code}"), &site.api.name]);
    let served = format!("served {0} / 0 {0}", site.api.name);
    assert_eq!(coco.line(), format!("api: {served}"));
    assert_eq!(coco.line(), format!("api again: {served}"));
    assert_eq!(coco.line(), format!("plain: served {} / 0", site.api.name));
    assert_eq!(coco.line(), "ready");
    // coco listens where it was started.
    let answer = network.caller.enter(|| talk(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), b"hello")).unwrap();
    assert!(answer.starts_with(b"all "), "{answer:?}");
    drop(coco.0.stdin.take());
    assert_eq!(coco.ends(Duration::from_secs(10)), 0);
}

fn ports_of_the_environment(world: &World, _network: &Network) {
    let [one, other] = [(); 2].map(|()| free_port());
    world.python("extra-ports", &json!({}));
    let code = format!(
        "{PROBE}\n{SERVERS}\nserves('low', socket.AF_INET, ('127.0.0.1', 80))\nprint('ready', flush=True)\nsys.stdin.read()"
    );
    let mut command = world.command(&world.coco);
    command.env("COCO_EXTRA_PORTS", format!("{one}:80,127.0.0.1:{other}:80")).args(["run", "extra-ports", "-c", &code]);
    let mut coco = Background::start(&mut command);
    assert_eq!(coco.line(), "ready");
    for port in [one, other] {
        assert!(talk(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), b"hello").unwrap().starts_with(b"low "));
    }
    drop(coco.0.stdin.take());
    assert_eq!(coco.ends(Duration::from_secs(10)), 0);
}

/// An address of this machine that is not loopback.
fn own_address() -> Option<IpAddr> {
    let listed = crate::support::run(crate::support::command("hostname").arg("-I"));
    listed.text().split_whitespace().filter_map(|word| word.parse().ok()).find(|address: &IpAddr| address.is_ipv4())
}

fn ports_that_are_taken(world: &World, _network: &Network) {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let project = world.project("taken");
    let mount = json!([{"src": ".", "dst": "/workspace", "opts": "rw"}]);
    world.python("taken", &json!({"ports": [format!("{port}:80")], "mounts": mount}));
    let code = "open('/workspace/started', 'w').close()";
    let failed = world.coco_in(&project, ["run", "taken", "-c", code]);
    failed.exits(125).complains(&format!("127.0.0.1:{port}"));
    assert!(!project.join("started").exists(), "the tool ran all the same");
    assert!(world.containers("taken").is_empty());
    // Twice in one file, too.
    let free = free_port();
    world.python("taken-twice", &json!({"ports": [format!("{free}:80"), format!("{free}:81")]}));
    world.coco(["run", "taken-twice", "-c", "pass"]).exits(125);
    // The control: once it is free, it starts.
    drop(holder);
    world.coco_in(&project, ["run", "taken", "-c", code]).succeeds();
    assert!(project.join("started").exists());
    // Two runs at a time: the second one says why it can't.
    let held = start(world, "taken", &json!({"ports": [format!("{port}:80")]}), "");
    world.coco_in(&project, ["run", "taken", "-c", "pass"]).exits(125).complains(&port.to_string());
    held.send(Signal::SIGTERM);
}

fn many_connections_inwards(world: &World, _network: &Network) {
    let port = free_port();
    let code = format!("{SERVERS}\nserves('low', socket.AF_INET, ('0.0.0.0', 80))");
    let mut coco = start(world, "many-inwards", &json!({"ports": [format!("{port}:80")]}), &code);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let big: Vec<u8> = (0..=255).cycle().take(20 << 20).collect();
    let sum: String = <sha2::Sha256 as sha2::Digest>::digest(&big).iter().map(|byte| format!("{byte:02x}")).collect();
    let answer = crate::support::printable(&talk(address, &big).unwrap());
    assert_eq!(answer.split(' ').nth(1), Some(sum.as_str()));
    // Some that say nothing do not hold up the others.
    let silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    assert!(talk(address, b"hello").unwrap().ends_with(b" hello"));
                }
            });
        }
    });
    drop(silent);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", coco.0.id())).unwrap().count();
    until("the end of the connections", Duration::from_secs(5), || (descriptors() < 40).then_some(()));
    drop(coco.0.stdin.take());
    assert_eq!(coco.ends(Duration::from_secs(10)), 0);
}
