//! What the processes of a sandbox use, seen from outside.

use std::{collections::BTreeSet, fs};

use crate::kernel;

/// How many processes are looked at; the cap on processes is far below.
const PROCESSES_MAX: usize = 1 << 16;
/// With fewer open files than this no process is asked for its cap on them:
/// every program has a few.
const FEW_FILES: u64 = 16;

/// What a process and all its descendants use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of memory that they hold for themselves: resident, without what
    /// they share with others or have in files. Memory file systems are not in
    /// it; their size is capped by itself.
    pub memory: u64,
    /// Processes and threads.
    pub threads: u64,
    /// Caps on open files that one of them has reached (since Linux 6.2).
    pub open_files: BTreeSet<u64>,
}

/// Looks at the process `root` and all its descendants.
///
/// Everything in a pid namespace descends from its process 1, as orphans
/// become its children (pid_namespaces(7)).
pub fn usage(root: i32) -> Usage {
    let page = u64::try_from(kernel::page_size()).unwrap_or(4096);
    let mut usage = Usage::default();
    let mut waiting = vec![root];
    let mut seen = 0;
    while let Some(process) = waiting.pop() {
        seen += 1;
        if seen > PROCESSES_MAX {
            break;
        }
        let bytes = own_pages(process).saturating_mul(page);
        usage.memory = usage.memory.saturating_add(bytes);
        usage.open_files.extend(open_files_cap(process));
        for children in children(process) {
            usage.threads += 1;
            waiting.extend(children);
        }
    }
    usage
}

/// `resident` less `shared` of proc_pid_statm(5).
fn own_pages(process: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let mut fields = text.split(' ').skip(1).map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(resident)), Some(Ok(shared))) => resident.saturating_sub(shared),
        // It has ended meanwhile.
        _ => 0,
    }
}

/// The cap on open files of a process, if it has as many (proc_pid_fd(5),
/// proc_pid_limits(5)).
fn open_files_cap(process: i32) -> Option<u64> {
    let open = fs::metadata(format!("/proc/{process}/fd")).ok()?.len();
    if open < FEW_FILES {
        return None;
    }
    let text = fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    let cap = line.split_whitespace().next()?.parse().ok()?;
    (open >= cap).then_some(cap)
}

/// The children of each thread of a process (proc_pid_task(5)).
fn children(process: i32) -> impl Iterator<Item = Vec<i32>> {
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    threads.into_iter().flatten().flatten().map(|thread| {
        let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        list.split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn memory_that_a_process_fills_counts_and_that_of_others_does_not() {
        let before = usage(own()).memory;
        let filled = vec![1_u8; 64 << 20];
        let after = usage(own()).memory;
        assert!(after >= before + (60 << 20), "{before} {after}");
        assert_eq!(usage(i32::MAX), Usage::default());
        drop(filled);
    }

    #[test]
    fn threads_count_and_a_cap_on_open_files_that_was_not_reached_does_not() {
        let before = usage(own());
        assert!(before.threads >= 1);
        assert!(before.open_files.is_empty(), "{before:?}");
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || stopped.recv());
        // Other tests of this process come and go, but not all of their threads.
        assert!(usage(own()).threads >= 2);
        drop(stop);
        let _ = thread.join();
    }
}
