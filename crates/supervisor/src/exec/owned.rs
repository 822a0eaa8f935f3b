//! Commands that belong to the client that asked for them. One thread, the
//! client's, moves everything: what is typed, what is printed, the time, the
//! end. Nothing is held beyond fixed buffers: a client that does not read
//! makes its command wait, as the next in a pipeline would.

mod capped;
mod flow;
mod session;

use std::{
    collections::BTreeMap,
    io::Read,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc::Sender},
    time::{Duration, Instant},
};

use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::{Value, json};
use stockade_scan::{Formats, Redactor};
use stockade_types::{
    Denial, Verdict,
    wire::{Exec, ExitStatus},
};
use stockade_workspace::{TaskSpace, TreeSight};

use self::{
    capped::caps_of_command,
    flow::{Cut, Flow, Hands, Input, Next, Sink},
};
use super::{
    clean,
    ending::Ending,
    exit_code,
    fresh::FreshPool,
    gate::{End, Gate, wake},
    refusals::Refusals,
    request::{ExecError, ExecLimits, ExecRequest, Report, Stdin},
    result::{ExecEnd, ExecResult},
    summary,
    text::{LOG_MAX, Log},
};
use crate::{
    caps::{Beginning, CapWatch},
    control::{Answer, Lines, write_line},
    happening::Happening,
    judge::{Admitted, Attempt, Contained, HELD, Judge},
    programs::shortened,
    project::ProjectTool,
    state::TaskDirectory,
};

/// How many logs of commands are kept in a task's folder.
const LOGS_MAX: u32 = 100;

/// What is the same for all commands of a task.
pub(crate) struct Context {
    pub(crate) gate: Gate,
    /// What may start.
    pub(crate) judge: Judge,
    /// Sandboxes for commands that want one of their own.
    pub(crate) fresh: FreshPool,
    /// The folder of the main command.
    pub(crate) cwd: String,
    /// Commands that the project declares.
    pub(crate) tools: BTreeMap<String, ProjectTool>,
    /// The environment of the main command.
    pub(crate) env: Vec<(String, String)>,
    /// Variables that nobody else sets.
    pub(crate) kept: Vec<String>,
    /// Keys and placeholders, which do not stand in collected output.
    pub(crate) secrets: Vec<String>,
    pub(crate) redactors: OnceLock<Arc<Vec<Redactor>>>,
    pub(crate) formats: OnceLock<Option<Arc<Formats>>>,
    pub(crate) refusals: Arc<Refusals>,
    /// What is known of the task's caps.
    pub(crate) caps: CapWatch,
    /// Whose commands these are.
    pub(crate) task: TaskDirectory,
    /// The workspace, for telling what changed.
    pub(crate) space: Box<dyn Fn() -> Result<TaskSpace, String> + Send + Sync>,
    /// Whom to tell that the record is lost.
    pub(crate) happenings: Mutex<Sender<Happening>>,
}

/// The commands of one client, one after another.
pub(crate) struct Owned {
    context: Arc<Context>,
    wake: Arc<OwnedFd>,
}

impl Owned {
    pub(crate) fn new(context: Arc<Context>) -> std::io::Result<Self> {
        Ok(Self {
            context,
            wake: wake()?,
        })
    }

    /// Runs one command for `client` and tells it how it went.
    pub(crate) fn run(&self, client: &mut Lines, request: &ExecRequest) -> std::io::Result<()> {
        match self.try_run(client, request) {
            Ok(Some(result)) => {
                let answer = Answer::Ended {
                    exit: result.exit,
                    result: Some(Box::new(result)),
                };
                write_line(client.stream(), &answer)
            }
            // The task has ended, or the client has gone.
            Ok(None) => Err(std::io::ErrorKind::ConnectionAborted.into()),
            Err(error) => self.refuse(client, &error),
        }
    }

    fn refuse(&self, client: &Lines, error: &ExecError) -> std::io::Result<()> {
        if let ExecError::Record(_) = error {
            self.context.record_is_lost();
        }
        let answer = Answer::Refused {
            reason: error.to_string(),
            fault: error.fault(),
            denial: match error {
                ExecError::Denied(denial) => Some(denial.clone()),
                _ => None,
            },
        };
        write_line(client.stream(), &answer)
    }

    fn try_run(
        &self,
        client: &mut Lines,
        request: &ExecRequest,
    ) -> Result<Option<ExecResult>, ExecError> {
        let context = &self.context;
        let tool = request.of_tool(&context.tools)?;
        let (request, shown) = match &tool {
            Some((request, shown)) => (request, Some(*shown)),
            None => (request, None),
        };
        request.check(&context.kept, |value| context.is_key(value))?;
        let id = context.gate.number();
        let argv = request.words()?;
        let cwd = request.folder(&context.cwd);
        let contained = context.admit(id, request, &argv, &cwd)?;
        let request = &request.within(contained.is_some());
        let before = Before::command(context, request.files)?;
        let fresh = request.isolation.map(|kind| context.fresh.take(kind));
        let fresh = fresh.transpose()?;

        let (inside, mut flow) = self.streams(id, request)?;
        let body = json!({
            "exec": id, "main": false, "argv": shortened(&argv), "cwd": cwd,
            "isolation": request.isolation, "policy": verdict(request.no_policy, contained.as_ref()),
        });
        let exec = context.exec(id, request, &argv, &cwd);
        let descriptors: Vec<_> = inside.iter().map(AsFd::as_fd).collect();
        let ending = match &fresh {
            Some(sandbox) => {
                context.gate.start_in(sandbox, exec, &descriptors, body)?;
                Ending::own(sandbox)
            }
            None => Ending::Told {
                slot: context.gate.start(exec, &descriptors, &self.wake, body)?,
                wake: &self.wake,
            },
        };
        drop(descriptors);
        drop(inside);
        if matches!(request.report, Report::Streamed | Report::Shown) {
            let watching = Answer::Watching {
                write: request.stdin == Stdin::Typed,
                terminal: false,
            };
            write_line(client.stream(), &watching)?;
        }
        let deadline = request
            .timeout_ms
            .map(|time| before.started + Duration::from_millis(time));
        let hands = Hands {
            kill: &|| context.gate.kill(id),
            look: &|| context.look(),
        };
        let cut = flow.run(client, &ending, deadline, &hands);
        context.gate.left(id);
        let Some(mut result) = context.result(id, ending.end(), cut) else {
            return Ok(None);
        };
        result.whole_tree |= fresh.is_some();
        result.contained = contained;
        flow.take_sink().report(id, &mut result);
        result.summary = shown.and_then(|bytes| context.summary(&result, bytes));
        before.tell(context, &request.limits, &mut result)?;
        context.note_end(&result)?;
        Ok((!flow.client_is_gone()).then_some(result))
    }

    /// The descriptors for inside, and the other ends.
    fn streams(&self, id: u32, request: &ExecRequest) -> Result<(Vec<OwnedFd>, Flow), ExecError> {
        let bytes = request.stdin.bytes()?;
        let typed = request.stdin == Stdin::Typed;
        let silent = request.report == Report::Discarded;
        let count = if request.merged { 1 } else { 2 };
        let sink = self.context.sink(id, request.report, count);
        if silent && !typed && bytes.is_empty() {
            return Ok((
                Vec::new(),
                Flow::new(None, Vec::new(), sink, request.leashed),
            ));
        }
        let (stdin, write) = pipe()?;
        let input = (typed || !bytes.is_empty())
            .then(|| Input::new(write, bytes, if typed { Next::Typed } else { Next::End }))
            .transpose()?;
        let (out, stdout) = pipe()?;
        let (stderr, sources) = if request.merged {
            (stdout.try_clone()?, vec![out])
        } else {
            let (error, stderr) = pipe()?;
            (stderr, vec![out, error])
        };
        let flow = Flow::new(input, sources, sink, request.leashed);
        Ok((vec![stdin, stdout, stderr], flow))
    }
}

/// What is known when a command begins.
struct Before {
    started: Instant,
    refused: u64,
    caps: Beginning,
    files: Option<(TaskSpace, TreeSight)>,
}

impl Before {
    fn command(context: &Context, files: bool) -> Result<Self, ExecError> {
        let started = Instant::now();
        let look = |space: TaskSpace| Ok((look(&space)?, space));
        let files = files.then(|| (context.space)().map_err(ExecError::Files).and_then(look));
        Ok(Self {
            started,
            refused: context.refusals.count(),
            caps: context.caps.begin(),
            files: files.transpose()?.map(|(sight, space)| (space, sight)),
        })
    }

    /// Tells what has happened since.
    fn tell(
        self,
        context: &Context,
        own: &ExecLimits,
        result: &mut ExecResult,
    ) -> Result<(), ExecError> {
        result.wall_ms = millis(self.started.elapsed());
        (result.denials_count, result.denials) = context.refusals.since(self.refused);
        result.caps = context.caps.met(&self.caps, own.open_files);
        let of_command = caps_of_command(context.caps.limits(), own, result);
        result.caps.extend(of_command);
        let stands = result.end != ExecEnd::TaskEnded;
        if let Some((space, before)) = self.files.filter(|_| stands) {
            result.files = Some(before.changes(&look(&space)?));
        }
        Ok(())
    }
}

fn look(space: &TaskSpace) -> Result<TreeSight, ExecError> {
    let sight = space.look();
    sight.map_err(|error| ExecError::Files(error.to_string()))
}

fn pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// What the record says of how the policy judged a command that starts.
fn verdict(no_policy: bool, contained: Option<&Contained>) -> Value {
    match contained {
        _ if no_policy => json!({ "verdict": "set aside" }),
        Some(contained) => json!({ "verdict": Verdict::Contain, "rule": contained.rule }),
        None => json!({ "verdict": Verdict::Allow }),
    }
}

impl Context {
    /// Whether a command may run, and why it may do so only with nothing outward.
    fn admit(
        &self,
        id: u32,
        request: &ExecRequest,
        argv: &[String],
        cwd: &str,
    ) -> Result<Option<Contained>, ExecError> {
        if request.no_policy {
            return Ok(None);
        }
        let attempt = Attempt {
            words: argv,
            folder: cwd,
            variables: &request.env,
            stdin: &request.stdin,
            patience: HELD,
        };
        match self.judge.command(&attempt) {
            Ok(Admitted::Free) => Ok(None),
            Ok(Admitted::Contained(contained)) => Ok(Some(contained)),
            Err(denial) => {
                let what = json!({ "exec": id, "argv": shortened(argv), "cwd": cwd });
                Err(self.denied(what, denial))
            }
        }
    }

    /// Records what the policy does not let run.
    fn denied(&self, mut what: Value, denial: Box<Denial>) -> ExecError {
        what["denial"] = json!(denial);
        match self.gate.note_denied(what) {
            Ok(()) => ExecError::Denied(denial),
            Err(error) => error,
        }
    }

    /// What becomes of what command `id` prints to `sources` descriptors.
    fn sink(&self, id: u32, report: Report, sources: usize) -> Sink {
        match report {
            Report::Streamed => Sink::Streamed,
            Report::Shown => Sink::shown(&self.redactors(), sources),
            Report::Discarded => Sink::Discarded,
            Report::Collected => {
                if let Some(old) = id.checked_sub(LOGS_MAX) {
                    let _ = std::fs::remove_file(self.task.exec_output(old));
                }
                let log = Log::new(self.task.exec_output(id));
                Sink::collected(log, &self.redactors(), self.formats(), sources)
            }
        }
    }

    /// What `result` has printed, in so many bytes.
    fn summary(&self, result: &ExecResult, bytes: usize) -> Option<String> {
        let output = result.output.as_ref()?;
        let whole = result.log.then(|| self.whole_output(result.exec)).flatten();
        let rest = format!("`tool_output` with `of` {} tells more", result.exec);
        let text = whole.as_ref().unwrap_or(&output.text);
        Some(summary::summary(text, bytes, &rest))
    }

    /// All that the command printed, if it was so much that it is kept.
    pub(crate) fn whole_output(&self, exec: u32) -> Option<String> {
        let mut text = Vec::new();
        let file = std::fs::File::open(self.task.exec_output(exec)).ok()?;
        file.take(LOG_MAX).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Records how a command ended.
    fn note_end(&self, result: &ExecResult) -> Result<(), ExecError> {
        let cpu_micros = result.cpu_ms.map(|time| (time * 1000.0).round());
        Ok(self.gate.note_end(json!({
            "exec": result.exec,
            "exit": result.exit,
            "details": {
                "end": result.end,
                "cpu_micros": cpu_micros,
                "peak_kib": result.peak_kib,
                "error": result.error,
                "caps": result.caps,
            },
        }))?)
    }

    fn exec(&self, id: u32, request: &ExecRequest, argv: &[String], cwd: &str) -> Exec {
        let own = self
            .env
            .iter()
            .filter(|(name, _)| !request.env.contains_key(name));
        let own = own.map(|(name, value)| (name, value));
        Exec {
            id,
            terminal: false,
            tree: request.is_tree(),
            limits: request.limits.into(),
            cwd: cwd.as_bytes().to_vec(),
            argv: argv.iter().map(|word| word.as_bytes().to_vec()).collect(),
            env: own
                .chain(&request.env)
                .map(|(name, value)| format!("{name}={value}").into_bytes())
                .collect(),
        }
    }

    fn is_key(&self, value: &str) -> bool {
        self.secrets
            .iter()
            .any(|secret| value.contains(secret.as_str()))
    }

    fn redactors(&self) -> Arc<Vec<Redactor>> {
        let make = || {
            let each = self.secrets.iter();
            Arc::new(
                each.filter_map(|secret| Redactor::new(secret, clean::REMOVED).ok())
                    .collect(),
            )
        };
        Arc::clone(self.redactors.get_or_init(make))
    }

    fn formats(&self) -> Option<Arc<Formats>> {
        let make = || Formats::new().ok().map(Arc::new);
        self.formats.get_or_init(make).clone()
    }

    /// What is known from process 1; `None` if everything inside is gone, and not
    /// for a cap.
    fn result(&self, id: u32, end: Option<End>, cut: Option<Cut>) -> Option<ExecResult> {
        let mut result = ExecResult::exited(id, 0);
        match end {
            Some(End::Exited {
                status,
                cpu_micros,
                peak_kib,
                tree,
            }) => {
                result.whole_tree = tree;
                result.exit = exit_code(status);
                result.cpu_ms = Some(millis(Duration::from_micros(cpu_micros)));
                result.peak_kib = Some(peak_kib);
                if let ExitStatus::Signal(signal) = status {
                    result.signal = Some(signal);
                    result.end = match cut {
                        Some(Cut::Timeout) => ExecEnd::Timeout,
                        Some(Cut::ClientGone) => ExecEnd::ClientGone,
                        Some(Cut::Tampered) | None => ExecEnd::Signalled,
                    };
                }
                if cut == Some(Cut::Tampered) {
                    result.error = Some(TAMPERED.to_owned());
                }
            }
            Some(End::NotStarted { errno }) => {
                result.exit = NOT_FOUND;
                result.end = ExecEnd::NotStarted;
                result.error = Some(std::io::Error::from_raw_os_error(errno).to_string());
            }
            Some(End::SandboxGone) => {
                self.caps.ended()?;
                result.exit = KILLED;
                result.end = ExecEnd::TaskEnded;
            }
            None => return None,
        }
        Some(result)
    }

    /// Sees what runs inside: caps that the kernel keeps and nobody counts.
    fn look(&self) {
        let _ = self.caps.look();
    }

    /// Without the record, nothing may go on.
    fn record_is_lost(&self) {
        let happenings = self
            .happenings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = happenings.send(Happening::RecordLost);
    }
}

const TAMPERED: &str = "something inside wrote where only the session's shell tells how a text \
                        ended, so the session was ended";

/// What a shell returns for a command that it cannot find.
const NOT_FOUND: i32 = 127;
/// And for one that was killed.
const KILLED: i32 = 128 + 9;

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
