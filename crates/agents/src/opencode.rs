//! opencode (`opencode-ai`), seen with 1.18.33.
//!
//! One native program for the models of many providers; a model is written
//! `provider/name`, and the provider decides the route. State: `opencode`
//! under `~/.local/share`, `~/.local/state`, `~/.cache` and `~/.config`; it
//! also writes `.git/opencode`. Exit code 0 says that the session ended.

use serde_json::{Map, Value, json};
use stockade_types::env;

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
pub(crate) struct Opencode;

static INSTALL: Install = Install {
    program: "opencode",
    package: "opencode-ai",
    natives: &[
        Native::new("opencode-linux-x64", "x86_64", "bin/opencode"),
        Native::new("opencode-linux-x64-baseline", "x86_64", "bin/opencode"),
        Native::new("opencode-linux-x64-musl", "x86_64", "bin/opencode"),
        Native::new("opencode-linux-arm64", "aarch64", "bin/opencode"),
        Native::new("opencode-linux-arm64-musl", "aarch64", "bin/opencode"),
    ],
    companions: None,
};

const DIRECTORY: &str = ".config/opencode";

/// A provider that a route is known for.
struct Provider {
    id: &'static str,
    api: Api,
    /// The variable that opencode reads the key from.
    variable: &'static str,
}

/// The first is the one without a model named.
const PROVIDERS: [Provider; 4] = [
    Provider {
        id: "anthropic",
        api: Api::Anthropic,
        variable: env::ANTHROPIC_API_KEY,
    },
    Provider {
        id: "openai",
        api: Api::OpenAi,
        variable: env::OPENAI_API_KEY,
    },
    Provider {
        id: "google",
        api: Api::Gemini,
        variable: "GOOGLE_GENERATIVE_AI_API_KEY",
    },
    Provider {
        id: "amazon-bedrock",
        api: Api::Bedrock,
        variable: env::AWS_SECRET_ACCESS_KEY,
    },
];

fn known(model: &str) -> Option<&'static Provider> {
    let (id, _) = model.split_once('/')?;
    PROVIDERS.iter().find(|provider| provider.id == id)
}

fn provider(model: Option<&str>) -> &'static Provider {
    model.and_then(known).unwrap_or(&PROVIDERS[0])
}

impl Agent for Opencode {
    fn install(&self) -> &'static Install {
        &INSTALL
    }

    fn api(&self, model: Option<&str>) -> Api {
        provider(model).api
    }

    fn configured_model(&self, config: &mut HostConfig<'_>) -> Option<String> {
        let model = name(config.json(DIRECTORY, "opencode.json")["model"].as_str())?;
        if known(&model).is_some() {
            return Some(model);
        }
        config.note(format!(
            "the model {model} of ~/{DIRECTORY}/opencode.json was not taken over: \
             no route is known for its provider"
        ));
        None
    }

    fn prepare(
        &self,
        request: &LaunchRequest<'_>,
        model: Option<&str>,
        config: &mut HostConfig<'_>,
        launch: &mut Launch,
    ) -> Result<(), AgentError> {
        if let Some(model) = model.filter(|model| known(model).is_none()) {
            return Err(AgentError::Model {
                model: model.to_owned(),
            });
        }
        if request.mode == Mode::Headless {
            launch.arguments(["run"]);
        }
        launch.arguments(["--auto"]);
        if request.resume {
            launch.arguments(["--continue"]);
        }
        if let Some(model) = model {
            launch.arguments(["--model", model]);
        }
        match (request.mode, request.prompt) {
            (_, None) => {}
            (Mode::Headless, Some(prompt)) => launch.arguments(["--", prompt]),
            (Mode::Interactive, Some(prompt)) => launch.argv.push(format!("--prompt={prompt}")),
        }
        let provider = provider(model);
        if provider.api == Api::Bedrock {
            launch.amazon(request);
        } else {
            launch.variables([(provider.variable, request.placeholder)]);
        }
        launch.variables([
            ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
            ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
            ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
            // The list of models is built in; fetching it asks another host.
            ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
            ("OPENCODE_DISABLE_SHARE", "1"),
        ]);
        launch.switches([
            "opencode approves every tool call by itself (--auto); it has no sandbox of its own",
            "opencode's updates, sharing, default plugins, language server downloads and model \
             list download are off",
        ]);
        let theme = name(config.json(DIRECTORY, "tui.json")["theme"].as_str())
            .or_else(|| name(config.json(DIRECTORY, "opencode.json")["theme"].as_str()));
        launch.files.push(HomeFile::json(
            ".config/opencode/opencode.json",
            &settings(provider, request.mcp_servers),
        )?);
        if let Some(theme) = theme {
            let terminal = json!({ "theme": theme });
            launch
                .files
                .push(HomeFile::json(".config/opencode/tui.json", &terminal)?);
        }
        launch
            .files
            .extend(config.instructions(DIRECTORY, "AGENTS.md"));
        Ok(())
    }

    /// It has plug-ins in its own process instead: what one throws stops the tool
    /// call, and the model is told.
    fn hooks(&self, client: &str) -> Result<Vec<ManagedFile>, AgentError> {
        let path = "/etc/opencode/stockade.js";
        let content = PLUGIN
            .replace("CLIENT", client)
            .replace("PATIENCE", &(PATIENCE * 1000).to_string());
        let settings = json!({ "plugin": [format!("file://{path}")] });
        Ok(vec![
            ManagedFile { path, content },
            ManagedFile::json("/etc/opencode/opencode.json", &settings),
        ])
    }
}

/// The plug-in, with names in the place of what is put in.
const PLUGIN: &str = include_str!("opencode.js");

fn settings(provider: &Provider, servers: &[McpServer]) -> Value {
    let server = |server: &McpServer| {
        let entry = json!({ "type": "local", "command": server.command, "enabled": true });
        (server.name.clone(), entry)
    };
    json!({
        "mcp": servers.iter().map(server).collect::<Map<_, _>>(),
        "autoupdate": false,
        "share": "disabled",
        // Without this it would offer its maker's free models as well.
        "enabled_providers": [provider.id],
    })
}
