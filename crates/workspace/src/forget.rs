//! Takes what tasks left out of a user's repository.

use stockade_types::TaskId;

use crate::{
    git::{Git, GitError},
    repository::Repository,
};

/// Below which all references of tasks are.
const REFERENCES: &str = "refs/stockade/";

impl Repository {
    /// Deletes every reference below `refs/stockade/` and returns how many
    /// there were. Branches and tags are not touched; the objects go with the
    /// user's next `git gc`.
    pub fn forget_tasks(&self, git: &Git) -> Result<usize, GitError> {
        self.forget(git, REFERENCES)
    }

    /// The same of one task.
    pub(crate) fn forget_task(&self, git: &Git, id: &TaskId) -> Result<usize, GitError> {
        self.forget(git, &format!("{REFERENCES}{id}/"))
    }

    /// Whether something of the task was ever brought here.
    pub(crate) fn knows_task(&self, git: &Git, id: &TaskId) -> Result<bool, GitError> {
        Ok(!self
            .deletions(git, &format!("{REFERENCES}{id}/"))?
            .is_empty())
    }

    fn forget(&self, git: &Git, below: &str) -> Result<usize, GitError> {
        let deletions = self.deletions(git, below)?;
        let count = deletions
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .count();
        if count > 0 {
            git.call(self.common(), "update-ref")
                .writes()
                .arg("--stdin")
                .run_with(&deletions)?;
            // Git leaves the folder of the last one; one that is not empty stays.
            let _ = std::fs::remove_dir(self.common_dir().join(REFERENCES));
        }
        Ok(count)
    }

    /// What deletes all references below a name, as `update-ref` reads it.
    fn deletions(&self, git: &Git, below: &str) -> Result<Vec<u8>, GitError> {
        git.call(self.common(), "for-each-ref")
            .args(["--format=delete %(refname)", below])
            .run()
    }
}
