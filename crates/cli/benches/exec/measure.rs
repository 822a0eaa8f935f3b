//! The measurements.

use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use stockade_sandbox::Isolation;
use stockade_supervisor::{
    Answer, Connection, ExecRequest, Report, Request, StateDirectory, SupervisorError,
    TaskDirectory,
};

use crate::{
    failure::Failure,
    figure::{Figure, Goal, Samples, Unit},
    place::Place,
};

/// What is run, inside and outside.
pub(crate) const PROGRAM: &str = "/bin/true";
const SPAWN: &str = "posix_spawn and wait";
const BWRAP: [&str; 6] = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", PROGRAM];
/// Clients that ask at the same time.
const CLIENTS: usize = 8;
/// The size of the large caller, in bytes.
const LARGE: usize = 512 << 20;
/// For another sandbox to stand ready, where one is taken at a time.
const REFILL: Duration = Duration::from_millis(15);
/// How often the caller changes its size.
const SIZES: u32 = 10;

/// A task that runs and waits.
pub(crate) struct Bench<'p> {
    place: &'p Place,
    task: TaskDirectory,
}

impl<'p> Bench<'p> {
    /// Starts the task.
    pub(crate) fn begin(place: &'p Place) -> Result<Self, Failure> {
        let repository = place.repository();
        std::fs::create_dir(&repository).map_err(Failure::file(&repository))?;
        place.git(&repository, &["init", "-q"])?;
        place.git(&repository, &["commit", "-q", "--allow-empty", "-m", "one"])?;
        let started = place.answer(&["run", "--", "sleep", "100000"])?;
        let id = started["task"].as_str().and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| Failure::InVain("a task's id".to_owned()))?;
        let state = StateDirectory::open(Some(place.state()), None, None).map_err(control)?;
        Ok(Self {
            place,
            task: state.task(&id),
        })
    }

    /// A command a time, each kind between the others.
    pub(crate) fn one_after_another(&self, count: u32) -> Result<Vec<Figure>, Failure> {
        let mut client = self.client()?;
        let kinds = [
            request(Report::Collected, false),
            request(Report::Discarded, false),
            request(Report::Collected, true),
        ];
        let mut execs = [const { Vec::new() }; 3];
        let (mut spawns, mut bwraps, mut missing) = (Samples::default(), Samples::default(), None);
        for number in 0..count {
            for (exec, kind) in execs.iter_mut().zip(&kinds) {
                exec.push(client.run(kind)?);
            }
            spawns.push_time(self.spawn()?);
            // It is many times as slow; fewer samples do.
            if missing.is_none() && number % 8 == 0 {
                match self.bwrap() {
                    Ok(took) => bwraps.push_time(took),
                    Err(error) => missing = Some(error.to_string()),
                }
            }
        }
        let [captured, discarded, tree] = execs.map(|times| {
            let mut samples = Samples::default();
            for time in times {
                samples.push_time(time);
            }
            samples
        });
        let figure = |work, samples: &Samples| {
            Figure::new(work, Unit::Milliseconds, samples.clone()).against(SPAWN, spawns.clone())
        };
        let against_bwrap = "the same, against a new sandbox of bwrap";
        Ok(vec![
            figure("a command, its output captured", &captured).held_to(&[Goal::RatioAtMost(1.7)]),
            figure("a command, without output", &discarded).held_to(&[Goal::RatioAtMost(1.25)]),
            figure("a command with a leash, its output captured", &tree),
            match missing {
                Some(reason) => Figure::skipped(against_bwrap, Unit::Milliseconds, reason),
                None => Figure::new(against_bwrap, Unit::Milliseconds, captured)
                    .against("bwrap --unshare-all --ro-bind / / /bin/true", bwraps),
            },
        ])
    }

    /// A command a time, each in a sandbox of its own that stood ready.
    pub(crate) fn fresh(&self, count: u32) -> Result<Vec<Figure>, Failure> {
        let mut client = self.client()?;
        let kinds = [Isolation::Fresh, Isolation::Tightened].map(in_a_sandbox_of_its_own);
        let mut execs = [Samples::default(), Samples::default()];
        let (mut spawns, mut bwraps, mut missing) = (Samples::default(), Samples::default(), None);
        for _ in 0..count {
            for (samples, kind) in execs.iter_mut().zip(&kinds) {
                std::thread::sleep(REFILL);
                samples.push_time(client.run(kind)?);
            }
            std::thread::sleep(REFILL);
            spawns.push_time(self.spawn()?);
            if missing.is_none() {
                match self.bwrap() {
                    Ok(took) => bwraps.push_time(took),
                    Err(error) => missing = Some(error.to_string()),
                }
            }
        }
        let [fresh, tightened] = execs;
        let figure = |work, samples: &Samples| {
            Figure::new(work, Unit::Milliseconds, samples.clone()).against(SPAWN, spawns.clone())
        };
        let against_bwrap = "a command in a sandbox of its own, against bwrap";
        Ok(vec![
            figure("a command in a sandbox of its own", &fresh).held_to(&[Goal::RatioAtMost(2.0)]),
            figure("the same with an empty home and no network", &tightened),
            match missing {
                Some(reason) => Figure::skipped(against_bwrap, Unit::Milliseconds, reason),
                None => Figure::new(against_bwrap, Unit::Milliseconds, fresh)
                    .against("bwrap --unshare-all --ro-bind / / /bin/true", bwraps)
                    .held_to(&[Goal::RatioAtMost(0.4)]),
            },
        ])
    }

    /// The same from a large and from a small caller, in turns.
    pub(crate) fn callers(&self, count: u32) -> Result<Figure, Failure> {
        let mut client = self.client()?;
        let kind = request(Report::Collected, false);
        let (mut large, mut small) = (Samples::default(), Samples::default());
        for _ in 0..SIZES {
            for _ in 0..count / SIZES {
                small.push_time(client.run(&kind)?);
            }
            let memory = std::hint::black_box(vec![1_u8; LARGE]);
            for _ in 0..count / SIZES {
                large.push_time(client.run(&kind)?);
            }
            drop(memory);
        }
        let work = "a command, its output captured, from a caller of 512 MB";
        Ok(Figure::new(work, Unit::Milliseconds, large)
            .against("from a small caller", small)
            .held_to(&[Goal::RatioAtMost(1.1)]))
    }

    /// Many clients for a while, then as many threads that spawn.
    pub(crate) fn many_at_once(&self, time: Duration) -> Result<Vec<Figure>, Failure> {
        let warm = self.clients_at_once(time, &request(Report::Collected, false))?;
        let kind = in_a_sandbox_of_its_own(Isolation::Fresh);
        let fresh = self.clients_at_once(time, &kind)?;
        let spawners = (0..CLIENTS).map(|_| {
            let mut command = self.place.program(PROGRAM);
            move || timed(&mut command).map(|_| ())
        });
        let spawns = at_once(time, spawners.collect())?;
        let figure = |work, samples, least: f64| {
            Figure::new(work, Unit::Milliseconds, samples)
                .against("the same, 8 threads that spawn and wait", spawns.clone())
                .held_to(&[Goal::AtMost(1_000.0 / least)])
        };
        Ok(vec![
            figure(
                "a second over the commands in it, 8 clients at once",
                warm,
                1_400.0,
            ),
            figure("the same, each in a sandbox of its own", fresh, 500.0),
        ])
    }

    fn clients_at_once(&self, time: Duration, kind: &Request) -> Result<Samples, Failure> {
        let clients = (0..CLIENTS).map(|_| {
            let mut client = self.client()?;
            Ok(move || client.run(kind).map(|_| ()))
        });
        at_once(time, clients.collect::<Result<Vec<_>, Failure>>()?)
    }

    fn client(&self) -> Result<Client, Failure> {
        let mut connection = Connection::ask(&self.task, &Request::Status).map_err(control)?;
        connection.answer().map_err(control)?;
        Ok(Client(connection))
    }

    fn spawn(&self) -> Result<Duration, Failure> {
        timed(&mut self.place.program(PROGRAM))
    }

    fn bwrap(&self) -> Result<Duration, Failure> {
        let mut bwrap = self.place.command(BWRAP[0]);
        bwrap.args(&BWRAP[1..]);
        timed(&mut bwrap)
    }
}

/// A connection to the control socket.
struct Client(Connection);

impl Client {
    fn run(&mut self, request: &Request) -> Result<Duration, Failure> {
        let started = Instant::now();
        self.0.ask_again(request).map_err(control)?;
        match self.0.answer().map_err(control)? {
            Some(Answer::Ended { exit: 0, .. }) => Ok(started.elapsed()),
            other => Err(Failure::InVain(format!("a command's end, not {other:?}"))),
        }
    }
}

fn request(report: Report, leashed: bool) -> Request {
    Request::Exec(Box::new(ExecRequest {
        argv: vec![PROGRAM.to_owned()],
        report,
        leashed,
        ..ExecRequest::default()
    }))
}

fn in_a_sandbox_of_its_own(isolation: Isolation) -> Request {
    Request::Exec(Box::new(ExecRequest {
        argv: vec![PROGRAM.to_owned()],
        report: Report::Collected,
        isolation: Some(isolation),
        ..ExecRequest::default()
    }))
}

/// Without pipes, so that it is what the system's own spawn costs.
fn timed(command: &mut Command) -> Result<Duration, Failure> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status().map_err(|source| Failure::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })?;
    let took = started.elapsed();
    if status.success() {
        return Ok(took);
    }
    Err(Failure::Ended {
        words: format!("{command:?}"),
        code: status.code(),
        stderr: String::new(),
    })
}

/// For each second of `time`, the milliseconds that one piece of work took
/// while every worker did one after another.
fn at_once(
    time: Duration,
    workers: Vec<impl FnMut() -> Result<(), Failure> + Send>,
) -> Result<Samples, Failure> {
    let counts: Vec<AtomicU32> = (0..time.as_secs().max(1))
        .map(|_| AtomicU32::new(0))
        .collect();
    let started = Instant::now();
    let counting = |mut work: Box<dyn FnMut() -> Result<(), Failure> + Send + '_>| loop {
        work()?;
        let second = usize::try_from(started.elapsed().as_secs()).unwrap_or(usize::MAX);
        match counts.get(second) {
            Some(count) => count.fetch_add(1, Ordering::Relaxed),
            None => return Ok(()),
        };
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .map(|work| scope.spawn(|| counting(Box::new(work))))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .map_err(|_| Failure::InVain("a thread's end".to_owned()))?
        })
    })?;
    let mut samples = Samples::default();
    for count in counts {
        samples.push(1_000.0 / f64::from(count.into_inner().max(1)));
    }
    Ok(samples)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn control(error: SupervisorError) -> Failure {
    Failure::InVain(format!("the task's answer: {error}"))
}
