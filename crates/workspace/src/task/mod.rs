//! One task's part of the state directory.

mod copy;
mod known;
mod slug;
mod writer;

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use stockade_sandbox::btrfs;
use stockade_types::TaskId;

pub(crate) use self::writer::TreeWriter;
pub use self::{
    known::Known,
    slug::{Slug, SlugError},
};
use crate::{
    files::{self, FileError, failed},
    git::{GitDir, write_skeleton},
    manifest::Manifest,
    object::ObjectId,
    pool::{PoolEntry, PoolError, TREE_IN_SUBVOLUME},
    remove,
    repository::Repository,
};

/// Where a task's own repository appears inside its sandbox.
pub const AGENT_GIT_INSIDE: &str = "/agent.git";
/// Where the pool's repository appears inside a sandbox, read-only.
pub const POOL_GIT_INSIDE: &str = "/pool.git";

/// The subvolume of a task, in its folder.
pub const BTRFS: &str = "btrfs";

/// The version of `task.json`.
const VERSION: u32 = 1;

/// How the agent's tree comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackEnd {
    /// A writable layer over the pool's tree; mounted by the sandbox.
    Overlay,
    /// A copy of the pool's tree, by reflink where the file system has it.
    Checkout,
    /// A snapshot of a btrfs subvolume.
    Btrfs,
}

/// Why a task's space cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A task of this id exists.
    #[error("the task {0} exists already")]
    Exists(TaskId),
    /// No task of this id.
    #[error("there is no task {0}; `stockade ls` lists them")]
    NoSuchTask(TaskId),
    /// The task was written by a newer Stockade.
    #[error(
        "the task {id} has format {found}, this version of Stockade knows up to {VERSION}; update Stockade"
    )]
    Newer {
        /// The task.
        id: TaskId,
        /// Its format.
        found: u32,
    },
    /// Its base tree cannot be used.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A step on the file system failed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What a task's space is about; stored as `task.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskRecord {
    version: u32,
    /// The task.
    pub id: TaskId,
    /// The end of its branch's name.
    pub slug: Slug,
    /// The checkout that it was started from.
    pub worktree: PathBuf,
    /// The user's commit that it starts from.
    pub base: ObjectId,
    /// Its pool entry.
    pub pool: PathBuf,
    /// How its tree was made.
    pub back_end: BackEnd,
    /// Whether what the agent fills is on a disk of the task's own.
    #[serde(default)]
    pub own_disk: bool,
}

/// Puts a disk of its own under what a task fills; given by the sandbox.
pub trait OwnDisk {
    /// Makes one, empty, and mounts it at this folder.
    fn make(&self, at: &Path) -> std::io::Result<()>;
    /// Takes it off again.
    fn take_off(&self);
}

/// The folder, in the task's, at which a disk of its own is mounted.
pub const DISK: &str = "disk";

/// One task's folders and repositories. See the crate's documentation for who
/// may write which.
#[derive(Clone, Debug)]
pub struct TaskSpace {
    folder: PathBuf,
    record: TaskRecord,
    pool: PoolEntry,
}

/// A new space and how long it took.
#[derive(Debug)]
pub struct Created {
    /// The space.
    pub space: TaskSpace,
    /// The back end in use.
    pub back_end: BackEnd,
    /// From the call to the ready tree.
    pub took: Duration,
}

impl TaskSpace {
    /// Makes the space of the task `id` over the base tree `pool`.
    pub fn create(
        state: &Path,
        id: &TaskId,
        slug: &Slug,
        repository: &Repository,
        pool: &PoolEntry,
        back_end: BackEnd,
        disk: Option<&dyn OwnDisk>,
    ) -> Result<Created, TaskError> {
        let started = Instant::now();
        let tasks = state.join("tasks");
        std::fs::create_dir_all(&tasks).map_err(failed("create the folder", &tasks))?;
        let folder = tasks.join(id.as_str());
        if folder.exists() {
            return Err(TaskError::Exists(id.clone()));
        }
        // Appears whole, by rename.
        let building = tasks.join(format!(".{id}.building"));
        remove::folder(&building).map_err(failed("remove", &building))?;
        std::fs::create_dir(&building).map_err(failed("create the folder", &building))?;
        let record = TaskRecord {
            version: VERSION,
            id: id.clone(),
            slug: slug.clone(),
            worktree: repository.worktree().to_owned(),
            base: pool.base().commit.clone(),
            pool: pool.folder().to_owned(),
            back_end,
            own_disk: disk.is_some(),
        };
        let space = Self {
            folder: building.clone(),
            record,
            pool: pool.clone(),
        };
        let built = disk.map_or(Ok(()), |disk| space.make_disk(disk));
        if let Err(error) = built.and_then(|()| space.build()) {
            if let Some(disk) = disk {
                disk.take_off();
            }
            // Nobody would look for it again; the first error is what counts.
            let _ = remove::folder(&building);
            return Err(error);
        }
        std::fs::rename(&building, &folder).map_err(failed("put in place", &folder))?;
        let space = Self { folder, ..space };
        Ok(Created {
            space,
            back_end,
            took: started.elapsed(),
        })
    }

    /// Opens the space of a task that exists.
    pub fn open(state: &Path, id: &TaskId) -> Result<Self, TaskError> {
        let folder = state.join("tasks").join(id.as_str());
        if !folder.is_dir() {
            return Err(TaskError::NoSuchTask(id.clone()));
        }
        let record: TaskRecord = files::read_json(&folder.join("task.json"))?;
        if record.version > VERSION {
            return Err(TaskError::Newer {
                id: id.clone(),
                found: record.version,
            });
        }
        let pool = PoolEntry::open(&record.pool)?;
        Ok(Self {
            folder,
            record,
            pool,
        })
    }

    fn make_disk(&self, disk: &dyn OwnDisk) -> Result<(), TaskError> {
        let at = self.filled();
        std::fs::create_dir(&at).map_err(failed("create the folder", &at))?;
        Ok(disk.make(&at).map_err(failed("make the disk", &at))?)
    }

    fn build(&self) -> Result<(), TaskError> {
        let create = |folder: PathBuf| {
            std::fs::create_dir(&folder).map_err(failed("create the folder", &folder))
        };
        create(self.home())?;
        match self.record.back_end {
            BackEnd::Overlay => {
                create(self.ws())?;
                create(self.upper())?;
                create(self.work())?;
            }
            BackEnd::Checkout => {
                create(self.ws())?;
                self.copy_base_tree(&self.ws(), &self.stamps())?;
            }
            BackEnd::Btrfs => {
                create(self.work())?;
                self.snapshot_base_tree(BTRFS, &self.stamps())?;
            }
        }
        self.make_agent_repository()?;
        let base = self.pool.base();
        let objects = self.pool.git_dir().objects();
        let shadow = GitDir::create(&self.folder.join("shadow.git"), base.format, &[&objects])?;
        shadow.set_shallow(&[&base.agent_commit])?;
        GitDir::create(
            &self.folder.join("quarantine.git"),
            base.format,
            &[&objects],
        )?
        .set_shallow(&[&base.agent_commit])?;
        Ok(files::write_json(
            &self.folder.join("task.json"),
            &self.record,
        )?)
    }

    /// The agent's repository, made from plain files: from the first command
    /// inside on, it is the agent's, and git never opens it on the host.
    fn make_agent_repository(&self) -> Result<(), TaskError> {
        let base = self.pool.base();
        let path = self.agent_git();
        let head = self.agent_branch();
        // The index was made over the pool's tree: same sizes and times, but
        // other inodes in a copy and other device numbers in an overlay. What is
        // untracked is cached, because an overlay lists its folders slowly.
        let config = "\tcheckStat = minimal\n\ttrustctime = false\n\tuntrackedCache = true\n\
                      [user]\n\tname = Agent\n\temail = agent@stockade.invalid\n\
                      [gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n\
                      [advice]\n\tdetachedHead = false\n";
        write_skeleton(&path, base.format, false, &head, config)?;
        let write = |name: &str, text: String| {
            let file = path.join(name);
            if let Some(parent) = file.parent() {
                std::fs::create_dir_all(parent).map_err(failed("create the folder", parent))?;
            }
            std::fs::write(&file, text).map_err(failed("write", &file))
        };
        write(&head, format!("{}\n", base.agent_commit))?;
        write("shallow", format!("{}\n", base.agent_commit))?;
        write(
            "objects/info/alternates",
            format!("{POOL_GIT_INSIDE}/objects\n"),
        )?;
        let index = path.join("index");
        std::fs::copy(self.pool.index(), &index).map_err(failed("write", &index))?;
        Ok(())
    }

    /// Copies the pool's tree to the folder `ws` and records its stamps.
    pub(crate) fn copy_base_tree(&self, ws: &Path, stamps: &Path) -> Result<(), FileError> {
        let manifest = Manifest::read(&self.pool.folder().join("manifest"))?;
        copy::tree(
            &self.pool.tree(),
            ws,
            manifest.files(),
            &self.pool.base().submodules,
        )?
        .write(stamps)
    }

    /// Makes `name` in this space's folder a snapshot of the pool's subvolume,
    /// and records what it looks like.
    pub(crate) fn snapshot_base_tree(&self, name: &str, stamps: &Path) -> Result<(), FileError> {
        let none = || {
            let reason = "it is no btrfs subvolume; keep tasks on btrfs (STOCKADE_STATE_DIR), or \
                          use `--backend overlay`";
            failed("take a snapshot of", &self.pool.tree())(std::io::Error::other(reason))
        };
        let subvolume = self.pool.subvolume().ok_or_else(none)?;
        btrfs::snapshot(&subvolume, &self.folder, name)
            .map_err(failed("take a snapshot of", &subvolume))?;
        std::fs::copy(self.pool.stamps(), stamps).map_err(failed("write", stamps))?;
        Ok(())
    }

    /// Keeps other processes from taking a snapshot, undoing or merging this
    /// task until the value is dropped.
    pub(crate) fn lock(&self) -> Result<File, FileError> {
        locked(&self.folder.join("lock"))
    }

    /// Keeps every other task of the same repository from landing its work
    /// until the value is dropped.
    pub(crate) fn landing_lock(&self) -> Result<File, FileError> {
        // The folder of all pool entries of the repository.
        let folder = self.pool.folder().parent().unwrap_or(self.pool.folder());
        locked(&folder.join("landing.lock"))
    }

    /// What the space is about.
    pub fn record(&self) -> &TaskRecord {
        &self.record
    }

    /// The task.
    pub fn id(&self) -> &TaskId {
        &self.record.id
    }

    /// The base tree it works over.
    pub fn pool(&self) -> &PoolEntry {
        &self.pool
    }

    /// The branch that the agent works on, in its own repository.
    pub fn agent_branch(&self) -> String {
        format!("refs/heads/stockade/{}", self.record.slug)
    }

    /// The space's own folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder that holds whatever the agent can fill: on the task's own
    /// disk, if it has one.
    pub fn filled(&self) -> PathBuf {
        if self.record.own_disk {
            self.folder.join(DISK)
        } else {
            self.folder.clone()
        }
    }

    /// The agent's tree; with the overlay back end, where it is mounted.
    pub fn ws(&self) -> PathBuf {
        match self.record.back_end {
            BackEnd::Overlay | BackEnd::Checkout => self.folder.join("ws"),
            BackEnd::Btrfs => self.folder.join(BTRFS).join(TREE_IN_SUBVOLUME),
        }
    }

    /// The overlay's writable layer.
    pub fn upper(&self) -> PathBuf {
        self.filled().join("upper")
    }

    /// The overlay's work folder.
    pub fn work(&self) -> PathBuf {
        self.filled().join("work")
    }

    /// The agent's home folder.
    pub fn home(&self) -> PathBuf {
        self.filled().join("home")
    }

    /// The agent's repository. No git on the host may open it.
    pub fn agent_git(&self) -> PathBuf {
        self.filled().join("agent.git")
    }

    /// What the agent can write of its tree, on the host.
    pub(crate) fn writable_tree(&self) -> PathBuf {
        match self.record.back_end {
            BackEnd::Overlay => self.upper(),
            BackEnd::Checkout | BackEnd::Btrfs => self.ws(),
        }
    }

    /// The folder with everything that the agent can change of its tree: the
    /// writable tree, or the subvolume that holds it. An undo replaces it.
    pub fn layer(&self) -> PathBuf {
        match self.record.back_end {
            BackEnd::Overlay | BackEnd::Checkout => self.writable_tree(),
            BackEnd::Btrfs => self.folder.join(BTRFS),
        }
    }

    pub(crate) fn stamps(&self) -> PathBuf {
        self.folder.join("stamps")
    }

    /// The host's repository of snapshots.
    pub(crate) fn shadow(&self) -> GitDir {
        self.borrowing("shadow.git", vec![self.pool.git_dir().objects()])
    }

    /// The host's repository for what the agent hands over.
    pub(crate) fn quarantine(&self) -> GitDir {
        self.borrowing("quarantine.git", vec![self.pool.git_dir().objects()])
    }

    fn borrowing(&self, name: &str, borrows: Vec<PathBuf>) -> GitDir {
        GitDir::existing(self.folder.join(name), self.pool.base().format, borrows)
    }
}

/// An exclusive lock on a file, made if it is not there.
fn locked(path: &Path) -> Result<File, FileError> {
    let lock = File::create(path).map_err(failed("create", path))?;
    flock(&lock, FlockOperation::LockExclusive)
        .map_err(|error| failed("lock", path)(error.into()))?;
    Ok(lock)
}
