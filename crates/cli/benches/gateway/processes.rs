//! What processes have used so far.

use std::{collections::BTreeMap, fs, path::Path};

/// Processes of one proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processes {
    /// Those that touch the bytes themselves,
    pub(crate) proxy: Vec<u32>,
    /// and those that they ask about each request.
    pub(crate) beside: Vec<u32>,
}

/// What they had used at one moment, in nanoseconds of processor time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    /// The proxy itself.
    pub(crate) proxy: u64,
    /// All of them.
    pub(crate) all: u64,
}

impl Processes {
    /// A process and all below it.
    pub(crate) fn below(root: u32) -> Self {
        let parents = parents();
        let mut proxy = vec![root];
        let mut next = 0;
        while let Some(parent) = proxy.get(next).copied() {
            let children = parents.iter().filter(|(_, of)| **of == parent);
            proxy.extend(children.map(|(child, _)| *child));
            next += 1;
        }
        Self {
            proxy,
            beside: Vec::new(),
        }
    }

    /// What they have used by now.
    pub(crate) fn now(&self) -> Moment {
        let sum = |processes: &[u32]| processes.iter().map(|id| used(*id)).sum::<u64>();
        let proxy = sum(&self.proxy);
        Moment {
            proxy,
            all: proxy + sum(&self.beside),
        }
    }

    /// What all of them hold in memory, in MiB, shared pages in full.
    pub(crate) fn memory(&self) -> f64 {
        let all = self.proxy.iter().chain(&self.beside);
        all.map(|id| resident(*id)).sum()
    }
}

/// The parent of each process.
fn parents() -> BTreeMap<u32, u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
        Some((id, parent.parse().ok()?))
    })
    .collect()
}

/// Processor time of a process' threads, to the nanosecond: `stat` would tell
/// hundredths of seconds. Threads that have ended are not in it.
fn used(process: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    let threads = threads.into_iter().flatten().flatten();
    threads
        .filter_map(|thread| first_number(&thread.path().join("schedstat")))
        .sum()
}

fn first_number(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn resident(process: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS:"));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    word.and_then(|word| word.parse::<f64>().ok())
        .unwrap_or_default()
        / 1024.0
}
