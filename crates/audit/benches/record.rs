//! What a record costs, against the disk alone, and how fast a log is checked.
//!
//!     cargo bench -p stockade-audit --bench record
//!
//! A recorder serves its socket as it does for a supervisor. Each durable record
//! is measured in turns with a bare append and `fdatasync` of as many bytes.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement that fails has no result, and printing is its purpose"
)]

use std::{
    fs::{self, File},
    io::Write,
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use stockade_audit::{
    Evidence, Place, RecorderClient, Redact, Redaction, read, run_recorder, verify,
};
use stockade_types::{Event, EventKind};

/// How many durable records are measured.
const SAMPLES: usize = 1_000;
/// How many records share syncs.
const GROUPED: u64 = 200_000;
/// How often the log is checked.
const CHECKS: usize = 7;
const NAME: &str = "t-bench";

/// Nobody whose secrets stay out.
#[derive(Debug)]
struct NoSecrets;

impl Redact for NoSecrets {
    fn redact(&self, _: &str) -> Option<Redaction> {
        None
    }
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place {
        log: folder.path().join("record"),
        name: NAME.to_owned(),
        host: folder.path().join("host"),
    };
    fs::create_dir(&place.host).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let served = place.clone();
    let recorder = thread::spawn(move || run_recorder(theirs, &served));
    let client = RecorderClient::connect(ours, NoSecrets).unwrap();

    durable(&client, folder.path());
    grouped(&client);
    drop(client);
    recorder.join().unwrap().unwrap();
    checked(&place);
}

/// An event like that of a request.
fn event(number: u64) -> Event {
    let body = json!({
        "request": number, "host": "api.example.com", "port": 443, "method": "POST",
        "path": "/v1/messages", "rule": "model", "allowed_by": "the task's model host",
        "address": "203.0.113.7", "sent_body": 18_230,
    });
    Event::new(EventKind::NetworkRequest, body)
}

fn durable(client: &RecorderClient, folder: &Path) {
    let bytes = vec![b'x'; serde_json::to_vec(&event(0)).unwrap().len() + 80];
    let mut bare = File::create(folder.join("bare")).unwrap();
    let (mut records, mut syncs) = (Vec::new(), Vec::new());
    for number in 0..SAMPLES as u64 {
        let record = || {
            let start = Instant::now();
            client.record(&event(number)).unwrap();
            start.elapsed()
        };
        let mut sync = || {
            let start = Instant::now();
            bare.write_all(&bytes).unwrap();
            bare.sync_data().unwrap();
            start.elapsed()
        };
        // Neither is always the first.
        let (one, other) = if number % 2 == 0 {
            let record = record();
            (record, sync())
        } else {
            let sync = sync();
            (record(), sync)
        };
        records.push(one);
        syncs.push(other);
    }
    let (record, sync) = (quantiles(&mut records), quantiles(&mut syncs));
    println!(
        "durable record       median {:?}, tenth percentile {:?}",
        record.1, record.0
    );
    println!(
        "bare fdatasync       median {:?}, tenth percentile {:?}",
        sync.1, sync.0
    );
    println!(
        "ratio                median {:.2}, tenth percentile {:.2}",
        ratio(record.1, sync.1),
        ratio(record.0, sync.0)
    );
}

fn grouped(client: &RecorderClient) {
    let start = Instant::now();
    for number in 0..GROUPED {
        client.post(&event(number)).unwrap();
    }
    client.record(&event(GROUPED)).unwrap();
    println!(
        "grouped records      {:.0} a second",
        rate(GROUPED, start.elapsed())
    );
}

fn checked(place: &Place) {
    let evidence = Evidence::of(&place.host, NAME).unwrap();
    let mut times = Vec::new();
    let mut records = 0;
    for _ in 0..CHECKS {
        let start = Instant::now();
        let verified = verify(&place.log, &evidence).unwrap();
        times.push(start.elapsed());
        assert_eq!(verified.covered, verified.records);
        records = verified.records;
    }
    let (_, median) = quantiles(&mut times);
    println!(
        "records checked      {:.0} a second, of {records}",
        rate(records, median)
    );
    let start = Instant::now();
    let read = read(&place.log).unwrap().map(Result::unwrap).count() as u64;
    println!(
        "records read         {:.0} a second",
        rate(read, start.elapsed())
    );
}

/// The tenth percentile and the median.
fn quantiles(samples: &mut [Duration]) -> (Duration, Duration) {
    samples.sort_unstable();
    (samples[samples.len() / 10], samples[samples.len() / 2])
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
