//! What a search costs: by format, by known values and by fingerprints, beside
//! one regular expression of the same formats and a plain pass over the bytes.
//!
//!     cargo bench -p stockade-scan --bench scan

#![expect(clippy::unwrap_used, reason = "a bench that cannot begin ends")]

use std::{
    hint::black_box,
    io::Write,
    time::{Duration, Instant},
};

use regex::bytes::Regex;
use stockade_scan::{FormatStream, Formats, KnownValues, SourceIndexBuilder, SourceStream};

/// How much is searched at once, as the gateway does it.
const PART: usize = 64 << 10;
/// How often each is measured, in turns.
const ROUNDS: usize = 15;

/// Text as agents send it: sources as JSON.
fn text() -> Vec<u8> {
    let files = [
        include_str!("../src/formats.rs"),
        include_str!("../src/sources.rs"),
        include_str!("../src/redact.rs"),
    ];
    let one = serde_json::to_vec(&files).unwrap();
    one.repeat((8 << 20) / one.len())
}

/// Some of the formats as one expression, as scanners of logs have them.
fn expression() -> Regex {
    let formats = [
        "gh[pousr]_[0-9A-Za-z]{36}",
        "github_pat_[0-9A-Za-z_]{82}",
        "glpat-[0-9A-Za-z_.-]{20,}",
        "(?:AKIA|ASIA)[A-Z2-7]{16}",
        "AIza[0-9A-Za-z_-]{35}",
        "sk-[0-9A-Za-z_-]*T3BlbkFJ[0-9A-Za-z_-]+",
        "sk-ant-(?:api03|admin01|oat01)-[0-9A-Za-z_-]{80,120}",
        "xox[abp]-[0-9A-Za-z-]{40,}",
        "[sr]k_live_[0-9A-Za-z]{24,}",
        "npm_[0-9A-Za-z]{36}",
        "do[op]_v1_[0-9a-f]{64}",
        "-----BEGIN (?:RSA |EC |DSA |OPENSSH )?PRIVATE KEY-----",
    ];
    Regex::new(&formats.join("|")).unwrap()
}

/// What is done to the text each time, and how long it took.
struct Search<'s> {
    what: &'static str,
    run: Box<dyn Fn() + 's>,
    times: Vec<Duration>,
}

impl<'s> Search<'s> {
    fn new(what: &'static str, run: impl Fn() + 's) -> Self {
        Self {
            what,
            run: Box::new(run),
            times: Vec::with_capacity(ROUNDS),
        }
    }
}

fn main() {
    let text = text();
    let formats = Formats::new().unwrap();
    let values: Vec<String> = (0..20).map(|n| format!("a-known-value/{n:08}+x")).collect();
    let known = values.iter().enumerate();
    let known = KnownValues::new(known.map(|(n, value)| (n, value.as_str()))).unwrap();
    let mut builder = SourceIndexBuilder::default();
    builder.add(include_bytes!("../src/decode.rs"));
    let index = builder.finish();
    let expression = expression();
    let mut searches = [
        Search::new("a plain pass", || {
            black_box(text.iter().fold(0_u8, |all, byte| all ^ byte));
        }),
        Search::new("one regular expression", || {
            black_box(expression.find_iter(&text).count());
        }),
        Search::new("formats, also encoded", || {
            let mut stream = FormatStream::default();
            text.chunks(PART)
                .for_each(|part| stream.push(&formats, part));
            black_box(stream.finish(&formats).len());
        }),
        Search::new("20 known values", || {
            black_box(known.find(&text));
        }),
        Search::new("sources", || {
            let mut stream = SourceStream::default();
            text.chunks(PART).for_each(|part| stream.push(&index, part));
            black_box(stream.characters(&index));
        }),
    ];
    for _ in 0..ROUNDS {
        for search in &mut searches {
            let start = Instant::now();
            (search.run)();
            search.times.push(start.elapsed());
        }
    }
    let mut out = std::io::stdout().lock();
    #[expect(clippy::cast_precision_loss, reason = "a size of megabytes")]
    let megabytes = text.len() as f64 / 1e6;
    for search in &mut searches {
        search.times.sort_unstable();
        let median = search.times[ROUNDS / 2].as_secs_f64();
        writeln!(out, "{:<24} {:>7.0} MB/s", search.what, megabytes / median).unwrap();
    }
}
