//! What a sandbox costs to build, from nothing but a task's anchor, and to keep.
//!
//!     cargo bench -p stockade --bench sandboxes
//!     cargo bench -p stockade --bench sandboxes -- --quick --json
//!
//! One process asks an anchor for sandboxes, as a supervisor does, and spawns
//! the peers in turns. `docs/performance.md` says how to read it.

#[path = "../start/failure.rs"]
#[expect(dead_code, reason = "the other bench uses all of it")]
mod failure;
#[path = "../start/figure.rs"]
#[expect(dead_code, reason = "the other benches use all of it")]
mod figure;
mod measure;
#[path = "../start/report.rs"]
mod report;

use std::{io::Write, process::ExitCode, time::Instant};

use clap::Parser;

use crate::{failure::Failure, measure::Bench, report::Report};

/// Measures building and keeping sandboxes.
#[derive(Debug, Parser)]
#[command(name = "sandboxes")]
struct Arguments {
    /// How many samples of each kind
    #[arg(long, value_name = "N", default_value_t = 500)]
    samples: u32,
    /// How many sandboxes live at the same time
    #[arg(long, value_name = "N", default_value_t = 500)]
    live: u32,
    /// Few samples
    #[arg(long)]
    quick: bool,
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
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
            say(&format!("sandboxes: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// What is going on, beside the result.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let (samples, live) = if arguments.quick {
        (50, 50)
    } else {
        (arguments.samples, arguments.live)
    };
    let started = Instant::now();
    let mut report = Report::begin(format!("{} of {samples} samples", measure::PROGRAM));
    let bench = Bench::begin()?;
    say("one sandbox after another");
    let mut figures = bench.one_after_another(samples)?;
    say("networks that are captured");
    figures.extend(bench.capture(samples.min(100))?);
    say(&format!("beside {live} that live"));
    figures.extend(bench.beside(live, samples.min(200))?);
    report.end(figures, started.elapsed());
    Ok(report)
}
