//! N25, I2, I4: a package that attacks while it is installed, and downloads that are not what they should be.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Engine, World, each_engine, marker, run};

each_engine!(n25_an_install_script, i2_another_mise, i4_a_missing_program);

/// An image of the user's own in which pip finds one more package: the real mise, pipx and pip then install it in coco's
/// own install phase, and building it runs its code.
pub fn hostile_image(world: &World) -> &'static str {
    let context = world.project("hostile");
    let package = context.join("coco_hostile-1.0.0");
    for (name, text) in [
        ("backend.py", include_str!("hostile/backend.py")),
        ("coco_hostile.py", include_str!("hostile/coco_hostile.py")),
        ("pyproject.toml", include_str!("hostile/pyproject.toml")),
        ("PKG-INFO", "Metadata-Version: 2.1\nName: coco-hostile\nVersion: 1.0.0\n"),
    ] {
        world.write(package.join(name), text);
    }
    run(world
        .command("tar")
        .arg("-C")
        .arg(&context)
        .args(["-czf"])
        .arg(context.join("coco_hostile-1.0.0.tar.gz"))
        .arg("coco_hostile-1.0.0"))
    .succeeds();
    // pipx wants a pip; Debian's own wheel serves.
    world.write(
        context.join("pip.conf"),
        "[global]\nno-index = true\nfind-links =\n    /opt/hostile\n    /usr/share/python-wheels\n",
    );
    world.write(context.join("Containerfile"), include_str!("hostile/Containerfile"));
    let tag = "localhost/coco-test:hostile";
    let file = format!("{}/Containerfile", context.display());
    world.engine(["build", "-t", tag, "-f", &file, context.to_str().unwrap()]).succeeds();
    tag
}

fn n25_an_install_script(world: &World) {
    world.python("warm-hostile", &json!({}));
    let image = hostile_image(world);
    let project = world.project("victim");
    let secret = marker("project-secret");
    world.write(project.join("secret.txt"), &secret);
    world.write(world.home.join("home-secret.txt"), &secret);
    // With and without Debian packages: installing those takes capabilities, which no package's code may have.
    for (tool, apt) in [("hostile", json!([])), ("hostile-apt", json!(["jq"]))] {
        world.tool(
            tool,
            &json!({
                "tool": "pipx:coco-hostile@1.0.0",
                "command": "coco-hostile",
                "dependencies": {"apt": apt},
                "mounts": [{"src": "@project", "opts": "rw"}],
                "env_passthrough": ["API_TOKEN"],
                "workdir": ".",
            }),
        );
        let mut coco = world.command(&world.coco);
        coco.env("COCO_IMAGE", image).env("API_TOKEN", &secret);
        // Not the one that the proxy itself would go by: Debian's packages are fetched for real.
        coco.env("HTTP_PROXY", format!("http://{secret}@127.0.0.1:9")).env("ALL_PROXY", &secret);
        let shown = run(coco.args(["run", tool]).current_dir(&project)).succeeds().text();
        // What its code found while it was installed is what the package's program prints later, beside what it sees now.
        let report: Value = serde_json::from_str(&shown).unwrap();
        let (then, now) = (&report["install"], &report["run"]);
        for nothing in ["environment", "secrets", "sockets", "workspace"] {
            assert_eq!(then[nothing], json!([]), "{nothing}: {shown}");
        }
        let closed =
            json!({"CapEff": "0000000000000000", "CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"});
        assert_eq!(then["status"], closed, "{shown}");
        assert_eq!(then["init"], json!(false), "{shown}");
        assert_eq!(then["setuid"], json!("refused"), "{shown}");
        // It has replaced setpriv, and started that itself once: nobody with more has started it since.
        assert_eq!(report["setpriv"], json!(["CapEff:\t0000000000000000"]), "{shown}");
        for place in then["mounts"].as_array().unwrap() {
            assert!(PLACES.contains(&place.as_str().unwrap()), "{place}: {shown}");
        }
        assert_eq!(then["user"], now["user"], "{shown}");
        assert!(!then.to_string().contains(&secret), "{shown}");
        // The controls: at run time the same probe sees what was granted.
        assert_eq!(now["environment"], json!(["API_TOKEN"]), "{shown}");
        assert_eq!(now["secrets"], json!([secret]), "{shown}");
        // A Debian package is there for the installation alone.
        assert_eq!((&then["jq"], &now["jq"]), (&json!(tool == "hostile-apt"), &json!(false)), "{shown}");
        assert!(!fs::read_to_string(world.record(tool)).unwrap().contains(&secret));
    }
}

/// What coco mounts in the install phase.
const PLACES: [&str; 10] = [
    "/coco/data",
    "/etc/nsswitch.conf",
    "/root",
    "/root/.cache",
    "/run/coco/coco-init",
    "/run/coco/control.sock",
    "/run/coco/network.sock",
    "/run/coco/ca.crt",
    "/tmp",
    "/var/tmp",
];

/// The image's build stops at a mise that is not the pinned one.
fn i2_another_mise(world: &World) {
    let context = world.project("other-mise");
    let pinned = include_str!("../../store/Containerfile");
    let bundle = crate::support::variable("SSL_CERT_FILE").map(|path| fs::read(path).unwrap()).unwrap_or_default();
    world.write(context.join("ca.crt"), bundle);
    let build = |name: &str, variable: &str, target: &str| {
        // At the place of use, so that the layers before it are those of coco's own builds.
        let altered = pinned
            .replace("x64) sha512=$MISE_SHA512_X64", &format!("x64) sha512={variable}"))
            .replace("arm64) sha512=$MISE_SHA512_ARM64", &format!("arm64) sha512={variable}"));
        assert!(altered != pinned && context.join("ca.crt").exists());
        let file = context.join(name);
        world.write(&file, altered);
        let mut arguments =
            vec!["build".to_owned(), format!("--target={target}"), format!("--file={}", file.display())];
        match world.engine {
            // Its old builder keeps a failed step's container otherwise.
            Engine::Docker => arguments.push("--force-rm".to_owned()),
            Engine::PodmanRootful | Engine::PodmanRootless => arguments.extend(limits()),
        }
        arguments.push(context.display().to_string());
        let built = world.engine(&arguments);
        (built.code(), format!("{}{}", built.text(), built.errors()))
    };
    let (code, words) = build("wrong", &format!("{}==", "A".repeat(86)), "mise-fetch");
    let end = words.get(words.len().saturating_sub(2000)..).unwrap_or(&words);
    assert!(code != 0 && words.contains("EINTEGRITY"), "{code}: {end}");
    // The control: the same file with the hash that belongs there.
    let (code, words) = build("right", "${MISE_SHA512_X64}", "mise-fetch");
    let end = words.get(words.len().saturating_sub(2000)..).unwrap_or(&words);
    assert!(code == 0 || cfg!(not(target_arch = "x86_64")), "{code}: {end}");
}

/// What podman's build needs on a machine where the limits can't be raised.
pub fn limits() -> Vec<String> {
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
