//! `stockade.toml` of a repository, always read from a commit, never from a
//! tree that an agent can write.

mod starters;
mod tools;

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use stockade_vault::{Binding, SecretName};

pub use self::{
    starters::starters,
    tools::{Argument, ArgumentType, ProjectTool, ToolCall},
};
use crate::{error::SupervisorError, network::NetworkSection};

/// What a repository says of itself. Unknown keys are errors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// What runs inside before the agent does.
    #[serde(default)]
    pub setup: Setup,
    /// What it asks to reach, and what must not be reached.
    #[serde(default)]
    pub network: NetworkSection,
    /// Bindings of secrets that it asks for and cannot give itself, by name.
    #[serde(default)]
    pub secrets: BTreeMap<SecretName, Vec<Binding>>,
    /// Commands that must succeed before a merge, by name.
    #[serde(default)]
    pub checks: BTreeMap<String, String>,
    /// Commands that an agent runs by name, with typed arguments.
    #[serde(default)]
    pub tools: BTreeMap<String, ProjectTool>,
}

/// What runs inside before the agent does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// Shell commands, in this order.
    #[serde(default)]
    pub run: Vec<String>,
}

/// The file's name.
pub const PROJECT_FILE: &str = "stockade.toml";
/// The largest file that is read, in bytes.
const SIZE_MAX: u64 = 1 << 20;

impl Project {
    /// Reads it from `tree`, a base tree that only the host writes; a tree
    /// without one says nothing.
    pub fn of_tree(tree: &Path) -> Result<Self, SupervisorError> {
        let path = tree.join(PROJECT_FILE);
        let size = match path.symlink_metadata() {
            Ok(found) if found.is_file() => found.len(),
            _ => return Ok(Self::default()),
        };
        if size > SIZE_MAX {
            return Err(SupervisorError::Refused(format!(
                "{PROJECT_FILE} has {size} bytes; at most {SIZE_MAX} are read"
            )));
        }
        let text = std::fs::read_to_string(&path).map_err(SupervisorError::state(&path))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, SupervisorError> {
        let refused = |error| SupervisorError::Refused(format!("{PROJECT_FILE}: {error}"));
        let project: Self = toml::from_str(text).map_err(|error| refused(error.to_string()))?;
        tools::check(&project.tools).map_err(refused)?;
        Ok(project)
    }
}

/// Runs `$1` setup commands, then becomes the rest of its arguments. A failing
/// one ends it with 125, as tools that start other programs do.
const SCRIPT: &str = "n=$1; shift; while [ \"$n\" -gt 0 ]; do \
    /bin/sh -c \"$1\" || { echo \"stockade: setup failed: $1\" >&2; exit 125; }; \
    shift; n=$((n - 1)); done; exec \"$@\"";

/// `argv` with the setup commands before it, in the same sandbox.
pub(crate) fn after_setup(setup: &Setup, argv: Vec<String>) -> Vec<String> {
    if setup.run.is_empty() {
        return argv;
    }
    let count = setup.run.len().to_string();
    let head = ["/bin/sh", "-c", SCRIPT, "stockade-setup", &count].map(str::to_owned);
    head.into_iter()
        .chain(setup.run.iter().cloned())
        .chain(argv)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setup_and_checks_are_read() {
        let project =
            Project::parse("[setup]\nrun = [\"npm ci\"]\n[checks]\ntest = \"npm test\"\n").unwrap();
        assert_eq!(project.setup.run, ["npm ci"]);
        assert_eq!(project.checks["test"], "npm test");
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line() {
        let error = Project::parse("[setup]\nrun = []\nrnu = []\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 3") && error.contains("rnu"), "{error}");
    }

    #[test]
    fn without_setup_the_command_stays_as_it_is() {
        let argv = vec!["make".to_owned()];
        assert_eq!(after_setup(&Setup::default(), argv.clone()), argv);
    }
}
