//! Takes everything that tasks left out of a user's repository.

use crate::{
    git::{Git, GitError},
    repository::Repository,
};

impl Repository {
    /// Deletes every reference below `refs/stockade/` and returns how many
    /// there were. Branches and tags are not touched; the objects go with the
    /// user's next `git gc`.
    pub fn forget_tasks(&self, git: &Git) -> Result<usize, GitError> {
        let listed = git
            .call(self.common(), "for-each-ref")
            .args(["--format=delete %(refname)", "refs/stockade/"])
            .run()?;
        let count = listed
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .count();
        if count > 0 {
            git.call(self.common(), "update-ref")
                .writes()
                .arg("--stdin")
                .run_with(&listed)?;
            // Git leaves the folder of the last one; one that is not empty stays.
            let _ = std::fs::remove_dir(self.common_dir().join("refs/stockade"));
        }
        Ok(count)
    }
}
