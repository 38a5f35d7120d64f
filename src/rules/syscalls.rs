//! Which system calls no process of a sandbox may make, whatever the engine's own profile says. Data alone.
//!
//! The list is complete by itself: it has what the profiles of podman and docker block for a process without capabilities
//! (containers/common `seccomp.json`, moby `default.json`, both of 2026), and beyond them every other way into a namespace,
//! to a mount, to the caller's keys, to sockets of a kind that no tool needs, and to what a terminal does for its owner. A
//! call that is newer than the list does not exist.
//!
//! A filter sees numbers, and not what pointers point to. So a call whose flags are behind a pointer is absent as a whole;
//! programs have another one for the same.

/// A call, by its number on each architecture (`asm/unistd_64.h`, `asm-generic/unistd.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Its name, as in the manual.
    pub name: &'static str,
    /// Its number on x86_64; `None` where that has no such call.
    pub x86_64: Option<i64>,
    /// Its number on aarch64.
    pub aarch64: Option<i64>,
}

/// What an argument of a call must be for a row to hold. Only the lower half of an argument is compared: the kernel uses no
/// more of these, so a set bit in the upper half must not hide one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Argument, bits: all of these are set.
    Has(u8, u32),
    /// Argument, mask, value: the bits of the mask are these.
    Masked(u8, u32, u32),
    /// Argument, value: it is another number.
    IsNot(u8, u32),
    /// Argument: it is a pointer, and not null. Both halves of it are compared.
    IsGiven(u8),
}

/// What a call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// EPERM: programs know it from other sandboxes.
    NotPermitted,
    /// ENOSYS: programs know it from older kernels, and have another way.
    Absent,
    /// EAFNOSUPPORT: programs know it from kernels that are built without.
    NoSuchFamily,
    /// Success, and nothing is done.
    Ignored,
}

/// A call, when it is meant, and what it is answered. Without conditions it is always meant.
pub type Row = (Answer, Call, &'static [Condition]);

use Answer::{Absent, Ignored, NoSuchFamily, NotPermitted};
use Condition::{Has, IsGiven, IsNot, Masked};

const fn call(name: &'static str, x86_64: i64, aarch64: i64) -> Call {
    Call { name, x86_64: Some(x86_64), aarch64: Some(aarch64) }
}

/// A call that newer architectures do not have.
const fn older(name: &'static str, x86_64: i64) -> Call {
    Call { name, x86_64: Some(x86_64), aarch64: None }
}

/// The highest number that is known here: mseal, of Linux 6.10. What is above it is newer than this list, or x32, a second
/// set of numbers for x86_64 that nothing is built for.
pub const HIGHEST: u32 = 462;

// clone(2), unshare(2): the flags that make a new namespace. Each is a row, for a row holds when all of its bits are set.
const NEWTIME: u32 = 0x80;
const NEWNS: u32 = 0x0002_0000;
const NEWCGROUP: u32 = 0x0200_0000;
const NEWUTS: u32 = 0x0400_0000;
const NEWIPC: u32 = 0x0800_0000;
const NEWUSER: u32 = 0x1000_0000;
const NEWPID: u32 = 0x2000_0000;
const NEWNET: u32 = 0x4000_0000;

const CLONE: Call = call("clone", 56, 220);
const UNSHARE: Call = call("unshare", 272, 97);

/// Other namespaces: in one of its own a process has every capability, and none of the mounts there that protect something
/// is a mount to a rename or an unlink (rename(2), EBUSY, is about the caller's own namespace).
const NAMESPACES: &[Row] = &[
    (NotPermitted, UNSHARE, &[Has(0, NEWTIME)]),
    (NotPermitted, UNSHARE, &[Has(0, NEWNS)]),
    (NotPermitted, UNSHARE, &[Has(0, NEWCGROUP)]),
    (NotPermitted, UNSHARE, &[Has(0, NEWUTS)]),
    (NotPermitted, UNSHARE, &[Has(0, NEWIPC)]),
    (NotPermitted, UNSHARE, &[Has(0, NEWUSER)]),
    (NotPermitted, UNSHARE, &[Has(0, NEWPID)]),
    (NotPermitted, UNSHARE, &[Has(0, NEWNET)]),
    // In clone the lowest byte is a signal, and a time namespace can't be asked for.
    (NotPermitted, CLONE, &[Has(0, NEWNS)]),
    (NotPermitted, CLONE, &[Has(0, NEWCGROUP)]),
    (NotPermitted, CLONE, &[Has(0, NEWUTS)]),
    (NotPermitted, CLONE, &[Has(0, NEWIPC)]),
    (NotPermitted, CLONE, &[Has(0, NEWUSER)]),
    (NotPermitted, CLONE, &[Has(0, NEWPID)]),
    (NotPermitted, CLONE, &[Has(0, NEWNET)]),
    (Absent, call("clone3", 435, 435), &[]),
    (NotPermitted, call("setns", 308, 268), &[]),
];

/// Mounts, by the old calls and the new ones.
const MOUNTS: &[Row] = &[
    (NotPermitted, call("mount", 165, 40), &[]),
    (NotPermitted, call("umount2", 166, 39), &[]),
    (NotPermitted, call("pivot_root", 155, 41), &[]),
    (NotPermitted, call("chroot", 161, 51), &[]),
    (NotPermitted, call("open_tree", 428, 428), &[]),
    (NotPermitted, call("move_mount", 429, 429), &[]),
    (NotPermitted, call("fsopen", 430, 430), &[]),
    (NotPermitted, call("fsconfig", 431, 431), &[]),
    (NotPermitted, call("fsmount", 432, 432), &[]),
    (NotPermitted, call("fspick", 433, 433), &[]),
    (NotPermitted, call("mount_setattr", 442, 442), &[]),
];

/// The caller's keys: keyrings(7) belong to a user and a session, and to no namespace.
const KEYS: &[Row] = &[
    (Absent, call("add_key", 248, 217), &[]),
    (Absent, call("request_key", 249, 218), &[]),
    (Absent, call("keyctl", 250, 219), &[]),
];

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
/// netlink(7): addresses and routes, which the C library asks for.
const NETLINK_ROUTE: u32 = 0;

const SOCKET: Call = call("socket", 41, 198);
const SOCKETPAIR: Call = call("socketpair", 53, 199);

/// Sockets: UNIX, INET, INET6 and NETLINK_ROUTE, and no other. The host's virtual machine manager answers VSOCK, the kernel
/// itself ALG and other NETLINK protocols.
const SOCKETS: &[Row] = &[
    (NoSuchFamily, SOCKET, &[IsNot(0, AF_UNIX), IsNot(0, AF_INET), IsNot(0, AF_INET6), IsNot(0, AF_NETLINK)]),
    (NoSuchFamily, SOCKET, &[Masked(0, u32::MAX, AF_NETLINK), IsNot(2, NETLINK_ROUTE)]),
    (NoSuchFamily, SOCKETPAIR, &[IsNot(0, AF_UNIX)]),
];

/// The kernel's log, its clock, its modules, its programs, and whatever else is the machine's and not a process's own.
const MACHINE: &[Row] = &[
    (NotPermitted, call("syslog", 103, 116), &[]),
    (NotPermitted, call("reboot", 169, 142), &[]),
    (NotPermitted, call("adjtimex", 159, 171), &[]),
    (NotPermitted, call("clock_adjtime", 305, 266), &[]),
    (NotPermitted, call("clock_settime", 227, 112), &[]),
    (NotPermitted, call("settimeofday", 164, 170), &[]),
    (NotPermitted, call("acct", 163, 89), &[]),
    (NotPermitted, call("bpf", 321, 280), &[]),
    (NotPermitted, older("create_module", 174), &[]),
    (NotPermitted, call("init_module", 175, 105), &[]),
    (NotPermitted, call("finit_module", 313, 273), &[]),
    (NotPermitted, call("delete_module", 176, 106), &[]),
    (NotPermitted, older("get_kernel_syms", 177), &[]),
    (NotPermitted, older("query_module", 178), &[]),
    (NotPermitted, older("ioperm", 173), &[]),
    (NotPermitted, older("iopl", 172), &[]),
    (NotPermitted, call("kexec_load", 246, 104), &[]),
    (NotPermitted, call("kexec_file_load", 320, 294), &[]),
    (NotPermitted, call("lookup_dcookie", 212, 18), &[]),
    (NotPermitted, call("nfsservctl", 180, 42), &[]),
    (NotPermitted, call("perf_event_open", 298, 241), &[]),
    (NotPermitted, call("fanotify_init", 300, 262), &[]),
    (NotPermitted, call("fanotify_mark", 301, 263), &[]),
    (NotPermitted, call("quotactl", 179, 60), &[]),
    (NotPermitted, call("quotactl_fd", 443, 443), &[]),
    (NotPermitted, call("sethostname", 170, 161), &[]),
    (NotPermitted, call("setdomainname", 171, 162), &[]),
    (NotPermitted, call("swapon", 167, 224), &[]),
    (NotPermitted, call("swapoff", 168, 225), &[]),
    (NotPermitted, older("sysfs", 139), &[]),
    (NotPermitted, older("_sysctl", 156), &[]),
    (NotPermitted, older("uselib", 134), &[]),
    (NotPermitted, older("ustat", 136), &[]),
    (NotPermitted, call("vhangup", 153, 58), &[]),
    (NotPermitted, call("open_by_handle_at", 304, 265), &[]),
    // A handle names a file on any mount of its file system. Programs that ask for one go by the path instead.
    (Absent, call("name_to_handle_at", 303, 264), &[]),
    (NotPermitted, call("lsm_get_self_attr", 459, 459), &[]),
    (NotPermitted, call("lsm_set_self_attr", 460, 460), &[]),
    (NotPermitted, call("lsm_list_modules", 461, 461), &[]),
];

// personality(2): the usual one, the same with 32-bit addresses, uname's older version with each, and the question.
const PER_LINUX: u32 = 0;
const PER_LINUX32: u32 = 8;
const UNAME26: u32 = 0x0002_0000;
const UNAME26_32: u32 = 0x0002_0008;
const QUESTION: u32 = u32::MAX;

/// Other processes' memory and placement, and what kernels are attacked by.
const PROCESSES: &[Row] = &[
    (NotPermitted, call("kcmp", 312, 272), &[]),
    (NotPermitted, call("pidfd_getfd", 438, 438), &[]),
    (NotPermitted, call("process_madvise", 440, 440), &[]),
    (NotPermitted, call("move_pages", 279, 239), &[]),
    (NotPermitted, call("migrate_pages", 256, 238), &[]),
    (NotPermitted, call("mbind", 237, 235), &[]),
    (NotPermitted, call("get_mempolicy", 239, 236), &[]),
    (NotPermitted, call("set_mempolicy", 238, 237), &[]),
    (NotPermitted, call("set_mempolicy_home_node", 450, 450), &[]),
    (NotPermitted, call("userfaultfd", 323, 282), &[]),
    (NotPermitted, call("vmsplice", 278, 75), &[]),
    (
        NotPermitted,
        call("personality", 135, 92),
        &[IsNot(0, PER_LINUX), IsNot(0, PER_LINUX32), IsNot(0, UNAME26), IsNot(0, UNAME26_32), IsNot(0, QUESTION)],
    ),
    // Its calls are seen by no filter.
    (Absent, call("io_uring_setup", 425, 425), &[]),
    (Absent, call("io_uring_enter", 426, 426), &[]),
    (Absent, call("io_uring_register", 427, 427), &[]),
];

/// getrlimit(2).
const RLIMIT_CORE: u32 = 4;

/// The limit on core dumps stays 1, at which the kernel makes none, not even for the program that `core_pattern` names; at 0
/// it starts that (core(5)). Who lowers it wants no dump and gets none.
const DUMPS: &[Row] = &[
    (Ignored, call("setrlimit", 160, 164), &[Masked(0, u32::MAX, RLIMIT_CORE)]),
    (Ignored, call("prlimit64", 302, 261), &[Masked(1, u32::MAX, RLIMIT_CORE), IsGiven(2)]),
];

const IOCTL: Call = call("ioctl", 16, 29);

/// What a terminal does for its owner (ioctl_tty(2)): it takes typed input [CVE-2017-5226], pastes, sends the console's
/// output elsewhere, loads a line discipline. And what a console does (ioctl_console(2)): keyboard, fonts, modes (`K`),
/// virtual terminals (`V`). Requests with a direction in their upper bits are other devices'.
const TERMINALS: &[Row] = &[
    (NotPermitted, IOCTL, &[Masked(1, u32::MAX, 0x5412)]), // TIOCSTI
    (NotPermitted, IOCTL, &[Masked(1, u32::MAX, 0x541C)]), // TIOCLINUX
    (NotPermitted, IOCTL, &[Masked(1, u32::MAX, 0x541D)]), // TIOCCONS
    (NotPermitted, IOCTL, &[Masked(1, u32::MAX, 0x5423)]), // TIOCSETD
    (NotPermitted, IOCTL, &[Masked(1, !0xFF, 0x4B00)]),    // KD*
    (NotPermitted, IOCTL, &[Masked(1, !0xFF, 0x5600)]),    // VT*
];

// chmod(2), inode(7): a program with these bits runs as the file's owner or group.
const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
/// open(2) reads its mode only with one of these two flags. Without them the argument can be anything.
const CREATE: u32 = 0o100;
const TEMPORARY: u32 = 0o20_000_000;

const OPENAT: Call = call("openat", 257, 56);
const MKNODAT: Call = call("mknodat", 259, 33);
const OPEN: Call = older("open", 2);
const CREAT: Call = older("creat", 85);
const MKNOD: Call = older("mknod", 133);

/// Files that run with their owner's rights. The group's bit is allowed in chmod alone, because shared repositories set it
/// on directories. The mode of openat2 is behind a pointer.
const SETUID_FILES: &[Row] = &[
    (NotPermitted, call("fchmod", 91, 52), &[Has(1, SETUID)]),
    (NotPermitted, call("fchmodat", 268, 53), &[Has(2, SETUID)]),
    (NotPermitted, call("fchmodat2", 452, 452), &[Has(2, SETUID)]),
    (NotPermitted, OPENAT, &[Has(2, CREATE), Has(3, SETUID)]),
    (NotPermitted, OPENAT, &[Has(2, CREATE), Has(3, SETGID)]),
    (NotPermitted, OPENAT, &[Has(2, TEMPORARY), Has(3, SETUID)]),
    (NotPermitted, OPENAT, &[Has(2, TEMPORARY), Has(3, SETGID)]),
    (NotPermitted, MKNODAT, &[Has(2, SETUID)]),
    (NotPermitted, MKNODAT, &[Has(2, SETGID)]),
    (NotPermitted, older("chmod", 90), &[Has(1, SETUID)]),
    (NotPermitted, OPEN, &[Has(1, CREATE), Has(2, SETUID)]),
    (NotPermitted, OPEN, &[Has(1, CREATE), Has(2, SETGID)]),
    (NotPermitted, OPEN, &[Has(1, TEMPORARY), Has(2, SETUID)]),
    (NotPermitted, OPEN, &[Has(1, TEMPORARY), Has(2, SETGID)]),
    (NotPermitted, CREAT, &[Has(1, SETUID)]),
    (NotPermitted, CREAT, &[Has(1, SETGID)]),
    (NotPermitted, MKNOD, &[Has(1, SETUID)]),
    (NotPermitted, MKNOD, &[Has(1, SETGID)]),
    (Absent, call("openat2", 437, 437), &[]),
];

/// Everything that is forbidden.
pub const FORBIDDEN: &[&[Row]] =
    &[NAMESPACES, MOUNTS, KEYS, SOCKETS, MACHINE, PROCESSES, DUMPS, TERMINALS, SETUID_FILES];
