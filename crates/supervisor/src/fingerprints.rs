//! The fingerprints of a task's base, for its gateway, which opens no file.

use std::{fs::File, io::Write, os::fd::OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::{save, state::TaskDirectory};

/// Makes them when they are first asked for.
#[derive(Clone, Debug)]
pub(crate) struct Fingerprints(TaskDirectory);

impl Fingerprints {
    pub(crate) fn of(task: &TaskDirectory) -> Self {
        Self(task.clone())
    }

    /// A file in memory that holds them, or why there is none, for those inside.
    pub(crate) fn file(&self) -> Result<OwnedFd, String> {
        let made = || {
            let space = save::space(&self.0)?;
            let index = space.pool().source_index();
            index.map_err(|error| crate::SupervisorError::Workspace(error.to_string()))
        };
        // Paths of this machine are nobody's business inside.
        let index = made().map_err(|_| "their fingerprints could not be made".to_owned())?;
        let file = memfd_create(c"fingerprints", MemfdFlags::CLOEXEC).map_err(|e| e.to_string())?;
        let mut file = File::from(file);
        file.write_all(&index.to_bytes())
            .map_err(|e| e.to_string())?;
        Ok(file.into())
    }
}
