//! Measured values of one kind.

use std::time::Duration;

use serde_json::{Value, json};

/// Values in milliseconds, or in whatever the caller counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Adds a value.
    pub(crate) fn push(&mut self, value: f64) {
        let place = self.0.partition_point(|other| *other < value);
        self.0.insert(place, value);
    }

    /// Adds a time, as milliseconds.
    pub(crate) fn push_time(&mut self, time: Duration) {
        self.push(time.as_secs_f64() * 1e3);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The value that `percent` of the samples do not exceed, between two of
    /// them in proportion; zero of none.
    pub(crate) fn percentile(&self, percent: u8) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let position = last * usize::from(percent);
        let (below, rest) = (position / 100, position % 100);
        let at = |index: usize| self.0.get(index).or(self.0.last()).copied();
        let (Some(low), Some(high)) = (at(below), at(below + 1)) else {
            return 0.0;
        };
        let part = u8::try_from(rest).map_or(0.0, |rest| f64::from(rest) / 100.0);
        low + (high - low) * part
    }

    /// The middle value.
    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// All of it in figures.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "count": self.count(),
            "minimum": self.percentile(0),
            "p10": self.percentile(10),
            "median": self.median(),
            "p90": self.percentile(90),
            "maximum": self.percentile(100),
        })
    }
}
