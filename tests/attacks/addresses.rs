//! N13: a granted name may lead to the machine itself, its network, or the cloud's metadata. Somebody stands behind
//! each such address here, and would notice.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, OnceLock};

use serde_json::json;

use crate::support::World;
use crate::support::network::{CALLER, CALLER6, Network, SEARCHED, each_engine_with_network};
use crate::support::servers;

each_engine_with_network!(
    n13_private_addresses,
    n13_private_beside_public,
    n13_another_answer_each_time,
    n13_another_name_by_the_search_list,
);

/// A granted name that does not exist, and one that does in the domain that is searched: another host.
fn n13_another_name_by_the_search_list(world: &World, network: &Network) {
    let name = format!("gone.{}", network.domain());
    let (address, port) = (network.address(), network.port());
    network.resolve(&format!("{name}.{SEARCHED}"), &[address]);
    let server = network.serve(address, port, servers::answer("another"));
    let code = "
name, port = sys.argv[1], int(sys.argv[2])
def says():
    with dial(name, port) as stream:
        stream.sendall(b'hello')
        return stream.recv(99).decode()
tries('granted', says)
";
    let arguments = [name.clone(), port.to_string()];
    world.python("searched", &json!({"allowed_hosts": [format!("{name}:{port}")]}));
    let shown = network.probe(world, "searched", code, &arguments);
    assert!(!shown.get("granted").contains("another"), "{shown:?}");
    assert_eq!(server.connections(), 0);
    // The control: who looks names up in the usual way does get there.
    network.bare_probe(code, &arguments).is("granted", "another");
}

/// Addresses that must not be dialled, with somebody in the servers' namespace behind them.
const PRIVATE: [&str; 27] = [
    "10.0.0.1",
    "10.255.255.254",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.254",
    "100.100.100.200",
    "169.254.169.254",
    "169.254.170.2",
    "198.18.0.1",
    "192.0.0.170",
    "192.0.0.192",
    "240.0.0.1",
    "0.1.0.1",
    "fd00:ec2::254",
    "fd12:3456::1",
    "fec0::1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "2002:a00:1::1",
    "2002:7f00:1::1",
    "2001:0:a00:1::f5ff:fffe",
    "64:ff9b::7f00:1",
];

/// The machine's own, where the caller's services are.
const OWN: [&str; 10] = [
    "127.0.0.1",
    "127.1.2.3",
    "127.64.0.1",
    "0.0.0.0",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "::ffff:0.0.0.0",
    "::ffff:192.0.2.2",
];

/// What nobody can listen on, or is nobody's.
const NOBODYS: [&str; 6] = ["224.0.0.1", "239.255.255.250", "255.255.255.255", "ff02::1", "fe80::1", "ff0e::1"];

/// The port of the raw connections of this file.
const PORT: u16 = 7000;

/// Everywhere at once; the same for each engine.
static LISTENERS: OnceLock<[servers::Server; 2]> = OnceLock::new();
/// What is counted there is one test's at a time.
static ONE: Mutex<()> = Mutex::new(());

fn n13_private_addresses(world: &World, network: &Network) {
    let domain = network.domain();
    let mut addresses: Vec<IpAddr> =
        PRIVATE.iter().chain(&OWN).chain(&NOBODYS).map(|address| address.parse().unwrap()).collect();
    addresses.extend([IpAddr::from(CALLER), IpAddr::from(CALLER6)]);
    let listeners = LISTENERS.get_or_init(|| {
        // Of both families.
        let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        [
            network.serve(any, PORT, servers::answer("private")),
            network.serve_beside_coco(SocketAddr::new(any, PORT), servers::answer("own")),
        ]
    });
    let _one = ONE.lock();
    let before: usize = listeners.iter().map(servers::Server::connections).sum();
    let public = network.address();
    let control = network.serve(public, PORT + 1, servers::answer("public"));
    let mut hosts = vec![format!("public.{domain}:{}", PORT + 1)];
    network.resolve(&format!("public.{domain}"), &[public]);
    let mut names = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        let name = format!("a{number}.{domain}");
        network.resolve(&name, &[*address]);
        hosts.push(format!("{name}:{PORT}"));
        names.push(name);
    }
    world.python("private", &json!({"allowed_hosts": hosts}));
    let code = "
def talks(host, port):
    with dial(host, port, 15) as stream:
        stream.sendall(b'x')
        return stream.recv(99).decode() or 'closed'
port = int(sys.argv[1])
tries('public', talks, sys.argv[2], port + 1)
for name in sys.argv[3:]:
    tries(name, talks, name, port)
";
    let port = PORT.to_string();
    let public_name = format!("public.{domain}");
    let mut arguments = vec![port.as_str(), public_name.as_str()];
    arguments.extend(names.iter().map(String::as_str));
    let shown = network.probe(world, "private", code, &arguments);
    shown.is("public", "public");
    assert_eq!(control.connections(), 1);
    let log = world.coco(["log", "private", "--denied"]).succeeds().text();
    for name in &names {
        shown.is_one_of(name, &["closed", "refused"]);
        let denied = format!("{name}:{PORT}");
        assert!(log.lines().any(|line| line.contains(&denied) && line.contains("private")), "{denied}: {log}");
    }
    shown.complains(&format!("coco: denied private -> {}:{PORT} (it resolves to", names[0]));
    let after: usize = listeners.iter().map(servers::Server::connections).sum();
    assert_eq!(after, before, "somebody was dialled who must not be: {shown:?}");
    // The control: a bare process reaches all of them that can be reached at all.
    let open = network.bare_probe(code, &arguments);
    let reached = names.iter().filter(|name| matches!(open.get(name), "private" | "own")).count();
    assert!(reached >= PRIVATE.len() + OWN.len() - 3, "{reached} of {}: {open:?}", names.len());
    for (address, name) in addresses.iter().zip(&names).take(PRIVATE.len()) {
        assert_eq!(open.get(name), "private", "{address}");
    }
}

/// Of several addresses the private ones are left out, wherever they stand.
fn n13_private_beside_public(world: &World, network: &Network) {
    let domain = network.domain();
    let (public, public6) = (network.address(), network.address6());
    let private = IpAddr::from([10, 1, 0, network.number()]);
    let own = SocketAddr::from((CALLER, network.port()));
    let port = own.port();
    let beside = [
        network.serve(private, port, servers::answer("private")),
        network.serve_beside_coco(own, servers::answer("own")),
        network.serve_beside_coco(SocketAddr::from(([127, 0, 0, 1], port)), servers::answer("loopback")),
    ];
    let good = [
        network.serve(public, port, servers::answer("public")),
        network.serve(public6, port, servers::answer("public")),
    ];
    let loopback = IpAddr::from([127, 0, 0, 1]);
    let mut hosts = Vec::new();
    for (name, addresses) in [
        ("first", vec![private, public]),
        ("last", vec![public, private]),
        ("among", vec![loopback, public, IpAddr::from(CALLER), private]),
        ("six", vec![IpAddr::from(Ipv6Addr::LOCALHOST), public6]),
        ("four", vec![IpAddr::from(Ipv6Addr::LOCALHOST), public]),
        ("none", vec![private, loopback, IpAddr::from(CALLER), IpAddr::from(Ipv6Addr::LOCALHOST)]),
        ("nothing", vec![]),
    ] {
        network.resolve(&format!("{name}.{domain}"), &addresses);
        hosts.push(format!("{name}.{domain}:{port}"));
    }
    hosts.push(format!("unknown.{domain}:{port}"));
    world.python("beside", &json!({"allowed_hosts": hosts}));
    let code = "
def talks(host, port):
    with dial(host, port, 15) as stream:
        stream.sendall(b'x')
        return stream.recv(99).decode() or 'closed'
for name in ('first', 'last', 'among', 'six', 'four', 'none', 'nothing', 'unknown'):
    for turn in range(3):
        tries(f'{name} {turn}', talks, name + '.' + sys.argv[1], int(sys.argv[2]))
";
    let shown = network.probe(world, "beside", code, &[&domain, &port.to_string()]);
    for name in ["first", "last", "among", "six", "four"] {
        assert_eq!(shown.all(&format!("{name} "), &["public"]), 3);
    }
    for name in ["none", "nothing", "unknown"] {
        assert_eq!(shown.all(&format!("{name} "), &["closed", "refused"]), 3);
    }
    assert_eq!(beside.iter().map(servers::Server::connections).sum::<usize>(), 0, "{shown:?}");
    assert_eq!(good.iter().map(servers::Server::connections).sum::<usize>(), 15, "{shown:?}");
    // The control: a bare process takes what it is given first.
    let open = network.bare_probe(code, &[&domain, &port.to_string()]);
    assert!(["private", "own", "loopback"].contains(&open.get("none 0")), "{open:?}");
}

/// A name server that answers with a public address for the check, and with a private one for the dial.
fn n13_another_answer_each_time(world: &World, network: &Network) {
    let domain = network.domain();
    let public = network.address();
    let port = network.port();
    let private = [IpAddr::from(CALLER), IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 2, 0, network.number()])];
    // Half of them begin with the public one: what is remembered of that is dialled, what comes next is not.
    let names: Vec<String> = (0..12).map(|number| format!("turns{number}.{domain}")).collect();
    for (number, name) in names.iter().enumerate() {
        let (one, other) = ([public], [private[number / 2 % 3]]);
        let turns: [&[IpAddr]; 2] = if number % 2 == 0 { [&one, &other] } else { [&other, &one] };
        network.resolve_in_turn(name, &turns);
    }
    let good = network.serve(public, port, servers::answer("public"));
    let bad = [
        network.serve_beside_coco(SocketAddr::new(private[0], port), servers::answer("private")),
        network.serve_beside_coco(SocketAddr::new(private[1], port), servers::answer("private")),
        network.serve(private[2], port, servers::answer("private")),
    ];
    let hosts: Vec<String> = names.iter().map(|name| format!("{name}:{port}")).collect();
    world.python("turns", &json!({"allowed_hosts": hosts}));
    let code = "
def talks(host, port):
    with dial(host, port, 15) as stream:
        stream.sendall(b'x')
        return stream.recv(99).decode() or 'closed'
for name in sys.argv[2:]:
    for turn in range(2):
        tries(f'{name} {turn}', talks, name, int(sys.argv[1]))
";
    let port = port.to_string();
    let arguments: Vec<&str> = [port.as_str()].into_iter().chain(names.iter().map(String::as_str)).collect();
    let shown = network.probe(world, "turns", code, &arguments);
    assert_eq!(shown.all("turns", &["public", "closed", "refused"]), 24);
    let reached = shown.beginning("turns").filter(|(_, ending)| ending == "public").count();
    assert_eq!(bad.iter().map(servers::Server::connections).sum::<usize>(), 0, "{shown:?}");
    // Whether the proxy remembers an answer for a while or asks each time, half of them are public.
    assert_eq!((reached, good.connections()), (12, 12), "{shown:?}");
    // The control: a bare process is led astray half of the time.
    let open = network.bare_probe(code, &arguments);
    assert_eq!(open.beginning("turns").filter(|(_, ending)| ending == "private").count(), 12, "{open:?}");
}
