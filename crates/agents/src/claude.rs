//! Claude Code (`@anthropic-ai/claude-code`), seen with 2.1.329.
//!
//! One native program. State: `~/.claude.json` (replaced by rename) and
//! `~/.claude/`. It runs its approvals off as root only where `IS_SANDBOX=1`
//! says that it is in a sandbox. With `-p` a failed API request is exit code
//! 1 after minutes of retries; 0 says nothing about the tool calls.

use serde_json::{Value, json};

use crate::{
    error::AgentError,
    find::{Install, Native},
    hook::PATIENCE,
    host_config::{HostConfig, name},
    kind::Agent,
    launch::{HomeFile, Launch, LaunchRequest, ManagedFile, McpServer, Mode},
    route::{Api, RouteTemplate},
};

#[derive(Debug)]
pub(crate) struct Claude;

static INSTALL: Install = Install {
    program: "claude",
    package: "@anthropic-ai/claude-code",
    natives: &[
        Native::new("@anthropic-ai/claude-code-linux-x64", "x86_64", "claude"),
        Native::new(
            "@anthropic-ai/claude-code-linux-x64-musl",
            "x86_64",
            "claude",
        ),
        Native::new("@anthropic-ai/claude-code-linux-arm64", "aarch64", "claude"),
        Native::new(
            "@anthropic-ai/claude-code-linux-arm64-musl",
            "aarch64",
            "claude",
        ),
    ],
    companions: None,
};

/// How many characters of a key Claude Code remembers to know it again.
const APPROVED_KEY_TAIL: usize = 20;

impl Agent for Claude {
    fn install(&self) -> &'static Install {
        &INSTALL
    }

    fn api(&self, model: Option<&str>) -> Api {
        if model.is_some_and(is_on_bedrock) {
            Api::Bedrock
        } else {
            Api::Anthropic
        }
    }

    fn subscription_route(&self, api: Api) -> Option<RouteTemplate> {
        (api == Api::Anthropic).then(RouteTemplate::claude_subscription)
    }

    fn subscription(&self) -> Option<&'static str> {
        Some("what `claude setup-token` prints, as CLAUDE_CODE_OAUTH_TOKEN")
    }

    fn configured_model(&self, config: &mut HostConfig<'_>) -> Option<String> {
        name(config.json(".claude", "settings.json")["model"].as_str())
    }

    fn prepare(
        &self,
        request: &LaunchRequest<'_>,
        model: Option<&str>,
        config: &mut HostConfig<'_>,
        launch: &mut Launch,
    ) -> Result<(), AgentError> {
        if request.mode == Mode::Headless {
            launch.arguments(["--print"]);
        }
        launch.arguments(["--dangerously-skip-permissions"]);
        if request.resume {
            launch.arguments(["--continue"]);
        }
        if let Some(model) = model {
            launch.arguments(["--model", model]);
        }
        if let Some(prompt) = request.prompt {
            launch.arguments(["--", prompt]);
        }
        if self.api(model) == Api::Bedrock {
            launch.amazon(request);
            launch.variables([("CLAUDE_CODE_USE_BEDROCK", "1")]);
        } else {
            launch.variables([(request.key_variable, request.placeholder)]);
        }
        launch.variables([
            ("IS_SANDBOX", "1"),
            // The one switch that stops telemetry, update checks and the
            // marketplace; the others are here in case it changes its meaning.
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("DISABLE_TELEMETRY", "1"),
            ("DISABLE_ERROR_REPORTING", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
            ("CLAUDE_CODE_IDE_SKIP_AUTO_INSTALL", "1"),
        ]);
        launch.switches([
            "Claude Code asks for no permissions (--dangerously-skip-permissions)",
            "Claude Code's own sandbox is off",
            "Claude Code's web search, which the model provider would carry out, is off",
            "Claude Code's telemetry and updates are off",
        ]);
        let theme = theme(config);
        launch.files.push(HomeFile::json(
            ".claude/settings.json",
            &settings(theme.as_deref()),
        )?);
        launch.files.push(HomeFile::json(
            ".claude.json",
            &state(request, theme.as_deref()),
        )?);
        launch
            .files
            .extend(config.instructions(".claude", "CLAUDE.md"));
        Ok(())
    }

    fn hooks(&self, client: &str) -> Result<Vec<ManagedFile>, AgentError> {
        let command = format!("{client} claude");
        let settings = json!({ "hooks": { "PreToolUse": [{ "matcher": "*", "hooks": [
            { "type": "command", "command": command, "timeout": PATIENCE },
        ] }] } });
        let path = "/etc/claude-code/managed-settings.json";
        Ok(vec![ManagedFile::json(path, &settings)])
    }
}

/// Whether `model` is named as on Amazon's Bedrock, with its maker and perhaps a
/// place: `us.anthropic.claude-sonnet-4-5-20250929-v1:0`.
fn is_on_bedrock(model: &str) -> bool {
    model.split_once("anthropic.").is_some_and(|(place, name)| {
        (place.is_empty() || place.ends_with('.')) && name.starts_with("claude-")
    })
}

/// The theme stands in the settings of newer versions, in the state of older.
fn theme(config: &mut HostConfig<'_>) -> Option<String> {
    name(config.json(".claude", "settings.json")["theme"].as_str())
        .or_else(|| name(config.json("", ".claude.json")["theme"].as_str()))
}

fn settings(theme: Option<&str>) -> Value {
    let mut settings = json!({
        "permissions": {
            "defaultMode": "bypassPermissions",
            "deny": ["WebSearch"],
            // The mode that has the provider judge each call; with it left on
            // the first session ends in a question about it.
            "disableAutoMode": "disable",
        },
        "sandbox": { "enabled": false },
        "skipDangerousModePermissionPrompt": true,
        // The check asks a host of the provider's about every address.
        "skipWebFetchPreflight": true,
    });
    if let Some(theme) = theme {
        settings["theme"] = theme.into();
    }
    settings
}

/// Answers to the questions of a first start, which nobody would see.
fn state(request: &LaunchRequest<'_>, theme: Option<&str>) -> Value {
    let workspace = request.workspace.to_string_lossy();
    let tail = request.placeholder.len().saturating_sub(APPROVED_KEY_TAIL);
    let approved = request.placeholder.get(tail..).unwrap_or_default();
    json!({
        "mcpServers": McpServer::json(request.mcp_servers),
        "hasCompletedOnboarding": true,
        "theme": theme.unwrap_or("dark"),
        "autoUpdates": false,
        "bypassPermissionsModeAccepted": true,
        "customApiKeyResponses": { "approved": [approved], "rejected": [] },
        "projects": {
            workspace: { "hasTrustDialogAccepted": true, "hasCompletedProjectOnboarding": true }
        },
    })
}
