//! N1, N2, N4, N8, N14 to N16, N20 to N23: which hosts a tool with `allowed_hosts` finds, and that there is nothing else.

use std::net::{IpAddr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self, UnixListener};

use serde_json::json;

use crate::support::network::{CALLER, Network, each_engine_with_network};
use crate::support::probe::TLS_DENIED;
use crate::support::servers;
use crate::support::{World, marker};

each_engine_with_network!(
    n1_n2_n4_addresses,
    n8_suffixes_and_prefixes,
    n14_other_ports,
    n15_addresses_as_names,
    n16_a_relay_inside,
    n20_n21_empty_and_senseless_lists,
    n22_the_hosts_names_beside_granted_ones,
    n23_abstract_sockets_beside_granted_hosts,
);

/// Grants hosts to the image's python.
fn grant(world: &World, tool: &str, hosts: &[&str]) {
    world.python(tool, &json!({"allowed_hosts": hosts}));
}

fn n1_n2_n4_addresses(world: &World, network: &Network) {
    let site = network.site();
    let (v4, v6) = (site.api.address, network.address6());
    let six = network.serve(v6, 443, servers::silent);
    let own = network.serve_beside_coco(SocketAddr::from((CALLER, network.port())), servers::silent);
    let loopback = network.serve_beside_coco(SocketAddr::from(([127, 0, 0, 1], network.port())), servers::silent);
    let code = "
name, v4, v6, caller, own, loopback = sys.argv[1:]
def sends(family, address, data=b'x'):
    with socket.socket(family, socket.SOCK_DGRAM) as stream:
        stream.settimeout(3)
        stream.connect(address)
        stream.send(data)
        stream.recv(9)
        return 'answered'
def opens(*kind):
    socket.socket(*kind).close()
    return 'opened'
def pings():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as stream:
        stream.settimeout(3)
        stream.sendto(bytes([8, 0, 0xf7, 0xfd, 0, 1, 0, 1]), (v4, 0))
        stream.recv(99)
        return 'answered'
tries('granted', https, name)
tries('tcp granted', connects, v4, 443)
tries('tcp plain', connects, v4, 80)
tries('tcp six', connects, v6, 443)
tries('tcp metadata', connects, '169.254.169.254', 80)
tries('tcp private', connects, '10.0.0.1', 80)
tries('tcp own', connects, caller, int(own))
tries('tcp loopback', connects, '127.0.0.1', int(loopback))
tries('udp', sends, socket.AF_INET, (v4, 443))
tries('udp six', sends, socket.AF_INET6, (v6, 443))
tries('udp broadcast', sends, socket.AF_INET, ('255.255.255.255', 67))
tries('udp multicast', sends, socket.AF_INET, ('224.0.0.251', 5353))
tries('udp resolver', asks, query(name, 1), server='198.51.100.53')
tries('tcp resolver', asks, query(name, 1), server='198.51.100.53', tcp=True)
if len(sys.argv) == 7 and '-sandbox' not in sys.argv[0]:
    tries('quic', sends, socket.AF_INET, (name, 443), b'\\xc0\\0\\0\\0\\1' + bytes(1200))
    tries('ping', pings)
    tries('raw', opens, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    tries('packet', opens, socket.AF_PACKET, socket.SOCK_RAW)
    tries('vsock', lambda: socket.socket(40, socket.SOCK_STREAM).connect((2, 1024)))
print('interfaces:', [line.split(':')[0].strip() for line in open('/proc/net/dev').readlines()[2:] if line.split(':')[0].strip() in ('lo', 'cable', 'eth0', 'tap0')])
";
    grant(world, "by-address", &[&site.api.name]);
    let arguments = [
        site.api.name.clone(),
        v4.to_string(),
        v6.to_string(),
        CALLER.to_string(),
        own.address.port().to_string(),
        loopback.address.port().to_string(),
    ];
    let unreachable = "Network is unreachable";
    let closed = network.probe(world, "by-address", code, &arguments);
    closed.is("granted", &format!("served {0} / 0 {0}", site.api.name));
    for what in ["granted", "plain", "metadata", "private", "own"] {
        closed.is(&format!("tcp {what}"), unreachable);
    }
    // docker turns IPv6 off in such a sandbox.
    for what in ["tcp six", "udp six"] {
        closed.is_one_of(what, &[unreachable, "Cannot assign requested address"]);
    }
    closed.is("tcp loopback", "refused").is("tcp resolver", unreachable);
    for what in ["udp", "udp broadcast", "udp multicast", "udp resolver"] {
        closed.is_one_of(what, &[unreachable, "not permitted"]);
    }
    closed.is_one_of("quic", &["refused", unreachable]).is_one_of("ping", &[unreachable, "not permitted"]);
    closed.is("raw", "not permitted").is("packet", "Address family not supported by protocol");
    closed.is("vsock", "Address family not supported by protocol");
    closed.is("interfaces", "['lo']");
    let connections = [site.api.connections(), six.connections(), own.connections(), loopback.connections()];
    assert_eq!(connections, [1, 0, 0, 0]);
    // The control: without the sandbox they all answer.
    let open = network.bare_probe(code, &arguments);
    for what in ["tcp granted", "tcp plain", "tcp six", "tcp own", "tcp loopback"] {
        open.is(what, "connected");
    }
    open.is("udp resolver", "ok 1").is("interfaces", "['lo', 'cable']");
}

fn n8_suffixes_and_prefixes(world: &World, network: &Network) {
    let site = network.site();
    let (api, domain) = (&site.api.name, &site.domain);
    let address = site.other.address;
    let denied = [
        format!("{api}.evil.com"),
        format!("{api}.{domain}"),
        format!("evil{api}"),
        format!("evil-{api}"),
        format!("evil.{api}"),
        format!("pi.{domain}"),
        format!("apix.{domain}"),
        format!("xapi.{domain}"),
        domain.clone(),
        format!("wild.{domain}"),
        format!("xwild.{domain}"),
        format!("a.xwild.{domain}"),
        format!("a.wild.{domain}.evil.com"),
        format!("wild.{domain}.a"),
        "example.com".to_owned(),
        "com".to_owned(),
        // A wildcard is for hosts, whose labels neither begin nor end so: nothing outside may take one for an option.
        format!("-a.wild.{domain}"),
        format!("--help.wild.{domain}"),
        format!("a-.wild.{domain}"),
        format!("*.wild.{domain}"),
    ];
    let granted = [api.clone(), format!("a.wild.{domain}"), format!("a.b.wild.{domain}")];
    for name in denied.iter().chain(&granted) {
        network.resolve(name, &[address]);
    }
    network.resolve(api, &[site.api.address]);
    grant(world, "suffixes", &[api, &format!("*.wild.{domain}")]);
    let code = "
for name in sys.argv[1:]:
    tries(name, asks, query(name, 1))
    tries('tls ' + name, https, name)
";
    let all: Vec<&str> = denied.iter().chain(&granted).map(String::as_str).collect();
    let shown = network.probe(world, "suffixes", code, &all);
    for name in &denied {
        shown.is(name, "unknown 0").is(&format!("tls {name}"), "unknown name");
        assert!(!network.asked(name).contains(name), "{name}");
    }
    // The control: what is granted, among them sub-domains, each served by who it is.
    for name in &granted {
        shown.is(name, "ok 1");
    }
    shown.is(&format!("tls {api}"), &format!("served {api} / 0 {api}"));
    // Their certificate is for one label; that the server was asked is what counts.
    assert_eq!((site.api.connections(), site.other.connections()), (1, 2));
}

fn n14_other_ports(world: &World, network: &Network) {
    let site = network.site();
    let raw = format!("raw.{}", site.domain);
    network.resolve(&raw, &[site.api.address]);
    let granted = network.serve(site.api.address, 9000, servers::answer("raw"));
    let other = network.serve(site.api.address, 9001, servers::answer("other"));
    let beside = network.serve(site.api.address, 22, servers::answer("ssh"));
    grant(world, "ports", &[&site.api.name, &format!("{raw}:9000")]);
    let code = "
api, raw = sys.argv[1:]
def talks(host, port):
    with dial(host, port, 5 if INSIDE else 1) as stream:
        stream.sendall(b'x')
        return stream.recv(99).decode() or 'closed'
tries('good api 443', https, api)
tries('good api 80', http, api, get(api))
tries('good raw 9000', talks, raw, 9000)
for port in (1, 22, 25, 53, 444, 8080, 8443, 9000, 9001, 65535):
    also(f'api {port}', talks, api, port)
for port in (22, 80, 443, 8999, 9001):
    also(f'raw {port}', talks, raw, port)
tries('raw tls', https, raw, api)
# Addresses that were given to no name.
given = {socket.gethostbyname(name) for name in (api, raw)}
for octet in (1, 2, 3, 4, 5, 9, 77, 254):
    for address in (f'127.64.0.{octet}', f'127.0.0.{octet}', f'127.127.0.{octet}'):
        if address not in given:
            for port in (443, 80, 9000):
                also(f'nobody {address} {port}', talks, address, port)
settle()
";
    let shown = network.probe(world, "ports", code, &[&site.api.name, &raw]);
    shown.is("good api 443", &format!("served {0} / 0 {0}", site.api.name));
    shown.is("good api 80", &format!("served {} / 0", site.api.name)).is("good raw 9000", "raw");
    let nobody = ["refused", "closed"];
    // The stub itself listens on 127.0.0.1 alone, and is no way out.
    assert_eq!(shown.all("api ", &nobody) + shown.all("raw ", &nobody), 16);
    assert!(shown.all("nobody ", &nobody) > 60);
    assert_eq!((granted.connections(), other.connections(), beside.connections()), (1, 0, 0));
    assert_eq!((site.api.tls.connections(), site.api.http.connections()), (1, 1));
    // The control: without the sandbox the other ports answer.
    let open = network.bare_probe(code, &[&site.api.name, &raw]);
    open.is("api 22", "ssh").is("raw 9001", "other");
}

fn n15_addresses_as_names(world: &World, network: &Network) {
    let site = network.site();
    let address = site.api.address;
    let IpAddr::V4(four) = address else { panic!("{address}") };
    let octets = four.octets();
    let number = u32::from(four);
    let spellings = [
        four.to_string(),
        number.to_string(),
        format!("0x{number:x}"),
        format!("0{number:o}"),
        format!("{}.{}", octets[0], number & 0xff_ffff),
        format!("{}.{}.{}", octets[0], octets[1], number & 0xffff),
        format!("0x{:x}.{}.{}.{}", octets[0], octets[1], octets[2], octets[3]),
        format!("::ffff:{four}"),
        format!("[::ffff:{four}]"),
        format!("{four}."),
        format!("{}.{}.{}.{}.in-addr.arpa", octets[3], octets[2], octets[1], octets[0]),
        format!("{four}.nip.example.com"),
    ];
    let code = "
name = sys.argv[1]
tries('granted', https, name)
for spelling in sys.argv[2:]:
    tries('dial ' + spelling, connects, spelling, 443)
    tries('ask ' + spelling, asks, query(spelling, 1))
    tries('one label ' + spelling, asks, query([spelling], 1))
    tries('name ' + spelling, reaction, name, made_hello(server_name(spelling.encode())))
    tries('host ' + spelling, http, name, get(spelling))
";
    grant(world, "literals", &[&site.api.name]);
    let mut arguments = vec![site.api.name.as_str()];
    arguments.extend(spellings.iter().map(String::as_str));
    let shown = network.probe(world, "literals", code, &arguments);
    shown.is("granted", &format!("served {0} / 0 {0}", site.api.name));
    assert_eq!(shown.all("dial ", &["Network is unreachable", "unknown name"]), spellings.len());
    assert_eq!(shown.all("ask ", &["unknown 0", "malformed 0", "refused 0"]), spellings.len());
    assert_eq!(shown.all("one label ", &["unknown 0", "malformed 0", "refused 0"]), spellings.len());
    assert_eq!(shown.all("name ", &TLS_DENIED), spellings.len());
    for spelling in &spellings {
        assert!(shown.get(&format!("host {spelling}")).starts_with("403coco:"), "{spelling}: {shown:?}");
    }
    assert_eq!((site.api.tls.connections(), site.api.http.connections()), (1, 0));
    // The control: without the sandbox, these reach it.
    let open = network.bare_probe(code, &arguments);
    open.is(&format!("dial {four}"), "connected").is(&format!("dial {number}"), "connected");
    open.is(&format!("name {four}"), "hello").is(&format!("host {four}"), &format!("served {four} / 0"));
    // In a coco file they are an error, whatever the engine.
    for spelling in &spellings[..10] {
        grant(world, "literal-grant", &[spelling]);
        world.coco(["run", "literal-grant", "-c", "pass"]).exits(125).complains("/allowed_hosts/0");
    }
}

/// The sandbox is the boundary, not the process: who asks another one inside gets no further.
fn n16_a_relay_inside(world: &World, network: &Network) {
    let site = network.site();
    grant(world, "relaying", &[&site.api.name]);
    let code = "
api, other, address = sys.argv[1:]
server = socket.create_server(('127.0.0.1', 0))
def forward(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
def relays(stream):
    try:
        head = b''
        while b'\\r\\n\\r\\n' not in head:
            head += stream.recv(4096)
        host, port = head.split()[1].decode().rsplit(':', 1)
        try:
            far = dial(host, int(port))
        except OSError as error:
            stream.sendall(('HTTP/1.1 502 ' + ending(error) + '\\r\\n\\r\\n').encode())
            return stream.close()
        stream.sendall(b'HTTP/1.1 200 OK\\r\\n\\r\\n')
        threading.Thread(target=forward, args=(stream, far), daemon=True).start()
        forward(far, stream)
    except OSError:
        pass
def accepts():
    while True:
        threading.Thread(target=relays, args=(server.accept()[0],), daemon=True).start()
child = os.fork()
if child == 0:
    accepts()
def through(host, port, name):
    with dial(*server.getsockname()) as stream:
        stream.sendall(f'CONNECT {host}:{port} HTTP/1.1\\r\\n\\r\\n'.encode())
        line = stream.recv(4096).decode().split('\\r\\n')[0]
        if ' 200 ' not in line:
            return line.split(' ', 2)[2]
        with context().wrap_socket(stream, server_hostname=name) as tls:
            tls.sendall(get(name).encode())
            return answer_of(tls)
tries('granted', through, api, 443, api)
tries('other', through, other, 443, other)
tries('address', through, address, 443, other)
tries('other name', through, api, 443, other)
os.kill(child, 9)
";
    let arguments = [site.api.name.clone(), site.other.name.clone(), site.other.address.to_string()];
    let shown = network.probe(world, "relaying", code, &arguments);
    shown.is("granted", &format!("served {0} / 0 {0}", site.api.name));
    shown.is("other", "unknown name").is("address", "Network is unreachable");
    assert!(shown.get("other name").starts_with("tls ") || shown.get("other name") == "closed", "{shown:?}");
    assert_eq!((site.api.connections(), site.other.connections()), (1, 0));
    let open = network.bare_probe(code, &arguments);
    for what in ["other", "address", "other name"] {
        open.is(what, &format!("served {0} / 0 {0}", site.other.name));
    }
}

fn n20_n21_empty_and_senseless_lists(world: &World, network: &Network) {
    let site = network.site();
    let code = "
tries('granted', https, sys.argv[1])
tries('address', connects, sys.argv[2], 443)
tries('stub', asks, query(sys.argv[1], 1))
";
    let arguments = [site.api.name.clone(), site.api.address.to_string()];
    grant(world, "empty-list", &[]);
    let shown = network.probe(world, "empty-list", code, &arguments);
    shown.is("granted", "unknown name").is("address", "Network is unreachable");
    shown.is_one_of("stub", &["unknown 0", "refused", "silence"]);
    assert_eq!(site.api.connections(), 0);
    let line_break = format!("{}\n{}", site.api.name, site.other.name);
    for senseless in ["*", ".", "#", "a/b", "", "*.com", &line_break, "*.*.example.com", "api.example.com:", " "] {
        grant(world, "senseless", &[&site.api.name, senseless]);
        network.coco(world, ["run", "senseless", "-c", "pass"]).exits(125).complains("/allowed_hosts/1");
    }
    // The control: the list with the host in it.
    grant(world, "full-list", &[&site.api.name]);
    let shown = network.probe(world, "full-list", code, &arguments);
    shown.is("granted", &format!("served {0} / 0 {0}", site.api.name)).is("stub", "ok 1");
}

fn n22_the_hosts_names_beside_granted_ones(world: &World, network: &Network) {
    let site = network.site();
    grant(world, "host-names-granted", &[&site.api.name]);
    let code = "
tries('granted', synthetic, sys.argv[1])
for name in ('host.containers.internal', 'host.docker.internal', 'gateway.docker.internal', 'metadata.google.internal', socket.gethostname() + '.internal', 'only-in-hosts.example.com', '_gateway', '_outbound'):
    tries('host ' + name, addresses, name)
    tries('ask ' + name, asks, query(name, 1))
tries('localhost', addresses, 'localhost', socket.AF_INET)
print('file:', 'internal' in open('/etc/hosts').read())
";
    let shown = network.probe(world, "host-names-granted", code, &[&site.api.name]);
    shown.is("granted", "synthetic").is("file", "False").is("localhost", "['127.0.0.1']");
    assert_eq!(shown.all("host ", &["unknown name"]), 8);
    assert_eq!(shown.all("ask ", &["unknown 0"]), 8);
    // The control: on the machine, such a name is one.
    network.bare_probe(code, &[&site.api.name]).is("host only-in-hosts.example.com", "['198.51.100.99']");
}

fn n23_abstract_sockets_beside_granted_hosts(world: &World, network: &Network) {
    let name = marker("abstract-granted");
    let address = net::SocketAddr::from_abstract_name(&name).unwrap();
    // In both: the machine's own network, and the one that coco was started in.
    let _outside = UnixListener::bind_addr(&address).unwrap();
    let _beside = network.caller.enter(|| UnixListener::bind_addr(&address)).unwrap();
    let site = network.site();
    grant(world, "abstract-granted", &[&site.api.name]);
    let code = "
def abstract(name):
    socket.socket(socket.AF_UNIX).connect(chr(0) + name)
    return 'connected'
tries('abstract', abstract, sys.argv[1])
print('listed:', sys.argv[1] in open('/proc/net/unix').read())
";
    let shown = network.probe(world, "abstract-granted", code, &[&name]);
    shown.is("abstract", "refused").is("listed", "False");
    network.bare_probe(code, &[&name]).is("abstract", "connected").is("listed", "True");
}
