use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    claude::Claude,
    codex::Codex,
    error::AgentError,
    find::Install,
    gemini::Gemini,
    host_config::HostConfig,
    launch::{Launch, LaunchRequest, ManagedFile},
    opencode::Opencode,
    route::{Api, RouteTemplate},
};

/// The agents that can be started by name. Any other program runs too, as a
/// [`command`](crate::command).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AgentKind {
    /// Claude Code, by Anthropic.
    Claude,
    /// Codex, by OpenAI.
    Codex,
    /// Gemini CLI, by Google.
    Gemini,
    /// opencode, with the model of any of these providers.
    Opencode,
}

/// A name that is no known agent's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a known agent (claude, codex, gemini, opencode); run any program with `-- {0} …`"
)]
pub struct UnknownAgent(String);

/// What one agent's file says about it.
pub(crate) trait Agent: fmt::Debug + Sync {
    /// How it is installed.
    fn install(&self) -> &'static Install;

    /// The API that it will talk to when it runs `model`.
    fn api(&self, model: Option<&str>) -> Api;

    /// Where its requests to `api` go by a subscription, if it takes that.
    fn subscription_route(&self, _api: Api) -> Option<RouteTemplate> {
        None
    }

    /// What people who have a subscription give instead of a key.
    fn subscription(&self) -> Option<&'static str> {
        None
    }

    /// The model that the user's own configuration names.
    fn configured_model(&self, config: &mut HostConfig<'_>) -> Option<String>;

    /// Fills in the launch: arguments after the program, environment, files.
    fn prepare(
        &self,
        request: &LaunchRequest<'_>,
        model: Option<&str>,
        config: &mut HostConfig<'_>,
        launch: &mut Launch,
    ) -> Result<(), AgentError>;

    /// The settings by which it asks the program `client` before each tool call, as far
    /// as they can stand where it cannot change them.
    fn hooks(&self, client: &str) -> Result<Vec<ManagedFile>, AgentError>;
}

impl AgentKind {
    /// Every kind, in the order in which they are listed to people.
    pub const ALL: [Self; 4] = [Self::Claude, Self::Codex, Self::Gemini, Self::Opencode];

    pub(crate) fn agent(self) -> &'static dyn Agent {
        match self {
            Self::Claude => &Claude,
            Self::Codex => &Codex,
            Self::Gemini => &Gemini,
            Self::Opencode => &Opencode,
        }
    }

    /// What people who have a subscription give instead of a key, if it takes that: a
    /// part of a sentence.
    pub fn subscription(self) -> Option<&'static str> {
        self.agent().subscription()
    }

    /// The name on the command line, which is the program's as well.
    pub fn as_str(self) -> &'static str {
        self.agent().install().program
    }
}

impl fmt::Display for AgentKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for AgentKind {
    type Err = UnknownAgent;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| UnknownAgent(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in AgentKind::ALL {
            assert_eq!(kind.to_string().parse::<AgentKind>().unwrap(), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_way_to_run_it_anyway() {
        let error = "aider".parse::<AgentKind>().unwrap_err();
        assert!(error.to_string().contains("-- aider"), "{error}");
    }
}
