//! `stockade inbox --stats`: how much people are asked, told from the records,
//! and which rules would have answered instead.

use std::{collections::BTreeMap, process::ExitCode};

use serde_json::{Value, json};
use stockade_approval::{Action, AskId, Decision, Question};
use stockade_audit::{Record, RecordKind};
use stockade_gateway::HostRule;
use stockade_types::EventKind;
use time::OffsetDateTime;

use crate::{
    failure::Failure,
    host::{self, Task},
    print::{Printer, Tone},
};

/// How often the same must have been approved, and never denied, before a rule
/// is proposed for it.
const OFTEN: usize = 3;
/// The most rules that are proposed.
const PROPOSED_MAX: usize = 5;

/// What the records tell.
#[derive(Debug, Default)]
struct Stats {
    questions: BTreeMap<AskId, Put>,
    /// Requests on which rules alone decided.
    decided: u64,
    /// How long tasks ran, in seconds.
    seconds: f64,
}

/// One question and what became of it.
#[derive(Debug)]
struct Put {
    action: Action,
    at: OffsetDateTime,
    answer: Option<(Decision, f64)>,
    uses: u64,
}

/// A rule that would have answered questions.
struct Proposal {
    rule: HostRule,
    questions: usize,
    uses: u64,
}

pub(super) fn run(task: Option<&str>, printer: Printer) -> Result<ExitCode, Failure> {
    let state = host::state()?;
    let tasks = match task {
        Some(name) => vec![host::find(&state, Some(name))?],
        None => host::tasks(&state)?,
    };
    let mut stats = Stats::default();
    for task in &tasks {
        stats.read(task)?;
    }
    stats.print(printer);
    Ok(ExitCode::SUCCESS)
}

impl Stats {
    fn read(&mut self, task: &Task) -> Result<(), Failure> {
        let mut ends: Option<(OffsetDateTime, OffsetDateTime)> = None;
        let records = stockade_audit::read(&task.directory.record()).map_err(Failure::failed)?;
        for record in records {
            let record = record.map_err(Failure::failed)?;
            ends = Some((ends.map_or(record.at, |(first, _)| first), record.at));
            self.count(&record);
        }
        if let Some((first, last)) = ends {
            self.seconds += (last - first).as_seconds_f64();
        }
        Ok(())
    }

    fn count(&mut self, record: &Record) {
        let RecordKind::Event(kind) = record.kind else {
            return;
        };
        let body = &record.body;
        match kind {
            EventKind::Asked => {
                let id = serde_json::from_value(body["ask"].clone());
                let question = serde_json::from_value::<Question>(body["question"].clone());
                if let (Ok(id), Ok(Question { action, .. })) = (id, question) {
                    let put = Put {
                        action,
                        at: record.at,
                        answer: None,
                        uses: 0,
                    };
                    self.questions.insert(id, put);
                }
            }
            EventKind::Answered if body["needs"] == 0 => {
                let statement = &body["answer"]["statement"];
                let decision = serde_json::from_value(statement["decision"].clone());
                if let (Some(put), Ok(decision)) = (self.of(&statement["ask"]), decision) {
                    let after = (record.at - put.at).as_seconds_f64();
                    put.answer = Some((decision, after));
                }
            }
            EventKind::ApprovalUsed => {
                if let Some(put) = self.of(&body["ask"]) {
                    put.uses += 1;
                }
            }
            EventKind::NetworkRequest if body["approval"].is_null() => self.decided += 1,
            EventKind::Denied => {
                let rule = body["rule"].as_str().unwrap_or_default();
                self.decided += u64::from(!rule.starts_with("approval."));
            }
            _ => {}
        }
    }

    fn of(&mut self, id: &Value) -> Option<&mut Put> {
        let id = serde_json::from_value(id.clone()).ok()?;
        self.questions.get_mut(&id)
    }

    fn answered(&self, wanted: Decision) -> usize {
        let answers = self.questions.values().filter_map(|put| put.answer);
        answers.filter(|(decision, _)| *decision == wanted).count()
    }

    /// Rules for what people always approve, those first that spare most.
    fn proposals(&self) -> Vec<Proposal> {
        let mut alike: BTreeMap<String, Vec<&Put>> = BTreeMap::new();
        for put in self.questions.values() {
            if let Some(rule) = rule(&put.action) {
                alike.entry(rule).or_default().push(put);
            }
        }
        let proposals = alike.into_iter().filter_map(|(rule, puts)| {
            let approved = |put: &&&Put| matches!(put.answer, Some((Decision::Approve, _)));
            let denied = |put: &&Put| matches!(put.answer, Some((Decision::Deny, _)));
            let often = puts.iter().filter(approved).count() >= OFTEN;
            (often && !puts.iter().any(denied)).then_some(Proposal {
                rule: rule.parse().ok()?,
                questions: puts.len(),
                uses: puts.iter().map(|put| put.uses).sum(),
            })
        });
        let mut proposals: Vec<_> = proposals.collect();
        proposals.sort_by_key(|proposal| std::cmp::Reverse(proposal.questions));
        proposals.truncate(PROPOSED_MAX);
        proposals
    }

    fn print(&self, printer: Printer) {
        let asked = self.questions.len();
        let hours = self.seconds / 3600.0;
        let (yes, no) = (
            self.answered(Decision::Approve),
            self.answered(Decision::Deny),
        );
        let mut waits: Vec<f64> = self.questions.values().filter_map(Put::wait).collect();
        waits.sort_by(f64::total_cmp);
        let median = waits.get(waits.len() / 2).copied();
        let proposals = self.proposals();
        let documents = proposals.iter().map(|proposal| {
            json!({
                "rule": proposal.rule, "questions": proposal.questions, "uses": proposal.uses,
            })
        });
        printer.json(&json!({
            "asked": asked, "approved": yes, "denied": no, "unanswered": asked - yes - no,
            "task_hours": hours, "median_seconds": median, "decided_by_rules": self.decided,
            "proposals": documents.collect::<Vec<_>>(),
        }));
        printer.line(&format!(
            "{asked} questions in {hours:.1} hours of tasks: {yes} approved, {no} denied, {} \
             unanswered",
            asked - yes - no
        ));
        if let Some(median) = median {
            printer.line(&format!("answered after {median:.0} s, as a median"));
        }
        printer.line(&format!(
            "{} requests were decided by rules alone",
            self.decided
        ));
        for proposal in proposals {
            printer.line(&format!(
                "always approved: {}, {} questions, {} uses; as a rule: allow = [\"{}\"] under \
                 [network]",
                printer.paint(Tone::Strong, &proposal.rule.to_string()),
                proposal.questions,
                proposal.uses,
                proposal.rule
            ));
        }
    }
}

impl Put {
    fn wait(&self) -> Option<f64> {
        self.answer.map(|(_, after)| after)
    }
}

/// The rule for hosts that would allow `action`, if it can be taken back and is not
/// about one path, of which the policy decides.
fn rule(action: &Action) -> Option<String> {
    let Action::Request {
        method,
        scheme,
        host,
        port,
        path: None,
    } = action
    else {
        return None;
    };
    (!action.is_grave()).then(|| format!("{method} {scheme}://{host}:{port}"))
}
