//! `stockade exec`: a command in a task's sandbox.

use std::{
    io::{Read, Write},
    process::ExitCode,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use stockade_supervisor::{
    Answer, Connection, ExecEnd, ExecLimits, ExecRequest, ExecResult, Report, Request, Stdin,
    TaskDirectory, ToolCall, Typed, look_into,
};

use crate::{
    arguments::Exec,
    commands::{watch, work::keys_of_look},
    failure::{Failure, Kind},
    host::{self, Task},
    print::Printer,
    terminal::{Filter, is_interactive},
};

/// What `timeout` of the system ends with when the time was up.
const TIME_UP: u8 = 124;

pub(crate) fn run(arguments: Exec, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, arguments.task.task.as_deref())?;
    let request = request(arguments, printer)?;
    if is_interactive() && !printer.is_json() && is_plain(&request) {
        return at_terminal(&task, request, printer);
    }
    let mut inside = Inside::ask(&task.directory, request)?;
    let shown = show(&mut inside.connection, printer);
    drop(inside);
    // Also after a failure: the next command would meet a sandbox that is just
    // ending.
    if !task.status.state.is_live() {
        task.directory.wait_until_settled()?;
    }
    let result = shown?;
    Ok(match result.end {
        ExecEnd::Timeout => ExitCode::from(TIME_UP),
        _ => watch::exit_code(result.exit),
    })
}

fn request(mut arguments: Exec, printer: Printer) -> Result<ExecRequest, Failure> {
    let tool = arguments.tool.take();
    let tool = tool.map(|name| called(name, std::mem::take(&mut arguments.command)));
    Ok(ExecRequest {
        isolation: arguments.own.isolation(),
        argv: arguments.command,
        tool: tool.transpose()?,
        shell: arguments.shell,
        cwd: arguments.cwd,
        env: arguments.env.into_iter().collect(),
        limits: ExecLimits {
            cpu_seconds: arguments.cpu,
            address_bytes: arguments.address_space,
            file_bytes: arguments.file_size,
            open_files: None,
        },
        timeout_ms: arguments.timeout,
        files: arguments.files,
        leashed: false,
        no_policy: arguments.no_policy,
        ..if printer.is_json() {
            ExecRequest {
                report: Report::Collected,
                merged: true,
                ..ExecRequest::default()
            }
        } else {
            ExecRequest {
                stdin: Stdin::Typed,
                ..ExecRequest::default()
            }
        }
    })
}

/// A tool with its arguments: `NAME=TEXT`, or `NAME:=` and JSON.
fn called(name: String, words: Vec<String>) -> Result<ToolCall, Failure> {
    let usage = |reason: String| {
        let failure = Failure::new(Kind::Usage, reason);
        failure.hint("write a text as NAME=TEXT, and a number, true or false as NAME:=VALUE")
    };
    let mut arguments = Map::new();
    for word in words {
        let (name, text) = word
            .split_once('=')
            .ok_or_else(|| usage(format!("`{word}` is no argument of a tool")))?;
        let (name, value) = match name.strip_suffix(':') {
            None => (name, Value::from(text)),
            Some(name) => {
                let value = serde_json::from_str(text);
                (
                    name,
                    value.map_err(|error| usage(format!("`{word}`: {error}")))?,
                )
            }
        };
        arguments.insert(name.to_owned(), value);
    }
    Ok(ToolCall { name, arguments })
}

/// Whether a terminal can do what is asked for.
fn is_plain(request: &ExecRequest) -> bool {
    *request
        == ExecRequest {
            argv: request.argv.clone(),
            cwd: request.cwd.clone(),
            stdin: Stdin::Typed,
            no_policy: request.no_policy,
            ..ExecRequest::default()
        }
}

/// Runs a command at a terminal of the sandbox; an ended task gets a sandbox for it.
fn at_terminal(task: &Task, request: ExecRequest, printer: Printer) -> Result<ExitCode, Failure> {
    let held = hold(&task.directory)?;
    let connection = Connection::ask(
        &task.directory,
        &Request::Shell {
            argv: request.argv,
            cwd: request.cwd,
            no_policy: request.no_policy,
        },
    )?;
    let shown = watch::to_the_end(connection, printer);
    drop(held);
    if !task.status.state.is_live() {
        task.directory.wait_until_settled()?;
    }
    shown
}

/// An ended task gets a sandbox that stands for as long as this connection.
fn hold(task: &TaskDirectory) -> Result<Option<Connection>, Failure> {
    if task.is_locked() {
        return Ok(None);
    }
    let keys = keys_of_look(task);
    look_into(task, vec!["/bin/cat".to_owned()], None, false, &keys)?;
    let held = Request::Attach {
        write: true,
        whole: true,
    };
    let mut held = Connection::ask(task, &held)?;
    held.answer()?;
    Ok(Some(held))
}

/// A command inside, and the sandbox that an ended task got for it.
pub(crate) struct Inside {
    pub(crate) connection: Connection,
    /// Reads input that never comes: the sandbox ends with this connection.
    _held: Option<Connection>,
}

impl Inside {
    /// Starts a command in a task's sandbox; an ended task gets one for it.
    pub(crate) fn ask(task: &TaskDirectory, request: ExecRequest) -> Result<Self, Failure> {
        let held = hold(task)?;
        Ok(Self {
            connection: Connection::ask(task, &Request::Exec(Box::new(request)))?,
            _held: held,
        })
    }
}

/// All that a command prints until it ends, and its exit.
pub(crate) fn gather(connection: &mut Connection) -> Result<(i32, Vec<u8>), Failure> {
    let mut printed = Vec::new();
    while let Some(answer) = connection.answer()? {
        match answer {
            Answer::Output { bytes, .. } => {
                printed.extend(STANDARD.decode(bytes).unwrap_or_default());
            }
            Answer::Ended { exit, .. } => return Ok((exit, printed)),
            Answer::Refused { reason, denial, .. } => return Err(Failure::refused(reason, denial)),
            _ => {}
        }
    }
    Err(Failure::failed("the task ended first"))
}

/// Shows a command until it ends.
pub(super) fn show(connection: &mut Connection, printer: Printer) -> Result<ExecResult, Failure> {
    let mut filters = [Filter::default(), Filter::default()];
    while let Some(answer) = connection.answer()? {
        match answer {
            Answer::Watching { write, .. } => {
                let typing = connection.typing()?;
                if write {
                    std::thread::spawn(move || type_all(typing));
                }
            }
            Answer::Output { bytes, error } => {
                let bytes = STANDARD.decode(bytes).unwrap_or_default();
                let [out, err] = &mut filters;
                if error {
                    let mut stderr = std::io::stderr().lock();
                    let _ = stderr.write_all(&err.pass(&bytes));
                } else {
                    let mut stdout = std::io::stdout().lock();
                    let shown = out.pass(&bytes);
                    let _ = stdout.write_all(&shown).and_then(|()| stdout.flush());
                }
            }
            Answer::Ended {
                result: Some(result),
                ..
            } => {
                tell(&result, printer);
                return Ok(*result);
            }
            Answer::Refused { reason, denial, .. } => return Err(Failure::refused(reason, denial)),
            _ => {}
        }
    }
    Err(Failure::failed("the task ended first"))
}

/// Hands standard input on, up to its end.
fn type_all(mut typing: impl FnMut(&Typed) -> std::io::Result<()>) {
    const PIECE: usize = 64 * 1024;
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = std::io::stdin().lock().read(&mut piece) {
        let bytes = STANDARD.encode(piece.get(..length).unwrap_or_default());
        if typing(&Typed::Input { bytes }).is_err() {
            return;
        }
    }
    let _ = typing(&Typed::EndOfInput);
}

fn tell(result: &ExecResult, printer: Printer) {
    printer.json(&document(result));
    if let Some(contained) = &result.contained {
        printer.note(&format!(
            "it ran without a network, in a sandbox of its own ({}): {}",
            contained.rule, contained.reason
        ));
    }
    for cap in &result.caps {
        printer.note(&cap.to_string());
    }
    match (result.end, &result.error) {
        (ExecEnd::TaskEnded, _) => printer.note("the task was ended at this cap"),
        (ExecEnd::Timeout, _) => printer.note("its time was up; it and all it started are ended"),
        (_, Some(error)) => printer.note(&format!("it could not be started: {error}")),
        _ => {}
    }
    if let Some(files) = &result.files {
        let kinds = [
            ("created", &files.created),
            ("modified", &files.modified),
            ("deleted", &files.deleted),
        ];
        for (kind, paths) in kinds {
            for path in paths {
                printer.note(&format!("{kind}  {path}"));
            }
        }
        if files.more > 0 {
            printer.note(&format!("and {} more", files.more));
        }
    }
}

/// The result as one document: what was printed is `output`, as text.
fn document(result: &ExecResult) -> Value {
    let mut document = json!(result);
    if let Some(output) = &result.output {
        document["output"] = json!(output.text);
        document["output_bytes"] = json!(output.bytes);
        document["output_lines"] = json!(output.lines);
        document["truncated"] = json!(output.truncated);
    }
    document
}
