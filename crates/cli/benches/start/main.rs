//! What a start, a snapshot and an idle task cost, against git and plain
//! programs in the same run.
//!
//!     cargo bench -p stockade --bench start
//!     cargo bench -p stockade --bench start -- --quick --json
//!
//! Everything is measured through the public executable, in a folder of its
//! own that is removed again. `docs/performance.md` says how to read it.

mod failure;
#[expect(dead_code, reason = "the other benches use all of it")]
mod figure;
mod measure;
mod place;
mod report;
mod repository;
mod task;

use std::{
    io::Write,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;

use crate::{
    failure::Failure,
    figure::Figure,
    measure::{Demo, Exec, Many, Memory, Round, Rounds},
    place::Place,
    report::Report,
};

/// The number of files that the goals are set for.
const FULL: u32 = 50_000;
/// The number with `--quick`.
const QUICK: u32 = 2_000;

/// Measures starts, snapshots and idle tasks.
#[derive(Debug, Parser)]
#[command(name = "start")]
struct Arguments {
    /// How many files the repository has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    files: Option<u32>,
    /// A small repository and few samples
    #[arg(long)]
    quick: bool,
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
    /// Where repository and state directory are made: a disk; full size takes 4 GB
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
    /// Begin no further round after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 480)]
    limit: u64,
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
            say(&format!("start: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// What is going on, beside the result.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let files = arguments
        .files
        .unwrap_or(if arguments.quick { QUICK } else { FULL });
    let round = if arguments.quick {
        Round::QUICK
    } else {
        Round::FULL
    };
    let started = Instant::now();
    let mut report = Report::begin(format!("{files} files"));
    let place = Place::new(&arguments.folder, None)?;
    say(&format!("{files} files in {}", place.folder().display()));
    repository::make(&place, files)?;

    let mut rounds = Rounds::default();
    let limit = Duration::from_secs(arguments.limit);
    for number in 1..=round.rounds {
        if number > 1 && started.elapsed() > limit {
            break;
        }
        say(&format!(
            "round {number} of {}, after {:.0} s",
            round.rounds,
            started.elapsed().as_secs_f64()
        ));
        rounds.measure(&place, round)?;
    }
    let full = files >= FULL;
    let mut figures: Vec<Figure> = rounds.figures(full);
    say("idle tasks, commands in a running sandbox, demo");
    figures.extend(Memory::measure(&place)?);
    figures.extend(Exec::measure(&place, round.execs)?);
    figures.push(Demo::measure(&place, round.demos)?);
    say(&format!("starts beside {} tasks", round.tasks));
    figures.extend(Many::measure(&arguments.folder, round.tasks, round.beside)?);
    place.clear()?;
    report.end(figures, started.elapsed());
    Ok(report)
}
