//! A signature file. Whatever holds is the good one but for its untrusted comment, under the good one's
//! name alone, and states its revision.
#![no_main]

use std::sync::LazyLock;

use coco::names::ToolName;
use coco::store::signature::{MAX_SIGNATURE, Subject, public_key, verify};
use libfuzzer_sys::fuzz_target;
use minisign_verify::PublicKey;

const KEY: &str = include_str!("../../store/coco.pub");
const FILE: &[u8] = include_bytes!("../../store/eslint.json");
const SIGNATURE: &str = include_str!("../../store/eslint.json.minisig");

static KEYS: LazyLock<Vec<PublicKey>> = LazyLock::new(|| vec![public_key(KEY).unwrap()]);

/// All but the first line.
fn signed(text: &str) -> &str {
    text.split_once('\n').unwrap().1
}

fuzz_target!(|bytes: &[u8]| {
    // As it is, and with the lines that no guess finds in the place of its own.
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let lines: Vec<&str> = text.split('\n').collect();
    let good: Vec<&str> = SIGNATURE.split('\n').collect();
    let mut tried = vec![bytes.to_vec()];
    for replaced in 0..good.len() {
        let mixed: Vec<&str> = (0..lines.len().max(good.len()))
            .map(|line| {
                let (own, other) = (lines.get(line), good.get(line));
                *if line == replaced { own.or(other) } else { other.or(own) }.unwrap()
            })
            .collect();
        tried.push(mixed.join("\n").into_bytes());
    }
    for signature in tried {
        for name in ["eslint", "prettier"] {
            let subject = Subject::Config(ToolName::new(name).unwrap());
            if let Ok(verified) = verify(FILE.to_vec(), &signature, &KEYS, &subject) {
                let text = std::str::from_utf8(&signature).unwrap();
                assert!(signature.len() <= MAX_SIGNATURE);
                assert_eq!((signed(text), name), (signed(SIGNATURE), "eslint"));
                assert_eq!((verified.bytes(), verified.signer()), (FILE, 0));
                assert!(text.contains(&subject.comment(verified.revision())));
            }
        }
    }
});
