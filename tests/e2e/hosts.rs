//! Clients that know nothing of coco reach the hosts that were granted, and only the network differs.

use std::net::IpAddr;

use serde_json::json;

use crate::support::authority::KeyExchange;
use crate::support::network::{Network, each_engine_with_network};
use crate::support::probe::PROBE;
use crate::support::servers;
use crate::support::{World, marker, run};

each_engine_with_network!(
    names_as_python_asks_for_them,
    clients_of_every_kind,
    a_client_in_ruby,
    keep_alive_and_many_requests,
    addresses_that_do_not_answer,
    through_a_proxy,
    around_the_proxy,
    learning_the_hosts,
    public_hosts,
    a_dry_run_opens_nothing,
);

fn names_as_python_asks_for_them(world: &World, network: &Network) {
    let site = network.site();
    world.python("asking", &json!({"allowed_hosts": [site.api.name]}));
    let code = r"
name = sys.argv[1]
flags = {'plain': 0, 'configured': socket.AI_ADDRCONFIG, 'canonical': socket.AI_CANONNAME, 'mapped': socket.AI_V4MAPPED,
         'usual': socket.AI_ADDRCONFIG | socket.AI_V4MAPPED}
for what, flag in flags.items():
    for family in (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6):
        tries(f'{family.name} {what}', lambda: len(addresses(name, family, flag)))
tries('old', lambda: socket.gethostbyname(name).startswith('127.'))
tries('old many', lambda: len(socket.gethostbyname_ex(name)[2]))
tries('same again', lambda: addresses(name) == addresses(name))
tries('search', addresses, name.split('.')[0])
started = time.monotonic()
tries('unknown', addresses, 'unknown.' + name)
tries('reverse', socket.gethostbyaddr, socket.gethostbyname(name))
print('fast:', time.monotonic() - started < 1)
print('getent:', subprocess.run(['getent', 'ahosts', name], capture_output=True, text=True).stdout.split()[0].startswith('127.'))
print('getent old:', subprocess.run(['getent', 'hosts', name], capture_output=True, text=True).stdout.split()[0].startswith('127.'))
";
    let shown = network.probe(world, "asking", code, &[&site.api.name]);
    for what in ["plain", "configured", "canonical", "mapped", "usual"] {
        shown.is(&format!("AF_UNSPEC {what}"), "1");
    }
    for what in ["plain", "canonical", "mapped"] {
        shown.is(&format!("AF_INET {what}"), "1");
    }
    // The C library's own rule: an interface with nothing but 127.0.0.1 counts as having no IPv4, and whoever asks for
    // IPv4 alone and only if there is any gets none. Clients ask for both families, so that it does not matter.
    for what in ["configured", "usual"] {
        shown.is_one_of(&format!("AF_INET {what}"), &["unknown name", "1"]);
    }
    shown.is("old", "True").is("old many", "1").is("same again", "True").is("search", "unknown name");
    shown.is("unknown", "unknown name").is("fast", "True").is("getent", "True").is("getent old", "True");
}

/// One after the other, what the stages' images have.
fn clients_of_every_kind(world: &World, network: &Network) {
    let site = network.site();
    let (api, other) = (&site.api.name, &site.other.name);
    // A server that the client has to say hello to a second time, and one that speaks on a port of its own.
    let retry = format!("retry.{}", site.domain);
    let address = network.address();
    network.resolve(&retry, &[address]);
    network.serve(address, 443, servers::tls(network.authority.config(&[&retry], KeyExchange::AskedFor)));
    network.serve(address, 8443, servers::tls(network.authority.config(&[&retry], KeyExchange::Usual)));
    let hosts = json!([api, retry, format!("{retry}:8443")]);
    let served = |name: &str| format!("served {name} / 0 {name}");

    world.python("clients", &json!({"allowed_hosts": hosts}));
    let code = r#"
api, retry, other = sys.argv[1:]
import urllib.request, http.client, shutil
def urllib_get(url):
    return urllib.request.urlopen(url, timeout=10).read().decode().strip()
def program(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20)
    return (done.stdout or 'failed ' + done.stderr[-300:].replace('\n', ' ')).strip().splitlines()[-1]
tries('urllib https', urllib_get, 'https://' + api)
tries('urllib http', urllib_get, 'http://' + api)
tries('urllib port', urllib_get, f'https://{retry}:8443')
tries('retry', urllib_get, 'https://' + retry)
tries('other', urllib_get, 'https://' + other)
perl = 'use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => shift, PeerPort => 80) or die $!; print $s "GET / HTTP/1.0\\r\\nHost: $ARGV[0]\\r\\n\\r\\n"; print while <$s>;'
tries('perl', program, 'perl', '-e', perl, api, api)
tries('openssl', program, 'sh', '-c', f'printf "GET / HTTP/1.1\\r\\nHost: {api}\\r\\n\\r\\n" | timeout 5 openssl s_client -quiet -verify_return_error -servername {api} -connect {api}:443 2>/dev/null')
tries('bash', program, 'bash', '-c', f'exec 3<>/dev/tcp/{api}/80; printf "GET / HTTP/1.0\\r\\nHost: {api}\\r\\n\\r\\n" >&3; timeout 2 cat <&3')
for name, command in {'curl': ['curl', '-sS', 'https://' + api], 'wget': ['wget', '-qO-', 'https://' + api], 'git': ['git', 'ls-remote', 'https://' + api]}.items():
    print(f'{name}:', program(*command) if shutil.which(name) else 'missing')
tries('apt', program, 'sh', '-c', f'echo "deb [trusted=yes] http://{api}/debian x main" >/tmp/list; apt-get -o Dir::Etc::sourcelist=/tmp/list -o Dir::Etc::sourceparts=- -o Dir::State=/tmp/s -o Dir::Cache=/tmp/c -o APT::Sandbox::User= -o Acquire::Retries=0 --print-uris update | grep -c {api}; mkdir -p /tmp/s/lists/partial /tmp/c/archives/partial; apt-get -o Dir::Etc::sourcelist=/tmp/list -o Dir::Etc::sourceparts=- -o Dir::State=/tmp/s -o Dir::Cache=/tmp/c -o APT::Sandbox::User= update 2>&1 | grep -c -i "{api}"')
"#;
    let shown = network.probe(world, "clients", code, &[api, &retry, other]);
    shown.is("urllib https", &served(api)).is("urllib http", &format!("served {api} / 0"));
    shown.is("urllib port", &format!("served {retry}:8443 / 0 {retry}")).is("retry", &served(&retry));
    assert!(shown.get("other").contains("not known") || shown.get("other").contains("resolution"), "{shown:?}");
    for what in ["perl", "bash"] {
        shown.is(what, &format!("served {api} / 0"));
    }
    shown.is("openssl", &served(api));
    for what in ["curl", "wget"] {
        shown.is_one_of(what, &["missing", &served(api)]);
    }
    // apt asked for its index through it; that there is none is another matter.
    assert!(site.api.http.was_sent("GET /debian/dists/x/InRelease"), "{shown:?}: {}", site.api.http.text());

    world.tool("node-client", &json!({"tool": "node@system", "command": "node", "allowed_hosts": hosts}));
    let code = r"
const [api, retry, other] = process.argv.slice(1);
const https = require('https'), http = require('http'), dns = require('dns'), tls = require('tls');
const get = (module, options) => new Promise(done => module.get(options, answer => {
    let text = ''; answer.on('data', part => text += part); answer.on('end', () => done(text.trim()));
}).on('error', error => done(error.code)));
(async () => {
    console.log('https:', await get(https, 'https://' + api));
    console.log('http:', await get(http, 'http://' + api));
    console.log('retry:', await get(https, 'https://' + retry));
    console.log('other:', await get(https, 'https://' + other));
    console.log('fetch:', (await (await fetch('https://' + api)).text()).trim());
    const agent = new https.Agent({keepAlive: true, maxSockets: 2});
    const many = await Promise.all([...Array(40).keys()].map(i => get(https, {host: api, path: '/' + i, agent})));
    console.log('agent:', many.filter((text, i) => text === `served ${api} /${i} 0 ${api}`).length);
    agent.destroy();
    console.log('c-ares:', (await dns.promises.resolve4(api)).length, (await dns.promises.resolve6(api).catch(error => error.code)));
    console.log('c-ares other:', await dns.promises.resolve4(other).catch(error => error.code), await dns.promises.resolveTxt('secret.' + other).catch(error => error.code));
    console.log('lookup:', (await dns.promises.lookup(api)).family);
    console.log('name:', await new Promise(done => tls.connect({host: api, port: 443, servername: other}).on('error', error => done('denied')).on('secureConnect', () => done('connected'))));
})();
";
    // The stage is built with the world's own names.
    world.coco(["run", "node-client", "-e", "0"]).succeeds();
    let node = network.coco(world, ["run", "node-client", "-e", code, api, &retry, other]);
    let lines: Vec<String> = node.succeeds().text().lines().map(str::to_owned).collect();
    let expected = [
        format!("https: {}", served(api)),
        format!("http: served {api} / 0"),
        format!("retry: {}", served(&retry)),
        "other: ENOTFOUND".to_owned(),
        format!("fetch: {}", served(api)),
        "agent: 40".to_owned(),
        "c-ares: 1 ENODATA".to_owned(),
        "c-ares other: ENOTFOUND ENOTFOUND".to_owned(),
        "lookup: 4".to_owned(),
        "name: denied".to_owned(),
    ];
    assert_eq!(lines, expected, "{node:?}");
    assert_eq!(site.other.connections(), 0);
}

/// It asks for names and dials in ways of its own, for IPv6 and IPv4 at the same time.
fn a_client_in_ruby(world: &World, network: &Network) {
    let site = network.site();
    let (api, other) = (&site.api.name, &site.other.name);
    world.tool("ruby-client", &json!({"tool": "ruby@system", "command": "ruby", "allowed_hosts": [api]}));
    // The stage is built with the world's own names.
    world.coco(["run", "ruby-client", "-e", "puts 1"]).succeeds();
    let code = r#"
require "net/http"
api, other = ARGV
puts Net::HTTP.get(URI("https://#{api}/"))
puts Net::HTTP.get(URI("http://#{api}/"))
Net::HTTP.start(api, 443, use_ssl: true) { |http| puts (1..20).map { |n| http.get("/#{n}").body.split[2] == "/#{n}" }.uniq.inspect }
begin
  Net::HTTP.get(URI("https://#{other}/"))
rescue SocketError
  puts "unknown"
end
"#;
    let shown = network.coco(world, ["run", "ruby-client", "-e", code, api, other]).succeeds().text();
    assert_eq!(shown.replace("\n\n", "\n"), format!("served {api} / 0 {api}\nserved {api} / 0\n[true]\nunknown"));
    assert_eq!((site.api.connections(), site.other.connections()), (3, 0));
}

fn keep_alive_and_many_requests(world: &World, network: &Network) {
    let site = network.site();
    let api = &site.api.name;
    world.python("many-requests", &json!({"allowed_hosts": [api]}));
    let code = r"
import http.client
api = sys.argv[1]
def kept(kind, port, count, **options):
    client = kind(api, port, timeout=20, **options)
    bodies = set()
    for number in range(count):
        body = b'x' * (number * 977 % 70000)
        client.request('POST', f'/{number}', body, {'Content-Length': str(len(body))})
        answer = client.getresponse().read().decode().split()
        bodies.add(answer[2:4] == [f'/{number}', str(len(body))])
    client.close()
    return bodies
tries('http', kept, http.client.HTTPConnection, 80, 100)
tries('https', kept, http.client.HTTPSConnection, 443, 100, context=context())
def at_once():
    results = []
    def one(number):
        results.append(https(api, path=f'/{number}') == f'served {api} /{number} 0 {api}')
    threads = [threading.Thread(target=one, args=(number,)) for number in range(60)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return results.count(True)
tries('at once', at_once)
def read_pipelined():
    with dial(api, 80) as stream:
        stream.sendall(b''.join(get(api, f'/{number}').encode() for number in range(50)))
        data = b''
        while data.count(b'served') < 50:
            block = stream.recv(65536)
            if not block:
                break
            data += block
        return [number for number in range(50) if f'served {api} /{number} 0'.encode() in data]
tries('pipelined', lambda: len(read_pipelined()))
";
    let shown = network.probe(world, "many-requests", code, &[api]);
    shown.is("http", "{True}").is("https", "{True}").is("at once", "60").is("pipelined", "50");
    assert_eq!((site.api.tls.connections(), site.api.http.connections()), (61, 2));
}

/// Of several addresses, one that answers is found, whichever family it has.
fn addresses_that_do_not_answer(world: &World, network: &Network) {
    let domain = network.domain();
    let port = network.port();
    let (dead, dead6, good, good6) = (network.address(), network.address6(), network.address(), network.address6());
    let nowhere: IpAddr = "203.0.113.254".parse().unwrap();
    let servers =
        [network.serve(good, port, servers::answer("four")), network.serve(good6, port, servers::answer("six"))];
    let mut hosts = Vec::new();
    for (name, addresses) in [
        ("four", vec![good]),
        ("six", vec![good6]),
        ("both", vec![good, good6]),
        ("dead-first", vec![dead, good]),
        ("dead-six", vec![dead6, good]),
        ("dead-many", vec![dead, dead6, dead, dead6, good]),
        ("dead", vec![dead, dead6]),
        ("nowhere", vec![nowhere, good]),
    ] {
        network.resolve(&format!("{name}.{domain}"), &addresses);
        hosts.push(format!("{name}.{domain}:{port}"));
    }
    network.drop_packets_to(nowhere);
    world.python("addresses", &json!({"allowed_hosts": hosts}));
    let code = "
def talks(host, port):
    started = time.monotonic()
    with dial(host, port, 30) as stream:
        stream.sendall(b'x')
        return (stream.recv(99).decode() or 'closed') + (' slowly' if time.monotonic() - started > 4 else '')
for name in ('four', 'six', 'both', 'dead-first', 'dead-six', 'dead-many', 'dead', 'nowhere'):
    tries(name, talks, name + '.' + sys.argv[1], int(sys.argv[2]))
";
    let shown = network.probe(world, "addresses", code, &[&domain, &port.to_string()]);
    for name in ["four", "dead-first", "dead-six", "dead-many", "nowhere"] {
        shown.is(name, "four");
    }
    shown.is("six", "six").is_one_of("both", &["four", "six"]).is_one_of("dead", &["closed", "refused"]);
    assert_eq!(servers.iter().map(servers::Server::connections).sum::<usize>(), 7);
    // It is not coco that denied it, and so nobody is told to grant anything.
    assert!(!shown.errors.contains("add \"dead"), "{}", shown.errors);
}

fn through_a_proxy(world: &World, network: &Network) {
    let site = network.site();
    let (api, other) = (&site.api.name, &site.other.name);
    let raw = format!("raw.{}", site.domain);
    network.resolve(&raw, &[site.api.address]);
    let port = network.port();
    network.serve(site.api.address, port, servers::answer("raw"));
    world.python("proxied-client", &json!({"allowed_hosts": [api, format!("{raw}:{port}")]}));
    let code = r"
api, other, raw, port = sys.argv[1:]
tries('https', https, api)
tries('http', http, api, get(api), get(api, '/2'))
def talks():
    with dial(raw, int(port)) as stream:
        stream.sendall(b'x')
        return stream.recv(99).decode() or 'closed'
tries('raw', talks)
tries('other', https, other)
tries('other name', https, api, name=other)
";
    let arguments = [api.clone(), other.clone(), raw.clone(), port.to_string()];
    let password = marker("password");
    for (variable, address) in [("HTTPS_PROXY", "user%40x:PASSWORD@"), ("https_proxy", "user:PASSWORD@")] {
        let user = if address.starts_with("user%40x") { "user@x" } else { "user" };
        let proxy = network.proxy(user, &password);
        let address = format!("http://{}{}", address.replace("PASSWORD", &password), proxy.address);
        let shown = run(&mut network.world_command(world, |coco| {
            coco.env(variable, &address).args(["run", "proxied-client", "-c", &format!("{PROBE}\n{code}")]);
            coco.args(&arguments);
        }));
        let shown = crate::support::probe::Answers::of(&shown);
        shown.is("https", &format!("served {api} / 0 {api}")).is("raw", "raw").is("other", "unknown name");
        shown.is("http", &format!("served {api} / 0 | served {api} /2 0"));
        assert!(shown.get("other name").starts_with("tls ") || shown.get("other name") == "closed", "{shown:?}");
        assert_eq!(proxy.connections(), 3, "{variable}: {}", proxy.text());
        // The address that was checked: the proxy has nothing left to look up.
        for port in [443, 80, port] {
            assert!(
                proxy.was_sent(&format!("CONNECT {}:{port} HTTP/1.1", site.api.address)),
                "{variable}: {}",
                proxy.text()
            );
        }
        assert!(!shown.errors.contains(&password));
        // The wrong password is an error that says so without saying it.
        let wrong = address.replace(&password, "wrong-password-x");
        let shown = run(&mut network.world_command(world, |coco| {
            coco.env(variable, wrong).args([
                "run",
                "proxied-client",
                "-c",
                &format!("{PROBE}\ntries('https', https, sys.argv[1])"),
                api,
            ]);
        }));
        assert!(shown.succeeds().text() != format!("https: served {api} / 0 {api}"), "{shown:?}");
        assert!(!shown.errors().contains("wrong-password-x"), "{shown:?}");
    }
}

fn around_the_proxy(world: &World, network: &Network) {
    let site = network.site();
    let (api, other) = (&site.api.name, &site.other.name);
    let proxy = network.proxy("user", "password");
    world.python("no-proxy", &json!({"allowed_hosts": [api, other]}));
    let code = format!("{PROBE}\ntries('api', https, sys.argv[1])\ntries('other', https, sys.argv[2])");
    let served = |name: &str| format!("served {name} / 0 {name}");
    for (list, through) in [
        (api.clone(), 1),
        (format!(".{}", site.domain), 0),
        (site.domain.clone(), 0),
        (format!("elsewhere.example.com, {api}"), 1),
        ("*".to_owned(), 0),
        (format!("pi.{}", site.domain), 2),
        (String::new(), 2),
    ] {
        let before = proxy.connections();
        let shown = run(&mut network.world_command(world, |coco| {
            coco.env("HTTPS_PROXY", format!("http://user:password@{}", proxy.address)).env("NO_PROXY", &list);
            coco.args(["run", "no-proxy", "-c", &code, api, other]);
        }));
        let shown = crate::support::probe::Answers::of(&shown);
        shown.is("api", &served(api)).is("other", &served(other));
        assert_eq!(proxy.connections() - before, through, "NO_PROXY={list}");
    }
}

/// What a tool needs is found out by letting it, once.
fn learning_the_hosts(world: &World, network: &Network) {
    let site = network.site();
    let (api, other) = (&site.api.name, &site.other.name);
    let (raw, private) = (format!("raw.{}", site.domain), format!("private.{}", site.domain));
    let port = network.port();
    network.resolve(&raw, &[site.api.address]);
    network.resolve(&private, &[IpAddr::from([10, 5, 0, 1])]);
    network.serve(site.api.address, port, servers::answer("raw"));
    let lan = network.serve(IpAddr::from([10, 5, 0, network.number()]), 443, servers::silent);
    let code = r"
api, other, raw, port, private = sys.argv[1:]
tries('api', https, api)
tries('other', http, other, get(other))
tries('private', https, private)
tries('unknown', https, 'unknown.' + api)
";
    world.python("learning", &json!({}));
    let probe = format!("{PROBE}\n{code}");
    let arguments = ["run", "--learn", "learning", "-c", &probe, api, other, &raw, &port.to_string(), &private];
    let shown = crate::support::probe::Answers::of(&network.coco(world, arguments));
    shown.is("api", &format!("served {api} / 0 {api}")).is("other", &format!("served {other} / 0"));
    assert_ne!(shown.get("private"), "connected");
    assert_eq!(lan.connections(), 0);
    let proposed = shown.errors.lines().find_map(|line| line.trim().strip_prefix("\"allowed_hosts\": ")).unwrap();
    let mut hosts: Vec<String> = serde_json::from_str(proposed).unwrap();
    hosts.sort();
    assert_eq!(hosts, [api.as_str(), other]);
    // What is proposed is enough.
    world.python("learning", &json!({"allowed_hosts": hosts}));
    let arguments = [api.clone(), other.clone(), raw, port.to_string(), private];
    let shown = network.probe(world, "learning", code, &arguments);
    shown.is("api", &format!("served {api} / 0 {api}")).is("other", &format!("served {other} / 0"));
    shown.is("private", "unknown name");
}

fn public_hosts(world: &World, network: &Network) {
    let site = network.site();
    let api = &site.api.name;
    let private = format!("private.{}", site.domain);
    let private_address = IpAddr::from([10, 6, 0, network.number()]);
    network.resolve(&private, &[private_address]);
    let lan = network.serve(private_address, 443, servers::silent);
    world.python("public", &json!({"network": "public"}));
    let code = r"
api, private, address = sys.argv[1:]
tries('api', https, api)
tries('private', https, private)
tries('address', connects, address, 443)
tries('name', https, api, name=private)
tries('unknown', https, 'unknown.' + api)
tries('literal', asks, query(address, 1))
tries('localhost', lambda: addresses('localhost', socket.AF_INET))
tries('local', asks, query('printer.local', 1))
tries('internal', asks, query('metadata.google.internal', 1))
tries('single', asks, query('router', 1))
print('interfaces:', [line.split(':')[0].strip() for line in open('/proc/net/dev').readlines()[2:] if line.split(':')[0].strip() in ('lo', 'cable', 'eth0', 'tap0')])
";
    let shown = network.probe(world, "public", code, &[api, &private, &site.api.address.to_string()]);
    shown.is("api", &format!("served {api} / 0 {api}")).is("address", "Network is unreachable");
    shown.is("interfaces", "['lo']").is("localhost", "['127.0.0.1']").is("literal", "unknown 0");
    for what in ["private", "name", "unknown"] {
        assert!(!shown.get(what).starts_with("served"), "{shown:?}");
    }
    assert_eq!(lan.connections(), 0);
    shown.complains("private");
}

/// Looking at a plan starts nothing, asks nobody and listens nowhere.
fn a_dry_run_opens_nothing(world: &World, network: &Network) {
    let site = network.site();
    let port = network.port();
    world.python("dry", &json!({"allowed_hosts": [site.api.name], "ports": [format!("{port}:80")]}));
    for arguments in [&["run", "--dry-run", "dry", "-c", "pass"][..], &["show", "dry"]] {
        let shown = network.coco(world, arguments);
        assert!(shown.succeeds().text().contains(&site.api.name), "{shown:?}");
    }
    assert_eq!(network.asked(&site.domain), Vec::<String>::new());
}
