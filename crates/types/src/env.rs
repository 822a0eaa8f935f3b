//! Every environment variable that Stockade reads or sets, declared once.

/// Overrides the state directory (default `$XDG_STATE_HOME/stockade`).
pub const STATE_DIR: &str = "STOCKADE_STATE_DIR";
/// The file whose first line is the passphrase of the store of secrets, where
/// there is no terminal to ask for it.
pub const PASSPHRASE_FILE: &str = "STOCKADE_PASSPHRASE_FILE";
/// Turns colours off when set to anything; <https://no-color.org>.
pub const NO_COLOR: &str = "NO_COLOR";
/// The Anthropic API key, read on the host, never passed inside.
pub const ANTHROPIC_API_KEY: &str = "ANTHROPIC_API_KEY";
/// The token of a Claude subscription, as `claude setup-token` gives it, read on the
/// host, never passed inside.
pub const CLAUDE_CODE_OAUTH_TOKEN: &str = "CLAUDE_CODE_OAUTH_TOKEN";
/// The OpenAI API key, read on the host, never passed inside.
pub const OPENAI_API_KEY: &str = "OPENAI_API_KEY";
/// The Gemini API key, read on the host, never passed inside.
pub const GEMINI_API_KEY: &str = "GEMINI_API_KEY";
/// The id of the AWS key for models on Bedrock, read on the host.
pub const AWS_ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
/// That key, read on the host, never passed inside.
pub const AWS_SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
/// What goes with a temporary AWS key, read on the host.
pub const AWS_SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";
/// The AWS region whose Bedrock is used, read on the host and set inside.
pub const AWS_REGION: &str = "AWS_REGION";
/// Where HashiCorp Vault is, read on the host as Vault's own program does.
pub const VAULT_ADDR: &str = "VAULT_ADDR";
/// The token for HashiCorp Vault, read on the host, never passed inside.
pub const VAULT_TOKEN: &str = "VAULT_TOKEN";
/// The namespace in HashiCorp Vault, read on the host.
pub const VAULT_NAMESPACE: &str = "VAULT_NAMESPACE";
/// The file with the authority of HashiCorp Vault's certificate, read on the host.
pub const VAULT_CACERT: &str = "VAULT_CACERT";
/// The private key of a GitHub App, in PEM, read on the host, never passed inside.
pub const GITHUB_APP_PRIVATE_KEY: &str = "GITHUB_APP_PRIVATE_KEY";
/// The file with that key, read on the host.
pub const GITHUB_APP_PRIVATE_KEY_FILE: &str = "GITHUB_APP_PRIVATE_KEY_FILE";
/// Where GitHub's API is, read on the host.
pub const GITHUB_API_URL: &str = "GITHUB_API_URL";
/// Set inside: the id of the task.
pub const TASK: &str = "STOCKADE_TASK";
/// Set inside: the first of ten ports that are this task's own.
pub const PORT_BASE: &str = "STOCKADE_PORT_BASE";
