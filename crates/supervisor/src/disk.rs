//! Tasks whose files are on a disk of their own, so that the kernel keeps them
//! from filling the machine's.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
};

use stockade_sandbox::disk::{self, DiskError, Mounted};
use stockade_workspace::{DISK, OwnDisk, TaskSpace};

use crate::{error::SupervisorError, state::TaskDirectory, task::Plan};

/// The file that is the disk, in the task's folder.
const IMAGE: &str = "disk.image";

/// Refuses what cannot be: the kernel is to keep a task's files from growing
/// beyond `bytes`.
pub(crate) fn check(bytes: u64) -> Result<(), SupervisorError> {
    if bytes < disk::SMALLEST {
        return Err(SupervisorError::Refused(DiskError::TooSmall.to_string()));
    }
    disk::available().map_err(|missing| {
        SupervisorError::Refused(format!(
            "the kernel cannot keep the quota here: {missing}; `--quota SIZE` is kept by a \
             process that looks"
        ))
    })
}

/// The folder in which the files of `task` are, which may have a disk of its own.
pub(crate) fn filled(task: &TaskDirectory, own_disk: bool) -> PathBuf {
    if own_disk {
        at(task)
    } else {
        task.path().to_owned()
    }
}

/// Makes the disk of a task that is being created.
pub(crate) struct NewDisk {
    bytes: u64,
    mounted: Mutex<Option<Mounted>>,
}

impl NewDisk {
    /// Runs `create` with a disk of `bytes` to be made, which is mounted only
    /// for this long, and seen only by it.
    pub(crate) fn while_creating<T: Send>(
        bytes: u64,
        create: impl FnOnce(&Self) -> Result<T, SupervisorError> + Send,
    ) -> Result<T, SupervisorError> {
        with_private_mounts(|| {
            let disk = Self {
                bytes,
                mounted: Mutex::default(),
            };
            let created = create(&disk);
            let taken_off = disk.unmount().map_err(SupervisorError::Disk);
            created.and_then(|created| taken_off.map(|()| created))
        })
    }

    fn unmount(&self) -> Result<(), DiskError> {
        let mut mounted = self.mounted.lock().unwrap_or_else(PoisonError::into_inner);
        mounted.take().map_or(Ok(()), Mounted::unmount)
    }
}

impl OwnDisk for NewDisk {
    fn make(&self, at: &Path) -> io::Result<()> {
        let image = at.with_file_name(IMAGE);
        let made = disk::make(&image, self.bytes).and_then(|()| disk::mount_at(&image, at));
        let mut mounted = self.mounted.lock().unwrap_or_else(PoisonError::into_inner);
        *mounted = Some(made.map_err(io::Error::other)?);
        Ok(())
    }

    fn take_off(&self) {
        // What the error would tell is told by what could not be removed.
        let _ = self.unmount();
    }
}

/// Mounts a task's disk, if it has one of its own, for as long as this process
/// and what it starts live. Called before it has threads.
pub(crate) fn mount_for_good(
    task: &TaskDirectory,
    plan: &Plan,
) -> Result<Option<Mounted>, SupervisorError> {
    if !plan.own_disk {
        return Ok(None);
    }
    disk::enter_private_mounts().map_err(SupervisorError::Disk)?;
    let (image, at) = places(task);
    disk::mount_at(&image, &at)
        .map(Some)
        .map_err(SupervisorError::Disk)
}

/// Runs `work` on the files of a task that does not run; its disk, if it has
/// one, is mounted for this long.
pub fn with_disk<T: Send>(
    task: &TaskDirectory,
    space: &TaskSpace,
    work: impl FnOnce() -> T + Send,
) -> Result<T, SupervisorError> {
    if !space.record().own_disk {
        return Ok(work());
    }
    let (image, at) = places(task);
    with_private_mounts(|| {
        let mounted = disk::mount_at(&image, &at).map_err(SupervisorError::Disk)?;
        let done = work();
        mounted.unmount().map_err(SupervisorError::Disk)?;
        Ok(done)
    })
}

/// A task's disk, and the folder where it is mounted.
fn places(task: &TaskDirectory) -> (PathBuf, PathBuf) {
    let at = at(task);
    (at.with_file_name(IMAGE), at)
}

/// The folder where the disk of a task is mounted that has one.
pub(crate) fn at(task: &TaskDirectory) -> PathBuf {
    task.join(DISK)
}

/// Runs `work` in a thread that has its mounts for itself.
fn with_private_mounts<T: Send>(
    work: impl FnOnce() -> Result<T, SupervisorError> + Send,
) -> Result<T, SupervisorError> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            disk::enter_private_mounts().map_err(SupervisorError::Disk)?;
            work()
        });
        let crashed = |_| Err(SupervisorError::Control(io::Error::other("a thread ended")));
        thread.join().unwrap_or_else(crashed)
    })
}
