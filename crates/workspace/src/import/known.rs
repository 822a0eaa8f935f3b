//! What a commit that the user has already holds, and git's check would refuse.
//!
//! git looks at the `.gitmodules` of every tree that arrives, also where nobody changed
//! it: in a repository that has had a bad one for years, nothing could come back.

use std::path::PathBuf;

use crate::{
    git::{Git, GitDir, GitError},
    object::ObjectId,
};

/// The file whose content git checks wherever a tree names it.
const MODULES: &str = ".gitmodules";

/// A list, in the folder of `repository`, of what git need not check again because
/// `commit` has it, as `fsck.skipList` takes one; `None` if there is nothing.
pub(crate) fn list(
    git: &Git,
    repository: &GitDir,
    commit: &ObjectId,
) -> Result<Option<PathBuf>, GitError> {
    let Some(entry) = git.entry(repository, commit, MODULES)? else {
        return Ok(None);
    };
    let path = repository.path().join("known");
    std::fs::write(&path, format!("{}\n", entry.id)).map_err(|source| GitError::Feed {
        command: "index-pack",
        source,
    })?;
    Ok(Some(path))
}

/// `index-pack --strict`, but for what is in the list.
pub(crate) fn strict(known: Option<PathBuf>) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from("--strict");
    if let Some(known) = known {
        option.push("=skiplist=");
        option.push(known);
    }
    option
}
