//! How what a server offers is shown, and how it differs.

use serde_json::Value;
use similar::{ChangeTag, TextDiff};
use stockade_mcp::{
    Change, Drift, Grade, Item, ItemKind, Launch,
    scan::{Finding, Weight},
    title,
};
use stockade_types::visible;

use crate::print::{Printer, Tone};

/// How much of a description stands in one line, in characters.
const SHORT: usize = 100;

/// What is run, in words.
pub(super) fn command(launch: &Launch) -> String {
    let words = visible::line(launch.argv.join(" ").as_bytes());
    match &launch.package {
        None => words,
        Some(package) => format!("{words} (of {package})"),
    }
}

/// The version that a package was pinned to.
pub(super) fn package(launch: &Launch, printer: Printer) {
    if let Some(package) = &launch.package {
        let digest = printer.paint(Tone::Faint, &format!("sha256:{}", package.resolved));
        printer.line(&format!("  {package} with all that it needs  {digest}"));
    }
}

/// One line for each thing that is offered.
pub(super) fn items(items: &[Item], printer: Printer) {
    for item in items {
        let words = match item.kind {
            ItemKind::Server => item.body["version"].as_str(),
            ItemKind::Instructions => item.body.as_str(),
            ItemKind::Capabilities => None,
            _ => item.body["description"].as_str(),
        };
        let words = words.map(short).unwrap_or_default();
        let name = match item.kind {
            ItemKind::Server => item.body["name"].as_str().map(short),
            _ => None,
        };
        let head = name.map_or_else(|| item.title(), |name| format!("server `{name}`"));
        printer.line(&format!("  {head}  {}", printer.paint(Tone::Faint, &words)));
    }
}

/// What rules found in one item.
pub(super) fn findings(item: &str, findings: &[Finding], printer: Printer) {
    for finding in findings {
        let tone = match finding.weight {
            Weight::Note => Tone::Faint,
            Weight::Ask => Tone::Notice,
            Weight::Block => Tone::Bad,
        };
        let rule = printer.paint(tone, finding.rule);
        printer.line(&format!(
            "  {rule} {item} at {}: {}",
            finding.place, finding.detail
        ));
    }
}

/// What became of items.
pub(super) fn drifts(drifts: &[Drift], printer: Printer) {
    for drift in drifts {
        let grade = match drift.grade {
            Grade::Cosmetic => printer.paint(Tone::Faint, "reads the same"),
            Grade::Text => printer.paint(Tone::Notice, "reads differently"),
            Grade::Authority => printer.paint(Tone::Bad, "may do more"),
        };
        let name = title(drift.kind, &drift.name);
        match &drift.change {
            Change::New => printer.line(&format!("+ {name}  new")),
            Change::Gone => printer.line(&format!("- {name}  is not there any more")),
            Change::Unknown => printer.line(&format!(
                "~ {name}  is another; what it was is not kept beside the lock"
            )),
            Change::Changed { fields } => {
                printer.line(&format!("~ {name}  {grade}"));
                for field in fields {
                    let differs = words(field.before.as_ref(), field.after.as_ref(), printer);
                    let place = visible::line(field.place.as_bytes());
                    printer.line(&format!("    {place}  {differs}"));
                }
            }
        }
        for permission in &drift.permissions {
            let sign = printer.paint(Tone::Bad, "!");
            let permission = visible::line(permission.as_bytes());
            printer.line(&format!("    {sign} {permission}"));
        }
    }
}

/// The words that went and came; nothing in them is invisible.
fn words(before: Option<&Value>, after: Option<&Value>, printer: Printer) -> String {
    let text = |value: Option<&Value>| match value {
        None => String::new(),
        Some(Value::String(text)) => visible::line(text.as_bytes()),
        Some(other) => visible::line(other.to_string().as_bytes()),
    };
    let (before, after) = (text(before), text(after));
    let mut shown = String::new();
    for change in TextDiff::from_words(&before, &after).iter_all_changes() {
        match change.tag() {
            ChangeTag::Equal => shown.push_str(change.value()),
            ChangeTag::Delete => {
                let gone = format!("[-{}-]", change.value());
                shown.push_str(&printer.paint(Tone::Bad, &gone));
            }
            ChangeTag::Insert => {
                let new = format!("{{+{}+}}", change.value());
                shown.push_str(&printer.paint(Tone::Good, &new));
            }
        }
    }
    shown
}

fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    visible::beginning(line, SHORT)
}
