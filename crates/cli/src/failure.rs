//! How a command fails: one sentence, hints, and a stable exit code.

use std::{fmt, process::ExitCode};

use rustix::io::Errno;
use stockade_approval::ApproverError;
use stockade_policy::PolicyError;
use stockade_sandbox::{Layer, SandboxError};
use stockade_supervisor::SupervisorError;
use stockade_types::{Denial, env};
use stockade_vault::VaultError;
use stockade_workspace::{GitError, RepositoryError};

/// The kinds of failure; each has an exit code that scripts may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something did not work.
    Failed = 1,
    /// The words of the command are wrong. (clap uses the same number.)
    Usage = 2,
    /// No task, snapshot or file of that name.
    NotFound = 3,
    /// A rule or a person said no, or a person must be asked and cannot be.
    Refused = 4,
    /// The result does not fit the target: conflicts, or it has moved.
    Conflict = 5,
    /// A wall is missing; nothing was started.
    Wall = 6,
    /// An attack went through.
    Escaped = 7,
    /// A record, or what should fit it, is not what was written.
    Tampered = 8,
    /// What could be checked is sound; not all could.
    Incomplete = 9,
}

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    pub(crate) hints: Vec<String>,
    /// Which rule refused it, in the form that programs read.
    pub(crate) denial: Option<Box<Denial>>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hints: Vec::new(),
            denial: None,
        }
    }

    /// Something in a task that was not done, by a rule of its policy if one said so.
    pub(crate) fn refused(reason: impl Into<String>, denial: Option<Box<Denial>>) -> Self {
        Self {
            denial,
            ..Self::new(Kind::Refused, reason)
        }
    }

    pub(crate) fn failed(error: impl fmt::Display) -> Self {
        Self::new(Kind::Failed, error.to_string())
    }

    /// Words that are no command: the first line tells why, the others help.
    pub(crate) fn usage(error: &clap::Error) -> Self {
        let text = error.to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let message = lines.next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message);
        lines.fold(Self::new(Kind::Usage, message), Self::hint)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The first program that Stockade confines, git, could not be.
    fn no_namespaces(error: &std::io::Error) -> Self {
        let missing = SandboxError {
            layer: if rustix::process::geteuid().is_root() {
                Layer::Namespaces
            } else {
                Layer::UserNamespaces
            },
            step: "confine git".to_owned(),
            cause: error.to_string(),
        };
        let failure = Self::new(Kind::Wall, missing.to_string())
            .hint("stockade doctor tells which layer is missing");
        if std::env::var_os(env::TASK).is_none() {
            return failure;
        }
        failure.hint(
            "this is inside a task of Stockade; one that is started with `stockade run --nested` \
             may hold others",
        )
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        let kind = match &error {
            VaultError::Name(_) | VaultError::Source(_) | VaultError::Slot { .. } => Kind::Usage,
            VaultError::Unknown(_) => Kind::NotFound,
            VaultError::File { .. } | VaultError::Format { .. } => Kind::Failed,
            _ => Kind::Refused,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ApproverError> for Failure {
    fn from(error: ApproverError) -> Self {
        let kind = match &error {
            ApproverError::Name(_) | ApproverError::Key(_) => Kind::Usage,
            ApproverError::Unknown(_) => Kind::NotFound,
            ApproverError::Known(_) | ApproverError::Full(_) => Kind::Refused,
            _ => Kind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::Rules(problems) => {
                let places = match problems.len() {
                    1 => "one place".to_owned(),
                    many => format!("{many} places"),
                };
                let message = format!(
                    "the policy must be corrected in {places}; until then no command is judged \
                     and no task starts"
                );
                let lines = problems.iter().map(ToString::to_string);
                lines.fold(Self::failed(message), Self::hint)
            }
            other => Self::failed(other),
        }
    }
}

impl From<SupervisorError> for Failure {
    fn from(error: SupervisorError) -> Self {
        let error = match error {
            SupervisorError::Vault(error) => return error.into(),
            SupervisorError::Policy(error) => return error.into(),
            other => other,
        };
        let kind = match &error {
            SupervisorError::Sandbox(_)
            | SupervisorError::Repository(RepositoryError::Git(GitError::Confine(_))) => Kind::Wall,
            SupervisorError::Repository(RepositoryError::Git(GitError::Spawn {
                source, ..
            })) if is_closed(source) => return Self::no_namespaces(source),
            SupervisorError::Repository(
                RepositoryError::NotARepository(_) | RepositoryError::NoSuchCommit { .. },
            ) => Kind::NotFound,
            SupervisorError::Refused(_)
            | SupervisorError::Answer(_)
            | SupervisorError::Running
            | SupervisorError::NotRunning
            | SupervisorError::IdentityTaken(_) => Kind::Refused,
            _ => Kind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

/// Whether a program could not be started because the namespaces that confine
/// it are forbidden (EPERM) or used up (ENOSPC, EUSERS, unshare(2)).
fn is_closed(error: &std::io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::PERM | Errno::NOSPC | Errno::USERS)
    )
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error)
    }
}
