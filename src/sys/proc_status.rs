//! `/proc/PID/status` (proc(5)): a line for each field, its name, a colon and its value.

use std::fs;
use std::io;

/// What the kernel says of one process. Newlines in the process's own name are escaped there, so it can't write a field.
#[derive(Debug)]
pub struct ProcStatus(String);

impl ProcStatus {
    /// Of this process.
    pub fn of_this_process() -> io::Result<ProcStatus> {
        fs::read_to_string("/proc/self/status").map(ProcStatus)
    }

    /// Of the process of this number. An error when it has ended, or is hidden from this user.
    pub fn of(process: u32) -> io::Result<ProcStatus> {
        fs::read_to_string(format!("/proc/{process}/status")).map(ProcStatus)
    }

    /// A field that is a decimal number, as `PPid`.
    pub fn decimal(&self, name: &str) -> Option<u32> {
        self.field(name)?.parse().ok()
    }

    /// A field that is a hexadecimal set of bits, as `CapEff` and `SigIgn`.
    pub fn hexadecimal(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.field(name)?, 16).ok()
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name_at_the_start_of_a_line() {
        let status = ProcStatus(
            "Name:\tPPid: 9\nPid:\t12\nPPid:\t4242\nTracerPid:\t0\nCapEff:\t00000000a80425fb\nNoNewPrivs:\t1\n\
             Seccomp:\t2\nSeccomp_filters:\t1\n"
                .to_owned(),
        );
        assert_eq!((status.decimal("Pid"), status.decimal("PPid")), (Some(12), Some(4242)));
        assert_eq!(status.hexadecimal("CapEff"), Some(0xa804_25fb));
        assert_eq!(status.hexadecimal("Seccomp"), Some(2));
        assert_eq!((status.hexadecimal("Nothing"), status.decimal("CapEff")), (None, None));
    }

    #[test]
    fn the_status_of_a_process() {
        let this = ProcStatus::of_this_process().unwrap();
        assert_eq!(this.decimal("Pid"), Some(std::process::id()));
        assert_eq!(ProcStatus::of(std::process::id()).unwrap().decimal("Pid"), Some(std::process::id()));
        // pid_max is at most 2^22 (proc(5)).
        assert!(ProcStatus::of(u32::MAX).is_err());
    }
}
