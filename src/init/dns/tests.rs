use super::*;

/// An EDNS0 record of this version, with a client's cookie.
fn edns(version: u8) -> Vec<u8> {
    let mut record = vec![0, 0, 41, 4, 208, 0, version, 0x80, 0, 0, 12];
    record.extend([0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    record
}

fn labels(labels: &[&[u8]]) -> Vec<u8> {
    let mut name: Vec<u8> =
        labels.iter().flat_map(|label| [&[u8::try_from(label.len()).unwrap()], *label].concat()).collect();
    name.push(0);
    name
}

/// A packet of these header words after the id, and this.
fn packet(words: [u16; 5], rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xab, 0xcd];
    packet.extend(words.into_iter().flat_map(u16::to_be_bytes));
    packet.extend(rest);
    packet
}

fn ask(name: &[u8], kind: u16) -> Vec<u8> {
    packet([RECURSION_DESIRED, 1, 0, 0, 0], &[name, &kind.to_be_bytes(), &[0, 1]].concat())
}

/// The name that a query for these labels has.
fn name_of(parts: &[&[u8]]) -> String {
    query(&ask(&labels(parts), A)).unwrap().name
}

#[test]
fn a_question_is_answered_with_an_address() {
    let packet = ask(&labels(&[b"rEgistry", b"Example"]), A);
    let question = query(&packet).unwrap();
    assert_eq!(
        (question.id, question.name.as_str(), question.kind, question.class),
        (0xabcd, "registry.example", A, IN)
    );
    assert_eq!(question.problem, None);
    let answered = answer(&question, &Answer::Address(Ipv4Addr::new(127, 1, 2, 3)));
    let header = [0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 1, 2, 3];
    assert_eq!(answered, [&header, &packet[12..], &record].concat());
}

#[test]
fn an_answer_without_an_address_has_a_code_alone() {
    for (given, code) in
        [(Answer::Nothing, 0), (Answer::Failed, 2), (Answer::NoSuchName, 3), (Answer::NotImplemented, 4)]
    {
        let packet = ask(&labels(&[b"a", b"example"]), A);
        let answered = answer(&query(&packet).unwrap(), &given);
        assert_eq!(answered, [&[0xab, 0xcd, 0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0], &packet[12..]].concat());
    }
}

#[test]
fn an_address_answers_no_other_question() {
    let address = Answer::Address(Ipv4Addr::LOCALHOST);
    // AAAA, TXT, SVCB, HTTPS, ANY, AXFR, OPT
    for kind in [AAAA, 16, 64, 65, 255, 252, 41] {
        let question = query(&ask(&labels(&[b"a", b"example"]), kind)).unwrap();
        assert_eq!(answer(&question, &address), answer(&question, &Answer::Nothing));
    }
    let chaos = [labels(&[b"a", b"example"]).as_slice(), &[0, 1, 0, 3]].concat();
    let question = query(&packet([0, 1, 0, 0, 0], &chaos)).unwrap();
    assert_eq!((question.class, answer(&question, &address)[7]), (3, 0));
}

#[test]
fn no_two_names_look_the_same() {
    assert_eq!(name_of(&[]), "");
    assert_eq!(name_of(&[b"A-_9", b"z"]), "a-_9.z");
    assert_eq!(name_of(&[b"a.b", b"c"]), "a\\046b.c");
    assert_eq!(name_of(&[b"a\0", b"\xff ", b"*", b"\\"]), "a\\000.\\255\\032.\\042.\\092");
    assert_eq!(name_of(&[b"\\046"]), "\\092046");
    assert_eq!(name_of(&[&[b'a'; 63], b"b"]), format!("{}.b", "a".repeat(63)));
    // 255 bytes on the wire, and one more.
    let most = [[b'a'; 63].as_slice(), &[b'b'; 63], &[b'c'; 63], &[b'd'; 61]];
    assert_eq!(name_of(&most).len(), 253);
    let more = [most[0], most[1], most[2], &[b'd'; 62]];
    assert_eq!(query(&ask(&labels(&more), A)), None);
}

#[test]
fn what_is_no_query_gets_no_answer() {
    let whole = ask(&labels(&[b"a", b"example"]), A);
    for cut in 0..whole.len() {
        assert_eq!(query(&whole[..cut]), None, "{cut}");
    }
    for (packet, why) in [
        (packet([RESPONSE, 1, 0, 0, 0], &whole[12..]), "a response"),
        (packet([TRUNCATED, 1, 0, 0, 0], &whole[12..]), "a truncated query"),
        (ask(&[0xc0, 12], A), "a pointer to itself"),
        (ask(&[1, b'a', 0xc0, 4], A), "a pointer into the header"),
        (ask(&[0x41, 0], A), "an extended label"),
        (ask(&[0x80, 0], A), "a reserved label"),
        (ask(&labels(&[&[b'a'; 64]]), A), "a label of 64 bytes"),
        (ask(&labels(&[&[b'a'; 0xc0]]), A), "a pointer, or a label of 192 bytes"),
    ] {
        assert_eq!(query(&packet), None, "{why}");
    }
}

#[test]
fn what_is_no_standard_query_gets_an_error() {
    let rest = ask(&labels(&[b"a", b"example"]), A)[12..].to_vec();
    let twice = [rest.clone(), rest.clone()].concat();
    let record = [rest.as_slice(), &[0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for (packet, code, questions) in [
        (packet([0, 0, 0, 0, 0], b""), 1, 0),
        (packet([0, 2, 0, 0, 0], &twice), 1, 0),
        (packet([0, 1, 1, 0, 0], &record), 1, 1),
        (packet([0, 1, 0, 1, 0], &record), 1, 1),
        (packet([0, 1, 0, 0, 1], &record), 1, 1),
        (packet([0, 1, 0, 0, 1], &rest), 1, 1),
        (packet([0, 1, 0, 0, 0], &[rest.as_slice(), b"x"].concat()), 1, 1),
        // Status and update, and an opcode that nobody knows.
        (packet([2 << 11, 1, 0, 0, 0], &rest), 4, 0),
        (packet([5 << 11, 1, 0, 0, 0], &rest), 4, 0),
        (packet([15 << 11, 0, 0, 0, 0], b"?"), 4, 0),
    ] {
        let question = query(&packet).unwrap();
        let answered = answer(&question, &Answer::Address(Ipv4Addr::LOCALHOST));
        assert_eq!((answered[3], answered[5], answered[7]), (0x80 | code, questions, 0), "{packet:?}");
        assert_eq!(answered[2], 0x80 | packet[2]);
        assert_eq!(answer(&question, &Answer::NoSuchName), answered);
    }
}

#[test]
fn clients_with_edns_are_told_what_the_server_takes() {
    let rest = [&ask(&labels(&[b"a", b"example"]), A)[12..], &edns(0)].concat();
    let question = query(&packet([RECURSION_DESIRED | 0x20, 1, 0, 0, 1], &rest)).unwrap();
    assert_eq!((question.name.as_str(), question.problem), ("a.example", None));
    for given in [Answer::Nothing, Answer::NoSuchName, Answer::Address(Ipv4Addr::LOCALHOST)] {
        let answered = answer(&question, &given);
        assert_eq!(answered[10..12], [0, 1]);
        assert_eq!(answered[answered.len() - 11..], [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    }
    // Cut anywhere, it's a query all the same, but a broken one.
    for cut in rest.len() - edns(0).len()..rest.len() {
        let question = query(&packet([0, 1, 0, 0, 1], &rest[..cut])).unwrap();
        assert_eq!(question.problem, Some(Problem::Malformed), "{cut}");
    }
    let twice = [rest.as_slice(), &edns(0)].concat();
    assert_eq!(query(&packet([0, 1, 0, 0, 2], &twice)).unwrap().problem, Some(Problem::Malformed));
}

#[test]
fn an_unknown_version_of_edns_is_named() {
    let rest = [&ask(&labels(&[b"a", b"example"]), A)[12..], &edns(1)].concat();
    let answered = answer(&query(&packet([0, 1, 0, 0, 1], &rest)).unwrap(), &Answer::Nothing);
    // Code 16: its upper bits are in the record, and the version is the one that is known.
    assert_eq!(answered[3] & 0xf, 0);
    assert_eq!(answered[answered.len() - 11..], [0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn bits_of_the_header_are_copied_or_clear() {
    let rest = &ask(&labels(&[b"a"]), A)[12..];
    // Authoritative, available, reserved and authentic are the client's nonsense.
    let question = query(&packet([0x05f0, 1, 0, 0, 0], rest)).unwrap();
    assert_eq!(answer(&question, &Answer::Nothing)[2..4], [0x81, 0x90]);
    let question = query(&packet([0, 1, 0, 0, 0], rest)).unwrap();
    assert_eq!(answer(&question, &Answer::Nothing)[2..4], [0x80, 0x80]);
}

#[test]
fn the_largest_answer_is_small() {
    let name = labels(&[&[b'a'; 63], &[b'b'; 63], &[b'c'; 63], &[b'd'; 61]]);
    let rest = [name.as_slice(), &[0, 1, 0, 1], &edns(0)].concat();
    let question = query(&packet([0, 1, 0, 0, 1], &rest)).unwrap();
    assert_eq!(answer(&question, &Answer::Address(Ipv4Addr::LOCALHOST)).len(), 12 + 255 + 4 + 16 + 11);
}
