//! `stockade push`: exactly what was reviewed leaves, as a branch of a remote that
//! is the user's.

mod asking;
mod place;
mod rules;

use std::process::ExitCode;

use serde_json::json;
use stockade_approval::{Action, AskId, Departure};
use stockade_audit::RecordKind;
use stockade_types::{Denial, EventKind, visible};
use stockade_workspace::{
    Accepted, MergeError, MergeRequest, ObjectId, Push as Planned, PushContent, PushEnd, PushError,
    PushRequest,
};

use self::{asking::Approved, place::Place};
use crate::{
    arguments::Push,
    commands::{
        approval,
        merge::{Form, accepted, approver, ended, held_back, provenance, short, unsigned},
        review::path,
        run::confirm,
        work::Work,
    },
    failure::{Failure, Kind},
    print::{Printer, Tone},
};

pub(crate) fn run(arguments: &Push, printer: Printer) -> Result<ExitCode, Failure> {
    let work = ended(arguments.task.task.as_deref())?;
    let place = Place::find(&work, arguments)?;
    let accepted = accepted(&work)?;
    let form = Form::of(&work, arguments.no_sign, false)?;
    let Some((push, content)) = plan(&work, &place, &accepted, &form)? else {
        printer.line("nothing to push: the remote has all of it");
        printer.json(&json!({
            "task": work.status.id, "pushed": false, "reason": "nothing to push",
        }));
        return Ok(ExitCode::SUCCESS);
    };
    rules::content(&work, &place, &content)?;
    let judged = rules::judge(&work, &place, &content)?;
    let departure = Departure {
        remote: place.remote.name().to_owned(),
        url: place.remote.shown().to_owned(),
        reference: push.reference.clone(),
        old: push.old.as_ref().map(ToString::to_string),
        new: push.new.to_string(),
        manifest: push.manifest_sha256.clone(),
        ci: content.ci.iter().take(CI_NAMED).map(path).collect(),
        effects: judged.effects,
    };
    let card = card(&work, &accepted, &departure, &content, printer);
    for line in &card {
        printer.line(line);
    }
    let held = held_back(&work)?;
    if arguments.yes && held > 0 {
        let review = format!("stockade review {}", work.status.slug);
        let reason = format!("{held} files are held back and nobody decided about them");
        let refused = place.refused(&work, "push.held-back", &reason, Some(&review))?;
        return Err(refused.hint(review));
    }
    let approved = match judged.because {
        Some(because) => {
            let question = asking::question(&departure, &content, because);
            asking::ask(&work, &place, &question, arguments, printer)?
        }
        None => agreed(&work, &place, arguments)?,
    };
    if !is_unchanged(&work, &accepted)? {
        let reason = "the work changed since it was shown; nothing was pushed";
        let again = format!("stockade push {}", work.status.slug);
        return Err(place.refused(&work, "push.changed", reason, Some(&again))?);
    }
    send(&work, &place, &push, &departure, &approved, &form, printer)
}

/// The names of files that builds run of which an approval tells.
const CI_NAMED: usize = 64;
/// The lines of what the server says that are shown of a push that failed.
const SAID: usize = 8;

/// Whoever is at the terminal agrees, or whoever wrote `--yes`.
fn agreed(work: &Work, place: &Place, arguments: &Push) -> Result<Approved, Failure> {
    let question = format!("Type `yes` to push this to {}: ", place.name());
    if arguments.yes || confirm(&question) {
        return Ok(Approved {
            by: approver(),
            ask: None,
        });
    }
    let yes = format!("stockade push {} --yes", work.status.slug);
    let reason = "not pushed: nobody approved";
    let refused = place.refused(work, "push.approval", reason, Some(&yes))?;
    Err(refused.hint("approve without a question: --yes"))
}

fn plan(
    work: &Work,
    place: &Place,
    accepted: &Accepted,
    form: &Form,
) -> Result<Option<(Planned, PushContent)>, Failure> {
    let provenance = provenance(work)?;
    let request = PushRequest {
        work: MergeRequest {
            target: &place.reference,
            accepted: &accepted.commit,
            message: &work.status.prompt,
            provenance: &provenance,
            identity: &form.identity,
            signer: form.signer.as_ref(),
            scanner: &work.scanner,
        },
        remote: &place.state,
        before: &pushed_before(work)?,
        planned: &planned_before(work, place)?,
        force: place.force,
        disclosure: place.section.disclosure.as_deref(),
    };
    let planned = work.space.plan_push(&work.git, &work.repository, &request);
    planned.map_err(|error| match error {
        PushError::Commit(MergeError::Signing(error)) => unsigned(&error),
        error => place.stopped(work, &error),
    })
}

/// The commits of this task that a remote may have from it.
fn pushed_before(work: &Work) -> Result<Vec<ObjectId>, Failure> {
    let mut before = Vec::new();
    for record in stockade_audit::read(&work.directory.record()).map_err(Failure::failed)? {
        let record = record.map_err(Failure::failed)?;
        if record.kind == RecordKind::Event(EventKind::PushStarted) {
            let new = record.body["push"]["new"].as_str();
            before.extend(new.and_then(|new| new.parse::<ObjectId>().ok()));
        }
    }
    Ok(before)
}

/// The commits that somebody was asked about for the same place, the newest first.
fn planned_before(work: &Work, place: &Place) -> Result<Vec<ObjectId>, Failure> {
    if !stockade_supervisor::Desk::is_there(&work.directory) {
        return Ok(Vec::new());
    }
    let desk = approval::desk(&work.directory)?;
    let same = |departure: &&Departure| {
        departure.remote == place.remote.name()
            && departure.url == place.remote.shown()
            && departure.reference == place.reference
            && departure.old == place.old().map(ToString::to_string)
    };
    let departures = desk.actions().filter_map(|action| match action {
        Action::Push(departure) => Some(departure),
        _ => None,
    });
    let planned = departures
        .filter(same)
        .map(|departure| departure.new.parse::<ObjectId>());
    Ok(planned.filter_map(Result::ok).collect())
}

/// What a person sees before anything leaves.
fn card(
    work: &Work,
    accepted: &Accepted,
    departure: &Departure,
    content: &PushContent,
    printer: Printer,
) -> Vec<String> {
    let shown = |text: &str| visible::line(text.as_bytes());
    let branch = departure.reference.strip_prefix("refs/heads/");
    let branch = shown(branch.unwrap_or(&departure.reference));
    let from = match &departure.old {
        Some(old) => format!("from {}", short(old)),
        None => "new there".to_owned(),
    };
    let mut lines = vec![
        format!("push to {} {branch} ({from})", shown(&departure.remote)),
        format!("  at {}", departure.url),
    ];
    lines.extend(
        accepted
            .files
            .iter()
            .map(|file| format!("  {}", path(file))),
    );
    let left_out = accepted.left_out.iter().map(|left| (left, Tone::Notice));
    let refused = work.imported.refused.iter().map(|left| (left, Tone::Bad));
    lines.extend(left_out.chain(refused).map(|(left, tone)| {
        let not = printer.paint(tone, "not");
        format!("  {not} {}: {}", path(&left.path), left.reason)
    }));
    for file in &content.ci {
        let runs = printer.paint(Tone::Bad, "builds run");
        lines.push(format!("  {runs} {}", path(file)));
    }
    if content.own > 0 {
        let own = printer.paint(Tone::Notice, &format!("{} commits", content.own));
        lines.push(format!(
            "  {own} below it that no branch there is known to have leave with it"
        ));
    }
    lines.push(format!(
        "  commit {} · manifest sha256:{}",
        short(&departure.new),
        short(&departure.manifest)
    ));
    lines
}

/// Whether the work is still what was shown.
fn is_unchanged(work: &Work, shown: &Accepted) -> Result<bool, Failure> {
    if work.directory.is_locked() {
        return Ok(false);
    }
    let newest = work.space.find_snapshot(None).map_err(Failure::failed)?;
    let now = accepted(work)?;
    Ok(newest.number == work.imported.snapshot && now.commit == shown.commit)
}

fn send(
    work: &Work,
    place: &Place,
    push: &Planned,
    departure: &Departure,
    approved: &Approved,
    form: &Form,
    printer: Printer,
) -> Result<ExitCode, Failure> {
    let digest = Action::Push(departure.clone()).digest(&work.status.id);
    work.record(
        EventKind::PushStarted,
        json!({
            "push": departure, "action": digest, "parent": push.parent, "by": approved.by,
            "ask": approved.ask, "signature": form.signer, "no_sign": form.no_sign,
        }),
    )?;
    let sent = work.space.push(
        &work.git,
        &work.repository,
        &place.environment,
        &place.remote,
        push,
    );
    let (end, said) = match &sent {
        Ok(pushed) => (pushed.end.clone(), &pushed.said[..]),
        Err(error) => {
            let reason = error.to_string();
            (PushEnd::Refused { reason }, &[][..])
        }
    };
    work.record(
        EventKind::PushEnded,
        json!({ "action": digest, "new": push.new, "outcome": end }),
    )?;
    if let Err(error) = sent {
        return Err(place.stopped(work, &error));
    }
    let failure = match &end {
        PushEnd::Arrived => {
            arrived(work, departure, approved.ask, said, printer);
            return Ok(ExitCode::SUCCESS);
        }
        PushEnd::Moved => Failure::new(
            Kind::Conflict,
            format!(
                "{} moved there since it was asked; nothing was pushed",
                place.name()
            ),
        )
        .hint(format!("look again: stockade push {}", work.status.slug)),
        PushEnd::Refused { reason } => Failure::failed(format!("it was not pushed: {reason}")),
        PushEnd::Unknown { reason } => {
            Failure::failed(format!("whether it arrived is not known: {reason}"))
                .hint(format!("ask again: stockade push {}", work.status.slug))
        }
    };
    Err(said.iter().take(SAID).fold(failure, Failure::hint))
}

fn arrived(
    work: &Work,
    departure: &Departure,
    ask: Option<AskId>,
    said: &[String],
    printer: Printer,
) {
    for line in said {
        printer.note(&format!("  {line}"));
    }
    let branch = departure.reference.strip_prefix("refs/heads/");
    let branch = visible::line(branch.unwrap_or_default().as_bytes());
    let remote = visible::line(departure.remote.as_bytes());
    let what = format!("pushed {} to {remote} {branch}", short(&departure.new));
    printer.line(&printer.paint(Tone::Good, &what));
    printer.json(&json!({
        "task": work.status.id, "pushed": true, "push": departure, "ask": ask,
    }));
}

/// The refusal of a push, in the form of every other.
fn denial(what: String, rule: &str, reason: &str, allow: Option<&str>) -> Denial {
    Denial {
        what,
        rule: rule.to_owned(),
        reason: reason.to_owned(),
        instead: None,
        allow: allow.map(str::to_owned),
    }
}
