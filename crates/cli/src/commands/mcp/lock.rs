//! The verbs about what is approved.

use std::process::ExitCode;

use serde_json::json;
use stockade_mcp::{
    Drift, Entry, Item, LOCK_FILE, Launch, Lock, body, drift,
    scan::{self, Finding, Weight},
};
use stockade_supervisor::{mcp::Listed, now};

use super::{Place, show, trust};
use crate::{
    arguments::{Add, Consent},
    commands::run::confirm,
    failure::{Failure, Kind},
    host,
    print::{Printer, Tone},
};

pub(super) fn add(place: &Place, add: &Add, printer: Printer) -> Result<ExitCode, Failure> {
    let mut lock = place.read()?;
    if lock.servers.contains_key(&add.name) {
        let reason = format!("there is a server `{}` already", add.name);
        return Err(Failure::new(Kind::Refused, reason)
            .hint(format!(
                "stockade mcp diff {} tells what it offers otherwise",
                add.name
            ))
            .hint(format!("stockade mcp rm {}, to begin anew", add.name)));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if add.name.is_empty() || !add.name.chars().all(plain) {
        let reason = format!(
            "`{}` is no name: use letters, digits, `-`, `_` and `.`",
            add.name
        );
        return Err(Failure::new(Kind::Usage, reason));
    }
    let launch = place.launch(&add.command, &add.shown, printer)?;
    let listed = place.listed(&launch)?;
    show::package(&launch, printer);
    show::items(&listed.catalogue.items, printer);
    alone(&lock, &add.name, &listed, printer);
    agree(
        &listed,
        &add.consent,
        "Type `yes` to approve all of this: ",
        printer,
    )?;
    approve_in(place, &mut lock, &add.name, launch, &listed)?;
    told(place, &add.name, &listed, printer);
    Ok(ExitCode::SUCCESS)
}

/// Tells of tools that can be taken for those of other servers.
fn alone(lock: &Lock, name: &str, listed: &Listed, printer: Printer) {
    let others = lock.servers.iter().filter(|(other, _)| *other != name);
    let others: Vec<_> = others
        .flat_map(|(server, entry)| entry.items.iter().map(move |item| (server, item)))
        .collect();
    for item in &listed.catalogue.items {
        for (server, other) in others.iter().filter(|(_, other)| other.kind == item.kind) {
            let same = !item.name.is_empty() && item.name == other.name;
            if same || scan::look_alike(&item.name, &other.name) {
                let rule = printer.paint(Tone::Notice, "S01");
                let theirs = stockade_mcp::title(other.kind, &other.name);
                printer.line(&format!(
                    "  {rule} {} can be taken for the {theirs} of `{server}`",
                    item.title()
                ));
            }
        }
    }
}

/// Everything that the rules find in what is offered.
fn found(listed: &Listed) -> Vec<(&Item, Vec<Finding>)> {
    let items = listed.catalogue.items.iter();
    items.map(|item| (item, scan::scan(item))).collect()
}

/// Shows what the rules find; what blocks has to be named, and somebody says yes.
fn agree(
    listed: &Listed,
    consent: &Consent,
    question: &str,
    printer: Printer,
) -> Result<(), Failure> {
    let found = found(listed);
    for (item, findings) in &found {
        show::findings(&item.title(), findings, printer);
    }
    let all = found.iter().flat_map(|(_, findings)| findings);
    let mut blocking = all.filter(|finding| finding.weight == Weight::Block);
    let named = |finding: &&Finding| !consent.despite.iter().any(|rule| rule == finding.rule);
    if let Some(finding) = blocking.find(named) {
        let reason = format!("nothing was approved: {}: {}", finding.rule, finding.detail);
        let about = scan::rule(finding.rule).map_or("", |rule| rule.about);
        return Err(Failure::new(Kind::Refused, reason)
            .hint(format!("{} finds where {about}", finding.rule))
            .hint(format!(
                "approve it all the same: --despite {}",
                finding.rule
            )));
    }
    if consent.yes || !printer.is_json() && confirm(question) {
        return Ok(());
    }
    Err(Failure::new(Kind::Refused, "nothing was approved").hint("without a question: --yes"))
}

fn approve_in(
    place: &Place,
    lock: &mut Lock,
    name: &str,
    launch: Launch,
    listed: &Listed,
) -> Result<(), Failure> {
    let (folder, era) = (&place.folder, listed.era);
    place.keep_package(&launch)?;
    lock.approve(folder, name, launch, era, &listed.catalogue, now())?;
    lock.write(folder)?;
    lock.tidy(folder)?;
    // As it is read the next time.
    let lock = place.read()?;
    trust::note(place, name, place.entry(&lock, name)?)
}

fn told(place: &Place, name: &str, listed: &Listed, printer: Printer) {
    let count = listed.catalogue.items.len();
    let path = place.folder.join(LOCK_FILE);
    printer.line(&format!(
        "`{name}` is approved, {count} items, in {}; clients start it with: stockade mcp wrap {name}",
        path.display()
    ));
    printer.json(&json!({ "server": name, "items": count, "era": listed.era, "lock": path.to_string_lossy() }));
}

pub(super) fn list(place: &Place, printer: Printer) -> Result<ExitCode, Failure> {
    let lock = place.read()?;
    for (name, entry) in &lock.servers {
        let command = show::command(&entry.launch);
        let count = entry.items.len();
        printer.line(&format!(
            "{name}  {count} items, approved {}  {command}",
            entry.approved_at.split('T').next().unwrap_or_default()
        ));
    }
    if lock.servers.is_empty() {
        printer.line("no server is approved here; stockade mcp add NAME -- PROGRAM …");
    }
    printer.json(&lock.servers);
    Ok(ExitCode::SUCCESS)
}

/// What of the server `name` is otherwise than approved.
fn drifts_of(place: &Place, name: &str, entry: &Entry) -> Result<(Listed, Vec<Drift>), Failure> {
    trust::require(place, name, entry)?;
    let listed = place.listed(&entry.launch)?;
    let drifts = drift(entry, |item| body(&place.folder, item), &listed.catalogue);
    Ok((listed, drifts))
}

pub(super) fn diff(place: &Place, name: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let lock = place.read()?;
    let entry = place.entry(&lock, name)?;
    trust::require(place, name, entry)?;
    let files = entry.launch.changes(&place.folder, &host::search_path())?;
    for change in &files {
        printer.line(&format!("~ {change}"));
    }
    let (_, drifts) = drifts_of(place, name, entry)?;
    show::drifts(&drifts, printer);
    printer.json(&json!({ "server": name, "launch": files, "items": drifts }));
    let same = files.is_empty() && drifts.is_empty();
    if same {
        printer.line(&format!("`{name}` offers what was approved"));
    }
    Ok(code(same))
}

fn code(same: bool) -> ExitCode {
    if same {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Kind::Tampered as u8)
    }
}

pub(super) fn approve(
    place: &Place,
    name: &str,
    consent: &Consent,
    printer: Printer,
) -> Result<ExitCode, Failure> {
    let mut lock = place.read()?;
    let entry = place.entry(&lock, name)?;
    trust::require(place, name, entry)?;
    let launch = entry.launch.clone();
    for change in launch.changes(&place.folder, &host::search_path())? {
        printer.line(&format!("~ {change}"));
    }
    let launch = launch.digested(&place.folder, &host::search_path())?;
    let (listed, drifts) = drifts_of(place, name, entry)?;
    show::drifts(&drifts, printer);
    agree(&listed, consent, "Type `yes` to approve this: ", printer)?;
    approve_in(place, &mut lock, name, launch, &listed)?;
    told(place, name, &listed, printer);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn verify(
    place: &Place,
    names: &[String],
    offline: bool,
    printer: Printer,
) -> Result<ExitCode, Failure> {
    let lock = place.read()?;
    for name in names {
        place.entry(&lock, name)?;
    }
    let chosen = |name: &&String| names.is_empty() || names.contains(name);
    let mut results = Vec::new();
    let mut same = true;
    for name in lock.servers.keys().filter(chosen) {
        let entry = place.entry(&lock, name)?;
        let mut changes = entry.launch.changes(&place.folder, &host::search_path())?;
        changes.extend(place.package_changes(&entry.launch)?);
        let lost = entry
            .items
            .iter()
            .filter(|item| body(&place.folder, item).is_none());
        changes.extend(lost.map(|item| {
            let title = stockade_mcp::title(item.kind, &item.name);
            format!("what was approved of {title} is not kept beside the lock")
        }));
        if !offline {
            let (_, drifts) = drifts_of(place, name, entry)?;
            changes.extend(drifts.iter().map(|drift| {
                format!(
                    "{} is not as approved",
                    stockade_mcp::title(drift.kind, &drift.name)
                )
            }));
        }
        for change in &changes {
            printer.line(&format!("{name}: {change}"));
        }
        if changes.is_empty() {
            printer.line(&format!("{name}: as approved, {} items", entry.items.len()));
        }
        same &= changes.is_empty();
        results.push(json!({ "server": name, "changes": changes }));
    }
    if results.is_empty() {
        let reason = format!(
            "{} has no server to verify",
            place.folder.join(LOCK_FILE).display()
        );
        return Err(Failure::new(Kind::NotFound, reason));
    }
    printer.json(&json!({ "as_approved": same, "started": !offline, "servers": results }));
    Ok(code(same))
}

/// Shows all that the lock says of a server, and has somebody agree to it.
pub(super) fn trust(
    place: &Place,
    name: &str,
    yes: bool,
    printer: Printer,
) -> Result<ExitCode, Failure> {
    let lock = place.read()?;
    let entry = place.entry(&lock, name)?;
    let launch = &entry.launch;
    let shown = |text: &str| stockade_types::visible::line(text.as_bytes());
    printer.line(&format!("  runs     {}", show::command(launch)));
    for (what, paths) in [("reads", &launch.read), ("changes", &launch.write)] {
        for path in paths {
            let path = place.real(path);
            printer.line(&format!("  {what:8} {}", shown(&path.to_string_lossy())));
        }
    }
    for (what, words) in [
        ("is given", &launch.env),
        ("uses    ", &launch.secrets),
        ("reaches ", &launch.reaches),
        ("names   ", &launch.services),
    ] {
        for word in words {
            printer.line(&format!("  {what} {}", shown(word)));
        }
    }
    let mut items = Vec::new();
    for pinned in &entry.items {
        let title = stockade_mcp::title(pinned.kind, &pinned.name);
        let kept = body(&place.folder, pinned).ok_or_else(|| {
            Failure::failed(format!(
                "what the lock says of {title} is not kept beside it"
            ))
        })?;
        items.push(Item {
            kind: pinned.kind,
            name: pinned.name.clone(),
            body: kept.into(),
        });
    }
    show::items(&items, printer);
    for item in &items {
        show::findings(&item.title(), &scan::scan(item), printer);
    }
    if !yes && (printer.is_json() || !confirm("Type `yes` to agree to all of this: ")) {
        return Err(
            Failure::new(Kind::Refused, "nothing was agreed to").hint("without a question: --yes")
        );
    }
    trust::note(place, name, entry)?;
    printer.line(&format!("`{name}` may be started as the lock says"));
    printer.json(&json!({ "trusted": name, "items": items.len() }));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn remove(place: &Place, name: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let mut lock = place.read()?;
    place.entry(&lock, name)?;
    lock.servers.remove(name);
    lock.write(&place.folder)?;
    lock.tidy(&place.folder)?;
    printer.line(&format!("`{name}` is approved no more"));
    printer.json(&json!({ "removed": name }));
    Ok(ExitCode::SUCCESS)
}
