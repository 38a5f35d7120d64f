//! `make sign`: only what changed is signed, nothing that is wrong, and the same content is the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::world::{Ended, PROGRAM, World, finish, write_program};

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
        signing.generate(&signing.key);
        signing
    }

    /// Makes a key pair, of which the store gets the public key.
    fn generate(&self, key: &Path) {
        let mut generate = self.world.command("/usr/bin/minisign");
        generate.args(["-G", "-W", "-f", "-s"]).arg(key).arg("-p").arg(self.file("coco.pub"));
        finish(generate).exits(0);
    }

    fn store(&self) -> PathBuf {
        self.world.path("copy/store")
    }

    fn sign(&self) -> Ended {
        self.sign_directory(None)
    }

    fn sign_directory(&self, directory: Option<&Path>) -> Ended {
        // A shell can't catch a signal that was ignored when it began, and these tests may be started that way.
        let mut sign = self.world.command("/usr/bin/env");
        sign.args(["--default-signal=INT,HUP,TERM"]).arg(self.world.path("copy/scripts/sign.sh"));
        sign.arg(&self.key).args(directory).env("COCO", PROGRAM);
        sign.env("PATH", format!("{}:/usr/bin:/bin", self.world.path("engines").display()));
        finish(sign)
    }

    /// Signs, and checks that this is refused in one line with these words, and that nothing was changed.
    #[track_caller]
    fn refused(&self, words: &str) {
        let before = self.bytes();
        let refused = self.sign().exits(1);
        let lines: Vec<&str> = refused.stderr.lines().collect();
        assert!(
            matches!(lines.as_slice(), [line] if line.starts_with("sign: ") && line.contains(words)),
            "{refused:?}"
        );
        assert_eq!((refused.text(), self.bytes() == before), ("", true));
    }

    /// Signs, and checks what was signed: names and revisions.
    #[track_caller]
    fn signs(&self, expected: &[(&str, u32)]) {
        let lines: Vec<String> =
            expected.iter().map(|(name, number)| format!("signed {name}, revision {number}\n")).collect();
        assert_eq!(self.sign().exits(0).text(), lines.concat());
        for (name, number) in expected {
            let tool = name.strip_suffix(".json");
            let subject = match tool {
                None => "coco-containerfile".to_owned(),
                Some("index") => "coco-index".to_owned(),
                Some(tool) => format!("coco-config name={tool}"),
            };
            assert_eq!(self.trusted_comment(name), format!("{subject} revision={number}"));
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.store().join(name)
    }

    /// Changes a file that stays what it is.
    fn change(&self, name: &str) {
        let text = fs::read_to_string(self.file(name)).unwrap();
        let changed = match name {
            "Containerfile" => text + "# changed\n",
            _ => text.replacen("description\": \"", "description\": \"Now ", 1),
        };
        fs::write(self.file(name), changed).unwrap();
    }

    /// What is there of a file and its signature, to be put back later.
    fn keep(&self, name: &str) -> [(PathBuf, Vec<u8>); 2] {
        [self.file(name), self.signature(name)].map(|path| (path.clone(), fs::read(path).unwrap()))
    }

    fn signature(&self, name: &str) -> PathBuf {
        self.file(&format!("{name}.minisig"))
    }

    /// The trusted comment of a file's signature, which minisign verifies for this.
    fn trusted_comment(&self, name: &str) -> String {
        let mut verify = self.world.command("/usr/bin/minisign");
        verify.arg("-VHQm").arg(self.file(name)).arg("-p").arg(self.file("coco.pub"));
        finish(verify).exits(0).text().trim_end().to_owned()
    }

    /// What a contributor without the key can do: write another revision into a signature.
    fn forge(&self, name: &str, revision: &str) {
        let text = fs::read_to_string(self.signature(name)).unwrap();
        let (start, rest) = text.split_once("revision=").unwrap();
        let (_, end) = rest.split_once('\n').unwrap();
        fs::write(self.signature(name), format!("{start}revision={revision}\n{end}")).unwrap();
    }

    /// What only the owner of the key can do.
    fn sign_by_hand(&self, name: &str, comment: &str, option: Option<&str>) {
        let mut sign = self.world.command("/usr/bin/minisign");
        sign.arg("-S").args(option).arg("-s").arg(&self.key).args(["-t", comment, "-m"]).arg(self.file(name));
        finish(sign).exits(0);
    }

    /// All that is in the store: files, and nothing that was left behind.
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

fn put_back(kept: &[(PathBuf, Vec<u8>)]) {
    for (path, bytes) in kept {
        fs::write(path, bytes).unwrap();
    }
}

/// A store that was signed once.
fn signed() -> Signing {
    let signing = Signing::new();
    signing.sign().exits(0);
    signing
}

#[test]
fn the_signature_of_another_file_does_not_count() {
    let signing = signed();
    let kept = signing.keep("Containerfile");
    let [(_, eslint), (_, signature)] = signing.keep("eslint.json");
    fs::write(signing.file("evil.json"), &eslint).unwrap();
    fs::write(signing.signature("evil.json"), &signature).unwrap();
    signing.signs(&[("evil.json", 2), ("index.json", 2)]);
    for (name, words) in [("Containerfile", "not the signature of a Containerfile"), ("index.json", "not valid")] {
        fs::write(signing.file(name), &eslint).unwrap();
        fs::write(signing.signature(name), &signature).unwrap();
        signing.refused(words);
        put_back(&kept);
    }
}

#[test]
fn no_revision_comes_from_a_signature_that_does_not_hold() {
    let signing = signed();
    let mut next = 2;
    // The first overflows, the second is octal, the third is no number: the index knows better.
    for revision in ["9223372036854775806", "010", "$(id)", "7"] {
        signing.forge("eslint.json", revision);
        signing.change("ruff.json");
        signing.forge("ruff.json", revision);
        signing.signs(&[("eslint.json", next), ("ruff.json", next), ("index.json", next)]);
        next += 1;
    }
    // One that the index does not list may have been in an older one: it begins after all that there were.
    fs::copy(signing.file("ruff.json"), signing.file("other.json")).unwrap();
    fs::copy(signing.signature("ruff.json"), signing.signature("other.json")).unwrap();
    signing.forge("other.json", "41");
    signing.signs(&[("other.json", next), ("index.json", next)]);
}

#[test]
fn a_revision_of_another_form_is_refused() {
    let signing = signed();
    // The signature of a changed Containerfile can't be verified; its form can be.
    let kept = signing.keep("Containerfile");
    signing.change("Containerfile");
    for revision in ["9223372036854775806", "1000000000", "010", "0", "-1", "", "1 "] {
        signing.forge("Containerfile", revision);
        signing.refused("Containerfile.minisig states revision ");
    }
    signing.forge("Containerfile", "999999999");
    signing.refused("Containerfile has had every revision");
    put_back(&kept);
    let kept = signing.keep("eslint.json");
    for revision in ["1000000000", "010"] {
        signing.sign_by_hand("eslint.json", &format!("coco-config name=eslint revision={revision}"), None);
        signing.refused("eslint.json.minisig states revision ");
    }
    put_back(&kept);
    let index = fs::read_to_string(signing.file("index.json")).unwrap();
    let listed = index.replacen("      \"revision\": 1", "      \"revision\": 9223372036854775806", 1);
    assert_ne!(listed, index);
    fs::write(signing.file("index.json"), listed).unwrap();
    signing.sign_by_hand("index.json", "coco-index revision=1", None);
    signing.refused("of eslint, not one from 1 to 999999999");
}

#[test]
fn the_index_goes_on_from_the_verified_one_or_not_at_all() {
    let signing = signed();
    signing.change("ruff.json");
    let kept = signing.keep("index.json");
    let restore = "restore index.json and index.json.minisig from version control";
    signing.forge("index.json", "7");
    signing.refused(restore);
    fs::remove_file(signing.signature("index.json")).unwrap();
    signing.refused(restore);
    put_back(&kept);
    fs::write(signing.file("index.json"), "{}").unwrap();
    signing.refused(restore);
    fs::remove_file(signing.file("index.json")).unwrap();
    signing.refused(restore);
    fs::remove_file(signing.signature("index.json")).unwrap();
    signing.refused(restore);
    put_back(&kept);
    signing.sign_by_hand("index.json", "coco-index revision=2", None);
    signing.refused("another revision than its signature");
    put_back(&kept);
    signing.signs(&[("ruff.json", 2), ("index.json", 2)]);
}

#[test]
fn without_its_signature_a_file_does_not_begin_again() {
    let signing = signed();
    let old = signing.keep("ruff.json");
    signing.change("ruff.json");
    signing.signs(&[("ruff.json", 2), ("index.json", 2)]);
    fs::remove_file(signing.signature("ruff.json")).unwrap();
    signing.signs(&[("ruff.json", 3), ("index.json", 3)]);
    // Nor with an older one that holds.
    put_back(&old);
    signing.signs(&[("ruff.json", 4), ("index.json", 4)]);
    signing.signs(&[]);
    signing.change("Containerfile");
    signing.signs(&[("Containerfile", 2)]);
    fs::remove_file(signing.signature("Containerfile")).unwrap();
    signing.refused("Containerfile.minisig is missing: restore it");
}

/// What a run that was ended before the index was there has signed stays as it is.
#[test]
fn a_signature_ahead_of_the_index_is_taken() {
    let signing = signed();
    let index = signing.keep("index.json");
    signing.change("ruff.json");
    signing.signs(&[("ruff.json", 2), ("index.json", 2)]);
    let ruff = signing.keep("ruff.json");
    put_back(&index);
    signing.signs(&[("index.json", 2)]);
    assert_eq!(signing.keep("ruff.json"), ruff);
}

#[test]
fn the_key_of_another_store_signs_nothing() {
    let mut signing = Signing::new();
    let right = signing.key.clone();
    let public = fs::read(signing.file("coco.pub")).unwrap();
    let wrong = signing.world.path("home/wrong.key");
    signing.generate(&wrong);
    fs::write(signing.file("coco.pub"), public).unwrap();
    signing.key.clone_from(&wrong);
    signing.refused("is not the secret key of");
    signing.key = right;
    signing.sign().exits(0);
    signing.change("ruff.json");
    signing.key = wrong;
    signing.refused("is not the secret key of");
}

#[test]
fn a_new_key_takes_over_with_the_old_public_one() {
    let mut signing = signed();
    let old = signing.world.path("home/old.pub");
    fs::copy(signing.file("coco.pub"), &old).unwrap();
    signing.key = signing.world.path("home/new.key");
    signing.generate(&signing.key);
    signing.refused("COCO_OLD_PUB=path");
    signing.world.set("COCO_OLD_PUB", old);
    signing.signs(&[("eslint.json", 2), ("ruff.json", 2), ("Containerfile", 2), ("index.json", 2)]);
    signing.signs(&[]);
}

#[test]
fn an_index_that_expires_soon_is_told() {
    let mut signing = Signing::new();
    signing.world.set("COCO_INDEX_DAYS", "80");
    signing.sign().exits(0);
    let told = signing.sign().exits(0);
    assert!(told.stderr.starts_with("sign: the index expires on 20"), "{told:?}");
    assert!(told.stderr.contains("COCO_INDEX_RENEW=1") && told.stderr.lines().count() == 1, "{told:?}");
    signing.world.set("COCO_INDEX_RENEW", "1");
    signing.world.set("COCO_INDEX_DAYS", "100");
    signing.signs(&[("index.json", 2)]);
    signing.world.unset("COCO_INDEX_RENEW");
    assert_eq!(signing.sign().exits(0).stderr, "");
}

#[test]
fn a_legacy_signature_is_made_anew() {
    let signing = signed();
    for (name, comment) in [
        ("eslint.json", "coco-config name=eslint revision=1"),
        ("Containerfile", "coco-containerfile revision=1"),
        ("index.json", "coco-index revision=1"),
    ] {
        signing.sign_by_hand(name, comment, Some("-l"));
    }
    signing.signs(&[("eslint.json", 2), ("Containerfile", 2), ("index.json", 2)]);
    signing.sign_by_hand("index.json", "coco-index revision=2", Some("-l"));
    signing.signs(&[("index.json", 3)]);
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let signing = signed();
    let away = signing.world.path("home/away");
    for name in ["eslint.json", "index.json", "Containerfile", "coco.pub"] {
        for path in [signing.file(name), signing.signature(name)] {
            let bytes = fs::read(&path).ok();
            // The very bytes are there, or nothing is.
            for target in [away.clone(), signing.world.path("home/nothing")] {
                fs::write(&away, bytes.as_deref().unwrap_or_default()).unwrap();
                let _ = fs::remove_file(&path);
                std::os::unix::fs::symlink(target, &path).unwrap();
                irregular(&signing, &path);
                fs::remove_file(&path).unwrap();
            }
            fs::create_dir(&path).unwrap();
            irregular(&signing, &path);
            fs::remove_dir(&path).unwrap();
            if let Some(bytes) = bytes {
                fs::write(&path, bytes).unwrap();
            }
        }
    }
    signing.signs(&[]);
}

#[track_caller]
fn irregular(signing: &Signing, path: &Path) {
    let before = signing.world.snapshot();
    let refused = signing.sign().exits(1);
    // Where there is no key at all, that is said first.
    let words = if path.ends_with("coco.pub") && !path.is_file() { "is missing" } else { "is not a regular file" };
    assert!(
        refused.stderr.contains(path.file_name().unwrap().to_str().unwrap()) && refused.stderr.contains(words),
        "{refused:?}"
    );
    assert_eq!((refused.text(), signing.world.snapshot() == before), ("", true));
}

/// Half a store, or half an index, would be signed for good.
#[test]
fn what_fails_on_the_way_changes_nothing() {
    let signing = signed();
    let jq = signing.world.path("engines/jq");
    for change in [None, Some("ruff.json")] {
        if let Some(name) = change {
            signing.change(name);
        }
        let before = signing.bytes();
        for ends in ["exit 5", "kill -TERM $PPID; exit 0", "kill -INT $PPID; exit 0"] {
            // One file's entry, all of them, and the index, which is only made with a change.
            for call in ["--arg name eslint --argjson ", "-s -S ", "--arg expires "] {
                let script = format!("case \"$* \" in *'{call}'*) {ends} ;; esac\nexec /usr/bin/jq \"$@\"\n");
                write_program(&jq, &format!("#!/bin/sh\n{script}"));
                let ended = signing.sign();
                let reached = change.is_some() || call != "--arg expires ";
                assert_eq!((ended.code == Some(0), ended.text()), (!reached, ""), "{call} {ends}: {ended:?}");
                assert_eq!(signing.bytes(), before, "{call} {ends}");
            }
        }
    }
    fs::remove_file(jq).unwrap();
    signing.signs(&[("ruff.json", 2), ("index.json", 2)]);
}
