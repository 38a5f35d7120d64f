//! S3, S6, S7: a store of somebody else's, signed with a key of theirs: what it may change, and what it may not.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::shop::{Owner, READS, Store, WRITES, trust};
use crate::world::{PROGRAM, start, wait};

#[test]
fn a_key_of_the_users_own_opens_another_store() {
    let mut store = Store::new();
    store.publish("tool", 3, READS);
    let got = store.world.coco(["get", "tool"]).exits(0);
    assert!(got.text().starts_with(&format!("tool: from the store at {}, key acme ", store.shop.base())), "{got:?}");
    let verified = store.world.coco(["verify", "tool"]).exits(0);
    assert!(
        verified.text().contains("store  revision 3, key ")
            && verified.text().contains(&format!(", from {}", store.shop.base()))
    );
    let json: Value = serde_json::from_str(store.world.coco(["verify", "--json"]).exits(0).text()).unwrap();
    assert_eq!((&json[0]["name"], &json[0]["state"]), (&json!("tool"), &json!("store")));
    assert_eq!((&json[0]["revision"], &json[0]["store"]), (&json!(3), &json!(store.shop.base())));
    assert_eq!(json[0]["key"].as_str().map(str::len), Some(16));
    let listed = store.world.coco(["key", "list"]).exits(0);
    assert!(listed.text().starts_with("built-in  ") && listed.text().contains("\nacme"), "{listed:?}");
    // S6: without the key, the same store is nobody's; and what it gave is vouched for by nobody.
    let removed = store.world.coco(["key", "remove", "acme"]).exits(0);
    assert!(removed.text().contains("tool: not signed by a trusted key any more"), "{removed:?}");
    store.world.coco(["verify", "tool"]).exits(1);
    fs::remove_file(store.tool("tool")).unwrap();
    let refused = store.world.coco(["get", "tool"]).exits(1);
    assert!(refused.stderr.contains("unknown key"), "{refused:?}");
    assert!(!store.tool("tool").exists());
}

#[test]
fn keys_are_named_and_never_replaced() {
    let store = Store::new();
    let file = |name: &str, text: &str| {
        let path = store.world.path(format!("home/{name}"));
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let other = Owner::new().public();
    for (path, words) in [
        (file("acme.pub", &other), "exists already"),
        (file("again.pub", &store.owner.public()), "is already trusted, as acme"),
        (file("built-in.pub", &other), "is not a valid name for a key file"),
        (file(".hidden.pub", &other), "is not a valid name for a key file"),
        (file("empty.pub", ""), "not a minisign public key"),
        (file("text.pub", "one\ntwo\n"), "not a minisign public key"),
        (file("long.pub", &format!("{other}{}", "x".repeat(2000))), "more than 1024 bytes"),
        ("/nowhere/x.pub".to_owned(), "can't read"),
    ] {
        let before = store.world.snapshot();
        store.world.coco(["key", "add", &path]).fails(125, words);
        assert_eq!(store.world.snapshot(), before, "{path}");
    }
    for words in
        [&["key", "remove", "built-in"][..], &["key", "remove", "../x"], &["key", "remove", "nobody"], &["key", "x"]]
    {
        store.world.coco(words).exits(125);
    }
    // A file there that is no key is not passed over.
    fs::write(store.world.path("config/coco/keys/broken.pub"), "x").unwrap();
    store.world.coco(["verify"]).exits(0);
    store.world.coco(["key", "list"]).fails(125, "broken.pub");
}

/// S3.
#[test]
fn nothing_goes_back_to_an_older_revision() {
    let mut store = Store::new();
    store.publish("tool", 5, READS);
    store.publish("other", 1, "");
    store.world.coco(["get", "tool"]).exits(0);
    fs::remove_file(store.tool("tool")).unwrap();
    // An older index, validly signed.
    store.index = 1;
    store.write_index("2099-01-01");
    store.world.coco(["get", "tool"]).fails(1, "it is revision 1, but revision 2 was seen before");
    // The same revision with other content, of the index and of a file.
    store.index = 2;
    store.tools["other"] = json!({"revision": 1, "tool": "npm:other", "description": "another"});
    store.write_index("2099-01-01");
    store.world.coco(["get", "other"]).fails(1, "revision 2 was seen before with different contents");
    store.index = 3;
    store.publish("tool", 5, WRITES);
    store.world.coco(["get", "tool"]).fails(1, "revision 5 was seen before with different contents");
    // A newer index with an older file; a file that is not the index's; an index without the tool.
    store.index = 10;
    store.publish("tool", 4, WRITES);
    store.world.coco(["get", "tool"]).fails(1, "it is revision 4, but revision 5 was seen before");
    store.publish("tool", 6, READS);
    let text = br#"{"tool": "npm:tool", "description": "d"}"#;
    store.write("tool.json", text, "coco-config name=tool revision=7");
    store.world.coco(["get", "tool"]).fails(1, "it is revision 7, but the index lists revision 6");
    store.tools.remove("tool");
    store.index += 1;
    store.write_index("2099-01-01");
    store.world.coco(["get", "tool"]).fails(1, "the store has no tool tool");
    assert!(!store.tool("tool").exists());
    // The control; and a damaged record is not forgotten.
    store.publish("tool", 8, READS);
    store.world.coco(["get", "tool"]).exits(0);
    for entry in fs::read_dir(store.world.path("state/coco/store")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::write(path, "{}").unwrap();
        }
    }
    store.world.coco(["get", "other"]).fails(1, "is damaged: missing field");
}

#[test]
fn an_expired_index_and_an_odd_clock_are_said() {
    let mut store = Store::new();
    store.publish("tool", 1, "");
    store.index += 1;
    store.write_index("2020-01-01");
    let got = store.world.coco(["get", "tool"]).exits(0);
    assert!(got.stderr.contains("the index expired on 2020-01-01"), "{got:?}");
    store.index += 1;
    store.write_index("2099-01-01");
    let quiet = store.world.coco(["update", "tool"]).exits(0);
    assert!(!quiet.stderr.contains("warning"), "{quiet:?}");
    // A look in the far future, as a clock that was wrong leaves it.
    for entry in fs::read_dir(store.world.path("state/coco/store")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let text = fs::read_to_string(&path).unwrap();
            let mut value: Value = serde_json::from_str(&text).unwrap();
            value["latest"] = json!(9_000_000_000_u64);
            fs::write(&path, value.to_string()).unwrap();
        }
    }
    let odd = store.world.coco(["update", "tool"]).exits(0);
    assert!(
        odd.stderr
            .contains("the system clock is more than a day behind the last check of this store; expiry not checked"),
        "{odd:?}"
    );
}

/// S7.
#[test]
fn an_update_that_widens_is_shown_and_refused_where_nobody_can_be_asked() {
    let mut store = Store::new();
    store.publish("tool", 1, READS);
    store.world.coco(["get", "tool"]).exits(0);
    let same = store.world.coco(["update"]).exits(0);
    assert_eq!(same.text(), "tool: up to date, revision 1\n");
    store.publish("tool", 2, &format!(r#"{WRITES}, "allowed_hosts": ["evil.example"]"#));
    let before = fs::read(store.tool("tool")).unwrap();
    let refused = store.world.coco(["update"]).exits(1);
    assert_eq!(refused.text(), "tool: revision 2\n  + writes the current directory\n  + reaches evil.example\n");
    assert!(
        refused.stderr.contains("the new file grants more") && refused.stderr.contains("--yes tool"),
        "{refused:?}"
    );
    assert_eq!(fs::read(store.tool("tool")).unwrap(), before);
    let agreed = store.world.coco(["update", "--yes", "tool"]).exits(0);
    assert!(agreed.text().contains("tool: revision 1 -> revision 2"), "{agreed:?}");
    // Less is never asked about.
    store.publish("tool", 3, READS);
    let narrowed = store.world.coco(["update"]).exits(0);
    assert!(narrowed.text().contains("  - writes the current directory\n"), "{narrowed:?}");
    assert!(store.world.coco(["verify", "tool"]).exits(0).text().contains("revision 3"));
    // Another package under the same name grants other code.
    let text = br#"{"tool": "npm:evil", "description": "d", "mounts": [{"src": ".", "opts": "ro"}]}"#;
    store.write("tool.json", text, "coco-config name=tool revision=4");
    store.tools["tool"] = json!({"revision": 4, "tool": "npm:evil", "description": "d"});
    store.index += 1;
    store.write_index("2099-01-01");
    assert!(store.world.coco(["update"]).exits(1).text().contains("+ installs npm:evil"));
}

/// What a file grants can't be told as something else, and what held a tool back is told.
#[test]
fn what_an_update_shows_is_the_whole_of_it() {
    let mut store = Store::new();
    let hidden = r#", {"src": "~/empty", "dst": "/foo/credentials", "opts": "ro"}"#;
    let rest = |hidden: &str, env: &str| {
        format!(
            r#", "command": "safe", "mounts": [{{"src": "~/a; no network", "dst": "/foo", "opts": "ro"}}{hidden}], "network": "public", "env": {{{env}}}"#
        )
    };
    let long = format!(r#""A": "{}""#, "x ".repeat(2000));
    store.publish("tool", 1, &rest(hidden, &long));
    let got = store.world.coco(["get", "tool"]).exits(0);
    let lines: Vec<&str> = got.text().lines().skip(1).collect();
    let value = format!("'A={}...{} ' (4,002 characters)", "x ".repeat(19), " x".repeat(8));
    assert_eq!(
        lines,
        [
            "  grants: installs npm:tool",
            "          runs the program safe",
            "          reads '~/a; no network' as /foo",
            "          reads ~/empty as /foo/credentials",
            "          reaches any public host",
            &format!("          sets {value}"),
        ]
    );
    store.publish("tool", 2, &rest("", "").replace(r#""command": "safe", "#, ""));
    let refused = store.world.coco(["update"]).exits(1);
    let added: Vec<&str> = refused.text().lines().filter(|line| line.starts_with("  + ")).collect();
    assert_eq!(
        added,
        [
            "  + runs the program tool",
            &format!("  + no longer sets {value}"),
            "  + no longer covers /foo/credentials with ~/empty",
        ]
    );
}

/// S7, with somebody there: `script` gives coco a terminal.
#[test]
fn an_update_that_widens_is_asked_about_on_a_terminal() {
    let mut store = Store::new();
    store.publish("tool", 1, READS);
    store.world.coco(["get", "tool"]).exits(0);
    store.publish("tool", 2, WRITES);
    let asked = |command: &str, early: &str, answer: &str| {
        let mut script = store.world.command("/usr/bin/script");
        let command = command.replace("coco", PROGRAM);
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).env("SHELL", "/bin/sh");
        let mut child = start(script.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        input.write_all(early.as_bytes()).unwrap();
        let (mut shown, mut byte) = (Vec::new(), [0]);
        while !shown.ends_with(b"[y/N] ") && output.read_exact(&mut byte).is_ok() {
            shown.push(byte[0]);
        }
        // Who has ended is not there to answer.
        let _ = input.write_all(answer.as_bytes());
        output.read_to_end(&mut shown).unwrap();
        let code = wait(&mut child, Duration::from_secs(10));
        (code, String::from_utf8(shown).unwrap())
    };
    for (early, answer) in [("", "n\n"), ("", "\n"), ("", "yep\n"), ("", "\u{4}"), ("y\n", "\n"), ("y\ny\n", "no\n")] {
        let (code, shown) = asked("sleep 0.3; coco update", early, answer);
        assert_eq!(code, Some(1), "{early:?}, {answer:?}: {shown}");
        assert!(shown.contains("  + writes the current directory\r\ncoco: grant tool what is marked with +? [y/N] "));
        assert!(shown.contains("tool is not updated: the new file grants more"), "{shown}");
    }
    for command in ["coco update >/dev/null", "coco update 2>/dev/null", "coco update </dev/null"] {
        let (code, shown) = asked(command, "", "y\n");
        assert_eq!(code, Some(1), "{command}: {shown}");
    }
    assert!(store.world.coco(["verify"]).exits(0).text().contains("revision 1"));
    let (code, shown) = asked("coco update", "", "y\n");
    assert!(code == Some(0) && shown.contains("tool: revision 1 -> revision 2"), "{shown}");
}

#[test]
fn what_the_user_changed_or_wrote_is_left_as_it_is() {
    let mut store = Store::new();
    store.publish("tool", 1, READS);
    store.world.coco(["get", "tool"]).exits(0);
    store.world.tool("mine", r#"{"tool": "npm:mine"}"#);
    let changed = br#"{"tool": "npm:tool", "description": "mine"}"#;
    fs::write(store.tool("tool"), changed).unwrap();
    store.publish("tool", 2, "");
    let kept = store.world.coco(["update"]).exits(0);
    assert!(kept.text().contains("tool: changed by you, left as it is"), "{kept:?}");
    assert!(!kept.text().contains("mine:"), "{kept:?}");
    assert_eq!(store.world.coco(["update", "mine"]).exits(0).text(), "mine: your own, left as it is\n");
    assert_eq!(fs::read(store.tool("tool")).unwrap(), changed);
    let forced = store.world.coco(["update", "--force", "tool"]).exits(0);
    assert!(forced.text().contains("yours is kept as"), "{forced:?}");
    assert_eq!(fs::read(store.tool("tool").with_extension("json.kept-1")).unwrap(), changed);
    assert!(store.world.coco(["verify", "tool"]).exits(0).text().contains("revision 2"));
    // What is kept is no tool.
    assert_eq!(store.world.coco(["list"]).exits(0).text(), "mine\ntool\n");
}

/// A file stays with the key that it came from, and an address with the key of its index, unless that key itself
/// has named another.
#[test]
fn an_update_by_another_key_is_refused_and_a_successor_is_not() {
    let mut store = Store::new();
    store.publish("tool", 1, READS);
    store.world.coco(["get", "tool"]).exits(0);
    let old = std::mem::replace(&mut store.owner, Owner::new());
    store.publish("tool", 2, READS);
    store.world.coco(["update"]).fails(1, "unknown key");
    // Trusted for its own stores, it is not for another's address, nor for its files from elsewhere.
    trust(&store.world, "other", &store.owner);
    store.world.coco(["update"]).fails(1, ", but was signed by acme before");
    store.world.coco(["get", "new"]).fails(1, ", but was signed by acme before");
    let elsewhere = store.file_address();
    let update = ["update", "--from", &elsewhere, "tool"];
    store.world.coco(update).fails(1, "but yours was signed by another one");
    // Nor when the user has changed the file, or nobody knows any more where it came from.
    let old_file = fs::read(store.tool("tool")).unwrap();
    fs::write(store.tool("tool"), b"{}").unwrap();
    let forced = ["update", "--from", &elsewhere, "--force", "tool"];
    store.world.coco(forced).fails(1, "but yours was signed by another one");
    fs::remove_file(store.world.path("state/coco/store/origins/tool")).unwrap();
    store.world.coco(forced).fails(1, "coco does not know which store tool came from");
    fs::write(store.tool("tool"), old_file).unwrap();
    store.world.coco(["key", "remove", "other"]).exits(0);
    // A successor that a stranger signed, and one whose comment says that it is something else.
    store.owner = Owner::new();
    store.publish("tool", 2, READS);
    store.name_successor_of(&Owner::new());
    store.world.coco(["update"]).fails(1, "unknown key");
    let next = store.owner.public();
    let signature = old.sign(next.as_bytes(), "coco-config name=tool revision=1");
    fs::write(store.place.join("successor.pub.minisig"), signature).unwrap();
    store.world.coco(["update"]).fails(1, "it is for");
    assert!(!store.world.coco(["key", "list"]).exits(0).text().contains("successor"));
    store.name_successor_of(&old);
    let updated = store.world.coco(["update"]).exits(0);
    assert!(updated.stderr.contains("has a new key"), "{updated:?}");
    assert!(updated.text().contains("tool: revision 1 -> revision 2"), "{updated:?}");
    assert!(store.world.coco(["key", "list"]).exits(0).text().contains("  named by "));
    let quiet = store.world.coco(["update"]).exits(0);
    assert!(quiet.text().contains("up to date") && !quiet.stderr.contains("new key"), "{quiet:?}");
    // The old key has nothing more to say: whoever has it now may not be who had it.
    let successor = std::mem::replace(&mut store.owner, old);
    store.publish("evil", 1, READS);
    store.world.coco(["get", "evil"]).fails(1, "which successor-");
    store.world.coco(["get", "--from", &elsewhere, "evil"]).fails(1, "which successor-");
    // And it names no second one.
    let old = std::mem::replace(&mut store.owner, Owner::new());
    store.name_successor_of(&old);
    store.publish("evil", 2, READS);
    store.world.coco(["get", "evil"]).fails(1, "acme has named successor-");
    store.owner = successor;
    store.publish("tool", 3, READS);
    store.world.coco(["update", "tool"]).exits(0);
}

/// Who may sign and names a key that comes next gains nothing over the files of others.
#[test]
fn a_successor_comes_after_its_own_key_alone() {
    let mut store = Store::new();
    store.publish("tool", 1, READS);
    store.world.coco(["get", "tool"]).exits(0);
    let acme = std::mem::replace(&mut store.owner, Owner::new());
    let other = Owner::new();
    trust(&store.world, "other", &other);
    store.name_successor_of(&other);
    store.publish("tool", 2, READS);
    let refused = store.world.coco(["update"]).exits(1);
    assert!(refused.stderr.contains("has a new key") && refused.stderr.contains("was signed by acme before"));
    let elsewhere = store.file_address();
    store.world.coco(["update", "--from", &elsewhere]).fails(1, "but yours was signed by another one");
    let listed = store.world.coco(["key", "list"]).exits(0);
    assert_eq!(listed.text().matches("  named by ").count(), 1, "{listed:?}");
    let removed = store.world.coco(["key", "remove", "other"]).exits(0);
    assert!(removed.text().contains("named by that key, still trusted"), "{removed:?}");
    // A key that is named but has not signed the index is not kept.
    store.owner = Owner::new();
    store.name_successor_of(&acme);
    let kept = std::mem::replace(&mut store.owner, Owner::new());
    store.publish("tool", 3, READS);
    store.world.coco(["update"]).fails(1, "unknown key");
    assert_eq!(store.world.coco(["key", "list"]).exits(0).text().matches("named by").count(), 1);
    // Two steps, the first of which the tool's own file has missed.
    store.owner = kept;
    store.publish("tool", 4, READS);
    store.publish("else", 1, READS);
    store.world.coco(["get", "else"]).exits(0);
    let first = std::mem::replace(&mut store.owner, Owner::new());
    store.name_successor_of(&first);
    store.publish("tool", 5, READS);
    assert!(store.world.coco(["update", "tool"]).exits(0).text().contains("revision 1 -> revision 5"));
}

/// Whatever order the owner, the store and the user do it in, the errors' own hints lead out.
#[test]
fn a_new_key_is_never_a_dead_end() {
    // The user hears of the new key first.
    let mut store = Store::new();
    store.publish("tool", 1, READS);
    store.world.coco(["get", "tool"]).exits(0);
    let old = std::mem::replace(&mut store.owner, Owner::new());
    trust(&store.world, "new", &store.owner);
    store.publish("tool", 2, READS);
    let refused = store.world.coco(["update"]).fails(1, "but was signed by acme before");
    store.name_successor_of(&old);
    let updated = store.world.coco(["update"]).exits(0);
    assert!(updated.text().contains("revision 1 -> revision 2") && !updated.stderr.contains("new key"), "{updated:?}");
    assert_eq!(store.world.coco(["key", "list"]).exits(0).text().lines().count(), 3, "no second copy");
    // The old key goes, as it should, and a tool that had missed the change is updated all the same.
    store.publish("tool", 3, READS);
    store.world.coco(["key", "remove", "acme"]).exits(0);
    assert!(store.world.coco(["update"]).exits(0).text().contains("revision 2 -> revision 3"));

    // Without a word of the old key: the hint of the refusal, and then all of it has to be agreed to.
    let hint = refused.hint().to_owned();
    let record = hint.split_whitespace().last().unwrap();
    let mut store = Store::new();
    store.publish("tool", 1, READS);
    store.world.coco(["get", "tool"]).exits(0);
    store.owner = Owner::new();
    trust(&store.world, "new", &store.owner);
    store.publish("tool", 2, READS);
    let named = store.world.coco(["update"]).exits(1).hint().split_whitespace().last().unwrap().to_owned();
    assert_eq!(named.rsplit('/').next(), record.rsplit('/').next());
    fs::remove_file(store.world.path("state/coco/store/addresses/keys.json")).unwrap();
    assert!(named.ends_with("store/addresses/keys.json"), "{named}");
    store.world.coco(["update"]).fails(1, "but yours was signed by another one");
    let removed = store.world.coco(["key", "remove", "acme"]).exits(0);
    assert!(removed.text().contains("not signed by a trusted key any more; coco update tool"), "{removed:?}");
    let asked = store.world.coco(["update"]).exits(1);
    assert!(
        asked.text().contains("  + installs npm:tool\n") && asked.stderr.contains("the new file grants more"),
        "{asked:?}"
    );
    let agreed = store.world.coco(["update", "--yes", "tool"]).exits(0);
    assert!(agreed.text().contains("yours is kept as") && agreed.text().contains("yours -> revision 2"), "{agreed:?}");
    store.world.coco(["verify"]).exits(0);
}

/// Who may sign for a store of their own and names acme's key as the next does not free the key before acme's.
#[test]
fn a_key_follows_one_key_alone() {
    let mut store = Store::new();
    store.publish("tool", 1, READS);
    store.world.coco(["get", "tool"]).exits(0);
    let old = std::mem::replace(&mut store.owner, Owner::new());
    store.name_successor_of(&old);
    store.publish("tool", 2, READS);
    store.world.coco(["update"]).exits(0);
    // An address of the other's, first with an index of their own, then with acme's new one and a word of theirs.
    let other = Owner::new();
    trust(&store.world, "other", &other);
    let acme = std::mem::replace(&mut store.owner, other);
    let (index, tools) = (store.index, store.tools.clone());
    store.publish("mine", 1, READS);
    let elsewhere = store.file_address();
    store.world.coco(["get", "--from", &elsewhere, "mine"]).exits(0);
    let other = std::mem::replace(&mut store.owner, acme);
    (store.index, store.tools) = (index, tools);
    store.publish("tool", 3, READS);
    store.name_successor_of(&other);
    store.world.coco(["get", "--from", &elsewhere, "new"]).fails(1, "was signed by other before");
    // The key before acme's is still one that was followed.
    store.owner = old;
    store.publish("evil", 9, READS);
    store.world.coco(["get", "evil"]).fails(1, "which successor-");
}

/// What came with the program stays the program's when the usual store is another one.
#[test]
fn a_bundled_tool_is_updated_from_the_bundle() {
    let mut store = Store::new();
    store.publish("ruff", 1, READS);
    store.world.coco(["get", "--bundled", "ruff", "prettier"]).exits(0);
    let updated = store.world.coco(["update"]).exits(0);
    assert_eq!(updated.text().matches(": up to date, revision 1\n").count(), 2, "{updated:?}");
}

/// Neither by being named again, nor under the number of another key.
#[test]
fn a_key_that_was_removed_does_not_come_back() {
    let mut store = Store::new();
    store.publish("tool", 1, READS);
    store.world.coco(["get", "tool"]).exits(0);
    let acme = std::mem::replace(&mut store.owner, Owner::new());
    store.name_successor_of(&acme);
    store.publish("tool", 2, READS);
    store.world.coco(["update"]).exits(0);
    let listed = store.world.coco(["key", "list", "--json"]).exits(0);
    let listed: Value = serde_json::from_str(listed.text()).unwrap();
    let successor = listed[2]["name"].as_str().unwrap().to_owned();
    assert_eq!(listed[2]["named_by"], listed[1]["number"], "{listed}");
    store.world.coco(["key", "remove", &successor]).exits(0);
    store.publish("evil", 1, READS);
    store.world.coco(["get", "evil"]).fails(1, "which you have removed");
    store.world.coco(["get", "--from", &store.file_address(), "evil"]).fails(1, "which you have removed");
    assert!(!store.world.coco(["key", "list"]).exits(0).text().contains(&successor));
    // By hand it does.
    trust(&store.world, "again", &store.owner);
    store.world.coco(["get", "--from", &store.file_address(), "evil"]).exits(0);
}

/// Whoever makes a key chooses its number.
#[test]
fn a_number_makes_no_key() {
    let mut store = Store::new();
    store.publish("tool", 1, READS);
    store.world.coco(["get", "tool"]).exits(0);
    let twin = Owner::with_number_of(&store.owner);
    // Two bytes of algorithm and eight of number are 13 letters and a third of base 64.
    let start = |owner: &Owner| owner.public().lines().nth(1).unwrap().chars().take(13).collect::<String>();
    assert_eq!(start(&twin), start(&store.owner), "the control: they share a number");
    let file = store.world.path("home/twin.pub");
    fs::write(&file, twin.public()).unwrap();
    let add = ["key", "add", file.to_str().unwrap()];
    store.world.coco(add).fails(125, "has the same number as the key acme");
    // Named by a key that may sign for itself.
    let other = Owner::new();
    trust(&store.world, "other", &other);
    let acme = std::mem::replace(&mut store.owner, twin);
    store.name_successor_of(&other);
    store.publish("tool", 1_000_000, READS);
    let elsewhere = store.file_address();
    store.world.coco(["update", "--from", &elsewhere, "tool"]).fails(1, "is not valid");
    // Alone it counts, but as itself: acme's file is not its to update, nor acme's revisions its to raise.
    store.world.coco(["key", "remove", "acme"]).exits(0);
    store.world.coco(add).exits(0);
    let asked = store.world.coco(["update", "--from", &elsewhere, "--force", "tool"]).exits(1);
    assert!(
        asked.text().contains("  + installs npm:tool\n") && asked.stderr.contains("the new file grants more"),
        "{asked:?}"
    );
    store.world.coco(["get", "--from", &elsewhere, "new"]).fails(1, "no tool new");
    store.world.coco(["key", "remove", "twin"]).exits(0);
    trust(&store.world, "acme-again", &acme);
    store.owner = acme;
    store.index = 1;
    store.publish("tool", 2, READS);
    assert!(store.world.coco(["update", "tool"]).exits(0).text().contains("revision 1 -> revision 2"));
}

/// A writing that was interrupted leaves the old file or the new one, and a signature of it.
#[test]
fn an_interrupted_update_leaves_nothing_unsigned() {
    let mut store = Store::new();
    store.publish("tool", 1, READS);
    store.world.coco(["get", "tool"]).exits(0);
    let signature = store.tool("tool").with_extension("json.minisig");
    let new_signature = store.tool("tool").with_extension("json.minisig.new");
    store.publish("tool", 2, "");
    let [file, signed] = ["tool.json", "tool.json.minisig"].map(|name| fs::read(store.place.join(name)).unwrap());
    let (old_file, old_signature) = (fs::read(store.tool("tool")).unwrap(), fs::read(&signature).unwrap());
    // Before the file was written, and after it, before the signature took its place.
    fs::write(&new_signature, &signed).unwrap();
    assert!(store.world.coco(["verify", "tool"]).exits(0).text().contains("revision 1"));
    fs::write(store.tool("tool"), &file).unwrap();
    assert!(store.world.coco(["verify", "tool"]).exits(0).text().contains("revision 2"));
    // The control: neither signature covers something else.
    fs::write(store.tool("tool"), b"{\"tool\": \"npm:x\"}").unwrap();
    store.world.coco(["verify", "tool"]).exits(1);
    fs::write(store.tool("tool"), old_file).unwrap();
    assert_eq!(fs::read(&signature).unwrap(), old_signature);
    assert!(store.world.coco(["update"]).exits(0).text().contains("revision 1 -> revision 2"));
    assert!(!new_signature.exists());
}

/// A pipe in the place of a file is waited for by nobody.
#[test]
fn pipes_are_no_files() {
    let mut store = Store::new();
    store.publish("tool", 1, READS);
    let pipe = |path: &std::path::Path| {
        let _ = fs::remove_file(path);
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    };
    pipe(&store.place.join("index.json"));
    store.world.coco(["get", "--from", &store.file_address(), "tool"]).fails(1, "it took too long");
    fs::remove_file(store.place.join("index.json")).unwrap();
    store.write_index("2099-01-01");
    store.world.coco(["get", "tool"]).exits(0);
    let lock = store.world.path("data/coco/tools/.lock");
    pipe(&lock);
    store.world.coco(["get", "other"]).fails(125, "can't open");
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(store.world.path("home/target"), &lock).unwrap();
    store.world.coco(["get", "other"]).fails(125, "can't open");
    assert!(!store.world.path("home/target").exists());
}

/// A project's own environment brings no keys and no coco files, whichever command reads it.
#[test]
fn a_projects_directories_are_nobodys() {
    let mut store = Store::new();
    store.publish("tool", 1, READS);
    let keys = store.world.path("project/.cfg/coco/keys");
    fs::create_dir_all(&keys).unwrap();
    fs::copy(store.world.path("config/coco/keys/acme.pub"), keys.join("acme.pub")).unwrap();
    store.world.coco(["key", "remove", "acme"]).exits(0);
    for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"] {
        let before = store.world.variables.clone();
        let inside = store.world.path("project/.cfg");
        store.world.set(name, inside);
        for command in ["get", "update", "allow"] {
            store.world.coco([command, "tool"]).fails(125, "lies in the project");
        }
        store.world.coco(["key", "list"]).fails(125, "lies in the project");
        store.world.variables = before;
    }
    assert!(!store.tool("tool").exists());
}

#[test]
fn a_store_can_be_typed_and_must_be_an_address() {
    let mut store = Store::new();
    store.publish("tool", 1, READS);
    store.world.unset("COCO_STORE_BASE");
    let base = format!("file://{}", store.place.display());
    store.world.coco(["get", "tool"]).fails(1, "the store has no tool tool");
    store.world.coco(["get", "--from", &base, "tool"]).exits(0);
    // From where it came, without being told again.
    store.publish("tool", 2, READS);
    assert!(store.world.coco(["update"]).exits(0).text().contains(&format!("revision 2, from {base}")));
    for address in [
        "http://store.example",
        "/x",
        "",
        "-o/x",
        "file://host/x",
        "https://",
        "https:///x",
        "file:///",
        "https://user:secret@store.example",
        "https://store.example/?x",
        "https://store.example/#x",
    ] {
        store.world.coco(["get", "--from", address, "other"]).fails(1, "--from: ");
    }
}
