use std::{io, path::PathBuf};

/// Why an agent cannot be found or started.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No directory of `PATH` has the program.
    #[error("`{program}` is not on PATH; install it with `npm install -g {package}`")]
    NotFound {
        /// The program looked for.
        program: &'static str,
        /// The package that holds it.
        package: &'static str,
    },
    /// A file of the installation could not be read.
    #[error("cannot read {path}, a part of the agent's installation")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A package description is not one.
    #[error("{path} is not a package description; install the agent again")]
    PackageDescription {
        /// The `package.json`.
        path: PathBuf,
        /// What JSON said.
        source: serde_json::Error,
    },
    /// What is on `PATH` is neither the agent nor a launcher that is understood.
    #[error(
        "{path} is neither a native `{program}` nor the launcher of the npm package {package}; \
         put the directory of the real one first on PATH"
    )]
    Launcher {
        /// What was found.
        path: PathBuf,
        /// The program looked for.
        program: &'static str,
        /// The package that was expected around it.
        package: &'static str,
    },
    /// The agent is written in JavaScript and there is no interpreter.
    #[error(
        "{path} needs node, and no directory of PATH holds a real one (a version manager's shim \
         cannot run inside); install node 20 or newer"
    )]
    Node {
        /// The agent's entry script.
        path: PathBuf,
    },
    /// The installation is larger than any agent's.
    #[error("{path} has too many files or bytes to be an agent's installation")]
    TooLarge {
        /// The directory.
        path: PathBuf,
    },
    /// The path has characters that cannot stand in a command line here.
    #[error("{path} is not UTF-8; install the agent under a plain path")]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// Nobody watches and there is nothing to do.
    #[error("a run that nobody watches needs a prompt")]
    PromptMissing,
    /// The prompt cannot be a command-line argument.
    #[error("the prompt has {bytes} bytes; the limit is {limit}, without NUL. Put it in a file")]
    Prompt {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The name cannot be a model's.
    #[error("`{model}` is not a model's name")]
    Model {
        /// What was asked for.
        model: String,
    },
    /// There is no command after `--`.
    #[error("no command given; write it after `--`")]
    CommandMissing,
    /// A configuration file could not be written as text.
    #[error("cannot compose the agent's configuration file {file}")]
    Compose {
        /// The file, relative to the home directory unless it is for every user.
        file: &'static str,
        /// What the format said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
