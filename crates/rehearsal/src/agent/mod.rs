//! The built-in agent: a plain loop around the Anthropic Messages API, for
//! machines that have no other agent. It is meant to run inside a sandbox:
//! it asks nobody and does whatever the model says.

mod client;
mod resolver;
mod tools;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use stockade_types::{Redacted, env};

use self::{client::Client, tools::Tools};
pub use self::{client::ClientError, resolver::ResolveError};
use crate::conversation::elements;

/// Where the model is, without a path; Anthropic's own address if not set.
pub const BASE_URL_VARIABLE: &str = "ANTHROPIC_BASE_URL";
/// The PEM file of the certificate authorities to trust.
pub const CERTIFICATES_VARIABLE: &str = "SSL_CERT_FILE";

const BASE_URL: &str = "https://api.anthropic.com";
const MODEL: &str = "claude-sonnet-4-5";
const TURNS_MAX: usize = 500;
const OUTPUT_TOKENS_MAX: u64 = 4096;
/// An approval may hold an answer for a while, so this is generous.
const REQUEST_TIME: Duration = Duration::from_mins(10);
const COMMAND_TIME: Duration = Duration::from_mins(2);

/// Why the agent stopped before its work was done.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No key in the environment.
    #[error("the agent needs an API key in {}", env::ANTHROPIC_API_KEY)]
    MissingKey,
    /// The model did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The model's answer is none.
    #[error("the model's answer is not a message: {0}")]
    Answer(String),
    /// The model stopped for another reason than that it was done.
    #[error("the model stopped early: {0}")]
    Stopped(String),
    /// More turns than the agent takes.
    #[error("the agent stops after {0} turns")]
    TurnLimit(usize),
    /// The transcript has nowhere to go.
    #[error("cannot write the transcript: {0}")]
    Transcript(#[source] io::Error),
}

/// What the agent needs to know.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// What the user asks for.
    pub prompt: String,
    /// Where the model is: scheme, host and port; `/v1/messages` is added.
    pub base_url: String,
    /// The key, sent as `x-api-key`.
    pub key: Redacted<String>,
    /// The PEM file of the certificate authorities to trust; the usual places
    /// are looked at if absent.
    pub certificates: Option<PathBuf>,
    /// The DNS servers to ask, in order.
    pub nameservers: Vec<SocketAddr>,
    /// Where the tools work.
    pub directory: PathBuf,
    /// What the tools see beside the agent's own environment.
    pub environment: BTreeMap<String, String>,
    /// The model to ask for.
    pub model: String,
    /// The most turns of the model.
    pub turns_max: usize,
    /// How long a request may take.
    pub request_time: Duration,
    /// How long a command may take.
    pub command_time: Duration,
}

impl AgentOptions {
    /// The defaults, for a model at `base_url`.
    pub fn new(prompt: &str, base_url: &str, key: &str, directory: &Path) -> Self {
        Self {
            prompt: prompt.to_owned(),
            base_url: base_url.to_owned(),
            key: Redacted::new(key.to_owned()),
            certificates: None,
            nameservers: Vec::new(),
            directory: directory.to_owned(),
            environment: BTreeMap::new(),
            model: MODEL.to_owned(),
            turns_max: TURNS_MAX,
            request_time: REQUEST_TIME,
            command_time: COMMAND_TIME,
        }
    }

    /// What the environment says, as `lookup` shows it, with the name servers
    /// of `/etc/resolv.conf`.
    pub fn from_environment(
        prompt: &str,
        directory: &Path,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, AgentError> {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let key = set(env::ANTHROPIC_API_KEY).ok_or(AgentError::MissingKey)?;
        let base_url = set(BASE_URL_VARIABLE).unwrap_or_else(|| BASE_URL.to_owned());
        Ok(Self {
            certificates: set(CERTIFICATES_VARIABLE).map(PathBuf::from),
            nameservers: resolver::system_nameservers(),
            ..Self::new(prompt, &base_url, &key, directory)
        })
    }
}

/// What the agent did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentReport {
    /// Turns of the model.
    pub turns: usize,
    /// Tools run.
    pub tool_calls: usize,
    /// Input tokens, as the model counted them, the cache included.
    pub input_tokens: u64,
    /// Output tokens, as the model counted them.
    pub output_tokens: u64,
}

/// Works on the prompt until the model says that it is done, and writes to
/// `transcript` what is said and done. Nothing is retried.
pub async fn run_agent(
    options: AgentOptions,
    transcript: &mut (dyn Write + Send),
) -> Result<AgentReport, AgentError> {
    let client = Client::new(&options)?;
    let tools = Tools::new(options.directory.clone(), options.command_time)
        .with_environment(options.environment.clone());
    let mut messages = vec![json!({"role": "user", "content": options.prompt})];
    let mut report = AgentReport::default();
    while report.turns < options.turns_max {
        let message = client.message(&request(&options, &messages)).await?;
        report.turns += 1;
        report.add_usage(&message["usage"]);
        let content = message["content"].clone();
        if !content.is_array() {
            return Err(AgentError::Answer("it has no content".to_owned()));
        }
        let mut results = Vec::new();
        for block in elements(&content) {
            if let Some(text) = block["text"].as_str() {
                say(transcript, "●", text)?;
            }
            if block["type"] == "tool_use" {
                report.tool_calls += 1;
                results.push(use_tool(&tools, block, transcript).await?);
            }
        }
        match message["stop_reason"].as_str() {
            Some("tool_use") if !results.is_empty() => {
                messages.push(json!({"role": "assistant", "content": content}));
                messages.push(json!({"role": "user", "content": results}));
            }
            Some("end_turn") => return Ok(report),
            reason => {
                return Err(AgentError::Stopped(
                    reason.unwrap_or("no reason given").to_owned(),
                ));
            }
        }
    }
    Err(AgentError::TurnLimit(options.turns_max))
}

impl AgentReport {
    fn add_usage(&mut self, usage: &Value) {
        let input = [
            "input_tokens",
            "cache_creation_input_tokens",
            "cache_read_input_tokens",
        ];
        for key in input {
            self.input_tokens = self
                .input_tokens
                .saturating_add(usage[key].as_u64().unwrap_or(0));
        }
        let output = usage["output_tokens"].as_u64().unwrap_or(0);
        self.output_tokens = self.output_tokens.saturating_add(output);
    }
}

fn request(options: &AgentOptions, messages: &[Value]) -> Value {
    let directory = options.directory.display();
    json!({
        "model": options.model,
        "max_tokens": OUTPUT_TOKENS_MAX,
        "system": format!("You are a coding agent without a user to ask.\nWorking directory: {directory}\n"),
        "tools": tools::offered(),
        "messages": messages,
    })
}

async fn use_tool(
    tools: &Tools,
    call: &Value,
    transcript: &mut (dyn Write + Send),
) -> Result<Value, AgentError> {
    say(transcript, "$", &tools::summary(call))?;
    let result = tools.run(call).await;
    say(transcript, " ", &result.text)?;
    Ok(json!({
        "type": "tool_result", "tool_use_id": call["id"],
        "content": result.text, "is_error": result.is_error,
    }))
}

/// Writes `text` behind `mark`. What commands print may hold escape sequences;
/// they are shown as the replacement character, not sent to the terminal.
fn say(transcript: &mut (dyn Write + Send), mark: &str, text: &str) -> Result<(), AgentError> {
    for line in text.lines() {
        let plain: String = line
            .chars()
            .map(|c| {
                if c.is_control() && c != '\t' {
                    char::REPLACEMENT_CHARACTER
                } else {
                    c
                }
            })
            .collect();
        writeln!(transcript, "{mark} {plain}").map_err(AgentError::Transcript)?;
    }
    transcript.flush().map_err(AgentError::Transcript)
}
