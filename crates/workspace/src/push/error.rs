use std::path::PathBuf;

use crate::{
    diff::DiffError, files::FileError, git::GitError, merge::MergeError, object::ObjectId,
};

/// Why work could not be pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The repository has no remote.
    #[error("the repository has no remote; set one up: git remote add origin URL")]
    NoRemote,
    /// It has none of that name.
    #[error("`{0}` is no remote of the repository; `git remote -v` lists them")]
    UnknownRemote(String),
    /// A place, where a name is wanted.
    #[error(
        "`{0}` is a place and no remote; what leaves goes to a remote that you set up: git remote add NAME URL"
    )]
    Place(String),
    /// A remote with several places.
    #[error("`{0}` pushes to several places at once; name a remote that has one")]
    Several(String),
    /// A place that is reached by something else than git's own transports.
    #[error(
        "`{name}` is at `{shown}`, and work is pushed by https, http and ssh, and to whole paths of this machine; correct it: git remote set-url {name} URL"
    )]
    Transport {
        /// The remote.
        name: String,
        /// Where it is.
        shown: String,
    },
    /// A remote whose programs an agent could have made.
    #[error(
        "`{name}` is at `{}`, where agent work can change what a push runs; keep it elsewhere", path.display()
    )]
    WithinReach {
        /// The remote.
        name: String,
        /// Where it is.
        path: PathBuf,
    },
    /// A file of a checkout decides about a push.
    #[error(
        "`{key}` is set by `{}`, which agent work can change; set it in a file outside of the repository (`git config --global`)", origin.display()
    )]
    SetByTree {
        /// The setting.
        key: String,
        /// The file that sets it.
        origin: PathBuf,
    },
    /// A repository's configuration names a program.
    #[error(
        "`{key}` names a program in `{}`, the configuration of one repository; only your own names programs that log in elsewhere: git config --global {key} …", origin.display()
    )]
    ProgramOfRepository {
        /// The setting.
        key: String,
        /// The file that sets it.
        origin: PathBuf,
    },
    /// A program that agent work could replace.
    #[error("`{key}` means `{}`, a file that agent work can change; keep it elsewhere", path.display())]
    InTree {
        /// The setting.
        key: String,
        /// The file.
        path: PathBuf,
    },
    /// A name that is no branch's.
    #[error("`{0}` is no name for a branch; `git check-ref-format --branch NAME` tells which are")]
    NoBranch(String),
    /// A tag.
    #[error("`{0}` is a tag, which may start a release; a person pushes tags by git itself")]
    Tag(String),
    /// A branch or tag would be deleted.
    #[error(
        "`{0}` would delete a branch for everybody; a person does that by git itself: git push REMOTE --delete BRANCH"
    )]
    Deletion(String),
    /// What a remote has would be overridden, whatever it is.
    #[error(
        "`{0}` would override whatever the remote has; say what you know it has: --force-with-lease OID"
    )]
    Forced(String),
    /// The remote could not be read.
    #[error("the remote `{name}` could not be asked what it has: {message}")]
    Unreadable {
        /// The remote.
        name: String,
        /// What git said, safe to show.
        message: String,
    },
    /// The user's git could not be run.
    #[error("git could not be run for the push: {0}")]
    Run(String),
    /// What would leave is not what was approved.
    #[error(
        "the commit is not the one that was approved (manifest {found}, approved {approved}); nothing was pushed"
    )]
    ManifestMismatch {
        /// The digest that was approved.
        approved: String,
        /// The digest of what is there.
        found: String,
    },
    /// The remote's branch holds commits that this task did not push.
    #[error(
        "the branch is at {found} there, and that is neither of this task nor of its base; push to another one (--branch), or override it: --force-with-lease {found}"
    )]
    NotOurs {
        /// Where it is.
        found: ObjectId,
    },
    /// The commit could not be made.
    #[error(transparent)]
    Commit(#[from] MergeError),
    /// The work could not be compared.
    #[error(transparent)]
    Diff(#[from] DiffError),
    /// A step on the file system failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

impl PushError {
    /// The rule by which it is refused, where it is not a failure.
    pub fn rule(&self) -> Option<&'static str> {
        Some(match self {
            Self::Place(_) | Self::Several(_) | Self::Transport { .. } => "push.remote",
            Self::WithinReach { .. } | Self::InTree { .. } => "push.within-reach",
            Self::SetByTree { .. } | Self::ProgramOfRepository { .. } => "push.settings",
            Self::Tag(_) => "push.tag",
            Self::Deletion(_) => "push.delete",
            Self::Forced(_) => "push.force",
            Self::NotOurs { .. } => "push.not-ours",
            Self::ManifestMismatch { .. } => "push.changed",
            _ => return None,
        })
    }
}
