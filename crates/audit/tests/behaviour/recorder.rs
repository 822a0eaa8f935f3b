//! The recorder process's main, over a real socket pair.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::json;
use stockade_audit::{
    MAX_EVENT_BYTES, Place as RecorderPlace, RecordError, RecorderClient, RecorderError, Refusal,
    read, run_recorder,
};
use stockade_types::{Event, EventKind};

use crate::fixture::{NAME, NoSecrets, Place};

fn event(number: usize) -> Event {
    Event::new(EventKind::SecretUsed, json!({ "number": number }))
}

fn start(place: &Place) -> (UnixStream, JoinHandle<Result<(), RecorderError>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let place = RecorderPlace {
        log: place.log.clone(),
        name: NAME.to_owned(),
        host: place.host.clone(),
    };
    (ours, thread::spawn(move || run_recorder(theirs, &place)))
}

#[test]
fn what_is_acknowledged_is_in_the_log_and_the_end_of_the_channel_ends_the_recorder() {
    let place = Place::new();
    for start_at in [0, 3] {
        let (channel, recorder) = start(&place);
        let client = RecorderClient::connect(channel, NoSecrets).unwrap();
        for number in start_at..start_at + 3 {
            let receipt = client.record(&event(number)).unwrap();
            assert_eq!(receipt.seq, number as u64);
            let verified = place.verify().unwrap();
            assert_eq!(
                (verified.records, verified.root),
                (receipt.seq + 1, receipt.root)
            );
        }
        drop(client);
        recorder.join().unwrap().unwrap();
    }
}

#[test]
fn many_threads_record_at_once_and_each_gets_its_own_receipt() {
    let place = Place::new();
    let (channel, recorder) = start(&place);
    let client = RecorderClient::connect(channel, NoSecrets).unwrap();
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

    let records: Vec<_> = read(&place.log).unwrap().map(Result::unwrap).collect();
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
        place.keep(receipt);
    }
    assert_eq!(place.verify().unwrap().covered, 400);
}

#[test]
fn a_client_learns_why_the_log_cannot_be_opened() {
    let place = Place::new();
    let holder = place.open();
    let (channel, recorder) = start(&place);
    let error = RecorderClient::connect(channel, NoSecrets).unwrap_err();
    assert!(
        matches!(error, RecordError::Refused(Refusal::Locked)),
        "{error:?}"
    );
    assert!(recorder.join().unwrap().is_err());
    drop(holder);

    fs::write(place.log.join("checkpoint"), "not a note\n").unwrap();
    let (channel, recorder) = start(&place);
    let error = RecorderClient::connect(channel, NoSecrets).unwrap_err();
    assert!(
        matches!(error, RecordError::Refused(Refusal::Damaged)),
        "{error:?}"
    );
    assert!(recorder.join().unwrap().is_err());
}

#[test]
fn an_event_beyond_the_cap_is_refused_before_it_is_sent() {
    let place = Place::new();
    let (channel, recorder) = start(&place);
    let client = RecorderClient::connect(channel, NoSecrets).unwrap();
    let long = Event::new(EventKind::Denied, json!("x".repeat(MAX_EVENT_BYTES)));
    assert!(matches!(
        client.record(&long),
        Err(RecordError::Refused(Refusal::TooLarge))
    ));
    client.record(&event(0)).unwrap();
    drop(client);
    recorder.join().unwrap().unwrap();
    assert_eq!(place.verify().unwrap().records, 1);
}

#[test]
fn a_message_that_is_no_event_is_refused_and_the_next_is_recorded() {
    let place = Place::new();
    let (mut channel, recorder) = start(&place);
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
    assert_eq!(place.verify().unwrap().records, 1);
}

#[test]
fn a_length_beyond_the_cap_ends_the_recorder_without_reading_on() {
    let place = Place::new();
    let (mut channel, recorder) = start(&place);
    channel.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert!(matches!(
        recorder.join().unwrap(),
        Err(RecorderError::Oversized)
    ));
    assert_eq!(place.verify().unwrap().records, 0);
}

#[test]
fn a_lost_recorder_is_an_error_for_everybody_who_waits_and_for_ever_after() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&[0; 41]).unwrap();
    let client = RecorderClient::connect(ours, NoSecrets).unwrap();
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
    let place = Place::new();
    let (channel, recorder) = start(&place);
    let client = RecorderClient::connect(channel, NoSecrets).unwrap();
    for number in 0..1_000 {
        client.post(&event(number)).unwrap();
        if number % 300 == 0 {
            let receipt = client.record(&event(number)).unwrap();
            place.keep(receipt);
            place.verify().unwrap();
        }
    }
    let receipt = client.record(&event(1_000)).unwrap();
    assert_eq!(receipt.seq, 1_004);
    drop(client);
    recorder.join().unwrap().unwrap();
    let numbers: Vec<_> = read(&place.log)
        .unwrap()
        .map(|record| record.unwrap().body["number"].as_u64().unwrap())
        .collect();
    assert!(numbers.is_sorted());
}

#[test]
fn replies_that_nobody_waits_for_never_fill_the_channel() {
    let place = Place::new();
    let (channel, recorder) = start(&place);
    let client = RecorderClient::connect(channel, NoSecrets).unwrap();
    let (done, posted) = std::sync::mpsc::channel();
    // One at a time, so that each reply is a message of its own.
    let posting = thread::spawn(move || {
        for number in 0..1_000 {
            client.post(&event(number)).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        client.record(&event(1_000)).unwrap();
        done.send(()).unwrap();
    });
    posted.recv_timeout(Duration::from_secs(40)).unwrap();
    posting.join().unwrap();
    recorder.join().unwrap().unwrap();
    assert_eq!(read(&place.log).unwrap().count(), 1_001);
}

#[test]
fn a_refusal_that_nobody_waited_for_ends_the_recording() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    // The log is open; the disk is full.
    theirs.write_all(&[[0; 41], [1; 41]].concat()).unwrap();
    let client = RecorderClient::connect(ours, NoSecrets).unwrap();
    client.post(&event(0)).unwrap();
    let lost = client.record(&event(1)).unwrap_err();
    assert!(matches!(lost, RecordError::Lost(_)), "{lost:?}");
    assert!(client.post(&event(2)).is_err());
}
