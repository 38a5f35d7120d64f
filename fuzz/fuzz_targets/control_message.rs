//! What coco reads from init, and init from coco: a frame is read back as it was, and a
//! part of one is refused.
#![no_main]

use coco::protocol::control::{receive_launch, receive_message, send};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // In a frame of its own, so that the length is not what most inputs fail at.
    let mut frame = Vec::new();
    if send(&mut frame, bytes).is_err() {
        return;
    }
    for mut wire in [bytes, frame.as_slice()] {
        if let Ok(message) = receive_message(&mut wire) {
            let mut again = Vec::new();
            send(&mut again, &message.encode()).unwrap();
            assert_eq!(receive_message(&mut again.as_slice()).unwrap(), message);
            assert!(receive_message(&mut &again[..again.len() - 1]).is_err());
        }
    }
    for mut wire in [bytes, frame.as_slice()] {
        if let Ok(launch) = receive_launch(&mut wire) {
            let mut again = Vec::new();
            send(&mut again, &launch.encode()).unwrap();
            assert_eq!(receive_launch(&mut again.as_slice()).unwrap(), launch);
        }
    }
});
