//! The built-in plays.

use crate::script::{Script, ScriptError};

/// The names of the built-in scripts.
pub const NAMES: &[&str] = &["fix", "hostile"];

/// The script of that name, if there is one built in.
pub fn built_in(name: &str) -> Option<Result<Script, ScriptError>> {
    match name {
        "fix" => Some(fix()),
        "hostile" => Some(hostile()),
        _ => None,
    }
}

/// An honest agent: tests, reads, corrects, tests and commits. It fits the
/// [demo repository](crate::demo_repository) and needs no variables.
pub fn fix() -> Result<Script, ScriptError> {
    Script::parse("the built-in script `fix`", include_str!("fix.json"))
}

/// A hijacked agent: tries everything that must not work, then leaves a
/// process behind and spends without end. Its variables are those of
/// [`Trap::variables`](crate::trap::Trap::variables).
///
/// What an attempt printed is judged by its `expect`; what it did is seen
/// from outside, by [`Trap::findings`](crate::trap::Trap::findings).
pub fn hostile() -> Result<Script, ScriptError> {
    Script::parse(
        "the built-in script `hostile`",
        include_str!("hostile.json"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_script_parses_under_its_own_name() {
        for name in NAMES {
            assert_eq!(built_in(name).unwrap().unwrap().name(), *name);
        }
        assert!(built_in("other").is_none());
    }

    #[test]
    fn no_text_that_proves_success_is_spelled_in_a_command() {
        for turn in hostile().unwrap().turns() {
            if let Some(crate::script::Action::Shell(command)) = &turn.action {
                assert!(
                    turn.expect
                        .not_contains
                        .iter()
                        .all(|text| !command.contains(text)),
                    "{command}"
                );
            }
        }
    }
}
