//! The filters, run by an interpreter of the few instructions that there are: on both architectures, whichever this is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use super::*;
use crate::rules::syscalls::Row;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const TARGETS: [TargetArch; 2] = [TargetArch::x86_64, TargetArch::aarch64];

/// A call with arguments, in both architectures where it exists in both.
struct Tried<'a> {
    target: TargetArch,
    programs: &'a [BpfProgram],
    numbers: &'a BTreeMap<String, i64>,
}

impl Tried<'_> {
    /// What the kernel would do with it: the action of the first program that is not to allow.
    fn verdict(&self, call: &str, arguments: &[u64]) -> u32 {
        verdict(self.target, self.programs, self.numbers[call], arguments)
    }

    fn is(&self, call: &str) -> bool {
        self.numbers.contains_key(call)
    }
}

fn on_each(ancestors: &[u32], check: impl Fn(&Tried)) {
    for target in TARGETS {
        let (programs, numbers) = (programs_for(target, ancestors).unwrap(), kernels_numbers(target));
        check(&Tried { target, programs: &programs, numbers: &numbers });
    }
}

fn verdict(target: TargetArch, programs: &[BpfProgram], call: i64, arguments: &[u64]) -> u32 {
    let actions = programs.iter().map(|program| interpret(target, program, call, arguments));
    actions.into_iter().find(|action| *action != ALLOW).unwrap_or(ALLOW)
}

/// Over `struct seccomp_data` (seccomp(2)).
fn interpret(target: TargetArch, program: &BpfProgram, call: i64, arguments: &[u64]) -> u32 {
    let architecture: u32 = if target == TargetArch::x86_64 { 0xC000_003E } else { 0xC000_00B7 };
    let mut data = Vec::new();
    data.extend(u32::try_from(call).unwrap().to_le_bytes());
    data.extend(architecture.to_le_bytes());
    data.extend([0; 8]);
    for number in 0..6 {
        data.extend(arguments.get(number).copied().unwrap_or(0).to_le_bytes());
    }
    let (mut at, mut accumulator) = (0_usize, 0_u32);
    loop {
        let sock_filter { code, jt, jf, k } = program[at].clone();
        at += 1;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => accumulator = u32::from_le_bytes(data[k as usize..k as usize + 4].try_into().unwrap()),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(accumulator == k),
            0x25 => at += jump(accumulator > k),
            0x06 => return k,
            other => panic!("an instruction that is not known here: {other:#x}"),
        }
    }
}

fn refused(answer: Answer) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno(answer)
}

/// The numbers in the kernel's own headers (Debian's linux-libc-dev, which libc6-dev brings along).
fn kernels_numbers(target: TargetArch) -> BTreeMap<String, i64> {
    let places: &[&str] = match target {
        TargetArch::x86_64 => &["x86_64-linux-gnu/asm/unistd_64.h", "asm/unistd_64.h"],
        _ => &["asm-generic/unistd.h"],
    };
    let text = places.iter().find_map(|place| fs::read_to_string(format!("/usr/include/{place}")).ok());
    let text = text.unwrap_or_else(|| panic!("the kernel's headers are missing: apt-get install linux-libc-dev"));
    let number = |line: &str| {
        let mut words =
            line.strip_prefix("#define __NR")?.trim_start_matches("3264").strip_prefix('_')?.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    text.lines().filter_map(number).collect()
}

/// A wrong number forbids another call, and lets this one pass.
#[test]
fn the_numbers_are_the_kernels() {
    for target in TARGETS {
        let kernels = kernels_numbers(target);
        let newest = kernels.values().copied().max().unwrap();
        assert!(kernels.len() > 250 && newest < i64::from(HIGHEST) + 20);
        for (_, call, _) in FORBIDDEN.iter().copied().flatten().chain([&(Answer::Absent, KILL, &[][..]) as &Row]) {
            match (number(target, *call), kernels.get(call.name)) {
                // Newer than these headers.
                (Some(number), None) => assert!(number > newest && number <= HIGHEST.into(), "{call:?}"),
                (number, kernels) => assert_eq!(number, kernels.copied(), "{call:?}"),
            }
        }
    }
}

/// What podman's and docker's profiles of 2026 refuse to a process without capabilities, by one or by both. Those that no
/// kernel of these architectures has any more are left out.
const REFUSED_BY_ENGINES: &[&str] = &[
    "_sysctl",
    "acct",
    "add_key",
    "bpf",
    "chroot",
    "clock_settime",
    "clone3",
    "create_module",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "get_kernel_syms",
    "get_mempolicy",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mbind",
    "migrate_pages",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pidfd_getfd",
    "pivot_root",
    "process_madvise",
    "query_module",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "set_mempolicy",
    "set_mempolicy_home_node",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "swapoff",
    "swapon",
    "sysfs",
    "syslog",
    "umount2",
    "uselib",
    "userfaultfd",
    "ustat",
    "vhangup",
    "vmsplice",
];

#[test]
fn no_engines_profile_is_leant_on() {
    on_each(&[], |tried| {
        let here = REFUSED_BY_ENGINES.iter().filter(|call| tried.is(call));
        assert!(here.clone().count() > 45);
        for call in here {
            assert_ne!(tried.verdict(call, &[]), ALLOW, "{call}");
        }
        // The same by number: lsm_get_self_attr and what comes with it have no name in older headers.
        for number in 459..=461 {
            assert_eq!(verdict(tried.target, tried.programs, number, &[]), refused(Answer::NotPermitted));
        }
    });
}

#[test]
fn what_is_newer_than_the_list_does_not_exist() {
    on_each(&[], |tried| {
        // open_tree_attr, the last known one and its neighbour, x32, and no call at all.
        for number in [467, i64::from(HIGHEST) + 1, 0x4000_0000, 0x4000_0000 + 59, 0xFFFF_FFFF] {
            assert_eq!(verdict(tried.target, tried.programs, number, &[]), refused(Answer::Absent), "{number:x}");
        }
        assert_eq!(verdict(tried.target, tried.programs, HIGHEST.into(), &[]), ALLOW);
    });
}

#[test]
fn no_new_namespace_by_any_flag() {
    on_each(&[], |tried| {
        let flags = [NEWTIME, 0x20000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
        for flag in flags {
            for more in [0, 0x100, 1 << 40, u64::from(u32::MAX) << 32] {
                assert_eq!(tried.verdict("unshare", &[flag | more]), refused(Answer::NotPermitted), "{flag:x}");
                // In clone this one is a part of the signal.
                let clone = if flag == NEWTIME { ALLOW } else { refused(Answer::NotPermitted) };
                assert_eq!(tried.verdict("clone", &[flag | more]), clone, "{flag:x}");
            }
        }
        // A thread, a child with its signal, vfork; and unshare of what is a process's own.
        for flags in [0x003d_0f00, 17, 0x4111, 0x0120_0011] {
            assert_eq!(tried.verdict("clone", &[flags]), ALLOW, "{flags:x}");
        }
        assert_eq!(tried.verdict("unshare", &[0x400]), ALLOW, "CLONE_FILES");
    });
}

/// CLONE_NEWTIME.
const NEWTIME: u64 = 0x80;

#[test]
fn four_families_of_sockets() {
    on_each(&[], |tried| {
        for family in 0..=50 {
            let allowed = [1, 2, 10, 16].contains(&family);
            let expected = if allowed { ALLOW } else { refused(Answer::NoSuchFamily) };
            assert_eq!(tried.verdict("socket", &[family, 1, 0]), expected, "{family}");
            assert_eq!(tried.verdict("socket", &[family | 1 << 32, 1, 0]), expected, "{family}");
            let pair = if family == 1 { ALLOW } else { refused(Answer::NoSuchFamily) };
            assert_eq!(tried.verdict("socketpair", &[family, 1, 0]), pair, "{family}");
        }
        // NETLINK_AUDIT, NETLINK_NETFILTER, NETLINK_KOBJECT_UEVENT, NETLINK_GENERIC; and UNIX's or INET's own protocols.
        for protocol in [9, 12, 15, 16, 0xFFFF_FFFF] {
            assert_eq!(tried.verdict("socket", &[16, 3, protocol]), refused(Answer::NoSuchFamily), "{protocol}");
        }
        assert_eq!(tried.verdict("socket", &[2, 1, 6]), ALLOW);
        assert_eq!(tried.verdict("socket", &[16, 3, 1 << 32]), ALLOW, "the kernel looks at the lower half");
    });
}

#[test]
fn a_process_keeps_its_personality() {
    on_each(&[], |tried| {
        for allowed in [0, 8, 0x20000, 0x20008, 0xFFFF_FFFF] {
            assert_eq!(tried.verdict("personality", &[allowed]), ALLOW, "{allowed:x}");
        }
        for refused_one in [0x40000, 0x0400_0000, 6, 0x0020_0000] {
            let expected = refused(Answer::NotPermitted);
            assert_eq!(tried.verdict("personality", &[refused_one]), expected, "{refused_one:x}");
        }
    });
}

#[test]
fn terminals_and_consoles() {
    on_each(&[], |tried| {
        // TIOCSTI, TIOCLINUX, TIOCCONS, TIOCSETD; KDSETMODE, KDSKBENT; VT_ACTIVATE, VT_DISALLOCATE.
        for request in [0x5412, 0x541C, 0x541D, 0x5423, 0x4B3A, 0x4B47, 0x5606, 0x5608] {
            for upper in [0, 1 << 32, u64::from(u32::MAX) << 32] {
                assert_eq!(tried.verdict("ioctl", &[0, request | upper]), refused(Answer::NotPermitted), "{request:x}");
            }
        }
        // TCGETS, TIOCGWINSZ, TIOCGPGRP, FIONREAD; and a camera's VIDIOC_QUERYCAP, which has a direction.
        for request in [0x5401, 0x5413, 0x540F, 0x541B, 0x8068_5600] {
            assert_eq!(tried.verdict("ioctl", &[0, request]), ALLOW, "{request:x}");
        }
    });
}

#[test]
fn the_limit_on_dumps_is_not_changed_and_may_be_asked() {
    on_each(&[], |tried| {
        assert_eq!(tried.verdict("setrlimit", &[4, 0x7fff_0000]), refused(Answer::Ignored));
        assert_eq!(tried.verdict("setrlimit", &[7, 0x7fff_0000]), ALLOW, "RLIMIT_NOFILE");
        for pointer in [1, 0x7fff_0000, 1 << 32, 0x7f00_0000_0000] {
            assert_eq!(tried.verdict("prlimit64", &[0, 4, pointer, 0]), refused(Answer::Ignored), "{pointer:x}");
            assert_eq!(tried.verdict("prlimit64", &[0, 7, pointer, 0]), ALLOW);
        }
        assert_eq!(tried.verdict("prlimit64", &[0, 4, 0, 0x7fff_0000]), ALLOW);
    });
}

#[test]
fn setuid_files() {
    // open(2): O_CREAT or O_TMPFILE with O_WRONLY. O_TMPFILE has O_DIRECTORY, which is another bit on each architecture.
    let (create, temporary) = (0o101_u64, 0o20_200_001_u64);
    on_each(&[], |tried| {
        let denied: &[(&str, &[u64])] = &[
            ("fchmod", &[3, 0o4755]),
            ("fchmodat", &[0, 0, 0o4755]),
            ("openat", &[0, 0, create, 0o4755]),
            ("openat", &[0, 0, create, 0o2755]),
            ("openat", &[0, 0, temporary, 0o4755]),
            ("openat", &[0, 0, temporary, 0o2755]),
            // The kernel looks at the lower half of an argument alone.
            ("openat", &[0, 0, create | 1 << 40, 0o4755 | 1 << 63]),
            ("mknodat", &[0, 0, 0o104_755, 0]),
            ("mknodat", &[0, 0, 0o102_755, 0]),
            ("chmod", &[0, 0o4755]),
            ("open", &[0, create, 0o4755]),
            ("open", &[0, create, 0o2755]),
            ("open", &[0, temporary, 0o4755]),
            ("creat", &[0, 0o4755]),
            ("creat", &[0, 0o2755]),
            ("mknod", &[0, 0o4755, 0]),
        ];
        for (call, arguments) in denied.iter().filter(|(call, _)| tried.is(call)) {
            assert_eq!(tried.verdict(call, arguments), refused(Answer::NotPermitted), "{call} {arguments:x?}");
        }
        assert_eq!(
            verdict(tried.target, tried.programs, 452, &[0, 0, 0o7777, 0]),
            refused(Answer::NotPermitted),
            "fchmodat2"
        );
        let allowed: &[(&str, &[u64])] = &[
            ("fchmod", &[3, 0o2755]),
            ("fchmodat", &[0, 0, 0o3777]),
            ("openat", &[0, 0, create, 0o1666]),
            // Without O_CREAT and O_TMPFILE there is no mode, and whatever stands there means nothing.
            ("openat", &[0, 0, 0, u64::MAX]),
            ("openat", &[0, 0, 0o200_000, u64::MAX]),
            ("openat", &[0, 0, 0o40_000, u64::MAX]),
            ("mknodat", &[0, 0, 0o100_666, u64::MAX]),
            ("mkdirat", &[0, 0, 0o6755]),
            ("chmod", &[0, 0o2755]),
            ("open", &[0, 0, u64::MAX]),
            ("creat", &[0, 0o755]),
        ];
        for (call, arguments) in allowed.iter().filter(|(call, _)| tried.is(call)) {
            assert_eq!(tried.verdict(call, arguments), ALLOW, "{call} {arguments:x?}");
        }
    });
}

/// What every program needs, and what debuggers, shells and language runtimes do.
#[test]
fn tools_keep_what_they_need() {
    on_each(&[], |tried| {
        for call in [
            "read",
            "write",
            "close",
            "mmap",
            "execve",
            "exit_group",
            "wait4",
            "futex",
            "ptrace",
            "prctl",
            "statx",
            "getrandom",
            "memfd_create",
            "inotify_init1",
            "sched_setaffinity",
            "setrlimit",
            "prlimit64",
            "kill",
            "tgkill",
            "process_vm_readv",
            "seccomp",
            "landlock_create_ruleset",
            "flock",
            "renameat2",
            "copy_file_range",
            "epoll_create1",
            "signalfd4",
            "timerfd_create",
            "pidfd_open",
            "membarrier",
            "rseq",
            "setpgid",
            "setsid",
        ] {
            assert_eq!(tried.verdict(call, &[]), ALLOW, "{call}");
        }
    });
}

#[test]
fn only_the_ancestors_seem_alive_and_only_to_signal_0() {
    on_each(&[4242, 77], |tried| {
        // Success without an effect.
        let alive = libc::SECCOMP_RET_ERRNO;
        for (pid, signal, expected) in [
            (4242, 0, alive),
            (77, 0, alive),
            // The upper half of a register is not part of a process's number.
            (77 + (1 << 32), 1 << 32, alive),
            (78, 0, ALLOW),
            (4242, 15, ALLOW),
            (4242, 9, ALLOW),
            (u64::from((-4242_i32).cast_unsigned()), 0, ALLOW),
            (0, 0, ALLOW),
        ] {
            assert_eq!(tried.verdict("kill", &[pid, signal]), expected, "{pid} {signal}");
        }
    });
}

/// The very instructions, for a reviewer and for the architecture that this is not run on. `COCO_BLESS=1` writes them anew.
#[test]
fn the_programs_of_both_architectures() {
    for (target, name) in TARGETS.into_iter().zip(["x86_64", "aarch64"]) {
        let mut text = String::new();
        for (program, what) in
            programs_for(target, &[]).unwrap().iter().zip(["absent", "not permitted", "no such family", "ignored"])
        {
            writeln!(text, "# {what}: code jump-true jump-false value").unwrap();
            for sock_filter { code, jt, jf, k } in program {
                writeln!(text, "{code:02x} {jt} {jf} {k:x}").unwrap();
            }
        }
        crate::plan::golden::compare(&format!("seccomp-{name}"), &text);
    }
}
