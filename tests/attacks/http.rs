//! N12: plain HTTP, where every request names its host anew.

use serde_json::json;

use crate::support::World;
use crate::support::network::{Network, each_engine_with_network};

each_engine_with_network!(n12_other_hosts, n12_odd_requests, n12_smuggled_requests);

fn grant(world: &World, tool: &str, hosts: &[&str]) {
    world.python(tool, &json!({"allowed_hosts": hosts}));
}

fn n12_other_hosts(world: &World, network: &Network) {
    let site = network.site();
    let (api, other) = (&site.api.name, &site.other.name);
    let code = r"
api, other, address = sys.argv[1:]
tries('good', http, api, get(api))
tries('good kept', http, api, get(api, '/1'), get(api, '/2'), get(api, '/3'))
tries('good port', http, api, get(api + ':80'))
tries('good case', http, api, get(api.upper()))
tries('good star', http, api, f'OPTIONS * HTTP/1.1\r\nHost: {api}\r\n\r\n')
tries('good body', http, api, f'POST /p HTTP/1.1\r\nHost: {api}\r\nContent-Length: 5\r\n\r\nGET /', get(api, '/after'))
body = b'5\r\nhello\r\n0\r\n\r\n'
tries('good name in body', http, api, f'POST /p HTTP/1.1\r\nHost: {api}\r\nContent-Length: {16 + len(other)}\r\n\r\nGET / Host: {other}\r\n\r\n', get(api, '/after'))
def slowly(host, data):
    with dial(host, 80) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data.encode():
            stream.sendall(bytes([byte]))
        return answer_of(stream)
tries('good slowly', slowly, api, get(api))
for what, host in {'other': other, 'address': address, 'port': api + ':81', 'port 443': api + ':443', 'dot': api + '.', 'below': 'x.' + api, 'parent': api.split('.', 1)[1],
                   'empty': '', 'user': 'user@' + api, 'user turned': api + '@' + other, 'two': api + ', ' + other, 'space': api + ' ' + other, 'slash': api + '/', 'NUL': api + '\0' + other,
                   'empty port': api + ':', 'words': api + ':80:80', 'long': api + 'a' * 300, 'tab': api + '\t' + other}.items():
    tries('evil ' + what, http, api, get(host, '/evil'))
tries('evil slowly', slowly, api, get(other, '/evil'))
tries('later second', http, api, get(api), get(other, '/evil'))
tries('later third', http, api, get(api), get(api), get(other, '/evil'), get(api, '/never'))
tries('later after body', http, api, f'POST / HTTP/1.1\r\nHost: {api}\r\nContent-Length: 5\r\n\r\nhello', get(other, '/evil'))
tries('later at once', http, api, get(api) + get(other, '/evil'))
tries('later after chunks', http, api, f'POST / HTTP/1.1\r\nHost: {api}\r\nTransfer-Encoding: chunked\r\n\r\n'.encode() + body + get(other, '/evil').encode())
";
    grant(world, "http", &[api]);
    let arguments = [api.clone(), other.clone(), site.api.address.to_string()];
    let shown = network.probe(world, "http", code, &arguments);
    shown.is("good", &format!("served {api} / 0"));
    shown.is("good kept", &["/1", "/2", "/3"].map(|path| format!("served {api} {path} 0")).join(" | "));
    shown.is("good slowly", &format!("served {api} / 0")).is("good star", &format!("served {api} * 0"));
    assert!(shown.get("good case").to_lowercase().starts_with("served api."), "{shown:?}");
    assert!(shown.get("good port").starts_with(&format!("served {api}")), "{shown:?}");
    shown.is("good body", &format!("served {api} /p 5 | served {api} /after 0"));
    shown.is("good name in body", &format!("served {api} /p {} | served {api} /after 0", 16 + other.len()));
    for what in ["other", "address", "port", "port 443", "below", "parent", "empty", "user", "user turned", "two"] {
        assert!(shown.get(&format!("evil {what}")).starts_with("403coco:"), "{what}: {shown:?}");
    }
    for what in ["space", "slash", "NUL", "empty port", "words", "long", "tab", "dot", "slowly"] {
        let ending = shown.get(&format!("evil {what}"));
        // A dot at the end is the same name: what the server is told is its own affair then.
        let same = what == "dot" && ending.starts_with(&format!("served {api}"));
        assert!(ending.starts_with("403coco:") || ending.starts_with("400coco:") || same, "{what}: {shown:?}");
    }
    for what in ["later second", "later after body"] {
        let (first, second) = shown.get(what).split_once(" | ").unwrap();
        // Where answers are on their way there is no place for words of coco's own.
        let ended = second == "closed" || second.starts_with("403coco:");
        assert!(first.starts_with(&format!("served {api}")) && ended, "{what}: {shown:?}");
    }
    assert!(shown.get("later third").ends_with(" | closed"), "{shown:?}");
    assert!(!site.api.http.was_sent(&format!("\r\nHost: {other}")), "{}", site.api.http.text());
    assert!(!site.api.http.was_sent("GET /evil") && !site.api.http.was_sent("/never"), "{}", site.api.http.text());
    assert_eq!(site.other.connections(), 0);
    shown.complains(&format!("coco: denied http -> {api}:80"));
    // The control: without the sandbox the server is told all of it.
    let open = network.bare_probe(code, &arguments);
    open.is("evil other", &format!("served {other} /evil 0"));
    open.is("later second", &format!("served {api} / 0 | served {other} /evil 0"));
    assert!(site.api.http.was_sent("GET /evil") && site.api.http.was_sent("/never"));
}

fn n12_odd_requests(world: &World, network: &Network) {
    let site = network.site();
    let (api, other) = (&site.api.name, &site.other.name);
    let code = r"
api, other = sys.argv[1:]
host = f'Host: {api}\r\n'
tries('good', http, api, get(api))
for what, request in {
    'absolute': f'GET http://{other}/evil HTTP/1.1\r\n{host}\r\n', 'absolute same': f'GET http://{api}/evil HTTP/1.1\r\n{host}\r\n', 'absolute TLS': f'GET https://{other}/evil HTTP/1.1\r\n{host}\r\n',
    'network path': f'GET {other}/evil HTTP/1.1\r\n{host}\r\n', 'authority': f'GET {other}:80 HTTP/1.1\r\n{host}\r\n',
    'connect': f'CONNECT {other}:443 HTTP/1.1\r\nHost: {other}:443\r\n\r\n', 'connect same': f'CONNECT {api}:80 HTTP/1.1\r\n{host}\r\n', 'connect case': f'connect {other}:443 HTTP/1.1\r\n{host}\r\n',
    'upgrade': f'GET /evil HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n', 'upgrade h2c': f'GET /evil HTTP/1.1\r\n{host}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n',
    'upgrade case': f'GET /evil HTTP/1.1\r\n{host}uPGRADE: anything\r\n\r\n', 'http2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'two hosts': f'GET /evil HTTP/1.1\r\n{host}Host: {other}\r\n\r\n', 'two hosts turned': f'GET /evil HTTP/1.1\r\nHost: {other}\r\n{host}\r\n', 'same twice': f'GET /evil HTTP/1.1\r\n{host}{host}\r\n',
    'host case': f'GET /evil HTTP/1.1\r\n{host}hOST: {other}\r\n\r\n', 'no host': 'GET /evil HTTP/1.1\r\nAccept: */*\r\n\r\n', 'old': 'GET /evil HTTP/1.0\r\n\r\n', 'oldest': 'GET /evil\r\n\r\n',
    'space before colon': f'GET /evil HTTP/1.1\r\nHost : {other}\r\n{host}\r\n', 'folded': f'GET /evil HTTP/1.1\r\n{host} {other}\r\n\r\n', 'folded before': f'GET /evil HTTP/1.1\r\nX: y\r\n Host: {other}\r\n{host}\r\n',
    'bare LF': f'GET /evil HTTP/1.1\nHost: {other}\n\n', 'LF in header': f'GET /evil HTTP/1.1\r\n{host}X: y\nHost: {other}\r\n\r\n', 'CR in header': f'GET /evil HTTP/1.1\r\n{host}X: y\rHost: {other}\r\n\r\n',
    'NUL in header': f'GET /evil HTTP/1.1\r\n{host}X\0: y\r\n\r\n', 'no colon': f'GET /evil HTTP/1.1\r\n{host}nonsense\r\n\r\n', 'empty name': f'GET /evil HTTP/1.1\r\n{host}: y\r\n\r\n',
    'two targets': f'GET /evil http://{other}/ HTTP/1.1\r\n{host}\r\n', 'space in target': f'GET /evil x HTTP/1.1\r\n{host}\r\n', 'tab': f'GET\t/evil\tHTTP/1.1\r\n{host}\r\n', 'no target': f'GET  HTTP/1.1\r\n{host}\r\n',
    'line before host': f'GET /evil HTTP/1.1\r\n\r\n{host}\r\n', 'space first': f' GET /evil HTTP/1.1\r\n{host}\r\n', 'LF in target': f'GET /evil\nHost: {other} HTTP/1.1\r\n{host}\r\n',
    'version': f'GET /evil HTTP/3.7\r\n{host}\r\n', 'version case': f'GET /evil http/1.1\r\n{host}\r\n', 'method': f'G(T /evil HTTP/1.1\r\n{host}\r\n', 'high bytes': f'GET /evil HTTP/1.1\r\n{host}\xff\xfe: y\r\n\r\n'.encode('latin1'),
    'TLS': made_hello(server_name(api.encode())) + b'\r\n\r\n', 'noise': bytes(range(256)) + b'\r\n\r\n', 'SSH': b'SSH-2.0-probe\r\n\r\n',
}.items():
    also('odd ' + what, http, api, request, patience=PATIENCE)
settle()
def endless(head, block):
    sent = 0
    with dial(api, 80, 30) as stream:
        try:
            stream.sendall(head)
            while sent < 16 << 20:
                stream.sendall(block)
                sent += len(block)
                if select.select([stream], [], [], 0)[0]:
                    data = stream.recv(16)
                    break
            else:
                return 'taken'
        except OSError as error:
            data = b''
    return ('denied' if data[9:12] in (b'', b'403', b'400', b'431') else repr(data)) + (' late' if sent > 8 << 20 else '')
tries('endless head', endless, f'GET /evil HTTP/1.1\r\n{host}'.encode(), b'X: ' + b'y' * 1000 + b'\r\n')
tries('endless line', endless, b'GET /evil', b'l' * 1000)
tries('endless header', endless, f'GET /evil HTTP/1.1\r\n{host}X: '.encode(), b'y' * 1000)
tries('endless lines', endless, b'', b'\r\n' * 500)
tries('cookie', http, api, get(api, '/cookie', 'Cookie: ' + 'c' * 7000 + '\r\n'))
tries('good after', http, api, get(api))
";
    grant(world, "odd-http", &[api]);
    let shown = network.probe(world, "odd-http", code, &[api, other]);
    shown.is("good", &format!("served {api} / 0")).is("good after", &format!("served {api} / 0"));
    // The control for the limits: a large head is none that is too large.
    shown.is("cookie", &format!("served {api} /cookie 0"));
    for what in ["endless head", "endless line", "endless header", "endless lines"] {
        shown.is(what, "denied");
    }
    let mut odd = 0;
    for (what, ending) in shown.beginning("odd ") {
        odd += 1;
        let denied = ["403coco:", "400coco:"].iter().any(|words| ending.starts_with(words)) || ending == "closed";
        assert!(denied, "{what}: {ending}: {shown:?}");
    }
    assert_eq!(odd, 42);
    // What is denied for its host says so to the tool.
    for what in ["absolute", "connect", "upgrade", "two hosts", "two hosts turned", "no host"] {
        assert!(shown.get(&format!("odd {what}")).starts_with("403coco:"), "{what}: {shown:?}");
    }
    assert!(!site.api.http.was_sent("evil") && !site.api.http.was_sent(other), "{}", site.api.http.text());
    assert_eq!(site.api.http.text().matches("GET /").count(), 3, "{}", site.api.http.text());
    // The control: without the sandbox the server gets such requests.
    let open = network.bare_probe(code, &[api, other]);
    assert!(open.get("odd two hosts").starts_with("served") && open.get("odd absolute").starts_with("served"));
    assert!(site.api.http.was_sent("Upgrade: h2c") && site.api.http.was_sent(&format!("CONNECT {other}")));
}

/// Two readings of one stream: where one sees a body, the other sees the next request.
fn n12_smuggled_requests(world: &World, network: &Network) {
    let site = network.site();
    let (api, other) = (&site.api.name, &site.other.name);
    let code = r"
api, other = sys.argv[1:]
host = f'Host: {api}\r\n'
evil = get(other, '/evil')
chunked = 'Transfer-Encoding: chunked\r\n'
post = f'POST /p HTTP/1.1\r\n{host}'
tries('good', http, api, get(api))
for what, request in {
    'both lengths': f'{post}Content-Length: {5 + len(evil)}\r\n{chunked}\r\n0\r\n\r\n{evil}', 'both turned': f'{post}{chunked}Content-Length: 4\r\n\r\n0\r\n\r\n{evil}',
    'two lengths': f'{post}Content-Length: {len(evil)}\r\nContent-Length: 0\r\n\r\n{evil}', 'two lengths turned': f'{post}Content-Length: 0\r\nContent-Length: {len(evil)}\r\n\r\n{evil}',
    'length list': f'{post}Content-Length: 0, {len(evil)}\r\n\r\n{evil}', 'length sign': f'{post}Content-Length: +{len(evil)}\r\n\r\n{evil}', 'length minus': f'{post}Content-Length: -1\r\n\r\n{evil}',
    'length hex': f'{post}Content-Length: 0x{len(evil):x}\r\n\r\n{evil}', 'length space': f'{post}Content-Length: 0 {len(evil)}\r\n\r\n{evil}', 'length huge': f'{post}Content-Length: 18446744073709551616\r\n\r\n{evil}',
    'length empty': f'{post}Content-Length: \r\n\r\n{evil}', 'length colon': f'{post}Content-Length : {len(evil)}\r\n\r\n{evil}', 'length zero': f'GET /p HTTP/1.1\r\n{host}Content-Length: 0\r\n\r\n{evil}',
    'chunked twice': f'{post}{chunked}{chunked}\r\n0\r\n\r\n{evil}', 'chunked list': f'{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{evil}', 'chunked tab': f'{post}Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n{evil}',
    'chunked odd': f'{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{evil}', 'chunked colon': f'{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{evil}', 'chunked folded': f'{post}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{evil}',
    'chunked old': f'POST /p HTTP/1.0\r\n{host}{chunked}\r\n0\r\n\r\n{evil}', 'gzip': f'{post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{evil}',
    'size sign': f'{post}{chunked}\r\n+0\r\n\r\n{evil}', 'size minus': f'{post}{chunked}\r\n-1\r\n\r\n{evil}', 'size hex': f'{post}{chunked}\r\n0x0\r\n\r\n{evil}', 'size huge': f'{post}{chunked}\r\nfffffffffffffffff\r\n\r\n{evil}',
    'size space': f'{post}{chunked}\r\n0 \r\n\r\n{evil}', 'size LF': f'{post}{chunked}\r\n0\n\n{evil}', 'size extension': f'{post}{chunked}\r\n0;a=\nb\r\n\r\n{evil}', 'size long extension': f'{post}{chunked}\r\n0;' + 'a' * 100000 + f'\r\n\r\n{evil}',
    'chunk too short': f'{post}{chunked}\r\n3\r\nabcdef\r\n0\r\n\r\n{evil}', 'chunk CR': f'{post}{chunked}\r\n3\r\nabc\r0\r\n\r\n{evil}', 'trailer': f'{post}{chunked}\r\n0\r\nHost: {other}\r\n\r\n{evil}',
    'trailer endless': f'{post}{chunked}\r\n0\r\n' + 'X: y\r\n' * 30000 + f'\r\n{evil}', 'whole': f'{post}{chunked}\r\n5\r\nhello\r\n0\r\n\r\n{evil}', 'get with body': f'GET /p HTTP/1.1\r\n{host}{chunked}\r\n0\r\n\r\n{evil}',
    'head': f'HEAD /p HTTP/1.1\r\n{host}\r\n{evil}', 'expect': f'{post}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello{evil}',
}.items():
    also('smuggled ' + what, http, api, request, patience=3)
settle()
tries('good after', http, api, get(api))
";
    // The server of this test reads nothing of chunks: what it gets after a head is for it the next request, as for
    // the laxest of servers. What counts is that the other host's request never reaches it outside of a body.
    grant(world, "smuggling", &[api]);
    let shown = network.probe(world, "smuggling", code, &[api, other]);
    shown.is("good", &format!("served {api} / 0")).is("good after", &format!("served {api} / 0"));
    assert_eq!(shown.beginning("smuggled ").count(), 37);
    assert!(
        !site.api.http.was_sent("GET /evil") && !site.api.http.was_sent(&format!("\r\nHost: {other}")),
        "{}",
        site.api.http.text()
    );
    assert_eq!(site.other.connections(), 0);
    // Not a refusal of the host: the client is told to ask again without waiting for a word.
    assert!(shown.get("smuggled expect").starts_with("417coco:"), "{shown:?}");
    let ambiguous = [
        "both lengths",
        "both turned",
        "two lengths",
        "two lengths turned",
        "length list",
        "length sign",
        "length colon",
        "chunked twice",
        "chunked odd",
        "chunked colon",
        "chunked folded",
        "chunked old",
        "chunked list",
    ];
    for what in ambiguous {
        let ending = shown.get(&format!("smuggled {what}"));
        assert!(ending.starts_with("403coco:") || ending.starts_with("400coco:"), "{what}: {shown:?}");
        assert!(!ending.contains("served"), "{what}: {shown:?}");
    }
    // The control: without the sandbox the server takes the smuggled request for one.
    network.bare_probe(code, &[api, other]);
    assert!(site.api.http.was_sent("GET /evil"));
}
