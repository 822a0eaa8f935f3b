//! What a task may reach beside its model: what the caller, the user's
//! configuration, the repository and presets say of it, put together.

mod grants;
mod preset;
mod registries;
mod sources;

use std::str::FromStr;

use serde::Deserialize;
use stockade_gateway::{HostRule, Service};

pub use self::preset::Preset;
pub use self::sources::SOURCE_VARIABLES;
pub(crate) use self::{
    grants::Grants,
    sources::{PackageSources, sources},
};
use crate::{error::SupervisorError, prepare::Host, project::Project, publish::Published};

/// What a person says on the command line.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Sets of rules by name; without one, the user's, and without those `llm`.
    pub presets: Vec<Preset>,
    /// What may be reached.
    pub allow: Vec<HostRule>,
    /// What must not be, whatever is allowed.
    pub deny: Vec<HostRule>,
    /// Whether a person is asked about hosts that no rule names.
    pub ask: bool,
    /// Names that lead to a place that the user wrote.
    pub services: Vec<Service>,
    /// Ports of the sandbox that can be reached on this machine.
    pub publish: Vec<Published>,
}

/// The section `[network]` of a configuration, of the user or a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSection {
    /// What may be reached; a repository only asks for it.
    pub allow: Vec<HostRule>,
    /// What must not be.
    pub deny: Vec<HostRule>,
    /// Presets instead of `llm`; the user's only.
    pub presets: Vec<Preset>,
    /// Whether a person is asked about hosts that no rule names; the user's only.
    pub ask: bool,
}

/// What holds for a task.
#[derive(Debug, Default)]
pub(crate) struct Ruled {
    /// Whether the model's hosts may be reached.
    pub(crate) model: bool,
    /// Whether a person is asked about hosts that no rule names.
    pub(crate) ask: bool,
    pub(crate) allow: Vec<HostRule>,
    pub(crate) deny: Vec<HostRule>,
    /// Which of those that allow the repository asks for.
    pub(crate) asked: Vec<HostRule>,
}

impl Network {
    /// Puts together what this, the user's configuration and the repository
    /// say.
    pub(crate) fn together(
        &self,
        host: &Host,
        project: &Project,
    ) -> Result<Ruled, SupervisorError> {
        let own = &host.config.network;
        let presets = match (self.presets.as_slice(), own.presets.as_slice()) {
            ([], []) => &[Preset::Llm],
            ([], own) => own,
            (given, _) => given,
        };
        let refuse = |reason: &str| Err(SupervisorError::Refused(reason.to_owned()));
        if presets.contains(&Preset::Locked) && presets.len() > 1 {
            return refuse("the preset `locked` allows nothing and cannot be joined with others");
        }
        if !project.network.presets.is_empty() {
            return refuse(
                "stockade.toml: [network] presets are the user's to choose; list hosts in `allow`, \
                 which are asked for",
            );
        }
        if project.network.ask {
            return refuse(
                "stockade.toml: [network] whether somebody is asked is the user's to choose: \
                 `stockade run --ask`",
            );
        }
        let mut ruled = Ruled {
            model: presets != [Preset::Locked],
            ask: self.ask || own.ask,
            ..Ruled::default()
        };
        for preset in presets {
            add(&mut ruled.allow, preset.rules()?);
            if preset.has_registries() {
                add(&mut ruled.allow, registries::of(host));
            }
        }
        add(&mut ruled.allow, own.allow.clone());
        add(&mut ruled.allow, self.allow.clone());
        for rule in &project.network.allow {
            if !ruled.allow.contains(rule) {
                ruled.asked.push(rule.clone());
            }
        }
        add(&mut ruled.allow, ruled.asked.clone());
        if let Some(objection) = ruled.allow.iter().find_map(HostRule::objection) {
            return refuse(&objection);
        }
        for deny in [&own.deny, &self.deny, &project.network.deny] {
            add(&mut ruled.deny, deny.clone());
        }
        Ok(ruled)
    }
}

fn add(rules: &mut Vec<HostRule>, more: Vec<HostRule>) {
    for rule in more {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
}

/// Reads `NAME=URL`: a name inside and where it leads.
pub fn service(text: &str) -> Result<Service, SupervisorError> {
    let refused = |problem: String| {
        SupervisorError::Refused(format!(
            "`{text}` is not a service: {problem}; write one as db.test=http://127.0.0.1:8080"
        ))
    };
    let (name, url) = text
        .split_once('=')
        .ok_or_else(|| refused("there is no `=`".to_owned()))?;
    Ok(Service {
        name: name.parse().map_err(|error| refused(format!("{error}")))?,
        upstream: FromStr::from_str(url).map_err(|error| refused(format!("{error}")))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_a_name_and_a_place() {
        assert_eq!(
            service("db.test=http://127.0.0.1:8080")
                .unwrap()
                .name
                .as_str(),
            "db.test"
        );
        for (text, problem) in [
            ("db.test", "no `=`"),
            ("=http://127.0.0.1", "1 to 253"),
            ("db.test=http://example.com", "in the clear"),
            ("db.test=127.0.0.1:80", "https:// or http://"),
        ] {
            let error = service(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
