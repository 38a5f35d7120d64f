//! Hostile bytes: no parser panics, and no signature holds that should not.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use coco::config::{self, MAX_FILE};
use coco::json;
use coco::names::ToolName;
use coco::protocol::network::InitEvent;
use coco::store::index::Index;
use coco::store::keyring;
use coco::store::signature::{self, Subject, verify};
use coco::sys::xauthority;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index as Pick, select};

use crate::cases;
use crate::counted::law;
use crate::hand_made::{EVERYTHING, LEAST};

/// Valid texts, cut, doubled and changed somewhere, or nothing but noise.
fn mangled(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    // One change leaves much as it was, five hardly anything.
    let change = (any::<Pick>(), prop_oneof![any::<u8>(), b' '..=b'~'], 0_u8..4);
    let changes = prop_oneof![vec(change.clone(), 1..2), vec(change, 1..6)];
    let altered = (select(seeds), changes).prop_map(|(mut bytes, changes)| {
        for (at, byte, kind) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        bytes
    });
    prop_oneof![altered, vec(any::<u8>(), 0..200)]
}

/// A file of the store.
pub fn stored(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("store").join(name)).unwrap()
}

/// The names of the store's signed files.
pub fn signed_files() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("store");
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().into_string().unwrap().strip_suffix(".minisig").map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

/// What a file of the store is.
pub fn subject(name: &str) -> Subject {
    match name {
        "index.json" => Subject::Index,
        "Containerfile" => Subject::Containerfile,
        _ => Subject::Config(ToolName::new(name.strip_suffix(".json").unwrap()).unwrap()),
    }
}

/// Signs with a key of the test's own, and gives that key.
pub fn signed_by_test(bytes: &[u8], comment: &str) -> (Vec<u8>, minisign_verify::PublicKey) {
    let keys = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let signature = minisign::sign(Some(&keys.pk), &keys.sk, Cursor::new(bytes), Some(comment), None).unwrap();
    let key = signature::public_key(&keys.pk.to_box().unwrap().into_string()).unwrap();
    (signature.into_string().into_bytes(), key)
}

#[test]
fn hostile_bytes_never_panic_the_parsers() {
    let seeds = [EVERYTHING.as_bytes(), LEAST.as_bytes(), b"[[[[{\"a\":{\"a\":1e9}}]]]]"].map(<[u8]>::to_vec);
    law(3000, &[("a coco file", 50), ("refused", 500)], mangled(seeds.to_vec()), |tally, bytes| {
        match config::parse(&bytes) {
            Ok(file) => {
                tally.count("a coco file");
                prop_assert_eq!(config::parse(file.print().as_bytes()), Ok(file));
            }
            Err(error) => {
                tally.count("refused");
                prop_assert!(!error.message.is_empty() && !error.hint.is_empty());
            }
        }
        let _ = json::parse(&bytes, MAX_FILE);
        let _ = xauthority::for_display(&bytes, ":0");
        let _ = coco::sys::mountinfo::unescape_octal(&bytes);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = signature::public_key(text);
        }
        Ok(())
    });
}

/// Whatever stands for init on the network channel is read without a panic, and as one message alone.
#[test]
fn hostile_packets_of_the_network_channel_never_panic() {
    let nearly = (1_u8..=6, vec(0_u8..128, 0..6), prop_oneof![Just(String::new()), "[ -~]{1,40}"])
        .prop_map(|(tag, number, text)| [&[tag][..], &number, text.as_bytes()].concat());
    let floors = [("a message", 500), ("nothing that init sends", 500)];
    law(3000, &floors, prop_oneof![vec(any::<u8>(), 0..64), nearly], |tally, packet| {
        let message = InitEvent::decode(&packet);
        tally.count(if message.is_some() { "a message" } else { "nothing that init sends" });
        if let Some(message) = message {
            prop_assert_eq!(message.encode(), packet);
        }
        Ok(())
    });
}

#[test]
fn hostile_signatures_never_hold() {
    let good = stored("eslint.json.minisig");
    let floors = [("as good as it was", 15), ("another", 1000)];
    law(3000, &floors, mangled(vec![good.clone()]), |tally, signature| {
        let outcome =
            verify(stored("eslint.json"), &signature, &[keyring::built_in().unwrap().key], &subject("eslint.json"));
        // All but the first line, the untrusted comment, is covered.
        let covered = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n').map(|at| bytes[at..].to_vec());
        let same = covered(&signature) == covered(&good)
            && signature.starts_with(b"untrusted comment: ")
            && std::str::from_utf8(&signature).is_ok()
            && !signature.contains(&b'\r')
            && signature.len() <= 1024;
        tally.count(if same { "as good as it was" } else { "another" });
        prop_assert_eq!(outcome.is_ok(), same);
        Ok(())
    });
}

#[test]
fn hostile_indexes_never_panic() {
    let index = stored("index.json");
    let whole =
        verify(index.clone(), &stored("index.json.minisig"), &[keyring::built_in().unwrap().key], &Subject::Index)
            .unwrap();
    let revision = whole.revision();
    // A letter in the place of another mostly leaves it an index.
    let little = (any::<Pick>(), b'a'..=b'z').prop_map({
        let index = index.clone();
        move |(at, byte)| {
            let mut bytes = index.clone();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        }
    });
    law(100, &[("an index", 5), ("none", 15)], prop_oneof![little, mangled(vec![index])], |tally, bytes| {
        let (signature, key) = signed_by_test(&bytes, &Subject::Index.comment(revision));
        let verified = verify(bytes, &signature, &[key], &Subject::Index).unwrap();
        match Index::parse(&verified) {
            Ok(index) => {
                tally.count("an index");
                prop_assert_eq!(index.revision, revision);
            }
            Err(_) => tally.count("none"),
        }
        Ok(())
    });
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn any_bytes_signed_as_they_are_hold(bytes in vec(any::<u8>(), 0..300), revision in any::<u64>()) {
        let subject = subject("eslint.json");
        let (signature, key) = signed_by_test(&bytes, &subject.comment(revision));
        let verified = verify(bytes.clone(), &signature, &[key], &subject).unwrap();
        prop_assert_eq!((verified.bytes(), verified.revision()), (bytes.as_slice(), revision));
    }
}
