//! What a request through the gateway costs, beside proxies of others.
//!
//!     cargo bench -p stockade --bench gateway
//!     cargo bench -p stockade --bench gateway -- --quick --json
//!
//! Clients inside a task, and on the host through nginx, squid and mitmproxy,
//! ask the same server in turns; what counts is the processor time of the
//! proxies' processes. `docs/performance.md` says how to read it.

mod client;
#[path = "../start/failure.rs"]
mod failure;
#[path = "../start/figure.rs"]
mod figure;
mod http;
mod job;
mod measure;
mod origin;
mod own;
mod peers;
#[path = "../start/place.rs"]
#[expect(dead_code, reason = "the other bench uses all of it")]
mod place;
mod processes;
#[path = "../start/report.rs"]
mod report;
#[path = "../start/repository.rs"]
#[expect(dead_code, reason = "the other bench uses all of it")]
mod repository;
#[path = "../start/task.rs"]
#[expect(dead_code, reason = "the other bench uses all of it")]
mod task;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::Parser;

use crate::{
    failure::Failure,
    measure::{Bench, Size},
    place::Place,
    report::Report,
};

/// Files of the repository that the task is of.
const FILES: u32 = 100;
const FULL: Size = Size {
    rounds: 10,
    requests: 200,
    batches: 10,
    hosts: 12,
    downloads: 5,
    events: 200,
    at_once: 500,
};
const QUICK: Size = Size {
    rounds: 3,
    requests: 96,
    batches: 5,
    hosts: 8,
    downloads: 2,
    events: 50,
    at_once: 200,
};

/// Measures the gateway beside proxies of others.
#[derive(Debug, Parser)]
#[command(name = "gateway")]
struct Arguments {
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
    let mut words = std::env::args();
    let name = words.next().unwrap_or_default();
    let ended = match words.next() {
        Some(job) if job.starts_with('{') => client::run(&job).map_err(Failure::file(name)),
        // The task's main command lasts as long as the task.
        _ if own::is_client(Path::new(&name)) => loop {
            std::thread::park();
        },
        _ => measure(&Arguments::parse()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("gateway: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// What is going on, beside the result.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn measure(arguments: &Arguments) -> Result<(), Failure> {
    if !arguments.bench {
        say("`cargo bench` measures; as a test this does nothing");
        return Ok(());
    }
    let size = if arguments.quick { QUICK } else { FULL };
    let started = Instant::now();
    let mut report = Report::begin(format!("{size:?}"));
    let place = Place::new(&arguments.folder, None)?;
    repository::make(&place, FILES)?;
    let mut bench = Bench::begin(&place, size)?;
    say("requests over kept connections");
    let mut figures = bench.kept_alive()?;
    say("requests to new hosts");
    figures.extend(bench.new_hosts()?);
    say("a large file");
    figures.extend(bench.download()?);
    say("events of a model");
    figures.extend(bench.events()?);
    say("many requests at once against a dollar");
    figures.extend(bench.spend()?);
    figures.push(measure::reservations(place.folder(), size.requests * 100)?);
    drop(bench);
    place.clear()?;
    report.end(figures, started.elapsed());
    let _ = report.write(&mut std::io::stdout().lock(), arguments.json);
    Ok(())
}
