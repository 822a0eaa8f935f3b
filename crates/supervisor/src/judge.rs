//! What the task's policy says of a command before it starts, and of a request
//! before it leaves. One policy stands behind both, and behind what is said of an
//! agent's tool calls.

mod tool_call;

pub(crate) use self::tool_call::{Advice, in_words};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, LazyLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use stockade_approval::{Action, Because, Outcome, Question};
use stockade_gateway::{Outgoing, PolicyAnswer, PolicyRule};
use stockade_policy::{
    Asked, Decision, Dialogue, Finding, Policy, PolicyError, Surroundings, effects_of_request,
};
use stockade_types::{Denial, Effect, EffectKind, TaskId, Verdict, visible};

use crate::{
    approvals::Approvals, error::SupervisorError, exec::Stdin, mcp::FirewallSettings,
    policy::TaskPolicy,
};

/// How many characters of a command a refusal repeats.
const SHOWN_MAX: usize = 160;

/// The rule that stands for rules that cannot be used.
const UNREAD: &str = "policy.error";

/// Why nobody decides where the policy wants a person's word.
const ASKS_NOBODY: &str =
    "A person must decide about it, and this task asks nobody: it was started without `--ask`.";
/// How long a command is held for an answer, as long as a request is.
pub(crate) const HELD: Duration = Duration::from_secs(4);

/// Who is asked where the policy wants a person's word.
pub(crate) trait Person: Send + Sync {
    /// What they say of `question`, within `patience`.
    fn asked(&self, question: &Question, patience: Duration) -> Outcome;
}

impl Person for Approvals {
    fn asked(&self, question: &Question, patience: Duration) -> Outcome {
        self.ask_and_wait(question, patience)
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
    /// Whether no rules but Stockade's own are there, which forbid no tool of MCP by name.
    is_plain: AtomicBool,
    /// Replaced as a whole: who asks gets the old rules or the new ones.
    rules: RwLock<Rules>,
    task: TaskId,
    workspace: String,
    /// Nobody is asked without it.
    person: Option<Arc<dyn Person>>,
}

/// A command that somebody wants to start.
pub(crate) struct Attempt<'a> {
    /// Program and arguments.
    pub(crate) words: &'a [String],
    /// Where it would run.
    pub(crate) folder: &'a str,
    /// Variables on top of the task's own.
    pub(crate) variables: &'a BTreeMap<String, String>,
    /// What it reads.
    pub(crate) stdin: &'a Stdin,
    /// How long it may be held for a person's answer.
    pub(crate) patience: Duration,
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
    /// Judges by `policy`, and asks `person` where it wants a person's word.
    pub(crate) fn new(
        policy: TaskPolicy,
        task: &TaskId,
        workspace: String,
        person: Option<Arc<dyn Person>>,
    ) -> Self {
        let is_plain = AtomicBool::new(policy.is_stockades_own());
        let rules: Rules = Arc::new(LazyLock::new(Box::new(move || read(&policy))));
        Self(Arc::new(Court {
            is_plain,
            rules: RwLock::new(rules),
            task: task.clone(),
            workspace,
            person,
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
        self.0.is_plain.store(false, Ordering::Release);
        let mut rules = self.0.rules.write().unwrap_or_else(PoisonError::into_inner);
        *rules = Arc::new(LazyLock::new(Box::new(move || Ok(policy))));
    }

    fn rules(&self) -> Rules {
        let rules = self.0.rules.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&rules)
    }

    /// What is decided about `effects`; nothing if the rules cannot be used.
    fn decide(&self, effects: &[Effect]) -> Option<Decision> {
        let rules = self.rules();
        let policy = (**rules).as_ref().ok()?;
        Some(policy.decide(effects))
    }

    /// `settings` of the MCP server `name`, without the tools that may not be called.
    pub(crate) fn mcp_tools(&self, mut settings: FirewallSettings, name: &str) -> FirewallSettings {
        settings.forbidden = self.forbidden_tools(name, settings.tools());
        settings
    }

    /// Which of `tools` of the MCP server `server` the rules forbid, and why. Nobody is
    /// asked about them yet: what is to be asked about is forbidden too.
    pub(crate) fn forbidden_tools<'t>(
        &self,
        server: &str,
        tools: impl Iterator<Item = &'t str>,
    ) -> BTreeMap<String, String> {
        if self.0.is_plain.load(Ordering::Acquire) {
            return BTreeMap::new();
        }
        let mut forbidden = BTreeMap::new();
        for tool in tools {
            let effect = Effect::new(EffectKind::McpCall, "mcp").on(format!("{server}/{tool}"));
            let against = match self.decide(&[effect]) {
                None => Some("the rules cannot be used".to_owned()),
                Some(decision) => {
                    let mut findings = decision.findings.iter();
                    let found = findings.find(|finding| finding.verdict > Verdict::Allow);
                    found.map(|finding| format!("{} ({})", finding.reason, rule_of(finding)))
                }
            };
            forbidden.extend(against.map(|why| (tool.to_owned(), why)));
        }
        forbidden
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

    /// Whether a command may start.
    pub(crate) fn command(&self, attempt: &Attempt<'_>) -> Result<Admitted, Box<Denial>> {
        let (mut effects, shell) = self.shell(attempt.folder, attempt.variables);
        effects.extend(shell.words(attempt.words));
        self.admit(effects, attempt)
    }

    /// Whether a session may be opened in `folder` with `variables`; its shell as it
    /// begins.
    pub(crate) fn session(
        &self,
        folder: &str,
        variables: &BTreeMap<String, String>,
    ) -> Result<Dialogue, Box<Denial>> {
        let (effects, shell) = self.shell(folder, variables);
        let words = ["export".to_owned()].into_iter();
        let words: Vec<String> = words.chain(variables.keys().cloned()).collect();
        let attempt = Attempt {
            words: &words,
            folder,
            variables,
            stdin: &Stdin::Nothing,
            patience: HELD,
        };
        self.in_session(effects, &attempt).map(|()| shell)
    }

    /// Whether the shell of a session may run `text`; the shell after it.
    pub(crate) fn text(&self, shell: &Dialogue, text: &str) -> Result<Dialogue, Box<Denial>> {
        let (effects, after) = shell.text(text);
        let attempt = Attempt {
            words: &[text.to_owned()],
            folder: shell.folder().unwrap_or("an unknown folder"),
            variables: &BTreeMap::new(),
            stdin: &Stdin::Nothing,
            patience: HELD,
        };
        self.in_session(effects, &attempt).map(|()| after)
    }

    /// A session has the task's network, and so has every text of it.
    fn in_session(&self, effects: Vec<Effect>, attempt: &Attempt<'_>) -> Result<(), Box<Denial>> {
        let admitted = self.admit(effects, attempt)?;
        admitted.with_network(
            attempt,
            "A session's shell shares the network of its task, so that no text of it can go without.",
        )
    }

    /// Whether a program may be started at a terminal of the sandbox. Nobody waits
    /// for a person there: the supervisor itself asks.
    pub(crate) fn at_terminal(&self, words: &[String], folder: &str) -> Result<(), Box<Denial>> {
        let attempt = Attempt {
            words,
            folder,
            variables: &BTreeMap::new(),
            stdin: &Stdin::Typed,
            patience: Duration::ZERO,
        };
        self.command(&attempt)?.with_network(
            &attempt,
            "A command at a terminal shares the network of its task.",
        )
    }

    fn admit(&self, effects: Vec<Effect>, attempt: &Attempt<'_>) -> Result<Admitted, Box<Denial>> {
        let Some(decision) = self.decide(&effects) else {
            return Err(Box::new(Denial {
                what: attempt.what(),
                rule: UNREAD.to_owned(),
                reason: "the task's rules cannot be used.".to_owned(),
                instead: None,
                allow: None,
            }));
        };
        let refuse = |finding: &Finding, reason: String| {
            Box::new(Denial {
                what: attempt.what(),
                rule: rule_of(finding),
                reason,
                instead: finding.instead.clone(),
                allow: Some(format!("stockade exec {} --no-policy …", self.0.task)),
            })
        };
        // The strictest come first.
        let strictest = decision.findings.first();
        if let Some(finding) = strictest.filter(|finding| finding.verdict == Verdict::Deny) {
            return Err(refuse(finding, finding.reason.clone()));
        }
        if let Some(finding) = strictest.filter(|finding| finding.verdict == Verdict::Ask) {
            let allowed = self.ask(effects, attempt, finding);
            allowed.map_err(|stands| refuse(finding, format!("{} {stands}", finding.reason)))?;
        }
        let mut findings = decision.findings.iter();
        let contained = findings.find(|finding| finding.verdict == Verdict::Contain);
        Ok(contained.map_or(Admitted::Free, |finding| {
            Admitted::Contained(Contained {
                rule: rule_of(finding),
                reason: finding.reason.clone(),
            })
        }))
    }

    /// Asks a person about all that a command would do; a sentence that says how it
    /// stands if it may not run.
    fn ask(
        &self,
        effects: Vec<Effect>,
        attempt: &Attempt<'_>,
        finding: &Finding,
    ) -> Result<(), String> {
        let Some(person) = &self.0.person else {
            return Err(ASKS_NOBODY.to_owned());
        };
        let input = attempt.stdin.input().map_err(|error| error.to_string())?;
        let question = Question {
            action: Action::Command {
                argv: attempt.words.to_vec(),
                cwd: attempt.folder.to_owned(),
                env: attempt.variables.clone(),
                input,
                effects,
            },
            bytes: 0,
            said: None,
            because: Some(Because {
                rule: rule_of(finding),
                reason: finding.reason.clone(),
            }),
        };
        match person.asked(&question, attempt.patience) {
            Outcome::Granted(_) => Ok(()),
            Outcome::Refused(reason) => Err(format!("It was not approved: {reason}.")),
            Outcome::Pending(id) => Err(format!(
                "A person has been asked (#{}). Run the same command again until there is an \
                 answer; everything else goes on.",
                id.short()
            )),
        }
    }

    /// What is said of a request that a rule for hosts lets pass.
    pub(crate) fn request(&self, outgoing: &Outgoing) -> PolicyAnswer {
        let asked = Asked {
            host: &outgoing.host,
            method: &outgoing.method,
            path: &outgoing.path,
            query: &outgoing.query,
            of_model: outgoing.of_model,
        };
        let rules = self.rules();
        let Ok(policy) = (**rules).as_ref() else {
            return PolicyAnswer::none();
        };
        let decision = decide_about_request(policy, &asked);
        let rule = |finding: &Finding| PolicyRule {
            rule: rule_of(finding),
            reason: finding.reason.clone(),
            instead: finding.instead.clone(),
        };
        // The strictest come first. What may only run without anything outward may
        // not leave.
        let mut strict = decision.findings.iter();
        match strict.find(|finding| finding.verdict != Verdict::Ask) {
            Some(finding) if finding.verdict != Verdict::Allow => {
                return PolicyAnswer::Deny(rule(finding));
            }
            _ => {}
        }
        match decision.findings.first() {
            Some(finding) if finding.verdict == Verdict::Ask => PolicyAnswer::Ask(rule(finding)),
            _ => PolicyAnswer::Allow,
        }
    }
}

impl Attempt<'_> {
    /// The command as a refusal names it.
    fn what(&self) -> String {
        match self.words {
            [_, option, text] if option == "-c" => running(text),
            words => running(&words.join(" ")),
        }
    }
}

impl Admitted {
    /// Refuses what may only run without a network where there is one; `because`
    /// says why there is.
    fn with_network(self, attempt: &Attempt<'_>, because: &str) -> Result<(), Box<Denial>> {
        match self {
            Self::Free => Ok(()),
            Self::Contained(contained) => Err(Box::new(Denial {
                what: attempt.what(),
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

/// What `policy` says of a request that a rule for hosts lets pass. That rule, which
/// a person has agreed to, speaks for Stockade's own rules about reaching and
/// sending; the rules of people and of the repository hold beside it, and so do
/// all rules about pushing and publishing.
pub fn decide_about_request(policy: &Policy, asked: &Asked<'_>) -> Decision {
    policy.decide_beside(&effects_of_request(asked), |effect| {
        matches!(effect.kind, EffectKind::NetConnect | EffectKind::NetUpload)
    })
}

/// Reads the rules. What reads them, which is as large as all else that a supervisor
/// runs together, does not stay in memory.
fn read(policy: &TaskPolicy) -> Read {
    let read = policy.compile();
    stockade_sandbox::code::give_back();
    read
}

fn rule_of(finding: &Finding) -> String {
    finding.rules.first().cloned().unwrap_or_default()
}

fn running(text: &str) -> String {
    format!("run `{}`", shown(text))
}

/// The beginning of `text`, on one line.
fn shown(text: &str) -> String {
    let mut shown: String = visible::line(text.as_bytes())
        .chars()
        .take(SHOWN_MAX)
        .collect();
    if text.chars().count() > SHOWN_MAX {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
