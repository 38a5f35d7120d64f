//! N3, N6, N7: what the sandbox's own name server says, and that nobody else is asked.

use serde_json::json;

use crate::support::network::{Network, each_engine_with_network};
use crate::support::{World, marker};

each_engine_with_network!(n3_secrets_in_names, n6_other_kinds_of_records, n7_hostile_names, n14_more_names_than_places);

fn grant(world: &World, tool: &str, hosts: &[&str]) {
    world.python(tool, &json!({"allowed_hosts": hosts}));
}

const ASK_ALL: &str = "
end, granted, secret = sys.argv[1:]
names = {'labels': [secret, *end.split('.')], 'deep': [secret[i:i + 4] for i in range(0, len(secret), 4)] + end.split('.'),
         'elsewhere': [secret, 'example', 'net'], 'top': [secret], 'reverse': [secret, '10', 'in-addr', 'arpa'], 'local': [secret, 'local']}
for what, name in names.items():
    for kind, number in KINDS.items():
        for tcp in (False, True):
            tries(f'{what} {kind} ' + ('tcp' if tcp else 'udp'), asks, query(name, number), tcp=tcp)
    tries(f'{what} chaos', asks, query(name, 16, 3))
    tries(f'{what} library', addresses, '.'.join(name))
with open('/etc/resolv.conf') as file:
    print('servers:', [line.split()[1] for line in file if line.startswith('nameserver')])
tries('granted', https, granted)
";

fn n3_secrets_in_names(world: &World, network: &Network) {
    let site = network.site();
    let secret = marker("secret");
    // Whoever asks the machine's resolver for it gets an answer.
    for name in [format!("{secret}.{}", site.other.name), format!("{secret}.example.net")] {
        network.resolve(&name, &[site.other.address]);
    }
    grant(world, "names", &[&site.api.name]);
    let capture = network.capture();
    let shown = network.probe(world, "names", ASK_ALL, &[&site.other.name, &site.api.name, &secret]);
    let packets = capture.stop();
    for what in ["labels", "deep", "elsewhere", "top", "reverse", "local"] {
        assert_eq!(
            shown.all(&format!("{what} "), &["unknown 0", "unknown name", "refused 0", "not implemented 0"]),
            44
        );
        shown.is(&format!("{what} A udp"), "unknown 0").is(&format!("{what} AAAA tcp"), "unknown 0");
        shown.is(&format!("{what} TXT udp"), "unknown 0").is(&format!("{what} library"), "unknown name");
    }
    shown.is("servers", "['127.0.0.1']");
    let (secret_there, granted_there) = (seen_in(&packets, &secret), seen_in(&packets, "\x03api"));
    assert!(!secret_there, "the secret was on the cable");
    assert_eq!(network.asked(&secret), Vec::<String>::new());
    assert!(!network.asked(&site.domain).iter().any(|name| name.contains(&secret)));
    // The controls: the granted name was asked for on the cable, by coco; and a bare query shows the secret there.
    shown.is("granted", &format!("served {0} / 0 {0}", site.api.name));
    assert!(granted_there && network.asked(&site.domain).contains(&site.api.name));
    let capture = network.capture();
    let bare =
        network.bare_probe("tries('labels', addresses, sys.argv[1])", &[&format!("{secret}.{}", site.other.name)]);
    bare.is("labels", &format!("['{}']", site.other.address));
    assert!(seen_in(&capture.stop(), &secret), "the control: the capture sees it");
    // What was refused is said, once for each name.
    let line = format!("coco: denied names -> {secret}.{}", site.other.name);
    assert_eq!(shown.errors.matches(&line).count(), 1, "{}", shown.errors);
}

/// Whether any packet holds these bytes, in upper or lower case.
fn seen_in(packets: &[Vec<u8>], bytes: &str) -> bool {
    let equal = |window: &[u8]| window.eq_ignore_ascii_case(bytes.as_bytes());
    packets.iter().any(|packet| packet.windows(bytes.len()).any(equal))
}

fn n6_other_kinds_of_records(world: &World, network: &Network) {
    let site = network.site();
    let wild = format!("wild.{}", site.domain);
    network.resolve(&format!("any.{wild}"), &[site.api.address]);
    grant(world, "kinds", &[&site.api.name, &format!("*.{wild}")]);
    let code = "
for host, name in {'exact': sys.argv[1], 'wild': 'any.' + sys.argv[2]}.items():
    for kind, number in KINDS.items():
        for tcp in (False, True):
            tries(f'{host} {kind} ' + ('tcp' if tcp else 'udp'), asks, query(name, number), tcp=tcp)
    tries(f'{host} chaos', asks, query(name, 1, 3))
    tries(f'{host} v4', synthetic, name)
    tries(f'{host} same', lambda: addresses(name) == addresses(name, socket.AF_INET) == addresses(name))
    tries(f'{host} v6', addresses, name, socket.AF_INET6)
";
    let shown = network.probe(world, "kinds", code, &[&site.api.name, &wild]);
    for host in ["exact", "wild"] {
        for transport in ["udp", "tcp"] {
            shown.is(&format!("{host} A {transport}"), "ok 1");
            for kind in ["AAAA", "TXT", "HTTPS", "SVCB", "ANY", "MX", "CNAME", "SRV", "CAA", "NULL", "ODD"] {
                // Of no address, an answer with authority records would be one; coco has none to give.
                shown.is(&format!("{host} {kind} {transport}"), "ok 0");
            }
            for kind in ["AXFR", "IXFR"] {
                shown.is_one_of(&format!("{host} {kind} {transport}"), &["ok 0", "refused 0", "not implemented 0"]);
            }
        }
        assert_ne!(shown.get(&format!("{host} chaos")), "ok 1");
        // The control is the first of these: the name has an address.
        shown.is(&format!("{host} v4"), "synthetic").is(&format!("{host} same"), "True");
        shown.is(&format!("{host} v6"), "unknown name");
    }
    // Nothing was asked outside: nothing was dialled.
    assert_eq!(network.asked(&site.domain), Vec::<String>::new());
}

fn n7_hostile_names(world: &World, network: &Network) {
    let site = network.site();
    grant(world, "hostile-names", &[&site.api.name]);
    let code = r"
name = sys.argv[1]
labels = name.split('.')
upper = ''.join(letter.upper() if index % 2 else letter for index, letter in enumerate(name))
# What is the same name in other letters is the same host.
tries('good case', asks, query(upper, 1))
tries('good case TLS', https, upper, header=name)
tries('good dot', synthetic, name + '.')
tries('good plain', asks, query(name, 1))
for what, hostile in {
    'NUL': [labels[0] + '\0', *labels[1:]], 'NUL and more': [labels[0], labels[1], 'com\0', 'evil', 'com'],
    'NUL first': ['\0' + labels[0], *labels[1:]], 'line': [labels[0] + '\r\n', *labels[1:]], 'space': [' ' + labels[0], *labels[1:]],
    'space after': [*labels[:-1], 'com '], 'slash': [labels[0] + '/', *labels[1:]], 'at': ['user@' + labels[0], *labels[1:]],
    'percent': [labels[0] + '%00', *labels[1:]], 'colon': [*labels[:-1], 'com:443'], 'dots in a label': [name],
    'wide': ['ａｐｉ'.encode(), *labels[1:]], 'cyrillic': ['арі'.encode(), *labels[1:]], 'punycode': ['xn--80ak6aa92e', *labels[1:]],
    'high': [b'\xff' + labels[0].encode(), *labels[1:]], 'star': ['*', *labels[1:]], 'minus': ['-' + labels[0], *labels[1:]],
    'label of 63': ['a' * 63, *labels], 'longest': ['a' * 63] * 3 + ['a' * 40, *labels[-1:]], 'single': [labels[0]], 'root': [],
}.items():
    tries('bad ' + what, asks, query(hostile, 1))
    tries('bad tcp ' + what, asks, query(hostile, 1), tcp=True)
head = struct.pack('>6H', 7, 0x0100, 1, 0, 0, 0)
end = struct.pack('>2H', 1, 1)
answer = lambda packet, **more: asks(packet, patience=0.5, **more)
odd = {
    'nothing': b'', 'short': head[:11], 'no question': struct.pack('>6H', 7, 0x0100, 0, 0, 0, 0), 'head alone': head,
    'two questions': struct.pack('>6H', 7, 0x0100, 2, 0, 0, 0) + (encoded(name) + end) * 2, 'pointer to itself': head + b'\xc0\x0c' + end,
    'pointer ahead': head + b'\xc0\xff' + end, 'label of 64': head + b'\x40' + b'a' * 64 + b'\0' + end, 'reserved label': head + b'\x80' + b'a' * 9 + b'\0' + end,
    'too long': head + b'\x3f' + b'a' * 63 + (b'\x3f' + b'a' * 63) * 4 + b'\0' + end, 'label past the end': head + b'\x3fabc',
    'no kind': head + encoded(name), 'an answer': query(name, 1, flags=0x8180), 'update': query(name, 1, flags=0x2800), 'status': query(name, 1, flags=0x1000),
    'notify': query(name, 1, flags=0x2000), 'counts': struct.pack('>6H', 7, 0x0100, 1, 65535, 65535, 65535) + encoded(name) + end, 'huge': query(name, 1) + b'x' * 60000,
}
for what, packet in odd.items():
    also('odd ' + what, answer, packet)
settle()
for what, packet in odd.items():
    if packet:
        tries('odd tcp ' + what, answer, packet, tcp=True)
tries('after udp', asks, query(name, 1))
# Slow ones on TCP do not keep others out.
slow = [socket.create_connection(('127.0.0.1', 53)) for _ in range(50)]
for stream in slow:
    stream.sendall(b'\xff')
tries('after slow', asks, query(name, 1))
# Nobody has the place for long.
time.sleep(4)
tries('after slow tcp', asks, query(name, 1), tcp=True)
two = struct.pack('>H', len(query(name, 1))) + query(name, 1)
with dial('127.0.0.1', 53) as stream:
    stream.sendall(two + two)
    tries('two in one', lambda: [len(stream.recv(int.from_bytes(stream.recv(2, socket.MSG_WAITALL), 'big'), socket.MSG_WAITALL)) > 12 for _ in range(2)])
";
    let shown = network.probe(world, "hostile-names", code, &[&site.api.name]);
    shown.is("good case", "ok 1").is("good plain", "ok 1").is("good dot", "synthetic");
    let served = format!("served {0} / 0 ", site.api.name);
    assert!(shown.get("good case TLS").starts_with(&served), "{shown:?}");
    let bad = shown.all("bad ", &["unknown 0", "malformed 0", "refused 0", "ok 0", "closed", "silence"]);
    assert_eq!(bad, 42);
    // Names with anything but a host's letters in them are not even names.
    for what in ["NUL", "NUL and more", "line", "space", "dots in a label", "star", "root", "wide"] {
        assert_ne!(shown.get(&format!("bad {what}")), "ok 1");
    }
    let odd = ["malformed 0", "refused 0", "not implemented 0", "unknown 0", "ok 0", "closed", "silence"];
    for what in
        ["nothing", "short", "no question", "pointer to itself", "label of 64", "too long", "an answer", "update"]
    {
        shown.is_one_of(&format!("odd {what}"), &odd);
    }
    for what in ["after udp", "after slow", "after slow tcp"] {
        shown.is(what, "ok 1");
    }
    shown.is("two in one", "[True, True]");
    // Only the granted one was ever looked up, in the coco file's own letters.
    assert!(network.asked(&site.domain).iter().all(|name| *name == site.api.name));
    assert_eq!((site.api.connections(), site.other.connections()), (1, 0));
}

/// A wildcard has no end of names, and the sandbox has places for some hundred: an address that was one host's never
/// becomes another's.
fn n14_more_names_than_places(world: &World, network: &Network) {
    let site = network.site();
    let wild = format!("wild.{}", site.domain);
    let (first, last) = (format!("first.{wild}"), format!("last.{wild}"));
    for name in [&first, &last] {
        network.resolve(name, &[site.api.address]);
    }
    grant(world, "places", &[&format!("*.{wild}")]);
    let code = r"
first, last, wild = sys.argv[1:]
old = socket.gethostbyname(first)
tries('before', http, first, get(first))
kept = dial(first, 80)
kept.sendall(get(first, '/kept').encode())
answer_of(kept)
given = {old}
for number in range(1500):
    given.add(socket.gethostbyname(f'n{number}.{wild}'))
given.add(socket.gethostbyname(last))
print('different:', len(given))
tries('last', http, last, get(last))
# The old address, by its number: nobody's, or still the first one's.
def at(address, name):
    with dial(address, 80, 3) as stream:
        stream.sendall(get(name).encode())
        return answer_of(stream)
tries('old as last', at, old, last)
tries('old as first', at, old, first)
kept.sendall(get(first, '/kept').encode())
tries('kept', answer_of, kept)
tries('again', http, first, get(first))
";
    let shown = network.probe(world, "places", code, &[&first, &last, &wild]);
    let served = |name: &str| format!("served {name} / 0");
    // Each has an address of its own.
    shown.is("before", &served(&first)).is("different", "1502").is("last", &served(&last));
    let nobody = ["refused", "closed"];
    assert!(
        nobody.contains(&shown.get("old as last")) || shown.get("old as last").starts_with("403coco:"),
        "{shown:?}"
    );
    shown.is_one_of("old as first", &[nobody.as_slice(), &[&served(&first)]].concat());
    // What was open goes on, and a name that was forgotten is found again.
    shown.is("kept", &format!("served {first} /kept 0")).is("again", &served(&first));
}
