//! How a task's supervisor starts: its parts in order, and what its commands share.

use std::{
    panic::resume_unwind,
    process::Child,
    sync::{Arc, Mutex, OnceLock, mpsc::Sender},
    thread,
    time::Duration,
};

use serde_json::json;
use stockade_audit::{Pending, RecordError, RecorderClient};
use stockade_sandbox::{Layer, Listeners, Sandbox, SandboxError, files, layers};
use stockade_types::{Event, EventKind};

use super::{QUIET, Supervisor, note};
use crate::{
    advice::Adviser,
    approvals::Approvals,
    caps::{self, CapWatch, OwnDisk},
    control, disk,
    error::SupervisorError,
    exec::{Command, Context, Execs, FreshPool, Gate, Refusals},
    fingerprints::Fingerprints,
    gateway::{Answerers, EventChannel, Events, GatewayProcess, Keys},
    happening::{Happening, watch_part},
    judge::{Judge, Person},
    mcp::{Servers, Support},
    meter::Meter,
    network::Grants,
    part::Part,
    policy::TaskPolicy,
    programs::{ProgramRecord, shortened},
    publish::Ports,
    recorder,
    redactions::Redactions,
    save,
    secrets::HeldSecrets,
    state::{StateDirectory, TaskDirectory},
    task::{Main, PLAN, Plan, STATUS, Session, TaskState, TaskStatus},
};

impl Supervisor {
    /// Starts the task in `task`: its record, its gateway, its sandbox, its main
    /// command, and then the socket at which it can be asked.
    pub(super) fn start(
        task: TaskDirectory,
        state: StateDirectory,
        keys: &Keys,
        happenings: &Sender<Happening>,
    ) -> Result<Self, SupervisorError> {
        let lock = task.lock()?;
        let mut plan: Plan = task.read(PLAN)?;
        let policy = TaskPolicy::of_task(&task, &plan.contract.policy)?;
        let disk = disk::mount_for_good(&task, &plan)?;
        let session = take_session(&task, &mut plan)?;
        let mut status: TaskStatus = task.read(STATUS)?;
        // A port that is taken is told before anything is built.
        let ports = Ports::take(&plan.publish)?;
        status.published = ports.published();
        let gateway = GatewayProcess::of_task(&task, &plan, keys)?;
        // While the gateway makes its authority, which the sandbox needs.
        let redactions = Redactions::of(&plan, keys)?;
        // The sandbox is built while the record waits for the disk; nothing runs in it
        // before both are done.
        let (recorded, built) = thread::scope(|scope| {
            let recorded = scope.spawn(|| start_record(&task, &plan, &status, &redactions));
            let built = start_sandbox(&plan, &gateway);
            (recorded.join(), built)
        });
        let (recorder, record) = recorded.unwrap_or_else(|panic| resume_unwind(panic))?;
        watch_part(Part::Recorder, recorder, happenings.clone());
        let (sandbox, listeners) = built?;
        let report = serde_json::to_value(sandbox.report()).unwrap_or_default();
        // The record of the command's start, which is waited for, follows it to the disk.
        let verified = Event::new(EventKind::SandboxVerified, report);
        let posted = record.post(&verified);
        posted.map_err(|error| SupervisorError::Record(error.to_string()))?;
        let programs = if plan.sandbox.watch_execs {
            Some(ProgramRecord::start(&sandbox, &record, happenings)?)
        } else {
            None
        };
        let (gateway, events, link) = gateway.serve(listeners)?;
        watch_part(Part::Gateway, gateway, happenings.clone());
        let refusals = Arc::new(Refusals::default());
        let meter = Meter::new(&task, &plan, &status);
        let warned = record.clone();
        meter.rest_now_and_then(move |warning| note(&warned, EventKind::Budget, warning).is_ok());
        let secrets = HeldSecrets::new(&plan.secrets, keys, &redactions);
        let approvals = Approvals::new(&task, &plan, keys, record.clone(), link.waiters());
        let approvals = Arc::new(approvals);
        let judge = judge(policy, &plan, &approvals)?;
        let fresh = FreshPool::new(
            sandbox.fresh(),
            link.networks(),
            programs.as_ref().map(ProgramRecord::watch),
        );
        let servers = Servers::new(
            Support {
                state,
                fresh: fresh.clone(),
                record: record.clone(),
                judge: judge.clone(),
                redactions,
            },
            &task,
            &plan,
            keys,
        );
        answer_the_gateway(
            events,
            Answerers {
                meter: meter.clone(),
                secrets: secrets.clone(),
                fingerprints: Fingerprints::of(&task),
                approvals: Arc::clone(&approvals),
                judge: judge.clone(),
                adviser: Adviser::new(judge.clone(), record.clone(), plan.contract.hooks),
                servers: servers.clone(),
            },
            Noted {
                record: record.clone(),
                refusals: Arc::clone(&refusals),
                alarms: happenings.clone(),
            },
        );
        let gate = Gate::new(sandbox.init().clone(), record.clone());
        watch_init(&sandbox, gate.clone(), happenings.clone());
        let caps = watch_caps(&task, &plan, &sandbox, happenings);
        if plan.main.terminal && session.is_none() {
            tick(happenings.clone());
        }
        status.caps_met.clear();
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
            servers,
            main: 0,
            session,
            watched: false,
            grants: Grants::new(link),
            secrets,
            approvals,
            ports: None,
            meter,
            saved_for: None,
            caps_begun: caps.begin(),
            caps,
            caps_met: Vec::new(),
            _disk: disk,
            _lock: lock,
        };
        let ports = ports.serve(&supervisor.sandbox.sockets(), &supervisor.record)?;
        supervisor.ports = Some(ports);
        let commands = Arc::new(supervisor.context(keys, refusals, happenings));
        supervisor.servers.serve_tools(&commands);
        // A command may fill the disk at once: before it starts, all is there.
        let listener = control::listen(&supervisor.task)?;
        supervisor.note_running()?;
        supervisor.main = supervisor.start_main()?;
        control::serve(listener, happenings.clone(), commands);
        Ok(supervisor)
    }

    /// What the commands of clients share.
    fn context(
        &self,
        keys: &Keys,
        refusals: Arc<Refusals>,
        happenings: &Sender<Happening>,
    ) -> Context {
        let planted = self.plan.honeytoken.iter();
        let planted = planted.map(|planted| planted.value().to_owned());
        let secrets = keys.values().chain(self.plan.placeholders());
        let secrets = secrets.filter(|secret| !secret.is_empty()).cloned();
        let keys = self.plan.placeholder_variables().map(str::to_owned);
        let trust = self.trust_variables();
        let task = self.task.clone();
        Context {
            gate: self.gate.clone(),
            judge: self.judge.clone(),
            fresh: self.fresh.clone(),
            cwd: self.plan.main.cwd.clone(),
            tools: self.plan.tools.clone(),
            env: self.environment(),
            kept: keys.chain(trust).collect(),
            secrets: secrets.chain(planted).collect(),
            redactors: OnceLock::new(),
            formats: OnceLock::new(),
            refusals,
            caps: self.caps.clone(),
            task: self.task.clone(),
            space: Box::new(move || save::space(&task).map_err(|error| error.to_string())),
            happenings: Mutex::new(happenings.clone()),
        }
    }

    /// Tells of the main command in the record and of the task in its status; the disk
    /// does both at once.
    fn note_running(&self) -> Result<(), SupervisorError> {
        let main = self.command();
        let body = json!({ "main": true, "argv": shortened(&main.argv), "cwd": main.cwd });
        let (task, status) = (&self.task, &self.status);
        let (written, noted) = thread::scope(|scope| {
            let written = scope.spawn(|| task.write(STATUS, status));
            let noted = note(&self.record, EventKind::ExecStarted, body);
            (written.join(), noted)
        });
        noted?;
        written.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn start_main(&mut self) -> Result<u32, SupervisorError> {
        let main = self.command().clone();
        let log = self.task.output();
        let env = self.environment();
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
    pub(super) fn command(&self) -> &Main {
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
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let trust = self.trust_variables().into_iter();
        let trust = trust.map(|name| (name, files::BUNDLE.to_owned()));
        self.command().env.iter().cloned().chain(trust).collect()
    }
}

/// Who judges by `policy`; it asks people if the task does.
fn judge(
    policy: TaskPolicy,
    plan: &Plan,
    approvals: &Arc<Approvals>,
) -> Result<Judge, SupervisorError> {
    let is_tried = policy.is_stockades_own();
    let workspace = plan.sandbox.workspace.target.to_string_lossy();
    let person = plan.asks.then(|| Arc::clone(approvals) as Arc<dyn Person>);
    let judge = Judge::new(policy, &plan.task, workspace.into_owned(), person);
    if !is_tried {
        judge.read_rules()?;
    }
    Ok(judge)
}

/// What a look into an ended task is about, and `plan` without anything that
/// reaches outward if it is one.
fn take_session(task: &TaskDirectory, plan: &mut Plan) -> Result<Option<Session>, SupervisorError> {
    let session = plan.session.take();
    if session.is_some() {
        // The plan on disk is the task's own again, whatever happens.
        task.write(PLAN, plan)?;
        plan.routes.clear();
        plan.allow.clear();
        plan.asks = false;
        plan.secrets.clear();
        plan.publish.clear();
        plan.mcp.clear();
        plan.tools.clear();
    }
    Ok(session)
}

/// The task's record, with its start in it.
fn start_record(
    task: &TaskDirectory,
    plan: &Plan,
    status: &TaskStatus,
    redactions: &Redactions,
) -> Result<(Child, RecorderClient), SupervisorError> {
    let (recorder, record) = recorder::start(task, redactions)?;
    let started = json!({ "task": status, "contract": plan.contract });
    note(&record, EventKind::TaskStarted, started)?;
    Ok((recorder, record))
}

/// The sandbox, which trusts the gateway's authority.
fn start_sandbox(
    plan: &Plan,
    gateway: &GatewayProcess,
) -> Result<(Sandbox, Listeners), SupervisorError> {
    let mut spec = plan.sandbox.clone();
    let trust = files::trust(&gateway.authority()?, &spec.grants);
    spec.files.extend(trust.files);
    spec.covers.extend(trust.covers);
    spec.trust_stores.extend(trust.trust_stores);
    let (sandbox, listeners) = Sandbox::start(&crate::part::executable(), &spec)?;
    let captured = sandbox.report().capture;
    if !plan.contract.allows(captured, layers::has_redirect()) {
        return Err(SupervisorError::Sandbox(SandboxError {
            layer: Layer::Network,
            step: "lead every port to the gateway".to_owned(),
            cause: "the kernel speaks nf_tables and refuses the redirect (is the module \
                    nft_redir there?); `--accept reduced` starts with ports 80 and 443 only"
                .to_owned(),
        }));
    }
    Ok((sandbox, listeners))
}

/// Where what the gateway tells goes.
struct Noted {
    record: RecorderClient,
    refusals: Arc<Refusals>,
    alarms: Sender<Happening>,
}

impl Noted {
    /// Acts on what `event` tells.
    fn heed(&self, event: &Event) {
        if event.body["honeytoken"] == true {
            let _ = self.alarms.send(Happening::HoneytokenSent);
        }
        self.refusals.note(event);
    }
}

impl Events for Noted {
    fn record(&self, event: &Event) -> Result<Pending, RecordError> {
        let recorded = self.record.hand_over(event);
        self.heed(event);
        recorded
    }

    fn post(&self, event: &Event) -> Result<(), RecordError> {
        let recorded = self.record.post(event);
        self.heed(event);
        recorded
    }
}

/// Answers what the gateway asks, and records what it tells, for as long as it
/// lives.
fn answer_the_gateway(events: EventChannel, answers: Answerers, noted: Noted) {
    thread::spawn(move || events.pump(&answers, &noted));
}

/// Ends the task when its time is up, and watches its caps.
fn watch_caps(
    task: &TaskDirectory,
    plan: &Plan,
    sandbox: &Sandbox,
    happenings: &Sender<Happening>,
) -> CapWatch {
    let seconds = plan.wall_seconds;
    let clock = happenings.clone();
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(seconds));
        let _ = clock.send(Happening::TimeUp);
    });
    let own_disk = plan.disk_bytes.filter(|_| plan.own_disk);
    let own_disk = own_disk.map(|bytes| OwnDisk {
        at: disk::at(task),
        bytes,
    });
    let watch = CapWatch::new(sandbox, plan.sandbox.limits, own_disk);
    watch.start(happenings.clone());
    let watched = plan.disk_bytes.filter(|_| !plan.own_disk);
    caps::watch_disk(task, watched, &watch, happenings.clone());
    watch
}

/// Lets the supervisor look now and then whether the agent is quiet.
fn tick(happenings: Sender<Happening>) {
    thread::spawn(move || {
        while happenings.send(Happening::Tick).is_ok() {
            thread::sleep(QUIET / 4);
        }
    });
}

fn watch_init(sandbox: &Sandbox, gate: Gate, happenings: Sender<Happening>) {
    let init = sandbox.init().clone();
    thread::spawn(move || {
        while let Ok(Some(reply)) = init.receive() {
            if !gate.told(&reply) && happenings.send(Happening::Init(reply)).is_err() {
                return;
            }
        }
        let _ = happenings.send(Happening::SandboxEnded);
    });
}
