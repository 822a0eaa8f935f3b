use std::path::{Path, PathBuf};

use crate::{
    error::AgentError,
    find::Found,
    host_config::{HostConfig, is_name},
    kind::AgentKind,
    route::RouteTemplate,
};

/// The longest prompt, in bytes. Linux takes 128 KiB for one argument.
const MAX_PROMPT_BYTES: usize = 100 * 1024;

/// Whether somebody watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nobody: the agent works on the prompt and ends.
    Headless,
    /// A person, at a terminal of the agent's own.
    Interactive,
}

/// How an agent shall be started.
#[derive(Clone, Debug)]
pub struct LaunchRequest<'a> {
    /// What it shall do; needed when nobody watches.
    pub prompt: Option<&'a str>,
    /// Whether somebody watches.
    pub mode: Mode,
    /// Whether it goes on with its last session in the same home.
    pub resume: bool,
    /// The model; without one the user's configuration decides, then the agent.
    pub model: Option<&'a str>,
    /// The host's variable with the key, of the route.
    pub key_variable: &'a str,
    /// What stands for that key inside, or for its id where requests are signed.
    pub placeholder: &'a str,
    /// The region of a model host that has one.
    pub region: Option<&'a str>,
    /// `HOME` inside. It must not lie under `/tmp`: Codex then goes without
    /// its helper programs.
    pub home: &'a Path,
    /// The working directory inside.
    pub workspace: &'a Path,
    /// The user's real home, to take model, theme and instruction files from.
    pub host_config: Option<&'a Path>,
    /// The program inside that the agent asks before each tool call, if it does; a
    /// path without blanks.
    pub hook: Option<&'a str>,
    /// Its MCP servers beside those that the project has.
    pub mcp_servers: &'a [McpServer],
}

/// An MCP server that the agent starts as a program of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpServer {
    /// How its tools are called: letters, digits, `-` and `_`.
    pub name: String,
    /// Program and arguments, as paths inside.
    pub command: Vec<String>,
}

impl McpServer {
    /// The program, and its arguments.
    pub(crate) fn parts(&self) -> (&str, &[String]) {
        let (program, arguments) = self.command.split_first().unzip();
        (
            program.map_or("", String::as_str),
            arguments.unwrap_or_default(),
        )
    }

    /// Servers by name in JSON, each as program and arguments.
    pub(crate) fn json(servers: &[Self]) -> serde_json::Value {
        let entry = |server: &Self| {
            let (command, args) = server.parts();
            let entry = serde_json::json!({ "command": command, "args": args });
            (server.name.clone(), entry)
        };
        servers
            .iter()
            .map(entry)
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// A file that is written into the private home before the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeFile {
    /// Its place, relative to the home directory, without `..`.
    pub path: PathBuf,
    /// Its content.
    pub content: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
}

impl HomeFile {
    pub(crate) fn new(path: PathBuf, content: Vec<u8>) -> Self {
        Self {
            path,
            content,
            mode: 0o600,
        }
    }

    pub(crate) fn json(path: &'static str, value: &serde_json::Value) -> Result<Self, AgentError> {
        let mut content =
            serde_json::to_vec_pretty(value).map_err(|error| AgentError::Compose {
                file: path,
                source: Box::new(error),
            })?;
        content.push(b'\n');
        Ok(Self::new(path.into(), content))
    }

    pub(crate) fn toml(path: &'static str, table: &toml::Table) -> Result<Self, AgentError> {
        let text = toml::to_string(table).map_err(|error| AgentError::Compose {
            file: path,
            source: Box::new(error),
        })?;
        Ok(Self::new(path.into(), text.into_bytes()))
    }
}

/// A file of settings that bind the agent whatever else it reads. Nothing inside can
/// change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedFile {
    /// Its place inside, absolute.
    pub path: &'static str,
    /// Its content.
    pub content: String,
}

impl ManagedFile {
    /// Settings in JSON.
    pub(crate) fn json(path: &'static str, value: &serde_json::Value) -> Self {
        Self {
            path,
            content: format!("{value:#}\n"),
        }
    }
}

/// Everything that the sandbox needs to start an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments, as paths inside.
    pub argv: Vec<String>,
    /// Variables to add to the sandbox's own.
    pub env: Vec<(String, String)>,
    /// Files to write into the private home.
    pub files: Vec<HomeFile>,
    /// Settings that exist only inside, read-only.
    pub managed: Vec<ManagedFile>,
    /// Which of the agent's own guards are off, for the contract.
    pub inner_switches: Vec<String>,
    /// Variables, besides the usual ones, that must name the CA bundle.
    pub ca_variables: Vec<&'static str>,
    /// Whether it takes what arrives on its standard input as part of the
    /// prompt. It must then get an empty one, or it waits for ever.
    pub reads_stdin: bool,
    /// What of the user's configuration was not taken over, and why.
    pub notes: Vec<String>,
}

impl Launch {
    pub(crate) fn arguments<const N: usize>(&mut self, arguments: [&str; N]) {
        self.argv.extend(arguments.map(str::to_owned));
    }

    pub(crate) fn variables<const N: usize>(&mut self, variables: [(&str, &str); N]) {
        self.env
            .extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    /// The variables of a key that signs, with what stands for it.
    pub(crate) fn amazon(&mut self, request: &LaunchRequest<'_>) {
        let region = request.region.unwrap_or_default();
        let variables = RouteTemplate::amazon_variables(request.placeholder, region);
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        self.env.extend(variables);
    }

    pub(crate) fn switches<const N: usize>(&mut self, switches: [&str; N]) {
        self.inner_switches.extend(switches.map(str::to_owned));
    }
}

/// Says how the agent that was found is started.
///
/// The agent's approvals and its own sandbox are off in the result: start it
/// nowhere but inside.
pub fn launch(found: &Found, request: &LaunchRequest<'_>) -> Result<Launch, AgentError> {
    check(request)?;
    let agent = found.kind.agent();
    let mut config = HostConfig::new(request.host_config);
    let model = chosen_model(found.kind, request.model, &mut config)?;
    let mut launch = Launch {
        argv: found.program.clone(),
        reads_stdin: request.mode == Mode::Headless,
        ..Launch::default()
    };
    agent.prepare(request, model.as_deref(), &mut config, &mut launch)?;
    if let Some(client) = request.hook {
        launch.managed = agent.hooks(client)?;
    }
    launch.notes = config.into_notes();
    Ok(launch)
}

/// Where the agent's requests go, for the model and configuration of [`launch`]: by a
/// key, or by a subscription where of the host's variables only that one is set.
pub fn route(
    kind: AgentKind,
    model: Option<&str>,
    host_config: Option<&Path>,
    is_set: impl Fn(&str) -> bool,
) -> Result<RouteTemplate, AgentError> {
    let model = chosen_model(kind, model, &mut HostConfig::new(host_config))?;
    let agent = kind.agent();
    let by_key = agent.api(model.as_deref()).route();
    if is_set(by_key.key_variable) {
        return Ok(by_key);
    }
    let subscription = agent.subscription_route(by_key.api);
    let subscription = subscription.filter(|route| is_set(route.key_variable));
    Ok(subscription.unwrap_or(by_key))
}

/// Says how any other program is started: as it is written, with no route, no
/// key and no files.
pub fn command(argv: &[String]) -> Result<Launch, AgentError> {
    if argv.first().is_none_or(String::is_empty) {
        return Err(AgentError::CommandMissing);
    }
    Ok(Launch {
        argv: argv.to_vec(),
        ..Launch::default()
    })
}

fn check(request: &LaunchRequest<'_>) -> Result<(), AgentError> {
    match request.prompt {
        None if request.mode == Mode::Headless => Err(AgentError::PromptMissing),
        Some(prompt) if prompt.len() > MAX_PROMPT_BYTES || prompt.contains('\0') => {
            Err(AgentError::Prompt {
                bytes: prompt.len(),
                limit: MAX_PROMPT_BYTES,
            })
        }
        _ => Ok(()),
    }
}

fn chosen_model(
    kind: AgentKind,
    asked: Option<&str>,
    config: &mut HostConfig<'_>,
) -> Result<Option<String>, AgentError> {
    match asked {
        Some(model) if is_name(model) => Ok(Some(model.to_owned())),
        Some(model) => Err(AgentError::Model {
            model: model.to_owned(),
        }),
        None => Ok(kind.agent().configured_model(config)),
    }
}
