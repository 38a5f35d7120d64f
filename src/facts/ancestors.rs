//! Which processes stand above this one: part of reading the world.

use std::fs;

/// How many are told: the one that started coco, and what may have wrapped it (a shell, a version manager).
const MOST: usize = 4;

/// The processes above this one, the nearest first. The first process of all is none of them: inside,
/// that number is the helper's.
pub fn ancestors() -> Vec<u32> {
    let above = |process: &str| parent(&fs::read_to_string(format!("/proc/{process}/status")).ok()?);
    // One that has ended meanwhile, or that is another user's and hidden, ends the list.
    std::iter::successors(above("self"), |process| above(&process.to_string())).take(MOST).collect()
}

/// The line `PPid:` of `/proc/PID/status`, proc(5).
fn parent(status: &str) -> Option<u32> {
    let number = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    number.trim().parse().ok().filter(|number| *number > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_stands_in_the_status() {
        assert_eq!(parent("Name:\tPPid: 9\nPid:\t12\nPPid:\t4242\nTracerPid:\t0\n"), Some(4242));
        assert_eq!(parent("PPid:\t1\n"), None);
        assert_eq!(parent("PPid:\t0\n"), None);
        assert_eq!(parent("Pid:\t12\n"), None);
    }

    #[test]
    fn this_process_has_some() {
        let ancestors = ancestors();
        assert_eq!(ancestors.first().copied(), Some(std::os::unix::process::parent_id()).filter(|number| *number > 1));
        assert!(ancestors.len() <= MOST);
    }
}
