//! The secrets that a task may use without holding them: what of the user's
//! catalogue is for it, and their values while it runs.

mod held;

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use serde::{Deserialize, Serialize};
use stockade_gateway::{BoundSecret, HostRule, SecretSlot, SecretText};
use stockade_types::{Redacted, visible};
use stockade_vault::{
    Binding, Catalogue, Entry, Environment, SecretName, Source, Store, VaultError,
};
use stockade_workspace::StandIns;

pub(crate) use self::held::{GivenBack, HeldSecrets};
use crate::{
    error::SupervisorError,
    gateway::Keys,
    task::{Plan, Route},
};

/// Which of the secrets that are bound for its agent a task gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WantedSecrets {
    /// None.
    #[default]
    None,
    /// All of them.
    Bound,
    /// These.
    Named(Vec<SecretName>),
}

/// A secret of a task. No value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlannedSecret {
    /// What stands for it inside, and where that is replaced.
    pub bound: BoundSecret,
    /// Where its value comes from.
    pub source: Source,
    /// For how many seconds a value that a command told is used again.
    pub ttl_seconds: Option<u64>,
    /// The variables that hold the placeholder.
    pub variables: Vec<String>,
}

/// Bindings that a repository asks for.
pub(crate) type AskedBindings = BTreeMap<SecretName, Vec<Binding>>;

/// The most bindings that are shown of those that a repository asks for.
const ASKED_MAX: usize = 32;

/// A binding as the gateway reads it.
pub fn slot(binding: &Binding) -> Result<SecretSlot, SupervisorError> {
    let requests: HostRule = binding
        .requests()
        .parse()
        .map_err(|error| SupervisorError::Refused(format!("{error}")))?;
    Ok(SecretSlot {
        requests,
        place: binding.slot.clone(),
    })
}

/// The secrets of `catalogue` that are for a task of `agent`. None goes to a
/// model's host, where the gateway takes the model's key only.
pub(crate) fn of_task(
    catalogue: &Catalogue,
    wanted: &WantedSecrets,
    agent: Option<&str>,
    routes: &[Route],
    stand_ins: &StandIns,
) -> Result<Vec<PlannedSecret>, SupervisorError> {
    if let WantedSecrets::Named(names) = wanted {
        for name in names {
            catalogue.get(name)?;
        }
    }
    let mut planned: Vec<PlannedSecret> = Vec::new();
    let mut variables = BTreeSet::new();
    for (name, entry) in catalogue.secrets() {
        let is_wanted = match wanted {
            WantedSecrets::None => false,
            WantedSecrets::Bound => true,
            WantedSecrets::Named(names) => names.contains(name),
        };
        let is_own = |binding: &&Binding| {
            let to_model = routes.iter().any(|route| route.host == binding.host);
            is_wanted && binding.is_for(agent) && !to_model
        };
        let bindings: Vec<_> = entry.bindings.iter().filter(is_own).collect();
        if bindings.is_empty() {
            continue;
        }
        let mut secret = PlannedSecret::new(name, entry, &bindings)?;
        if let Some(placeholder) = secret.stand_in(stand_ins)
            && planned
                .iter()
                .all(|other| other.bound.placeholder != *placeholder)
        {
            secret.bound.placeholder.clone_from(placeholder);
        }
        for variable in &secret.variables {
            if !variables.insert(variable.clone()) {
                return Err(SupervisorError::Refused(format!(
                    "two secrets of this task are bound to the variable {variable}; leave one \
                     out with --secret NAME, or unbind it"
                )));
            }
        }
        planned.push(secret);
    }
    Ok(planned)
}

impl PlannedSecret {
    fn new(
        name: &SecretName,
        entry: &Entry,
        bindings: &[&Binding],
    ) -> Result<Self, SupervisorError> {
        let slots = bindings.iter().map(|binding| slot(binding));
        let variables: BTreeSet<_> = bindings
            .iter()
            .filter_map(|binding| binding.env.clone())
            .collect();
        Ok(Self {
            bound: BoundSecret {
                name: name.clone(),
                placeholder: entry.shape.placeholder(rand::rng().random()),
                slots: slots.collect::<Result<_, _>>()?,
            },
            source: entry.source.clone(),
            ttl_seconds: entry.ttl_seconds,
            variables: variables.into_iter().collect(),
        })
    }

    /// What stands for it in a hidden file: for a variable of its own name, or
    /// of one that holds its placeholder.
    fn stand_in<'s>(&self, stand_ins: &'s StandIns) -> Option<&'s String> {
        let own = std::iter::once(self.bound.name.as_str());
        let mut names = own.chain(self.variables.iter().map(String::as_str));
        names.find_map(|name| stand_ins.get(name))
    }

    /// Where it may be used, and how a task knows it, for people.
    fn in_words(&self) -> Vec<String> {
        let source = match &self.source {
            Source::Env(variable) => format!("from the variable {variable}"),
            Source::Command(_) => "from a command".to_owned(),
            Source::Hashicorp(_) => "from HashiCorp Vault".to_owned(),
            Source::GithubApp(token) => format!("made for the task by the GitHub App {token}"),
            Source::File => "from the store".to_owned(),
        };
        let known = if self.variables.is_empty() {
            String::new()
        } else {
            format!(", inside as {}", self.variables.join(", "))
        };
        let slots = self.bound.slots.iter();
        slots
            .map(|slot| {
                let (name, requests, place) = (&self.bound.name, &slot.requests, &slot.place);
                format!("{name} {source}: {requests} in {place}{known}")
            })
            .collect()
    }
}

impl Plan {
    /// The secrets of the task, and those of its MCP servers.
    pub fn all_secrets(&self) -> impl Iterator<Item = &PlannedSecret> {
        let of_servers = self.mcp.iter().flat_map(|server| &server.start.secrets);
        self.secrets.iter().chain(of_servers)
    }

    /// The variables that hold placeholders: of models' keys and of secrets.
    pub(crate) fn placeholder_variables(&self) -> impl Iterator<Item = &str> {
        let models = self.routes.iter().flat_map(Route::keys);
        let secrets = self.secrets.iter().flat_map(|secret| &secret.variables);
        models.chain(secrets.map(String::as_str))
    }

    /// What stands for values in hidden files that come along uncommitted: by
    /// the names of secrets, and of the variables that hold placeholders.
    pub(crate) fn stand_ins(&self) -> StandIns {
        let each = self.secrets.iter().flat_map(|secret| {
            let name = std::iter::once(secret.bound.name.as_str());
            let names = name.chain(secret.variables.iter().map(String::as_str));
            names.map(|name| (name.to_owned(), secret.bound.placeholder.clone()))
        });
        each.collect()
    }

    /// Each use of a secret, in words.
    pub(crate) fn secret_lines(&self) -> Vec<String> {
        self.secrets
            .iter()
            .flat_map(PlannedSecret::in_words)
            .collect()
    }

    /// Takes from an old plan what the user has unbound since. A placeholder
    /// that is left without a slot is refused wherever it turns up.
    pub fn unbind_what_is_gone(&mut self, catalogue: &Catalogue) {
        let of_servers = self
            .mcp
            .iter_mut()
            .flat_map(|server| &mut server.start.secrets);
        for secret in self.secrets.iter_mut().chain(of_servers) {
            let mut current: Vec<SecretSlot> = Vec::new();
            if let Ok(entry) = catalogue.get(&secret.bound.name) {
                current.extend(entry.bindings.iter().filter_map(|one| slot(one).ok()));
                secret.source.clone_from(&entry.source);
                secret.ttl_seconds = entry.ttl_seconds;
            }
            secret.bound.slots.retain(|slot| current.contains(slot));
        }
    }
}

/// What a repository asks for and the user has not bound, in words.
pub(crate) fn not_given(asked: &AskedBindings, catalogue: &Catalogue) -> Vec<String> {
    let each = asked
        .iter()
        .flat_map(|(name, bindings)| bindings.iter().map(move |binding| (name, binding)));
    let missing = each.filter(|(name, binding)| {
        let bound = catalogue.get(name).map(|entry| &entry.bindings);
        !bound.is_ok_and(|bound| bound.iter().any(|own| is_same_place(own, binding)))
    });
    missing
        .take(ASKED_MAX)
        .map(|(name, binding)| visible::line(format!("{name}: {binding}").as_bytes()))
        .collect()
}

/// The secrets of `names` that an MCP server may use without holding them. One that is
/// made for a task and given back with it is not for a server.
pub(crate) fn of_server(
    catalogue: &Catalogue,
    names: &[SecretName],
) -> Result<Vec<PlannedSecret>, SupervisorError> {
    let wanted = WantedSecrets::Named(names.to_vec());
    let planned = of_task(catalogue, &wanted, None, &[], &StandIns::new())?;
    for name in names {
        let known = planned.iter().find(|secret| secret.bound.name == *name);
        let refused = |reason: &str| {
            let reason = format!("an MCP server cannot use the secret {name}: {reason}");
            Err(SupervisorError::Refused(reason))
        };
        match known {
            None => return refused("it is bound to no place; `stockade secret bind` says where"),
            Some(secret) if secret.source.is_made() => {
                return refused("it is made for tasks, and given back with them");
            }
            Some(_) => {}
        }
    }
    Ok(planned)
}

/// Whether a binding of the user's is what the repository asks for; under which
/// name the placeholder stands inside does not matter.
fn is_same_place(own: &Binding, asked: &Binding) -> bool {
    let place = |binding: &Binding| (binding.requests(), binding.slot.clone());
    place(own) == place(asked)
}

/// Gets what the supervisor of `plan` must be told of its secrets: the values
/// of those in variables and in the store, which `ask` gets the passphrase for,
/// and the environment of commands.
pub fn unlock<E>(
    plan: &Plan,
    catalogue: &Catalogue,
    environment: &Environment,
    ask: impl FnOnce(&Store) -> Result<Redacted<String>, E>,
    keys: &mut Keys,
) -> Result<(), E>
where
    E: From<VaultError>,
{
    if plan.asks && plan.approvals.notify.is_some() {
        keys.environment.clone_from(environment);
    }
    unlock_each(plan.all_secrets(), catalogue, environment, ask, keys)
}

/// The same for `secrets` alone.
pub(crate) fn unlock_each<'s, E>(
    secrets: impl Iterator<Item = &'s PlannedSecret>,
    catalogue: &Catalogue,
    environment: &Environment,
    ask: impl FnOnce(&Store) -> Result<Redacted<String>, E>,
    keys: &mut Keys,
) -> Result<(), E>
where
    E: From<VaultError>,
{
    let mut stored = Vec::new();
    for secret in secrets.filter(|secret| !secret.bound.slots.is_empty()) {
        let name = &secret.bound.name;
        match &secret.source {
            Source::File => stored.push(name.clone()),
            Source::Command(_) | Source::Hashicorp(_) | Source::GithubApp(_) => {
                keys.environment.clone_from(environment);
            }
            Source::Env(_) => {
                let value = secret.source.read(name, environment)?;
                keys.secrets
                    .extend(value.map(|value| (name.clone(), SecretText(value))));
            }
        }
    }
    if !stored.is_empty() {
        let store = catalogue.store();
        let key = store.key(ask)?;
        let values = store.values(&key, &stored)?.into_iter();
        keys.secrets
            .extend(values.map(|(name, value)| (name, SecretText(value))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(folder: &std::path::Path, text: &str) -> Catalogue {
        std::fs::write(folder.join("secrets.toml"), text).unwrap();
        Catalogue::read(folder).unwrap()
    }

    fn planned(catalogue: &Catalogue, wanted: &WantedSecrets, agent: Option<&str>) -> Vec<String> {
        let planned = of_task(catalogue, wanted, agent, &[], &StandIns::new()).unwrap();
        let lines = planned.iter().flat_map(PlannedSecret::in_words);
        lines.collect()
    }

    const TWO: &str = r#"
        [secret.a]
        source = "env:A"
        [[secret.a.binding]]
        host = "a.test"
        slot = { header = "x-key={}" }
        env = "A_KEY"
        [[secret.a.binding]]
        host = "b.test"
        port = 8443
        slot = { field = "token" }
        agent = "codex"
        [secret.b]
        source = "file"
        [[secret.b.binding]]
        host = "c.test"
        slot = { basic = "git" }
    "#;

    #[test]
    fn g3_a_task_gets_what_is_bound_for_its_agent_and_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let two = catalogue(folder.path(), TWO);
        let lines = planned(&two, &WantedSecrets::Bound, Some("claude"));
        assert_eq!(lines.len(), 2, "{lines:?}");
        let told = "a from the variable A: ANY https://a.test:443 in the header `x-key: {}`, inside as A_KEY";
        assert_eq!(lines[0], told);
        assert_eq!(planned(&two, &WantedSecrets::Bound, Some("codex")).len(), 3);
        assert_eq!(planned(&two, &WantedSecrets::None, None).len(), 0);
        let only = WantedSecrets::Named(vec!["b".parse().unwrap()]);
        assert_eq!(planned(&two, &only, None).len(), 1);
        let unknown = WantedSecrets::Named(vec!["c".parse().unwrap()]);
        assert!(of_task(&two, &unknown, None, &[], &StandIns::new()).is_err());
    }

    #[test]
    fn g3_each_task_has_placeholders_of_its_own_and_one_variable_holds_one() {
        let folder = tempfile::tempdir().unwrap();
        let two = catalogue(folder.path(), TWO);
        let placeholder = || {
            let planned =
                of_task(&two, &WantedSecrets::Bound, None, &[], &StandIns::new()).unwrap();
            planned[0].bound.placeholder.clone()
        };
        assert_ne!(placeholder(), placeholder());
        let same = TWO.replace("slot = { basic", "env = \"A_KEY\"\nslot = { basic");
        let same = catalogue(folder.path(), &same);
        let refused =
            of_task(&same, &WantedSecrets::Bound, None, &[], &StandIns::new()).unwrap_err();
        assert!(refused.to_string().contains("A_KEY"), "{refused}");
    }

    #[test]
    fn what_a_repository_asks_for_is_named_until_the_user_binds_it_and_hides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let two = catalogue(folder.path(), TWO);
        let asks = |host: &str, path: &str| {
            let text = format!(
                "[[a]]\nhost = \"{host}\"\npath = \"{path}\"\nslot = {{ header = \"x-key={{}}\" }}\n"
            );
            let asked: AskedBindings = toml::from_str(&text).unwrap();
            not_given(&asked, &two)
        };
        assert_eq!(asks("a.test", ""), [""; 0]);
        assert_eq!(asks("evil.test", "").len(), 1);
        // A wider path is another binding, and nothing in it turns the text around.
        let shown = asks("a.test", "/\u{202e}x").remove(0);
        assert!(!shown.contains('\u{202e}'), "{shown}");
    }
}
