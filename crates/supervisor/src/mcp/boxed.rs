//! The sandbox of one MCP server: its own home and folder, which go with it, what the
//! person shows it, and of the network what it names.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Mutex, mpsc::Receiver},
    thread,
    time::Duration,
};

use rand::Rng;
use rustix::{
    fs::FlockOperation,
    pipe::{PipeFlags, pipe_with},
};
use serde::{Deserialize, Serialize};
use stockade_gateway::{HostRule, Service};
use stockade_sandbox::{
    Access, FreshSandbox, Grant, INSIDE_HOME, InitChannel, Isolation, Limits, Sandbox, SandboxSpec,
    Tree, WORKSPACES, WorkspaceMount, files,
};
use stockade_types::{
    TaskId,
    wire::{Exec, ExecLimits, ExitStatus, Reply, Request},
};
use stockade_vault::SecretName;

use super::{
    Installed, ServerEnds, ServerNetwork,
    network::{Serving, Waiting},
};
use crate::{
    error::SupervisorError,
    identities::Identities,
    part,
    prepare::{ExtraPaths, Host, hand_over, of_program, toolchains},
    secrets::{PlannedSecret, of_server},
    state::StateDirectory,
};

/// The folder that a server finds itself in, if the caller's is not shown to it.
const FOLDER: &str = "server";
/// Where the program is that speaks for servers that are elsewhere.
const BRIDGE: &str = "/opt/stockade/bridge";
/// The argument that makes the `stockade` executable that program.
pub const BRIDGE_ARGUMENT: &str = "__mcp-bridge";
/// Processes of one server.
const PROCESSES: u64 = 512;

/// What a person lets a server have.
#[derive(Clone, Debug, Default)]
pub struct ServerWish {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Names of variables whose values it is given.
    pub variables: Vec<String>,
    /// The user's secrets that it may use without holding them.
    pub secrets: Vec<SecretName>,
    /// What it may read of the host.
    pub read: Vec<PathBuf>,
    /// What it may change of the host.
    pub write: Vec<PathBuf>,
    /// What it may reach.
    pub allow: Vec<HostRule>,
    /// Names that lead it to places.
    pub services: Vec<Service>,
    /// The folder that it is started in, if it is shown that.
    pub folder: PathBuf,
    /// The package that its program is of.
    pub package: Option<Installed>,
}

/// How a server is started, and what its sandbox is made of. No values of variables that
/// the person gives it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BoxPlan {
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// Names of variables whose values it is given.
    pub(crate) variables: Vec<String>,
    /// Secrets that it may use without holding them.
    #[serde(default)]
    pub(crate) secrets: Vec<PlannedSecret>,
    /// What of the host it is shown.
    pub(crate) read: Vec<PathBuf>,
    /// What of that it may change.
    pub(crate) write: Vec<PathBuf>,
    /// What it may reach.
    #[serde(default)]
    pub(crate) allow: Vec<HostRule>,
    /// Whether it is somewhere else, and a bridge speaks for it here.
    #[serde(default)]
    pub(crate) is_remote: bool,
    /// Names that lead it to places.
    #[serde(default)]
    pub(crate) services: Vec<Service>,
    /// The package that its program is of.
    #[serde(default)]
    pub(crate) package: Option<Installed>,
    /// Where its folder is inside too.
    #[serde(default)]
    also_at: Option<PathBuf>,
    env: Vec<(String, String)>,
    cwd: PathBuf,
    pub(crate) view: View,
}

/// What a server sees.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum View {
    /// What its own sandbox has; home and folder are made at each start.
    Own(Box<SandboxSpec>),
    /// What a further sandbox of its task has.
    OfTask(Isolation),
}

/// A task that a server is for.
pub(crate) struct OfTask<'a> {
    /// The repository that the task works on.
    pub(crate) repository: &'a Path,
    /// Where its tree is inside.
    pub(crate) workspace: &'a Path,
}

impl BoxPlan {
    /// How `wish` is started outside tasks.
    pub fn alone(host: &Host, wish: &ServerWish) -> Result<Self, SupervisorError> {
        let shown = ExtraPaths::alone(&wish.read, &wish.write, host)?;
        let mut all = shown.read.iter().chain(&shown.write);
        let cwd = if all.any(|path| wish.folder.starts_with(path)) {
            wish.folder.clone()
        } else {
            Path::new(WORKSPACES).join(FOLDER)
        };
        let mut template = template(host, &shown);
        template
            .grants
            .extend(wish.package.as_ref().map(Installed::grant));
        Self::new(host, wish, cwd, View::Own(Box::new(template)))
    }

    /// How `wish` is started to make what is to be at `target` inside.
    pub(super) fn making(
        host: &Host,
        wish: &ServerWish,
        target: &Path,
    ) -> Result<Self, SupervisorError> {
        let template = template(host, &ExtraPaths::default());
        let view = View::Own(Box::new(template));
        let plan = Self::new(host, wish, target.to_owned(), view)?;
        Ok(Self {
            also_at: Some(target.to_owned()),
            ..plan
        })
    }

    /// How `wish` is started for `task`. Whoever is shown the repository sees the task's
    /// tree instead, from a further sandbox of the task.
    pub(crate) fn in_task(
        host: &Host,
        wish: &ServerWish,
        task: &OfTask<'_>,
    ) -> Result<Self, SupervisorError> {
        let is_below = |path: &&PathBuf| {
            path.canonicalize()
                .is_ok_and(|path| path.starts_with(task.repository))
        };
        let paths = || wish.read.iter().chain(&wish.write);
        if !paths().any(|path| is_below(&path)) {
            return Self::alone(host, wish);
        }
        if let Some(other) = paths().find(|path| !is_below(path)) {
            return Err(SupervisorError::Refused(format!(
                "an MCP server that is shown the repository sees the task's tree, and nothing \
                 else that the task does not; {} cannot be shown to it",
                other.display()
            )));
        }
        if !wish.allow.is_empty() {
            let reason = "an MCP server that is shown the repository reaches nothing in a task: \
                          what it reads there could leave; leave the one or the other out";
            return Err(SupervisorError::Refused(reason.to_owned()));
        }
        let isolation = if wish.write.is_empty() {
            Isolation::Reading
        } else {
            Isolation::Tightened
        };
        let mut wish = wish.clone();
        for word in &mut wish.argv {
            let inside = Path::new(&*word).strip_prefix(task.repository);
            if let Ok(below) = inside {
                let path = if below == Path::new("") {
                    task.workspace.to_owned()
                } else {
                    task.workspace.join(below)
                };
                *word = path.to_string_lossy().into_owned();
            }
        }
        let cwd = task.workspace.to_owned();
        Self::new(host, &wish, cwd, View::OfTask(isolation))
    }

    fn new(
        host: &Host,
        wish: &ServerWish,
        cwd: PathBuf,
        view: View,
    ) -> Result<Self, SupervisorError> {
        let secrets = of_server(&host.catalogue, &wish.secrets)?;
        let placeholders = secrets.iter().flat_map(|secret| {
            let variables = secret.variables.iter();
            variables.map(|name| (name.clone(), secret.bound.placeholder.clone()))
        });
        let env = of_program(host, placeholders);
        let mut allow = wish.allow.clone();
        let remote = stockade_mcp::remote(&wish.argv);
        allow.extend(remote.map(rule_of).transpose()?);
        Ok(Self {
            argv: wish.argv.clone(),
            variables: wish.variables.clone(),
            secrets,
            read: wish.read.clone(),
            write: wish.write.clone(),
            allow,
            is_remote: remote.is_some(),
            services: wish.services.clone(),
            package: wish.package.clone(),
            also_at: None,
            env,
            cwd,
            view,
        })
    }

    /// The command, with values of variables, and with the authority that it is to
    /// trust if it reaches anything.
    fn exec(&self, values: &[(String, String)]) -> Exec {
        let bridge: &[&str] = if self.is_remote {
            &[BRIDGE, BRIDGE_ARGUMENT]
        } else {
            &[]
        };
        let given = |name: &str| values.iter().any(|(given, _)| given == name);
        let env = self.env.iter().filter(|(name, _)| !given(name));
        let trust = files::TRUST_VARIABLES
            .iter()
            .filter(|_| !self.allow.is_empty());
        let trust: Vec<_> = trust
            .map(|name| ((*name).to_owned(), files::BUNDLE.to_owned()))
            .collect();
        let env = env.chain(values).chain(&trust);
        Exec {
            id: 0,
            terminal: false,
            tree: false,
            limits: ExecLimits::NONE,
            cwd: self.cwd.clone().into_os_string().into_encoded_bytes(),
            argv: bridge
                .iter()
                .copied()
                .chain(self.argv.iter().map(String::as_str))
                .map(|word| word.as_bytes().to_vec())
                .collect(),
            env: env
                .map(|(name, value)| format!("{name}={value}").into_bytes())
                .collect(),
        }
    }
}

/// A sandbox in which the server can be started.
#[derive(Debug)]
pub struct Boxed {
    walls: Walls,
    exec: Exec,
    replies: Replies,
}

/// What process 1 tells of the server.
#[derive(Debug)]
struct Replies(Mutex<Receiver<Reply>>);

/// What a server is in; it ends when this is dropped.
#[derive(Debug)]
enum Walls {
    Own {
        sandbox: Sandbox,
        _gateway: Option<Serving>,
        folder: Folder,
    },
    OfTask(FreshSandbox),
}

/// Held while a server may use it, and removed with it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    id: TaskId,
    _lock: File,
}

impl Boxed {
    /// Builds the sandbox of `plan`, which is of the host's own; `values` are those of
    /// its variables. Nothing of the server runs yet.
    pub fn build(
        state: &StateDirectory,
        plan: &BoxPlan,
        values: &[(String, String)],
        network: &ServerNetwork,
    ) -> Result<Self, SupervisorError> {
        Self::build_in(Folder::make(state)?, state, plan, values, network)
    }

    /// The same with a folder that is made, and may have something in it.
    pub(super) fn build_in(
        folder: Folder,
        state: &StateDirectory,
        plan: &BoxPlan,
        values: &[(String, String)],
        network: &ServerNetwork,
    ) -> Result<Self, SupervisorError> {
        let View::Own(template) = &plan.view else {
            let reason = "it belongs into a task".to_owned();
            return Err(SupervisorError::McpServer(reason));
        };
        let mut spec = spec(template, state, &folder)?;
        spec.grants.extend(plan.also_at.clone().map(|target| Grant {
            source: folder.workspace(),
            target,
            access: Access::ReadWrite,
            hidden: Vec::new(),
            over: None,
        }));
        if plan.is_remote {
            spec.grants.push(bridge(&folder.path)?);
        }
        let gateway = (!plan.allow.is_empty())
            .then(|| Waiting::start(plan, network, &mut spec))
            .transpose()?;
        let (sandbox, listeners) = Sandbox::start(&part::executable(), &spec)?;
        // Without a gateway nobody accepts: all connections and questions are refused.
        let gateway = gateway
            .map(|gateway| gateway.serve(listeners))
            .transpose()?;
        let walls = Walls::Own {
            sandbox,
            _gateway: gateway,
            folder,
        };
        Ok(Self::within(walls, plan.exec(values)))
    }

    /// The same in a further sandbox of the task that the server is for.
    pub(crate) fn in_sandbox(
        sandbox: FreshSandbox,
        plan: &BoxPlan,
        values: &[(String, String)],
    ) -> Self {
        Self::within(Walls::OfTask(sandbox), plan.exec(values))
    }

    fn within(walls: Walls, exec: Exec) -> Self {
        let replies = Replies::of(walls.init().clone());
        Self {
            walls,
            exec,
            replies,
        }
    }

    /// Starts the server; what it says on standard error goes to `errors`.
    pub fn start(&mut self, errors: &OwnedFd) -> Result<ServerEnds, SupervisorError> {
        self.exec.id += 1;
        self.try_start(errors).map_err(SupervisorError::Control)
    }

    /// Why the server did not even start, if that is so.
    pub fn failure(&self) -> Option<io::Error> {
        let replies = self.replies.0.lock().ok()?;
        let failed = replies.try_iter().filter_map(|reply| match reply {
            Reply::Failed { errno, .. } => Some(io::Error::from_raw_os_error(errno)),
            _ => None,
        });
        failed.last()
    }

    /// Waits until what was started has ended; nothing if that takes longer.
    pub(super) fn ended(&self, longest: Duration) -> Option<io::Result<ExitStatus>> {
        let replies = self.replies.0.lock().ok()?;
        match replies.recv_timeout(longest).ok()? {
            Reply::Exited { status, .. } => Some(Ok(status)),
            Reply::Failed { errno, .. } => Some(Err(io::Error::from_raw_os_error(errno))),
            Reply::Ready => None,
        }
    }

    /// Ends everything inside; what is left is its folder, if it has one of its own.
    pub(super) fn into_folder(self) -> Option<Folder> {
        match self.walls {
            Walls::Own { folder, .. } => Some(folder),
            Walls::OfTask(_) => None,
        }
    }

    /// The way to its process 1.
    pub(crate) fn init(&self) -> &InitChannel {
        self.walls.init()
    }

    fn try_start(&self, errors: &OwnedFd) -> io::Result<ServerEnds> {
        let (stdin, input) = pipe_with(PipeFlags::CLOEXEC)?;
        let (output, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let request = Request::Exec(self.exec.clone());
        let inside = [stdin.as_fd(), stdout.as_fd(), errors.as_fd()];
        self.init().send(&request, &inside)?;
        Ok(ServerEnds { input, output })
    }
}

impl Walls {
    fn init(&self) -> &InitChannel {
        match self {
            Self::Own { sandbox, .. } => sandbox.init(),
            Self::OfTask(sandbox) => sandbox.init(),
        }
    }
}

impl Replies {
    fn of(init: InitChannel) -> Self {
        let (tell, told) = std::sync::mpsc::channel();
        thread::spawn(move || {
            while let Ok(Some(reply)) = init.receive() {
                let of_exec = matches!(reply, Reply::Failed { .. } | Reply::Exited { .. });
                if of_exec && tell.send(reply).is_err() {
                    break;
                }
            }
        });
        Self(Mutex::new(told))
    }
}

impl Folder {
    /// One below `state`, with a workspace and a home in it.
    pub(super) fn make(state: &StateDirectory) -> Result<Self, SupervisorError> {
        let all = state.path().join("mcp");
        let make = |path: &Path| fs::create_dir_all(path).map_err(SupervisorError::state(path));
        make(&all)?;
        sweep(&all).map_err(SupervisorError::state(&all))?;
        let id = TaskId::from_random(rand::rng().random());
        let path = all.join(id.as_str());
        make(&path)?;
        let lock = lock(&path).map_err(SupervisorError::state(&path))?;
        let folder = Self {
            path,
            id,
            _lock: lock,
        };
        make(&folder.workspace())?;
        make(&folder.path.join("home"))?;
        Ok(folder)
    }

    /// What is its workspace inside.
    pub(super) fn workspace(&self) -> PathBuf {
        self.path.join("ws")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = stockade_workspace::remove_folder(&self.path);
    }
}

fn lock(folder: &Path) -> io::Result<File> {
    let lock = File::open(folder)?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock)
}

/// Removes folders whose servers ended without a word.
fn sweep(all: &Path) -> io::Result<()> {
    for entry in fs::read_dir(all)? {
        let path = entry?.path();
        if let Ok(_lock) = lock(&path) {
            let _ = stockade_workspace::remove_folder(&path);
        }
    }
    Ok(())
}

/// The rule by which a server at `url` may be reached.
fn rule_of(url: &str) -> Result<HostRule, SupervisorError> {
    let place = url.split(['?', '#']).next().unwrap_or_default();
    let rule = format!("ANY {place}").parse();
    rule.map_err(|error| SupervisorError::Refused(format!("{url}: {error}")))
}

/// A copy of this executable, to be the bridge: what runs inside is not the file that runs
/// outside.
fn bridge(folder: &Path) -> Result<Grant, SupervisorError> {
    let source = folder.join("bridge");
    let copied = fs::copy(part::executable(), &source).and_then(|_| {
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&source, executable)
    });
    copied.map_err(SupervisorError::state(&source))?;
    Ok(Grant {
        source,
        target: BRIDGE.into(),
        access: Access::ReadOnly,
        hidden: Vec::new(),
        over: None,
    })
}

/// What every sandbox of a server is made of.
fn template(host: &Host, shown: &ExtraPaths) -> SandboxSpec {
    let home = host
        .home
        .clone()
        .unwrap_or_else(|| PathBuf::from("/nonexistent"));
    let mut view = files::system();
    view.grants.extend(toolchains(host, &home).grants);
    view.grants
        .extend(shown.grants(&host.config.hidden_paths()));
    SandboxSpec {
        task: TaskId::from_random(rand::rng().random()),
        identity: None,
        grants: view.grants,
        files: view.files,
        links: view.links,
        covers: view.covers,
        trust_stores: view.trust_stores,
        workspace: WorkspaceMount {
            target: Path::new(WORKSPACES).join(FOLDER),
            tree: Tree::Directory(PathBuf::new()),
        },
        limits: Limits {
            processes: PROCESSES,
            ..Limits::default()
        },
        nested: false,
        watch_execs: false,
        clients: Vec::new(),
    }
}

/// `template` for one start, with home and workspace in `folder`.
fn spec(
    template: &SandboxSpec,
    state: &StateDirectory,
    folder: &Folder,
) -> Result<SandboxSpec, SupervisorError> {
    let mut spec = template.clone();
    spec.task = folder.id.clone();
    spec.workspace.tree = Tree::Directory(folder.workspace());
    spec.grants.push(Grant {
        source: folder.path.join("home"),
        target: INSIDE_HOME.into(),
        access: Access::ReadWrite,
        hidden: Vec::new(),
        over: None,
    });
    let root = rustix::process::geteuid().is_root();
    spec.identity = root.then(|| Identities::of(state).unused());
    if let Some(identity) = spec.identity {
        for path in [folder.workspace(), folder.path.join("home")] {
            hand_over(&path, identity).map_err(SupervisorError::state(&path))?;
        }
    }
    Ok(spec)
}
