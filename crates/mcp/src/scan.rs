//! What definitions and texts of servers say that they should not: rules that need no
//! network and no model, and always say the same.
//!
//! A rule is a net and not a wall: the walls are the server's own sandbox and what a
//! call may do. A text without findings is not trusted for that.

mod decode;
mod names;
mod phrases;
mod rule;
mod schema;
mod text;

use serde_json::Value;
use stockade_types::visible;

pub use self::{
    names::look_alike,
    rule::{RULES, RuleInfo, Weight, rule},
};
pub(crate) use self::{
    names::words,
    phrases::Spoken,
    text::{hidden, without_hidden},
};
use crate::item::{Item, ItemKind};

/// Descriptions beyond this many bytes hide what stands at their end.
const LONG: usize = 8 * 1024;
/// As many spaces or line breaks in a row push text out of sight.
const GAP: usize = 60;
/// How much of a text stands in a finding, in characters.
const QUOTED: usize = 120;

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The rule's name, as `P01`.
    pub rule: &'static str,
    /// How bad that is.
    pub weight: Weight,
    /// Where in the item, as a JSON pointer.
    pub place: String,
    /// What stands there.
    pub detail: String,
}

impl Finding {
    fn new(rule: &'static str, place: &str, detail: impl Into<String>) -> Self {
        Self {
            rule,
            weight: self::rule(rule).map_or(Weight::Block, |rule| rule.weight),
            place: shown(place),
            detail: shown(&detail.into()),
        }
    }
}

/// Everything that the rules find in `item`.
pub fn scan(item: &Item) -> Vec<Finding> {
    let mut findings = Vec::new();
    names::check(item, &mut findings);
    if item.kind == ItemKind::Tool {
        schema::check(&item.body, &mut findings);
        annotations(item, &mut findings);
    }
    pictures(&item.body, &mut findings);
    texts(&item.body, "", &mut findings);
    findings
}

/// The heaviest of `findings`; of several the first.
pub fn heaviest(findings: &[Finding]) -> Option<&Finding> {
    findings.iter().rev().max_by_key(|finding| finding.weight)
}

/// Reads every text in `value`, names of members too.
fn texts(value: &Value, place: &str, findings: &mut Vec<Finding>) {
    match value {
        Value::String(text) => text_at(text, place, findings),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                texts(item, &format!("{place}/{index}"), findings);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let below = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
                text_at(name, &below, findings);
                texts(member, &below, findings);
            }
        }
        _ => {}
    }
}

fn text_at(text: &str, place: &str, findings: &mut Vec<Finding>) {
    if let Some(hidden) = hidden(text) {
        let detail = format!("invisible characters: {hidden}");
        findings.push(Finding::new("P02", place, detail));
    }
    let spoken = Spoken::of(text);
    if let Some(found) = spoken.instruction() {
        findings.push(Finding::new("P01", place, quoted(&found)));
    } else if let Some((how, found)) = decode::instruction(text, &spoken) {
        let detail = format!("in {how}: {}", quoted(&found));
        findings.push(Finding::new("P03", place, detail));
    }
    if let Some(found) = spoken.credential() {
        findings.push(Finding::new("P05", place, quoted(&found)));
    }
    if text.len() > LONG {
        let detail = format!("a text of {} bytes", text.len());
        findings.push(Finding::new("P07", place, detail));
    } else if text::longest_gap(text) >= GAP {
        let detail = "a gap that pushes text out of sight";
        findings.push(Finding::new("P07", place, detail));
    }
}

/// Verbs of tools that change something.
pub(crate) const CHANGING: [&str; 16] = [
    "delete", "remove", "drop", "write", "send", "execute", "exec", "run", "pay", "purchase",
    "update", "create", "insert", "upload", "publish", "kill",
];

/// Hints that the tool's own name contradicts.
fn annotations(item: &Item, findings: &mut Vec<Finding>) {
    let hints = &item.body["annotations"];
    let harmless = hints["readOnlyHint"] == true;
    let verb = words(&item.name).into_iter().next().unwrap_or_default();
    if harmless && CHANGING.contains(&verb.as_str()) {
        let detail = format!("`{verb}` changes something, and the tool says that it only reads");
        findings.push(Finding::new("P08", "/annotations/readOnlyHint", detail));
    }
}

/// Pictures that tell somebody, or run something, when they are shown.
fn pictures(body: &Value, findings: &mut Vec<Finding>) {
    let icons = body["icons"].as_array().into_iter().flatten();
    for (index, icon) in icons.enumerate() {
        let source = icon["src"].as_str().unwrap_or_default();
        let lower = source.to_ascii_lowercase();
        let inline = lower.starts_with("data:image/") && !lower.starts_with("data:image/svg");
        if !lower.starts_with("https://") && !inline {
            let place = format!("/icons/{index}/src");
            findings.push(Finding::new("P12", &place, quoted(source)));
        }
    }
}

/// The beginning of `text`, with nothing in it that a terminal obeys.
fn shown(text: &str) -> String {
    visible::beginning(text, 2 * QUOTED)
}

/// The beginning of `text`, for people.
fn quoted(text: &str) -> String {
    let shown = visible::beginning(text, QUOTED);
    format!("“{}”", shown.trim())
}

/// A text of a result that reads as if it told the model what to do, and what of it.
pub fn result_instruction(text: &str) -> Option<(&'static str, String)> {
    let spoken = Spoken::of(text);
    let plain = spoken.instruction().or_else(|| spoken.order());
    plain.map(|found| ("O01", quoted(&found))).or_else(|| {
        decode::instruction(text, &spoken)
            .map(|(how, found)| ("O01", format!("in {how}: {}", quoted(&found))))
    })
}
