//! Tasks as they are found: what their files say, unless nobody is there who
//! would make it true.

use std::{
    fs::File,
    time::{Duration, Instant},
};

use rustix::{fs::FlockOperation, io::Errno};

use crate::{
    error::SupervisorError,
    state::{StateDirectory, TaskDirectory},
    task::{STATUS, TaskState, TaskStatus},
};

/// How long the work of a task that ended may take to be saved.
const LONGEST_SAVE: Duration = Duration::from_mins(2);
/// How long the last signature in its record may take.
const LONGEST_SIGNING: Duration = Duration::from_secs(5);
/// Between the making of its folder and the supervisor's lock a task has
/// nobody, for a moment.
const MOMENT: Duration = Duration::from_secs(10);

impl StateDirectory {
    /// Every task that can be read, the newest first.
    pub fn tasks_as_found(&self) -> Result<Vec<(TaskDirectory, TaskStatus)>, SupervisorError> {
        Ok(as_found(self.tasks()?))
    }

    /// Every task in the trash that can be read, the newest first.
    pub fn removed_as_found(&self) -> Result<Vec<(TaskDirectory, TaskStatus)>, SupervisorError> {
        Ok(as_found(self.removed_tasks()?))
    }
}

fn as_found(tasks: Vec<TaskDirectory>) -> Vec<(TaskDirectory, TaskStatus)> {
    let tasks = tasks.into_iter();
    let mut tasks: Vec<_> = tasks
        .filter_map(|task| task.status().ok().map(|status| (task, status)))
        .collect();
    tasks.sort_by(|(_, one), (_, other)| other.created_at.cmp(&one.created_at));
    tasks
}

impl TaskDirectory {
    /// Where the task stands. One that should live but whose supervisor is
    /// gone has failed.
    pub fn status(&self) -> Result<TaskStatus, SupervisorError> {
        let status: TaskStatus = self.read(STATUS)?;
        if !status.state.is_live() || self.is_locked() || self.is_starting(&status) {
            return Ok(status);
        }
        let reason = match status.state {
            TaskState::Preparing => "it was never started; `stockade resume` starts it".to_owned(),
            _ => "its supervisor ended; the work is kept".to_owned(),
        };
        Ok(TaskStatus {
            state: TaskState::Failed { reason },
            ..status
        })
    }

    /// Waits until the task's supervisor has saved the work; where it stands
    /// then.
    pub fn wait_until_settled(&self) -> Result<TaskStatus, SupervisorError> {
        let deadline = Instant::now() + LONGEST_SAVE;
        while self.is_locked() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.wait_until_signed();
        self.status()
    }

    /// Waits, where nobody supervises the task any more, until its recorder has
    /// signed what it wrote last, which it does a moment later.
    pub fn wait_until_signed(&self) {
        let deadline = Instant::now() + LONGEST_SIGNING;
        while !self.is_locked() && self.is_recorded() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether a recorder holds the task's record.
    fn is_recorded(&self) -> bool {
        let taken = File::open(self.record())
            .map(|folder| rustix::fs::flock(&folder, FlockOperation::NonBlockingLockShared));
        matches!(taken, Ok(Err(Errno::WOULDBLOCK)))
    }

    fn is_starting(&self, status: &TaskStatus) -> bool {
        let written = std::fs::metadata(self.join(STATUS)).and_then(|found| found.modified());
        let age = written.map(|written| written.elapsed().unwrap_or_default());
        status.state == TaskState::Preparing && age.is_ok_and(|age| age < MOMENT)
    }
}
