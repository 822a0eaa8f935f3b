//! From a snapshot to a commit in the user's repository, under a name that no
//! branch has, holding only what may come back.

mod bundle;
mod known;
mod rejected;
mod unfolded;

use std::{
    collections::HashSet,
    io::{BufRead, Read, Write},
};

use serde::{Deserialize, Serialize};

pub(crate) use self::bundle::HEAD;
pub use self::bundle::{AgentCommit, BundleError, BundleLimits};
use crate::{
    files::{FileError, failed},
    git::{Change, Git, GitDir, GitError},
    object::{FileMode, ObjectId},
    path::TreePath,
    path::names_git_directory,
    repository::Repository,
    secrets::{PLACEHOLDER_HEAD, is_placeholder},
    snapshot::{START, Skipped, Snapshot},
    task::TaskSpace,
};

/// The most paths that may change in one import.
const CHANGES: usize = 100_000;
/// No file system stores a longer link target.
const LINK_TARGET: u64 = 4096;

/// Why work could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// More changed than anyone can review.
    #[error(
        "{count} files changed, more than the {CHANGES} that one import may bring; ask the agent to clean up, or add a `.gitignore`"
    )]
    TooManyChanges {
        /// How many.
        count: usize,
    },
    /// The user's repository no longer has the commit that the task is based on.
    #[error(
        "the commit {base} that the task started from is gone from `{repository}`; fetch or recover it (`git fsck --lost-found`), then try again"
    )]
    BaseGone {
        /// The commit.
        base: ObjectId,
        /// The repository.
        repository: String,
    },
    /// A step on the file system failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Git failed; what git refuses as malformed also ends here.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// Work that is in the user's repository, but on no branch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Imported {
    /// The snapshot it is.
    pub snapshot: u32,
    /// The user's commit that it stands on.
    pub base: ObjectId,
    /// The work as one commit on `base`.
    pub commit: ObjectId,
    /// Where it is kept: `refs/stockade/<id>/result`.
    pub reference: String,
    /// Changes that are not in it, and why.
    pub refused: Vec<Skipped>,
}

impl TaskSpace {
    /// Brings a snapshot into `repository` under `refs/stockade/`.
    ///
    /// Placeholders that the agent left alone are the user's files again.
    /// Objects are checked by git (`fsck`) as they arrive.
    pub fn import(
        &self,
        git: &Git,
        repository: &Repository,
        snapshot: &Snapshot,
    ) -> Result<Imported, ImportError> {
        let import = self.import_repository(repository)?;
        let base = self.pool().base();
        if git.commit(&import, base.commit.as_str()).is_err() {
            return Err(ImportError::BaseGone {
                base: base.commit.clone(),
                repository: repository.worktree().display().to_string(),
            });
        }
        let (mut allowed, mut refused) = self.allowed(git, &import, &snapshot.commit)?;
        // Nothing that git refuses may arrive, not even for a moment.
        if allowed
            .iter()
            .any(|change| change.path.may_name_file_of_git())
        {
            let rejected = self.rejected(git, repository, &import, &allowed)?;
            let paths: HashSet<_> = rejected.iter().map(|file| &file.path).collect();
            allowed.retain(|change| !paths.contains(&change.path));
            refused.extend(rejected);
        }
        let message = format!("{}\n", snapshot.label);
        let base = base.commit.clone();
        let commit = compose(git, &import, &base, &allowed, &message, snapshot.time)?;
        let reference = format!("refs/stockade/{}/result", self.id());
        publish(git, repository, &import, [&base, &commit], &reference)?;
        let snapshot = snapshot.number;
        Ok(Imported {
            snapshot,
            base,
            commit,
            reference,
            refused,
        })
    }

    /// A commit of the agent's side as one on the user's base, and what of it
    /// may not come back.
    pub(crate) fn bring_back(
        &self,
        git: &Git,
        import: &GitDir,
        commit: &ObjectId,
        message: &str,
        time: u64,
    ) -> Result<(ObjectId, Vec<Skipped>), ImportError> {
        let (allowed, refused) = self.allowed(git, import, commit)?;
        let base = &self.pool().base().commit;
        let commit = compose(git, import, base, &allowed, message, time)?;
        Ok((commit, refused))
    }

    /// What a commit of the agent's side changes and may come back, and what
    /// may not.
    fn allowed(
        &self,
        git: &Git,
        import: &GitDir,
        commit: &ObjectId,
    ) -> Result<(Vec<Change>, Vec<Skipped>), ImportError> {
        let base = self.pool().base();
        let changes = git.diff_trees(import, &base.agent_commit, commit)?;
        if changes.len() > CHANGES {
            return Err(ImportError::TooManyChanges {
                count: changes.len(),
            });
        }
        self.judge(git, import, changes)
    }

    /// The host's repository that sees the user's objects, the pool's, the
    /// snapshots' and those that passed quarantine, and that nobody else can
    /// write.
    pub(crate) fn import_repository(&self, repository: &Repository) -> Result<GitDir, FileError> {
        let path = self.folder().join("import.git");
        let mut lenders = vec![
            repository.common().objects(),
            self.pool().git_dir().objects(),
            self.shadow().objects(),
        ];
        // Only if the agent handed commits over.
        lenders.extend(Some(self.quarantine().objects()).filter(|objects| objects.is_dir()));
        let lenders: Vec<_> = lenders.iter().map(std::path::PathBuf::as_path).collect();
        let import = GitDir::create(&path, repository.format(), &lenders)?;
        // Where the user's history ends, ours ends too.
        let shallow = path.join("shallow");
        let mut ends = repository.shallow().unwrap_or_default();
        let agent_commit = &self.pool().base().agent_commit;
        if *agent_commit != self.pool().base().commit {
            ends.extend_from_slice(format!("{agent_commit}\n").as_bytes());
        }
        if ends.is_empty() {
            let _ = std::fs::remove_file(&shallow);
        } else {
            std::fs::write(&shallow, ends).map_err(failed("write", &shallow))?;
        }
        Ok(import)
    }

    /// Parts the changes into those that may come back and those that may not.
    fn judge(
        &self,
        git: &Git,
        import: &GitDir,
        changes: Vec<Change>,
    ) -> Result<(Vec<Change>, Vec<Skipped>), ImportError> {
        let link = |change: &Change| match &change.new {
            Some((FileMode::Symlink, id)) => Some(id.clone()),
            _ => None,
        };
        let ids: Vec<_> = changes.iter().filter_map(link).collect();
        let mut targets = Vec::with_capacity(ids.len());
        git.read_blobs(import, &ids, |_, _, content| {
            let mut target = Vec::new();
            content.take(LINK_TARGET + 1).read_to_end(&mut target)?;
            targets.push(target);
            Ok(())
        })?;
        let mut targets = targets.into_iter();
        let placeholders = self.placeholders(git, import, &changes)?;
        let (mut allowed, mut refused) = (Vec::new(), Vec::new());
        for change in changes {
            let target = link(&change).and_then(|_| targets.next());
            let objection = if placeholders.contains(&change.path) {
                Some("it stands for a file of yours that is hidden and not committed")
            } else {
                self.objection(&change, target.as_deref())
            };
            match objection {
                Some(reason) => refused.push(Skipped {
                    path: change.path,
                    reason: reason.to_owned(),
                }),
                None => allowed.push(change),
            }
        }
        Ok((allowed, refused))
    }

    /// New files that came along uncommitted with their content hidden, and
    /// that the agent left alone.
    fn placeholders(
        &self,
        git: &Git,
        import: &GitDir,
        changes: &[Change],
    ) -> Result<HashSet<TreePath>, ImportError> {
        let history = self.snapshots().unwrap_or_default();
        let Some(start) = history.first().filter(|first| first.label == START) else {
            return Ok(HashSet::new());
        };
        let (paths, ids): (Vec<_>, Vec<_>) = changes
            .iter()
            .filter(|change| change.old.is_none() && start.changed.contains(&change.path))
            .filter_map(|change| match &change.new {
                Some((FileMode::Regular | FileMode::Executable, id)) => {
                    Some((change.path.clone(), id.clone()))
                }
                _ => None,
            })
            .unzip();
        let mut hidden = Vec::with_capacity(ids.len());
        git.read_blobs(import, &ids, |_, _, content| {
            let mut head = Vec::new();
            content.take(PLACEHOLDER_HEAD).read_to_end(&mut head)?;
            hidden.push(is_placeholder(&head));
            Ok(())
        })?;
        Ok(paths
            .into_iter()
            .zip(hidden)
            .filter_map(|(path, hidden)| hidden.then_some(path))
            .collect())
    }

    fn objection(&self, change: &Change, target: Option<&[u8]>) -> Option<&'static str> {
        if change.path.names_git_directory() {
            return Some("its name could be taken for a git repository's own files");
        }
        if self
            .pool()
            .base()
            .masked
            .iter()
            .any(|masked| masked.path == change.path)
        {
            return Some(
                "the real file is hidden from the agent, so a change to it cannot be meant",
            );
        }
        let submodule = |side: &Option<(FileMode, ObjectId)>| {
            side.as_ref()
                .is_some_and(|(mode, _)| *mode == FileMode::Gitlink)
        };
        if submodule(&change.new) || (submodule(&change.old) && change.new.is_some()) {
            return Some("it would add or change a submodule");
        }
        if target.is_some_and(|target| leaves_tree(&change.path, target)) {
            return Some("it is a link that leads out of the repository, or into `.git`");
        }
        None
    }
}

/// Whether a link at `path` leads out of the tree. A `..` after a name is
/// refused too: where it leads depends on other links.
fn leaves_tree(path: &TreePath, target: &[u8]) -> bool {
    if target.is_empty() || target[0] == b'/' || target.len() as u64 > LINK_TARGET {
        return true;
    }
    let mut climbs = path.components().count() - 1;
    let mut descended = false;
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if descended || climbs == 0 => return true,
            b".." => climbs -= 1,
            part if names_git_directory(part) => return true,
            _ => descended = true,
        }
    }
    false
}

/// A commit on `parent` with `changes` made to its tree.
pub(crate) fn compose(
    git: &Git,
    repository: &GitDir,
    parent: &ObjectId,
    changes: &[Change],
    message: &str,
    time: u64,
) -> Result<ObjectId, GitError> {
    let feed = |stdin: &mut dyn Write| {
        stdin.write_all(b"feature done\nfeature get-mark\n")?;
        write!(stdin, "commit refs/compose\nmark :1\n")?;
        writeln!(
            stdin,
            "committer Stockade <stockade@localhost> {time} +0000"
        )?;
        write!(stdin, "data {}\n{message}\nfrom {parent}\n", message.len())?;
        // Deletions first: a folder may take the place of a file.
        for change in changes.iter().filter(|change| change.new.is_none()) {
            writeln!(stdin, "D {}", change.path.quoted())?;
        }
        for change in changes {
            if let Some((mode, id)) = &change.new {
                writeln!(stdin, "M {} {id} {}", mode.octal(), change.path.quoted())?;
            }
        }
        write!(stdin, "\nget-mark :1\ndone\n")
    };
    let read = |stdout: &mut dyn BufRead| {
        let mut answer = String::new();
        stdout.take(1024).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let call = git
        .call(repository, "fast-import")
        .writes()
        .args(["--quiet", "--done", "--force"]);
    let answer = call.stream(feed, read)?;
    answer.trim_end().parse().map_err(|_| GitError::Unexpected {
        command: "fast-import",
        detail: stockade_types::visible::line(answer.as_bytes()),
    })
}

/// Copies `commit` and what it needs into the user's repository, checked on
/// arrival, and gives it the name `reference`. What the user's own commit `known`
/// holds is not checked again.
pub(crate) fn publish(
    git: &Git,
    repository: &Repository,
    from: &GitDir,
    [known, commit]: [&ObjectId; 2],
    reference: &str,
) -> Result<(), GitError> {
    // `update-ref` in our own repository gives the fetch a name to ask for.
    git.call(from, "update-ref")
        .writes()
        .args([reference, commit.as_str()])
        .run()?;
    let mut fetch = git.call(repository.common(), "fetch");
    if let Some(list) = known::list(git, from, known)? {
        fetch = fetch.setting("fetch.fsck.skipList", list);
    }
    fetch
        .writes()
        .local_transport()
        .reads(from.path())
        .borrowing(from)
        .args([
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
        ])
        .args([
            "--no-auto-gc",
            "--no-prune",
            "--no-show-forced-updates",
            "--force",
        ])
        .arg("--upload-pack=git-upload-pack")
        .arg(from.path())
        .arg(format!("{reference}:{reference}"))
        .run()
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_may_point_anywhere_inside_the_tree_and_nowhere_else() {
        let path = TreePath::new("a/b/link").unwrap();
        for inside in ["c", "../c", "../../README.md", "./c", "c/d"] {
            assert!(!leaves_tree(&path, inside.as_bytes()), "{inside}");
        }
        for outside in [
            "/etc/passwd",
            "../../../x",
            "c/../../../../x",
            "../../.git/config",
            "",
            "c/../d",
        ] {
            assert!(leaves_tree(&path, outside.as_bytes()), "{outside}");
        }
    }
}
