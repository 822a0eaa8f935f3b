use serde::{Deserialize, Serialize};

use super::SecretText;
use crate::error::SettingsError;

/// What a request is signed with beside the secret key, by AWS's Signature
/// Version 4, and for what alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signing {
    /// The one region.
    pub region: String,
    /// The one service.
    pub service: String,
    /// The id of the key.
    pub key_id: SecretText,
    /// What goes with a temporary key.
    #[serde(default)]
    pub session_token: Option<SecretText>,
}

impl Signing {
    /// Checks that it can stand in headers and in a scope.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let plain = |text: &str| {
            (1..=128).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let visible = |SecretText(text): &SecretText| {
            let text = text.expose();
            (1..=16 * 1024).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        let words = [&self.region, &self.service, self.key_id.0.expose()];
        if words.into_iter().all(|word| plain(word)) && self.session_token.iter().all(visible) {
            Ok(())
        } else {
            Err(SettingsError::Signing)
        }
    }
}
