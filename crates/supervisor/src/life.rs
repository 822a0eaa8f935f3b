//! A task's life: the supervisor process from its start to its last record.

mod capped;
mod requests;
mod start;

use std::{
    io::{self, Read, Write},
    os::fd::AsFd,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stockade_audit::RecorderClient;
use stockade_sandbox::{Sandbox, code, disk::Mounted};
use stockade_types::{Event, EventKind, wire};
use zeroize::Zeroizing;

use crate::{
    approvals::Approvals,
    caps::{Beginning, CapMet, CapWatch},
    control,
    error::SupervisorError,
    exec::{Execs, FreshPool, Gate, exit_code},
    gateway::Keys,
    happening::Happening,
    judge::Judge,
    mcp::Servers,
    meter::Meter,
    network::Grants,
    programs::ProgramRecord,
    publish::Publisher,
    save,
    secrets::{GivenBack, HeldSecrets},
    state::{StateDirectory, TaskDirectory, TaskLock},
    task::{Plan, STATUS, Session, TaskState, TaskStatus},
};

/// What a starting supervisor says on standard output, one line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Started {
    /// The main command runs.
    Running,
    /// A wall is missing.
    NoWall(stockade_sandbox::SandboxError),
    /// It does not, for another reason.
    Failed(String),
}

/// How long an agent with a terminal prints nothing when its turn is over.
const QUIET: Duration = Duration::from_secs(4);
/// How long the end of a short look waits for whoever asked for it.
const LOOKED_FOR: Duration = Duration::from_secs(5);
/// The exit code of a command that was killed: 128 and the signal's number.
const KILLED: i32 = 128 + 9;
/// Why a task is frozen that touched the bait.
const HONEYTOKEN_SENT: &str = "it tried to send the honeytoken; look at `stockade why`, then let it go on with \
     `stockade resume` or end it with `stockade stop`";
/// The largest set of keys that is read.
const KEYS_MAX: u64 = 1 << 20;

/// The `main` of the supervisor process: `folder` is the task's, the keys are
/// on standard input. Returns when the task has ended.
pub fn run(folder: &Path) -> Result<(), SupervisorError> {
    let _ = rustix::process::setsid();
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let (task, state) = open(folder)?;
    let (happenings, loop_end) = channel();
    let started =
        read_keys().and_then(|keys| Supervisor::start(task.clone(), state, &keys, &happenings));
    match started {
        Ok(supervisor) => {
            tell(&Started::Running);
            // Starting ran much that does not run again.
            code::give_back();
            supervisor.run(&loop_end)
        }
        Err(error) => {
            let reason = error.to_string();
            if !matches!(error, SupervisorError::Running) {
                let failed = TaskState::Failed {
                    reason: reason.clone(),
                };
                // Where that cannot be written, who asked is told all the same.
                let _ = task
                    .read::<TaskStatus>(STATUS)
                    .and_then(|status| task.write(STATUS, &status.in_state(failed)));
            }
            tell(&match &error {
                SupervisorError::Sandbox(missing) => Started::NoWall(missing.clone()),
                _ => Started::Failed(reason),
            });
            Err(error)
        }
    }
}

fn open(folder: &Path) -> Result<(TaskDirectory, StateDirectory), SupervisorError> {
    let task = TaskDirectory::at(folder)?;
    let state = folder.parent().and_then(Path::parent).map(Path::to_owned);
    let state = StateDirectory::open(state, None, None)?;
    Ok((task, state))
}

fn read_keys() -> Result<Keys, SupervisorError> {
    let mut text = Zeroizing::new(Vec::new());
    io::stdin()
        .take(KEYS_MAX)
        .read_to_end(&mut text)
        .map_err(SupervisorError::Control)?;
    serde_json::from_slice(&text).map_err(|error| SupervisorError::Control(error.into()))
}

/// Says how the start went, and lets go of the caller's pipe.
fn tell(started: &Started) {
    let line = serde_json::to_string(started).unwrap_or_default();
    let mut stdout = io::stdout();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(null.as_fd());
    }
}

struct Supervisor {
    task: TaskDirectory,
    plan: Plan,
    status: TaskStatus,
    sandbox: Sandbox,
    record: RecorderClient,
    programs: Option<ProgramRecord>,
    /// Where commands start, of clients' threads too.
    gate: Gate,
    /// What may start, and what may leave.
    judge: Judge,
    /// Further sandboxes, for commands that want one of their own.
    fresh: FreshPool,
    /// The MCP servers that whoever is inside may use.
    servers: Servers,
    execs: Execs,
    main: u32,
    session: Option<Session>,
    /// Whether anybody has seen the main command.
    watched: bool,
    grants: Grants,
    secrets: HeldSecrets,
    approvals: Arc<Approvals>,
    ports: Option<Publisher>,
    meter: Meter,
    /// The last output after which a turn was saved.
    saved_for: Option<Instant>,
    caps: CapWatch,
    caps_begun: Beginning,
    /// Those that were met, as far as the record has it.
    caps_met: Vec<CapMet>,
    _disk: Option<Mounted>,
    _lock: TaskLock,
}

impl Supervisor {
    /// Acts on what happens until the task has ended.
    fn run(mut self, happenings: &Receiver<Happening>) -> Result<(), SupervisorError> {
        let mut ended = None;
        let end = loop {
            let unseen = self.session.is_some() && !self.watched;
            if !unseen && let Some(end) = ended.take() {
                break end;
            }
            // Whoever looks into an ended task may come after a short command.
            let happening = if ended.is_some() {
                happenings
                    .recv_timeout(LOOKED_FOR)
                    .map_err(|_| "nobody came to look")
            } else {
                happenings
                    .recv()
                    .map_err(|_| "the supervisor lost its threads")
            };
            let acted = match happening {
                Ok(happening) => self.act(happening),
                Err(reason) => {
                    break ended.unwrap_or(TaskState::Failed {
                        reason: reason.to_owned(),
                    });
                }
            };
            match acted {
                Ok(None) => {}
                Ok(Some(end)) => ended = Some(end),
                Err(error) => {
                    break TaskState::Failed {
                        reason: error.to_string(),
                    };
                }
            }
        };
        self.finish(end)
    }

    fn act(&mut self, happening: Happening) -> Result<Option<TaskState>, SupervisorError> {
        match happening {
            Happening::Init(reply) => self.init_told(reply),
            Happening::SandboxEnded => Ok(Some(TaskState::Failed {
                reason: "process 1 of the sandbox was killed".to_owned(),
            })),
            Happening::PartEnded(part) => Ok(Some(TaskState::Failed {
                reason: format!("{part:?} ended").to_lowercase(),
            })),
            Happening::TimeUp => {
                let reason = format!("its time of {} s is up", self.plan.wall_seconds);
                Ok(Some(TaskState::Stopped { reason }))
            }
            Happening::RecordLost => Ok(Some(TaskState::Failed {
                reason: "its record takes no more events".to_owned(),
            })),
            Happening::CapPassed(met) => self.cap_passed(&met).map(Some),
            Happening::CapMet => self.note_caps().map(|_| None),
            Happening::HoneytokenSent => {
                if self.status.state == TaskState::Running {
                    self.freeze(true, Some(HONEYTOKEN_SENT))?;
                }
                Ok(None)
            }
            Happening::Asked(asked) => self.answer(asked),
            Happening::Tick => {
                self.save_turn()?;
                Ok(None)
            }
        }
    }

    fn init_told(&mut self, reply: wire::Reply) -> Result<Option<TaskState>, SupervisorError> {
        let (id, exit, details) = match reply {
            wire::Reply::Ready => return Ok(None),
            wire::Reply::Failed { id, errno } => {
                let error = io::Error::from_raw_os_error(errno);
                (id, 127, json!({ "error": error.to_string() }))
            }
            wire::Reply::Exited {
                id,
                status,
                cpu_micros,
                peak_kib,
                ..
            } => {
                let details = json!({ "cpu_micros": cpu_micros, "peak_kib": peak_kib });
                (id, exit_code(status), details)
            }
        };
        note(
            &self.record,
            EventKind::ExecEnded,
            json!({ "exec": id, "exit": exit, "details": details }),
        )?;
        let starved = self.note_caps()?;
        self.execs.ended(id, exit);
        if id != self.main {
            return Ok(None);
        }
        match details.get("error").and_then(Value::as_str) {
            Some(error) => {
                let program = self.command().argv.first().cloned().unwrap_or_default();
                Ok(Some(TaskState::Failed {
                    reason: format!(
                        "`{}` could not be started inside: {error}",
                        stockade_types::visible::line(program.as_bytes())
                    ),
                }))
            }
            None => Ok(Some(TaskState::Done {
                exit,
                cause: starved
                    .filter(|_| exit == KILLED)
                    .map(|denial| denial.to_string())
                    .or_else(|| self.meter.stopped()),
            })),
        }
    }

    /// Saves the work of an agent that a person works with, once it has been
    /// quiet for a while: then its turn has ended, as far as can be seen from
    /// outside. Nothing is stopped for it, which the label says.
    fn save_turn(&mut self) -> Result<(), SupervisorError> {
        let printed = self.execs.last_printed(self.main);
        let quiet = printed.is_some_and(|printed| printed.elapsed() >= QUIET);
        if !quiet || printed == self.saved_for || self.status.state != TaskState::Running {
            return Ok(());
        }
        self.saved_for = printed;
        match save::snapshot(&self.task, &self.plan, "turn (live)") {
            Ok((_, body)) => note(&self.record, EventKind::Snapshot, body),
            // The next turn, or the end, tries again.
            Err(_) => Ok(()),
        }
    }

    /// Ends everything, saves the work, and writes the last record.
    fn finish(mut self, end: TaskState) -> Result<(), SupervisorError> {
        let commits = match end {
            TaskState::Done { .. } if self.session.is_none() => {
                Some(save::commits(&self.task, &self.plan, &self.sandbox))
            }
            _ => None,
        };
        self.servers.close();
        self.fresh.close();
        self.gate.close();
        let capped = self.note_caps();
        self.sandbox.end();
        if self.session.is_none() {
            self.execs.drain(self.main);
        }
        let secrets = self.secrets.clone();
        let giving_back = std::thread::spawn(move || secrets.give_back_all());
        self.tell_caps();
        if let Some(programs) = &mut self.programs {
            programs.finish();
        }
        if let Some(ports) = &self.ports {
            ports.close();
        }
        let commits = commits.unwrap_or_else(|| match end {
            TaskState::Stopped { .. } if self.session.is_none() => {
                save::commits_of_stopped(&self.task, &self.plan)
            }
            _ => json!({ "imported": false, "reason": "the task was ended" }),
        });
        self.meter.close();
        let unanswered = self.approvals.close();
        let saved = save::snapshot(&self.task, &self.plan, "end");
        let (body, end) = match saved {
            Ok((_, body)) => (body, end),
            Err(error) => {
                let reason =
                    format!("the work could not be saved: {error}; it is still in the workspace");
                (
                    json!({ "error": error.to_string() }),
                    TaskState::Failed { reason },
                )
            }
        };
        let end = match &self.session {
            Some(session) => session.before.clone(),
            None => end,
        };
        let given_back = giving_back.join().unwrap_or_default();
        let recorded = unanswered
            .and_then(|()| capped.map(|_| ()))
            .and_then(|()| note(&self.record, EventKind::Snapshot, body))
            .and_then(|()| note(&self.record, EventKind::Imported, commits))
            .and_then(|()| note_given_back(&self.record, &given_back))
            .and_then(|()| note(&self.record, EventKind::TaskEnded, json!({ "state": end })));
        self.status = self.status.in_state(end);
        self.task.write(STATUS, &self.status)?;
        // The task and its record are free for others; only last words are
        // still said.
        self.grants.hang_up();
        control::stop_listening(&self.task);
        drop(self);
        control::wait_for_viewers();
        recorded
    }
}

/// Records which values that were made for the task are worth nothing any more.
fn note_given_back(record: &RecorderClient, given: &[GivenBack]) -> Result<(), SupervisorError> {
    for (secret, given) in given {
        let mut body = json!({ "secret": secret, "given_back": given.is_ok() });
        if let Err(error) = given {
            body["reason"] = json!(error.to_string());
        }
        note(record, EventKind::SecretTakenBack, body)?;
    }
    Ok(())
}

/// Records an event; without the record, nothing may go on.
fn note(record: &RecorderClient, kind: EventKind, body: Value) -> Result<(), SupervisorError> {
    match record.record(&Event::new(kind, body)) {
        Ok(_) => Ok(()),
        Err(error) => Err(SupervisorError::Record(error.to_string())),
    }
}
