//! What is made of samples, and what they are held against.

#[path = "../../src/commands/bench/samples.rs"]
mod samples;

use serde_json::{Value, json};

pub(crate) use self::samples::Samples;

/// What samples count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Mebibytes.
    Mebibytes,
    /// Dollars.
    Dollars,
    /// How many of them there are.
    Count,
}

impl Unit {
    /// Its short name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::Mebibytes => "MiB",
            Self::Dollars => "dollars",
            Self::Count => "of them",
        }
    }
}

/// What a figure must not exceed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// The median, in the figure's unit.
    Value(f64),
    /// The median over the peer's.
    Ratio(f64),
    /// This percentile above the peer's, in the figure's unit.
    Added(u8, f64),
}

/// Something else that was measured in the same run.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// What.
    pub(crate) name: &'static str,
    /// Its values, in the figure's unit.
    pub(crate) samples: Samples,
}

/// One measured property.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// What was done.
    pub(crate) work: &'static str,
    /// What the values count.
    pub(crate) unit: Unit,
    /// The values.
    pub(crate) samples: Samples,
    /// What it is compared to.
    pub(crate) peer: Option<Peer>,
    /// What it must reach; nothing where it is only reported.
    pub(crate) goals: Vec<Goal>,
    /// Why it was not measured.
    pub(crate) skipped: Option<String>,
}

impl Figure {
    /// A figure without peer and goals.
    pub(crate) fn new(work: &'static str, unit: Unit, samples: Samples) -> Self {
        Self {
            work,
            unit,
            samples,
            peer: None,
            goals: Vec::new(),
            skipped: None,
        }
    }

    /// A figure that could not be taken.
    pub(crate) fn skipped(work: &'static str, unit: Unit, reason: impl Into<String>) -> Self {
        Self {
            skipped: Some(reason.into()),
            ..Self::new(work, unit, Samples::default())
        }
    }

    /// Compared to `samples` of something else.
    pub(crate) fn against(mut self, name: &'static str, samples: Samples) -> Self {
        self.peer = Some(Peer { name, samples });
        self
    }

    /// Held against `goals`.
    pub(crate) fn held_to(mut self, goals: &[Goal]) -> Self {
        self.goals = goals.to_vec();
        self
    }

    /// The median over the peer's.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.ratio_at(50)
    }

    /// The percentile over the peer's.
    pub(crate) fn ratio_at(&self, percent: u8) -> Option<f64> {
        let peer = self.peer.as_ref()?.samples.percentile(percent);
        (peer > 0.0).then(|| self.samples.percentile(percent) / peer)
    }

    /// By how much the percentile is above the peer's.
    pub(crate) fn added_at(&self, percent: u8) -> Option<f64> {
        let peer = self.peer.as_ref()?.samples.percentile(percent);
        Some(self.samples.percentile(percent) - peer)
    }

    /// Whether the goal is met; `None` where that cannot be said.
    pub(crate) fn meets(&self, goal: Goal) -> Option<bool> {
        if self.skipped.is_some() || self.samples.count() == 0 {
            return None;
        }
        match goal {
            Goal::Value(most) => Some(self.samples.median() <= most),
            Goal::Ratio(most) => self.ratio().map(|ratio| ratio <= most),
            Goal::Added(percent, most) => self.added_at(percent).map(|added| added <= most),
        }
    }

    /// Everything about it.
    pub(crate) fn to_json(&self) -> Value {
        let goals: Vec<Value> = self
            .goals
            .iter()
            .map(|goal| {
                let (of, most) = match goal {
                    Goal::Value(most) => ("median".to_owned(), most),
                    Goal::Ratio(most) => ("ratio".to_owned(), most),
                    Goal::Added(percent, most) => (format!("added at p{percent}"), most),
                };
                json!({ "of": of, "at_most": most, "met": self.meets(*goal) })
            })
            .collect();
        let peer = self
            .peer
            .as_ref()
            .map(|peer| json!({ "name": peer.name, "values": peer.samples.to_json() }));
        json!({
            "work": self.work,
            "unit": self.unit.name(),
            "values": self.samples.to_json(),
            "peer": peer,
            "ratio_of_medians": self.ratio(),
            "ratio_of_p10": self.ratio_at(10),
            "goals": goals,
            "skipped": self.skipped,
        })
    }
}
