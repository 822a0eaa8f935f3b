//! `stockade attack`: its own sandbox holds, a target without walls does not,
//! and the report can be read by programs.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{fs, path::Path, time::Duration};

use serde_json::Value;

use self::host::{Host, Outcome, finish_within, has, processes, skip};

/// Longer than the whole suite takes, even on a busy machine.
const SUITE: Duration = Duration::from_mins(8);

/// Runs `stockade --json attack` with `words`: its report, and how it ended.
fn attack(host: &Host, words: &[&str]) -> (Value, Outcome) {
    let mut arguments = vec!["--json", "attack"];
    arguments.extend(words);
    let outcome = finish_within(host.command(&arguments), SUITE).unwrap();
    let report = serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    (report, outcome)
}

fn rows<'a>(report: &'a Value, of: &str) -> &'a [Value] {
    report[of].as_array().unwrap()
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap()
}

/// The numbers of the rows with this outcome.
fn numbers(report: &Value, outcome: &str) -> Vec<u64> {
    rows(report, "probes")
        .iter()
        .filter(|row| row["outcome"] == outcome)
        .map(|row| row["id"].as_u64().unwrap())
        .collect()
}

/// The folder that was attacked from, as a reason names it.
fn ground(report: &Value) -> &Path {
    let reasons = rows(report, "probes").iter().map(|row| text(row, "reason"));
    let path = reasons
        .flat_map(str::split_whitespace)
        .find(|word| word.contains("/stockade-decoy-"))
        .unwrap();
    let parts = Path::new(path).ancestors();
    let is_ground = |part: &&Path| {
        let name = part.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with("stockade-decoy-")
    };
    parts.into_iter().find(is_ground).unwrap()
}

fn assert_nothing_is_left(report: &Value) {
    let ground = ground(report);
    assert!(!ground.exists(), "{}", ground.display());
    let left = processes::naming(ground);
    assert!(left.is_empty(), "{left:?}");
    let shared = Path::new("/dev/shm").join(ground.file_name().unwrap());
    assert!(!shared.exists(), "{}", shared.display());
}

/// Probes that no test tries: a folder that takes letters as equal, exchanges while
/// sandboxes start, tokens of a proxy and hosts that hand out credentials.
const UNTRIED: [u64; 4] = [27, 42, 97, 157];

#[test]
fn g1_no_probe_escapes_from_the_default_policy_and_every_skip_says_why() {
    let host = Host::new();
    let file = host.path("report.xml");
    let (report, outcome) = attack(&host, &["--junit", file.to_str().unwrap()]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(report["target"], "stockade");
    assert_eq!(numbers(&report, "escaped"), Vec::<u64>::new());
    let held = numbers(&report, "held");
    assert!(held.len() >= 70, "only {held:?} held: {report}");
    // One of each class that anything can be tried of today.
    for number in [
        1, 18, 21, 25, 34, 43, 50, 60, 65, 76, 81, 104, 109, 122, 131, 138, 142, 217, 218, 219,
        220, 221, 222, 223, 225,
    ] {
        assert!(held.contains(&number), "{number}: {report}");
    }
    for row in rows(&report, "probes") {
        if row["outcome"] == "skipped" {
            let reason = text(row, "reason");
            let is_elsewhere = reason.contains("` tries it");
            let has_no_control = reason.contains("control outside");
            let id = row["id"].as_u64().unwrap();
            let is_known = is_elsewhere || has_no_control || UNTRIED.contains(&id);
            assert!(is_known, "{row}");
            skip(
                &format!("probe {} {}", text(row, "class"), row["id"]),
                text(row, "reason"),
            );
        }
    }
    for row in rows(&report, "needs") {
        assert_ne!(row["outcome"], "escaped", "{row}");
    }
    assert_is_junit(&fs::read_to_string(file).unwrap(), &report);
    assert_nothing_is_left(&report);
}

#[test]
fn g1_no_probe_escapes_from_a_sandbox_of_a_commands_own() {
    let host = Host::new();
    for kind in ["--fresh", "--tightened"] {
        let (report, outcome) = attack(&host, &[kind]);
        assert_eq!(outcome.code, 0, "{kind}: {outcome:?}");
        assert_eq!(numbers(&report, "escaped"), Vec::<u64>::new(), "{kind}");
        let held = numbers(&report, "held");
        assert!(held.len() >= 70, "{kind}: only {held:?} held: {report}");
        assert_nothing_is_left(&report);
    }
}

/// Each row has its case, in elements that are closed in order.
fn assert_is_junit(document: &str, report: &Value) {
    let count = rows(report, "probes").len() + rows(report, "needs").len();
    assert_eq!(document.matches("<testcase ").count(), count);
    let skipped = format!("skipped=\"{}\"", document.matches("<skipped ").count());
    let first = document.lines().nth(1).unwrap();
    assert!(first.contains(&format!("tests=\"{count}\"")), "{first}");
    assert!(first.contains(&skipped), "{first}");
    let mut open = Vec::new();
    for tag in document.split('<').skip(2) {
        let (tag, after) = tag.split_once('>').unwrap();
        assert_eq!(after.trim(), "", "text outside of elements: {after}");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.extend(tag.split(' ').next()),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn without_a_wall_every_probe_that_can_be_tried_goes_through() {
    let host = Host::new();
    let (report, outcome) = attack(&host, &["--target", "env --"]);
    assert_eq!(outcome.code, 7, "{outcome:?}");
    assert!(
        outcome.stderr.contains("\"kind\":\"escaped\""),
        "{outcome:?}"
    );
    // The control of each probe is the probe itself: what cannot be tried is
    // skipped, and nothing is taken for held.
    assert_eq!(numbers(&report, "held"), Vec::<u64>::new(), "{report}");
    let escaped = numbers(&report, "escaped");
    assert_eq!(report["totals"]["escaped"], escaped.len());
    for number in [
        1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 14, 15, 18, 19, 21, 22, 23, 25, 26, 34, 35, 36, 37, 39,
        41, 43, 44, 50, 60, 61, 62, 65, 66, 72, 75, 76, 77, 81, 83, 87, 88, 104, 109, 110, 113,
        117, 119, 121, 124, 131, 135, 151, 153, 160, 217, 218, 219, 220, 221, 222, 223, 225,
    ] {
        assert!(escaped.contains(&number), "{number}: {report}");
    }
    assert_nothing_is_left(&report);
}

#[test]
fn where_sandboxes_are_nested_exactly_what_they_need_goes_through() {
    let host = Host::new();
    let classes = ["C", "F", "G", "O", "S"].map(|class| ["--class", class]);
    let mut words = vec!["--nested"];
    words.extend(classes.iter().flatten());
    let (report, outcome) = attack(&host, &words);
    assert_eq!(outcome.code, 7, "{outcome:?}");
    // To mount /proc and tmpfs in namespaces of one's own, to make those, and
    // to make the calls at all.
    assert_eq!(numbers(&report, "escaped"), [49, 112, 113, 215], "{report}");
}

#[test]
fn another_wrapper_is_scored_for_what_it_keeps_and_what_it_lets_through() {
    if !has("bwrap") {
        return skip("scoring bubblewrap", "it is not installed");
    }
    let host = Host::new();
    let policy = "bwrap --ro-bind / / --dev /dev --proc /proc --bind {workspace} {workspace} \
                  --unshare-user --unshare-pid --unshare-net --die-with-parent --";
    let probes = ["34", "39", "65", "131"].map(|number| ["--probe", number]);
    let mut words = vec!["attack", "--target", policy];
    words.extend(probes.iter().flatten());
    let outcome = finish_within(host.command(&words), SUITE).unwrap();
    if outcome.stderr.contains("nothing can be tried") {
        return skip("scoring bubblewrap", outcome.stderr.trim());
    }
    assert_eq!(outcome.code, 7, "{outcome:?}");
    let row = |number: &str| {
        let mut lines = outcome.stdout.lines();
        let found = lines.find(|line| line.split_whitespace().nth(1) == Some(number));
        found.and_then(|line| line.split_whitespace().next())
    };
    assert_eq!(row("34"), Some("ESCAPED"), "{outcome:?}");
    for kept in ["39", "65", "131"] {
        assert_eq!(row(kept), Some("held"), "{kept}: {outcome:?}");
    }
    assert!(
        outcome.stdout.contains("3 held, 1 escaped, 0 skipped"),
        "{outcome:?}"
    );
}

#[test]
fn a_wrapper_that_takes_one_word_for_a_shell_gets_one() {
    let host = Host::new();
    let (report, outcome) = attack(&host, &["--target", "sh -c", "--probe", "41"]);
    assert_eq!(outcome.code, 7, "{outcome:?}");
    assert_eq!(numbers(&report, "escaped"), [41]);
}

#[test]
fn what_cannot_be_attacked_is_told_in_a_sentence() {
    let host = Host::new();
    for (words, code, says) in [
        (["--class", "Z"], 2, "there is no class `Z`"),
        (["--probe", "4"], 2, "there is no probe 4"),
        (
            ["--target", "bwrap 'x"],
            2,
            "has a quote that is not closed",
        ),
        (["--target", ""], 2, "names no program"),
        (
            ["--target", "/nonexistent/wrapper --"],
            1,
            "cannot start /nonexistent/wrapper",
        ),
        (
            ["--target", "true --"],
            1,
            "nothing can be tried in `true --`",
        ),
    ] {
        let outcome = host.stockade(&[&["attack"][..], &words].concat());
        assert_eq!(outcome.code, code, "{words:?}: {outcome:?}");
        assert!(outcome.stderr.contains(says), "{words:?}: {outcome:?}");
    }
}

#[test]
fn probes_are_listed_by_class_and_nothing_is_tried() {
    let host = Host::new();
    let (list, outcome) = attack(&host, &["--list"]);
    assert_eq!(outcome.code, 0);
    assert!(rows(&list, "probes").len() > 107);
    let (list, _) = attack(&host, &["--list", "--class", "g"]);
    assert!(rows(&list, "probes").iter().all(|row| row["class"] == "G"));
    let shown = host.stockade(&["attack", "--list", "--probe", "46"]);
    let lines: Vec<&str> = shown.stdout.lines().collect();
    assert_eq!(lines[0], "G  /proc");
    assert!(lines[1].starts_with("   46  "), "{shown:?}");
}
