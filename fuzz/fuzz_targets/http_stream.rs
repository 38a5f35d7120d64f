//! A connection's requests, one after the other, with their bodies. A head that is let through reads
//! the same by itself, and by the most forgiving reader; a body ends at the same place however it comes.
#![no_main]

use coco::network::Progress;
use coco::network::http::{Body, Chunks, MAX_HEAD, request_head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Progress::Complete(request)) = request_head(rest) {
        assert!(request.length <= rest.len().min(MAX_HEAD));
        let (head, after) = rest.split_at(request.length);
        assert_eq!(request_head(head), Ok(Progress::Complete(request.clone())));
        for there in 0..head.len() {
            assert_eq!(request_head(&head[..there]), Ok(Progress::Incomplete));
        }
        one_reading(head, &request.host, request.body);
        rest = match request.body {
            Body::None => after,
            Body::Length(length) => {
                let Some(next) = usize::try_from(length).ok().and_then(|length| after.get(length..)) else { break };
                next
            }
            Body::Chunked => match chunked(after) {
                Some(length) => &after[length..],
                None => break,
            },
        };
    }
    // More bytes don't undo a refusal.
    let mut refused = false;
    for there in 0..=rest.len().min(600) {
        let outcome = request_head(&rest[..there]);
        assert!(!refused || outcome.is_err());
        refused = outcome.is_err();
    }
});

/// Where the body ends, fed at once and byte by byte.
fn chunked(bytes: &[u8]) -> Option<usize> {
    let whole = Chunks::new().feed(bytes);
    let mut chunks = Chunks::new();
    let mut consumed = 0;
    for byte in bytes {
        match chunks.feed(&[*byte]) {
            Err(rejected) => {
                assert_eq!(whole, Err(rejected));
                return None;
            }
            Ok(fed) => {
                consumed += fed.consumed;
                if fed.ended {
                    let whole = whole.unwrap();
                    assert!(whole.ended && whole.consumed == consumed);
                    // The last line is always the empty one.
                    assert!(bytes[..consumed].ends_with(b"\r\n\r\n"));
                    return Some(consumed);
                }
            }
        }
    }
    let whole = whole.unwrap();
    assert!(!whole.ended && whole.consumed == bytes.len());
    None
}

/// No line, ended by anything and named in any way, says another host or length.
fn one_reading(head: &[u8], host: &str, body: Body) {
    let (mut hosts, mut lengths, mut codings) = (0, 0, 0);
    for line in head.split(|byte| matches!(byte, b'\r' | b'\n' | 0 | 11 | 12)).skip(1) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name: Vec<u8> = line[..colon]
            .iter()
            .filter(|byte| byte.is_ascii_graphic())
            .map(|byte| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() })
            .collect();
        let value = line[colon + 1..].trim_ascii();
        match name.as_slice() {
            b"host" => {
                hosts += 1;
                assert_eq!(value.split(|byte| *byte == b':').next(), Some(host.as_bytes()));
            }
            b"content-length" => {
                lengths += 1;
                assert_eq!(std::str::from_utf8(value).unwrap().parse().map(Body::Length), Ok(body));
            }
            b"transfer-encoding" => {
                codings += 1;
                assert!(value.eq_ignore_ascii_case(b"chunked"));
            }
            b"upgrade" | b"expect" | b"http2-settings" => panic!("let through"),
            _ => {}
        }
    }
    assert_eq!(hosts, 1);
    assert_eq!(lengths, u8::from(matches!(body, Body::Length(_))));
    assert_eq!(codings, u8::from(body == Body::Chunked));
}
