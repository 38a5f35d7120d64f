//! coco's own seccomp filter. It refuses what `rules::syscalls` lists, whatever an engine's profile says, and it gives one
//! answer that a tool needs and that its own PID namespace can't give.
//!
//! A filter is inherited by every process and can't be removed (seccomp(2)).

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};

use super::Refusal;
use crate::rules::syscalls::{Answer, Call, Condition, FORBIDDEN, HIGHEST};

/// The calls that answer whether a process is alive.
const KILL: Call = Call { name: "kill", x86_64: Some(62), aarch64: Some(129) };

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

/// The filters of this machine's architecture.
fn programs(ancestors: &[u32]) -> Result<Vec<BpfProgram>, BackendError> {
    programs_for(TargetArch::try_from(std::env::consts::ARCH)?, ancestors)
}

/// One filter program for each answer.
fn programs_for(target: TargetArch, ancestors: &[u32]) -> Result<Vec<BpfProgram>, BackendError> {
    let mut absent = program(target, Answer::Absent)?;
    absent.splice(..0, without_newer());
    let mut programs = vec![absent];
    for answer in [Answer::NotPermitted, Answer::NoSuchFamily, Answer::Ignored] {
        programs.push(program(target, answer)?);
    }
    if !ancestors.is_empty() {
        programs.push(answer_alive(target, ancestors)?);
    }
    Ok(programs)
}

fn number(target: TargetArch, call: Call) -> Option<i64> {
    match target {
        TargetArch::x86_64 => call.x86_64,
        TargetArch::aarch64 => call.aarch64,
        // rules::syscalls has no column for it, so nothing is built for it either.
        TargetArch::riscv64 => None,
    }
}

/// The program that gives one answer.
fn program(target: TargetArch, answer: Answer) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (_, call, conditions) in FORBIDDEN.iter().copied().flatten().filter(|(own, _, _)| *own == answer) {
        let Some(call) = number(target, *call) else { continue };
        let alternatives = rules.entry(call).or_default();
        if !conditions.is_empty() {
            alternatives.push(rule(conditions)?);
        }
    }
    compile(target, rules, errno(answer))
}

fn errno(answer: Answer) -> u32 {
    let error = match answer {
        Answer::NotPermitted => libc::EPERM,
        Answer::Absent => libc::ENOSYS,
        Answer::NoSuchFamily => libc::EAFNOSUPPORT,
        Answer::Ignored => 0,
    };
    error.cast_unsigned()
}

/// kill(2) with signal 0 asks whether a process is alive. For these it succeeds, and does nothing.
fn answer_alive(target: TargetArch, ancestors: &[u32]) -> Result<BpfProgram, BackendError> {
    let is = |argument, value| Condition::Masked(argument, u32::MAX, value);
    let rules: Vec<_> = ancestors.iter().map(|pid| rule(&[is(0, *pid), is(1, 0)])).collect::<Result<_, _>>()?;
    compile(target, number(target, KILL).map(|call| (call, rules)).into_iter().collect(), 0)
}

fn rule(conditions: &[Condition]) -> Result<SeccompRule, BackendError> {
    let conditions = conditions.iter().map(|condition| {
        let lower = SeccompCmpArgLen::Dword;
        let (argument, length, operator, value) = match *condition {
            Condition::Has(argument, bits) => (argument, lower, SeccompCmpOp::MaskedEq(bits.into()), bits),
            Condition::Masked(argument, mask, value) => (argument, lower, SeccompCmpOp::MaskedEq(mask.into()), value),
            Condition::IsNot(argument, value) => (argument, lower, SeccompCmpOp::Ne, value),
            Condition::IsGiven(argument) => (argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0),
        };
        SeccompCondition::new(argument, length, operator, value.into())
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

/// What matches ends with this error number; 0 is success without an effect. A program of another architecture, as a
/// 32-bit one on x86_64, is killed at its first call: its numbers mean other calls.
fn compile(target: TargetArch, rules: BTreeMap<i64, Vec<SeccompRule>>, error: u32) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(error), target)?.try_into()
}

/// Loads the call's number; ENOSYS if it is above all that are known. They only jump forward, so that they can be put
/// before a whole program.
fn without_newer() -> [sock_filter; 3] {
    let instruction = |code: u32, jf: u8, k: u32| sock_filter { code: u16::try_from(code).unwrap_or(0), jt: 0, jf, k };
    [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, 1, HIGHEST),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | errno(Answer::Absent)),
    ]
}

#[cfg(test)]
mod tests;
