//! podman without one of the programs that it calls: a private view of this machine, where that program is not there.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::{Run, World, command, one_engine, run};

one_engine!(podman_rootful PodmanRootful: a_missing_helper_is_named);

/// Hides files of the system's from a command and all that it starts. Only for root.
fn without(hidden: &[&str], built: &Command) -> Run {
    // Covered by a copy-on-write mount of the same directory, in which they are removed.
    let script = r#"set -e
place=$(mktemp -d)
mount -t tmpfs tmpfs "$place"
for directory in /usr/bin /usr/sbin /usr/lib/podman; do
    mkdir -p "$place$directory/upper" "$place$directory/work"
    mount -t overlay overlay -o "lowerdir=$directory,upperdir=$place$directory/upper,workdir=$place$directory/work" "$directory"
done
for file in $1; do rm -f "$file"; done
umount -l "$place"
rmdir "$place"
shift
exec "$@""#;
    let mut hiding = command("unshare");
    hiding.args(["--mount", "--", "sh", "-c", script, "sh", &hidden.join(" ")]);
    hiding.arg(built.get_program()).args(built.get_args()).env_clear();
    for (name, value) in built.get_envs() {
        if let Some(value) = value {
            hiding.env(name, value);
        }
    }
    hiding.current_dir(built.get_current_dir().unwrap_or(Path::new("/")));
    run(&mut hiding)
}

/// On no other engine: a user's podman keeps a process with the old view of the machine, and docker's helpers are its
/// daemon's.
fn a_missing_helper_is_named(world: &World) {
    world.python("helpers", &json!({}));
    world.python("helpers-network", &json!({"network": "default"}));
    let coco = |tool: &str| {
        let mut built = world.command(&world.coco);
        built.args(["run", tool, "-c", "print('it runs')"]);
        built
    };
    // The control: the view alone changes nothing.
    assert_eq!(without(&[], &coco("helpers")).succeeds().text(), "it runs");
    let iptables = ["/usr/sbin/iptables", "/usr/sbin/xtables-nft-multi", "/usr/sbin/nft"];
    for (tool, hidden, program, package) in [
        ("helpers", &["/usr/bin/conmon"][..], "conmon", "conmon"),
        ("helpers", &["/usr/sbin/runc", "/usr/bin/crun"], "runc", "runc"),
        ("helpers", &["/usr/lib/podman/netavark"], "netavark", "netavark"),
        ("helpers-network", &iptables, "iptables", "iptables"),
    ] {
        let failed = without(hidden, &coco(tool));
        failed.exits(126).complains("coco: error: ");
        let errors = failed.errors();
        let hint = errors.lines().find_map(|line| line.strip_prefix("coco: hint: ")).unwrap_or_default();
        // Either runtime would do, and which of them is wanted only podman knows.
        let named = [program, if program == "runc" { "crun" } else { program }];
        assert!(named.iter().any(|name| hint.contains(&format!("can't find {name}, which"))), "{program}: {errors}");
        assert!(hint.contains("apt-get install") && (hint.contains(package) || program == "runc"), "{errors}");
    }
}
