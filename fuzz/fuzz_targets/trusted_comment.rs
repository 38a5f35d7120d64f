//! A trusted comment that the key's owner did sign. It holds for one subject at one revision: when it is,
//! byte for byte, what that subject's comment is.
#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use coco::names::ToolName;
use coco::store::signature::{Subject, public_key, verify};
use libfuzzer_sys::fuzz_target;
use minisign::KeyPair;

static OWNER: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_unencrypted_keypair().unwrap());

fuzz_target!(|comment: &[u8]| {
    let Ok(comment) = std::str::from_utf8(comment) else { return };
    let key = public_key(&OWNER.pk.to_box().unwrap().into_string()).unwrap();
    let Ok(signature) = minisign::sign(Some(&OWNER.pk), &OWNER.sk, Cursor::new(b"{}"), Some(comment), Some("x")) else {
        return;
    };
    let signature = signature.into_string();
    let name = |name: &str| Subject::Config(ToolName::new(name).unwrap());
    let mut held = 0;
    for subject in [name("a"), name("a-b"), name("revision"), Subject::Index, Subject::Containerfile, Subject::Key] {
        let outcome = verify(b"{}".to_vec(), signature.as_bytes(), std::slice::from_ref(&key), &subject);
        let canonical = comment
            .rsplit_once('=')
            .and_then(|(_, digits)| digits.parse().ok())
            .is_some_and(|revision| subject.comment(revision) == comment);
        assert_eq!(outcome.is_ok(), canonical, "{comment:?}");
        if let Ok(verified) = outcome {
            assert_eq!(subject.comment(verified.revision()), comment);
            held += 1;
        }
    }
    assert!(held <= 1);
    // A changed file never holds, whatever the comment says.
    assert!(verify(b"{ }".to_vec(), signature.as_bytes(), std::slice::from_ref(&key), &Subject::Index).is_err());
});
