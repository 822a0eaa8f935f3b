use std::{io, path::PathBuf};

use crate::name::SecretName;

/// What can go wrong with a secret. No message holds a value.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Not a secret's name.
    #[error(
        "`{}` is not a name of a secret: write 1 to 64 letters, digits, `-`, `_` or `.`, \
         beginning with a letter or digit", .0.escape_debug()
    )]
    Name(String),
    /// Not a source.
    #[error("`{}` is not a source: write env:VARIABLE, command:PROGRAM…, vault:MOUNT/data/PATH#FIELD, github-app:APP@OWNER/REPOSITORY or file", .0.escape_debug())]
    Source(String),
    /// Not a field of HashiCorp Vault.
    #[error(
        "`vault:{}` names no field: write the path of Vault's API and the field, such as \
         vault:secret/data/ci/github#token", .0.escape_debug()
    )]
    HashicorpField(String),
    /// Not a token of a GitHub App.
    #[error(
        "`github-app:{}` names no token: write the App's id, one repository and what may be done, \
         such as github-app:123456@acme/site:contents=write,pull_requests=write", .0.escape_debug()
    )]
    AppToken(String),
    /// Not a slot.
    #[error("`{}` is not a slot: {reason}", text.escape_debug())]
    Slot {
        /// As it was written.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A secret of that name is not there.
    #[error("there is no secret `{0}`; `stockade secret ls` shows them")]
    Unknown(SecretName),
    /// A secret of that name is there.
    #[error("there is a secret `{0}` already; `stockade secret rm {0}` removes it")]
    Exists(SecretName),
    /// The value cannot be used.
    #[error(
        "the value of `{0}` cannot be used: it must be 8 to 4096 visible ASCII characters, \
         without spaces and line ends inside"
    )]
    Value(SecretName),
    /// The variable is not set.
    #[error("{variable}, where the secret `{name}` comes from, is not set")]
    Variable {
        /// Whose value it is.
        name: SecretName,
        /// The variable.
        variable: String,
    },
    /// The command gave no value.
    #[error("the command of the secret `{name}` gave no value: {reason}")]
    Command {
        /// Whose value it is.
        name: SecretName,
        /// How it ended.
        reason: String,
    },
    /// A server that was asked gave no value, or did not take one back.
    #[error("{who} does not do what the secret `{name}` needs: {reason}")]
    Asked {
        /// The server.
        who: &'static str,
        /// Whose value it is.
        name: SecretName,
        /// Why, and what helps.
        reason: String,
    },
    /// A file of the vault cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Others could have written the file.
    #[error(
        "{} can be written by others, who could bind your secrets to hosts of theirs; \
         make it yours alone: chmod 600", .0.display()
    )]
    Writable(PathBuf),
    /// A file that does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The store is locked, and nobody gave its passphrase.
    #[error(
        "{} is locked by a passphrase, and there is no terminal to ask for it; \
         name a file that holds it in STOCKADE_PASSPHRASE_FILE", .0.display()
    )]
    Locked(PathBuf),
    /// The key does not open the store.
    #[error("{}: the {what} does not open it", path.display())]
    WrongKey {
        /// The store.
        path: PathBuf,
        /// Passphrase or identity.
        what: &'static str,
    },
    /// The store lacks the value.
    #[error("{} holds no value of `{name}`; add it again: stockade secret rm {name}", path.display())]
    Missing {
        /// The store.
        path: PathBuf,
        /// Whose value it is.
        name: SecretName,
    },
}

impl VaultError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
