//! What is said of each probe in the end.

use serde::Serialize;

use crate::class::Class;

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// What must fail failed; or, of what programs need, it worked.
    Held,
    /// It did not.
    Escaped,
    /// Nothing can be said, for a reason that is given.
    Skipped,
}

/// What shows an escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Witness {
    /// The host, which is not as it was.
    Host,
    /// What the probe could do or see inside.
    Inside,
}

/// What is said of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Its number.
    pub id: u16,
    /// Its class.
    pub class: Class,
    /// What is tried.
    pub title: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// Why that is said.
    pub reason: String,
    /// What showed the escape, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness: Option<Witness>,
}

/// The verdicts on one target.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was attacked.
    pub target: String,
    /// Every probe that was asked for.
    pub probes: Vec<Verdict>,
    /// What programs need and must go on working: held where it works.
    pub needs: Vec<Verdict>,
}

impl Report {
    /// How many probes ended in `outcome`.
    pub fn count(&self, outcome: Outcome) -> usize {
        let probes = self.probes.iter();
        probes.filter(|verdict| verdict.outcome == outcome).count()
    }

    /// What programs need and does not work.
    pub fn broken(&self) -> usize {
        let needs = self.needs.iter();
        needs
            .filter(|verdict| verdict.outcome == Outcome::Escaped)
            .count()
    }
}
