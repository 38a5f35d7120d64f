//! N1 to N4, N22, N23: with no network granted there is none, whatever is dialled.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{World, each_engine, marker, until};

each_engine!(n1_to_n4_nothing_answers, n22_the_hosts_names, n23_abstract_sockets, allow_network_is_loud);

/// Tries everything that needs no privilege, and says how long the slowest took.
const PROBE: &str = "
import os, socket, struct, sys, time
server = sys.argv[1]
slowest = 0
def tries(what, how):
    global slowest
    started = time.monotonic()
    try:
        result = how()
    except OSError as error:
        result = type(error).__name__ if isinstance(error, (ConnectionRefusedError, PermissionError, TimeoutError)) else error.strerror or str(error)
    slowest = max(slowest, time.monotonic() - started)
    print(what + ':', result)
def tcp(family, address):
    def dial():
        with socket.socket(family, socket.SOCK_STREAM) as stream:
            stream.settimeout(5)
            stream.connect(address)
            return 'connected'
    return dial
def udp(family, address):
    def send():
        with socket.socket(family, socket.SOCK_DGRAM) as stream:
            stream.settimeout(5)
            stream.sendto(b'x', address)
            return 'sent'
    return send
def query(address):
    def ask():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
            stream.settimeout(5)
            stream.sendto(struct.pack('>6H', 7, 256, 1, 0, 0, 0) + b'\\x06secret\\x07example\\x03com\\0' + struct.pack('>2H', 16, 1), address)
            return stream.recv(512)
    return ask
def raw():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return 'raw'
def packet():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    return 'packet'
tries('server', tcp(socket.AF_INET, (server, 8000)))
if len(sys.argv) < 3:
    tries('tcp', tcp(socket.AF_INET, ('198.51.100.1', 443)))
    tries('udp', udp(socket.AF_INET, ('198.51.100.1', 443)))
    tries('tcp6', tcp(socket.AF_INET6, ('2001:db8::1', 443)))
    tries('udp6', udp(socket.AF_INET6, ('2001:db8::1', 53)))
    tries('metadata', tcp(socket.AF_INET, ('169.254.169.254', 80)))
    tries('resolver', query(('198.51.100.53', 53)))
    tries('broadcast', udp(socket.AF_INET, ('255.255.255.255', 67)))
    tries('multicast', udp(socket.AF_INET, ('224.0.0.251', 5353)))
    tries('name', lambda: socket.getaddrinfo('secret.example.com', 443))
    tries('raw', raw)
    tries('packet', packet)
print('interfaces:', [line.split(':')[0].strip() for line in open('/proc/net/dev').readlines()[2:] if not line.split(':')[0].strip().startswith(('tun', 'sit', 'gre', 'ip', 'erspan'))])
print('slow' if slowest > 2 else 'fast')
";

/// A server in a network of the tests' own; gives its address there.
fn server(world: &World) -> String {
    let network = "coco-test-net";
    world.engine(["rm", "--force", "coco-test-server"]);
    if world.engine(["network", "inspect", network]).code() != 0 {
        world.engine(["network", "create", network]).succeeds();
    }
    // It ends by itself, should the tests be killed.
    let code = "
import http.server, os, threading
timer = threading.Timer(300, os._exit, [0])
timer.daemon = True
timer.start()
http.server.ThreadingHTTPServer(('0.0.0.0', 8000), http.server.SimpleHTTPRequestHandler).serve_forever()
";
    let mut arguments = vec!["run", "--detach", "--rm", "--pull=never", "--name=coco-test-server"];
    arguments.extend(["--network=coco-test-net", "--entrypoint=python3", "localhost/coco:python", "-c", code]);
    world.engine(arguments).succeeds();
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = world.engine(["inspect", "--format", format, "coco-test-server"]).succeeds().text();
    assert!(address.contains('.'), "{address:?}");
    address
}

fn n1_to_n4_nothing_answers(world: &World) {
    world.python("closed-network", &json!({}));
    world.python("open-network", &json!({"network": "coco-test-net"}));
    let address = server(world);
    // The control first: the same probe, the same server, with the grant.
    let shown = until("the server's answer", Duration::from_secs(20), || {
        let shown = world.coco(["run", "open-network", "-c", PROBE, &address, "control"]).text();
        shown.contains("server: connected").then_some(shown)
    });
    assert!(shown.contains("interfaces: ['lo', 'eth0']"), "{shown}");
    let started = Instant::now();
    let closed = world.coco(["run", "closed-network", "-c", PROBE, &address]).succeeds().text();
    let unreachable = "Network is unreachable";
    let expected = [
        format!("server: {unreachable}"),
        format!("tcp: {unreachable}"),
        format!("udp: {unreachable}"),
        format!("metadata: {unreachable}"),
        format!("resolver: {unreachable}"),
        "raw: PermissionError".to_owned(),
        "packet: Address family not supported by protocol".to_owned(),
        "interfaces: ['lo']".to_owned(),
        "fast".to_owned(),
    ];
    for line in &expected {
        assert!(closed.lines().any(|shown| shown == line), "{line:?} is not in: {closed}");
    }
    for word in ["connected", "sent", "b'"] {
        assert!(!closed.contains(word), "{word}: {closed}");
    }
    assert!(closed.contains("name: ") && !closed.contains("name: [("), "{closed}");
    assert!(started.elapsed() < Duration::from_secs(10));
    world.engine(["rm", "--force", "coco-test-server"]).succeeds();
    world.engine(["network", "rm", "coco-test-net"]).succeeds();
}

fn n22_the_hosts_names(world: &World) {
    world.python("host-names", &json!({}));
    let code = "
import socket
for name in ('host.containers.internal', 'host.docker.internal', 'gateway.docker.internal', 'metadata.google.internal'):
    try:
        print(socket.getaddrinfo(name, 80))
    except OSError as error:
        print('none')
print(open('/etc/hosts').read())
";
    let shown = world.says("host-names", code);
    assert!(shown.starts_with("none\nnone\nnone\nnone"), "{shown}");
    assert!(!shown.contains("internal"), "{shown}");
}

/// They belong to the network namespace, not to the file system: the X server and D-Bus listen there.
fn n23_abstract_sockets(world: &World) {
    let name = marker("abstract");
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let code = "
import socket, sys
try:
    socket.socket(socket.AF_UNIX).connect(chr(0) + sys.argv[1])
    print('connected')
except OSError as error:
    print(type(error).__name__)
";
    world.python("abstract", &json!({}));
    let closed = world.coco(["run", "abstract", "-c", code, &name]).succeeds().text();
    assert_eq!(closed, "ConnectionRefusedError");
    // The engine's own network has a namespace of its own, too.
    world.python("abstract-default", &json!({"network": "default"}));
    let open = world.coco(["run", "abstract-default", "-c", code, &name]).succeeds().text();
    assert_eq!(open, "ConnectionRefusedError");
    // Even with the host's network, and consent to it, its processes are not the tool's to speak to.
    world.python("abstract-host", &json!({"network": "host"}));
    world.coco(["run", "abstract-host", "-c", code, &name]).exits(125).complains("host's own network");
    world.coco(["allow", "abstract-host"]).succeeds();
    let granted = world.coco(["run", "abstract-host", "-c", code, &name]).succeeds().text();
    assert_eq!(granted, "PermissionError");
    // The control: a bare container with the host's network is answered.
    let mut bare = vec!["run", "--rm", "--pull=never", "--network=host", "--entrypoint=python3"];
    bare.extend(["localhost/coco:python", "-c", code, &name]);
    assert_eq!(world.engine(bare).succeeds().text(), "connected");
}

/// N24: a project's .envrc can set the variable, so nobody may miss it.
fn allow_network_is_loud(world: &World) {
    world.python("loud", &json!({}));
    let code = "print('eth0' in open('/proc/net/dev').read() or 'tap0' in open('/proc/net/dev').read())";
    let shown = crate::support::run(
        world.command(&world.coco).env("COCO_ALLOW_NETWORK", "1").args(["run", "loud", "-c", code]),
    );
    assert_eq!(shown.succeeds().text(), "True");
    shown.complains("coco: warning: COCO_ALLOW_NETWORK");
    assert_eq!(world.says("loud", code), "False");
}
