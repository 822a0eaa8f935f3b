//! `kill -9` of any one process of a task: nothing is left behind, the work is
//! shown, and the task goes on with it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a step of a test that fails fails the test; figures are told"
)]

mod host;

use std::{fs, time::Duration};

use stockade_types::EventKind;

use self::host::{Host, Task, eventually, processes, processes::Process, wait_for_file, within};

/// What is killed, and what the task then says.
struct Death {
    part: &'static str,
    reason: &'static str,
    /// Whether somebody is left who can write the last record.
    recorded: bool,
}

fn nothing_is_left_and_the_work_goes_on(death: &Death) {
    let host = Host::new();
    let before = processes::mounts();
    let task = host.start(WORKS_ONCE);
    wait_for_file(&host, &task, "sub/more.txt");
    // Four parts of Stockade's own; init, bash and two that wait inside.
    eventually("all of it runs", || {
        processes::tree(&task.folder).len() >= 8
    });
    let tree = processes::tree(&task.folder);
    let parts = ["__supervisor", "__recorder", "__gateway", "__anchor"];
    for part in parts {
        let count = tree.iter().filter(|process| process.is_part(part)).count();
        assert_eq!(count, 1, "{part}: {tree:?}");
    }
    let namespaces: Vec<_> = tree.iter().flat_map(Process::own_namespaces).collect();
    for kind in ["mnt", "net", "pid", "user", "ipc", "uts", "cgroup"] {
        let seen = namespaces.iter().any(|(name, _)| name == kind);
        assert!(seen, "no {kind} namespace of its own: {namespaces:?}");
    }

    let victim = tree
        .iter()
        .find(|process| process.is_part(death.part) || process.words == [death.part]);
    victim.unwrap().kill();
    let took = within(Duration::from_secs(10), "every process is gone", || {
        tree.iter().all(|process| !process.runs())
    });
    eprintln!("{}: all gone after {took:?}", death.part);
    // Numbers of namespaces are used again, by tasks of other tests too.
    eventually("nobody is in its namespaces", || {
        let supervised = processes::supervised();
        processes::all().iter().all(|process| {
            let own = process.own_namespaces();
            supervised.contains(&process.id) || namespaces.iter().all(|name| !own.contains(name))
        })
    });
    let folder = host.path("").to_string_lossy().into_owned();
    let mounts = processes::mounts();
    let new: Vec<_> = mounts
        .difference(&before)
        .filter(|line| {
            line.contains(&folder) || line.contains(" nsfs ") || line.contains(" workspace ")
        })
        .collect();
    assert!(new.is_empty(), "{new:?}");

    let state = host.status(&task)["state"].clone();
    assert_eq!(state["name"], "failed", "{state}");
    let reason = state["reason"].as_str().unwrap();
    assert!(reason.contains(death.reason), "{reason}");
    let listed = host.stockade(&["ls"]);
    assert!(listed.stdout.contains(death.reason), "{listed:?}");
    let ended = task.last_events(1) == [EventKind::TaskEnded];
    assert_eq!(ended, death.recorded, "{:?}", task.last_events(3));

    assert_eq!(changed(&host, &task), ["sub/more.txt", "work.txt"]);
    let resumed = host.stockade(&["resume", "--detach", &task.id]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(host.status(&task)["state"]["name"], "running");
    wait_for_file(&host, &task, "again.txt");
    let kept = (0, "kept\nkept\n".to_owned());
    assert_eq!(host.exec(&task, "cat work.txt sub/more.txt"), kept);
    assert_eq!(host.stockade(&["stop", &task.id]).code, 0);
    task.wait_until_settled();
    assert_eq!(task.last_events(1), [EventKind::TaskEnded]);
    let all = ["again.txt", "sub/more.txt", "work.txt"];
    assert_eq!(changed(&host, &task), all);
}

/// A script that works only where it finds nothing done: what is lost stays
/// lost when it begins anew.
const WORKS_ONCE: &str = "setsid nohup sleep 1000 >/dev/null 2>&1 & \
    if [ -e work.txt ]; then echo more > again.txt; \
    else echo kept > work.txt; mkdir sub; echo kept > sub/more.txt; fi; sleep 1000; :";

/// The paths that a review of the task shows.
fn changed(host: &Host, task: &Task) -> Vec<String> {
    let review = host.json(&["review", &task.id]);
    let files = review["files"].as_array().unwrap().iter();
    let mut paths: Vec<_> = files
        .map(|file| file["path"].as_str().unwrap().to_owned())
        .collect();
    paths.sort();
    paths
}

#[test]
fn work_since_the_last_snapshot_is_shown_although_the_supervisor_was_killed() {
    let host = Host::new();
    let task = host.start(WORKS_ONCE);
    wait_for_file(&host, &task, "sub/more.txt");
    assert_eq!(host.stockade(&["stop", &task.id]).code, 0);
    task.wait_until_settled();
    assert_eq!(changed(&host, &task), ["sub/more.txt", "work.txt"]);
    let resumed = host.stockade(&["resume", "--detach", &task.id]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    wait_for_file(&host, &task, "again.txt");
    let tree = processes::tree(&task.folder);
    let supervisor = tree.iter().find(|one| one.is_supervisor_of(&task.folder));
    supervisor.unwrap().kill();
    eventually("all of it is gone", || {
        tree.iter().all(|process| !process.runs())
    });
    let all = ["again.txt", "sub/more.txt", "work.txt"];
    assert_eq!(changed(&host, &task), all);
    // Once is enough: nothing has changed since.
    let snapshots = || fs::read(task.folder.join("snapshots.json")).unwrap();
    let taken = snapshots();
    assert_eq!(changed(&host, &task), all);
    assert_eq!(snapshots(), taken);
}

/// Kills the first git that works with `word` for the task.
fn kill_git(task: &Task, word: &str) {
    let folder = task.folder.to_string_lossy().into_owned();
    let at_work = |process: &Process| {
        let names = |text: &str| process.words.iter().any(|word| word.contains(text));
        process.words[0].ends_with("git") && names(&folder) && names(word)
    };
    eventually(word, || match processes::all().into_iter().find(at_work) {
        Some(git) => {
            git.kill();
            true
        }
        None => false,
    });
}

#[test]
fn a_killed_git_loses_no_work_and_the_task_can_go_on() {
    let host = Host::new();
    // Git is busy with it for a while.
    let task = host.start(
        "if [ -e big ]; then echo more > again.txt; \
         else head -c 150M /dev/urandom > big.new; mv big.new big; fi; sleep 1000; :",
    );
    wait_for_file(&host, &task, "big");
    std::thread::scope(|scope| {
        let killing = scope.spawn(|| kill_git(&task, "fast-import"));
        host.stockade(&["stop", &task.id]);
        killing.join().unwrap();
    });
    task.wait_until_settled();
    let state = host.status(&task)["state"].clone();
    assert_eq!(state["name"], "failed", "{state}");
    let reason = state["reason"].as_str().unwrap();
    assert!(reason.contains("still in the workspace"), "{reason}");
    assert_eq!(task.last_events(1), [EventKind::TaskEnded]);

    // The one that looks at it meets the same.
    std::thread::scope(|scope| {
        let killing = scope.spawn(|| kill_git(&task, "fast-import"));
        let review = host.stockade(&["review", &task.id]);
        killing.join().unwrap();
        assert_eq!(review.code, 1, "{review:?}");
    });
    assert_eq!(changed(&host, &task), ["big"]);
    let resumed = host.stockade(&["resume", "--detach", &task.id]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    wait_for_file(&host, &task, "again.txt");
    assert_eq!(host.stockade(&["stop", &task.id]).code, 0);
    task.wait_until_settled();
    assert_eq!(changed(&host, &task), ["again.txt", "big"]);
    let folder = host.repository();
    let merged = host.json(&["merge", &task.id, "--yes"]);
    assert_eq!(merged["merged"], true);
    assert_eq!(fs::metadata(folder.join("big")).unwrap().len(), 150 << 20);
}

#[test]
fn a_killed_supervisor_leaves_nothing_behind_and_the_task_can_go_on() {
    nothing_is_left_and_the_work_goes_on(&Death {
        part: "__supervisor",
        reason: "its supervisor ended; the work is kept",
        recorded: false,
    });
}

#[test]
fn a_killed_recorder_leaves_nothing_behind_and_the_task_can_go_on() {
    nothing_is_left_and_the_work_goes_on(&Death {
        part: "__recorder",
        reason: "recorder ended",
        recorded: false,
    });
}

#[test]
fn a_killed_gateway_leaves_nothing_behind_and_the_task_can_go_on() {
    nothing_is_left_and_the_work_goes_on(&Death {
        part: "__gateway",
        reason: "gateway ended",
        recorded: true,
    });
}

#[test]
fn a_killed_anchor_leaves_nothing_behind_and_the_task_can_go_on() {
    nothing_is_left_and_the_work_goes_on(&Death {
        part: "__anchor",
        reason: "process 1 of the sandbox was killed",
        recorded: true,
    });
}

#[test]
fn a_killed_process_1_leaves_nothing_behind_and_the_task_can_go_on() {
    nothing_is_left_and_the_work_goes_on(&Death {
        part: "init",
        reason: "process 1 of the sandbox was killed",
        recorded: true,
    });
}
