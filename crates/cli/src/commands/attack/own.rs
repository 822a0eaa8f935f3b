//! Stockade's own sandbox as a target: tasks on a throw-away repository, made
//! by the same calls as `stockade run` makes them, with the default policy.

use std::path::{Path, PathBuf};

use stockade_attack::{Facts, Ground, OWN, Place, Ran, Start, Target, TargetError};
use stockade_sandbox::Isolation;
use stockade_supervisor::{
    Connection, ExecRequest, Host, Request, Runs, STATUS, StateDirectory, TaskDirectory, TaskState,
    TaskStatus, Wish, gateway::Keys, prepare,
};

use crate::{
    commands::{
        exec::{Inside, gather},
        merge,
        work::Work,
    },
    failure::Failure,
    host,
};

/// Seconds that a task may live.
const LONGEST: u64 = 1800;

/// Stockade with a state directory of its own on the attacked ground.
pub(super) struct Own {
    host: Host,
    repository: PathBuf,
    /// Whether programs inside may make sandboxes of their own.
    nested: bool,
    /// The sandbox of its own that each command of the standing task gets.
    isolation: Option<Isolation>,
    /// The task that runs all the time.
    standing: TaskDirectory,
    /// The one that ran last to its end, and its work once it is taken back.
    last: Option<TaskDirectory>,
    work: Option<Work>,
}

impl Own {
    pub(super) fn new(
        ground: &Ground,
        nested: bool,
        isolation: Option<Isolation>,
    ) -> Result<Self, Failure> {
        let mut host = host::host()?;
        host.state = StateDirectory::open(Some(ground.root().join("state")), None, None)?;
        host.home = Some(ground.home());
        let repository = ground.repository(OWN)?;
        let wait = ["sleep".to_owned(), LONGEST.to_string()];
        let standing = begin(&host, &repository, &wait, None, nested)?;
        Ok(Self {
            host,
            repository,
            nested,
            isolation,
            standing,
            last: None,
            work: None,
        })
    }

    /// A new task for `words`, and all that it prints until it has ended.
    fn alone(&mut self, words: &[String], memory: Option<u64>) -> Result<Ran, Failure> {
        let task = begin(&self.host, &self.repository, words, memory, self.nested)?;
        let status = task.wait_until_settled()?;
        let ran = Ran {
            output: std::fs::read(task.output()).unwrap_or_default(),
            ended: describe(&status.state),
        };
        self.work = None;
        self.last = Some(task);
        Ok(ran)
    }

    /// `words` in the sandbox of a task; an ended task gets one for it.
    fn inside(
        task: &TaskDirectory,
        words: &[String],
        isolation: Option<Isolation>,
    ) -> Result<Ran, Failure> {
        let request = ExecRequest {
            argv: words.to_vec(),
            isolation,
            // Walls are tried, not rules.
            no_policy: true,
            ..ExecRequest::default()
        };
        let mut inside = Inside::ask(task, request)?;
        gather(&mut inside.connection).map(ran)
    }

    fn at_terminal(&self, words: &[String]) -> Result<Ran, Failure> {
        let request = Request::Shell {
            argv: words.to_vec(),
            cwd: None,
            no_policy: true,
        };
        gather(&mut Connection::ask(&self.standing, &request)?).map(ran)
    }

    fn again(&self, words: &[String]) -> Result<Ran, Failure> {
        let Some(task) = &self.last else {
            return Err(Failure::failed("no task has ended yet"));
        };
        let ran = Self::inside(task, words, None)?;
        task.wait_until_settled()?;
        Ok(ran)
    }

    /// Everything that the verbs of review do, but for the last step of a
    /// merge.
    fn review(&mut self) -> Result<(), Failure> {
        let Some(task) = self.last.clone() else {
            return Ok(());
        };
        let status: TaskStatus = task.read(STATUS)?;
        let work = Work::of(&self.host.state, task, status)?;
        work.document()?;
        let accepted = merge::accepted(&work)?;
        merge::plan(&work, &accepted, "main", &merge::Form::default())?;
        self.work = Some(work);
        Ok(())
    }
}

/// Makes a task and starts it, as `stockade run` does.
fn begin(
    host: &Host,
    repository: &Path,
    words: &[String],
    memory: Option<u64>,
    nested: bool,
) -> Result<TaskDirectory, Failure> {
    let runs = Runs::Command {
        argv: words.to_vec(),
        terminal: false,
    };
    let wish = Wish {
        name: Some("attack".to_owned()),
        forget_extra: true,
        memory_bytes: memory,
        nested,
        ..Wish::new(repository.to_owned(), runs, LONGEST)
    };
    let prepared = prepare(host, &wish)?;
    stockade_supervisor::begin(host, &prepared, &Keys::default())?;
    Ok(prepared.task)
}

fn describe(state: &TaskState) -> String {
    match state {
        TaskState::Done { exit, cause: None } => format!("it ended with {exit}"),
        TaskState::Done {
            cause: Some(reason),
            ..
        }
        | TaskState::Stopped { reason }
        | TaskState::Failed { reason } => reason.clone(),
        other => format!("the task is {}", other.name()),
    }
}

fn ran((exit, output): (i32, Vec<u8>)) -> Ran {
    Ran {
        output,
        ended: format!("it ended with {exit}"),
    }
}

fn told(failure: Failure) -> TargetError {
    failure.message.into()
}

impl Target for Own {
    fn name(&self) -> &'static str {
        "stockade"
    }

    fn facts(&self) -> Facts {
        let mut own_files = ["plan.json", "status.json", "record/checkpoint"]
            .map(|name| self.standing.join(name))
            .to_vec();
        own_files.push(self.standing.audit().join("key"));
        own_files.extend(std::env::current_exe());
        Facts {
            own_files,
            own_sockets: vec![self.standing.join("control/socket")],
            caps_memory: true,
            reviews: true,
        }
    }

    fn run(&mut self, words: &[String], start: Start<'_>) -> Result<Ran, TargetError> {
        match start {
            Start::Standing => Self::inside(&self.standing, words, self.isolation),
            Start::Terminal(_) => self.at_terminal(words),
            Start::New => self.alone(words, None),
            Start::Capped(memory) => self.alone(words, Some(memory)),
            Start::Again => self.again(words),
        }
        .map_err(told)
    }

    fn take_back(&mut self) -> Result<(), TargetError> {
        self.review().map_err(told)
    }

    fn place(&mut self, path: &str) -> Result<Place, TargetError> {
        if self.repository.join(path).symlink_metadata().is_ok() {
            return Ok(Place::Host);
        }
        let files = self.work.iter().flat_map(|work| &work.review.files);
        let mut files = files.filter(|file| file.path.as_bytes() == path.as_bytes());
        Ok(files.next().map_or(Place::Nowhere, |file| {
            let reason = file.marks.first().map(|mark| mark.reason.clone());
            match (file.held_back, reason) {
                (true, reason) => Place::HeldBack(reason.unwrap_or_default()),
                (false, Some(reason)) => Place::Marked(reason),
                (false, None) => Place::Proposed,
            }
        }))
    }

    fn end(&mut self) -> Result<(), TargetError> {
        let stop = Connection::ask_once(&self.standing, &Request::Stop);
        stop.map_err(|error| Box::new(error) as TargetError)?;
        let settled = self.standing.wait_until_settled();
        settled.map_err(Failure::from).map_err(told)?;
        Ok(())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if self.standing.is_locked() {
            // There is nobody left to tell.
            let _ = self.end();
        }
    }
}
