//! N7, N13, N14, N17 from behind: an init that was taken over. An engine of the test's own speaks to the proxy in the
//! init's place, so that it can say what no init says; the proxy decides alone, and goes by nothing of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use crate::support::network::{Network, each_engine_with_network};
use crate::support::probe::{Answers, PROBE, TLS_DENIED};
use crate::support::{World, run};

each_engine_with_network!(an_init_that_lies, an_init_that_talks_nonsense);

/// What a program in init's place needs: the channel, messages with descriptors, and listening sockets.
const IN_THE_HELPERS_PLACE: &str = r"
place = next(part[4:] for argument in sys.argv for part in argument.split(',') if part.startswith('src=') and part.endswith('/network.sock'))
def channel():
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.settimeout(5)
    made.connect(place)
    return made
def says(made, packet, *descriptors):
    numbers = [number if isinstance(number, int) else number.fileno() for number in descriptors]
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', numbers))] if numbers else []
    return made.sendmsg([packet], ancillary)
def listens(made, host, port):
    server = socket.create_server(('127.0.0.1', 0))
    host = host if isinstance(host, bytes) else host.encode()
    says(made, b'\1' + struct.pack('<H', port) + host, server)
    return server
def alive(made):
    poll = select.poll()
    poll.register(made, select.POLLIN)
    events = poll.poll(300)
    return 'ended' if any(event & (select.POLLHUP | select.POLLERR) or made.recv(9) == b'' for _, event in events) else 'alive'
";

/// A program of the engine's name that speaks to the proxy when it is to run a container.
fn impostor(world: &World, code: &str) -> PathBuf {
    let directory = world.project("impostor");
    let probe = directory.join("probe.py");
    world.write(&probe, format!("{PROBE}\n{IN_THE_HELPERS_PLACE}\n{code}"));
    let path = directory.join(world.engine.program());
    let script = format!(
        "#!/bin/bash\nif [ \"$1\" = run ]; then exec /usr/bin/python3 '{}' \"$@\"; fi\nexec /usr/bin/{} \"$@\"\n",
        probe.display(),
        world.engine.program()
    );
    world.write(&path, script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// Runs a tool with that engine; what the impostor prints is what the tool would.
fn lie(world: &World, network: &Network, tool: &str, code: &str) -> (Answers, String) {
    let path = format!("{}:{}", impostor(world, code).display(), world.variable("PATH"));
    let elsewhere = world.project("elsewhere");
    let ran = run(&mut network.world_command(world, |coco| {
        coco.env("PATH", path).env("PROBE_CA", network.authority.pem());
        coco.args(["run", tool, "-c", "print('ran')"]).current_dir(elsewhere);
    }));
    assert_ne!(ran.code(), 0, "nobody started the tool: {ran:?}");
    let lines: Vec<String> = ran.text().lines().map(str::to_owned).collect();
    (Answers::of_lines(&lines), ran.errors())
}

fn an_init_that_lies(world: &World, network: &Network) {
    let site = network.site();
    let (api, other) = (&site.api.name, &site.other.name);
    let private = format!("private.{}", site.domain);
    network.resolve(&private, &["10.7.0.1".parse().unwrap()]);
    let odd = network.serve(site.api.address, 22, crate::support::servers::silent);
    world.python("lied-to", &json!({"allowed_hosts": [api, private]}));
    let code = format!(
        r"
api, other, private, address = '{api}', '{other}', '{private}', '{address}'
made = channel()
def through(host, port, what, *arguments):
    server = listens(made, host, port)
    return what(*server.getsockname(), *arguments)
def asks_tls(ip, port, name):
    return reaction(ip, hello(name), port=port)
def asks_http(ip, port, name):
    return http(ip, get(name), port=port)
def asks_raw(ip, port):
    return reaction(ip, b'x', port=port)
tries('good tls', through, api, 443, asks_tls, api)
tries('good http', through, api, 80, asks_http, api)
for what, host in {{'other': other, 'private': private, 'address': address, 'NUL': api.encode() + b'\0' + other.encode(), 'line': api + '\r\n', 'space': api + ' ',
                   'dot': api + '.', 'upper': api.upper(), 'star': '*.' + api.split('.', 1)[1], 'user': 'x@' + api, 'port': api + ':22', 'localhost': 'localhost',
                   'wide': 'ａｐｉ' + api[3:], 'option': '-' + api, 'below': 'x.' + api}}.items():
    for kind, port, ask in (('tls', 443, asks_tls), ('http', 80, asks_http)):
        tries(f'evil {{what}} {{kind}}', through, host, port, ask, other if what == 'other' else api)
        if alive(made) == 'ended':
            print('ended:', what)
            made = None
            break
    if made is None:
        break
",
        address = site.api.address
    );
    let (shown, errors) = lie(world, network, "lied-to", &code);
    shown.is("good tls", "hello").is("good http", &format!("served {api} / 0"));
    for (what, ending) in shown.beginning("evil ") {
        let same_name = ["upper", "dot"].iter().any(|word| what.contains(word));
        let denied = TLS_DENIED.contains(&ending.as_str()) || ending.starts_with("403coco:");
        assert!(denied || same_name || ending == "silence", "{what}: {ending}: {shown:?}: {errors}");
    }
    assert_eq!(site.other.connections() + odd.connections(), 0, "{shown:?}");
    // Ports that were not granted, and ones that mean something else.
    let code = format!(
        r"
made = channel()
def through(host, port):
    server = listens(made, host, port)
    return reaction(server.getsockname()[0], b'x', port=server.getsockname()[1])
for port in (22, 81, 444, 8443, 65535):
    tries(f'port {{port}}', through, '{api}', port)
"
    );
    let (shown, _) = lie(world, network, "lied-to", &code);
    assert_eq!(shown.all("port ", &["closed", "refused", "silence"]), 5);
    assert_eq!(odd.connections(), 0);
    // Hosts of its own choice are not asked for outside.
    assert!(!network.asked(&site.domain).iter().any(|name| name == other || name.starts_with("x.")));
}

fn an_init_that_talks_nonsense(world: &World, network: &Network) {
    let site = network.site();
    let api = &site.api.name;
    world.python("nonsense", &json!({"allowed_hosts": [api], "ports": []}));
    // Each takes the channel for itself; what is malformed ends it, and coco with its engine goes on to its end.
    for (what, code) in [
        ("empty", r"made.send(b'')"),
        ("unknown", r"made.send(b'\x63nonsense')"),
        ("long", r"made.send(b'\2' + b'a' * 60000)"),
        ("not text", r"made.send(b'\1\xbb\1\xff\xfe')"),
        ("no socket", r"made.send(b'\1\xbb\1' + api)"),
        ("a file", r"says(made, b'\1\xbb\1' + api, os.open('/dev/zero', os.O_RDONLY))"),
        ("a pipe", r"says(made, b'\1\xbb\1' + api, os.pipe()[0])"),
        ("a unix socket", r"says(made, b'\1\xbb\1' + api, socket.socketpair()[0])"),
        ("a datagram socket", r"says(made, b'\1\xbb\1' + api, socket.socket(socket.AF_INET, socket.SOCK_DGRAM))"),
        ("a connected socket", r"says(made, b'\1\xbb\1' + api, socket.create_connection(server.getsockname()))"),
        ("a closed socket", r"says(made, b'\1\xbb\1' + api, socket.socket())"),
        ("the channel itself", r"says(made, b'\1\xbb\1' + api, made)"),
        ("many descriptors", r"says(made, b'\1\xbb\1' + api, *[server] * 200)"),
        ("nobody asked", r"[says(made, b'\3' + struct.pack('<I', number), server) for number in range(100)]"),
        ("nobody waits", r"[made.send(b'\4' + struct.pack('<I', number)) for number in range(1000)]"),
        ("forgets", r"[made.send(b'\5' + api) for _ in range(1000)]"),
        ("many listeners", r"[says(made, b'\1\xbb\1' + api, server) for _ in range(5000)]"),
        ("many denials", r"[made.send(b'\2' + b'n%d.' % number + api) for number in range(20000)]"),
        ("terminal", r"[made.send(b'\2' + b'\x1b]0;x\x07' + bytes([number]) + api) for number in range(32)]"),
    ] {
        let code = format!(
            r"
api = b'{api}'
made = channel()
server = socket.create_server(('127.0.0.1', 0))
tries('nonsense', lambda: {code} and 'said')
print('then:', alive(made))
try:
    channel()
    print('another: connected')
except OSError as error:
    print('another:', type(error).__name__)
"
        );
        let started = Instant::now();
        let (shown, errors) = lie(world, network, "nonsense", &code);
        assert!(started.elapsed().as_secs() < 20, "{what} holds coco up");
        assert!(!errors.contains("panic") && !errors.contains('\u{1b}'), "{what}: {errors}");
        shown.is_one_of("then", &["ended", "alive"]);
        shown.is_one_of("another", &["ConnectionRefusedError", "FileNotFoundError"]);
        assert!(errors.lines().count() < 60, "{what}: {errors}");
    }
    assert_eq!(site.api.connections(), 0);
    // Nor does it fill the disk: the log of a run has an end.
    for entry in fs::read_dir(world.home.join(".local/state/coco/log")).unwrap().flatten() {
        assert!(entry.metadata().unwrap().len() < 4 << 20, "{}", entry.path().display());
    }
    // The control: an honest one is served, and coco works as before.
    let honest = network.probe(world, "nonsense", "tries('api', https, sys.argv[1])", &[api]);
    honest.is("api", &format!("served {api} / 0 {api}"));
}
