//! Much, slow, and badly behaved traffic: nothing is lost, nothing leaks, and nobody waits for somebody else.

use std::fs;
use std::io::Write;
use std::time::Duration;

use serde_json::json;

use crate::support::network::{Network, each_engine_with_network};
use crate::support::probe::{Answers, PROBE};
use crate::support::servers;
use crate::support::{Background, World, until};

each_engine_with_network!(
    many_connections_leave_nothing,
    many_connections_at_once,
    slow_ones_hold_up_nobody,
    much_in_both_directions,
    every_way_to_end,
);

/// A granted host with one server on a port of its own: its name with the port, and both apart.
fn host(
    network: &Network,
    serve: impl Fn(servers::Tap) + Send + Sync + 'static,
) -> (String, String, String, servers::Server) {
    let (address, port) = (network.address(), network.port());
    let name = format!("load.{}", network.domain());
    network.resolve(&name, &[address]);
    let server = network.serve(address, port, serve);
    (format!("{name}:{port}"), name, port.to_string(), server)
}

fn status(coco: &Background, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", coco.0.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn descriptors(coco: &Background) -> usize {
    fs::read_dir(format!("/proc/{}/fd", coco.0.id())).unwrap().count()
}

fn go_on(coco: &mut Background) {
    coco.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
}

fn many_connections_leave_nothing(world: &World, network: &Network) {
    let (grant, name, port, server) = host(network, servers::echo);
    world.python("leaks", &json!({"allowed_hosts": [grant]}));
    let code = r"
name, port = sys.argv[1], int(sys.argv[2])
def one(number):
    with dial(name, port) as stream:
        stream.sendall(b'hello %d' % number)
        if number % 3 == 0:
            stream.shutdown(socket.SHUT_WR)
        return stream.recv(99) == b'hello %d' % number
def many(count):
    return [one(number) for number in range(count)].count(True)
print('warm:', many(50), flush=True)
sys.stdin.readline()
print('many:', many(2000), flush=True)
sys.stdin.readline()
print('init:', len([1 for task in os.listdir('/proc/1/task')]) < 8)
";
    let mut coco = network.start(world, ["run", "leaks", "-c", &format!("{PROBE}\n{code}"), &name, &port]);
    assert_eq!(coco.line(), "warm: 50");
    until("an idle proxy", Duration::from_secs(10), || (server.open() == 0).then_some(()));
    std::thread::sleep(Duration::from_millis(500));
    let (before, threads, memory) = (descriptors(&coco), status(&coco, "Threads"), status(&coco, "VmRSS"));
    go_on(&mut coco);
    assert_eq!(coco.line(), "many: 2000");
    until("an idle proxy", Duration::from_secs(10), || (server.open() == 0).then_some(()));
    until("as many descriptors and threads as before", Duration::from_secs(10), || {
        (descriptors(&coco) <= before + 2 && status(&coco, "Threads") <= threads + 2).then_some(())
    });
    let grown = status(&coco, "VmRSS").saturating_sub(memory);
    assert!(grown < 2048, "2000 connections cost {grown} KiB");
    go_on(&mut coco);
    assert_eq!(coco.line(), "init: True");
    assert_eq!(coco.ends(Duration::from_secs(10)), 0);
    assert_eq!(server.connections(), 2050);
}

fn many_connections_at_once(world: &World, network: &Network) {
    let (grant, name, port, server) = host(network, servers::echo);
    world.python("at-once", &json!({"allowed_hosts": [grant]}));
    let code = r"
name, port = sys.argv[1], int(sys.argv[2])
streams = []
def opens(count):
    for _ in range(count):
        streams.append(dial(name, port))
def talks():
    for number, stream in enumerate(streams):
        stream.sendall(b'%07d' % number * 1000)
    return [stream.recv(7000, socket.MSG_WAITALL) == b'%07d' % number * 1000 for number, stream in enumerate(streams)].count(True)
opens(200)
print('talked:', talks(), flush=True)
sys.stdin.readline()
print('again:', talks(), flush=True)
# More than may be at a time: the rest is refused or ends, and those that are there go on.
lost = 0
for _ in range(700):
    try:
        stream = socket.create_connection((name, port), 3)
        stream.sendall(b'x')
        stream.settimeout(3)
        if stream.recv(1) != b'x':
            lost += 1
        else:
            streams.append(stream)
    except OSError:
        lost += 1
    if lost > 20:
        break
print('more:', len(streams), lost, flush=True)
streams[200:] = []
print('after:', talks(), flush=True)
streams.clear()
time.sleep(1)
opens(100)
print('fresh:', talks(), flush=True)
";
    let mut coco = network.start(world, ["run", "at-once", "-c", &format!("{PROBE}\n{code}"), &name, &port]);
    assert_eq!(coco.line(), "talked: 200");
    // With 200 open at once; the program's own pages count as well.
    let (memory, threads) = (status(&coco, "VmRSS"), status(&coco, "Threads"));
    assert!(memory < 12 * 1024, "{memory} KiB with {threads} threads");
    assert_eq!(server.open(), 200);
    go_on(&mut coco);
    assert_eq!(coco.line(), "again: 200");
    let more = coco.line();
    let [open, lost] = [0, 1].map(|place| {
        let number = more.strip_prefix("more: ").unwrap().split(' ').nth(place).unwrap();
        number.parse::<usize>().unwrap()
    });
    assert!(open >= 256 && (lost > 0 || open == 900), "{more}");
    assert_eq!((coco.line(), coco.line()), ("after: 200".to_owned(), "fresh: 100".to_owned()));
    assert!(status(&coco, "VmHWM") < 48 * 1024, "{} KiB at most", status(&coco, "VmHWM"));
    assert_eq!(coco.ends(Duration::from_secs(10)), 0);
}

fn slow_ones_hold_up_nobody(world: &World, network: &Network) {
    let site = network.site();
    let (endless, endless_name, endless_port, _) = host(network, servers::endless);
    let (silent, silent_name, silent_port, _) = host(network, servers::silent);
    let (echo, echo_name, echo_port, _) = host(network, servers::echo);
    world.python("slow", &json!({"allowed_hosts": [site.api.name, endless, silent, echo]}));
    let code = r"
api, endless, endless_port, silent, silent_port, echo, echo_port = sys.argv[1:]
held = []
# Opened and never used; half of a hello, of a request; whoever never answers; whoever never reads.
for _ in range(20):
    held.append(dial(api, 443))
    held.append(dial(api, 80))
    held[-2].sendall(hello(api)[:50])
    held[-1].sendall(b'GET / HTTP/1.1\r\nHo')
    held.append(dial(silent, int(silent_port)))
    held[-1].sendall(b'x')
    held.append(dial(endless, int(endless_port)))
def never_reads():
    stream = dial(echo, int(echo_port))
    stream.setblocking(False)
    held.append(stream)
    sent = 0
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            sent += stream.send(b'x' * 65536)
        except BlockingIOError:
            time.sleep(0.01)
    return 'held back' if sent < 256 << 20 else sent
tries('never reads', never_reads)
started = time.monotonic()
tries('tls', https, api)
tries('http', http, api, get(api))
def echoes():
    with dial(echo, int(echo_port)) as stream:
        stream.sendall(b'hello')
        return stream.recv(5, socket.MSG_WAITALL).decode()
tries('echo', echoes)
tries('name', synthetic, api)
print('fast:', time.monotonic() - started < 3)
print('ready', flush=True)
sys.stdin.readline()
tries('later', https, api)
";
    let code = format!("{PROBE}\n{code}");
    let arguments = [&site.api.name, &endless_name, &endless_port, &silent_name, &silent_port, &echo_name, &echo_port];
    let mut coco =
        network.start(world, ["run", "slow", "-c", &code].into_iter().chain(arguments.into_iter().map(String::as_str)));
    let lines: Vec<String> = std::iter::repeat_with(|| coco.line()).take_while(|line| line != "ready").collect();
    let expected = [
        "never reads: held back".to_owned(),
        format!("tls: served {0} / 0 {0}", site.api.name),
        format!("http: served {} / 0", site.api.name),
        "echo: hello".to_owned(),
        "name: synthetic".to_owned(),
        "fast: True".to_owned(),
    ];
    assert_eq!(lines, expected);
    // What nobody reads is not read either: it does not pile up in the proxy.
    assert!(status(&coco, "VmRSS") < 16 * 1024, "{} KiB", status(&coco, "VmRSS"));
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", coco.0.id())).unwrap();
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse().unwrap())
            .collect();
        fields[0] + fields[1]
    };
    let before = ticks();
    std::thread::sleep(Duration::from_secs(1));
    assert!(ticks() - before < 20, "the proxy is busy with connections that do nothing");
    go_on(&mut coco);
    assert_eq!(coco.line(), format!("later: served {0} / 0 {0}", site.api.name));
    // Those that hang do not hold up the end.
    assert_eq!(coco.ends(Duration::from_secs(5)), 0);
}

fn much_in_both_directions(world: &World, network: &Network) {
    let (echo, echo_name, echo_port, _) = host(network, servers::echo);
    let (up, up_name, up_port, _) = host(network, servers::after_the_end);
    let (down, down_name, down_port, _) = host(network, servers::download);
    world.python("much", &json!({"allowed_hosts": [echo, up, down]}));
    let code = r"
echo, echo_port, up, up_port, down, down_port = sys.argv[1:]
size = 64 << 20
block = bytes(range(256)) * 4096
def upload():
    with dial(up, int(up_port), 60) as stream:
        digest = hashlib.sha256()
        for _ in range(size // len(block)):
            stream.sendall(block)
            digest.update(block)
        stream.shutdown(socket.SHUT_WR)
        return read_all(stream).decode() == f'{size} {digest.hexdigest()}'
def download():
    with dial(down, int(down_port), 60) as stream:
        stream.sendall(b'%d\n' % size)
        digest, length = hashlib.sha256(), 0
        while data := stream.recv(1 << 20):
            digest.update(data)
            length += len(data)
        wanted = hashlib.sha256()
        for _ in range(size // len(block)):
            wanted.update(block)
        return (length, digest.digest()) == (size, wanted.digest())
def both():
    with dial(echo, int(echo_port), 60) as stream:
        wanted, got = hashlib.sha256(), hashlib.sha256()
        def sends():
            for number in range(48):
                data = hashlib.sha256(b'%d' % number).digest() * 32768
                wanted.update(data)
                stream.sendall(data)
            stream.shutdown(socket.SHUT_WR)
        thread = threading.Thread(target=sends)
        thread.start()
        length = 0
        while data := stream.recv(1 << 20):
            got.update(data)
            length += len(data)
        thread.join()
        return (length, got.digest()) == (48 << 20, wanted.digest())
def crumbs():
    with dial(echo, int(echo_port), 60) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(3000):
            stream.sendall(bytes([number % 256]))
            if stream.recv(1) != bytes([number % 256]):
                return number
        return True
for what, how in {'up': upload, 'down': download, 'both': both, 'crumbs': crumbs}.items():
    tries(what, how)
threads = [threading.Thread(target=tries, args=(f'beside {number}', how)) for number, how in enumerate([upload, download, both])]
for thread in threads: thread.start()
for thread in threads: thread.join()
";
    let arguments = [echo_name, echo_port, up_name, up_port, down_name, down_port];
    let shown = network.probe(world, "much", code, &arguments);
    for what in ["up", "down", "both", "crumbs", "beside 0", "beside 1", "beside 2"] {
        shown.is(what, "True");
    }
}

fn every_way_to_end(world: &World, network: &Network) {
    let (half, half_name, half_port, _) = host(network, servers::after_the_end);
    let (first, first_name, first_port, _) = host(network, servers::close_first);
    let (reset, reset_name, reset_port, _) = host(network, servers::reset);
    let (echo, echo_name, echo_port, echo_server) = host(network, servers::echo);
    world.python("endings", &json!({"allowed_hosts": [half, first, reset, echo]}));
    let code = r"
half, half_port, first, first_port, reset, reset_port, echo, echo_port = sys.argv[1:]
def half_closed(words):
    with dial(half, int(half_port)) as stream:
        stream.sendall(words)
        stream.shutdown(socket.SHUT_WR)
        return read_all(stream).decode().split()[0]
tries('half', half_closed, b'x' * 1000)
tries('half nothing', half_closed, b'')
def server_first():
    with dial(first, int(first_port)) as stream:
        return read_all(stream).decode()
tries('first', server_first)
def is_reset():
    with dial(reset, int(reset_port)) as stream:
        stream.sendall(b'x')
        return read_all(stream).decode() or 'end'
tries('reset', is_reset)
def resets():
    stream = dial(echo, int(echo_port))
    stream.sendall(b'hello')
    stream.recv(5, socket.MSG_WAITALL)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    stream.close()
    return 'done'
tries('reset by us', lambda: {resets() for _ in range(20)})
def urgent():
    with dial(echo, int(echo_port)) as stream:
        stream.send(b'!', socket.MSG_OOB)
        stream.sendall(b'hello')
        stream.shutdown(socket.SHUT_WR)
        return read_all(stream).decode().replace('!', '')
tries('urgent', urgent)
def after_a_while():
    with dial(echo, int(echo_port)) as stream:
        time.sleep(12)
        stream.sendall(b'hello')
        return stream.recv(5, socket.MSG_WAITALL).decode()
tries('idle', after_a_while)
print('ready', flush=True)
sys.stdin.readline()
";
    let arguments = [half_name, half_port, first_name, first_port, reset_name, reset_port, echo_name, echo_port];
    let code = format!("{PROBE}\n{code}");
    let mut coco =
        network.start(world, ["run", "endings", "-c", &code].into_iter().chain(arguments.iter().map(String::as_str)));
    let lines: Vec<String> = std::iter::repeat_with(|| coco.line()).take_while(|line| line != "ready").collect();
    let shown = Answers::of_lines(&lines);
    shown.is("half", "1000").is("half nothing", "0").is("first", "bye").is("reset by us", "{'done'}");
    shown.is("urgent", "hello").is("idle", "hello");
    // A broken connection is broken on the other side as well; an orderly end would look like a whole answer.
    shown.is("reset", "closed");
    // Whoever leaves is gone at the server as well.
    until("the end of the connections", Duration::from_secs(5), || (echo_server.open() == 0).then_some(()));
    go_on(&mut coco);
    assert_eq!(coco.ends(Duration::from_secs(10)), 0);
}
