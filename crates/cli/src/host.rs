//! What the command line takes from its environment, and which task is meant.

use std::{collections::BTreeSet, ffi::OsString, path::PathBuf};

use stockade_policy::Source;
use stockade_supervisor::{
    Cache, Config, Host, PASSED, SOURCE_VARIABLES, StateDirectory, SupervisorError, TaskDirectory,
    TaskStatus, find_git, rules_of_people,
};
use stockade_types::{Redacted, env};
use stockade_vault::Catalogue;
use stockade_workspace::{CONFIG_VARIABLES, GIT_VARIABLES, Git, UserEnvironment};

use crate::failure::{Failure, Kind};

fn path_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The state directory of the caller.
pub(crate) fn state() -> Result<StateDirectory, Failure> {
    let state = StateDirectory::open(
        path_variable(env::STATE_DIR),
        path_variable("XDG_STATE_HOME"),
        path_variable("HOME"),
    );
    state.map_err(|error| {
        let is_place = matches!(error, SupervisorError::State { .. });
        let failure = Failure::from(error);
        if is_place {
            failure.hint("state is kept there; STOCKADE_STATE_DIR names another folder")
        } else {
            failure
        }
    })
}

/// The value of `PATH`.
pub(crate) fn search_path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())
}

/// The caller's home.
pub(crate) fn home() -> Option<PathBuf> {
    path_variable("HOME")
}

/// Where the caller's own git looks for settings and programs.
pub(crate) fn user_environment() -> UserEnvironment {
    UserEnvironment {
        home: home(),
        search_path: search_path(),
        config: CONFIG_VARIABLES
            .iter()
            .filter_map(|name| Some((*name, std::env::var_os(name)?)))
            .collect(),
        others: std::env::vars_os()
            .filter(|(name, _)| {
                let of_git = name.as_encoded_bytes().starts_with(b"GIT_");
                !of_git || GIT_VARIABLES.iter().any(|known| name == known)
            })
            .collect(),
    }
}

/// The git of the caller's `PATH`, behind walls.
pub(crate) fn git() -> Result<Git, Failure> {
    find_git(&search_path()).map_err(Failure::failed)
}

/// Where the user's configuration is, if there is a home.
pub(crate) fn config_place() -> Option<PathBuf> {
    let folder = path_variable("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config")));
    Some(folder?.join("stockade"))
}

/// The folder of the user's configuration, which may not be there yet.
pub(crate) fn config_folder() -> Result<PathBuf, Failure> {
    config_place().ok_or_else(|| {
        Failure::failed("there is no home directory; set XDG_CONFIG_HOME to a folder of your own")
    })
}

/// The user's configuration.
pub(crate) fn config() -> Result<Config, Failure> {
    Ok(config_place().map_or_else(
        || Ok(Config::default()),
        |folder| Config::read(&folder.join("config.toml")),
    )?)
}

/// The user's secrets, without their values.
fn catalogue() -> Result<Catalogue, Failure> {
    Ok(config_place().map_or_else(
        || Ok(Catalogue::default()),
        |folder| Catalogue::read(&folder),
    )?)
}

/// The AWS region that the caller uses, as Amazon's own tools find it.
fn region() -> Option<String> {
    let named = |name| std::env::var(name).ok().filter(|region| !region.is_empty());
    named(env::AWS_REGION).or_else(|| named("AWS_DEFAULT_REGION"))
}

/// The rules of the administrator and the user.
pub(crate) fn rules() -> Result<Vec<Source>, Failure> {
    Ok(rules_of_people(config_place().as_deref())?)
}

/// Those of the variables `names` that the caller has set.
fn as_set(names: &[&str]) -> Vec<(String, String)> {
    let values = names
        .iter()
        .map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    values.flatten().collect()
}

/// Everything that a task is prepared from.
pub(crate) fn host() -> Result<Host, Failure> {
    let passed = as_set(&PASSED);
    Ok(Host {
        state: state()?,
        git: git()?,
        home: home(),
        search_path: search_path(),
        region: region(),
        config: config()?,
        catalogue: catalogue()?,
        rules: rules()?,
        rustup_home: path_variable("RUSTUP_HOME"),
        caches: caches(),
        variables: variables(),
        passed,
        sources: as_set(&SOURCE_VARIABLES),
    })
}

/// The key in the variable `name`, if that has a value.
pub(crate) fn key(name: &str) -> Option<Redacted<String>> {
    let key = std::env::var(name).ok().filter(|key| !key.is_empty());
    key.map(Redacted::new)
}

/// Names of the variables that have a value.
fn variables() -> BTreeSet<String> {
    let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    set.filter_map(|(name, _)| name.into_string().ok())
        .collect()
}

/// Where the package managers of this user keep what they have downloaded.
fn caches() -> Vec<(Cache, PathBuf)> {
    let folder = |cache: Cache| {
        let said = path_variable(cache.variable());
        let usual = || Some(cache.usual(&home()?));
        Some((cache, said.or_else(usual)?))
    };
    Cache::ALL.into_iter().filter_map(folder).collect()
}

/// A task and what is known of it.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) directory: TaskDirectory,
    pub(crate) status: TaskStatus,
}

/// Every task, the newest first.
pub(crate) fn tasks(state: &StateDirectory) -> Result<Vec<Task>, Failure> {
    Ok(known(state.tasks_as_found()?))
}

/// Every task in the trash, the newest first.
pub(crate) fn removed_tasks(state: &StateDirectory) -> Result<Vec<Task>, Failure> {
    Ok(known(state.removed_as_found()?))
}

fn known(found: Vec<(TaskDirectory, TaskStatus)>) -> Vec<Task> {
    let found = found.into_iter();
    found
        .map(|(directory, status)| Task { directory, status })
        .collect()
}

/// The task that `name` means: an id, a slug, the start of either, or the only
/// task there is.
pub(crate) fn find(state: &StateDirectory, name: Option<&str>) -> Result<Task, Failure> {
    // An id says where to look, however many tasks there are.
    if let Some(Ok(id)) = name.map(str::parse)
        && let directory = state.task(&id)
        && let Ok(status) = directory.status()
    {
        return Ok(Task { directory, status });
    }
    let tasks = tasks(state)?;
    if let Some(name) = name {
        return named(tasks, name)?.ok_or_else(|| {
            Failure::new(Kind::NotFound, format!("there is no task `{name}`"))
                .hint("stockade ls shows them")
        });
    }
    match <[Task; 1]>::try_from(tasks) {
        Ok([task]) => Ok(task),
        Err(tasks) if tasks.is_empty() => Err(Failure::new(Kind::NotFound, "there is no task")
            .hint("start one: stockade run AGENT \"what to do\"")),
        Err(tasks) => Err(ambiguous("say which task", &tasks)),
    }
}

/// The task in the trash that `name` means: an id, a slug, or the start of either.
pub(crate) fn find_removed(state: &StateDirectory, name: &str) -> Result<Task, Failure> {
    named(removed_tasks(state)?, name)?.ok_or_else(|| {
        let message = format!("there is no task `{name}` in the trash");
        Failure::new(Kind::NotFound, message).hint("stockade restore lists what is there")
    })
}

/// The one of `tasks` that `name` means: whose id or slug it is, or else starts with it.
fn named(mut tasks: Vec<Task>, name: &str) -> Result<Option<Task>, Failure> {
    let id = |task: &Task| task.directory.id().to_string();
    let exact = |task: &Task| task.status.slug == name || id(task) == name;
    if tasks.iter().any(exact) {
        tasks.retain(exact);
    } else {
        tasks.retain(|task| task.status.slug.starts_with(name) || id(task).starts_with(name));
    }
    if tasks.len() > 1 {
        return Err(ambiguous(&format!("`{name}` fits several tasks"), &tasks));
    }
    Ok(tasks.pop())
}

fn ambiguous(message: &str, tasks: &[Task]) -> Failure {
    tasks
        .iter()
        .take(8)
        .fold(Failure::new(Kind::Usage, message), |failure, task| {
            failure.hint(format!("{}  {}", task.directory.id(), task.status.slug))
        })
}
