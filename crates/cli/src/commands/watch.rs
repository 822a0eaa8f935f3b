//! Verbs that show what a task runs: `attach`, `logs`, `shell`.

use std::{io::Write, process::ExitCode};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use stockade_supervisor::{
    Answer, Connection, Request, SupervisorError, TaskDirectory, TaskState, Typed, look_into,
};

use crate::{
    arguments::{Attach, Logs, TaskName},
    commands::work::keys_of_look,
    failure::{Failure, Kind},
    host,
    print::{Printer, Tone},
    terminal::{Filter, Raw, is_interactive, size},
};

/// Ctrl-P Ctrl-Q, as container tools have it.
const DETACH: [u8; 2] = [0x10, 0x11];

pub(crate) fn attach(arguments: &Attach, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, arguments.task.task.as_deref())?;
    printer.needs_no_json(
        "what a terminal shows is no document",
        "stockade logs TASK --json has what was printed",
    )?;
    let write = !arguments.view && is_interactive();
    let connection = Connection::ask(
        &task.directory,
        &Request::Attach {
            write,
            whole: false,
        },
    )?;
    show(connection, printer)?.report(&task.directory, printer)
}

/// Watches a task that was just started until it ends.
pub(crate) fn follow(task: &TaskDirectory, printer: Printer) -> Result<ExitCode, Failure> {
    let request = Request::Attach {
        write: is_interactive(),
        whole: true,
    };
    let seen = match Connection::ask(task, &request) {
        Ok(connection) => show(connection, printer)?,
        Err(SupervisorError::NotRunning) => Seen::Nothing,
        Err(error) => return Err(error.into()),
    };
    if matches!(seen, Seen::Nothing) {
        // It ended before anybody could watch: its log has everything.
        task.wait_until_settled()?;
        print_log(task)?;
    }
    seen.report(task, printer)
}

/// Waits until a task ends that was just started, and adds to `document` how: for
/// programs, which read what it printed from its log.
pub(crate) fn outcome(
    task: &TaskDirectory,
    mut document: Value,
    printer: Printer,
) -> Result<ExitCode, Failure> {
    let request = Request::Attach {
        write: false,
        whole: false,
    };
    match Connection::ask(task, &request) {
        Ok(mut connection) => {
            while let Ok(Some(answer)) = connection.answer() {
                if matches!(answer, Answer::Ended { .. }) {
                    break;
                }
            }
        }
        // It ended before anybody could watch.
        Err(SupervisorError::NotRunning) => {}
        Err(error) => return Err(error.into()),
    }
    let status = task.wait_until_settled()?;
    document["state"] = json!(status.state);
    document["caps_met"] = json!(status.caps_met);
    printer.json(&document);
    Seen::Nothing.report(task, printer)
}

pub(crate) fn logs(arguments: &Logs, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, arguments.task.task.as_deref())?;
    let bytes = match arguments.exec {
        None => read_log(&task.directory)?,
        Some(exec) => std::fs::read(task.directory.exec_output(exec)).map_err(|_| {
            let reason = format!("of command {exec} nothing is kept");
            Failure::new(Kind::NotFound, reason)
                .hint("only what was too long for `exec --json` is kept, of the last 100")
        })?,
    };
    if printer.is_json() {
        printer.json(&json!({ "task": task.status.id, "output": String::from_utf8_lossy(&bytes) }));
    } else {
        let _ = std::io::stdout().write_all(&Filter::default().pass(&bytes));
    }
    Ok(ExitCode::SUCCESS)
}

fn read_log(task: &TaskDirectory) -> Result<Vec<u8>, Failure> {
    match std::fs::read(task.output()) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn print_log(task: &TaskDirectory) -> Result<(), Failure> {
    let shown = Filter::default().pass(&read_log(task)?);
    let _ = std::io::stdout().write_all(&shown);
    Ok(())
}

pub(crate) fn shell(name: &TaskName, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, name.task.as_deref())?;
    printer.needs_no_json(
        "what a terminal shows is no document",
        "stockade exec TASK --json -- COMMAND tells how a command ended and what it printed",
    )?;
    let argv = ["/bin/bash", "-i"].map(str::to_owned).to_vec();
    let directory = &task.directory;
    // What a person types there is not judged.
    let request = if directory.is_locked() {
        Request::Shell {
            argv,
            cwd: None,
            no_policy: true,
        }
    } else {
        look_into(directory, argv, None, true, &keys_of_look(directory))?;
        Request::Attach {
            write: true,
            whole: true,
        }
    };
    let code = to_the_end(Connection::ask(directory, &request)?, printer)?;
    if !task.status.state.is_live() {
        directory.wait_until_settled()?;
    }
    Ok(code)
}

/// Shows a command at a terminal until it ends or the person leaves.
pub(crate) fn to_the_end(connection: Connection, printer: Printer) -> Result<ExitCode, Failure> {
    match show(connection, printer)? {
        Seen::Ended(exit) => Ok(exit_code(exit.unwrap_or(1))),
        Seen::Detached => Ok(ExitCode::SUCCESS),
        Seen::Nothing => Err(Failure::failed("the task ended first")),
    }
}

/// How watching ended.
enum Seen {
    /// The command ended, with this code if its supervisor still said so.
    Ended(Option<i32>),
    /// The person left.
    Detached,
    /// The task ended before it could be shown.
    Nothing,
}

impl Seen {
    /// Says how the task ended, and ends the same way.
    fn report(self, task: &TaskDirectory, printer: Printer) -> Result<ExitCode, Failure> {
        if matches!(self, Self::Detached) {
            printer.note(&format!(
                "\r\ndetached; `stockade attach {}` shows it again",
                task.id()
            ));
            return Ok(ExitCode::SUCCESS);
        }
        let status = task.wait_until_settled()?;
        let name = printer.paint(Tone::Strong, &status.slug);
        for cap in &status.caps_met {
            printer.note(&cap.to_string());
        }
        match &status.state {
            TaskState::Done { exit: 0, .. } => {
                printer.note(&format!(
                    "{name} done; next: stockade review {}",
                    status.slug
                ));
                Ok(ExitCode::SUCCESS)
            }
            TaskState::Done { exit, cause } => {
                if let Some(cause) = cause {
                    printer.note(cause);
                }
                printer.note(&format!(
                    "{name} ended with {exit}; its work is kept: stockade review {}",
                    status.slug
                ));
                Ok(exit_code(*exit))
            }
            TaskState::Stopped { reason } => Err(Failure::new(
                Kind::Refused,
                format!("{} was ended: {reason}", status.slug),
            )),
            TaskState::Failed { reason } => Err(Failure::new(
                Kind::Failed,
                format!("{} failed: {reason}", status.slug),
            )),
            other => Err(Failure::failed(format!(
                "{} is {}",
                status.slug,
                other.name()
            ))),
        }
    }
}

/// An exit code of a command as one of ours.
pub(crate) fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Shows a command until it ends or the person leaves.
fn show(mut connection: Connection, printer: Printer) -> Result<Seen, Failure> {
    let (write, terminal) = match connection.answer()? {
        Some(Answer::Watching { write, terminal }) => (write, terminal),
        Some(Answer::Refused { reason, denial, .. }) => {
            return Err(Failure::refused(reason, denial));
        }
        _ => return Ok(Seen::Nothing),
    };
    let (left, leaving) = std::sync::mpsc::channel();
    let _raw = if write && terminal {
        Raw::enter()
    } else {
        None
    };
    if write {
        let typing = connection.typing()?;
        let left = left.clone();
        std::thread::spawn(move || type_into(typing, terminal, &left));
    } else if terminal {
        printer.note("only watching: somebody else types, or there is no terminal here");
    }
    std::thread::spawn(move || {
        let mut filter = Filter::default();
        let exit = loop {
            match connection.answer() {
                Ok(Some(Answer::Output { bytes, .. })) => {
                    let bytes = STANDARD.decode(bytes).unwrap_or_default();
                    let mut stdout = std::io::stdout().lock();
                    let _ = stdout
                        .write_all(&filter.pass(&bytes))
                        .and_then(|()| stdout.flush());
                }
                Ok(Some(Answer::Ended { exit, .. })) => break Some(exit),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break None,
            }
        };
        let _ = left.send(Seen::Ended(exit));
    });
    leaving.recv().map_err(Failure::failed)
}

/// Sends what is typed until the end, or until the keys that detach.
fn type_into(
    mut typing: impl FnMut(&Typed) -> std::io::Result<()>,
    terminal: bool,
    left: &std::sync::mpsc::Sender<Seen>,
) {
    let mut buffer = [0; 4096];
    let mut last = 0;
    let mut told = None;
    loop {
        if terminal && size() != told {
            told = size();
            if let Some((rows, columns)) = told {
                let _ = typing(&Typed::Resize { rows, columns });
            }
        }
        if terminal && !is_typed() {
            continue;
        }
        let length = match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(0) | Err(_) => {
                let _ = typing(&Typed::EndOfInput);
                return;
            }
            Ok(length) => length,
        };
        let typed = buffer.get(..length).unwrap_or_default();
        if terminal {
            let before = std::iter::once(last).chain(typed.iter().copied());
            if before
                .clone()
                .zip(before.skip(1))
                .any(|(one, next)| [one, next] == DETACH)
            {
                let _ = left.send(Seen::Detached);
                return;
            }
            last = typed.last().copied().unwrap_or(last);
        }
        if typing(&Typed::Input {
            bytes: STANDARD.encode(typed),
        })
        .is_err()
        {
            return;
        }
    }
}

/// Waits for something to read, but not for long: meanwhile the size of the
/// terminal may change.
fn is_typed() -> bool {
    const WHILE: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    let stdin = rustix::stdio::stdin();
    let mut events = [PollFd::new(&stdin, PollFlags::IN)];
    // An error is for the read to tell.
    poll(&mut events, Some(&WHILE)) != Ok(0)
}
