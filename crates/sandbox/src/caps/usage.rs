//! How much memory the processes of a sandbox use, seen from outside.

use std::fs;

/// How many processes are looked at; the cap on processes is far below.
const PROCESSES_MAX: usize = 1 << 16;

/// Bytes of memory that a process and all its descendants hold
/// for themselves: resident, without what they share with others or have in
/// files. Memory file systems are not in it; their size is capped by itself.
///
/// Everything in a pid namespace descends from its process 1, as orphans
/// become its children (pid_namespaces(7)).
pub fn memory_used(root: i32) -> u64 {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let mut pages = 0_u64;
    let mut waiting = vec![root];
    let mut seen = 0;
    while let Some(process) = waiting.pop() {
        seen += 1;
        if seen > PROCESSES_MAX {
            break;
        }
        pages = pages.saturating_add(own_pages(process));
        waiting.extend(children(process));
    }
    pages.saturating_mul(page)
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

/// The children of all threads of a process (proc_pid_task(5)).
fn children(process: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    let lists = threads
        .flatten()
        .map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_a_process_fills_counts_and_that_of_others_does_not() {
        let own = i32::try_from(std::process::id()).unwrap();
        let before = memory_used(own);
        let filled = vec![1_u8; 64 << 20];
        let after = memory_used(own);
        assert!(after >= before + (60 << 20), "{before} {after}");
        assert_eq!(memory_used(i32::MAX), 0);
        drop(filled);
    }
}
