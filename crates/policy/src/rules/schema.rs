//! The schema of policies, made from the vocabulary itself, so that a rule can
//! name nothing that does not occur.

use std::fmt::Write;

use stockade_types::{EffectKind, FileClass, Mark, Reversible, Scope};

/// The group of everything that leaves the machine.
const OUTWARD: &str = "outward";

/// The group of everything that cannot be taken back.
const IRREVERSIBLE: &str = "irreversible";

/// The groups of actions that `kind` is in, by which rules may name it.
pub(super) fn groups(kind: EffectKind) -> Vec<&'static str> {
    let family = kind.name().split('.').next().unwrap_or_default();
    let mut groups = vec![family];
    if kind.outward() {
        groups.push(OUTWARD);
    }
    if kind.reversible() == Reversible::No {
        groups.push(IRREVERSIBLE);
    }
    // A kind that is a family of its own cannot be in itself.
    groups.retain(|group| *group != kind.name());
    groups
}

/// The schema, as people read it and Cedar takes it.
pub fn schema() -> String {
    let mut text = String::from(
        "// Who acts, and in which task.\nentity Agent;\nentity Task;\n\n// Words that a rule may compare with.\n",
    );
    words(
        &mut text,
        "Scope",
        Scope::ALL.iter().map(|word| word.name()),
    );
    words(
        &mut text,
        "FileClass",
        FileClass::ALL.iter().map(|word| word.name()),
    );
    words(&mut text, "Mark", Mark::ALL.iter().map(|word| word.name()));
    words(&mut text, "Reversible", ["yes", "undo", "no"].into_iter());
    words(
        &mut text,
        "Confidence",
        ["certain", "likely", "guessed"].into_iter(),
    );
    text.push_str(
        "\n// What is known of one effect.\ntype Effect = {\n  target: String,\n  scope: Scope,\n  class: FileClass,\n  \
         marks: Set<Mark>,\n  program: String,\n  outward: Bool,\n  reversible: Reversible,\n  confidence: Confidence,\n};\n\n\
         // Groups of actions.\n",
    );
    let mut all: Vec<_> = EffectKind::ALL
        .iter()
        .flat_map(|kind| groups(*kind))
        .collect();
    all.sort_unstable();
    all.dedup();
    for group in all {
        let _ = writeln!(text, "action \"{group}\";");
    }
    text.push_str("\n// What may be done.\n");
    for kind in EffectKind::ALL {
        let groups: Vec<_> = groups(*kind)
            .iter()
            .map(|group| format!("\"{group}\""))
            .collect();
        let member = if groups.is_empty() {
            String::new()
        } else {
            format!(" in [{}]", groups.join(", "))
        };
        let _ = writeln!(
            text,
            "action \"{kind}\"{member} appliesTo {{ principal: Agent, resource: Task, context: Effect }};"
        );
    }
    text
}

fn words(text: &mut String, name: &str, words: impl Iterator<Item = &'static str>) {
    let words: Vec<_> = words.map(|word| format!("\"{word}\"")).collect();
    let _ = writeln!(text, "entity {name} enum [{}];", words.join(", "));
}
