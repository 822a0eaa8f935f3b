//! `stockade verify-commit`: how a merged commit came to be, trusting nothing but
//! the record of its task.

use std::{collections::BTreeSet, path::Path, process::ExitCode};

use serde::Serialize;
use serde_json::Value;
use stockade_audit::{Evidence, Hash, Record, RecordKind, TreeHead};
use stockade_supervisor::{Contract, StateDirectory, TaskDirectory};
use stockade_types::{EventKind, Money, TaskId};
use stockade_workspace::{Provenance, Repository};

use crate::{
    arguments::VerifyCommit,
    commands::audit::describe,
    failure::{Failure, Kind},
    host,
    print::{Printer, Tone},
};

/// What the record says of a commit.
#[derive(Debug, Default, Serialize)]
struct Origin {
    commit: String,
    task: String,
    agent: String,
    model: String,
    policy: String,
    prompt: String,
    base: String,
    /// Who approved it.
    approver: String,
    /// SHA-256 over all that was approved.
    manifest: String,
    /// Where it was merged or pushed to.
    branch: String,
    /// The number of the event that says so.
    merged: u64,
    /// It was pushed to a remote, not merged here.
    pushed: bool,
    hosts: BTreeSet<String>,
    secrets: BTreeSet<String>,
    refused: u64,
    /// Who answered what the task asked, and how.
    answers: BTreeSet<String>,
    cost: Money,
    /// The contract, with the rules that were last in force.
    #[serde(skip)]
    contract: Contract,
    /// How many records were checked, and their root.
    record: Option<TreeHead>,
}

pub(crate) fn run(arguments: &VerifyCommit, printer: Printer) -> Result<ExitCode, Failure> {
    let git = host::git()?;
    let missing = |error| Failure::new(Kind::NotFound, describe(&error));
    let repository = Repository::discover(&git, Path::new(".")).map_err(missing)?;
    let commit = repository
        .base(&git, Some(&arguments.commit))
        .map_err(missing)?;
    let message = repository.message(&git, &commit).map_err(Failure::failed)?;
    let said = Provenance::of_message(&message).ok_or_else(|| {
        Failure::new(
            Kind::NotFound,
            format!("{commit} was neither merged nor pushed by Stockade"),
        )
        .hint("a commit that was has trailers such as Stockade-Task")
    })?;
    let task = task(&host::state()?, &said.task)?;
    let (records, head) = records(&task, &said)?;
    let origin = Origin::of(commit.as_str(), &records, head).ok_or_else(|| {
        tampered(format!(
            "the record of {} does not say that {commit} was merged or pushed",
            said.task
        ))
    })?;
    for (name, says, is) in [
        ("agent", &said.agent, &origin.agent),
        ("model", &said.model, &origin.model),
        ("policy", &said.policy, &origin.policy),
    ] {
        if says != is {
            return Err(tampered(format!(
                "the commit says {name} `{says}`, the record says `{is}`"
            )));
        }
    }
    show(&origin, printer);
    Ok(ExitCode::SUCCESS)
}

/// Agent, model and policy of a task as its record has them: a plan may hold words
/// that no record may.
pub(crate) fn recorded(task: &TaskDirectory) -> Result<[String; 3], Failure> {
    let mut origin = Origin::default();
    for record in stockade_audit::read(&task.record()).map_err(Failure::failed)? {
        let record = record.map_err(Failure::failed)?;
        match record.kind {
            RecordKind::Event(EventKind::TaskStarted) => origin.start(&record.body),
            RecordKind::Event(EventKind::PolicyChanged) => origin.change_policy(&record.body),
            _ => {}
        }
    }
    Ok([origin.agent, origin.model, origin.policy])
}

fn tampered(message: String) -> Failure {
    Failure::new(Kind::Tampered, message).hint("stockade audit verify --all checks every record")
}

/// The task, also from the trash.
fn task(state: &StateDirectory, name: &str) -> Result<TaskDirectory, Failure> {
    let gone = || {
        Failure::new(
            Kind::NotFound,
            format!("the record of {name} is not on this machine"),
        )
    };
    let id: TaskId = name.parse().map_err(|_| gone())?;
    let task = state.task(&id);
    let removed = state.path().join("trash").join(id.as_str());
    let places = [task.path().to_owned(), removed];
    let found = places.iter().find(|place| place.join("record").exists());
    Ok(TaskDirectory::at(found.ok_or_else(gone)?)?)
}

/// Every record that a checkpoint covers, if the log is what was written and had
/// the state that the commit carries.
fn records(task: &TaskDirectory, said: &Provenance) -> Result<(Vec<Record>, TreeHead), Failure> {
    let wrong = |error: &dyn std::error::Error| tampered(describe(error));
    let mut evidence =
        Evidence::of(&task.audit(), task.id().as_str()).map_err(|error| wrong(&error))?;
    if let Some(key) = &evidence.key {
        stockade_audit::verify_host(&task.audit(), key, Vec::new())
            .map_err(|error| wrong(&error))?;
    }
    // A commit from before there were logs carries none.
    evidence.heads.extend(head(&said.record));
    let found = stockade_audit::verify(&task.record(), &evidence).map_err(|error| wrong(&error))?;
    let covered = usize::try_from(found.covered).unwrap_or(usize::MAX);
    let records = stockade_audit::read(&task.record())
        .and_then(|records| records.take(covered).collect())
        .map_err(|error| wrong(&error))?;
    let head = TreeHead {
        size: found.records,
        root: found.root,
    };
    Ok((records, head))
}

/// Size and root, as the trailer has them.
fn head(trailer: &str) -> Option<TreeHead> {
    let (size, root) = trailer.split_once(' ')?;
    Some(TreeHead {
        size: size.parse().ok()?,
        root: root.parse().ok()?,
    })
}

impl Origin {
    /// `None` if the records do not say that the commit was approved, and merged or
    /// pushed.
    fn of(commit: &str, records: &[Record], head: TreeHead) -> Option<Self> {
        let mut origin = Self {
            commit: commit.to_owned(),
            record: Some(head),
            ..Self::default()
        };
        let (mut approved, mut departing) = (false, false);
        for record in records {
            let RecordKind::Event(kind) = record.kind else {
                continue;
            };
            let body = &record.body;
            match kind {
                EventKind::TaskStarted => origin.start(body),
                EventKind::PolicyChanged => origin.change_policy(body),
                EventKind::NetworkRequest => origin.hosts.extend(text(&body["host"])),
                EventKind::SecretUsed => origin.secrets.extend(text(&body["secret"])),
                EventKind::Denied => origin.refused += 1,
                EventKind::Answered => origin.answers.extend(answer(body)),
                EventKind::NetworkOutcome => {
                    let cost = text(&body["cost"]).and_then(|cost| cost.parse().ok());
                    origin.cost = origin.cost.saturating_add(cost.unwrap_or_default());
                }
                EventKind::Approved => {
                    let approval = &body["approval"];
                    approved = approval["new_commit"] == commit || keeps(approval, commit);
                    origin.approver = text(&body["by"]).unwrap_or_default();
                    origin.manifest = text(&approval["manifest_sha256"]).unwrap_or_default();
                }
                EventKind::PushStarted => {
                    let push = &body["push"];
                    departing = push["new"] == commit;
                    if !departing {
                        continue;
                    }
                    origin.approver = text(&body["by"]).unwrap_or_default();
                    origin.manifest = text(&push["manifest"]).unwrap_or_default();
                    origin.branch = departed(push);
                }
                EventKind::PushEnded if departing && body["outcome"]["end"] == "arrived" => {
                    origin.merged = record.seq;
                    origin.pushed = true;
                    return Some(origin);
                }
                EventKind::Merged if approved => {
                    origin.branch = text(&body["landed"]["target_ref"]).unwrap_or_default();
                    origin.merged = record.seq;
                    return Some(origin);
                }
                _ => {}
            }
        }
        None
    }

    fn start(&mut self, body: &Value) {
        let status = &body["task"];
        self.task = text(&status["id"]).unwrap_or_default();
        self.prompt = text(&status["prompt"]).unwrap_or_default();
        self.base = text(&status["base"]).unwrap_or_default();
        self.model = text(&status["model"]).unwrap_or_else(|| "default".to_owned());
        self.agent = text(&body["contract"]["agent"]["name"]).unwrap_or_default();
        self.contract = serde_json::from_value(body["contract"].clone()).unwrap_or_default();
        self.policy = policy(&self.contract);
    }

    /// Other rules judge from here on.
    fn change_policy(&mut self, body: &Value) {
        self.contract.policy = serde_json::from_value(body["policy"].clone()).unwrap_or_default();
        self.policy = policy(&self.contract);
    }
}

/// Who answered a question of the task, and how.
fn answer(body: &Value) -> Option<String> {
    let decision = text(&body["answer"]["statement"]["decision"])?;
    Some(format!("{decision} by {}", text(&body["by"]["name"])?))
}

/// Whether the approval is of several commits, this one among them.
fn keeps(approval: &Value, commit: &str) -> bool {
    let kept = approval["kept"].as_array().into_iter().flatten();
    kept.into_iter().any(|kept| kept["commit"] == commit)
}

/// Remote and branch that a commit was pushed to.
fn departed(push: &Value) -> String {
    let parts = ["remote", "reference"].map(|name| text(&push[name]).unwrap_or_default());
    parts.join(" ")
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// How a merge commit names the rules and the contract that its task had.
fn policy(contract: &Contract) -> String {
    let bytes = serde_json::to_vec(contract).unwrap_or_default();
    let contract_digest = Hash::of(&bytes);
    match contract.policy.digest.as_str() {
        // From before tasks had one.
        "" => format!("contract sha256:{contract_digest}"),
        rules => format!("rules {rules}, contract sha256:{contract_digest}"),
    }
}

fn show(origin: &Origin, printer: Printer) {
    let list = |names: &BTreeSet<String>| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    let verdict = printer.paint(Tone::Good, "the record says so");
    printer.line(&format!("{} {verdict}", origin.commit));
    let approver = format!("{}, manifest sha256:{}", origin.approver, origin.manifest);
    let (landed, word) = if origin.pushed {
        ("pushed", "to")
    } else {
        ("merged", "into")
    };
    let merged = format!("{word} {}, event {}", origin.branch, origin.merged);
    for (name, value) in [
        ("task", &origin.task),
        ("prompt", &origin.prompt),
        ("base", &origin.base),
        ("agent", &origin.agent),
        ("model", &origin.model),
        ("policy", &origin.policy),
        ("approved", &approver),
        (landed, &merged),
        ("hosts", &list(&origin.hosts)),
        ("secrets", &list(&origin.secrets)),
        ("refused", &origin.refused.to_string()),
        ("answers", &list(&origin.answers)),
        ("cost", &origin.cost.to_string()),
    ] {
        let value = stockade_types::visible::line(value.as_bytes());
        printer.line(&format!("  {name:<9} {value}"));
    }
    printer.json(origin);
}
