//! Containers that were made and never started: an engine that is killed in between leaves them, and nobody else knows.

use std::io;
use std::path::{Path, PathBuf};

use super::engine::{Client, answer_of};
use crate::plan::RUN_LABEL;
use crate::sys::lock::lock_unused;

/// Removes the containers that do not run and whose coco is gone. Only those of runs in this directory of all runs are
/// this user's; `own` is a run that counts as gone, though its directory is still there. Gives how many.
pub fn remove_orphaned_containers(client: Client<'_>, runs: &Path, own: Option<&Path>) -> usize {
    let ask = |arguments: &[&str]| answer_of(client, arguments).ok().filter(|answer| answer.code == Some(0));
    let label = format!("--filter=label={RUN_LABEL}");
    let all = ["ps", "--all", "--quiet", "--no-trunc", &label, "--filter=status=created", "--filter=status=exited"];
    // podman has one more state before a start, which docker refuses to filter by.
    let with_initialized: Vec<&str> = all.into_iter().chain(["--filter=status=initialized"]).collect();
    let Some(listed) = ask(&with_initialized).or_else(|| ask(&all)) else { return 0 };
    let is_gone = |id: &&str| {
        let format = format!("--format={{{{index .Config.Labels {RUN_LABEL:?}}}}}");
        let run = ask(&["container", "inspect", &format, id]).map(|answer| PathBuf::from(answer.stdout));
        run.is_some_and(|run| run.parent() == Some(runs) && (own == Some(&run) || has_ended(&run)))
    };
    let gone: Vec<&str> = listed.stdout.lines().filter(is_gone).collect();
    // Without force: one that has come to run meanwhile is left alone.
    gone.iter().filter(|id| ask(&["rm", id]).is_some()).count()
}

/// Whether nobody uses a run's directory. One that can't be looked at may be somebody's.
fn has_ended(run: &Path) -> bool {
    match run.symlink_metadata() {
        Ok(_) => matches!(lock_unused(run), Ok(Some(_))),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
