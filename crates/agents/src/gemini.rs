//! Gemini CLI (`@google/gemini-cli`), seen with 0.61.0.
//!
//! JavaScript, run by node 20 or newer; optional native parts are packages
//! beside it. State: `~/.gemini/`. Exit code 0 says that the conversation
//! ended, not that any tool succeeded.

use serde_json::{Value, json};
use stockade_types::env;

use crate::{
    error::AgentError,
    find::Install,
    hook::PATIENCE,
    host_config::{HostConfig, name},
    kind::Agent,
    launch::{HomeFile, Launch, LaunchRequest, ManagedFile, McpServer, Mode},
    route::Api,
};

#[derive(Debug)]
pub(crate) struct Gemini;

static INSTALL: Install = Install {
    program: "gemini",
    package: "@google/gemini-cli",
    natives: &[],
    companions: None,
};

impl Agent for Gemini {
    fn install(&self) -> &'static Install {
        &INSTALL
    }

    fn api(&self, _model: Option<&str>) -> Api {
        Api::Gemini
    }

    fn configured_model(&self, config: &mut HostConfig<'_>) -> Option<String> {
        name(config.json(".gemini", "settings.json")["model"]["name"].as_str())
    }

    fn prepare(
        &self,
        request: &LaunchRequest<'_>,
        model: Option<&str>,
        config: &mut HostConfig<'_>,
        launch: &mut Launch,
    ) -> Result<(), AgentError> {
        launch.arguments(["--yolo", "--skip-trust"]);
        if request.resume {
            launch.arguments(["--resume", "latest"]);
        }
        if let Some(model) = model {
            launch.arguments(["--model", model]);
        }
        if let Some(prompt) = request.prompt {
            let option = match request.mode {
                Mode::Headless => "--prompt",
                Mode::Interactive => "--prompt-interactive",
            };
            // One argument, so that a prompt like `-x` is not an option.
            launch.argv.push(format!("{option}={prompt}"));
        }
        launch.variables([
            (env::GEMINI_API_KEY, request.placeholder),
            ("GEMINI_SANDBOX", "false"),
            // It would start itself a second time to raise a memory limit.
            ("GEMINI_CLI_NO_RELAUNCH", "true"),
            // There is no keyring inside to wait for.
            ("GEMINI_FORCE_FILE_STORAGE", "true"),
        ]);
        launch.switches([
            "Gemini CLI asks for no approvals (--yolo) and trusts the workspace (--skip-trust)",
            "Gemini CLI's own sandbox is off",
            "Gemini CLI's web search and web fetch, which the model provider would carry out, \
             are off",
            "Gemini CLI's usage statistics, telemetry and updates are off",
        ]);
        let theme = name(config.json(".gemini", "settings.json")["ui"]["theme"].as_str());
        launch.files.push(HomeFile::json(
            ".gemini/settings.json",
            &settings(theme.as_deref(), request),
        )?);
        launch
            .files
            .extend(config.instructions(".gemini", "GEMINI.md"));
        Ok(())
    }

    /// Settings for every user count only where they belong to root, whom nobody is
    /// inside: the hook stands in the home's.
    fn hooks(&self, _client: &str) -> Result<Vec<ManagedFile>, AgentError> {
        Ok(Vec::new())
    }
}

fn settings(theme: Option<&str>, request: &LaunchRequest<'_>) -> Value {
    let mut settings = json!({
        "general": { "enableAutoUpdate": false, "enableAutoUpdateNotification": false },
        "ide": { "enabled": false, "hasSeenNudge": true },
        "mcpServers": McpServer::json(request.mcp_servers),
        "privacy": { "usageStatisticsEnabled": false },
        "security": {
            "auth": { "selectedType": "gemini-api-key" },
            "folderTrust": { "enabled": false },
        },
        "telemetry": { "enabled": false },
        "tools": { "exclude": ["google_web_search", "web_fetch"] },
    });
    if let Some(theme) = theme {
        settings["ui"] = json!({ "theme": theme });
    }
    if let Some(client) = request.hook {
        let command = format!("{client} gemini");
        settings["hooksConfig"] = json!({ "enabled": true });
        // It counts in milliseconds.
        settings["hooks"] = json!({ "BeforeTool": [{ "matcher": "*", "hooks": [
            { "type": "command", "command": command, "timeout": PATIENCE * 1000 },
        ] }] });
    }
    settings
}
