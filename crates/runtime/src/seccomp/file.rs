//! Profiles in files: the format of Docker and of the OCI runtime specification.

use std::str::FromStr;

use caps::{Capability, CapsHashSet};
use nix::libc;
use seccompiler::{SeccompAction, SeccompCmpOp};
use serde::Deserialize;
use syscalls::Sysno;

use super::{Condition, Profile, Rule, SeccompError};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    syscalls: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    names: Vec<String>,
    name: Option<String>,
    action: String,
    errno_ret: Option<u32>,
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Filter,
    #[serde(default)]
    excludes: Filter,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// For whom a rule is meant.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
}

/// Reads a profile for a container with these capabilities. System calls that this machine's
/// architecture does not have are left out.
pub fn parse(text: &[u8], held: &CapsHashSet) -> Result<Profile, SeccompError> {
    let file: File = serde_json::from_slice(text)?;
    let default = action(&file.default_action, file.default_errno_ret)?;
    let mut rules = Vec::new();
    for entry in file.syscalls.iter().filter(|entry| entry.is_meant_for(held)) {
        let action = action(&entry.action, entry.errno_ret)?;
        let arguments = entry.args.iter().flatten();
        let conditions = arguments.map(condition).collect::<Result<Vec<_>, _>>()?;
        let names = entry.names.iter().chain(&entry.name);
        rules.extend(names.filter_map(|name| Sysno::from_str(name).ok()).map(|call| Rule {
            call,
            action: action.clone(),
            conditions: conditions.clone(),
        }));
    }
    Ok(Profile { default, rules })
}

impl Entry {
    fn is_meant_for(&self, held: &CapsHashSet) -> bool {
        let has = |name: &String| Capability::from_str(name).is_ok_and(|cap| held.contains(&cap));
        let arch =
            |name: &String| name == if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        self.includes.caps.iter().all(has)
            && (self.includes.arches.is_empty() || self.includes.arches.iter().any(arch))
            && !self.excludes.caps.iter().any(has)
            && !self.excludes.arches.iter().any(arch)
    }
}

fn action(name: &str, errno: Option<u32>) -> Result<SeccompAction, SeccompError> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => SeccompAction::Allow,
        "SCMP_ACT_ERRNO" => SeccompAction::Errno(errno.unwrap_or(libc::EPERM as u32)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => SeccompAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => SeccompAction::KillProcess,
        "SCMP_ACT_LOG" => SeccompAction::Log,
        "SCMP_ACT_TRAP" => SeccompAction::Trap,
        "SCMP_ACT_TRACE" => SeccompAction::Trace(errno.unwrap_or(libc::EPERM as u32)),
        other => return Err(SeccompError::Unsupported(format!("action {other}"))),
    })
}

fn condition(argument: &Argument) -> Result<Condition, SeccompError> {
    let (operator, value) = match argument.op.as_str() {
        "SCMP_CMP_NE" => (SeccompCmpOp::Ne, argument.value),
        "SCMP_CMP_LT" => (SeccompCmpOp::Lt, argument.value),
        "SCMP_CMP_LE" => (SeccompCmpOp::Le, argument.value),
        "SCMP_CMP_EQ" => (SeccompCmpOp::Eq, argument.value),
        "SCMP_CMP_GE" => (SeccompCmpOp::Ge, argument.value),
        "SCMP_CMP_GT" => (SeccompCmpOp::Gt, argument.value),
        "SCMP_CMP_MASKED_EQ" => (SeccompCmpOp::MaskedEq(argument.value), argument.value_two),
        other => return Err(SeccompError::Unsupported(format!("operator {other}"))),
    };
    Ok(Condition { argument: argument.index, operator, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] =
        br#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
             "excludes": {"caps": ["CAP_SYS_ADMIN"]}}]}"#;

    #[test]
    fn rules_depend_on_capabilities_and_unknown_calls_are_left_out() {
        let plain = parse(TEXT, &CapsHashSet::new()).unwrap();
        assert!(
            plain
                .rules
                .iter()
                .any(|rule| rule.call == Sysno::mount && rule.action == SeccompAction::Errno(38))
        );
        let admin = parse(TEXT, &CapsHashSet::from([Capability::CAP_SYS_ADMIN])).unwrap();
        assert!(admin.rules.iter().all(|rule| rule.call != Sysno::mount));
        assert!(admin.rules.iter().any(|rule| rule.call == Sysno::mkdirat));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let text = br#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#;
        let error = parse(text, &CapsHashSet::new()).unwrap_err();
        assert_eq!(error.to_string(), "seccomp profile: unsupported action SCMP_ACT_NOTIFY");
    }
}
