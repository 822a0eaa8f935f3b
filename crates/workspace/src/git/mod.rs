//! The one place that starts git, and the little of its formats that is read.
//!
//! Every run has an explicit repository, an environment built from nothing,
//! capped output and a deadline. None of the repositories it opens can be
//! written by an agent: hardening by settings is a second line, not the first
//! one, because a repository's own configuration can name programs in ways
//! that no list of settings covers.

mod call;
mod environment;
mod objects;
mod probe;
mod repository_files;

use std::{
    ffi::OsStr,
    fmt, io,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

pub(crate) use self::{
    call::Call,
    objects::{Change, TreeEntry},
    repository_files::{GitDir, write_skeleton},
};

/// What a run of git could not do.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// No program of that name is on the search path.
    #[error("git was not found; install git 2.39 or newer")]
    NotFound,
    /// The program could not be started.
    #[error("could not start `{}`: {source}", program.display())]
    Spawn {
        /// The git that was to run.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The confinement could not be applied, so nothing was started.
    #[error("could not confine git: {0}")]
    Confine(io::Error),
    /// It ran longer than it may and was killed.
    #[error("`git {command}` was stopped after {seconds} seconds")]
    TimedOut {
        /// The subcommand.
        command: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// It wrote more than it may and was killed.
    #[error("`git {command}` wrote more than {limit} bytes and was stopped")]
    TooMuchOutput {
        /// The subcommand.
        command: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// It ended with an error of its own.
    #[error("`git {command}` failed: {message}")]
    Failed {
        /// The subcommand.
        command: &'static str,
        /// Its exit status; `None` if a signal ended it.
        code: Option<i32>,
        /// The first line of what it said, safe to show.
        message: String,
    },
    /// What it was to read could not be given to it.
    #[error("could not pass data to `git {command}`: {source}")]
    Feed {
        /// The subcommand.
        command: &'static str,
        /// Why.
        source: io::Error,
    },
    /// What it wrote could not be read or used.
    #[error("could not use the output of `git {command}`: {source}")]
    Read {
        /// The subcommand.
        command: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It wrote something that this version of Stockade does not understand.
    #[error("`git {command}` gave an unexpected answer: {detail}")]
    Unexpected {
        /// The subcommand.
        command: &'static str,
        /// What was wrong with it, safe to show.
        detail: String,
    },
}

/// Narrows what a git process may do before it starts; given by the sandbox.
pub trait Confine: Send + Sync {
    /// Changes `command` so that it has no network, limited resources, and
    /// sees only the folders named, or fails.
    fn confine(
        &self,
        command: &mut Command,
        readable: &[&Path],
        writable: &[&Path],
    ) -> io::Result<()>;
}

/// No confinement beyond the environment: for tests, and for systems on which
/// the sandbox says that it has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unconfined;

impl Confine for Unconfined {
    fn confine(&self, _: &mut Command, _: &[&Path], _: &[&Path]) -> io::Result<()> {
        Ok(())
    }
}

/// A git program, hardened. Cheap to clone.
#[derive(Clone)]
pub struct Git {
    program: PathBuf,
    confine: Arc<dyn Confine>,
    timeout: Duration,
}

impl fmt::Debug for Git {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Git")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

impl Git {
    /// The longest that one run may take, unless the caller says otherwise.
    pub const TIMEOUT: Duration = Duration::from_mins(10);

    /// Uses the git at `program`, an absolute path.
    pub fn new(program: impl Into<PathBuf>, confine: Arc<dyn Confine>) -> Self {
        Self {
            program: program.into(),
            confine,
            timeout: Self::TIMEOUT,
        }
    }

    /// The first `git` on `search_path`, the value of a `PATH` variable.
    /// Relative entries are skipped: they depend on where Stockade is started,
    /// which may be a hostile tree.
    pub fn find(search_path: &OsStr, confine: Arc<dyn Confine>) -> Result<Self, GitError> {
        std::env::split_paths(search_path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join("git"))
            .find(|program| program.is_file())
            .map(|program| Self::new(program, confine))
            .ok_or(GitError::NotFound)
    }

    /// Kills each run after `timeout`.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The program that runs.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What `git --version` says, without the words before the number.
    pub fn version(&self) -> Result<String, GitError> {
        let output = Call::new(self, None, "version").run()?;
        let text = stockade_types::visible::line(output.trim_ascii());
        Ok(text.trim_start_matches("git version ").to_owned())
    }

    /// A run of `subcommand` on `repository`.
    pub(crate) fn call<'a>(&'a self, repository: &'a GitDir, subcommand: &'static str) -> Call<'a> {
        Call::new(self, Some(repository), subcommand)
    }

    /// A run that looks for a repository from `folder` upwards. Only for
    /// folders that belong to the user.
    pub(crate) fn call_in<'a>(&'a self, folder: &Path, subcommand: &'static str) -> Call<'a> {
        Call::new(self, None, subcommand).in_folder(folder)
    }
}
