//! How often caps were met, as the kernel counts in a control group.

use std::{fs::File, os::unix::fs::FileExt, path::Path, sync::Arc};

/// The most that is read of a file of a group; what is wanted stands in its
/// first lines.
const FILE_MAX: usize = 4096;

/// How often the caps of a sandbox were met, as far as the kernel counts it:
/// nothing where it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapCounts {
    /// Processes that it ended for want of memory.
    pub memory: Option<u64>,
    /// Processes and threads that it did not start.
    pub processes: Option<u64>,
    /// Periods in which everything inside waited for its share of the processors.
    pub processors: Option<u64>,
}

/// Where the kernel counts this for a sandbox. Clones share it; it tells
/// nothing any more once the sandbox is gone.
#[derive(Clone, Debug, Default)]
pub struct CapCounters(Arc<Counters>);

/// One for each field of [`CapCounts`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) memory: Option<Counter>,
    pub(super) processes: Option<Counter>,
    pub(super) processors: Option<Counter>,
}

/// A line of a file of a group. The file stays open: it is read at the
/// beginning and at the end of each command.
#[derive(Debug)]
pub(super) struct Counter {
    file: File,
    name: &'static str,
}

impl Counter {
    /// The line `name` of `file` in the group `folder`, if that is there.
    pub(super) fn open(folder: &Path, file: &str, name: &'static str) -> Option<Self> {
        let file = File::open(folder.join(file)).ok()?;
        let counter = Self { file, name };
        counter.read().is_some().then_some(counter)
    }

    fn read(&self) -> Option<u64> {
        let mut bytes = [0; FILE_MAX];
        let length = self.file.read_at(&mut bytes, 0).ok()?;
        let text = std::str::from_utf8(bytes.get(..length)?).ok()?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(self.name)?.strip_prefix(' '))?;
        value.trim().parse().ok()
    }
}

impl CapCounters {
    pub(super) fn new(counters: Counters) -> Self {
        Self(Arc::new(counters))
    }

    /// What it has counted so far.
    pub fn read(&self) -> CapCounts {
        let read = |counter: &Option<Counter>| counter.as_ref().and_then(Counter::read);
        CapCounts {
            memory: read(&self.0.memory),
            processes: read(&self.0.processes),
            processors: read(&self.0.processors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_reads_its_own_line_and_a_file_without_one_counts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cpu.stat");
        std::fs::write(&file, "nr_periods 7\nnr_throttled 3\nthrottled_usec 9\n").unwrap();
        let open = |name| Counter::open(folder.path(), "cpu.stat", name);
        let counters = Counters {
            processors: open("nr_throttled"),
            memory: open("throttled"),
            processes: Counter::open(folder.path(), "pids.events", "max"),
        };
        let counters = CapCounters::new(counters);
        let counts = CapCounts {
            processors: Some(3),
            ..CapCounts::default()
        };
        assert_eq!(counters.read(), counts);
        std::fs::write(&file, "nr_throttled 12\n").unwrap();
        assert_eq!(counters.read().processors, Some(12));
    }
}
