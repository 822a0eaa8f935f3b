//! Why the suite cannot run.

use std::io;

use crate::target::TargetError;

/// Why the suite cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    /// A letter that is no class.
    #[error(
        "there is no class `{0}`; classes are the letters A to T, `stockade attack --list` shows them"
    )]
    UnknownClass(String),
    /// A number that is no probe.
    #[error("there is no probe {0}; `stockade attack --list` shows them")]
    UnknownProbe(u16),
    /// What is attacked from, and what must stay as it is, cannot be made.
    #[error("cannot {step}: {source}")]
    Field {
        /// What was being done.
        step: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The command of a target is not one.
    #[error("the target `{command}` {reason}")]
    Command {
        /// As it was given.
        command: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The target does not run our executable at all, so nothing can be said.
    #[error("nothing can be tried in `{target}`: {reason}")]
    Deaf {
        /// Its name.
        target: String,
        /// What it did instead.
        reason: String,
    },
    /// The target failed.
    #[error("`{target}` failed: {source}")]
    Target {
        /// Its name.
        target: String,
        /// How.
        #[source]
        source: TargetError,
    },
}

/// Says what was being done when something of the field failed.
pub(crate) trait During<T> {
    fn during(self, step: impl Into<String>) -> Result<T, AttackError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: impl Into<String>) -> Result<T, AttackError> {
        self.map_err(|source| AttackError::Field {
            step: step.into(),
            source: source.into(),
        })
    }
}
