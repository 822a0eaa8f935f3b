//! What the files hold that an agent sees as placeholders.

use std::{io::Read, path::Path};

use super::PoolEntry;
use crate::{
    beneath::Beneath,
    files::{FileError, failed},
    git::{Git, GitError},
    path::TreePath,
    repository::Repository,
    secrets::SecretPatterns,
};

/// What is read of a hidden file, in bytes.
const READ: u64 = 256 << 10;
/// How many are read.
const FILES: usize = 256;

/// Why hidden files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HiddenError {
    /// A step on the file system failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// A hidden file's own content.
#[derive(Clone, PartialEq, Eq)]
pub struct HiddenFile {
    /// Where it is.
    pub path: TreePath,
    /// What it holds, or its beginning.
    pub content: Vec<u8>,
}

impl std::fmt::Debug for HiddenFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("HiddenFile");
        shown.field("path", &self.path).finish_non_exhaustive()
    }
}

impl PoolEntry {
    /// The hidden files of the commit as it has them, and those that lie at
    /// the top of the user's checkout.
    pub fn hidden_files(
        &self,
        git: &Git,
        repository: &Repository,
        secrets: &SecretPatterns,
    ) -> Result<Vec<HiddenFile>, HiddenError> {
        let masked = &self.base.masked[..self.base.masked.len().min(FILES)];
        let ids: Vec<_> = masked.iter().map(|file| file.original.clone()).collect();
        let mut hidden = Vec::with_capacity(ids.len());
        git.read_blobs(repository.common(), &ids, |index, _, content| {
            let path = masked[index].path.clone();
            hidden.push(HiddenFile {
                path,
                content: beginning(content)?,
            });
            Ok(())
        })?;
        hidden.extend(at_the_top(repository.worktree(), secrets)?);
        Ok(hidden)
    }
}

fn beginning(content: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    content.take(READ).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn at_the_top(folder: &Path, secrets: &SecretPatterns) -> Result<Vec<HiddenFile>, FileError> {
    let entries = std::fs::read_dir(folder).map_err(failed("list", folder))?;
    let names = entries.flatten().filter_map(|entry| {
        let name = TreePath::new(entry.file_name().as_encoded_bytes()).ok()?;
        secrets.hides(&name).then_some(name)
    });
    let names: Vec<_> = names.take(FILES).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let beneath = Beneath::open(folder).map_err(failed("open", folder))?;
    let files = names.into_iter().filter_map(|path| {
        // What is no file, or cannot be read, holds no value for anybody.
        let (file, _) = beneath.file(path.as_path()).ok()?;
        let content = beginning(file).ok()?;
        Some(HiddenFile { path, content })
    });
    Ok(files.collect())
}
