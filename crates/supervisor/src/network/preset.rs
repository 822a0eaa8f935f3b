use std::{fmt, str::FromStr};

use serde::Deserialize;
use stockade_gateway::HostRule;

use crate::error::SupervisorError;

/// A set of rules with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The agent's model and nothing else.
    Llm,
    /// Package registries, to read from; those that the machine's package
    /// managers are set to as well.
    Registries,
    /// Public git hosts, to clone and fetch from.
    GitRead,
    /// Documentation.
    Docs,
    /// All of the above.
    Balanced,
    /// Every host, by every method.
    Open,
    /// Nothing, not even the model.
    Locked,
}

const REGISTRIES: [&str; 17] = [
    "index.crates.io",
    "static.crates.io",
    "crates.io",
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "pypi.org",
    "files.pythonhosted.org",
    "proxy.golang.org",
    "sum.golang.org",
    "rubygems.org",
    "index.rubygems.org",
    "repo.maven.apache.org",
    "plugins.gradle.org",
    "deb.debian.org",
    "http://deb.debian.org",
    "http://archive.ubuntu.com",
    "http://security.ubuntu.com",
];

/// Fetching over HTTP is a GET of the references and a POST of what is wanted;
/// pushing is a POST to another path.
const GIT_READ: [&str; 10] = [
    "GET github.com/**/info/refs",
    "POST github.com/**/git-upload-pack",
    "codeload.github.com",
    "raw.githubusercontent.com",
    "GET gitlab.com/**/info/refs",
    "POST gitlab.com/**/git-upload-pack",
    "GET codeberg.org/**/info/refs",
    "POST codeberg.org/**/git-upload-pack",
    "GET bitbucket.org/**/info/refs",
    "POST bitbucket.org/**/git-upload-pack",
];

const DOCS: [&str; 12] = [
    "docs.rs",
    "doc.rust-lang.org",
    "docs.python.org",
    "developer.mozilla.org",
    "nodejs.org",
    "pkg.go.dev",
    "go.dev",
    "en.cppreference.com",
    "man7.org",
    "www.rfc-editor.org",
    "docs.github.com",
    "git-scm.com",
];

const OPEN: [&str; 2] = ["ANY **", "ANY http://**"];

impl Preset {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 7] = [
        Self::Llm,
        Self::Registries,
        Self::GitRead,
        Self::Docs,
        Self::Balanced,
        Self::Open,
        Self::Locked,
    ];

    /// The name that people give.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llm => "llm",
            Self::Registries => "registries",
            Self::GitRead => "git-read",
            Self::Docs => "docs",
            Self::Balanced => "balanced",
            Self::Open => "open",
            Self::Locked => "locked",
        }
    }

    /// What it is for, in a few words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Llm => "the agent's model, on the paths that it needs (the default)",
            Self::Registries => {
                "package registries, to read from; mirrors that this machine uses too"
            }
            Self::GitRead => "public git hosts, to clone and fetch from",
            Self::Docs => "documentation, to read",
            Self::Balanced => "llm, registries, git-read and docs",
            Self::Open => "every host by every method; only private addresses stay closed",
            Self::Locked => "nothing at all, not even the model",
        }
    }

    /// What it allows beside the model.
    pub fn rules(self) -> Result<Vec<HostRule>, SupervisorError> {
        let texts: Vec<&str> = match self {
            Self::Llm | Self::Locked => Vec::new(),
            Self::Registries => REGISTRIES.to_vec(),
            Self::GitRead => GIT_READ.to_vec(),
            Self::Docs => DOCS.to_vec(),
            Self::Balanced => [&REGISTRIES[..], &GIT_READ, &DOCS].concat(),
            Self::Open => OPEN.to_vec(),
        };
        let parsed = texts.into_iter().map(str::parse);
        parsed
            .collect::<Result<_, _>>()
            .map_err(|error: stockade_gateway::RuleError| {
                SupervisorError::Refused(error.to_string())
            })
    }

    pub(super) fn has_registries(self) -> bool {
        matches!(self, Self::Registries | Self::Balanced)
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = SupervisorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|preset| preset.name() == text)
            .ok_or_else(|| {
                SupervisorError::Refused(format!(
                    "`{text}` is no preset; choose of {}",
                    Self::ALL.map(Self::name).join(", ")
                ))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_of_rules_that_are_read_and_balanced_holds_the_first_four() {
        let rules = |preset: Preset| preset.rules().unwrap();
        for preset in Preset::ALL {
            assert_eq!(preset.name().parse::<Preset>().unwrap(), preset);
        }
        let parts = [
            Preset::Llm,
            Preset::Registries,
            Preset::GitRead,
            Preset::Docs,
        ];
        assert_eq!(parts.map(rules).concat(), rules(Preset::Balanced));
        assert!(
            "fast"
                .parse::<Preset>()
                .unwrap_err()
                .to_string()
                .contains("git-read")
        );
    }

    #[test]
    fn registries_and_documentation_are_only_read() {
        for rule in [Preset::Registries, Preset::Docs]
            .map(|preset| preset.rules().unwrap())
            .concat()
        {
            assert_eq!(rule.allowed_methods(), ["GET", "HEAD"], "{rule}");
        }
    }
}
