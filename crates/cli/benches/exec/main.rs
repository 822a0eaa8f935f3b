//! What a command costs in a sandbox that runs already, against a plain spawn
//! of the same program in the same run.
//!
//!     cargo bench -p stockade --bench exec
//!     cargo bench -p stockade --bench exec -- --quick --json
//!
//! One process asks at the task's control socket and spawns the peers, each
//! sample between those that it is compared to. `docs/performance.md` says how
//! to read it.

#[path = "../start/failure.rs"]
mod failure;
#[path = "../start/figure.rs"]
#[expect(dead_code, reason = "the other bench uses all of it")]
mod figure;
mod measure;
#[path = "../start/place.rs"]
#[expect(dead_code, reason = "the other bench uses all of it")]
mod place;
#[path = "../start/report.rs"]
mod report;
#[path = "../start/task.rs"]
#[expect(dead_code, reason = "the other bench uses all of it")]
mod task;

use std::{
    io::Write,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;

use crate::{failure::Failure, measure::Bench, place::Place, report::Report};

/// Measures commands in a running sandbox.
#[derive(Debug, Parser)]
#[command(name = "exec")]
struct Arguments {
    /// How many samples of each kind
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    samples: u32,
    /// How long many commands at once are measured, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    seconds: u64,
    /// Few samples
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
            say(&format!("exec: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// What is going on, beside the result.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let (samples, seconds) = if arguments.quick {
        (200, 2)
    } else {
        (arguments.samples, arguments.seconds)
    };
    let started = Instant::now();
    let mut report = Report::begin(format!("{} of {samples} samples", measure::PROGRAM));
    let place = Place::new(&arguments.folder)?;
    let bench = Bench::begin(&place)?;
    say("one command after another");
    let mut figures = bench.one_after_another(samples)?;
    say("one command after another, each in a sandbox of its own");
    figures.extend(bench.fresh(samples / 2)?);
    say("callers of different sizes");
    figures.push(bench.callers(samples)?);
    say("many commands at once");
    figures.extend(bench.many_at_once(Duration::from_secs(seconds))?);
    place.clear()?;
    report.end(figures, started.elapsed());
    Ok(report)
}
