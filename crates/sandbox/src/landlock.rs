//! The second wall around files: even if a mount is wrong, Landlock knows
//! only these folders. It cannot replace the mounts, because it lets `stat`,
//! `chmod` and sockets by path through.

use std::path::{Path, PathBuf};

use ::landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};

use crate::{
    error::{During, Layer, SandboxError},
    layers,
    root::open_inside,
    spec::{Access, SandboxSpec, WORKSPACES},
};

/// The newest rights this build asks for; an older kernel enforces fewer.
const NEWEST: ABI = ABI::V6;

/// A folder of the root that no rule mentions. It is there to be refused.
pub(crate) const PROBE: &str = "/.landlock";

/// A folder, and what may be done below it.
pub(crate) type Rule = (PathBuf, BitFlags<AccessFs>);

/// Restricts this process and all it starts to the folders of `rules`, and
/// returns the ABI of the kernel.
pub(crate) fn restrict(rules: &[Rule]) -> Result<u32, SandboxError> {
    let abi = layers::landlock_abi()?;
    let step = |step: &'static str| {
        move |error: ::landlock::RulesetError| SandboxError {
            layer: Layer::Landlock,
            step: step.to_owned(),
            cause: error.to_string(),
        }
    };
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .map_err(step("make the rules"))?;
    for (path, rights) in rules {
        // A folder that this sandbox does not have needs no rule.
        let Ok(folder) = open_inside(path) else {
            continue;
        };
        ruleset = ruleset
            .add_rule(PathBeneath::new(folder, *rights))
            .map_err(step("add a rule"))?;
    }
    let status = ruleset.restrict_self().map_err(step("enforce the rules"))?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(std::io::Error::other("the kernel ignored them"))
            .during(Layer::Landlock, "enforce the rules");
    }
    Ok(abi)
}

/// The rules for the folders of `spec`.
pub(crate) fn rules(spec: &SandboxSpec) -> Vec<Rule> {
    let all = AccessFs::from_all(NEWEST);
    let read = AccessFs::from_read(NEWEST);
    let device = read | AccessFs::WriteFile | AccessFs::IoctlDev | AccessFs::Truncate;
    let fixed = [
        (WORKSPACES, all),
        ("/tmp", all),
        ("/var/tmp", all),
        ("/dev", device),
        ("/dev/shm", all),
        // Threads write their own `comm`, `oom_score_adj` and the like.
        ("/proc", read | AccessFs::WriteFile),
        ("/etc", read),
        ("/", AccessFs::ReadDir.into()),
    ];
    let fixed = fixed
        .into_iter()
        .map(|(path, rights)| (PathBuf::from(path), rights));
    let granted = spec.grants.iter().map(|grant| {
        let rights = match grant.access {
            Access::ReadOnly => read,
            Access::ReadWrite => all,
        };
        (grant.target.clone(), rights)
    });
    let clients = spec.clients.iter().map(|path| (path.clone(), read));
    needed(fixed.chain(granted).chain(clients).collect())
}

/// Without the rules below others that allow at least as much: each costs every
/// sandbox several system calls.
fn needed(rules: Vec<Rule>) -> Vec<Rule> {
    let all = rules.clone();
    let covers = |(above, more): &Rule, (path, rights): &Rule| {
        path != above && path.starts_with(above) && more.contains(*rights)
    };
    let kept = rules.into_iter();
    kept.filter(|rule| !all.iter().any(|other| covers(other, rule)))
        .collect()
}

/// Whether a file that everybody may read is refused, which only Landlock
/// does here.
pub(crate) fn holds() -> bool {
    let refused = std::fs::read(Path::new(PROBE).join("file"));
    refused.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_needs_no_rule_below_one_that_allows_as_much() {
        let read = AccessFs::from_read(NEWEST);
        let all = AccessFs::from_all(NEWEST);
        let rule = |path: &str, rights| (PathBuf::from(path), rights);
        let rules = vec![
            rule("/", AccessFs::ReadDir.into()),
            rule("/etc", read),
            rule("/etc/passwd", read),
            rule("/etc/state", all),
            rule("/etcetera", read),
            rule("/usr", read),
        ];
        let kept: Vec<_> = needed(rules).into_iter().map(|(path, _)| path).collect();
        let expected = ["/", "/etc", "/etc/state", "/etcetera", "/usr"];
        assert_eq!(kept, expected.map(PathBuf::from));
    }
}
