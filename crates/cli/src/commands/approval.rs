//! `stockade inbox`, `approve` and `deny`: what tasks ask a person, and what
//! the person says. Everything here is outside every sandbox.

use std::{
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::json;
use stockade_approval::{Accepted, Action, Decision, Scope, Signed, Waiting};
use stockade_supervisor::{
    Answer, Connection, Desk, PLAN, Request, StateDirectory, SupervisorError, TaskDirectory,
};

use self::{card::Card, sign::sign};
use super::work::redactions;
use crate::{
    arguments::{Approve, Deny, ScopeArguments},
    failure::{Failure, Kind},
    host::{self, Task},
    print::{Printer, Tone},
};

pub(super) mod approver;
mod card;
pub(super) mod inbox;
mod sign;
mod stats;

/// A question and the task that waits for its answer.
struct Asked {
    task: Task,
    waiting: Waiting,
}

/// What an approver says to a question.
struct Said<'a> {
    /// How much is approved; nothing denies.
    scope: Option<Scope>,
    reason: Option<String>,
    /// Whose key signs.
    key: Option<&'a str>,
}

impl Said<'_> {
    fn decision(&self) -> Decision {
        match self.scope {
            Some(_) => Decision::Approve,
            None => Decision::Deny,
        }
    }
}

/// What is approved without further words: an hour is too long for one use.
const LASTING: u64 = 10 * 60;
/// Bytes of one use, unless more wait.
const BYTES_A_USE: u64 = 64 * 1024;
/// By how many uses the bytes of what is approved by time are reckoned.
const USES_BY_TIME: u32 = 64;

pub(crate) fn approve(arguments: &Approve, printer: Printer) -> Result<ExitCode, Failure> {
    let state = host::state()?;
    let asked = find(&state, &arguments.id)?;
    let said = Said {
        scope: Some(scope(&asked.waiting, &arguments.scope)),
        reason: arguments.reason.clone(),
        key: arguments.key.as_deref(),
    };
    answer(&state, &asked, &said, printer)
}

pub(crate) fn deny(arguments: &Deny, printer: Printer) -> Result<ExitCode, Failure> {
    let state = host::state()?;
    let asked = find(&state, &arguments.id)?;
    let said = Said {
        scope: None,
        reason: Some(arguments.reason.clone()).filter(|reason| !reason.is_empty()),
        key: arguments.key.as_deref(),
    };
    answer(&state, &asked, &said, printer)
}

/// What waits in every task, or in one; the first to expire first.
fn waiting(state: &StateDirectory, task: Option<&str>) -> Result<Vec<Asked>, Failure> {
    let tasks = match task {
        Some(name) => vec![host::find(state, Some(name))?],
        None => host::tasks(state)?,
    };
    let mut asked = Vec::new();
    for task in tasks {
        let answer = Connection::ask_once(&task.directory, &Request::Questions);
        match answer {
            Ok(Answer::Questions { waiting }) => {
                asked.extend(waiting.into_iter().map(|waiting| Asked {
                    task: Task {
                        directory: task.directory.clone(),
                        status: task.status.clone(),
                    },
                    waiting,
                }));
            }
            Ok(_) => return Err(Failure::failed("the task answered something else")),
            // Of one that does not run, somebody may want to push the work.
            Err(SupervisorError::NotRunning) if Desk::is_there(&task.directory) => {
                let waiting = desk(&task.directory)?.waiting();
                asked.extend(waiting.into_iter().map(|waiting| Asked {
                    task: Task {
                        directory: task.directory.clone(),
                        status: task.status.clone(),
                    },
                    waiting,
                }));
            }
            Err(SupervisorError::NotRunning) => {}
            Err(error) => return Err(error.into()),
        }
    }
    asked.sort_by_key(|asked| asked.waiting.expires);
    Ok(asked)
}

/// The question that `id` means: one that waits for an answer, or is approved
/// and not used up.
fn find(state: &StateDirectory, id: &str) -> Result<Asked, Failure> {
    let mut found = waiting(state, None)?;
    found.retain(|asked| asked.waiting.id.is_meant_by(id));
    match <[Asked; 1]>::try_from(found) {
        Ok([asked]) => Ok(asked),
        Err(several) if several.is_empty() => Err(Failure::new(
            Kind::NotFound,
            format!(
                "no question `{id}` waits: it was answered, its time is up, or nobody asked it"
            ),
        )
        .hint("stockade inbox --list shows what waits")),
        Err(several) => Err(several.iter().fold(
            Failure::new(Kind::Usage, format!("`{id}` fits several questions")),
            |failure, asked| failure.hint(asked.waiting.id.to_string()),
        )),
    }
}

/// How much of the question's action the arguments approve.
fn scope(waiting: &Waiting, arguments: &ScopeArguments) -> Scope {
    let by_time = arguments.lasting.is_some() && !waiting.question.action.is_grave();
    let uses = arguments.uses.or((!by_time).then_some(1));
    let a_use = waiting.question.bytes.max(BYTES_A_USE);
    let all = a_use.saturating_mul(uses.unwrap_or(USES_BY_TIME).into());
    Scope {
        uses,
        bytes: arguments.bytes.unwrap_or(all),
        until: now().saturating_add(arguments.lasting.unwrap_or(LASTING)),
    }
}

/// The card of a question as text, and the word of it that approves.
pub(super) fn shown(task: &Task, waiting: &Waiting, printer: Printer) -> (String, String) {
    let asked = Asked {
        task: Task {
            directory: task.directory.clone(),
            status: task.status.clone(),
        },
        waiting: waiting.clone(),
    };
    let card = Card::of(&asked);
    (card.render(&[waiting.id.short()], printer), card.word)
}

/// The questions about the work of a task that does not run.
pub(super) fn desk(task: &TaskDirectory) -> Result<Desk, Failure> {
    let redactions = redactions(&task.read(PLAN)?, Vec::new())?;
    Ok(Desk::open(task, host::config()?.approvals, redactions)?)
}

/// Approves what waits, once, with the key of the approver called `key`, else with
/// the one that fits: who that is, and how many more people must.
pub(super) fn approve_once(
    state: &StateDirectory,
    task: &Task,
    waiting: &Waiting,
    key: Option<&str>,
) -> Result<(String, u8), Failure> {
    let said = Said {
        scope: Some(scope(waiting, &ScopeArguments::default())),
        reason: None,
        key,
    };
    give(state, task, waiting, &said)
}

/// Signs an answer and gives it to whoever asks: whose it is, and how many more
/// people must approve.
fn give(
    state: &StateDirectory,
    task: &Task,
    waiting: &Waiting,
    said: &Said<'_>,
) -> Result<(String, u8), Failure> {
    let decision = said.decision();
    let id = task.status.id.clone();
    let statement = waiting.statement(id, decision, said.scope, said.reason.clone());
    let action = &waiting.question.action;
    let (signed, by) = sign(state, statement, said.key, action.is_grave())?;
    let needs = if matches!(action, Action::Push(_)) {
        match desk(&task.directory)?.answer(&signed)? {
            Accepted::More(people) => people,
            Accepted::Approved | Accepted::Denied => 0,
        }
    } else {
        of_running(&task.directory, signed)?
    };
    Ok((by, needs))
}

/// Gives an answer to the supervisor that asks.
fn of_running(task: &TaskDirectory, signed: Signed) -> Result<u8, Failure> {
    let request = Request::Answer(Box::new(signed));
    match Connection::ask_once(task, &request)? {
        Answer::Answered { needs } => Ok(needs),
        _ => Err(Failure::failed("the task answered something else")),
    }
}

/// Signs an answer, gives it to the task and says what came of it.
fn answer(
    state: &StateDirectory,
    asked: &Asked,
    said: &Said<'_>,
    printer: Printer,
) -> Result<ExitCode, Failure> {
    let Asked { task, waiting } = asked;
    let decision = said.decision();
    let (by, needs) = give(state, task, waiting, said)?;
    printer.json(&json!({
        "task": task.status.id, "ask": waiting.id, "decision": decision, "scope": said.scope,
        "by": by, "needs": needs,
    }));
    let line = match (decision, needs) {
        (Decision::Deny, _) => printer.paint(Tone::Bad, "denied"),
        (_, 0) => printer.paint(Tone::Good, "approved"),
        (_, more) => format!("approved; {more} more people must approve it"),
    };
    let what = Card::of(asked).title;
    printer.line(&format!("#{} {line} by {by}: {what}", waiting.id.short()));
    Ok(ExitCode::SUCCESS)
}

/// Seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
