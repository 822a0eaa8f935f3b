//! The figures.

mod demo;
mod exec;
mod first;
mod many;
mod memory;
mod rounds;

pub(crate) use self::{
    demo::Demo,
    exec::Exec,
    many::Many,
    memory::Memory,
    rounds::{Round, Rounds},
};

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

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
    let started = place.answer(&["run", "--detach", "--", "sleep", "600"])?;
    id(&started).map(str::to_owned)
}

/// The id in an answer of `run`.
fn id(task: &Value) -> Result<&str, Failure> {
    task["task"].as_str().ok_or_else(|| unexpected(task))
}

fn unexpected(task: &Value) -> Failure {
    Failure::Answer {
        words: "stockade run".to_owned(),
        answer: task.to_string(),
    }
}

/// Ends a task and waits until it is gone.
fn stop(place: &Place, task: &str) -> Result<(), Failure> {
    finish(place.stockade(&["stop", task]))?;
    Task::new(place, task).wait_until_gone()
}
