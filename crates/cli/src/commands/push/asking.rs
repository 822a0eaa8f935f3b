//! Asking an approver about a push: at this terminal, or by a question that waits in
//! the task's record until it is answered elsewhere.

use std::collections::BTreeSet;

use stockade_approval::{Action, AskId, Because, Departure, Outcome, Question, Waiting};
use stockade_audit::RecordKind;
use stockade_types::EventKind;
use stockade_workspace::PushContent;

use super::place::Place;
use crate::{
    arguments::Push,
    commands::{approval, work::Work},
    failure::Failure,
    host::{self, Task},
    print::Printer,
    terminal::Person,
};

/// Who said that it may leave.
pub(super) struct Approved {
    pub(super) by: String,
    /// The question that they answered, if one was put.
    pub(super) ask: Option<AskId>,
}

pub(super) fn question(departure: &Departure, content: &PushContent, because: Because) -> Question {
    Question {
        action: Action::Push(departure.clone()),
        bytes: content.bytes,
        said: None,
        because: Some(because),
    }
}

/// Asks; one use of an approval is taken, and in the record, when this returns.
pub(super) fn ask(
    work: &Work,
    place: &Place,
    question: &Question,
    arguments: &Push,
    printer: Printer,
) -> Result<Approved, Failure> {
    let mut outcome = approval::desk(&work.directory)?.ask(question.clone())?;
    let mut missing = question.action.people();
    if let Outcome::Pending(id) = &outcome {
        let id = *id;
        let mut waiting = approval::desk(&work.directory)?.waiting().into_iter();
        let waiting = waiting.find(|waiting| waiting.id == id);
        if let Some(waiting) = waiting {
            let have = waiting.people.1;
            missing = waiting.people.0.saturating_sub(have);
            if let Some(more) = here(work, &waiting, arguments, printer)? {
                missing = more;
                outcome = approval::desk(&work.directory)?.ask(question.clone())?;
            }
        }
    }
    match outcome {
        Outcome::Granted(id) => Ok(Approved {
            by: people(work, id)?,
            ask: Some(id),
        }),
        Outcome::Refused(reason) => Err(place.refused(work, "approval.refused", &reason, None)?),
        Outcome::Pending(id) => {
            let approve = format!("stockade approve {}", id.short());
            let because = question.because.as_ref();
            let why = because.map_or("", |because| because.reason.as_str());
            let people = match missing {
                0 | 1 => "an approver has".to_owned(),
                people => format!("{people} approvers have"),
            };
            let reason = format!(
                "{why} It waits until {people} approved it (#{})",
                id.short()
            );
            let refused = place.refused(work, "approval.pending", &reason, Some(&approve))?;
            Err(refused
                .hint(approve)
                .hint(format!("then: stockade push {}", work.status.slug)))
        }
    }
}

/// Asks whoever is at this terminal; how many more must approve it, if they did.
fn here(
    work: &Work,
    waiting: &Waiting,
    arguments: &Push,
    printer: Printer,
) -> Result<Option<u8>, Failure> {
    if arguments.yes || printer.is_json() {
        return Ok(None);
    }
    let Some(person) = Person::find()? else {
        return Ok(None);
    };
    let task = Task {
        directory: work.directory.clone(),
        status: work.status.clone(),
    };
    let (card, word) = approval::shown(&task, waiting, printer);
    let question = format!("Type `{word}` to approve this push once, or nothing to leave it: ");
    if person.ask(&card, &question)?.trim() != word {
        return Ok(None);
    }
    let key = arguments.key.as_deref();
    let (by, more) = approval::approve_once(&host::state()?, &task, waiting, key)?;
    printer.line(&format!("approved by {by}"));
    Ok(Some(more))
}

/// Who approved what is asked as `id`.
fn people(work: &Work, id: AskId) -> Result<String, Failure> {
    let mut names = BTreeSet::new();
    let id = id.to_string();
    for record in stockade_audit::read(&work.directory.record()).map_err(Failure::failed)? {
        let record = record.map_err(Failure::failed)?;
        let statement = &record.body["answer"]["statement"];
        let is_it = record.kind == RecordKind::Event(EventKind::Answered)
            && statement["ask"] == *id
            && statement["decision"] == "approve";
        let name = record.body["by"]["name"].as_str().filter(|_| is_it);
        names.extend(name.map(str::to_owned));
    }
    let names: Vec<_> = names.into_iter().collect();
    Ok(names.join(", "))
}
