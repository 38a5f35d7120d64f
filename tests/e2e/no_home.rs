//! A caller without HOME whom the user database does not know: the C library's own look-up crashes a static program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use coco::cli::table::{COMMANDS, Operands};
use tempfile::TempDir;

use crate::support::{binary, command};

/// No machine's user database has it.
const NOBODY: &str = "12345";

/// The static program, which is what crashed, where that user can run it, and a directory that is that user's to write.
struct Place {
    root: TempDir,
}

impl Place {
    fn new() -> Place {
        let root = tempfile::Builder::new().prefix("coco-").tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let place = Place { root };
        let program = place.path("coco");
        fs::copy(binary(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(place.path("open")).unwrap();
        fs::set_permissions(place.path("open"), fs::Permissions::from_mode(0o777)).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn run(&self, environment: &[(&str, &Path)], arguments: &[&str]) -> Output {
        let is_root = nix::unistd::geteuid().is_root();
        let mut command = command(if is_root { "setpriv" } else { "unshare" });
        if is_root {
            command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"]);
        } else {
            command.args([&format!("--map-user={NOBODY}"), "--"]);
        }
        command.arg(self.path("coco")).args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(environment.iter().copied()).current_dir(self.path("open")).stdin(Stdio::null());
        command.output().unwrap()
    }
}

/// Every command of the table with as many operands as it wants, and coco's other ways to be started.
fn every_command() -> Vec<Vec<&'static str>> {
    let operands: fn(Operands) -> &'static [&'static str] = |operands| match operands {
        Operands::None | Operands::Optional | Operands::Any => &[],
        Operands::One | Operands::Some | Operands::ToolAndArguments => &["ruff"],
    };
    let rows = COMMANDS.iter().map(|row| [&[row.name], operands(row.operands)].concat());
    rows.chain([vec![], vec!["--version"], vec!["--help"], vec!["run", "--dry-run", "ruff"]]).collect()
}

fn words(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn every_command_says_what_is_missing() {
    let place = Place::new();
    for arguments in every_command() {
        let output = place.run(&[], &arguments);
        let stderr = words(&output);
        assert_eq!(output.status.code(), Some(125), "{arguments:?}: {:?} {stderr}", output.status);
        let said = format!("coco: error: HOME: is not set, and this machine knows no user with the id {NOBODY}\n");
        assert!(stderr.starts_with(&said), "{arguments:?}: {stderr}");
        assert!(stderr.contains("coco: hint: set HOME to "), "{arguments:?}: {stderr}");
    }
}

/// Whatever a command says then, it says it: nothing on its way looks a user up.
#[test]
fn every_command_works_with_home_alone() {
    let place = Place::new();
    let home = place.path("open");
    for arguments in every_command() {
        let output = place.run(&[("HOME", &home)], &arguments);
        assert!(output.status.signal().is_none() && output.status.code() < Some(128), "{arguments:?}: {output:?}");
        assert!(!words(&output).contains("HOME"), "{arguments:?}: {output:?}");
    }
    assert_eq!(place.run(&[("HOME", &home)], &["list"]).status.code(), Some(0));
}

/// The name services' modules are found by names that begin so, and what asks for none has no such word in it.
#[test]
fn the_static_program_has_no_name_service_switch() {
    let bytes = fs::read(binary()).unwrap();
    for word in [&b"libnss_"[..], b"_nss_%s"] {
        assert!(!bytes.windows(word.len()).any(|window| window == word), "{}", word.escape_ascii());
    }
}
