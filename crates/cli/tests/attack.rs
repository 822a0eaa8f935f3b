//! `stockade attack`: its own sandbox holds, a target without walls does not,
//! and the report can be read by programs.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{fs, path::Path, process::Stdio, time::Duration};

use serde_json::Value;

use self::host::{Host, Outcome, finish, finish_within, has, is_root, processes, skip};

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
        1, 18, 21, 25, 34, 43, 50, 60, 65, 76, 81, 104, 109, 122, 131, 138, 142, 152, 217, 218,
        219, 220, 221, 222, 223, 225,
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
        117, 119, 121, 124, 131, 135, 151, 152, 153, 160, 217, 218, 219, 220, 221, 222, 223, 225,
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

/// A policy for bubblewrap without holes that it could close, in parts: its name,
/// and what it says.
const TIGHT: [(&str, &str); 11] = [
    ("namespaces", "--unshare-all"),
    ("user namespaces", "--unshare-user --disable-userns"),
    ("session", "--new-session"),
    (
        "rights",
        "--cap-drop ALL --uid 1000 --gid 1000 --die-with-parent",
    ),
    ("environment", "--clearenv --setenv PATH /usr/bin:/bin"),
    (
        "files",
        "--ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 \
         /lib64 --dir /etc",
    ),
    ("devices", "--dev /dev --proc /proc"),
    ("scratch", "--size 1048576 --tmpfs /tmp"),
    ("work", "--bind {workspace} {workspace}"),
    ("git", "--ro-bind {workspace}/.git {workspace}/.git"),
    ("folder", "--chdir {workspace} --"),
];

/// What such a policy keeps, whoever runs it, by class.
const KEPT: [u64; 47] = [
    1, 2, 3, 5, 6, 7, 9, 10, 11, 12, // A
    21, 22, 23, 203, // C
    25, 26, 204, // D
    34, 35, 37, 39, 207, 208, // F
    44, 210, // G
    60, 61, 62, // I
    65, 66, 75, // J
    76, 77, // K
    81, 83, 87, 88,  // L
    104, // N
    117, // O
    131, 135, // Q
    217, 218, 219, 220, 221, 222, // S
];

/// How many of them, the first, are about git.
const OF_GIT: usize = 14;

/// A part of [`TIGHT`] in other words, and exactly what then goes through of
/// [`KEPT`].
const HOLES: [(&str, &str, &[u64]); 9] = [
    (
        "git",
        "",
        &[1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 21, 22, 23, 203],
    ),
    (
        "files",
        "--ro-bind / /",
        &[34, 35, 37, 208, 44, 60, 61, 104, 220],
    ),
    (
        "scratch",
        "--size 1048576 --tmpfs /tmp --bind /var/tmp /var/tmp",
        &[
            25, 204, 34, 35, 37, 39, 207, 208, 44, 60, 61, 104, 217, 218, 220, 221, 222,
        ],
    ),
    (
        "namespaces",
        "--unshare-all --share-net",
        &[210, 62, 65, 66, 75, 76, 77, 81, 83, 87, 88],
    ),
    (
        "namespaces",
        "--unshare-ipc --unshare-net --unshare-uts --unshare-cgroup",
        &[210, 117, 131, 219],
    ),
    ("environment", "", &[104]),
    (
        "devices",
        "--dev /dev --proc /proc --bind /dev/shm /dev/shm",
        &[135],
    ),
    (
        "work",
        "--bind {workspace} {workspace} --ro-bind {workspace}/../home {workspace}/../home",
        &[34, 35, 104],
    ),
    (
        "work",
        "--bind {workspace} {workspace} --bind {workspace}/../outside {workspace}/../outside",
        &[25, 204, 39, 207, 208, 44, 60, 61, 104, 220],
    ),
];

/// [`TIGHT`] with `part` said otherwise.
fn policy(part: &str, otherwise: &str) -> String {
    let said = |(name, says): &(&'static str, &'static str)| {
        if *name == part { otherwise } else { says }.to_owned()
    };
    let parts: Vec<String> = TIGHT.iter().map(said).collect();
    format!("bwrap {}", parts.join(" "))
}

/// What bubblewrap lets through of `probes`; says so if it does not run.
fn scored(policy: &str, probes: &[u64]) -> Option<Value> {
    if !has("bwrap") {
        skip("scoring bubblewrap", "it is not installed");
        return None;
    }
    let host = Host::new();
    let numbers: Vec<String> = probes.iter().map(u64::to_string).collect();
    let mut words = vec!["--json", "attack", "--target", policy];
    words.extend(numbers.iter().flat_map(|number| ["--probe", number]));
    let outcome = finish_within(host.command(&words), SUITE).unwrap();
    if outcome.stderr.contains("nothing can be tried") {
        skip("scoring bubblewrap", outcome.stderr.trim());
        return None;
    }
    Some(serde_json::from_str(&outcome.stdout).unwrap())
}

#[test]
fn a_policy_without_holes_keeps_what_each_hole_lets_through() {
    let Some(report) = scored(&policy("", ""), &KEPT) else {
        return;
    };
    assert_eq!(numbers(&report, "escaped"), Vec::<u64>::new(), "{report}");
    let mut kept = KEPT.to_vec();
    let mut held = numbers(&report, "held");
    kept.sort_unstable();
    held.sort_unstable();
    assert_eq!(held, kept, "{report}");
}

#[test]
fn each_hole_in_a_policy_lets_exactly_those_probes_through_that_reach_for_it() {
    for (part, otherwise, expected) in HOLES {
        // What git runs takes longest, and is for the first hole alone.
        let watched = if part == "git" {
            &KEPT[..]
        } else {
            &KEPT[OF_GIT..]
        };
        let Some(report) = scored(&policy(part, otherwise), watched) else {
            return;
        };
        let mut expected = expected.to_vec();
        let mut escaped = numbers(&report, "escaped");
        expected.sort_unstable();
        escaped.sort_unstable();
        assert_eq!(escaped, expected, "{part}: `{otherwise}`: {report}");
    }
}

/// `stockade attack` with `words` on a machine whose names the attacked field
/// answers: in namespaces of its own.
fn where_names_are_asked(host: &Host, words: &[&str]) -> Outcome {
    let resolvers = host.path("resolv.conf");
    fs::write(&resolvers, "nameserver 127.0.0.1\n").unwrap();
    let prepare = "ip link set lo up && mount --bind \"$1\" /etc/resolv.conf || exit 99
                   shift; exec \"$@\"";
    let mut shell = host.other_command("unshare");
    if !is_root() {
        shell.args([
            "--user",
            "--map-user=1000",
            "--map-group=1000",
            "--keep-caps",
        ]);
    }
    shell.args(["--mount", "--net", "sh", "-c", prepare, "sh"]);
    shell.arg(resolvers).arg(env!("CARGO_BIN_EXE_stockade"));
    shell
        .args(["--json", "attack", "--probe", "226"])
        .args(words);
    shell.stdin(Stdio::null());
    finish(shell)
}

#[test]
fn g2_no_name_is_asked_of_the_machines_resolver() {
    let host = Host::new();
    let open = where_names_are_asked(&host, &["--target", "env --"]);
    if open.code == 99 || open.stderr.contains("unshare:") {
        return skip("a machine whose names we answer", &open.stderr);
    }
    let report: Value = serde_json::from_str(&open.stdout).unwrap();
    assert_eq!(numbers(&report, "escaped"), [226], "{open:?}");
    let own = where_names_are_asked(&host, &[]);
    let report: Value = serde_json::from_str(&own.stdout).unwrap();
    assert_eq!(numbers(&report, "held"), [226], "{own:?}");
    assert_eq!(own.code, 0, "{own:?}");
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
