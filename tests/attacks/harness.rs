//! The tests' own network works without coco: what an attack doesn't reach there is kept from it by coco alone.

use std::net::IpAddr;

use serde_json::json;

use crate::support::World;
use crate::support::authority::KeyExchange;
use crate::support::network::{Network, each_engine_with_network};
use crate::support::servers;

each_engine_with_network!(the_servers_are_there, a_sandbox_starts_in_it);

fn the_servers_are_there(_world: &World, network: &Network) {
    let domain = network.domain();
    let (v4, v6) = (network.address(), network.address6());
    let names = [format!("api.{domain}"), format!("six.{domain}")];
    network.resolve(&names[0], &[v4]);
    network.resolve(&names[1], &[v6]);
    let config = network.authority.config(&[&names[0]], KeyExchange::AskedFor);
    let tls = network.serve(v4, 443, servers::tls(config));
    let http = network.serve(v6, 80, servers::http);
    let private = network.serve(IpAddr::from([10, 0, 0, 1]), network.port(), servers::answer("private"));
    let code = "
api, six, port = sys.argv[1:]
tries('tls', https, api)
tries('http', http, six, get(six))
with dial('10.0.0.1', int(port)) as stream:
    stream.sendall(b'x')
    print('private:', stream.recv(99).decode())
tries('elsewhere', connects, '8.8.8.8', 53)
tries('nobody', addresses, 'nobody.' + api)
tries('hosts file', addresses, 'only-in-hosts.example.com')
";
    let capture = network.capture();
    let port = private.address.port().to_string();
    let shown = network.bare_probe(code, &[&names[0], &names[1], &port]);
    shown.is("tls", &format!("served {0} / 0 {0}", names[0])).is("http", &format!("served {} / 0", names[1]));
    shown.is("private", "private").is("elsewhere", "Network is unreachable").is("nobody", "unknown name");
    shown.is("hosts file", "['198.51.100.99']");
    assert_eq!((tls.connections(), http.connections(), private.connections()), (1, 1, 1));
    assert_eq!(tls.seen()[0].server_name.as_ref(), Some(&names[0]));
    assert!(network.asked(&domain).contains(&format!("nobody.{}", names[0])));
    let label = b"\x06nobody\x03api";
    let found = |packet: &Vec<u8>| packet.windows(label.len()).any(|window| window == label);
    assert!(capture.stop().iter().any(found), "the capture sees queries");
}

fn a_sandbox_starts_in_it(world: &World, network: &Network) {
    world.python("in-a-namespace", &json!({}));
    let code = "print([line.split(':')[0].strip() for line in open('/proc/net/dev').readlines()[2:]])";
    let shown = network.coco(world, ["run", "in-a-namespace", "-c", code]).succeeds().text();
    assert!(shown.contains("'lo'") && !shown.contains("cable") && !shown.contains("eth0"), "{shown}");
}
