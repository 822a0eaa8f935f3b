//! The examples of rules: commands, or effects where no command has them.

use stockade_types::{Confidence, Effect, Mark, Reversible};

use super::{Policy, Problem, Rule};
use crate::{Surroundings, effects_of_text};

/// What begins an example that is an effect and no command.
const EFFECT: &str = "effect ";

/// The examples of `rule` that it does not do as it says.
pub(super) fn problems(policy: &Policy, rule: &Rule) -> Vec<Problem> {
    let wanted = rule.matches.iter().map(|example| (example, true));
    let unwanted = rule.not_matches.iter().map(|example| (example, false));
    let mut problems = Vec::new();
    for (example, expected) in wanted.chain(unwanted) {
        let found = effects(example).and_then(|effects| {
            let mut any = false;
            for effect in &effects {
                any |= policy.applies(rule, effect)?;
            }
            Ok((any, effects))
        });
        let (what, fix) = match found {
            Ok((applies, _)) if applies == expected => continue,
            Ok((_, effects)) if expected => (
                format!("{} does not apply to its example `{example}`", rule.id),
                format!("its effects are {}", listed(&effects)),
            ),
            Ok((_, effects)) => (
                format!("{} applies to `{example}`, to which it should not", rule.id),
                format!("narrow it; the effects are {}", listed(&effects)),
            ),
            Err(error) => (
                format!(
                    "the example `{example}` of {} cannot be read: {error}",
                    rule.id
                ),
                "write a command, or `effect KIND TARGET +mark`".to_owned(),
            ),
        };
        problems.push(Problem {
            file: rule.file.clone(),
            line: rule.line,
            what,
            fix,
        });
    }
    problems
}

fn listed(effects: &[Effect]) -> String {
    let texts: Vec<_> = effects
        .iter()
        .map(|effect| {
            let marks: Vec<_> = effect.marks.iter().map(|mark| format!("+{mark}")).collect();
            let marks = marks.join(" ");
            format!(
                "{} {} ({}, {}) {marks}",
                effect.kind, effect.target, effect.scope, effect.class
            )
        })
        .collect();
    texts.join(", ")
}

/// What an example would do. Commands are read as if they ran in a sandbox.
fn effects(example: &str) -> Result<Vec<Effect>, String> {
    let Some(text) = example.strip_prefix(EFFECT) else {
        let around = Surroundings::inside("/workspace/app");
        return Ok(effects_of_text(&example.replace("\\n", "\n"), &around));
    };
    let mut words = text.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let mut effect = Effect::new(kind.parse().map_err(|error| format!("{error}"))?, "example");
    for word in words {
        if let Some(mark) = word.strip_prefix('+') {
            let mark: Mark = mark.parse().map_err(|error| format!("{error}"))?;
            effect = effect.marked([mark]);
        } else if word == "outward" {
            effect.outward = true;
        } else if word == "guessed" {
            effect = effect.known(Confidence::Guessed);
        } else if word == "irreversible" {
            effect.reversible = Reversible::No;
        } else {
            effect = effect.on(word);
        }
    }
    Ok(vec![effect])
}
