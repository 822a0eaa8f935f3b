//! `stockade uninstall`: nothing of Stockade's stays but the executable and what is the
//! user's own.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::json;
use stockade_workspace::{Git, Repository};

use crate::{
    commands::run::confirm,
    failure::{Failure, Kind},
    host::{self, Task},
    print::Printer,
};

pub(crate) fn run(yes: bool, printer: Printer) -> Result<ExitCode, Failure> {
    let state = host::state()?;
    let tasks = host::tasks(&state)?;
    if let Some(running) = tasks.iter().find(|task| task.directory.is_locked()) {
        return Err(
            Failure::new(Kind::Refused, format!("{} still runs", running.status.slug))
                .hint("stockade stop --all"),
        );
    }
    let removed = host::removed_tasks(&state)?;
    printer.note(&format!(
        "{} tasks and {} in the trash, with their snapshots and records, in {}",
        tasks.len(),
        removed.len(),
        state.path().display()
    ));
    if !yes && !confirm("Type `yes` to remove all of it for good: ") {
        return Err(
            Failure::new(Kind::Refused, "nothing was removed").hint("without a question: --yes")
        );
    }
    let (forgotten, mut stays) = forget_all(tasks.into_iter().chain(removed))?;
    stockade_workspace::remove_folder(state.path())?;
    stockade_sandbox::caps::sweep();
    stays.extend(own_files());
    tell(state.path(), forgotten, &stays, printer);
    Ok(ExitCode::SUCCESS)
}

/// A place where something stays, and why.
type Stays = (PathBuf, String);

/// Takes the references of all these tasks out of their repositories: how many there
/// were, and where they could not be.
fn forget_all(tasks: impl Iterator<Item = Task>) -> Result<(usize, Vec<Stays>), Failure> {
    let git = host::git()?;
    let repositories: BTreeSet<PathBuf> = tasks.map(|task| task.status.repository).collect();
    let mut forgotten = 0;
    let mut stays = Vec::new();
    for folder in repositories {
        match forget(&git, &folder) {
            Ok(count) => forgotten += count,
            Err(why) => stays.push((folder, why)),
        }
    }
    Ok((forgotten, stays))
}

/// Takes the references of tasks out of the repository of `folder`; how many there were.
fn forget(git: &Git, folder: &Path) -> Result<usize, String> {
    if !folder.exists() {
        // A repository that is gone has nothing to forget.
        return Ok(0);
    }
    Repository::discover(git, folder)
        .map_err(|error| error.to_string())
        .and_then(|repository| {
            repository
                .forget_tasks(git)
                .map_err(|error| error.to_string())
        })
        .map_err(|error| format!("its refs/stockade/ could not be removed: {error}"))
}

/// What is not Stockade's to remove.
fn own_files() -> Vec<Stays> {
    let configuration = host::config_place().filter(|folder| folder.exists());
    let configuration = configuration.map(|folder| {
        (
            folder,
            "your settings, rules and secrets, some written by you",
        )
    });
    let executable = std::env::current_exe().ok();
    let executable = executable.map(|file| (file, "this executable"));
    let files = configuration.into_iter().chain(executable);
    files.map(|(path, why)| (path, why.to_owned())).collect()
}

fn tell(state: &Path, forgotten: usize, stays: &[Stays], printer: Printer) {
    printer.line(&format!(
        "removed {} and {forgotten} references below refs/stockade/",
        state.display()
    ));
    for (path, why) in stays {
        printer.line(&format!("stays    {}: {why}", path.display()));
    }
    if forgotten > 0 {
        printer.line(
            "stays    objects that reviews brought into your repositories: git drops them by \
             itself, or at once with `git gc --prune=now`",
        );
    }
    let stays = stays
        .iter()
        .map(|(path, why)| json!({ "path": path, "why": why }));
    printer.json(&json!({
        "removed": state,
        "references": forgotten,
        "stays": stays.collect::<Vec<_>>(),
    }));
}
