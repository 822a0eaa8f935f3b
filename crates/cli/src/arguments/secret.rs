//! The words about secrets.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use stockade_agents::AgentKind;
use stockade_supervisor::WantedSecrets;
use stockade_types::HostName;
use stockade_vault::{SecretName, Slot, Source};

use super::values;

/// Which secrets a task may use.
#[derive(Debug, Args)]
pub(crate) struct SecretArguments {
    /// Of the secrets that are bound for it, give it this one only; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) secret: Vec<SecretName>,
    /// Give it none of the secrets that are bound for it
    #[arg(long, conflicts_with = "secret")]
    pub(crate) no_secrets: bool,
}

impl SecretArguments {
    pub(crate) fn wanted(&self) -> WantedSecrets {
        match (self.no_secrets, self.secret.as_slice()) {
            (true, _) => WantedSecrets::None,
            (false, []) => WantedSecrets::Bound,
            (false, names) => WantedSecrets::Named(names.to_vec()),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Add a secret; its value is asked for, or read from standard input
    #[command(after_help = "Examples:\n  \
        stockade secret add deploy\n  \
        stockade secret add github --from env:GH_TOKEN\n  \
        stockade secret add github --from 'command:op read op://dev/github/token' --ttl 10m\n  \
        stockade secret add github --from vault:secret/data/ci/github#token --ttl 10m\n  \
        stockade secret add github --from github-app:123456@acme/site:contents=write")]
    Add(AddSecret),
    /// Add every variable of a `.env` file as a secret of its name
    #[command(after_help = "Examples:\n  stockade secret import .env")]
    Import(ImportSecrets),
    /// Say where a secret may stand: in which requests, in which place of them
    #[command(after_help = "Examples:\n  \
        stockade secret bind github --host api.github.com --header Authorization='Bearer {}' --env GH_TOKEN\n  \
        stockade secret bind mail --host api.example.com --method POST --path '/v1/**' --field auth.token")]
    Bind(Box<BindSecret>),
    /// Take back what binds a secret to a host, also from tasks that run
    #[command(after_help = "Examples:\n  stockade secret unbind github --host api.github.com")]
    Unbind(UnbindSecret),
    /// List secrets and what they are bound to; never a value
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  stockade secret ls\n  stockade secret ls --json"
    )]
    Ls,
    /// Remove a secret, and take it back from tasks that run
    #[command(after_help = "Examples:\n  stockade secret rm github")]
    Rm(NamedSecret),
    /// Try whether a secret's value can be had; it is not shown
    #[command(after_help = "Examples:\n  stockade secret test github")]
    Test(NamedSecret),
}

#[derive(Debug, Args)]
pub(crate) struct NamedSecret {
    /// The secret
    pub(crate) name: SecretName,
}

#[derive(Debug, Args)]
pub(crate) struct AddSecret {
    /// What it shall be called
    pub(crate) name: SecretName,
    /// Where its value comes from: `file` (encrypted by age), `env:VARIABLE` of whoever
    /// starts a task, `command:…`, which prints it, `vault:MOUNT/data/PATH#FIELD` of
    /// HashiCorp Vault, or `github-app:APP@OWNER/REPOSITORY:PERMISSION=LEVEL,…`, a token made
    /// for each task
    #[arg(long, value_name = "SOURCE", default_value = "file")]
    pub(crate) from: Source,
    /// Ask the command or Vault again after this time, such as 10m [default: once a task]
    #[arg(long, value_name = "TIME", value_parser = values::seconds)]
    pub(crate) ttl: Option<u64>,
    /// Lock the encrypted file for the age identity in this file, not by a passphrase;
    /// said with the first secret
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportSecrets {
    /// The file, with NAME=VALUE lines; it stays as it is
    pub(crate) file: PathBuf,
    /// Lock the encrypted file for the age identity in this file, as `add` does
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BindSecret {
    /// The secret
    pub(crate) name: SecretName,
    /// The host, exactly
    #[arg(long)]
    pub(crate) host: HostName,
    /// The TCP port [default: 443]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// The methods, such as GET,POST [default: those that rules allow]
    #[arg(long, value_name = "METHODS", value_delimiter = ',')]
    pub(crate) method: Vec<String>,
    /// The paths, such as '/v1/**' [default: those that rules allow]
    #[arg(long)]
    pub(crate) path: Option<String>,
    #[command(flatten)]
    place: Place,
    /// The variable that holds the placeholder inside
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) env: Option<String>,
    /// Only for tasks of this agent
    #[arg(long)]
    pub(crate) agent: Option<AgentKind>,
}

/// The one place in a request where the secret may stand.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// In a header whose whole value is the template, such as Authorization='Bearer {}'
    #[arg(long, value_name = "NAME=TEMPLATE", value_parser = header)]
    header: Option<Slot>,
    /// As the password of `Authorization: Basic`, for this user
    #[arg(long, value_name = "USER", value_parser = basic)]
    basic: Option<Slot>,
    /// As the whole value of a field of a JSON body, such as auth.token
    #[arg(long, value_name = "NAMES", value_parser = field)]
    field: Option<Slot>,
    /// As a parameter of the URL's query
    #[arg(long, value_name = "NAME", value_parser = query)]
    query: Option<Slot>,
    /// As a field of a form
    #[arg(long, value_name = "NAME", value_parser = form)]
    form: Option<Slot>,
}

fn header(text: &str) -> Result<Slot, stockade_vault::VaultError> {
    text.parse().map(Slot::Header)
}

fn basic(text: &str) -> Result<Slot, stockade_vault::VaultError> {
    text.parse().map(Slot::Basic)
}

fn field(text: &str) -> Result<Slot, stockade_vault::VaultError> {
    text.parse().map(Slot::Field)
}

fn query(text: &str) -> Result<Slot, stockade_vault::VaultError> {
    text.parse().map(Slot::Query)
}

fn form(text: &str) -> Result<Slot, stockade_vault::VaultError> {
    text.parse().map(Slot::Form)
}

impl BindSecret {
    /// The place; the words have exactly one.
    pub(crate) fn slot(&self) -> Option<Slot> {
        let Place {
            header,
            basic,
            field,
            query,
            form,
        } = &self.place;
        let places = [header, basic, field, query, form].into_iter();
        places.flatten().next().cloned()
    }
}

#[derive(Debug, Args)]
pub(crate) struct UnbindSecret {
    /// The secret
    pub(crate) name: SecretName,
    /// The host
    #[arg(long)]
    pub(crate) host: HostName,
}
