//! The measurements.

use std::{
    io,
    os::unix::fs::{PermissionsExt, lchown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use stockade_sandbox::{
    FreshSandboxes, Identity, InitChannel, Isolation, Limits, Sandbox, SandboxError, SandboxSpec,
    Tree, WORKSPACES, WorkspaceMount, files,
};
use stockade_types::{
    TaskId,
    wire::{Exec, ExitStatus, Reply, Request},
};
use tempfile::TempDir;

use crate::{
    failure::Failure,
    figure::{Figure, Goal, Samples, Unit},
};

/// What is run, inside and outside.
pub(crate) const PROGRAM: &str = "/bin/true";
const SPAWN: &str = "posix_spawn and wait";
const BWRAP: [&str; 6] = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", PROGRAM];
/// Whom the task is given to, as root.
const IDENTITY: Identity = Identity {
    uid: 0x6fff_fffd,
    gid: 0x6fff_fffd,
};
/// Kernel memory that a sandbox may take, by its names in proc_meminfo(5).
const KERNEL: [&str; 5] = ["Slab:", "KernelStack:", "PageTables:", "Percpu:", "Shmem:"];

/// Of what is many times as slow, one sample for so many others.
const SELDOM: u32 = 5;

/// A task's first sandbox, and what builds further ones.
pub(crate) struct Bench {
    sandboxes: FreshSandboxes,
    _first: Sandbox,
    folder: TempDir,
}

impl Bench {
    pub(crate) fn begin() -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(Failure::file(Path::new("/tmp")))?;
        let path = folder.path();
        let prepared = std::fs::set_permissions(path, PermissionsExt::from_mode(0o755))
            .and_then(|()| own(path));
        prepared.map_err(Failure::file(path))?;
        let first = start(path, 9)?;
        Ok(Self {
            sandboxes: first.fresh(),
            _first: first,
            folder,
        })
    }

    /// Builds a sandbox, runs a command in it and ends it, between the peers.
    pub(crate) fn one_after_another(&self, count: u32) -> Result<Vec<Figure>, Failure> {
        let mut cold = [Samples::default(), Samples::default()];
        let (mut spawns, mut bwraps, mut missing) = (Samples::default(), Samples::default(), None);
        let mut firsts = Samples::default();
        for number in 0..count {
            if number % SELDOM == 0 {
                let started = Instant::now();
                let first = start(self.folder.path(), 10)?;
                run_in(first.init())?;
                drop(first);
                firsts.push_time(started.elapsed());
            }
            for (samples, kind) in cold
                .iter_mut()
                .zip([Isolation::Fresh, Isolation::Tightened])
            {
                let started = Instant::now();
                let (built, _listeners) = self.sandboxes.build(kind).map_err(sandbox)?;
                run_in(built.init())?;
                drop(built);
                samples.push_time(started.elapsed());
            }
            spawns.push_time(timed(&mut program(PROGRAM))?);
            if missing.is_none() {
                match timed(program(BWRAP[0]).args(&BWRAP[1..])) {
                    Ok(took) => bwraps.push_time(took),
                    Err(error) => missing = Some(error.to_string()),
                }
            }
        }
        let [fresh, tightened] = cold;
        let figure = |work, samples: &Samples| {
            Figure::new(work, Unit::Milliseconds, samples.clone()).against(SPAWN, spawns.clone())
        };
        let against_bwrap = "the further one, against bwrap";
        Ok(vec![
            figure("a task's first sandbox, its anchor started", &firsts),
            figure("a further sandbox built, a command run in it", &fresh)
                .held_to(&[Goal::Ratio(3.5)]),
            figure("the same with an empty home and no network", &tightened),
            match missing {
                Some(reason) => Figure::skipped(against_bwrap, Unit::Milliseconds, reason),
                None => Figure::new(against_bwrap, Unit::Milliseconds, fresh)
                    .against("bwrap --unshare-all --ro-bind / / /bin/true", bwraps)
                    .held_to(&[Goal::Ratio(0.6)]),
            },
        ])
    }

    /// The same beside many that live, and what each of these holds.
    pub(crate) fn beside(&self, live: u32, count: u32) -> Result<Vec<Figure>, Failure> {
        let one = self.build_often(count)?;
        let before = kernel_memory()?;
        let mut living = Vec::new();
        let mut own = Samples::default();
        for _ in 0..live {
            living.push(self.sandboxes.build(Isolation::Fresh).map_err(sandbox)?);
        }
        let kernel = (kernel_memory()? - before) / f64::from(live.max(1));
        let many = self.build_often(count)?;
        for process in children_of_anchor()? {
            own.push(proportional_set_size(process));
        }
        drop(living);
        let mut kernels = Samples::default();
        kernels.push(kernel);
        let mut both = Samples::default();
        both.push(kernel + own.median());
        let (ms, mib) = (Unit::Milliseconds, Unit::Mebibytes);
        Ok(vec![
            Figure::new("a sandbox built beside many that live", ms, many)
                .against("beside one", one)
                .held_to(&[Goal::Ratio(1.5)]),
            Figure::new("what an idle sandbox holds", mib, both).held_to(&[Goal::Value(1.0)]),
            Figure::new("… its process 1, PSS", mib, own),
            Figure::new("… the kernel, a new network included", mib, kernels),
        ])
    }

    /// What it costs that a network is captured, against one that leads nowhere.
    pub(crate) fn capture(&self, count: u32) -> Result<Vec<Figure>, Failure> {
        let figure = |work, [captured, closed]: [Samples; 2]| {
            Figure::new(work, Unit::Milliseconds, captured)
                .against("with a network that leads nowhere", closed)
        };
        let ready = self.captured_and_closed(count, false)?;
        let new = self.captured_and_closed(count, true)?;
        Ok(vec![
            figure("a sandbox whose captured network stood ready", ready)
                .held_to(&[Goal::Added(50, 1.0)]),
            figure("a sandbox whose captured network is new", new),
        ])
    }

    /// Builds both kinds in turns. Of those that end, the networks are used again.
    fn captured_and_closed(&self, count: u32, living: bool) -> Result<[Samples; 2], Failure> {
        let mut both: [Samples; 2] = Default::default();
        let mut kept = Vec::new();
        for _ in 0..count {
            for (samples, kind) in both
                .iter_mut()
                .zip([Isolation::Fresh, Isolation::Contained])
            {
                let started = Instant::now();
                let built = self.sandboxes.build(kind).map_err(sandbox)?;
                samples.push_time(started.elapsed());
                kept.extend(living.then_some(built));
            }
        }
        Ok(both)
    }

    fn build_often(&self, count: u32) -> Result<Samples, Failure> {
        let mut samples = Samples::default();
        for _ in 0..count {
            let started = Instant::now();
            let built = self.sandboxes.build(Isolation::Fresh).map_err(sandbox)?;
            samples.push_time(started.elapsed());
            drop(built);
        }
        Ok(samples)
    }
}

/// Starts the anchor of a task, which builds its first sandbox.
fn start(folder: &Path, task: u64) -> Result<Sandbox, Failure> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_stockade"));
    let started = Sandbox::start(&program, &spec(folder, task));
    Ok(started.map_err(sandbox)?.0)
}

/// As root the task's folder is not root's.
fn own(folder: &Path) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        lchown(folder, Some(IDENTITY.uid), Some(IDENTITY.gid))?;
    }
    Ok(())
}

fn spec(folder: &Path, task: u64) -> SandboxSpec {
    let root = rustix::process::geteuid().is_root();
    let view = files::system();
    let home = stockade_sandbox::Grant {
        source: folder.to_owned(),
        target: stockade_sandbox::INSIDE_HOME.into(),
        access: stockade_sandbox::Access::ReadWrite,
        hidden: Vec::new(),
        over: None,
    };
    let mut grants = view.grants;
    grants.push(home);
    SandboxSpec {
        task: TaskId::from_random(task),
        identity: root.then_some(IDENTITY),
        grants,
        files: view.files,
        links: view.links,
        covers: Vec::new(),
        trust_stores: Vec::new(),
        workspace: WorkspaceMount {
            target: Path::new(WORKSPACES).join("empty"),
            tree: Tree::Directory(folder.to_owned()),
        },
        limits: Limits::default(),
        nested: false,
        watch_execs: false,
        clients: Vec::new(),
    }
}

/// Runs the program inside, its output captured by nobody.
fn run_in(init: &InitChannel) -> Result<(), Failure> {
    let exec = Exec {
        id: 1,
        cwd: b"/".to_vec(),
        argv: vec![PROGRAM.as_bytes().to_vec()],
        ..Exec::default()
    };
    let heard = || init.receive().map_err(Failure::file("process 1"));
    init.send(&Request::Exec(exec), &[])
        .map_err(Failure::file("process 1"))?;
    let mut ended = heard()?;
    if ended == Some(Reply::Ready) {
        // A task's first sandbox says that it stands.
        ended = heard()?;
    }
    match ended {
        Some(Reply::Exited {
            status: ExitStatus::Code(0),
            ..
        }) => Ok(()),
        other => Err(Failure::InVain(format!("a command's end, not {other:?}"))),
    }
}

#[expect(clippy::disallowed_methods, reason = "a peer that is measured")]
fn program(name: &str) -> Command {
    Command::new(name)
}

fn timed(command: &mut Command) -> Result<Duration, Failure> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status().map_err(|source| Failure::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })?;
    let took = started.elapsed();
    if status.success() {
        return Ok(took);
    }
    Err(Failure::InVain(format!("{command:?}")))
}

/// What the kernel holds for the whole machine, in MiB.
fn kernel_memory() -> Result<f64, Failure> {
    let path = Path::new("/proc/meminfo");
    let text = std::fs::read_to_string(path).map_err(Failure::file(path))?;
    let lines = text
        .lines()
        .filter(|line| KERNEL.iter().any(|name| line.starts_with(name)));
    Ok(lines.map(kibibytes).sum::<f64>() / 1024.0)
}

/// The number in a line of such a file.
fn kibibytes(line: &str) -> f64 {
    let word = line.split_whitespace().nth(1);
    word.and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// Process 1 of every sandbox, as children of this process's only child.
fn children_of_anchor() -> Result<Vec<u32>, Failure> {
    let children = |process: u32| {
        let path = PathBuf::from(format!("/proc/{process}/task/{process}/children"));
        let text = std::fs::read_to_string(&path).map_err(Failure::file(&path))?;
        let words = text.split_whitespace();
        Ok::<Vec<u32>, Failure>(words.filter_map(|word| word.parse().ok()).collect())
    };
    let anchors = children(std::process::id())?;
    let mut all = Vec::new();
    for anchor in anchors {
        all.extend(children(anchor)?);
    }
    Ok(all)
}

/// In MiB; zero of what nobody may look at.
fn proportional_set_size(process: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"));
    let text = text.unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Pss:"));
    line.map_or(0.0, kibibytes) / 1024.0
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn sandbox(error: SandboxError) -> Failure {
    Failure::InVain(format!("a sandbox: {error}"))
}
