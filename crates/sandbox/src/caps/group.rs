//! A control group of a sandbox's own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use stockade_types::TaskId;

use super::{
    CapCounters, Controller, Hierarchy, Maker,
    counters::{Counter, Counters},
    hierarchies,
    user_manager::{UserManager, group_of},
};
use crate::spec::{Keeper, Limits};

/// How the folders of groups begin; the task's id and the number of the process
/// that made them follow.
const PREFIX: &str = "stockade-";
/// The period over which processor time is counted, in microseconds: the
/// kernel's own default.
const PERIOD: u64 = 100_000;
/// How far a group's cap on processes is below that of each process in it
/// (`RLIMIT_NPROC`), which counts a few outside of the group too: the one of the
/// two that is met counts who meets it.
const BELOW_EACH: u64 = 16;
/// What a process writes into a group's [door](Group::doors) to move itself in.
pub(crate) const JOIN: &[u8] = b"0";
/// How long an ended sandbox's last processes keep a group.
const LONGEST_REMOVAL: Duration = Duration::from_secs(2);
/// From which age on an empty group is swept by whoever makes another: who sees
/// other process numbers could take its maker for gone.
const ABANDONED: Duration = Duration::from_mins(1);

/// The groups of one sandbox, one for each hierarchy in which it has a cap.
/// They are removed when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Group {
    folders: Vec<PathBuf>,
    counters: CapCounters,
    /// The user's systemd, and what it is to cap for whom.
    awaited: Option<(UserManager, TaskId, Limits)>,
    /// The scope that it made, and will remove.
    scope: Option<PathBuf>,
}

impl Group {
    /// Makes the groups that the kernel's part of `limits` asks for.
    ///
    /// # Errors
    /// If a cap cannot be set, or reads differently afterwards; nothing is
    /// left then.
    pub(crate) fn create(task: &TaskId, limits: &Limits) -> io::Result<Option<Self>> {
        let memory = limits.memory.filter(|cap| cap.keeper == Keeper::Kernel);
        let mut group = Self::default();
        let hierarchies = match Maker::find() {
            Maker::Own(hierarchies) => hierarchies,
            Maker::Manager(_) if memory.is_none() && limits.processor_hundredths.is_none() => {
                return Ok(None);
            }
            Maker::Manager(manager) => {
                group.awaited = Some((manager, task.clone(), *limits));
                return Ok(Some(group));
            }
        };
        let counters = Counters {
            memory: match memory {
                Some(cap) => group.cap_memory(&hierarchies, task, cap.bytes)?,
                None => None,
            },
            processors: match limits.processor_hundredths {
                Some(share) => group.cap_processors(&hierarchies, task, share)?,
                None => None,
            },
            // Each process has this cap as its own too; a group adds that it counts.
            processes: group
                .cap_processes(&hierarchies, task, limits.processes)
                .unwrap_or_default(),
        };
        group.counters = CapCounters::new(counters);
        Ok((!group.folders.is_empty()).then_some(group))
    }

    fn cap_memory(
        &mut self,
        hierarchies: &[Hierarchy],
        task: &TaskId,
        bytes: u64,
    ) -> io::Result<Option<Counter>> {
        let (hierarchy, folder) = self.folder(hierarchies, Controller::Memory, task)?;
        let bytes = bytes.to_string();
        let file = if hierarchy.unified {
            set(&folder, "memory.max", &bytes)?;
            set_if_there(&folder, "memory.swap.max", "0")?;
            "memory.events"
        } else {
            set(&folder, "memory.limit_in_bytes", &bytes)?;
            set_if_there(&folder, "memory.memsw.limit_in_bytes", &bytes)?;
            "memory.oom_control"
        };
        Ok(Counter::open(&folder, file, "oom_kill"))
    }

    fn cap_processors(
        &mut self,
        hierarchies: &[Hierarchy],
        task: &TaskId,
        hundredths: u32,
    ) -> io::Result<Option<Counter>> {
        let (hierarchy, folder) = self.folder(hierarchies, Controller::Processors, task)?;
        let quota = PERIOD * u64::from(hundredths) / 100;
        if hierarchy.unified {
            set(&folder, "cpu.max", &format!("{quota} {PERIOD}"))?;
        } else {
            set(&folder, "cpu.cfs_period_us", &PERIOD.to_string())?;
            set(&folder, "cpu.cfs_quota_us", &quota.to_string())?;
        }
        Ok(Counter::open(&folder, "cpu.stat", "nr_throttled"))
    }

    fn cap_processes(
        &mut self,
        hierarchies: &[Hierarchy],
        task: &TaskId,
        most: u64,
    ) -> io::Result<Option<Counter>> {
        let (_, folder) = self.folder(hierarchies, Controller::Processes, task)?;
        let most = most.saturating_sub(BELOW_EACH);
        set(&folder, "pids.max", &most.to_string())?;
        Ok(Counter::open(&folder, "pids.events", "max"))
    }

    /// The group in the hierarchy of `controller`, made once.
    fn folder<'a>(
        &mut self,
        hierarchies: &'a [Hierarchy],
        controller: Controller,
        task: &TaskId,
    ) -> io::Result<(&'a Hierarchy, PathBuf)> {
        let found = hierarchies
            .iter()
            .find_map(|hierarchy| Some((hierarchy, hierarchy.place(controller)?)));
        let (hierarchy, parent) = found.ok_or_else(|| {
            let name = controller.name();
            io::Error::other(format!("no group with the controller `{name}` can be made"))
        })?;
        let name = format!("{PREFIX}{task}-{}", std::process::id());
        let folder = parent.join(name);
        if !self.folders.contains(&folder) {
            // A process is in one group of a hierarchy.
            if let Some(other) = self
                .folders
                .iter()
                .find(|made| made.starts_with(&hierarchy.top))
            {
                return Err(io::Error::other(format!(
                    "`{}` would have to be in {} and in {}",
                    controller.name(),
                    folder.display(),
                    other.display()
                )));
            }
            sweep_folder(parent, ABANDONED);
            fs::create_dir(&folder)?;
            self.folders.push(folder.clone());
        }
        Ok((hierarchy, folder))
    }

    /// Has the user's systemd move `anchor`, from which the sandbox's processes will
    /// descend, where these are to be capped by it. Of a group that this process made
    /// those [make themselves members](Self::doors).
    pub(crate) fn hold(&mut self, anchor: u32) -> io::Result<()> {
        let Some((mut manager, task, limits)) = self.awaited.take() else {
            return Ok(());
        };
        let memory = limits.memory.filter(|cap| cap.keeper == Keeper::Kernel);
        let (mut caps, mut files) = (Vec::new(), Vec::new());
        if let Some(cap) = memory {
            caps.extend([("MemoryMax", cap.bytes), ("MemorySwapMax", 0)]);
            files.push(("memory.max", cap.bytes.to_string()));
        }
        if let Some(hundredths) = limits.processor_hundredths {
            let share = u64::from(hundredths);
            caps.push(("CPUQuotaPerSecUSec", share * 10_000));
            files.push(("cpu.max", format!("{} {PERIOD}", PERIOD * share / 100)));
        }
        let processes = limits.processes.saturating_sub(BELOW_EACH);
        caps.push(("TasksMax", processes));
        let scope = manager.start_scope(&task, anchor, &caps)?;
        for (file, value) in files {
            kept(&scope, file, &value)?;
        }
        self.counters = CapCounters::new(Counters {
            memory: Counter::open(&scope, "memory.events", "oom_kill"),
            processes: Counter::open(&scope, "pids.events", "max"),
            processors: Counter::open(&scope, "cpu.stat", "nr_throttled"),
        });
        self.scope = Some(scope);
        Ok(())
    }

    /// The files by which a process of one thread moves itself in, and with it
    /// whatever it starts from now on: by [`JOIN`].
    ///
    /// Whoever moves another process waits for all processors to come round
    /// (`cgroup_procs_write_start` of Linux), which takes 11 ms here.
    pub(crate) fn doors(&self) -> Vec<PathBuf> {
        let own = self.folders.iter().map(|folder| {
            let of_version_1 = folder.join("tasks");
            if of_version_1.exists() {
                of_version_1
            } else {
                folder.join("cgroup.procs")
            }
        });
        own.collect()
    }

    /// Refuses a process that is not in. By what the kernel says of the process: the
    /// list of a group's processes leaves out the last where others join meanwhile
    /// (`pidlist_array_load` of Linux).
    pub(crate) fn holds(&self, process: i32) -> io::Result<()> {
        let is_held = if let Some(scope) = &self.scope {
            let group = u32::try_from(process).ok().and_then(group_of);
            group.as_ref() == Some(scope)
        } else {
            let groups = fs::read_to_string(format!("/proc/{process}/cgroup"))?;
            // They have one name.
            let name = self.folders.first().and_then(|folder| folder.file_name());
            let own = groups
                .lines()
                .filter(|group| Path::new(group).file_name() == name);
            own.count() >= self.folders.len()
        };
        if is_held {
            Ok(())
        } else {
            Err(io::Error::other("the process is not in its group"))
        }
    }

    /// Where the kernel counts how often its caps are met.
    pub(crate) fn counters(&self) -> CapCounters {
        self.counters.clone()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let deadline = Instant::now() + LONGEST_REMOVAL;
        for folder in &self.folders {
            // Processes that have ended leave their group a moment later.
            while fs::remove_dir(folder).is_err() && folder.exists() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Sets a cap and reads it back: a file may take what it does not keep. The
/// kernel rounds bytes down to whole pages.
fn set(folder: &Path, file: &str, value: &str) -> io::Result<()> {
    fs::write(folder.join(file), value)?;
    kept(folder, file, value)
}

/// Whether a group keeps this cap, or a lower one.
fn kept(folder: &Path, file: &str, value: &str) -> io::Result<()> {
    let kept = fs::read_to_string(folder.join(file))?;
    let kept = kept.trim();
    let rounded = match (kept.parse::<u64>(), value.parse::<u64>()) {
        (Ok(kept), Ok(wanted)) => kept <= wanted && wanted - kept < 65_536,
        _ => kept == value,
    };
    if rounded {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "{file} is {kept} and should be {value}"
        )))
    }
}

/// Sets a cap that a kernel without swap accounting does not have.
fn set_if_there(folder: &Path, file: &str, value: &str) -> io::Result<()> {
    if folder.join(file).exists() {
        set(folder, file, value)
    } else {
        Ok(())
    }
}

/// Removes groups of sandboxes whose processes were killed before they could
/// do it. The kernel removes no group that holds a process.
pub fn sweep() {
    for hierarchy in hierarchies() {
        for controller in Controller::ALL {
            if let Some(parent) = hierarchy.place(controller) {
                sweep_folder(parent, Duration::ZERO);
            }
        }
    }
}

fn sweep_folder(parent: &Path, age: Duration) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let abandoned = is_abandoned(&entry.file_name().to_string_lossy());
        let made = entry.metadata().and_then(|metadata| metadata.modified());
        let old = made.is_ok_and(|made| {
            let now = SystemTime::now();
            now.duration_since(made).unwrap_or_default() >= age
        });
        if abandoned && old {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Whether the group `name` is ours and its maker is gone. Until a sandbox is
/// built nobody is in its group, which must not be taken from under it.
fn is_abandoned(name: &str) -> bool {
    let maker = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.rsplit_once('-'));
    maker.is_some_and(|(_, maker)| !Path::new("/proc").join(maker).exists())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        process::{Command, Stdio},
    };

    use super::*;

    fn skip(reason: &str) {
        let _ = writeln!(io::stderr(), "SKIP joining a group: {reason}");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "processes that a test moves")]
    fn a_process_that_goes_through_the_doors_is_held_and_no_other() {
        let Ok(Some(group)) = Group::create(&TaskId::from_random(3), &Limits::default()) else {
            return skip("none can be made here");
        };
        if group.folders.is_empty() {
            return skip("the user's systemd makes it");
        }
        let start = |script: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-euc", script, "sh"]).args(group.doors());
            let mut child = shell.stdout(Stdio::piped()).spawn().unwrap();
            let mut said = [0];
            child.stdout.take().unwrap().read_exact(&mut said).unwrap();
            child
        };
        let join = "for door in \"$@\"; do echo 0 > \"$door\"; done; echo; exec sleep 60";
        for (script, is_held) in [(join, true), ("echo; exec sleep 60", false)] {
            let mut child = start(script);
            let held = group.holds(child.id().cast_signed());
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(held.is_ok(), is_held, "{held:?}");
        }
    }

    #[test]
    fn only_groups_whose_maker_is_gone_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let [gone, here, other] = [
            format!("{PREFIX}t-0-{}", u32::MAX),
            format!("{PREFIX}t-0-{}", std::process::id()),
            "user.slice".to_owned(),
        ]
        .map(|name| parent.path().join(name));
        for folder in [&gone, &here, &other] {
            fs::create_dir(folder).unwrap();
        }
        sweep_folder(parent.path(), ABANDONED);
        assert!(gone.exists(), "it was made just now");
        sweep_folder(parent.path(), Duration::ZERO);
        assert_eq!(
            [&gone, &here, &other].map(|it| it.exists()),
            [false, true, true]
        );
    }
}
