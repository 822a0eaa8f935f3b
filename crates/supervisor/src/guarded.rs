//! Values that must not leave a task: keys, secrets, and what the files hold
//! that are hidden from it.

use stockade_gateway::{GuardedValue, SecretText};
use stockade_scan::is_distinctive;
use stockade_types::Redacted;
use stockade_vault::variables;
use stockade_workspace::{Git, PoolEntry, Repository, SecretPatterns, visible};

use crate::{error::SupervisorError, gateway::Keys, task::Plan};

/// The longest value; no key is longer.
const VALUE_MAX: usize = 4096;
/// Values of hidden files that are looked for, and their bytes.
const HIDDEN_MAX: usize = 256;
const HIDDEN_BYTES_MAX: usize = 24 << 10;

/// A value of a hidden file, and how it is called.
pub type HiddenValue = (String, Redacted<String>);

/// The values in the files of `pool` that an agent sees as placeholders, as far
/// as they are told from ordinary words.
pub fn hidden_values(
    git: &Git,
    repository: &Repository,
    pool: &PoolEntry,
    patterns: &SecretPatterns,
) -> Result<Vec<HiddenValue>, SupervisorError> {
    let files = pool.hidden_files(git, repository, patterns);
    let files = files.map_err(|error| SupervisorError::Workspace(error.to_string()))?;
    let mut values: Vec<HiddenValue> = Vec::new();
    let mut bytes = 0;
    for file in files {
        let path = visible::line(file.path.as_bytes());
        let text = String::from_utf8_lossy(&file.content);
        for (name, value) in variables(&text) {
            for value in telling(value.expose()) {
                let known = values.iter().any(|(_, known)| known.expose() == value);
                bytes += value.len();
                if known || values.len() >= HIDDEN_MAX || bytes > HIDDEN_BYTES_MAX {
                    continue;
                }
                let name = visible::line(name.as_bytes());
                values.push((format!("{name} of {path}"), Redacted::new(value.to_owned())));
            }
        }
    }
    Ok(values)
}

/// What of `value` is told by itself: all of it, and the password in a URL.
fn telling(value: &str) -> impl Iterator<Item = &str> {
    let authority = value.split_once("://").map(|(_, rest)| rest);
    let user = authority.and_then(|rest| rest.rsplit_once('@').map(|(user, _)| user));
    let password = user.and_then(|user| user.split_once(':').map(|(_, password)| password));
    let both = [Some(value), password].into_iter().flatten();
    both.filter(|value| value.len() <= VALUE_MAX && is_distinctive(value))
}

/// All that the gateway of `plan` lets nobody have.
pub(crate) fn of(plan: &Plan, keys: &Keys) -> Vec<GuardedValue> {
    let guarded = |name: &str, SecretText(value): &SecretText| GuardedValue {
        name: name.to_owned(),
        value: value.clone(),
        honeytoken: false,
    };
    let secrets = keys.secrets.iter();
    let secrets = secrets.map(|(name, value)| guarded(name.as_str(), value));
    let hidden = keys.hidden.iter();
    let hidden = hidden.map(|(name, value)| guarded(name, value));
    let planted = plan.honeytoken.iter().map(crate::Honeytoken::guarded);
    secrets.chain(hidden).chain(planted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_the_password_is_a_value_too() {
        let both: Vec<_> = telling("postgres://app:pa55word/9+x@db.internal/app").collect();
        assert_eq!(
            both,
            [
                "postgres://app:pa55word/9+x@db.internal/app",
                "pa55word/9+x"
            ]
        );
        assert_eq!(telling("http://localhost:3000/").count(), 0);
        assert_eq!(telling("development").count(), 0);
    }
}
