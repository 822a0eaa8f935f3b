//! The MCP servers of a task: started when somebody inside asks for one, each behind a
//! firewall of its own, and ended with the task.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stockade_audit::RecorderClient;
use stockade_gateway::SecretText;
use stockade_mcp::{Era, Seen};
use stockade_sandbox::InitChannel;
use stockade_types::{Denial, Event, EventKind, mcp::answer, visible, wire::Request};
use stockade_vault::SecretName;

use super::{
    BoxPlan, Boxed, FirewallProcess, FirewallSettings, ServerEnds, ServerNetwork, TOOLS, Told,
    boxed::View, tools,
};
use crate::{
    error::SupervisorError,
    exec::{Context, FreshPool},
    fingerprints::Fingerprints,
    gateway::{Keep, Keys, ServerAnswers},
    guarded,
    judge::Judge,
    redactions::Redactions,
    secrets::HeldSecrets,
    state::{StateDirectory, TaskDirectory},
    task::Plan,
};

/// How many servers of one task run at once.
const AT_ONCE: usize = 32;
/// How many are started in all: who asks for more is no client of MCP.
const STARTS_MAX: u64 = 2_000;
/// How many refusals are recorded.
const REFUSED_MAX: u64 = 1_000;
/// How much of what servers say on standard error is kept of each start, in bytes, and in
/// all.
const ERRORS_MAX: u64 = 256 * 1024;
const ALL_ERRORS_MAX: u64 = 8 << 20;
/// How long the end of a task waits for its servers.
const ENDING: Duration = Duration::from_secs(2);

/// A server that a task may use.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlannedServer {
    /// How it is called.
    pub name: String,
    /// How it is started.
    pub(crate) start: BoxPlan,
    /// What its firewall goes by.
    pub(crate) approved: FirewallSettings,
}

/// What servers take part in of their task.
pub(crate) struct Support {
    /// Where tasks are kept.
    pub(crate) state: StateDirectory,
    /// Makes further sandboxes of the task.
    pub(crate) fresh: FreshPool,
    /// Hears what happens.
    pub(crate) record: RecorderClient,
    /// Judges what servers reach.
    pub(crate) judge: Judge,
    /// What stays out of the record.
    pub(crate) redactions: Redactions,
}

/// The servers of a running task. Clones share them.
#[derive(Clone)]
pub(crate) struct Servers(Arc<Shared>);

struct Shared {
    planned: Vec<PlannedServer>,
    /// Values of variables that servers are given.
    values: BTreeMap<String, String>,
    state: StateDirectory,
    /// Where what they say on standard error is kept.
    errors: PathBuf,
    fresh: FreshPool,
    record: RecorderClient,
    network: ServerNetwork,
    /// What runs the project's tools, if it declares any.
    tools: OnceLock<Arc<Context>>,
    running: Mutex<Running>,
    /// One has ended.
    ended: Condvar,
}

/// A server that runs, or is about to.
struct Instance {
    name: String,
    init: Option<InitChannel>,
}

#[derive(Default)]
struct Running {
    next: u64,
    refused: u64,
    by_number: HashMap<u64, Instance>,
    frozen: bool,
    closed: bool,
}

impl Servers {
    /// Those of `plan`; nothing runs yet.
    pub(crate) fn new(support: Support, task: &TaskDirectory, plan: &Plan, keys: &Keys) -> Self {
        let values = keys.variables.iter();
        let Support {
            state,
            fresh,
            record,
            judge,
            redactions,
        } = support;
        let secrets = plan.mcp.iter().flat_map(|server| &server.start.secrets);
        let network = ServerNetwork {
            answers: ServerAnswers {
                judge,
                secrets: HeldSecrets::new(secrets, keys, &redactions),
                fingerprints: Some(Fingerprints::of(task)),
                keep: kept(record.clone()),
            },
            guarded: guarded::of(plan, keys),
        };
        Self(Arc::new(Shared {
            planned: plan.mcp.clone(),
            values: values
                .map(|(name, SecretText(value))| (name.clone(), value.expose().clone()))
                .collect(),
            state,
            errors: task.join("mcp.log"),
            fresh,
            record,
            network,
            tools: OnceLock::new(),
            running: Mutex::default(),
            ended: Condvar::new(),
        }))
    }

    /// Serves the tools that the project declares, by the task's commands.
    pub(crate) fn serve_tools(&self, commands: &Arc<Context>) {
        if !commands.tools.is_empty() {
            let _ = self.0.tools.set(Arc::clone(commands));
        }
    }

    /// Joins `client` to a new instance of the server `name`, or tells it why not. Both
    /// come from inside.
    pub(crate) fn connect(&self, name: String, client: OwnedFd) {
        let shared = Arc::clone(&self.0);
        thread::spawn(move || {
            let mut client = File::from(client);
            let number = match shared.admit(&name) {
                Ok(number) => number,
                Err(reason) => {
                    shared.refused(&name, &reason);
                    let _ = client.write_all(&answer(Err(&reason)));
                    return;
                }
            };
            if let Err(error) = shared.serve(number, &name, client) {
                shared.refused(&name, &error.to_string());
            }
            shared.lock().by_number.remove(&number);
            shared.ended.notify_all();
        });
    }

    /// Stops all of them where they are, or lets them go on.
    pub(crate) fn freeze(&self, freeze: bool) {
        let mut running = self.0.lock();
        running.frozen = freeze;
        let request = if freeze {
            Request::Freeze
        } else {
            Request::Thaw
        };
        running.send(&request, |_| true);
    }

    /// Lets no server use the secret any more, and ends those that could: a request of
    /// theirs may be on its way. Whether a server has that secret.
    pub(crate) fn take_back(&self, secret: &SecretName) -> bool {
        let known = self.0.network.answers.secrets.take_back(secret);
        let uses = |server: &PlannedServer| {
            let mut secrets = server.start.secrets.iter();
            secrets.any(|own| own.bound.name == *secret)
        };
        let users = self.0.planned.iter().filter(|server| uses(server));
        let users: Vec<_> = users.map(|server| &*server.name).collect();
        let running = self.0.lock();
        running.send(&Request::EndAll, |name| users.contains(&name));
        known
    }

    /// Ends all of them and starts no more.
    pub(crate) fn close(&self) {
        let mut running = self.0.lock();
        running.closed = true;
        running.send(&Request::EndAll, |_| true);
        let waited = self
            .0
            .ended
            .wait_timeout_while(running, ENDING, |running| !running.by_number.is_empty());
        drop(waited);
    }
}

impl Running {
    /// Has process 1 of each server whose name is meant do what `request` says.
    fn send(&self, request: &Request, is_meant: impl Fn(&str) -> bool) {
        let all = self.by_number.values();
        for init in all
            .filter(|one| is_meant(&one.name))
            .filter_map(|one| one.init.as_ref())
        {
            // One that has ended needs no word.
            let _ = init.send(request, &[]);
        }
    }
}

/// Records what a server's gateway tells. A request that leaves is recorded first.
fn kept(record: RecorderClient) -> Keep {
    Arc::new(move |event| {
        let mut event = event.clone();
        event.body["by"] = json!("mcp server");
        if event.kind == EventKind::NetworkRequest {
            return record.record(&event).is_ok();
        }
        record.post(&event).is_ok()
    })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more, if the task has that server.
    fn admit(&self, name: &str) -> Result<u64, String> {
        let is_planned = self.planned.iter().any(|server| server.name == name);
        if !is_planned && !self.is_tools(name) {
            return Err("the task has no server of that name".to_owned());
        }
        let mut running = self.lock();
        if running.closed || running.frozen {
            return Err("the task does not run".to_owned());
        }
        if running.by_number.len() >= AT_ONCE {
            return Err(format!("{AT_ONCE} servers run already"));
        }
        if running.next >= STARTS_MAX {
            return Err(format!("servers were started {STARTS_MAX} times already"));
        }
        running.next += 1;
        let number = running.next;
        let instance = Instance {
            name: name.to_owned(),
            init: None,
        };
        running.by_number.insert(number, instance);
        Ok(number)
    }

    /// Whether the server `name` is that of the project's tools.
    fn is_tools(&self, name: &str) -> bool {
        name == TOOLS && self.tools.get().is_some()
    }

    /// Serves the project's tools until the client is gone.
    fn serve_tools(&self, number: u64, mut client: File) -> Result<(), SupervisorError> {
        let Some(context) = self.tools.get().map(Arc::clone) else {
            return Ok(());
        };
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from);
        let pipes = pipe().and_then(|requests| Ok((requests, pipe()?)));
        let ((read, requests), (answers, write)) = pipes.map_err(SupervisorError::Control)?;
        let outside = ServerEnds {
            input: requests,
            output: answers,
        };
        let judge = &self.network.answers.judge;
        let settings = FirewallSettings {
            approved: None,
            era: Some(Era::Legacy),
            forbidden: judge.forbidden_tools(TOOLS, context.tools.keys().map(String::as_str)),
        };
        let ends = (client.as_fd(), client.as_fd());
        let mut firewall = FirewallProcess::serve(&settings, ends, &outside)?;
        drop(outside);
        let tools = context.tools.clone();
        let serving = thread::spawn(move || {
            let ends = ServerEnds {
                input: write,
                output: read,
            };
            tools::serve(ends, tools, context);
        });
        client
            .write_all(&answer(Ok(())))
            .map_err(SupervisorError::Control)?;
        drop(client);
        self.note(TOOLS, json!({ "server": "started", "instance": number }));
        while let Some(told) = firewall.hear()? {
            if let Told::Seen(all) = told {
                for seen in &all {
                    self.seen(TOOLS, number, seen);
                }
            }
        }
        // Its end is that of what it reads from.
        drop(firewall);
        let _ = serving.join();
        self.note(TOOLS, json!({ "server": "ended", "instance": number }));
        Ok(())
    }

    /// Starts the server and stays until it or its client is gone.
    fn serve(&self, number: u64, name: &str, mut client: File) -> Result<(), SupervisorError> {
        if self.is_tools(name) {
            return self.serve_tools(number, client);
        }
        let planned = self.planned.iter().find(|server| server.name == name);
        let Some(planned) = planned else {
            return Ok(());
        };
        let started = self.start(number, planned);
        let (mut boxed, errors) = match started {
            Ok(started) => started,
            Err(error) => {
                let reason = "its sandbox could not be made; `stockade why` tells more";
                let _ = client.write_all(&answer(Err(reason)));
                return Err(error);
            }
        };
        let server = boxed.start(&errors)?;
        let ends = (client.as_fd(), client.as_fd());
        let settings = self
            .network
            .answers
            .judge
            .mcp_tools(planned.approved.clone(), name);
        let mut firewall = FirewallProcess::serve(&settings, ends, &server)?;
        drop(server);
        client
            .write_all(&answer(Ok(())))
            .map_err(SupervisorError::Control)?;
        // The firewall alone holds it now.
        drop(client);
        self.note(name, json!({ "server": "started", "instance": number }));
        while let Some(told) = firewall.hear()? {
            match told {
                Told::Seen(all) => all.iter().for_each(|seen| self.seen(name, number, seen)),
                Told::StartAgain => firewall.start_again(&boxed.start(&errors)?)?,
                Told::Sealed | Told::Listed => {}
            }
        }
        let mut ended = json!({ "server": "ended", "instance": number });
        if let Some(error) = boxed.failure() {
            ended["reason"] = json!(format!("it cannot be started inside: {error}"));
        }
        self.note(name, ended);
        Ok(())
    }

    /// The walls of a server, and where it says what went wrong.
    fn start(
        &self,
        number: u64,
        planned: &PlannedServer,
    ) -> Result<(Boxed, OwnedFd), SupervisorError> {
        let known = |name: &String| Some((name.clone(), self.values.get(name)?.clone()));
        let values: Vec<_> = planned.start.variables.iter().filter_map(known).collect();
        let boxed = match planned.start.view {
            View::Own(_) => Boxed::build(&self.state, &planned.start, &values, &self.network)?,
            View::OfTask(isolation) => {
                Boxed::in_sandbox(self.fresh.one(isolation)?, &planned.start, &values)
            }
        };
        let mut running = self.lock();
        if running.closed {
            return Err(SupervisorError::McpServer("the task ends".to_owned()));
        }
        if let Some(instance) = running.by_number.get_mut(&number) {
            instance.init = Some(boxed.init().clone());
        }
        if running.frozen {
            // Its task was frozen meanwhile.
            let _ = boxed.init().send(&Request::Freeze, &[]);
        }
        drop(running);
        let errors = self.errors().map_err(SupervisorError::Control)?;
        Ok((boxed, errors))
    }

    /// The end to which a server writes what went wrong; the rest is kept as lines that
    /// no terminal obeys.
    fn errors(&self) -> std::io::Result<OwnedFd> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut kept = File::options()
            .create(true)
            .append(true)
            .open(&self.errors)?;
        thread::spawn(move || {
            let mut said = File::from(read);
            let mut beginning = Vec::new();
            let _ = (&mut said).take(ERRORS_MAX).read_to_end(&mut beginning);
            let full = kept
                .metadata()
                .is_ok_and(|kept| kept.len() > ALL_ERRORS_MAX);
            if full {
                beginning.clear();
            }
            for line in beginning.split(|byte| *byte == b'\n') {
                let _ = writeln!(kept, "{}", visible::line(line));
            }
            // Nobody waits for who says more.
            let _ = std::io::copy(&mut said, &mut std::io::sink());
        });
        Ok(write)
    }

    fn seen(&self, name: &str, number: u64, seen: &Seen) {
        let refused = match seen {
            Seen::Refused { what, rule, reason } => Some((what.clone(), rule, reason)),
            Seen::Withheld {
                kind,
                name,
                rule,
                reason,
            } => Some((stockade_mcp::title(*kind, name), rule, reason)),
            _ => None,
        };
        if let Some((what, rule, reason)) = refused {
            let denial = Denial {
                what: format!("use {what} of the MCP server `{name}`"),
                rule: format!("mcp.{rule}"),
                reason: reason.clone(),
                instead: None,
                allow: matches!(seen, Seen::Withheld { .. })
                    .then(|| format!("stockade mcp approve {name}")),
            };
            let body =
                json!({ "denial": denial, "verdict": "deny", "mcp": name, "instance": number });
            self.post(EventKind::Denied, body);
            return;
        }
        let mut body = serde_json::to_value(seen).unwrap_or_default();
        body["instance"] = json!(number);
        self.note(name, body);
    }

    fn refused(&self, name: &str, reason: &str) {
        let mut running = self.lock();
        running.refused += 1;
        if running.refused > REFUSED_MAX {
            return;
        }
        drop(running);
        let name = visible::beginning(name, 64);
        let denial = Denial {
            what: format!("use the MCP server `{name}`"),
            rule: "mcp.server".to_owned(),
            reason: reason.to_owned(),
            instead: None,
            allow: None,
        };
        let body = json!({ "denial": denial, "verdict": "deny", "mcp": name });
        self.post(EventKind::Denied, body);
    }

    fn note(&self, name: &str, mut body: Value) {
        body["mcp"] = json!(name);
        self.post(EventKind::Mcp, body);
    }

    /// Without a record the task ends, and its servers with it.
    fn post(&self, kind: EventKind, body: Value) {
        let _ = self.record.post(&Event::new(kind, body));
    }
}
