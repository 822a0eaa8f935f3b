//! The demo, from its start to its end.

use super::timed;
use crate::{
    failure::Failure,
    figure::{Figure, Goal, Samples, Unit},
    place::Place,
};

/// `stockade demo`.
#[derive(Debug)]
pub(crate) struct Demo;

impl Demo {
    /// Measures `count` of them.
    pub(crate) fn measure(place: &Place, count: u32) -> Result<Figure, Failure> {
        let mut samples = Samples::default();
        for _ in 0..count {
            samples.push_time(timed(place.stockade(&["demo"]))?);
        }
        Ok(Figure::new("`stockade demo`", Unit::Milliseconds, samples)
            .held_to(&[Goal::Value(10_000.0)]))
    }
}
