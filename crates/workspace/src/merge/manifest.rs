use std::io;

use sha2::{Digest, Sha256};

use crate::{
    git::{Git, GitDir, GitError},
    object::{FileMode, ObjectId},
};

/// The digest that an approval is bound to. It does not rest on git's SHA-1:
/// the content of every changed file is in it.
pub(super) fn digest(
    git: &Git,
    import: &GitDir,
    target_ref: &str,
    old_id: &ObjectId,
    new_commit: &ObjectId,
) -> Result<String, GitError> {
    let mut digest = Sha256::new();
    digest.update(b"stockade merge manifest 1\0");
    for part in [target_ref, old_id.as_str(), new_commit.as_str()] {
        field(&mut digest, part.as_bytes());
    }
    let commit = git
        .call(import, "cat-file")
        .args(["commit", new_commit.as_str()])
        .run()?;
    field(&mut digest, &commit);
    for entry in git.list_tree(import, &git.tree(import, new_commit)?)? {
        field(&mut digest, entry.mode.octal().as_bytes());
        field(&mut digest, entry.id.as_str().as_bytes());
        field(&mut digest, entry.path.as_bytes());
    }
    let changes = git.diff_trees(import, old_id, new_commit)?;
    let blob = |side: Option<(FileMode, ObjectId)>| match side {
        Some((mode, id)) if mode != FileMode::Gitlink => Some(id),
        _ => None,
    };
    let ids: Vec<_> = changes
        .into_iter()
        .filter_map(|change| blob(change.new))
        .collect();
    git.read_blobs(import, &ids, |index, size, content| {
        field(&mut digest, ids[index].as_str().as_bytes());
        digest.update(size.to_be_bytes());
        io::copy(content, &mut digest).map(drop)
    })?;
    Ok(hex::encode(digest.finalize()))
}

/// Length first, so that no two lists of fields read the same.
fn field(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_be_bytes());
    digest.update(bytes);
}
