//! HTTP requests: what is let through has one reading, also for a server that forgives everything.

use coco::network::Progress;
use coco::network::http::{Body, Chunks, Fed, MAX_HEAD, Rejected, Request, request_head};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index as Pick, select};

use crate::cases;
use crate::counted::law;

/// Heads that are let through, and what tempts to let them through.
const HEADS: [&str; 8] = [
    "GET / HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 7\r\n\r\n",
    "PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost:a.example\r\n\r\n",
    "OPTIONS * HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nX: y\r\n Host: b.example\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nX: \n\nHost: b.example\r\nTransfer-Encoding : chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nX-Host: b.example\r\nXTransfer-Encoding: chunked\r\n\r\n",
    "GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\nXUpgrade: h2c\r\nXContent-Length: 3\r\n\r\n",
];

/// Pieces that a change may put anywhere.
const PIECES: [&str; 14] = [
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    "Host: b.example",
    "\r\nHost: b.example",
    "Content-Length: 9",
    "_",
    "\0",
    "\u{b}",
    "\r\nTransfer-Encoding: chunked",
    "X",
];

fn changed() -> impl Strategy<Value = Vec<u8>> {
    (select(HEADS.as_slice()), vec((any::<Pick>(), select(PIECES.as_slice()), 0_usize..4), 0..5)).prop_map(
        |(head, changes)| {
            let mut bytes = head.as_bytes().to_vec();
            for (at, piece, cut) in changes {
                let at = at.index(bytes.len() + 1);
                let end = bytes.len().min(at + cut);
                bytes.splice(at..end, piece.bytes());
            }
            bytes
        },
    )
}

/// Header lines as the most forgiving server might find them: any line end, any white space, `_` for
/// `-`, any control character dropped.
fn forgiven(head: &[u8]) -> Vec<(String, String)> {
    let clean = |text: &[u8]| -> String {
        let text: String = text.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect();
        text.trim_matches(|c: char| c.is_whitespace() || c.is_control()).replace('_', "-")
    };
    head.split(|byte| matches!(byte, b'\r' | b'\n' | 0 | 11 | 12))
        .skip(1)
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((clean(&line[..colon]), clean(&line[colon + 1..])))
        })
        .collect()
}

/// A body in these chunks.
fn chunked(pieces: &[Vec<u8>], zeros: usize, extension: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        body.extend(format!("{}{:X}{extension}\r\n", "0".repeat(zeros), piece.len()).bytes());
        body.extend(piece);
        body.extend(b"\r\n");
    }
    body.extend(b"0\r\n\r\n");
    body
}

/// What the chunks say that get the bytes in pieces of these sizes, over and over.
fn fed(bytes: &[u8], sizes: &[usize]) -> Result<Fed, Rejected> {
    let (mut chunks, mut total) = (Chunks::new(), Fed { consumed: 0, ended: false });
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        let fed = chunks.feed(piece)?;
        total = Fed { consumed: total.consumed + fed.consumed, ended: fed.ended };
        rest = after;
        if fed.ended || rest.is_empty() {
            break;
        }
    }
    Ok(total)
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn a_request_is_read_when_it_is_whole_and_not_before(
        method in "[A-Z]{1,10}", target in "/[!-~]{0,30}", name in "[a-zA-Z0-9._-]{1,40}", port in proptest::option::of(1..=65535_u16),
        others in vec("[XYZ][a-z0-9-]{0,8}: ?[ -~\u{e9}]{0,30}", 0..5), place in any::<Pick>(), length in proptest::option::of(0..1_000_000_u64),
        after in vec(any::<u8>(), 0..20),
    ) {
        prop_assume!(!["GET", "HEAD", "TRACE", "CONNECT"].contains(&method.as_str()));
        let mut lines = others;
        let port_text = port.map(|port| format!(":{port}")).unwrap_or_default();
        lines.insert(place.index(lines.len() + 1), format!("Host: {name}{port_text}"));
        lines.extend(length.map(|length| format!("Content-Length: {length}")));
        let head = format!("{method} {target} HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
        let body = length.map_or(Body::None, Body::Length);
        let expected = Request { host: name, port, length: head.len(), body };
        prop_assert_eq!(request_head(&[head.as_bytes(), &after].concat()), Ok(Progress::Complete(expected)));
        for cut in 0..head.len() {
            prop_assert_eq!(request_head(&head.as_bytes()[..cut]), Ok(Progress::Incomplete), "{}", cut);
        }
    }

    #[test]
    fn chunks_end_with_the_last_one(
        pieces in vec(vec(any::<u8>(), 0..60), 0..5), zeros in 0..15_usize, extension in "(;[ -~]{0,20})?",
        sizes in vec(1_usize..30, 1..5), after in vec(any::<u8>(), 0..20),
    ) {
        let body = chunked(&pieces, zeros, &extension);
        let all = Ok(Fed { consumed: body.len(), ended: true });
        prop_assert_eq!(fed(&[body.clone(), after].concat(), &sizes), all);
        for cut in 0..body.len() {
            prop_assert_eq!(Chunks::new().feed(&body[..cut]), Ok(Fed { consumed: cut, ended: false }));
        }
    }
}

#[test]
fn chunks_are_judged_alike_in_pieces() {
    let changes =
        (vec(vec(any::<u8>(), 0..20), 0..3), any::<Pick>(), select(PIECES.as_slice()), vec(1_usize..30, 1..5));
    let floors = [("ended", 150), ("refused", 500)];
    law(2000, &floors, changes, |tally, (pieces, at, change, sizes)| {
        let mut body = chunked(&pieces, 0, "");
        let at = at.index(body.len());
        body.splice(at..=at, change.bytes());
        let outcome = Chunks::new().feed(&body);
        tally.count(match &outcome {
            Ok(fed) => {
                if fed.ended {
                    "ended"
                } else {
                    "not ended"
                }
            }
            Err(_) => "refused",
        });
        prop_assert_eq!(fed(&body, &sizes), outcome);
        Ok(())
    });
}

#[test]
fn no_forgiving_server_reads_another_host_or_length() {
    let floors = [("without a body", 300), ("with a length", 300), ("with chunks", 100), ("not let through", 3000)];
    law(20_000, &floors, changed(), |tally, bytes| {
        let Ok(Progress::Complete(request)) = request_head(&bytes) else {
            tally.count("not let through");
            return Ok(());
        };
        let head = &bytes[..request.length];
        prop_assert_eq!(request_head(head), Ok(Progress::Complete(request.clone())));
        let headers = forgiven(head);
        let values = |name: &str| -> Vec<&str> {
            headers.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
        };
        let port = request.port.map(|port| format!(":{port}")).unwrap_or_default();
        // The values are folded, and `_` is `-` there.
        prop_assert_eq!(values("host"), [format!("{}{port}", request.host.to_lowercase().replace('_', "-"))]);
        match request.body {
            Body::None => {
                tally.count("without a body");
                prop_assert!(values("content-length").is_empty() && values("transfer-encoding").is_empty());
            }
            Body::Length(length) => {
                tally.count("with a length");
                prop_assert_eq!(values("content-length")[0].parse(), Ok(length));
                prop_assert!(values("content-length").len() == 1 && values("transfer-encoding").is_empty());
            }
            Body::Chunked => {
                tally.count("with chunks");
                prop_assert!(values("content-length").is_empty());
                prop_assert_eq!(values("transfer-encoding"), ["chunked"]);
            }
        }
        prop_assert!(values("upgrade").is_empty() && values("expect").is_empty());
        let target = head.split(|byte| *byte == b' ').nth(1).unwrap();
        prop_assert!(target.starts_with(b"/") || target == b"*");
        Ok(())
    });
}

#[test]
fn hostile_bytes_never_panic() {
    let bytes = prop_oneof![vec(any::<u8>(), 0..200), changed()];
    let floors = [("whole", 80), ("not whole", 1), ("refused", 1000)];
    law(3000, &floors, (bytes, vec(1_usize..9, 1..4)), |tally, (bytes, pieces)| {
        // What is once refused stays refused, and what is once there stays as it is.
        let mut last = Ok(Progress::<Request>::Incomplete);
        for there in 0..=bytes.len() {
            let outcome = request_head(&bytes[..there]);
            prop_assert!(last == Ok(Progress::Incomplete) || outcome.is_err() == last.is_err());
            if let (Ok(Progress::Complete(before)), Ok(after)) = (&last, &outcome) {
                prop_assert_eq!(&Progress::Complete(before.clone()), after);
            }
            last = outcome;
        }
        tally.count(match last {
            Ok(Progress::Complete(_)) => "whole",
            Ok(Progress::Incomplete) => "not whole",
            Err(_) => "refused",
        });
        prop_assert_eq!(fed(&bytes, &pieces), Chunks::new().feed(&bytes));
        Ok(())
    });
}

#[test]
fn a_head_without_an_end_is_refused_at_the_limit() {
    let endless = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &std::vec![b'x'; MAX_HEAD]].concat();
    assert_eq!(request_head(&endless[..MAX_HEAD - 1]), Ok(Progress::Incomplete));
    assert_eq!(request_head(&endless[..MAX_HEAD]), Err(Rejected::TooLong));
}
