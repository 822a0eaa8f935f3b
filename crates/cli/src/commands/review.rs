//! `stockade diff` and `stockade review`: what a task did, by what it would do
//! on the reader's machine.

use std::{io::Write, process::ExitCode};

use serde_json::json;
use stockade_types::{EventKind, visible};
use stockade_workspace::{Choice, FileDiff, Hunk, Risk, Status, TreePath};

use crate::{
    arguments::{Diff, Resume, Review, TaskName},
    commands::{merge::approver, provenance, tasks, work::Work},
    failure::{Failure, Kind},
    print::{Printer, Tone},
    terminal,
};

pub(crate) fn diff(arguments: &Diff, printer: Printer) -> Result<ExitCode, Failure> {
    let work = Work::open(arguments.task.task.as_deref())?;
    if printer.is_json() {
        printer.json(&work.document()?);
        return Ok(ExitCode::SUCCESS);
    }
    if work.review.files.is_empty() {
        printer.line("nothing changed");
    }
    for file in &work.review.files {
        printer.line(&heading(file, printer));
        if arguments.risk {
            marks(file, printer);
        }
        if !arguments.stat && !arguments.risk {
            for hunk in work.hunks(file)? {
                show(&hunk, printer);
            }
        }
    }
    absent(&work, printer);
    Ok(ExitCode::SUCCESS)
}

/// Says what of the task's files is not in the result, and why.
fn absent(work: &Work, printer: Printer) {
    for refused in &work.imported.refused {
        let (path, reason) = (path(&refused.path), &refused.reason);
        printer.line(&format!("refused  {path}: {reason}"));
    }
    for skipped in &work.left_out {
        let (path, reason) = (path(&skipped.path), &skipped.reason);
        printer.line(&format!("left out {path}: {reason}"));
    }
    if work.left_out_more > 0 {
        printer.line(&format!("left out {} more", work.left_out_more));
    }
}

/// A path as it may be shown.
pub(crate) fn path(path: &TreePath) -> String {
    visible::line(path.as_bytes())
}

fn heading(file: &FileDiff, printer: Printer) -> String {
    let status = match file.status {
        Status::Added => printer.paint(Tone::Good, "new     "),
        Status::Deleted => printer.paint(Tone::Bad, "deleted "),
        Status::Modified => "changed ".to_owned(),
        Status::ModeChanged => "mode    ".to_owned(),
        Status::KindChanged => "kind    ".to_owned(),
    };
    let size = match (file.too_large, file.binary) {
        (Some(bytes), _) => format!("too large to compare: {bytes} bytes"),
        (None, true) => "binary".to_owned(),
        (None, false) => format!("+{} -{}", file.added, file.removed),
    };
    let name = printer.paint(Tone::Strong, &path(&file.path));
    let held = if file.held_back {
        printer.paint(Tone::Notice, "  held back")
    } else {
        String::new()
    };
    format!("{status} {name}  {size}{held}")
}

fn marks(file: &FileDiff, printer: Printer) {
    for mark in &file.marks {
        let tone = if mark.risk <= Risk::RunsInCi {
            Tone::Bad
        } else {
            Tone::Notice
        };
        printer.line(&format!("         {}", printer.paint(tone, &mark.reason)));
    }
}

fn show(hunk: &Hunk, printer: Printer) {
    let place = format!("@@ -{} +{} @@ {}", hunk.old_start, hunk.new_start, hunk.id);
    printer.line(&printer.paint(Tone::Faint, &place));
    for line in &hunk.lines {
        let text = format!("{}{}", line.sign, line.text);
        printer.line(&match line.sign {
            '+' => printer.paint(Tone::Good, &text),
            '-' => printer.paint(Tone::Bad, &text),
            _ => text,
        });
    }
}

pub(crate) fn review(arguments: &Review, printer: Printer) -> Result<ExitCode, Failure> {
    let work = Work::open(arguments.task.task.as_deref())?;
    if !arguments.comment.is_empty() {
        return comment(&work, arguments, printer);
    }
    let mut decided = 0;
    for (names, choice) in [
        (&arguments.accept, Choice::Accept),
        (&arguments.reject, Choice::Reject),
    ] {
        for name in names {
            decided += decide_by_name(&work, name, &choice)?;
        }
    }
    if arguments.accept_all {
        for file in work.review.files.iter().filter(|file| !file.held_back) {
            work.space
                .decide(file, Choice::Accept)
                .map_err(Failure::failed)?;
            decided += 1;
        }
    }
    if decided > 0 {
        work.record(EventKind::Reviewed, json!({ "accepted": arguments.accept, "rejected": arguments.reject, "all": arguments.accept_all }))?;
    } else if terminal::is_interactive() && !printer.is_json() {
        ask_about_each(&work, printer)?;
    }
    if printer.is_json() {
        printer.json(&work.document()?);
    } else {
        summary(&work, printer)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends remarks to the agent, which goes on with its session.
fn comment(work: &Work, arguments: &Review, printer: Printer) -> Result<ExitCode, Failure> {
    work.record(
        EventKind::Reviewed,
        json!({ "comments": arguments.comment }),
    )?;
    let remarks: Vec<String> = arguments
        .comment
        .iter()
        .map(|remark| format!("- {remark}"))
        .collect();
    let prompt = format!(
        "A reviewer looked at your work and says:\n{}\nChange it accordingly.",
        remarks.join("\n")
    );
    let task = TaskName {
        task: Some(work.status.id.to_string()),
    };
    tasks::resume(
        &Resume {
            task,
            prompt: Some(prompt),
            detach: false,
        },
        printer,
    )
}

/// Records a choice about a file, or about hunks of it: `PATH` or `PATH#ID,ID`.
fn decide_by_name(work: &Work, name: &str, choice: &Choice) -> Result<usize, Failure> {
    let (wanted, hunks) = match name.rsplit_once('#') {
        Some((wanted, hunks)) => (wanted, Some(hunks)),
        None => (name, None),
    };
    let file = work
        .review
        .files
        .iter()
        .find(|file| path(&file.path) == wanted || file.path.as_bytes() == wanted.as_bytes());
    let file = file.ok_or_else(|| {
        let known = work
            .review
            .files
            .iter()
            .take(8)
            .map(|file| path(&file.path))
            .collect::<Vec<_>>()
            .join(", ");
        Failure::new(
            Kind::NotFound,
            format!("`{wanted}` is not among the changed files"),
        )
        .hint(known)
    })?;
    let choice = match hunks {
        None => choice.clone(),
        Some(ids) => {
            let wanted: Vec<&str> = ids.split(',').collect();
            let known = work.hunks(file)?;
            if let Some(unknown) = wanted
                .iter()
                .find(|id| known.iter().all(|hunk| hunk.id != **id))
            {
                return Err(Failure::new(
                    Kind::NotFound,
                    format!("{wanted:?}: there is no hunk {unknown}"),
                ));
            }
            let accept = *choice == Choice::Accept;
            let take = |hunk: &Hunk| wanted.contains(&hunk.id.as_str()) == accept;
            Choice::Hunks(
                known
                    .iter()
                    .map(|hunk| (hunk.id.clone(), take(hunk)))
                    .collect(),
            )
        }
    };
    decide(work, file, choice)?;
    Ok(1)
}

/// Records a choice; one that takes what looks like a key is an override.
fn decide(work: &Work, file: &FileDiff, choice: Choice) -> Result<(), Failure> {
    if choice != Choice::Reject && !file.findings.is_empty() {
        work.record(
            EventKind::Overridden,
            json!({
                "path": path(&file.path),
                "findings": file.findings,
                "choice": choice,
                "by": approver(),
            }),
        )?;
    }
    work.space.decide(file, choice).map_err(Failure::failed)
}

/// Goes through the files with a person.
fn ask_about_each(work: &Work, printer: Printer) -> Result<(), Failure> {
    let decisions = work.space.decisions().map_err(Failure::failed)?;
    let undecided: Vec<_> = work
        .review
        .files
        .iter()
        .filter(|file| decisions.about(file).is_none())
        .collect();
    for (index, file) in undecided.iter().enumerate() {
        printer.line("");
        printer.line(&format!(
            "{} {}",
            printer.paint(Tone::Faint, &format!("{}/{}", index + 1, undecided.len())),
            heading(file, printer)
        ));
        marks(file, printer);
        let hunks = work.hunks(file)?;
        for hunk in &hunks {
            show(hunk, printer);
        }
        let choice = loop {
            match ask("[a]ccept  [r]eject  [h]unk by hunk  [s]kip  [q]uit: ").as_str() {
                "a" => break Some(Choice::Accept),
                "r" => break Some(Choice::Reject),
                "h" if !hunks.is_empty() => break Some(by_hunk(&hunks, printer)),
                "s" => break None,
                "q" | "" => return Ok(()),
                _ => {}
            }
        };
        if let Some(choice) = choice {
            work.record(
                EventKind::Reviewed,
                json!({ "path": path(&file.path), "choice": choice }),
            )?;
            decide(work, file, choice)?;
        }
    }
    Ok(())
}

fn by_hunk(hunks: &[Hunk], printer: Printer) -> Choice {
    let take = |hunk: &Hunk| {
        show(hunk, printer);
        ask("[a]ccept this hunk, anything else rejects it: ") == "a"
    };
    Choice::Hunks(
        hunks
            .iter()
            .map(|hunk| (hunk.id.clone(), take(hunk)))
            .collect(),
    )
}

/// One answer, typed after the question was shown.
fn ask(question: &str) -> String {
    let _ = rustix::termios::tcflush(
        rustix::stdio::stdin(),
        rustix::termios::QueueSelector::IFlush,
    );
    let mut stdout = std::io::stdout().lock();
    let _ = write!(stdout, "{question}").and_then(|()| stdout.flush());
    drop(stdout);
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        Ok(1..) => answer.trim().to_owned(),
        _ => "q".to_owned(),
    }
}

/// What of all that was fetched is listed in a review.
const FETCHED_SHOWN: usize = 8;

/// Says what the work may have been made from.
fn fetched(work: &Work, printer: Printer) -> Result<(), Failure> {
    let fetched = provenance::of(&work.directory)?;
    for one in fetched.iter().take(FETCHED_SHOWN) {
        printer.line(&format!("fetched  {}", one.line(printer)));
    }
    if let Some(more @ 1..) = fetched.len().checked_sub(FETCHED_SHOWN) {
        let slug = &work.status.slug;
        printer.line(&format!("fetched  {more} more: stockade provenance {slug}"));
    }
    Ok(())
}

fn summary(work: &Work, printer: Printer) -> Result<(), Failure> {
    let decisions = work.space.decisions().map_err(Failure::failed)?;
    for file in &work.review.files {
        let choice = match decisions.about(file) {
            Some(Choice::Accept) => printer.paint(Tone::Good, "accepted"),
            Some(Choice::Reject) => printer.paint(Tone::Bad, "rejected"),
            Some(Choice::Hunks(_)) => printer.paint(Tone::Notice, "in part "),
            None => "        ".to_owned(),
        };
        printer.line(&format!("{choice} {}", heading(file, printer)));
        marks(file, printer);
    }
    absent(work, printer);
    fetched(work, printer)?;
    let slug = &work.status.slug;
    let held = work
        .review
        .files
        .iter()
        .filter(|file| file.held_back && decisions.about(file).is_none())
        .count();
    if held > 0 {
        printer.line(&format!("{held} held back: they come only if accepted one by one, stockade review {slug} --accept PATH"));
    }
    if work.review.files.is_empty() {
        printer.line("nothing changed");
    } else {
        printer.line(&format!("next: stockade merge {slug}"));
    }
    Ok(())
}
