//! What a reviewer accepted and rejected, and the commit that follows from it.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use similar::DiffOp;

use crate::{
    diff::{self, DiffError, FileDiff, Review, Version},
    files::{self, FileError},
    git::{Change, Git, GitDir, GitError},
    import::compose,
    object::{FileMode, ObjectId},
    path::TreePath,
    repository::Repository,
    snapshot::Skipped,
    task::TaskSpace,
};

/// What is to happen with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// Take it as it is.
    Accept,
    /// Leave the base as it is.
    Reject,
    /// Take the hunks whose ids are listed with `true`; leave all others.
    Hunks(BTreeMap<String, bool>),
}

/// A choice and the two sides that it was made about.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Decision {
    old: Option<Version>,
    new: Option<Version>,
    choice: Choice,
}

/// All choices of a task's reviewer, stored as `review.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Decisions {
    version: u32,
    files: BTreeMap<TreePath, Decision>,
}

impl Decisions {
    /// The choice about `file`, if it was made about exactly these contents.
    pub fn about(&self, file: &FileDiff) -> Option<&Choice> {
        let decision = self.files.get(&file.path)?;
        (decision.old == file.old && decision.new == file.new).then_some(&decision.choice)
    }

    /// What happens with `file`.
    fn choice(&self, file: &FileDiff, undecided: Undecided) -> Choice {
        let otherwise = match undecided {
            Undecided::Accept if !file.held_back => Choice::Accept,
            _ => Choice::Reject,
        };
        self.about(file).cloned().unwrap_or(otherwise)
    }

    /// Why `file` does not come back whole; `None` if it does.
    pub(crate) fn objection(&self, file: &FileDiff, undecided: Undecided) -> Option<&'static str> {
        match self.choice(file, undecided) {
            Choice::Accept => None,
            Choice::Hunks(_) => Some("only some of its hunks were accepted"),
            Choice::Reject if self.about(file).is_some() => Some("rejected"),
            Choice::Reject if !file.findings.is_empty() => {
                Some("held back: it holds what looks like a key and needs an approval of its own")
            }
            Choice::Reject if file.held_back => Some(
                "held back: it acts on your machine by itself and needs an approval of its own",
            ),
            Choice::Reject => Some("not decided"),
        }
    }
}

/// What happens with files that nobody decided about. Files that are held
/// back stay out in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// They are taken.
    Accept,
    /// They stay out.
    Reject,
}

/// The part of a review that was accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// The accepted work as one commit on the task's base.
    pub commit: ObjectId,
    /// The files in it, whole or in part.
    pub files: Vec<TreePath>,
    /// The files that are not in it, or only in part, and why.
    pub left_out: Vec<Skipped>,
}

impl TaskSpace {
    /// Records a choice about a file.
    pub fn decide(&self, file: &FileDiff, choice: Choice) -> Result<(), FileError> {
        let _lock = self.lock()?;
        let mut decisions = self.decisions()?;
        decisions.version = 1;
        let decision = Decision {
            old: file.old.clone(),
            new: file.new.clone(),
            choice,
        };
        decisions.files.insert(file.path.clone(), decision);
        files::write_json(&self.decisions_file(), &decisions)
    }

    /// All recorded choices.
    pub fn decisions(&self) -> Result<Decisions, FileError> {
        let path = self.decisions_file();
        if path.exists() {
            files::read_json(&path)
        } else {
            Ok(Decisions::default())
        }
    }

    fn decisions_file(&self) -> PathBuf {
        self.folder().join("review.json")
    }

    /// The commit that holds what was accepted and nothing else.
    pub fn accepted(
        &self,
        git: &Git,
        repository: &Repository,
        review: &Review,
        undecided: Undecided,
    ) -> Result<Accepted, DiffError> {
        let import = self.import_repository(repository)?;
        let decisions = self.decisions()?;
        let (mut changes, mut files, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        for file in &review.files {
            let choice = decisions.choice(file, undecided);
            let new = file.new.as_ref().map(|side| (side.mode, side.blob.clone()));
            let taken = match &choice {
                Choice::Accept => Some(new),
                Choice::Reject => None,
                Choice::Hunks(hunks) => partly(git, &import, file, hunks)?.map(Some),
            };
            if let Some(reason) = decisions.objection(file, undecided) {
                left_out.push(Skipped {
                    path: file.path.clone(),
                    reason: reason.to_owned(),
                });
            }
            if let Some(new) = taken {
                let old = file.old.as_ref().map(|side| (side.mode, side.blob.clone()));
                changes.push(Change {
                    path: file.path.clone(),
                    old,
                    new,
                });
                files.push(file.path.clone());
            }
        }
        let commit = compose(git, &import, &review.base, &changes, "Accepted work\n", 0)?;
        Ok(Accepted {
            commit,
            files,
            left_out,
        })
    }
}

/// The file with the accepted hunks only; `None` if that leaves it as it was.
fn partly(
    git: &Git,
    import: &GitDir,
    file: &FileDiff,
    accepted: &BTreeMap<String, bool>,
) -> Result<Option<(FileMode, ObjectId)>, GitError> {
    let Some(mode) = file
        .new
        .as_ref()
        .or(file.old.as_ref())
        .map(|side| side.mode)
    else {
        return Ok(None);
    };
    if file.binary || file.too_large.is_some() {
        return Ok(None);
    }
    let (old, new) = diff::sides(git, import, file)?;
    let content = with_hunks(&old, &new, accepted);
    if content == old {
        return Ok(None);
    }
    let call = git
        .call(import, "hash-object")
        .writes()
        .args(["-w", "--stdin"]);
    let id = call.object_with(&content)?;
    Ok(Some((mode, id)))
}

/// `old` with those hunks of the way to `new` that are accepted.
fn with_hunks(old: &[u8], new: &[u8], accepted: &BTreeMap<String, bool>) -> Vec<u8> {
    let mut taken = HashMap::new();
    for group in diff::groups(old, new) {
        let yes = accepted
            .get(&diff::hunk_id(old, new, &group))
            .copied()
            .unwrap_or(false);
        for operation in group {
            taken.insert((operation.old_range(), operation.new_range()), yes);
        }
    }
    let (old_lines, new_lines) = (diff::lines(old), diff::lines(new));
    let mut content = Vec::new();
    for operation in diff::operations(old, new) {
        let (before, after) = (operation.old_range(), operation.new_range());
        let equal = matches!(operation, DiffOp::Equal { .. });
        let new_side = !equal && taken.get(&(before.clone(), after.clone())) == Some(&true);
        let lines = if new_side {
            new_lines.get(after)
        } else {
            old_lines.get(before)
        }
        .unwrap_or_default();
        for line in lines {
            content.extend_from_slice(line);
        }
    }
    content
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(old: &[u8], new: &[u8], yes: bool) -> BTreeMap<String, bool> {
        diff::groups(old, new)
            .iter()
            .map(|g| (diff::hunk_id(old, new, g), yes))
            .collect()
    }

    #[test]
    fn one_hunk_of_two_can_be_taken() {
        let old = b"a\n1\n2\n3\n4\n5\n6\n7\n8\nb\n";
        let new = b"A\n1\n2\n3\n4\n5\n6\n7\n8\nB\n";
        let groups = diff::groups(old, new);
        assert_eq!(groups.len(), 2);
        let first = BTreeMap::from([(diff::hunk_id(old, new, &groups[0]), true)]);
        assert_eq!(
            with_hunks(old, new, &first),
            b"A\n1\n2\n3\n4\n5\n6\n7\n8\nb\n"
        );
    }

    proptest! {
        #[test]
        fn all_hunks_give_the_new_side_and_none_the_old(
            old in "([ab]\n){0,30}[ab]?", new in "([ab]\n){0,30}[ab]?",
        ) {
            let (old, new) = (old.as_bytes(), new.as_bytes());
            prop_assert_eq!(with_hunks(old, new, &all(old, new, true)), new);
            prop_assert_eq!(with_hunks(old, new, &all(old, new, false)), old);
        }
    }
}
