//! What is swept is coco's own and idle, and nothing else.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::world::{World, start, wait, write_program};

/// As old as what a killed process left long ago.
fn age(path: &Path) {
    File::open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
}

/// Waits for something that another process makes.
fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..3000 {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain");
}

fn entries(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// An image's build takes minutes, and other tools start meanwhile.
#[test]
fn a_build_keeps_its_directory() {
    let mut world = World::with_probe();
    world.unset("COCO_IMAGE");
    let script = r#"#!/bin/sh
case "$1" in
    build)
        : > 'ROOT/building'
        while [ ! -e 'ROOT/go-on' ]; do /bin/sleep 0.02; done
        for argument; do
            case "$argument" in --iidfile=*) printf 'sha256:%064d' 1 > "${argument#--iidfile=}" || exit 9 ;; esac
        done ;;
    run) exit 3 ;;
esac
"#;
    let root = world.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    write_program(&world.path("engines/podman"), &script.replace("ROOT", &root));
    let mut command = world.command(crate::world::PROGRAM);
    let mut building = start(command.args(["run", "probe"]));
    until(|| world.path("building").exists().then_some(()));
    let runtime = world.path("runtime/coco");
    let built: Vec<PathBuf> = entries(&runtime);
    assert_eq!(built.len(), 1, "{built:?}");
    age(&built[0]);
    world.set("COCO_IMAGE", "localhost/mine:1");
    let other = world.coco(["run", "probe"]);
    let kept = built[0].join("Containerfile").exists();
    fs::write(world.path("go-on"), "").unwrap();
    other.fails(126, "did not start the sandbox");
    assert!(kept, "swept while it is in use");
    assert_eq!(wait(&mut building, Duration::from_secs(30)), Some(126), "built, and then the engine failed");
    assert!(world.path("state/coco/images/podman-python.json").exists());
    assert_eq!(entries(&runtime), Vec::<PathBuf>::new());
}

#[test]
fn what_killed_processes_left_goes_and_what_is_not_cocos_stays() {
    let world = World::with_probe();
    let runtime = world.path("runtime/coco");
    let make = |name: &str| {
        let path = runtime.join(name);
        fs::create_dir_all(path.join("deep")).unwrap();
        fs::write(path.join("deep/file"), "x").unwrap();
        fs::write(path.join("of-coco"), "").unwrap();
        path
    };
    // Somebody else's, by coco's name for it: without the mark, with a link by its name, in the place of it a link.
    let foreign = ["run-4000006", "run-4000007"].map(make);
    fs::remove_file(foreign[0].join("of-coco")).unwrap();
    fs::remove_file(foreign[1].join("of-coco")).unwrap();
    std::os::unix::fs::symlink(world.path("home"), foreign[1].join("of-coco")).unwrap();
    let unmarked = runtime.join("run-4000008");
    fs::create_dir_all(&unmarked).unwrap();
    age(&unmarked);
    let left: Vec<PathBuf> =
        ["run-4000000", "runtimes-4000001", "tool-4000002", "build-4000003"].map(make).into_iter().collect();
    let mut kept: Vec<PathBuf> = ["mine", "run-mine", "run-1.bak", "4000000"].map(make).into_iter().collect();
    let file = runtime.join("note");
    fs::write(&file, "x").unwrap();
    let in_use = make("run-4000004");
    let lock = File::open(&in_use).unwrap();
    lock.lock_shared().unwrap();
    for path in left.iter().chain(&kept).chain(&foreign).chain([&file, &in_use]) {
        age(path);
    }
    kept.extend(foreign);
    let young = make("run-4000005");
    kept.extend([file, in_use, young]);
    kept.sort();
    fs::set_permissions(&runtime, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    world.coco(["run", "probe"]).exits(126);
    assert_eq!(entries(&runtime), kept, "{left:?} are gone");
}

/// An installation is in no record until it is done, and between its two parts no sandbox uses it.
#[test]
fn prune_waits_for_installations() {
    let world = World::with_probe();
    let own = world.path("data/coco/volumes/podman/probe");
    let shared = world.path("data/coco/volumes/podman/.runtimes/cache");
    for path in [&own.join("data-1"), &own.join("install-cache"), &shared] {
        fs::create_dir_all(path).unwrap();
    }
    let locks = [own.join("install.lock"), world.path("data/coco/volumes/podman/.runtimes.lock")];
    let held: Vec<File> = locks.iter().map(|path| File::create(path).unwrap()).collect();
    for file in &held {
        file.lock().unwrap();
    }
    let ended = world.coco(["prune"]).exits(0);
    assert!(ended.stderr.contains("coco: skip: probe is being installed\n"), "{ended:?}");
    assert!(ended.stderr.contains("coco: skip: runtimes are being installed\n"), "{ended:?}");
    assert!(own.join("data-1").exists() && own.join("install-cache").exists() && shared.exists());
    drop(held);
    for path in &locks {
        // A child that another test is just starting may hold a copy until it has started.
        File::open(path).unwrap().lock().unwrap();
    }
    assert_eq!(world.coco(["prune"]).exits(0).stderr, "");
    assert!(!own.join("data-1").exists() && !own.join("install-cache").exists() && !shared.exists());
}

/// A package manager's cache decides what it installs.
#[test]
fn an_installation_finds_nothing_of_an_earlier_one() {
    let world = World::new();
    world.tool("probe", r#"{"tool": "npm:probe"}"#);
    let cache = world.path("data/coco/volumes/podman/probe/install-cache");
    fs::create_dir_all(cache.join("deep")).unwrap();
    fs::write(cache.join("deep/planted"), "x").unwrap();
    let root = world.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    let script = "#!/bin/sh\n/bin/ls -A 'CACHE' > 'ROOT/seen'\n: > 'CACHE/new'\nexit 9\n";
    let script = script.replace("CACHE", cache.to_str().unwrap()).replace("ROOT", &root);
    write_program(&world.path("engines/podman"), &script);
    world.coco(["run", "probe"]).fails(126, "could not start the sandbox");
    assert_eq!(fs::read_to_string(world.path("seen")).unwrap(), "", "the installation had it empty");
    assert!(!cache.exists(), "and leaves nothing to the next one");
}

/// A directory that is swept must not be one that is kept, whatever the environment says.
#[test]
fn a_runtime_directory_that_is_something_else_is_refused() {
    for other in ["state", "config", "data", "state/coco", "data/coco/volumes"] {
        let mut world = World::with_probe();
        let place = world.path(other);
        fs::create_dir_all(place.join("coco/run-1")).unwrap();
        world.set("XDG_RUNTIME_DIR", &place);
        world.coco(["run", "probe"]).fails(125, "XDG_RUNTIME_DIR: ");
        assert!(place.join("coco/run-1").exists() && world.calls().is_empty(), "{other}");
    }
    // A project of the user's, by a project's environment.
    let mut world = World::with_probe();
    fs::create_dir_all(world.path("project/.git")).unwrap();
    world.set("XDG_RUNTIME_DIR", world.path("project"));
    world.coco(["run", "probe"]).fails(125, "lies in the project");
}
