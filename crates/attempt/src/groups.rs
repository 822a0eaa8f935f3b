//! Control groups: whether the caps of any can be changed.

use std::{fs, io, path::PathBuf};

use crate::report::Report;

/// What a group may do, or who is in it; not all of them in every version.
const CAPS: [&str; 5] = [
    "cgroup.procs",
    "memory.max",
    "memory.limit_in_bytes",
    "cpu.max",
    "pids.max",
];
/// The most groups that are looked at.
const GROUPS_MAX: usize = 2000;

/// Looks at every group, whatever `/proc/self/cgroup` says is its own: a
/// namespace may hide that, and not the tree. Nothing is written.
pub(crate) fn caps(report: &Report) {
    let groups = groups();
    for name in CAPS {
        let mut last = Err(io::Error::from_raw_os_error(libc::ENOENT));
        for group in &groups {
            let opened = fs::File::options().write(true).open(group.join(name));
            if opened.is_ok() || last.is_err() {
                last = opened;
            }
            if last.is_ok() {
                break;
            }
        }
        report.tried(format!("open {name} of a group for writing"), last);
    }
}

/// The groups of every tree that is mounted.
fn groups() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let is_tree = |line: &&str| {
        let after = line.split_once(" - ").map(|(_, after)| after);
        after.is_some_and(|after| after.starts_with("cgroup"))
    };
    // number parent device root mount-point … - type source (proc_pid_mountinfo(5))
    let points = mounts.lines().filter(is_tree);
    let points = points.filter_map(|line| line.split(' ').nth(4));
    let mut waiting: Vec<PathBuf> = points.map(PathBuf::from).collect();
    let mut found = Vec::new();
    while let Some(group) = waiting.pop().filter(|_| found.len() < GROUPS_MAX) {
        let entries = fs::read_dir(&group).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        waiting.extend(below.map(|entry| entry.path()));
        found.push(group);
    }
    found
}
