//! Base trees and their objects: made once for a commit, then never changed,
//! and shared by every task that starts from it.

mod build;
mod fingerprints;
mod hidden;

pub use self::hidden::{HiddenError, HiddenFile};

use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    files::{self, FileError, failed},
    git::{Git, GitDir, GitError},
    object::{FileMode, ObjectFormat, ObjectId},
    path::TreePath,
    remove,
    repository::Repository,
    secrets::{SecretPatterns, StandIns},
};

/// The name of an entry's subvolume.
const SUBVOLUME: &str = "subvolume";
/// Where the tree is in a subvolume.
pub(crate) const TREE_IN_SUBVOLUME: &str = "ws";
/// What the sandbox needs beside the tree in a subvolume.
const WORK_IN_SUBVOLUME: &str = "work";

/// The version of `base.json`.
const VERSION: u32 = 1;

/// Why a base tree could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The commit has a path that some file system takes for `.git`.
    #[error(
        "the commit holds the path `{0}`, which could overwrite a repository's own files; remove it from the repository"
    )]
    UnsafePath(TreePath),
    /// The entry on disk was written by a newer Stockade.
    #[error("`{}` has format {found}, this version of Stockade knows up to {VERSION}; update Stockade", path.display())]
    Newer {
        /// The document.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The commit object could not be read as one.
    #[error("commit {0} is malformed; `git fsck` in the repository says more")]
    MalformedCommit(ObjectId),
    /// A step on the file system failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// A secret file of the commit and what stands in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskedFile {
    /// Where it is.
    pub path: TreePath,
    /// Its mode, which stays.
    pub mode: FileMode,
    /// The blob that agents see.
    pub placeholder: ObjectId,
    /// The blob of the commit, which agents never get.
    pub original: ObjectId,
}

/// What a pool entry is about; stored as `base.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Base {
    version: u32,
    /// The hash that names objects.
    pub format: ObjectFormat,
    /// The user's commit.
    pub commit: ObjectId,
    /// The commit that the agent starts from: the user's, or one without
    /// parents over the masked tree if anything is hidden.
    pub agent_commit: ObjectId,
    /// The hidden files.
    pub masked: Vec<MaskedFile>,
    /// What stands in these for values that look like keys.
    #[serde(default)]
    pub stand_ins: StandIns,
    /// Submodules; each is an empty folder in the tree.
    pub submodules: Vec<TreePath>,
    /// Files that are Git LFS pointers; the content is not fetched.
    pub lfs_pointers: Vec<TreePath>,
    /// The number of files and links in the tree.
    pub files: usize,
}

/// One commit, ready to work from. Immutable.
#[derive(Clone, Debug)]
pub struct PoolEntry {
    folder: PathBuf,
    base: Base,
}

impl PoolEntry {
    /// Opens an entry that exists.
    pub fn open(folder: &Path) -> Result<Self, PoolError> {
        let path = folder.join("base.json");
        let base: Base = files::read_json(&path)?;
        if base.version > VERSION {
            return Err(PoolError::Newer {
                path,
                found: base.version,
            });
        }
        Ok(Self {
            folder: folder.to_owned(),
            base,
        })
    }

    /// What it is about.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The entry's own folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The checked-out tree: the lower layer of overlays. Nobody may write
    /// into it.
    pub fn tree(&self) -> PathBuf {
        self.subvolume().map_or_else(
            || self.folder.join("tree"),
            |subvolume| subvolume.join(TREE_IN_SUBVOLUME),
        )
    }

    /// On btrfs, the subvolume that holds the tree and nothing else: what
    /// snapshots are made from.
    pub fn subvolume(&self) -> Option<PathBuf> {
        let subvolume = self.folder.join(SUBVOLUME);
        subvolume.is_dir().then_some(subvolume)
    }

    /// What the files of a subvolume's tree look like, and so those of its
    /// snapshots.
    pub(crate) fn stamps(&self) -> PathBuf {
        self.folder.join("stamps")
    }

    /// The repository with this commit's objects and no others; it is what
    /// the sandbox shows, read-only, as `/pool.git`.
    pub fn repository(&self) -> PathBuf {
        self.folder.join("repo.git")
    }

    /// An index of the tree, with the tree's stat data.
    pub(crate) fn index(&self) -> PathBuf {
        self.folder.join("index")
    }

    pub(crate) fn git_dir(&self) -> GitDir {
        GitDir::existing(self.repository(), self.base.format, Vec::new())
    }
}

/// The folder of all pool entries.
#[derive(Clone, Debug)]
pub struct Pool {
    folder: PathBuf,
}

impl Pool {
    /// The pool in the state directory `state`.
    pub fn new(state: &Path) -> Self {
        Self {
            folder: state.join("pool"),
        }
    }

    /// The entry for `commit` with `secrets` hidden, made if it is missing.
    ///
    /// Safe to call from several processes at once: one builds, the others
    /// wait. An entry appears whole, by rename, or not at all.
    pub fn ensure(
        &self,
        git: &Git,
        repository: &Repository,
        commit: &ObjectId,
        secrets: &SecretPatterns,
    ) -> Result<PoolEntry, PoolError> {
        let folder = self.folder.join(repository.key());
        let patterns = Sha256::digest(secrets.text());
        let name = format!("{commit}-{}", hex::encode(&patterns[..4]));
        let entry = folder.join(&name);
        if entry.join("base.json").exists() {
            return PoolEntry::open(&entry);
        }
        std::fs::create_dir_all(&folder).map_err(failed("create the folder", &folder))?;
        let lock_path = folder.join(format!("{name}.lock"));
        let lock = std::fs::File::create(&lock_path).map_err(failed("create", &lock_path))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|error| failed("lock", &lock_path)(error.into()))?;
        // Someone else may have made it meanwhile.
        if entry.join("base.json").exists() {
            return PoolEntry::open(&entry);
        }
        // The lock is ours, so what lies there was left by a crash.
        let building = folder.join(format!("{name}.building"));
        remove::folder(&building).map_err(failed("remove", &building))?;
        std::fs::create_dir(&building).map_err(failed("create the folder", &building))?;
        build::entry(git, repository, commit, secrets, &building)?;
        std::fs::rename(&building, &entry).map_err(failed("put in place", &entry))?;
        PoolEntry::open(&entry)
    }
}
