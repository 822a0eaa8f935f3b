//! What a reply asks the agent to do, as far as it is capped.

use serde_json::Value;

use super::list;
use crate::{meter::Asked, settings::ModelApi};

/// Tools that run a command, as agents call them; in small letters.
const SHELLS: [&str; 16] = [
    "bash",
    "container.exec",
    "exec",
    "exec_command",
    "execute_bash",
    "execute_command",
    "local_shell",
    "powershell",
    "run_command",
    "run_in_terminal",
    "run_shell_command",
    "run_terminal_cmd",
    "shell",
    "shell_command",
    "terminal",
    "unified_exec",
];
/// Tools that start an agent of the agent's own.
const STARTERS: [&str; 10] = [
    "agent",
    "codebase_investigator",
    "delegate_to_agent",
    "dispatch_agent",
    "invoke_agent",
    "new_task",
    "run_subagent",
    "spawn_agent",
    "subagent",
    "task",
];

/// Marks of a call; what has none of them is not parsed for calls.
const MARKS: [&str; 7] = [
    "\"tool_use\"",
    "\"toolUse\"",
    "\"tool_calls\"",
    "\"function_call\"",
    "\"functionCall\"",
    "\"custom_tool_call\"",
    "_shell_call\"",
];

/// Whether there may be a call in the text of an event or document.
pub(super) fn may_ask(text: &str) -> bool {
    MARKS.iter().any(|mark| text.contains(mark))
}

/// The calls in one event of a stream, or in a whole reply.
pub(super) fn asked(api: ModelApi, value: &Value) -> Asked {
    let mut asked = Asked::default();
    let mut called = |name: &Value| {
        let name = name.as_str().unwrap_or_default().to_ascii_lowercase();
        asked.commands += u64::from(SHELLS.contains(&&*name));
        asked.subagents += u64::from(STARTERS.contains(&&*name));
    };
    match api {
        ModelApi::Anthropic => anthropic(value, &mut called),
        ModelApi::OpenAi => open_ai(value, &mut called),
        ModelApi::Gemini => {
            for candidate in list(value, "candidates") {
                for part in list(&candidate["content"], "parts") {
                    called(&part["functionCall"]["name"]);
                }
            }
        }
        ModelApi::Bedrock => {
            anthropic(value, &mut called);
            called(&value["start"]["toolUse"]["name"]);
            for part in list(&value["output"]["message"], "content") {
                called(&part["toolUse"]["name"]);
            }
        }
    }
    asked
}

fn anthropic(value: &Value, called: &mut impl FnMut(&Value)) {
    for block in list(value, "content").chain(value.get("content_block")) {
        if block["type"] == "tool_use" {
            called(&block["name"]);
        }
    }
}

fn open_ai(value: &Value, called: &mut impl FnMut(&Value)) {
    // In a stream each item is told when it is done, and all again at the end.
    let done = (value["type"] == "response.output_item.done")
        .then(|| value.get("item"))
        .flatten();
    for item in list(value, "output").chain(done) {
        match item["type"].as_str() {
            Some("function_call" | "custom_tool_call") => called(&item["name"]),
            Some("local_shell_call" | "shell_call") => called(&Value::from("shell")),
            _ => {}
        }
    }
    for choice in list(value, "choices") {
        for part in ["message", "delta"] {
            for call in list(&choice[part], "tool_calls") {
                // Only the first piece of a call has its name.
                called(&call["function"]["name"]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn commands_and_subagents_are_counted_in_each_api_whole_or_streamed() {
        use ModelApi::{Anthropic, Bedrock, Gemini, OpenAi};
        let both = Asked {
            commands: 1,
            subagents: 1,
        };
        let whole = [
            (
                Anthropic,
                json!({ "content": [{ "type": "tool_use", "name": "Bash" }, { "type": "tool_use", "name": "Task" },
                    { "type": "tool_use", "name": "Read" }, { "type": "text", "text": "Bash" }] }),
            ),
            (
                OpenAi,
                json!({ "output": [{ "type": "local_shell_call" }, { "type": "function_call", "name": "spawn_agent" }] }),
            ),
            (
                OpenAi,
                json!({ "choices": [{ "message": { "tool_calls": [
                    { "function": { "name": "bash" } }, { "function": { "name": "task" } }] } }] }),
            ),
            (
                Gemini,
                json!({ "candidates": [{ "content": { "parts": [
                    { "functionCall": { "name": "run_shell_command" } },
                    { "functionCall": { "name": "delegate_to_agent" } }] } }] }),
            ),
            (
                Bedrock,
                json!({ "output": { "message": { "content": [
                    { "toolUse": { "name": "Bash" } }, { "toolUse": { "name": "Agent" } }] } } }),
            ),
        ];
        for (api, reply) in whole {
            assert!(may_ask(&reply.to_string()), "{reply}");
            assert_eq!(asked(api, &reply), both, "{reply}");
        }
        let command = Asked {
            commands: 1,
            subagents: 0,
        };
        let events = [
            (
                Anthropic,
                json!({ "type": "content_block_start", "content_block": { "type": "tool_use", "name": "Bash" } }),
            ),
            (
                OpenAi,
                json!({ "type": "response.output_item.done", "item": { "type": "function_call", "name": "exec_command" } }),
            ),
            (
                OpenAi,
                json!({ "choices": [{ "delta": { "tool_calls": [{ "function": { "name": "shell" } }] } }] }),
            ),
            (
                Bedrock,
                json!({ "start": { "toolUse": { "name": "bash" } } }),
            ),
        ];
        for (api, event) in events {
            assert_eq!(asked(api, &event), command, "{event}");
        }
    }

    #[test]
    fn what_is_told_twice_or_written_about_counts_once_or_not_at_all() {
        let again = json!({ "type": "response.completed",
            "response": { "output": [{ "type": "function_call", "name": "shell" }] } });
        assert_eq!(asked(ModelApi::OpenAi, &again), Asked::default());
        let more = json!({ "choices": [{ "delta": { "tool_calls": [{ "function": { "arguments": "x" } }] } }] });
        assert_eq!(asked(ModelApi::OpenAi, &more), Asked::default());
        let text = json!({ "delta": { "text": "{\"type\":\"tool_use\",\"name\":\"Bash\"}" } });
        assert!(!may_ask(&text.to_string()));
    }
}
