//! A task's life: the supervisor process from its start to its last record.

use std::{
    io::{self, Read, Write},
    os::fd::AsFd,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stockade_approval::{Accepted, Signed};
use stockade_audit::RecorderClient;
use stockade_budget::Unit;
use stockade_gateway::HostRule;
use stockade_policy::Source;
use stockade_sandbox::{Sandbox, disk::Mounted, files};
use stockade_types::{Denial, Event, EventKind, wire};
use stockade_vault::SecretName;
use zeroize::Zeroizing;

use crate::{
    approvals::Approvals,
    caps,
    control::{self, Answer, Asked, Reply, Request},
    disk,
    error::SupervisorError,
    exec::{Command, Context, ExecError, Execs, Fault, FreshPool, Gate, Refusals, exit_code},
    fingerprints::Fingerprints,
    gateway::{GatewayProcess, Keys},
    happening::{Happening, watch_part},
    judge::Judge,
    meter::{self, Meter},
    network::Grants,
    part::Part,
    policy::{POLICY, TaskPolicy},
    programs::{ProgramRecord, shortened},
    publish::{Ports, Publisher},
    recorder, save,
    secrets::HeldSecrets,
    state::{StateDirectory, TaskDirectory, TaskLock},
    task::{Main, PLAN, Plan, STATUS, Session, TaskState, TaskStatus},
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
    let task = open(folder)?;
    let (happenings, loop_end) = channel();
    let started = read_keys().and_then(|keys| Supervisor::start(task.clone(), &keys, &happenings));
    match started {
        Ok(supervisor) => {
            tell(&Started::Running);
            supervisor.run(&loop_end)
        }
        Err(error) => {
            let reason = error.to_string();
            if !matches!(error, SupervisorError::Running) {
                let status = task.read::<TaskStatus>(STATUS)?;
                task.write(
                    STATUS,
                    &status.in_state(TaskState::Failed {
                        reason: reason.clone(),
                    }),
                )?;
            }
            tell(&match &error {
                SupervisorError::Sandbox(missing) => Started::NoWall(missing.clone()),
                _ => Started::Failed(reason),
            });
            Err(error)
        }
    }
}

fn open(folder: &Path) -> Result<TaskDirectory, SupervisorError> {
    let task = TaskDirectory::at(folder)?;
    let state = folder.parent().and_then(Path::parent).map(Path::to_owned);
    StateDirectory::open(state, None, None)?;
    Ok(task)
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
    /// How many processes the kernel has ended at the cap on memory.
    ended_for_memory: u64,
    _disk: Option<Mounted>,
    _lock: TaskLock,
}

impl Supervisor {
    fn start(
        task: TaskDirectory,
        keys: &Keys,
        happenings: &Sender<Happening>,
    ) -> Result<Self, SupervisorError> {
        let lock = task.lock()?;
        let mut plan: Plan = task.read(PLAN)?;
        let policy = TaskPolicy::of_task(&task, &plan.contract.policy)?;
        let is_tried = policy.is_stockades_own();
        let workspace = plan.sandbox.workspace.target.to_string_lossy();
        let judge = Judge::new(policy, &plan.task, workspace.into_owned());
        let disk = disk::mount_for_good(&task, &plan)?;
        let session = plan.session.take();
        if session.is_some() {
            // The plan on disk is the task's own again, whatever happens.
            task.write(PLAN, &plan)?;
            plan.routes.clear();
            plan.allow.clear();
            plan.asks = false;
            plan.secrets.clear();
            plan.publish.clear();
        }
        let mut status: TaskStatus = task.read(STATUS)?;
        // A port that is taken is told before anything is built.
        let ports = Ports::take(&plan.publish)?;
        status.published = ports.published();
        let (recorder, record) = recorder::start(&task)?;
        watch_part(Part::Recorder, recorder, happenings.clone());
        // It makes its authority while the start is being recorded.
        let gateway = GatewayProcess::start(&task, &plan, keys);
        note(
            &record,
            EventKind::TaskStarted,
            json!({ "task": status, "contract": plan.contract }),
        )?;

        let gateway = gateway?;
        let mut spec = plan.sandbox.clone();
        let trust = files::trust(&gateway.authority()?, &spec.grants);
        spec.files.extend(trust.files);
        spec.covers.extend(trust.covers);
        spec.trust_stores.extend(trust.trust_stores);
        let (sandbox, listeners) = Sandbox::start(&crate::part::executable(), &spec)?;
        let report = serde_json::to_value(sandbox.report()).unwrap_or_default();
        note(&record, EventKind::SandboxVerified, report)?;
        let programs = if spec.watch_execs {
            Some(ProgramRecord::start(&sandbox, &record, happenings)?)
        } else {
            None
        };
        let (gateway, events, link) = gateway.serve(listeners)?;
        watch_part(Part::Gateway, gateway, happenings.clone());
        let gateway_record = record.clone();
        let refusals = Arc::new(Refusals::default());
        let meter = Meter::new(&task, &plan, &status);
        let asked = meter.clone();
        let warned = record.clone();
        meter.rest_now_and_then(move |warning| note(&warned, EventKind::Budget, warning).is_ok());
        let noted = Arc::clone(&refusals);
        if !is_tried {
            judge.read_rules()?;
        }
        let judging = judge.clone();
        let secrets = HeldSecrets::new(&plan, keys);
        let held = secrets.clone();
        let (alarms, fingerprints) = (happenings.clone(), Fingerprints::of(&task));
        let approvals = Approvals::new(&task, &plan, keys, record.clone(), link.waiters());
        let approvals = Arc::new(approvals);
        let questions = Arc::clone(&approvals);
        std::thread::spawn(move || {
            events.pump(
                &asked,
                &held,
                &fingerprints,
                &questions,
                &judging,
                |event| {
                    let recorded = gateway_record.record(event).is_ok();
                    if event.body["honeytoken"] == true {
                        let _ = alarms.send(Happening::HoneytokenSent);
                    }
                    noted.note(event);
                    recorded
                },
            );
        });
        let gate = Gate::new(sandbox.init().clone(), record.clone());
        let fresh = FreshPool::new(
            sandbox.fresh(),
            link.networks(),
            programs.as_ref().map(ProgramRecord::watch),
        );
        watch_init(&sandbox, gate.clone(), happenings.clone());
        let seconds = plan.wall_seconds;
        let clock = happenings.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(seconds));
            let _ = clock.send(Happening::TimeUp);
        });
        caps::watch_memory(&sandbox, spec.limits.memory, happenings.clone());
        let watched = plan.disk_bytes.filter(|_| !plan.own_disk);
        caps::watch_disk(&task, watched, happenings.clone());
        if plan.main.terminal && session.is_none() {
            let ticks = happenings.clone();
            std::thread::spawn(move || {
                while ticks.send(Happening::Tick).is_ok() {
                    std::thread::sleep(QUIET / 4);
                }
            });
        }
        let status = status.in_state(TaskState::Running);
        let mut supervisor = Self {
            task,
            plan,
            status,
            sandbox,
            record,
            programs,
            execs: Execs::new(gate.numbers()),
            gate,
            judge,
            fresh,
            main: 0,
            session,
            watched: false,
            grants: Grants::new(link),
            secrets,
            approvals,
            ports: None,
            meter,
            saved_for: None,
            ended_for_memory: 0,
            _disk: disk,
            _lock: lock,
        };
        let ports = ports.serve(&supervisor.sandbox.sockets(), &supervisor.record)?;
        supervisor.ports = Some(ports);
        supervisor.main = supervisor.start_main()?;
        supervisor.task.write(STATUS, &supervisor.status)?;
        let commands = supervisor.context(keys, refusals, happenings);
        let listener = control::listen(&supervisor.task)?;
        control::serve(listener, happenings.clone(), Arc::new(commands));
        Ok(supervisor)
    }

    /// What the commands of clients share.
    fn context(
        &self,
        keys: &Keys,
        refusals: Arc<Refusals>,
        happenings: &Sender<Happening>,
    ) -> Context {
        let of_models = self.plan.routes.iter().map(|route| &route.placeholder);
        let of_secrets = self.plan.secrets.iter();
        let of_secrets = of_secrets.map(|secret| &secret.bound.placeholder);
        let planted = self.plan.honeytoken.iter();
        let planted = planted.map(|planted| planted.value().to_owned());
        let secrets = keys.values().chain(of_models).chain(of_secrets);
        let secrets = secrets.filter(|secret| !secret.is_empty()).cloned();
        let keys = self.plan.placeholder_variables().map(str::to_owned);
        let trust = self.trust_variables();
        let task = self.task.clone();
        Context {
            gate: self.gate.clone(),
            judge: self.judge.clone(),
            fresh: self.fresh.clone(),
            cwd: self.plan.main.cwd.clone(),
            env: self.environment(),
            kept: keys.chain(trust).collect(),
            secrets: secrets.chain(planted).collect(),
            redactors: OnceLock::new(),
            formats: OnceLock::new(),
            refusals,
            task: self.task.clone(),
            space: Box::new(move || save::space(&task).map_err(|error| error.to_string())),
            happenings: Mutex::new(happenings.clone()),
        }
    }

    fn start_main(&mut self) -> Result<u32, SupervisorError> {
        let main = self.command().clone();
        let log = self.task.output();
        let env = self.environment();
        note(
            &self.record,
            EventKind::ExecStarted,
            json!({ "main": true, "argv": shortened(&main.argv), "cwd": main.cwd }),
        )?;
        let command = Command {
            argv: &main.argv,
            env: &env,
            cwd: &main.cwd,
            terminal: main.terminal,
            log: self.session.is_none().then_some(log.as_path()),
            input: main.terminal || self.session.is_some(),
        };
        self.execs
            .start(&self.sandbox, &command)
            .map_err(SupervisorError::Control)
    }

    /// What this run of the task is about.
    fn command(&self) -> &Main {
        self.session
            .as_ref()
            .map_or(&self.plan.main, |session| &session.main)
    }

    /// Variables that name the certificate bundle.
    fn trust_variables(&self) -> Vec<String> {
        let all = files::TRUST_VARIABLES.iter().map(|name| (*name).to_owned());
        all.chain(self.command().trust_variables.iter().cloned())
            .collect()
    }

    /// The environment of every command: the plan's, and the trust variables.
    fn environment(&self) -> Vec<(String, String)> {
        let trust = self.trust_variables().into_iter();
        let trust = trust.map(|name| (name, files::BUNDLE.to_owned()));
        self.command().env.iter().cloned().chain(trust).collect()
    }

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
            Happening::CapPassed(denial) => {
                note(&self.record, EventKind::Denied, json!({ "denial": denial }))?;
                Ok(Some(TaskState::Stopped {
                    reason: denial.to_string(),
                }))
            }
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
        let starved = self.starved()?;
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
                        stockade_workspace::visible::line(program.as_bytes())
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

    /// Records that the kernel has ended processes at the cap on memory, if it
    /// has since the last time.
    fn starved(&mut self) -> Result<Option<Denial>, SupervisorError> {
        let ended = self.sandbox.ended_for_memory();
        if ended == self.ended_for_memory {
            return Ok(None);
        }
        self.ended_for_memory = ended;
        let cap = self.plan.sandbox.limits.memory.map_or(0, |cap| cap.bytes);
        let denial = caps::memory_denial(cap, None);
        note(
            &self.record,
            EventKind::Denied,
            json!({ "denial": denial, "processes": ended }),
        )?;
        Ok(Some(denial))
    }

    fn answer(&mut self, asked: Asked) -> Result<Option<TaskState>, SupervisorError> {
        let mut end = None;
        let reply = match asked.request {
            Request::Status => Reply::Once(Answer::State {
                state: self.status.state.clone(),
            }),
            Request::Attach { write, whole } => match self
                .execs
                .watch(self.main, write, whole)
                .inspect(|_| self.watched = true)
            {
                Some(watch) => Reply::Watch(watch),
                None => refuse("the task has no command"),
            },
            Request::Shell {
                argv,
                cwd,
                no_policy,
            } => self.shell(&argv, cwd.as_deref(), no_policy)?,
            // Clients' threads run these themselves.
            Request::Exec(_) | Request::Session(_) => refuse("it came to the wrong place"),
            Request::Pause => self.freeze(true, None)?,
            Request::Resume => self.freeze(false, None)?,
            Request::Snapshot => self.snapshot("asked for")?,
            Request::Allow { rule, seconds } => self.allow(asked.peer, rule, seconds)?,
            Request::TakeBack { secret } => self.take_back(asked.peer, &secret)?,
            Request::Raise { unit, more } => self.raise(asked.peer, unit, more)?,
            Request::Questions => self.questions(),
            Request::Answer(signed) => self.person_answers(asked.peer, &signed),
            Request::Reset => self.reset(asked.peer)?,
            Request::Policy { rules } => self.change_policy(asked.peer, rules)?,
            Request::Rules => Reply::Once(self.grants.list(&self.plan)),
            Request::Stop => {
                // Everything inside is gone before the answer is sent.
                self.sandbox.end();
                end = Some(TaskState::Stopped {
                    reason: "by a person".to_owned(),
                });
                Reply::Once(Answer::Done)
            }
        };
        let _ = asked.reply.send(reply);
        Ok(end)
    }

    fn shell(
        &mut self,
        argv: &[String],
        cwd: Option<&str>,
        no_policy: bool,
    ) -> Result<Reply, SupervisorError> {
        if self.gate.is_paused() {
            return Ok(refuse(&ExecError::Paused.to_string()));
        }
        let base = Path::new(&self.plan.main.cwd);
        let cwd = cwd.map_or_else(|| base.to_owned(), |cwd| base.join(cwd));
        let cwd = cwd.to_string_lossy().into_owned();
        if !no_policy && let Err(denial) = self.judge.at_terminal(argv, &cwd) {
            let body = json!({ "denial": denial, "argv": shortened(argv) });
            note(&self.record, EventKind::Denied, body)?;
            return Ok(Reply::Once(Answer::Refused {
                reason: denial.to_string(),
                fault: Fault::Policy,
                denial: Some(denial),
            }));
        }
        let verdict = if no_policy { "set aside" } else { "allow" };
        note(
            &self.record,
            EventKind::ExecStarted,
            json!({
                "main": false, "argv": shortened(argv), "cwd": cwd,
                "policy": { "verdict": verdict },
            }),
        )?;
        let env = self.environment();
        let command = Command {
            argv,
            env: &env,
            cwd: &cwd,
            terminal: true,
            log: None,
            input: true,
        };
        match self.execs.start(&self.sandbox, &command) {
            Ok(id) => Ok(self
                .execs
                .watch(id, true, true)
                .map_or_else(|| refuse("it ended at once"), Reply::Watch)),
            Err(error) => Ok(refuse(&error.to_string())),
        }
    }

    /// Allows a host from now on; who did so, and for how long, is in the record
    /// before it holds.
    fn allow(
        &mut self,
        peer: Option<u32>,
        rule: HostRule,
        seconds: Option<u64>,
    ) -> Result<Reply, SupervisorError> {
        if let Some(reason) = Grants::objection(&self.plan, &rule, seconds) {
            return Ok(refuse(&reason));
        }
        let until = seconds.map_or("the task ends".to_owned(), |seconds| {
            format!("{seconds} s later")
        });
        note(
            &self.record,
            EventKind::Overridden,
            json!({ "allow": rule, "by_uid": peer, "seconds": seconds, "until": until }),
        )?;
        Ok(match self.grants.give(rule, seconds) {
            Ok(()) => Reply::Once(Answer::Done),
            Err(error) => refuse(&error.to_string()),
        })
    }

    fn questions(&self) -> Reply {
        match self.approvals.waiting() {
            Ok(waiting) => Reply::Once(Answer::Questions { waiting }),
            Err(error) => refuse(&error.to_string()),
        }
    }

    fn person_answers(&self, peer: Option<u32>, signed: &Signed) -> Reply {
        let needs = match self.approvals.answer(signed, peer) {
            Ok(Accepted::More(people)) => people,
            Ok(Accepted::Approved | Accepted::Denied) => 0,
            Err(error) => return refuse(&error.to_string()),
        };
        Reply::Once(Answer::Answered { needs })
    }

    /// Judges by other rules of people from now on, if all of them can stand. Who did
    /// so is in the record before they count, and the task keeps them.
    fn change_policy(
        &mut self,
        peer: Option<u32>,
        rules: Vec<Source>,
    ) -> Result<Reply, SupervisorError> {
        let before = self.plan.contract.policy.clone();
        let policy = TaskPolicy::of_task(&self.task, &before)?.with_people(rules);
        let compiled = match policy.compile() {
            Ok(compiled) => compiled,
            Err(error) => return Ok(refuse(&format!("{error}; the rules stay as they were"))),
        };
        let after = policy.line();
        let body = json!({ "policy": after, "before": before.digest, "by_uid": peer });
        note(&self.record, EventKind::PolicyChanged, body)?;
        self.task.write(POLICY, &policy)?;
        self.plan.contract.policy = after.clone();
        // A look at an ended task has a narrower plan than the one on disk.
        let mut plan: Plan = self.task.read(PLAN)?;
        plan.contract.policy = after.clone();
        self.task.write(PLAN, &plan)?;
        self.judge.replace(compiled);
        Ok(Reply::Once(Answer::Policy { policy: after }))
    }

    /// Lets a secret be used no more. Its value is gone before the record says so.
    fn take_back(
        &mut self,
        peer: Option<u32>,
        secret: &SecretName,
    ) -> Result<Reply, SupervisorError> {
        if !self.secrets.take_back(secret) {
            return Ok(refuse(&format!("the task has no secret `{secret}`")));
        }
        let body = json!({ "secret": secret, "by_uid": peer });
        note(&self.record, EventKind::SecretTakenBack, body)?;
        Ok(match self.grants.take_back(secret) {
            Ok(()) => Reply::Once(Answer::Done),
            Err(error) => refuse(&error.to_string()),
        })
    }

    /// Raises the task's cap on `unit`; who did so is in the record before it
    /// holds.
    fn raise(
        &mut self,
        peer: Option<u32>,
        unit: Unit,
        more: u64,
    ) -> Result<Reply, SupervisorError> {
        let body = meter::raised(unit, more, peer);
        note(&self.record, EventKind::Budget, body)?;
        Ok(match self.meter.raise(unit, more) {
            Ok(cap) => Reply::Once(Answer::Raised { cap }),
            Err(error) => refuse(&error.to_string()),
        })
    }

    /// Lets an agent go on that a breaker has stopped; who did so is in the record
    /// before it holds.
    fn reset(&mut self, peer: Option<u32>) -> Result<Reply, SupervisorError> {
        let body = json!({ "reset": "breakers", "by_uid": peer });
        note(&self.record, EventKind::Budget, body)?;
        self.meter.reset();
        Ok(Reply::Once(Answer::Done))
    }

    fn freeze(&mut self, freeze: bool, cause: Option<&str>) -> Result<Reply, SupervisorError> {
        let state = if freeze {
            let cause = cause.map(str::to_owned);
            TaskState::Paused { cause }
        } else {
            TaskState::Running
        };
        self.gate.freeze(freeze).map_err(SupervisorError::Control)?;
        let mut body = json!({ "paused": freeze });
        if let Some(cause) = cause {
            body["cause"] = json!(cause);
        }
        note(&self.record, EventKind::Paused, body)?;
        self.status = self.status.in_state(state);
        self.task.write(STATUS, &self.status)?;
        Ok(Reply::Once(Answer::Done))
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

    /// Saves the work while everything inside stands still.
    fn snapshot(&mut self, label: &str) -> Result<Reply, SupervisorError> {
        let saved = self
            .gate
            .while_still(|| save::snapshot(&self.task, &self.plan, label))
            .map_err(SupervisorError::Control)?;
        match saved {
            Ok((number, body)) => {
                note(&self.record, EventKind::Snapshot, body)?;
                Ok(Reply::Once(Answer::Saved { number }))
            }
            Err(error) => Ok(refuse(&error.to_string())),
        }
    }

    /// Ends everything, saves the work, and writes the last record.
    fn finish(mut self, end: TaskState) -> Result<(), SupervisorError> {
        let commits = match end {
            TaskState::Done { .. } if self.session.is_none() => {
                save::commits(&self.task, &self.plan, &self.sandbox)
            }
            _ => json!({ "imported": false, "reason": "the task was ended" }),
        };
        self.fresh.close();
        self.gate.close();
        self.sandbox.end();
        if self.session.is_none() {
            self.execs.drain(self.main);
        }
        if let Some(programs) = &mut self.programs {
            programs.finish();
        }
        if let Some(ports) = &self.ports {
            ports.close();
        }
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
        let recorded = unanswered
            .and_then(|()| note(&self.record, EventKind::Snapshot, body))
            .and_then(|()| note(&self.record, EventKind::Imported, commits))
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

fn refuse(reason: &str) -> Reply {
    Reply::Once(Answer::Refused {
        reason: reason.to_owned(),
        fault: Fault::State,
        denial: None,
    })
}

/// Records an event; without the record, nothing may go on.
fn note(record: &RecorderClient, kind: EventKind, body: Value) -> Result<(), SupervisorError> {
    match record.record(&Event::new(kind, body)) {
        Ok(_) => Ok(()),
        Err(error) => Err(SupervisorError::Record(error.to_string())),
    }
}

fn watch_init(sandbox: &Sandbox, gate: Gate, happenings: Sender<Happening>) {
    let init = sandbox.init().clone();
    std::thread::spawn(move || {
        while let Ok(Some(reply)) = init.receive() {
            if !gate.told(&reply) && happenings.send(Happening::Init(reply)).is_err() {
                return;
            }
        }
        let _ = happenings.send(Happening::SandboxEnded);
    });
}
