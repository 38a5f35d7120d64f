//! What comes after a request for a second hello, and the request itself. The verdict is the same
//! however the bytes come, and without the records before it the second hello reads like a first.
#![no_main]

use coco::network::Progress;
use coco::network::tls_hello::{MAX_HELLO, Reader, client_hello, is_retry_request, second_client_hello};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = second_client_hello(bytes);
    let mut reader = Reader::of_second();
    let mut grown = Ok(Progress::Incomplete);
    for there in 0..=bytes.len() {
        grown = reader.read(&bytes[..there]);
        if grown != Ok(Progress::Incomplete) {
            assert_eq!(second_client_hello(&bytes[..there]), grown);
            break;
        }
    }
    assert_eq!(grown, whole);
    if let Ok(Progress::Complete(hello)) = whole {
        assert!(hello.length <= bytes.len().min(MAX_HELLO));
        let mut rest = &bytes[..hello.length];
        while let [20 | 23, 3, _, high, low, after @ ..] = rest {
            rest = &after[usize::from(u16::from_be_bytes([*high, *low]))..];
        }
        let Ok(Progress::Complete(first)) = client_hello(rest) else { panic!("no hello by itself") };
        assert_eq!((first.server_name, first.length), (hello.server_name, rest.len()));
    }
    // A retry is known at one place, and stays known.
    let mut last = Ok(Progress::Incomplete);
    for there in 0..=bytes.len() {
        let outcome = is_retry_request(&bytes[..there]);
        assert!(last == Ok(Progress::Incomplete) || outcome == last);
        last = outcome;
        if there > 400 {
            break;
        }
    }
});
