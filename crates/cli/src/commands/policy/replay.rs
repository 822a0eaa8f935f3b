//! `stockade policy replay` and `diff`: what tasks did, judged again.

use std::{collections::BTreeMap, process::ExitCode};

use serde::Serialize;
use serde_json::{Value, json};
use stockade_audit::{Record, RecordKind};
use stockade_policy::{Asked, Decision, Policy, Surroundings, effects_of_text, effects_of_words};
use stockade_supervisor::{decide_about_request, is_shortened};
use stockade_types::{EventKind, Verdict, visible};

use super::{policy, tone};
use crate::{
    arguments::{PolicyReplay, Select},
    commands::audit,
    failure::Failure,
    print::{Printer, Tone},
};

/// Something that a task did or tried, as its record tells.
struct Action {
    task: String,
    event: u64,
    /// In one line.
    what: String,
    kind: Kind,
    /// What was decided then.
    then: Then,
}

enum Kind {
    Command {
        workspace: String,
        folder: String,
        words: Vec<String>,
        /// Whether the only word is a text for a session's shell.
        session: bool,
    },
    Request {
        host: String,
        method: String,
        path: String,
    },
}

/// What was decided, as far as the record tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Then {
    /// A verdict of rules; a refusal is `deny`, also where nobody answered.
    Judged(Verdict),
    /// The policy was set aside for it.
    SetAside(&'static str),
}

/// An action about which two sets of rules differ.
#[derive(Debug, Serialize)]
struct Difference {
    task: String,
    event: u64,
    what: String,
    before: Then,
    after: Verdict,
    /// The rule that decides afterwards, or did before.
    rule: Option<String>,
}

/// What there was to judge.
#[derive(Debug, Default, Serialize)]
struct Judged {
    commands: usize,
    requests: usize,
    /// Those of which the record has not every word.
    shortened: usize,
}

/// Judges what records tell by the rules as they are now.
pub(super) fn replay(arguments: &PolicyReplay, printer: Printer) -> Result<ExitCode, Failure> {
    let now = policy(&arguments.files)?;
    let (actions, judged) = actions(arguments)?;
    let differences = actions.into_iter().filter_map(|action| {
        let decision = action.decide(&now);
        let before = action.then.clone();
        // A person's yes or no is in the verdict of then, so that a question is as good
        // as either.
        let same = match before {
            Then::Judged(Verdict::Deny) => decision.verdict >= Verdict::Ask,
            Then::Judged(verdict) => decision.verdict == verdict,
            Then::SetAside(_) => true,
        };
        (!same).then(|| action.difference(before, &decision))
    });
    let differences: Vec<_> = differences.collect();
    printer.json(&json!({ "judged": judged, "differences": differences }));
    judged.show(printer);
    show(&differences, printer);
    Ok(ExitCode::SUCCESS)
}

/// Tells what files would change, were they the user's rules: the rules themselves, and
/// what is decided about all that records tell.
pub(super) fn diff(arguments: &PolicyReplay, printer: Printer) -> Result<ExitCode, Failure> {
    let (old, new) = (policy(&[])?, policy(&arguments.files)?);
    let rules = Rules::between(&old, &new);
    let (actions, judged) = actions(arguments)?;
    let differences = actions.into_iter().filter_map(|action| {
        let (before, after) = (action.decide(&old), action.decide(&new));
        let decisive = if after.verdict >= before.verdict {
            &after
        } else {
            &before
        };
        let rule = rule(decisive);
        (before.verdict != after.verdict).then(|| Difference {
            rule,
            ..action.difference(Then::Judged(before.verdict), &after)
        })
    });
    let differences: Vec<_> = differences.collect();
    printer.json(&json!({ "rules": rules, "judged": judged, "differences": differences }));
    rules.show(printer);
    judged.show(printer);
    show(&differences, printer);
    Ok(ExitCode::SUCCESS)
}

/// All that the records that are asked for tell of commands and requests.
fn actions(arguments: &PolicyReplay) -> Result<(Vec<Action>, Judged), Failure> {
    let mut found = Vec::new();
    let mut judged = Judged::default();
    // Each task's own, from the start of its main command.
    let mut workspaces: BTreeMap<String, String> = BTreeMap::new();
    // From the beginning: the main command, which tells the workspace, may be older.
    let all = Select {
        task: arguments.task.clone(),
        kind: Vec::new(),
        contains: None,
        since: None,
        until: None,
    };
    audit::each(&all, |task, record, value| {
        let slug = &task.status.slug;
        if record.kind == RecordKind::Event(EventKind::ExecStarted) && record.body["main"] == true {
            workspaces.insert(slug.clone(), text(&record.body["cwd"]));
        }
        let at = value["at"].as_str().unwrap_or_default();
        if arguments.since.as_deref().is_some_and(|since| at < since) {
            return Ok(());
        }
        let workspace = workspaces.get(slug).map_or("/workspace", String::as_str);
        let Some(action) = Action::of(slug, workspace, record) else {
            return Ok(());
        };
        match &action.kind {
            Kind::Command { words, .. } if is_shortened(words) => {
                judged.shortened += 1;
                return Ok(());
            }
            // Markers are no words of a command.
            _ if record.body["redacted"].is_array() => {
                judged.shortened += 1;
                return Ok(());
            }
            Kind::Command { .. } => judged.commands += 1,
            Kind::Request { .. } => judged.requests += 1,
        }
        found.push(action);
        Ok(())
    })?;
    Ok((found, judged))
}

impl Action {
    fn of(task: &str, workspace: &str, record: &Record) -> Option<Self> {
        let RecordKind::Event(kind) = record.kind else {
            return None;
        };
        let body = &record.body;
        let (what, kind, then) = match kind {
            EventKind::ExecStarted if body["main"] == true => return None,
            EventKind::ExecStarted | EventKind::Denied if body["argv"].is_array() => {
                let words = body["argv"].as_array()?.iter().map(text);
                let words: Vec<String> = words.collect();
                let folder = body["cwd"].as_str().unwrap_or(workspace).to_owned();
                let verdict = body["policy"]["verdict"].as_str();
                let then = match (kind, verdict) {
                    (EventKind::Denied, _) => Then::Judged(Verdict::Deny),
                    (_, Some("set aside")) => Then::SetAside("set aside"),
                    (_, Some("contain")) => Then::Judged(Verdict::Contain),
                    _ => Then::Judged(Verdict::Allow),
                };
                let what = words.join(" ");
                let workspace = workspace.to_owned();
                let command = Kind::Command {
                    workspace,
                    folder,
                    words,
                    session: body["of_session"].is_u64(),
                };
                (what, command, then)
            }
            // What a rule for hosts let pass; requests of a model have no such rule.
            EventKind::NetworkRequest if body["allowed_by"].is_string() => {
                let [host, method, path] = ["host", "method", "path"].map(|name| text(&body[name]));
                let what = format!("{method} {host}{path}");
                let request = Kind::Request { host, method, path };
                (what, request, Then::Judged(Verdict::Allow))
            }
            _ => return None,
        };
        Some(Self {
            task: task.to_owned(),
            event: record.seq,
            what: visible::line(what.as_bytes()),
            kind,
            then,
        })
    }

    fn decide(&self, policy: &Policy) -> Decision {
        match &self.kind {
            Kind::Command {
                workspace,
                folder,
                words,
                session,
            } => {
                let around = Surroundings {
                    folder: folder.clone(),
                    ..Surroundings::inside(workspace)
                };
                policy.decide(&match words.as_slice() {
                    [text] if *session => effects_of_text(text, &around),
                    words => effects_of_words(words, &around),
                })
            }
            Kind::Request { host, method, path } => decide_about_request(
                policy,
                &Asked {
                    host,
                    method,
                    path,
                    query: "",
                    of_model: false,
                },
            ),
        }
    }

    fn difference(self, before: Then, after: &Decision) -> Difference {
        Difference {
            task: self.task,
            event: self.event,
            what: self.what,
            before,
            after: after.verdict,
            rule: rule(after),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn rule(decision: &Decision) -> Option<String> {
    decision.findings.first()?.rules.first().cloned()
}

/// Rules by their names.
#[derive(Debug, Serialize)]
struct Rules {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

impl Rules {
    fn between(old: &Policy, new: &Policy) -> Self {
        let named = |policy: &Policy| -> BTreeMap<String, String> {
            let rules = policy.rules();
            rules.map(|rule| (rule.id.clone(), rule.text())).collect()
        };
        let (old, new) = (named(old), named(new));
        let without = |all: &BTreeMap<String, String>, other: &BTreeMap<String, String>| {
            let names = all.keys().filter(|name| !other.contains_key(*name));
            names.cloned().collect()
        };
        let changed = old
            .iter()
            .filter(|(name, text)| new.get(*name).is_some_and(|other| other != *text));
        Self {
            added: without(&new, &old),
            removed: without(&old, &new),
            changed: changed.map(|(name, _)| name.clone()).collect(),
        }
    }

    fn show(&self, printer: Printer) {
        for (sign, names, tone) in [
            ("+", &self.added, Tone::Good),
            ("-", &self.removed, Tone::Bad),
            ("~", &self.changed, Tone::Notice),
        ] {
            for name in names {
                printer.line(&format!("{} {name}", printer.paint(tone, sign)));
            }
        }
    }
}

impl Judged {
    fn show(&self, printer: Printer) {
        let Self {
            commands, requests, ..
        } = self;
        printer.line(&format!(
            "{commands} commands and {requests} requests judged again; nothing was run"
        ));
        if self.shortened > 0 {
            printer.note(&format!(
                "{} were not: the record has not all their words",
                self.shortened
            ));
        }
    }
}

fn show(differences: &[Difference], printer: Printer) {
    for found in differences {
        let before = match found.before {
            Then::Judged(verdict) => printer.paint(tone(verdict), verdict.name()),
            Then::SetAside(word) => word.to_owned(),
        };
        printer.line(&format!(
            "{before} → {}  {}  {}",
            printer.paint(tone(found.after), found.after.name()),
            found.what,
            printer.paint(
                Tone::Faint,
                &format!(
                    "{} #{}{}",
                    found.task,
                    found.event,
                    found
                        .rule
                        .as_ref()
                        .map(|rule| format!(", {rule}"))
                        .unwrap_or_default()
                )
            )
        ));
    }
    if differences.is_empty() {
        printer.line("all are decided as before");
    }
}
