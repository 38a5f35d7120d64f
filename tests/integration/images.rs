//! The image: built once, again when what it depends on changes or the engine has lost it.

use std::fs;

use crate::world::{CERTIFICATE, Ended, PROBE, World, write_program};

/// A world whose engine builds images: it answers what coco asks, and starts nothing.
fn world() -> World {
    let mut world = World::new();
    world.unset("COCO_IMAGE");
    world.tool("probe", PROBE);
    world.tool("script", r#"{"tool": "node@system", "command": "node"}"#);
    fs::write(world.path("base"), "digest-1").unwrap();
    fs::write(world.path("run-code"), "3").unwrap();
    world.helpers();
    world.recorder(&world.path("recorder"), 0);
    let script = r#"#!/bin/sh
root='ROOT'
"$root/recorder" "$@"
case "$1 $2" in
    "image exists")
        [ -e "$root/confused" ] && { /bin/cat "$root/confused" >&2; exit 125; }
        [ -e "$root/images/${3#sha256:}" ] || [ -e "$root/pulled/$3" ] || exit 1 ;;
    "image tag"|"image untag"|"ps --all") ;;
    pull\ *)
        [ -e "$root/broken" ] && { /bin/cat "$root/broken"; exit 2; }
        /bin/mkdir -p "$root/pulled/$2" ;;
    "image inspect")
        case "$4" in
            sha256:*) if [ -e "$root/images/${4#sha256:}" ]; then echo "$4"; else exit 125; fi ;;
            *) /bin/cat "$root/base" ;;
        esac ;;
    build\ *)
        [ -e "$root/broken" ] && { /bin/cat "$root/broken"; exit 2; }
        for argument; do
            case "$argument" in --iidfile=*) file="${argument#--iidfile=}" ;; esac
        done
        number=$(/bin/ls "$root/images" 2>/dev/null | /usr/bin/wc -l)
        id=$(printf '%064d' "$number")
        /bin/mkdir -p "$root/images" && : > "$root/images/$id" && printf 'sha256:%s' "$id" > "$file" ;;
    info\ *) /bin/cat "$root/driver" ;;
    *) exit "$(/bin/cat "$root/run-code")" ;;
esac
"#;
    let engine = world.path("engines/podman");
    write_program(&engine, &script.replace("ROOT", world.path("").to_str().unwrap().trim_end_matches('/')));
    world
}

fn id(number: usize) -> String {
    format!("sha256:{number:064}")
}

/// The first words of the engine's calls since the last time, sorted.
fn asked(world: &World) -> Vec<String> {
    let mut words: Vec<String> =
        world.calls().iter().map(|call| call.arguments[0].to_str().unwrap().to_owned()).collect();
    words.sort();
    world.forget_calls();
    words
}

/// The first words of the calls of so many builds, and of other calls, sorted. A build is: is what it stands on there,
/// has an earlier one left something, tag it, build, which base was it, untag it.
fn of_builds(builds: usize, others: &[&str]) -> Vec<String> {
    let mut words = ["build", "image", "image", "image", "image", "ps"].repeat(builds);
    words.extend(others);
    words.sort_unstable();
    words.into_iter().map(str::to_owned).collect()
}

/// The image of the last run.
fn image(world: &World) -> String {
    let runs: Vec<_> = world.calls().into_iter().filter(|call| call.arguments[0] == "run").collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].arguments.last().unwrap().to_str().unwrap().to_owned()
}

fn run(world: &World, tool: &str) -> Ended {
    world.coco(["run", tool]).exits(126)
}

#[test]
fn a_stage_is_built_on_first_need_and_once() {
    let world = world();
    let ended = run(&world, "probe");
    assert!(ended.stderr.contains("coco: building the image for python"), "{ended:?}");
    assert_eq!(image(&world), id(1));
    assert_eq!(asked(&world), of_builds(2, &["info", "pull", "run"]), "the base, and what stands on it");
    assert_eq!(run(&world, "probe").stderr.matches("building").count(), 0);
    assert_eq!(image(&world), id(1));
    assert_eq!(asked(&world), ["run"], "one call of the engine and no more");
    run(&world, "script");
    assert_eq!(image(&world), id(2));
    let calls = world.calls();
    let build = calls.iter().find(|call| call.arguments[0] == "build").unwrap();
    assert!(build.has("--target=node") && build.has("--tag=localhost/coco:node"), "{build:?}");
    // The name that its containers will have, for as long as it lasts: told none, podman would take all names.
    let given =
        |verb: &str| calls.iter().find(|call| call.arguments[..2] == ["image", verb]).unwrap().arguments[2..].to_vec();
    let tag = given("tag");
    let name = tag[1].to_str().unwrap();
    assert!(name.starts_with("localhost/coco-build-") && name.ends_with("-node"), "{name}");
    assert_eq!(tag, [id(0).as_str(), name]);
    assert_eq!(given("untag"), [name, name]);
    assert!(build.has(&format!("--build-arg=COCO_BASE={name}")), "{build:?}");
}

/// Only this user's, and of no build that goes on.
#[test]
fn prune_removes_containers_of_killed_builds() {
    let world = world();
    run(&world, "probe");
    let name = world.calls().iter().find(|call| call.arguments[..2] == ["image", "tag"]).unwrap().arguments[3].clone();
    let own = name.to_str().unwrap().trim_start_matches("localhost/").to_owned();
    let engine = world.path("engines/podman");
    let script = fs::read_to_string(&engine).unwrap();
    let listed = format!(
        "    \"ps --all\") case \"$*\" in *--external*) echo feed {own}-working-container; echo beef {own}-working-container-1; echo cafe {own}; echo dead debian-working-container ;; esac ;;\n    rm\\ *) ;;\n    \"image exists\")\n"
    );
    write_program(&engine, &script.replacen("    \"image exists\")\n", &listed, 1));
    world.forget_calls();
    let ended = world.coco(["prune"]).exits(0);
    assert!(ended.stderr.contains("coco: removed from podman: 2 containers of builds that were killed\n"), "{ended:?}");
    let calls = world.calls().into_iter().map(|call| call.arguments);
    let mut removed: Vec<_> = calls.filter(|arguments| arguments[0] == "rm").collect();
    removed.sort();
    assert_eq!(removed, [["rm", "--force", "beef"], ["rm", "--force", "feed"]]);
}

#[test]
fn another_base_image_is_built_anew() {
    let mut world = world();
    run(&world, "probe");
    let _ = asked(&world);
    world.set("COCO_BASE_IMAGE", "localhost/other:1");
    run(&world, "probe");
    assert_eq!(image(&world), id(3));
    assert_eq!(asked(&world), of_builds(2, &["info", "pull", "run"]));
    world.unset("COCO_BASE_IMAGE");
    world.set("COCO_IMAGE", "localhost/mine:1");
    run(&world, "probe");
    assert_eq!(image(&world), "localhost/mine:1");
    assert_eq!(asked(&world), ["run"], "the user's own image is used as it is");
}

#[test]
fn a_broken_record_counts_as_none() {
    let world = world();
    run(&world, "probe");
    let record = world.path("state/coco/images/podman-python.json");
    let good = fs::read_to_string(&record).unwrap();
    for bad in [String::new(), "{".to_owned(), good.replace(&id(1), "--privileged"), good.replace("sha256:", "evil/")] {
        let _ = asked(&world);
        fs::write(&record, &bad).unwrap();
        run(&world, "probe");
        assert_eq!(asked(&world), of_builds(1, &["image", "info", "run"]), "{bad}");
    }
}

#[test]
fn an_image_that_the_engine_has_lost_is_built_again() {
    let world = world();
    run(&world, "probe");
    let _ = asked(&world);
    fs::write(world.path("run-code"), "125").unwrap();
    // It is there: the engine failed for another reason, and nothing is built.
    run(&world, "probe");
    assert_eq!(asked(&world), ["image", "run"]);
    fs::remove_file(world.path("images").join(id(1).trim_start_matches("sha256:"))).unwrap();
    let ended = world.coco(["run", "probe"]);
    assert_eq!(ended.code, Some(126), "{ended:?}");
    assert!(ended.stderr.contains("building the image for python"), "{ended:?}");
    assert_eq!(asked(&world).iter().filter(|word| *word == "build").count(), 1, "once, and not for ever");
}

/// Whatever else goes wrong with the engine, the image is not gone.
#[test]
fn an_engine_that_can_not_tell_has_lost_nothing() {
    let world = world();
    run(&world, "probe");
    let record = world.path("state/coco/images/podman-python.json");
    let before = fs::read(&record).unwrap();
    let _ = asked(&world);
    fs::write(world.path("run-code"), "125").unwrap();
    fs::write(world.path("confused"), "Error: stat /nonexistent: no such file or directory\n").unwrap();
    let ended = world.coco(["run", "probe"]).fails(126, "podman can't tell whether it has the image");
    assert!(ended.stderr.contains("stat /nonexistent: no such file or directory"), "{ended:?}");
    assert_eq!(asked(&world), ["image", "run"], "and nothing is built");
    assert_eq!(fs::read(&record).unwrap(), before);
}

#[test]
fn a_failed_build_says_what_the_engine_said_and_leaves_no_record() {
    let world = world();
    fs::write(world.path("broken"), "STEP 1: no space left\n").unwrap();
    let ended = world.coco(["run", "probe"]).fails(125, "the image for base: podman build failed");
    assert!(ended.stderr.contains("STEP 1: no space left") && ended.hint().contains("COCO_CA_BUNDLE"), "{ended:?}");
    let words = "Error: creating build container: initializing source docker://debian:forky-slim: no such host\n";
    fs::write(world.path("broken"), words).unwrap();
    let ended = world.coco(["run", "probe"]).fails(125, "the image for base: podman build failed");
    assert!(ended.hint().contains("forky-slim can't be pulled"), "{ended:?}");
    assert!(!world.path("state/coco/images/podman-base.json").exists());
    assert_eq!(fs::read_dir(world.path("runtime/coco")).unwrap().count(), 0, "the build's files are removed");
    fs::remove_file(world.path("broken")).unwrap();
    run(&world, "probe");
}

#[test]
fn storage_that_copies_whole_images_is_told_when_one_is_built() {
    let world = world();
    fs::write(world.path("driver"), "overlay\n").unwrap();
    assert!(!run(&world, "probe").stderr.contains("warning"));
    fs::write(world.path("driver"), "vfs\n").unwrap();
    let told = run(&world, "script");
    assert!(told.stderr.contains("coco: warning: podman keeps images with the vfs driver"), "{told:?}");
    assert!(!run(&world, "script").stderr.contains("vfs"));
}

/// I1.
#[test]
fn rebuild_ignores_the_cache_and_reports_a_moved_base() {
    let world = world();
    run(&world, "probe");
    run(&world, "script");
    world.forget_calls();
    let same = world.coco(["rebuild"]).exits(0);
    assert!(!same.stderr.contains("warning"), "{same:?}");
    let builds: Vec<_> = world.calls().into_iter().filter(|call| call.arguments[0] == "build").collect();
    assert_eq!(builds.len(), 3);
    assert_eq!(builds.iter().filter(|build| build.has("--no-cache")).count(), 1, "the stages stand on the base");
    fs::write(world.path("base"), "digest-2").unwrap();
    let moved = world.coco(["rebuild"]).exits(0);
    assert!(moved.stderr.contains("has changed: it was digest-1, now it is digest-2"), "{moved:?}");
}

#[test]
fn rebuild_leaves_the_users_own_image_alone() {
    let mut world = world();
    world.set("COCO_IMAGE", "localhost/mine:1");
    world.coco(["rebuild"]).fails(125, "COCO_IMAGE is set");
    assert!(world.calls().is_empty());
}

#[test]
fn a_ca_bundle_reaches_the_build() {
    let mut world = world();
    let (bundle, seen) = (world.path("home/ca.pem"), world.path("seen"));
    fs::write(&bundle, format!("# a comment\n{CERTIFICATE}")).unwrap();
    world.set("COCO_CA_BUNDLE", &bundle);
    let engine = world.path("engines/podman");
    let script = fs::read_to_string(&engine).unwrap();
    let copy = format!(
        "        for context; do :; done; /bin/cp \"$context/ca.crt\" '{}'\n        for argument; do",
        seen.display()
    );
    write_program(&engine, &script.replacen("        for argument; do", &copy, 1));
    run(&world, "probe");
    assert_eq!(fs::read_to_string(seen).unwrap(), CERTIFICATE);
}

/// An engine keeps what a newer build has replaced; another user's, and what has a name or a record, stays.
#[test]
fn prune_removes_images_that_nothing_uses() {
    let world = world();
    run(&world, "probe");
    let engine = world.path("engines/podman");
    let script = fs::read_to_string(&engine).unwrap();
    let listed = format!(
        "    \"image ls\") case \"$*\" in *coco.owner=*) echo {}; echo {}; echo sha256:feed ;; *coco.scrap=*) echo sha256:beef ;; esac ;;\n    \"image rm\") ;;\n    \"image inspect\")\n",
        id(0),
        id(1)
    );
    write_program(&engine, &script.replacen("    \"image inspect\")\n", &listed, 1));
    world.forget_calls();
    let ended = world.coco(["prune"]).exits(0);
    assert!(ended.stderr.contains("coco: removed from podman: 2 images that nothing uses\n"), "{ended:?}");
    let calls = world.calls();
    let mut removed: Vec<&str> = calls
        .iter()
        .filter(|call| call.arguments[..2] == ["image", "rm"])
        .map(|call| call.arguments[2].to_str().unwrap())
        .collect();
    removed.sort_unstable();
    assert_eq!(removed, ["sha256:beef", "sha256:feed"]);
    let asked: Vec<_> = calls.iter().filter(|call| call.arguments[..2] == ["image", "ls"]).collect();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|call| call.has("--filter=dangling=true")), "{asked:?}");
}

/// Beside a run that builds the same stage, whose container it would otherwise remove.
#[test]
fn a_rebuild_waits_for_who_builds_the_stage() {
    let world = world();
    run(&world, "probe");
    let lock = fs::File::open(world.path("state/coco/images/podman-base.lock")).unwrap();
    lock.lock().unwrap();
    world.forget_calls();
    let ended = std::thread::scope(|scope| {
        let rebuilding = scope.spawn(|| world.coco(["rebuild"]));
        std::thread::sleep(std::time::Duration::from_millis(500));
        let meanwhile = asked(&world);
        assert!(!meanwhile.contains(&"build".to_owned()), "{meanwhile:?}");
        drop(lock);
        rebuilding.join().unwrap().exits(0)
    });
    assert!(ended.stderr.contains("coco: waiting for another coco that builds the image for base\n"), "{ended:?}");
}

/// Any other answer than that it is not there is no reason to fetch it.
#[test]
fn a_base_that_the_engine_can_not_tell_of_is_not_pulled() {
    let world = world();
    fs::write(world.path("confused"), "Error: database is locked\n").unwrap();
    world.coco(["run", "probe"]).fails(126, "podman can't tell whether it has the image: Error: database is locked");
    assert!(!asked(&world).contains(&"pull".to_owned()));
}
