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
    let named = take(failed.iter().map(String::as_str), bytes / 2);
    if !failed.is_empty() {
        let _ = writeln!(summary, "[{} failed]", failed.len());
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
    let mut known = BTreeSet::new();
    let telling = between
        .iter()
        .copied()
        .filter(|line| tells_of_error(line) && !named.iter().any(|name| line.contains(name)));
    let telling = telling.filter(|line| known.insert(line.trim()));
    let telling = take(telling, left * 2 / 5);
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

/// The tests that failed, as their frameworks name them, and where a compiler found errors,
/// each once.
fn failed(lines: &[&str]) -> Vec<String> {
    let mut known = BTreeSet::new();
    let mut part = Part::default();
    let mut failed = Vec::new();
    for line in lines {
        let text = line.trim();
        let name = part.error_of_rust(text).or_else(|| {
            let name = error_of_compiler(text).or_else(|| named(line, text, part));
            name.map(str::to_owned)
        });
        part.goes_on(text);
        if let Some(name) = name.filter(|name| !name.is_empty() && known.insert(name.clone())) {
            failed.push(name);
        }
    }
    failed
}

/// Where in a log one is.
#[derive(Clone, Copy, Debug, Default)]
struct Part<'t> {
    /// Below CTest's `The following tests FAILED:`.
    of_ctest: bool,
    /// Below the `Failures:` of jasmine and others, which number them.
    numbered: bool,
    /// Below an error of rustc, of which this is the message; its place comes next.
    error: Option<&'t str>,
}

impl<'t> Part<'t> {
    fn goes_on(&mut self, text: &'t str) {
        self.of_ctest =
            text == "The following tests FAILED:" || self.of_ctest && text.contains(" - ");
        self.numbered |= text == "Failures:";
        let is_error = text.starts_with("error: ") || text.starts_with("error[");
        self.error = is_error.then_some(text);
    }

    /// The place of an error of rustc, and what it is.
    fn error_of_rust(&self, text: &str) -> Option<String> {
        let place = text.strip_prefix("--> ")?;
        Some(format!("{place}: {}", self.error?))
    }
}

/// An error of gcc, clang, javac, mypy (`file:1:2: error: why`) or tsc.
fn error_of_compiler(text: &str) -> Option<&str> {
    let marks = [": error: ", ": fatal error: ", "): error TS"];
    let at = marks.iter().find_map(|mark| text.find(mark))?;
    let place = text.get(..at)?;
    let has_line = place
        .rsplit([':', '('])
        .next()?
        .starts_with(|c: char| c.is_ascii_digit());
    (has_line && !place.contains(' ')).then_some(text)
}

/// The name of the failed test that `line` tells, if it does.
fn named<'t>(line: &'t str, text: &'t str, part: Part<'_>) -> Option<&'t str> {
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
    // ava: `✘ [fail]: suite › test`.
    if let Some(name) = after(&["✘ [fail]: "]) {
        return Some(name);
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
    // mocha, jasmine and PHPUnit: `  1) name`.
    let numbered = text.split_once(") ").filter(|(number, name)| {
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        digits && !name.is_empty()
    });
    let is_listed = line.starts_with("  ") || text.contains("::") || part.numbered;
    if let Some((_, name)) = numbered.filter(|_| is_listed) {
        return Some(name);
    }
    // CTest: `  3 - name (Failed)`.
    let of_list = text.split_once(" - ").map(|(_, name)| name);
    of_list.filter(|_| part.of_ctest)
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
            ("  ✘ [fail]: a › b\n", &["a › b"]),
            ("Failures:\n1) suite does\n  Message:\n", &["suite does"]),
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
        let errors = "src/a.c:3:5: error: no\nerror[E1]: why\n  --> src/x.rs:2:1\nwarning: w\n  --> src/y.rs:1:1\n\
                      a(1,2): error TS1: x\nother: error: y\n";
        let lines: Vec<_> = errors.lines().collect();
        let places = [
            "src/a.c:3:5: error: no",
            "src/x.rs:2:1: error[E1]: why",
            "a(1,2): error TS1: x",
        ];
        assert_eq!(failed(&lines), places);
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
            "[41 failed]",
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

    /// A log of a real run, and what names its failures.
    fn real_logs() -> Vec<(String, String, Vec<String>)> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs");
        let mut logs = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "gz") {
                let packed = std::fs::File::open(&path).unwrap();
                let mut text = String::new();
                let mut log = flate2::read::GzDecoder::new(packed);
                std::io::Read::read_to_string(&mut log, &mut text).unwrap();
                let known = path.with_extension("").with_extension("json");
                let known: serde_json::Value =
                    serde_json::from_slice(&std::fs::read(known).unwrap()).unwrap();
                let failed = serde_json::from_value(known["failed"].clone()).unwrap();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                logs.push((name, text, failed));
            }
        }
        logs.sort();
        logs
    }

    #[test]
    fn twenty_real_logs_are_told_in_few_words_with_every_failure_named() {
        let logs = real_logs();
        assert_eq!(logs.len(), 20);
        let mut missing = Vec::new();
        for (name, text, failed) in logs {
            let summary = summary(&text, 6000, "`tool_output` with `of` 7 tells more");
            if let Some(folder) = std::env::var_os("STOCKADE_TEST_SUMMARIES") {
                std::fs::write(std::path::Path::new(&folder).join(&name), &summary).unwrap();
            }
            assert!(summary.len() <= 6000, "{name}: {}", summary.len());
            let lost = failed
                .iter()
                .filter(|failed| !summary.contains(failed.as_str()));
            missing.extend(lost.map(|lost| format!("{name}: {lost}")));
        }
        assert!(missing.is_empty(), "{missing:#?}");
    }
}
