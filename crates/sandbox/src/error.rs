use std::{fmt, io};

use serde::{Deserialize, Serialize};

/// A wall that could not be raised, so that nothing was started.
///
/// It travels from the process that builds a sandbox to the one that asked
/// for it, hence plain data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{layer}: {step}: {cause}. {}", layer.fix())]
pub struct SandboxError {
    /// The layer that is missing.
    pub layer: Layer,
    /// The step that failed, as a clause.
    pub step: String,
    /// The system's words.
    pub cause: String,
}

/// The layers of which a sandbox consists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The outer and the inner user namespace.
    UserNamespaces,
    /// Mount, pid, ipc, uts and cgroup namespaces.
    Namespaces,
    /// The network namespace with its capture.
    Network,
    /// The file system that the agent sees.
    Files,
    /// The agent's copy-on-write or copied tree.
    Workspace,
    /// Uid, gid and groups.
    Identity,
    /// Capabilities and `no_new_privs`.
    Privileges,
    /// Landlock.
    Landlock,
    /// The system call filter.
    Seccomp,
    /// Resource limits.
    Limits,
    /// The check from inside that all of it holds.
    SelfTest,
    /// The processes and channels of Stockade itself.
    Processes,
}

impl Layer {
    /// What a person can do when this layer is missing.
    pub fn fix(self) -> &'static str {
        match self {
            Self::UserNamespaces => {
                "Allow unprivileged user namespaces (Ubuntu: `sudo sysctl \
                 kernel.apparmor_restrict_unprivileged_userns=0`; Debian: \
                 `kernel.unprivileged_userns_clone=1`); `stockade doctor` tells which is closed."
            }
            Self::Namespaces | Self::Files => {
                "`stockade doctor` tells what this kernel or container withholds."
            }
            Self::Network => "The kernel needs network namespaces; see `stockade doctor`.",
            Self::Workspace => "Try `--backend checkout`, and see `stockade doctor`.",
            Self::Identity => "Run as an ordinary user, or as real root.",
            Self::Privileges => "The kernel refused to give rights up; see `stockade doctor`.",
            Self::Landlock => "Start the kernel with `lsm=landlock,…` (Linux 5.19 or newer).",
            Self::Seccomp => "The kernel needs CONFIG_SECCOMP_FILTER.",
            Self::Limits => "Raise the hard limit of the calling shell (`ulimit -H`).",
            Self::SelfTest => "The sandbox does not hold on this kernel; please report it.",
            Self::Processes => "Run it again; if it repeats, `stockade doctor` may tell why.",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UserNamespaces => "user namespaces",
            Self::Namespaces => "namespaces",
            Self::Network => "network namespace",
            Self::Files => "file system",
            Self::Workspace => "workspace",
            Self::Identity => "identity",
            Self::Privileges => "privileges",
            Self::Landlock => "Landlock",
            Self::Seccomp => "seccomp",
            Self::Limits => "limits",
            Self::SelfTest => "self-test",
            Self::Processes => "processes",
        })
    }
}

/// Adds layer and step to an error of the system.
pub(crate) trait During<T> {
    /// Names the layer and the step in which it happened.
    fn during(self, layer: Layer, step: impl Into<String>) -> Result<T, SandboxError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, layer: Layer, step: impl Into<String>) -> Result<T, SandboxError> {
        self.map_err(|error| SandboxError {
            layer,
            step: step.into(),
            cause: error.into().to_string(),
        })
    }
}
