//! The ancestors of this process.

use crate::sys::proc_status::ProcStatus;

/// How many are listed: the one that started coco, and what may have wrapped it (a shell, a version manager).
const MAX_ANCESTORS: usize = 4;

/// The processes above this one, the nearest first. The first process of all is none of them: inside,
/// that number is init's.
pub fn ancestors() -> Vec<u32> {
    // One that has ended meanwhile, or that is another user's and hidden, ends the list.
    let above = |status: ProcStatus| status.decimal("PPid").filter(|number| *number > 1);
    let first = ProcStatus::of_this_process().ok().and_then(above);
    std::iter::successors(first, |process| ProcStatus::of(*process).ok().and_then(above)).take(MAX_ANCESTORS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_some() {
        let ancestors = ancestors();
        assert_eq!(ancestors.first().copied(), Some(std::os::unix::process::parent_id()).filter(|number| *number > 1));
        assert!(ancestors.len() <= MAX_ANCESTORS);
    }
}
