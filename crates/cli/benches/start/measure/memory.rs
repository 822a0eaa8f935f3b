//! What the processes of an idle task hold.

use crate::{
    failure::Failure,
    figure::{Figure, Goal, Samples, Unit},
    place::Place,
    task::Task,
};

/// The memory of an idle task's processes outside its sandbox.
#[derive(Debug)]
pub(crate) struct Memory;

const WORK: &str = "All host processes of an idle task, PSS";
/// Every part of Stockade, by its hidden argument.
const PARTS: [(&str, &str); 4] = [
    ("__supervisor", "… its supervisor"),
    ("__recorder", "… its recorder"),
    ("__gateway", "… its gateway"),
    ("__anchor", "… its anchor"),
];
/// Tasks looked at, one after another: pages shared with a second one would
/// count only by half.
const TASKS: u32 = 3;

impl Memory {
    /// Measures it, as root.
    pub(crate) fn measure(place: &Place) -> Result<Vec<Figure>, Failure> {
        if !rustix::process::geteuid().is_root() {
            let reason = "the processes are not dumpable, so that only root may look";
            return Ok(vec![Figure::skipped(WORK, Unit::Mebibytes, reason)]);
        }
        let mut all = Samples::default();
        let mut parts: Vec<_> = PARTS.iter().map(|_| Samples::default()).collect();
        for _ in 0..TASKS {
            let task = super::idle_task(place)?;
            // The first command inside has everything page in that it needs.
            place.answer(&["exec", &task, "--", "true"])?;
            let processes = Task::new(place, &task).host_processes();
            let mut sum = 0.0;
            for ((argument, _), samples) in PARTS.iter().zip(&mut parts) {
                let found = processes.iter().find(|(word, _)| word == argument);
                let (_, id) = found.ok_or_else(|| Failure::InVain((*argument).to_owned()))?;
                let held = proportional_set_size(*id)?;
                samples.push(held);
                sum += held;
            }
            all.push(sum);
            super::stop(place, &task)?;
        }
        let whole = Figure::new(WORK, Unit::Mebibytes, all).held_to(&[Goal::Value(20.0)]);
        let parts = PARTS
            .iter()
            .zip(parts)
            .map(|((_, name), samples)| Figure::new(name, Unit::Mebibytes, samples));
        Ok(std::iter::once(whole).chain(parts).collect())
    }
}

/// In MiB.
fn proportional_set_size(id: u32) -> Result<f64, Failure> {
    let path = format!("/proc/{id}/smaps_rollup");
    let text = std::fs::read_to_string(&path).map_err(Failure::file(&path))?;
    let kibibytes: Option<f64> = text.lines().find_map(|line| {
        let value = line.strip_prefix("Pss:")?.trim();
        value.strip_suffix("kB")?.trim().parse().ok()
    });
    kibibytes
        .map(|kibibytes| kibibytes / 1024.0)
        .ok_or(Failure::Answer {
            words: path,
            answer: text,
        })
}
