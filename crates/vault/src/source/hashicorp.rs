use std::{fmt, str::FromStr};

use crate::error::VaultError;

/// The argument that makes the `stockade` executable read one value of
/// HashiCorp Vault and print it; where follows as the next one.
pub const HASHICORP_ARGUMENT: &str = "__hashicorp";

const LENGTH_MAX: usize = 512;

/// One field of a secret in HashiCorp Vault's second key-value engine:
/// `MOUNT/data/PATH#FIELD`, the path being that of Vault's HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashicorpField {
    path: String,
    field: String,
}

impl HashicorpField {
    /// The path below `/v1/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The field's name.
    pub fn field(&self) -> &str {
        &self.field
    }
}

impl fmt::Display for HashicorpField {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}#{}", self.path, self.field)
    }
}

impl FromStr for HashicorpField {
    type Err = VaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || VaultError::HashicorpField(text.chars().take(80).collect());
        let (path, field) = text.split_once('#').ok_or_else(refused)?;
        // Nothing that a URL spells otherwise, so that the path is the one asked for.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+@:=".contains(&byte);
        let mut parts = path.split('/');
        let is_path =
            parts.all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(is_plain));
        let is_field = !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_graphic());
        let names_data = path
            .split_once("/data/")
            .is_some_and(|(mount, below)| !mount.is_empty() && !below.is_empty());
        if is_path && is_field && names_data && text.len() <= LENGTH_MAX {
            Ok(Self {
                path: path.to_owned(),
                field: field.to_owned(),
            })
        } else {
            Err(refused())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_named_by_the_path_of_the_api() {
        let field: HashicorpField = "kv/team/data/ci/git-hub#token".parse().unwrap();
        assert_eq!(
            (field.path(), field.field()),
            ("kv/team/data/ci/git-hub", "token")
        );
        assert_eq!(field.to_string(), "kv/team/data/ci/git-hub#token");
        for text in [
            "secret/ci#token",
            "secret/data/#token",
            "/data/ci#token",
            "secret/data/ci",
            "secret/data/ci#",
            "secret/data/../sys#x",
            "secret/data//ci#x",
            "secret/data/a%2fb#x",
            "secret/data/a?b#x",
            "secret/data/a#x y",
        ] {
            let refused = text.parse::<HashicorpField>().unwrap_err().to_string();
            assert!(refused.contains("secret/data/"), "{text}: {refused}");
        }
        let long = format!("secret/data/{}#x", "a".repeat(600));
        assert!(long.parse::<HashicorpField>().is_err());
    }
}
