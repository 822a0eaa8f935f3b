use std::io;

use sha2::{Digest, Sha256};

use super::Approval;
use crate::{
    git::{Git, GitDir, GitError},
    object::{FileMode, ObjectId},
};

/// The digest that an approval is bound to. It does not rest on git's SHA-1:
/// the content of every changed file is in it.
pub(crate) fn digest(git: &Git, import: &GitDir, approval: &Approval) -> Result<String, GitError> {
    let mut digest = Sha256::new();
    digest.update(b"stockade merge manifest 2\0");
    let Approval {
        target_ref,
        old_id,
        new_commit,
        kept,
        manifest_sha256: _,
    } = approval;
    for part in [target_ref, old_id.as_str(), new_commit.as_str()] {
        field(&mut digest, part.as_bytes());
    }
    let kept = serde_json::to_vec(kept).map_err(|error| GitError::Unexpected {
        command: "rev-list",
        detail: error.to_string(),
    })?;
    field(&mut digest, &kept);
    let mut before = old_id.clone();
    for commit in git.commits_between(import, old_id, new_commit.as_str(), u16::MAX)? {
        add_commit(&mut digest, git, import, &before, &commit)?;
        before = commit;
    }
    Ok(hex::encode(digest.finalize()))
}

/// Its text, its listing, and the content of what it changes since `before`.
fn add_commit(
    digest: &mut Sha256,
    git: &Git,
    import: &GitDir,
    before: &ObjectId,
    commit: &ObjectId,
) -> Result<(), GitError> {
    let text = git
        .call(import, "cat-file")
        .args(["commit", commit.as_str()])
        .run()?;
    field(digest, &text);
    for entry in git.list_tree(import, &git.tree(import, commit)?)? {
        field(digest, entry.mode.octal().as_bytes());
        field(digest, entry.id.as_str().as_bytes());
        field(digest, entry.path.as_bytes());
    }
    let blob = |side: Option<(FileMode, ObjectId)>| match side {
        Some((mode, id)) if mode != FileMode::Gitlink => Some(id),
        _ => None,
    };
    let changes = git.diff_trees(import, before, commit)?.into_iter();
    let ids: Vec<_> = changes.filter_map(|change| blob(change.new)).collect();
    git.read_blobs(import, &ids, |index, size, content| {
        field(digest, ids[index].as_str().as_bytes());
        digest.update(size.to_be_bytes());
        io::copy(content, digest).map(drop)
    })
}

/// Length first, so that no two lists of fields read the same.
fn field(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_be_bytes());
    digest.update(bytes);
}
