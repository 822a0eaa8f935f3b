//! What the task's policy says of a command before it starts, and of a request
//! before it leaves. One policy stands behind both.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};
use stockade_gateway::{Outgoing, PolicyRefusal};
use stockade_policy::{
    Asked, Decision, Dialogue, Finding, Policy, PolicyError, Surroundings, effects_of_request,
};
use stockade_types::{Denial, Effect, EffectKind, TaskId, Verdict};
use stockade_workspace::visible;

use crate::{error::SupervisorError, policy::TaskPolicy};

/// How many characters of a command a refusal repeats.
const SHOWN_MAX: usize = 160;

/// The rule that stands for rules that cannot be used.
const UNREAD: &str = "policy.error";

/// Who is asked where the policy wants a person's word.
pub(crate) trait Person: Send + Sync {
    /// Whether a person has granted `what`; if not, a sentence that says how it
    /// stands.
    fn grants(&self, what: &str, finding: &Finding) -> Result<(), String>;
}

/// Nobody can be asked.
pub(crate) struct Nobody;

impl Person for Nobody {
    fn grants(&self, _what: &str, _finding: &Finding) -> Result<(), String> {
        Err("A person must decide about it, and none can be asked from here.".to_owned())
    }
}

/// The policy of a task, for all that asks it. Clones share it.
#[derive(Clone)]
pub(crate) struct Judge(Arc<Court>);

/// Rules that are read when somebody first asks: they take memory and a start's
/// time, and many tasks never ask.
type Rules = Arc<LazyLock<Read, Box<dyn FnOnce() -> Read + Send>>>;
type Read = Result<Policy, PolicyError>;

struct Court {
    /// Replaced as a whole: who asks gets the old rules or the new ones.
    rules: RwLock<Rules>,
    task: TaskId,
    workspace: String,
    person: Box<dyn Person>,
}

/// A command that may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// With all that the task has.
    Free,
    /// With nothing outward.
    Contained(Contained),
}

/// Why a command runs with nothing outward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contained {
    /// The rule that says so.
    pub rule: String,
    /// Why it does.
    pub reason: String,
}

impl Judge {
    /// Judges by `policy`.
    pub(crate) fn new(policy: TaskPolicy, task: &TaskId, workspace: String) -> Self {
        let rules: Rules = Arc::new(LazyLock::new(Box::new(move || policy.compile())));
        Self(Arc::new(Court {
            rules: RwLock::new(rules),
            task: task.clone(),
            workspace,
            person: Box::new(Nobody),
        }))
    }

    /// Reads the rules now, and fails if one cannot stand.
    pub(crate) fn read_rules(&self) -> Result<(), SupervisorError> {
        match &**self.rules() {
            Ok(_) => Ok(()),
            Err(error) => Err(SupervisorError::Refused(error.to_string())),
        }
    }

    /// Judges by `policy` from now on.
    pub(crate) fn replace(&self, policy: Policy) {
        let mut rules = self.0.rules.write().unwrap_or_else(PoisonError::into_inner);
        *rules = Arc::new(LazyLock::new(Box::new(move || Ok(policy))));
    }

    fn rules(&self) -> Rules {
        let rules = self.0.rules.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&rules)
    }

    /// What is decided about `effects`; nothing if the rules cannot be used.
    fn decide(&self, effects: &[Effect], set_aside: impl Fn(&Effect) -> bool) -> Option<Decision> {
        let rules = self.rules();
        let policy = (**rules).as_ref().ok()?;
        Some(policy.decide_beside(effects, set_aside))
    }

    /// A shell in `folder` with these variables on top of the task's own, and what
    /// setting them would do.
    fn shell(&self, folder: &str, variables: &BTreeMap<String, String>) -> (Vec<Effect>, Dialogue) {
        let around = Surroundings {
            folder: folder.to_owned(),
            ..Surroundings::inside(&self.0.workspace)
        };
        let mut shell = Dialogue::new(around);
        let mut effects = Vec::new();
        for (name, value) in variables {
            let (more, after) = shell.variable(name, value);
            effects.extend(more);
            shell = after;
        }
        (effects, shell)
    }

    /// Whether a program may be started with `words`.
    pub(crate) fn command(
        &self,
        words: &[String],
        folder: &str,
        variables: &BTreeMap<String, String>,
    ) -> Result<Admitted, Box<Denial>> {
        let (mut effects, shell) = self.shell(folder, variables);
        effects.extend(shell.words(words));
        let text = match words {
            [_, option, text] if option == "-c" => text.clone(),
            words => words.join(" "),
        };
        self.admit(&effects, &text)
    }

    /// Whether a session may be opened with `variables`; its shell as it begins.
    pub(crate) fn session(
        &self,
        folder: &str,
        variables: &BTreeMap<String, String>,
    ) -> Result<Dialogue, Box<Denial>> {
        let (effects, shell) = self.shell(folder, variables);
        let names: Vec<&str> = variables.keys().map(String::as_str).collect();
        let text = format!("export {}", names.join(" "));
        self.in_session(&effects, &text).map(|()| shell)
    }

    /// Whether the shell of a session may run `text`; the shell after it.
    pub(crate) fn text(&self, shell: &Dialogue, text: &str) -> Result<Dialogue, Box<Denial>> {
        let (effects, after) = shell.text(text);
        self.in_session(&effects, text).map(|()| after)
    }

    /// A session has the task's network, and so has every text of it.
    fn in_session(&self, effects: &[Effect], text: &str) -> Result<(), Box<Denial>> {
        let admitted = self.admit(effects, text)?;
        admitted.with_network(
            text,
            "A session's shell shares the network of its task, so that no text of it can go without.",
        )
    }

    /// Whether a program may be started at a terminal of the sandbox.
    pub(crate) fn at_terminal(&self, words: &[String], folder: &str) -> Result<(), Box<Denial>> {
        let admitted = self.command(words, folder, &BTreeMap::new())?;
        admitted.with_network(
            &words.join(" "),
            "A command at a terminal shares the network of its task.",
        )
    }

    fn admit(&self, effects: &[Effect], text: &str) -> Result<Admitted, Box<Denial>> {
        let what = running(text);
        let Some(decision) = self.decide(effects, |_| false) else {
            return Err(Box::new(Denial {
                what,
                rule: UNREAD.to_owned(),
                reason: "the task's rules cannot be used.".to_owned(),
                instead: None,
                allow: None,
            }));
        };
        let mut admitted = Admitted::Free;
        for finding in &decision.findings {
            let reason = match finding.verdict {
                Verdict::Contain if admitted == Admitted::Free => {
                    admitted = Admitted::Contained(Contained {
                        rule: rule_of(finding),
                        reason: finding.reason.clone(),
                    });
                    continue;
                }
                Verdict::Allow | Verdict::Contain => continue,
                Verdict::Ask => match self.0.person.grants(&what, finding) {
                    Ok(()) => continue,
                    Err(stands) => format!("{} {stands}", finding.reason),
                },
                Verdict::Deny => finding.reason.clone(),
            };
            return Err(Box::new(Denial {
                what,
                rule: rule_of(finding),
                reason,
                instead: finding.instead.clone(),
                allow: Some(format!("stockade exec {} --no-policy …", self.0.task)),
            }));
        }
        Ok(admitted)
    }

    /// Whether a request may leave that a rule for hosts lets pass. That rule, which
    /// a person has agreed to, speaks for Stockade's own rules about reaching and
    /// sending; the rules of people and of the repository hold beside it, and so do
    /// all rules about pushing and publishing.
    pub(crate) fn request(&self, outgoing: &Outgoing) -> Result<(), PolicyRefusal> {
        let effects = effects_of_request(&Asked {
            host: &outgoing.host,
            method: &outgoing.method,
            path: &outgoing.path,
            query: &outgoing.query,
            of_model: outgoing.of_model,
        });
        let ruled =
            |effect: &Effect| matches!(effect.kind, EffectKind::NetConnect | EffectKind::NetUpload);
        let Some(decision) = self.decide(&effects, ruled) else {
            return Err(PolicyRefusal::unanswered());
        };
        let what = format!("send {} {}", outgoing.method, outgoing.host);
        for finding in decision.findings {
            let reason = match finding.verdict {
                Verdict::Allow => continue,
                Verdict::Ask => match self.0.person.grants(&what, &finding) {
                    Ok(()) => continue,
                    Err(stands) => format!("{} {stands}", finding.reason),
                },
                // It is outward itself.
                Verdict::Contain | Verdict::Deny => finding.reason.clone(),
            };
            return Err(PolicyRefusal {
                rule: rule_of(&finding),
                reason,
                instead: finding.instead,
            });
        }
        Ok(())
    }
}

impl Admitted {
    /// Refuses what may only run without a network where there is one; `because`
    /// says why there is.
    fn with_network(self, text: &str, because: &str) -> Result<(), Box<Denial>> {
        match self {
            Self::Free => Ok(()),
            Self::Contained(contained) => Err(Box::new(Denial {
                what: running(text),
                rule: contained.rule,
                reason: format!("{} {because}", contained.reason),
                instead: Some(
                    "Run it as a command of its own, without a terminal: that gets a sandbox \
                     without a network."
                        .to_owned(),
                ),
                allow: None,
            })),
        }
    }
}

fn rule_of(finding: &Finding) -> String {
    finding.rules.first().cloned().unwrap_or_default()
}

fn running(text: &str) -> String {
    let mut shown: String = visible::line(text.as_bytes())
        .chars()
        .take(SHOWN_MAX)
        .collect();
    if text.chars().count() > SHOWN_MAX {
        shown.push('…');
    }
    format!("run `{shown}`")
}

#[cfg(test)]
mod tests;
