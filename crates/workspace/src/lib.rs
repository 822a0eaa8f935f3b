//! The agent's tree, from base commit to merge, and the only room that runs
//! git.
//!
//! One rule shapes everything here: **git on the host never opens a tree or a
//! repository that an agent can write.** Base trees come from the user's
//! commit; snapshots are read by a walker that follows nothing and trusts
//! nothing, and are streamed to `git fast-import` in a repository that only
//! the host can write. Attributes, filters, hooks, nested repositories and
//! indexes that an agent plants have nothing to act on.

#[cfg(not(target_os = "linux"))]
compile_error!("Stockade needs Linux: it is built on its namespaces, openat2 and overlayfs");

mod attended;
mod beneath;
mod decision;
mod diff;
mod files;
mod forget;
mod git;
mod hydrate;
mod import;
mod manifest;
mod merge;
mod object;
mod path;
mod pool;
mod push;
mod reach;
mod remove;
mod repository;
mod risk;
mod secrets;
mod settings;
mod signing;
mod size;
mod snapshot;
mod task;
mod trash;

pub use self::{
    decision::{Accepted, Choice, Decisions, Undecided},
    diff::{DiffError, FileDiff, Hunk, Line, Review, Status, Version},
    files::FileError,
    git::{Confine, Git, GitError, Unconfined},
    hydrate::{Brought, HydrateError},
    import::{AgentCommit, BundleError, BundleLimits, ImportError, Imported},
    merge::{
        Approval, Identity, KeepError, KeptCommit, KeptFile, Landed, MergeError, MergePlan,
        MergeRequest, Provenance,
    },
    object::{FileMode, ObjectFormat, ObjectId, ObjectIdError},
    path::{TreePath, TreePathError},
    pool::{Base, HiddenError, HiddenFile, MaskedFile, Pool, PoolEntry, PoolError},
    push::{Push, PushContent, PushEnd, PushError, PushRequest, Pushed, Remote, RemoteState},
    remove::folder as remove_folder,
    repository::{Repository, RepositoryError},
    risk::{Mark, Risk},
    secrets::{HIDDEN_VALUE, SecretPatternError, SecretPatterns, StandIns},
    settings::{CONFIG_VARIABLES, GIT_VARIABLES, UserEnvironment, UserSettings},
    signing::{Signer, SigningError},
    size::{INODE_BYTES, Size, allocated},
    snapshot::{START, Skipped, Snapshot, SnapshotError, SnapshotLimits, TreeChanges, TreeSight},
    task::{
        AGENT_GIT_INSIDE, BTRFS, BackEnd, Created, DISK, Known, OwnDisk, POOL_GIT_INSIDE, Slug,
        SlugError, TaskError, TaskRecord, TaskSpace,
    },
    trash::{KEPT, KEPT_MERGED, Merged, MergedBy, Purged, Removed, Trash, TrashError},
};
