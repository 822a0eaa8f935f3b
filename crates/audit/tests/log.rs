//! What a log promises, on real files, with real processes that die.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a fixture that fails fails its test"
)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Stdio},
};

use proptest::prelude::*;
use serde_json::json;
use stockade_audit::{
    Appended, Fault, Hash, Log, LogError, MAX_EVENT_BYTES, RecordKind, Upkeep, VerifyError, read,
    verify, verify_against,
};
use stockade_types::{Event, EventKind};
use tempfile::TempDir;

fn event(number: u64) -> Event {
    Event::new(EventKind::NetworkRequest, json!({ "number": number }))
}

/// A log of six records, and the receipts.
fn six(directory: &TempDir) -> (std::path::PathBuf, Vec<Appended>) {
    let path = directory.path().join("record.jsonl");
    let mut log = Log::open(&path).unwrap();
    let receipts = (0..6)
        .map(|number| log.append(&event(number)).unwrap())
        .collect();
    (path, receipts)
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let mut lines: Vec<String> = fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    change(&mut lines);
    fs::write(path, lines.join("\n") + "\n").unwrap();
}

fn broken(path: &Path) -> (u64, Fault) {
    match verify(path) {
        Err(VerifyError::Broken { seq, fault, .. }) => (seq, fault),
        other => panic!("expected a broken chain, got {other:?}"),
    }
}

#[test]
fn g5_a_sound_log_verifies_and_reads_back_what_was_recorded() {
    let directory = TempDir::new().unwrap();
    let (path, receipts) = six(&directory);
    let verified = verify(&path).unwrap();
    assert_eq!(
        (verified.records, verified.last_hash),
        (6, receipts[5].hash)
    );
    let records: Vec<_> = read(&path).unwrap().map(Result::unwrap).collect();
    assert_eq!(records[4].body, json!({ "number": 4 }));
    assert_eq!(
        records[4].kind,
        RecordKind::Event(EventKind::NetworkRequest)
    );
    assert_eq!(records[0].prev, Hash::ZERO);
    assert_eq!(records[5].prev, receipts[4].hash);
}

#[test]
fn g5_an_edited_record_is_named() {
    for victim in 0..5 {
        let directory = TempDir::new().unwrap();
        let (path, _) = six(&directory);
        edit(&path, |lines| {
            lines[victim] = lines[victim].replace(&format!(":{victim}}}"), ":99}");
        });
        assert_eq!(
            broken(&path),
            (victim as u64, Fault::Edited),
            "record {victim}"
        );
    }
}

#[test]
fn g5_an_edit_of_the_last_record_is_found_with_its_receipt() {
    let directory = TempDir::new().unwrap();
    let (path, receipts) = six(&directory);
    edit(&path, |lines| lines[5] = lines[5].replace(":5}", ":99}"));
    assert!(
        verify(&path).is_ok(),
        "without a receipt nothing contradicts the last record"
    );
    assert!(matches!(
        verify_against(&path, receipts[5]),
        Err(VerifyError::Rewritten { seq: 5, .. })
    ));
}

#[test]
fn g5_a_removed_record_is_named() {
    for victim in 0..5 {
        let directory = TempDir::new().unwrap();
        let (path, _) = six(&directory);
        edit(&path, |lines| drop(lines.remove(victim)));
        assert_eq!(
            broken(&path),
            (victim as u64, Fault::Removed),
            "record {victim}"
        );
    }
}

#[test]
fn g5_exchanged_records_are_named() {
    for first in 0..5 {
        let directory = TempDir::new().unwrap();
        let (path, _) = six(&directory);
        edit(&path, |lines| lines.swap(first, first + 1));
        let (seq, fault) = broken(&path);
        assert_eq!(fault, Fault::Reordered, "records {first} and its successor");
        assert!(seq == first as u64 || seq == first as u64 + 1);
    }
}

#[test]
fn g5_an_inserted_record_is_named() {
    let directory = TempDir::new().unwrap();
    let (path, _) = six(&directory);
    edit(&path, |lines| {
        let forged = lines[2].replace(":2}", ":77}");
        lines.insert(3, forged);
    });
    assert_eq!(broken(&path), (2, Fault::Inserted));
}

#[test]
fn g5_a_cut_at_a_whole_record_is_found_with_a_receipt() {
    let directory = TempDir::new().unwrap();
    let (path, receipts) = six(&directory);
    edit(&path, |lines| lines.truncate(4));
    assert!(matches!(
        verify_against(&path, receipts[5]),
        Err(VerifyError::Truncated {
            records: 4,
            seq: 5,
            ..
        })
    ));
    assert_eq!(verify_against(&path, receipts[3]).unwrap().records, 4);
}

#[test]
fn g5_a_cut_within_a_record_is_found_without_a_receipt() {
    let directory = TempDir::new().unwrap();
    let (path, _) = six(&directory);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();
    let error = verify(&path).unwrap_err();
    assert!(error.to_string().contains("line 6"), "{error}");
}

#[test]
fn g5_a_log_rewritten_from_the_start_is_found_with_a_receipt() {
    let directory = TempDir::new().unwrap();
    let (path, receipts) = six(&directory);
    fs::remove_file(&path).unwrap();
    let mut log = Log::open(&path).unwrap();
    for number in 10..16 {
        log.append(&event(number)).unwrap();
    }
    drop(log);
    assert_eq!(verify(&path).unwrap().records, 6);
    assert!(matches!(
        verify_against(&path, receipts[2]),
        Err(VerifyError::Rewritten { seq: 2, .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn g5_no_changed_byte_goes_unnoticed_by_a_receipt(place in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let directory = TempDir::new().unwrap();
        let (path, receipts) = six(&directory);
        let mut bytes = fs::read(&path).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        fs::write(&path, bytes).unwrap();
        prop_assert!(verify_against(&path, receipts[5]).is_err());
    }
}

#[test]
fn a_torn_last_line_is_cut_off_and_the_record_says_so() {
    let directory = TempDir::new().unwrap();
    let (path, receipts) = six(&directory);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(br#"{"seq":6,"at":"2026-"#);
    fs::write(&path, bytes).unwrap();

    let mut log = Log::open(&path).unwrap();
    log.append(&event(7)).unwrap();
    drop(log);
    assert_eq!(verify_against(&path, receipts[5]).unwrap().records, 8);
    let repair = read(&path).unwrap().nth(6).unwrap().unwrap();
    assert_eq!(repair.kind, RecordKind::Upkeep(Upkeep::LogRepaired));
    assert_eq!(repair.body, json!({ "cut_bytes": 20 }));
}

#[test]
fn a_log_whose_end_does_not_fit_is_not_written_to() {
    let directory = TempDir::new().unwrap();
    let (path, _) = six(&directory);
    edit(&path, |lines| lines[4] = lines[4].replace(":4}", ":99}"));
    let before = fs::read(&path).unwrap();
    assert!(matches!(Log::open(&path), Err(LogError::Damaged { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_log_has_one_writer() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("record.jsonl");
    let first = Log::open(&path).unwrap();
    assert!(matches!(Log::open(&path), Err(LogError::Locked { .. })));
    drop(first);
    assert!(Log::open(&path).is_ok());
}

#[test]
fn a_symlink_is_not_followed_to_a_log() {
    let directory = TempDir::new().unwrap();
    let target = directory.path().join("elsewhere");
    fs::write(&target, "mine").unwrap();
    let path = directory.path().join("record.jsonl");
    std::os::unix::fs::symlink(&target, &path).unwrap();
    assert!(matches!(Log::open(&path), Err(LogError::Open { .. })));
    assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
}

#[test]
fn the_longest_event_fits_and_one_byte_more_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("record.jsonl");
    let mut log = Log::open(&path).unwrap();
    let of_length = |length: usize| {
        let empty = Event::new(EventKind::Denied, json!(""));
        let overhead = serde_json::to_vec(&empty).unwrap().len();
        Event::new(EventKind::Denied, json!("x".repeat(length - overhead)))
    };
    log.append(&of_length(MAX_EVENT_BYTES)).unwrap();
    log.append(&of_length(MAX_EVENT_BYTES)).unwrap();
    assert!(matches!(
        log.append(&of_length(MAX_EVENT_BYTES + 1)),
        Err(LogError::TooLarge { .. })
    ));
    log.append(&event(1)).unwrap();
    drop(log);
    assert_eq!(Log::open(&path).unwrap().last().unwrap().seq, 2);
    assert_eq!(verify(&path).unwrap().records, 3);
}

#[test]
fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = TempDir::new().unwrap();
    let (path, _) = six(&directory);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
}

/// Runs `examples/append_until_full.rs` as a process of its own, after the
/// shell commands of `preparation`.
fn child(path: &Path, preparation: &str) -> Child {
    // `cargo test` builds examples beside the tests.
    let tests = std::env::current_exe().unwrap();
    let program = tests
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/append_until_full");
    #[expect(
        clippy::disallowed_methods,
        reason = "a process that can be killed and limited"
    )]
    std::process::Command::new("/bin/sh")
        .args(["-c", &format!("{preparation} exec \"$0\" \"$1\"")])
        .arg(program)
        .arg(path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The sequence numbers that a child reports as acknowledged.
fn acknowledged(child: &mut Child) -> impl Iterator<Item = u64> + use<> {
    BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok())
}

#[test]
fn g5_a_writer_killed_at_any_moment_loses_nothing_it_acknowledged() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("record.jsonl");
    for round in 1..=5 {
        let mut child = child(&path, "");
        let mut acknowledgements = acknowledged(&mut child);
        let seen = acknowledgements.by_ref().nth(20 * round).unwrap();
        child.kill().unwrap();
        let last = acknowledgements.last().unwrap_or(seen);
        child.wait().unwrap();
        drop(Log::open(&path).unwrap());
        assert!(
            verify(&path).unwrap().records > last,
            "record {last} is missing"
        );
    }
}

#[test]
fn a_full_disk_is_a_clear_error_and_leaves_a_valid_log() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("record.jsonl");
    // 512-byte units; without the signal the kernel answers EFBIG.
    let mut child = child(&path, "trap '' XFSZ; ulimit -f 33;");
    let last = acknowledged(&mut child).last().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(fs::metadata(&path).unwrap().len() <= 33 * 1024);
    assert_eq!(verify(&path).unwrap().records, last + 1);
    Log::open(&path).unwrap().append(&event(1)).unwrap();
    assert_eq!(verify(&path).unwrap().records, last + 2);
}
