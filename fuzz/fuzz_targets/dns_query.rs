//! A packet to the sandbox's name server. Its answer is short, echoes the id and the question, and is
//! no question itself; a name has one spelling.
#![no_main]

use std::net::Ipv4Addr;

use coco::init::dns::{A, Answer, IN, answer, query};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let Some(question) = query(packet) else { return };
    assert_eq!(question.id.to_be_bytes(), packet[..2]);
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'\\');
    assert!(question.name.bytes().all(plain) && question.name.len() <= 4 * 255);
    assert!(!question.name.starts_with('.') && !question.name.ends_with('.') && !question.name.contains(".."));
    for given in [
        Answer::Address(Ipv4Addr::LOCALHOST),
        Answer::Nothing,
        Answer::NoSuchName,
        Answer::NotImplemented,
        Answer::Failed,
    ] {
        let answered = answer(&question, &given);
        assert!(answered.len() <= 512);
        assert_eq!(answered[..2], packet[..2]);
        // A response, of the same opcode, not truncated, not authoritative.
        assert_eq!(answered[2] & 0xfe, 0x80 | packet[2] & 0x78);
        let questions = u16::from_be_bytes([answered[4], answered[5]]);
        let answers = u16::from_be_bytes([answered[6], answered[7]]);
        let addresses = matches!(given, Answer::Address(_)) && question.problem.is_none();
        assert_eq!(answers == 1, addresses && (question.kind, question.class) == (A, IN));
        assert!(questions <= 1 && answers <= questions);
        assert_eq!(query(&answered), None);
        // Sent back as a query, the question in it reads the same.
        if questions == 1 {
            let mut again = answered;
            again[2] = packet[2];
            again[6..8].copy_from_slice(&packet[6..8]);
            if let Some(again) = query(&again) {
                assert_eq!((again.name, again.kind), (question.name.clone(), question.kind));
            }
        }
    }
});
