//! What a tool call of an agent would do, and how the agent is told what is said of it.

use stockade_agents::Tool;
use stockade_policy::{Surroundings, effects_of_text, effects_of_words};
use stockade_types::{Effect, EffectKind};

/// What `tool` does: what the command does that is judged for it.
pub fn effects_of_tool(tool: &Tool, around: &Surroundings) -> Vec<Effect> {
    match tool {
        Tool::Shell(text) => effects_of_text(text, around),
        Tool::Mcp(name) => vec![Effect::new(EffectKind::McpCall, "mcp").on(name.as_str())],
        Tool::Other(_) => Vec::new(),
        Tool::Words(_) | Tool::Read(_) | Tool::Write(_) | Tool::Fetch(_) => {
            effects_of_words(&words_for(tool), around)
        }
    }
}

/// The command that is judged for `tool`, or the name of what is no command.
pub(crate) fn words_for(tool: &Tool) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match tool {
        Tool::Shell(text) => words(&["bash", "-c", text]),
        Tool::Words(words) => words.clone(),
        Tool::Read(file) => words(&["cat", "--", file]),
        Tool::Write(files) => {
            let files = files.iter().map(String::as_str);
            words(&["tee", "--"].into_iter().chain(files).collect::<Vec<_>>())
        }
        Tool::Fetch(url) => words(&["curl", "--", url]),
        Tool::Mcp(name) | Tool::Other(name) => words(&[name]),
    }
}

/// What an agent is told of a rule that speaks against a tool call.
pub fn objection(rule: &str, reason: &str, instead: Option<&str>) -> String {
    let instead = instead.map_or_else(String::new, |instead| format!(" Instead: {instead}"));
    format!("Stockade ({rule}): {reason}{instead}")
}
