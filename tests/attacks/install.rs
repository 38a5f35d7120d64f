//! N25, I2, I4: a package that attacks while it is installed, and downloads that are not what they should be.

use std::fs;

use serde_json::json;

use crate::support::{World, each_engine, marker, run};

each_engine!(n25_an_install_script, i2_another_mise, i4_a_missing_program);

/// An image of the user's own whose npm asks a registry inside the same container: the real mise and the real npm then
/// install a hostile package, in coco's own install phase.
fn hostile_image(world: &World) -> &'static str {
    let context = world.project("hostile");
    world.write(context.join("mise"), include_str!("hostile/mise"));
    world.write(context.join("registry.js"), include_str!("hostile/registry.js"));
    world.write(context.join("postinstall.js"), include_str!("hostile/postinstall.js"));
    world.write(context.join("npmrc"), "registry=http://127.0.0.1:4873/\nignore-scripts=false\n");
    world.write(context.join("Containerfile"), include_str!("hostile/Containerfile"));
    let tag = "localhost/coco-test:hostile";
    let file = format!("{}/Containerfile", context.display());
    world.engine(["build", "-t", tag, "-f", &file, context.to_str().unwrap()]).succeeds();
    tag
}

fn n25_an_install_script(world: &World) {
    // The node stage, on which the image stands.
    world.tool("warm-node", &json!({"tool": "node@system", "command": "node"}));
    world.coco(["run", "warm-node", "-e", "0"]).succeeds();
    let image = hostile_image(world);
    let project = world.project("victim");
    let secret = marker("project-secret");
    world.write(project.join("secret.txt"), &secret);
    world.write(world.home.join("home-secret.txt"), &secret);
    world.tool(
        "hostile",
        &json!({
            "tool": "npm:coco-hostile-package",
            "command": "coco-hostile-package",
            "mounts": [{"src": "@project", "opts": "rw"}],
            "env_passthrough": ["API_TOKEN"],
            "workdir": ".",
        }),
    );
    let mut coco = world.command(&world.coco);
    coco.env("COCO_IMAGE", image).env("API_TOKEN", &secret).env("HTTPS_PROXY", format!("http://{secret}@127.0.0.1:9"));
    let ran = run(coco.args(["run", "hostile", project.to_str().unwrap()]).current_dir(&project));
    let shown = ran.succeeds().text();
    // What the script found is what the package's program prints later: the script's part, then its own.
    let report: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let (then, now) = (&report["install"], &report["run"]);
    assert_eq!(then["ran"], json!(true), "{shown}");
    assert_eq!(then["environment"], json!([]), "variables of the caller's: {shown}");
    assert_eq!(then["sockets"], json!([]), "{shown}");
    assert_eq!(then["capabilities"], json!("0000000000000000"), "{shown}");
    assert_eq!(then["newPrivileges"], json!("1"), "{shown}");
    assert_eq!(then["helper"], json!(false), "{shown}");
    assert_eq!(then["home"], json!([]), "{shown}");
    assert_eq!(then["workspace"], json!([]), "{shown}");
    let places = then["mounts"].as_array().unwrap();
    let ours = ["/coco/data", "/root", "/root/.cache", "/run/coco/coco-init", "/run/coco/control.sock", "/run/coco/ca.crt", "/tmp", "/var/tmp"];
    for place in places {
        assert!(ours.contains(&place.as_str().unwrap()), "{place}: {shown}");
    }
    assert!(!then.to_string().contains(&secret), "{shown}");
    // The controls: at run time the same probe sees what was granted, in the same places.
    assert_eq!(now["environment"], json!(["API_TOKEN"]), "{shown}");
    assert!(now["project"].as_array().unwrap().contains(&json!("secret.txt")), "{shown}");
    assert!(!fs::read_to_string(world.record("hostile")).unwrap().contains(&secret));
}

/// The image's build stops at a mise that is not the pinned one.
fn i2_another_mise(world: &World) {
    let context = world.project("other-mise");
    let pinned = include_str!("../../store/Containerfile");
    let digest = |text: &str| -> String {
        let line = text.lines().find(|line| line.starts_with("ARG MISE_SHA512_X64=")).unwrap();
        line.split_once('=').unwrap().1.to_owned()
    };
    let right = digest(pinned);
    let mut wrong = right.clone().into_bytes();
    wrong[0] = if wrong[0] == b'A' { b'B' } else { b'A' };
    let altered = pinned.replace(&right, std::str::from_utf8(&wrong).unwrap()).replace(
        "ARG MISE_SHA512_ARM64=",
        "ARG MISE_SHA512_ARM64=A",
    );
    world.write(context.join("Containerfile"), altered);
    let bundle = crate::support::variable("SSL_CERT_FILE").map(|path| fs::read(path).unwrap()).unwrap_or_default();
    world.write(context.join("ca.crt"), bundle);
    let file = format!("{}/Containerfile", context.display());
    let mut arguments = vec!["build".to_owned(), "--target=mise-fetch".to_owned(), format!("--file={file}")];
    if world.engine != crate::support::Engine::Docker {
        arguments.extend(limits());
    }
    arguments.push(context.display().to_string());
    let failed = world.engine(&arguments);
    assert_ne!(failed.code(), 0);
    let words = format!("{}{}", failed.text(), failed.errors());
    assert!(words.contains("EINTEGRITY"), "{words}");
    // The control is every image that the other tests run in: the same file with the right hash.
}

/// What podman's build needs on a machine where the limits can't be raised.
fn limits() -> Vec<String> {
    let limit = |resource| nix::sys::resource::getrlimit(resource).unwrap().1;
    let files = limit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let processes = limit(nix::sys::resource::Resource::RLIMIT_NPROC).min(32_768);
    vec![format!("--ulimit=nofile={files}:{files}"), format!("--ulimit=nproc={processes}:{processes}")]
}

fn i4_a_missing_program(world: &World) {
    world.tool("missing-program", &json!({"tool": "npm:prettier", "command": "nope"}));
    for _ in 0..2 {
        let failed = world.coco(["run", "missing-program", "--version"]);
        failed.exits(125).complains("there is no program nope").complains("the package has prettier");
        assert!(!world.record("missing-program").exists());
    }
    // The control: the same package with its real program.
    world.tool("missing-program", &json!({"tool": "npm:prettier", "command": "prettier"}));
    world.coco(["run", "missing-program", "--version"]).succeeds();
    assert!(world.record("missing-program").exists());
}
