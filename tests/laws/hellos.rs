//! TLS hellos: the name that a real client sends is read, however the bytes are cut, and no other.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use coco::network::Progress;
use coco::network::tls_hello::{ClientHello, Reader, Rejected, client_hello, is_retry_request, second_client_hello};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index as Pick, select};

use crate::cases;
use crate::counted::law;

type Outcome = Result<Progress<ClientHello>, Rejected>;

/// What each recorded client sent, and whether it is let through.
const RECORDED: [(&str, Result<&str, Rejected>); 20] = [
    ("cargo", Ok(NAME)),
    ("curl", Ok(NAME)),
    // What they make up to keep servers tolerant can't be told from what hides a name.
    ("curl-impersonating-chrome", Err(Rejected::EncryptedName)),
    ("curl-impersonating-firefox", Err(Rejected::EncryptedName)),
    ("curl-impersonating-safari", Ok(NAME)),
    ("git", Ok(NAME)),
    ("java17", Ok(NAME)),
    ("node20", Ok(NAME)),
    ("node24", Ok(NAME)),
    ("node24-fetch", Ok(NAME)),
    ("npm", Ok(NAME)),
    ("openssl-no-name", Err(Rejected::NoServerName)),
    ("openssl-resumed-early-data", Ok(NAME)),
    ("openssl-tls10", Ok(NAME)),
    ("openssl-tls12", Ok(NAME)),
    ("openssl-tls13-alpn", Ok(NAME)),
    ("pip", Ok(NAME)),
    ("python", Ok(NAME)),
    ("uv", Ok(NAME)),
    ("wget", Ok(NAME)),
];

/// The name that they all asked for.
const NAME: &str = "registry.example";

fn recorded(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/hello/{name}.bin"))).unwrap()
}

/// Where the first record ends: real clients send a hello in one.
fn first_record(bytes: &[u8]) -> usize {
    5 + usize::from(u16::from_be_bytes([bytes[3], bytes[4]]))
}

/// The recorded hellos that are let through, one record each.
fn hellos() -> Vec<Vec<u8>> {
    let mut hellos = Vec::new();
    for (name, outcome) in RECORDED {
        let mut bytes = recorded(name);
        bytes.truncate(first_record(&bytes));
        hellos.extend(outcome.is_ok().then_some(bytes));
    }
    hellos
}

/// A hello of one record cut into records of these sizes, over and over.
fn cut(hello: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), &hello[5..]);
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        bytes.extend([22, 3, 1]);
        bytes.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
        bytes.extend(piece);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    bytes
}

fn complete(name: &str, length: usize) -> Progress<ClientHello> {
    Progress::Complete(ClientHello { server_name: name.to_owned(), length })
}

/// What a reader says that sees the bytes grow by these sizes, over and over.
fn grown(mut reader: Reader, bytes: &[u8], sizes: &[usize]) -> Outcome {
    let mut there = 0;
    for size in sizes.iter().cycle() {
        let outcome = reader.read(&bytes[..there]);
        if outcome != Ok(Progress::Incomplete) || there == bytes.len() {
            return outcome;
        }
        there = bytes.len().min(there + size);
    }
    Ok(Progress::Incomplete)
}

/// A name that a host may have.
fn host() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9]([a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?(\\.[a-zA-Z]([a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?){1,4}"
}

/// A hello of one record with this name among other extensions, or behind a large one.
fn made(name: &str, others: &[(u16, Vec<u8>)], place: Pick) -> Vec<u8> {
    let vector = |content: &[u8]| [&u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat();
    let mut extensions: Vec<Vec<u8>> =
        others.iter().map(|(kind, content)| [&kind.to_be_bytes(), vector(content).as_slice()].concat()).collect();
    let entry = [&[0], vector(name.as_bytes()).as_slice()].concat();
    let place = place.index(extensions.len() + 1);
    extensions.insert(place, [&[0, 0], vector(&vector(&entry)).as_slice()].concat());
    let body = [&[3, 3], [7; 32].as_slice(), &[0, 0, 2, 0x13, 1, 1, 0], &vector(&extensions.concat())].concat();
    let message = [&[1, 0], vector(&body).as_slice()].concat();
    [&[22, 3, 1], vector(&message).as_slice()].concat()
}

/// Extensions that neither name a server nor hide one.
fn other_extensions() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    let large = vec(any::<u8>(), 0..2000);
    let larger = vec(any::<u8>(), 11_000..12_000);
    btree_map(1_u16..0xfe00, prop_oneof![80 => vec(any::<u8>(), 0..60), 20 => large, 10 => larger], 0..6)
        .prop_map(|extensions| extensions.into_iter().collect())
}

#[test]
fn what_real_clients_send_is_read_at_every_split() {
    for (client, expected) in RECORDED {
        let bytes = recorded(client);
        let length = first_record(&bytes);
        let expected = expected.map(|name| complete(name, length));
        assert_eq!(client_hello(&bytes), expected, "{client}");
        assert_eq!(client_hello(&bytes[..length]), expected, "{client}");
        for cut in 0..length {
            assert_eq!(client_hello(&bytes[..cut]), Ok(Progress::Incomplete), "{client} {cut}");
        }
    }
}

#[test]
fn what_real_clients_send_is_read_in_records_of_one_byte() {
    for hello in hellos() {
        let bytes = cut(&hello, &[1]);
        let mut reader = Reader::of_first();
        for there in 0..bytes.len() {
            assert_eq!(reader.read(&bytes[..there]), Ok(Progress::Incomplete));
        }
        assert_eq!(reader.read(&bytes), Ok(complete(NAME, bytes.len())));
        assert_eq!(client_hello(&bytes), Ok(complete(NAME, bytes.len())));
    }
}

#[test]
fn every_recorded_file_is_listed_with_its_client() {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hello/README.md")).unwrap();
    for (name, _) in RECORDED {
        assert!(readme.contains(&format!("`{name}.bin`")), "{name}");
    }
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hello")).unwrap();
    // Six more are of connections' other parts, and one is the list itself.
    assert_eq!(files.count(), RECORDED.len() + 7);
}

#[test]
fn a_recorded_request_for_a_second_hello_is_followed() {
    for which in ["retry-plain", "retry-early-data"] {
        let server = recorded(&format!("{which}-server"));
        let known = (0..=server.len()).find(|cut| is_retry_request(&server[..*cut]) != Ok(Progress::Incomplete));
        assert_eq!(known, Some(5 + 38), "{which}");
        assert_eq!(is_retry_request(&server), Ok(Progress::Complete(true)), "{which}");

        let client = recorded(&format!("{which}-client"));
        let first = first_record(&client);
        assert_eq!(client_hello(&client), Ok(complete(NAME, first)), "{which}");
        let rest = &client[first..];
        let outcome = second_client_hello(rest);
        let Ok(Progress::Complete(ClientHello { server_name, length })) = &outcome else {
            panic!("{which}: {outcome:?}")
        };
        assert_eq!(server_name, NAME, "{which}");
        for cut in 0..*length {
            assert_eq!(second_client_hello(&rest[..cut]), Ok(Progress::Incomplete), "{which} {cut}");
        }
        assert_eq!(grown(Reader::of_second(), rest, &[1]), outcome, "{which}");
    }
    for which in ["tls12-server", "tls13-server"] {
        assert_eq!(is_retry_request(&recorded(which)), Ok(Progress::Complete(false)), "{which}");
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn what_rustls_sends_is_read(name in host(), size in proptest::option::of(32_usize..600), versions in select(std::vec![(0, 1), (1, 2), (0, 2)])) {
        let versions = &rustls::ALL_VERSIONS[versions.0..versions.1];
        let mut config = rustls::ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        // It cuts a hello into records by itself.
        config.max_fragment_size = size;
        let server = rustls::pki_types::ServerName::try_from(name.clone()).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), server).unwrap();
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        prop_assert_eq!(client_hello(&bytes), Ok(complete(&name, bytes.len())));
        for cut in 0..bytes.len() {
            prop_assert_eq!(client_hello(&bytes[..cut]), Ok(Progress::Incomplete));
        }
    }
}

#[test]
fn a_name_is_read_wherever_it_is_and_however_it_is_cut() {
    let hellos = (host(), other_extensions(), any::<Pick>());
    // In records of a few bytes, a large hello has more than is read.
    let records = prop_oneof![3 => vec(1_usize..400, 1..6), 1 => Just(vec![1])];
    let cuts = (records, vec(1_usize..50, 1..6), vec(any::<u8>(), 0..10));
    law(
        400,
        &[("read", 200), ("too long", 3)],
        (hellos, cuts),
        |tally, ((name, others, place), (sizes, steps, after))| {
            let bytes = cut(&made(&name, &others, place), &sizes);
            if bytes.len() > coco::network::tls_hello::MAX_HELLO {
                tally.count("too long");
                prop_assert_eq!(client_hello(&bytes), Err(Rejected::TooLong));
                return Ok(());
            }
            tally.count("read");
            let expected = Ok(complete(&name, bytes.len()));
            prop_assert_eq!(client_hello(&[bytes.clone(), after].concat()), expected.clone());
            prop_assert_eq!(grown(Reader::of_first(), &bytes, &steps), expected.clone());
            prop_assert_eq!(second_client_hello(&bytes), expected);
            for cut in (0..bytes.len()).step_by(steps[0]) {
                prop_assert_eq!(client_hello(&bytes[..cut]), Ok(Progress::Incomplete));
            }
            Ok(())
        },
    );
}

#[test]
fn a_changed_hello_has_the_same_name_or_none() {
    let changes = (select(hellos()), vec(1_usize..2000, 1..4), any::<Pick>(), 1..=255_u8);
    let floors = [("still a hello", 1000), ("with another name", 10), ("none any more", 50)];
    law(5000, &floors, changes, |tally, (hello, sizes, at, change)| {
        let mut bytes = cut(&hello, &sizes);
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        let Ok(Progress::Complete(found)) = client_hello(&bytes) else {
            tally.count("none any more");
            return Ok(());
        };
        tally.count("still a hello");
        // Unless the change is in the name itself, of which one byte differs then.
        let differences = found.server_name.bytes().zip(NAME.bytes()).filter(|(one, other)| one != other).count();
        tally.count_if(differences > 0, "with another name");
        prop_assert!(found.server_name.len() == NAME.len() && differences <= 1, "{}", found.server_name);
        prop_assert!(differences == 0 || found.server_name.bytes().any(|byte| byte == bytes[at]));
        prop_assert_eq!(found.length, bytes.len());
        Ok(())
    });
}

#[test]
fn hostile_bytes_never_panic_and_are_judged_alike_in_pieces() {
    let retry = recorded("retry-plain-client")[306..].to_vec();
    let seconds = select(vec![retry, vec![23, 3, 3, 0, 1, 0, 22, 3, 1]]);
    let starts = prop_oneof![select(hellos()), seconds, vec(any::<u8>(), 0..100)];
    let changes = vec((any::<Pick>(), any::<u8>(), 0_u8..4), 0..6);
    let floors = [("a hello", 100), ("not whole", 100), ("refused", 500)];
    law(5000, &floors, (starts, changes, vec(1_usize..700, 1..5)), |tally, (mut bytes, changes, steps)| {
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            match kind {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => bytes[at] = byte,
                2 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        let outcome = client_hello(&bytes);
        tally.count(match &outcome {
            Ok(Progress::Complete(_)) => "a hello",
            Ok(Progress::Incomplete) => "not whole",
            Err(_) => "refused",
        });
        prop_assert_eq!(grown(Reader::of_first(), &bytes, &steps), outcome);
        prop_assert_eq!(grown(Reader::of_second(), &bytes, &steps), second_client_hello(&bytes));
        let _ = is_retry_request(&bytes);
        Ok(())
    });
}
