//! Reviewed work leaves for a remote: as one commit on the task's base, or on what
//! this task pushed before; planned here, approved as exact bytes, and sent by the
//! user's own git from a repository that nobody else has written.

mod content;
mod error;
mod remote;
mod run;

use serde::{Deserialize, Serialize};

use self::run::{AsUser, DESTINATION, Ran};
pub use self::{
    content::PushContent,
    error::PushError,
    remote::{Remote, RemoteState},
};
use crate::{
    files::{FileError, failed},
    git::{Git, GitDir, GitError},
    import::publish,
    merge::{Approval, MergeRequest, manifest, message},
    object::ObjectId,
    remove,
    repository::Repository,
    settings::UserEnvironment,
    task::TaskSpace,
};

/// What is to be pushed, and how it is told.
#[derive(Clone, Copy, Debug)]
pub struct PushRequest<'a> {
    /// The accepted work, and how its commit is told; its target is the branch on
    /// the remote, `refs/heads/…`.
    pub work: MergeRequest<'a>,
    /// What the remote has.
    pub remote: &'a RemoteState,
    /// What this task pushed before, or may have.
    pub before: &'a [ObjectId],
    /// Commits that were planned before, for the same place: one of the same work
    /// is used again, so that an approval of it holds.
    pub planned: &'a [ObjectId],
    /// Whatever the branch has there is overridden.
    pub force: bool,
    /// A line below the message that says where the work comes from, as the user
    /// wants it, beside those that every commit has.
    pub disclosure: Option<&'a str>,
}

/// Exactly what leaves, and where to. Whoever approves, approves all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The branch there, `refs/heads/…`.
    pub reference: String,
    /// Where it must still be; it must not exist without it.
    pub old: Option<ObjectId>,
    /// The commit below the new one.
    pub parent: ObjectId,
    /// The commit that it moves to.
    pub new: ObjectId,
    /// SHA-256, in hexadecimal, over branch, both commits, the new one's text and
    /// listing and the content of every file that it changes.
    pub manifest_sha256: String,
}

/// How a push went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// What came of it.
    pub end: PushEnd,
    /// What the server, helpers and git said, safe to show.
    pub said: Vec<String>,
}

/// What came of a push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum PushEnd {
    /// The remote has it.
    Arrived,
    /// The branch there is not where it was: nothing was changed.
    Moved,
    /// The remote does not have it.
    Refused {
        /// Why, safe to show.
        reason: String,
    },
    /// Nobody could be asked any more whether the remote has it.
    Unknown {
        /// What failed, safe to show.
        reason: String,
    },
}

impl TaskSpace {
    /// The full name of the branch on a remote that `name` means.
    pub fn remote_branch(
        git: &Git,
        repository: &Repository,
        name: &str,
    ) -> Result<String, PushError> {
        remote::branch(git, repository, name)
    }

    /// What `remote` has now, as the user's own git is told.
    pub fn remote_state(
        &self,
        git: &Git,
        repository: &Repository,
        environment: &UserEnvironment,
        remote: &Remote,
    ) -> Result<RemoteState, PushError> {
        let _lock = self.lock()?;
        let clean = self.clean_repository(repository)?;
        look(&AsUser {
            git,
            environment,
            remote,
            repository: &clean,
        })
    }

    /// Makes the commit that would leave, in the host's own repository, and tells what
    /// it brings; nothing if the remote's branch has all of it.
    pub fn plan_push(
        &self,
        git: &Git,
        repository: &Repository,
        request: &PushRequest<'_>,
    ) -> Result<Option<(Push, PushContent)>, PushError> {
        let _lock = self.lock()?;
        let import = self.import_repository(repository)?;
        let base = self.pool().base().commit.clone();
        let old = request.remote.heads.get(request.work.target);
        let parent = parent(git, &import, &base, old, request)?;
        let tree = git.tree(&import, request.work.accepted)?;
        if tree == git.tree(&import, &parent)? {
            return Ok(None);
        }
        let mut planned = request.planned.iter();
        let same = |commit: &&ObjectId| is_commit_of(git, &import, commit, &tree, &parent);
        let new = if let Some(commit) = planned.find(same) {
            commit.clone()
        } else {
            let text = text(request);
            self.commit(git, &import, &request.work, &tree, &parent, &text)?
        };
        let content = content::content(git, &import, request, &base, &parent, &new)?;
        let mut push = Push {
            reference: request.work.target.to_owned(),
            old: old.cloned(),
            parent,
            new,
            manifest_sha256: String::new(),
        };
        push.manifest_sha256 = push.manifest(git, &import)?;
        Ok(Some((push, content)))
    }

    /// Sends exactly what was approved, if the branch there is where it was.
    ///
    /// The objects are checked by git (`fsck`) on their way into the user's
    /// repository, where the commit is kept under `refs/stockade/`. The user's own
    /// git pushes from another one that only borrows them, so that neither
    /// settings, hooks nor refs of a repository have a say.
    pub fn push(
        &self,
        git: &Git,
        repository: &Repository,
        environment: &UserEnvironment,
        remote: &Remote,
        push: &Push,
    ) -> Result<Pushed, PushError> {
        let _lock = self.lock()?;
        let import = self.import_repository(repository)?;
        let found = push.manifest(git, &import)?;
        if found != push.manifest_sha256 {
            return Err(PushError::ManifestMismatch {
                approved: push.manifest_sha256.clone(),
                found,
            });
        }
        let base = &self.pool().base().commit;
        let name = format!("refs/stockade/{}/push", self.id());
        publish(git, repository, &import, [base, &push.new], &name)?;
        let clean = self.clean_repository(repository)?;
        let user = AsUser {
            git,
            environment,
            remote,
            repository: &clean,
        };
        let old = push.old.as_ref().map_or("", ObjectId::as_str);
        let ran = user.run(&[
            "push".to_owned(),
            "--porcelain".to_owned(),
            "--no-verify".to_owned(),
            "--no-follow-tags".to_owned(),
            "--no-signed".to_owned(),
            "--recurse-submodules=no".to_owned(),
            format!("--force-with-lease={}:{old}", push.reference),
            DESTINATION.to_owned(),
            format!("{}:{}", push.new, push.reference),
        ])?;
        let end = told(&ran, push).unwrap_or_else(|| {
            // The line broke, or something else: what counts is what is there.
            let reason = ran.reason();
            match look(&user) {
                Ok(state) if state.heads.get(&push.reference) == Some(&push.new) => {
                    PushEnd::Arrived
                }
                Ok(_) => PushEnd::Refused { reason },
                Err(_) => PushEnd::Unknown { reason },
            }
        });
        Ok(Pushed {
            end,
            said: ran.said,
        })
    }

    /// A repository without anything of its own, which borrows the user's objects.
    fn clean_repository(&self, repository: &Repository) -> Result<GitDir, FileError> {
        let path = self.folder().join("push.git");
        remove::folder(&path).map_err(failed("remove", &path))?;
        let objects = repository.common().objects();
        let clean = GitDir::create(&path, repository.format(), &[&objects])?;
        if let Some(ends) = repository.shallow() {
            let shallow = path.join("shallow");
            std::fs::write(&shallow, ends).map_err(failed("write", &shallow))?;
        }
        Ok(clean)
    }
}

impl Push {
    fn manifest(&self, git: &Git, import: &GitDir) -> Result<String, GitError> {
        let approval = Approval {
            target_ref: self.reference.clone(),
            old_id: self.parent.clone(),
            new_commit: self.new.clone(),
            kept: Vec::new(),
            manifest_sha256: String::new(),
        };
        manifest::digest(git, import, &approval)
    }
}

/// The commit on which the work stands there: the task's base, or what this task
/// pushed before. On others' commits nothing is put.
fn parent(
    git: &Git,
    import: &GitDir,
    base: &ObjectId,
    old: Option<&ObjectId>,
    request: &PushRequest<'_>,
) -> Result<ObjectId, PushError> {
    let Some(old) = old.filter(|_| !request.force) else {
        return Ok(base.clone());
    };
    if request.before.contains(old) && git.commit(import, old.as_str()).is_ok() {
        return Ok(old.clone());
    }
    let call = git
        .call(import, "merge-base")
        .args(["--is-ancestor", old.as_str(), base.as_str()]);
    match call.run() {
        Ok(_) => Ok(base.clone()),
        // It is none, or nobody here knows it.
        Err(GitError::Failed { .. }) => Err(PushError::NotOurs { found: old.clone() }),
        Err(error) => Err(error.into()),
    }
}

/// Whether `commit` is there, holds `tree` and stands on `parent` alone.
fn is_commit_of(
    git: &Git,
    import: &GitDir,
    commit: &ObjectId,
    tree: &ObjectId,
    parent: &ObjectId,
) -> bool {
    let call = git.call(import, "rev-list");
    let call = call.args(["--no-walk", "--parents", commit.as_str(), "--"]);
    let parents = call.line();
    parents.is_ok_and(|line| line == format!("{commit} {parent}"))
        && git.tree(import, commit).is_ok_and(|found| found == *tree)
}

fn text(request: &PushRequest<'_>) -> String {
    let mut text = message::with_trailers(request.work.message, request.work.provenance);
    if let Some(line) = request.disclosure {
        text.push_str(&stockade_types::visible::line(line.as_bytes()));
        text.push('\n');
    }
    text
}

/// Asks the remote what it has.
fn look(user: &AsUser<'_>) -> Result<RemoteState, PushError> {
    let ran = user.run(&[
        "ls-remote".to_owned(),
        "--symref".to_owned(),
        DESTINATION.to_owned(),
        "HEAD".to_owned(),
        "refs/heads/*".to_owned(),
    ])?;
    if !ran.succeeded {
        return Err(PushError::Unreadable {
            name: user.remote.name().to_owned(),
            message: ran.reason(),
        });
    }
    Ok(RemoteState::of(&ran.output))
}

impl RemoteState {
    /// From what `git ls-remote --symref` prints; lines of another form tell nothing.
    fn of(output: &[u8]) -> Self {
        let mut state = Self::default();
        let text = String::from_utf8_lossy(output);
        for line in text.lines() {
            let Some((what, name)) = line.split_once('\t') else {
                continue;
            };
            if let Some(target) = what.strip_prefix("ref: ") {
                if name == "HEAD" {
                    state.default = Some(target.to_owned());
                }
            } else if let (true, Ok(id)) = (name.starts_with("refs/heads/"), what.parse()) {
                state.heads.insert(name.to_owned(), id);
            }
        }
        state
    }
}

/// What git says of the branch; nothing if it did not come so far.
fn told(ran: &Ran, push: &Push) -> Option<PushEnd> {
    let text = String::from_utf8_lossy(&ran.output);
    let branch = format!(":{}", push.reference);
    let mut lines = text.lines();
    let line = lines.find(|line| {
        let mut fields = line.split('\t');
        fields.nth(1).is_some_and(|names| names.ends_with(&branch))
    })?;
    let summary = line.split('\t').nth(2).unwrap_or_default();
    match line.chars().next()? {
        ' ' | '*' | '+' | '=' if ran.succeeded => Some(PushEnd::Arrived),
        '!' if summary.contains("stale info") || summary.contains("fetch first") => {
            Some(PushEnd::Moved)
        }
        '!' => Some(PushEnd::Refused {
            reason: stockade_types::visible::line(summary.as_bytes()),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789012345678901234567890123456789";

    #[test]
    fn what_a_remote_has_is_read_by_line_and_nothing_else_counts() {
        let text = format!(
            "ref: refs/heads/trunk\tHEAD\n{ID}\tHEAD\n{ID}\trefs/heads/trunk\n\
             {ID}\trefs/tags/v1\nnonsense\nx\trefs/heads/x\nref: refs/heads/y\trefs/remotes/o/HEAD\n"
        );
        let state = RemoteState::of(text.as_bytes());
        assert_eq!(state.default.as_deref(), Some("refs/heads/trunk"));
        let heads: Vec<_> = state.heads.keys().map(String::as_str).collect();
        assert_eq!(heads, ["refs/heads/trunk"]);
    }

    #[test]
    fn how_a_push_ended_is_told_by_the_line_of_its_branch() {
        let push = Push {
            reference: "refs/heads/b".to_owned(),
            old: None,
            parent: ID.parse().unwrap(),
            new: ID.parse().unwrap(),
            manifest_sha256: String::new(),
        };
        let end = |succeeded, line: &str| {
            let output = format!("To /x\n{line}\nDone\n").into_bytes();
            let said = Vec::new();
            told(
                &Ran {
                    succeeded,
                    output,
                    said,
                },
                &push,
            )
        };
        let new = "*\tx:refs/heads/b\t[new branch]";
        assert_eq!(end(true, new), Some(PushEnd::Arrived));
        // Git failed although it says so: somebody has to look.
        assert_eq!(end(false, new), None);
        assert_eq!(end(true, "*\tx:refs/heads/c\t[new branch]"), None);
        let moved = "!\tx:refs/heads/b\t[rejected] (stale info)";
        assert_eq!(end(false, moved), Some(PushEnd::Moved));
        let refused = "!\tx:refs/heads/b\t[remote rejected] (pre-receive hook declined)";
        assert!(matches!(
            end(false, refused),
            Some(PushEnd::Refused { reason }) if reason.contains("declined")
        ));
    }
}
