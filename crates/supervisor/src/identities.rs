//! Which task has which user id, as root: a folder of symbolic links, each
//! named after an id and naming the task. Making a link fails if it is there,
//! so two tasks never have one id, and a start takes no longer the more tasks
//! there are.

use std::{fs, io, path::PathBuf};

use rand::Rng;
use stockade_sandbox::Identity;
use stockade_types::TaskId;

use crate::{
    error::SupervisorError,
    state::{StateDirectory, make_private},
};

/// Kernel ids that no distribution hands out: systemd's and subordinate
/// ranges end below, and the sign bit is above.
const FIRST_ID: u32 = 0x7000_0000;
const IDS: u32 = 0x0fff_0000;

/// The user ids of a state directory's tasks.
#[derive(Debug)]
pub struct Identities<'a> {
    state: &'a StateDirectory,
    folder: PathBuf,
}

impl<'a> Identities<'a> {
    /// Those of the tasks in `state`.
    pub fn of(state: &'a StateDirectory) -> Self {
        Self {
            state,
            folder: state.path().join("identities"),
        }
    }

    /// An id that no task has now.
    pub(crate) fn unused(&self) -> Identity {
        let mut random = rand::rng();
        loop {
            let id = FIRST_ID + random.random_range(0..IDS);
            let identity = Identity { uid: id, gid: id };
            if self.link(identity).symlink_metadata().is_err() {
                return identity;
            }
        }
    }

    /// Makes `identity` the task's own. Its folder must be there already, or
    /// [`Self::sweep`] could free the id again.
    pub(crate) fn claim(&self, identity: Identity, task: &TaskId) -> Result<(), SupervisorError> {
        make_private(&self.folder).map_err(SupervisorError::state(&self.folder))?;
        let link = self.link(identity);
        match std::os::unix::fs::symlink(task.as_str(), &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(SupervisorError::IdentityTaken(identity.uid))
            }
            made => made.map_err(SupervisorError::state(link)),
        }
    }

    /// Frees the ids of tasks that are neither there nor in the trash.
    pub fn sweep(&self) -> Result<(), SupervisorError> {
        let failed = |error| SupervisorError::state(&self.folder)(error);
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let link = entry.map_err(failed)?.path();
            let task = fs::read_link(&link).ok();
            let task = task.and_then(|task| task.to_str()?.parse().ok());
            if task.is_some_and(|task| !self.holds(&task)) {
                fs::remove_file(&link).map_err(SupervisorError::state(link))?;
            }
        }
        Ok(())
    }

    /// Whether the task is anywhere. A task that is restored meanwhile leaves
    /// the trash for a place that was looked at before: so that one is last too.
    fn holds(&self, task: &TaskId) -> bool {
        ["tasks", "trash", "tasks"]
            .iter()
            .any(|place| self.state.path().join(place).join(task.as_str()).exists())
    }

    fn link(&self, identity: Identity) -> PathBuf {
        self.folder.join(identity.uid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDirectory) {
        let root = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(Some(root.path().join("s")), None, None).unwrap();
        (root, state)
    }

    #[test]
    fn an_id_belongs_to_the_first_task_that_claims_it_even_of_many_at_once() {
        let (_root, state) = state();
        let identity = Identities::of(&state).unused();
        let claim = |number| {
            let claimed = Identities::of(&state).claim(identity, &TaskId::from_random(number));
            assert!(matches!(
                claimed,
                Ok(()) | Err(SupervisorError::IdentityTaken(_))
            ));
            claimed.is_ok()
        };
        let claimed = std::thread::scope(|scope| {
            let claims: Vec<_> = (0..8).map(|n| scope.spawn(move || claim(n))).collect();
            let claims = claims.into_iter().map(|claim| claim.join().unwrap());
            claims.filter(|claimed| *claimed).count()
        });
        assert_eq!(claimed, 1);
    }

    #[test]
    fn an_id_is_free_again_once_its_task_is_not_even_in_the_trash() {
        let (_root, state) = state();
        let identities = Identities::of(&state);
        identities.sweep().unwrap();
        let (here, removed, gone) = (
            identities.unused(),
            identities.unused(),
            identities.unused(),
        );
        for (number, identity, place) in [
            (1, here, Some("tasks")),
            (2, removed, Some("trash")),
            (3, gone, None),
        ] {
            let task = TaskId::from_random(number);
            identities.claim(identity, &task).unwrap();
            if let Some(place) = place {
                fs::create_dir(state.path().join(place).join(task.as_str())).unwrap();
            }
        }
        identities.sweep().unwrap();
        let again = TaskId::from_random(4);
        assert!(identities.claim(here, &again).is_err());
        assert!(identities.claim(removed, &again).is_err());
        identities.claim(gone, &again).unwrap();
    }
}
