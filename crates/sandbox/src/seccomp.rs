//! The system call filter: everything is allowed but what is denied here.
//!
//! A call that this build does not know does not exist for the agent
//! (`ENOSYS`), so a kernel newer than Stockade opens nothing.

mod program;
mod table;

pub(crate) use self::program::Instruction;
use self::program::Program;
use crate::{
    error::{During, Layer, SandboxError},
    kernel,
};

/// Installs `filter` for this process and all it starts. Needs
/// `no_new_privs`, and cannot be undone.
pub(crate) fn install(filter: &[Instruction]) -> Result<(), SandboxError> {
    kernel::set_seccomp_filter(filter).during(Layer::Seccomp, "install the filter")
}

/// The filter's instructions; one that is `nested` lets programs make
/// sandboxes of their own.
pub(crate) fn filter(nested: bool) -> Vec<Instruction> {
    let mut rules = table::rules();
    if nested {
        table::allow_sandboxes(&mut rules);
    }
    Program::compile(&rules, table::NEWEST_KNOWN)
        .instructions()
        .to_vec()
}

/// The filter of a part of Stockade that is sealed.
pub(crate) fn filter_of_sealed() -> Vec<Instruction> {
    let mut rules = table::rules();
    table::seal(&mut rules);
    Program::compile(&rules, table::NEWEST_KNOWN)
        .instructions()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fmt::Write as _};

    use proptest::prelude::*;
    use syscalls::{aarch64, x86_64};

    use super::{
        program::{
            Action, Condition, Rule, Test,
            tests::{decided, told},
        },
        *,
    };

    /// What a rule says, computed from the rule itself.
    fn said(rule: &Rule, arguments: [u64; 6]) -> Action {
        let holds = |test: &Test| {
            let argument = arguments[usize::from(test.argument)] & u64::from(test.mask);
            match test.condition {
                Condition::Equals(value) => argument == u64::from(value),
                Condition::Differs(value) => argument != u64::from(value),
            }
        };
        match rule {
            Rule::Always(action) => *action,
            Rule::When(clauses, otherwise) => clauses
                .iter()
                .find(|(tests, _)| tests.iter().all(holds))
                .map_or(*otherwise, |(_, action)| *action),
        }
    }

    fn name(action: Action) -> String {
        match action {
            Action::Allow => "allowed".to_owned(),
            Action::Kill => "kills".to_owned(),
            Action::Errno(1) => "EPERM".to_owned(),
            Action::Errno(38) => "ENOSYS".to_owned(),
            Action::Errno(97) => "EAFNOSUPPORT".to_owned(),
            Action::Errno(number) => format!("errno {number}"),
        }
    }

    fn words(rule: Option<&Rule>) -> String {
        let test = |test: &Test| {
            let (sign, value) = match test.condition {
                Condition::Equals(value) => ("==", value),
                Condition::Differs(value) => ("!=", value),
            };
            format!("arg{} & {:#x} {sign} {value:#x}", test.argument, test.mask)
        };
        match rule {
            None => "allowed".to_owned(),
            Some(Rule::Always(action)) => name(*action),
            Some(Rule::When(clauses, otherwise)) => {
                let mut text = String::new();
                for (tests, action) in clauses {
                    let tests: Vec<_> = tests.iter().map(test).collect();
                    let _ = write!(text, "{} if {}; ", name(*action), tests.join(" and "));
                }
                text + "else " + &name(*otherwise)
            }
        }
    }

    /// Every call by the names of an architecture, and what the rules of this one
    /// say of the call of that name.
    fn listing(calls: impl Iterator<Item = (i32, &'static str)>) -> String {
        let rules = table::rules();
        let rules: BTreeMap<_, _> = x86_64::Sysno::iter()
            .filter_map(|call| Some((call.name(), rules.get(&u32::try_from(call.id()).ok()?)?)))
            .collect();
        let mut text = String::new();
        for (number, name) in calls {
            let is_newer = u32::try_from(number).is_ok_and(|number| number > table::NEWEST_KNOWN);
            let verdict = if is_newer {
                "ENOSYS".to_owned()
            } else {
                words(rules.get(name).copied())
            };
            let _ = writeln!(text, "{number:>4}  {name:<26}  {verdict}");
        }
        text
    }

    /// A change of the table shows as a change of what was reviewed.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn g1_each_call_is_allowed_or_refused_as_the_reviewed_listing_says() {
        let native = x86_64::Sysno::iter().map(|call| (call.id(), call.name()));
        insta::assert_snapshot!("x86_64", listing(native));
        let other = aarch64::Sysno::iter().map(|call| (call.id(), call.name()));
        insta::assert_snapshot!("aarch64", listing(other));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn g1_the_compiled_program_decides_of_every_call_what_its_rule_says(
            number in 0_u32..600,
            arguments in proptest::array::uniform6(prop_oneof![
                0_u64..20,
                Just(0xffff_ffff),
                Just(0x5412),
                Just(0x1000_0000),
                any::<u64>(),
            ]),
        ) {
            let rules = table::rules();
            let expected = match rules.get(&number) {
                _ if number > table::NEWEST_KNOWN => Action::Errno(38),
                None => Action::Allow,
                Some(rule) => said(rule, arguments),
            };
            prop_assert_eq!(decided(&filter(false), number, arguments), told(expected));
        }
    }
}
