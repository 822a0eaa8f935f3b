//! `stockade uninstall`: nothing of Stockade's stays but the executable.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};

use serde_json::json;
use stockade_workspace::Repository;

use crate::{
    commands::run::confirm,
    failure::{Failure, Kind},
    host,
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
    printer.note(&format!(
        "{} tasks with their snapshots and records, in {}",
        tasks.len(),
        state.path().display()
    ));
    if !yes && !confirm("Type `yes` to remove all of it for good: ") {
        return Err(
            Failure::new(Kind::Refused, "nothing was removed").hint("without a question: --yes")
        );
    }
    let git = host::git()?;
    let repositories: BTreeSet<PathBuf> = tasks
        .iter()
        .map(|task| task.status.repository.clone())
        .collect();
    let mut forgotten = 0;
    for folder in &repositories {
        // A repository that is gone has nothing to forget.
        if let Ok(repository) = Repository::discover(&git, folder) {
            forgotten += repository.forget_tasks(&git).map_err(Failure::failed)?;
        }
    }
    stockade_workspace::remove_folder(state.path())?;
    stockade_sandbox::caps::sweep();
    printer.line(&format!(
        "removed {} and {forgotten} references below refs/stockade/",
        state.path().display()
    ));
    printer.line("the executable is yours to delete; objects that only tasks used go with your next `git gc`");
    printer.json(&json!({ "removed": state.path(), "references": forgotten }));
    Ok(ExitCode::SUCCESS)
}
