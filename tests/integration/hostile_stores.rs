//! S1 to S7 by a real HTTPS server that answers badly: every answer but a good one is an error of one line with a
//! hint, and what is there stays as it is.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::authority::{Authority, KeyExchange};
use crate::shop::{Fault, READS, Shop, Store, WRITES, trust};
use crate::world::{Ended, World, start, wait};

/// The files that one `get` or `update` asks for, in this order.
const ASKED: [&str; 4] = ["index.json", "index.json.minisig", "tool.json", "tool.json.minisig"];

/// A store with revision 2 of `tool`, `store.world` that has nothing of it, and a world that has revision 1.
fn stores() -> (Store, World) {
    let mut store = Store::new();
    store.publish("other", 1, READS);
    store.publish("tool", 1, READS);
    let mut old = World::new();
    store.shop.connect(&mut old);
    trust(&old, "acme", &store.owner);
    old.coco(["get", "tool"]).exits(0);
    store.publish("tool", 2, WRITES);
    store.shop.requests();
    (store, old)
}

/// What `get` and `update` must not change: coco files, signatures, and where they came from.
fn kept(world: &World) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let places = [world.path("data"), world.path("state/coco/store/origins"), world.path("config")];
    let kept = |path: &Path| places.iter().any(|place| path.starts_with(place)) && !path.ends_with(".lock");
    world.snapshot().into_iter().filter(|(path, _)| path.is_file() && kept(path)).collect()
}

/// One error of one line, with a hint, and nothing else.
#[track_caller]
fn refuses(what: &str, ended: &Ended, words: &str) {
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let told = matches!(lines.as_slice(), [error, hint] if error.starts_with("coco: error: ") && error.contains(words)
        && hint.len() > "coco: hint: ".len() && hint.starts_with("coco: hint: "));
    assert!(told && ended.code == Some(1) && ended.stdout.is_empty(), "{what}: {words:?} in {ended:?}");
}

#[track_caller]
fn both_refuse(what: &str, (store, old): (&Store, &World), words: &str) {
    let (before, before_old) = (kept(&store.world), kept(old));
    refuses(what, &store.world.coco(["get", "tool"]), words);
    refuses(what, &old.coco(["update", "--yes"]), words);
    assert_eq!(kept(&store.world), before, "{what}");
    assert_eq!(kept(old), before_old, "{what}");
}

/// Whatever a server can do wrong with one of the four answers.
#[test]
fn every_bad_answer_is_refused_and_changes_nothing() {
    let (store, old) = stores();
    // Where a redirection leads to nobody.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let to =
        |address: &str| Fault::Raw(format!("HTTP/1.1 302 Found\r\nLocation: {address}\r\nContent-Length: 0\r\n\r\n"));
    let page = b"<!DOCTYPE html>\n<html><body><h1>Welcome to the hotel's network</h1></body></html>\n".to_vec();
    let length = |file: &str, length: &str| {
        let body = String::from_utf8(store.published(file)).unwrap();
        Fault::Raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"))
    };
    let limits =
        ["larger than 262144 bytes", "larger than 1024 bytes", "larger than 65536 bytes", "larger than 1024 bytes"];
    for (file, too_large) in ASKED.into_iter().zip(limits) {
        let good = store.published(file);
        let swapped = match file {
            "index.json" => store.published("tool.json"),
            "index.json.minisig" => store.published("tool.json.minisig"),
            "tool.json" => store.published("other.json"),
            _ => store.published("other.json.minisig"),
        };
        let signature = "is not valid";
        let cases = [
            ("empty", Fault::Body(Vec::new()), signature),
            ("cut off", Fault::Body(good[..good.len() / 2].to_vec()), signature),
            ("without its last byte", Fault::Body(good[..good.len() - 1].to_vec()), signature),
            ("with one byte more", Fault::Body([good.as_slice(), b"\n"].concat()), signature),
            ("another file", Fault::Body(swapped), signature),
            ("a page of HTML", Fault::Body(page.clone()), signature),
            ("NULs", Fault::Body(vec![0; good.len()]), signature),
            ("without end", Fault::Endless, too_large),
            ("10 GB announced", length(file, "10737418240"), too_large),
            ("a byte more announced", length(file, &(good.len() + 1).to_string()), "the answer was cut off"),
            ("a byte less announced", length(file, &(good.len() - 1).to_string()), signature),
            ("a negative length", length(file, "-1"), "the answer is not HTTP"),
            ("no HTTP", Fault::Raw("hello\r\n".repeat(20)), "uses another protocol"),
            ("a head without end", Fault::EndlessHead, "can't fetch https://"),
            ("no answer", Fault::Raw(String::new()), "the connection broke"),
            ("half a head", Fault::Raw("HTTP/1.1 200 OK\r\nContent-Le".to_owned()), signature),
            ("404", Fault::Raw("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned()), "no such file"),
            ("503", Fault::Raw("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_owned()), "HTTP status 503"),
            ("304", Fault::Raw("HTTP/1.1 304 Not Modified\r\n\r\n".to_owned()), signature),
            ("a loop", to(&format!("{}/{file}", store.shop.base())), "redirects too often"),
            ("to http", to(&format!("http://{}/{file}", store.shop.address)), "uses another protocol"),
            ("to a file", to(&format!("file://{}", store.place.join(file).display())), "uses another protocol"),
            ("to ftp", to("ftp://127.0.0.1/x"), "uses another protocol"),
            ("to nobody", to(&format!("https://{nobody}/{file}")), "nobody answers there"),
        ];
        for (what, fault, words) in cases {
            store.shop.misbehave(file, Some(fault));
            both_refuse(&format!("{file}, {what}"), (&store, &old), words);
        }
        store.shop.misbehave(file, None);
    }
    // The control. And each file is asked for once: there is no second answer that could differ.
    store.shop.requests();
    store.world.coco(["get", "tool"]).exits(0);
    assert_eq!(store.shop.requests(), ASKED);
    assert_eq!(fs::read(store.tool("tool")).unwrap(), store.published("tool.json"));
    assert_eq!(
        fs::read(store.tool("tool").with_extension("json.minisig")).unwrap(),
        store.published("tool.json.minisig")
    );
    old.coco(["update", "--yes"]).exits(0);
    assert_eq!(store.shop.requests(), ASKED);
}

/// S4. Every bit of them is tried without a server, in the laws.
#[test]
fn a_flipped_bit_on_the_way_is_refused() {
    let (store, old) = stores();
    for file in ASKED {
        let good = store.published(file);
        // The first line of a signature is a comment that nothing signs.
        let from = if file.ends_with(".minisig") { good.iter().position(|byte| *byte == b'\n').unwrap() } else { 0 };
        for (number, place) in (from..good.len()).step_by((good.len() - from) / 9).chain([good.len() - 1]).enumerate() {
            let mut bytes = good.clone();
            bytes[place] ^= 1 << (number % 8);
            store.shop.misbehave(file, Some(Fault::Body(bytes)));
            both_refuse(&format!("{file}, byte {place}"), (&store, &old), "");
        }
        store.shop.misbehave(file, None);
    }
    store.world.coco(["get", "tool"]).exits(0);
}

/// A redirection within https is followed; whose server it is does not matter, for the key is the store's.
#[test]
fn a_mirror_may_serve_what_is_signed() {
    let (store, _) = stores();
    let mirror =
        Shop::with_certificate(&store.place, |_| store.shop.authority().config(&["127.0.0.1"], KeyExchange::Usual));
    for file in ASKED {
        let answer = format!("HTTP/1.1 302 Found\r\nLocation: {}/{file}\r\nContent-Length: 0\r\n\r\n", mirror.base());
        store.shop.misbehave(file, Some(Fault::Raw(answer)));
    }
    store.world.coco(["get", "tool"]).exits(0);
    assert_eq!(mirror.requests(), ASKED);
}

#[test]
fn a_server_that_is_slow_is_waited_for_and_then_refused() {
    thread::scope(|scope| {
        for (file, fault) in [("index.json", Fault::Silence), ("tool.json", Fault::Silence), ("tool.json", Fault::Drip)]
        {
            scope.spawn(move || {
                let (store, old) = stores();
                store.shop.misbehave(file, Some(fault));
                let begun = Instant::now();
                let before = kept(&old);
                refuses(file, &old.coco(["update", "--yes"]), "it took too long");
                assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
                assert_eq!(kept(&old), before);
            });
        }
    });
}

/// Who can't prove to be the store is not listened to, and is no reason to fall back either.
#[test]
fn another_hosts_certificate_is_refused() {
    let strange = Authority::new();
    for (what, certificate) in [
        (
            "another host's",
            &(|own: &Authority| own.config(&["store.example"], KeyExchange::Usual)) as &dyn Fn(&Authority) -> _,
        ),
        ("another address's", &|own: &Authority| own.config(&["127.0.0.2"], KeyExchange::Usual)),
        ("an unknown authority's", &|_: &Authority| strange.config(&["127.0.0.1"], KeyExchange::Usual)),
    ] {
        let (store, mut old) = stores();
        let shop = Shop::with_certificate(&store.place, certificate);
        let mut world = World::new();
        shop.connect(&mut world);
        trust(&world, "acme", &store.owner);
        old.set("COCO_CA_BUNDLE", world.path("ca.pem"));
        for name in ["tool", "eslint"] {
            refuses(what, &world.coco(["get", name]), "its certificate is not trusted, or belongs to another host");
        }
        let before = kept(&old);
        refuses(what, &old.coco(["update", "--from", &shop.base(), "tool"]), "its certificate");
        assert_eq!(kept(&old), before, "{what}");
        assert!(shop.requests().is_empty(), "{what}");
    }
}

/// The bundled store serves when the environment's can't be reached, and not for a store that was named.
#[test]
fn only_what_cannot_be_reached_is_replaced_and_only_by_default() {
    let (store, mut old) = stores();
    let mut world = World::new();
    store.shop.connect(&mut world);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It accepts, and says something that is no TLS.
    let talker = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let base = format!("https://{address}");
    world.set("COCO_STORE_BASE", &base);
    let got = world.coco(["get", "eslint"]).exits(0);
    assert!(got.stderr.contains(&format!("warning: can't reach {base}: the TLS handshake failed")), "{got:?}");
    assert!(got.stderr.contains("using the bundled store"), "{got:?}");
    assert!(got.text().starts_with("eslint: from the bundled store"), "{got:?}");
    refuses("", &world.coco(["get", "--from", &base, "prettier"]), "the TLS handshake failed");
    talker.join().unwrap();
    refuses("", &world.coco(["get", "--from", &base, "prettier"]), "nobody answers there");
    refuses("", &world.coco(["get", "--from", "https://nowhere.invalid", "prettier"]), "its name is unknown");
    // What came from a store is not updated from another one.
    let file = fs::read(old.path("data/coco/tools/tool.json")).unwrap();
    let origin = old.path("state/coco/store/origins/tool");
    let moved = fs::read_to_string(&origin).unwrap().replace(&store.shop.base(), &base);
    fs::write(&origin, moved).unwrap();
    refuses("", &old.coco(["update", "tool"]), "nobody answers there");
    old.set("COCO_OFFLINE", "1");
    refuses("", &old.coco(["update", "tool"]), "COCO_OFFLINE is set");
    assert_eq!(fs::read(old.path("data/coco/tools/tool.json")).unwrap(), file);
    // Offline nobody is asked.
    store.shop.requests();
    world.set("COCO_STORE_BASE", store.shop.base());
    world.set("COCO_OFFLINE", "1");
    world.coco(["get", "prettier"]).exits(0);
    world.unset("COCO_OFFLINE");
    world.coco(["get", "--bundled", "ruff"]).exits(0);
    refuses("", &world.coco(["get", "--bundled", "--from", &base, "black"]), "two stores");
    assert!(store.shop.requests().is_empty());
}

/// S1.
#[test]
fn a_store_is_not_asked_for_what_is_no_name() {
    let (store, _) = stores();
    let long = "x".repeat(300);
    for name in
        ["../tool", "a/b", ".", "..", "", "coco", "/tool", "tool.json/../x", "-x", "TOOL", "tool?x", "%2e%2e", &long]
    {
        let ended = store.world.coco(["get", "--", name]);
        assert_ne!(ended.code, Some(0), "{name:?}");
        assert!(ended.stderr.starts_with("coco: error: "), "{ended:?}");
        assert!(store.shop.requests().is_empty(), "{name:?}");
    }
    assert!(kept(&store.world).iter().all(|(path, _)| !path.starts_with(store.world.path("data"))));
}

/// Each name stands or falls alone.
#[test]
fn several_names_fail_one_by_one() {
    let (store, _) = stores();
    store.shop.misbehave("other.json", Some(Fault::Body(b"{}".to_vec())));
    let got = store.world.coco(["get", "other", "nosuch", "tool"]).exits(1);
    assert!(got.text().starts_with("tool: from the store at https://"), "{got:?}");
    assert_eq!(got.stderr.matches("coco: error: ").count(), 2, "{got:?}");
    assert!(store.tool("tool").exists() && !store.tool("other").exists());
}

/// Ctrl-C, or the terminal's end, at any of the four answers.
#[test]
fn an_interrupted_fetch_leaves_nothing_behind() {
    for signal in [Signal::SIGINT, Signal::SIGHUP, Signal::SIGKILL] {
        for file in ASKED {
            let (store, old) = stores();
            store.shop.misbehave(file, Some(Fault::Silence));
            for (world, words) in [(&store.world, ["get", "tool"]), (&old, ["update", "--yes"])] {
                let before = kept(world);
                // The tests may have been started with signals ignored, as a shell does it for what runs behind it.
                let mut command = world.command("/usr/bin/env");
                command.args(["--default-signal=INT,HUP", env!("CARGO_BIN_EXE_coco")]);
                let mut child = start(command.args(words).stdout(Stdio::null()).stderr(Stdio::null()));
                until("the request", || store.shop.requests().contains(&file.to_owned()));
                kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
                assert_eq!(wait(&mut child, Duration::from_secs(10)), None, "ended by itself");
                assert_eq!(kept(world), before, "{signal} at {file}");
                // curl goes with it.
                until("the end of the connection", || store.shop.open() == 0);
            }
            // And nothing stands in the way of the next.
            store.shop.misbehave(file, None);
            store.world.coco(["get", "tool"]).exits(0);
            old.coco(["update", "--yes"]).exits(0);
        }
    }
}

/// A file system of a few pages, in a mount namespace that ends with the command. The control is the same with room.
#[test]
fn a_full_disk_leaves_the_old_file() {
    let (store, old) = stores();
    let data = old.path("data/coco/tools");
    let run = |pages: u32| {
        let script = format!(
            "mount -t tmpfs -o size={pages}k,mode=700 none '{data}' && cp -a '{copy}/.' '{data}' && \
             {{ head -c {filler} /dev/zero > '{data}/filler' || :; }} && '{coco}' update --yes; code=$?; \
             ls -A '{data}'; cmp '{data}/tool.json' '{copy}/tool.json' && echo same; exit $code",
            data = data.display(),
            copy = old.path("copy").display(),
            coco = env!("CARGO_BIN_EXE_coco"),
            filler = if pages == 16 { 1 << 20 } else { 0 },
        );
        let mut command: Command = old.command("/usr/bin/unshare");
        command.args(["--user", "--map-root-user", "--mount", "/bin/sh", "-c", &script]).env("PATH", "/usr/bin:/bin");
        crate::world::finish(command)
    };
    fs::create_dir(old.path("copy")).unwrap();
    for entry in fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, old.path("copy").join(path.file_name().unwrap())).unwrap();
    }
    let full = run(16).exits(1);
    assert!(full.stderr.contains("coco: error: can't write") && full.stderr.contains("No space left"), "{full:?}");
    let listed: Vec<&str> = full.text().lines().rev().take_while(|line| !line.starts_with("tool:")).collect();
    assert!(full.text().ends_with("same\n"), "{full:?}");
    assert!(!listed.iter().any(|line| line.contains(".new")), "a leftover: {full:?}");
    let control = run(1024).exits(0);
    assert!(control.text().contains("revision 1 -> revision 2"), "{control:?}");
    drop(store);
}

fn until(what: &str, reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(10), "no {what} for ten seconds");
        thread::sleep(Duration::from_millis(5));
    }
}
