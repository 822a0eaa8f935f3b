use std::{
    ffi::{OsStr, OsString},
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    os::fd::OwnedFd,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};

use super::{
    Git, GitDir, GitError,
    environment::{self, Grants},
};
use crate::object::ObjectId;

/// The most that [`Call::run`] keeps of standard output, unless told.
const OUTPUT_LIMIT: u64 = 64 << 20;
/// The most that is kept of standard error; only its first lines are shown.
const ERROR_LIMIT: u64 = 64 << 10;
/// As the C library words `ENOSPC`.
const NO_SPACE: &str = "No space left on device";

/// One run of git, being described.
#[must_use]
pub(crate) struct Call<'a> {
    git: &'a Git,
    repository: Option<&'a GitDir>,
    subcommand: &'static str,
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
    settings: Vec<OsString>,
    unset: Vec<&'static str>,
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
    work_tree: Option<PathBuf>,
    folder: PathBuf,
    grants: Grants,
    output_limit: u64,
    read_only: bool,
    /// An exit status that is an answer, not a failure.
    answer: i32,
    own_attributes: bool,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        git: &'a Git,
        repository: Option<&'a GitDir>,
        subcommand: &'static str,
    ) -> Self {
        Self {
            git,
            repository,
            subcommand,
            arguments: Vec::new(),
            variables: Vec::new(),
            settings: Vec::new(),
            unset: Vec::new(),
            readable: Vec::new(),
            writable: Vec::new(),
            work_tree: None,
            folder: PathBuf::from("/"),
            grants: Grants::default(),
            output_limit: OUTPUT_LIMIT,
            read_only: true,
            answer: 0,
            own_attributes: false,
        }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    pub(crate) fn variable(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name, value.as_ref().to_owned()));
        self
    }

    /// A setting beside those that every run has.
    pub(crate) fn setting(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let mut setting = OsString::from(name);
        setting.push("=");
        setting.push(value);
        self.settings.push(setting);
        self
    }

    /// Takes a variable away that every run has otherwise.
    pub(crate) fn without(mut self, name: &'static str) -> Self {
        self.unset.push(name);
        self
    }

    /// The run changes its repository.
    pub(crate) fn writes(mut self) -> Self {
        self.read_only = false;
        self
    }

    /// The run changes this folder too.
    pub(crate) fn also_writes(mut self, path: &Path) -> Self {
        self.writable.push(path.to_owned());
        self
    }

    /// The run reads `other` and what that borrows from.
    pub(crate) fn borrowing(mut self, other: &GitDir) -> Self {
        self.readable.extend(other.borrows().iter().cloned());
        self
    }

    pub(crate) fn reads(mut self, path: &Path) -> Self {
        self.readable.push(path.to_owned());
        self
    }

    /// Works on the files in `folder`, which must not be an agent's.
    pub(crate) fn work_tree(mut self, folder: &Path) -> Self {
        self.work_tree = Some(folder.to_owned());
        folder.clone_into(&mut self.folder);
        self
    }

    /// Looks from `folder` upwards, and wherever what is found there leads: a
    /// linked checkout to its repository, settings to files that they include.
    pub(super) fn in_folder(mut self, folder: &Path) -> Self {
        folder.clone_into(&mut self.folder);
        self.reads(Path::new("/"))
    }

    /// Reads from another repository on this machine, by path.
    pub(crate) fn local_transport(mut self) -> Self {
        self.grants.local_transport = true;
        self
    }

    pub(crate) fn bare_discovery(mut self) -> Self {
        self.grants.bare_discovery = true;
        self
    }

    /// Obeys the attributes of the user's own checkout.
    pub(crate) fn own_attributes(mut self) -> Self {
        self.own_attributes = true;
        self
    }

    /// Takes the exit status `code` as an answer too.
    pub(crate) fn or_exit(mut self, code: i32) -> Self {
        self.answer = code;
        self
    }

    /// Fails, and kills git, if it writes more than `bytes`.
    pub(crate) fn output_limit(mut self, bytes: u64) -> Self {
        self.output_limit = bytes;
        self
    }

    /// Runs without input and returns what git wrote.
    pub(crate) fn run(self) -> Result<Vec<u8>, GitError> {
        self.run_with(b"")
    }

    /// Runs with `input` and returns what git wrote.
    pub(crate) fn run_with(self, input: &[u8]) -> Result<Vec<u8>, GitError> {
        let (command, limit) = (self.subcommand, self.output_limit);
        let read = |stdout: &mut dyn BufRead| {
            let mut output = Vec::new();
            let size = stdout.take(limit + 1).read_to_end(&mut output)?;
            // Reported below: the error only makes git stop.
            if size as u64 > limit {
                Err(io::ErrorKind::FileTooLarge.into())
            } else {
                Ok(output)
            }
        };
        match self.stream(|stdin| stdin.write_all(input), read) {
            Err(GitError::Read { source, .. }) if source.kind() == io::ErrorKind::FileTooLarge => {
                Err(GitError::TooMuchOutput { command, limit })
            }
            result => result,
        }
    }

    /// Runs and returns the one line that git wrote.
    pub(crate) fn line(self) -> Result<String, GitError> {
        let command = self.subcommand;
        let output = self.run()?;
        String::from_utf8(output.trim_ascii_end().to_vec()).map_err(|error| GitError::Unexpected {
            command,
            detail: stockade_types::visible::line(error.as_bytes()),
        })
    }

    /// Runs with `input` and returns the object that git names.
    pub(crate) fn object_with(self, input: &[u8]) -> Result<ObjectId, GitError> {
        let command = self.subcommand;
        let output = self.run_with(input)?;
        ObjectId::from_bytes(output.trim_ascii()).map_err(|error| GitError::Unexpected {
            command,
            detail: error.to_string(),
        })
    }

    /// Runs with what `feed` writes, while `read` reads what git writes, in
    /// the calling thread and to its end.
    pub(crate) fn stream<T>(
        self,
        feed: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send,
        read: impl FnOnce(&mut dyn BufRead) -> io::Result<T>,
    ) -> Result<T, GitError> {
        let command = self.subcommand;
        let (timeout, answer) = (self.git.timeout, self.answer);
        let written = self.written();
        let mut child = self.spawn(&written)?;
        let outcome = converse(&mut child, timeout, feed, read);
        // Reaped in every case; by now it has ended or been killed.
        let status = child.wait();
        let Conversation {
            fed,
            result,
            errors,
            timed_out,
        } = outcome.map_err(|source| GitError::Read { command, source })?;
        let status = status.map_err(|source| GitError::Read { command, source })?;
        if timed_out {
            return Err(GitError::TimedOut {
                command,
                seconds: timeout.as_secs(),
            });
        }
        // A reader that gave up had git killed, so its reason comes first.
        if let Err(source) = &result
            && source.kind() == io::ErrorKind::FileTooLarge
        {
            return result.map_err(|source| GitError::Read { command, source });
        }
        // Git that fails closes its input: its own message says more than
        // "broken pipe".
        if let Err(source) = fed
            && source.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(GitError::Feed { command, source });
        }
        let succeeded = status.success() || status.code() == Some(answer);
        if !succeeded && status.code().is_some() {
            return Err(failure(command, status, &errors, &written));
        }
        let value = result.map_err(|source| GitError::Read { command, source })?;
        if succeeded {
            Ok(value)
        } else {
            Err(failure(command, status, &errors, &written))
        }
    }

    /// The folders that the run may change.
    fn written(&self) -> Vec<PathBuf> {
        let mut folders = self.writable.clone();
        if !self.read_only {
            folders.extend(
                self.repository
                    .map(|repository| repository.path().to_owned()),
            );
            folders.extend(self.work_tree.clone());
        }
        folders
    }

    fn spawn(self, writable: &[PathBuf]) -> Result<Child, GitError> {
        #[expect(clippy::disallowed_methods, reason = "the one place that starts git")]
        let mut command = Command::new(&self.git.program);
        let format = self
            .repository
            .map_or_else(Default::default, GitDir::format);
        environment::apply(
            &mut command,
            self.grants,
            (!self.own_attributes).then_some(format),
        );
        command.envs(self.variables.iter().map(|(name, value)| (*name, value)));
        for name in self.unset {
            command.env_remove(name);
        }
        let mut readable = self.readable;
        if let Some(repository) = self.repository {
            command.arg(environment::git_dir_option(repository.path()));
            readable.extend(repository.borrows().iter().cloned());
            if self.read_only {
                readable.push(repository.path().to_owned());
            }
        }
        if let Some(work_tree) = self.work_tree {
            let mut option = OsString::from("--work-tree=");
            option.push(&work_tree);
            command.arg(option);
            if self.read_only {
                readable.push(work_tree);
            }
        }
        for setting in &self.settings {
            command.arg("-c").arg(setting);
        }
        command
            .args(["--no-pager", "--literal-pathspecs", self.subcommand])
            .args(&self.arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own group, so that a timeout also reaches its children.
            .process_group(0);
        let readable: Vec<_> = readable.iter().map(PathBuf::as_path).collect();
        let writable: Vec<_> = writable.iter().map(PathBuf::as_path).collect();
        self.git
            .confine
            .confine(&mut command, &readable, &writable)
            .map_err(GitError::Confine)?;
        command.spawn().map_err(|source| GitError::Spawn {
            program: self.git.program.clone(),
            source,
        })
    }
}

/// How the exchange with a child went.
struct Conversation<T> {
    fed: io::Result<()>,
    result: io::Result<T>,
    errors: Vec<u8>,
    timed_out: bool,
}

/// Feeds and reads a child until it ends, or kills its group.
fn converse<T>(
    child: &mut Child,
    timeout: Duration,
    feed: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send,
    read: impl FnOnce(&mut dyn BufRead) -> io::Result<T>,
) -> io::Result<Conversation<T>> {
    let pid = Pid::from_child(child);
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(error) => {
            let _ = child.kill();
            return Err(error.into());
        }
    };
    let given_up = AtomicBool::new(false);
    thread::scope(|scope| {
        let feeder = scope.spawn(move || {
            let mut stdin = BufWriter::with_capacity(256 << 10, stdin);
            feed(&mut stdin)?;
            stdin.flush()
        });
        let listener = scope.spawn(move || drain(stderr));
        let watch = scope.spawn(|| watch(&pidfd, pid, timeout));
        let mut stdout = BufReader::with_capacity(256 << 10, stdout);
        let result = read(&mut stdout);
        if result.is_err() {
            given_up.store(true, Ordering::Relaxed);
            let _ = kill_process_group(pid, Signal::KILL);
        }
        drop(stdout);
        let crashed = || io::Error::other("a helper thread ended early");
        Ok(Conversation {
            fed: feeder.join().map_err(|_| crashed())?,
            errors: listener.join().map_err(|_| crashed())?,
            timed_out: watch.join().map_err(|_| crashed())? && !given_up.into_inner(),
            result,
        })
    })
}

/// Waits for the child to end; kills its group when time is up and says so.
///
/// The child is not reaped here, so its process id, and its group's, cannot
/// have been given to another process.
fn watch(pidfd: &OwnedFd, pid: Pid, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        let mut descriptors = [PollFd::new(pidfd, PollFlags::IN)];
        match poll(&mut descriptors, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            // Ended: what it left behind would hold the pipes open.
            Ok(count) if count > 0 => {
                let _ = kill_process_group(pid, Signal::KILL);
                return false;
            }
            Ok(_) | Err(_) => {
                let _ = kill_process_group(pid, Signal::KILL);
                return true;
            }
        }
    }
}

/// Keeps the beginning and reads the rest, so that git never blocks on it.
fn drain(mut source: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let _ = (&mut source).take(ERROR_LIMIT).read_to_end(&mut kept);
    let _ = io::copy(&mut source, &mut io::sink());
    kept
}

/// What git said last, and that a disk is full: git often says only that it
/// could not write.
fn failure(
    command: &'static str,
    status: ExitStatus,
    errors: &[u8],
    written: &[PathBuf],
) -> GitError {
    let lines = || {
        errors
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
    };
    let telling = |line: &&[u8]| line.starts_with(b"fatal: ") || line.starts_with(b"error: ");
    let line = lines()
        .find(telling)
        .or_else(|| lines().next())
        .unwrap_or(b"no reason given");
    let line = line
        .strip_prefix(b"fatal: ")
        .or(line.strip_prefix(b"error: "))
        .unwrap_or(line);
    let mut message: String = stockade_types::visible::line(line)
        .chars()
        .take(500)
        .collect();
    if !message.contains(NO_SPACE) && written.iter().any(|folder| is_full(folder)) {
        message = format!("{message}: {NO_SPACE}");
    }
    GitError::Failed {
        command,
        code: status.code(),
        message,
    }
}

/// Whether what holds `folder` has no room for another file of any use.
fn is_full(folder: &Path) -> bool {
    const USABLE: u64 = 64 << 10;
    rustix::fs::statvfs(folder).is_ok_and(|room| {
        room.f_bavail.saturating_mul(room.f_frsize) < USABLE
            || (room.f_files > 0 && room.f_favail == 0)
    })
}
