//! What leaves with a push, and what of it must not.

use std::collections::HashMap;

use serde::Serialize;
use stockade_scan::{Finding, Scanner};

use super::{PushError, PushRequest, RemoteState};
use crate::{
    diff,
    git::{Change, Git, GitDir, GitError},
    object::{FileMode, ObjectId},
    path::TreePath,
    risk::Risk,
};

/// A larger file is not searched, and does not leave.
const SEARCHED: u64 = 64 << 20;
/// The branches of a remote that are asked about here.
const HEADS: usize = 10_000;

/// What a push would bring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PushContent {
    /// The files that differ from the task's base.
    pub files: Vec<TreePath>,
    /// Those of them that a build server runs.
    pub ci: Vec<TreePath>,
    /// The bytes of all of them.
    pub bytes: u64,
    /// Known values, and what looks like a key; the message has no path.
    pub findings: Vec<(Option<TreePath>, Finding)>,
    /// Files that are too large to be searched.
    pub unsearched: Vec<TreePath>,
    /// Commits below the work that no branch there has, as far as is known.
    pub own: u64,
}

/// What leaves with `new`, and what is in it that should not.
pub(super) fn content(
    git: &Git,
    import: &GitDir,
    request: &PushRequest<'_>,
    base: &ObjectId,
    parent: &ObjectId,
    new: &ObjectId,
) -> Result<PushContent, PushError> {
    let scanner = request.work.scanner;
    let review = diff::compare_commits(git, import, base, new, scanner)?;
    let ci = review.files.iter().filter(|file| {
        let mut marks = file.marks.iter();
        marks.any(|mark| mark.risk == Risk::RunsInCi)
    });
    let sizes = review.files.iter().filter_map(|file| file.new.as_ref());
    let mut content = PushContent {
        ci: ci.map(|file| file.path.clone()).collect(),
        bytes: sizes.map(|side| side.size).sum(),
        files: review.files.iter().map(|file| file.path.clone()).collect(),
        findings: Vec::new(),
        unsearched: Vec::new(),
        own: own_commits(git, import, request.remote, parent)?,
    };
    let told = [request.work.message, request.disclosure.unwrap_or_default()].join("\n");
    let said = scanner.find_new(b"", told.as_bytes());
    content
        .findings
        .extend(said.into_iter().map(|finding| (None, finding)));
    search(
        git,
        import,
        scanner,
        &git.diff_trees(import, base, new)?,
        &mut content,
    )?;
    Ok(content)
}

/// Searches every changed file: a review leaves large ones out, a push does not.
fn search(
    git: &Git,
    import: &GitDir,
    scanner: &Scanner,
    changes: &[Change],
    content: &mut PushContent,
) -> Result<(), GitError> {
    let blob = |side: &Option<(FileMode, ObjectId)>| match side {
        Some((mode, id)) if *mode != FileMode::Gitlink => Some(id.clone()),
        _ => None,
    };
    let sides: Vec<_> = changes
        .iter()
        .filter_map(|change| Some((&change.path, blob(&change.old), blob(&change.new)?)))
        .collect();
    let news: Vec<_> = sides.iter().map(|(_, _, new)| new.clone()).collect();
    let sizes = git.object_sizes(import, &news)?;
    let sizes: HashMap<_, _> = news.into_iter().zip(sizes).collect();
    for (path, old, new) in sides {
        let size = sizes.get(&new).and_then(|found| found.as_ref());
        if size.is_none_or(|(_, size)| *size > SEARCHED) {
            content.unsearched.push(path.clone());
            continue;
        }
        let text = git.blob(import, &new, SEARCHED)?;
        let found = scanner.find_new(b"", &text);
        if found.is_empty() {
            continue;
        }
        // What the base has already is no news; a large one counts as nothing.
        let before = old.and_then(|old| git.blob(import, &old, SEARCHED).ok());
        let found = scanner.find_new(&before.unwrap_or_default(), &text);
        let found = found.into_iter();
        content
            .findings
            .extend(found.map(|finding| (Some(path.clone()), finding)));
    }
    Ok(())
}

/// How many commits up to `parent` no branch of the remote is known to have.
fn own_commits(
    git: &Git,
    import: &GitDir,
    remote: &RemoteState,
    parent: &ObjectId,
) -> Result<u64, GitError> {
    let heads: Vec<_> = remote.heads.values().take(HEADS).cloned().collect();
    let sizes = git.object_sizes(import, &heads)?;
    let here = heads.iter().zip(sizes).filter(|(_, found)| found.is_some());
    let mut input = format!("{parent}\n");
    for (head, _) in here {
        input.extend(["^", head.as_str(), "\n"]);
    }
    let output = git
        .call(import, "rev-list")
        .args(["--count", "--stdin"])
        .run_with(input.as_bytes())?;
    let text = String::from_utf8_lossy(&output);
    text.trim().parse().map_err(|_| GitError::Unexpected {
        command: "rev-list",
        detail: stockade_types::visible::line(text.trim().as_bytes()),
    })
}
