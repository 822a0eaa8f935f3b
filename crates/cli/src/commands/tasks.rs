//! Verbs about tasks as such: `ls`, `pause`, `resume`, `stop`.

use std::process::ExitCode;

use serde_json::{Value, json};
use stockade_supervisor::{
    Answer, Connection, PLAN, Plan, Request, TaskState, resume as start_again, unlock,
};
use stockade_types::visible;

use crate::{
    arguments::{Resume, Stop, TaskName},
    commands::{
        mcp,
        run::model_keys,
        secret::unlock::{environment, passphrase},
        watch,
        work::hidden_values_of,
    },
    failure::{Failure, Kind},
    host::{self, Task},
    print::{Printer, Tone},
};

pub(crate) fn list(printer: Printer) -> Result<ExitCode, Failure> {
    let tasks = host::tasks(&host::state()?)?;
    printer.json(&tasks.iter().map(|task| &task.status).collect::<Vec<_>>());
    if tasks.is_empty() {
        printer.line("no tasks; start one: stockade run AGENT \"what to do\"");
    }
    for task in &tasks {
        printer.line(&row(task, printer));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(task: &Task, printer: Printer) -> String {
    let status = &task.status;
    let state = &status.state;
    let tone = match state {
        TaskState::Running | TaskState::Merged { .. } | TaskState::Done { exit: 0, .. } => {
            Tone::Good
        }
        TaskState::Failed { .. }
        | TaskState::Done { .. }
        | TaskState::Paused { cause: Some(_) } => Tone::Bad,
        TaskState::Preparing | TaskState::Paused { .. } | TaskState::Stopped { .. } => Tone::Notice,
    };
    let detail = match state {
        TaskState::Done {
            exit, cause: None, ..
        } if *exit != 0 => format!("exit {exit}"),
        TaskState::Stopped { reason }
        | TaskState::Failed { reason }
        | TaskState::Paused {
            cause: Some(reason),
        }
        | TaskState::Done {
            cause: Some(reason),
            ..
        } => visible::line(reason.as_bytes()),
        TaskState::Merged { commit } => commit.get(..12).unwrap_or(commit).to_owned(),
        _ => String::new(),
    };
    let agent = status
        .agent
        .map_or_else(|| "command".to_owned(), |agent| agent.to_string());
    let name = printer.paint(tone, &format!("{:<9}", state.name()));
    let since = status
        .since
        .get(..16)
        .unwrap_or(&status.since)
        .replace('T', " ");
    format!(
        "{}  {name} {since}  {agent:<8}  {}  {}",
        status.id,
        status.slug,
        printer.paint(Tone::Faint, &detail)
    )
    .trim_end()
    .to_owned()
}

pub(crate) fn pause(name: &TaskName, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, name.task.as_deref())?;
    Connection::ask_once(&task.directory, &Request::Pause)?;
    done(&task, "paused", printer);
    Ok(ExitCode::SUCCESS)
}

fn done(task: &Task, what: &str, printer: Printer) {
    printer.line(&format!("{} {what}", task.status.slug));
    printer.json(&now(task, what));
}

/// What programs are told of a task that is paused, running or stopped now.
fn now(task: &Task, what: &str) -> Value {
    json!({ "task": task.status.id, "state": what })
}

pub(crate) fn resume(arguments: &Resume, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, arguments.task.task.as_deref())?;
    if task.directory.is_locked() {
        if arguments.prompt.is_some() {
            return Err(Failure::new(
                Kind::Refused,
                "the task still runs; it takes a new prompt once it has ended",
            ));
        }
        Connection::ask_once(&task.directory, &Request::Resume)?;
        done(&task, "running", printer);
        return Ok(ExitCode::SUCCESS);
    }
    let mut plan: Plan = task.directory.read(PLAN)?;
    let host = host::host()?;
    if let Some(kind) = task.status.agent {
        plan = stockade_supervisor::next_turn(
            &host,
            &task.status,
            plan,
            kind,
            arguments.prompt.as_deref(),
        )?;
    } else if arguments.prompt.is_some() {
        return Err(Failure::new(
            Kind::Usage,
            "a command takes no prompt; `stockade resume` runs it again",
        ));
    }
    plan.unbind_what_is_gone(&host.catalogue);
    let names: Vec<_> = plan.mcp.iter().map(|server| server.name.clone()).collect();
    plan.keep_servers(&mcp::of_task::still_wanted(
        &task.status.repository,
        &names,
        printer,
    )?);
    let mut keys = model_keys(&plan)?;
    match hidden_values_of(&task.directory) {
        Ok(hidden) => keys.guard(hidden),
        // The repository may have been moved away; the task needs it no more.
        Err(error) => printer.note(&format!(
            "what leaves is not searched for values of hidden files: {}",
            error.message
        )),
    }
    unlock(
        &plan,
        &host.catalogue,
        &environment(),
        passphrase,
        &mut keys,
    )?;
    start_again(&task.directory, &plan, &keys)?;
    if arguments.detach {
        done(&task, "running", printer);
        return Ok(ExitCode::SUCCESS);
    }
    if printer.is_json() {
        return watch::outcome(&task.directory, json!({ "task": task.status.id }), printer);
    }
    watch::follow(&task.directory, printer)
}

pub(crate) fn stop(arguments: &Stop, printer: Printer) -> Result<ExitCode, Failure> {
    let state = host::state()?;
    let tasks = if arguments.all {
        host::tasks(&state)?
            .into_iter()
            .filter(|task| task.directory.is_locked())
            .collect()
    } else {
        vec![host::find(&state, arguments.task.task.as_deref())?]
    };
    let mut stopped = Vec::new();
    if tasks.is_empty() {
        printer.line("nothing runs");
    }
    // All at once: the last must not wait for the others' work to be saved.
    let stopping: Vec<_> = tasks
        .into_iter()
        .map(|task| {
            std::thread::spawn(move || {
                let answer = Connection::ask_once(&task.directory, &Request::Stop);
                (task, answer)
            })
        })
        .collect();
    for task in stopping {
        let (task, answer) = task.join().map_err(|_| Failure::failed("a thread ended"))?;
        match answer? {
            Answer::Done => {
                // Nothing runs any more; now its work is being saved.
                task.directory.wait_until_settled()?;
                printer.line(&format!("{} stopped", task.status.slug));
                stopped.push(now(&task, "stopped"));
            }
            other => return Err(Failure::failed(format!("{}: {other:?}", task.status.slug))),
        }
    }
    match stopped.as_slice() {
        [one] if !arguments.all => printer.json(one),
        all => printer.json(&all),
    }
    Ok(ExitCode::SUCCESS)
}
