//! The decision, case by case: what is refused, what is closed by default, what consent opens.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::*;
use crate as coco;
use crate::config::Network;
use crate::facts::autorun_scan::{FileKind, ProtectedPath, Protection, Scan};
use crate::facts::{AtHome, Consent, Source, SourceKind};
use crate::rules::autorun::MAX_PROTECTIVE_MOUNTS;
use crate::rules::sandbox_paths::{CA_GUEST, WORKSPACE};

mod consent;
#[path = "../../tests/golden/hand_made.rs"]
#[allow(clippy::duplicate_mod, reason = "the tests of plans and of policies share it, and both are private")]
#[expect(dead_code, reason = "shared with the tests of plans")]
mod hand_made;
mod network;

use hand_made::{DIGEST, EVERYTHING, LEAST, agreed, facts, file, tool, with, world};

/// Decides for a plain user.
fn decided(text: &str, variables: &[(&str, &str)]) -> Result<Policy, Error> {
    let world = with(world(1000), variables);
    let file = file(text);
    decide(&tool("probe"), &file, &world, &facts(&world, &file), DIGEST, Mode::Granted)
}

fn names(policy: &Policy) -> Vec<&str> {
    policy.environment.iter().map(|(name, _)| name.as_str()).collect()
}

fn value<'a>(policy: &'a Policy, name: &str) -> Option<&'a OsStr> {
    policy.environment.iter().find(|(other, _)| other.as_str() == name).map(|(_, value)| value.as_os_str())
}

/// A mount of one source that is as `change` makes it.
fn mounting(mount: &str, change: impl FnOnce(&mut Source)) -> Result<Policy, Error> {
    let world = world(1000);
    let file = file(&format!(r#"{{"tool": "npm:x", "mounts": [{mount}]}}"#));
    let mut facts = facts(&world, &file);
    change(&mut facts.sources[0]);
    decide(&tool("probe"), &file, &world, &facts, DIGEST, Mode::Granted)
}

/// What a search would have found: directories, but for what is called `*.sock`.
fn holding(root: &Path, paths: &[(&str, Protection)]) -> Scan {
    let identity = Identity { device: 1, inode: 2 };
    let found = |(path, protection): &(&str, Protection)| {
        let kind = if path.contains(".sock") { FileKind::Socket } else { FileKind::Directory };
        (root.join(path), ProtectedPath { protection: *protection, kind, identity })
    };
    Scan { paths: paths.iter().map(found).collect(), ..Scan::default() }
}

fn refused(outcome: Result<Policy, Error>) -> String {
    match outcome {
        Err(error @ Error::Mount { .. }) => {
            assert!(!error.hint().is_empty());
            error.to_string()
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// Decides with consent on record, in facts that are as `change` makes them.
fn consented(text: &str, home: AtHome, change: impl FnOnce(&mut Facts)) -> Result<Policy, Error> {
    let world = world(1000);
    let file = file(text);
    let mut facts = facts(&world, &file);
    facts.consent = Some(Consent { digest: DIGEST, home });
    change(&mut facts);
    decide(&tool("probe"), &file, &world, &facts, DIGEST, Mode::Granted)
}

#[test]
fn the_least_tool_gets_nothing() {
    let policy = decided(LEAST, &[("TERM", "xterm"), ("SECRET", "x"), ("DISPLAY", ":7")]).unwrap();
    assert_eq!(policy.mounts, []);
    assert_eq!(policy.network, RunNetwork::None);
    assert_eq!((policy.data, policy.posture), (Access::ReadOnly, Posture::Closed));
    assert_eq!(policy.limits, Limits::default());
    assert_eq!(policy.display, None);
    assert_eq!((policy.ports, policy.engine_arguments, policy.warnings), (vec![], vec![], vec![]));
    assert_eq!(policy.workdir, PathBuf::from(WORKSPACE));
    assert_eq!(
        policy.environment,
        [
            (EnvName::new("LANG").unwrap(), OsString::from("C.UTF-8")),
            (EnvName::new("TERM").unwrap(), OsString::from("xterm")),
        ]
    );
}

#[test]
fn the_zero_value_is_the_closed_one() {
    assert_eq!(RunNetwork::default(), RunNetwork::None);
    assert_eq!(Posture::default(), Posture::Closed);
    assert_eq!(Network::default(), Network::None);
    assert_eq!(Access::default(), Access::ReadOnly);
    assert_eq!(X11::default(), X11::Absent);
}

/// F8.
#[test]
fn what_holds_secrets_or_the_system_is_never_mounted() {
    for path in [
        "/",
        "/home",
        "/root",
        "/etc",
        "/var",
        "/usr",
        "/tmp",
        "/var/tmp",
        "/opt",
        "/srv",
        "/mnt",
        "/proc",
        "/proc/1/root",
        "/sys",
        "/sys/fs/cgroup",
        "/dev",
        "/dev/shm",
        "/run",
        "/run/user/1000",
        "/boot",
        "/run/podman/podman.sock",
        "/var/run/docker.sock",
        "/run/user/1000/bus",
        "/var/run",
        "/home/user/.ssh",
        "/home/user/.ssh/keys",
        "/home/user/.aws",
        "/home/user/.gnupg/x",
        "/home/user/.config",
        "/home/user/.config/gh",
        "/home/user/.config/containers/x",
        "/home/user/.config/systemd",
        "/home/user/.kube",
        "/home/user/.docker",
        "/home/user/.netrc",
        "/home/user/.git-credentials",
        "/home/user/.bashrc",
        "/home/user/.local",
        "/home/user/.local/bin",
        "/home/user/.local/share",
        "/home/user/.mozilla/x",
        // F14 and F15.
        "/home/user/.config/mise",
        "/home/user/.local/share/mise",
        "/home/user/.config/coco",
        "/home/user/.config/coco/allowed",
        "/home/user/.local/share/coco",
        "/home/user/.local/share/coco/tools",
        "/home/user/.local/share/coco/volumes/podman/other",
        "/home/user/.local/state/coco",
        "/home/user/.local/state",
        // Whoever calls: root has another HOME, and may be called with a user's.
        "/home/other/.ssh",
        "/home/other/.aws/credentials",
        "/root/.ssh",
        "/root/.gnupg/x",
    ] {
        for mount in [
            r#"{"src": ".", "dst": "/w"}"#,
            r#"{"src": "@project", "dst": "/w", "opts": "rw"}"#,
            r#"{"src": "/x", "dst": "/w"}"#,
        ] {
            let text = refused(mounting(mount, |source| source.canonical = PathBuf::from(path)));
            assert!(text.contains("is not mounted"), "{path}: {text}");
        }
    }
    // The controls: what only looks like it.
    for path in [
        "/home/user/project",
        "/home/user/.sshx",
        "/home/user/.config/eslint",
        "/home/other/x",
        "/home/user2/project",
        "/procx",
        "/opt/tool",
        "/etc/hosts",
        "/srv/www",
        "/home/user/.local/share/other",
        "/tmp/x",
        "/var/lib/x",
        "/runner/x",
        "/home/user/.local/binaries",
        "/home/user/.awsome",
    ] {
        let mount = r#"{"src": ".", "dst": "/w", "opts": "ro"}"#;
        let policy = mounting(mount, |source| source.canonical = PathBuf::from(path)).unwrap();
        assert_eq!(policy.mounts[0].src, PathBuf::from(path));
        assert_eq!(policy.mounts[0].access, Access::ReadOnly);
    }
}

/// A mount that does not say is writable: what may only be read is refused, with the word to write.
#[test]
fn a_system_file_is_mounted_by_the_word_alone() {
    let hosts = |opts: &str| {
        mounting(&format!(r#"{{"src": "/etc/hosts", "dst": "/w"{opts}}}"#), |source| {
            source.canonical = PathBuf::from("/etc/hosts");
        })
    };
    for opts in ["", r#", "opts": "rw""#] {
        let refusal = hosts(opts).unwrap_err();
        assert!(refusal.hint().contains(r#""opts": "ro""#), "{opts}: {}", refusal.hint());
    }
    assert_eq!(hosts(r#", "opts": "ro""#).unwrap().mounts[0].access, Access::ReadOnly);
    let project = mounting(r#"{"src": ".", "dst": "/w"}"#, |_| {}).unwrap();
    assert_eq!(project.mounts[0].access, Access::ReadWrite);
}

#[test]
fn what_counts_is_where_a_source_leads() {
    let text = refused(mounting(r#"{"src": "/code/link", "dst": "/w"}"#, |source| {
        source.canonical = PathBuf::from("/home/user/.ssh");
    }));
    assert!(text.contains("/home/user/.ssh"), "{text}");
}

#[test]
fn only_files_and_directories_are_mounted() {
    let mount = r#"{"src": "/code/x", "dst": "/w"}"#;
    assert!(mounting(mount, |source| source.kind = SourceKind::File).is_ok());
    assert!(refused(mounting(mount, |source| source.kind = SourceKind::Special)).contains("a device or a pipe"));
    assert!(refused(mounting(mount, |source| source.kind = SourceKind::Missing)).contains("does not exist"));
}

#[test]
fn what_is_missing_is_made_below_home_alone() {
    let missing = |source: &mut Source| source.kind = SourceKind::Missing;
    let policy = mounting(r#"{"src": "~/.cache/x", "dst": "/w"}"#, missing).unwrap();
    assert_eq!(policy.mounts[0].creation, Creation::MakeDirectory);
    for mount in [r#"{"src": ".", "dst": "/w"}"#, r#"{"src": "/home/user/x", "dst": "/w"}"#, r#"{"src": "@project"}"#] {
        let _ = refused(mounting(mount, missing));
    }
    // A link on the way leads out of home.
    let _ = refused(mounting(r#"{"src": "~/link/x", "dst": "/w"}"#, |source| {
        source.kind = SourceKind::Missing;
        source.canonical = PathBuf::from("/opt/elsewhere/x");
    }));
}

#[test]
fn a_mount_without_a_destination_keeps_its_path() {
    let policy = mounting(r#"{"src": "@project"}"#, |_| {}).unwrap();
    assert_eq!(policy.mounts[0].dst.as_str(), "/code/project");
    assert!(
        refused(mounting(r#"{"src": "/x"}"#, |source| {
            source.canonical = PathBuf::from(OsStr::from_bytes(b"/code/\xff"));
        }))
        .contains("not UTF-8")
    );
    assert!(
        refused(mounting(r#"{"src": "/x", "opts": "ro"}"#, |source| source.canonical = PathBuf::from("/usr/share/x")))
            .contains("can't have the same path inside")
    );
}

#[test]
fn parents_are_mounted_before_children_whatever_the_order() {
    let text = r#"{"tool": "npm:x", "mounts": [
        {"src": "/code/b", "dst": "/w/a/b", "opts": "ro"}, {"src": "/code/c", "dst": "/w/a-x", "opts": "ro"},
        {"src": "/code/a", "dst": "/w/a", "opts": "ro"}]}"#;
    let policy = decided(text, &[]).unwrap();
    let order: Vec<&str> = policy.mounts.iter().map(|mount| mount.dst.as_str()).collect();
    assert_eq!(order, ["/w/a", "/w/a-x", "/w/a/b"]);
}

/// A read-only bind does not reach into the file systems mounted below its source.
#[test]
fn what_is_mounted_below_a_read_only_source_is_read_only_too() {
    let world = world(1000);
    for (opts, expected) in [
        ("ro", vec![("/code", "/w"), ("/code/deep/disk", "/w/deep/disk"), ("/code/disk", "/w/disk")]),
        ("rw", vec![("/code", "/w")]),
    ] {
        let file =
            file(&format!(r#"{{"tool": "npm:x", "mounts": [{{"src": "/code", "dst": "/w", "opts": "{opts}"}}]}}"#));
        let mut facts = facts(&world, &file);
        facts.mount_points =
            ["/", "/code", "/code/disk", "/code/deep/disk", "/coder", "/other"].map(PathBuf::from).to_vec();
        let identity = Some(Identity { device: 1, inode: 2 });
        facts.sources[0].identity = identity;
        let policy = decide(&tool("probe"), &file, &world, &facts, DIGEST, Mode::Granted).unwrap();
        let mounts: Vec<(&str, &str)> =
            policy.mounts.iter().map(|mount| (mount.src.to_str().unwrap(), mount.dst.as_str())).collect();
        assert_eq!(mounts, expected);
        assert!(policy.mounts.iter().all(|mount| (mount.access == Access::ReadOnly) == (opts == "ro")));
        // The identity is the source's own; what is mounted below it is another file system.
        let known: Vec<Option<Identity>> = policy.mounts.iter().map(|mount| mount.identity).collect();
        assert_eq!((known[0], known[1..].iter().flatten().count()), (identity, 0));
    }
}

#[test]
fn the_working_directory_is_where_the_current_one_is_seen() {
    for (text, expected) in [
        (r#"{"tool": "npm:x"}"#, "/workspace"),
        (r#"{"tool": "npm:x", "mounts": [{"src": ".", "dst": "/w"}]}"#, "/w"),
        (r#"{"tool": "npm:x", "mounts": [{"src": "@project", "dst": "/w"}]}"#, "/w/src"),
        (r#"{"tool": "npm:x", "mounts": [{"src": "@project"}]}"#, "/code/project/src"),
        (r#"{"tool": "npm:x", "mounts": [{"src": "@project"}], "workdir": "."}"#, "/code/project/src"),
        (r#"{"tool": "npm:x", "mounts": [{"src": "/code"}], "workdir": "."}"#, "/code/project/src"),
        (r#"{"tool": "npm:x", "mounts": [{"src": "."}], "workdir": "/elsewhere"}"#, "/elsewhere"),
        (r#"{"tool": "npm:x", "mounts": [{"src": "/opt/x"}]}"#, "/workspace"),
    ] {
        assert_eq!(decided(text, &[]).unwrap().workdir, PathBuf::from(expected), "{text}");
    }
    let _ = refused(decided(r#"{"tool": "npm:x", "mounts": [{"src": ".", "dst": "/w"}], "workdir": "."}"#, &[]));
    let _ = refused(decided(r#"{"tool": "npm:x", "workdir": "."}"#, &[]));
}

#[test]
fn the_environment_is_what_is_granted_and_nothing_else() {
    let text = r#"{"tool": "npm:x", "env": {"FIXED": "file", "BOTH": "file", "LANG": "de"}, "env_passthrough": ["PASSED", "BOTH", "EMPTY", "ABSENT"]}"#;
    let variables = [("PASSED", "caller"), ("BOTH", "caller"), ("FIXED", "caller"), ("EMPTY", ""), ("OTHER", "caller")];
    let policy = decided(text, &variables).unwrap();
    let mut found = names(&policy);
    found.sort_unstable();
    assert_eq!(found, ["BOTH", "EMPTY", "FIXED", "LANG", "PASSED"]);
    assert_eq!(value(&policy, "BOTH").unwrap(), "file", "the signed file wins over the caller");
    assert_eq!(value(&policy, "LANG").unwrap(), "de");
    assert_eq!(value(&policy, "PASSED").unwrap(), "caller");
}

#[test]
fn a_ca_bundle_reaches_every_client() {
    let policy = decided(LEAST, &[("COCO_CA_BUNDLE", "/x.pem")]).unwrap();
    assert!(policy.ca_certificates.is_some());
    for name in [
        "SSL_CERT_FILE",
        "NODE_EXTRA_CA_CERTS",
        "REQUESTS_CA_BUNDLE",
        "PIP_CERT",
        "CARGO_HTTP_CAINFO",
        "GIT_SSL_CAINFO",
        "CURL_CA_BUNDLE",
    ] {
        assert_eq!(value(&policy, name).unwrap(), CA_GUEST, "{name}");
    }
}

#[test]
fn the_display_is_given_only_when_asked_for() {
    assert_eq!(decided(LEAST, &[]).unwrap().display, None);
    let text = r#"{"tool": "npm:x", "x11": true}"#;
    assert!(matches!(decided(text, &[]), Err(Error::Consent { .. })));
    let policy = consented(text, AtHome::Refused, |_| {}).unwrap();
    assert_eq!(policy.display.as_ref().unwrap().name, ":7");
    assert_eq!(value(&policy, "DISPLAY").unwrap(), ":7");
    assert!(!names(&decided(LEAST, &[("DISPLAY", ":7"), ("XAUTHORITY", "/x")]).unwrap()).contains(&"DISPLAY"));
}

/// An image's own tool is ready as it is, unless anything is to be installed beside it.
#[test]
fn nothing_is_installed_only_where_all_is_the_images_own() {
    let nothing = |rest: &str| decided(&format!("{{{rest}}}"), &[]).unwrap().installation.is_nothing();
    assert!(nothing(r#""tool": "python@system""#));
    assert!(!nothing(r#""tool": "python""#));
    assert!(!nothing(r#""tool": "python@system", "dependencies": {"apt": ["gcc"]}"#));
    assert!(!nothing(r#""tool": "python@system", "dependencies": {"mise": ["node"]}"#));
    assert!(!nothing(r#""tool": "python@system", "dependencies": {"mise": ["npm:y"]}"#));
}

#[test]
fn runtimes_and_companions_are_told_apart() {
    let policy =
        decided(r#"{"tool": "npm:x", "dependencies": {"mise": ["npm:y", "node@22", "uv", "python"]}}"#, &[]).unwrap();
    let text = |tools: &[ToolSpec]| tools.iter().map(ToString::to_string).collect::<Vec<_>>();
    // What is no runtime of mise's own core runs a package's code when it is installed.
    assert_eq!(text(&policy.installation.runtimes), ["node@22", "python"]);
    assert_eq!(text(&policy.installation.companions), ["npm:y", "uv"]);
}

/// A tool that may write the directory of coco's own program could put another in its place.
#[test]
fn the_program_itself_is_never_writable() {
    let at_program = |source: &mut Source| source.canonical = world(1000).program.parent().unwrap().to_owned();
    let writable = mounting(r#"{"src": "/x", "dst": "/x", "opts": "rw"}"#, at_program);
    assert!(refused(writable).contains("coco itself"));
    assert!(mounting(r#"{"src": "/x", "dst": "/x", "opts": "ro"}"#, at_program).is_ok());
}

#[test]
fn what_is_found_in_a_writable_mount_is_held() {
    let decide_with = |opts: &str, paths: &[(&str, Protection)]| {
        let world = world(1000);
        let file =
            file(&format!(r#"{{"tool": "npm:x", "mounts": [{{"src": "@project", "dst": "/w", "opts": "{opts}"}}]}}"#));
        let mut facts = facts(&world, &file);
        facts.scans = vec![holding(&facts.project, paths)];
        decide(&tool("probe"), &file, &world, &facts, DIGEST, Mode::Granted)
    };
    let policy = decide_with("rw", &[(".git", Protection::Pinned), (".git/hooks", Protection::ReadOnly)]).unwrap();
    assert_eq!(policy.hidden, []);
    let held: Vec<(&str, Access, bool)> =
        policy.protected.iter().map(|held| (held.dst.as_str(), held.access, held.identity.is_some())).collect();
    assert_eq!(held, [("/w/.git", Access::ReadWrite, true), ("/w/.git/hooks", Access::ReadOnly, true)]);
    // What can't be held is no reason to go on without.
    let many: Vec<String> = (0..=MAX_PROTECTIVE_MOUNTS).map(|number| format!("{number}/.envrc")).collect();
    let many: Vec<(&str, Protection)> = many.iter().map(|path| (path.as_str(), Protection::ReadOnly)).collect();
    assert_eq!(decide_with("rw", &many[..MAX_PROTECTIVE_MOUNTS]).unwrap().protected.len(), MAX_PROTECTIVE_MOUNTS);
    assert!(refused(decide_with("rw", &many)).contains(&format!("{} places", MAX_PROTECTIVE_MOUNTS + 1)));
}

/// An earlier run of the tool may have left a link where the inner mount would be made.
#[test]
fn nothing_is_mounted_below_a_writable_grant() {
    let nested = |access| {
        decided(
            &format!(
                r#"{{"tool": "npm:x", "mounts": [{{"src": ".", "dst": "/w", "opts": "{access}"}}, {{"src": "/x", "dst": "/w/a/b"}}]}}"#
            ),
            &[],
        )
    };
    assert!(refused(nested("rw")).contains("which the tool may change"));
    assert!(nested("ro").is_ok());
}
