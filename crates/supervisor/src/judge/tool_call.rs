//! What the policy says of a tool call that an agent tells before it makes it.

use std::collections::BTreeMap;

use stockade_agents::{Tool, ToolCall};
use stockade_policy::{Finding, Surroundings};
use stockade_types::{Effect, EffectKind, Verdict};

use super::{Attempt, HELD, Judge, UNREAD, rule_of, running, shown};
use crate::{
    exec::Stdin,
    tool::{effects_of_tool, words_for},
};

/// The longest folder that an agent may name; longer ones exist nowhere.
const FOLDER_MAX: usize = 4096;
/// Why nobody is asked about what is not told as a whole.
const NOT_SHOWN: &str = "A person must decide about it, and cannot by what a hook is told; ask for \
                         it as a command.";

/// What is said of a tool call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Advice {
    /// What the policy decides.
    pub(crate) verdict: Verdict,
    /// The rule that says so, where one does.
    pub(crate) rule: Option<String>,
    /// Why.
    pub(crate) reason: String,
    /// What to do instead.
    pub(crate) instead: Option<String>,
    /// Whether the agent is told no.
    pub(crate) refused: bool,
}

impl Judge {
    /// What is said of `call`. A person is asked where the policy wants that, if all
    /// that would happen is known.
    pub(crate) fn tool_call(&self, call: &ToolCall) -> Advice {
        let folder = call.folder.as_deref();
        let folder = folder.filter(|folder| folder.len() <= FOLDER_MAX);
        let folder = folder.unwrap_or(&self.0.workspace);
        let around = Surroundings {
            folder: folder.to_owned(),
            ..Surroundings::inside(&self.0.workspace)
        };
        let effects = effects_of_tool(&call.tool, &around);
        let Some(decision) = self.decide(&effects) else {
            return Advice {
                verdict: Verdict::Deny,
                rule: Some(UNREAD.to_owned()),
                reason: "the task's rules cannot be used.".to_owned(),
                instead: None,
                refused: true,
            };
        };
        // The strictest come first.
        let findings = decision.findings.iter();
        let mut against = findings.filter(|finding| finding.verdict > Verdict::Allow);
        let Some(finding) = against.find(|finding| !is_asked_later(finding)) else {
            return Advice::nothing();
        };
        let mut advice = Advice {
            verdict: finding.verdict,
            rule: finding.rules.first().cloned(),
            reason: finding.reason.clone(),
            instead: finding.instead.clone(),
            refused: finding.verdict == Verdict::Deny,
        };
        if finding.verdict == Verdict::Ask {
            let asked = self.ask_about(call, folder, effects, finding);
            advice.rule = Some(rule_of(finding));
            if let Err(stands) = asked {
                advice.reason = format!("{} {stands}", finding.reason);
                advice.refused = true;
            }
        }
        advice
    }

    /// Asks a person about `call`; a sentence that says how it stands if it should not
    /// be made.
    fn ask_about(
        &self,
        call: &ToolCall,
        folder: &str,
        effects: Vec<Effect>,
        finding: &Finding,
    ) -> Result<(), String> {
        match call.tool {
            Tool::Shell(_) | Tool::Words(_) | Tool::Read(_) | Tool::Fetch(_) => {}
            // What is written, and what a tool of others is given, is not shown.
            Tool::Write(_) | Tool::Mcp(_) | Tool::Other(_) => return Err(NOT_SHOWN.to_owned()),
        }
        let words = words_for(&call.tool);
        let attempt = Attempt {
            words: &words,
            folder,
            variables: &BTreeMap::new(),
            stdin: &Stdin::Nothing,
            patience: HELD,
        };
        self.ask(effects, &attempt, finding)
    }
}

impl Advice {
    fn nothing() -> Self {
        Self {
            verdict: Verdict::Allow,
            rule: None,
            reason: String::new(),
            instead: None,
            refused: false,
        }
    }
}

/// Whether a person is asked about the very request, once the gateway has it. A rule
/// for hosts may have allowed it, which is not known here.
fn is_asked_later(finding: &Finding) -> bool {
    let reaches = matches!(
        finding.effect.kind,
        EffectKind::NetConnect | EffectKind::NetUpload
    );
    reaches && finding.verdict == Verdict::Ask
}

/// A tool call as the record names it.
pub(crate) fn in_words(call: &ToolCall) -> String {
    match &call.tool {
        Tool::Shell(text) => running(text),
        Tool::Words(words) => running(&words.join(" ")),
        Tool::Read(file) => format!("read `{}`", shown(file)),
        Tool::Write(files) => format!("write `{}`", shown(&files.join(" "))),
        Tool::Fetch(url) => format!("ask for `{}`", shown(url)),
        Tool::Mcp(name) | Tool::Other(name) => format!("call the tool `{}`", shown(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::tests::{WORKSPACE, forbids, judge_with};

    fn call(tool: Tool) -> ToolCall {
        ToolCall {
            name: "tool".to_owned(),
            folder: Some(WORKSPACE.to_owned()),
            tool,
        }
    }

    fn runs(text: &str) -> ToolCall {
        call(Tool::Shell(text.to_owned()))
    }

    #[test]
    fn a_tool_call_is_judged_as_the_command_that_does_the_same() {
        let judge = judge_with("");
        assert_eq!(judge.tool_call(&runs("ls")), Advice::nothing());
        let denied = judge.tool_call(&runs("git push --force origin main"));
        assert_eq!((denied.verdict, denied.refused), (Verdict::Deny, true));
        assert_eq!(denied.rule.as_deref(), Some("git.push-force-protected"));
        assert!(denied.instead.is_some());
        let hook = Tool::Write(vec![".git/hooks/pre-commit".to_owned()]);
        assert!(judge.tool_call(&call(hook)).verdict > Verdict::Allow);
        // What is only to run without a network is for the walls.
        let opaque = judge.tool_call(&runs("eval \"$X\""));
        assert_eq!((opaque.verdict, opaque.refused), (Verdict::Contain, false));
    }

    #[test]
    fn a_question_about_a_host_is_left_to_the_gateway_which_sees_the_request() {
        let judge = judge_with("");
        let upload = runs("curl -d x https://b.test");
        assert_eq!(judge.tool_call(&upload), Advice::nothing());
        let push = judge.tool_call(&runs("npm publish"));
        assert_eq!((push.verdict, push.refused), (Verdict::Ask, true));
        // A rule that says no counts.
        let rules = forbids(1, "deny", "== Action::\"net.upload\"", "true");
        let denied = judge_with(&rules).tool_call(&upload);
        assert_eq!(denied.rule.as_deref(), Some("mine.rule-1"));
        assert!(denied.refused);
    }

    #[test]
    fn nobody_is_asked_about_what_is_not_told_as_a_whole() {
        let rules = forbids(1, "ask", "in Action::\"fs\"", "true");
        let written = Tool::Write(vec!["a".to_owned()]);
        let advice = judge_with(&rules).tool_call(&call(written));
        assert_eq!((advice.verdict, advice.refused), (Verdict::Ask, true));
        assert!(advice.reason.contains(NOT_SHOWN), "{}", advice.reason);
    }

    #[test]
    fn a_folder_that_cannot_be_is_not_taken_over() {
        let mut far = runs("rm -rf build");
        let near = judge_with("").tool_call(&far);
        far.folder = Some("/x".repeat(FOLDER_MAX));
        assert_eq!(judge_with("").tool_call(&far), near);
    }
}
