//! `stockade bench exec`: what a command costs in a sandbox.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use stockade_sandbox::Isolation;
use stockade_supervisor::{
    Answer, Connection, ExecRequest, Host, Report, Request, Runs, StateDirectory, TaskDirectory,
    Wish, begin, gateway::Keys, prepare,
};

use super::{
    Outcome, Rate, Row,
    peers::{self, PAUSED, RESTED_SANDBOX, SANDBOXES, SPAWN},
    samples::Samples,
};
use crate::{arguments::BenchExec, failure::Failure, host, print::Printer};

/// What is run, inside and outside.
pub(super) const PROGRAM: &str = "/bin/true";
/// The name of the usual way.
pub(super) const CAPTURED: &str = "in the task's sandbox, output captured";
/// And of the one with more walls.
pub(super) const FRESH: &str = "in a sandbox of its own, ready (--fresh)";
/// Seconds that the task may live.
const LONGEST: u64 = 3600;
/// For another sandbox to stand ready, where one is taken at a time.
const REFILL: Duration = Duration::from_millis(15);
/// Of what is many times as slow, one run for so many others.
const SELDOM: u32 = 8;
/// How often progress is told.
const BETWEEN: Duration = Duration::from_secs(1);
/// The size of the large caller, in bytes.
const LARGE: usize = 512 << 20;
/// How many ask at once.
pub(super) const AT_ONCE: usize = 8;
/// Peers are counted for a part of the time.
const PEERS_SHARE: u32 = 4;
/// So often a caller is large and small in turns.
const TURNS: u32 = 10;

/// Everything that was found.
pub(super) struct Measured {
    pub(super) rows: Vec<Row>,
    pub(super) rates: Vec<Rate>,
}

/// Takes all figures.
pub(super) fn measure(arguments: &BenchExec, printer: Printer) -> Result<Measured, Failure> {
    let runs = arguments.runs;
    let stage = Stage::set(false)?;
    let mut rows = one_after_another(&stage, &Stage::set(true)?, runs, printer)?;
    rows.extend(in_sandboxes_of_their_own(&stage, runs / SELDOM, printer)?);
    rows.extend(from_a_large_caller(&stage, runs / SELDOM, printer)?);
    let time = Duration::from_secs(arguments.seconds);
    let rates = many_at_once(&stage, time, printer)?;
    Ok(Measured { rows, rates })
}

/// A task that runs and waits, on a throw-away repository.
struct Stage {
    folder: PathBuf,
    task: TaskDirectory,
}

impl Stage {
    fn set(record_programs: bool) -> Result<Self, Failure> {
        let mut host: Host = host::host()?;
        let kind = if record_programs { "recorded" } else { "plain" };
        let name = format!("bench-{}-{kind}", std::process::id());
        let folder = host.state.path().join(name);
        let repository = folder.join("repository");
        stockade_rehearsal::demo_repository::create(&repository).map_err(Failure::failed)?;
        host.state = StateDirectory::open(Some(folder.join("state")), None, None)?;
        let runs = Runs::Command {
            argv: ["sleep".to_owned(), LONGEST.to_string()].to_vec(),
            terminal: false,
        };
        let wish = Wish {
            forget_extra: true,
            record_programs,
            ..Wish::new(repository, runs, LONGEST)
        };
        let prepared = prepare(&host, &wish)?;
        begin(&host, &prepared, &Keys::default())?;
        Ok(Self {
            folder,
            task: prepared.task,
        })
    }

    fn client(&self) -> Result<Client, Failure> {
        let mut connection = Connection::ask(&self.task, &Request::Status)?;
        connection.answer()?;
        Ok(Client(connection))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What cannot be ended or removed is found by `uninstall`.
        let _ = Connection::ask_once(&self.task, &Request::Stop);
        let _ = self.task.wait_until_settled();
        let _ = stockade_workspace::remove_folder(&self.folder);
    }
}

/// A connection to the control socket.
struct Client(Connection);

impl Client {
    fn run(&mut self, request: &Request) -> Result<Duration, Failure> {
        let started = Instant::now();
        self.0.ask_again(request)?;
        match self.0.answer()? {
            Some(Answer::Ended { exit: 0, .. }) => Ok(started.elapsed()),
            other => Err(Failure::failed(format!("{PROGRAM} inside: {other:?}"))),
        }
    }
}

fn request(report: Report, isolation: Option<Isolation>) -> Request {
    Request::Exec(Box::new(ExecRequest {
        argv: vec![PROGRAM.to_owned()],
        report,
        isolation,
        ..ExecRequest::default()
    }))
}

/// Each kind of command between the others and its peers.
fn one_after_another(
    stage: &Stage,
    recorded: &Stage,
    runs: u32,
    printer: Printer,
) -> Result<Vec<Row>, Failure> {
    let mut kinds = [
        (stage.client()?, request(Report::Collected, None)),
        (stage.client()?, request(Report::Discarded, None)),
        (recorded.client()?, request(Report::Collected, None)),
    ];
    let mut own = <[Samples; 3]>::default();
    let mut spawns = Peer::new(&[]);
    let mut sandboxes = SANDBOXES.map(|(_, words)| Peer::new(words));
    let mut progress = Progress::begin(printer);
    for number in 0..runs {
        progress.tell(number, runs, "commands in a sandbox that runs");
        for (samples, (client, kind)) in own.iter_mut().zip(&mut kinds) {
            samples.push_time(client.run(kind)?);
        }
        spawns.run();
        if number % SELDOM == 0 {
            sandboxes.iter_mut().for_each(Peer::run);
        }
    }
    let [captured, silent, noted] = own.map(Outcome::Measured);
    let row = |name, outcome| Row {
        name,
        outcome,
        spawns: spawns.samples.clone(),
    };
    let mut rows = vec![
        row(SPAWN, Outcome::Measured(spawns.samples.clone())),
        row(CAPTURED, captured),
        row("in the task's sandbox, without output", silent),
        row("captured, and programs seen (--record exec)", noted),
    ];
    for ((name, _), peer) in SANDBOXES.iter().zip(sandboxes) {
        rows.push(row(name, peer.outcome()));
    }
    Ok(rows)
}

/// Sandboxes that stood ready, one a command.
fn in_sandboxes_of_their_own(
    stage: &Stage,
    runs: u32,
    printer: Printer,
) -> Result<Vec<Row>, Failure> {
    let mut client = stage.client()?;
    let kinds = [Isolation::Fresh, Isolation::Tightened];
    let kinds = kinds.map(|isolation| request(Report::Collected, Some(isolation)));
    let mut own = [Samples::default(), Samples::default()];
    let (mut spawns, mut bubblewrap) = (Peer::new(&[]), Peer::new(RESTED_SANDBOX.1));
    let mut progress = Progress::begin(printer);
    for number in 0..runs {
        progress.tell(number, runs, "commands in sandboxes of their own");
        for (samples, kind) in own.iter_mut().zip(&kinds) {
            std::thread::sleep(REFILL);
            samples.push_time(client.run(kind)?);
        }
        // A processor that slept is slow at first, for everybody.
        for peer in [&mut spawns, &mut bubblewrap] {
            std::thread::sleep(REFILL);
            peer.run();
        }
    }
    let row = |name, outcome| Row {
        name,
        outcome,
        spawns: spawns.samples.clone(),
    };
    let [fresh, tightened] = own.map(Outcome::Measured);
    Ok(vec![
        row(PAUSED, Outcome::Measured(spawns.samples.clone())),
        row(FRESH, fresh),
        row("the same, workspace alone (--tightened)", tightened),
        row(RESTED_SANDBOX.0, bubblewrap.outcome()),
    ])
}

/// The first kind again, asked for by a process that is in turns small and of 512 MB.
fn from_a_large_caller(stage: &Stage, runs: u32, printer: Printer) -> Result<[Row; 2], Failure> {
    let mut client = stage.client()?;
    let kind = request(Report::Collected, None);
    let mut callers = [Samples::default(), Samples::default()];
    let mut spawns = Peer::new(&[]);
    let mut progress = Progress::begin(printer);
    for turn in 0..TURNS {
        progress.tell(turn, TURNS, "turns of a caller of 512 MB and a small one");
        for (samples, size) in callers.iter_mut().zip([0, LARGE]) {
            let memory = std::hint::black_box(vec![1_u8; size]);
            for _ in 0..runs.div_ceil(TURNS) {
                samples.push_time(client.run(&kind)?);
                spawns.run();
            }
            drop(memory);
        }
    }
    let [small, large] = callers.map(Outcome::Measured);
    let row = |name, outcome| Row {
        name,
        outcome,
        spawns: spawns.samples.clone(),
    };
    Ok([
        row("the task's sandbox, a small caller", small),
        row("the task's sandbox, a caller of 512 MB", large),
    ])
}

/// Commands a second by eight at once: plain spawns first, then in sandboxes.
fn many_at_once(stage: &Stage, time: Duration, printer: Printer) -> Result<Vec<Rate>, Failure> {
    let tell = |name: &str, time: Duration| {
        printer.note(&format!(
            "{AT_ONCE} at once, {name}, for {} s",
            time.as_secs_f64()
        ));
    };
    let peer = |name: &'static str, words: &'static [&'static str]| {
        tell(name, time / PEERS_SHARE);
        let run = |(): &mut ()| match peers::run(words) {
            Ok(_) => Ok(()),
            Err(reason) => Err(Failure::failed(reason)),
        };
        let a_second = at_once([(); AT_ONCE].into(), time / PEERS_SHARE, run).ok();
        Rate { name, a_second }
    };
    let own = |name: &'static str, isolation| {
        tell(name, time);
        let request = request(Report::Collected, isolation);
        let clients = (0..AT_ONCE).map(|_| stage.client());
        let clients = clients.collect::<Result<Vec<_>, Failure>>()?;
        let run = |client: &mut Client| client.run(&request).map(drop);
        at_once(clients, time, run).map(|a_second| Rate {
            name,
            a_second: Some(a_second),
        })
    };
    Ok(vec![
        peer(SPAWN, &[]),
        own(CAPTURED, None)?,
        own("in sandboxes of their own", Some(Isolation::Fresh))?,
        peer(SANDBOXES[0].0, SANDBOXES[0].1),
    ])
}

/// How often `run` succeeds a second while all of `workers` do it one time after another.
fn at_once<Worker: Send>(
    workers: Vec<Worker>,
    time: Duration,
    run: impl Fn(&mut Worker) -> Result<(), Failure> + Sync,
) -> Result<f64, Failure> {
    let done = AtomicU64::new(0);
    let started = Instant::now();
    let work = |mut worker: Worker| {
        while started.elapsed() < time {
            run(&mut worker)?;
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .map(|worker| scope.spawn(|| work(worker)))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            let ended = thread.join();
            ended.unwrap_or_else(|_| Err(Failure::failed("a thread ended")))
        })
    })?;
    let done = u32::try_from(done.into_inner()).unwrap_or(u32::MAX);
    Ok(f64::from(done) / started.elapsed().as_secs_f64())
}

/// Another way to run the program, until it fails.
struct Peer {
    words: &'static [&'static str],
    samples: Samples,
    missing: Option<String>,
}

impl Peer {
    fn new(words: &'static [&'static str]) -> Self {
        Self {
            words,
            samples: Samples::default(),
            missing: None,
        }
    }

    fn run(&mut self) {
        if self.missing.is_none() {
            match peers::run(self.words) {
                Ok(took) => self.samples.push_time(took),
                Err(reason) => self.missing = Some(reason),
            }
        }
    }

    fn outcome(self) -> Outcome {
        match self.missing {
            Some(reason) => Outcome::Missing(reason),
            None => Outcome::Measured(self.samples),
        }
    }
}

/// Tells how far it is, once a second.
struct Progress {
    printer: Printer,
    told: Instant,
}

impl Progress {
    fn begin(printer: Printer) -> Self {
        let told = Instant::now();
        Self { printer, told }
    }

    fn tell(&mut self, number: u32, of: u32, what: &str) {
        if self.told.elapsed() >= BETWEEN {
            self.told = Instant::now();
            self.printer.note(&format!("{number} of {of} {what}"));
        }
    }
}
