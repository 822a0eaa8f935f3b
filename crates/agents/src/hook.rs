//! What agents tell before a tool call, and the answers that they understand.
//!
//! Their forms differ in names more than in shape. Fields and words that are not
//! known here are passed over: an agent's next release must still be answered.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use stockade_types::hook::{Answer, REFUSED};

use crate::kind::AgentKind;

/// The largest event that is read, in bytes.
pub const EVENT_MAX: usize = 8 << 20;

/// How many seconds an agent waits for its hook. The client inside answers sooner.
pub(crate) const PATIENCE: u32 = 30;

/// A tool call that is about to happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The agent's name for the tool.
    pub name: String,
    /// The agent's current folder, if it tells one.
    pub folder: Option<String>,
    /// What is called.
    pub tool: Tool,
}

/// What a tool call does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tool {
    /// Runs a text in a shell.
    Shell(String),
    /// Starts a program.
    Words(Vec<String>),
    /// Reads a file.
    Read(String),
    /// Writes or deletes files.
    Write(Vec<String>),
    /// Asks for an address.
    Fetch(String),
    /// Calls a tool of an MCP server, by the agent's name for it.
    Mcp(String),
    /// Anything else; the walls hold it.
    Other(String),
}

/// Why an event cannot be answered but by a no.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It is no JSON, or no object.
    #[error("the agent's event is no JSON object: {0}")]
    Form(String),
    /// It names no tool.
    #[error("the agent's event names no tool; was the hook set for another event?")]
    NoTool,
    /// A tool that runs something does not say what.
    #[error("the tool `{0}` does not say what it runs in a way that is understood")]
    NoCommand(String),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opinion {
    /// No objection; the agent's own settings decide.
    None,
    /// A person must decide.
    Ask(String),
    /// It must not happen.
    Deny(String),
}

impl ToolCall {
    /// Reads the event that any of the agents gives its hook.
    pub fn of_event(event: &[u8]) -> Result<Self, HookError> {
        let event: Map<String, Value> =
            serde_json::from_slice(event).map_err(|error| HookError::Form(error.to_string()))?;
        let name = ["tool_name", "toolName", "tool"]
            .iter()
            .find_map(|key| event.get(*key)?.as_str())
            .ok_or(HookError::NoTool)?;
        let input = ["tool_input", "toolArgs", "args"]
            .iter()
            .find_map(|key| event.get(*key));
        let folder = event.get("cwd").and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            name: name.to_owned(),
            folder,
            tool: tool(name, input.unwrap_or(&Value::Null))?,
        })
    }
}

fn tool(name: &str, input: &Value) -> Result<Tool, HookError> {
    let text = |keys: &[&str]| {
        let mut found = keys.iter().filter_map(|key| input.get(*key)?.as_str());
        found.next().map(str::to_owned)
    };
    let unsaid = || HookError::NoCommand(name.to_owned());
    let file = || {
        text(&[
            "file_path",
            "filePath",
            "absolute_path",
            "notebook_path",
            "path",
        ])
    };
    let lower = name.to_ascii_lowercase();
    Ok(match lower.as_str() {
        "bash" | "shell" | "local_shell" | "exec_command" | "run_shell_command" => {
            match input.get("command").or_else(|| input.get("cmd")) {
                Some(Value::String(text)) => Tool::Shell(text.clone()),
                Some(Value::Array(words)) => {
                    let words = words.iter().map(|word| word.as_str().map(str::to_owned));
                    Tool::Words(words.collect::<Option<_>>().ok_or_else(unsaid)?)
                }
                _ => return Err(unsaid()),
            }
        }
        "apply_patch" => {
            let patch = text(&["command", "input", "patch"]).ok_or_else(unsaid)?;
            Tool::Write(patched(&patch))
        }
        "write" | "edit" | "multiedit" | "notebookedit" | "write_file" | "replace" => {
            Tool::Write(vec![file().ok_or_else(unsaid)?])
        }
        "read" | "read_file" => Tool::Read(file().ok_or_else(unsaid)?),
        "webfetch" | "web_fetch" => match text(&["url"]) {
            Some(url) => Tool::Fetch(url),
            None => Tool::Other(name.to_owned()),
        },
        _ if lower.starts_with("mcp_") => Tool::Mcp(name.to_owned()),
        _ => Tool::Other(name.to_owned()),
    })
}

/// The files that a patch of Codex's form changes.
fn patched(patch: &str) -> Vec<String> {
    const HEADS: [&str; 4] = ["Add File: ", "Update File: ", "Delete File: ", "Move to: "];
    let heads = patch.lines().filter_map(|line| line.strip_prefix("*** "));
    heads
        .filter_map(|head| HEADS.iter().find_map(|kind| head.strip_prefix(kind)))
        .map(|path| path.trim().to_owned())
        .collect()
}

impl Opinion {
    /// This opinion in the form of `agent`. An agent that cannot ask is told no, with a
    /// reason that says what would help.
    pub fn answer(&self, agent: AgentKind) -> Answer {
        let (word, reason) = match self {
            Self::None => {
                return Answer {
                    code: 0,
                    output: String::new(),
                    error: String::new(),
                };
            }
            Self::Ask(reason) if agent == AgentKind::Claude => ("ask", reason),
            Self::Ask(reason) | Self::Deny(reason) => ("deny", reason),
        };
        let output = match agent {
            AgentKind::Claude | AgentKind::Codex => json!({ "hookSpecificOutput": {
                "hookEventName": "PreToolUse",
                "permissionDecision": word,
                "permissionDecisionReason": reason,
            } }),
            AgentKind::Gemini | AgentKind::Opencode => {
                json!({ "decision": word, "reason": reason })
            }
        };
        let (code, error) = match word {
            "deny" => (REFUSED, reason.clone()),
            _ => (0, String::new()),
        };
        Answer {
            code,
            output: output.to_string(),
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(event: &Value) -> Result<ToolCall, HookError> {
        ToolCall::of_event(event.to_string().as_bytes())
    }

    #[test]
    fn events_of_four_agents_are_read_whatever_else_is_in_them() {
        let claude = json!({ "session_id": "s", "cwd": "/w", "permission_mode": "of next year",
            "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": { "command": "ls" } });
        let read = call(&claude).unwrap();
        assert_eq!(read.folder.as_deref(), Some("/w"));
        assert_eq!(read.tool, Tool::Shell("ls".into()));
        let gemini = json!({ "tool_name": "run_shell_command", "tool_input": { "command": "ls" } });
        assert_eq!(call(&gemini).unwrap().tool, Tool::Shell("ls".into()));
        let opencode = json!({ "tool": "edit", "args": { "filePath": "/w/a" } });
        assert_eq!(
            call(&opencode).unwrap().tool,
            Tool::Write(vec!["/w/a".into()])
        );
        let codex = json!({ "tool_name": "shell", "tool_input": { "command": ["git", "push"] } });
        assert_eq!(
            call(&codex).unwrap().tool,
            Tool::Words(vec!["git".into(), "push".into()])
        );
        let patch = "*** Begin Patch\n*** Update File: a\n+x\n*** Add File: b/c\n*** End Patch";
        let codex = json!({ "tool_name": "apply_patch", "tool_input": { "command": patch } });
        let files = vec!["a".to_owned(), "b/c".to_owned()];
        assert_eq!(call(&codex).unwrap().tool, Tool::Write(files));
        let server = json!({ "tool_name": "mcp__files__delete", "tool_input": {} });
        assert_eq!(
            call(&server).unwrap().tool,
            Tool::Mcp("mcp__files__delete".into())
        );
    }

    #[test]
    fn what_is_not_understood_and_could_run_something_is_an_error() {
        for event in ["", "[]", "{}", r#"{"tool_name":"Bash"}"#] {
            assert!(ToolCall::of_event(event.as_bytes()).is_err(), "{event}");
        }
        let odd = json!({ "tool_name": "shell", "tool_input": { "command": ["sh", 1] } });
        assert!(call(&odd).is_err());
    }

    #[test]
    fn a_no_is_said_in_every_way_that_an_agent_may_look_for() {
        for agent in AgentKind::ALL {
            let reply = Opinion::Deny("because.".into()).answer(agent);
            assert_eq!((reply.code, reply.error.as_str()), (2, "because."));
            assert!(reply.output.contains("\"deny\"") && reply.output.contains("because."));
            let asked = Opinion::Ask("ask.".into()).answer(agent);
            assert_eq!(asked.code == 0, agent == AgentKind::Claude);
            assert_eq!(Opinion::None.answer(agent).output, "");
        }
    }
}
