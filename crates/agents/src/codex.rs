//! Codex (`@openai/codex`), seen with 0.169.0.
//!
//! A native program with helpers beside it. State: `~/.codex/`, which must be
//! writable and not under `/tmp`. `exec` reads its standard input to the end
//! before it starts. It exits with 1 when the API failed, with 0 when every
//! command failed.

use stockade_types::env;
use toml::{Table, Value};

use crate::{
    error::AgentError,
    find::{Install, Native},
    hook::PATIENCE,
    host_config::{HostConfig, name},
    kind::Agent,
    launch::{HomeFile, Launch, LaunchRequest, ManagedFile, McpServer, Mode},
    route::Api,
};

#[derive(Debug)]
pub(crate) struct Codex;

static INSTALL: Install = Install {
    program: "codex",
    package: "@openai/codex",
    natives: &[
        Native::new(
            "@openai/codex-linux-x64",
            "x86_64",
            "vendor/x86_64-unknown-linux-musl/bin/codex",
        ),
        Native::new(
            "@openai/codex-linux-arm64",
            "aarch64",
            "vendor/aarch64-unknown-linux-musl/bin/codex",
        ),
    ],
    companions: Some("codex-resources"),
};

/// Our name for OpenAI's API with a key and without a WebSocket. The built-in
/// provider would prefer an account login and a WebSocket.
const PROVIDER: &str = "stockade";

impl Agent for Codex {
    fn install(&self) -> &'static Install {
        &INSTALL
    }

    fn api(&self, _model: Option<&str>) -> Api {
        Api::OpenAi
    }

    fn configured_model(&self, config: &mut HostConfig<'_>) -> Option<String> {
        let user = config.toml(".codex", "config.toml");
        let model = name(user.get("model").and_then(Value::as_str))?;
        match user.get("model_provider").and_then(Value::as_str) {
            None | Some("openai") => Some(model),
            Some(_) => {
                config.note(format!(
                    "the model {model} of ~/.codex/config.toml was not taken over: \
                     it belongs to another provider than OpenAI"
                ));
                None
            }
        }
    }

    fn prepare(
        &self,
        request: &LaunchRequest<'_>,
        model: Option<&str>,
        config: &mut HostConfig<'_>,
        launch: &mut Launch,
    ) -> Result<(), AgentError> {
        if request.mode == Mode::Headless {
            launch.arguments(["exec", "--skip-git-repo-check"]);
        }
        launch.arguments(["--dangerously-bypass-approvals-and-sandbox"]);
        if let Some(model) = model {
            launch.arguments(["--model", model]);
        }
        if request.resume {
            launch.arguments(["resume", "--last"]);
        }
        if let Some(prompt) = request.prompt {
            launch.arguments(["--", prompt]);
        }
        launch.variables([(env::OPENAI_API_KEY, request.placeholder)]);
        launch.ca_variables.push("CODEX_CA_CERTIFICATE");
        launch.switches([
            "Codex asks for no approvals and its own sandbox is off \
             (--dangerously-bypass-approvals-and-sandbox)",
            "Codex's web search, which the model provider would carry out, is off",
            "Codex's plugins, apps, metrics and update check are off",
        ]);
        let theme = config
            .toml(".codex", "config.toml")
            .get("tui")
            .and_then(|tui| name(tui.get("theme")?.as_str()));
        let settings = settings(request, theme.as_deref());
        launch
            .files
            .push(HomeFile::toml(".codex/config.toml", &settings)?);
        launch
            .files
            .extend(config.instructions(".codex", "AGENTS.md"));
        Ok(())
    }

    /// Hooks of other places than the requirements are not run before somebody has
    /// trusted them.
    fn hooks(&self, client: &str) -> Result<Vec<ManagedFile>, AgentError> {
        let list = |entry: Value| Value::Array(vec![entry]);
        let command = table([
            ("type", "command".into()),
            ("command", format!("{client} codex").into()),
            ("timeout", i64::from(PATIENCE).into()),
        ]);
        let before = table([("hooks", list(command))]);
        let folder = client.rsplit_once('/').map_or("/", |(folder, _)| folder);
        let mut settings = Table::new();
        let mut set = |key: &str, value: Value| settings.insert(key.to_owned(), value);
        set("features", table([("hooks", true.into())]));
        set(
            "hooks",
            table([("managed_dir", folder.into()), ("PreToolUse", list(before))]),
        );
        let path = "/etc/codex/requirements.toml";
        let content = toml::to_string(&settings).map_err(|error| AgentError::Compose {
            file: path,
            source: Box::new(error),
        })?;
        Ok(vec![ManagedFile { path, content }])
    }
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Table(
        entries
            .map(|(key, value)| (key.to_owned(), value))
            .into_iter()
            .collect(),
    )
}

fn settings(request: &LaunchRequest<'_>, theme: Option<&str>) -> Table {
    let workspace = request.workspace.to_string_lossy();
    let mut settings = Table::new();
    let mut set = |key: &str, value: Value| settings.insert(key.to_owned(), value);
    set("model_provider", PROVIDER.into());
    set("approval_policy", "never".into());
    set("sandbox_mode", "danger-full-access".into());
    set("web_search", "disabled".into());
    set("check_for_update_on_startup", false.into());
    set("cli_auth_credentials_store", "file".into());
    set("analytics", table([("enabled", false.into())]));
    set("feedback", table([("enabled", false.into())]));
    set(
        "features",
        table([("plugins", false.into()), ("apps", false.into())]),
    );
    set(
        "projects",
        table([(&*workspace, table([("trust_level", "trusted".into())]))]),
    );
    let provider = table([
        ("name", "OpenAI through Stockade".into()),
        ("base_url", "https://api.openai.com/v1".into()),
        ("env_key", env::OPENAI_API_KEY.into()),
        ("wire_api", "responses".into()),
        ("supports_websockets", false.into()),
    ]);
    set("model_providers", table([(PROVIDER, provider)]));
    let server = |server: &McpServer| {
        let (command, arguments) = server.parts();
        let entry = table([
            ("command", command.into()),
            ("args", arguments.to_vec().into()),
        ]);
        (server.name.clone(), entry)
    };
    let servers = request.mcp_servers.iter().map(server);
    set("mcp_servers", Value::Table(servers.collect()));
    if let Some(theme) = theme {
        set("tui", table([("theme", theme.into())]));
    }
    settings
}
