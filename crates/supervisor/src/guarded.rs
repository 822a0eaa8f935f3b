//! Values that must not leave a task: keys, secrets, and what the files hold
//! that are hidden from it.

use stockade_gateway::{GuardedValue, SecretText};
use stockade_scan::is_distinctive;
use stockade_types::{Redacted, visible};
use stockade_vault::variables;
use stockade_workspace::{Git, PoolEntry, Repository, SecretPatterns};

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
            for value in telling(name, value.expose()) {
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

/// How names of variables end that hold secrets, or a word of theirs.
const SECRET_NAMES: [&str; 11] = [
    "auth",
    "credential",
    "credentials",
    "dsn",
    "key",
    "passphrase",
    "passwd",
    "password",
    "pwd",
    "secret",
    "token",
];

/// What of the `value` of the variable `name` is a secret and told by itself:
/// all of it, or the password in a URL. The names of buckets and hosts stand
/// in the sources too, and whoever speaks of them must not be stopped.
fn telling<'v>(name: &str, value: &'v str) -> impl Iterator<Item = &'v str> {
    let authority = value.split_once("://").map(|(_, rest)| rest);
    let user = authority.and_then(|rest| rest.rsplit_once('@').map(|(user, _)| user));
    let password = user.and_then(|user| user.split_once(':').map(|(_, password)| password));
    let lower = name.to_ascii_lowercase();
    let mut words = lower.split('_');
    let is_named = words.any(|word| SECRET_NAMES.iter().any(|end| word.ends_with(end)));
    let is_secret = is_named || password.is_some() || is_random(value);
    let both = [Some(value).filter(|_| is_secret), password];
    let both = both.into_iter().flatten();
    both.filter(|value| value.len() <= VALUE_MAX && is_distinctive(value))
}

/// Whether nobody would choose `value` as a name: it is long and all cases and
/// digits are in it, or it is a long number in hexadecimal.
fn is_random(value: &str) -> bool {
    let has = |wanted: fn(&u8) -> bool| value.as_bytes().iter().any(wanted);
    let is_hexadecimal = value.len() >= 32 && value.bytes().all(|b| b.is_ascii_hexdigit());
    let one_word = value
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b));
    let is_mixed = value.len() >= 24
        && one_word
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit);
    is_hexadecimal || is_mixed
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
    fn secrets_are_told_by_their_name_or_their_look_and_names_of_things_are_not() {
        let url = "postgres://app:pa55word/9+x@db.internal/app";
        let both: Vec<_> = telling("DATABASE_URL", url).collect();
        assert_eq!(both, [url, "pa55word/9+x"]);
        for (name, value) in [
            ("STRIPE_KEY", "decoy-0123-abc-def"),
            ("DB_PASSWORD", "tr0ub4dor&3xyz"),
            ("apiToken", "decoy-0123-abc-def"),
            ("SESSION", "9f8e7d6c5b4a392817069f8e7d6c5b4a"),
            ("X", "kJ8sPq2LmZ0vR7tYw4Bn6cDe"),
        ] {
            assert_eq!(telling(name, value).collect::<Vec<_>>(), [value], "{name}");
        }
        for (name, value) in [
            ("S3_BUCKET", "my-app-2024-uploads"),
            ("API_URL", "http://localhost:3000/"),
            ("DB_HOST", "db-01.eu-west-1.internal"),
            ("APP_KEY", "development"),
            ("IMAGE", "registry.example.com/team/app:1.22.3"),
            ("AUTHOR", "somebody-of-2024"),
        ] {
            assert_eq!(telling(name, value).count(), 0, "{name}");
        }
    }
}
