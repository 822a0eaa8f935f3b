//! Why there is no figure.

use std::{io, path::PathBuf};

/// A step of a measurement that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A program could not be started.
    #[error("could not start `{program}`: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program failed.
    #[error("`{words}` ended with {code:?}: {stderr}")]
    Ended {
        /// Program and arguments.
        words: String,
        /// Its exit code; `None` after a signal.
        code: Option<i32>,
        /// What it said.
        stderr: String,
    },
    /// A program's answer was not understood.
    #[error("`{words}` answered something unexpected: {answer}")]
    Answer {
        /// Program and arguments.
        words: String,
        /// What it printed.
        answer: String,
    },
    /// A file or folder could not be used.
    #[error("could not use `{}`: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A task's record could not be read.
    #[error("the record `{}` is not whole: {reason}", path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Something that should happen did not.
    #[error("waited in vain: {0}")]
    InVain(String),
}

impl Failure {
    /// For `map_err`: an error about a path.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
