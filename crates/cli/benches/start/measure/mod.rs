//! The figures.

mod demo;
mod exec;
mod first;
mod memory;
mod rounds;

pub(crate) use self::{
    demo::Demo,
    exec::Exec,
    memory::Memory,
    rounds::{Round, Rounds},
};

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    failure::Failure,
    place::{Place, finish},
    task::Task,
};

/// How long a program takes from its start to its end.
fn timed(command: Command) -> Result<Duration, Failure> {
    let started = Instant::now();
    finish(command)?;
    Ok(started.elapsed())
}

/// Starts a task whose command only waits; returns its id.
fn idle_task(place: &Place) -> Result<String, Failure> {
    let started = place.answer(&["run", "--", "sleep", "600"])?;
    started["task"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::Answer {
            words: "stockade run".to_owned(),
            answer: started.to_string(),
        })
}

/// Ends a task and waits until it is gone.
fn stop(place: &Place, task: &str) -> Result<(), Failure> {
    finish(place.stockade(&["stop", task]))?;
    Task::new(place, task).wait_until_gone()
}
