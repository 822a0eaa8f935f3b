use std::path::PathBuf;

/// What is wrong with one place of a policy, and what would make it right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error("{file}:{line}: {what}; {fix}")]
pub struct Problem {
    /// The file, or the name of a pack.
    pub file: String,
    /// The line, counted from one.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub fix: String,
}

/// Why a policy cannot be used. Nothing of it is in force then.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A folder or a file cannot be read.
    #[error("cannot read the policy {path}: {source}; make it readable or move it away")]
    Read {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// More than is read.
    #[error("{path} holds {what}; at most {most} are read")]
    TooMuch {
        /// The folder or file.
        path: PathBuf,
        /// Of what.
        what: &'static str,
        /// How much is read.
        most: usize,
    },
    /// Rules that cannot stand.
    #[error("the policy has {} that must be corrected first: {}", count(.0), listed(.0))]
    Rules(Vec<Problem>),
    /// The library that decides did not take what Stockade made.
    #[error(
        "the policy's schema or a request was refused by Cedar: {0}; this is a fault of Stockade"
    )]
    Cedar(String),
}

fn count(problems: &[Problem]) -> String {
    match problems.len() {
        1 => "one place".to_owned(),
        many => format!("{many} places"),
    }
}

fn listed(problems: &[Problem]) -> String {
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    texts.join("\n")
}
