//! The processes of the machine, as `/proc` tells.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process};

/// A process; its number alone may be another's later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub id: i32,
    /// Its parent's number.
    pub parent: i32,
    /// Its program and arguments.
    pub words: Vec<String>,
    started: u64,
}

impl Process {
    /// The process of this number, unless it is gone or only waited for.
    pub fn find(id: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        if matches!(fields.first(), Some(&("Z" | "X"))) {
            return None;
        }
        let words = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        Some(Self {
            id,
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
            words: words
                .trim_end_matches('\0')
                .split('\0')
                .map(str::to_owned)
                .collect(),
        })
    }

    /// Whether it still runs.
    pub fn runs(&self) -> bool {
        Self::find(self.id).is_some_and(|now| now.started == self.started)
    }

    /// Ends it at once.
    pub fn kill(&self) {
        if let Some(id) = Pid::from_raw(self.id).filter(|_| self.runs()) {
            let _ = kill_process(id, Signal::KILL);
        }
    }

    /// Whether it supervises the task in `folder`.
    pub fn is_supervisor_of(&self, folder: &Path) -> bool {
        let words: Vec<&str> = self.words.iter().skip(1).map(String::as_str).collect();
        words == ["__supervisor", &folder.to_string_lossy()]
    }

    /// Whether it is the part of Stockade with this hidden argument.
    pub fn is_part(&self, argument: &str) -> bool {
        self.words.get(1).is_some_and(|word| word == argument)
    }

    /// A file of its folder in `/proc`.
    pub fn file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.id))
    }

    /// A field of its `status`.
    pub fn status(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.file("status")).ok()?;
        text.lines().find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(':')?;
            Some(value.trim().to_owned())
        })
    }

    /// The namespaces that it is in and that this process is not, as far as
    /// they may be seen.
    pub fn own_namespaces(&self) -> BTreeSet<(String, u64)> {
        ["mnt", "net", "pid", "user", "ipc", "uts", "cgroup"]
            .into_iter()
            .filter_map(|kind| {
                let seen = |process: &str| {
                    fs::metadata(format!("/proc/{process}/ns/{kind}"))
                        .ok()
                        .map(|found| found.ino())
                };
                let its = seen(&self.id.to_string())?;
                (Some(its) != seen("self")).then(|| (kind.to_owned(), its))
            })
            .collect()
    }
}

/// Every process of the machine.
pub fn all() -> Vec<Process> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Process::find(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// Every process whose arguments hold `text`.
pub fn with_words(text: &str) -> Vec<Process> {
    all()
        .into_iter()
        .filter(|process| process.words.iter().any(|word| word.contains(text)))
        .collect()
}

/// Every process of Stockade that works for the state directory `state`.
pub fn naming(state: &Path) -> Vec<Process> {
    with_words(&state.to_string_lossy())
        .into_iter()
        .filter(|process| process.id != i32::try_from(std::process::id()).unwrap_or(0))
        .collect()
}

/// The supervisor of the task in `folder` and everything it started, process
/// 1 of the sandbox and all inside included.
pub fn tree(folder: &Path) -> Vec<Process> {
    below(|process| process.is_supervisor_of(folder))
}

/// The numbers of all living supervisors, and of everything they started.
pub fn supervised() -> BTreeSet<i32> {
    let tree = below(|process| process.is_part("__supervisor"));
    tree.iter().map(|process| process.id).collect()
}

/// The processes that `is_top` holds for, and everything they started.
fn below(is_top: impl Fn(&Process) -> bool) -> Vec<Process> {
    let all = all();
    let mut tree: Vec<Process> = all
        .iter()
        .filter(|process| is_top(process))
        .cloned()
        .collect();
    let mut at = 0;
    while let Some(id) = tree.get(at).map(|process| process.id) {
        tree.extend(all.iter().filter(|process| process.parent == id).cloned());
        at += 1;
    }
    tree
}

/// The mounts of this process's namespace, one line each.
pub fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Names of control groups that belong to tasks.
pub fn groups() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("stockade-t-") {
                found.push(name);
            } else if depth < 4 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    found
}
