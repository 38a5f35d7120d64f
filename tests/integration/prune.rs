//! `coco prune`: frees caches, and nothing that is in use or wanted.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::world::World;

const MEBIBYTE: usize = 1 << 20;

/// Fills a place below the volumes and gives its path.
fn fill(world: &World, place: &str, bytes: usize) -> PathBuf {
    let path = world.path("data/coco/volumes").join(place);
    fs::create_dir_all(path.join("deep")).unwrap();
    fs::write(path.join("deep/file"), vec![1; bytes]).unwrap();
    path
}

/// Holds a directory in use, as a running tool does.
fn hold(path: &Path) -> File {
    let file = File::open(path).unwrap();
    file.lock_shared().unwrap();
    file
}

/// Lets go of it. A child that another test is just starting may hold a copy until it has started.
fn release(locks: impl IntoIterator<Item = File>, path: &Path) {
    locks.into_iter().for_each(drop);
    File::open(path).unwrap().lock().unwrap();
}

fn freed(text: &str) -> f64 {
    text.strip_prefix("freed ").and_then(|rest| rest.strip_suffix(" MiB\n")).unwrap().parse().unwrap()
}

/// Of an installation in `data-1`.
const RECORD: &str = concat!(
    r#"{"inputs": "0000000000000000000000000000000000000000000000000000000000000000", "image": "localhost/x:1","#,
    r#""tool": "x", "version": "1", "data": "data-1", "path": [], "environment": [], "hosts": []}"#
);

#[test]
fn caches_go_and_installations_stay() {
    let world = World::with_probe();
    let data = fill(&world, "podman/probe/data-1", MEBIBYTE);
    fs::create_dir_all(world.path("state/coco/installs/podman")).unwrap();
    fs::write(world.path("state/coco/installs/podman/probe.json"), RECORD).unwrap();
    let runtimes = fill(&world, "podman/.runtimes/installs", MEBIBYTE);
    let gone = [
        fill(&world, "podman/probe/cache", 2 * MEBIBYTE),
        fill(&world, "podman/probe/install-cache", 3 * MEBIBYTE),
        fill(&world, "podman/probe/data-0", MEBIBYTE),
        fill(&world, "podman/.runtimes/cache", MEBIBYTE),
        fill(&world, "docker/probe/cache", MEBIBYTE),
    ];
    let ended = world.coco(["prune"]).exits(0);
    let mebibytes = freed(ended.text());
    assert!((8.0..8.5).contains(&mebibytes), "{ended:?}");
    assert!(gone.iter().all(|path| !path.exists()), "{gone:?}");
    assert!(data.join("deep/file").exists() && runtimes.join("deep/file").exists());
    assert_eq!(world.coco(["prune"]).exits(0).text(), "freed 0.0 MiB\n");
}

#[test]
fn nothing_to_prune_is_no_error() {
    assert_eq!(World::new().coco(["prune"]).exits(0).text(), "freed 0.0 MiB\n");
    assert_eq!(World::new().coco(["prune", "--all"]).exits(0).text(), "freed 0.0 MiB\n");
}

#[test]
fn what_is_in_use_is_skipped_by_name() {
    let world = World::with_probe();
    let cache = fill(&world, "podman/probe/cache", MEBIBYTE);
    let old = fill(&world, "podman/probe/data-0", MEBIBYTE);
    let free = fill(&world, "podman/probe/install-cache", MEBIBYTE);
    let locks = [hold(&cache), hold(&old)];
    let ended = world.coco(["prune"]).exits(0);
    assert!(ended.stderr.contains("coco: skip: probe is in use\n"), "{ended:?}");
    assert!(cache.join("deep/file").exists() && old.join("deep/file").exists() && !free.exists());
    let [first, second] = locks;
    release([first], &cache);
    release([second], &old);
    let ended = world.coco(["prune"]).exits(0);
    assert_eq!(ended.stderr, "");
    assert!(!cache.exists() && !old.exists());
}

#[test]
fn all_removes_what_no_coco_file_claims() {
    let world = World::with_probe();
    let kept = fill(&world, "podman/probe/data-1", MEBIBYTE);
    fs::create_dir_all(world.path("state/coco/installs/podman")).unwrap();
    for name in ["probe", "orphan"] {
        fs::write(world.path(format!("state/coco/installs/podman/{name}.json")), RECORD).unwrap();
    }
    let orphan = fill(&world, "podman/orphan/data-1", MEBIBYTE);
    world.coco(["prune"]).exits(0);
    assert!(orphan.exists(), "prune alone keeps installations");
    let lock = hold(&orphan);
    let ended = world.coco(["prune", "--all"]).exits(0);
    assert!(ended.stderr.contains("coco: skip: orphan is in use\n"), "{ended:?}");
    assert!(orphan.join("deep/file").exists());
    release([lock], &orphan);
    world.coco(["prune", "-a"]).exits(0);
    assert!(!world.path("data/coco/volumes/podman/orphan").exists());
    assert!(!world.path("state/coco/installs/podman/orphan.json").exists());
    assert!(kept.join("deep/file").exists() && world.path("state/coco/installs/podman/probe.json").exists());
}

/// A tool plants a link in its cache: what it leads to stays.
#[test]
fn links_are_not_followed() {
    let world = World::with_probe();
    let cache = fill(&world, "podman/probe/cache", 10);
    fs::write(world.path("home/precious"), "x").unwrap();
    std::os::unix::fs::symlink(world.path("home"), cache.join("link")).unwrap();
    std::os::unix::fs::symlink(world.path("home"), world.path("data/coco/volumes/podman/probe/data-9")).unwrap();
    std::os::unix::fs::symlink(world.path("home"), world.path("data/coco/volumes/podman/probe/install-cache")).unwrap();
    let _ = world.coco(["prune"]);
    let _ = world.coco(["prune", "--all"]);
    assert!(world.path("home/precious").exists());
    assert!(!cache.exists());
}

#[test]
fn caches_of_isolated_runtimes_go_too() {
    let world = World::with_probe();
    let cache = fill(&world, "podman/probe/runtimes/cache", MEBIBYTE);
    let runtime = fill(&world, "podman/probe/runtimes/installs", MEBIBYTE);
    let ended = world.coco(["prune"]).exits(0);
    assert!(!cache.exists(), "{ended:?}");
    assert!(runtime.exists());
}

/// One engine that can't be asked keeps nothing else back, and one that was never used is not asked at all.
#[test]
fn an_engine_that_can_not_be_asked_does_not_stop_it() {
    let mut world = World::with_probe();
    world.engine("docker", 0);
    world.set("DOCKER_HOST", "tcp://198.51.100.1:2375");
    world.coco(["prune"]).exits(0);
    let caches = ["podman", "docker"].map(|engine| fill(&world, &format!("{engine}/probe/cache"), MEBIBYTE));
    let ended = world.coco(["prune"]).fails(1, "DOCKER_HOST: ");
    assert!(!caches.iter().any(|cache| cache.exists()) && freed(ended.text()) > 1.9, "{ended:?}");
    assert!(world.calls().is_empty());
}
