//! An index that the key's owner did sign. What is read of it has good names, each once, in order; it is of
//! the signature's revision, and reads the same when it is written anew.
#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use coco::names::ToolName;
use coco::store::index::{Index, MAX_INDEX};
use coco::store::signature::{Subject, public_key, verify};
use libfuzzer_sys::fuzz_target;
use minisign::KeyPair;
use minisign_verify::PublicKey;
use serde_json::{Map, Value, json};

/// The revision that stands in the corpus.
const REVISION: u64 = 7;

static OWNER: LazyLock<(KeyPair, [PublicKey; 1])> = LazyLock::new(|| {
    let pair = KeyPair::generate_unencrypted_keypair().unwrap();
    let key = public_key(&pair.pk.to_box().unwrap().into_string()).unwrap();
    (pair, [key])
});

fn read(bytes: &[u8]) -> Option<Index> {
    let (pair, keys) = &*OWNER;
    let comment = Subject::Index.comment(REVISION);
    let signature = minisign::sign(Some(&pair.pk), &pair.sk, Cursor::new(bytes), Some(&comment), Some("x")).unwrap();
    let verified = verify(bytes.to_vec(), signature.into_string().as_bytes(), keys, &Subject::Index).unwrap();
    Index::parse(&verified).ok()
}

fuzz_target!(|bytes: &[u8]| {
    let Some(index) = read(bytes) else { return };
    assert!(bytes.len() <= MAX_INDEX);
    assert_eq!(index.revision, REVISION);
    assert!(index.expires.len() == 10 && index.expires.is_ascii());
    assert!(index.tools.windows(2).all(|pair| pair[0].name < pair[1].name));
    let mut tools = Map::new();
    for entry in &index.tools {
        assert_eq!(ToolName::new(entry.name.as_str()).as_ref(), Ok(&entry.name));
        assert_eq!(index.entry(&entry.name), Some(entry));
        let value = json!({"revision": entry.revision, "tool": entry.tool.to_string(), "description": entry.description});
        tools.insert(entry.name.to_string(), value);
    }
    let again = json!({"revision": index.revision, "expires": index.expires, "tools": Value::Object(tools)}).to_string();
    assert_eq!(read(again.as_bytes()), Some(index));
});
