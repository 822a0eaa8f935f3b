//! Tasks and their processes, as the bench sees them from outside.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use stockade_audit::{Record, RecordKind};
use stockade_types::EventKind;

use crate::{failure::Failure, place::Place};

/// Longer than anything takes, even on a busy machine.
const LONGEST: Duration = Duration::from_mins(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// A task that was started.
#[derive(Debug)]
pub(crate) struct Task {
    folder: PathBuf,
}

impl Task {
    /// The task of this id.
    pub(crate) fn new(place: &Place, id: &str) -> Self {
        Self {
            folder: place.state().join("tasks").join(id),
        }
    }

    /// The task of this name.
    pub(crate) fn of_slug(place: &Place, slug: &str) -> Result<Self, Failure> {
        let tasks = place.answer(&["ls"])?;
        let mut all = tasks.as_array().into_iter().flatten();
        all.find(|task| task["slug"] == slug)
            .and_then(|task| task["id"].as_str())
            .map(|id| Self::new(place, id))
            .ok_or_else(|| Failure::InVain(format!("a task named {slug}")))
    }

    /// Waits until it has ended and nothing works for it any more.
    pub(crate) fn wait_until_gone(&self) -> Result<(), Failure> {
        wait_until_gone(&self.folder)
    }

    /// From the end of its command to the record of its snapshot: the agent's
    /// commits taken out, everything inside ended, the tree saved. To the
    /// millisecond.
    pub(crate) fn saving(&self) -> Result<Duration, Failure> {
        let ended = self.record_of(EventKind::ExecEnded)?;
        let saved = self.record_of(EventKind::Snapshot)?;
        Duration::try_from(saved.at - ended.at).map_err(|error| self.damaged(&error))
    }

    /// How many changed files its snapshot holds.
    pub(crate) fn changed(&self) -> Result<u64, Failure> {
        let saved = self.record_of(EventKind::Snapshot)?;
        Ok(saved.body["changed"].as_u64().unwrap_or_default())
    }

    fn record_of(&self, kind: EventKind) -> Result<Record, Failure> {
        let records = stockade_audit::read(&self.record()).map_err(|error| self.damaged(&error))?;
        for record in records {
            let record = record.map_err(|error| self.damaged(&error))?;
            if record.kind == RecordKind::Event(kind) {
                return Ok(record);
            }
        }
        Err(self.damaged(&format!("it holds no {kind:?}")))
    }

    fn record(&self) -> PathBuf {
        self.folder.join("record")
    }

    fn damaged(&self, reason: &dyn std::fmt::Display) -> Failure {
        Failure::Record {
            path: self.record(),
            reason: reason.to_string(),
        }
    }

    /// Its processes outside the sandbox, each with its hidden argument.
    pub(crate) fn host_processes(&self) -> Vec<(String, u32)> {
        let folder = self.folder.to_string_lossy();
        let all = processes();
        let Some(supervisor) = all
            .iter()
            .find(|process| process.is_supervisor() && process.words.iter().any(|w| *w == folder))
        else {
            return Vec::new();
        };
        all.iter()
            .filter(|process| process.id == supervisor.id || process.parent == supervisor.id)
            .filter_map(|process| Some((process.words.get(1)?.clone(), process.id)))
            .collect()
    }
}

/// Waits until no process works for anything below `folder`.
pub(crate) fn wait_until_gone(folder: &Path) -> Result<(), Failure> {
    let name = folder.to_string_lossy();
    let working = |process: &Process| process.is_part() && process.names(&name);
    let deadline = Instant::now() + LONGEST;
    while processes().iter().any(working) {
        if Instant::now() > deadline {
            return Err(Failure::InVain(format!("the processes of {name} ended")));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// A process of this machine.
#[derive(Debug)]
struct Process {
    id: u32,
    parent: u32,
    words: Vec<String>,
}

impl Process {
    fn find(id: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
        let words = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        Some(Self {
            id,
            parent: parent.parse().ok()?,
            words: String::from_utf8_lossy(&words)
                .split_terminator('\0')
                .map(str::to_owned)
                .collect(),
        })
    }

    fn is_supervisor(&self) -> bool {
        self.words.get(1).is_some_and(|word| word == "__supervisor")
    }

    /// Whether it is one of Stockade's own, which have a hidden argument.
    fn is_part(&self) -> bool {
        self.words.get(1).is_some_and(|word| word.starts_with("__"))
    }

    fn names(&self, path: &str) -> bool {
        self.words.iter().skip(2).any(|word| word.starts_with(path))
    }
}

fn processes() -> Vec<Process> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Process::find(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}
