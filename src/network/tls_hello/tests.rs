use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::*;

/// A vector with a length of `width` bytes before it.
fn vector(width: usize, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    [&length[length.len() - width..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes(), vector(2, content).as_slice()].concat()
}

fn name_extension(name: &[u8]) -> Vec<u8> {
    extension(0, &vector(2, &[&[0], vector(2, name).as_slice()].concat()))
}

/// A ClientHello with these extensions, which are as they come.
fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
    with_block(&vector(2, &extensions.concat()))
}

/// A ClientHello that ends in this instead of extensions.
fn with_block(block: &[u8]) -> Vec<u8> {
    let body = [&[3, 3], [7; 32].as_slice(), &vector(1, &[9; 32]), &vector(2, &[0x13, 1]), &vector(1, &[0]), block];
    [&[1], vector(3, &body.concat()).as_slice()].concat()
}

/// Records of at most `size` bytes each.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|piece| [&[22, 3, 1], vector(2, piece).as_slice()].concat()).collect()
}

fn named(name: &str) -> Vec<u8> {
    message(&[extension(0xff01, &[0]), name_extension(name.as_bytes()), extension(16, b"\0\x03\x02h2")])
}

fn complete(name: &str, length: usize) -> Progress<ClientHello> {
    Progress::Complete(ClientHello { server_name: name.to_owned(), length })
}

fn malformed(outcome: &Result<Progress<ClientHello>, Rejected>) -> bool {
    matches!(outcome, Err(Rejected::Malformed(_)))
}

/// The outcome for a hello of these extensions in one record.
fn read(extensions: &[Vec<u8>]) -> Result<Progress<ClientHello>, Rejected> {
    client_hello(&records(&message(extensions), MAX_RECORD))
}

/// A ServerHello of TLS 1.3.
fn server_hello(random: &[u8]) -> Vec<u8> {
    let body = [&[3, 3], random, &vector(1, &[9; 32]), &[0x13, 1, 0], &vector(2, &extension(43, &[3, 4]))].concat();
    [&[2], vector(3, &body).as_slice()].concat()
}

#[test]
fn a_name_is_read_however_it_is_cut() {
    let message = named("Example.COM");
    for size in 1..=message.len() {
        let bytes = records(&message, size);
        assert_eq!(client_hello(&bytes), Ok(complete("Example.COM", bytes.len())), "{size}");
        for cut in 0..bytes.len() {
            assert_eq!(client_hello(&bytes[..cut]), Ok(Progress::Incomplete), "{size} {cut}");
        }
        for step in [1, 2, 3, 8] {
            let mut reader = Reader::of_first();
            for cut in (0..bytes.len()).step_by(step) {
                assert_eq!(reader.read(&bytes[..cut]), Ok(Progress::Incomplete), "{size} {cut}");
            }
            assert_eq!(reader.read(&bytes), Ok(complete("Example.COM", bytes.len())), "{size}");
        }
    }
}

#[test]
fn what_follows_the_last_record_is_not_looked_at() {
    let mut bytes = records(&named("example.com"), 100);
    let length = bytes.len();
    bytes.extend([20, 3, 3, 0, 1, 1, 0xff, 0xff]);
    assert_eq!(client_hello(&bytes), Ok(complete("example.com", length)));
}

#[test]
fn a_large_key_share_may_stand_before_the_name() {
    for size in [1216, 4000, 20_000, 60_000] {
        let share = extension(51, &vector(2, &[&[0x11, 0xec], vector(2, &vec![5; size]).as_slice()].concat()));
        let bytes = records(&message(&[share, name_extension(b"example.com")]), 1200);
        assert_eq!(client_hello(&bytes), Ok(complete("example.com", bytes.len())));
    }
}

#[test]
fn what_is_not_tls_shows_in_its_first_bytes() {
    for bytes in [
        b"GET / HTTP/1.1\r\n".as_slice(),
        b"SSH-2.0-x\r\n",
        b"\x80\x2e\x01\x03\x01", // SSLv2's hello
        b"\x15\x03\x03\x00\x02", // an alert
        b"\x14\x03\x03\x00\x01\x01",
        b"\x16\x02",
        b"\x16\xfe\xff", // DTLS
        b"\0",
        b"\x17",
    ] {
        assert_eq!(client_hello(bytes), Err(Rejected::NotTls), "{bytes:?}");
    }
    assert_eq!(client_hello(b""), Ok(Progress::Incomplete));
    assert_eq!(client_hello(b"\x16"), Ok(Progress::Incomplete));
}

#[test]
fn records_break_no_rule() {
    let message = named("example.com");
    let whole = records(&message, 50);
    for (bytes, why) in [
        (b"\x16\x03\x01\0\0".to_vec(), "an empty record"),
        (b"\x16\x03\x01\x40\x01\x01".to_vec(), "a record of 16385 bytes"),
        (b"\x16\x03\x01\0\x04\x02".to_vec(), "a ServerHello"),
        (b"\x16\x03\x01\0\x04\0".to_vec(), "a HelloRequest"),
        ([&whole[..55], &[21, 3, 1, 0, 2, 1, 0], &whole[55..]].concat(), "an alert inside"),
        ([&whole[..55], &[20, 3, 1, 0, 1, 1], &whole[55..]].concat(), "a ChangeCipherSpec inside"),
        ([&whole[..55], &[23]].concat(), "application data inside"),
        ([&whole[..55], &[22, 2]].concat(), "another version inside"),
        ([&whole[..55], &[22, 3, 1, 0, 0]].concat(), "an empty record inside"),
        (records(&[message.as_slice(), &[0]].concat(), 10_000), "a byte after the hello"),
        (records(&[message.as_slice(), &message].concat(), 10_000), "two hellos in a record"),
    ] {
        assert!(malformed(&client_hello(&bytes)), "{why}");
    }
    // As soon as it shows: the record has one byte more than the message.
    let head = [&[22, 3, 1], vector(2, &[message.as_slice(), &[0]].concat()).as_slice()].concat();
    assert!(malformed(&client_hello(&head[..9])));
}

#[test]
fn a_hello_that_will_be_too_long_is_refused_at_its_first_bytes() {
    let announced = |length: u32| [&[22, 3, 1, 0, 4, 1], &length.to_be_bytes()[1..]].concat();
    assert_eq!(client_hello(&announced(0xff_ffff)), Err(Rejected::TooLong));
    // Two headers, the first record's 4 bytes, and the rest.
    let most = u32::try_from(MAX_HELLO).unwrap() - 14;
    assert_eq!(client_hello(&announced(most)), Ok(Progress::Incomplete));
    assert_eq!(client_hello(&announced(most + 1)), Err(Rejected::TooLong));
    // Cut so small that the headers alone take it past the limit.
    let padded = message(&[extension(21, &vec![0; 11_000]), name_extension(b"example.com")]);
    let bytes = records(&padded, 1);
    assert!(bytes.len() > MAX_HELLO);
    assert_eq!(client_hello(&bytes), Err(Rejected::TooLong));
    assert!((0..bytes.len()).step_by(601).all(|cut| client_hello(&bytes[..cut]) != Ok(complete("example.com", cut))));
}

#[test]
fn every_length_inside_is_exact() {
    let good = named("example.com");
    assert_eq!(client_hello(&records(&good, 10_000)), Ok(complete("example.com", good.len() + 5)));
    let name = |content: &[u8]| message(&[extension(0, content)]);
    let block = vector(2, &name_extension(b"example.com"));
    for (message, why) in [
        (with_block(&[0]), "half a length of extensions"),
        (with_block(&[block.as_slice(), &[0]].concat()), "a byte after the extensions"),
        (with_block(&block[..block.len() - 1]), "extensions cut short"),
        (with_block(&vector(2, &[0, 43, 0])), "an extension without its length"),
        (with_block(&vector(2, &[0, 43, 0, 2, 1])), "an extension cut short"),
        (name(b""), "an empty server_name"),
        (name(b"\0"), "half a list's length"),
        (name(b"\0\0"), "no entry"),
        (name(b"\0\x04\0\0\x01a\0"), "a byte after the list"),
        (name(b"\0\x05\0\0\x01a"), "a list cut short"),
        (name(b"\0\x05\0\0\x01a\0"), "a byte after the entry"),
        (name(b"\0\x08\0\0\x01a\0\0\x01b"), "two names"),
        (name(b"\0\x08\0\0\x01a\x01\0\x01b"), "a name and something else"),
        (name(b"\0\x04\x01\0\x01a"), "an entry of another type"),
        (name(b"\0\x03\0\0\0"), "an empty name"),
        (vec![1, 0, 0, 1, 3], "a hello of one byte"),
        (vec![1, 0, 0, 0], "a hello of no byte"),
    ] {
        assert!(malformed(&client_hello(&records(&message, 10_000))), "{why}");
    }
}

#[test]
fn the_fixed_fields_are_judged() {
    let build = |version: &[u8], session: &[u8], ciphers: &[u8], compressions: &[u8]| {
        let rest = [vector(1, session), vector(2, ciphers), vector(1, compressions)].concat();
        let body = [version, &[7; 32], &rest, &vector(2, &name_extension(b"example.com"))].concat();
        client_hello(&records(&[&[1], vector(3, &body).as_slice()].concat(), 10_000))
    };
    assert!(build(&[3, 3], b"", &[0, 1], &[0]).is_ok());
    assert!(build(&[3, 1], &[1; 32], &[0, 1, 0, 2], &[1, 0]).is_ok());
    assert!(malformed(&build(&[2, 3], b"", &[0, 1], &[0])));
    assert!(malformed(&build(&[3, 3], &[1; 33], &[0, 1], &[0])));
    assert!(malformed(&build(&[3, 3], b"", &[], &[0])));
    assert!(malformed(&build(&[3, 3], b"", &[0, 1, 0], &[0])));
    assert!(malformed(&build(&[3, 3], b"", &[0, 1], &[])));
}

#[test]
fn only_a_printable_name_is_one() {
    let long = "a".repeat(255);
    for good in ["example.com", "EXAMPLE.com.", "xn--bcher-kva.example", "a_b", "1.2.3.4", "[::1]", long.as_str()] {
        assert!(
            matches!(read(&[name_extension(good.as_bytes())]), Ok(Progress::Complete(hello)) if hello.server_name == good)
        );
    }
    for bad in ["a\0b", "a b", "a\nb", "a\x7f", "b\u{fc}cher", "\t", &"a".repeat(256)] {
        assert!(malformed(&read(&[name_extension(bad.as_bytes())])), "{bad:?}");
    }
}

#[test]
fn a_hello_without_a_name_or_with_a_hidden_one_is_refused() {
    let name = name_extension(b"example.com");
    assert_eq!(client_hello(&records(&with_block(b""), 10_000)), Err(Rejected::NoServerName));
    assert_eq!(read(&[]), Err(Rejected::NoServerName));
    assert_eq!(read(&[extension(43, &[2, 3, 4])]), Err(Rejected::NoServerName));
    for kind in ENCRYPTED {
        assert_eq!(read(&[name.clone(), extension(kind, b"anything")]), Err(Rejected::EncryptedName));
        assert_eq!(read(&[extension(kind, b"")]), Err(Rejected::EncryptedName));
    }
}

#[test]
fn no_extension_may_be_there_twice() {
    let name = name_extension(b"example.com");
    assert!(malformed(&read(&[name.clone(), name.clone()])));
    assert!(malformed(&read(&[name.clone(), name_extension(b"example.org")])));
    assert!(malformed(&read(&[extension(16, b""), name.clone(), extension(16, b"")])));
    // Two different ones that clients make up to keep servers tolerant (RFC 8701).
    assert!(read(&[extension(0x1a1a, b""), name, extension(0x2a2a, b"")]).is_ok());
}

#[test]
fn a_request_for_a_second_hello_is_known_by_its_random() {
    assert_eq!(Sha256::digest("HelloRetryRequest").as_slice(), RETRY);
    let mut almost = RETRY;
    almost[31] ^= 1;
    for (random, expected) in [(RETRY, true), ([7; 32], false), (almost, false)] {
        let message = server_hello(&random);
        for size in [1, 2, 5, 37, 38, 39, 1000] {
            let bytes = records(&message, size);
            let enough = (0..=bytes.len()).find(|cut| is_retry_request(&bytes[..*cut]) != Ok(Progress::Incomplete));
            assert_eq!(enough, Some(38 + 5 * 38_usize.div_ceil(size)), "{size}");
            assert_eq!(is_retry_request(&bytes), Ok(Progress::Complete(expected)), "{size}");
            // Other messages of the same flight may stand in the same record.
            assert_eq!(is_retry_request(&[bytes, vec![0xff; 9]].concat()), Ok(Progress::Complete(expected)));
        }
    }
}

#[test]
fn alerts_before_a_server_hello_are_understood() {
    let retry = records(&server_hello(&RETRY), 1000);
    let warning = [21, 3, 3, 0, 2, 1, 112];
    assert_eq!(is_retry_request(&warning), Ok(Progress::Incomplete));
    assert_eq!(is_retry_request(&[&warning, retry.as_slice()].concat()), Ok(Progress::Complete(true)));
    assert_eq!(is_retry_request(&[21, 3, 3, 0, 2, 2, 40]), Ok(Progress::Complete(false)));
    assert!(is_retry_request(&[21, 3, 3, 0, 2, 3, 40]).is_err());
    assert!(is_retry_request(&[21, 3, 3, 0, 3]).is_err());
    assert_eq!(is_retry_request(&warning.repeat(10_000)), Err(Rejected::TooLong));
}

#[test]
fn what_is_no_server_hello_is_refused() {
    let hello = server_hello(&RETRY);
    let short = [&[2, 0, 0, 37], &hello[4..]].concat();
    let old = [&hello[..4], &[2, 3], &hello[6..]].concat();
    for bytes in [
        records(&named("example.com"), 1000),
        records(&short, 1000),
        records(&old, 1000),
        [records(&hello[..10], 10), vec![21, 3, 3, 0, 2, 1, 0]].concat(),
        [records(&hello[..10], 10), vec![23]].concat(),
        records(&[6, 0, 0, 50], 4),
    ] {
        assert!(matches!(is_retry_request(&bytes), Err(Rejected::Malformed(_))), "{bytes:?}");
    }
    assert_eq!(is_retry_request(b"HTTP/1.1 400 Bad Request"), Err(Rejected::NotTls));
    assert_eq!(is_retry_request(b""), Ok(Progress::Incomplete));
}

#[test]
fn a_second_hello_is_found_behind_what_may_stand_before_it() {
    let marker = [20, 3, 3, 0, 1, 1];
    let early = [&[23, 3, 3], vector(2, &vec![8; 16_640]).as_slice()].concat();
    let hello = records(&named("example.com"), 70);
    for before in [Vec::new(), marker.to_vec(), early.clone(), [&marker, early.as_slice(), &early].concat()] {
        let bytes = [before, hello.clone()].concat();
        assert_eq!(second_client_hello(&bytes), Ok(complete("example.com", bytes.len())));
        for cut in (0..bytes.len()).filter(|cut| *cut < 99 || cut % 97 == 0 || bytes.len() - cut < 99) {
            assert_eq!(second_client_hello(&bytes[..cut]), Ok(Progress::Incomplete), "{cut}");
        }
    }
    for (bytes, why) in [
        (vec![20, 3, 3, 0, 1, 2], "a ChangeCipherSpec of another byte"),
        (vec![20, 3, 3, 0, 2], "a ChangeCipherSpec of two bytes"),
        (vec![21], "an alert"),
        (vec![24], "a heartbeat"),
        (vec![23, 3, 3, 0, 0], "empty data"),
        (vec![23, 3, 3, 0x41, 1], "data of 16641 bytes"),
        (vec![22, 3, 3, 0, 4, 2], "a ServerHello"),
        (vec![23, 2], "another version"),
        ([&hello[..75], &marker, &hello[75..]].concat(), "a ChangeCipherSpec inside the hello"),
        ([&hello[..75], &early, &hello[75..]].concat(), "data inside the hello"),
    ] {
        assert!(malformed(&second_client_hello(&bytes)), "{why}");
    }
    assert_eq!(second_client_hello(&early.repeat(4)), Err(Rejected::TooLong));
    assert_eq!(second_client_hello(&marker.repeat(20_000)), Err(Rejected::TooLong));
}

#[test]
fn the_words_for_the_log_are_short() {
    assert_eq!(Rejected::NotTls.to_string(), "not TLS");
    assert_eq!(Rejected::NoServerName.to_string(), "no server name");
    assert_eq!(Rejected::EncryptedName.to_string(), "the server name is encrypted (ECH)");
    assert!(Rejected::TooLong.to_string().contains("65536"));
    assert_eq!(Rejected::Malformed("this").to_string(), "malformed TLS: this");
}

/// Byte by byte, each in a record of its own: the most work that a client can make.
#[test]
fn a_client_that_dribbles_costs_little() {
    let padded = message(&[extension(21, &[0; 10_000]), name_extension(b"example.com")]);
    let bytes = records(&padded, 1);
    let started = Instant::now();
    let mut reader = Reader::of_first();
    for cut in 0..bytes.len() {
        assert_eq!(reader.read(&bytes[..cut]), Ok(Progress::Incomplete));
    }
    // A walk over all records for each byte takes some ten times as long, and more than that here.
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(reader.read(&bytes), Ok(complete("example.com", bytes.len())));
}
