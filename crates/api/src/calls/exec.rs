//! One command in a sandbox.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::{Response, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stockade_sandbox::Isolation;
use stockade_supervisor::{
    ExecEnd, ExecLimits, ExecRequest, ExecResult, ExecText, Report, Request, Stdin, TaskDirectory,
    ToolCall,
};
use tokio::sync::OwnedSemaphorePermit;

use super::{caps::CapMet, control::Control, run::Run};
use crate::http::{Body, Form, Kind, Problem, json};

/// A command to run: `argv`, `shell` or `tool`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Exec {
    /// Program and arguments; the program is looked up on the `PATH` inside.
    argv: Vec<String>,
    /// Text for `/bin/bash -c`.
    shell: Option<String>,
    /// A tool that the project declares in `stockade.toml`, instead of both.
    tool: Option<String>,
    /// The values of its arguments.
    arguments: serde_json::Map<String, serde_json::Value>,
    /// The folder, absolute inside or relative to the workspace.
    cwd: Option<String>,
    /// Variables on top of the sandbox's own.
    env: BTreeMap<String, String>,
    /// A sandbox of its own, with the same workspace; without it, the command
    /// runs beside everything else. When it ends, so does all that it started.
    isolation: Option<Own>,
    /// What it reads; nothing without it.
    stdin: Option<String>,
    /// What it reads, in base64, if that is no text.
    stdin_base64: Option<String>,
    /// Caps on each process that it starts.
    limits: Limits,
    /// After how many milliseconds it is ended, with everything it started.
    timeout_ms: Option<u64>,
    /// Whether both its outputs are one, in the order of printing.
    merged: bool,
    /// Whether to tell which files of the workspace changed meanwhile.
    files: bool,
}

/// What a command has for itself.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Own {
    /// A root, scratch folders, processes and a network of its own.
    Fresh,
    /// These, an empty home, and no way out.
    Tightened,
}

/// Caps on each process of a command, kept by the kernel. They can only be
/// narrower than the sandbox's.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Seconds of processor time.
    cpu_seconds: Option<u64>,
    /// Bytes of address space.
    address_bytes: Option<u64>,
    /// Bytes of one file.
    file_bytes: Option<u64>,
    /// Open files.
    open_files: Option<u64>,
}

impl From<Limits> for ExecLimits {
    fn from(limits: Limits) -> Self {
        Self {
            cpu_seconds: limits.cpu_seconds,
            address_bytes: limits.address_bytes,
            file_bytes: limits.file_bytes,
            open_files: limits.open_files,
        }
    }
}

/// How a command ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Outcome {
    /// Its number in the sandbox.
    exec: u32,
    /// Its code, or 128 and the number of the signal that ended it; 127 if it
    /// could not be started.
    pub(super) exit: i32,
    /// Why it ended.
    end: End,
    /// The signal that ended it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    /// Why it could not be started, or why a session was ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Milliseconds from the request to its end.
    wall_ms: f64,
    /// Milliseconds of processor time, of it and of what it waited for. Not
    /// known of a text of a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ms: Option<f64>,
    /// The largest resident set among these, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_kib: Option<u64>,
    /// Whether its end by Stockade reaches all that it started, also what has
    /// left its process group (Linux 6.12).
    whole_tree: bool,
    /// Why it ran without a network, in a sandbox of its own, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    contained: Option<Contained>,
    /// The caps that were met while it ran, by it or by others in the sandbox.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    caps: Vec<CapMet>,
    /// The last refusals by the gateway while it ran.
    denials: Vec<Denial>,
    /// How many refusals there were.
    denials_count: u64,
    /// The kinds of key that seem to be in what it printed.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    keys: BTreeSet<String>,
    /// Of a tool that is `merged`: what it printed in few words, as the tool declares.
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    /// What it printed, if both outputs are one.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Printed>,
    /// What it printed to standard output.
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout: Option<Printed>,
    /// What it printed to standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr: Option<Printed>,
    /// Where all that it printed is, if that was too long to stand here.
    #[serde(skip_serializing_if = "Option::is_none")]
    whole_output: Option<String>,
    /// Of a text of a session: whether the session has ended with it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) session_over: bool,
    /// The files of the workspace that changed while it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Files>,
}

/// Why a command ended.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum End {
    /// By itself, with a code.
    Exited,
    /// By a signal that was not Stockade's.
    Signalled,
    /// Its time was up.
    Timeout,
    /// Its client was gone.
    ClientGone,
    /// The whole sandbox was ended at a cap, which stands in `caps`.
    TaskEnded,
    /// It never began.
    NotStarted,
}

/// Why a command ran with nothing outward: what it does could not be told.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Contained {
    /// The rule of the policy that says so.
    rule: String,
    /// Why it does.
    reason: String,
}

/// A refusal by the gateway.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Denial {
    /// The host.
    host: String,
    /// The port.
    port: u64,
    /// The rule that refused it.
    rule: String,
}

/// What a command printed: no escape sequence, no control character but tab
/// and end of line, no key.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Printed {
    /// Its head and tail, and between them lines that tell of errors.
    text: String,
    /// How many bytes there were.
    bytes: u64,
    /// How many lines.
    lines: u64,
    /// Whether `text` is not all of it.
    truncated: bool,
}

/// Files of the workspace that changed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Files {
    /// Were not there before.
    created: Vec<String>,
    /// Have another content, mode or time.
    modified: Vec<String>,
    /// Are no longer there.
    deleted: Vec<String>,
    /// How many more there are than are listed.
    more: u64,
    /// Whether everything was looked at; a very large or deep tree is not.
    complete: bool,
}

impl From<ExecText> for Printed {
    fn from(text: ExecText) -> Self {
        Self {
            text: text.text,
            bytes: text.bytes,
            lines: text.lines,
            truncated: text.truncated,
        }
    }
}

impl Outcome {
    /// What is known of a command of `task` that ended.
    pub(super) fn of(task: &TaskDirectory, result: ExecResult) -> Self {
        let whole = format!("/v1/sandboxes/{}/execs/{}/output", task.id(), result.exec);
        Self {
            exec: result.exec,
            exit: result.exit,
            end: match result.end {
                ExecEnd::Exited => End::Exited,
                ExecEnd::Signalled => End::Signalled,
                ExecEnd::Timeout => End::Timeout,
                ExecEnd::ClientGone => End::ClientGone,
                ExecEnd::TaskEnded => End::TaskEnded,
                ExecEnd::NotStarted => End::NotStarted,
            },
            signal: result.signal,
            error: result.error,
            wall_ms: result.wall_ms,
            cpu_ms: result.cpu_ms,
            peak_kib: result.peak_kib,
            whole_tree: result.whole_tree,
            contained: result.contained.map(|contained| Contained {
                rule: contained.rule,
                reason: contained.reason,
            }),
            caps: result.caps.into_iter().map(CapMet::from).collect(),
            denials: result
                .denials
                .into_iter()
                .map(|denial| Denial {
                    host: denial.host,
                    port: denial.port,
                    rule: denial.rule,
                })
                .collect(),
            denials_count: result.denials_count,
            keys: result.keys,
            summary: result.summary,
            output: result.output.map(Printed::from),
            stdout: result.stdout.map(Printed::from),
            stderr: result.stderr.map(Printed::from),
            whole_output: result.log.then_some(whole),
            session_over: result.session_over,
            files: result.files.map(|files| Files {
                created: files.created,
                modified: files.modified,
                deleted: files.deleted,
                more: files.more,
                complete: files.complete,
            }),
        }
    }
}

/// Runs a command.
pub(super) async fn exec(
    task: &TaskDirectory,
    exec: Exec,
    no_policy: bool,
    form: Form,
    permit: OwnedSemaphorePermit,
) -> Result<Response<Body>, Problem> {
    let request = ExecRequest {
        no_policy,
        ..request(exec, form)?
    };
    let request = Request::Exec(Box::new(request));
    let control = Control::ask(task, &request).await?;
    let run = Run::new(task, control, None, permit);
    if form == Form::Whole {
        let outcome = run.wait().await.result?;
        return Ok(json(StatusCode::OK, &outcome));
    }
    run.stream(form, |_, _| ()).await
}

fn request(exec: Exec, form: Form) -> Result<ExecRequest, Problem> {
    let stdin = match (exec.stdin, exec.stdin_base64) {
        (None, None) => Stdin::Nothing,
        (Some(text), None) => Stdin::Bytes(STANDARD.encode(text)),
        (None, Some(bytes)) => Stdin::Bytes(bytes),
        (Some(_), Some(_)) => {
            let detail = "give `stdin` or `stdin_base64`, not both";
            return Err(Problem::new(Kind::Invalid, detail));
        }
    };
    Ok(ExecRequest {
        argv: exec.argv,
        shell: exec.shell,
        tool: exec.tool.map(|name| ToolCall {
            name,
            arguments: exec.arguments,
        }),
        cwd: exec.cwd,
        env: exec.env,
        isolation: exec.isolation.map(|own| match own {
            Own::Fresh => Isolation::Fresh,
            Own::Tightened => Isolation::Tightened,
        }),
        stdin,
        report: report(form),
        merged: exec.merged,
        limits: exec.limits.into(),
        timeout_ms: exec.timeout_ms,
        files: exec.files,
        leashed: true,
        no_policy: false,
    })
}

/// What the supervisor shall do with what is printed.
pub(super) fn report(form: Form) -> Report {
    match form {
        Form::Whole => Report::Collected,
        Form::ServerSent | Form::Lines => Report::Shown,
    }
}
