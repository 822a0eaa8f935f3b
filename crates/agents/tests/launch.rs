//! What an agent is started with, and what of the user's own configuration
//! comes along.

#![expect(clippy::unwrap_used, reason = "a fixture that fails fails its test")]

use std::{fs, path::Path};

use serde_json::{Value, json};
use stockade_agents::{
    AgentError, AgentKind, Api, Found, Launch, LaunchRequest, McpServer, Mode, RouteTemplate,
    command, launch, route,
};
use tempfile::TempDir;

const KEY: &str = "sk-decoy-0123456789-0123456789";

fn found(kind: AgentKind) -> Found {
    Found {
        kind,
        executable: "/usr/bin/agent".into(),
        real: "/usr/bin/agent".into(),
        version: None,
        digest: String::new(),
        mounts: Vec::new(),
        program: vec!["/opt/agent/bin/agent".into()],
    }
}

fn request<'a>() -> LaunchRequest<'a> {
    LaunchRequest {
        prompt: Some("-fix it"),
        mode: Mode::Headless,
        resume: false,
        model: None,
        key_variable: "ANTHROPIC_API_KEY",
        placeholder: KEY,
        region: None,
        home: Path::new("/home/agent"),
        workspace: Path::new("/work space/repo"),
        host_config: None,
        hook: None,
        mcp_servers: &[],
    }
}

fn start(kind: AgentKind, request: &LaunchRequest<'_>) -> Launch {
    launch(&found(kind), request).unwrap()
}

/// Where its requests go, with every key there.
fn way(kind: AgentKind, model: Option<&str>, home: Option<&Path>) -> RouteTemplate {
    route(kind, model, home, |_| true).unwrap()
}

fn arguments(launch: &Launch) -> Vec<&str> {
    launch.argv.iter().skip(1).map(String::as_str).collect()
}

fn file<'a>(launch: &'a Launch, path: &str) -> Option<&'a str> {
    let file = launch
        .files
        .iter()
        .find(|file| file.path == Path::new(path))?;
    Some(std::str::from_utf8(&file.content).unwrap())
}

fn json_file(launch: &Launch, path: &str) -> Value {
    serde_json::from_str(file(launch, path).unwrap()).unwrap()
}

#[test]
fn headless_launches_are_the_documented_ones() {
    let start = |kind| start(kind, &request());
    assert_eq!(
        arguments(&start(AgentKind::Claude)),
        ["--print", "--dangerously-skip-permissions", "--", "-fix it"]
    );
    assert_eq!(
        arguments(&start(AgentKind::Codex)),
        [
            "exec",
            "--skip-git-repo-check",
            "--dangerously-bypass-approvals-and-sandbox",
            "--",
            "-fix it"
        ]
    );
    assert_eq!(
        arguments(&start(AgentKind::Gemini)),
        ["--yolo", "--skip-trust", "--prompt=-fix it"]
    );
    assert_eq!(
        arguments(&start(AgentKind::Opencode)),
        ["run", "--auto", "--", "-fix it"]
    );
}

#[test]
fn interactive_launches_need_no_prompt_and_resume_goes_on_with_the_last_session() {
    let request = LaunchRequest {
        prompt: None,
        mode: Mode::Interactive,
        resume: true,
        model: Some("anthropic/some-model"),
        ..request()
    };
    let expected: [&[&str]; 4] = [
        &[
            "--dangerously-skip-permissions",
            "--continue",
            "--model",
            "anthropic/some-model",
        ],
        &[
            "--dangerously-bypass-approvals-and-sandbox",
            "--model",
            "anthropic/some-model",
            "resume",
            "--last",
        ],
        &[
            "--yolo",
            "--skip-trust",
            "--resume",
            "latest",
            "--model",
            "anthropic/some-model",
        ],
        &["--auto", "--continue", "--model", "anthropic/some-model"],
    ];
    for (kind, expected) in AgentKind::ALL.into_iter().zip(expected) {
        let launch = start(kind, &request);
        assert_eq!(arguments(&launch), expected, "{kind}");
        assert!(!launch.reads_stdin, "{kind}");
    }
}

#[test]
fn the_placeholder_is_in_the_environment_under_one_name_and_in_no_argument() {
    let names = [
        "ANTHROPIC_API_KEY",
        "OPENAI_API_KEY",
        "GEMINI_API_KEY",
        "ANTHROPIC_API_KEY",
    ];
    for (kind, name) in AgentKind::ALL.into_iter().zip(names) {
        let launch = start(kind, &request());
        let holders: Vec<_> = launch
            .env
            .iter()
            .filter(|(_, value)| value.contains(KEY))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(holders, [name], "{kind}");
        assert!(
            launch.argv.iter().all(|argument| !argument.contains(KEY)),
            "{kind}"
        );
        for file in &launch.files {
            let text = String::from_utf8_lossy(&file.content);
            assert!(!text.contains(KEY), "{kind}: {}", file.path.display());
        }
        assert!(launch.reads_stdin, "{kind}");
    }
}

#[test]
fn no_setting_sends_an_agent_to_another_host_than_its_makers() {
    for kind in AgentKind::ALL {
        let launch = start(kind, &request());
        assert!(
            launch
                .env
                .iter()
                .all(|(name, _)| !name.contains("BASE_URL")),
            "{kind}"
        );
        for file in &launch.files {
            for (place, _) in String::from_utf8_lossy(&file.content).match_indices("://") {
                let text = String::from_utf8_lossy(&file.content);
                let host = text[place + 3..].split(['/', '"']).next().unwrap();
                assert_eq!(host, way(kind, None, None).host, "{kind}");
            }
        }
    }
}

#[test]
fn what_is_switched_off_stands_in_the_contract_and_in_the_configuration() {
    for kind in AgentKind::ALL {
        let launch = start(kind, &request());
        let text = launch.inner_switches.join("\n");
        assert!(text.contains("sandbox"), "{kind}: {text}");
        assert!(text.contains("pdate"), "{kind}: {text}");
    }
    let codex: toml::Table = file(&start(AgentKind::Codex, &request()), ".codex/config.toml")
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(codex["approval_policy"].as_str(), Some("never"));
    assert_eq!(codex["web_search"].as_str(), Some("disabled"));
    assert_eq!(codex["analytics"]["enabled"].as_bool(), Some(false));
    let provider = &codex["model_providers"][codex["model_provider"].as_str().unwrap()];
    assert_eq!(provider["env_key"].as_str(), Some("OPENAI_API_KEY"));
    assert_eq!(
        codex["projects"]["/work space/repo"]["trust_level"].as_str(),
        Some("trusted")
    );

    let claude = start(AgentKind::Claude, &request());
    let settings = json_file(&claude, ".claude/settings.json");
    assert_eq!(settings["permissions"]["deny"], json!(["WebSearch"]));
    let state = json_file(&claude, ".claude.json");
    assert_eq!(
        state["customApiKeyResponses"]["approved"],
        json!([&KEY[KEY.len() - 20..]])
    );
    assert_eq!(
        state["projects"]["/work space/repo"]["hasTrustDialogAccepted"],
        true
    );

    let gemini = json_file(
        &start(AgentKind::Gemini, &request()),
        ".gemini/settings.json",
    );
    assert_eq!(gemini["privacy"]["usageStatisticsEnabled"], false);
    assert_eq!(
        gemini["tools"]["exclude"],
        json!(["google_web_search", "web_fetch"])
    );

    let opencode = json_file(
        &start(AgentKind::Opencode, &request()),
        ".config/opencode/opencode.json",
    );
    assert_eq!(opencode["share"], "disabled");
    assert_eq!(opencode["enabled_providers"], json!(["anthropic"]));
}

/// A home whose agents are configured to do everything that must not come
/// along, and the three things that may.
fn user() -> TempDir {
    let home = TempDir::new().unwrap();
    let write = |path: &str, content: String| {
        let path = home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let evil = json!({
        "hooks": { "PreToolUse": [{ "hooks": [{ "type": "command", "command": "EVIL" }] }] },
        "mcpServers": { "x": { "command": "EVIL" } },
        "mcp": { "x": { "type": "local", "command": ["EVIL"] } },
        "permissions": { "allow": ["EVIL"] },
        "permission": { "bash": "EVIL" },
        "apiKeyHelper": "EVIL",
        "statusLine": { "type": "command", "command": "EVIL" },
        "env": { "EVIL": "EVIL" },
        "plugin": ["EVIL"],
        "provider": { "anthropic": { "options": { "baseURL": "https://EVIL" } } },
        "oauthAccount": "EVIL",
    });
    let with = |extra: Value| {
        let mut settings = evil.clone();
        settings
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        settings.to_string()
    };
    write(
        ".claude/settings.json",
        with(json!({ "model": "claude-mine", "theme": "light" })),
    );
    write(".claude.json", with(json!({})));
    write(".claude/CLAUDE.md", "my claude rules".into());
    write(".claude/.credentials.json", "EVIL".into());
    write(
        ".codex/config.toml",
        "model = \"gpt-mine\"\nnotify = [\"EVIL\"]\n[tui]\ntheme = \"mine\"\n\
         [mcp_servers.x]\ncommand = \"EVIL\"\n[shell_environment_policy]\nset = { A = \"EVIL\" }\n"
            .into(),
    );
    write(".codex/hooks.json", "EVIL".into());
    write(".codex/auth.json", "EVIL".into());
    write(".codex/AGENTS.md", "my codex rules".into());
    write(
        ".gemini/settings.json",
        with(json!({ "model": { "name": "gemini-mine" }, "ui": { "theme": "Mine" } })),
    );
    write(".gemini/GEMINI.md", "my gemini rules".into());
    write(".gemini/.env", "EVIL".into());
    write(
        ".config/opencode/opencode.json",
        with(json!({ "model": "openai/gpt-mine", "theme": "mine" })),
    );
    write(".config/opencode/AGENTS.md", "my opencode rules".into());
    home
}

#[test]
fn a_model_on_bedrock_is_reached_with_a_key_that_signs_in_one_region() {
    let models = [
        (
            AgentKind::Claude,
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (AgentKind::Opencode, "amazon-bedrock/amazon.nova-pro-v1:0"),
    ];
    for (kind, model) in models {
        let request = LaunchRequest {
            model: Some(model),
            placeholder: "AKIAPLACEHOLDER00001",
            region: Some("eu-west-1"),
            ..request()
        };
        let launch = start(kind, &request);
        assert_eq!(way(kind, Some(model), None).api, Api::Bedrock);
        let variable = |name: &str| {
            let found = launch.env.iter().find(|(own, _)| own == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(variable("AWS_ACCESS_KEY_ID"), Some("AKIAPLACEHOLDER00001"));
        let secret = "AKIAPLACEHOLDER00001AKIAPLACEHOLDER00001";
        assert_eq!(variable("AWS_SECRET_ACCESS_KEY"), Some(secret));
        assert_eq!(variable("AWS_REGION"), Some("eu-west-1"));
        assert_eq!(variable("ANTHROPIC_API_KEY"), None);
    }
    let plain = way(AgentKind::Claude, Some("claude-sonnet-4-5"), None);
    assert_eq!(plain.api, Api::Anthropic);
}

#[test]
fn of_the_users_configuration_only_model_theme_and_instructions_come_along() {
    let home = user();
    let request = LaunchRequest {
        host_config: Some(home.path()),
        ..request()
    };
    let models = ["claude-mine", "gpt-mine", "gemini-mine", "openai/gpt-mine"];
    for (kind, model) in AgentKind::ALL.into_iter().zip(models) {
        let launch = start(kind, &request);
        assert!(!format!("{launch:?}").contains("EVIL"), "{kind}");
        for file in &launch.files {
            assert!(
                !String::from_utf8_lossy(&file.content).contains("EVIL"),
                "{kind}"
            );
            assert!(file.path.is_relative() && file.mode == 0o600, "{kind}");
        }
        let place = launch
            .argv
            .iter()
            .position(|argument| argument == "--model")
            .unwrap();
        assert_eq!(launch.argv[place + 1], model);
        assert_eq!(launch.notes, Vec::<String>::new(), "{kind}");
    }
    let started = |kind| start(kind, &request);
    let claude = started(AgentKind::Claude);
    assert_eq!(
        json_file(&claude, ".claude/settings.json")["theme"],
        "light"
    );
    assert_eq!(json_file(&claude, ".claude.json")["theme"], "light");
    assert_eq!(file(&claude, ".claude/CLAUDE.md"), Some("my claude rules"));
    let codex = started(AgentKind::Codex);
    let settings: toml::Table = file(&codex, ".codex/config.toml").unwrap().parse().unwrap();
    assert_eq!(settings["tui"]["theme"].as_str(), Some("mine"));
    assert_eq!(file(&codex, ".codex/AGENTS.md"), Some("my codex rules"));
    let gemini = started(AgentKind::Gemini);
    assert_eq!(
        json_file(&gemini, ".gemini/settings.json")["ui"]["theme"],
        "Mine"
    );
    assert_eq!(file(&gemini, ".gemini/GEMINI.md"), Some("my gemini rules"));
    let opencode = started(AgentKind::Opencode);
    assert_eq!(
        json_file(&opencode, ".config/opencode/tui.json")["theme"],
        "mine"
    );
    assert_eq!(
        file(&opencode, ".config/opencode/AGENTS.md"),
        Some("my opencode rules")
    );
}

#[test]
fn the_model_asked_for_wins_over_the_configured_one_and_decides_the_route() {
    let home = user();
    let api = |model| way(AgentKind::Opencode, model, Some(home.path())).api;
    assert_eq!(api(None), Api::OpenAi, "as configured");
    assert_eq!(api(Some("google/gemini-x")), Api::Gemini);
    let request = LaunchRequest {
        host_config: Some(home.path()),
        model: Some("google/gemini-x"),
        ..request()
    };
    let launch = start(AgentKind::Opencode, &request);
    let settings = json_file(&launch, ".config/opencode/opencode.json");
    assert_eq!(settings["enabled_providers"], json!(["google"]));
    assert!(
        launch
            .env
            .contains(&("GOOGLE_GENERATIVE_AI_API_KEY".into(), KEY.into()))
    );
}

#[test]
fn a_model_of_a_provider_without_a_route_is_noted_when_configured_and_refused_when_asked_for() {
    let home = TempDir::new().unwrap();
    fs::create_dir(home.path().join(".codex")).unwrap();
    fs::write(
        home.path().join(".codex/config.toml"),
        "model = \"local-model\"\nmodel_provider = \"ollama\"\n",
    )
    .unwrap();
    let request = LaunchRequest {
        host_config: Some(home.path()),
        ..request()
    };
    let launch = start(AgentKind::Codex, &request);
    assert!(!launch.argv.contains(&"--model".to_owned()));
    assert!(
        launch.notes[0].contains("local-model"),
        "{:?}",
        launch.notes
    );

    let request = LaunchRequest {
        model: Some("ollama/x"),
        ..request
    };
    assert!(matches!(
        launch_error(AgentKind::Opencode, &request),
        AgentError::Model { model } if model == "ollama/x"
    ));
}

fn launch_error(kind: AgentKind, request: &LaunchRequest<'_>) -> AgentError {
    launch(&found(kind), request).unwrap_err()
}

#[test]
fn configuration_that_cannot_be_read_is_noted_and_does_not_stop_the_start() {
    let home = TempDir::new().unwrap();
    for directory in [".claude", ".codex", ".gemini", ".config/opencode"] {
        fs::create_dir_all(home.path().join(directory)).unwrap();
    }
    fs::write(home.path().join("secret"), "ELSEWHERE").unwrap();
    std::os::unix::fs::symlink("../secret", home.path().join(".claude/CLAUDE.md")).unwrap();
    fs::write(home.path().join(".codex/config.toml"), "model = ").unwrap();
    fs::write(home.path().join(".gemini/settings.json"), "// mine\n{}").unwrap();
    fs::write(home.path().join(".config/opencode/opencode.json"), b"\xff").unwrap();
    let request = LaunchRequest {
        host_config: Some(home.path()),
        ..request()
    };
    for kind in AgentKind::ALL {
        let launch = start(kind, &request);
        assert_eq!(launch.notes.len(), 1, "{kind}: {:?}", launch.notes);
        for file in &launch.files {
            assert!(
                !String::from_utf8_lossy(&file.content).contains("ELSEWHERE"),
                "{kind}"
            );
        }
    }
}

#[test]
fn requests_that_cannot_work_are_refused() {
    let kind = AgentKind::Claude;
    let request = request();
    let without = LaunchRequest {
        prompt: None,
        ..request.clone()
    };
    assert!(matches!(
        launch_error(kind, &without),
        AgentError::PromptMissing
    ));
    let long = "x".repeat(200 * 1024);
    for prompt in ["a\0b", long.as_str()] {
        let request = LaunchRequest {
            prompt: Some(prompt),
            ..request.clone()
        };
        assert!(matches!(
            launch_error(kind, &request),
            AgentError::Prompt { .. }
        ));
    }
    for model in ["", "--evil", "a b"] {
        let request = LaunchRequest {
            model: Some(model),
            ..request.clone()
        };
        assert!(matches!(
            launch_error(kind, &request),
            AgentError::Model { .. }
        ));
    }
}

#[test]
fn each_agent_knows_its_mcp_servers_by_its_own_settings() {
    let servers = [McpServer {
        name: "files".to_owned(),
        command: vec!["/opt/stockade/mcp".to_owned(), "files".to_owned()],
    }];
    let request = LaunchRequest {
        mcp_servers: &servers,
        ..request()
    };
    for (kind, path, place) in [
        (
            AgentKind::Claude,
            ".claude.json",
            "/mcpServers/files/args/0",
        ),
        (
            AgentKind::Gemini,
            ".gemini/settings.json",
            "/mcpServers/files/args/0",
        ),
        (
            AgentKind::Opencode,
            ".config/opencode/opencode.json",
            "/mcp/files/command/1",
        ),
        (
            AgentKind::Codex,
            ".codex/config.toml",
            "/mcp_servers/files/args/0",
        ),
    ] {
        let launch = start(kind, &request);
        let text = file(&launch, path).unwrap();
        let settings: Value = if kind == AgentKind::Codex {
            toml::from_str(text).unwrap()
        } else {
            serde_json::from_str(text).unwrap()
        };
        assert_eq!(
            settings.pointer(place),
            Some(&json!("files")),
            "{kind}: {text}"
        );
    }
}

#[test]
fn any_other_command_runs_as_it_is_written() {
    let argv = [
        "aider".to_owned(),
        "--message".to_owned(),
        "fix it".to_owned(),
    ];
    let launch = command(&argv).unwrap();
    assert_eq!(
        launch,
        Launch {
            argv: argv.to_vec(),
            ..Launch::default()
        }
    );
    assert!(matches!(command(&[]), Err(AgentError::CommandMissing)));
}

#[test]
fn a_placeholder_for_the_route_passes_for_the_real_thing() {
    let route = way(AgentKind::Claude, None, None);
    assert_eq!(
        (route.host, route.header),
        ("api.anthropic.com", "x-api-key")
    );
    assert!(
        route
            .shape
            .placeholder([7; 16])
            .starts_with("sk-ant-api03-")
    );
}

#[test]
fn claude_code_works_on_a_subscription_where_its_token_is_what_there_is() {
    const TOKEN: &str = "CLAUDE_CODE_OAUTH_TOKEN";
    let with = |model, there: &[&str]| {
        let route = route(AgentKind::Claude, model, None, |name| there.contains(&name));
        let route = route.unwrap();
        (route.key_variable, route.header, route.prefix)
    };
    let key = ("ANTHROPIC_API_KEY", "x-api-key", "");
    assert_eq!(with(None, &[TOKEN]), (TOKEN, "authorization", "Bearer "));
    assert_eq!(with(None, &["ANTHROPIC_API_KEY", TOKEN]), key);
    assert_eq!(with(None, &[]), key);
    let amazon = with(Some("us.anthropic.claude-sonnet-4-5-v1:0"), &[TOKEN]);
    assert_eq!(amazon.0, "AWS_SECRET_ACCESS_KEY");
    let opencode = route(AgentKind::Opencode, None, None, |name| name == TOKEN);
    assert_eq!(opencode.unwrap().key_variable, "ANTHROPIC_API_KEY");

    let request = LaunchRequest {
        key_variable: TOKEN,
        ..request()
    };
    let launch = start(AgentKind::Claude, &request);
    let has = |name: &str| launch.env.iter().any(|(own, _)| own == name);
    assert!(has(TOKEN) && !has("ANTHROPIC_API_KEY"));
}

#[test]
fn every_agent_asks_before_each_tool_call_by_settings_that_bind_it_where_it_has_such() {
    const CLIENT: &str = "/opt/place/hook";
    let places: [&[&str]; 4] = [
        &["/etc/claude-code/managed-settings.json"],
        &["/etc/codex/requirements.toml"],
        &[],
        &["/etc/opencode/stockade.js", "/etc/opencode/opencode.json"],
    ];
    for (kind, places) in AgentKind::ALL.into_iter().zip(places) {
        let asks = LaunchRequest {
            hook: Some(CLIENT),
            ..request()
        };
        let (plain, asks) = (start(kind, &request()), start(kind, &asks));
        assert_eq!(plain.managed, []);
        let paths: Vec<_> = asks.managed.iter().map(|file| file.path).collect();
        assert_eq!(paths, places, "{kind}");
        // All else is as it would be without.
        assert_eq!((&asks.argv, &asks.env), (&plain.argv, &plain.env), "{kind}");
        let own = kind == AgentKind::Gemini;
        assert_eq!(asks.files != plain.files, own, "{kind}");

        let event = match kind {
            AgentKind::Claude => {
                let settings: Value = serde_json::from_str(&asks.managed[0].content).unwrap();
                settings["hooks"]["PreToolUse"][0].clone()
            }
            AgentKind::Gemini => {
                let settings = json_file(&asks, ".gemini/settings.json");
                settings["hooks"]["BeforeTool"][0].clone()
            }
            AgentKind::Codex => {
                let settings: toml::Table = toml::from_str(&asks.managed[0].content).unwrap();
                let settings = serde_json::to_value(settings).unwrap();
                assert_eq!(settings["hooks"]["managed_dir"], "/opt/place");
                settings["hooks"]["PreToolUse"][0].clone()
            }
            AgentKind::Opencode => {
                let [plugin, settings] = &asks.managed[..] else {
                    panic!("{:?}", asks.managed);
                };
                let starts = format!("execFile(\"{CLIENT}\", [\"opencode\"]");
                assert!(plugin.content.contains(&starts), "{}", plugin.content);
                assert!(
                    settings
                        .content
                        .contains("file:///etc/opencode/stockade.js")
                );
                continue;
            }
        };
        let hook = &event["hooks"][0];
        assert_eq!(hook["command"], format!("{CLIENT} {kind}"));
        // Seconds, but for one that counts in thousandths.
        let timeout = if own { 30_000 } else { 30 };
        assert_eq!(
            (&hook["type"], &hook["timeout"]),
            (&json!("command"), &json!(timeout))
        );
    }
}
