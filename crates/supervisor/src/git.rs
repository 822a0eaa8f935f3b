//! The git that every verb uses: hardened by the workspace room, confined by
//! the sandbox room.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use stockade_sandbox::HelperLimits;
use stockade_workspace::{Confine, Git, GitError};

/// Each git process: no network, few files, bounded memory and time.
#[derive(Debug)]
struct Walls(HelperLimits);

impl Confine for Walls {
    fn confine(
        &self,
        command: &mut Command,
        readable: &[&Path],
        writable: &[&Path],
    ) -> io::Result<()> {
        stockade_sandbox::confine(command, readable, writable, &self.0)
    }
}

/// The first git on `search_path`, behind walls.
pub fn find_git(search_path: &OsStr) -> Result<Git, GitError> {
    Git::find(search_path, Arc::new(Walls(HelperLimits::default())))
}

/// The git at `program`, behind walls.
pub(crate) fn git_at(program: &Path) -> Git {
    Git::new(
        PathBuf::from(program),
        Arc::new(Walls(HelperLimits::default())),
    )
}
