//! What a log promises, on real files, with real processes that die.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Stdio},
};

use serde_json::json;
use stockade_audit::{
    Appended, Hash, LogError, MAX_EVENT_BYTES, RecordKind, TreeHead, Upkeep, VerifyError,
    check_proof, prove, read,
};
use stockade_types::{Event, EventKind};

use crate::fixture::{Place, event};

#[test]
fn g5_a_sound_log_verifies_and_reads_back_what_was_recorded() {
    let place = Place::new();
    let receipts = place.write(0..6);
    let verified = place.verify().unwrap();
    assert_eq!((verified.records, verified.covered), (6, 6));
    assert_eq!(verified.root, receipts[5].root);
    assert!(verified.signature && verified.known > 0);
    let records: Vec<_> = read(&place.log).unwrap().map(Result::unwrap).collect();
    assert_eq!(records[4].body, json!({ "number": 4 }));
    assert_eq!(
        records[4].kind,
        RecordKind::Event(EventKind::NetworkRequest)
    );
    assert_eq!(records[5].seq, 5);
}

#[test]
fn a_log_grows_over_many_bundles_and_openings_and_stays_sound() {
    let place = Place::new();
    let mut last = None;
    for (from, to) in [
        (0, 255),
        (255, 256),
        (256, 257),
        (257, 1_100),
        (1_100, 1_101),
    ] {
        last = place.write(from..to).pop();
        let verified = place.verify().unwrap();
        assert_eq!((verified.records, verified.covered), (to, to));
        assert_eq!(Some(verified.root), last.map(|last| last.root));
    }
    let numbers = read(&place.log).unwrap();
    assert!(numbers.map(|record| record.unwrap().seq).eq(0..1_101));
    let tiles = place.log.join("tile");
    for path in [
        "0/003",
        "entries/003",
        "0/004.p/77",
        "1/000.p/4",
        "entries/004.p/77",
    ] {
        assert!(tiles.join(path).is_file(), "{path}");
    }
    assert!(last.is_some());
}

#[test]
fn tiles_that_are_lost_are_made_again_from_the_records() {
    let place = Place::new();
    place.write(0..700);
    fs::remove_dir_all(place.log.join("tile/0")).unwrap();
    fs::remove_dir_all(place.log.join("tile/1")).unwrap();
    place.verify().unwrap();
    place.write(700..800);
    assert_eq!(place.verify().unwrap().covered, 800);
    assert!(place.log.join("tile/0/001").is_file());
}

#[test]
fn every_record_can_be_proved_to_whoever_has_the_key() {
    let place = Place::new();
    place.write(0..300);
    let (key, other) = (place.key(), Place::new());
    other.write(0..1);
    for number in [0, 1, 255, 256, 299] {
        let proof = prove(&place.log, number).unwrap();
        let proved = check_proof(&proof, &key).unwrap();
        assert_eq!(proved.record.body, json!({ "number": number }));
        assert_eq!((proved.number, proved.checkpoint.head.size), (number, 300));
        check_proof(&proof, &other.key()).unwrap_err();
        // Any other text in its place proves nothing.
        for line in 1..proof.lines().count() {
            let changed: Vec<String> = proof
                .lines()
                .enumerate()
                .map(|(index, text)| {
                    if index == line {
                        format!("{text}A")
                    } else {
                        text.to_owned()
                    }
                })
                .collect();
            let changed = changed.join("\n") + "\n";
            assert!(check_proof(&changed, &key).is_err(), "line {line}");
        }
    }
    assert!(prove(&place.log, 300).is_err());
}

#[test]
fn an_unfinished_entry_is_cut_off_and_the_record_says_so() {
    let place = Place::new();
    let receipts = place.write(0..6);
    let tail = place.log.join("tile/entries/000.p/6");
    let mut bytes = fs::read(&tail).unwrap();
    bytes.extend_from_slice(b"\x01\x00{\"at\":");
    fs::write(&tail, bytes).unwrap();

    place.write(7..8);
    place.keep(receipts[5]);
    assert_eq!(place.verify().unwrap().records, 8);
    let repair = read(&place.log).unwrap().nth(6).unwrap().unwrap();
    assert_eq!(repair.kind, RecordKind::Upkeep(Upkeep::LogRepaired));
    assert_eq!(repair.body, json!({ "cut_bytes": 8, "unsigned": 0 }));
}

#[test]
fn records_that_no_checkpoint_covered_are_kept_and_the_record_says_how_many() {
    let place = Place::new();
    let mut log = place.open();
    for number in 0..300 {
        log.append(&event(number)).unwrap();
    }
    // As if the recorder were killed: nothing is signed or bound.
    drop(log);
    assert_eq!(place.verify().unwrap().covered, 0);
    place.write(300..301);
    let verified = place.verify().unwrap();
    assert_eq!((verified.records, verified.covered), (302, 302));
    let repair = read(&place.log).unwrap().nth(300).unwrap().unwrap();
    assert_eq!(repair.body, json!({ "cut_bytes": 0, "unsigned": 300 }));
}

#[test]
fn what_was_added_is_on_the_disk_after_a_sync_or_a_record_that_waits_and_before_it_is_signed() {
    let place = Place::new();
    let mut log = place.open();
    let added: Vec<_> = (0..600).map(event).collect();
    let receipts = log.add_all(&added[..300]).unwrap();
    place.keep(receipts.into_iter().next_back().unwrap().unwrap());
    assert!(!log.is_synced());
    log.sync().unwrap();
    assert!(log.is_synced());
    for event in &added[300..400] {
        log.add_all(std::slice::from_ref(event)).unwrap();
    }
    assert!(!log.is_synced());
    log.append(&added[400]).unwrap();
    assert!(log.is_synced());
    log.add_all(&added[401..]).unwrap();
    assert!(!log.is_synced());
    log.bind().unwrap();
    assert!(log.is_synced());
    drop(log);
    let verified = place.verify().unwrap();
    assert_eq!((verified.records, verified.covered), (600, 600));
}

#[test]
fn a_log_that_does_not_fit_its_checkpoint_is_not_written_to() {
    for (file, from, to) in [
        ("tile/entries/000.p/6", ":4}", ":9}"),
        ("checkpoint", "\n6\n", "\n5\n"),
    ] {
        let place = Place::new();
        place.write(0..6);
        place.edit(file, from, to);
        let before = place.contents();
        let refused = place.try_open().unwrap_err();
        assert!(
            matches!(
                refused,
                LogError::Damaged { .. } | LogError::Checkpoint { .. }
            ),
            "{refused:?}"
        );
        assert_eq!(place.contents(), before);
    }
}

#[test]
fn a_log_without_its_checkpoint_is_not_begun_anew() {
    let place = Place::new();
    place.write(0..6);
    fs::remove_file(place.log.join("checkpoint")).unwrap();
    assert!(matches!(place.try_open(), Err(LogError::Damaged { .. })));
}

#[test]
fn a_host_log_without_its_key_gets_no_new_one() {
    let place = Place::new();
    place.write(0..1);
    let key = place.host.join("key");
    let moved = place.host.join("moved");
    fs::rename(&key, &moved).unwrap();
    assert!(matches!(place.try_open(), Err(LogError::Open { .. })));
    assert!(!key.exists());
    fs::rename(&moved, &key).unwrap();
    place.write(1..2);
}

#[test]
fn a_log_has_one_writer() {
    let place = Place::new();
    let first = place.open();
    assert!(matches!(place.try_open(), Err(LogError::Locked { .. })));
    drop(first);
    place.open();
}

#[test]
fn a_symlink_is_not_followed_to_a_log() {
    let place = Place::new();
    let elsewhere = place.host.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &place.log).unwrap();
    assert!(matches!(place.try_open(), Err(LogError::Open { .. })));
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn the_longest_event_fits_and_one_byte_more_is_refused() {
    let place = Place::new();
    let mut log = place.open();
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
    log.bind().unwrap();
    drop(log);
    assert_eq!(place.verify().unwrap().records, 3);
}

#[test]
fn log_and_key_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.write(0..1);
    for path in [&place.log, &place.host.join("log"), &place.host.join("key")] {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

/// Lines as the first form had them.
fn old_lines(count: u64) -> String {
    let (mut text, mut prev) = (String::new(), Hash::ZERO);
    for seq in 0..count {
        let line = format!(
            r#"{{"seq":{seq},"at":"2026-01-02T03:04:05.006Z","prev":"{prev}","kind":"network-request","body":{{"number":{seq}}}}}"#
        );
        prev = Hash::of(line.as_bytes());
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[test]
fn a_record_of_the_first_form_is_read_checked_and_taken_over_whole() {
    let place = Place::new();
    let old = place.log.with_extension("jsonl");
    let lines = old_lines(2_000);
    fs::write(&old, &lines).unwrap();
    assert_eq!(place.verify().unwrap().records, 2_000);
    assert_eq!(read(&place.log).unwrap().count(), 2_000);

    place.write(2_001..2_002);
    assert_eq!(place.verify().unwrap().covered, 2_002);
    let records: Vec<_> = read(&place.log).unwrap().map(Result::unwrap).collect();
    assert!(records.iter().map(|record| record.seq).eq(0..2_002));
    assert_eq!(records[1_234].body, json!({ "number": 1_234 }));
    assert_eq!(records[2_000].kind, RecordKind::Upkeep(Upkeep::LogMigrated));
    assert_eq!(fs::read_to_string(&old).unwrap(), lines, "the file is kept");
}

#[test]
fn a_damaged_record_of_the_first_form_is_named_and_not_taken_over() {
    let place = Place::new();
    let old = place.log.with_extension("jsonl");
    fs::write(&old, old_lines(6).replace(":3}}", ":9}}")).unwrap();
    let found = place.verify().unwrap_err();
    assert!(
        matches!(found, VerifyError::Broken { record: 4, .. }),
        "{found:?}"
    );
    assert!(matches!(place.try_open(), Err(LogError::Damaged { .. })));
    assert!(!place.log.exists());
}

#[test]
fn a_line_that_is_too_long_for_an_entry_stands_there_by_its_digest() {
    let place = Place::new();
    let old = place.log.with_extension("jsonl");
    let line = format!(
        r#"{{"seq":0,"at":"2026-01-02T03:04:05.006Z","prev":"{}","kind":"denied","body":"{}"}}"#,
        Hash::ZERO,
        "x".repeat(65_500)
    );
    fs::write(&old, format!("{line}\n")).unwrap();
    place.write(1..2);
    let records: Vec<_> = read(&place.log).unwrap().map(Result::unwrap).collect();
    assert_eq!(records[0].kind, RecordKind::Upkeep(Upkeep::LongRecord));
    let digest = Hash::of(line.as_bytes()).to_string();
    assert_eq!(records[0].body["sha256"], json!(digest));
}

/// Runs `examples/append_until_full.rs` as a process of its own, after the
/// shell commands of `preparation`.
fn child(place: &Place, preparation: &str, times: &str) -> Child {
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
        .args(["-c", &format!("{preparation} \"$0\" \"$@\"")])
        .arg(program)
        .args([&place.log, &place.host])
        .args(times.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The receipts that a child reports.
fn acknowledged(child: &mut Child) -> impl Iterator<Item = Appended> + use<> {
    BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| {
            let (seq, root) = line.strip_prefix("acknowledged ")?.split_once(' ')?;
            Some(Appended {
                seq: seq.parse().ok()?,
                root: root.parse().ok()?,
            })
        })
}

#[test]
fn g5_a_writer_killed_at_any_moment_loses_nothing_it_acknowledged() {
    let place = Place::new();
    for round in 1..=12 {
        let mut child = child(&place, "exec", "");
        let mut acknowledgements = acknowledged(&mut child);
        let seen = acknowledgements.by_ref().nth(37 * round).unwrap();
        child.kill().unwrap();
        let last = acknowledgements.last().unwrap_or(seen);
        child.wait().unwrap();
        drop(place.open());
        place.keep(last);
        let verified = place.verify().unwrap();
        assert!(verified.records > last.seq, "{last:?} is missing");
    }
}

#[test]
fn a_full_disk_is_a_clear_error_and_leaves_a_valid_log() {
    let place = Place::new();
    // 512-byte units; without the signal the kernel answers EFBIG.
    let mut child = child(&place, "trap '' XFSZ; ulimit -f 33; exec", "");
    let last = acknowledged(&mut child).last().unwrap();
    assert!(child.wait().unwrap().success());
    let sizes = sizes(&place.log);
    assert!(sizes.iter().all(|size| *size <= 33 * 1024), "{sizes:?}");
    place.write(0..1);
    place.keep(last);
    assert!(place.verify().unwrap().records > last.seq + 1);
}

/// How long each file below a folder is.
fn sizes(folder: &Path) -> Vec<u64> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let sizes = entries.flat_map(|entry| match entry.metadata().unwrap() {
        found if found.is_dir() => sizes(&entry.path()),
        found => vec![found.len()],
    });
    sizes.collect()
}

#[test]
fn a_receipt_is_a_state_that_the_log_must_have_had() {
    let place = Place::new();
    let receipts = place.write(0..6);
    place.keep(receipts[2]);
    assert_eq!(place.verify().unwrap().known, place.bindings() + 1);
    place.keep(Appended {
        root: receipts[1].root,
        ..receipts[3]
    });
    let found = place.verify().unwrap_err();
    assert!(matches!(found, VerifyError::Rewritten { .. }), "{found:?}");
    let head = TreeHead {
        size: 7,
        root: Hash::ZERO,
    };
    place.forget();
    place.keep_head(head);
    match place.verify() {
        Err(VerifyError::Truncated {
            records: 6,
            size: 7,
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
}
