//! What commands and sandboxes take they give back: processes, threads,
//! descriptors, mounts, namespaces, control groups, files.
//!
//! How many there are can be set by `STOCKADE_LEAK_COMMANDS` and
//! `STOCKADE_LEAK_SANDBOXES`, for runs that take longer than a test should.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::Path,
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};

use self::host::{Host, Task, finish_within, processes, skip};

/// A number of the environment, or the one that a test can afford.
fn scaled(name: &str, by_default: usize) -> usize {
    let set = std::env::var(name).ok();
    set.map_or(by_default, |set| set.parse().unwrap())
}

fn entries(folder: impl AsRef<Path>) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Files and folders below `folder`, as far as they can be entered.
fn files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            1 + if is_folder { files(&entry.path()) } else { 0 }
        })
        .sum()
}

/// What Stockade has on the machine for one host: each with its name.
fn held(host: &Host) -> Vec<(&'static str, usize)> {
    let top = processes::naming(&host.state());
    let supervisors = top.iter().filter(|process| process.is_part("__supervisor"));
    let all: BTreeSet<_> = supervisors
        .flat_map(|process| processes::tree(Path::new(&process.words[2])))
        .collect();
    let of_each = |name: &str| all.iter().map(|process| entries(process.file(name))).sum();
    let namespaces: BTreeSet<_> = all
        .iter()
        .flat_map(processes::Process::own_namespaces)
        .collect();
    // Other tests mount and make groups too.
    let own = host.path("").to_string_lossy().into_owned();
    let mounts = processes::mounts();
    let mounts = mounts.iter().filter(|mount| mount.contains(&own)).count();
    let tasks: Vec<String> = fs::read_dir(host.state().join("tasks"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let groups = processes::groups();
    let groups = groups
        .iter()
        .filter(|group| tasks.iter().any(|task| group.contains(task)));
    vec![
        ("processes", all.len()),
        ("threads", of_each("task")),
        ("descriptors", of_each("fd")),
        ("namespaces", namespaces.len()),
        ("mounts", mounts),
        ("control groups", groups.count()),
    ]
}

/// Descriptors that a few more networks take, which fresh commands keep for the
/// next ones: five each, where some more were needed at once than before.
const NETWORKS: usize = 8 * 5;

/// Waits until there is no more than before; less is what was still ending.
fn given_back(host: &Host, before: &[(&'static str, usize)]) {
    let mut now = Vec::new();
    host::eventually("there is no more than before", || {
        now = held(host);
        now.iter().zip(before).all(|((name, now), (_, before))| {
            let more = if *name == "descriptors" { NETWORKS } else { 0 };
            *now <= before + more
        })
    });
    let _ = writeln!(std::io::stderr(), "before {before:?}\nafter  {now:?}");
}

#[test]
fn a_thousand_commands_leave_the_task_as_it_was() {
    let count = scaled("STOCKADE_LEAK_COMMANDS", 1_000);
    let host = Host::new();
    let task = host.start("sleep 1000");
    let plain = json!({ "ask": "exec", "argv": ["true"], "report": "collected", "leashed": true });
    let timed =
        json!({ "ask": "exec", "argv": ["true"], "report": "discarded", "timeout_ms": 60_000 });
    let fresh =
        json!({ "ask": "exec", "argv": ["true"], "report": "collected", "isolation": "fresh" });
    let kinds = [plain.clone(), plain, timed, fresh];
    let mut connection = Direct::to(&task);
    for request in kinds.iter().cycle().take(count / 4) {
        connection.run(request);
    }
    // Eight sandboxes stand ready from the first fresh command on.
    host::eventually("those that stand ready are counted", || {
        let first = held(&host);
        (0..5).all(|_| held(&host) == first)
    });
    let before = held(&host);
    // The record grows with what is recorded.
    let files = || files(&task.folder) - files(&task.folder.join("record"));
    let files_before = files();
    for request in kinds.iter().cycle().take(count) {
        connection.run(request);
    }
    given_back(&host, &before);
    assert_eq!(files(), files_before);
}

#[test]
fn sandboxes_that_have_ended_hold_nothing_but_their_folders() {
    let count = scaled("STOCKADE_LEAK_SANDBOXES", 30);
    let host = Host::new();
    let shared = || entries("/dev/shm") + entries("/run");
    let (before, shared_before) = (held(&host), shared());
    for _ in 0..count {
        let run = host.stockade(&["run", "--", "true"]);
        assert_eq!(run.code, 0, "{run:?}");
    }
    given_back(&host, &before);
    assert_eq!(entries(host.state().join("tasks")), count);
    assert!(
        shared() <= shared_before + 8,
        "nothing is kept anywhere else"
    );
}

/// The kernel itself counts: where few namespaces of each kind may be there
/// at once, many more follow each other.
#[test]
fn namespaces_are_given_back_to_the_kernel() {
    const AT_ONCE: usize = 60;
    let host = Host::new();
    let script = "for kind in mnt pid net ipc uts cgroup user; do
            echo $1 > /proc/sys/user/max_${kind}_namespaces || exit 99
        done
        stockade=$2
        $stockade run --name kept --detach -- sleep 1000 || exit
        for i in $(seq 40); do $stockade exec kept --fresh -- true || exit; done
        for i in $(seq 40); do $stockade run -- true || exit; done
        $stockade stop kept";
    let mut shell = host.other_command("unshare");
    shell.args([
        "--user",
        "--map-user=1000",
        "--map-group=1000",
        "--keep-caps",
    ]);
    shell.args([
        "sh",
        "-c",
        script,
        "sh",
        &AT_ONCE.to_string(),
        env!("CARGO_BIN_EXE_stockade"),
    ]);
    shell.stdin(Stdio::null());
    let outcome = finish_within(shell, Duration::from_mins(3)).unwrap();
    if outcome.code == 99 || outcome.stderr.contains("unshare:") {
        return skip("the kernel's own count of namespaces", &outcome.stderr);
    }
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

/// The control socket of a task, without the command line.
struct Direct(BufReader<UnixStream>);

impl Direct {
    fn to(task: &Task) -> Self {
        let folder = fs::File::open(task.folder.join("control")).unwrap();
        let path = format!("/proc/self/fd/{}/socket", folder.as_raw_fd());
        Self(BufReader::new(UnixStream::connect(path).unwrap()))
    }

    fn run(&mut self, request: &Value) {
        self.0
            .get_mut()
            .write_all(format!("{request}\n").as_bytes())
            .unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["exit"], 0, "{answer}");
    }
}
