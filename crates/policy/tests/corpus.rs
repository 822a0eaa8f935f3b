//! A corpus of commands, written for the ways in which others' judges were
//! talked around, and of harmless ones that look like them.

#![expect(
    clippy::unwrap_used,
    reason = "a policy that does not load fails the test"
)]

use std::collections::BTreeSet;

use stockade_policy::{Policy, Surroundings, effects_of_text};
use stockade_types::Verdict;

/// A command and what must be decided about it.
struct Case {
    line: usize,
    text: String,
    expected: Verdict,
}

/// The cases of a file: `verdict | command`, in which `⏎` is the end of a line.
fn cases(text: &str) -> Vec<Case> {
    let lines = text.lines().enumerate();
    let cases = lines.filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty());
    cases
        .map(|(number, line)| {
            let (verdict, text) = line.split_once(" | ").unwrap();
            Case {
                line: number + 1,
                text: text.replace('⏎', "\n"),
                expected: verdict.trim().parse().unwrap(),
            }
        })
        .collect()
}

#[test]
fn g4_the_corpus_is_judged_right_and_no_outward_action_is_let_through() {
    let policy = Policy::builtin().unwrap();
    let around = Surroundings::inside("/workspace/app");
    let dangerous = cases(include_str!("corpus/dangerous.txt"));
    let harmless = cases(include_str!("corpus/harmless.txt"));
    assert!(dangerous.len() >= 300, "{} dangerous", dangerous.len());
    assert!(harmless.len() >= 150, "{} harmless", harmless.len());
    let texts: BTreeSet<_> = dangerous
        .iter()
        .chain(&harmless)
        .map(|case| &case.text)
        .collect();
    assert_eq!(
        texts.len(),
        dangerous.len() + harmless.len(),
        "a command is listed twice"
    );

    let mut wrong = Vec::new();
    let mut let_through = Vec::new();
    let mut refused = Vec::new();
    for case in dangerous.iter().chain(&harmless) {
        let effects = effects_of_text(&case.text, &around);
        let decision = policy.decide(&effects);
        if decision.verdict == case.expected {
            continue;
        }
        let rules: Vec<_> = decision
            .findings
            .iter()
            .flat_map(|finding| &finding.rules)
            .collect();
        let told = format!(
            "line {}: {} is {}, not {} ({rules:?})",
            case.line, case.text, decision.verdict, case.expected
        );
        if case.expected == Verdict::Allow && decision.verdict >= Verdict::Ask {
            refused.push(told.clone());
        }
        if case.expected >= Verdict::Contain && decision.verdict == Verdict::Allow {
            let_through.push(told.clone());
        }
        wrong.push(told);
    }
    let total = dangerous.len() + harmless.len();
    let right = total - wrong.len();
    println!(
        "{right} of {total} right ({:.2} %): {} dangerous, {} harmless",
        100.0 * f64::from(u32::try_from(right).unwrap()) / f64::from(u32::try_from(total).unwrap()),
        dangerous.len(),
        harmless.len()
    );
    let told = wrong.join("\n");
    assert!(
        refused.is_empty(),
        "harmless commands are refused:\n{}",
        refused.join("\n")
    );
    assert!(
        let_through.is_empty(),
        "dangerous ones are allowed:\n{}",
        let_through.join("\n")
    );
    assert!(
        right * 100 >= total * 99,
        "only {right} of {total} right:\n{told}"
    );
}
