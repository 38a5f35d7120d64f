//! P4, P5, P6: secrets, proxies, and an engine configuration that adds to the sandbox.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::support::{Background, Engine, Run, World, does_not_apply, each_engine, marker, processes_with, run};

each_engine!(p4_secrets_in_the_process_list, p5_proxies, p6_the_engines_own_configuration, only_granted_variables);

fn p4_secrets_in_the_process_list(world: &World) {
    let secret = marker("secret");
    let argument = marker("argument");
    world.python("secret", &json!({"env_passthrough": ["API_TOKEN"], "env": {"FIXED": "fixed"}}));
    let code = "import os, sys; print(os.environ['API_TOKEN'], os.environ['FIXED'], flush=True); sys.stdin.read()";
    let mut tool = Background::start(
        world.command(&world.coco).args(["run", "secret", "-c", code, &argument]).env("API_TOKEN", &secret),
    );
    // The control for the grant: it arrives. The control for the probe: an argument is in the list.
    assert_eq!(tool.line(), format!("{secret} fixed"));
    assert!(!processes_with(&argument).is_empty());
    assert_eq!(processes_with(&secret), [0; 0], "every user of this machine can read the secret");
    // Nor does the engine keep it.
    let containers = world.containers("secret");
    assert_eq!(containers.len(), 1);
    let kept = world.engine(["inspect", &containers[0]]).succeeds().text();
    assert!(kept.contains("coco.tool") && !kept.contains(&secret));
    drop(tool.0.stdin.take());
    assert_eq!(tool.ends(Duration::from_secs(10)), 0);
    // Not granted, it does not arrive.
    world.python("no-secret", &json!({}));
    let code = "import os; print('API_TOKEN' in os.environ)";
    let without = run(world.command(&world.coco).args(["run", "no-secret", "-c", code]).env("API_TOKEN", &secret));
    assert_eq!(without.succeeds().text(), "False");
}

const PROXIES: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "no_proxy"];

fn p5_proxies(world: &World) {
    let code = "import os; print([(name, value) for name, value in os.environ.items() if 'hunter2' in value])";
    // docker's client takes proxies for containers from the user's own file.
    let configuration = world.home.join(".docker/config.json");
    let proxy = "http://user:hunter2@127.0.0.1:9";
    let of_docker = json!({"proxies": {"default": {"httpProxy": proxy, "httpsProxy": proxy, "noProxy": "hunter2"}}});
    let home = world.project("proxy-home");
    world.write(home.join(".docker/config.json"), of_docker.to_string());
    assert!(!configuration.exists());
    let with_proxies = |program: &std::path::Path| {
        let mut command = world.command(program);
        command.env("DOCKER_CONFIG", home.join(".docker"));
        for name in PROXIES {
            command.env(name, proxy);
        }
        command
    };
    for (name, network) in [("proxy-none", "none"), ("proxy-default", "default")] {
        world.python(name, &json!({"network": network}));
        assert_eq!(run(with_proxies(&world.coco).args(["run", name, "-c", code])).succeeds().text(), "[]");
    }
    // The control: the bare engine passes them on.
    let mut bare = with_proxies(world.engine.program().as_ref());
    bare.args([
        "run",
        "--rm",
        "--pull=never",
        "--network=none",
        "--entrypoint=python3",
        "localhost/coco:python",
        "-c",
        code,
    ]);
    assert!(run(&mut bare).succeeds().text().contains("hunter2"));
}

/// Each line of containers.conf, what it would do to a bare container, and what coco must make of it.
fn p6_the_engines_own_configuration(world: &World) {
    if world.engine == Engine::Docker {
        does_not_apply(
            "docker's client has nothing in its own file that reaches a container, but for the proxies of P5",
        );
    }
    world.python("configured", &json!({}));
    let own = fs::read_to_string(world.variable("CONTAINERS_CONF")).unwrap();
    let directory = world.project("containers-conf");
    let with_line = |line: &str, arguments: &[&str], program: &std::path::Path| -> Run {
        let file = directory.join("containers.conf");
        world.write(&file, own.replacen("[containers]", &format!("[containers]\n{line}"), 1));
        run(world.command(program).env("CONTAINERS_CONF", &file).args(arguments))
    };
    let namespaces: serde_json::Map<String, serde_json::Value> = ["ipc", "uts", "pid", "net", "mnt", "cgroup"]
        .map(|name| (name.to_owned(), json!(fs::read_link(format!("/proc/self/ns/{name}")).unwrap())))
        .into_iter()
        .collect();
    let probe = "
import os
HOST = NAMESPACES
print('environment', os.environ.get('INJECTED'))
print('mount', os.path.exists('/injected'))
print('device', os.path.exists('/dev/injected'))
print('processes', sum(pid.isdigit() for pid in os.listdir('/proc')) > 20)
print('seccomp', [line.split()[1] for line in open('/proc/self/status') if line.startswith('Seccomp:')][0])
print('capabilities', [int(line.split()[1], 16) for line in open('/proc/self/status') if line.startswith('CapBnd')][0])
print('interfaces', len(open('/proc/net/dev').readlines()) > 20 or 'eth0' in open('/proc/net/dev').read())
print('namespaces of the host', [name for name, own in HOST.items() if os.readlink('/proc/self/ns/' + name) == own])
"
    .replace("NAMESPACES", &json!(namespaces).to_string());
    let coco = |line: &str| with_line(line, &["run", "configured", "-c", &probe], &world.coco);
    let closed = coco("").succeeds().text();
    let bare = |line: &str| {
        let arguments = [
            "run",
            "--rm",
            "--pull=never",
            "--network=none",
            "--entrypoint=python3",
            "localhost/coco:python",
            "-c",
            &probe,
        ];
        with_line(line, &arguments, "podman".as_ref())
    };
    let unchanged = bare("").succeeds().text();
    let mut let_through = Vec::new();
    for line in [
        r#"env = ["INJECTED=1", "LD_PRELOAD=/injected.so", "PYTHONSTARTUP=/injected"]"#,
        r#"volumes = ["/etc:/injected:ro"]"#,
        r#"devices = ["/dev/null:/dev/injected:rwm"]"#,
        r#"pidns = "host""#,
        r#"ipcns = "host""#,
        r#"seccomp_profile = "unconfined""#,
        r#"default_capabilities = ["NET_RAW", "SYS_ADMIN"]"#,
    ] {
        let control = bare(line);
        // An ordinary user's podman can't always share this one; all others are tried everywhere.
        if line.starts_with("ipcns") && control.code() != 0 && world.engine == Engine::PodmanRootless {
            continue;
        }
        assert_ne!(control.succeeds().text(), unchanged, "the control: {line} changes a bare container");
        let sandboxed = coco(line);
        let sanitised = sandboxed.code() == 0 && sandboxed.text() == closed;
        let reported = matches!(sandboxed.code(), 125 | 126)
            && sandboxed.stdout.is_empty()
            && sandboxed.errors().contains("coco: error:");
        if !sanitised && !reported {
            let_through.push(format!("{line}: {sandboxed:?}"));
        }
    }
    assert!(let_through.is_empty(), "{}\nand without: {closed}", let_through.join("\n"));
    // What is mounted is said by name.
    coco(r#"volumes = ["/etc:/injected:ro"]"#).exits(125).complains("/injected");
}

fn only_granted_variables(world: &World) {
    world.python("variables", &json!({"env": {"MINE": "1"}}));
    let code = "import os; print(*sorted(name for name in os.environ if name != 'LC_CTYPE'))";
    let mut coco = world.command(&world.coco);
    coco.args(["run", "variables", "-c", code]).env_remove("COCO_CA_BUNDLE");
    for name in
        ["AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "GITHUB_TOKEN", "LD_PRELOAD_NOT", "PYTHONPATH", "XDG_CONFIG_HOME"]
    {
        coco.env(name, "/nowhere");
    }
    assert_eq!(run(&mut coco).succeeds().text(), "HOME LANG MINE PATH");
}
