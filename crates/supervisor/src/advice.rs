//! Answers to agents' hooks, and the record of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use stockade_agents::{AgentKind, Opinion, Tool, ToolCall};
use stockade_audit::{RecordError, RecorderClient};
use stockade_types::{Event, EventKind, Verdict, visible};

use crate::{
    judge::{Advice, Judge, in_words},
    programs::shortened,
    tool::{objection, words_for},
};

/// How many are recorded one by one, so that a loop inside cannot fill the record.
const RECORDED_MAX: u32 = 16_384;
/// How many characters are kept of a name that came from inside.
const NAME_MAX: usize = 128;
/// How what the record has is known.
const KNOWN: &str = "told by the agent";

/// Says what agents' hooks are to answer. Clones share what they count.
#[derive(Clone)]
pub(crate) struct Adviser {
    judge: Judge,
    record: RecorderClient,
    /// Whether the agent's settings name a hook.
    is_set: bool,
    counts: Arc<Mutex<Counts>>,
}

/// What came, and what should have.
#[derive(Debug, Default)]
struct Counts {
    /// Tool calls that were told.
    told: u32,
    /// Those of them that run a command.
    commands: u64,
    /// Commands that the model asked for, as the gateway read its replies.
    asked: u64,
    /// How often the model was asked again since then, while none was told.
    silent: u32,
}

impl Adviser {
    pub(crate) fn new(judge: Judge, record: RecorderClient, is_set: bool) -> Self {
        Self {
            judge,
            record,
            is_set,
            counts: Arc::default(),
        }
    }

    /// A reply of the model asked for so many commands.
    pub(crate) fn asked(&self, commands: u64) {
        self.counts().asked += commands;
    }

    /// The agent asks its model again, when what the replies before asked for is done.
    /// A hook that told of none of it is noted, once.
    pub(crate) fn model_is_asked(&self) {
        let Some(asked) = self.counts().silence().filter(|_| self.is_set) else {
            return;
        };
        let reason = format!(
            "the model asked for commands ({asked}), and the agent's hook told of none: it is \
             switched off or broken; the walls hold without it."
        );
        let body = json!({ "tamper": true, "asked": asked, "refused": false,
            "rule": "hook.silent", "reason": reason });
        // Where nothing can be recorded, the task ends by itself.
        let _ = self.record.post(&Event::new(EventKind::Advice, body));
    }

    /// What `agent` is told of `call`, or of one that was not understood, and why. It
    /// is in the record's hands when this returns.
    pub(crate) fn advise(&self, agent: AgentKind, call: &Result<ToolCall, String>) -> Opinion {
        let runs = |call: &ToolCall| matches!(call.tool, Tool::Shell(_) | Tool::Words(_));
        if call.as_ref().is_ok_and(runs) {
            self.counts().commands += 1;
        }
        let advice = match call {
            Ok(call) => self.judge.tool_call(call),
            Err(reason) => not_understood(reason),
        };
        let mut body = told(agent, call.as_ref().ok());
        body["verdict"] = json!(advice.verdict);
        body["refused"] = json!(advice.refused);
        if let Some(rule) = &advice.rule {
            body["rule"] = json!(rule);
            body["reason"] = json!(advice.reason);
            body["instead"] = json!(advice.instead);
        }
        if let Err(error) = self.note(body) {
            return Opinion::Deny(format!("Stockade cannot record this tool call: {error}."));
        }
        if !advice.refused {
            return Opinion::None;
        }
        let rule = advice.rule.as_deref().unwrap_or_default();
        let instead = advice.instead.as_deref();
        Opinion::Deny(objection(rule, &advice.reason, instead))
    }

    fn note(&self, body: Value) -> Result<(), RecordError> {
        let before = {
            let mut counts = self.counts();
            counts.told = counts.told.saturating_add(1);
            counts.told - 1
        };
        let body = match before {
            0..RECORDED_MAX => body,
            RECORDED_MAX => json!({ "rule": "record.advice-limit",
                "reason": "further tool calls that are told are not recorded one by one" }),
            _ => return Ok(()),
        };
        // Nothing leaves by it, so that nobody waits for the disk.
        self.record.post(&Event::new(EventKind::Advice, body))
    }

    /// A thread that panicked left whole numbers behind.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// How many commands the model has asked for, when it is first clear that the hook
    /// told of none: at the second request since, as agents ask for small things beside
    /// what they work on.
    fn silence(&mut self) -> Option<u64> {
        if self.asked == 0 || self.commands > 0 {
            return None;
        }
        self.silent = self.silent.saturating_add(1);
        (self.silent == 2).then_some(self.asked)
    }
}

fn not_understood(reason: &str) -> Advice {
    Advice {
        verdict: Verdict::Deny,
        rule: Some("hook.event".to_owned()),
        reason: format!("this tool call cannot be judged: {reason}."),
        instead: None,
        refused: true,
    }
}

/// What was told, as the record keeps it: bounded.
fn told(agent: AgentKind, call: Option<&ToolCall>) -> Value {
    let Some(call) = call else {
        return json!({ "agent": agent, "known": KNOWN });
    };
    let words = words_for(&call.tool);
    let kept = shortened(&words);
    json!({
        "agent": agent,
        "tool": bounded(&call.name, NAME_MAX),
        "what": in_words(call),
        "argv": kept,
        "cut": kept != words,
        "cwd": call.folder.as_deref().map(|folder| bounded(folder, NAME_MAX)),
        "known": KNOWN,
    })
}

/// The beginning of `text`, without what could drive a terminal.
pub(crate) fn bounded(text: &str, most: usize) -> String {
    let kept: String = text.chars().take(most).collect();
    visible::line(kept.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_tells_of_no_command_is_noted_once_and_one_that_does_never() {
        let mut counts = Counts::default();
        assert_eq!(counts.silence(), None, "nothing was asked for");
        counts.asked = 2;
        assert_eq!(counts.silence(), None, "it may be asked beside the work");
        assert_eq!(counts.silence(), Some(2));
        assert_eq!(counts.silence(), None, "it is in the record");
        let mut counts = Counts {
            commands: 1,
            asked: 2,
            ..Counts::default()
        };
        assert_eq!([counts.silence(), counts.silence()], [None, None]);
    }

    #[test]
    fn what_the_record_keeps_of_a_tool_call_is_bounded_and_drives_no_terminal() {
        let call = ToolCall {
            name: "a\u{1b}[2J".repeat(10_000),
            folder: Some("x".repeat(10_000)),
            tool: Tool::Shell("y\u{1b}".repeat(100_000)),
        };
        let kept = told(AgentKind::Codex, Some(&call));
        assert!(kept.to_string().len() < 10_000);
        for name in ["tool", "what", "cwd"] {
            assert!(!kept[name].as_str().unwrap().contains('\u{1b}'), "{kept}");
        }
        assert_eq!(kept["cut"], true);
    }
}
