//! The records of what stores have shown: their form on disk does not change.

use std::fs;

use coco::sys::hash::digest;
use serde_json::Value;

use crate::shop::{Owner, READS, Store, trust};

/// What an older version of coco has written is read, and still holds.
#[test]
fn records_that_were_written_before_are_read() {
    let mut store = Store::new();
    store.publish("tool", 5, READS);
    let key_id = |text: &str| digest(text.lines().nth(1).unwrap().as_bytes());
    let (acme, other) = (store.owner.public(), Owner::new());
    trust(&store.world, "other", &other);
    let seen = |index: u64, file: u64| {
        let zeros = "0".repeat(64);
        let text = format!(
            "{{\n  \"files\": {{\n    \"tool\": {{\n      \"digest\": \"{zeros}\",\n      \"revision\": {file}\n    }}\n  }},\n  \"index\": {{\n    \"digest\": \"{zeros}\",\n    \"revision\": {index}\n  }},\n  \"latest\": 1795478400\n}}\n"
        );
        write_record(&store, &format!("state/coco/store/{}.json", key_id(&acme)), &text);
    };
    seen(7, 0);
    store.world.coco(["get", "tool"]).fails(1, "but revision 7 was seen before");
    seen(0, 6);
    store.world.coco(["get", "tool"]).fails(1, "it is revision 5, but revision 6 was seen before");
    seen(0, 0);
    let pins = "state/coco/store/addresses/keys.json";
    let pinned = |key: &str| format!("{{\n  \"{}\": \"{}\"\n}}\n", store.shop.base(), key_id(key));
    write_record(&store, pins, &pinned(&other.public()));
    store.world.coco(["get", "tool"]).fails(1, "but was signed by other before");
    let rotations = format!(
        "{{\n  \"{}\": {{\n    \"digest\": \"{}\",\n    \"number\": \"0123456789ABCDEF\"\n  }}\n}}\n",
        key_id(&acme),
        key_id(&other.public())
    );
    write_record(&store, "config/coco/keys/succession.json", &rotations);
    store.world.coco(["get", "tool"]).exits(0);
    assert!(store.world.coco(["key", "list"]).exits(0).text().contains("  named by 0123456789ABCDEF\n"));
    // And what is written now has the same form: an older version of coco reads it.
    assert_eq!(fs::read_to_string(store.world.path(pins)).unwrap(), pinned(&acme));
    let written = fs::read_to_string(store.world.path(format!("state/coco/store/{}.json", key_id(&acme)))).unwrap();
    let value: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written, format!("{value:#}\n"));
    assert_eq!(value["files"]["tool"]["revision"], 5);
    assert_eq!(value["index"]["digest"], digest(&fs::read(store.place.join("index.json")).unwrap()));
    for (record, what) in [(pins, "keys.json"), ("config/coco/keys/succession.json", "succession.json")] {
        let before = fs::read_to_string(store.world.path(record)).unwrap();
        for damaged in ["", "[]", "{\"a\": 1}", "{\"a\": \"b\", \"a\": \"b\"}"] {
            write_record(&store, record, damaged);
            let refused = store.world.coco(["update", "tool"]).exits(1);
            assert!(refused.stderr.contains(&format!("{what} is damaged: ")), "{damaged}: {refused:?}");
            assert!(refused.hint().starts_with("remove it to forget which keys "), "{refused:?}");
        }
        write_record(&store, record, &before);
    }
    store.world.coco(["update", "tool"]).exits(0);
}

fn write_record(store: &Store, path: &str, text: &str) {
    let path = store.world.path(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
