//! The recorder process's main, over a real socket pair.
#![expect(clippy::unwrap_used, reason = "a fixture that fails fails its test")]

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    thread::{self, JoinHandle},
};

use serde_json::json;
use stockade_audit::{
    Log, MAX_EVENT_BYTES, RecordError, RecorderClient, RecorderError, Refusal, read, run_recorder,
    verify, verify_against,
};
use stockade_types::{Event, EventKind};
use tempfile::TempDir;

fn event(number: usize) -> Event {
    Event::new(EventKind::SecretUsed, json!({ "number": number }))
}

fn start(path: &Path) -> (UnixStream, JoinHandle<Result<(), RecorderError>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let path = path.to_owned();
    (ours, thread::spawn(move || run_recorder(theirs, &path)))
}

#[test]
fn what_is_acknowledged_is_in_the_log_and_the_end_of_the_channel_ends_the_recorder() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("record.jsonl");
    for start_at in [0, 3] {
        let (channel, recorder) = start(&path);
        let client = RecorderClient::connect(channel).unwrap();
        for number in start_at..start_at + 3 {
            let receipt = client.record(&event(number)).unwrap();
            assert_eq!(receipt.seq, number as u64);
            assert_eq!(
                verify_against(&path, receipt).unwrap().last_hash,
                receipt.hash
            );
        }
        drop(client);
        recorder.join().unwrap().unwrap();
    }
}

#[test]
fn many_threads_record_at_once_and_each_gets_its_own_receipt() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("record.jsonl");
    let (channel, recorder) = start(&path);
    let client = RecorderClient::connect(channel).unwrap();
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let client = client.clone();
            thread::spawn(move || {
                (0..50)
                    .map(|number| {
                        let number = thread * 50 + number;
                        (number, client.record(&event(number)).unwrap())
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let receipts: Vec<_> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    drop(client);
    recorder.join().unwrap().unwrap();

    let records: Vec<_> = read(&path).unwrap().map(Result::unwrap).collect();
    assert_eq!(verify(&path).unwrap().records, 400);
    assert_eq!(
        receipts
            .iter()
            .map(|(_, receipt)| receipt.seq)
            .collect::<BTreeSet<_>>()
            .len(),
        400
    );
    for (number, receipt) in receipts {
        let record = &records[usize::try_from(receipt.seq).unwrap()];
        assert_eq!(record.body, json!({ "number": number }));
        if let Some(next) = records.get(usize::try_from(receipt.seq).unwrap() + 1) {
            assert_eq!(next.prev, receipt.hash);
        }
    }
}

#[test]
fn a_client_learns_why_the_log_cannot_be_opened() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("record.jsonl");
    let holder = Log::open(&path).unwrap();
    let (channel, recorder) = start(&path);
    let error = RecorderClient::connect(channel).unwrap_err();
    assert!(
        matches!(error, RecordError::Refused(Refusal::Locked)),
        "{error:?}"
    );
    assert!(recorder.join().unwrap().is_err());
    drop(holder);

    fs::write(&path, "not a record\n").unwrap();
    let (channel, recorder) = start(&path);
    let error = RecorderClient::connect(channel).unwrap_err();
    assert!(
        matches!(error, RecordError::Refused(Refusal::Damaged)),
        "{error:?}"
    );
    assert!(recorder.join().unwrap().is_err());
}

#[test]
fn an_event_beyond_the_cap_is_refused_before_it_is_sent() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("record.jsonl");
    let (channel, recorder) = start(&path);
    let client = RecorderClient::connect(channel).unwrap();
    let long = Event::new(EventKind::Denied, json!("x".repeat(MAX_EVENT_BYTES)));
    assert!(matches!(
        client.record(&long),
        Err(RecordError::Refused(Refusal::TooLarge))
    ));
    client.record(&event(0)).unwrap();
    drop(client);
    recorder.join().unwrap().unwrap();
    assert_eq!(verify(&path).unwrap().records, 1);
}

#[test]
fn a_message_that_is_no_event_is_refused_and_the_next_is_recorded() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("record.jsonl");
    let (mut channel, recorder) = start(&path);
    let frame = |json: &str| {
        [
            &u32::try_from(json.len()).unwrap().to_le_bytes(),
            json.as_bytes(),
        ]
        .concat()
    };
    let good = serde_json::to_string(&event(0)).unwrap();
    let both = [frame(r#"{"kind":"forged","body":1}"#), frame(&good)].concat();
    channel.write_all(&both).unwrap();
    let mut replies = [[0; 41]; 3];
    for reply in &mut replies {
        channel.read_exact(reply).unwrap();
    }
    let [greeting, refused, recorded] = replies.map(|reply| reply[0]);
    assert_eq!((greeting, recorded), (0, 0));
    assert_ne!(refused, 0);
    drop(channel);
    recorder.join().unwrap().unwrap();
    assert_eq!(verify(&path).unwrap().records, 1);
}

#[test]
fn a_length_beyond_the_cap_ends_the_recorder_without_reading_on() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("record.jsonl");
    let (mut channel, recorder) = start(&path);
    channel.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert!(matches!(
        recorder.join().unwrap(),
        Err(RecorderError::Oversized)
    ));
    assert_eq!(verify(&path).unwrap().records, 0);
}

#[test]
fn a_lost_recorder_is_an_error_for_everybody_who_waits_and_for_ever_after() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&[0; 41]).unwrap();
    let client = RecorderClient::connect(ours).unwrap();
    let waiting: Vec<_> = (0..4)
        .map(|number| {
            let client = client.clone();
            thread::spawn(move || client.record(&event(number)))
        })
        .collect();
    let mut byte = [0];
    theirs.read_exact(&mut byte).unwrap();
    drop(theirs);
    for thread in waiting {
        assert!(matches!(thread.join().unwrap(), Err(RecordError::Lost(_))));
    }
    assert!(matches!(
        client.record(&event(9)),
        Err(RecordError::Lost(_))
    ));
}

#[test]
fn events_that_nobody_waits_for_are_recorded_in_their_place() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("record.jsonl");
    let (channel, recorder) = start(&path);
    let client = RecorderClient::connect(channel).unwrap();
    for number in 0..1_000 {
        client.post(&event(number)).unwrap();
        if number % 300 == 0 {
            let receipt = client.record(&event(number)).unwrap();
            verify_against(&path, receipt).unwrap();
        }
    }
    let receipt = client.record(&event(1_000)).unwrap();
    assert_eq!(receipt.seq, 1_004);
    drop(client);
    recorder.join().unwrap().unwrap();
    let numbers: Vec<_> = read(&path)
        .unwrap()
        .map(|record| record.unwrap().body["number"].as_u64().unwrap())
        .collect();
    assert!(numbers.is_sorted());
}

#[test]
fn a_refusal_that_nobody_waited_for_ends_the_recording() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    // The log is open; the disk is full.
    theirs.write_all(&[[0; 41], [1; 41]].concat()).unwrap();
    let client = RecorderClient::connect(ours).unwrap();
    client.post(&event(0)).unwrap();
    let lost = client.record(&event(1)).unwrap_err();
    assert!(matches!(lost, RecordError::Lost(_)), "{lost:?}");
    assert!(client.post(&event(2)).is_err());
}
