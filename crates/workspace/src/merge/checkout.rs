use std::{os::unix::ffi::OsStrExt, path::Path};

use super::{Approval, MergeError, swap};
use stockade_types::visible;

use crate::{
    git::{Call, Git, GitDir, GitError},
    object::ObjectId,
    repository::Repository,
};

/// Moves the branch that is checked out, and the checkout with it.
pub(super) fn land(
    git: &Git,
    repository: &Repository,
    import: &GitDir,
    approval: &Approval,
) -> Result<(), MergeError> {
    let Approval {
        old_id, new_commit, ..
    } = approval;
    no_filter_inside(git, repository, import, new_commit)?;
    // Exit status 1 says that some file differs, which is looked at below.
    in_checkout(git, repository, "update-index")
        .or_exit(1)
        .args(["-q", "--refresh"])
        .output_limit(8 << 20)
        .run()?;
    let move_tree = |dry: bool, from: &ObjectId, to: &ObjectId| {
        let mut call = in_checkout(git, repository, "read-tree").args(["-m", "-u"]);
        if dry {
            call = call.arg("--dry-run");
        }
        call.args([from.as_str(), to.as_str()]).run()
    };
    let in_the_way = |error: GitError| match error {
        GitError::Failed { message, .. } => MergeError::CheckoutInTheWay { reason: message },
        error => error.into(),
    };
    move_tree(true, old_id, new_commit).map_err(in_the_way)?;
    swap(git, repository, approval)?;
    if let Err(error) = move_tree(false, old_id, new_commit) {
        // Something came between the rehearsal and the act. Read-tree checks
        // everything before it writes, so only the branch has to go back.
        git.update_ref(
            repository.common(),
            &approval.target_ref,
            old_id,
            new_commit,
        )?;
        return Err(in_the_way(error));
    }
    Ok(())
}

fn in_checkout<'a>(git: &'a Git, repository: &'a Repository, command: &'static str) -> Call<'a> {
    git.call(repository.checkout(), command)
        .writes()
        .own_attributes()
        .also_writes(repository.common_dir())
        .work_tree(repository.worktree())
}

/// Refuses if a filter of this repository's settings runs a program that the
/// tree itself holds: the tree's attributes decide on which files it runs.
/// Filters of the user's global settings do not run here at all.
fn no_filter_inside(
    git: &Git,
    repository: &Repository,
    import: &GitDir,
    new_commit: &ObjectId,
) -> Result<(), MergeError> {
    let output = git
        .call(repository.checkout(), "config")
        .or_exit(1)
        .args([
            "--null",
            "--get-regexp",
            r"^filter\..*\.(smudge|process|clean)$",
        ])
        .run()?;
    let settings: Vec<_> = output
        .split(|byte| *byte == 0)
        .filter(|setting| !setting.is_empty())
        .map(|setting| String::from_utf8_lossy(setting).into_owned())
        .collect();
    if settings.is_empty() {
        return Ok(());
    }
    let listing = git.list_tree(import, &git.tree(import, new_commit)?)?;
    let paths: std::collections::HashSet<_> = listing
        .iter()
        .map(|entry| entry.path.as_bytes().to_vec())
        .collect();
    let inside = |word: &str| {
        let word = word.trim_matches(['"', '\'']);
        let path = Path::new(word);
        let relative = path.strip_prefix(repository.worktree()).unwrap_or(path);
        let relative = relative.strip_prefix(".").unwrap_or(relative);
        paths.contains(relative.as_os_str().as_bytes())
            || (word.contains('/') && path.is_relative())
            || path.starts_with(repository.worktree())
    };
    for setting in settings {
        let (driver, command) = setting.split_once('\n').unwrap_or((&setting, ""));
        // Expansions could spell any path.
        if command.contains(['$', '`']) || command.split_whitespace().any(inside) {
            let (driver, command) = (
                visible::line(driver.as_bytes()),
                visible::line(command.as_bytes()),
            );
            return Err(MergeError::FilterInsideTree { driver, command });
        }
    }
    Ok(())
}

/// Refuses if another folder has the branch checked out: moving it would make
/// that folder look changed.
pub(super) fn not_elsewhere(
    git: &Git,
    repository: &Repository,
    target_ref: &str,
) -> Result<(), MergeError> {
    let mut found = repository.checkouts(git)?.into_iter();
    match found.find(|checkout| checkout.branch.as_deref() == Some(target_ref)) {
        Some(checkout) => Err(MergeError::CheckedOutElsewhere {
            target: target_ref.to_owned(),
            worktree: visible::line(checkout.folder.as_os_str().as_bytes()),
        }),
        None => Ok(()),
    }
}
