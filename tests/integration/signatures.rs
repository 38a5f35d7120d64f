//! S2, S4 to S6: only what a trusted key signed under this very name becomes a coco file.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use crate::shop::Shop;
use crate::world::World;

/// The project's own store: validly signed material.
fn store(file: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("store").join(file)).unwrap()
}

fn text(file: &str) -> String {
    String::from_utf8(store(file)).unwrap()
}

/// A world whose store is a server of its own, with the project's index.
fn world_with_store() -> (World, PathBuf, Shop) {
    let mut world = World::new();
    let place = world.path("store");
    fs::create_dir(&place).unwrap();
    for file in ["index.json", "index.json.minisig"] {
        fs::write(place.join(file), store(file)).unwrap();
    }
    let shop = Shop::new(&place);
    shop.connect(&mut world);
    (world, place, shop)
}

fn publish(place: &Path, name: &str, file: &[u8], signature: &[u8]) {
    fs::write(place.join(format!("{name}.json")), file).unwrap();
    fs::write(place.join(format!("{name}.json.minisig")), signature).unwrap();
}

/// Signs as an attacker does, with a key of their own.
fn sign(bytes: &[u8], trusted_comment: &str) -> Vec<u8> {
    let keys = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    minisign::sign(
        Some(&keys.pk),
        &keys.sk,
        Cursor::new(bytes),
        Some(trusted_comment),
        Some("signature of the coco store"),
    )
    .unwrap()
    .into_string()
    .into_bytes()
}

/// Signatures of eslint.json that must not hold, with a word of the reason.
fn forged() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = text("eslint.json.minisig");
    let lines: Vec<&str> = good.lines().collect();
    let with = |line: usize, new: &str| {
        let mut lines = lines.clone();
        lines[line] = new;
        format!("{}\n", lines.join("\n")).into_bytes()
    };
    // The first bytes of a signature are its algorithm: "ED" is prehashed, "Ed" is legacy; in base 64, RUQ and RWQ.
    let legacy = lines[1].replacen("RUQ", "RWQ", 1);
    let flipped = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let comment = "trusted comment: coco-config name=eslint revision=";
    vec![
        ("legacy", with(1, &legacy), "legacy"),
        ("a changed signature", with(1, &flipped(lines[1], 40)), "changed"),
        ("another key's number", with(1, &flipped(lines[1], 8)), "unknown key"),
        ("a higher revision", with(2, &format!("{comment}2")), "changed"),
        ("another name", with(2, "trusted comment: coco-config name=prettier revision=1"), "changed"),
        ("no trusted comment", with(2, "trusted comment: "), "changed"),
        ("a changed global signature", with(3, &flipped(lines[3], 10)), "changed"),
        ("another file's global signature", with(3, text("prettier.json.minisig").lines().nth(3).unwrap()), "changed"),
        ("another file's signature", store("prettier.json.minisig"), "changed"),
        ("an attacker's key", sign(&store("eslint.json"), "coco-config name=eslint revision=1"), "unknown key"),
        ("empty", Vec::new(), "not a minisign signature"),
        ("cut off", good.as_bytes()[..good.len() - 5].to_vec(), "not a minisign signature"),
        ("without its last line", format!("{}\n", lines[..3].join("\n")).into_bytes(), "not a minisign signature"),
        ("without its last line end", good.trim_end().as_bytes().to_vec(), "not a minisign signature"),
        ("trailing data", format!("{good}x").into_bytes(), "not a minisign signature"),
        ("a trailing line", format!("{good}\n").into_bytes(), "not a minisign signature"),
        ("twice", format!("{good}{good}").into_bytes(), "not a minisign signature"),
        ("a leading line", format!("\n{good}").into_bytes(), "not a minisign signature"),
        ("carriage returns", good.replace('\n', "\r\n").into_bytes(), "not a minisign signature"),
        ("a byte order mark", format!("\u{feff}{good}").into_bytes(), "not a minisign signature"),
        ("not text", vec![0xff; 300], "not a minisign signature"),
        ("too long", with(0, &format!("untrusted comment: {}", "x".repeat(2000))), ""),
    ]
}

#[test]
fn get_writes_the_very_bytes_and_the_signature() {
    let world = World::new();
    let ended = world.coco(["get", "eslint"]).exits(0);
    let path = world.path("data/coco/tools/eslint.json");
    assert!(ended.text().starts_with("eslint: from the bundled store, revision 1, written to "), "{ended:?}");
    assert!(
        ended.text().contains("grants: installs npm:eslint; reads and writes the project; no network\n"),
        "{ended:?}"
    );
    assert_eq!(fs::read(&path).unwrap(), store("eslint.json"));
    assert_eq!(fs::read(path.with_extension("json.minisig")).unwrap(), store("eslint.json.minisig"));
    let verified = world.coco(["verify", "eslint"]).exits(0);
    assert!(
        verified.text().starts_with("eslint  store  revision 1, key ")
            && verified.text().ends_with(", from the bundled store\n")
    );
}

#[test]
fn get_never_overwrites() {
    let world = World::new();
    let path = world.tool("eslint", "mine");
    world.coco(["get", "eslint"]).fails(1, "exists already");
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    assert!(!path.with_extension("json.minisig").exists());
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(world.path("home/target"), &path).unwrap();
    world.coco(["get", "eslint"]).fails(1, "exists already");
    assert!(!world.path("home/target").exists());
}

#[test]
fn a_changed_file_is_modified() {
    let world = World::new();
    world.coco(["get", "eslint", "ruff"]).exits(0);
    let path = world.path("data/coco/tools/eslint.json");
    let good = fs::read(&path).unwrap();
    for (position, bit) in [(0, 0), (good.len() / 2, 3), (good.len() - 1, 7)] {
        let mut bytes = good.clone();
        bytes[position] ^= 1 << bit;
        fs::write(&path, bytes).unwrap();
        let ended = world.coco(["verify", "eslint"]).exits(1);
        assert!(ended.text().starts_with("eslint  MODIFIED  "), "{ended:?}");
    }
    fs::write(&path, [good.as_slice(), b"\n"].concat()).unwrap();
    let ended = world.coco(["verify"]).exits(1);
    assert!(ended.text().starts_with("eslint  MODIFIED  the file or its signature was changed\n"), "{ended:?}");
    assert!(ended.text().contains("ruff    store     revision 1, key "), "{ended:?}");
    assert!(
        world
            .coco(["list", "-l"])
            .exits(0)
            .text()
            .lines()
            .any(|line| line.contains("eslint") && line.contains("MODIFIED"))
    );
    let json: serde_json::Value = serde_json::from_str(world.coco(["verify", "--json"]).exits(1).text()).unwrap();
    assert_eq!((&json[0]["state"], &json[1]["state"]), (&"MODIFIED".into(), &"store".into()));
    fs::write(&path, good).unwrap();
    world.coco(["verify"]).exits(0);
}

#[test]
fn a_file_without_signature_is_local() {
    let world = World::with_probe();
    assert_eq!(world.coco(["verify", "probe"]).exits(0).text(), "probe  local  no signature\n");
    world.coco(["get", "eslint"]).exits(0);
    fs::remove_file(world.path("data/coco/tools/eslint.json.minisig")).unwrap();
    assert_eq!(world.coco(["verify", "eslint"]).exits(0).text(), "eslint  local  no signature\n");
}

#[test]
fn verify_of_an_unknown_tool_is_no_modification() {
    let world = World::new();
    let ended = world.coco(["verify", "nosuch"]);
    assert_ne!(ended.code, Some(0));
    assert!(!ended.text().contains("MODIFIED"), "{ended:?}");
    assert!(ended.stderr.contains("no coco file for the tool nosuch"), "{ended:?}");
}

/// S4.
#[test]
fn a_forged_signature_is_seen_by_verify() {
    let world = World::new();
    world.coco(["get", "eslint"]).exits(0);
    let path = world.path("data/coco/tools/eslint.json.minisig");
    for (what, signature, reason) in forged() {
        fs::write(&path, signature).unwrap();
        let ended = world.coco(["verify", "eslint"]).exits(1);
        assert!(ended.text().starts_with("eslint  MODIFIED  ") && ended.text().contains(reason), "{what}: {ended:?}");
    }
    fs::write(&path, store("eslint.json.minisig")).unwrap();
    world.coco(["verify", "eslint"]).exits(0);
}

/// S4 and S6: through a store's address.
#[test]
fn a_forged_signature_is_refused_by_get() {
    let (world, place, shop) = world_with_store();
    for (what, signature, reason) in forged() {
        publish(&place, "eslint", &store("eslint.json"), &signature);
        let ended = world.coco(["get", "eslint"]).exits(1);
        assert!(ended.stderr.starts_with("coco: error: ") && ended.stderr.contains(reason), "{what}: {ended:?}");
        assert!(ended.stdout.is_empty(), "{what}: a bad signature never falls back: {ended:?}");
        assert!(!world.path("data/coco/tools/eslint.json").exists(), "{what}");
        assert!(!world.path("data/coco/tools/eslint.json.minisig").exists(), "{what}");
    }
    // The control.
    publish(&place, "eslint", &store("eslint.json"), &store("eslint.json.minisig"));
    let ended = world.coco(["get", "eslint"]).exits(0);
    assert!(
        ended.text().starts_with(&format!("eslint: from the store at {}, key built-in ", shop.base())),
        "{ended:?}"
    );
    assert_eq!(fs::read(world.path("data/coco/tools/eslint.json")).unwrap(), store("eslint.json"));
}

/// S3. The project's first index, signed with its key: what has gone since might come back with it.
#[test]
fn an_index_older_than_the_bundled_one_is_refused() {
    let (world, place, _) = world_with_store();
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/data");
    for name in ["index.json", "index.json.minisig"] {
        fs::copy(old.join(name.replacen("index", "index-1", 1)), place.join(name)).unwrap();
    }
    publish(&place, "eslint", &store("eslint.json"), &store("eslint.json.minisig"));
    world.coco(["get", "eslint"]).fails(1, "it is revision 1, older than the bundled ");
    // The control: nobody has seen an index before.
    for name in ["index.json", "index.json.minisig"] {
        fs::write(place.join(name), store(name)).unwrap();
    }
    world.coco(["get", "eslint"]).exits(0);
}

/// S2.
#[test]
fn another_files_valid_signature_is_refused_under_this_name() {
    let (world, place, _) = world_with_store();
    for (file, comment) in
        [("prettier.json", "name=prettier"), ("index.json", "coco-index"), ("Containerfile", "coco-containerfile")]
    {
        publish(&place, "eslint", &store(file), &store(&format!("{file}.minisig")));
        let ended = world.coco(["get", "eslint"]).fails(1, "the signature of");
        assert!(ended.stderr.contains(comment), "{ended:?}");
        assert!(!world.path("data/coco/tools/eslint.json").exists());
    }
    // The same in place of a file that is there already.
    world.coco(["get", "--bundled", "eslint"]).exits(0);
    fs::write(world.path("data/coco/tools/eslint.json"), store("prettier.json")).unwrap();
    fs::write(world.path("data/coco/tools/eslint.json.minisig"), store("prettier.json.minisig")).unwrap();
    let ended = world.coco(["verify", "eslint"]).exits(1);
    assert!(ended.text().contains("name=prettier"), "{ended:?}");
}

#[test]
fn what_a_store_lacks_is_refused() {
    let (world, place, _) = world_with_store();
    world.coco(["get", "eslint"]).fails(1, "the store has no such file");
    fs::write(place.join("eslint.json"), store("eslint.json")).unwrap();
    world.coco(["get", "eslint"]).fails(1, "the store has no such file");
    publish(&place, "eslint", &vec![b' '; 100_000], &store("eslint.json.minisig"));
    world.coco(["get", "eslint"]).fails(1, "larger than 65536 bytes");
    assert!(!world.path("data/coco/tools/eslint.json").exists());
    world.coco(["get", "--bundled", "eslint"]).exits(0);
}

#[test]
fn offline_uses_the_bundled_store() {
    let (mut world, _, _) = world_with_store();
    world.set("COCO_OFFLINE", "1");
    let ended = world.coco(["get", "eslint"]).exits(0);
    assert!(ended.text().starts_with("eslint: from the bundled store, "), "{ended:?}");
}

#[test]
fn a_store_that_does_not_answer_is_said_and_the_bundled_one_serves() {
    let (mut world, _, _) = world_with_store();
    // A port of this machine on which nothing listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    world.set("COCO_STORE_BASE", format!("https://127.0.0.1:{port}/x"));
    let ended = world.coco(["get", "eslint"]).exits(0);
    assert!(ended.stderr.contains("can't reach "), "{ended:?}");
    assert!(ended.stderr.contains("nobody answers there"), "{ended:?}");
    assert!(ended.text().contains("from the bundled store, revision"), "{ended:?}");
}

#[test]
fn a_store_has_an_https_or_file_address() {
    let (mut world, _, _) = world_with_store();
    fs::remove_file(world.path("engines/curl")).unwrap();
    world.recorder(&world.path("engines/curl"), 0);
    for base in [
        "http://store.example",
        "ftp://store.example",
        "file://host/x",
        "file:x",
        "/x",
        "-o/x",
        "https://a b",
        "https://a\n-o x",
        "HTTPS://store.example",
        "https:/x",
        "javascript:x",
        " https://store.example",
    ] {
        world.set("COCO_STORE_BASE", base);
        world.coco(["get", "eslint"]).fails(1, "COCO_STORE_BASE: ");
    }
    assert!(world.calls().is_empty());
}

/// curl takes no option from the address, and no configuration of the caller's.
#[test]
fn curl_gets_the_address_as_an_address() {
    let (mut world, _, _) = world_with_store();
    fs::remove_file(world.path("engines/curl")).unwrap();
    world.recorder(&world.path("engines/curl"), 6);
    world.set("COCO_STORE_BASE", "https://store.example/coco/");
    world.coco(["get", "eslint"]).exits(0);
    let call = world.call();
    assert_eq!(call.arguments[0], "-q");
    assert_eq!(call.arguments[call.arguments.len() - 2..], ["--url", "https://store.example/coco/index.json"]);
    let protocols = call.arguments.iter().position(|argument| argument == "--proto").unwrap();
    assert_eq!(call.arguments[protocols + 1], "=https");
}
