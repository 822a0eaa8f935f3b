//! What an action does, in the words that policies are written in, and what is
//! decided about it.

mod kind;
mod marks;
mod verdict;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use self::{
    kind::EffectKind,
    marks::{FileClass, Mark, Scope},
    verdict::Verdict,
};

/// Whether what was done can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reversible {
    /// Nothing is lost, or a snapshot has it.
    Yes,
    /// Another action makes up for it.
    Undo,
    /// It cannot be taken back.
    No,
}

impl Reversible {
    /// The name that policies use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Undo => "undo",
            Self::No => "no",
        }
    }
}

/// How well an effect is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Program and words were all known.
    Certain,
    /// A word was known in part only.
    Likely,
    /// What matters was not known; the worst is assumed.
    Guessed,
}

impl Confidence {
    /// The name that policies use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
            Self::Guessed => "guessed",
        }
    }
}

/// One thing that an action would do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Effect {
    /// What is done.
    pub kind: EffectKind,
    /// To what: a path, a host, a remote, a package. Empty if there is no such thing.
    pub target: String,
    /// Where the target is, if it is a file.
    pub scope: Scope,
    /// What sort of file the target is, if it is one.
    pub class: FileClass,
    /// What else matters to a rule.
    pub marks: BTreeSet<Mark>,
    /// The program that does it.
    pub program: String,
    /// Whether it can be taken back.
    pub reversible: Reversible,
    /// Whether it changes or tells something outside the machine.
    pub outward: bool,
    /// How well it is known.
    pub confidence: Confidence,
}

impl Effect {
    /// An effect of `program` with what its kind says of it.
    pub fn new(kind: EffectKind, program: impl Into<String>) -> Self {
        Self {
            kind,
            target: String::new(),
            scope: Scope::None,
            class: FileClass::Plain,
            marks: BTreeSet::new(),
            program: program.into(),
            reversible: kind.reversible(),
            outward: kind.outward(),
            confidence: Confidence::Certain,
        }
    }

    /// The same effect, on `target`.
    pub fn on(mut self, target: impl Into<String>) -> Self {
        self.target = target.into();
        self
    }

    /// The same effect, with `marks` as well.
    pub fn marked(mut self, marks: impl IntoIterator<Item = Mark>) -> Self {
        for mark in marks {
            self.marks.insert(mark);
            if mark.cannot_be_undone() {
                self.reversible = Reversible::No;
            }
        }
        self
    }

    /// The same effect, known no better than `confidence`.
    pub fn known(mut self, confidence: Confidence) -> Self {
        self.confidence = self.confidence.max(confidence);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_mark_has_a_name_of_its_own_that_reads_back() {
        let kinds: BTreeSet<_> = EffectKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(kinds.len(), EffectKind::ALL.len());
        for kind in EffectKind::ALL {
            assert_eq!(kind.name().parse::<EffectKind>().unwrap(), *kind);
            let json = serde_json::to_string(kind).unwrap();
            assert_eq!(json, format!("\"{}\"", kind.name()));
            assert_eq!(serde_json::from_str::<EffectKind>(&json).unwrap(), *kind);
        }
        let marks: BTreeSet<_> = Mark::ALL.iter().map(|mark| mark.name()).collect();
        assert_eq!(marks.len(), Mark::ALL.len());
        for mark in Mark::ALL {
            assert_eq!(mark.name().parse::<Mark>().unwrap(), *mark);
        }
        assert!("fs.eat".parse::<EffectKind>().is_err());
    }

    #[test]
    fn a_mark_makes_an_effect_worse_and_never_better() {
        let effect = Effect::new(EffectKind::VcsPush, "git");
        assert_eq!(effect.reversible, Reversible::Undo);
        let forced = effect.marked([Mark::Force]).marked([Mark::Tag]);
        assert_eq!(forced.reversible, Reversible::No);
        assert!(forced.outward);
        let guessed = forced.known(Confidence::Guessed).known(Confidence::Certain);
        assert_eq!(guessed.confidence, Confidence::Guessed);
    }
}
