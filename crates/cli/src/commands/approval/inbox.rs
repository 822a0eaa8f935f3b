//! `stockade inbox`: what waits, one card after the other, at a terminal that
//! belongs to nobody else.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Asked, Card, Said, answer, scope, stats, waiting};
use crate::{
    arguments::{Inbox, ScopeArguments},
    failure::{Failure, Kind},
    host,
    print::Printer,
    terminal::Person,
};

pub(crate) fn run(arguments: &Inbox, printer: Printer) -> Result<ExitCode, Failure> {
    if arguments.stats {
        return stats::run(arguments.task.as_deref(), printer);
    }
    let state = host::state()?;
    let mut asked = waiting(&state, arguments.task.as_deref())?;
    printer.json(&asked.iter().map(document).collect::<Vec<_>>());
    asked.retain(|asked| !asked.waiting.approved);
    if asked.is_empty() {
        printer.line("nothing waits for an answer");
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.list || printer.is_json() {
        for asked in &asked {
            let id = asked.waiting.id.short();
            printer.line(&Card::of(asked).render(&[id], printer));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let person = Person::find()?.ok_or_else(|| {
        Failure::new(
            Kind::Refused,
            "answers are typed at a terminal that this command has for itself, and there is none",
        )
        .hint("stockade inbox --list shows what waits")
        .hint("stockade approve NUMBER, or stockade deny NUMBER --reason …")
    })?;
    for group in alike(asked) {
        let typed = ask(&person, &group, printer)?;
        for asked in &group {
            let (scope, reason) = match &typed {
                Typed::Leave => continue,
                Typed::Approve => (
                    Some(scope(&asked.waiting, &ScopeArguments::default())),
                    None,
                ),
                Typed::Deny(reason) => (None, reason.clone()),
            };
            let said = Said {
                scope,
                reason,
                key: arguments.key.as_deref(),
            };
            // Who was too late for one may be in time for the next.
            if let Err(failure) = answer(&state, asked, &said, printer) {
                printer.failure(&failure);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a person typed under a card.
enum Typed {
    Approve,
    Deny(Option<String>),
    Leave,
}

/// Shows the card of questions that are alike, and reads one answer for all of
/// them.
fn ask(person: &Person, group: &[Asked], printer: Printer) -> Result<Typed, Failure> {
    let Some(first) = group.first() else {
        return Ok(Typed::Leave);
    };
    let card = Card::of(first);
    let ids: Vec<_> = group.iter().map(|asked| asked.waiting.id.short()).collect();
    let all = match group.len() {
        1 => String::new(),
        tasks => format!(", for all {tasks} tasks"),
    };
    let question = format!(
        "Type `{}` to approve this once{all}, `no` and why to deny it, or nothing to let it \
         wait: ",
        card.word
    );
    let typed = person.ask(&card.render(&ids, printer), &question)?;
    let typed = typed.trim();
    Ok(match typed.split_once(char::is_whitespace) {
        _ if typed == card.word => Typed::Approve,
        _ if typed == "no" => Typed::Deny(None),
        Some(("no", reason)) => Typed::Deny(Some(reason.trim().to_owned())),
        _ => Typed::Leave,
    })
}

/// Questions about the same action, of whichever tasks.
fn alike(asked: Vec<Asked>) -> Vec<Vec<Asked>> {
    let mut groups: Vec<Vec<Asked>> = Vec::new();
    for one in asked {
        let action = &one.waiting.question.action;
        let same = |group: &&mut Vec<Asked>| group[0].waiting.question.action == *action;
        match groups.iter_mut().find(same) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

/// A question for programs.
fn document(asked: &Asked) -> Value {
    let (task, waiting) = (&asked.task.status, &asked.waiting);
    let action = &waiting.question.action;
    json!({
        "ask": waiting.id, "task": task.id, "slug": task.slug, "question": waiting.question,
        "action": action.digest(&task.id), "outward": action.outward(),
        "reversible": action.reversible(), "expires": waiting.expires, "record": waiting.record,
        "people": { "needed": waiting.people.0, "have": waiting.people.1 },
        "approved": waiting.approved,
    })
}
