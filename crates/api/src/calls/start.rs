//! A new sandbox: what is wanted, the contract for it, and its start.

use std::{fmt::Display, path::PathBuf, str::FromStr, sync::Arc};

use hyper::{Response, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stockade_agents::AgentKind;
use stockade_budget::Cap;
use stockade_sandbox::Layer;
use stockade_supervisor::{
    Assurance, Connection, ExtraPaths, Host, Network, Prepared, Request, Runs, SupervisorError,
    TaskDirectory, WantedSecrets, Wish, begin, gateway::Keys, prepare, service,
};
use stockade_workspace::BackEnd;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::sandbox::Sandbox;
use crate::{
    Settings,
    http::{Body, Kind, Problem, json, set},
};

/// What a sandbox without an agent and a command runs.
const IDLE: [&str; 2] = ["sleep", "infinity"];
/// After how many seconds a sandbox ends if nothing is said.
const WALL_SECONDS: u64 = 4 * 60 * 60;
/// Below which nothing starts.
const MEMORY_MIN: u64 = 16 << 20;

/// A sandbox to start. Without `agent` and `command` it is there for what is
/// run in it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSandbox {
    /// A folder of the repository, absolute.
    repository: PathBuf,
    /// The digest of the contract that the client agrees to.
    contract: Option<String>,
    /// Start from this commit, branch or tag; `HEAD` without it.
    base: Option<String>,
    /// Bring uncommitted changes and new files along.
    #[serde(default)]
    with_dirty: bool,
    /// A coding agent, such as `codex`.
    agent: Option<String>,
    /// What the agent shall do.
    prompt: Option<String>,
    /// The agent's model.
    model: Option<String>,
    /// Where model requests go instead of to the provider.
    model_url: Option<String>,
    /// A command instead of an agent; the sandbox ends with it.
    #[serde(default)]
    command: Vec<String>,
    /// A name.
    name: Option<String>,
    /// Rules for hosts that may be reached, as in `GET example.com`.
    #[serde(default)]
    allow: Vec<String>,
    /// Rules for hosts that must not be, whatever is allowed.
    #[serde(default)]
    deny: Vec<String>,
    /// Rules with a name, such as `registries`; `llm` without any.
    #[serde(default)]
    presets: Vec<String>,
    /// Names inside that lead to a place, as `NAME=URL`.
    #[serde(default)]
    services: Vec<String>,
    /// Names of secrets that it gets of those that are bound for it; all of them
    /// without it.
    secrets: Option<Vec<String>>,
    /// Ports inside that the host reaches at 127.0.0.1, as `run --publish` takes
    /// them.
    #[serde(default)]
    publish: Vec<String>,
    /// Let programs inside make sandboxes of their own: a lower level, which
    /// the contract names.
    #[serde(default)]
    nested: bool,
    /// Record each program that starts, as it is seen, at a cost for each.
    #[serde(default)]
    record_programs: bool,
    /// Cap on what model requests cost, such as `$2`.
    max_cost: Option<String>,
    /// Cap on the tokens of model requests.
    max_tokens: Option<u64>,
    /// Cap on model requests.
    max_requests: Option<u64>,
    /// Cap on model requests on which the model may act.
    max_turns: Option<u64>,
    /// Cap on commands that the model asks for.
    max_commands: Option<u64>,
    /// Cap on agents of the agent's own.
    max_subagents: Option<u64>,
    /// After how many seconds it is ended; 14400 without it.
    wall_seconds: Option<u64>,
    /// Cap on the memory of everything inside, in bytes.
    memory_bytes: Option<u64>,
    /// Cap on the processor time of everything inside, in processors.
    processors: Option<f64>,
    /// Cap on what its files fill of the disk, in bytes; watched.
    disk_bytes: Option<u64>,
    /// Have the kernel keep that cap, by a disk of the task's own; needs root.
    #[serde(default)]
    own_disk: bool,
    /// Files and folders of the host to show, read-only.
    #[serde(default)]
    read: Vec<PathBuf>,
    /// Files and folders of the host that may be changed, without review.
    #[serde(default)]
    write: Vec<PathBuf>,
    /// Patterns of files of the repository whose content is hidden.
    #[serde(default)]
    hide: Vec<String>,
    /// The least assurance with which it starts; any without it.
    require: Option<Level>,
    /// How the workspace is made; the fastest that the file system has,
    /// without it.
    workspace: Option<WorkspaceForm>,
}

/// How strong a sandbox must be.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Level {
    /// Whatever can start.
    Weak,
    /// Every wall stands.
    Reduced,
    /// Every wall stands, and the kernel keeps every cap that was asked for.
    Full,
}

/// How a workspace is made.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WorkspaceForm {
    /// Copy-on-write over an immutable base tree.
    Overlay,
    /// A copy of the base tree.
    Checkout,
    /// A btrfs snapshot of the base tree.
    Btrfs,
}

/// A contract that somebody has to agree to.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Agreement {
    /// What `contract` in the request must be to agree to it.
    digest: String,
    /// The contract as people read it.
    text: String,
    /// What it grants beyond the last one of this agent in this repository.
    wider: Vec<String>,
    /// What of the user's configuration was not taken over, and why.
    notes: Vec<String>,
}

/// A sandbox that was started.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Started {
    /// The sandbox.
    sandbox: Sandbox,
    /// The contract that holds.
    contract: Agreement,
    /// Milliseconds until its command ran.
    start_ms: f64,
}

/// Starts a sandbox whose contract is agreed to. One whose client has gone
/// before it ran is ended again: nobody would know of it.
pub(super) async fn start(
    settings: Arc<Settings>,
    wanted: NewSandbox,
    permit: OwnedSemaphorePermit,
) -> Result<Response<Body>, Problem> {
    let (answer, answered) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let started = begin_agreed(&settings, wanted);
        if let Err(Ok((task, _))) = answer.send(started) {
            let _ = Connection::ask_once(&task, &Request::Stop);
        }
        drop(permit);
    });
    let (task, started) = answered.await.map_err(Problem::failed)??;
    let mut response = json(StatusCode::CREATED, &started);
    let place = format!("/v1/sandboxes/{}", task.id());
    set(&mut response, header::LOCATION, &place);
    Ok(response)
}

fn begin_agreed(
    settings: &Settings,
    wanted: NewSandbox,
) -> Result<(TaskDirectory, Started), Problem> {
    let agreed = wanted.contract.clone();
    let host = (settings.host)().map_err(Problem::failed)?;
    let prepared = prepare(&host, &wish(wanted)?)?;
    let agreement = agreement(&host, &prepared);
    agreed_to(agreed, &agreement)?;
    let keys = keys(settings, &host, &prepared)?;
    prepared.agree(&host.state)?;
    let times = begin(&host, &prepared, &keys).map_err(not_started)?;
    let started = Started {
        sandbox: prepared.task.status()?.into(),
        contract: agreement,
        start_ms: (times.start.as_secs_f64() * 1e6).round() / 1e3,
    };
    Ok((prepared.task, started))
}

fn agreement(host: &Host, prepared: &Prepared) -> Agreement {
    let contract = &prepared.plan.contract;
    let widening = prepared.widening(&host.state);
    Agreement {
        digest: contract.digest(),
        text: contract.render(),
        wider: [widening.granted, widening.lowered].concat(),
        notes: prepared.notes.clone(),
    }
}

/// Agreement is to what was shown, by its digest: a plain yes would also hold
/// for what the repository, the configuration or the machine has become since.
fn agreed_to(agreed: Option<String>, agreement: &Agreement) -> Result<(), Problem> {
    let detail = match agreed {
        Some(digest) if digest == agreement.digest => return Ok(()),
        Some(_) => "the contract is not the one that was agreed to; something has changed since",
        None => "a sandbox starts once its contract is agreed to",
    };
    Err(Problem::new(Kind::Contract, detail)
        .fix("read `contract.text`, then send `contract.digest` as `contract`")
        .with_contract(agreement.clone()))
}

/// What was agreed to names how the workspace is made, so that no other way is
/// tried by itself.
fn not_started(error: SupervisorError) -> Problem {
    let workspace =
        matches!(&error, SupervisorError::Sandbox(missing) if missing.layer == Layer::Workspace);
    let problem = Problem::from(error);
    if workspace {
        problem.fix("ask again with \"workspace\": \"checkout\"")
    } else {
        problem
    }
}

/// The keys that it needs, from the server's own environment, and its secrets
/// from where they are.
fn keys(settings: &Settings, host: &Host, prepared: &Prepared) -> Result<Keys, Problem> {
    let plan = &prepared.plan;
    let keys = Keys::of_models(plan, |name| (settings.key)(name));
    let mut keys = keys.map_err(|name| {
        let detail = format!("{name} is not set where `stockade serve` runs");
        Problem::new(Kind::Refused, detail).fix(format!(
            "{} and start the server again; the key stays outside the sandbox",
            plan.key_advice(name)
        ))
    })?;
    (settings.unlock)(host, plan, &mut keys).map_err(|reason| {
        Problem::new(Kind::Refused, reason)
            .fix("\"secrets\" names those that the sandbox shall have; [] is none")
    })?;
    Ok(keys)
}

fn wish(wanted: NewSandbox) -> Result<Wish, Problem> {
    absolute("repository", std::slice::from_ref(&wanted.repository))?;
    absolute("read", &wanted.read)?;
    absolute("write", &wanted.write)?;
    if wanted.memory_bytes.is_some_and(|bytes| bytes < MEMORY_MIN) {
        let reason = format!("at least {MEMORY_MIN} are needed to start anything");
        return Err(invalid("memory_bytes", reason));
    }
    let runs = runs(&wanted)?;
    let wall_seconds = wanted.wall_seconds.unwrap_or(WALL_SECONDS);
    Ok(Wish {
        base: wanted.base,
        with_dirty: wanted.with_dirty,
        name: wanted.name,
        model: wanted.model,
        model_url: parsed("model_url", wanted.model_url.as_slice())?.pop(),
        network: Network {
            presets: parsed("presets", &wanted.presets)?,
            allow: parsed("allow", &wanted.allow)?,
            deny: parsed("deny", &wanted.deny)?,
            services: each("services", &wanted.services, service)?,
            publish: parsed("publish", &wanted.publish)?,
            ..Network::default()
        },
        cap: Cap {
            cost: parsed("max_cost", wanted.max_cost.as_slice())?.pop(),
            tokens: wanted.max_tokens,
            requests: wanted.max_requests,
            turns: wanted.max_turns,
            commands: wanted.max_commands,
            subagents: wanted.max_subagents,
            ..Cap::default()
        },
        extra: ExtraPaths {
            read: wanted.read,
            write: wanted.write,
            hide: wanted.hide,
            ..ExtraPaths::default()
        },
        memory_bytes: wanted.memory_bytes,
        disk_bytes: wanted.disk_bytes,
        own_disk: wanted.own_disk,
        processor_hundredths: wanted.processors.map(hundredths).transpose()?,
        require: wanted.require.map(|level| match level {
            Level::Weak => Assurance::Weak,
            Level::Reduced => Assurance::Reduced,
            Level::Full => Assurance::Full,
        }),
        back_end: wanted.workspace.map(|form| match form {
            WorkspaceForm::Overlay => BackEnd::Overlay,
            WorkspaceForm::Checkout => BackEnd::Checkout,
            WorkspaceForm::Btrfs => BackEnd::Btrfs,
        }),
        secrets: match wanted.secrets {
            None => WantedSecrets::Bound,
            Some(names) if names.is_empty() => WantedSecrets::None,
            Some(names) => WantedSecrets::Named(parsed("secrets", &names)?),
        },
        nested: wanted.nested,
        record_programs: wanted.record_programs,
        ..Wish::new(wanted.repository, runs, wall_seconds)
    })
}

fn runs(wanted: &NewSandbox) -> Result<Runs, Problem> {
    match (&wanted.agent, wanted.command.as_slice()) {
        (Some(_), [_, ..]) => Err(invalid("agent", "give an agent or a command, not both")),
        (Some(agent), []) => {
            let kind = agent.parse::<AgentKind>();
            let kind = kind.map_err(|error| invalid("agent", error))?;
            if wanted.prompt.is_none() {
                return Err(invalid("prompt", format!("say what {agent} shall do")));
            }
            Ok(Runs::Agent {
                kind,
                prompt: wanted.prompt.clone(),
                interactive: false,
            })
        }
        (None, _) if wanted.prompt.is_some() => Err(invalid("prompt", "only an agent takes one")),
        (None, command) => {
            let idle = IDLE.map(str::to_owned);
            let argv = if command.is_empty() { &idle } else { command };
            Ok(Runs::Command {
                argv: argv.to_vec(),
                terminal: false,
            })
        }
    }
}

/// The server's own folder is nobody's business.
fn absolute(field: &str, paths: &[PathBuf]) -> Result<(), Problem> {
    match paths.iter().find(|path| !path.is_absolute()) {
        Some(path) => {
            let reason = format!("`{}` is not absolute", path.display());
            Err(invalid(field, reason))
        }
        None => Ok(()),
    }
}

fn hundredths(processors: f64) -> Result<u32, Problem> {
    const MOST: f64 = 10_000.0;
    if !(0.01..=MOST).contains(&processors) {
        return Err(invalid("processors", "expected a number such as 2 or 0.5"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is positive and small"
    )]
    Ok((processors * 100.0).round() as u32)
}

fn parsed<T: FromStr<Err: Display>>(field: &str, texts: &[String]) -> Result<Vec<T>, Problem> {
    each(field, texts, str::parse)
}

fn each<T, E: Display>(
    field: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, Problem> {
    let all = texts.iter().map(|text| parse(text));
    all.collect::<Result<_, _>>()
        .map_err(|error| invalid(field, error))
}

fn invalid(field: &str, reason: impl Display) -> Problem {
    Problem::new(Kind::Invalid, format!("{field}: {reason}"))
}
