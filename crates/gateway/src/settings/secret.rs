use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use stockade_types::Redacted;
use stockade_vault::{SecretName, Slot};

use super::{ModelRoute, Scheme, is_key_text};
use crate::{
    error::SettingsError,
    rules::{HostPattern, HostRule},
};

/// Secrets of one task; more are a mistake.
const SECRETS_MAX: usize = 64;

/// A secret that a task uses without holding it. The value is asked for when it
/// is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundSecret {
    /// What it is called.
    pub name: SecretName,
    /// What stands for it inside.
    pub placeholder: String,
    /// Where it may stand.
    pub slots: Vec<SecretSlot>,
}

/// One slot in requests of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretSlot {
    /// The requests: to one host, by TLS.
    pub requests: HostRule,
    /// The place in them.
    pub place: Slot,
}

impl BoundSecret {
    /// Checks that each can be told apart and goes to one host by TLS.
    pub(super) fn check_all(secrets: &[Self], routes: &[ModelRoute]) -> Result<(), SettingsError> {
        if secrets.len() > SECRETS_MAX {
            return Err(SettingsError::Secrets);
        }
        let mut seen: HashSet<&str> = routes.iter().map(|route| &*route.placeholder).collect();
        for secret in secrets {
            let name = secret.name.as_str();
            if !seen.insert(name)
                || !seen.insert(&secret.placeholder)
                || !is_key_text(&secret.placeholder, 16)
            {
                return Err(SettingsError::Placeholder {
                    name: name.to_owned(),
                });
            }
            let one_place = |slot: &SecretSlot| {
                matches!(slot.requests.host, HostPattern::Name(_))
                    && slot.requests.scheme == Some(Scheme::Https)
                    && slot
                        .requests
                        .ports
                        .as_ref()
                        .is_some_and(|ports| ports.len() == 1)
            };
            if let Some(slot) = secret.slots.iter().find(|slot| !one_place(slot)) {
                return Err(SettingsError::Slot {
                    name: name.to_owned(),
                    requests: slot.requests.to_string(),
                });
            }
        }
        Ok(())
    }
}

/// A secret on a private channel between Stockade's own processes: nowhere else
/// does one become text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SecretText(#[serde(with = "text")] pub Redacted<String>);

/// For fields that are such a secret.
pub(super) mod text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use stockade_types::Redacted;

    pub(crate) fn serialize<S: Serializer>(
        secret: &Redacted<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        secret.expose().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Redacted<String>, D::Error> {
        String::deserialize(deserializer).map(Redacted::new)
    }
}
