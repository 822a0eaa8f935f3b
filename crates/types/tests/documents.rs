//! The documents name the tests that hold what they promise. Here it is
//! checked that each of those tests exists, so that none can be renamed or
//! removed and the promise stay.
//!
//! A test is cited as `room::test_name` in backquotes, and looked for in that
//! room's sources.

#![expect(
    clippy::unwrap_used,
    reason = "a file of the workspace that cannot be read fails the test"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The documents that cite tests, and how many citations each has at least: a
/// change of their form must not make this test pass by finding none.
const DOCUMENTS: [(&str, usize); 4] = [
    ("docs/guarantees.md", 40),
    ("docs/mission.md", 20),
    ("docs/gateway-tests.md", 40),
    ("crates/attack/src/probes/elsewhere.rs", 30),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

/// A name that Rust would take for a function's.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The `room::test_name` citations of a document.
fn citations(document: &str) -> BTreeSet<(&str, &str)> {
    document
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|quoted| quoted.split_once("::"))
        .filter(|(room, test)| is_name(room) && is_name(test))
        .collect()
}

/// The functions marked as tests in `source`.
fn tests_of(source: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut marked = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") && line.contains("test") && !line.contains("cfg") {
            marked = true;
        } else if marked {
            let words = line.strip_prefix("async ").unwrap_or(line);
            if let Some(rest) = words.strip_prefix("fn ") {
                names.extend(rest.split('(').next());
                marked = false;
            }
        }
    }
    names
}

/// Every test of every room.
fn tests() -> BTreeMap<String, BTreeSet<String>> {
    let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for room in std::fs::read_dir(root().join("crates")).unwrap() {
        let room = room.unwrap();
        let known = tests
            .entry(room.file_name().into_string().unwrap())
            .or_default();
        let mut folders = vec![room.path().join("src"), room.path().join("tests")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let source = std::fs::read_to_string(&path).unwrap();
                    known.extend(tests_of(&source).into_iter().map(str::to_owned));
                }
            }
        }
    }
    tests
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let tests = tests();
    let mut gone = Vec::new();
    for (document, fewest) in DOCUMENTS {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        let cited = citations(&text);
        assert!(
            cited.len() >= fewest,
            "{document} cites only {} tests",
            cited.len()
        );
        for (room, test) in cited {
            if !tests.get(room).is_some_and(|known| known.contains(test)) {
                gone.push(format!("{document}: {room}::{test}"));
            }
        }
    }
    assert!(
        gone.is_empty(),
        "these tests are gone:\n{}",
        gone.join("\n")
    );
}

#[test]
fn citations_and_tests_are_read_as_they_are_written() {
    let cited = citations("see `audit::g5_one`, `crates/audit`, `Vec::new()` and `types::two`");
    let expected = BTreeSet::from([("audit", "g5_one"), ("types", "two")]);
    assert_eq!(cited, expected);
    let source = "#[test]\n#[expect(x, reason = \"y\")]\nfn one() {}\nfn helper() {}\n\
        #[tokio::test(flavor = \"current_thread\")]\nasync fn two() {}\n#[cfg(test)]\nfn three() {}";
    assert_eq!(tests_of(source), ["one", "two"]);
}
