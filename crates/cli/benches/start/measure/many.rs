//! What the tasks that are there already cost a new one.

use std::{path::Path, process::Command, time::Instant};

use serde_json::Value;

use super::{id, timed};
use crate::{
    failure::Failure,
    figure::{Figure, Goal, Samples, Unit},
    place::{Place, finish},
    repository,
    task::{Task, wait_until_gone},
};

/// Starts and listings beside many tasks, ended but kept, and beside one.
#[derive(Debug)]
pub(crate) struct Many;

/// Files of the repository: what counts here is the number of tasks.
const FILES: u32 = 100;
/// Tasks that are made at once.
const AT_ONCE: u32 = 4;

/// One of the two places, and what was measured in it.
struct Beside {
    place: Place,
    starts: Samples,
    listings: Samples,
}

impl Many {
    /// Measures `count` starts beside `tasks` tasks and as many beside one,
    /// in places of their own below `folder`.
    pub(crate) fn measure(folder: &Path, tasks: u32, count: u32) -> Result<Vec<Figure>, Failure> {
        let mut many = Beside::tasks(folder, tasks)?;
        let mut one = Beside::tasks(folder, 1)?;
        for _ in 0..count {
            one.sample()?;
            many.sample()?;
        }
        one.place.clear()?;
        many.place.clear()?;
        let ms = Unit::Milliseconds;
        let run = "`stockade run --detach` beside many ended tasks";
        Ok(vec![
            Figure::new(run, ms, many.starts)
                .against("beside one", one.starts)
                .held_to(&[Goal::Ratio(1.5)]),
            Figure::new("`stockade ls` of many ended tasks", ms, many.listings)
                .against("of one", one.listings),
        ])
    }
}

impl Beside {
    /// A place with so many tasks.
    fn tasks(folder: &Path, tasks: u32) -> Result<Self, Failure> {
        let place = Place::new(folder, None)?;
        repository::make(&place, FILES)?;
        // The first one makes the base tree.
        finish(run(&place))?;
        let mut left = tasks.saturating_sub(1);
        while left > 0 {
            let now = left.min(AT_ONCE);
            at_once((0..now).map(|_| run(&place)))?;
            left -= now;
        }
        wait_until_gone(&place.state())?;
        place.sync()?;
        Ok(Self {
            place,
            starts: Samples::default(),
            listings: Samples::default(),
        })
    }

    /// Starts one task more, and takes it away again.
    fn sample(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let task: Value = self.place.answer(&["run", "--detach", "--", "true"])?;
        self.starts.push_time(started.elapsed());
        let id = id(&task)?;
        Task::new(&self.place, id).wait_until_gone()?;
        self.listings
            .push_time(timed(self.place.stockade(&["ls"]))?);
        finish(self.place.stockade(&["rm", id])).map(drop)
    }
}

fn run(place: &Place) -> Command {
    place.stockade(&["run", "--detach", "--", "true"])
}

/// Runs programs at the same time.
fn at_once(commands: impl Iterator<Item = Command>) -> Result<(), Failure> {
    std::thread::scope(|scope| {
        let started: Vec<_> = commands
            .map(|command| scope.spawn(|| finish(command)))
            .collect();
        started
            .into_iter()
            .try_for_each(|program| match program.join() {
                Ok(ended) => ended.map(drop),
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })
}
