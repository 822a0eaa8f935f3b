//! What Stockade's own processes show to others, hold, and need.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, time::Duration};

use self::host::{Host, Task, eventually, is_root, processes, processes::Process, skip};

/// Whether a process is one of Stockade's own, outside or inside.
fn is_stockades(process: &Process) -> bool {
    let second = process.words.get(1);
    process.words == ["init"] || second.is_some_and(|word| word.starts_with("__"))
}

#[test]
fn processes_of_stockade_are_closed_to_others_and_hold_only_what_they_need() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let mut own = Vec::new();
    // Until it is executed, the command has the words of process 1.
    eventually("there are five, and the command is none of them", || {
        own = processes::tree(&task.folder);
        own.retain(is_stockades);
        own.len() == 5
    });
    for process in &own {
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
            // Where the kernel counts how often the task's caps are met.
            ("GROUP/memory.events", 1),
            ("GROUP/memory.oom_control", 1),
            ("GROUP/pids.events", 1),
            ("TASK/output.log", 1),
            ("TASK/supervisor.lock", 1),
            ("TASK/supervisor.log", 1),
            // Process 1, and what tells which of several has ended.
            ("anon_inode", 2),
            ("pipe", 3),
            ("socket", 5),
        ],
        "__recorder" => &[
            ("/dev/null", 1),
            ("TASK/record", 2),
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
            // Where sandboxes move themselves into the task's groups.
            ("GROUP/cgroup.procs", 3),
            ("GROUP/tasks", 3),
            ("TASK/supervisor.log", 1),
            // The same.
            ("anon_inode", 2),
            // The executable of further sandboxes, and the network of the first.
            ("/memfd", 1),
            ("net", 1),
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
            let own_group = format!("/stockade-{}-", task.id);
            let kind = match kind.rsplit_once('/') {
                Some((folder, file)) if folder.contains(&own_group) => format!("GROUP/{file}"),
                _ => kind,
            };
            // The log's folder, and the file of its last entries.
            let kind = kind
                .split_inclusive("/record/")
                .next()?
                .trim_end_matches('/');
            match left.get_mut(kind) {
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
