//! What is installed: records on the host, out of every tool's reach, written once all of it is there.
//!
//! A record is written last, by renaming, so that an interrupted installation leaves nothing that
//! a later run would trust. Each installation goes into a new directory; the one it replaces stays
//! until no running tool holds a lock on it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::Isolation;
use crate::engine::image::Image;
use crate::error::Error;
use crate::host::volumes::DataName;
use crate::names::EnvName;
use crate::policy::{Installation, Policy};
use crate::protocol::control::Installed;
use crate::rules::sandbox_paths::{DATA_GUEST, RUNTIMES_GUEST};
use crate::rules::variables::may_be_set;
use crate::sys::files::{read_json, write_json};
use crate::sys::hash::Digest;

/// The outcome of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What the installation depends on, digested: a change of it installs anew.
    pub inputs: Digest,
    /// The image that it was made in.
    pub image: Image,
    /// The specifier in the coco file.
    pub tool: String,
    /// The exact version, or `system`.
    pub version: String,
    /// The directory's name below the tool's own; `None` for what the image itself has.
    pub data: Option<DataName>,
    /// Directories for PATH, inside.
    pub path: Vec<String>,
    /// Variables that the runtimes want.
    pub environment: Vec<(String, String)>,
    /// The hosts that the installation contacted, `name:port`.
    pub hosts: Vec<String>,
}

/// The largest record, in bytes.
const MAX_RECORD: usize = 512 << 10;

/// What the installation depends on, digested. Not the whole coco file: a changed mount needs no
/// download.
pub fn inputs(policy: &Policy, image: &Image) -> Digest {
    let Installation { tool, apt, runtimes, companions, isolation } = &policy.installation;
    let isolation = match isolation {
        Isolation::SharedRuntimes => "shared",
        Isolation::OwnRuntimes => "own",
    };
    let list = |items: Vec<String>| items.join(" ");
    let text = [
        tool.to_string(),
        policy.program.to_string(),
        list(apt.iter().map(ToString::to_string).collect()),
        list(runtimes.iter().map(ToString::to_string).collect()),
        list(companions.iter().map(ToString::to_string).collect()),
        isolation.to_owned(),
        image.to_string(),
    ]
    .join("\n");
    Digest::of(text.as_bytes())
}

/// The record of what the image itself has (`node@system`): nothing is installed.
pub fn system_record(policy: &Policy, image: &Image) -> Record {
    Record {
        inputs: inputs(policy, image),
        image: image.clone(),
        tool: policy.installation.tool.to_string(),
        version: "system".to_owned(),
        data: None,
        path: Vec::new(),
        environment: Vec::new(),
        hosts: Vec::new(),
    }
}

/// Reads a tool's record; a broken one counts as none, so that the tool is installed anew.
pub fn read_record(path: &Path) -> Option<Record> {
    read_json(path, MAX_RECORD, "remove it").ok().flatten()
}

/// Writes a record in one step.
pub fn write_record(path: &Path, record: &Record) -> Result<(), Error> {
    write_json(path, record)
}

/// Checks what init reported. It ran beside the installer's scripts, so it is not trusted to name paths
/// outside the installation or variables that steer init.
pub fn accept(installed: Installed) -> Result<Installed, String> {
    let version = &installed.version;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    if version.is_empty() || version.len() > 64 || !version.bytes().all(plain) || version.starts_with('-') {
        return Err(format!("it reports {version:?} as the installed version"));
    }
    let inside = |path: &&String| {
        let known = [DATA_GUEST, RUNTIMES_GUEST]
            .iter()
            .any(|tree| path.strip_prefix(tree).is_some_and(|rest| rest.starts_with('/')));
        known && !path.contains(':') && !path.split('/').any(|part| part == "..")
    };
    if let Some(path) = installed.path.iter().find(|path| !inside(path)) {
        return Err(format!("it reports {path:?} as a directory of its programs"));
    }
    for (name, value) in &installed.environment {
        let good =
            EnvName::new(name).is_ok_and(|name| may_be_set(&name)) && !value.contains('\0') && value.len() <= 4096;
        if !good {
            return Err(format!("it reports the variable {name:?}"));
        }
    }
    Ok(installed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn installed(version: &str, path: &str, variable: &str) -> Installed {
        Installed { version: version.into(), path: vec![path.into()], environment: vec![(variable.into(), "x".into())] }
    }

    #[test]
    fn what_an_installer_reports_is_not_trusted() {
        assert!(accept(installed("1.2.3", "/coco/data/bin", "GEM_HOME")).is_ok());
        for (version, path, variable) in [
            ("", "/coco/data/bin", "A"),
            ("-x", "/coco/data/bin", "A"),
            ("1\n", "/coco/data/bin", "A"),
            ("1", "/workspace/bin", "A"),
            ("1", "/coco/data/../../workspace", "A"),
            ("1", "/coco/data/a:/workspace", "A"),
            ("1", "/coco/database", "A"),
            ("1", "/coco/data/bin", "LD_PRELOAD"),
            ("1", "/coco/data/bin", "PATH"),
        ] {
            assert!(accept(installed(version, path, variable)).is_err(), "{version} {path} {variable}");
        }
    }

    #[test]
    fn a_record_survives_the_disk_and_a_broken_one_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b.json");
        assert_eq!(read_record(&path), None);
        let record = Record {
            inputs: Digest::of(b"i"),
            image: Image::parse("localhost/x:1").unwrap(),
            tool: "npm:eslint".into(),
            version: "9.0.0".into(),
            data: Some("data-1".parse().unwrap()),
            path: vec!["/coco/data/bin".into()],
            environment: vec![("A".into(), "b".into())],
            hosts: vec!["a.example:443".into()],
        };
        write_record(&path, &record).unwrap();
        assert_eq!(read_record(&path), Some(record.clone()));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let text = fs::read_to_string(&path).unwrap();
        // What older versions have written: this form, with one member more.
        let form = format!(
            r#"{{"data": "data-1", "environment": [["A", "b"]], "hosts": ["a.example:443"], "image": "localhost/x:1",
            "inputs": "{}", "path": ["/coco/data/bin"], "tool": "npm:eslint", "version": "9.0.0"}}"#,
            record.inputs
        );
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&text), value(&form));
        fs::write(&path, text.replacen('{', r#"{"coco_file": "c","#, 1)).unwrap();
        assert_eq!(read_record(&path), Some(record));
        fs::write(&path, text.replace("data-1", "../data-1")).unwrap();
        assert_eq!(read_record(&path), None);
        fs::write(&path, "{").unwrap();
        assert_eq!(read_record(&path), None);
    }
}
