use serde::{Deserialize, Serialize};
use stockade_types::Redacted;

use super::{is_key_text, secret};
use crate::error::SettingsError;

/// Values of one task; more are not told apart from ordinary text.
const VALUES_MAX: usize = 512;

/// A value that must not leave, wherever it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardedValue {
    /// How it is called in refusals and in the record.
    pub name: String,
    /// The value.
    #[serde(with = "secret::text")]
    pub value: Redacted<String>,
    /// Whether it was planted: whoever sends it has searched for keys.
    #[serde(default)]
    pub honeytoken: bool,
}

impl GuardedValue {
    /// Checks that each can be told from ordinary text.
    pub(super) fn check_all(values: &[Self]) -> Result<(), SettingsError> {
        if values.len() > VALUES_MAX {
            return Err(SettingsError::Guarded);
        }
        match values
            .iter()
            .find(|guarded| !is_key_text(guarded.value.expose(), 8))
        {
            Some(guarded) => Err(SettingsError::Secret {
                name: guarded.name.clone(),
            }),
            None => Ok(()),
        }
    }
}
