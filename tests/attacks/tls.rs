//! N5, N9 to N11: what must be said on port 443 before anybody outside hears of it.

use serde_json::json;

use crate::support::World;
use crate::support::authority::KeyExchange;
use crate::support::network::{Network, each_engine_with_network};
use crate::support::probe::{Answers, TLS_DENIED};
use crate::support::servers;

each_engine_with_network!(
    n5_n9_another_server_name,
    n9_another_name_on_the_second_try,
    n10_no_server_name,
    n11_hellos_in_pieces,
    n11_endless_hellos,
);

fn grant(world: &World, tool: &str, hosts: &[&str]) {
    world.python(tool, &json!({"allowed_hosts": hosts}));
}

/// A client of python's ends with an error of TLS, whichever alert it was, or at the end of the stream.
#[track_caller]
fn denied(shown: &Answers, what: &str) {
    let ending = shown.get(what);
    let alert = ending.starts_with("tls ") && ending.contains("ALERT") || ending == "tls TLSV1_UNRECOGNIZED_NAME";
    assert!(alert || TLS_DENIED.contains(&ending), "{what} is {ending:?}: {shown:?}");
}

fn n5_n9_another_server_name(world: &World, network: &Network) {
    let site = network.site();
    let (api, other) = (&site.api.name, &site.other.name);
    // What resolvers over HTTPS are asked, in the address and under the name of a granted host.
    let code = r"
api, other, domain, address = sys.argv[1:]
tries('good', https, api)
tries('good path', https, api, path='/dns-query?dns=AAABAAABAAAAAAAABmNvbnRyb2w')
tries('good twice', lambda: [https(api) for _ in range(2)][1])
tries('address', https, api, address=address)
tries('client other', https, api, name=other)
tries('client doh', https, api, name='dns.' + domain, path='/dns-query?dns=c2VjcmV0')
tries('client parent', https, api, name=domain)
tries('client below', https, api, name='x.' + api)
hostile = {
    'other': server_name(other.encode()),
    'two names': server_name(api.encode(), other.encode()), 'two names turned': server_name(other.encode(), api.encode()),
    'two extensions': server_name(api.encode()) + server_name(other.encode()), 'two extensions turned': server_name(other.encode()) + server_name(api.encode()),
    'dot': server_name(api.encode() + b'.'), 'NUL': server_name(api.encode() + b'\0' + other.encode()), 'NUL after': server_name(api.encode() + b'\0'),
    'space': server_name(b' ' + api.encode()), 'line': server_name(api.encode() + b'\r\n'), 'star': server_name(b'*.' + domain.encode()),
    'empty': server_name(b''), 'no entry': extension(0, b'\0\0'), 'no list': extension(0, b''), 'another kind': server_name(other.encode(), kind=1),
    'unknown kind first': extension(0, struct.pack('>H', 2 * len(api) + 6) + b'\1' + struct.pack('>H', len(api)) + api.encode() + b'\0' + struct.pack('>H', len(api)) + api.encode()),
    'list too long': extension(0, struct.pack('>H', 200) + b'\0' + struct.pack('>H', len(api)) + api.encode()),
    'name too long': extension(0, struct.pack('>H', len(api) + 3) + b'\0' + struct.pack('>H', len(api) + 9) + api.encode()),
    'trailing': extension(0, struct.pack('>H', len(api) + 3) + b'\0' + struct.pack('>H', len(api)) + api.encode() + b'x'),
    'wide': server_name('ａｐｉ'.encode() + api[3:].encode()), 'below': server_name(b'x.' + api.encode()), 'longer': server_name(api.encode() + b'.' + domain.encode()),
    'encrypted': server_name(api.encode()) + extension(0xfe0d, b'\0\0\1\0\1\0\0\x20' + bytes(32) + b'\0\x80' + bytes(128)),
    'encrypted inner': server_name(api.encode()) + extension(0xfe0d, b'\1'), 'encrypted, draft': server_name(api.encode()) + extension(0xffce, bytes(64)),
}
for what, extensions in hostile.items():
    tries('made ' + what, reaction, api, made_hello(extensions))
tries('made good', reaction, api, made_hello(server_name(api.encode())))
tries('made case', reaction, api, made_hello(server_name(api.upper().encode())))
tries('made session', reaction, api, made_hello(server_name(api.encode()), session=bytes(32)))
tries('made grease', reaction, api, made_hello(extension(0x0a0a, b''), server_name(api.encode()), extension(0xfafa, b'\0')))
";
    grant(world, "sni", &[api]);
    let arguments = [api.clone(), other.clone(), site.domain.clone(), site.api.address.to_string()];
    let shown = network.probe(world, "sni", code, &arguments);
    shown.is("good", &format!("served {api} / 0 {api}")).is("good twice", &format!("served {api} / 0 {api}"));
    assert!(shown.get("good path").contains("/dns-query"), "{shown:?}");
    shown.is("address", "Network is unreachable");
    for what in ["client other", "client doh", "client parent", "client below"] {
        denied(&shown, what);
    }
    let good = ["made good", "made case", "made session", "made grease"];
    for what in good {
        shown.is(what, "hello");
    }
    // Not one of the hostile ones reached a server: neither could it misread them.
    assert_eq!(site.api.connections(), 4 + good.len(), "{shown:?}");
    assert_eq!(site.other.connections(), 0);
    assert!(!site.api.tls.was_sent(other), "{shown:?}");
    let hostile = 25;
    let hellos = ["hello", "fatal alert", "closed"];
    assert_eq!(shown.all("made ", &hellos), hostile + good.len());
    shown.complains(&format!("coco: denied sni -> {api}:443 (the TLS server name is {other})"));
    // The control: without the sandbox the server is asked, and most of them it answers.
    let open = network.bare_probe(code, &arguments);
    open.is("client other", &format!("served {api} / 0 {other}")).is("made other", "hello");
    open.is("made encrypted", "hello").is("address", &format!("served {api} / 0 {api}"));
    assert!(site.api.tls.was_sent(other));
}

/// A server may ask for another key, and the client says hello again: nothing says that it is the same.
fn n9_another_name_on_the_second_try(world: &World, network: &Network) {
    let domain = network.domain();
    // Of the same length, so that it fits in the other's place.
    let (api, evil) = (format!("apis.{domain}"), format!("evil.{domain}"));
    let address = network.address();
    network.resolve(&api, &[address]);
    let config = network.authority.config(&[&api, &evil], KeyExchange::AskedFor);
    let server = network.serve(address, 443, servers::tls(config));
    grant(world, "second-hello", &[&api]);
    let code = r"
api, evil = sys.argv[1:]
def again(name, change=lambda second: [second]):
    client = Client(name)
    with dial(name, 443, 5) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.sendall(client.says())
        answer = stream.recv(65536)
        # ServerHello with the fixed random value of a HelloRetryRequest.
        if bytes.fromhex('cf21ad74e59a6111be1d8c021e65b891') not in answer:
            return 'no retry: ' + answer[:8].hex()
        client.input.write(answer)
        pieces = change(client.says())
        for piece in pieces:
            stream.sendall(piece)
            time.sleep(0.002)
        return finish(stream, client, name)
def hello_of(second):
    # Leaves out the change cipher spec that comes before it.
    return second[6:] if second[:1] == b'\x14' else second
replace = lambda second: second.replace(api.encode(), evil.encode())
tries('good', again, api)
tries('good bytes', again, api, lambda second: [second[i:i + 1] for i in range(len(second))])
tries('evil', again, api, lambda second: [replace(second)])
tries('evil bytes', again, api, lambda second: [replace(second)[i:i + 7] for i in range(0, len(second), 7)])
tries('evil records', again, api, lambda second: [records(hello_of(replace(second)), [50, 1, 9])])
# The second one before it was asked for: what a retry asks for is the same each time.
def at_once(change):
    client = Client(api)
    first = client.says()
    with dial(api, 443, 5) as stream:
        stream.sendall(first)
        client.input.write(stream.recv(65536))
        second = change(client.says())
    with dial(api, 443, 5) as stream:
        stream.sendall(first + second)
        # The request to try again is shorter than this, the whole answer longer.
        answer = b''
        while len(answer) < 400:
            block = stream.recv(65536)
            if not block:
                return 'closed'
            answer += block
        return 'hello'
tries('good at once', at_once, lambda second: second)
tries('evil at once', at_once, replace)
tries('evil change first', again, api, lambda second: [b'\x14\x03\x03\0\1\1' * 5 + hello_of(replace(second))])
";
    let shown = network.probe(world, "second-hello", code, &[&api, &evil]);
    shown.is("good", &format!("served {api} / 0 {api}")).is("good bytes", &format!("served {api} / 0 {api}"));
    shown.is("good at once", "hello");
    for what in ["evil", "evil bytes", "evil records", "evil change first", "evil at once"] {
        denied(&shown, what);
    }
    assert!(server.was_sent(&api) && !server.was_sent(&evil), "the server heard the other name");
    // The control: without the sandbox it does.
    network.bare_probe(code, &[&api, &evil]).is("good", &format!("served {api} / 0 {api}"));
    assert!(server.was_sent(&evil));
}

fn n10_no_server_name(world: &World, network: &Network) {
    let site = network.site();
    let api = &site.api.name;
    let code = r"
api = sys.argv[1]
tries('good', https, api)
tries('client unnamed', unnamed, api)
for what, data in {
    'unnamed': made_hello(), 'http': get(api).encode(), 'http proxy': f'CONNECT {api}:443 HTTP/1.1\r\nHost: {api}\r\n\r\n'.encode(), 'ssh': b'SSH-2.0-probe\r\n',
    'zeroes': bytes(100), 'noise': hashlib.sha512(b'noise').digest() * 4, 'line': b'\r\n\r\n', 'data first': b'\x17\x03\x03\x00\x05hello',
    'alert first': b'\x15\x03\x01\x00\x02\x01\x00' + made_hello(server_name(api.encode())), 'change first': b'\x14\x03\x01\x00\x01\x01' + made_hello(server_name(api.encode())),
    'server hello': b'\x16\x03\x03\x00\x30\x02\x00\x00\x2c\x03\x03' + bytes(42), 'finished': b'\x16\x03\x03\x00\x10\x14\x00\x00\x0c' + bytes(12),
    'old hello': b'\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10' + bytes(37), 'empty records': b'\x16\x03\x01\x00\x00' * 40,
    'record version': b'\x16\x09\x09' + made_hello(server_name(api.encode()))[3:], 'record too long': b'\x16\x03\x01\xff\xff' + bytes(70000),
    'hello too short': cut(b'\x01\x00\x00\x02\x03\x03', [99], b'\x03\x01'), 'session too long': cut(b'\x01\x00\x00\x30\x03\x03' + bytes(32) + b'\xff' + bytes(13), [99], b'\x03\x01'),
    'two hellos': made_hello(server_name(api.encode())) + made_hello(server_name(b'evil.example.com')),
    'hello with more': cut(made_hello(server_name(api.encode()))[5:] + made_hello(server_name(b'evil.example.com'))[5:], [16384], b'\x03\x01'),
}.items():
    also('made ' + what, reaction, api, data, patience=PATIENCE)
    also('shut ' + what, reaction, api, data, shut=True, patience=PATIENCE)
settle()
tries('nothing', reaction, api, shut=True)
tries('good after', https, api)
";
    grant(world, "unnamed", &[api]);
    let shown = network.probe(world, "unnamed", code, &[api]);
    shown.is("good", &format!("served {api} / 0 {api}")).is("good after", &format!("served {api} / 0 {api}"));
    denied(&shown, "client unnamed");
    for beginning in ["made ", "shut "] {
        assert_eq!(shown.all(beginning, &["hello", "fatal alert", "closed"]), 20);
        for what in ["unnamed", "http", "ssh", "zeroes", "noise", "data first", "old hello", "server hello"] {
            shown.is_one_of(&format!("{beginning}{what}"), &["fatal alert", "closed"]);
        }
    }
    shown.is("nothing", "closed");
    let others = site.api.tls.seen().into_iter().filter(|seen| !seen.bytes.starts_with(b"\x16\x03\x01"));
    // A good hello went first where a server was reached at all.
    assert_eq!(others.count(), 0, "{shown:?}");
    let named = site.api.tls.seen().iter().filter(|seen| printable_contains(&seen.bytes, api)).count();
    assert_eq!(named, site.api.tls.connections(), "somebody reached the server without its name");
    shown.complains(&format!("coco: denied unnamed -> {api}:443"));
    // The control: without the sandbox the server gets these, and answers a hello without a name.
    let open = network.bare_probe(code, &[api]);
    assert!(open.get("client unnamed").starts_with("served"), "{open:?}");
    open.is("made unnamed", "hello");
    assert!(site.api.tls.was_sent("SSH-2.0-probe"));
}

fn printable_contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

fn n11_hellos_in_pieces(world: &World, network: &Network) {
    let site = network.site();
    let (api, other) = (&site.api.name, &site.other.name);
    let code = r"
api, other = sys.argv[1:]
def pieces(data, *sizes):
    made, index = [], 0
    while data:
        size = sizes[min(index, len(sizes) - 1)]
        made.append(data[:size])
        data, index = data[size:], index + 1
    return made
def whole(pieces, pause=0.0, name=api):
    client = Client(name)
    with dial(api, 443) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces(client.says()):
            stream.sendall(piece)
            time.sleep(pause)
        return finish(stream, client, name)
key = extension(51, struct.pack('>H', 1220) + b'\x11\xec' + struct.pack('>H', 1216) + bytes(1216))
ways = {
    'bytes': lambda hello: pieces(hello, 1), 'head': lambda hello: pieces(hello, 5, 4, 1, 9999), 'records': lambda hello: [records(hello, [100])],
    'records of one': lambda hello: [records(hello, [1])], 'odd records': lambda hello: pieces(records(hello, [1, 3, 2, 40, 7]), 3),
    'split in the name': lambda hello: pieces(hello, hello.index(name_in(hello)) + 5, 1, 9999),
    'records split in the name': lambda hello: [records(hello, [hello.index(name_in(hello)), 2, 9999])],
}
def name_in(hello):
    return api.encode() if api.encode() in hello else other.encode()
for what, way in ways.items():
    also('good ' + what, whole, way)
    also('evil ' + what, whole, way, name=other)
settle()
tries('good slow', whole, lambda hello: pieces(hello, 400), 0.2)
for size in (1, 500, 16000, 40000, 60000):
    padding = extension(21, bytes(size))
    tries(f'good padding {size}', reaction, api, made_hello(padding, server_name(api.encode())))
    tries(f'evil padding {size}', reaction, api, made_hello(padding, server_name(other.encode())))
    tries(f'evil after {size}', reaction, api, made_hello(server_name(api.encode()), padding, server_name(other.encode())))
tries('good key first', reaction, api, made_hello(key, server_name(api.encode())))
tries('evil key first', reaction, api, made_hello(key, server_name(other.encode())))
";
    grant(world, "pieces", &[api]);
    let shown = network.probe(world, "pieces", code, &[api, other]);
    let ways =
        ["bytes", "head", "records", "records of one", "odd records", "split in the name", "records split in the name"];
    for way in ways {
        shown.is(&format!("good {way}"), &format!("served {api} / 0 {api}"));
        denied(&shown, &format!("evil {way}"));
    }
    shown.is("good slow", &format!("served {api} / 0 {api}")).is("good key first", "hello");
    denied(&shown, "evil key first");
    for size in [1, 500, 16000, 40000, 60000] {
        shown.is(&format!("good padding {size}"), "hello");
        denied(&shown, &format!("evil padding {size}"));
        denied(&shown, &format!("evil after {size}"));
    }
    assert!(!site.api.tls.was_sent(other), "the server heard the other name");
    assert_eq!(site.api.connections(), ways.len() + 7);
    // The control: without the sandbox it does, in pieces and whole.
    let open = network.bare_probe(code, &[api, other]);
    open.is("evil bytes", &format!("served {other} / 0 {other}")).is("evil padding 40000", "hello");
    assert!(site.api.tls.was_sent(other));
}

fn n11_endless_hellos(world: &World, network: &Network) {
    let site = network.site();
    let api = &site.api.name;
    let code = r"
api = sys.argv[1]
def endless(head, block, pause=0.0, most=40):
    started = time.monotonic()
    sent = 0
    with dial(api, 443, 30) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            stream.sendall(head)
            while sent < 8 << 20 and time.monotonic() - started < most:
                stream.sendall(block)
                sent += len(block)
                if pause:
                    time.sleep(pause)
                if select.select([stream], [], [], 0)[0]:
                    data = stream.recv(7)
                    return ('closed' if not data else 'fatal alert' if data[:1] == b'\x15' else repr(data)) + (' late' if sent > 4 << 20 else '')
            return 'taken'
        except OSError as error:
            return ending(error) + (' late' if sent > 4 << 20 else '')
start = b'\x01\xff\xff\xff\x03\x03' + bytes(32) + b'\0'
record = lambda data: cut(data, [16384], b'\x03\x01')
also('message', endless, record(start), record(bytes(16384)))
also('records', endless, b'', b'\x16\x03\x01\0\0')
also('one byte records', endless, record(start), b'\x16\x03\x01\0\1\0' * 100)
also('drops', endless, record(start), b'\x16\x03\x01\0\1\0', pause=0.1)
also('bytes', endless, b'', made_hello(extension(21, bytes(60000)), server_name(api.encode()))[:1], pause=0.5)
also('silence', endless, b'\x16', b'', pause=0.1)
also('nothing', endless, b'', b'', pause=0.1)
tries('too large', reaction, api, cut(b'\x01\x01\x10\x00' + bytes(0x11000), [16384], b'\x03\x01'))
# While these hang, others are served.
tries('good beside', https, api)
settle()
tries('good after', https, api)
";
    grant(world, "endless", &[api]);
    let shown = network.probe(world, "endless", code, &[api]);
    for what in ["message", "records", "one byte records", "drops", "bytes", "silence", "nothing", "too large"] {
        shown.is_one_of(what, &["fatal alert", "closed"]);
    }
    shown.is("good beside", &format!("served {api} / 0 {api}")).is("good after", &format!("served {api} / 0 {api}"));
    assert_eq!(site.api.connections(), 2, "an unfinished hello was passed on");
    // The control: without the sandbox the server is connected to, whatever is sent.
    network.bare_probe("tries('silence', connects, sys.argv[1], 443)", &[api]).is("silence", "connected");
    assert_eq!(site.api.connections(), 3);
}
