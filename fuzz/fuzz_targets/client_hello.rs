//! A client's first bytes. The verdict is the same however they come, more bytes never change it, and
//! a name that is read stands in the bytes.
#![no_main]

use coco::network::Progress;
use coco::network::tls_hello::{MAX_HELLO, Reader, client_hello};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = client_hello(bytes);
    let mut reader = Reader::of_first();
    let mut grown = Ok(Progress::Incomplete);
    for there in 0..=bytes.len() {
        grown = reader.read(&bytes[..there]);
        if grown != Ok(Progress::Incomplete) {
            // Nothing was decided before, and nothing is after.
            assert_eq!(client_hello(&bytes[..there]), grown);
            if there > 0 {
                assert_eq!(client_hello(&bytes[..there - 1]), Ok(Progress::Incomplete));
            }
            break;
        }
    }
    assert_eq!(grown, whole);
    if let Ok(Progress::Complete(hello)) = whole {
        assert!(hello.length <= bytes.len().min(MAX_HELLO));
        assert_eq!(bytes[0], 22);
        let name = hello.server_name.as_bytes();
        assert!(!name.is_empty() && name.iter().all(u8::is_ascii_graphic));
        let message = payload(&bytes[..hello.length]);
        assert!(message.windows(name.len()).any(|part| part == name));
        // The same message in records of one byte.
        let cut: Vec<u8> = message.iter().flat_map(|byte| [22, 3, 3, 0, 1, *byte]).collect();
        if cut.len() <= MAX_HELLO {
            let Ok(Progress::Complete(again)) = client_hello(&cut) else { panic!("only in large records") };
            assert_eq!((again.server_name, again.length), (hello.server_name, cut.len()));
        }
    }
});

/// The records' content, and nothing but handshake records.
fn payload(mut records: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let [22, 3, _, high, low, rest @ ..] = records {
        let (body, after) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        message.extend(body);
        records = after;
    }
    assert!(records.is_empty());
    message
}
