//! What work costs inside a task, against the same work on the host.
//!
//!     cargo bench -p stockade --bench work
//!     cargo bench -p stockade --bench work -- --quick --json
//!
//! A shell inside and one outside do the same things in turns, on the same
//! files. As root a third one does them on a bare overlay, which shows what of
//! the difference is the kernel's. `docs/performance.md` says how to read it.

#[path = "../start/failure.rs"]
mod failure;
#[path = "../start/figure.rs"]
#[expect(dead_code, reason = "the other bench uses all of it")]
mod figure;
#[path = "../start/place.rs"]
#[expect(dead_code, reason = "the other bench uses all of it")]
mod place;
#[path = "../start/report.rs"]
mod report;
#[path = "../start/repository.rs"]
#[expect(dead_code, reason = "the other bench uses all of it")]
mod repository;
#[path = "../start/task.rs"]
#[expect(dead_code, reason = "the other bench uses all of it")]
mod task;

mod overlay;

use std::{
    io::Write,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use stockade_supervisor::{
    Answer, Connection, ExecRequest, Report as Printed, Request, StateDirectory, SupervisorError,
};

use crate::{
    failure::Failure,
    figure::{Figure, Goal, Samples, Unit},
    overlay::BareOverlay,
    place::{Place, finish},
    report::Report,
};

/// What is done, as a text for the shell, and how much slower it may be.
const WORK: [(&str, &str, f64); 7] = [
    (
        "git status of all files",
        "git status --short | wc -l",
        1.05,
    ),
    (
        "git log and diff of a commit",
        "git log -1 --stat > /dev/null; git diff HEAD > /dev/null",
        1.05,
    ),
    (
        "300 programs started by a shell",
        "i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i+1)); done",
        1.05,
    ),
    (
        "every file opened and read",
        "find . -name '*.txt' -print0 | xargs -0 cat | wc -c",
        1.2,
    ),
    (
        "500 files written and removed",
        "mkdir out; i=0; while [ $i -lt 500 ]; do echo $i > out/$i; i=$((i+1)); done; rm -r out",
        1.2,
    ),
    (
        "8 C files compiled and linked",
        "mkdir out; i=0; while [ $i -lt 8 ]; do echo \"int f$i(void) { return $i; }\" > out/$i.c; \
         cc -c -o out/$i.o out/$i.c; i=$((i+1)); done; cc -shared -o out/all out/*.o; rm -r out",
        1.05,
    ),
    (
        CARGO,
        "mkdir -p out/src; cd out; \
         printf '[package]\\nname = \"out\"\\nedition = \"2024\"\\n[workspace]\\n' > Cargo.toml; \
         i=0; while [ $i -lt 20 ]; do echo \"mod m$i;\" >> src/main.rs; \
         echo 'pub fn say(v: &[String]) { for w in v { println!(\"{w:?} {}\", w.len()); } }' > src/m$i.rs; \
         i=$((i+1)); done; echo 'fn main() { m1::say(&[String::new()]); }' >> src/main.rs; \
         cargo build --quiet --offline 2> /dev/null; cd ..; rm -r out",
        1.05,
    ),
];
/// Skipped where cargo cannot be reached.
const CARGO: &str = "a program of 21 files built by cargo";
/// Rounds that are not counted: caches fill, and git refreshes its index.
const WARM: u32 = 2;

/// Measures work inside against work outside.
#[derive(Debug, Parser)]
#[command(name = "work")]
struct Arguments {
    /// How many files the repository has
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    files: u32,
    /// How often each thing is done
    #[arg(long, value_name = "N", default_value_t = 100)]
    samples: u32,
    /// How the task's tree is made
    #[arg(long, value_name = "NAME", default_value = "overlay")]
    backend: String,
    /// A small repository and few samples
    #[arg(long)]
    quick: bool,
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
    /// Where repository and state directory are made: a disk
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
    /// Given by `cargo bench`; `cargo test` gives nothing and measures nothing
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.bench {
        say("`cargo bench` measures; as a test this does nothing");
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(report) => {
            let _ = report.write(&mut std::io::stdout().lock(), arguments.json);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say(&format!("work: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// What is going on, beside the result.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let (files, samples) = if arguments.quick {
        (2_000, 10)
    } else {
        (arguments.files, arguments.samples)
    };
    let started = Instant::now();
    let mut report = Report::begin(format!("{files} files, {samples} times each"));
    let cargo = folder_of_cargo();
    let place = Place::new(&arguments.folder, cargo.as_deref())?;
    repository::make(&place, files)?;
    let mut inside = Inside::begin(&place, &arguments.backend)?;
    let mut overlay = BareOverlay::begin(&place)?;
    let mut figures = Vec::new();
    for (work, script, most) in WORK {
        say(work);
        if work == CARGO && cargo.is_none() {
            let why = "cargo's own folder cannot be reached";
            figures.push(Figure::skipped(work, Unit::Milliseconds, why));
            continue;
        }
        let mut turns: [Samples; 3] = Default::default();
        for number in 0..samples + WARM {
            let bare = overlay.as_mut().map(|overlay| overlay.run(script));
            let times = [
                Some(outside(&place, script)?),
                Some(inside.run(script)?),
                bare.transpose()?,
            ];
            for (samples, time) in turns.iter_mut().zip(times) {
                if let Some(time) = time.filter(|_| number >= WARM) {
                    samples.push_time(time);
                }
            }
        }
        let [without, within, bare] = turns;
        figures.push(
            Figure::new(work, Unit::Milliseconds, within)
                .against("outside", without.clone())
                .held_to(&[Goal::Ratio(most)]),
        );
        if overlay.is_some() {
            let what = "the same on a bare overlay";
            figures.push(Figure::new(what, Unit::Milliseconds, bare).against("outside", without));
        }
    }
    drop(overlay);
    drop(inside);
    place.clear()?;
    report.end(figures, started.elapsed());
    Ok(report)
}

/// Where the cargo is that started this.
fn folder_of_cargo() -> Option<PathBuf> {
    let cargo = PathBuf::from(std::env::var_os("CARGO")?);
    cargo.exists().then(|| cargo.parent().map(Into::into))?
}

/// The shell on the host, in the repository that the task is of.
fn outside(place: &Place, script: &str) -> Result<Duration, Failure> {
    let mut shell = place.command("/bin/bash");
    shell.args(["-c", script]);
    let started = Instant::now();
    finish(shell)?;
    Ok(started.elapsed())
}

/// A task that waits, and the way to it.
struct Inside(Connection);

impl Inside {
    fn begin(place: &Place, back_end: &str) -> Result<Self, Failure> {
        let words = [
            "run",
            "--detach",
            "--backend",
            back_end,
            "--",
            "sleep",
            "100000",
        ];
        let started = place.answer(&words)?;
        let id = started["task"].as_str().and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| Failure::InVain("a task's id".to_owned()))?;
        let state = StateDirectory::open(Some(place.state()), None, None).map_err(control)?;
        let mut way = Connection::ask(&state.task(&id), &Request::Status).map_err(control)?;
        way.answer().map_err(control)?;
        Ok(Self(way))
    }

    fn run(&mut self, script: &str) -> Result<Duration, Failure> {
        let request = ExecRequest {
            shell: Some(script.to_owned()),
            report: Printed::Collected,
            no_policy: true,
            ..ExecRequest::default()
        };
        let started = Instant::now();
        let request = Request::Exec(Box::new(request));
        self.0.ask_again(&request).map_err(control)?;
        match self.0.answer().map_err(control)? {
            Some(Answer::Ended { exit: 0, .. }) => Ok(started.elapsed()),
            other => Err(Failure::InVain(format!("a command's end, not {other:?}"))),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn control(error: SupervisorError) -> Failure {
    Failure::InVain(format!("the task's answer: {error}"))
}
