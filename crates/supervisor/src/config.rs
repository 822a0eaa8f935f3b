//! The user's own configuration, `$XDG_CONFIG_HOME/stockade/config.toml`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use stockade_approval::Rules;
use stockade_budget::Caps;
use stockade_sandbox::files::DEFAULT_SECRET_PATHS;
use stockade_workspace::{Repository, SecretPatterns};

use crate::{
    error::SupervisorError, meter, network::NetworkSection, prepare::ExtraPaths,
    state::StateDirectory,
};

/// What a user may set. Unknown keys are errors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is hidden from agents, beyond the defaults.
    pub hide: Hide,
    /// What every task may reach, and what none may.
    pub network: NetworkSection,
    /// What tasks may spend.
    pub budget: Caps,
    /// How a person is asked.
    pub approvals: Rules,
    /// The text of `prices.toml` beside this file, the user's own price table.
    #[serde(skip)]
    pub own_prices: Option<String>,
}

/// What is hidden from agents, beyond the defaults, and what is not after all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hide {
    /// Paths that are hidden in every folder of the host that a sandbox shows,
    /// relative to it or one level below: `.config/mytool`.
    pub paths: Vec<PathBuf>,
    /// Patterns of files of a repository whose content is hidden: `*.secret`.
    pub files: Vec<String>,
    /// Patterns of files that are shown although a default hides them.
    pub except: Vec<String>,
}

impl Config {
    /// Reads the file at `path`; a missing one sets nothing.
    pub fn read(path: &Path) -> Result<Self, SupervisorError> {
        let mut config: Self = match text_of(path)? {
            None => Self::default(),
            Some(text) => toml::from_str(&text).map_err(|error| {
                SupervisorError::Refused(format!("{}: {error}", path.display()))
            })?,
        };
        if let Some(objection) = config.approvals.objection() {
            let message = format!("{}: [approvals] {objection}", path.display());
            return Err(SupervisorError::Refused(message));
        }
        config.own_prices = text_of(&path.with_file_name("prices.toml"))?;
        if config.own_prices.is_some() {
            meter::prices(config.own_prices.as_deref())?;
        }
        Ok(config)
    }

    /// Which files of a repository are hidden, here and by what is remembered
    /// for it.
    pub fn secrets(
        &self,
        state: &StateDirectory,
        repository: &Repository,
    ) -> Result<SecretPatterns, SupervisorError> {
        self.secrets_and(&ExtraPaths::remembered(state, &repository.key()).hide)
    }

    /// Which files of a repository are hidden, `more` among them.
    pub(crate) fn secrets_and(&self, more: &[String]) -> Result<SecretPatterns, SupervisorError> {
        let files: Vec<String> = self.hide.files.iter().chain(more).cloned().collect();
        SecretPatterns::with(&files, &self.hide.except)
            .map_err(|error| SupervisorError::Refused(error.to_string()))
    }

    /// Which paths are hidden in folders that a sandbox shows.
    pub(crate) fn hidden_paths(&self) -> Vec<PathBuf> {
        DEFAULT_SECRET_PATHS
            .iter()
            .map(PathBuf::from)
            .chain(self.hide.paths.iter().cloned())
            .collect()
    }
}

/// The text of a file that may be missing.
fn text_of(path: &Path) -> Result<Option<String>, SupervisorError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SupervisorError::state(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_sets_nothing_and_a_wrong_key_names_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        assert_eq!(Config::read(&path).unwrap(), Config::default());
        std::fs::write(&path, "[hide]\npaths = [\".mytool\"]\nfile = []\n").unwrap();
        let error = Config::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("config.toml") && error.contains("line 3"),
            "{error}"
        );
    }

    #[test]
    fn own_paths_come_on_top_of_the_defaults() {
        let config: Config = toml::from_str("[hide]\npaths = [\".mytool\"]\n").unwrap();
        let hidden = config.hidden_paths();
        assert!(hidden.contains(&".mytool".into()) && hidden.contains(&".ssh".into()));
    }
}
