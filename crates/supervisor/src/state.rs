//! The state directory: one folder a task, one pool for all.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;
use serde::{Serialize, de::DeserializeOwned};
use stockade_types::TaskId;

use crate::error::SupervisorError;

/// Where tasks, snapshots and records are kept.
#[derive(Clone, Debug)]
pub struct StateDirectory(PathBuf);

/// The folder of one task.
#[derive(Clone, Debug)]
pub struct TaskDirectory {
    id: TaskId,
    path: PathBuf,
}

/// The folder of the ledger.
const LEDGER: &str = "budget";
/// The folder of approvers and their keys.
const APPROVALS: &str = "approvals";
/// The folder of the host log and its key.
const AUDIT: &str = "audit";
/// How often the lock is tried, and the time between: a tenth of a second.
const LOCK_ATTEMPTS: u32 = 50;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

/// Held while a task's supervisor lives.
#[derive(Debug)]
pub struct TaskLock(#[expect(dead_code, reason = "the lock is the open file")] File);

impl StateDirectory {
    /// Opens or makes the state directory: `configured`, else
    /// `$XDG_STATE_HOME/stockade`, else `~/.local/state/stockade`.
    pub fn open(
        configured: Option<PathBuf>,
        state_home: Option<PathBuf>,
        home: Option<PathBuf>,
    ) -> Result<Self, SupervisorError> {
        let absolute = |path: PathBuf| path.is_absolute().then_some(path);
        let path = configured
            .or_else(|| {
                state_home
                    .and_then(absolute)
                    .map(|path| path.join("stockade"))
            })
            .or_else(|| {
                home.and_then(absolute)
                    .map(|path| path.join(".local/state/stockade"))
            })
            .ok_or(SupervisorError::NoHome)?;
        let path = std::path::absolute(&path).map_err(SupervisorError::state(&path))?;
        make_private(&path).map_err(SupervisorError::state(&path))?;
        let found = rustix::fs::statfs(&path).map_err(io::Error::from);
        let found = found.map_err(SupervisorError::state(&path))?;
        if let Some(kind) = network_file_system(found.f_type) {
            return Err(SupervisorError::NetworkFileSystem { path, kind });
        }
        for name in ["tasks", "trash", "pool", "projects", AUDIT] {
            let folder = path.join(name);
            make_private(&folder).map_err(SupervisorError::state(&folder))?;
        }
        Ok(Self(path))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The folder of a task that exists or is to be made.
    pub fn task(&self, id: &TaskId) -> TaskDirectory {
        TaskDirectory {
            id: id.clone(),
            path: self.0.join("tasks").join(id.as_str()),
        }
    }

    /// Every task, oldest name first.
    pub fn tasks(&self) -> Result<Vec<TaskDirectory>, SupervisorError> {
        self.tasks_in("tasks")
    }

    /// Every task in the trash, oldest name first.
    pub fn removed_tasks(&self) -> Result<Vec<TaskDirectory>, SupervisorError> {
        self.tasks_in("trash")
    }

    fn tasks_in(&self, name: &str) -> Result<Vec<TaskDirectory>, SupervisorError> {
        let folder = self.0.join(name);
        let entries = fs::read_dir(&folder).map_err(SupervisorError::state(&folder))?;
        let mut tasks: Vec<_> = entries
            .flatten()
            .filter_map(|entry| TaskDirectory::at(&entry.path()).ok())
            .collect();
        tasks.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(tasks)
    }

    /// The file in which a repository's further paths are remembered.
    pub fn project_paths(&self, repository: &str) -> PathBuf {
        self.0
            .join("projects")
            .join(format!("{repository}.paths.json"))
    }

    /// The folder of the ledger of what tasks spend.
    pub fn ledger(&self) -> PathBuf {
        self.0.join(LEDGER)
    }

    /// The folder of the host log and its key.
    pub fn audit(&self) -> PathBuf {
        self.0.join(AUDIT)
    }

    /// The folder of approvers and their keys.
    pub fn approvals(&self) -> PathBuf {
        self.0.join(APPROVALS)
    }

    /// The file in which `project` (a repository's key) keeps its contract.
    pub fn project_contract(&self, project: &str) -> PathBuf {
        self.0
            .join("projects")
            .join(format!("{project}.contract.json"))
    }
}

/// Magic numbers of `statfs(2)` for file systems on other machines.
fn network_file_system(magic: i64) -> Option<&'static str> {
    match magic & 0xffff_ffff {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x5346_414f => Some("AFS"),
        0x0102_1997 => Some("9P"),
        0x00c3_6400 => Some("Ceph"),
        _ => None,
    }
}

/// Makes a folder, and those above it, for their owner alone.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

impl TaskDirectory {
    /// Whose it is.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The task whose folder this is.
    pub fn at(folder: &Path) -> Result<Self, SupervisorError> {
        let name = folder.file_name().and_then(|name| name.to_str());
        let id = name.and_then(|name| name.parse().ok());
        let id =
            id.ok_or_else(|| SupervisorError::Refused(format!("{} is no task", folder.display())))?;
        Ok(Self {
            id,
            path: folder.to_owned(),
        })
    }

    /// The record: the folder of its log.
    pub fn record(&self) -> PathBuf {
        self.join("record")
    }

    /// The folder of the host log, which has the checkpoints of every record,
    /// and of the key that signs them.
    pub fn audit(&self) -> PathBuf {
        self.shared(AUDIT)
    }

    /// The folder of approvers and their keys.
    pub fn approvals(&self) -> PathBuf {
        self.shared(APPROVALS)
    }

    /// The folder of the ledger that all tasks share.
    pub fn ledger(&self) -> PathBuf {
        self.shared(LEDGER)
    }

    /// A folder of the state directory.
    fn shared(&self, name: &str) -> PathBuf {
        let state = self.path.parent().and_then(Path::parent);
        state.unwrap_or(&self.path).join(name)
    }

    /// What the main command printed.
    pub fn output(&self) -> PathBuf {
        self.join("output.log")
    }

    /// What command `exec` printed, if that was too long for its result.
    pub fn exec_output(&self, exec: u32) -> PathBuf {
        self.path.join("exec").join(format!("{exec}.log"))
    }

    /// Makes the folder with those that every task has.
    pub fn create(&self) -> Result<(), SupervisorError> {
        for folder in [self.path.clone(), self.join("control")] {
            make_private(&folder).map_err(SupervisorError::state(&folder))?;
        }
        Ok(())
    }

    /// Takes the lock of a living supervisor.
    pub fn lock(&self) -> Result<TaskLock, SupervisorError> {
        let (path, file) = self.open_lock()?;
        // Who only looks holds it for a moment.
        for _ in 0..LOCK_ATTEMPTS {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(TaskLock(file)),
                Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
                Err(error) => {
                    return Err(SupervisorError::State {
                        path,
                        source: error.into(),
                    });
                }
            }
        }
        Err(SupervisorError::Running)
    }

    /// Whether a supervisor lives.
    pub fn is_locked(&self) -> bool {
        // Shared, so that two who look do not take each other for one.
        let looked = self
            .open_lock()
            .map(|(_, file)| rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared));
        matches!(looked, Ok(Err(rustix::io::Errno::WOULDBLOCK)))
    }

    fn open_lock(&self) -> Result<(PathBuf, File), SupervisorError> {
        let path = self.join("supervisor.lock");
        let file = File::create(&path).map_err(SupervisorError::state(&path))?;
        Ok((path, file))
    }

    /// Reads a JSON file of the task.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T, SupervisorError> {
        read_json(&self.join(name))
    }

    /// Writes a JSON file of the task: wholly or not at all.
    pub fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), SupervisorError> {
        write_json(&self.join(name), value)
    }
}

/// Reads a JSON file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, SupervisorError> {
    let bytes = fs::read(path).map_err(SupervisorError::state(path))?;
    serde_json::from_slice(&bytes).map_err(|source| SupervisorError::Format {
        path: path.to_owned(),
        source,
    })
}

/// Writes a JSON file beside its place, syncs it and renames it there.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), SupervisorError> {
    Beside::write(path.to_owned(), value)?.put_in_place()
}

/// A JSON file on the disk, beside its place.
#[derive(Debug)]
pub(crate) struct Beside {
    beside: PathBuf,
    place: PathBuf,
}

impl Beside {
    /// Writes and syncs it.
    pub(crate) fn write(place: PathBuf, value: &impl Serialize) -> Result<Self, SupervisorError> {
        let file = Self {
            beside: place.with_extension(format!("new{}", std::process::id())),
            place,
        };
        let write = || -> io::Result<()> {
            let mut bytes = serde_json::to_vec_pretty(value)?;
            bytes.push(b'\n');
            fs::write(&file.beside, bytes)?;
            fs::set_permissions(&file.beside, fs::Permissions::from_mode(0o600))?;
            File::open(&file.beside)?.sync_all()
        };
        write().map_err(|error| file.remove(error))?;
        Ok(file)
    }

    /// Replaces what is in its place.
    pub(crate) fn put_in_place(self) -> Result<(), SupervisorError> {
        fs::rename(&self.beside, &self.place).map_err(|error| self.remove(error))
    }

    fn remove(&self, error: io::Error) -> SupervisorError {
        let _ = fs::remove_file(&self.beside);
        SupervisorError::state(&self.place)(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_on_other_machines_are_named_and_local_ones_are_not() {
        for (magic, kind) in [(0x6969, "NFS"), (0xff53_4d42, "SMB"), (-0x00ac_b2be, "SMB")] {
            assert_eq!(network_file_system(magic), Some(kind));
        }
        for local in [0xef53, 0x9123_683e, 0x0102_1994, 0x5846_5342] {
            assert_eq!(network_file_system(local), None);
        }
    }

    #[test]
    fn a_second_supervisor_cannot_take_the_lock_and_a_dead_one_leaves_it() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(Some(root.path().join("s")), None, None).unwrap();
        let task = state.task(&TaskId::from_random(7));
        task.create().unwrap();
        let lock = task.lock().unwrap();
        assert!(matches!(task.lock(), Err(SupervisorError::Running)));
        drop(lock);
        assert!(!task.is_locked());
    }

    #[test]
    fn the_state_directory_is_for_its_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(None, Some(root.path().to_owned()), None).unwrap();
        assert_eq!(state.path(), root.path().join("stockade"));
        let mode = fs::metadata(state.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_damaged_file_is_named_in_the_error() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("task.json");
        fs::write(&path, "{").unwrap();
        let error = read_json::<serde_json::Value>(&path)
            .unwrap_err()
            .to_string();
        assert!(error.contains("task.json"), "{error}");
    }
}
