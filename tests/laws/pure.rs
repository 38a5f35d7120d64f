//! Facts made by hand, the decision and its spelling for an engine touch no file: a process that may not do what they
//! do in a run of this test. What opens one is ended by the kernel.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use coco::engine::EngineKind;
use coco::engine::image::Image;
use coco::explain;
use coco::host::volumes::DataName;
use coco::plan::{self, Job};
use coco::policy::{Mode, decide, permissions};
use coco::protocol::control::Installed;
use coco::store::signature;
use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::hand_made::{
    BUILT, DIGEST, EVERYTHING, LEAST, REACHING, WRITING, agreed, engine, facts, file, tool, with, world,
};
use crate::narrowing::CALLER;

/// Says to a process of this very program what it does behind the seal.
const SEALED: &str = "COCO_TEST_SEALED";

/// Ends this thread's process at the first call that names a file, lists a directory, opens a socket or starts a program.
fn seal() {
    let mut calls = vec![
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_newfstatat,
        libc::SYS_statx,
        libc::SYS_faccessat,
        libc::SYS_faccessat2,
        libc::SYS_readlinkat,
        libc::SYS_getdents64,
        libc::SYS_getcwd,
        libc::SYS_chdir,
        libc::SYS_socket,
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_execve,
        libc::SYS_mkdirat,
        libc::SYS_unlinkat,
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        libc::SYS_open,
        libc::SYS_stat,
        libc::SYS_lstat,
        libc::SYS_access,
        libc::SYS_readlink,
        libc::SYS_vfork,
    ]);
    let rules: BTreeMap<_, _> = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::KillProcess, architecture).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

/// Everything between a coco file's bytes and the engine's command, for every kind of file, engine and caller.
fn everything_pure() -> usize {
    let mut plans = 0;
    let texts = [LEAST, EVERYTHING, WRITING, REACHING, BUILT];
    for text in texts {
        for (kind, uid) in
            [EngineKind::Podman, EngineKind::Docker].into_iter().flat_map(|kind| [(kind, 0), (kind, 1000)])
        {
            let (name, file, engine) = (tool("probe"), file(text), engine(kind, uid));
            let world = with(world(uid), CALLER);
            let mut facts = facts(&world, &file);
            // Without consent, and with it.
            let _ = decide(&name, &file, &world, &facts, DIGEST, Mode::Granted);
            facts.consent = Some(agreed(DIGEST));
            let policy = decide(&name, &file, &world, &facts, DIGEST, Mode::Granted).unwrap();
            let image = Image::parse("localhost/image:1").unwrap();
            let record = explain::placeholder_record(&policy, &image);
            let job = Job { world: &world, facts: &facts, policy: &policy, engine: &engine };
            let runtimes = Installed::default();
            let arguments = ["--version"].map(OsString::from);
            let all = [
                plan::run(&job, &image, &record, &arguments),
                plan::install_runtimes(&job, &image),
                plan::install_tool(&job, &image, &DataName::placeholder(), &runtimes, Some("1.2")),
            ];
            for plan in &all {
                assert!(!explain::plan("title", plan).is_empty());
            }
            plans += all.len();
            assert!(!explain::policy(&job, Some(&record), Path::new("/file")).is_empty());
            assert!(!explain::grants(&name, &file).is_empty());
            for other in texts {
                let _ = permissions::difference(&name, &file, &crate::hand_made::file(other));
            }
            assert!(!file.print().is_empty());
        }
    }
    assert!(signature::public_key("nonsense").is_err());
    plans
}

fn sealed(what: &str) -> std::process::Output {
    #[expect(clippy::disallowed_methods, reason = "this very program, once more")]
    let mut again = Command::new(std::env::current_exe().unwrap());
    again
        .args(["--exact", "pure::the_decision_and_its_spelling_open_nothing", "--nocapture"])
        .env(SEALED, what)
        .env_remove("RUST_BACKTRACE");
    again.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn the_decision_and_its_spelling_open_nothing() {
    #[expect(clippy::disallowed_methods, reason = "how the process behind the seal is told from this one")]
    if let Some(what) = std::env::var_os(SEALED) {
        return behind_the_seal(what.to_str().unwrap());
    }
    let output = sealed("everything pure");
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success() && said.contains("plans: 60\n"), "{output:?}");
    // The control: what looks at this machine is ended by the kernel there.
    for what in ["a file", "a home", "a program"] {
        let output = sealed(what);
        assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{what}: {output:?}");
    }
}

#[expect(clippy::print_stdout, reason = "how the other process hears of it")]
fn behind_the_seal(what: &str) {
    seal();
    match what {
        "everything pure" => println!("plans: {}", everything_pure()),
        "a file" => drop(std::fs::read("/etc/hostname")),
        "a home" => drop(coco::facts::off_limits(&world(0))),
        #[expect(clippy::disallowed_methods, reason = "the control")]
        "a program" => drop(Command::new("/bin/true").status()),
        other => panic!("{other}"),
    }
}
