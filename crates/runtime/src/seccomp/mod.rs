//! Which system calls a container may make, as filters for the kernel.
//!
//! A profile has a default action and rules with several others; one of seccompiler's filters
//! knows two actions. The kernel takes the strictest answer of all loaded filters, so a profile
//! becomes a filter for its default action and one for each further action.

mod default;
mod file;
mod width;

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use syscalls::Sysno;

pub use default::profile as default_profile;
pub use file::parse as parse_profile;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The file is not a profile.
    #[error("cannot parse seccomp profile: {0}")]
    Parse(#[from] serde_json::Error),
    /// It asks for something that is not supported.
    #[error("seccomp profile: unsupported {0}")]
    Unsupported(String),
    /// It cannot be turned into a filter.
    #[error("cannot compile seccomp profile: {0}")]
    Compile(#[from] seccompiler::BackendError),
}

/// What a container may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// For calls that no rule names.
    pub default: SeccompAction,
    /// For the others.
    pub rules: Vec<Rule>,
}

/// An action for one system call, if all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    call: Sysno,
    action: SeccompAction,
    conditions: Vec<Condition>,
}

/// A test of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Compiles a profile into filters, all to be loaded.
pub fn compile(profile: &Profile) -> Result<Vec<BpfProgram>, SeccompError> {
    let mut programs = Vec::new();
    let mut loaded = vec![SeccompAction::Allow];
    if profile.default != SeccompAction::Allow {
        let passing = profile.rules.iter().filter(|rule| rule.action != profile.default);
        let rules = collect(passing)?;
        programs.push(program(rules, profile.default.clone(), SeccompAction::Allow)?);
        loaded.push(profile.default.clone());
    }
    for rule in &profile.rules {
        if loaded.contains(&rule.action) {
            continue;
        }
        let same = profile.rules.iter().filter(|other| other.action == rule.action);
        programs.push(program(collect(same)?, SeccompAction::Allow, rule.action.clone())?);
        loaded.push(rule.action.clone());
    }
    Ok(programs)
}

/// Rules by number; an empty list means whatever the arguments are.
fn collect<'a>(rules: impl Iterator<Item = &'a Rule>) -> Result<Rules, SeccompError> {
    let mut collected = Rules::new();
    for rule in rules {
        let number = i64::from(rule.call.id());
        let known = collected.get(&number).map(Vec::is_empty);
        if rule.conditions.is_empty() {
            collected.insert(number, Vec::new());
        } else if known != Some(true) {
            let conditions = rule.conditions.iter().map(|it| it.compile(rule.call));
            let conditions = conditions.collect::<Result<Vec<_>, _>>()?;
            collected.entry(number).or_default().push(SeccompRule::new(conditions)?);
        }
    }
    Ok(collected)
}

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, SeccompError> {
    let target = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, otherwise, matched, target)?.try_into()?)
}

impl Condition {
    fn compile(&self, call: Sysno) -> Result<SeccompCondition, SeccompError> {
        let (operator, width) = (self.operator.clone(), width::of(call, self.argument));
        Ok(SeccompCondition::new(self.argument, width, operator, self.value)?)
    }
}

impl Rule {
    fn allow(call: Sysno) -> Self {
        Self { call, action: SeccompAction::Allow, conditions: Vec::new() }
    }

    fn when(mut self, argument: u8, operator: SeccompCmpOp, value: u64) -> Self {
        self.conditions.push(Condition { argument, operator, value });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unconditional_rule_wins_over_conditional_ones_of_the_same_action() {
        let free = Rule::allow(Sysno::personality);
        let bound = Rule::allow(Sysno::personality).when(0, SeccompCmpOp::Eq, 8);
        for rules in [[&free, &bound], [&bound, &free]] {
            let collected = collect(rules.into_iter()).unwrap();
            assert_eq!(collected.values().map(Vec::len).collect::<Vec<_>>(), [0]);
        }
    }

    #[test]
    fn a_profile_needs_a_filter_for_each_action_that_is_not_to_allow() {
        let deny = |call| Rule { action: SeccompAction::Errno(1), ..Rule::allow(call) };
        let trap = |call| Rule { action: SeccompAction::Trap, ..Rule::allow(call) };
        let rules = vec![deny(Sysno::mount), trap(Sysno::reboot), Rule::allow(Sysno::read)];
        let open = Profile { default: SeccompAction::Allow, rules: rules.clone() };
        assert_eq!(compile(&open).unwrap().len(), 2);
        let closed = Profile { default: SeccompAction::Errno(1), rules };
        assert_eq!(compile(&closed).unwrap().len(), 2);
    }

    /// What the kernel would answer: an interpreter of the few instructions that filters are made of.
    fn answer(program: &BpfProgram, call: Sysno, arguments: [u64; 6]) -> u32 {
        let arch: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        let mut data = [call.id().cast_unsigned(), arch, 0, 0].to_vec();
        data.extend(arguments.iter().flat_map(|it| [*it as u32, (*it >> 32) as u32]));
        let (mut at, mut a) = (0, 0_u32);
        loop {
            let step = &program[at];
            let jump = |taken| 1 + usize::from(if taken { step.jt } else { step.jf });
            at += match step.code {
                0x20 => (a = data[step.k as usize / 4], 1).1,
                0x54 => (a &= step.k, 1).1,
                0x05 => 1 + step.k as usize,
                0x15 => jump(a == step.k),
                0x25 => jump(a > step.k),
                0x35 => jump(a >= step.k),
                0x06 => return step.k,
                other => panic!("instruction {other:#x}"),
            };
        }
    }

    fn is_allowed(profile: &Profile, call: Sysno, first: u64) -> bool {
        const ALLOW: u32 = 0x7fff_0000;
        let arguments = [first, 1, 0, 0, 0, 0];
        compile(profile).unwrap().iter().all(|it| answer(it, call, arguments) == ALLOW)
    }

    #[test]
    fn arguments_are_compared_as_wide_as_the_kernel_takes_them() {
        let plain = default_profile(&caps::CapsHashSet::new());
        let text = br#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["socket"],
            "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]}]}"#;
        let own = parse_profile(text, &caps::CapsHashSet::new()).unwrap();
        for high in [0, 1_u64 << 32, u64::from(u32::MAX) << 32] {
            for profile in [&plain, &own] {
                assert!(!is_allowed(profile, Sysno::socket, high | 40), "{high:#x}");
                assert!(is_allowed(profile, Sysno::socket, high | 2), "{high:#x}");
            }
            assert!(is_allowed(&plain, Sysno::personality, high | 8), "{high:#x}");
            assert!(!is_allowed(&plain, Sysno::clone, high | 0x1000_0000), "{high:#x}");
        }
        // A mask of 64 bits stays one.
        assert_eq!(width::of(Sysno::mount, 3), seccompiler::SeccompCmpArgLen::Qword);
    }
}
