//! A task's processes: who outlives whom, who sees what, and what is left.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a step of a test that fails fails the test; figures are told"
)]

mod host;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::MetadataExt,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use stockade_types::EventKind;

use self::host::{
    Host, LONGEST, Task, eventually, is_root, processes,
    processes::Process,
    skip,
    terminal::{Terminal, pair},
    within,
};

/// Ctrl-P Ctrl-Q.
const DETACH: &str = "\u{10}\u{11}";
/// Counts in the file `n` for as long as it lives.
const COUNTING: &str = "i=0; while :; do i=$((i+1)); echo $i > n.new; mv n.new n; sleep 0.02; done";

fn count(host: &Host, task: &Task) -> u64 {
    let (exit, text) = host.exec(task, "cat n");
    assert_eq!(exit, 0, "{text}");
    text.trim().parse().unwrap()
}

fn wait_for_file(host: &Host, task: &Task, name: &str) {
    eventually(name, || host.exec(task, &format!("test -e {name}")).0 == 0);
}

#[test]
fn a_task_survives_the_terminal_that_started_it() {
    let host = Host::new();
    let (outer, inner) = pair();
    let mut command = host.other_command("setsid");
    command.args(["--ctty", env!("CARGO_BIN_EXE_stockade"), "run"]);
    command.args(["--", "bash", "-c", COUNTING]);
    command
        .stdin(Stdio::from(inner.try_clone().unwrap()))
        .stdout(Stdio::from(inner.try_clone().unwrap()))
        .stderr(Stdio::from(inner));
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut task = None;
    eventually("the task runs", || {
        let tasks = host.json(&["ls"]);
        let running = tasks[0]["state"]["name"] == "running";
        task = tasks[0]["id"].as_str().map(|id| host.task(id));
        running
    });
    let task = task.unwrap();
    wait_for_file(&host, &task, "n");

    // The other end of a terminal that is closed sends SIGHUP to its session.
    drop(outer);
    let ended = child.wait().unwrap();
    assert!(!ended.success(), "{ended}");
    let before = count(&host, &task);
    eventually("the task goes on", || count(&host, &task) > before);
    assert_eq!(host.status(&task)["state"]["name"], "running");
    let again = host.stockade(&["logs", &task.id]);
    assert_eq!(again.code, 0);
}

#[test]
fn viewers_see_the_same_output_one_types_and_the_next_may_once_it_has_left() {
    let host = Host::new();
    let script = "stty -echo; echo ready; while read -r line; do echo \"heard <$line>\"; done";
    let task = host.start_with(&["--interactive"], script);
    let attach = |words: &[&str]| {
        let mut all = vec!["attach", &task.id];
        all.extend(words);
        Terminal::start(host.command(&all))
    };
    let mut writer = attach(&[]);
    writer.wait_for("ready");
    let mut second = attach(&[]);
    second.wait_for("only watching");
    second.wait_for("ready");
    let third = attach(&["--view"]);
    third.wait_for("ready");
    let piped = host
        .command(&["attach", &task.id])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    writer.send("one\r");
    for viewer in [&writer, &second, &third] {
        viewer.wait_for("heard <one>");
    }
    second.send("two\r");
    writer.send("three\r");
    for viewer in [&writer, &second, &third] {
        viewer.wait_for("heard <three>");
        assert!(
            !viewer.shown().contains("heard <two>"),
            "{}",
            viewer.shown()
        );
    }

    writer.send(DETACH);
    let left = writer.finish();
    assert_eq!(left.code, 0, "{left:?}");
    assert!(left.stdout.contains("detached"), "{left:?}");
    assert_eq!(host.status(&task)["state"]["name"], "running");
    // Nothing was printed since the writer left, and its turn is free.
    let mut next = attach(&[]);
    next.wait_for("ready");
    next.send("four\r");
    for viewer in [&next, &second, &third] {
        viewer.wait_for("heard <four>");
    }
    assert!(!next.shown().contains("only watching"), "{}", next.shown());

    // The end of input ends the command, and every viewer with it.
    next.send("\u{4}");
    for viewer in [next, second, third] {
        assert_eq!(viewer.finish().code, 0);
    }
    let piped = host::wait_within(piped, LONGEST).unwrap();
    for line in ["ready", "heard <one>", "heard <three>", "heard <four>"] {
        assert!(piped.stdout.contains(line), "{piped:?}");
    }
    assert_eq!(task.last_events(1), [EventKind::TaskEnded]);
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
    let start = Instant::now();
    let stopped = host.stockade(&["stop", &task.id]);
    let took = start.elapsed();
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(daemons(), 0, "some live after `stop` has answered");
    assert!(took < Duration::from_secs(1), "{took:?}");
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
    let task = host.start(
        "echo kept > work.txt; mkdir -p sub && echo kept > sub/more.txt; \
         setsid nohup sleep 1000 >/dev/null 2>&1 & touch ready; sleep 1000; :",
    );
    wait_for_file(&host, &task, "ready");
    let tree = processes::tree(&task.folder);
    let parts = ["__supervisor", "__recorder", "__gateway", "__anchor"];
    for part in parts {
        let count = tree.iter().filter(|process| process.is_part(part)).count();
        assert_eq!(count, 1, "{part}: {tree:?}");
    }
    assert!(tree.len() >= 8, "{tree:?}");
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

    let resumed = host.stockade(&["resume", "--detach", &task.id]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(host.status(&task)["state"]["name"], "running");
    let (exit, text) = host.exec(&task, "cat work.txt sub/more.txt");
    assert_eq!((exit, text.as_str()), (0, "kept\nkept\n"));
    assert_eq!(host.stockade(&["stop", &task.id]).code, 0);
    task.wait_until_settled();
    assert_eq!(task.last_events(1), [EventKind::TaskEnded]);
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
fn a_paused_task_makes_no_progress_until_it_is_resumed() {
    let host = Host::new();
    // A daemon in a session of its own must stand still too.
    let task = host.start(&format!("setsid bash -c '{COUNTING}' & wait"));
    wait_for_file(&host, &task, "n");
    let paused = host.stockade(&["pause", &task.id]);
    assert_eq!(paused.code, 0, "{paused:?}");
    assert_eq!(host.status(&task)["state"]["name"], "paused");
    let before = count(&host, &task);
    // Fifteen times as long as one step of the count takes.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(count(&host, &task), before);
    let resumed = host.stockade(&["resume", &task.id]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    eventually("it goes on", || count(&host, &task) > before);
    assert_eq!(host.status(&task)["state"]["name"], "running");
    let paused = host.stockade(&["pause", &task.id]);
    assert_eq!(paused.code, 0, "{paused:?}");
    let start = Instant::now();
    assert_eq!(host.stockade(&["stop", &task.id]).code, 0);
    assert!(start.elapsed() < Duration::from_secs(1));
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
fn processes_of_stockade_are_closed_to_others_and_hold_only_what_they_need() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let tree = processes::tree(&task.folder);
    let own: Vec<&Process> = tree
        .iter()
        .filter(|process| {
            process.words == ["init"]
                || process
                    .words
                    .get(1)
                    .is_some_and(|word| word.starts_with("__"))
        })
        .collect();
    assert_eq!(own.len(), 5, "{tree:?}");
    for process in own {
        let name = process.words.get(1).unwrap_or(&process.words[0]);
        // Files of a process that cannot be dumped belong to root (proc(5)).
        let owner = fs::metadata(process.file("environ")).unwrap().uid();
        assert_eq!(owner, 0, "{name}");
        let uid = process.status("Uid").unwrap();
        if uid.starts_with("0\t") {
            skip(
                name,
                "root's processes belong to root whether they can be dumped or not",
            );
        }
        if !is_root() {
            // Whoever owns a user namespace may look into its processes
            // (user_namespaces(7)); process 1 has nothing to hide but these.
            let files: &[&str] = if name == "init" {
                &["environ", "mem", "fd"]
            } else {
                &["environ", "mem", "fd", "maps", "cwd", "root", "exe"]
            };
            for file in files {
                let path = process.file(file);
                let opened = if *file == "fd" {
                    fs::read_dir(&path).is_ok()
                } else {
                    fs::File::open(&path).is_ok()
                };
                assert!(!opened, "{name}: {} can be opened", path.display());
            }
            continue;
        }
        // Process 1 holds a command's own for a moment while it starts it.
        let mut surplus = Vec::new();
        let settled = host::holds_within(Duration::from_secs(2), || {
            surplus = descriptors_beyond(process, name, &task);
            surplus.is_empty()
        });
        assert!(settled, "{name} also holds {surplus:?}");
    }
    if !is_root() {
        skip(
            "descriptors",
            "only root may list those of closed processes",
        );
    }
}

/// What `process` holds beyond what a part of this name needs.
fn descriptors_beyond(process: &Process, name: &str, task: &Task) -> Vec<String> {
    let needed: &[(&str, usize)] = match name {
        "__supervisor" => &[
            ("/dev/null", 2),
            ("TASK/output.log", 1),
            ("TASK/supervisor.lock", 1),
            ("TASK/supervisor.log", 1),
            ("anon_inode", 1),
            ("pipe", 3),
            ("socket", 6),
        ],
        "__recorder" => &[
            ("/dev/null", 1),
            ("TASK/record.jsonl", 1),
            ("TASK/recorder.log", 1),
            ("socket", 2),
        ],
        "__gateway" => &[
            ("/dev/null", 1),
            ("/dev/urandom", 1),
            ("TASK/gateway.log", 1),
            ("anon_inode", 4),
            ("socket", 9),
        ],
        "__anchor" => &[
            ("/dev/pts", 1),
            ("TASK/supervisor.log", 1),
            ("anon_inode", 1),
            ("pipe", 1),
            ("socket", 2),
        ],
        _ => &[("/dev/null", 3), ("socket", 1)],
    };
    let mut left: BTreeMap<&str, usize> = needed.iter().copied().collect();
    fs::read_dir(process.file("fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|target| {
            let target = target.to_string_lossy().into_owned();
            let kind = target.split(':').next()?;
            let kind = kind.replace(&*task.folder.to_string_lossy(), "TASK");
            match left.get_mut(&*kind) {
                Some(count @ 1..) => {
                    *count -= 1;
                    None
                }
                _ => Some(target),
            }
        })
        .collect()
}

#[test]
fn the_memory_of_a_tasks_host_processes_is_told() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let mut sum = 0;
    for process in processes::tree(&task.folder) {
        let name = process.words.get(1).unwrap_or(&process.words[0]);
        if !name.starts_with("__") && name != "init" {
            continue;
        }
        let Ok(text) = fs::read_to_string(process.file("smaps_rollup")) else {
            skip(name, "the memory of a closed process is told to root only");
            continue;
        };
        let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        eprintln!("{name}: {kib} KiB PSS");
        sum += kib;
    }
    eprintln!("together: {sum} KiB PSS (a build with debug assertions)");
    assert!(!is_root() || sum > 0);
}

#[test]
fn a_signal_to_the_command_line_ends_the_view_not_the_task() {
    let host = Host::new();
    let terminal =
        Terminal::start(host.command(&["run", "--", "bash", "-c", "echo sh\"\"own; sleep 1000"]));
    terminal.wait_for("shown");
    terminal.signal(Signal::TERM);
    terminal.finish();
    let tasks = host.json(&["ls"]);
    assert_eq!(tasks[0]["state"]["name"], "running");
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
