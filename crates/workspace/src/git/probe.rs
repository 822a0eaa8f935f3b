//! Whether a git can do what is needed, found out by doing it.

use std::path::Path;

use super::{Git, GitDir, GitError};
use crate::object::ObjectFormat;

impl Git {
    /// Makes a throw-away repository in `folder`, which must not exist, and
    /// does in it what tasks need: write trees and commits, and merge without
    /// a checkout. The caller removes the folder.
    pub fn rehearse(&self, folder: &Path) -> Result<(), GitError> {
        let repository = GitDir::create(folder, ObjectFormat::Sha1, &[]).map_err(|error| {
            GitError::Unexpected {
                command: "init",
                detail: error.to_string(),
            }
        })?;
        let line = |call: super::Call<'_>| call.writes().line();
        let tree = line(self.call(&repository, "mktree"))?;
        let commit = line(
            self.call(&repository, "commit-tree")
                .args([&*tree, "-m", "one"]),
        )?;
        let merged =
            line(
                self.call(&repository, "merge-tree")
                    .args(["--write-tree", &commit, &commit]),
            )?;
        if merged == tree {
            Ok(())
        } else {
            Err(GitError::Unexpected {
                command: "merge-tree",
                detail: merged,
            })
        }
    }
}
