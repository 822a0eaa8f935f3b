//! Required checks before a merge: the commands that the *target* branch
//! declares, each in a fresh sandbox without any network, run twice — on the
//! merged tree, and on the merged sources with the target's own test and check
//! files, so that a change cannot pass by changing what judges it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::CWD;
use serde::Serialize;
use stockade_sandbox::{Access, Identity, Sandbox, SandboxSpec, Tree};
use stockade_types::wire::{Reply, Request};
use stockade_workspace::{AGENT_GIT_INSIDE, PoolEntry};

use crate::{
    error::SupervisorError,
    exec::{Command, Execs, exit_code},
    part,
    project::{PROJECT_FILE, Project},
    state::TaskDirectory,
    task::Plan,
};

/// How a check went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// Its name in `stockade.toml`.
    pub name: String,
    /// On which files it ran.
    pub on: Judged,
    /// Its exit code; 0 is good.
    pub exit: i32,
    /// Where its output is.
    pub log: PathBuf,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

/// The files that a check ran on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judged {
    /// The merged tree.
    Merged,
    /// The merged tree with the target's own tests.
    WithTargetsTests,
}

/// The longest that one check may take.
const LONGEST: Duration = Duration::from_mins(15);

/// Runs the checks that `target` declares on `merged`. Must be called from
/// the main thread: the sandbox dies with the thread that started it.
pub fn run_checks(
    task: &TaskDirectory,
    plan: &Plan,
    target: &PoolEntry,
    merged: &PoolEntry,
) -> Result<Vec<CheckResult>, SupervisorError> {
    let project = Project::of_tree(&target.tree())?;
    let mut results = Vec::new();
    for (name, command) in &project.checks {
        for on in [Judged::Merged, Judged::WithTargetsTests] {
            let folder = task.join("check");
            stockade_workspace::remove_folder(&folder).map_err(SupervisorError::state(&folder))?;
            prepare(&folder, plan.sandbox.identity, || match on {
                Judged::Merged => Ok(()),
                Judged::WithTargetsTests => {
                    lay_over(&target.tree(), &folder.join("upper"), command)
                }
            })
            .map_err(SupervisorError::state(&folder))?;
            let log = task.join(&format!(
                "check-{name}-{}.log",
                if on == Judged::Merged { 1 } else { 2 }
            ));
            let spec = spec(plan, task, merged, &folder);
            let started = Instant::now();
            let exit = run(&spec, plan, command, &log)?;
            let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            results.push(CheckResult {
                name: name.clone(),
                on,
                exit,
                log,
                milliseconds,
            });
            stockade_workspace::remove_folder(&folder).map_err(SupervisorError::state(&folder))?;
        }
    }
    Ok(results)
}

/// Makes the folders of a throw-away workspace, fills them, and gives them to
/// the task's user.
fn prepare(
    folder: &Path,
    identity: Option<Identity>,
    fill: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    for name in ["upper", "work", "home"] {
        fs::create_dir_all(folder.join(name))?;
    }
    fill()?;
    match identity {
        Some(identity) => crate::prepare::hand_over(folder, identity),
        None => Ok(()),
    }
}

/// Copies the tests and check files of `target` into the upper layer.
fn lay_over(target: &Path, upper: &Path, command: &str) -> io::Result<()> {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(target.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && judges(&path, command) {
                let to = upper.join(&path);
                fs::create_dir_all(to.parent().unwrap_or(upper))?;
                fs::copy(entry.path(), &to)?;
            } else if kind.is_symlink() && judges(&path, command) {
                let to = upper.join(&path);
                fs::create_dir_all(to.parent().unwrap_or(upper))?;
                rustix::fs::symlinkat(fs::read_link(entry.path())?, CWD, &to)?;
            }
        }
    }
    Ok(())
}

/// Whether a file decides what a check says: a test, by the names that test
/// runners look for, the project file, or a file that the command names.
fn judges(path: &Path, command: &str) -> bool {
    const FOLDERS: [&str; 6] = ["test", "tests", "spec", "specs", "__tests__", "testdata"];
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    let folder = path.parent().into_iter().flat_map(Path::components);
    let in_folder = folder
        .into_iter()
        .any(|part| FOLDERS.iter().any(|known| part.as_os_str() == *known));
    let named = command
        .split(|c: char| c.is_whitespace() || "'\"=;&|()".contains(c))
        .any(|word| Path::new(word.trim_start_matches("./")) == path);
    named
        || in_folder
        || path == Path::new(PROJECT_FILE)
        || name == "conftest.py"
        || stem == "test"
        || stem.starts_with("test_")
        || stem.ends_with("_test")
        || stem.ends_with("_tests")
        || stem.ends_with("_spec")
        || name.contains(".test.")
        || name.contains(".spec.")
}

/// The task's sandbox, but over the merged tree, with another home, and
/// without the agent's repository.
fn spec(plan: &Plan, task: &TaskDirectory, merged: &PoolEntry, folder: &Path) -> SandboxSpec {
    let mut spec = plan.sandbox.clone();
    spec.clients.clear();
    spec.grants
        .retain(|grant| grant.target != Path::new(AGENT_GIT_INSIDE));
    for grant in &mut spec.grants {
        // A check judges; it changes nothing of the host, whoever wrote it.
        if grant.source == grant.target {
            grant.access = Access::ReadOnly;
        }
        if grant.source == task.join("home") {
            grant.source = folder.join("home");
        }
    }
    spec.workspace.tree = Tree::Overlay {
        lower: merged.tree(),
        layers: folder.to_owned(),
    };
    spec
}

fn run(spec: &SandboxSpec, plan: &Plan, command: &str, log: &Path) -> Result<i32, SupervisorError> {
    let _ = fs::remove_file(log);
    let (mut sandbox, listeners) = Sandbox::start(&part::executable(), spec)?;
    // Nobody accepts: every connection and question is refused at once.
    drop(listeners);
    let argv = ["/bin/sh", "-c", command].map(str::to_owned);
    let mut execs = Execs::default();
    let words = Command {
        argv: &argv,
        env: &without_keys(plan),
        cwd: &plan.main.cwd,
        terminal: false,
        log: Some(log),
        input: false,
    };
    let id = execs
        .start(&sandbox, &words)
        .map_err(SupervisorError::Control)?;
    let init = sandbox.init().clone();
    std::thread::spawn(move || {
        std::thread::sleep(LONGEST);
        // Nothing happens if it ended long ago.
        let _ = init.send(&Request::Signal { id, signal: 9 }, &[]);
    });
    let exit = loop {
        match sandbox.init().receive().map_err(SupervisorError::Control)? {
            Some(Reply::Exited {
                id: ended, status, ..
            }) if ended == id => break exit_code(status),
            Some(Reply::Failed { id: failed, .. }) if failed == id => break 127,
            Some(_) => {}
            None => {
                return Err(SupervisorError::Refused(
                    "the check's sandbox was killed".to_owned(),
                ));
            }
        }
    };
    execs.settle(id, exit);
    sandbox.end();
    Ok(exit)
}

/// The environment of a check: that of the task, without even a placeholder.
fn without_keys(plan: &Plan) -> Vec<(String, String)> {
    let key = |name: &String| plan.placeholder_variables().any(|own| own == name);
    plan.main
        .env
        .iter()
        .filter(|(name, _)| !key(name))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_judges_a_change_is_known_by_its_name_or_by_the_command() {
        for path in [
            "tests/a.rs",
            "src/a_test.go",
            "test.sh",
            "web/a.spec.ts",
            "conftest.py",
            "stockade.toml",
            "x/test_a.py",
            "ci/check",
        ] {
            assert!(judges(Path::new(path), "sh ./ci/check --all"), "{path}");
        }
        for path in ["src/a.rs", "latest.txt", "contest.py", "ci/other"] {
            assert!(!judges(Path::new(path), "sh ./ci/check --all"), "{path}");
        }
    }
}
