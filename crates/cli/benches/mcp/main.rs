//! What the firewall adds to a call of an MCP tool, against the same server asked
//! directly, in turns.
//!
//!     cargo bench -p stockade --bench mcp
//!     cargo bench -p stockade --bench mcp -- --calls 5000 --peer 'mcp-pin wrap --'
//!
//! The server is this executable itself. It answers each call with a text of 1 KB.

mod client;
mod server;

use std::{
    env,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;

use crate::client::Client;

/// The argument that makes this executable the server.
const SERVER: &str = "--server";
/// Calls of one turn.
const TURN: usize = 50;
/// Requests that are sent before the first answer is waited for.
const AT_ONCE: usize = 64;

/// Measures calls of MCP tools.
#[derive(Debug, Parser)]
#[command(name = "mcp")]
struct Arguments {
    /// How many calls of each kind
    #[arg(long, value_name = "N", default_value_t = 4000)]
    calls: usize,
    /// How many starts of each kind
    #[arg(long, value_name = "N", default_value_t = 20)]
    starts: usize,
    /// Another program that wraps servers, with its words, for comparison
    #[arg(long, value_name = "COMMAND")]
    peer: Option<String>,
    /// Given by `cargo bench`; `cargo test` gives nothing and measures nothing
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some(SERVER) {
        return server::serve();
    }
    let arguments = Arguments::parse();
    if !arguments.bench {
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "mcp: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A way to reach the server.
struct Way {
    name: String,
    words: Vec<String>,
    calls: Vec<Duration>,
    starts: Vec<Duration>,
    many: Vec<f64>,
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let own = env::current_exe()?;
    let state = tempfile::tempdir()?;
    let mut ways = ways(arguments, &own);
    let mut clients = Vec::new();
    for way in &ways {
        clients.push(Client::start(&way.words, state.path())?);
    }
    for (way, client) in ways.iter_mut().zip(&mut clients) {
        // The first calls make what later ones find ready.
        (0..TURN).try_for_each(|_| client.call().map(drop))?;
        way.calls.reserve(arguments.calls);
    }
    for _ in 0..arguments.calls / TURN {
        for (way, client) in ways.iter_mut().zip(&mut clients) {
            for _ in 0..TURN {
                way.calls.push(client.call()?);
            }
        }
    }
    for _ in 0..10 {
        for (way, client) in ways.iter_mut().zip(&mut clients) {
            let begun = Instant::now();
            client.call_many(AT_ONCE * 16, AT_ONCE)?;
            let count = u32::try_from(AT_ONCE * 16).map_err(io::Error::other)?;
            way.many
                .push(f64::from(count) / begun.elapsed().as_secs_f64());
        }
    }
    drop(clients);
    for _ in 0..arguments.starts {
        for way in &mut ways {
            let begun = Instant::now();
            let client = Client::start(&way.words, state.path())?;
            way.starts.push(begun.elapsed());
            drop(client);
        }
    }
    report(&mut ways)
}

fn ways(arguments: &Arguments, own: &std::path::Path) -> Vec<Way> {
    let server = vec![own.display().to_string(), SERVER.to_owned()];
    let stockade = PathBuf::from(env!("CARGO_BIN_EXE_stockade"));
    let wrap = ["mcp", "wrap", "--first-use", "--ro", &server[0], "--"];
    let mut wrapped = vec![stockade.display().to_string()];
    wrapped.extend(wrap.map(str::to_owned));
    wrapped.extend(server.clone());
    let mut ways = vec![
        Way::new("directly", server.clone()),
        Way::new("stockade", wrapped),
    ];
    if let Some(peer) = &arguments.peer {
        let words = peer.split_whitespace().map(str::to_owned);
        ways.push(Way::new(peer, words.chain(server).collect()));
    }
    ways
}

impl Way {
    fn new(name: &str, words: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            words,
            calls: Vec::new(),
            starts: Vec::new(),
            many: Vec::new(),
        }
    }
}

/// The value below which so many hundredths of the samples are.
fn percentile<T: Copy + PartialOrd>(samples: &mut [T], hundredths: usize) -> Option<T> {
    samples.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    samples.get(samples.len() * hundredths / 100).copied()
}

fn report(ways: &mut [Way]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:24} {:>9} {:>9} {:>11} {:>12}",
        "a call of 1 KB", "p50 µs", "p99 µs", "calls/s", "start ms"
    )?;
    for way in ways {
        let micros =
            |sample: Option<Duration>| sample.map_or(0.0, |sample| sample.as_secs_f64() * 1e6);
        let half = micros(percentile(&mut way.calls, 50));
        let tail = micros(percentile(&mut way.calls, 99));
        let many = percentile(&mut way.many, 50).unwrap_or_default();
        let start = micros(percentile(&mut way.starts, 50)) / 1000.0;
        writeln!(
            out,
            "{:24} {half:>9.1} {tail:>9.1} {many:>11.0} {start:>12.1}",
            way.name
        )?;
    }
    Ok(())
}
