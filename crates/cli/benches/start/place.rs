//! A folder with a repository and a state directory, and programs run in it.

use std::{
    cell::Cell,
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::failure::Failure;

/// The program that is measured.
const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");
/// Folders of programs; what else the caller has would be shown to agents.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where everything happens. Dropping it ends every task and removes it.
#[derive(Debug)]
pub(crate) struct Place {
    folder: TempDir,
    /// Which state directory is in use.
    state: Cell<u32>,
    /// Folders of programs, as in the variable `PATH`.
    path: String,
}

impl Place {
    /// A new place below `folder`, with the system's programs and those of a folder.
    pub(crate) fn new(folder: &Path, programs: Option<&Path>) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("stockade-bench-")
            .tempdir_in(folder)
            .map_err(Failure::file(folder))?;
        let place = Self {
            folder,
            state: Cell::new(0),
            path: programs.map_or_else(
                || PATH.to_owned(),
                |programs| format!("{}:{PATH}", programs.display()),
            ),
        };
        let home = place.join("home");
        std::fs::create_dir(&home).map_err(Failure::file(&home))?;
        Ok(place)
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file or folder in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The user's repository.
    pub(crate) fn repository(&self) -> PathBuf {
        self.join("project")
    }

    /// The state directory in use.
    pub(crate) fn state(&self) -> PathBuf {
        self.join(&format!("state-{}", self.state.get()))
    }

    /// From now on another state directory, an empty one. The old one stays:
    /// removing it would keep the disk busy while something else is measured.
    pub(crate) fn forget_state(&self) {
        self.state.set(self.state.get() + 1);
    }

    /// Waits until nothing is left to be written to the disk, so that nobody
    /// pays for what another has written.
    pub(crate) fn sync(&self) -> Result<(), Failure> {
        let folder = File::open(self.folder()).map_err(Failure::file(self.folder()))?;
        rustix::fs::syncfs(&folder).map_err(|error| Failure::file(self.folder())(error.into()))
    }

    /// Any program, in the repository, with an environment of its own.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.program(program);
        command.current_dir(if self.repository().exists() {
            self.repository()
        } else {
            self.folder().to_owned()
        });
        command
    }

    /// Any program, where the bench itself runs: in a static executable the
    /// standard library starts one in another folder by fork, not by spawn.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the bench starts programs"
    )]
    pub(crate) fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.join("home"))
            .env("STOCKADE_STATE_DIR", self.state())
            .env("TMPDIR", self.folder())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null");
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "A Person")
                .env(format!("GIT_{role}_EMAIL"), "person@example.org");
        }
        command
    }

    /// The program that is measured.
    pub(crate) fn stockade(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(STOCKADE);
        command.args(arguments);
        command
    }

    /// Runs it with `--json`; returns the answer.
    pub(crate) fn answer(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let mut command = self.stockade(&["--json"]);
        command.args(arguments);
        let words = format!("{command:?}");
        let output = finish(command)?;
        serde_json::from_slice(&output.stdout).map_err(|_| Failure::Answer {
            words,
            answer: String::from_utf8_lossy(&output.stdout).into_owned(),
        })
    }

    /// Runs git in `folder`; returns how long it took and what it printed.
    pub(crate) fn git(
        &self,
        folder: &Path,
        arguments: &[&str],
    ) -> Result<(Duration, String), Failure> {
        let mut git = self.command("git");
        git.current_dir(folder).args(arguments);
        let started = Instant::now();
        let output = finish(git)?;
        let took = started.elapsed();
        Ok((took, String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Ends every task and removes the state directories, some of whose
    /// folders not even their owner may read.
    pub(crate) fn clear(&self) -> Result<(), Failure> {
        for number in 0..=self.state.get() {
            self.state.set(number);
            if self.state().exists() {
                finish(self.stockade(&["stop", "--all"]))?;
                crate::task::wait_until_gone(&self.state())?;
                finish(self.stockade(&["uninstall", "--yes"]))?;
            }
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nothing can be done about a failure that has not been reported.
        let _ = self.clear();
    }
}

/// Runs a program to its end, which must be a good one.
pub(crate) fn finish(mut command: Command) -> Result<Output, Failure> {
    let words = format!("{command:?}");
    let output = command.output().map_err(|source| Failure::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(output);
    }
    Err(Failure::Ended {
        words,
        code: output.status.code(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
