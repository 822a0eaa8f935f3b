//! Bringing accepted work onto a branch: planned where nothing can be hurt,
//! approved as exact bytes, landed in one step or not at all.

mod checkout;
mod keep;
pub(crate) mod manifest;
pub(crate) mod message;

use serde::{Deserialize, Serialize};
use stockade_scan::Scanner;

pub use self::{
    keep::{KeepError, KeptCommit, KeptFile},
    message::{Identity, Provenance},
};
use crate::{
    files::FileError,
    git::{Git, GitDir, GitError},
    import::publish,
    object::ObjectId,
    path::TreePath,
    repository::Repository,
    signing::{Signer, SigningError},
    task::TaskSpace,
};

/// Why work could not be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// Not a branch of the repository.
    #[error("`{0}` is not a branch; name one as `main` or `refs/heads/main`")]
    NoSuchBranch(String),
    /// Someone moved the branch after the plan was made.
    #[error(
        "`{target}` moved from {planned} to {found} since this merge was planned; review the new plan and approve that"
    )]
    TargetMoved {
        /// The branch.
        target: String,
        /// Where it was.
        planned: ObjectId,
        /// Where it is.
        found: ObjectId,
    },
    /// What would land is not what was approved.
    #[error(
        "the result is not the one that was approved (manifest {found}, approved {approved}); nothing was changed"
    )]
    ManifestMismatch {
        /// The digest that was approved.
        approved: String,
        /// The digest of what is there.
        found: String,
    },
    /// The branch is checked out in another folder.
    #[error(
        "`{target}` is checked out in `{worktree}`; run the merge there, or check out another branch there"
    )]
    CheckedOutElsewhere {
        /// The branch.
        target: String,
        /// The folder.
        worktree: String,
    },
    /// The user's own changes are in the way.
    #[error(
        "your checkout has changes of your own in the way ({reason}); commit or stash them first"
    )]
    CheckoutInTheWay {
        /// What git said.
        reason: String,
    },
    /// A content filter would run a program that the repository itself holds.
    #[error(
        "the filter `{driver}` runs `{command}`, a file of the repository itself, so checking out agent work could run agent work; merge into a branch that is not checked out"
    )]
    FilterInsideTree {
        /// The name of the driver.
        driver: String,
        /// Its command.
        command: String,
    },
    /// The agent's own commits cannot be kept.
    #[error("the agent's own commits cannot be kept: {0}")]
    Keep(#[from] KeepError),
    /// The commit was to be signed and could not be.
    #[error("the merge commit could not be signed: {0}")]
    Signing(#[from] SigningError),
    /// A step on the file system failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// What is to be merged, and how it is told.
#[derive(Clone, Copy, Debug)]
pub struct MergeRequest<'a> {
    /// The branch: `main` or `refs/heads/main`.
    pub target: &'a str,
    /// The accepted work, one commit on the task's base.
    pub accepted: &'a ObjectId,
    /// The commit's message; may be an agent's text.
    pub message: &'a str,
    /// Where the work comes from.
    pub provenance: &'a Provenance,
    /// Who the commit is by.
    pub identity: &'a Identity,
    /// How it is signed, if it is. What is approved is the signed commit.
    pub signer: Option<&'a Signer>,
    /// What finds keys in states that the work went through.
    pub scanner: &'a Scanner,
}

/// How a merge would go.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MergePlan {
    /// These files changed on both sides.
    Conflicts(Vec<TreePath>),
    /// The branch already has all of it.
    Nothing,
    /// It merges; this is what has to be approved.
    Ready(Approval),
}

/// Exactly what lands, and where. Whoever approves, approves all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The branch, `refs/heads/…`.
    pub target_ref: String,
    /// The commit that it must still be at.
    pub old_id: ObjectId,
    /// The commit that it moves to.
    pub new_commit: ObjectId,
    /// The commits that lead there, the oldest first, where the agent's own
    /// are kept; else there is one, and none is listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptCommit>,
    /// SHA-256, in hexadecimal, over the above and, of each new commit, its
    /// text, its whole listing and the content of every file that it changes.
    pub manifest_sha256: String,
}

/// A merge that took place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    /// The branch.
    pub target_ref: String,
    /// The commit that it is at now.
    pub commit: ObjectId,
    /// The user's checkout was brought along.
    pub checkout_updated: bool,
}

impl TaskSpace {
    /// Computes the merge in the host's own repository; touches neither the
    /// user's repository nor the checkout.
    pub fn plan_merge(
        &self,
        git: &Git,
        repository: &Repository,
        request: &MergeRequest<'_>,
    ) -> Result<MergePlan, MergeError> {
        let _lock = self.lock()?;
        let target_ref = branch(git, repository, request.target)?;
        let old_id = git.commit(repository.common(), &target_ref)?;
        let import = self.import_repository(repository)?;
        let tree = match merge_trees(git, &import, &old_id, request.accepted)? {
            Ok(tree) => tree,
            Err(conflicts) => return Ok(MergePlan::Conflicts(conflicts)),
        };
        if tree == git.tree(&import, &old_id)? {
            return Ok(MergePlan::Nothing);
        }
        let message = message::with_trailers(request.message, request.provenance);
        let approval = Approval {
            new_commit: self.commit(git, &import, request, &tree, &old_id, &message)?,
            target_ref,
            old_id,
            kept: Vec::new(),
            manifest_sha256: String::new(),
        };
        approval.sealed(git, &import)
    }

    /// A commit of `tree` on `parent`, signed if the request says how.
    pub(crate) fn commit(
        &self,
        git: &Git,
        import: &GitDir,
        request: &MergeRequest<'_>,
        tree: &ObjectId,
        parent: &ObjectId,
        message: &str,
    ) -> Result<ObjectId, MergeError> {
        let identity = request.identity;
        let name = clean(&identity.name, "Stockade");
        let email = clean(&identity.email, "stockade@localhost");
        let unsigned = git
            .call(import, "commit-tree")
            .writes()
            .variable("GIT_AUTHOR_NAME", &name)
            .variable("GIT_AUTHOR_EMAIL", &email)
            .variable("GIT_COMMITTER_NAME", &name)
            .variable("GIT_COMMITTER_EMAIL", &email)
            .args([tree.as_str(), "-p", parent.as_str(), "-F", "-"])
            .object_with(message.as_bytes())?;
        match request.signer {
            Some(signer) => {
                let folder = self.folder().join("signing");
                Ok(signer.sign(git, import, &unsigned, &folder)?)
            }
            None => Ok(unsigned),
        }
    }

    /// Makes the planned commit readable in the user's repository, under
    /// `refs/stockade/` and on no branch, so that it can be checked.
    pub fn publish_plan(
        &self,
        git: &Git,
        repository: &Repository,
        approval: &Approval,
    ) -> Result<(), MergeError> {
        let import = self.import_repository(repository)?;
        let reference = format!("refs/stockade/{}/merge", self.id());
        let commits = [&approval.old_id, &approval.new_commit];
        publish(git, repository, &import, commits, &reference)?;
        Ok(())
    }

    /// Lands exactly what was approved, or changes nothing.
    ///
    /// The branch moves by compare-and-swap, so of two merges at once one
    /// wins and the other is told. A checkout of the branch is brought along
    /// if the user's own changes are not in the way; it is never rebased and
    /// nothing is committed in it, and no hook runs.
    pub fn land(
        &self,
        git: &Git,
        repository: &Repository,
        approval: &Approval,
    ) -> Result<Landed, MergeError> {
        let _lock = self.lock()?;
        // Two at once would meet at the index of the checkout, and neither
        // would know how far the other got.
        let _landing = self.landing_lock()?;
        let import = self.import_repository(repository)?;
        still_at(git, repository, approval)?;
        let Approval {
            target_ref,
            old_id,
            new_commit,
            ..
        } = approval;
        let found = manifest::digest(git, &import, approval)?;
        if found != approval.manifest_sha256 {
            return Err(MergeError::ManifestMismatch {
                approved: approval.manifest_sha256.clone(),
                found,
            });
        }
        let reference = format!("refs/stockade/{}/merge", self.id());
        publish(git, repository, &import, [old_id, new_commit], &reference)?;
        let checkout_updated = if repository.head_branch(git)?.as_ref() == Some(target_ref) {
            checkout::land(git, repository, &import, approval)?;
            true
        } else {
            checkout::not_elsewhere(git, repository, target_ref)?;
            swap(git, repository, approval)?;
            false
        };
        let (target_ref, commit) = (target_ref.clone(), new_commit.clone());
        Ok(Landed {
            target_ref,
            commit,
            checkout_updated,
        })
    }

    /// The approved change as a patch for `git apply`.
    pub fn patch(
        &self,
        git: &Git,
        repository: &Repository,
        approval: &Approval,
    ) -> Result<Vec<u8>, MergeError> {
        let import = self.import_repository(repository)?;
        let (old, new) = (approval.old_id.as_str(), approval.new_commit.as_str());
        let call = git
            .call(&import, "diff-tree")
            .args(["-r", "-p", "--binary", "--full-index"]);
        Ok(call
            .args(["--no-ext-diff", "--no-textconv", "--no-renames", old, new])
            .run()?)
    }
}

impl Approval {
    /// What has to be approved, with the digest over all of it.
    fn sealed(self, git: &Git, import: &GitDir) -> Result<MergePlan, MergeError> {
        let manifest_sha256 = manifest::digest(git, import, &self)?;
        Ok(MergePlan::Ready(Self {
            manifest_sha256,
            ..self
        }))
    }
}

/// The full name of an existing branch.
fn branch(git: &Git, repository: &Repository, name: &str) -> Result<String, MergeError> {
    let unknown = || MergeError::NoSuchBranch(stockade_types::visible::line(name.as_bytes()));
    let short = name.strip_prefix("refs/heads/").unwrap_or(name);
    let full = format!("refs/heads/{short}");
    if short.is_empty() || short.starts_with('-') {
        return Err(unknown());
    }
    let check = git
        .call(repository.common(), "show-ref")
        .args(["--verify", "--quiet", &full]);
    match check.run() {
        Ok(_) => Ok(full),
        Err(GitError::Failed { .. }) => Err(unknown()),
        Err(error) => Err(error.into()),
    }
}

/// The tree of both commits merged, or the paths that conflict.
pub(crate) fn merge_trees(
    git: &Git,
    import: &GitDir,
    ours: &ObjectId,
    theirs: &ObjectId,
) -> Result<Result<ObjectId, Vec<TreePath>>, GitError> {
    let output = git
        .call(import, "merge-tree")
        .writes()
        .or_exit(1)
        .args(["--write-tree", "-z", "--name-only", "--no-messages"])
        .args([ours.as_str(), theirs.as_str()])
        .run()?;
    let mut parts = output
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty());
    let unexpected = || GitError::Unexpected {
        command: "merge-tree",
        detail: stockade_types::visible::line(&output)
            .chars()
            .take(300)
            .collect(),
    };
    let tree = parts
        .next()
        .and_then(|id| ObjectId::from_bytes(id).ok())
        .ok_or_else(unexpected)?;
    let conflicts: Result<Vec<_>, _> = parts.map(TreePath::new).collect();
    let conflicts = conflicts.map_err(|_| unexpected())?;
    Ok(if conflicts.is_empty() {
        Ok(tree)
    } else {
        Err(conflicts)
    })
}

fn still_at(git: &Git, repository: &Repository, approval: &Approval) -> Result<(), MergeError> {
    let target = &approval.target_ref;
    let found = git
        .commit(repository.common(), target)
        .map_err(|_| MergeError::NoSuchBranch(target.clone()))?;
    if found == approval.old_id {
        return Ok(());
    }
    let (target, planned) = (target.clone(), approval.old_id.clone());
    Err(MergeError::TargetMoved {
        target,
        planned,
        found,
    })
}

/// Moves the branch, if it is still where the plan saw it.
fn swap(git: &Git, repository: &Repository, approval: &Approval) -> Result<(), MergeError> {
    let Approval {
        target_ref,
        old_id,
        new_commit,
        ..
    } = approval;
    let swapped = git.update_ref(repository.common(), target_ref, new_commit, old_id);
    if swapped.is_err() {
        // Most likely someone was faster; then that is the better message.
        still_at(git, repository, approval)?;
    }
    Ok(swapped?)
}

/// A name that git accepts in a commit's header.
fn clean(text: &str, otherwise: &str) -> String {
    let text = stockade_types::visible::line(text.as_bytes()).replace(['<', '>'], "");
    let text = text.trim();
    if text.is_empty() {
        otherwise.to_owned()
    } else {
        text.to_owned()
    }
}
