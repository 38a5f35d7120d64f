//! N17 to N19, N24, N25 and P5 with a proxy: its socket, its end, its policy, its secrets; and what is said and kept
//! of what was denied.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::install::hostile_image;
use crate::support::authority::KeyExchange;
use crate::support::network::{CALLER, Network, each_engine_with_network};
use crate::support::probe::PROBE;
use crate::support::{Background, World, marker, owner_and_mode, processes_with, run, servers, until};

each_engine_with_network!(
    n17_the_network_socket,
    n18_the_coco_file_changes_meanwhile,
    n19_the_proxy_is_killed,
    n19_killed_at_any_moment,
    n19_names_that_nobody_answers,
    n13_a_private_name_and_a_proxy,
    n24_allow_network_beside_granted_hosts,
    n25_an_install_script_and_the_network,
    p4_p5_the_callers_proxy,
    what_was_denied_is_said,
    what_was_denied_is_kept,
);

fn n17_the_network_socket(world: &World, network: &Network) {
    let site = network.site();
    let project = world.project("talker");
    world.python(
        "talker",
        &json!({"allowed_hosts": [site.api.name], "mounts": [{"src": ".", "dst": "/workspace", "opts": "rw"}]}),
    );
    let code = r"
api, other = sys.argv[1:]
def talks(kind, path):
    with socket.socket(socket.AF_UNIX, kind) as stream:
        stream.settimeout(3)
        stream.connect(path)
        return 'connected'
kinds = {'stream': socket.SOCK_STREAM, 'packets': socket.SOCK_SEQPACKET, 'datagrams': socket.SOCK_DGRAM}
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind('/tmp/own.sock')
listener.listen()
tries('control', talks, socket.SOCK_SEQPACKET, '/tmp/own.sock')
for what, kind in kinds.items():
    tries('talk ' + what, talks, kind, '/run/coco/network.sock')
for name in sorted(os.listdir('/run/coco')):
    for what, kind in kinds.items():
        if name.endswith('.sock'):
            tries(f'all {name} {what}', talks, kind, '/run/coco/' + name)
# What init holds: its descriptors, by /proc and by pidfd.
for number in range(16):
    tries(f'descriptor {number}', os.readlink, f'/proc/1/fd/{number}')
def steal(number):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = libc.syscall(434, 1, 0)
    if pidfd < 0 or libc.syscall(438, pidfd, number, 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return 'stolen'
for number in range(3, 16):
    tries(f'steal {number}', steal, number)
for what, how in {'remove': os.unlink, 'replace': lambda path: os.rename('/tmp/own.sock', path), 'mode': lambda path: os.chmod(path, 0o777)}.items():
    tries('file ' + what, how, '/run/coco/network.sock')
own = [os.readlink('/proc/self/fd/' + name) for name in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + name)]
print('own sockets:', [name for name in own if name.startswith('socket:')] == [f'socket:[{os.fstat(listener.fileno()).st_ino}]'])
# Somebody in init's place: nobody else may listen where it does.
def binds(address, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stream.bind(address)
        return 'bound'
given = socket.gethostbyname(api)
tries('bind stub', binds, ('127.0.0.1', 53), socket.SOCK_DGRAM)
tries('bind all', binds, ('0.0.0.0', 443))
tries('after', https, api)
";
    let mut coco = network.world_command(world, |coco| {
        coco.args(["run", "talker", "-c", &format!("{PROBE}\n{code}"), &site.api.name, &site.other.name]);
        coco.current_dir(&project);
    });
    let shown = crate::support::probe::Answers::of(&run(&mut coco));
    shown.is("control", "connected").is("own sockets", "True");
    let nobody = ["refused", "No such file or directory", "Protocol wrong type for socket", "not permitted"];
    assert_eq!(shown.all("talk ", &nobody), 3);
    shown.all("all ", &nobody);
    assert_eq!(shown.all("steal ", &["not permitted", "Operation not permitted"]), 13);
    assert_eq!(shown.all("descriptor ", &["not permitted", "No such file or directory"]), 16);
    let kept = ["not permitted", "Read-only file system", "Device or resource busy", "No such file or directory"];
    assert_eq!(shown.all("file ", &[kept.as_slice(), &["Invalid cross-device link"]].concat()), 3);
    assert_ne!(shown.get("bind stub"), "bound");
    shown.is("after", &format!("served {0} / 0 {0}", site.api.name));
}

fn n18_the_coco_file_changes_meanwhile(world: &World, network: &Network) {
    let site = network.site();
    let (api, other) = (&site.api.name, &site.other.name);
    world.python("changed", &json!({"allowed_hosts": [api]}));
    let code = r"
api, other = sys.argv[1:]
print('ready', flush=True)
sys.stdin.readline()
tries('api', https, api)
tries('other', https, other)
";
    let code = format!("{PROBE}\n{code}");
    let mut coco = network.start(world, ["run", "changed", "-c", &code, api, other]);
    assert_eq!(coco.line(), "ready");
    world.python("changed", &json!({"allowed_hosts": [other]}));
    coco.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert_eq!(coco.line(), format!("api: served {api} / 0 {api}"));
    assert_eq!(coco.line(), "other: unknown name");
    assert_eq!(coco.ends(Duration::from_secs(10)), 0);
    assert_eq!((site.api.connections(), site.other.connections()), (1, 0));
    // The control: the next run goes by the new file.
    let code = "tries('api', https, sys.argv[1])\ntries('other', https, sys.argv[2])";
    let shown = network.probe(world, "changed", code, &[api, other]);
    shown.is("api", "unknown name").is("other", &format!("served {other} / 0 {other}"));
}

/// Without the proxy there is no network, and without coco no sandbox.
fn n19_the_proxy_is_killed(world: &World, network: &Network) {
    let site = network.site();
    let api = format!("raw.{}", site.domain);
    network.resolve(&api, &[site.api.address]);
    let port = network.port();
    let server = network.serve(site.api.address, port, servers::echo);
    world.python("orphan", &json!({"allowed_hosts": [format!("{api}:{port}")]}));
    let mark = marker("orphan");
    let code = format!(
        "{PROBE}
import signal
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
    signal.signal(number, signal.SIG_IGN)
streams = [dial('{api}', {port}) for _ in range(20)]
for stream in streams:
    stream.sendall(b'hello')
    assert stream.recv(5, socket.MSG_WAITALL) == b'hello'
print('ready', flush=True)
while True:
    time.sleep(1)
"
    );
    let mut coco = network.start(world, ["run", "orphan", "-c", &code, &mark]);
    assert_eq!(coco.line(), "ready");
    let ids = world.containers("orphan");
    // The controls: they are there while coco is.
    assert_eq!((ids.len(), server.connections()), (1, 20));
    assert!(processes_with(&mark).len() >= 2);
    let started = Instant::now();
    coco.send(Signal::SIGKILL);
    coco.ends(Duration::from_secs(2));
    until("the end of everything", Duration::from_secs(2), || {
        (processes_with(&mark).is_empty() && world.containers("orphan").is_empty()).then_some(())
    });
    assert!(started.elapsed() < Duration::from_secs(4));
    until("the end of the connections", Duration::from_secs(2), || (server.open() == 0).then_some(()));
    // Nobody can take init's place later: its socket went when it had connected.
    let place = Path::new(world.variable("XDG_RUNTIME_DIR")).join(format!("coco/run-{}", coco.0.id()));
    assert!(!place.join("network.sock").exists());
}

/// Before, while and after init connects, and while connections are made.
fn n19_killed_at_any_moment(world: &World, network: &Network) {
    let site = network.site();
    let port = crate::support::free_port();
    world.python("orphan-any", &json!({"allowed_hosts": [site.api.name], "ports": [format!("{port}:80")]}));
    let code = format!("{PROBE}\nwhile True:\n    tries('api', https, sys.argv[1])");
    let mut reached = 0;
    for moment in [Some(20), Some(80), Some(140), Some(200), Some(260), Some(320), Some(500), None, None] {
        let mark = marker("orphan-any");
        let before = site.api.connections();
        let mut coco = network.start(world, ["run", "orphan-any", "-c", &code, &site.api.name, &mark]);
        match moment {
            // Not a wait for anything: the moment itself is what is tried.
            Some(moment) => std::thread::sleep(Duration::from_millis(moment)),
            None => until("a connection", Duration::from_secs(20), || (site.api.connections() > before).then_some(())),
        }
        coco.send(Signal::SIGKILL);
        coco.ends(Duration::from_secs(2));
        until("the end of everything", Duration::from_secs(2), || {
            (processes_with(&mark).is_empty() && world.containers("orphan-any").is_empty()).then_some(())
        });
        until("the end of the connections", Duration::from_secs(2), || (site.api.tls.open() == 0).then_some(()));
        reached += usize::from(site.api.connections() > before);
        // The port is free again at once: the next round listens on it.
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    }
    // The control: the last ones were in the middle of their work.
    assert!(reached >= 2, "{reached}");
}

/// Looking a name up takes as long as its owner's servers like: nobody waits for that but who asked.
fn n19_names_that_nobody_answers(world: &World, network: &Network) {
    let site = network.site();
    let silent: Vec<String> = (0..4).map(|number| format!("silent{number}.{}", site.domain)).collect();
    for name in &silent {
        network.resolve_never(name);
    }
    let mut hosts = vec![site.api.name.clone()];
    hosts.extend(silent.clone());
    world.python("silent-names", &json!({"allowed_hosts": hosts}));
    let code = format!(
        "{PROBE}
held = [dial(name, 443) for name in sys.argv[2:6]]
for name, stream in zip(sys.argv[2:], held):
    stream.sendall(hello(name))
time.sleep(1)
started = time.monotonic()
tries('api', https, sys.argv[1])
print('fast:', time.monotonic() - started < 2, flush=True)
print('ready', flush=True)
sys.stdin.readline()
"
    );
    let asking = || silent.iter().flat_map(|name| processes_with(&format!("ahosts\0{name}\0"))).count();
    for killed in [true, false] {
        let arguments = ["run", "silent-names", "-c", &code].into_iter();
        let mut coco = network.start(world, arguments.chain(hosts.iter().map(String::as_str)));
        assert_eq!(coco.line(), format!("api: served {0} / 0 {0}", site.api.name));
        assert_eq!((coco.line(), coco.line()), ("fast: True".to_owned(), "ready".to_owned()));
        // The control: somebody does ask at this moment.
        assert!(asking() > 0);
        let started = Instant::now();
        if killed {
            coco.send(Signal::SIGKILL);
            coco.ends(Duration::from_secs(2));
        } else {
            coco.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
            assert_eq!(coco.ends(Duration::from_secs(3)), 0);
        }
        until("the end of every question", Duration::from_secs(2), || (asking() == 0).then_some(()));
        assert!(started.elapsed() < Duration::from_secs(4));
    }
}

/// A proxy resolves names for itself; what this machine knows to be private is not even asked of it.
fn n13_a_private_name_and_a_proxy(world: &World, network: &Network) {
    let site = network.site();
    let proxy = network.proxy("user", "password");
    let [private, own, loopback] = ["private", "own", "loopback"].map(|name| format!("{name}.{}", site.domain));
    let address = IpAddr::from([10, 8, 0, network.number()]);
    network.resolve(&private, &[address]);
    network.resolve(&own, &[IpAddr::from(CALLER)]);
    network.resolve(&loopback, &[IpAddr::from([127, 0, 0, 1])]);
    let lan = network.serve(address, 443, servers::silent);
    let code = "for name in sys.argv[1:]:\n    tries(name, https, name)";
    world.python("private-proxied", &json!({"allowed_hosts": [site.api.name, private, own, loopback]}));
    let shown = run(&mut network.world_command(world, |coco| {
        coco.env("HTTPS_PROXY", format!("http://user:password@{}", proxy.address));
        coco.args([
            "run",
            "private-proxied",
            "-c",
            &format!("{PROBE}\n{code}"),
            &site.api.name,
            &private,
            &own,
            &loopback,
        ]);
    }));
    let shown = crate::support::probe::Answers::of(&shown);
    for name in [&private, &own, &loopback] {
        assert!(!shown.get(name).starts_with("served"), "{shown:?}");
        shown.complains(&format!("{name}:443 (it resolves to"));
        assert!(!proxy.was_sent(name), "the proxy was asked for {name}");
    }
    assert_eq!(lan.connections(), 0);
    // The control: the granted public one goes through the proxy.
    shown.is(&site.api.name, &format!("served {0} / 0 {0}", site.api.name));
    assert_eq!(proxy.connections(), 1);
}

fn n24_allow_network_beside_granted_hosts(world: &World, network: &Network) {
    let site = network.site();
    world.python("loud-granted", &json!({"allowed_hosts": [site.api.name]}));
    let mut coco = network.world_command(world, |coco| {
        coco.env("COCO_ALLOW_NETWORK", "1").env("COCO_QUIET", "1");
        coco.args(["run", "loud-granted", "-c", "pass"]);
    });
    // Nothing keeps it quiet. Whether the engine's own network starts here is the engine's affair.
    run(&mut coco).complains("coco: warning: COCO_ALLOW_NETWORK");
    let quiet = network.coco(world, ["run", "loud-granted", "-c", "pass"]);
    assert!(!quiet.succeeds().errors().contains("COCO_ALLOW_NETWORK"), "{quiet:?}");
}

/// The install phase reaches public hosts through the proxy, and nothing else; the hosts are on record.
fn n25_an_install_script_and_the_network(world: &World, network: &Network) {
    // The names are the same for each engine.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    world.python("warm-hostile-network", &json!({}));
    let image = hostile_image(world);
    // The package knows these names: nothing can be told to it while it is installed.
    let (public, private) = (network.address(), IpAddr::from([10, 3, 0, network.number()]));
    network.resolve("public.install.example.com", &[public]);
    network.resolve("private.install.example.com", &[private]);
    let config = network.authority.config(&["public.install.example.com"], KeyExchange::Usual);
    let open = network.serve(public, 443, servers::tls(std::sync::Arc::clone(&config)));
    let lan = network.serve(private, 443, servers::tls(config));
    let tool = "hostile-network";
    world.tool(tool, &json!({"tool": "pipx:coco-hostile@1.0.0", "command": "coco-hostile"}));
    let mut coco = network.world_command(world, |coco| {
        coco.env("COCO_IMAGE", image).args(["run", tool]);
    });
    let shown = run(&mut coco).succeeds().text();
    let report: Value = serde_json::from_str(&shown).unwrap();
    let (then, now) = (&report["install"]["network"], &report["run"]["network"]);
    assert_eq!(then["interfaces"], json!(["lo"]), "{shown}");
    for (what, expected) in [
        ("public", json!("served")),
        ("private", json!("failed")),
        ("address", json!("unreachable")),
        ("metadata", json!("unreachable")),
        ("resolver", json!("unreachable")),
    ] {
        assert_eq!(then[what], expected, "{what}: {shown}");
    }
    assert_eq!((open.connections(), lan.connections()), (1, 0), "{shown}");
    // Nothing of that network stays for the run.
    assert_eq!(now["public"], json!("unknown"), "{shown}");
    let record = fs::read_to_string(world.record(tool)).unwrap();
    assert!(record.contains("public.install.example.com"), "{record}");
    let described = run(world.command(&world.coco).env("COCO_IMAGE", image).args(["show", tool])).succeeds().text();
    assert!(described.contains("public.install.example.com"), "{described}");
}

/// The proxy needs the proxy's password; nobody else does.
fn p4_p5_the_callers_proxy(world: &World, network: &Network) {
    let site = network.site();
    let api = &site.api.name;
    let secret = marker("proxy-password");
    let proxy = network.proxy("user", &secret);
    let project = world.project("proxy");
    world.python(
        "proxied",
        &json!({"allowed_hosts": [api, format!("raw.{}:7", site.domain)], "mounts": [{"src": ".", "dst": "/workspace", "opts": "rw"}]}),
    );
    let code = r"
api, marked = sys.argv[1:3]
half = len(marked) // 2
secret = marked[half:] + marked[:half]
tries('granted', https, api)
print('environment:', any(secret in value for value in os.environ.values()))
found = []
for pid in filter(str.isdigit, os.listdir('/proc')):
    for name in ('environ', 'cmdline'):
        try:
            if secret.encode() in open(f'/proc/{pid}/{name}', 'rb').read():
                found.append(pid)
        except OSError:
            pass
for directory in ('/run', '/etc', '/workspace', '/tmp', '/root', '/coco'):
    for place, _, files in os.walk(directory):
        for name in files:
            try:
                with open(os.path.join(place, name), 'rb') as file:
                    if secret.encode() in file.read(1 << 20):
                        found.append(name)
            except OSError:
                pass
print('found:', found)
print('ready', flush=True)
sys.stdin.readline()
";
    // Turned around, so that the probe's own arguments are not what it finds.
    let (head, tail) = secret.split_at(secret.len() - secret.len() / 2);
    let turned = format!("{tail}{head}");
    let mut command = network.world_command(world, |coco| {
        let address = proxy.address;
        coco.env("HTTPS_PROXY", format!("http://user:{secret}@{address}")).current_dir(&project);
        coco.args(["run", "proxied", "-c", &format!("{PROBE}\n{code}"), api, &turned]);
    });
    let mut coco = Background::start(&mut command);
    assert_eq!(coco.line(), format!("granted: served {api} / 0 {api}"));
    assert_eq!((coco.line(), coco.line()), ("environment: False".to_owned(), "found: []".to_owned()));
    assert_eq!(coco.line(), "ready");
    assert_eq!(processes_with(&secret), Vec::<u32>::new(), "the password is in the process list");
    coco.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert_eq!(coco.ends(Duration::from_secs(10)), 0);
    // The control: the proxy was asked, with the password.
    assert!(
        proxy.was_sent(&format!("CONNECT {}:443 ", site.api.address)) && proxy.was_sent("Proxy-Authorization: Basic ")
    );
    assert_eq!(site.api.tls.connections(), 1);
    let log = world.home.join(".local/state/coco/log");
    for entry in fs::read_dir(log).unwrap().flatten() {
        assert!(!fs::read_to_string(entry.path()).unwrap().contains(&secret), "the password is in the log");
    }
}

const DENIALS: &str = r"
api, other, private, raw = sys.argv[1:]
for _ in range(3):
    tries('other', https, other)
    tries('name', https, api, name=other)
    tries('host', http, api, get(other))
    tries('private', https, private)
tries('good', https, api)
tries('closed port', connects, api, 22)
tries('strange', addresses, 'x\x1b[31m.' + other)
";

fn what_was_denied_is_said(world: &World, network: &Network) {
    let site = network.site();
    let (api, other) = (&site.api.name, &site.other.name);
    let private = format!("private.{}", site.domain);
    network.resolve(&private, &[IpAddr::from([10, 4, 0, 1])]);
    world.python("said", &json!({"allowed_hosts": [api, private]}));
    let arguments = [api.as_str(), other, &private, "raw"];
    let shown = network.probe(world, "said", DENIALS, &arguments);
    shown.is("good", &format!("served {api} / 0 {api}"));
    let lines: Vec<&str> = shown.errors.lines().filter(|line| line.starts_with("coco: denied ")).collect();
    let file = world.home.join(".local/share/coco/tools/said.json");
    let way_out = format!("coco: denied said -> {other} (add \"{other}\" to allowed_hosts in {})", file.display());
    // However often it was tried, it is said once; and what would grant it can be copied.
    assert_eq!(lines.iter().filter(|line| line.contains(&format!("-> {other}"))).count(), 1, "{lines:?}");
    assert!(
        lines.iter().any(|line| line.replace(&format!("{}/", world.home.display()), "~/")
            == way_out.replace(&format!("{}/", world.home.display()), "~/")),
        "{way_out:?}: {lines:?}"
    );
    let name = format!("coco: denied said -> {api}:443 (the TLS server name is {other})");
    assert_eq!(lines.iter().filter(|line| **line == name).count(), 1, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains(&format!("-> {api}:80 ("))).count(), 1, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains(&format!("-> {private}"))).count(), 1, "{lines:?}");
    assert!(!shown.errors.contains('\u{1b}'), "a name can write to the terminal: {}", shown.errors);
    // What is said is enough: with it, the host is granted.
    world.python("said", &json!({"allowed_hosts": [api, private, other]}));
    let granted = network.probe(world, "said", DENIALS, &arguments);
    granted.is("other", &format!("served {other} / 0 {other}"));
    // Nor can it be a flood.
    let code = "for number in range(3000):\n    tries(f'{number}', asks, query(f'n{number}.{sys.argv[1]}', 1))";
    let flood = network.probe(world, "said", code, &[&site.domain]);
    assert_eq!(flood.all("", &["unknown 0"]), 3000);
    let lines = flood.errors.lines().count();
    assert!((2..60).contains(&lines) && flood.errors.contains("coco log said --denied"), "{lines}: {}", flood.errors);
    // Quiet where nobody looks, if that is wanted.
    world.python("said", &json!({"allowed_hosts": [api, private]}));
    let quiet = run(&mut network.world_command(world, |coco| {
        coco.env("COCO_QUIET", "1").args(["run", "said", "-c", &format!("{PROBE}\n{DENIALS}")]).args(arguments);
    }));
    assert!(!quiet.succeeds().errors().contains("denied"), "{quiet:?}");
}

fn what_was_denied_is_kept(world: &World, network: &Network) {
    let site = network.site();
    let (api, other) = (&site.api.name, &site.other.name);
    world.python("kept", &json!({"allowed_hosts": [api]}));
    network.probe(world, "kept", DENIALS, &[api, other, other, "raw"]);
    let log = world.home.join(".local/state/coco/log");
    for entry in fs::read_dir(&log).unwrap().flatten() {
        let (owner, _, mode) = owner_and_mode(&entry.path());
        assert_eq!((owner, mode), (world.owner().0, 0o600), "{}", entry.path().display());
    }
    let lines = |more: &[&str]| {
        let shown = world.coco(["log", "kept"].iter().chain(more)).succeeds().text();
        shown.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for line in lines(&["--json"]) {
        let entry: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(entry["tool"], "kept", "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
    let (all, denied) = (lines(&[]), lines(&["--denied"]));
    assert!(denied.iter().any(|line| line.contains(other.as_str())), "{denied:?}");
    assert!(all.iter().any(|line| line.contains(api.as_str())) && all.len() > denied.len(), "{all:?}");
    // Another tool's are its own.
    assert!(!world.coco(["log", "said"]).text().contains(other.as_str()));
    assert!(world.coco(["log"]).succeeds().text().contains(other.as_str()));
}
