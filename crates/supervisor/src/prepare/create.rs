//! Makes a prepared task's folder: the last step before it can start.

use std::{
    fs, io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    panic::resume_unwind,
    path::Path,
    thread,
    time::Duration,
};

use stockade_agents::HomeFile;
use stockade_sandbox::Identity;
use stockade_workspace::{BackEnd, Brought, Created, OwnDisk, START, SnapshotLimits, TaskSpace};

use super::{Host, Prepared, workspace};
use crate::{
    disk::NewDisk,
    error::SupervisorError,
    guarded::{HiddenValue, hidden_values},
    identities::Identities,
    policy::POLICY,
    state::{Beside, StateDirectory},
    task::{PLAN, Plan, STATUS},
};

/// As root: a user id that no other task has. Otherwise the caller's own.
pub(super) fn identity(state: &StateDirectory) -> Option<Identity> {
    let root = rustix::process::geteuid().is_root();
    root.then(|| Identities::of(state).unused())
}

impl Prepared {
    /// Makes the task's folder, and brings into it what shall come along.
    /// What could not be finished is removed.
    pub fn create(&self, host: &Host) -> Result<Made, SupervisorError> {
        match self.plan.disk_bytes.filter(|_| self.plan.own_disk) {
            Some(bytes) => NewDisk::while_creating(bytes, |disk| self.fill(host, Some(disk))),
            None => self.fill(host, None),
        }
    }

    /// What the files hold that are hidden from it.
    pub(crate) fn hidden_values(&self, host: &Host) -> Result<Vec<HiddenValue>, SupervisorError> {
        hidden_values(&host.git, &self.repository, &self.pool, &self.secrets)
    }

    fn fill(&self, host: &Host, disk: Option<&NewDisk>) -> Result<Made, SupervisorError> {
        let own_disk = disk.map(|disk| disk as &dyn OwnDisk);
        // A folder that is there already is another task's, and stays.
        let created = TaskSpace::create(
            host.state.path(),
            self.task.id(),
            &self.slug,
            &self.repository,
            &self.pool,
            self.back_end,
            own_disk,
        )
        .map_err(workspace)?;
        self.furnish(host, &created).inspect_err(|_| {
            if let Some(disk) = own_disk {
                disk.take_off();
            }
            // It has been nobody's yet; an error here would hide the first.
            let _ = stockade_workspace::remove_folder(self.task.path());
        })
    }

    fn furnish(&self, host: &Host, created: &Created) -> Result<Made, SupervisorError> {
        self.task.create()?;
        if let Some(identity) = self.plan.sandbox.identity {
            Identities::of(&host.state).claim(identity, self.task.id())?;
        }
        let brought = self.bring(host, &created.space)?;
        let home = created.space.home();
        for file in &self.files {
            write(&home, file).map_err(SupervisorError::state(home.join(&file.path)))?;
        }
        let layers = self.plan.sandbox.grants.iter();
        let layers = layers.filter(|grant| grant.over.is_some());
        let layers: Vec<_> = layers.map(|grant| grant.source.clone()).collect();
        for layer in &layers {
            fs::create_dir(layer).map_err(SupervisorError::state(layer))?;
        }
        if let Some(identity) = self.plan.sandbox.identity {
            let own = [home, created.space.agent_git()];
            for path in own.into_iter().chain(layers) {
                hand_over(&path, identity).map_err(SupervisorError::state(&path))?;
            }
            give_tree(&self.plan, &created.space)?;
            // The anchor, already the task's own user, passes through to the
            // two overlay folders; the state directory above stays closed.
            fs::set_permissions(self.task.path(), fs::Permissions::from_mode(0o711))
                .map_err(SupervisorError::state(self.task.path()))?;
        }
        self.write_state()?;
        Ok(Made {
            back_end: created.back_end,
            tree: created.took,
            brought: brought.written.len(),
            hidden: brought.hidden.len(),
        })
    }

    /// Writes the files that tell of the task, whose syncs the disk does at once; its
    /// status, by which it is found, comes last.
    fn write_state(&self) -> Result<(), SupervisorError> {
        let place = |name| self.task.join(name);
        let (policy, plan, status) = thread::scope(|scope| {
            let policy = scope.spawn(|| Beside::write(place(POLICY), &self.policy));
            let plan = scope.spawn(|| Beside::write(place(PLAN), &self.plan));
            let status = Beside::write(place(STATUS), &self.status);
            (policy.join(), plan.join(), status)
        });
        for written in [policy, plan, Ok(status)] {
            let written = written.unwrap_or_else(|panic| resume_unwind(panic));
            written?.put_in_place()?;
        }
        Ok(())
    }

    /// Files that `.worktreeinclude` lists, and with `--with-dirty` whatever
    /// is not committed; then the first snapshot, so that it can be told from
    /// what the agent does.
    fn bring(&self, host: &Host, space: &TaskSpace) -> Result<Brought, SupervisorError> {
        let stand_ins = self.plan.stand_ins();
        let mut brought = space
            .bring_included(&host.git, &self.repository, &self.secrets, &stand_ins)
            .map_err(workspace)?;
        if self.with_dirty {
            let changes = space
                .bring_changes(&host.git, &self.repository, &self.secrets, &stand_ins)
                .map_err(workspace)?;
            brought.written.extend(changes.written);
            brought.hidden.extend(changes.hidden);
            space
                .snapshot(&host.git, START, &SnapshotLimits::default())
                .map_err(workspace)?;
        }
        Ok(brought)
    }
}

/// Gives a task's tree, which the host has built, to the task's own user.
/// Without such a user there is nothing to do.
pub fn give_tree(plan: &Plan, space: &TaskSpace) -> Result<(), SupervisorError> {
    let Some(identity) = plan.sandbox.identity else {
        return Ok(());
    };
    let known = space.known().map_err(workspace)?;
    for path in [space.layer(), space.work()] {
        if path.exists() {
            hand_over(&path, identity).map_err(SupervisorError::state(&path))?;
        }
    }
    space.remember(&known).map_err(workspace)
}

/// What was made for a task.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// How its tree came to be.
    pub back_end: BackEnd,
    /// How long its tree took.
    pub tree: Duration,
    /// Uncommitted or ignored files that came along.
    pub brought: usize,
    /// Those of them whose content is hidden.
    pub hidden: usize,
}

/// Writes a file into the new home, which nobody else has touched yet.
fn write(home: &Path, file: &HomeFile) -> io::Result<()> {
    let path = home.join(&file.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut options = fs::File::options();
    let mut open = options
        .write(true)
        .create_new(true)
        .mode(file.mode)
        .open(&path)?;
    io::Write::write_all(&mut open, &file.content)
}

/// Gives everything below `path`, which nobody else has touched yet, to the
/// task's own user.
pub(crate) fn hand_over(path: &Path, identity: Identity) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(identity.uid), Some(identity.gid))?;
    if path.symlink_metadata()?.is_dir() {
        for entry in fs::read_dir(path)? {
            hand_over(&entry?.path(), identity)?;
        }
    }
    Ok(())
}
