//! Merging an agent's own commits one by one instead of their sum.
//!
//! A commit in between is as public as the last one, so each tree is judged
//! by the rules that the final one was: what may not come back, or was not
//! accepted, in any of them keeps all of them from being kept.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Approval, MergeError, MergePlan, MergeRequest, branch, merge_trees, message};
use crate::{
    decision::{Accepted, Undecided},
    diff::{self, DiffError, Review},
    files::FileError,
    git::{Change, Git, GitDir, GitError},
    import::{HEAD, ImportError, Imported},
    object::ObjectId,
    path::TreePath,
    repository::Repository,
    risk::Mark,
    task::TaskSpace,
};

/// How many commits of an agent's can be kept.
const COMMITS: u16 = 200;
/// The bytes of one commit's text, its message above all.
const TEXT_LIMIT: u64 = 64 << 10;
/// The characters of a subject that are listed.
const SUBJECT: usize = 120;

/// Why an agent's own commits cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Part of the work stays out, so that the commits would bring too much.
    #[error("`{path}` does not come back whole ({reason}); accept all of it")]
    NotWhole {
        /// The file.
        path: TreePath,
        /// Why it stays out.
        reason: String,
    },
    /// There are none.
    #[error("it left none on what it had checked out at the end")]
    None,
    /// There are too many to look at.
    #[error("there are more than {COMMITS}")]
    TooMany,
    /// They are no plain list of commits on the base.
    #[error("{commit} does not stand on one commit that stands on the base")]
    NotLinear {
        /// The agent's commit.
        commit: ObjectId,
    },
    /// A commit in between holds what may not come back or was not accepted.
    #[error("in {commit}, `{path}` is what may not come back: {reason}")]
    Inside {
        /// The agent's commit.
        commit: ObjectId,
        /// The file.
        path: TreePath,
        /// Why.
        reason: String,
    },
    /// A commit could not be looked at.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A commit could not be compared.
    #[error(transparent)]
    Diff(#[from] DiffError),
    /// A step on the file system failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// A commit that lands as one of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCommit {
    /// The commit that lands.
    pub commit: ObjectId,
    /// The agent's commit that it repeats; `None` for what was not committed.
    pub of: Option<ObjectId>,
    /// The first line of its message, safe to show.
    pub subject: String,
    /// What it changes.
    pub files: Vec<KeptFile>,
}

/// A file that a kept commit changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Where it is.
    pub path: TreePath,
    /// Why to look twice, compared with the base.
    pub marks: Vec<Mark>,
}

/// A state of the tree that becomes a commit.
struct Step {
    /// The tree, as a commit on the user's base.
    commit: ObjectId,
    of: Option<ObjectId>,
    message: String,
    files: Vec<KeptFile>,
}

impl TaskSpace {
    /// Plans a merge that keeps the agent's own commits. What it had not
    /// committed becomes a last one, with the message of the request.
    pub fn plan_kept_merge(
        &self,
        git: &Git,
        repository: &Repository,
        imported: &Imported,
        accepted: &Accepted,
        request: &MergeRequest<'_>,
    ) -> Result<MergePlan, MergeError> {
        let _lock = self.lock()?;
        let mut missing = imported.refused.iter().chain(&accepted.left_out);
        if let Some(missing) = missing.next() {
            let (path, reason) = (missing.path.clone(), missing.reason.clone());
            return Err(KeepError::NotWhole { path, reason }.into());
        }
        let target_ref = branch(git, repository, request.target)?;
        let old_id = git.commit(repository.common(), &target_ref)?;
        let import = self.import_repository(repository)?;
        let mut tip = old_id.clone();
        let mut tree = git.tree(&import, &old_id)?;
        let mut kept = Vec::new();
        for step in self.steps(git, &import, request)? {
            let merged = match merge_trees(git, &import, &old_id, &step.commit)? {
                Ok(merged) => merged,
                Err(conflicts) => return Ok(MergePlan::Conflicts(conflicts)),
            };
            // The target has it already, or the commit was empty.
            if merged == tree {
                continue;
            }
            let message = message::with_trailers(&step.message, request.provenance);
            tip = self.commit(git, &import, request, &merged, &tip, &message)?;
            tree = merged;
            let subject = message.lines().next().unwrap_or_default();
            kept.push(KeptCommit {
                commit: tip.clone(),
                of: step.of,
                subject: subject.chars().take(SUBJECT).collect(),
                files: step.files,
            });
        }
        if kept.is_empty() {
            return Ok(MergePlan::Nothing);
        }
        let approval = Approval {
            target_ref,
            old_id,
            new_commit: tip,
            kept,
            manifest_sha256: String::new(),
        };
        approval.sealed(git, &import)
    }

    /// Every state that the branch would go through, each of them judged.
    fn steps(
        &self,
        git: &Git,
        import: &GitDir,
        request: &MergeRequest<'_>,
    ) -> Result<Vec<Step>, KeepError> {
        let decisions = self.decisions()?;
        let base = &self.pool().base().commit;
        let mut before = base.clone();
        let mut steps = Vec::new();
        for (of, message) in self.agents_commits(git)? {
            let (commit, refused) = self.bring_back(git, import, &of, "A step\n", 0)?;
            let review = diff::compare_commits(git, import, base, &commit, request.scanner)?;
            let refused = refused.into_iter().map(|file| (file.path, file.reason));
            let objected = review.files.iter().filter_map(|file| {
                let reason = decisions.objection(file, Undecided::Accept)?;
                Some((file.path.clone(), reason.to_owned()))
            });
            if let Some((path, reason)) = refused.chain(objected).next() {
                let commit = of;
                return Err(KeepError::Inside {
                    commit,
                    path,
                    reason,
                });
            }
            let files = changed(git, import, &before, &commit, &review)?;
            before = commit.clone();
            steps.push(Step {
                commit,
                of: Some(of),
                message,
                files,
            });
        }
        if git.tree(import, &before)? != git.tree(import, request.accepted)? {
            let review =
                diff::compare_commits(git, import, base, request.accepted, request.scanner)?;
            steps.push(Step {
                commit: request.accepted.clone(),
                of: None,
                message: request.message.to_owned(),
                files: changed(git, import, &before, request.accepted, &review)?,
            });
        }
        Ok(steps)
    }

    /// The agent's own commits and their messages, the oldest first: a plain
    /// list from the base to what it had checked out at the end.
    fn agents_commits(&self, git: &Git) -> Result<Vec<(ObjectId, String)>, KeepError> {
        let quarantine = self.quarantine();
        let mut before = self.pool().base().agent_commit.clone();
        let found = git.commits_between(&quarantine, &before, HEAD, COMMITS + 1);
        let commits = match found {
            // There is no quarantine, or nothing of that name in it.
            Err(GitError::Failed { .. }) => return Err(KeepError::None),
            found => found?,
        };
        match commits.len() {
            0 => return Err(KeepError::None),
            count if count > usize::from(COMMITS) => return Err(KeepError::TooMany),
            _ => {}
        }
        let mut history = Vec::with_capacity(commits.len());
        for commit in commits {
            let text = git
                .call(&quarantine, "cat-file")
                .args(["commit", commit.as_str()])
                .output_limit(TEXT_LIMIT)
                .run()?;
            let text = String::from_utf8_lossy(&text);
            let (headers, message) = text.split_once("\n\n").unwrap_or((&text, ""));
            let parents: Vec<_> = headers
                .lines()
                .filter_map(|line| line.strip_prefix("parent "))
                .collect();
            if parents != [before.as_str()] {
                return Err(KeepError::NotLinear { commit });
            }
            history.push((commit.clone(), message.to_owned()));
            before = commit;
        }
        Ok(history)
    }
}

/// The files that differ between two states, with the marks of `review`.
fn changed(
    git: &Git,
    import: &GitDir,
    before: &ObjectId,
    after: &ObjectId,
    review: &Review,
) -> Result<Vec<KeptFile>, GitError> {
    let marks: HashMap<_, _> = review
        .files
        .iter()
        .map(|file| (&file.path, &file.marks))
        .collect();
    let changes = git.diff_trees(import, before, after)?.into_iter();
    let file = |change: Change| KeptFile {
        marks: marks
            .get(&change.path)
            .copied()
            .cloned()
            .unwrap_or_default(),
        path: change.path,
    };
    Ok(changes.map(file).collect())
}
