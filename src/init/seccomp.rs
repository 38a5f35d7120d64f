//! coco's own seccomp filter, beside the engine's. It refuses calls that no tool needs and that an engine lets through, and
//! it gives one answer that a tool needs and that its own PID namespace can't give.
//!
//! A filter is inherited by every process and can't be removed (seccomp(2)). It sees numbers, and not what pointers point
//! to. So a call whose numbers are behind a pointer is absent as a whole; programs have another one for the same.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};

use super::Refusal;

/// What the bits of an argument of a call must be. Only the lower half of an argument is compared: the kernel uses no more
/// of these, so a set bit in the upper half must not hide one.
#[derive(Debug, Clone, Copy)]
struct Condition {
    argument: u8,
    mask: u32,
    value: u32,
}

/// All of these bits are set.
const fn has(argument: u8, bits: u32) -> Condition {
    Condition { argument, mask: bits, value: bits }
}

/// It is this number.
const fn is(argument: u8, value: u32) -> Condition {
    Condition { argument, mask: u32::MAX, value }
}

/// A call's number, and conditions that must all hold. Without conditions it is the whole call.
type Row = (libc::c_long, &'static [Condition]);

// chmod(2), inode(7): a program with these bits runs as the file's owner or group.
const SETUID: u32 = libc::S_ISUID;
const SETGID: u32 = libc::S_ISGID;
/// open(2) reads its mode only with one of these two flags. Without them the argument can be anything.
const CREATE: u32 = libc::O_CREAT.cast_unsigned();
const TEMPORARY: u32 = (libc::O_TMPFILE & !libc::O_DIRECTORY).cast_unsigned();
/// ioctl_tty(2): type into the terminal [CVE-2017-5226], and paste on a console.
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541C;
/// New in Linux 6.6, with the same number everywhere. Not every C library's table has it.
const SYS_FCHMODAT2: libc::c_long = 452;

/// What is forbidden: files that run with their owner's rights, and typing into a terminal. The group's bit is allowed in
/// chmod alone, because shared repositories set it on directories.
const FORBIDDEN: &[Row] = &[
    (libc::SYS_fchmod, &[has(1, SETUID)]),
    (libc::SYS_fchmodat, &[has(2, SETUID)]),
    (SYS_FCHMODAT2, &[has(2, SETUID)]),
    (libc::SYS_openat, &[has(2, CREATE), has(3, SETUID)]),
    (libc::SYS_openat, &[has(2, CREATE), has(3, SETGID)]),
    (libc::SYS_openat, &[has(2, TEMPORARY), has(3, SETUID)]),
    (libc::SYS_openat, &[has(2, TEMPORARY), has(3, SETGID)]),
    (libc::SYS_mknodat, &[has(2, SETUID)]),
    (libc::SYS_mknodat, &[has(2, SETGID)]),
    (libc::SYS_ioctl, &[is(1, TIOCSTI)]),
    (libc::SYS_ioctl, &[is(1, TIOCLINUX)]),
];

/// The older calls for the same, which newer architectures don't have.
#[cfg(target_arch = "x86_64")]
const FORBIDDEN_OLDER: &[Row] = &[
    (libc::SYS_chmod, &[has(1, SETUID)]),
    (libc::SYS_open, &[has(1, CREATE), has(2, SETUID)]),
    (libc::SYS_open, &[has(1, CREATE), has(2, SETGID)]),
    (libc::SYS_open, &[has(1, TEMPORARY), has(2, SETUID)]),
    (libc::SYS_open, &[has(1, TEMPORARY), has(2, SETGID)]),
    (libc::SYS_creat, &[has(1, SETUID)]),
    (libc::SYS_creat, &[has(1, SETGID)]),
    (libc::SYS_mknod, &[has(1, SETUID)]),
    (libc::SYS_mknod, &[has(1, SETGID)]),
];
#[cfg(not(target_arch = "x86_64"))]
const FORBIDDEN_OLDER: &[Row] = &[];

/// What does not exist in the sandbox: the mode of openat2 is behind a pointer, and io_uring makes calls that no filter
/// sees.
const ABSENT: &[Row] = &[
    (libc::SYS_openat2, &[]),
    (libc::SYS_io_uring_setup, &[]),
    (libc::SYS_io_uring_enter, &[]),
    (libc::SYS_io_uring_register, &[]),
];

/// The bit of a second set of numbers on x86_64, for the same calls (x32). Nothing is built for it, and the rows above
/// don't name it.
const X32: u32 = 0x4000_0000;

/// Applies the filter to this thread and to all that it starts. `ancestors` are processes outside that seem to be alive:
/// language servers check again and again for the editor that started them, and end when it is gone.
pub fn apply(ancestors: &[u32]) -> Result<(), Refusal> {
    let not_applied = |error: seccompiler::Error| {
        Refusal::new(
            format!("coco's own seccomp filter can't be applied: {error}"),
            "coco needs a kernel with CONFIG_SECCOMP_FILTER, on x86_64 or aarch64",
        )
    };
    for program in programs(ancestors).map_err(|error| not_applied(error.into()))? {
        apply_filter(&program).map_err(not_applied)?;
    }
    Ok(())
}

/// One filter program for each answer.
fn programs(ancestors: &[u32]) -> Result<Vec<BpfProgram>, BackendError> {
    let mut absent = program(ABSENT.iter().copied(), libc::ENOSYS)?;
    if cfg!(target_arch = "x86_64") {
        absent.splice(..0, without_x32());
    }
    let forbidden = program(FORBIDDEN.iter().chain(FORBIDDEN_OLDER).copied(), libc::EPERM)?;
    let mut programs = vec![absent, forbidden];
    if !ancestors.is_empty() {
        programs.push(answer_alive(ancestors)?);
    }
    Ok(programs)
}

fn program(rows: impl Iterator<Item = Row>, error: libc::c_int) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (call, conditions) in rows {
        let alternatives = rules.entry(call).or_default();
        if !conditions.is_empty() {
            alternatives.push(rule(conditions)?);
        }
    }
    compile(rules, error.cast_unsigned())
}

/// kill(2) with signal 0 asks whether a process is alive. For these it succeeds, and does nothing.
fn answer_alive(ancestors: &[u32]) -> Result<BpfProgram, BackendError> {
    let rules = ancestors.iter().map(|pid| rule(&[is(0, *pid), is(1, 0)])).collect::<Result<_, _>>()?;
    compile(BTreeMap::from([(libc::SYS_kill, rules)]), 0)
}

fn rule(conditions: &[Condition]) -> Result<SeccompRule, BackendError> {
    let conditions = conditions.iter().map(|Condition { argument, mask, value }| {
        let operator = SeccompCmpOp::MaskedEq((*mask).into());
        SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, operator, (*value).into())
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

/// What matches ends with this error number; 0 is success without an effect. A program of another architecture, as a
/// 32-bit one on x86_64, is killed at its first call: its numbers mean other calls.
fn compile(rules: BTreeMap<i64, Vec<SeccompRule>>, error: u32) -> Result<BpfProgram, BackendError> {
    let target = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(error), target)?.try_into()
}

/// Loads the call's number; ENOSYS if the bit is set. They only jump forward, so that they can be put before a whole
/// program.
fn without_x32() -> [sock_filter; 3] {
    let instruction = |code: u32, jf: u8, k: u32| sock_filter { code: u16::try_from(code).unwrap_or(0), jt: 0, jf, k };
    [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 1, X32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    /// What the kernel would do: the action of the first program that is not to allow.
    fn verdict(programs: &[BpfProgram], call: i64, arguments: &[u64]) -> u32 {
        let actions = programs.iter().map(|program| interpret(program, call, arguments));
        actions.into_iter().find(|action| *action != ALLOW).unwrap_or(ALLOW)
    }

    /// The few instructions that there are, over `struct seccomp_data` (seccomp(2)).
    fn interpret(program: &BpfProgram, call: i64, arguments: &[u64]) -> u32 {
        let architecture: u32 = if cfg!(target_arch = "x86_64") { 0xC000_003E } else { 0xC000_00B7 };
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
                0x45 => at += jump(accumulator & k != 0),
                0x06 => return k,
                other => panic!("an instruction that is not known here: {other:#x}"),
            }
        }
    }

    fn refused(error: libc::c_int) -> u32 {
        libc::SECCOMP_RET_ERRNO | error.cast_unsigned()
    }

    #[test]
    fn setuid_files() {
        let programs = programs(&[]).unwrap();
        let [create, temporary] =
            [libc::O_CREAT, libc::O_TMPFILE].map(|flags| u64::from((flags | libc::O_WRONLY).cast_unsigned()));
        let denied: &[(i64, &[u64])] = &[
            (libc::SYS_fchmod, &[3, 0o4755]),
            (libc::SYS_fchmodat, &[0, 0, 0o4755]),
            (SYS_FCHMODAT2, &[0, 0, 0o7777, 0]),
            (libc::SYS_openat, &[0, 0, create, 0o4755]),
            (libc::SYS_openat, &[0, 0, create, 0o2755]),
            (libc::SYS_openat, &[0, 0, temporary, 0o4755]),
            (libc::SYS_openat, &[0, 0, temporary, 0o2755]),
            // The kernel looks at the lower half of an argument alone.
            (libc::SYS_openat, &[0, 0, create | 1 << 40, 0o4755 | 1 << 63]),
            (libc::SYS_mknodat, &[0, 0, 0o104_755, 0]),
            (libc::SYS_mknodat, &[0, 0, 0o102_755, 0]),
        ];
        for (call, arguments) in denied {
            assert_eq!(verdict(&programs, *call, arguments), refused(libc::EPERM), "{call} {arguments:x?}");
        }
        let allowed: &[(i64, &[u64])] = &[
            (libc::SYS_fchmod, &[3, 0o2755]),
            (libc::SYS_fchmodat, &[0, 0, 0o3777]),
            (SYS_FCHMODAT2, &[0, 0, 0o755, 0]),
            (libc::SYS_openat, &[0, 0, create, 0o1666]),
            // Without O_CREAT and O_TMPFILE there is no mode, and whatever stands there means nothing.
            (libc::SYS_openat, &[0, 0, 0, u64::MAX]),
            (libc::SYS_openat, &[0, 0, libc::O_DIRECTORY.cast_unsigned().into(), u64::MAX]),
            (libc::SYS_mknodat, &[0, 0, 0o100_666, u64::MAX]),
            (libc::SYS_mkdirat, &[0, 0, 0o6755]),
        ];
        for (call, arguments) in allowed {
            assert_eq!(verdict(&programs, *call, arguments), ALLOW, "{call} {arguments:x?}");
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn setuid_files_by_the_older_calls_and_numbers() {
        let programs = programs(&[]).unwrap();
        let [create, temporary] = [libc::O_CREAT, libc::O_TMPFILE].map(|flags| u64::from(flags.cast_unsigned()));
        let denied: &[(i64, &[u64])] = &[
            (libc::SYS_chmod, &[0, 0o4755]),
            (libc::SYS_open, &[0, create, 0o4755]),
            (libc::SYS_open, &[0, create, 0o2755]),
            (libc::SYS_open, &[0, temporary, 0o4755]),
            (libc::SYS_creat, &[0, 0o4755]),
            (libc::SYS_creat, &[0, 0o2755]),
            (libc::SYS_mknod, &[0, 0o4755, 0]),
        ];
        for (call, arguments) in denied {
            assert_eq!(verdict(&programs, *call, arguments), refused(libc::EPERM), "{call} {arguments:x?}");
            let x32 = i64::from(X32) | call;
            assert_eq!(verdict(&programs, x32, arguments), refused(libc::ENOSYS), "{call} {arguments:x?}");
        }
        let allowed: &[(i64, &[u64])] =
            &[(libc::SYS_chmod, &[0, 0o2755]), (libc::SYS_open, &[0, 0, u64::MAX]), (libc::SYS_creat, &[0, 0o755])];
        for (call, arguments) in allowed {
            assert_eq!(verdict(&programs, *call, arguments), ALLOW, "{call} {arguments:x?}");
        }
    }

    #[test]
    fn terminals_and_absent_calls() {
        let programs = programs(&[]).unwrap();
        for request in [0x5412, 0x541C, 0x5412 | 1 << 32] {
            assert_eq!(verdict(&programs, libc::SYS_ioctl, &[0, request]), refused(libc::EPERM), "{request:x}");
        }
        assert_eq!(verdict(&programs, libc::SYS_ioctl, &[0, 0x5413]), ALLOW);
        for (call, _) in ABSENT {
            assert_eq!(verdict(&programs, *call, &[]), refused(libc::ENOSYS), "{call}");
        }
        for call in [libc::SYS_read, libc::SYS_write, libc::SYS_kill, libc::SYS_execve] {
            assert_eq!(verdict(&programs, call, &[1, 0, 0]), ALLOW, "{call}");
        }
    }

    #[test]
    fn only_the_ancestors_seem_alive_and_only_to_signal_0() {
        let programs = programs(&[4242, 77]).unwrap();
        let alive = refused(0);
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
            assert_eq!(verdict(&programs, libc::SYS_kill, &[pid, signal]), expected, "{pid} {signal}");
        }
    }
}
