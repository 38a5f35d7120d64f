//! Files of the bash coco, coco's predecessor: what they mean otherwise here. `coco lint` notes it, and
//! docs/from-the-bash-coco.md has the whole list.

use super::MAX_FILE;
use crate::json::{self, Value};

/// Keys of the bash coco that mean nothing here.
const REMOVED_KEYS: &[&str] = &["pre-cmd", "pre_cmd"];

/// Keys that the bash coco did not have. Whoever writes one knows this coco.
const NEW_KEYS: &[&str] = &["$schema", "description", "homepage", "workdir", "cache", "data", "protect", "limits"];

/// Where the bash coco's files mount things: its working directory, and root's home, in which its tools run.
const BASH_MOUNT_POINTS: &[&str] = &["/workspace", "/root"];

/// What to write instead of a key that is gone: the message and the hint.
pub fn gone(key: &str) -> Option<(String, &'static str)> {
    REMOVED_KEYS.contains(&key).then(|| {
        (
            format!("{key} is gone: coco runs no command before the tool"),
            "leave it out; \"dependencies\" installs packages, \"env\" sets variables, \"mounts\" shows files",
        )
    })
}

/// What a file that looks like the bash coco's means otherwise here, one sentence each; nothing for another
/// file. Notes, no mistakes: `coco lint` passes such a file.
pub fn notes(bytes: &[u8]) -> Vec<&'static str> {
    let Ok(root) = json::parse(bytes, MAX_FILE) else { return Vec::new() };
    if !looks_like_it(&root) {
        return Vec::new();
    }
    let has = |key: &str| root.member(key).is_some();
    let apt = root.member("dependencies").and_then(|value| value.member("apt"));
    let ports = root.member("ports").map_or(&[][..], Value::items);
    let without_address = |port: &Value| port.text().is_some_and(|text| text.matches(':').count() == 1);
    let cases = [
        (true, "it looks like a file of the bash coco; docs/from-the-bash-coco.md lists what is different here"),
        (
            !has("network") && !has("allowed_hosts"),
            "no \"network\": the bash coco gave the engine's, this one gives none; write \"public\" or allowed_hosts",
        ),
        (
            has("allowed_hosts"),
            "\"allowed_hosts\": the tool reaches these names exactly, and no others; coco run --learn finds what is missing",
        ),
        (
            has("env_passthrough"),
            "\"env_passthrough\": the installation sees none of these variables, only the tool when it runs",
        ),
        (
            apt.is_some(),
            "\"dependencies\": Debian packages are there while the tool is installed, and not when it runs",
        ),
        (
            ports.iter().any(without_address),
            "\"ports\": without an address they listen on 127.0.0.1 alone; write 0.0.0.0:8080:80 for every address",
        ),
    ];
    cases.into_iter().filter_map(|(applies, note)| applies.then_some(note)).collect()
}

/// A guess, which only ever adds notes: something is mounted where the bash coco's files mount it, and nothing
/// in the file is of this coco alone, neither a key nor a form of a mount (`@project`, or no `dst`).
fn looks_like_it(root: &Value) -> bool {
    let mounts = root.member("mounts").map_or(&[][..], Value::items);
    let destination = |mount: &Value| mount.member("dst").and_then(Value::text).map(str::to_owned);
    let is_old = |mount: &Value| {
        destination(mount).is_some() && mount.member("src").and_then(Value::text).is_some_and(|src| src != "@project")
    };
    let in_place = |mount: &Value| {
        destination(mount)
            .is_some_and(|dst| BASH_MOUNT_POINTS.iter().any(|place| std::path::Path::new(&dst).starts_with(place)))
    };
    !NEW_KEYS.iter().any(|key| root.member(key).is_some()) && mounts.iter().all(is_old) && mounts.iter().any(in_place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(rest: &str) -> Vec<&'static str> {
        notes(format!(r#"{{"tool": "npm:x", {rest}}}"#).as_bytes())
    }

    #[test]
    fn each_difference_is_noted_where_it_matters() {
        let mounts = r#""mounts": [{"src": ".", "dst": "/workspace"}]"#;
        let starts = |notes: &[&str]| -> Vec<String> {
            notes.iter().skip(1).map(|note| note.split(": ").next().unwrap().to_owned()).collect()
        };
        for (rest, expected) in [
            ("", r#"no "network""#),
            (r#", "allowed_hosts": ["a.example"]"#, r#""allowed_hosts""#),
            (r#", "network": "none", "env_passthrough": ["API_TOKEN"]"#, r#""env_passthrough""#),
            (r#", "network": "none", "dependencies": {"apt": ["gcc"]}"#, r#""dependencies""#),
            (r#", "network": "none", "ports": ["8080:80"]"#, r#""ports""#),
        ] {
            assert_eq!(starts(&noted(&format!("{mounts}{rest}"))), [expected], "{rest}");
        }
        for rest in [
            r#", "network": "none""#,
            r#", "network": "public", "ports": ["127.0.0.1:8080:80"]"#,
            r#", "network": "public", "dependencies": {"mise": ["node@22"]}"#,
        ] {
            assert_eq!(starts(&noted(&format!("{mounts}{rest}"))), [""; 0], "{rest}");
        }
    }

    #[test]
    fn a_file_of_this_coco_is_told_apart() {
        for rest in [
            r#""mounts": [{"src": ".", "dst": "/workspace"}]"#,
            r#""mounts": [{"src": "~/.x", "dst": "/root/.x"}, {"src": "/opt/x", "dst": "/x"}], "isolated": true"#,
        ] {
            assert!(!noted(rest).is_empty(), "{rest}");
        }
        for rest in [
            r#""mounts": [{"src": "@project", "dst": "/workspace"}]"#,
            r#""mounts": [{"src": ".", "dst": "/workspace"}, {"src": "~/.x"}]"#,
            r#""mounts": [{"src": ".", "dst": "/workspaces"}]"#,
            r#""mounts": [{"src": ".", "dst": "/workspace"}], "description": "d""#,
            r#""mounts": [{"src": ".", "dst": "/workspace"}], "data": "rw""#,
            r#""mounts": []"#,
            r#""network": "public""#,
        ] {
            assert_eq!(noted(rest), [""; 0], "{rest}");
        }
        assert_eq!(notes(b"{"), [""; 0]);
    }

    #[test]
    fn every_new_key_is_a_key() {
        assert!(NEW_KEYS.iter().all(|key| super::super::KEYS.contains(key)));
        assert!(!REMOVED_KEYS.iter().any(|key| super::super::KEYS.contains(key)));
    }
}
