//! A command in a sandbox that runs already.

use super::timed;
use crate::{
    failure::Failure,
    figure::{Figure, Samples, Unit},
    place::Place,
};

/// `stockade exec`, its client process included.
#[derive(Debug)]
pub(crate) struct Exec;

const WORK: &str = "`stockade exec TASK -- true` in a running sandbox";
const BWRAP: [&str; 6] = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"];

impl Exec {
    /// Measures `count` of them, each between its peers.
    pub(crate) fn measure(place: &Place, count: u32) -> Result<Vec<Figure>, Failure> {
        let task = super::idle_task(place)?;
        let (mut execs, mut spawns) = (Samples::default(), Samples::default());
        let mut bwraps = Samples::default();
        let mut missing = None;
        for _ in 0..count {
            execs.push_time(timed(place.stockade(&["exec", &task, "--", "true"]))?);
            spawns.push_time(timed(place.command("true"))?);
            if missing.is_none() {
                let mut bwrap = place.command(BWRAP[0]);
                bwrap.args(&BWRAP[1..]);
                match timed(bwrap) {
                    Ok(took) => bwraps.push_time(took),
                    Err(error) => missing = Some(error.to_string()),
                }
            }
        }
        super::stop(place, &task)?;
        let ms = Unit::Milliseconds;
        Ok(vec![
            Figure::new(WORK, ms, execs.clone()).against("true", spawns),
            match missing {
                Some(reason) => Figure::skipped("… against bwrap", ms, reason),
                None => Figure::new("… against a new sandbox of bwrap", ms, execs)
                    .against("bwrap --unshare-all --ro-bind / / true", bwraps),
            },
        ])
    }
}
