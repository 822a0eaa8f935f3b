//! A log of a thousand records, changed at every place in every way: each change
//! is found, and the first record concerned is named.

use std::{cell::RefCell, fs, path::PathBuf};

use stockade_audit::{
    Checkpoint, Evidence, Fault, Hash, Signer, TreeHead, VerifyError, bindings, verify, verify_host,
};

use crate::fixture::{NAME, Place};

const RECORDS: usize = 1_000;
const BUNDLE: usize = 256;

/// The log, and whoever changes it.
struct Victim {
    place: Place,
    evidence: Evidence,
    entries: Vec<Vec<u8>>,
    /// What lies in each bundle now.
    lies: RefCell<Vec<Vec<u8>>>,
}

impl Victim {
    fn new() -> Self {
        let place = Place::new();
        // As a recorder does it: bound now and then.
        for start in (0..RECORDS as u64).step_by(200) {
            place.write(start..start + 200);
        }
        let evidence = place.evidence();
        let mut victim = Self {
            place,
            evidence,
            entries: Vec::new(),
            lies: RefCell::default(),
        };
        for index in 0..=RECORDS / BUNDLE {
            let bytes = fs::read(victim.bundle(index)).unwrap();
            victim.entries.extend(split(&bytes));
            victim.lies.borrow_mut().push(bytes);
        }
        assert_eq!(victim.entries.len(), RECORDS);
        victim
    }

    fn bundle(&self, index: usize) -> PathBuf {
        let last = format!(".p/{}", RECORDS % BUNDLE);
        let part = if index == RECORDS / BUNDLE { &last } else { "" };
        self.place
            .log
            .join(format!("tile/entries/{index:03}{part}"))
    }

    /// Lays these entries out in bundles, as if they were the log's.
    fn put(&self, entries: &[Vec<u8>]) {
        let mut lies = self.lies.borrow_mut();
        for (index, lie) in lies.iter_mut().enumerate() {
            let start = (index * BUNDLE).min(entries.len());
            let end = if index == RECORDS / BUNDLE {
                entries.len()
            } else {
                (start + BUNDLE).min(entries.len())
            };
            let bytes = join(&entries[start..end]);
            if bytes != *lie {
                fs::write(self.bundle(index), &bytes).unwrap();
                *lie = bytes;
            }
        }
    }

    /// What is found when the log has these entries.
    fn found(&self, entries: &[Vec<u8>]) -> VerifyError {
        self.put(entries);
        verify(&self.place.log, &self.evidence).unwrap_err()
    }

    /// Signs a checkpoint over other entries, with the key of the host.
    fn sign(&self, entries: &[Vec<u8>]) -> TreeHead {
        let secret = fs::read_to_string(self.place.host.join("key")).unwrap();
        let signer = Signer::from_secret(&secret).unwrap();
        let head = head(entries);
        let origin = format!("{}/{NAME}", signer.key().name());
        let note = Checkpoint { origin, head }.sign(&signer);
        fs::write(self.place.log.join("checkpoint"), note).unwrap();
        head
    }

    /// Removes what would tell of the records as they were.
    fn remove_tiles(&self) {
        for level in ["tile/0", "tile/1"] {
            fs::remove_dir_all(self.place.log.join(level)).unwrap();
        }
    }

    /// The entries, with the one at `place` edited.
    fn edited(&self, place: usize) -> Vec<Vec<u8>> {
        let mut entries = self.entries.clone();
        let length = entries[place].len();
        entries[place][place * 7 % length] ^= 1;
        entries
    }
}

fn split(mut bundle: &[u8]) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bundle.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at(u16::from_be_bytes(*length).into());
        entries.push(entry.to_vec());
        bundle = rest;
    }
    entries
}

fn join(entries: &[Vec<u8>]) -> Vec<u8> {
    let length = |entry: &Vec<u8>| u16::try_from(entry.len()).unwrap().to_be_bytes();
    let framed = entries
        .iter()
        .map(|entry| [&length(entry), &entry[..]].concat());
    framed.collect::<Vec<_>>().concat()
}

/// Size and root, by nothing but the definition of the tree.
fn head(entries: &[Vec<u8>]) -> TreeHead {
    let mut hashes: Vec<Hash> = entries.iter().map(|entry| Hash::of_leaf(entry)).collect();
    while hashes.len() > 1 {
        let node = |pair: &[Hash]| match pair {
            [left, right] => Hash::of(&[&[1], &left.as_bytes()[..], right.as_bytes()].concat()),
            [alone, ..] => *alone,
            [] => Hash::ZERO,
        };
        hashes = hashes.chunks(2).map(node).collect();
    }
    TreeHead {
        size: entries.len() as u64,
        root: hashes[0],
    }
}

#[track_caller]
fn broken(found: &VerifyError, at: usize, by: Fault) {
    match found {
        VerifyError::Broken { record, fault, .. } if *record == at as u64 && *fault == by => {}
        other => panic!("record {at}: expected {by:?}, found {other:?}"),
    }
}

#[track_caller]
fn cut(found: &VerifyError, left: usize, of: usize) {
    match found {
        VerifyError::Truncated { records, size, .. }
            if (*records, *size) == (left as u64, of as u64) => {}
        other => panic!("cut at {left}: found {other:?}"),
    }
}

#[test]
fn g5_each_of_a_thousand_edited_records_is_named() {
    let victim = Victim::new();
    for place in 0..RECORDS {
        broken(&victim.found(&victim.edited(place)), place, Fault::Edited);
    }
    victim.put(&victim.entries);
    verify(&victim.place.log, &victim.evidence).unwrap();
}

#[test]
fn g5_each_of_a_thousand_removed_records_is_named() {
    let victim = Victim::new();
    for place in 0..RECORDS {
        let mut entries = victim.entries.clone();
        entries.remove(place);
        let found = victim.found(&entries);
        if place == RECORDS - 1 {
            cut(&found, RECORDS - 1, RECORDS);
        } else {
            broken(&found, place, Fault::Removed);
        }
    }
}

#[test]
fn g5_each_of_a_thousand_inserted_records_is_named() {
    let victim = Victim::new();
    for place in 0..RECORDS {
        let mut entries = victim.entries.clone();
        entries.insert(place, b"{\"forged\":true}".to_vec());
        broken(&victim.found(&entries), place, Fault::Inserted);
    }
    // One behind the last is covered by nothing, and said to be.
    let mut entries = victim.entries.clone();
    entries.push(b"{\"forged\":true}".to_vec());
    victim.put(&entries);
    let verified = verify(&victim.place.log, &victim.evidence).unwrap();
    assert_eq!((verified.records, verified.covered), (1_001, 1_000));
}

#[test]
fn g5_each_of_a_thousand_exchanged_records_is_named() {
    let victim = Victim::new();
    for place in 0..RECORDS - 1 {
        let mut entries = victim.entries.clone();
        entries.swap(place, place + 1);
        broken(&victim.found(&entries), place, Fault::Reordered);
    }
    // Also far apart.
    for place in 0..RECORDS / 2 {
        let mut entries = victim.entries.clone();
        entries.swap(place, place + RECORDS / 2);
        broken(&victim.found(&entries), place, Fault::Reordered);
    }
}

#[test]
fn g5_a_log_that_is_cut_anywhere_is_found_even_with_a_new_signed_checkpoint() {
    let victim = Victim::new();
    let note = fs::read(victim.place.log.join("checkpoint")).unwrap();
    for left in 1..RECORDS {
        let entries = &victim.entries[..left];
        cut(&victim.found(entries), left, RECORDS);
    }
    for left in (1..RECORDS).rev() {
        let entries = &victim.entries[..left];
        victim.sign(entries);
        cut(&victim.found(entries), left, RECORDS);
    }
    // Only the checkpoint is put back.
    victim.sign(&victim.entries[..600]);
    let found = victim.found(&victim.entries);
    assert!(
        matches!(
            found,
            VerifyError::RolledBack {
                found: 600,
                newest: 1_000,
                ..
            }
        ),
        "{found:?}"
    );
    fs::write(victim.place.log.join("checkpoint"), note).unwrap();
    verify(&victim.place.log, &victim.evidence).unwrap();
}

#[test]
fn g5_bundles_in_each_others_place_are_found_and_the_first_record_named() {
    let victim = Victim::new();
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let mut bundles: Vec<_> = victim.entries.chunks(BUNDLE).collect();
        bundles.swap(one, other);
        broken(
            &victim.found(&bundles.concat()),
            one * BUNDLE,
            Fault::Reordered,
        );
    }
}

#[test]
fn g5_a_record_rewritten_with_the_stolen_key_is_named_by_the_host_log() {
    let victim = Victim::new();
    victim.remove_tiles();
    for place in 0..RECORDS {
        let entries = victim.edited(place);
        victim.sign(&entries);
        broken(&victim.found(&entries), place, Fault::Edited);
    }
}

#[test]
fn g5_another_history_fits_nobody_who_kept_a_checkpoint_of_this_one() {
    let victim = Victim::new();
    victim.remove_tiles();
    // Whoever has the key can write a host log too, so that only what was kept
    // elsewhere speaks: here a checkpoint of every fifty records.
    let evidence = Evidence {
        bindings: Vec::new(),
        heads: (50..=RECORDS)
            .step_by(50)
            .map(|size| head(&victim.entries[..size]))
            .collect(),
        ..victim.evidence.clone()
    };
    for place in 0..RECORDS {
        let entries = victim.edited(place);
        victim.sign(&entries);
        victim.put(&entries);
        let from = (place / 50 * 50) as u64;
        match verify(&victim.place.log, &evidence).unwrap_err() {
            VerifyError::Rewritten { first, last, .. } if (first, last) == (from, from + 49) => {}
            other => panic!("record {place}: {other:?}"),
        }
    }
}

#[test]
fn g5_no_changed_byte_of_any_file_goes_unnoticed() {
    let place = Place::new();
    place.write(0..300);
    let evidence = place.evidence();
    for (path, bytes) in place.contents() {
        // Every byte of what is short, and some of what is long.
        for at in (0..bytes.len()).step_by(bytes.len() / 400 + 1) {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(&path, &changed).unwrap();
            let found = verify(&place.log, &evidence);
            assert!(found.is_err(), "byte {at} of {}", path.display());
        }
        fs::write(&path, &bytes).unwrap();
    }
    verify(&place.log, &evidence).unwrap();
}

#[test]
fn g5_an_edited_host_log_is_found_too() {
    let place = Place::new();
    for start in 0..20 {
        place.write(start..start + 1);
    }
    let log = stockade_audit::host_log(&place.host);
    let key = place.key();
    let check = || verify_host(&place.host, &key, Vec::new());
    assert_eq!(check().unwrap().covered, 21);
    let tail = log.join("tile/entries/000.p/21");
    let bytes = fs::read(&tail).unwrap();
    for number in 0..21 {
        let mut entries = split(&bytes);
        entries[number][20] ^= 1;
        fs::write(&tail, join(&entries)).unwrap();
        broken(&check().unwrap_err(), number, Fault::Edited);
    }
    fs::write(&tail, &bytes).unwrap();
    assert_eq!(bindings(&place.host).unwrap().len(), 21);
}

#[test]
fn g5_a_checkpoint_of_another_log_or_another_key_is_refused() {
    let (one, other) = (Place::new(), Place::new());
    one.write(0..3);
    other.write(0..3);
    let note = one.log.join("checkpoint");
    fs::copy(other.log.join("checkpoint"), &note).unwrap();
    let refused = one.verify().unwrap_err();
    assert!(
        matches!(refused, VerifyError::Checkpoint { .. }),
        "{refused:?}"
    );
    // The host's own key, but its own log.
    fs::copy(one.host.join("log/checkpoint"), &note).unwrap();
    let refused = one.verify().unwrap_err();
    assert!(
        matches!(refused, VerifyError::OtherLog { .. }),
        "{refused:?}"
    );
    fs::remove_file(&note).unwrap();
    assert!(matches!(one.verify(), Err(VerifyError::Missing { .. })));
    // Whoever has no key sees that the signature was not looked at.
    let unkeyed = Evidence {
        key: None,
        ..other.evidence()
    };
    assert!(!verify(&other.log, &unkeyed).unwrap().signature);
}
