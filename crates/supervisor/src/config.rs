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
    /// What may leave by `stockade push`, and where to.
    pub push: PushSection,
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

/// What may leave by `stockade push`, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushSection {
    /// Branches of remotes to which nothing is pushed: names, or `release/*` for all
    /// below. The one that a remote gives to those who name none is always among them.
    pub protected: Vec<String>,
    /// Those of them to which something is pushed after an approval of its own.
    pub by_approval: Vec<String>,
    /// The most files that one push changes.
    pub files: Option<usize>,
    /// The most bytes that the changed files of one push have, such as 1000000.
    pub bytes: Option<u64>,
    /// A line that each commit carries beside Stockade's own, as `Key: value`.
    pub disclosure: Option<String>,
}

impl Default for PushSection {
    fn default() -> Self {
        let usual = [
            "main",
            "master",
            "trunk",
            "develop",
            "production",
            "stable",
            "release/*",
        ];
        Self {
            protected: usual.map(str::to_owned).into(),
            by_approval: Vec::new(),
            files: None,
            bytes: None,
            disclosure: None,
        }
    }
}

impl PushSection {
    /// Whether nothing is pushed to `branch` of a remote whose own one is `default`.
    pub fn protects(&self, branch: &str, default: Option<&str>) -> bool {
        default == Some(branch) || matches_any(&self.protected, branch)
    }

    /// Whether an approval lets something go to `branch` although it is protected.
    pub fn is_by_approval(&self, branch: &str) -> bool {
        matches_any(&self.by_approval, branch)
    }

    /// Why it cannot be meant so, if it cannot.
    fn objection(&self) -> Option<&'static str> {
        let line = self.disclosure.as_deref()?;
        let (key, value) = line.split_once(": ").unwrap_or_default();
        let is_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let is_own = key.to_ascii_lowercase().starts_with("stockade-");
        let plain = !value.trim().is_empty() && !value.chars().any(char::is_control);
        (!is_key || is_own || !plain).then_some(
            "disclosure is one line `Key: value`, whose key has letters, digits and dashes and \
             does not begin with `Stockade-`",
        )
    }
}

/// Whether one of `patterns` is `branch`, or ends in `/*` and is above it. Git servers
/// may not tell cases apart.
fn matches_any(patterns: &[String], branch: &str) -> bool {
    let branch = branch.to_ascii_lowercase();
    patterns.iter().any(|pattern| {
        let pattern = pattern.to_ascii_lowercase();
        match pattern.strip_suffix('*') {
            Some(above) if above.ends_with('/') => branch.starts_with(above),
            _ => branch == pattern,
        }
    })
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
        if let Some(objection) = config.push.objection() {
            let message = format!("{}: [push] {objection}", path.display());
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
    fn branches_are_protected_by_name_by_folder_and_by_being_the_remotes_own() {
        let push = PushSection::default();
        for protected in ["main", "Master", "release/1.0"] {
            assert!(push.protects(protected, None), "{protected}");
        }
        assert!(push.protects("work", Some("work")));
        for other in ["stockade/main", "releases", "release", "mainline"] {
            assert!(!push.protects(other, Some("main")), "{other}");
        }
        let own: Config =
            toml::from_str("[push]\nprotected = []\nby_approval = [\"main\"]\n").unwrap();
        assert!(!own.push.protects("main", None) && own.push.is_by_approval("main"));
    }

    #[test]
    fn a_disclosure_is_one_line_that_nobody_takes_for_stockades_own() {
        let objection = |line: &str| {
            let disclosure = Some(line.to_owned());
            let section = PushSection {
                disclosure,
                ..PushSection::default()
            };
            section.objection()
        };
        assert_eq!(objection("Assisted-by: an agent"), None);
        for wrong in [
            "",
            "words",
            ": x",
            "A: ",
            "Stockade-Task: t",
            "A: b\nC: d",
            "a b: c",
        ] {
            assert!(objection(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn own_paths_come_on_top_of_the_defaults() {
        let config: Config = toml::from_str("[hide]\npaths = [\".mytool\"]\n").unwrap();
        let hidden = config.hidden_paths();
        assert!(hidden.contains(&".mytool".into()) && hidden.contains(&".ssh".into()));
    }
}
