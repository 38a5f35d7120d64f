//! `make sign`: only what changed is signed, nothing that is wrong, and the same content is the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::world::{Ended, PROGRAM, World, finish};

/// A copy of the project's store and of the script, with a key of the test's own.
struct Signing {
    world: World,
    key: PathBuf,
}

impl Signing {
    fn new() -> Signing {
        for program in ["minisign", "jq"] {
            assert!(Path::new("/usr/bin").join(program).exists(), "install {program}: make test does");
        }
        let world = World::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for directory in ["copy/store", "copy/scripts"] {
            fs::create_dir_all(world.path(directory)).unwrap();
        }
        fs::copy(root.join("scripts/sign.sh"), world.path("copy/scripts/sign.sh")).unwrap();
        for name in ["eslint.json", "ruff.json", "Containerfile"] {
            fs::copy(root.join("store").join(name), world.path("copy/store").join(name)).unwrap();
        }
        let key = world.path("home/test.key");
        let signing = Signing { world, key };
        let mut generate = signing.world.command("/usr/bin/minisign");
        generate.args(["-G", "-W", "-f", "-s"]).arg(&signing.key).arg("-p").arg(signing.store().join("coco.pub"));
        finish(generate).exits(0);
        signing
    }

    fn store(&self) -> PathBuf {
        self.world.path("copy/store")
    }

    fn sign(&self) -> Ended {
        self.sign_directory(None)
    }

    fn sign_directory(&self, directory: Option<&Path>) -> Ended {
        let mut sign = self.world.command(self.world.path("copy/scripts/sign.sh"));
        sign.arg(&self.key).args(directory).env("COCO", PROGRAM).env("PATH", "/usr/bin:/bin");
        finish(sign)
    }

    fn bytes(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.store()).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())).collect()
    }
}

#[test]
fn only_what_changed_is_signed_again() {
    let mut signing = Signing::new();
    let first = signing.sign().exits(0);
    let names =
        ["eslint.json, revision 1", "ruff.json, revision 1", "Containerfile, revision 1", "index.json, revision 1"];
    assert_eq!(first.text(), names.map(|name| format!("signed {name}\n")).concat());
    let before = signing.bytes();
    assert_eq!(signing.sign().exits(0).text(), "");
    assert_eq!(signing.bytes(), before, "unchanged content changes nothing");
    // But for the index, when it is asked for.
    signing.world.set("COCO_INDEX_RENEW", "1");
    signing.world.set("COCO_INDEX_DAYS", "3650");
    assert_eq!(signing.sign().exits(0).text(), "signed index.json, revision 2\n");
    let index = |bytes: &BTreeMap<String, Vec<u8>>| -> Value { serde_json::from_slice(&bytes["index.json"]).unwrap() };
    let (old, new) = (index(&before), index(&signing.bytes()));
    assert!(old["tools"] == new["tools"] && old["expires"].as_str() < new["expires"].as_str(), "{new}");
    signing.world.unset("COCO_INDEX_RENEW");
    let ruff = String::from_utf8(before["ruff.json"].clone()).unwrap();
    fs::write(signing.store().join("ruff.json"), ruff.replacen("description\": \"", "description\": \"Now ", 1))
        .unwrap();
    assert_eq!(signing.sign().exits(0).text(), "signed ruff.json, revision 2\nsigned index.json, revision 3\n");
    let after = signing.bytes();
    for name in ["eslint.json", "eslint.json.minisig", "Containerfile.minisig"] {
        assert_eq!(after[name], before[name], "{name}");
    }
}

#[test]
fn what_does_not_fit_a_store_is_not_signed() {
    let signing = Signing::new();
    signing.sign().exits(0);
    let before = signing.bytes();
    for (text, words) in [
        ("{", "/: "),
        (r#"{"tool": "npm:x", "description": "d", "podman_args": ["--label=x"]}"#, "/podman_args"),
        (r#"{"tool": "npm:x", "description": "d", "x11": true}"#, "/x11"),
        (r#"{"tool": "npm:x"}"#, "/description is missing"),
    ] {
        fs::write(signing.store().join("evil.json"), text).unwrap();
        let refused = signing.sign().exits(1);
        assert!(refused.stderr.contains("evil.json") && refused.stderr.contains(words), "{text}: {refused:?}");
        fs::remove_file(signing.store().join("evil.json")).unwrap();
        assert_eq!(signing.bytes(), before);
    }
}

/// A store of somebody's own is a directory; what docs/config.md says of making one is this.
#[test]
fn a_store_of_ones_own_is_signed_and_used() {
    let mut signing = Signing::new();
    let own = signing.world.path("home/acme");
    fs::create_dir(&own).unwrap();
    fs::copy(signing.store().join("coco.pub"), own.join("coco.pub")).unwrap();
    fs::write(own.join("acme-lint.json"), r#"{"tool": "npm:acme-lint", "description": "Checks acme's code"}"#).unwrap();
    let signed = signing.sign_directory(Some(&own)).exits(0);
    assert_eq!(signed.text(), "signed acme-lint.json, revision 1\nsigned index.json, revision 1\n");
    assert_eq!(signing.sign_directory(Some(&own)).exits(0).text(), "");
    std::os::unix::fs::symlink("/usr/bin/curl", signing.world.path("engines/curl")).unwrap();
    signing.world.set("COCO_STORE_BASE", format!("file://{}", own.display()));
    signing.world.coco(["get", "acme-lint"]).fails(1, "unknown key");
    let key = signing.world.path("home/acme.pub");
    fs::copy(own.join("coco.pub"), &key).unwrap();
    signing.world.coco(["key", "add", key.to_str().unwrap()]).exits(0);
    signing.world.coco(["get", "acme-lint"]).exits(0);
    fs::remove_file(own.join("coco.pub")).unwrap();
    assert!(signing.sign_directory(Some(&own)).exits(1).stderr.contains("coco.pub, the public key, is missing"));
}
