//! A long output in few words: which tests failed, the lines that tell of errors, how it
//! began and how it ended.

use std::{collections::BTreeSet, fmt::Write as _};

/// The longest line that is shown, in bytes.
const LINE_MAX: usize = 300;

/// `text` in at most `bytes`, as nearly as that can be said in whole lines: all of it if it
/// fits. `rest` says where the whole of it is.
pub(super) fn summary(text: &str, bytes: usize, rest: &str) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let failed = failed(&lines);
    let mut summary = String::new();
    if !failed.is_empty() {
        let _ = writeln!(summary, "[{} failed]", failed.len());
        let room = bytes / 2;
        let named = take(failed.iter().copied(), room);
        add(&mut summary, named.iter());
        if named.len() < failed.len() {
            let _ = writeln!(summary, "[and {} more]", failed.len() - named.len());
        }
    }
    let left = bytes.saturating_sub(summary.len() + rest.len() + 64);
    let head = take(lines.iter().copied(), left / 5);
    let (_, later) = lines.split_at(head.len());
    let tail = take(later.iter().rev().copied(), left * 2 / 5);
    let (between, _) = later.split_at(later.len() - tail.len());
    let mut known: BTreeSet<&str> = failed.into_iter().collect();
    let telling = between.iter().filter(|line| tells_of_error(line)).copied();
    let telling: Vec<_> = telling.filter(|line| known.insert(line.trim())).collect();
    let telling = take(telling.into_iter(), left * 2 / 5);
    add(&mut summary, head.iter());
    let _ = writeln!(
        summary,
        "[{} of {} lines are left out here; {rest}]",
        between.len(),
        lines.len()
    );
    if !telling.is_empty() {
        summary.push_str("[lines of it that tell of errors]\n");
        add(&mut summary, telling.iter());
    }
    summary.push_str("[its end]\n");
    add(&mut summary, tail.iter().rev());
    summary
}

/// The first of `lines` that have room together.
fn take<'l>(lines: impl Iterator<Item = &'l str>, room: usize) -> Vec<&'l str> {
    let mut left = room;
    lines
        .map_while(|line| {
            left = left.checked_sub(line.len().min(LINE_MAX) + 1)?;
            Some(line)
        })
        .collect()
}

/// Adds lines, each cut where it is too long.
fn add<'l>(summary: &mut String, lines: impl Iterator<Item = &'l &'l str>) {
    for line in lines {
        let end = line.floor_char_boundary(LINE_MAX);
        summary.push_str(&line[..end]);
        summary.push_str(if end < line.len() { "…\n" } else { "\n" });
    }
}

/// What a line that tells of an error holds, in lower case.
const ERROR_WORDS: [&str; 10] = [
    "error",
    "fail",
    "fatal",
    "panicked",
    "exception",
    "traceback",
    "denied",
    "refused",
    "undefined",
    "assert",
];

fn tells_of_error(line: &str) -> bool {
    let line = line.to_lowercase();
    // What counts none tells of none.
    let none = ["0 error", "0 fail", "no error", "0 exception"];
    ERROR_WORDS.iter().any(|word| line.contains(word))
        && !none.iter().any(|word| line.contains(word))
}

/// The tests that failed, as their frameworks name them, each once.
pub(super) fn failed<'t>(lines: &[&'t str]) -> Vec<&'t str> {
    let mut known = BTreeSet::new();
    let mut list = false;
    let mut failed = Vec::new();
    for line in lines {
        let text = line.trim();
        let name = named(line, text, list);
        list = begins_list(text, list);
        if let Some(name) = name.filter(|name| !name.is_empty() && known.insert(*name)) {
            failed.push(name);
        }
    }
    failed
}

/// Whether a list of nothing but names of failed tests goes on after the line: cargo's
/// after `failures:`, CTest's after its own words.
fn begins_list(text: &str, list: bool) -> bool {
    match text {
        "The following tests FAILED:" => true,
        "" => false,
        _ => list && text.contains(" - "),
    }
}

/// The name of the failed test that `line` tells, if it does.
fn named<'t>(line: &'t str, text: &'t str, list: bool) -> Option<&'t str> {
    let between = |before: &str, after: &str| {
        text.strip_prefix(before)?
            .strip_suffix(after)
            .map(str::trim)
    };
    let after = |marks: &[&str]| marks.iter().find_map(|mark| text.strip_prefix(mark));
    // cargo test: `test a::b ... FAILED`; nextest: `FAIL [ 0.1s] crate a::b`.
    if let Some(name) = between("test ", " ... FAILED") {
        return Some(name);
    }
    // pytest: `FAILED tests/x.py::test_a - why`; unittest: `FAIL: test_a (x.Y)`.
    if let Some(name) =
        after(&["FAILED ", "ERROR "]).filter(|name| name.contains("::") || name.contains(".py"))
    {
        return Some(name.split(" - ").next().unwrap_or(name));
    }
    if let Some(name) =
        after(&["FAIL: ", "ERROR: "]).filter(|name| name.ends_with(')') && name.contains(" ("))
    {
        return Some(name);
    }
    // go test: `--- FAIL: TestA/b (0.00s)`, with its spaces before it where it is part of one.
    if let Some(name) = after(&["--- FAIL: "]) {
        return name.split(' ').next();
    }
    // TAP, of node's and others: `not ok 3 - name`.
    if let Some(rest) = after(&["not ok "]) {
        let name = rest.trim_start_matches(|c: char| c.is_ascii_digit() || " -".contains(c));
        return Some(name).filter(|name| !name.contains("# TODO") && !name.contains("# SKIP"));
    }
    // jest `● suite › test`, `✕ test`; vitest `× test`; node's `✖ test`.
    if let Some(name) = after(&["● ", "✕ ", "× ", "✖ ", "✗ "]) {
        let heading = name.starts_with("failing tests") || name == "Console";
        return Some(name).filter(|_| !heading);
    }
    // jest and vitest: `FAIL  src/x.test.js > suite > test`.
    if let Some(name) = after(&["FAIL "]) {
        return Some(name.trim());
    }
    // RSpec: `rspec ./spec/x_spec.rb:12 # name`; GoogleTest: `[  FAILED  ] A.b (3 ms)`.
    if let Some(name) = after(&["rspec ./", "[  FAILED  ] "]) {
        return Some(name).filter(|name| !name.ends_with(':'));
    }
    // Gradle: `ATest > name() FAILED`; Swift and others end so too.
    if let Some(name) = text
        .strip_suffix(" FAILED")
        .filter(|name| name.contains(" > "))
    {
        return Some(name);
    }
    // mocha and PHPUnit: `  1) name`, with the suite before it.
    let numbered = text.split_once(") ").filter(|(number, name)| {
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        digits && !name.is_empty()
    });
    if let Some((_, name)) = numbered.filter(|_| line.starts_with("  ") || text.contains("::")) {
        return Some(name);
    }
    // CTest: `  3 - name (Failed)`.
    let of_list = text.split_once(" - ").map(|(_, name)| name);
    of_list.filter(|_| list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stays_as_it_is() {
        assert_eq!(summary("a\nb\n", 100, "x"), "a\nb\n");
    }

    #[test]
    fn failed_tests_are_found_in_each_frameworks_words() {
        for (log, names) in [
            ("test a::b ... FAILED\ntest c ... ok\n", &["a::b"][..]),
            (
                "FAILED tests/x.py::test_a[1] - assert 1\nERROR tests/y.py\n",
                &["tests/x.py::test_a[1]", "tests/y.py"],
            ),
            (
                "FAIL: test_a (x.Y.test_a)\nERROR: test_b (x.Y.test_b)\n",
                &["test_a (x.Y.test_a)", "test_b (x.Y.test_b)"],
            ),
            (
                "--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/b (0.00s)\n",
                &["TestA", "TestA/b"],
            ),
            (
                "ok 1 - fine\nnot ok 2 - broken\nnot ok 3 - later # TODO\n",
                &["broken"],
            ),
            (
                "  ● suite › test\n    ✕ other (5 ms)\n",
                &["suite › test", "other (5 ms)"],
            ),
            (
                " FAIL  src/x.test.ts > suite > test\n",
                &["src/x.test.ts > suite > test"],
            ),
            ("  1 failing\n\n  1) suite\n       does it:\n", &["suite"]),
            ("[  FAILED  ] A.b (3 ms)\n", &["A.b (3 ms)"]),
            (
                "rspec ./spec/x_spec.rb:12 # X does\n",
                &["spec/x_spec.rb:12 # X does"],
            ),
            ("ATest > name() FAILED\n", &["ATest > name()"]),
            (
                "The following tests FAILED:\n\t  3 - unit (Failed)\n\t  7 - more (Timeout)\nErrors while\n",
                &["unit (Failed)", "more (Timeout)"],
            ),
        ] {
            let lines: Vec<_> = log.lines().collect();
            assert_eq!(failed(&lines), names, "{log}");
        }
        let passed: Vec<_> = "test a ... ok\n1 passed\nFAILED\nerror: could not\n"
            .lines()
            .collect();
        assert!(failed(&passed).is_empty());
    }

    #[test]
    fn a_long_output_keeps_names_errors_beginning_and_end_within_its_bytes() {
        let mut log = "Compiling x\n".repeat(2000);
        for number in 0..40 {
            let _ = writeln!(log, "test module::case_{number} ... FAILED");
            log.push_str(&"noise of a test, which nobody reads\n".repeat(100));
        }
        log.push_str("src/x.rs:12: error: mismatched types\n");
        log.push_str(&"more noise\n".repeat(500));
        log.push_str("test result: FAILED. 3 passed; 40 failed\n");
        let summary = summary(&log, 6000, "ask for the rest");
        assert!(summary.len() <= 6000, "{}", summary.len());
        for number in 0..40 {
            assert!(summary.contains(&format!("module::case_{number}\n")));
        }
        for part in [
            "[40 failed]",
            "Compiling x",
            "mismatched types",
            "ask for the rest",
            "3 passed; 40 failed",
        ] {
            assert!(summary.contains(part), "{part}: {summary}");
        }
    }

    #[test]
    fn one_endless_line_is_cut() {
        let summary = summary(&"ä".repeat(100_000), 1000, "x");
        assert!(summary.len() <= 1000);
    }
}
