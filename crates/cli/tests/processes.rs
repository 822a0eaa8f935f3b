//! A task's processes: who outlives whom, who sees what, and what is left.

mod host;

use std::{
    fs,
    io::Write,
    os::unix::fs::MetadataExt,
    process::Stdio,
    time::{Duration, Instant},
};

use stockade_audit::RecordKind;
use stockade_types::EventKind;

use self::host::{
    COUNTING, Host, LONGEST, Task, count, eventually, is_root, processes, processes::Process, skip,
    wait_for_file,
};

/// Stops a task, of which everything `has_ended` within a second; the answer comes when
/// the work is saved too.
fn stop_ends_within_a_second(host: &Host, task: &Task, has_ended: impl FnMut() -> bool) {
    let stopped = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| host.stockade(&["stop", &task.id]));
        host::within(Duration::from_secs(1), "all has ended", has_ended);
        let ended = stopping.join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    assert_eq!(stopped.code, 0, "{stopped:?}");
}

#[test]
fn stop_ends_daemons_and_their_children_within_a_second() {
    let host = Host::new();
    let marker = format!("daemon-{}", std::process::id());
    let script = format!(
        "setsid nohup bash -c 'exec -a {marker}-1 sleep 1000' >/dev/null 2>&1 & \
         (setsid bash -c '(trap \"\" TERM HUP INT; exec -a {marker}-2 sleep 1000) & exit' &) ; \
         (trap '' TERM; bash -c 'exec -a {marker}-3 sleep 1000') & \
         exec -a {marker}-4 sleep 1000"
    );
    let task = host.start(&script);
    let daemons = || {
        let all = processes::all();
        let named = |process: &Process| process.words[0].starts_with(&marker);
        all.into_iter().filter(named).count()
    };
    eventually("four of them run", || daemons() == 4);
    stop_ends_within_a_second(&host, &task, || daemons() == 0);
    assert_eq!(daemons(), 0, "some live after `stop` has answered");
    let state = host.wait_for_state(&task, "stopped");
    assert_eq!(state["reason"], "by a person");
    task.wait_until_settled();
    assert_eq!(
        task.last_events(3),
        [
            EventKind::Snapshot,
            EventKind::Imported,
            EventKind::TaskEnded
        ]
    );
    let again = host.stockade(&["stop", &task.id]);
    assert_eq!(again.code, 4, "{again:?}");
}

#[test]
fn twenty_tasks_on_one_repository_see_only_their_own_files_and_stop_together() {
    const TASKS: u64 = 20;
    let host = Host::new();
    let tasks: Vec<Task> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..TASKS)
            .map(|number| {
                let host = &host;
                scope.spawn(move || {
                    let script = format!("echo {number} > own-{number}; echo {number} > /tmp/own-{number}; touch ready; sleep 1000");
                    host.start_with(&["--name", &format!("many-{number}")], &script)
                })
            })
            .collect();
        starting
            .into_iter()
            .map(|one| one.join().unwrap())
            .collect()
    });
    let listed = host.json(&["ls"]);
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), tasks.len());
    for (number, task) in tasks.iter().enumerate() {
        let status = listed
            .iter()
            .find(|status| status["id"] == *task.id)
            .unwrap();
        assert_eq!(status["state"]["name"], "running");
        assert_eq!(status["slug"], format!("many-{number}"));
        wait_for_file(&host, task, "ready");
        let (_, seen) = host.exec(task, "ls; ls /tmp; ls /workspace");
        assert_eq!(
            seen,
            format!("README.md\nown-{number}\nready\nown-{number}\nproject\n")
        );
    }
    let trees: Vec<_> = tasks
        .iter()
        .flat_map(|task| processes::tree(&task.folder))
        .filter(|process| process.words[0] == "sleep" || process.words[0] == "init")
        .collect();
    assert!(trees.len() >= 2 * tasks.len(), "{}", trees.len());
    let start = Instant::now();
    let stopped = host.stockade(&["stop", "--all"]);
    let took = start.elapsed();
    assert_eq!(stopped.code, 0, "{stopped:?}");
    eprintln!("stop --all of {TASKS}: {took:?}");
    assert!(took < Duration::from_secs(TASKS), "{took:?}");
    assert!(trees.iter().all(|process| !process.runs()));
    for task in &tasks {
        task.wait_until_settled();
        assert_eq!(host.status(task)["state"]["name"], "stopped");
        assert_eq!(task.last_events(1), [EventKind::TaskEnded]);
    }
    assert_eq!(host.git(&["status", "--porcelain"]), "");
}

#[test]
fn twenty_tasks_commit_at_once_without_meeting_a_lock_or_each_other() {
    const TASKS: usize = 20;
    const COMMITS: usize = 5;
    let host = Host::new();
    let tasks: Vec<Task> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..TASKS)
            .map(|number| {
                let host = &host;
                scope.spawn(move || {
                    let script = format!(
                        "set -e; for n in $(seq {COMMITS}); do echo $n >> own-{number}; \
                         git add -A; git commit -qm {number}-$n; done; git log --format=%s"
                    );
                    host.start_with(&["--name", &format!("many-{number}")], &script)
                })
            })
            .collect();
        let started = starting.into_iter().map(|one| one.join().unwrap());
        started.collect()
    });
    for (number, task) in tasks.iter().enumerate() {
        let ended = host.wait_for_state(task, "done");
        assert_eq!(ended["exit"], 0, "{ended}");
        task.wait_until_settled();
        let commits = (1..=COMMITS).rev().map(|n| format!("{number}-{n}"));
        let own: Vec<String> = commits.chain(["one".to_owned()]).collect();
        let printed = host.stockade(&["logs", &task.id]).stdout;
        assert_eq!(printed.lines().collect::<Vec<_>>(), own);
        let record = task.record();
        let imported = RecordKind::Event(EventKind::Imported);
        let imported = record
            .iter()
            .find(|record| record.kind == imported)
            .unwrap();
        assert_eq!(
            imported.body["commits"][0]["reference"], "HEAD",
            "{imported:?}"
        );
        let review = host.json(&["review", &task.id]);
        let files = review["files"].as_array().unwrap();
        assert_eq!(files.len(), 1, "{review}");
        assert_eq!(files[0]["path"], format!("own-{number}"));
        assert_eq!(files[0]["added"], COMMITS);
    }
    assert_eq!(host.json(&["ls"]).as_array().unwrap().len(), TASKS);
    assert_eq!(host.git(&["status", "--porcelain"]), "");
    assert_eq!(
        host.git(&[
            "log",
            "--all",
            "--format=%s",
            "--not",
            "--glob=refs/stockade"
        ]),
        ""
    );
}

#[test]
fn a_paused_task_makes_no_progress_until_it_is_resumed() {
    let host = Host::new();
    // A daemon in a session of its own must stand still too.
    let task = host.start(&format!("setsid bash -c '{COUNTING}' & wait"));
    wait_for_file(&host, &task, "n");
    let paused = host.stockade(&["pause", &task.id]);
    assert_eq!(paused.code, 0, "{paused:?}");
    assert_eq!(host.status(&task)["state"]["name"], "paused");
    let counted = || {
        let layers = ["upper", "ws"].map(|layer| task.folder.join(layer).join("n"));
        layers.iter().find_map(|path| fs::read(path).ok()).unwrap()
    };
    let before = counted();
    // Fifteen times as long as one step of the count takes.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(counted(), before);
    for words in [
        &["--json", "exec"][..],
        &["exec"],
        &["exec", "--timeout", "5s"],
    ] {
        let words = [words, &[task.id.as_str(), "--", "touch", "ran"]].concat();
        let refused = host.stockade(&words);
        assert_eq!(refused.code, host::failure::REFUSED, "{refused:?}");
        assert!(refused.stderr.contains("paused"), "{refused:?}");
    }
    let before = String::from_utf8(before).unwrap().trim().parse().unwrap();
    let resumed = host.stockade(&["resume", &task.id]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    eventually("it goes on", || count(&host, &task) > before);
    assert_ne!(host.exec(&task, "test -e ran").0, 0);
    assert_eq!(host.status(&task)["state"]["name"], "running");
    let paused = host.stockade(&["pause", &task.id]);
    assert_eq!(paused.code, 0, "{paused:?}");
    stop_ends_within_a_second(&host, &task, || {
        let mut tree = processes::tree(&task.folder).into_iter();
        tree.all(|process| process.words != ["init"])
    });
    task.wait_until_settled();
    let events = task.last_events(100);
    let pauses = events.iter().filter(|kind| **kind == EventKind::Paused);
    assert_eq!(pauses.count(), 3);
}

#[test]
fn a_task_ends_when_its_time_is_up_and_says_so() {
    let host = Host::new();
    let start = Instant::now();
    let outcome = host.stockade(&[
        "run",
        "--wall",
        "1s",
        "--",
        "bash",
        "-c",
        "echo begun; trap '' TERM; sleep 1000",
    ]);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!((outcome.code, outcome.stdout.as_str()), (4, "begun\n"));
    assert!(
        outcome.stderr.contains("its time of 1 s is up"),
        "{outcome:?}"
    );
    let status = host.json(&["ls"])[0].clone();
    let task = host.task(status["id"].as_str().unwrap());
    assert_eq!(status["state"]["name"], "stopped");
    assert_eq!(status["state"]["reason"], "its time of 1 s is up");
    let last = task.record().pop().unwrap();
    assert_eq!(last.body["state"]["reason"], "its time of 1 s is up");
}

#[test]
fn a_command_in_the_foreground_ends_with_its_own_code_and_gets_no_input() {
    let host = Host::new();
    let mut command = host.command(&["run", "--", "bash", "-c", "cat; exit 42"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(b"typed by nobody\n");
    drop(stdin);
    let outcome = host::wait_within(child, LONGEST).unwrap();
    assert_eq!((outcome.code, &*outcome.stdout), (42, ""), "{outcome:?}");
    let outcome = host.stockade(&["run", "--", "/no/such/program"]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome
            .stderr
            .contains("`/no/such/program` could not be started inside"),
        "{outcome:?}"
    );
}

#[test]
fn a_command_that_cannot_be_started_does_not_end_the_task() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    for _ in 0..20 {
        let outcome = host.stockade(&["exec", &task.id, "--", "/no/such/program"]);
        assert_eq!(outcome.code, 127, "{outcome:?}");
    }
    assert_eq!(host.exec(&task, "echo still here").1, "still here\n");
    assert_eq!(host.status(&task)["state"]["name"], "running");
}

#[test]
fn exec_passes_input_and_the_exit_code_through() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let mut command = host.command(&["exec", &task.id, "--", "bash", "-c", "tr a-z A-Z; exit 7"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"words\n").unwrap();
    drop(stdin);
    let outcome = host::wait_within(child, LONGEST).unwrap();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (7, "WORDS\n"));
    let (exit, text) = host.exec(&task, "kill -KILL $$");
    assert_eq!((exit, text.as_str()), (137, ""));
}

#[test]
fn looking_at_tasks_never_disturbs_those_that_start() {
    let host = Host::new();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let lookers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        for task in host.json(&["ls"]).as_array().unwrap() {
                            let name = &task["state"]["name"];
                            assert!(name != "failed", "{task}");
                        }
                    }
                })
            })
            .collect();
        for number in 0..10 {
            let started = host.start(&format!("echo {number}; sleep 1000"));
            assert_eq!(host.status(&started)["state"]["name"], "running");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        for looker in lookers {
            looker.join().unwrap();
        }
    });
}

#[test]
fn as_root_each_task_has_a_user_id_that_it_alone_has_claimed() {
    if !is_root() {
        skip("a user id for each task", "only root can give one");
        return;
    }
    let host = Host::new();
    let tasks = [host.start("true"), host.start("true")];
    let claims: Vec<_> = fs::read_dir(host.state().join("identities"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    assert_eq!(claims.len(), tasks.len(), "{claims:?}");
    for claim in claims {
        let task = fs::read_link(claim.path()).unwrap();
        assert!(tasks.iter().any(|known| task == *known.id), "{task:?}");
        let home = host.state().join("tasks").join(task).join("home");
        let owner = fs::metadata(home).unwrap().uid();
        assert_eq!(claim.file_name().to_str(), Some(&*owner.to_string()));
    }
}
