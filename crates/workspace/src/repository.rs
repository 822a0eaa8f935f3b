use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{
    git::{Git, GitDir, GitError},
    object::{FileMode, ObjectFormat, ObjectId},
    path::TreePath,
    settings,
};

/// Why a folder cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// No repository here or above.
    #[error("`{}` is not in a git repository; run `git init` there and commit once", .0.display())]
    NotARepository(PathBuf),
    /// Git refuses because the folder belongs to someone else.
    #[error("`{}` belongs to another user, so git does not trust its settings; work on a repository of your own", .0.display())]
    NotOwned(PathBuf),
    /// A repository without a checkout.
    #[error("`{}` is a bare repository; Stockade works from a checkout: `git clone` it first", .0.display())]
    Bare(PathBuf),
    /// No commit to start from.
    #[error("the repository `{}` has no commit yet; commit once, then start a task", .0.display())]
    Unborn(PathBuf),
    /// The base named does not exist.
    #[error("`{name}` names no commit in `{}`; `git branch -a` lists the names", path.display())]
    NoSuchCommit {
        /// What was asked for, safe to show.
        name: String,
        /// The repository's checkout.
        path: PathBuf,
    },
    /// Git itself failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// The user's own repository. Its settings are the user's and are trusted as
/// far as git's plumbing obeys them; hooks and monitors never run.
#[derive(Clone, Debug)]
pub struct Repository {
    /// The folder of the checkout.
    worktree: PathBuf,
    /// This checkout's own part: `HEAD` and the index.
    checkout: GitDir,
    /// The part that all checkouts share: objects, branches, settings.
    common: GitDir,
}

/// A folder that a repository's files are checked out in.
pub(crate) struct Checkout {
    pub(crate) folder: PathBuf,
    /// `refs/heads/…`, if it is on a branch.
    pub(crate) branch: Option<String>,
}

/// The longest commit that is read for its message.
const COMMIT_MAX: u64 = 1024 * 1024;

impl Repository {
    /// Finds the repository that holds `folder`.
    pub fn discover(git: &Git, folder: &Path) -> Result<Self, RepositoryError> {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let query = git
            .call_in(&folder, "rev-parse")
            .bare_discovery()
            .args([
                "--is-bare-repository",
                "--show-object-format",
                "--absolute-git-dir",
            ])
            .run();
        let output = match query {
            Ok(output) => output,
            Err(GitError::Failed { message, .. }) if message.contains("dubious ownership") => {
                return Err(RepositoryError::NotOwned(folder));
            }
            Err(GitError::Failed { message, .. }) if message.contains("not a git repository") => {
                return Err(RepositoryError::NotARepository(folder));
            }
            Err(GitError::Spawn { .. }) if !folder.is_dir() => {
                return Err(RepositoryError::NotARepository(folder));
            }
            Err(error) => return Err(error.into()),
        };
        let mut answers = output.splitn(3, |byte| *byte == b'\n');
        let mut answer = || answers.next().unwrap_or_default();
        let bare = answer() == b"true";
        let format = match answer() {
            b"sha256" => ObjectFormat::Sha256,
            _ => ObjectFormat::Sha1,
        };
        let git_dir = path(answer());
        if bare {
            return Err(RepositoryError::Bare(git_dir));
        }
        let (common_dir, worktree) = locations(git, &folder)?;
        let mut checkout = GitDir::existing(git_dir, format, vec![common_dir.clone()]);
        let included = settings::included(git, &checkout)?;
        checkout.also_read(&included);
        let common = GitDir::existing(common_dir, format, included);
        Ok(Self {
            worktree,
            checkout,
            common,
        })
    }

    /// The commit that `name` names, `HEAD` if it is absent.
    pub fn base(&self, git: &Git, name: Option<&str>) -> Result<ObjectId, RepositoryError> {
        let revision = name.unwrap_or("HEAD");
        match git.commit(&self.checkout, revision) {
            Ok(commit) => Ok(commit),
            Err(GitError::Failed { .. } | GitError::Unexpected { .. }) if name.is_none() => {
                Err(RepositoryError::Unborn(self.worktree.clone()))
            }
            Err(GitError::Failed { .. } | GitError::Unexpected { .. }) => {
                Err(RepositoryError::NoSuchCommit {
                    name: stockade_types::visible::line(revision.as_bytes()),
                    path: self.worktree.clone(),
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The message of a commit.
    pub fn message(&self, git: &Git, commit: &ObjectId) -> Result<String, GitError> {
        let call = git.call(&self.checkout, "cat-file");
        let call = call
            .args(["commit", commit.as_str()])
            .output_limit(COMMIT_MAX);
        let text = String::from_utf8_lossy(&call.run()?).into_owned();
        let message = text.split_once("\n\n").map(|(_, message)| message);
        Ok(message.unwrap_or_default().to_owned())
    }

    /// The files right in `folder` of `commit`, by path, each of which may have
    /// `limit` bytes; links are left out.
    pub fn files_in(
        &self,
        git: &Git,
        commit: &ObjectId,
        folder: &str,
        limit: u64,
    ) -> Result<Vec<(TreePath, Vec<u8>)>, GitError> {
        let entries = git.list_folder(&self.checkout, commit, folder)?;
        let files = entries
            .into_iter()
            .filter(|entry| matches!(entry.mode, FileMode::Regular | FileMode::Executable));
        files
            .map(|file| {
                let content = git.blob(&self.checkout, &file.id, limit)?;
                Ok((file.path, content))
            })
            .collect()
    }

    /// The branch that is checked out, `refs/heads/…`; `None` if `HEAD` is
    /// detached, and a merge must then name its target.
    pub fn head_branch(&self, git: &Git) -> Result<Option<String>, GitError> {
        let call = git
            .call(&self.checkout, "symbolic-ref")
            .args(["--quiet", "HEAD"]);
        match call.line() {
            Ok(name) => Ok(Some(name)),
            Err(GitError::Failed { code: Some(1), .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every checkout of the repository.
    pub(crate) fn checkouts(&self, git: &Git) -> Result<Vec<Checkout>, GitError> {
        let output = git
            .call(&self.common, "worktree")
            .args(["list", "--porcelain", "-z"])
            .run()?;
        let mut checkouts: Vec<Checkout> = Vec::new();
        for line in output.split(|byte| *byte == 0) {
            if let Some(folder) = line.strip_prefix(b"worktree ") {
                checkouts.push(Checkout {
                    folder: path(folder),
                    branch: None,
                });
            } else if let (Some(branch), Some(checkout)) =
                (line.strip_prefix(b"branch "), checkouts.last_mut())
            {
                checkout.branch = Some(String::from_utf8_lossy(branch).into_owned());
            }
        }
        Ok(checkouts)
    }

    /// The folder of the checkout.
    pub fn worktree(&self) -> &Path {
        &self.worktree
    }

    /// The folder shared by all checkouts of this repository.
    pub fn common_dir(&self) -> &Path {
        self.common.path()
    }

    /// The hash that names its objects.
    pub fn format(&self) -> ObjectFormat {
        self.common.format()
    }

    /// A name for the repository that is safe as a folder's: the first 16
    /// hexadecimal digits of the SHA-256 of its location.
    pub fn key(&self) -> String {
        let digest = Sha256::digest(self.common.path().as_os_str().as_bytes());
        hex::encode(&digest[..8])
    }

    pub(crate) fn common(&self) -> &GitDir {
        &self.common
    }

    pub(crate) fn checkout(&self) -> &GitDir {
        &self.checkout
    }

    /// The commits whose parents this repository lacks, if it is shallow.
    pub(crate) fn shallow(&self) -> Option<Vec<u8>> {
        std::fs::read(self.common.path().join("shallow")).ok()
    }
}

/// The part of the repository around `folder` that all its checkouts share,
/// and the top of this checkout.
fn locations(git: &Git, folder: &Path) -> Result<(PathBuf, PathBuf), RepositoryError> {
    const QUESTIONS: [&str; 2] = ["--git-common-dir", "--show-toplevel"];
    let ask = |questions: &[&str]| {
        let call = git
            .call_in(folder, "rev-parse")
            .arg("--path-format=absolute");
        call.args(questions).run().map_err(|error| match error {
            // Inside `.git` itself: there is no checkout to speak of.
            GitError::Failed { .. } => RepositoryError::NotARepository(folder.to_owned()),
            error => error.into(),
        })
    };
    let answers = ask(&QUESTIONS)?;
    let lines: Vec<_> = answers.split_inclusive(|byte| *byte == b'\n').collect();
    match lines.as_slice() {
        [common_dir, worktree] => Ok((path(common_dir), path(worktree))),
        // A path holds a line break, so it must be asked for alone.
        _ => Ok((path(&ask(&QUESTIONS[..1])?), path(&ask(&QUESTIONS[1..])?))),
    }
}

fn path(answer: &[u8]) -> PathBuf {
    let answer = answer.strip_suffix(b"\n").unwrap_or(answer);
    PathBuf::from(std::ffi::OsStr::from_bytes(answer))
}
