//! An engine that fails before the tool is there: what coco says about it.

use std::fs;

use crate::world::{World, write_program};

/// The helper's own exit code: it was there, and nobody took its call.
#[test]
fn a_sandbox_on_another_kernel_is_told() {
    let world = World::with_probe();
    world.engine("podman", 119);
    let ended = world.coco(["run", "probe"]).fails(125, "the sandbox can't reach coco");
    assert!(ended.hint().contains("not in a virtual machine"), "{ended:?}");
}

/// podman without one of its helpers, in its own words, wherever it is started.
fn podman_without(world: &World, when: &str, words: &str) {
    fs::write(world.path("words"), words).unwrap();
    let script = r#"#!/bin/sh
case "$1" in
    WHEN) /bin/cat 'ROOT/words' >&2; exit 125 ;;
    build)
        for argument; do
            case "$argument" in --iidfile=*) printf 'sha256:%064d' 1 > "${argument#--iidfile=}" ;; esac
        done ;;
    image) echo 'an image' ;;
esac
"#;
    let root = world.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    write_program(&world.path("engines/podman"), &script.replace("WHEN", when).replace("ROOT", &root));
}

/// What podman 4.3 says, the program, and its Debian package. Those alone that podman looks for on its PATH, which has
/// nothing here; this machine may have the others.
const MISSING: [(&str, &str, &str); 4] = [
    (
        "Error: command required for rootless mode with multiple IDs: exec: \"newuidmap\": executable file not found in $PATH\n",
        "newuidmap",
        "uidmap",
    ),
    (
        "Error: command required for rootless mode with multiple IDs: exec: \"newgidmap\": executable file not found in $PATH\n",
        "newgidmap",
        "uidmap",
    ),
    ("Error: netavark: No such file or directory (os error 2)\n", "iptables", "iptables"),
    (
        "Error: could not find slirp4netns, the network namespace can't be configured: exec: \"slirp4netns\": executable file not found in $PATH\n",
        "slirp4netns",
        "slirp4netns",
    ),
];

/// An image without a shell, in the words of a runtime that is there.
#[test]
fn a_helper_that_is_there_is_not_named() {
    let mut world = World::with_probe();
    world.unset("COCO_IMAGE");
    let words = "error running container: from /usr/bin/crun creating container: executable file '/bin/sh' not found\n";
    podman_without(&world, "build", &format!("STEP 1/2: FROM x\n{words}"));
    world.helpers();
    let ended = world.coco(["run", "probe"]).fails(125, "podman build failed");
    assert!(ended.hint().starts_with("see its output above"), "{ended:?}");
}

#[test]
fn a_build_names_the_helper_that_is_missing() {
    let mut world = World::with_probe();
    world.unset("COCO_IMAGE");
    for (words, program, package) in MISSING {
        podman_without(&world, "build", &format!("STEP 1/2: FROM x\n{words}"));
        let ended = world.coco(["run", "probe"]).fails(125, "podman build failed");
        assert!(ended.stderr.contains(words), "{ended:?}");
        assert!(ended.hint().contains(&format!("can't find {program}, which ")), "{ended:?}");
        assert!(ended.hint().ends_with(&format!("apt-get install {package}")), "{ended:?}");
    }
}

#[test]
fn an_installation_names_the_helper_that_is_missing() {
    let world = World::new();
    world.tool("probe", r#"{"tool": "npm:probe"}"#);
    for (words, program, package) in MISSING {
        podman_without(&world, "run", words);
        let ended = world.coco(["run", "probe"]).fails(126, "could not start the sandbox");
        assert!(ended.stderr.contains(words), "{ended:?}");
        assert!(ended.hint().contains(&format!("can't find {program}, which ")), "{ended:?}");
        assert!(ended.hint().ends_with(&format!("apt-get install {package}")), "{ended:?}");
    }
}

/// Nothing of podman's works then, the question about the image included.
#[test]
fn a_question_to_the_engine_names_the_helper_that_is_missing() {
    let mut world = World::with_probe();
    world.unset("COCO_IMAGE");
    podman_without(&world, "nothing", "");
    let _ = world.coco(["run", "probe"]);
    for (words, program, package) in MISSING {
        podman_without(&world, "run|image", words);
        let ended = world.coco(["run", "probe"]).fails(126, "podman can't tell whether it has the image");
        assert!(ended.hint().contains(&format!("can't find {program}, which ")), "{ended:?}");
        assert!(ended.hint().ends_with(&format!("apt-get install {package}")), "{ended:?}");
    }
}
