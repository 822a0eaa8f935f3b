//! A model request and its answer, freed of the API they travel in.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

/// The APIs that the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// `POST /v1/messages`.
    AnthropicMessages,
    /// `POST /v1/responses`.
    OpenAiResponses,
    /// `POST /v1/chat/completions`.
    OpenAiChat,
    /// `POST /v1beta/models/M:generateContent` and `:streamGenerateContent`.
    Gemini,
}

/// What a tool gave back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToolResult {
    /// The text, of all parts together.
    pub text: String,
    /// Whether the client marked it as failed (not every API can say so).
    pub is_error: bool,
}

/// What a request asks for, and what came before it.
#[derive(Debug)]
pub(crate) struct ModelRequest {
    pub(crate) api: Api,
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// The tools that the client offers: name to JSON schema of the arguments.
    pub(crate) tools: BTreeMap<String, Value>,
    /// Those of them that stand in a namespace, as `namespace__tool`.
    pub(crate) namespaced: BTreeSet<String>,
    pub(crate) history: History,
    /// System and user text, to find the working directory in.
    pub(crate) prompt: String,
    /// The JSON schema that the answer must satisfy, if one is asked for.
    pub(crate) answer_schema: Option<Value>,
    /// Whether a stream ends with usage (Chat Completions makes it optional).
    pub(crate) reports_usage: bool,
}

impl ModelRequest {
    pub(crate) fn new(api: Api, model: &str, stream: bool) -> Self {
        Self {
            api,
            model: model.to_owned(),
            stream,
            tools: BTreeMap::new(),
            namespaced: BTreeSet::new(),
            history: History::default(),
            prompt: String::new(),
            answer_schema: None,
            reports_usage: true,
        }
    }

    pub(crate) fn add_prompt(&mut self, text: &str) {
        self.prompt.push_str(text);
        self.prompt.push('\n');
    }
}

/// How far a conversation has come, told from its own history: the server
/// remembers nothing, so retries, resumed and parallel sessions just work.
///
/// The ids of our tool calls name their turn, so a history that was shortened
/// (compaction) still tells where it stands.
#[derive(Debug, Default)]
pub(crate) struct History {
    marked: Option<usize>,
    plain: usize,
    open: Open,
    results: Vec<ToolResult>,
}

/// The assistant turn being read, if one is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Open {
    #[default]
    No,
    /// None of its calls is ours.
    Plain,
    /// A call of ours, made in this turn of the script.
    Marked(usize),
}

impl History {
    /// A piece of an assistant turn, with the id of a tool call if it is one.
    pub(crate) fn assistant(&mut self, call_id: Option<&str>) {
        if self.open == Open::No {
            self.results.clear();
        }
        let piece = call_id
            .and_then(turn_of_call_id)
            .map_or(Open::Plain, Open::Marked);
        self.open = self.open.max(piece);
    }

    /// Anything that is not the assistant's: its turn is over.
    pub(crate) fn other(&mut self) {
        (self.marked, self.plain) = self.position();
        self.open = Open::No;
    }

    /// The last marked turn and how many unmarked ones came after it.
    fn position(&self) -> (Option<usize>, usize) {
        match self.open {
            Open::No => (self.marked, self.plain),
            Open::Plain => (self.marked, self.plain.saturating_add(1)),
            Open::Marked(turn) => (self.marked.max(Some(turn)), 0),
        }
    }

    /// The result of a tool.
    pub(crate) fn result(&mut self, text: String, is_error: bool) {
        self.other();
        self.results.push(ToolResult { text, is_error });
    }

    /// The index of the turn that comes next.
    pub(crate) fn next_turn(&self) -> usize {
        let (marked, plain) = self.position();
        marked
            .map_or(0, |turn| turn.saturating_add(1))
            .saturating_add(plain)
    }

    /// The results since the last assistant turn.
    pub(crate) fn results(&self) -> &[ToolResult] {
        &self.results
    }
}

/// The id of the tool call of `turn`; `serial` makes it unique.
pub(crate) fn call_id(prefix: &str, turn: usize, serial: u64) -> String {
    format!("{prefix}turn{turn}_{serial:08x}")
}

fn turn_of_call_id(id: &str) -> Option<usize> {
    let (_, rest) = id.split_once("turn")?;
    let (digits, _) = rest.split_once('_')?;
    digits.parse().ok()
}

/// A call of one of the client's tools.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ToolCall {
    pub(crate) name: String,
    pub(crate) arguments: Value,
}

/// Token counts; `input` excludes the cache, `output` excludes reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Input tokens that no cache was involved in.
    pub input: u64,
    /// Input tokens read from the cache.
    pub cache_read: u64,
    /// Input tokens written to the cache.
    pub cache_write: u64,
    /// Output tokens, without reasoning.
    pub output: u64,
    /// Reasoning tokens.
    pub reasoning: u64,
}

impl Usage {
    /// All input, the cache included (OpenAI and Gemini count so).
    pub(crate) fn all_input(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write)
    }

    /// All output, reasoning included (OpenAI and Anthropic count so).
    pub(crate) fn all_output(&self) -> u64 {
        self.output.saturating_add(self.reasoning)
    }

    pub(crate) fn total(&self) -> u64 {
        self.all_input().saturating_add(self.all_output())
    }
}

/// What the server answers.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) text: String,
    pub(crate) call: Option<ToolCall>,
    pub(crate) usage: Usage,
    /// The script's turn; 0 for a side answer, which never calls a tool.
    pub(crate) turn: usize,
    /// Differs from answer to answer.
    pub(crate) serial: u64,
}

/// All text in a message's content, whatever form its parts have.
pub(crate) fn text_of(content: &Value) -> String {
    match content {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .map(text_of)
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join("\n"),
        Value::Object(part) => ["text", "output", "content", "result"]
            .iter()
            .find_map(|key| part.get(*key))
            .map_or_else(|| content.to_string(), text_of),
        Value::Bool(_) | Value::Number(_) => content.to_string(),
    }
}

/// The elements of an array; none if it is anything else.
pub(crate) fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_turn_follows_the_highest_marked_one_even_after_compaction() {
        let mut history = History::default();
        assert_eq!(history.next_turn(), 0);
        history.other();
        history.assistant(None);
        history.other();
        assert_eq!(history.next_turn(), 1);
        history.assistant(Some(&call_id("toolu_", 6, 1)));
        history.result("x".into(), false);
        assert_eq!(history.next_turn(), 7);
        history.assistant(None);
        assert_eq!(history.next_turn(), 8);
    }

    #[test]
    fn only_results_since_the_last_assistant_turn_count() {
        let mut history = History::default();
        history.assistant(Some("foreign"));
        history.result("old".into(), false);
        history.assistant(None);
        history.assistant(Some("foreign"));
        history.result("new".into(), true);
        assert_eq!(
            history.results(),
            [ToolResult {
                text: "new".into(),
                is_error: true
            }]
        );
        assert_eq!(history.next_turn(), 2);
    }

    #[test]
    fn an_id_that_a_client_made_up_does_no_harm() {
        let mut history = History::default();
        history.assistant(Some("turn99999999999999999999999_"));
        assert_eq!(history.next_turn(), 1);
        history.assistant(Some(&format!("turn{}_", usize::MAX)));
        assert_eq!(history.next_turn(), usize::MAX);
    }
}
