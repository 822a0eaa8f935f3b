//! The sandbox of one MCP server: its own home and folder, which go with it, what the
//! person shows it, and no network.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    thread,
};

use rand::Rng;
use rustix::{
    fs::FlockOperation,
    pipe::{PipeFlags, pipe_with},
};
use stockade_sandbox::{
    Access, Grant, INSIDE_HOME, Limits, Sandbox, SandboxSpec, Tree, WORKSPACES, WorkspaceMount,
    files,
};
use stockade_types::{
    TaskId,
    wire::{Exec, ExecLimits, Reply, Request},
};

use super::ServerEnds;
use crate::{
    error::SupervisorError,
    identities::Identities,
    part,
    prepare::{ExtraPaths, Host, hand_over, of_program, toolchains},
};

/// The folder that a server finds itself in, if the caller's is not shown to it.
const FOLDER: &str = "server";
/// Processes of one server.
const PROCESSES: u64 = 512;

/// What a person lets a server have.
#[derive(Clone, Debug, Default)]
pub struct ServerWish {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables that it is given.
    pub env: Vec<(String, String)>,
    /// What it may read of the host.
    pub read: Vec<PathBuf>,
    /// What it may change of the host.
    pub write: Vec<PathBuf>,
    /// The folder that it is started in, if it is shown that.
    pub folder: PathBuf,
}

/// A sandbox in which the server can be started.
#[derive(Debug)]
pub struct Boxed {
    sandbox: Sandbox,
    exec: Exec,
    failed: Arc<AtomicI32>,
    _folder: Folder,
}

/// Held while a server may use it, and removed with it.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Boxed {
    /// Builds the sandbox. Nothing of the server runs yet.
    pub fn build(host: &Host, wish: &ServerWish) -> Result<Self, SupervisorError> {
        let shown = ExtraPaths::alone(&wish.read, &wish.write, host)?;
        let id = TaskId::from_random(rand::rng().random());
        let folder = Folder::make(&host.state.path().join("mcp"), &id)?;
        let spec = spec(host, id, &folder.path, &shown)?;
        let (sandbox, listeners) = Sandbox::start(&part::executable(), &spec)?;
        // Nobody accepts: every connection and question is refused at once.
        drop(listeners);
        let mut all = shown.read.iter().chain(&shown.write);
        let cwd = if all.any(|path| wish.folder.starts_with(path)) {
            wish.folder.clone()
        } else {
            Path::new(WORKSPACES).join(FOLDER)
        };
        let env = of_program(host, wish.env.iter().cloned()).into_iter();
        let exec = Exec {
            id: 0,
            terminal: false,
            tree: false,
            limits: ExecLimits::NONE,
            cwd: cwd.into_os_string().into_encoded_bytes(),
            argv: wish
                .argv
                .iter()
                .map(|word| word.as_bytes().to_vec())
                .collect(),
            env: env
                .map(|(name, value)| format!("{name}={value}").into_bytes())
                .collect(),
        };
        let failed = Arc::new(AtomicI32::new(0));
        watch(&sandbox, Arc::clone(&failed));
        Ok(Self {
            sandbox,
            exec,
            failed,
            _folder: folder,
        })
    }

    /// Starts the server; what it says on standard error goes to `errors`.
    pub fn start(&mut self, errors: &OwnedFd) -> Result<ServerEnds, SupervisorError> {
        self.exec.id += 1;
        self.try_start(errors).map_err(SupervisorError::Control)
    }

    /// Why the server did not even start, if that is so.
    pub fn failure(&self) -> Option<io::Error> {
        let errno = self.failed.load(Ordering::Acquire);
        (errno != 0).then(|| io::Error::from_raw_os_error(errno))
    }

    fn try_start(&self, errors: &OwnedFd) -> io::Result<ServerEnds> {
        let (stdin, input) = pipe_with(PipeFlags::CLOEXEC)?;
        let (output, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let request = Request::Exec(self.exec.clone());
        let inside = [stdin.as_fd(), stdout.as_fd(), errors.as_fd()];
        self.sandbox.init().send(&request, &inside)?;
        Ok(ServerEnds { input, output })
    }
}

/// Notes if a server cannot be started.
fn watch(sandbox: &Sandbox, failed: Arc<AtomicI32>) {
    let init = sandbox.init().clone();
    thread::spawn(move || {
        while let Ok(Some(reply)) = init.receive() {
            if let Reply::Failed { errno, .. } = reply {
                failed.store(errno, Ordering::Release);
            }
        }
    });
}

impl Folder {
    fn make(all: &Path, id: &TaskId) -> Result<Self, SupervisorError> {
        let make = |path: &Path| fs::create_dir_all(path).map_err(SupervisorError::state(path));
        make(all)?;
        sweep(all).map_err(SupervisorError::state(all))?;
        let path = all.join(id.as_str());
        make(&path)?;
        let lock = lock(&path).map_err(SupervisorError::state(&path))?;
        for name in ["ws", "home"] {
            make(&path.join(name))?;
        }
        Ok(Self { path, _lock: lock })
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

fn spec(
    host: &Host,
    task: TaskId,
    folder: &Path,
    shown: &ExtraPaths,
) -> Result<SandboxSpec, SupervisorError> {
    let home = host
        .home
        .clone()
        .unwrap_or_else(|| PathBuf::from("/nonexistent"));
    let mut view = files::system();
    view.grants.extend(toolchains(host, &home).grants);
    view.grants.push(Grant {
        source: folder.join("home"),
        target: INSIDE_HOME.into(),
        access: Access::ReadWrite,
        hidden: Vec::new(),
        over: None,
    });
    view.grants
        .extend(shown.grants(&host.config.hidden_paths()));
    let root = rustix::process::geteuid().is_root();
    let identity = root.then(|| Identities::of(&host.state).unused());
    if let Some(identity) = identity {
        for name in ["ws", "home"] {
            let path = folder.join(name);
            hand_over(&path, identity).map_err(SupervisorError::state(&path))?;
        }
    }
    Ok(SandboxSpec {
        task,
        identity,
        grants: view.grants,
        files: view.files,
        links: view.links,
        covers: view.covers,
        trust_stores: view.trust_stores,
        workspace: WorkspaceMount {
            target: Path::new(WORKSPACES).join(FOLDER),
            tree: Tree::Directory(folder.join("ws")),
        },
        limits: Limits {
            processes: PROCESSES,
            ..Limits::default()
        },
        nested: false,
        watch_execs: false,
        hook_client: false,
    })
}
