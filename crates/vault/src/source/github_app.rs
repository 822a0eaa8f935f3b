use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::error::VaultError;

/// The argument that makes the `stockade` executable have a token made and print
/// it; for what follows as the next one.
pub const GITHUB_APP_ARGUMENT: &str = "__github-app";
/// The argument that makes it give back the token that it reads.
pub const GITHUB_GIVE_BACK_ARGUMENT: &str = "__github-give-back";

const LENGTH_MAX: usize = 512;

/// A token that a GitHub App makes for one repository:
/// `APP@OWNER/REPOSITORY[:PERMISSION=LEVEL,…]`, to read its contents if nothing
/// else is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppToken {
    app: String,
    owner: String,
    repository: String,
    permissions: BTreeMap<String, String>,
}

impl AppToken {
    /// The App's id, or its client's.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// Who owns the repository.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The one repository.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// What may be done with it, and how far.
    pub fn permissions(&self) -> &BTreeMap<String, String> {
        &self.permissions
    }
}

impl fmt::Display for AppToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}/{}", self.app, self.owner, self.repository)?;
        let mut before = ':';
        for (permission, level) in &self.permissions {
            write!(formatter, "{before}{permission}={level}")?;
            before = ',';
        }
        Ok(())
    }
}

impl FromStr for AppToken {
    type Err = VaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(text)
            .filter(|_| text.len() <= LENGTH_MAX)
            .ok_or_else(|| VaultError::AppToken(text.chars().take(80).collect()))
    }
}

fn read(text: &str) -> Option<AppToken> {
    let (app, rest) = text.split_once('@')?;
    let (place, permissions) = rest.split_once(':').unwrap_or((rest, "contents=read"));
    let (owner, repository) = place.split_once('/')?;
    // They become parts of a path.
    let is_plain = |part: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !matches!(*part, "" | "." | "..") && part.bytes().all(plain)
    };
    if ![app, owner, repository].iter().all(is_plain) {
        return None;
    }
    let mut read = BTreeMap::new();
    for pair in permissions.split(',') {
        let (permission, level) = pair.split_once('=')?;
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let is_permission = !permission.is_empty() && permission.bytes().all(is_name);
        if !is_permission || !matches!(level, "read" | "write" | "admin") {
            return None;
        }
        if read
            .insert(permission.to_owned(), level.to_owned())
            .is_some()
        {
            return None;
        }
    }
    Some(AppToken {
        app: app.to_owned(),
        owner: owner.to_owned(),
        repository: repository.to_owned(),
        permissions: read,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_repository_and_says_what_may_be_done() {
        let token: AppToken = "Iv23liDecoy@acme/site".parse().unwrap();
        assert_eq!(token.to_string(), "Iv23liDecoy@acme/site:contents=read");
        let text = "7@acme/site.js:contents=write,pull_requests=write";
        let token: AppToken = text.parse().unwrap();
        assert_eq!(token.to_string(), text);
        assert_eq!((token.app(), token.repository()), ("7", "site.js"));
        for text in [
            "",
            "acme/site",
            "7@acme",
            "7@acme/",
            "7@../site",
            "7@acme/site/keys",
            "7@acme/site?x",
            "7@acme/site:",
            "7@acme/site:contents",
            "7@acme/site:contents=all",
            "7@acme/site:contents=read,contents=write",
            "7@acme/site:Contents=read",
        ] {
            let refused = text.parse::<AppToken>().unwrap_err().to_string();
            assert!(refused.contains("github-app:"), "{text}: {refused}");
        }
        let long = format!("7@acme/{}", "a".repeat(600));
        assert!(long.parse::<AppToken>().is_err());
    }
}
