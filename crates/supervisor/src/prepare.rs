//! From what a person wants to what a sandbox, a gateway and a workspace are
//! told. Nothing runs yet.

mod agreement;
mod caps;
mod contract;
mod create;
mod environment;
mod extra;
mod groups;
mod links;
mod next_turn;
pub(crate) mod overlay;
mod servers;

pub(crate) use self::{create::hand_over, environment::of_program};
pub use self::{
    create::{Made, give_tree},
    environment::PASSED,
    extra::ExtraPaths,
    next_turn::next_turn,
    servers::WantedServer,
};

use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
};

use rand::Rng;
use stockade_agents::{
    AgentKind, Api, DigestCache, Found, HomeFile, Launch, LaunchRequest, McpServer, Mode,
    RouteTemplate,
};
use stockade_budget::{Cap, Caps};
use stockade_gateway::{Endpoint, ModelApi, Upstream};
use stockade_policy::Source;
use stockade_sandbox::{
    Access, Cover, Grant, INSIDE_HOME, InsideFile, Limits, SandboxSpec, Tree, WORKSPACES,
    WorkspaceMount, files, layers,
};
use stockade_types::{TaskId, hook, mcp, visible};
use stockade_vault::Catalogue;
use stockade_workspace::{
    AGENT_GIT_INSIDE, BTRFS, BackEnd, Git, POOL_GIT_INSIDE, Pool, PoolEntry, Repository,
    SecretPatterns, Slug,
};

use crate::{
    caches::Cache,
    config::Config,
    contract::{Assurance, Contract},
    disk,
    error::SupervisorError,
    honeytoken::Honeytoken,
    network::Network,
    policy::TaskPolicy,
    project::{Project, after_setup},
    secrets::{WantedSecrets, not_given, of_task},
    state::{StateDirectory, TaskDirectory},
    task::{FORMAT, Main, Plan, Route, RouteSigning, TaskState, TaskStatus, now},
};

/// What is taken from the caller's machine and environment.
#[derive(Debug)]
pub struct Host {
    /// Where tasks are kept.
    pub state: StateDirectory,
    /// The git that runs on the host.
    pub git: Git,
    /// The user's home.
    pub home: Option<PathBuf>,
    /// The value of `PATH`.
    pub search_path: OsString,
    /// The AWS region that the caller uses.
    pub region: Option<String>,
    /// Where Rust's toolchains are, if the user said so.
    pub rustup_home: Option<PathBuf>,
    /// Where the caches of package managers would be.
    pub caches: Vec<(Cache, PathBuf)>,
    /// The user's configuration.
    pub config: Config,
    /// The user's secrets, without their values.
    pub catalogue: Catalogue,
    /// The rules of the administrator and the user.
    pub rules: Vec<Source>,
    /// Names of the variables that the caller has set: what of a key is there.
    pub variables: BTreeSet<String>,
    /// Variables that are handed inside as they are.
    pub passed: Vec<(String, String)>,
    /// Variables of the caller that name registries, as they are.
    pub sources: Vec<(String, String)>,
}

impl Host {
    /// Where the cache is, if there is one.
    fn cache(&self, cache: Cache) -> Option<&Path> {
        let folders = self.caches.iter().filter(|(known, _)| *known == cache);
        let mut folders = folders.map(|(_, folder)| &**folder);
        folders.find(|folder| cache.is_in(folder))
    }
}

/// How many bytes a task may send where nothing else is said: far more than any
/// conversation with a model.
const BYTE_LIMIT: u64 = 1 << 30;

/// What a person wants.
#[derive(Clone, Debug)]
pub struct Wish {
    /// A folder of the repository.
    pub folder: PathBuf,
    /// The commit to start from; `HEAD` without one.
    pub base: Option<String>,
    /// Whether uncommitted changes and new files come along.
    pub with_dirty: bool,
    /// What is to run.
    pub runs: Runs,
    /// A name instead of one from the prompt.
    pub name: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// Where model requests go instead of to the provider.
    pub model_url: Option<Upstream>,
    /// What it may reach.
    pub network: Network,
    /// Which of the user's secrets it may use.
    pub secrets: WantedSecrets,
    /// The MCP servers that it may use.
    pub mcp: Vec<WantedServer>,
    /// What the task may spend; where this says nothing, the configuration
    /// does.
    pub cap: Cap,
    /// How many bytes it may send.
    pub byte_limit: u64,
    /// After how many seconds it is ended.
    pub wall_seconds: u64,
    /// Paths of the host that it is shown beyond the usual.
    pub extra: ExtraPaths,
    /// Whether paths that are remembered for the repository are let go.
    pub forget_extra: bool,
    /// How many bytes of memory everything inside may use; `None` chooses.
    pub memory_bytes: Option<u64>,
    /// How many bytes of the disk it may fill.
    pub disk_bytes: Option<u64>,
    /// Whether the kernel is to keep that, by a disk of the task's own.
    pub own_disk: bool,
    /// How much processor time, in hundredths of a processor.
    pub processor_hundredths: Option<u32>,
    /// The least assurance with which it starts, if that matters.
    pub require: Option<Assurance>,
    /// The assurance down to which it may start although the last task had
    /// more.
    pub accept: Option<Assurance>,
    /// How its tree is made; `None` chooses.
    pub back_end: Option<BackEnd>,
    /// Whether programs inside may make sandboxes of their own.
    pub nested: bool,
    /// Whether every program that starts is recorded, at a cost for each.
    pub record_programs: bool,
    /// Whether tool calls are told to the policy before they happen; without a word an
    /// agent's are.
    pub hooks: Option<bool>,
}

impl Wish {
    /// A task on the repository of `folder` with nothing asked for beyond what
    /// runs, and for how many seconds at most.
    pub fn new(folder: PathBuf, runs: Runs, wall_seconds: u64) -> Self {
        Self {
            folder,
            base: None,
            with_dirty: false,
            runs,
            name: None,
            model: None,
            model_url: None,
            network: Network::default(),
            secrets: WantedSecrets::None,
            mcp: Vec::new(),
            cap: Cap::default(),
            byte_limit: BYTE_LIMIT,
            wall_seconds,
            extra: ExtraPaths::default(),
            forget_extra: false,
            memory_bytes: None,
            disk_bytes: None,
            own_disk: false,
            processor_hundredths: None,
            require: None,
            accept: None,
            back_end: None,
            nested: false,
            record_programs: false,
            hooks: None,
        }
    }

    /// The programs inside that speak to the gateway for others.
    fn clients(&self, project: &Project) -> Vec<PathBuf> {
        let hook = self.has_hooks().then_some(hook::CLIENT);
        let has_servers = !self.mcp.is_empty() || !project.tools.is_empty();
        let mcp = has_servers.then_some(mcp::CLIENT);
        hook.into_iter().chain(mcp).map(PathBuf::from).collect()
    }

    /// Whether the program is inside by which tool calls are told.
    fn has_hooks(&self) -> bool {
        let agent = matches!(self.runs, Runs::Agent { .. });
        self.hooks.unwrap_or(agent)
    }
}

/// What is to run.
#[derive(Clone, Debug)]
pub enum Runs {
    /// A coding agent.
    Agent {
        /// Which.
        kind: AgentKind,
        /// What it shall do.
        prompt: Option<String>,
        /// Whether a person works with it at a terminal.
        interactive: bool,
    },
    /// Any other command.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// Whether it has a terminal.
        terminal: bool,
    },
    /// Stockade's own agent, from a copy of the executable at `program`.
    BuiltIn {
        /// The copy.
        program: PathBuf,
        /// What it shall do.
        prompt: String,
    },
}

/// A task that could start.
#[derive(Debug)]
pub struct Prepared {
    /// Its folder, which does not exist yet.
    pub task: TaskDirectory,
    /// What will run, and where.
    pub plan: Plan,
    /// What is known of it.
    pub status: TaskStatus,
    /// What of the user's configuration was not taken over, and why.
    pub notes: Vec<String>,
    repository: Repository,
    pool: PoolEntry,
    slug: Slug,
    back_end: BackEnd,
    with_dirty: bool,
    secrets: SecretPatterns,
    policy: TaskPolicy,
    files: Vec<HomeFile>,
    extra: ExtraPaths,
}

/// An error of the workspace or agents room, as a sentence.
fn refused(error: impl std::fmt::Display) -> SupervisorError {
    SupervisorError::Refused(error.to_string())
}

/// An error of the workspace room while a tree is made, as a sentence.
fn workspace(error: impl std::fmt::Display) -> SupervisorError {
    SupervisorError::Workspace(error.to_string())
}

/// Where the built-in agent appears inside.
const BUILT_IN: &str = "/opt/stockade/agent";
/// The argument that makes this executable the built-in agent.
pub const BUILT_IN_ARGUMENT: &str = "__rehearsal-agent";

/// Works out everything about a task and makes its base tree if need be.
pub fn prepare(host: &Host, wish: &Wish) -> Result<Prepared, SupervisorError> {
    layers::required()?;
    let repository = Repository::discover(&host.git, &wish.folder)?;
    let base = repository.base(&host.git, wish.base.as_deref())?;
    let branch = repository.head_branch(&host.git).map_err(workspace)?;
    let remembered = if wish.forget_extra {
        ExtraPaths::default()
    } else {
        ExtraPaths::remembered(&host.state, &repository.key())
    };
    let extra = wish.extra.with(remembered, host, &repository)?;
    let secrets = host.config.secrets_and(&extra.hide)?;
    let pool = Pool::new(host.state.path())
        .ensure(&host.git, &repository, &base, &secrets)
        .map_err(workspace)?;

    let project = Project::of_tree(&pool.tree())?;
    let mcp_servers = servers::for_agent(wish, &project);
    let agent = Agent::resolve(host, wish, &workspace_target(&repository), &mcp_servers)?;
    let policy = TaskPolicy::of_commit(&host.rules, &host.git, &repository, &base, &pool.tree())?;
    let ruled = wish.network.together(host, &project)?;
    let task = host.state.task(&TaskId::from_random(rand::rng().random()));
    let back_end = back_end(host, wish, &pool)?;
    let slug = Slug::from_prompt(wish.name.as_deref().unwrap_or(&agent.prompt));
    let filled = disk::filled(&task, wish.own_disk);
    let mut sandbox = sandbox(host, &task, &filled, &repository, &pool, &agent, back_end);
    sandbox.limits = caps::limits(wish)?;
    sandbox.nested = wish.nested;
    sandbox.watch_execs = wish.record_programs;
    sandbox.clients = wish.clients(&project);
    sandbox
        .grants
        .extend(extra.grants(&host.config.hidden_paths()));
    let mcp = servers::planned(host, wish, &repository)?;
    sandbox.grants.extend(servers::packages(&mcp));
    sandbox
        .grants
        .extend(cached(host, &extra.caches, back_end, &filled)?);
    let routes = if ruled.model {
        agent.routes.clone()
    } else {
        Vec::new()
    };
    let kind = agent.kind.map(|kind| kind.to_string());
    let secrets_used = of_task(
        &host.catalogue,
        &wish.secrets,
        kind.as_deref(),
        &routes,
        &pool.base().stand_ins,
    )?;
    let mut environment = environment::inside(host, &task, &agent.launch, &secrets_used);
    environment.extend(extra.caches.iter().map(|cache| {
        let folder = cache.inside().to_string_lossy().into_owned();
        (cache.variable().to_owned(), folder)
    }));
    let mut plan = Plan {
        format: FORMAT,
        task: task.id().clone(),
        sandbox,
        main: Main {
            argv: after_setup(&project.setup, agent.launch.argv.clone()),
            env: environment,
            trust_variables: agent
                .launch
                .ca_variables
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            cwd: workspace_target(&repository).to_string_lossy().into_owned(),
            terminal: agent.terminal,
        },
        session: None,
        routes,
        allow: ruled.allow.clone(),
        deny: ruled.deny.clone(),
        asks: ruled.ask,
        approvals: host.config.approvals.clone(),
        services: wish.network.services.clone(),
        secrets: secrets_used,
        mcp,
        tools: project.tools.clone(),
        honeytoken: Some(Honeytoken::new()),
        publish: wish.network.publish.clone(),
        caps: Caps {
            task: wish.cap.or(host.config.budget.task),
            ..host.config.budget
        },
        own_prices: host.config.own_prices.clone(),
        repository: repository.key(),
        byte_limit: wish.byte_limit,
        wall_seconds: wish.wall_seconds,
        disk_bytes: wish.disk_bytes,
        own_disk: wish.own_disk,
        git: host.git.program().to_owned(),
        contract: Contract::default(),
    };
    plan.contract = Contract {
        required: wish.require,
        accepted: wish.accept,
        asked_secrets: not_given(&project.secrets, &host.catalogue),
        policy: policy.line(),
        hooks: wish.has_hooks(),
        ..contract::of(&plan, &agent, &pool, back_end, &project, &ruled)
    };
    caps::require(&plan.contract)?;
    let created_at = now();
    let status = TaskStatus {
        format: FORMAT,
        id: task.id().clone(),
        slug: slug.as_str().to_owned(),
        repository: repository.worktree().to_owned(),
        branch,
        base: base.to_string(),
        agent: agent.kind,
        model: wish.model.clone(),
        prompt: agent.prompt.clone(),
        created_at: created_at.clone(),
        state: TaskState::Preparing,
        since: created_at,
        published: Vec::new(),
        caps_met: Vec::new(),
    };
    let notes = agent.launch.notes.clone();
    let planted = plan.honeytoken.iter().map(Honeytoken::file);
    let files = agent.launch.files.into_iter().chain(planted).collect();
    Ok(Prepared {
        task,
        plan,
        status,
        notes,
        repository,
        pool,
        slug,
        back_end,
        with_dirty: wish.with_dirty,
        secrets,
        files,
        policy,
        extra,
    })
}

/// What a task whose own folders are in `layers` sees of caches.
fn cached(
    host: &Host,
    caches: &[Cache],
    back_end: BackEnd,
    layers: &Path,
) -> Result<Vec<Grant>, SupervisorError> {
    if back_end == BackEnd::Checkout && !caches.is_empty() {
        let reason = "a cache cannot be used with a plain checkout, over which nothing can be \
                      laid; leave out `--backend checkout`, or add `--forget-paths`";
        return Err(refused(reason));
    }
    let found = caches
        .iter()
        .filter_map(|cache| Some((cache, host.cache(*cache)?)));
    found
        .map(|(cache, folder)| cache.grant(&host.state, folder, layers))
        .collect()
}

/// Who runs, once it is found and configured.
struct Agent {
    kind: Option<AgentKind>,
    name: String,
    found: Option<Found>,
    prompt: String,
    terminal: bool,
    launch: Launch,
    routes: Vec<Route>,
    grants: Vec<Grant>,
}

impl Agent {
    fn resolve(
        host: &Host,
        wish: &Wish,
        workspace: &Path,
        mcp_servers: &[McpServer],
    ) -> Result<Self, SupervisorError> {
        match &wish.runs {
            Runs::Agent {
                kind,
                prompt,
                interactive,
            } => Self::known(
                host,
                wish,
                workspace,
                *kind,
                prompt.as_deref(),
                *interactive,
                mcp_servers,
            ),
            Runs::Command { argv, terminal } => Ok(Self {
                kind: None,
                name: visible::line(argv.join(" ").as_bytes()),
                found: None,
                prompt: argv.join(" "),
                terminal: *terminal,
                launch: stockade_agents::command(argv)?,
                routes: Vec::new(),
                grants: Vec::new(),
            }),
            Runs::BuiltIn { program, prompt } => Self::built_in(wish, program, prompt),
        }
    }

    fn known(
        host: &Host,
        wish: &Wish,
        workspace: &Path,
        kind: AgentKind,
        prompt: Option<&str>,
        interactive: bool,
        mcp_servers: &[McpServer],
    ) -> Result<Self, SupervisorError> {
        let mut digests = DigestCache::open(&host.state.path().join("digests.json"));
        let found = stockade_agents::find_cached(kind, &host.search_path, &mut digests)?;
        let template = stockade_agents::route(
            kind,
            wish.model.as_deref(),
            host.home.as_deref(),
            |variable| host.variables.contains(variable),
        )?;
        let region = region(host, &template)?;
        let placeholder = template.shape.placeholder(rand::rng().random());
        let mode = if interactive {
            Mode::Interactive
        } else {
            Mode::Headless
        };
        let launch = stockade_agents::launch(
            &found,
            &LaunchRequest {
                prompt,
                mode,
                resume: false,
                model: wish.model.as_deref(),
                key_variable: template.key_variable,
                placeholder: &placeholder,
                region,
                home: Path::new(INSIDE_HOME),
                workspace,
                host_config: host.home.as_deref(),
                hook: wish.has_hooks().then_some(hook::CLIENT),
                mcp_servers,
            },
        )?;
        let grants = found
            .mounts
            .iter()
            .map(|mount| Grant {
                source: mount.source.clone(),
                target: mount.target.clone(),
                access: Access::ReadOnly,
                hidden: Vec::new(),
                over: None,
            })
            .collect();
        let routes = vec![route(&template, region, &placeholder, wish)?];
        Ok(Self {
            kind: Some(kind),
            name: kind.to_string(),
            prompt: prompt.unwrap_or("interactive").to_owned(),
            terminal: interactive,
            found: Some(found),
            launch,
            routes,
            grants,
        })
    }

    fn built_in(wish: &Wish, program: &Path, prompt: &str) -> Result<Self, SupervisorError> {
        let template = Api::Anthropic.route();
        let placeholder = template.shape.placeholder(rand::rng().random());
        let argv = [BUILT_IN, BUILT_IN_ARGUMENT, prompt].map(str::to_owned);
        let mut launch = stockade_agents::command(&argv)?;
        launch
            .env
            .push((template.key_variable.to_owned(), placeholder.clone()));
        Ok(Self {
            kind: None,
            name: "built-in agent".to_owned(),
            found: None,
            prompt: prompt.to_owned(),
            terminal: false,
            launch,
            routes: vec![route(&template, None, &placeholder, wish)?],
            grants: vec![Grant {
                source: program.to_owned(),
                target: BUILT_IN.into(),
                access: Access::ReadOnly,
                hidden: Vec::new(),
                over: None,
            }],
        })
    }
}

/// The region of a model host that has one: the caller says which.
fn region<'a>(
    host: &'a Host,
    template: &RouteTemplate,
) -> Result<Option<&'a str>, SupervisorError> {
    if template.signing.is_none() {
        return Ok(None);
    }
    let plain = |region: &&str| {
        region.len() <= 32
            && region
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let region = host.region.as_deref().filter(|region| !region.is_empty());
    match region {
        Some(region) if plain(&region) => Ok(Some(region)),
        Some(region) => Err(refused(format!("`{region}` is not an AWS region"))),
        None => Err(refused(format!(
            "this model is reached in an AWS region, and none is named; export {}=us-east-1",
            stockade_types::env::AWS_REGION
        ))),
    }
}

fn route(
    template: &RouteTemplate,
    region: Option<&str>,
    placeholder: &str,
    wish: &Wish,
) -> Result<Route, SupervisorError> {
    let region = region.unwrap_or_default();
    let host: stockade_types::HostName = template.host_in(region).parse().map_err(refused)?;
    let endpoint = |endpoint: &stockade_agents::Endpoint| {
        Ok(Endpoint {
            method: endpoint.method.to_owned(),
            path: endpoint.path.parse().map_err(refused)?,
            metered: endpoint.metered,
        })
    };
    Ok(Route {
        api: match template.api {
            Api::Anthropic => ModelApi::Anthropic,
            Api::OpenAi => ModelApi::OpenAi,
            Api::Gemini => ModelApi::Gemini,
            Api::Bedrock => ModelApi::Bedrock,
        },
        upstream: wish
            .model_url
            .clone()
            .unwrap_or_else(|| Upstream::https(host.clone())),
        host,
        header: template.header.to_owned(),
        placeholder: placeholder.to_owned(),
        key: template.key_variable.to_owned(),
        signing: template.signing.map(|signing| RouteSigning {
            region: region.to_owned(),
            service: signing.service.to_owned(),
            key_id: signing.key_id_variable.to_owned(),
            session_token: signing.session_token_variable.to_owned(),
        }),
        endpoints: template
            .endpoints
            .iter()
            .map(endpoint)
            .collect::<Result<_, SupervisorError>>()?,
    })
}

/// Where the repository appears inside: its own name, if that is plain.
fn workspace_target(repository: &Repository) -> PathBuf {
    let name = repository
        .worktree()
        .file_name()
        .map(|name| name.to_string_lossy())
        .unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = name
        .chars()
        .map(|c| if plain(c) { c } else { '-' })
        .take(64)
        .collect();
    let name = name.trim_start_matches(['.', '-']);
    Path::new(WORKSPACES).join(if name.is_empty() { "repository" } else { name })
}

/// How a tree is made if nobody says. Both take the same time for any number of
/// files; in a snapshot folders can also be renamed. As root each task has a
/// user id of its own, to whom every file of a snapshot would have to be given.
fn fastest(pool: &PoolEntry) -> BackEnd {
    if pool.subvolume().is_some() && !rustix::process::geteuid().is_root() {
        BackEnd::Btrfs
    } else {
        BackEnd::Overlay
    }
}

/// How the tree is made, if what is asked for can be.
fn back_end(host: &Host, wish: &Wish, pool: &PoolEntry) -> Result<BackEnd, SupervisorError> {
    let Some(bytes) = wish.disk_bytes.filter(|_| wish.own_disk) else {
        return Ok(wish.back_end.unwrap_or_else(|| match fastest(pool) {
            BackEnd::Overlay if !overlay::works(&host.state) => BackEnd::Checkout,
            fastest => fastest,
        }));
    };
    disk::check(bytes)?;
    match wish.back_end {
        // A snapshot cannot leave its file system, and a copy takes its time.
        None | Some(BackEnd::Overlay) => Ok(BackEnd::Overlay),
        Some(_) => Err(refused(
            "a disk of its own goes with `--backend overlay` only".to_owned(),
        )),
    }
}

/// The toolchains of the caller's `PATH`, secrets in them hidden.
pub(crate) fn toolchains(host: &Host, home: &Path) -> files::Toolchains {
    let hidden = host.config.hidden_paths();
    files::find_toolchains(
        &host.search_path,
        home,
        host.rustup_home.as_deref(),
        &hidden,
    )
}

fn sandbox(
    host: &Host,
    task: &TaskDirectory,
    filled: &Path,
    repository: &Repository,
    pool: &PoolEntry,
    agent: &Agent,
    back_end: BackEnd,
) -> SandboxSpec {
    let home = host
        .home
        .clone()
        .unwrap_or_else(|| PathBuf::from("/nonexistent"));
    let toolchains = toolchains(host, &home);
    let target = workspace_target(repository);
    let mut view = files::system();
    view.grants.extend(toolchains.grants);
    view.grants.extend(agent.grants.iter().cloned());
    for (source, target, access) in [
        (filled.join("home"), INSIDE_HOME, Access::ReadWrite),
        (
            filled.join("agent.git"),
            AGENT_GIT_INSIDE,
            Access::ReadWrite,
        ),
        (pool.repository(), POOL_GIT_INSIDE, Access::ReadOnly),
    ] {
        view.grants.push(Grant {
            source,
            target: target.into(),
            access,
            hidden: Vec::new(),
            over: None,
        });
    }
    // Pinned: what the agent's tree says of its repository cannot be changed.
    let git_file = PathBuf::from("/etc/stockade/git-file");
    view.files.push(InsideFile {
        path: git_file.clone(),
        content: format!("gitdir: {AGENT_GIT_INSIDE}\n"),
    });
    view.covers.push(Cover {
        file: git_file,
        over: target.join(".git"),
    });
    let managed = agent.launch.managed.iter();
    view.files.extend(managed.map(|file| InsideFile {
        path: file.path.into(),
        content: file.content.clone(),
    }));
    let tree = match back_end {
        BackEnd::Overlay => Tree::Overlay {
            lower: pool.tree(),
            layers: filled.to_owned(),
        },
        BackEnd::Btrfs => Tree::Subvolume {
            name: BTRFS.to_owned(),
            layers: task.path().to_owned(),
        },
        BackEnd::Checkout => Tree::Directory(task.join("ws")),
    };
    SandboxSpec {
        task: task.id().clone(),
        identity: create::identity(&host.state),
        grants: view.grants,
        files: view.files,
        links: view.links,
        covers: view.covers,
        trust_stores: view.trust_stores,
        workspace: WorkspaceMount { target, tree },
        limits: Limits::default(),
        nested: false,
        watch_execs: false,
        clients: Vec::new(),
    }
}
